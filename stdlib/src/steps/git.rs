//! `git`: checks out a git repository with the system's `git`.
//!
//! What the repository, its address and its references hold comes from anybody: only some schemes
//! are spoken, nothing is taken for an option, no hook runs, and the system's configuration is off.

use super::failed;
use super::tree::Inner;
use crate::sdk::{Exit, Step, StepError};
use std::path::Path;
use std::process::{Command, Stdio};

pub(super) fn run(step: &Step) -> Result<Exit, StepError> {
    let url = Url::parse(step.text("url")?).map_err(StepError::Other)?;
    let reference = step.optional_text("ref")?;
    if let Some(reference) = reference {
        check_reference(reference).map_err(StepError::Other)?;
    }
    let into = step.text("into")?;
    Inner::parse(into).map_err(|why| failed("check out", why))?;
    let checkout = Checkout {
        url: &url,
        reference,
        into,
        history: step.truth("history")?,
        submodules: step.truth("submodules")?,
        // The run's own commit, whose files every workspace starts with.
        own_commit: std::env::var("OTTO_COMMIT").ok().filter(|id| is_commit(id)),
    };
    checkout.run()
}

/// An address that `git` may be given.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Url {
    text: String,
    /// What may be spoken, for this repository and its submodules.
    protocols: &'static str,
}

impl Url {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("use the repository '{text}': {why}"));
        if text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control) {
            return wrong("that is no address");
        }
        let protocols = match text.split_once("://") {
            Some(("https" | "ssh", rest)) => {
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                if host
                    .rsplit('@')
                    .next()
                    .is_none_or(|host| host.is_empty() || host.starts_with('-'))
                {
                    return wrong("it names no host");
                }
                if text.starts_with("https") && host.contains('@') && host.contains(':') {
                    return wrong("it holds a password, which the log and the plan would show");
                }
                "https:ssh"
            }
            Some(("file", path)) if path.starts_with('/') => "file:https:ssh",
            Some(("http" | "git", _)) => {
                return wrong(
                    "neither who answers nor what they send is protected; use https:// or ssh://",
                );
            }
            Some(_) => return wrong("its scheme is none of https, ssh and file"),
            None => match text.split_once(':') {
                // `user@host:path`, as ssh's users write it. `ext::` and the like have two colons.
                Some((host, path))
                    if is_host(host) && !path.is_empty() && !path.starts_with([':', '-']) =>
                {
                    "https:ssh"
                }
                _ => {
                    return wrong(
                        "write https://…, ssh://…, user@host:path or, for a folder, file:///…",
                    );
                }
            },
        };
        Ok(Self { text: text.to_owned(), protocols })
    }
}

fn is_host(text: &str) -> bool {
    let host = text.split_once('@').map_or(text, |(_, host)| host);
    let plain = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    text.split('@').count() <= 2 && text.split('@').all(plain) && !host.is_empty()
}

/// A branch, a tag or a commit id; the rules of `git check-ref-format` that keep it from being
/// anything else.
fn check_reference(reference: &str) -> Result<(), String> {
    let forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let wrong = reference.is_empty()
        || reference.starts_with(['-', '/', '+'])
        || reference.contains("..")
        || reference.contains("@{")
        || reference.ends_with(['/', '.'])
        || reference.chars().any(forbidden);
    if wrong {
        return Err(format!("use '{reference}': it is no branch, tag or commit id"));
    }
    Ok(())
}

/// A full commit id, of SHA-1 or SHA-256.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

struct Checkout<'a> {
    url: &'a Url,
    reference: Option<&'a str>,
    into: &'a str,
    history: bool,
    submodules: bool,
    own_commit: Option<String>,
}

