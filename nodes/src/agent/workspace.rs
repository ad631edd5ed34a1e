//! A lease's folder: where it lies, what is in it, and how it goes.

use super::file_name;
use otto_core::lease::LeaseId;
use otto_stdlib::steps::{COMMANDS, PREFIX};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink,
};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// So many files are removed before others have their turn.
const TURN_FILES: usize = 256;
/// The longest path that a Unix socket can have.
const SOCKET_PATH_BYTES: usize = 100;

/// The folders of one lease.
#[derive(Debug)]
pub(super) struct Grounds {
    folder: PathBuf,
    /// For the control socket, where the lease's folder has too long a path for one.
    elsewhere: Option<tempfile::TempDir>,
    /// The invocation file that the last step was given.
    invocation: Mutex<Option<InvocationFile>>,
}

/// An invocation file, open so that the next step's is written over it.
#[derive(Debug)]
struct InvocationFile {
    file: File,
    identity: (u64, u64),
    length: u64,
}

impl InvocationFile {
    /// Makes the file, which is not there.
    fn make(path: &Path) -> io::Result<Self> {
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let identity = identity(&file.metadata()?);
        Ok(Self { file, identity, length: 0 })
    }

    /// Whether this is still what is found there: steps may put something else in its place.
    fn is_at(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| identity(&found) == self.identity)
    }

    fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.write_all_at(content, 0)?;
        let length = content.len() as u64;
        if length < self.length {
            self.file.set_len(length)?;
        }
        self.length = length;
        Ok(())
    }
}

