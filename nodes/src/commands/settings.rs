//! Settings: flag, `OTTO_…`, repository, user, built in; the first of these counts.

use super::contexts::{Contexts, LOCAL};
use super::fault::{Fault, Id};
use super::repository::text_of;
use super::screen::{Color, Progress};
use clap::ValueEnum;
use otto_core::time::Span;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The name of the repository's file.
pub(super) const REPOSITORY_FILE: &str = "otto.toml";

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// An argument of this command.
    Flag,
    /// This variable of the environment.
    Environment(&'static str),
    /// The repository's file.
    Repository(PathBuf),
    /// `otto ctx` or `otto login` wrote it there.
    Chosen(PathBuf),
    /// The user's file.
    User(PathBuf),
    /// Nobody set it.
    BuiltIn,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Repository(path) => write!(f, "repository {}", path.display()),
            Self::Chosen(path) => write!(f, "otto ctx {}", path.display()),
            Self::User(path) => write!(f, "user {}", path.display()),
            Self::BuiltIn => f.write_str("built in"),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Set<T> {
    /// The value.
    pub(super) value: T,
    /// Where it came from.
    pub(super) source: Source,
}

/// What the flags of this command say.
#[derive(Clone, Debug, Default)]
pub(super) struct Flags {
    /// `--color`
    pub(super) color: Option<Color>,
    /// `--progress`
    pub(super) progress: Option<Progress>,
    /// `--strict`
    pub(super) strict: bool,
    /// `--timeout`
    pub(super) timeout: Option<Span>,
    /// `--context`
    pub(super) context: Option<String>,
}

/// All settings.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// When to use colours.
    pub(super) color: Set<Color>,
    /// How a run is shown.
    pub(super) progress: Set<Progress>,
    /// An unstable run ends with code 1.
    pub(super) strict: Set<bool>,
    /// How long to wait for a run.
    pub(super) timeout: Set<Option<Span>>,
    /// The cluster that commands speak with; [`LOCAL`] is none.
    pub(super) context: Set<String>,
}

impl Settings {
    /// Gathers all layers. `repository` is the repository's root, where there is one.
    ///
    /// # Errors
    /// When a file cannot be read, or a value is none of its setting's.
    pub(super) fn gather(flags: &Flags, repository: Option<&Path>) -> Result<Self, Fault> {
        let repository = repository.map(|root| root.join(REPOSITORY_FILE));
        let layers = Layers { repository: File::read(repository)?, user: File::read(user_file())? };
        Ok(Self {
            color: layers.find("color", "OTTO_COLOR", flags.color, word, Color::Auto)?,
            progress: layers.find(
                "progress",
                "OTTO_PROGRESS",
                flags.progress,
                word,
                Progress::Auto,
            )?,
            strict: layers.find(
                "strict",
                "OTTO_STRICT",
                flags.strict.then_some(true),
                truth,
                false,
            )?,
            timeout: layers.find(
                "timeout",
                "OTTO_TIMEOUT",
                flags.timeout.map(Some),
                |text| Span::parse(text).map(Some),
                None,
            )?,
            context: context(flags)?,
        })
    }

    /// All settings as text, with where each came from.
    #[must_use]
    pub(super) fn table(&self) -> Vec<(&'static str, String, &Source)> {
        let word = |value: Option<clap::builder::PossibleValue>| {
            value.map(|value| value.get_name().to_owned()).unwrap_or_default()
        };
        let timeout = self.timeout.value.map_or_else(|| "none".to_owned(), |span| span.to_string());
        vec![
            ("color", word(self.color.value.to_possible_value()), &self.color.source),
            ("progress", word(self.progress.value.to_possible_value()), &self.progress.source),
            ("strict", self.strict.value.to_string(), &self.strict.source),
            ("timeout", timeout, &self.timeout.source),
            ("context", self.context.value.clone(), &self.context.source),
        ]
    }
}

