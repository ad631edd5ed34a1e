//! Settings and their origins.

use super::session::{Session, check, golden};

#[test]
fn the_nearest_setting_counts() {
    let mut session = Session::new(&[
        ("otto.toml", "progress = \"plain\"\nstrict = true\n"),
        ("../.config/otto/config.toml", "strict = false\ncolor = \"never\"\n"),
    ]);
    let line = "otto config --show-origin --progress quiet";
    let output = session.command(line).env("OTTO_TIMEOUT", "20m").output().expect("otto starts");
    session.note(line, &output);
    session.run("otto config --json");
    golden("settings", &session);
}

/// A node would not start with these, and would be waited for.
#[test]
fn what_keeps_a_node_from_starting_is_named_at_once() {
    let least = ("Ottofile", "pipeline { steps { sh 'true' } }\n");
    let mut session = Session::new(&[least, ("notes", ""), ("open/notes", "")]);
    let root = session.repository();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(root.join("open"), open).expect("a mode");
    let told = [
        ("OTTO_IDLE", "soon".to_owned()),
        ("OTTO_HOME", root.join("notes").display().to_string()),
        ("OTTO_HOME", root.join("open").display().to_string()),
    ];
    for (name, value) in told {
        let line = "otto run --progress quiet";
        let output = session.command(line).env(name, value).output().expect("otto starts");
        session.note(line, &output);
    }
    golden("no-start", &session);
}

#[test]
fn a_wrong_setting_names_its_place() {
    check("wrong-setting", &[("otto.toml", "colour = \"never\"\n")], &["otto config"]);
    check("wrong-value", &[("otto.toml", "color = \"maybe\"\n")], &["otto config"]);
    check("no-toml", &[("otto.toml", "strict = true\n= x\n")], &["otto config"]);
}