impl Checkout<'_> {
    fn run(&self) -> Result<Exit, StepError> {
        let here = matches!(self.into.trim_end_matches('/'), "." | "");
        let commit = self.resolve()?;
        if here && self.own_commit.as_ref() == Some(&commit) {
            // The same commit id is the same commit, whatever address it came from.
            println!("this run's files are at {commit} already: nothing to do");
            return Ok(Exit::Success);
        }
        let occupied =
            std::fs::read_dir(self.into).is_ok_and(|mut entries| entries.next().is_some());
        if occupied {
            let help = if here {
                "write `into: 'folder'`, or `checkout = false` in the stage"
            } else {
                "name another folder"
            };
            return Err(failed(
                &format!("check out into '{}'", self.into),
                format!("the folder holds files; {help}"),
            ));
        }
        self.git(&["init", "--quiet", "--template=", "--end-of-options", self.into], None)?;
        self.fetch(&commit)?;
        self.git(&["checkout", "--quiet", "--detach", &commit], Some(self.into))?;
        let there = self.git(&["rev-parse", "--verify", "HEAD^{commit}"], Some(self.into))?;
        if there.trim() != commit {
            let found = there.trim();
            return Err(failed("check out", format!("expected {commit}, found {found}")));
        }
        if self.submodules {
            let depth: &[&str] = if self.history { &[] } else { &["--depth=1"] };
            let words: &[&str] = &["submodule", "--quiet", "update", "--init", "--recursive"];
            self.git(&[words, depth].concat(), Some(self.into))?;
        }
        println!("checked out {commit} into '{}'", self.into);
        Ok(Exit::Success)
    }

    /// The commit that the reference stands for now.
    fn resolve(&self) -> Result<String, StepError> {
        let reference = match self.reference {
            Some(reference) if is_commit(reference) => return Ok(reference.to_owned()),
            Some(reference) => reference,
            None => "HEAD",
        };
        let listed =
            self.git(&["ls-remote", "--quiet", "--end-of-options", &self.url.text], None)?;
        let lines = || listed.lines().filter_map(|line| line.split_once('\t'));
        // A branch before a tag; an annotated tag by the commit behind it.
        let names = [
            format!("refs/heads/{reference}"),
            format!("refs/tags/{reference}^{{}}"),
            format!("refs/tags/{reference}"),
            reference.to_owned(),
        ];
        let commit = names.iter().find_map(|name| {
            lines()
                .find(|(id, listed)| listed == name && is_commit(id))
                .map(|(id, _)| id.to_owned())
        });
        commit.ok_or_else(|| {
            let branches: Vec<&str> =
                lines().filter_map(|(_, name)| name.strip_prefix("refs/heads/")).collect();
            let nearest = crate::problem::nearest(reference, branches.iter().copied());
            let help = match (nearest, branches.is_empty()) {
                (Some(meant), _) => format!("did you mean '{meant}'?"),
                (None, true) => "it has no branches".to_owned(),
                (None, false) => "give a branch, a tag or a full commit id".to_owned(),
            };
            failed(
                &format!("find '{reference}' in {}", self.url.text),
                format!("there is no such branch or tag; {help}"),
            )
        })
    }

    fn fetch(&self, commit: &str) -> Result<(), StepError> {
        let into = Some(self.into);
        let url = self.url.text.as_str();
        let whole = ["fetch", "--quiet", "--end-of-options", url, "+refs/*:refs/otto/*"];
        if self.history {
            return self.git(&whole, into).map(|_| ());
        }
        let one = ["fetch", "--quiet", "--no-tags", "--depth=1", "--end-of-options", url, commit];
        let Err(error) = self.git(&one, into) else { return Ok(()) };
        // Some servers give out no commit by its id alone.
        println!("fetching all of it, because the server does not give one commit ({error})");
        self.git(&whole, into).map(|_| ())
    }

    /// Runs one `git` command and answers what it printed.
    fn git(&self, words: &[&str], folder: Option<&str>) -> Result<String, StepError> {
        let tried = format!("run `git {}`", words.first().copied().unwrap_or_default());
        let mut command = Command::new("git");
        for (name, _) in std::env::vars_os() {
            // `GIT_DIR`, `GIT_CONFIG_PARAMETERS` and others would lead elsewhere.
            if name.to_string_lossy().starts_with("GIT_") && name != "GIT_SSH_COMMAND" {
                command.env_remove(name);
            }
        }
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", self.url.protocols)
            .envs(settings())
            .current_dir(folder.map_or(Path::new("."), Path::new))
            .args(words)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped());
        if std::env::var_os("GIT_SSH_COMMAND").is_none() {
            command.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes");
        }
        let output = command.output().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                failed(&tried, "git is not installed on this agent; write `runtime { git { } }`")
            }
            _ => failed(&tried, error),
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(failed(&tried, format!("{}: {}", output.status, said.trim())))
    }
}

/// Settings that win over every configuration file, the repository's and its submodules' too.
fn settings() -> Vec<(String, String)> {
    let settings = [
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("core.symlinks", "true"),
        ("protocol.ext.allow", "never"),
        ("submodule.recurse", "false"),
        ("fetch.recurseSubmodules", "false"),
        ("advice.detachedHead", "false"),
        ("init.defaultBranch", "otto"),
    ];
    let mut variables = vec![("GIT_CONFIG_COUNT".to_owned(), settings.len().to_string())];
    for (index, (key, value)) in settings.into_iter().enumerate() {
        variables.push((format!("GIT_CONFIG_KEY_{index}"), key.to_owned()));
        variables.push((format!("GIT_CONFIG_VALUE_{index}"), value.to_owned()));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::{Url, check_reference, is_commit};

    #[test]
    fn addresses_are_spoken_or_refused() {
        let check = |text: &str, complaint: Option<&str>| match (Url::parse(text), complaint) {
            (Ok(_), None) => {}
            (Err(error), Some(complaint)) => assert!(error.contains(complaint), "{text}: {error}"),
            (parsed, _) => panic!("{text}: {parsed:?}"),
        };
        check("https://git.example/a/b.git", None);
        check("https://token@git.example/a.git", None);
        check("ssh://git@git.example:22/a.git", None);
        check("git@git.example:a/b.git", None);
        check("file:///srv/git/a.git", None);
        check("http://git.example/a.git", Some("https:// or ssh://"));
        check("git://git.example/a.git", Some("https:// or ssh://"));
        check("https://me:secret@git.example/a.git", Some("holds a password"));
        check("https://", Some("names no host"));
        check("ssh://-oProxyCommand=x/a", Some("names no host"));
        check("ssh://me@-oProxyCommand=x/a", Some("names no host"));
        check("-oProxyCommand=x:a", Some("no address"));
        check("--upload-pack=x", Some("no address"));
        check("ext::sh -c x", Some("write https://"));
        check("fd::17", Some("write https://"));
        check("host:-x", Some("write https://"));
        check("me@-host:a", Some("write https://"));
        check("file://host/a", Some("none of https, ssh and file"));
        check("/srv/git/a.git", Some("file:///"));
        check("../a", Some("file:///"));
        check("https://a\nb", Some("no address"));
        check("", Some("no address"));
    }

    #[test]
    fn references_are_names() {
        for right in ["main", "release/1.2", "v1.0", "feature-x", &"a".repeat(40)] {
            assert_eq!(check_reference(right), Ok(()), "{right}");
        }
        for wrong in ["", "-x", "--upload-pack=x", "a..b", "a^", "a:b", "+a", "a b", "@{-1}", "a*"]
        {
            assert!(check_reference(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn commits_are_full_ids() {
        assert!(is_commit(&"0a".repeat(20)) && is_commit(&"0a".repeat(32)));
        assert!(
            !is_commit("0a0a0a0") && !is_commit(&"0A".repeat(20)) && !is_commit(&"x".repeat(40))
        );
    }
}
