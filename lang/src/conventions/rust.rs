//! Cargo packages and workspaces.

use super::{Convention, Inferred, Listing};

pub(super) fn recognise(listing: &Listing) -> Option<Convention> {
    let manifest = listing.content("Cargo.toml")?;
    let section = |name: &str| manifest.lines().any(|line| line.trim().starts_with(name));
    let mut options = String::new();
    let mut reasons = Vec::new();
    if section("[workspace") {
        options.push_str(" --workspace");
        reasons.push("[workspace] in Cargo.toml: --workspace".to_owned());
    }
    if listing.has("Cargo.lock") {
        options.push_str(" --locked");
        reasons.push("Cargo.lock: --locked".to_owned());
    }
    let cargo = |command: &str| format!("cargo {command}{options}");
    let fmt = if section("[workspace") { "cargo fmt --all --check" } else { "cargo fmt --check" };
    Some(Convention {
        name: "rust",
        found: "Cargo.toml".to_owned(),
        stages: vec![
            Inferred::new("fmt", &["cargo", "rustfmt"], &[fmt]),
            Inferred::new("clippy", &["cargo", "cargo-clippy"], &[&cargo("clippy --all-targets")]),
            Inferred::new("test", &["cargo"], &[&cargo("test")]),
            Inferred::new("build", &["cargo"], &[&cargo("build")]),
        ],
        reasons,
    })
}
