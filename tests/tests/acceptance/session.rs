//! A session: a repository and a node of its own, commands one after another, and all that they
//! printed, with what differs from time to time made the same.

use otto_tests::programs;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A repository and the data folder of a node that nobody else uses.
pub(crate) struct Session {
    root: TempDir,
    transcript: String,
}

impl Session {
    /// A repository called `shop` with these files.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::Builder::new().prefix("otto-").tempdir().expect("a temporary folder");
        let session = Self { root, transcript: String::new() };
        fs::create_dir_all(session.repository()).expect("a repository");
        for (path, text) in files {
            session.write(path, text);
        }
        session
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.root.path().join("shop")
    }

    /// Writes a file of the repository; one that begins with `#!` becomes a program.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.repository().join(path);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
        if text.starts_with("#!") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
        }
    }

    /// A command in the repository, with an environment of its own.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let program = words.next().expect("a command");
        let mut command = Command::new(programs().join(program));
        command
            .args(words)
            .current_dir(self.repository())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a PATH"))
            .env("HOME", self.root.path())
            .env("OTTO_HOME", self.root.path().join("otto"))
            .env("OTTO_IDLE", "30s")
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command and notes all that it printed.
    pub(crate) fn run(&mut self, line: &str) -> Output {
        let output = self.command(line).output().expect("the command starts");
        self.note(line, &output);
        output
    }

    /// Notes what a command printed.
    pub(crate) fn note(&mut self, line: &str, output: &Output) {
        writeln!(self.transcript, "$ {line}").expect("a string grows");
        for (name, bytes) in [("stderr", &output.stderr), ("stdout", &output.stdout)] {
            let text = String::from_utf8_lossy(bytes);
            for printed in text.lines() {
                let mark = if name == "stderr" { "!" } else { " " };
                writeln!(self.transcript, "{mark} {printed}").expect("a string grows");
            }
        }
        match output.status.code() {
            Some(0) => {}
            Some(code) => writeln!(self.transcript, "= {code}").expect("a string grows"),
            None => writeln!(self.transcript, "= {}", output.status).expect("a string grows"),
        }
        self.transcript.push('\n');
    }

    /// All that was printed: `!` marks standard error, `=` an exit code that is not 0.
    pub(crate) fn transcript(&self) -> String {
        let root = self.root.path().display().to_string();
        let mut text = self.transcript.replace(&root, "/ROOT");
        let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
        if let Some(user) = user {
            text = text.replace(&format!("by {}", user.name), "by USER");
        }
        text = same_times(&text);
        text = same_number(&text, "\"duration_ms\":");
        same_hashes(&text)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A node that never was has nothing to stop.
        let _ = self.command("otto-node stop --busy").output();
    }
}

/// Runs commands in a repository with these files; the golden file says what they print.
pub(crate) fn check(name: &str, files: &[(&str, &str)], commands: &[&str]) {
    let mut session = Session::new(files);
    for command in commands {
        session.run(command);
    }
    golden(name, &session);
}

/// Compares a session with its golden file.
pub(crate) fn golden(name: &str, session: &Session) {
    insta::with_settings!({
        prepend_module_to_snapshot => false,
        omit_expression => true,
        snapshot_path => "snapshots",
    }, {
        insta::assert_snapshot!(name, session.transcript());
    });
}

/// Replaces durations, times of day, dates and process ids.
fn same_times(text: &str) -> String {
    let mut out = String::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let boundary = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
        let shapes: [(&str, &str); 5] = [
            ("9999-99-99T99:99:99.999Z", "TIME"),
            ("9999-99-99 99:99:99", "TIME"),
            ("99:99:99", "TIME"),
            ("9.9s", "0.0s"),
            ("99.9s", "0.0s"),
        ];
        let shape = shapes.iter().find(|(shape, _)| boundary && has_shape(rest, shape));
        if let Some((shape, instead)) = shape {
            out.push_str(instead);
            at += shape.len();
        } else {
            let character = rest.chars().next().expect("there is a rest");
            out.push(character);
            at += character.len_utf8();
        }
    }
    out
}

/// Replaces the number behind a name.
fn same_number(text: &str, name: &str) -> String {
    let mut parts = text.split(name);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        out.push_str(name);
        out.push('0');
        out.push_str(rest);
    }
    out
}

/// Whether a text begins with a shape, in which 9 stands for any digit.
fn has_shape(text: &str, shape: &str) -> bool {
    text.len() >= shape.len()
        && text
            .bytes()
            .zip(shape.bytes())
            .all(|(byte, shape)| if shape == b'9' { byte.is_ascii_digit() } else { byte == shape })
}

/// Replaces whole digests and their first twelve digits: they change with Otto's version.
fn same_hashes(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for character in text.chars().chain([' ']) {
        if character.is_ascii_digit() || ('a'..='f').contains(&character) {
            word.push(character);
            continue;
        }
        let digits = word.bytes().any(|byte| byte.is_ascii_digit());
        match word.len() {
            64 => out.push_str("DIGEST"),
            12 | 32 if digits => out.push_str("SHORT"),
            _ => out.push_str(&word),
        }
        word.clear();
        out.push(character);
    }
    out.pop();
    out
}