/// Which cluster is spoken with. A repository has no say in it: what it holds may be a stranger's.
fn context(flags: &Flags) -> Result<Set<String>, Fault> {
    if let Some(name) = &flags.context {
        return Ok(Set { value: name.clone(), source: Source::Flag });
    }
    let variable = "OTTO_CONTEXT";
    if let Some(value) = std::env::var(variable).ok().filter(|text| !text.is_empty()) {
        return Ok(Set { value, source: Source::Environment(variable) });
    }
    // Whoever has no folder for settings has chosen nothing.
    let Ok(contexts) = Contexts::of_user() else { return Ok(local()) };
    let chosen = contexts.chosen()?;
    let set = |value| Set { value, source: Source::Chosen(contexts.choice()) };
    Ok(chosen.map_or_else(local, set))
}

fn local() -> Set<String> {
    Set { value: LOCAL.to_owned(), source: Source::BuiltIn }
}

/// The names of the settings that files may hold.
const NAMES: [&str; 4] = ["color", "progress", "strict", "timeout"];

struct Layers {
    repository: File,
    user: File,
}

impl Layers {
    fn find<T>(
        &self,
        name: &'static str,
        variable: &'static str,
        flag: Option<T>,
        read: impl Fn(&str) -> Result<T, String>,
        built_in: T,
    ) -> Result<Set<T>, Fault> {
        if let Some(value) = flag {
            return Ok(Set { value, source: Source::Flag });
        }
        let written = std::env::var(variable).ok().filter(|text| !text.is_empty());
        let layers = [
            written.map(|text| (text, Source::Environment(variable))),
            self.repository
                .get(name)
                .map(|text| (text, self.repository.source(Source::Repository))),
            self.user.get(name).map(|text| (text, self.user.source(Source::User))),
        ];
        let Some((text, source)) = layers.into_iter().flatten().next() else {
            return Ok(Set { value: built_in, source: Source::BuiltIn });
        };
        match read(&text) {
            Ok(value) => Ok(Set { value, source }),
            Err(why) => Err(Fault::usage(Id::BadSetting, format!("the setting '{name}': {why}"))
                .at(source.to_string())
                .help("see `otto config --show-origin` for where each setting comes from")),
        }
    }
}

/// A file of settings that may be absent.
#[derive(Default)]
struct File {
    path: PathBuf,
    values: BTreeMap<String, String>,
}

impl File {
    fn read(path: Option<PathBuf>) -> Result<Self, Fault> {
        let Some(path) = path else { return Ok(Self::default()) };
        let place = path.display().to_string();
        let Some(text) = text_of(&path)? else {
            return Ok(Self { path, values: BTreeMap::new() });
        };
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let place = line.map_or_else(|| place.clone(), |line| format!("{place}:{line}"));
            Fault::usage(Id::BadSetting, format!("no TOML: {}", error.message())).at(place)
        })?;
        let mut values = BTreeMap::new();
        for (name, value) in table {
            if !NAMES.contains(&name.as_str()) {
                let what = format!("there is no setting '{name}'");
                return Err(Fault::usage(Id::BadSetting, what)
                    .at(place)
                    .help(format!("settings are {}", NAMES.join(", "))));
            }
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Boolean(truth) => truth.to_string(),
                other => {
                    let what = format!("the setting '{name}': {} is no text", other.type_str());
                    return Err(Fault::usage(Id::BadSetting, what).at(place));
                }
            };
            values.insert(name, text);
        }
        Ok(Self { path, values })
    }

    fn get(&self, name: &str) -> Option<String> {
        self.values.get(name).cloned()
    }

    fn source(&self, kind: fn(PathBuf) -> Source) -> Source {
        kind(self.path.clone())
    }
}

/// The folder of the user's settings, where the environment says who that is.
pub(super) fn user_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))?;
    Some(folder.join("otto"))
}

fn user_file() -> Option<PathBuf> {
    user_folder().map(|folder| folder.join("config.toml"))
}

fn word<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, true).map_err(|_| {
        let words: Vec<String> = T::value_variants()
            .iter()
            .filter_map(ValueEnum::to_possible_value)
            .map(|value| value.get_name().to_owned())
            .collect();
        format!("'{text}' is not one of {}", words.join(", "))
    })
}

fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "true" | "yes" => Ok(true),
        "0" | "false" | "no" => Ok(false),
        _ => Err(format!("'{text}' is neither true nor false")),
    }
}
