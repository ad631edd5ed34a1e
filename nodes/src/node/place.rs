//! Where a node keeps what it has, and where it can be reached.

use crate::store::StoreFile;
use crate::wire::hello::Refused;
use otto_core::ids::Digest;
use std::env;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A node's data folder, and what lies where in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    data: PathBuf,
}

/// The longest path of a socket, in bytes: systems allow 104 to 108.
const MAX_SOCKET_PATH: usize = 99;

impl Place {
    /// The place in this folder.
    ///
    /// # Errors
    /// When the working folder, from which a relative path counts, is not known.
    pub fn new(data: &Path) -> Result<Self, Refused> {
        let data = std::path::absolute(data).map_err(|error| Refused::at("find", data, &error))?;
        Ok(Self { data })
    }

    /// Where this user's local node is: `OTTO_HOME`, or `otto` in the user's state folder.
    ///
    /// # Errors
    /// When the environment names no such folder.
    pub fn of_user() -> Result<Self, Refused> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let folder = match (set("OTTO_HOME"), set("XDG_STATE_HOME"), set("HOME")) {
            (Some(otto), ..) => PathBuf::from(otto),
            (None, Some(state), _) => Path::new(&state).join("otto"),
            (None, None, Some(home)) => Path::new(&home).join(".local/state/otto"),
            (None, None, None) => {
                return Err(Refused::trouble(
                    "failed to find a folder for the local node: HOME is not set",
                    "set OTTO_HOME to a folder that this user may write",
                ));
            }
        };
        Self::new(&folder)
    }

    /// The folder of everything.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Where the store is.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.data.join("store")
    }

    /// Whether a store was made here.
    #[must_use]
    pub fn has_store(&self) -> bool {
        [StoreFile::Log, StoreFile::State].iter().any(|it| self.store().join(it.name()).exists())
    }

    /// Where blobs are.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.data.join("blobs")
    }

    /// Where the control side's logs are.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    /// Where the agent keeps what it has.
    #[must_use]
    pub fn agent(&self) -> PathBuf {
        self.data.join("agent")
    }

    /// Where a node of a cluster keeps how it was started.
    #[must_use]
    pub fn residence(&self) -> PathBuf {
        self.data.join("node.json")
    }

    /// Where the agent of a cluster keeps at which addresses control nodes are.
    #[must_use]
    pub fn controls(&self) -> PathBuf {
        self.agent().join("controls.json")
    }

    /// Where the agent says how well steps are kept apart.
    #[must_use]
    pub fn sandbox(&self) -> PathBuf {
        self.agent().join("sandbox.json")
    }

    /// Where processes write what they did, for whoever looks for a mistake in Otto.
    #[must_use]
    pub fn traces(&self) -> PathBuf {
        self.data.join("traces")
    }

    /// A lock's file. Locks are held by open files, so that they end with their processes.
    #[must_use]
    pub fn lock(&self, name: &str) -> PathBuf {
        self.data.join(format!("{name}.lock"))
    }

    /// The file that is there as long as a node belongs here that was started on demand, for a
    /// command: also when it has died. Who is told to leave takes it away.
    #[must_use]
    pub fn on_demand(&self) -> PathBuf {
        self.data.join("on-demand")
    }

    /// Where the node listens: in the data folder, or in a short folder of this user's own where
    /// that path would be too long for a socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        let path = self.data.join("otto.sock");
        if path.as_os_str().len() <= MAX_SOCKET_PATH {
            return path;
        }
        self.short_folder().join("otto.sock")
    }

    /// The folders that steps must not see.
    #[must_use]
    pub fn hidden(&self) -> Vec<PathBuf> {
        let socket = self.socket();
        let socket_folder = socket.parent().filter(|folder| *folder != self.data);
        [Some(self.data.as_path()), socket_folder].into_iter().flatten().map(Into::into).collect()
    }

    fn short_folder(&self) -> PathBuf {
        let name = Digest::of(self.data.as_os_str().as_bytes()).short();
        let run = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let run = run.filter(|run| run.is_absolute() && run.as_os_str().len() < 60 && run.is_dir());
        let user = rustix::process::getuid().as_raw();
        match run {
            Some(run) => run.join(format!("otto-{name}")),
            None => PathBuf::from(format!("/tmp/otto-{user}-{name}")),
        }
    }

    /// The mode of a data folder that is there and that others may enter.
    #[must_use]
    pub fn open_to_others(&self) -> Option<u32> {
        let mode = fs::metadata(&self.data).ok().filter(fs::Metadata::is_dir)?.mode() & 0o777;
        (mode & 0o077 != 0).then_some(mode)
    }

    /// Whether the data folder holds something, and nothing of a node.
    fn is_foreign(&self) -> bool {
        let is_ours = ["store", "agent", "blobs", "traces", "node.json", "start.lock"]
            .iter()
            .any(|name| self.data.join(name).exists());
        !is_ours && fs::read_dir(&self.data).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Refuses a folder that others may enter and that holds other things: to close it would take
    /// them away from others.
    ///
    /// # Errors
    /// What it holds is not a node's.
    pub fn check(&self) -> Result<(), Refused> {
        match self.open_to_others() {
            Some(mode) if self.is_foreign() => Err(Refused::trouble(
                format!(
                    "failed to use the folder {}: it holds other things, and other users may \
                     enter it (mode {mode:o})",
                    self.data.display()
                ),
                "name a folder for Otto alone, with OTTO_HOME or --data",
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Makes the folders, for their owner alone.
    ///
    /// # Errors
    /// When one cannot be made or written, is not this user's, or holds what others may use.
    pub fn make(&self) -> Result<(), Refused> {
        self.check()?;
        let socket = self.socket();
        let folders = [&self.data, &self.traces(), &self.blobs(), &self.agent()];
        let socket_folder = socket.parent().map(Path::to_owned);
        for folder in folders.into_iter().chain(&socket_folder) {
            make_own(folder).map_err(|error| Refused::at("use the folder", folder, &error))?;
        }
        Ok(())
    }
}

/// A data folder that is to be filled. What was made in it goes again where nothing came of it.
#[derive(Debug)]
pub(super) struct Filling {
    data: PathBuf,
    /// Nothing was there before.
    was_bare: bool,
    /// Not even the folder.
    was_absent: bool,
}

impl Filling {
    /// Takes note of what is there now.
    pub(super) fn of(place: &Place) -> Self {
        let data = place.data.clone();
        let was_absent = fs::symlink_metadata(&data).is_err();
        let is_bare = fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_none());
        Self { data, was_bare: was_absent || is_bare, was_absent }
    }

    /// Leaves it as it was. Where a key was made that may be somebody's by now, it stays.
    pub(super) fn undo(&self) {
        let identities = [&self.data, &self.data.join("agent")].map(|it| it.join("identity"));
        if !self.was_bare || identities.iter().any(|it| it.join("key.pem").exists()) {
            return;
        }
        let undone = || -> io::Result<()> {
            if self.was_absent {
                return fs::remove_dir_all(&self.data);
            }
            for entry in fs::read_dir(&self.data)? {
                let path = entry?.path();
                if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
            }
            Ok(())
        };
        if let Err(error) = undone() {
            tracing::debug!(%error, "what was made in a data folder stays there");
        }
    }
}

/// Makes a folder that only its owner can enter; one that is there must be this user's.
fn make_own(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let found = fs::symlink_metadata(folder)?;
    if found.file_type().is_symlink() {
        // A link to a folder is the user's choice, except where others may write.
        return make_own(&fs::canonicalize(folder)?);
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user owns it"));
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}
