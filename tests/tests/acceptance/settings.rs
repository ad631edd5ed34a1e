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

#[test]
fn a_wrong_setting_names_its_place() {
    check("wrong-setting", &[("otto.toml", "colour = \"never\"\n")], &["otto config"]);
    check("wrong-value", &[("otto.toml", "color = \"maybe\"\n")], &["otto config"]);
    check("no-toml", &[("otto.toml", "strict = true\n= x\n")], &["otto config"]);
}
