//! The folder of an identity: what is damaged, foreign or open to others is told, and never used.

use super::town::Town;
use crate::identity::files::Folder;
use otto_core::cluster::state::JoinRole;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Loads what a change left behind, and mends it.
fn damaged(folder: &Folder, name: &str, change: impl FnOnce(&std::path::Path), part: &str) {
    let path = folder.path().join(name);
    let content = fs::read(&path).unwrap();
    change(&path);
    let refused = match folder.load() {
        Ok(_) => folder.authority().map(|_| ()).unwrap_err(),
        Err(error) => error,
    };
    let text = refused.to_string();
    assert!(text.contains(part) && text.contains(".pem") | text.contains(name), "{name}: {text}");
    assert!(!refused.help().is_empty());
    fs::remove_file(&path).ok();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    folder.load().unwrap().unwrap();
}

#[tokio::test]
async fn what_does_not_belong_together_is_told() {
    let (town, other) = (Town::found().await, Town::found().await);
    town.joined(JoinRole::Control, "second").await;
    other.joined(JoinRole::Control, "second").await;
    let (folder, foreign) = (town.machine("second"), other.machine("second"));
    for name in ["key.pem", "certificate.pem", "authority.pem", "authority.key"] {
        let garbage = |path: &std::path::Path| fs::write(path, "no file of ours").unwrap();
        damaged(&folder, name, garbage, "");
        let theirs = |path: &std::path::Path| {
            fs::copy(foreign.path().join(name), path).unwrap();
        };
        damaged(&folder, name, theirs, "use ");
    }
    for name in ["key.pem", "authority.pem"] {
        damaged(&folder, name, |path| fs::remove_file(path).unwrap(), "it is missing");
    }
    for name in ["key.pem", "authority.key"] {
        let open = |path: &std::path::Path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
        };
        damaged(&folder, name, open, "other users may read it (its mode is 640)");
    }
}

#[test]
fn a_folder_without_certificate_has_not_joined() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::new(data.path());
    assert!(folder.load().unwrap().is_none());
    let first = folder.key().unwrap().serialize_der();
    assert_eq!(first, folder.key().unwrap().serialize_der(), "the key that is there is used");
    assert!(folder.load().unwrap().is_none());
    fs::write(folder.path().join("key.pem.new"), "what a crash left").unwrap();
    assert!(folder.authority().unwrap().is_none());
}
