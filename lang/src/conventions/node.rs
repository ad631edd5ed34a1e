//! `package.json` with npm, pnpm or yarn, whichever left its lock file.

use super::broken::without_mark;
use super::{Convention, Inferred, Listing};
use serde_json::Value;

/// The scripts that check something, in the order in which people read them.
const SCRIPTS: [&str; 5] = ["lint", "typecheck", "check", "test", "build"];
/// What `npm init` writes for a package without tests.
const PLACEHOLDER: &str = "no test specified";

/// A package installer and how it installs exactly what its lock file says.
struct Installer {
    tool: &'static str,
    install: &'static str,
    /// The lock file that chose it.
    lock: Option<&'static str>,
}

pub(super) fn recognise(listing: &Listing) -> Option<Convention> {
    let text = listing.content("package.json")?;
    let package: Value = serde_json::from_str(without_mark(text)).ok()?;
    let installer = installer(listing, &package);
    let mut reasons = Vec::new();
    let installs = installer.lock.is_some() || needs_packages(&package);
    match (installer.lock, installs) {
        (Some(lock), _) => reasons.push(format!("{lock}: {}", installer.install)),
        (None, true) => reasons.push(format!("no lock file: {}", installer.install)),
        (None, false) => reasons.push("no dependencies: nothing is installed".to_owned()),
    }
    let scripts: Vec<&str> =
        SCRIPTS.into_iter().filter(|name| is_real(&package, name, &mut reasons)).collect();
    let tools = ["node", installer.tool];
    let install = installs.then_some(installer.install);
    let stage = |name: &str| {
        let run = format!("{} run {name}", installer.tool);
        let scripts: Vec<&str> = install.into_iter().chain([run.as_str()]).collect();
        Inferred::new(name, &tools, &scripts)
    };
    let mut stages: Vec<Inferred> = scripts.iter().map(|name| stage(name)).collect();
    if stages.is_empty() {
        reasons.push(format!("none of the scripts {}", SCRIPTS.join(", ")));
        stages.push(Inferred::new("install", &tools, &[install?]));
    }
    Some(Convention { name: "npm", found: "package.json".to_owned(), stages, reasons })
}

fn installer(listing: &Listing, package: &Value) -> Installer {
    let is_choice = |name: &str| name.eq_ignore_ascii_case("packagemanager");
    let choice = package.as_object().into_iter().flatten().find(|(name, _)| is_choice(name));
    let named = choice.and_then(|(_, value)| value.as_str()).unwrap_or_default();
    let modern_yarn = listing.has(".yarnrc.yml")
        || named.strip_prefix("yarn@").is_some_and(|version| !version.starts_with("1."));
    let lock =
        listing.first(&["pnpm-lock.yaml", "yarn.lock", "package-lock.json", "npm-shrinkwrap.json"]);
    match lock {
        Some("pnpm-lock.yaml") => {
            Installer { tool: "pnpm", install: "pnpm install --frozen-lockfile", lock }
        }
        Some("yarn.lock") if modern_yarn => {
            Installer { tool: "yarn", install: "yarn install --immutable", lock }
        }
        Some("yarn.lock") => {
            Installer { tool: "yarn", install: "yarn install --frozen-lockfile", lock }
        }
        Some(_) => Installer { tool: "npm", install: "npm ci", lock },
        None if named.starts_with("pnpm@") => {
            Installer { tool: "pnpm", install: "pnpm install", lock }
        }
        None if named.starts_with("yarn@") => {
            Installer { tool: "yarn", install: "yarn install", lock }
        }
        None => Installer { tool: "npm", install: "npm install", lock },
    }
}

fn needs_packages(package: &Value) -> bool {
    ["dependencies", "devDependencies", "optionalDependencies", "workspaces"].iter().any(|kind| {
        let listed = package.get(kind);
        listed.and_then(Value::as_object).is_some_and(|names| !names.is_empty())
            || listed.and_then(Value::as_array).is_some_and(|names| !names.is_empty())
    })
}

/// Whether there is such a script, and it is more than what `npm init` left there.
fn is_real(package: &Value, name: &str, reasons: &mut Vec<String>) -> bool {
    let script = package.pointer(&format!("/scripts/{name}")).and_then(Value::as_str);
    let placeholder = script.is_some_and(|script| script.contains(PLACEHOLDER));
    if placeholder {
        reasons.push(format!("the script '{name}' is npm's placeholder: left out"));
    }
    script.is_some() && !placeholder
}