/// By which a file is known, whatever its name.
fn identity(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

impl Grounds {
    /// Makes the folders of a lease, empty.
    pub(super) async fn make(work: &Path, image: &Path, lease: LeaseId) -> io::Result<Self> {
        let folder = work.join(file_name(lease));
        let too_long = folder.as_os_str().len() + "/control".len() > SOCKET_PATH_BYTES;
        let elsewhere = too_long.then(|| tempfile::Builder::new().prefix("otto-").tempdir());
        let elsewhere = elsewhere.transpose()?;
        let grounds = Self { folder, elsewhere, invocation: Mutex::default() };
        remove_tree(&grounds.folder).await?;
        let mut private = DirBuilder::new();
        private.mode(0o700).create(&grounds.folder)?;
        for inside in [grounds.workspace(), grounds.temporary(), grounds.commands()] {
            private.create(inside)?;
        }
        for command in COMMANDS {
            symlink(image, grounds.commands().join(format!("{PREFIX}{command}")))?;
        }
        Ok(grounds)
    }

    /// The whole folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where steps begin.
    pub(super) fn workspace(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// For files that nobody needs afterwards.
    pub(super) fn temporary(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    /// The files of a step library.
    pub(super) fn library(&self, name: &str) -> PathBuf {
        self.folder.join("libraries").join(name)
    }

    /// The folder that a library's steps keep. It lives as long as the lease.
    pub(super) fn cache(&self, library: &str) -> PathBuf {
        self.folder.join("caches").join(library)
    }

    /// The commands of Otto's that scripts may call.
    pub(super) fn commands(&self) -> PathBuf {
        self.folder.join("commands")
    }

    /// The invocation file of the step that runs.
    fn invocation(&self) -> PathBuf {
        self.folder.join("invocation.yml")
    }

    /// Its path as text.
    pub(super) fn invocation_path(&self) -> String {
        self.invocation().to_string_lossy().into_owned()
    }

    /// Writes the invocation file of a step. It is written over the last one's, since file systems
    /// are slow at making files, and slower at emptying them.
    pub(super) fn put_invocation(&self, content: &[u8]) -> io::Result<()> {
        let path = self.invocation();
        let mut kept = self.invocation.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = kept.as_mut().filter(|file| file.is_at(&path)) {
            return file.write(content);
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        kept.insert(InvocationFile::make(&path)?).write(content)
    }

    /// Where the control socket of the stage's steps is bound.
    pub(super) fn control_socket(&self) -> PathBuf {
        let folder = self.elsewhere.as_ref().map_or(self.folder.as_path(), |dir| dir.path());
        folder.join("control")
    }

    /// Writes the files of a library, for reading and executing only.
    pub(super) fn put_library(
        &self,
        name: &str,
        files: &otto_stdlib::library::Files,
    ) -> io::Result<()> {
        let folder = self.library(name);
        for (path, file) in files {
            let target = folder.join(path);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            let mode = if file.executable { 0o555 } else { 0o444 };
            let written =
                fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(target)?;
            written.write_all_at(&file.content, 0)?;
        }
        Ok(())
    }

    /// Removes all of it.
    pub(super) async fn remove(&self) -> io::Result<()> {
        remove_tree(&self.folder).await
    }
}

/// Removes a folder and all that is in it, however its permissions are, without keeping others from
/// their turn. A folder that is not there is no error.
pub(super) async fn remove_tree(root: &Path) -> io::Result<()> {
    let mut folders = vec![root.to_owned()];
    let mut removed = 0;
    while let Some(folder) = folders.last().cloned() {
        let entries = match opened(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                folders.pop();
                continue;
            }
            entries => entries?,
        };
        let before = folders.len();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                fs::remove_file(entry.path())?;
            }
            removed += 1;
            if removed % TURN_FILES == 0 {
                tokio::task::yield_now().await;
            }
        }
        if folders.len() == before {
            fs::remove_dir(&folder)?;
            folders.pop();
        }
    }
    Ok(())
}

/// Opens a folder whose entries are to be removed; takes back the rights that a step gave up on it.
fn opened(folder: &Path) -> io::Result<fs::ReadDir> {
    let mode = fs::symlink_metadata(folder)?.permissions().mode();
    if mode & 0o700 != 0o700 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    fs::read_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::{Grounds, file_name, remove_tree};
    use otto_core::ids::{Attempt, Epoch, ProjectId, RunId, StageId};
    use otto_core::lease::LeaseId;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    #[tokio::test]
    async fn a_tree_goes_whatever_steps_made_of_it() {
        let around = tempfile::tempdir().expect("a folder");
        let kept = around.path().join("kept");
        fs::create_dir(&kept).expect("a folder");
        fs::write(kept.join("file"), "stays").expect("a file");
        let root = around.path().join("root");
        let closed = root.join("a/b");
        fs::create_dir_all(closed.join("c")).expect("folders");
        fs::write(closed.join("file"), "goes").expect("a file");
        symlink(&kept, root.join("link")).expect("a link");
        for folder in [&closed, &root.join("a")] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o000)).expect("a mode");
        }
        remove_tree(&root).await.expect("removed");
        assert!(!root.exists());
        assert!(kept.join("file").exists());
        remove_tree(&root).await.expect("nothing to remove");
    }

    #[tokio::test]
    async fn a_step_finds_its_own_invocation_whatever_earlier_ones_did() {
        let around = tempfile::tempdir().expect("a folder");
        let lease = LeaseId {
            run: RunId { project: ProjectId(7), number: 1 },
            stage: StageId(1),
            attempt: Attempt::FIRST,
            epoch: Epoch::default(),
        };
        let grounds = Grounds::make(around.path(), Path::new("/proc/self/exe"), lease).await;
        let grounds = grounds.expect("folders");
        let path = around.path().join(file_name(lease)).join("invocation.yml");
        let kept = around.path().join("kept");
        fs::write(&kept, "stays").expect("a file");
        let check = |content: &str, spoil: fn(&Path, &Path)| {
            grounds.put_invocation(content.as_bytes()).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("an invocation"), content);
            let mode = fs::symlink_metadata(&path).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{content}");
            spoil(&path, &kept);
        };
        check("the first", |_, _| {});
        check("the second, which is longer", |_, _| {});
        check("short", |path, _| fs::remove_file(path).expect("removed"));
        check("after it was removed", |path, kept| {
            fs::remove_file(path).expect("removed");
            symlink(kept, path).expect("a link");
        });
        check("after a link", |path, kept| {
            fs::rename(path, kept.with_extension("moved")).expect("moved");
            fs::write(path, "forged").expect("a file");
        });
        check("after another file", |_, _| {});
        assert_eq!(fs::read_to_string(&kept).expect("a file"), "stays");
    }
}
