//! What steps are told of the machine and its user: the only part of their environment that does
//! not come from the plan.

use nix::unistd::User;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where programs are looked for when nobody says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where tools say that they are installed, beside the path: the programs there are often only
/// proxies, which find the tool itself with these.
const TOOL_FOLDERS: [&str; 10] = [
    "ASDF_DATA_DIR",
    "CARGO_HOME",
    "GOROOT",
    "JAVA_HOME",
    "NVM_DIR",
    "PYENV_ROOT",
    "RBENV_ROOT",
    "RUSTUP_HOME",
    "SDKMAN_DIR",
    "VOLTA_HOME",
];

/// The machine and the user as steps see them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// Where programs are looked for.
    pub path: String,
    /// The user's folder.
    pub home: PathBuf,
    /// The user's name.
    pub user: String,
    /// The user's shell.
    pub shell: PathBuf,
    /// The language of messages.
    pub lang: String,
    /// The time zone, where it is not the machine's.
    pub time_zone: Option<String>,
    /// The folders of tools, by the variables that name them.
    pub tool_folders: BTreeMap<String, String>,
}

impl Host {
    /// That of this process and its user.
    #[must_use]
    pub fn of_this_process() -> Self {
        let user = User::from_uid(nix::unistd::geteuid()).ok().flatten();
        let said = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let folder = |name: &str| said(name).filter(|value| Path::new(value).is_absolute());
        let tool_folders =
            TOOL_FOLDERS.iter().filter_map(|name| Some(((*name).to_owned(), folder(name)?)));
        let home = said("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        Self {
            path: said("PATH").unwrap_or_else(|| DEFAULT_PATH.to_owned()),
            home: home
                .or_else(|| user.as_ref().map(|user| user.dir.clone()))
                .unwrap_or_else(|| PathBuf::from("/")),
            shell: user.as_ref().map_or_else(|| PathBuf::from("/bin/sh"), |u| u.shell.clone()),
            user: user.map_or_else(|| nix::unistd::geteuid().to_string(), |user| user.name),
            lang: said("LANG").unwrap_or_else(|| "C.UTF-8".to_owned()),
            time_zone: said("TZ"),
            tool_folders: tool_folders.collect(),
        }
    }

    /// The environment variables that every step begins with. Otto's commands for scripts come last
    /// on the path: nothing of the machine's is ever taken for one of them, nor the other way
    /// round.
    pub(super) fn variables(&self, temporary: &Path, commands: &Path) -> BTreeMap<String, String> {
        let mut variables: BTreeMap<String, String> = [
            ("PATH", format!("{}:{}", self.path, commands.display())),
            ("HOME", self.home.to_string_lossy().into_owned()),
            ("USER", self.user.clone()),
            ("LOGNAME", self.user.clone()),
            ("SHELL", self.shell.to_string_lossy().into_owned()),
            ("LANG", self.lang.clone()),
            ("TMPDIR", temporary.to_string_lossy().into_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        variables.extend(self.tool_folders.clone());
        variables.extend(self.time_zone.clone().map(|zone| ("TZ".to_owned(), zone)));
        variables
    }
}
