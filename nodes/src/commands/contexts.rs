//! Contexts: the clusters that a person is signed in to. Each is a file of its own in the folder of
//! their settings, which nobody else may read.

use super::fault::{Fault, Id};
use super::settings::user_folder;
use crate::identity::token::Token;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

/// The name of what is no context: this machine's own node.
pub(super) const LOCAL: &str = "local";
/// The longest name.
const MAX_NAME: usize = 64;

/// A cluster that somebody is signed in to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Signed {
    /// The address that the person named.
    pub(super) named: String,
    /// Where its nodes are, as far as is known.
    pub(super) addresses: Vec<String>,
    /// The cluster.
    pub(super) cluster: String,
    /// What signs them in.
    token: String,
}

impl Signed {
    /// What a person has who was signed in with a token.
    pub(super) fn new(
        named: String,
        addresses: Vec<String>,
        cluster: String,
        token: &Token,
    ) -> Self {
        Self { named, addresses, cluster, token: token.reveal().as_str().to_owned() }
    }

    /// What signs them in.
    ///
    /// # Errors
    /// When the file holds something else.
    pub(super) fn token(&self, name: &str) -> Result<Token, Fault> {
        Token::parse(&self.token).map_err(|error| {
            Fault::usage(Id::BadContext, format!("failed to {error}"))
                .at(format!("the context '{name}'"))
                .help("sign in again: otto login ADDRESS --token OU1-…")
        })
    }
}

/// The folder of contexts.
#[derive(Clone, Debug)]
pub(super) struct Contexts {
    folder: PathBuf,
}

impl Contexts {
    /// The contexts of this user.
    ///
    /// # Errors
    /// When the environment does not say who that is.
    pub(super) fn of_user() -> Result<Self, Fault> {
        let folder = user_folder().ok_or_else(|| {
            Fault::infrastructure(Id::BadContext, "there is no folder for your settings")
                .help("set HOME or XDG_CONFIG_HOME")
        })?;
        Ok(Self { folder })
    }

    #[cfg(test)]
    fn in_folder(folder: &std::path::Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn contexts(&self) -> PathBuf {
        self.folder.join("contexts")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.contexts().join(format!("{name}.json"))
    }

    /// The file that says which context was chosen.
    pub(super) fn choice(&self) -> PathBuf {
        self.folder.join("context")
    }

    /// The names of all, in order.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(super) fn names(&self) -> Result<Vec<String>, Fault> {
        let entries = match fs::read_dir(self.contexts()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unusable(&self.contexts(), &error)),
        };
        let name = |entry: fs::DirEntry| {
            let file = entry.file_name().into_string().ok()?;
            let name = file.strip_suffix(".json")?;
            is_name(name).then(|| name.to_owned())
        };
        let mut names: Vec<String> = entries.flatten().filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    /// A context by its name.
    ///
    /// # Errors
    /// When there is none of this name, others could have read it, or it is damaged.
    pub(super) fn load(&self, name: &str) -> Result<Signed, Fault> {
        let path = self.file(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) if is_name(name) => text,
            Ok(_) => return Err(self.unknown(name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.unknown(name)),
            Err(error) => return Err(unusable(&path, &error)),
        };
        let mode = fs::metadata(&path).map_err(|error| unusable(&path, &error))?.mode() & 0o777;
        if mode & 0o077 != 0 {
            let what = format!("other users may read your token (the mode is {mode:03o})");
            return Err(Fault::usage(Id::BadContext, what)
                .at(path.display().to_string())
                .help("if nobody did, make it private again with chmod 600")
                .help("otherwise have the token revoked, and sign in with a new one"));
        }
        serde_json::from_str(&text).map_err(|error| {
            Fault::usage(Id::BadContext, format!("this is no context: {error}"))
                .at(path.display().to_string())
                .help("sign in again: otto login ADDRESS --token OU1-…")
        })
    }

    fn unknown(&self, name: &str) -> Fault {
        let fault = Fault::usage(Id::BadContext, format!("there is no context '{name}'"));
        let names = self.names().unwrap_or_default();
        let all = || names.iter().map(String::as_str).chain([LOCAL]);
        match otto_lang::nearest(name, all()) {
            Some(near) => fault.help(format!("did you mean '{near}'?")),
            None => fault.help(format!("contexts are {}", all().collect::<Vec<_>>().join(", "))),
        }
        .help("sign in to a cluster with `otto login`; `otto ctx` lists those that you are in")
    }

    /// Keeps a context, for this user alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn save(&self, name: &str, signed: &Signed) -> Result<(), Fault> {
        let path = self.file(name);
        let text = serde_json::to_string_pretty(signed).map_err(|error| {
            Fault::infrastructure(Id::BadContext, format!("cannot write it down: {error}"))
        })?;
        self.write(&path, &format!("{text}\n"))
    }

    /// Removes a context; where it was chosen, none is.
    ///
    /// # Errors
    /// When there is none of this name, or it cannot be removed.
    pub(super) fn forget(&self, name: &str) -> Result<(), Fault> {
        let path = self.file(name);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.unknown(name));
            }
            Err(error) => return Err(unusable(&path, &error)),
        }
        if self.chosen()?.as_deref() == Some(name) { self.choose(LOCAL) } else { Ok(()) }
    }

    /// The context that was chosen; `None` where none was.
    ///
    /// # Errors
    /// When that cannot be read.
    pub(super) fn chosen(&self) -> Result<Option<String>, Fault> {
        match fs::read_to_string(self.choice()) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|name| !name.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(&self.choice(), &error)),
        }
    }

    /// Chooses a context for all commands that name none.
    ///
    /// # Errors
    /// When there is none of this name, or it cannot be written down.
    pub(super) fn choose(&self, name: &str) -> Result<(), Fault> {
        if name != LOCAL {
            self.load(name)?;
        }
        self.write(&self.choice(), &format!("{name}\n"))
    }

    /// Writes a file whole or not at all.
    fn write(&self, path: &std::path::Path, text: &str) -> Result<(), Fault> {
        let fresh = path.with_extension(format!("new-{}", std::process::id()));
        let written = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(self.contexts())?;
            let mut file = OpenOptions::new();
            let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, path)
        };
        written().map_err(|error| unusable(path, &error))
    }
}

/// Whether a text may be the name of a context.
pub(super) fn is_name(text: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    (1..=MAX_NAME).contains(&text.len())
        && text.chars().all(fits)
        && !text.starts_with(['.', '-'])
        && text != LOCAL
}

fn unusable(path: &std::path::Path, error: &io::Error) -> Fault {
    Fault::infrastructure(Id::BadContext, format!("cannot use your contexts: {error}"))
        .at(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::{Contexts, LOCAL, Signed, is_name};
    use crate::commands::fault::Fault;
    use crate::identity::token::{Purpose, Token};
    use otto_core::ids::KeyId;
    use std::os::unix::fs::PermissionsExt;

    fn signed() -> Signed {
        let token = Token::draw(Purpose::SignIn, KeyId([7; 32])).unwrap();
        let addresses = vec!["10.0.0.5:7301".to_owned(), "10.0.0.6:7301".to_owned()];
        Signed::new("10.0.0.5:7301".to_owned(), addresses, "c1".to_owned(), &token)
    }

    fn told(fault: Fault) -> String {
        match fault {
            Fault::Told(told) => told.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_context_is_kept_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let contexts = Contexts::in_folder(folder.path());
        assert_eq!(contexts.names().unwrap(), [""; 0]);
        contexts.save("prod", &signed()).unwrap();
        contexts.save("lab", &signed()).unwrap();
        assert_eq!(contexts.names().unwrap(), ["lab", "prod"]);
        let (first, again) = (contexts.load("prod").unwrap(), contexts.load("prod").unwrap());
        assert_eq!(first, again);
        assert!(first.token("prod").is_ok());
        let file = folder.path().join("contexts/prod.json");
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
        let refused = told(contexts.load("prod").unwrap_err());
        assert!(refused.contains("other users may read your token"), "{refused}");
    }

    #[test]
    fn one_is_chosen_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let contexts = Contexts::in_folder(folder.path());
        contexts.save("prod", &signed()).unwrap();
        assert_eq!(contexts.chosen().unwrap(), None);
        contexts.choose("prod").unwrap();
        assert_eq!(contexts.chosen().unwrap().as_deref(), Some("prod"));
        let refused = told(contexts.choose("prud").unwrap_err());
        assert!(refused.contains("did you mean 'prod'?"), "{refused}");
        contexts.forget("prod").unwrap();
        assert_eq!(contexts.chosen().unwrap().as_deref(), Some(LOCAL));
        for unknown in ["prod", "../context", "", "."] {
            let refused = told(contexts.load(unknown).unwrap_err());
            assert!(refused.contains("there is no context"), "{refused}");
            assert!(contexts.forget(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn a_damaged_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let contexts = Contexts::in_folder(folder.path());
        let mut context = signed();
        context.token = "OU1-short".to_owned();
        contexts.save("prod", &context).unwrap();
        let refused = told(contexts.load("prod").unwrap().token("prod").unwrap_err());
        assert!(refused.contains("failed to read the token"), "{refused}");
        std::fs::write(folder.path().join("contexts/prod.json"), "{}").unwrap();
        let refused = told(contexts.load("prod").unwrap_err());
        assert!(refused.contains("this is no context"), "{refused}");
    }

    #[test]
    fn names_are_plain() {
        for (name, fits) in [
            ("prod", true),
            ("otto.example", true),
            ("10.0.0.5", true),
            (LOCAL, false),
            ("", false),
            ("a/b", false),
            ("..", false),
            ("-x", false),
            ("ünlü", false),
        ] {
            assert_eq!(is_name(name), fits, "{name}");
        }
    }
}
