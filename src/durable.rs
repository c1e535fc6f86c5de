//! Writes a file so that after any kill or power loss there is the old state or the new one, whole.
//!
//! New file beside the old one, write, sync, rename, sync of the folder; only then has it happened. One writer at a time, by a lock file
//! that stays: a lock on the file itself would be lost with it at the rename.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use thiserror::Error;

/// Why a file was not written. What stood at its path, if anything, is as it was, but for [`WriteError::NotDurable`].
#[derive(Debug, Error)]
pub enum WriteError {
    /// Something stands at the path already; it is left alone.
    #[error("{0} exists already and is left as it is")]
    Exists(PathBuf),
    /// Another process is changing it right now.
    #[error("another command is changing {0} right now")]
    Busy(PathBuf),
    /// The path names no file in a folder.
    #[error("{0} does not name a file")]
    NoName(PathBuf),
    /// The new file stands there, and may not outlive a power cut: the folder did not sync.
    #[error("sync folder of {path}: {source}; the new file stands there already, but a power cut may bring the old state back")]
    NotDurable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A step failed; what stood at the path is as it was.
    #[error("{step} {path}: {source}")]
    Step {
        /// What was attempted.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The right to write one file: held until it is dropped, by one process at a time.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    name: OsString,
    folder: OwnedFd,
    /// Held, not read.
    _lock: OwnedFd,
}

impl Writer {
    /// Takes the right to write `path`, or fails with [`WriteError::Busy`] at once.
    ///
    /// The lock file `.<name>.lock` stands beside it and stays.
    pub fn lock(path: &Path) -> Result<Self, WriteError> {
        let name = path.file_name().ok_or_else(|| WriteError::NoName(path.to_owned()))?;
        let parent = folder_of(path);
        let folder = rustix::fs::open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let folder = folder.map_err(failed("open folder", parent))?;
        let lock_name = beside(name, ".lock");
        let lock_path = parent.join(&lock_name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::openat(&folder, &lock_name, flags, Mode::from_raw_mode(0o600));
        let lock = lock.map_err(failed("open lock file", &lock_path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(WriteError::Busy(path.to_owned())),
            other => other.map_err(failed("lock", &lock_path))?,
        }
        // What stands there may have been renamed by a command that was killed before its last sync. Whoever goes on from it makes it durable
        // first: "nothing was changed, that was done before" is a success too.
        rustix::fs::fsync(&folder).map_err(failed("sync folder", parent))?;
        Ok(Self { path: path.to_owned(), name: name.to_owned(), folder, _lock: lock })
    }

    /// Fails with [`WriteError::Exists`] if anything stands there.
    pub fn absent(&self) -> Result<(), WriteError> {
        let found = rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if found { Err(WriteError::Exists(self.path.clone())) } else { Ok(()) }
    }

    /// Makes the file, of mode 0600, with `bytes`, durably; fails with [`WriteError::Exists`] if anything stands there.
    pub fn create(&self, bytes: &[u8]) -> Result<(), WriteError> {
        self.absent()?;
        self.write(bytes, RenameFlags::NOREPLACE)
    }

    /// Puts a file of mode 0600 with `bytes` in the place of the one that stands there, durably and in one step.
    pub fn replace(&self, bytes: &[u8]) -> Result<(), WriteError> {
        self.write(bytes, RenameFlags::empty())
    }

    /// Removes the file, durably; one that is not there is as good.
    pub fn remove(&self) -> Result<(), WriteError> {
        match rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("remove", &self.path)(error)),
        }
        rustix::fs::fsync(&self.folder).map_err(|e| WriteError::NotDurable { path: self.path.clone(), source: e.into() })
    }

    /// A file left half-written by a kill has the name `.<name>.new`, is never read, and is written over by the next attempt.
    fn write(&self, bytes: &[u8], flags: RenameFlags) -> Result<(), WriteError> {
        let parent = folder_of(&self.path);
        let new_name = beside(&self.name, ".new");
        let new_path = parent.join(&new_name);
        let open = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = rustix::fs::openat(&self.folder, &new_name, open, Mode::from_raw_mode(0o600)).map_err(failed("create", &new_path))?;
        // Opening an existing file does not tighten its mode.
        rustix::fs::fchmod(&new, Mode::from_raw_mode(0o600)).map_err(failed("set the mode of", &new_path))?;
        let mut file = File::from(new);
        let written = file.write_all(bytes).map_err(|source| WriteError::Step { step: "write", path: new_path.clone(), source });
        let written = written.and_then(|()| rustix::fs::fsync(file.as_fd()).map_err(failed("sync", &new_path)));
        let renamed = written.and_then(|()| match rustix::fs::renameat_with(&self.folder, &new_name, &self.folder, &self.name, flags) {
            Err(Errno::EXIST) => Err(WriteError::Exists(self.path.clone())),
            other => other.map_err(failed("rename to", &self.path)),
        });
        if let Err(error) = renamed {
            // Best effort: the name is never read, and the next attempt writes over it.
            let _ = rustix::fs::unlinkat(&self.folder, &new_name, AtFlags::empty());
            return Err(error);
        }
        rustix::fs::fsync(&self.folder).map_err(|e| WriteError::NotDurable { path: self.path.clone(), source: e.into() })
    }
}

/// Makes the file that stands at `path` durable, whoever put it there: its bytes, then its name. Takes no right to write.
///
/// Errors: [`WriteError::Step`]. A file system that cannot sync at all is none: a read-only image has nothing to lose.
pub fn settle(path: &Path) -> Result<(), WriteError> {
    let parent = folder_of(path);
    let folder = rustix::fs::open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let folder = folder.map_err(failed("open folder", parent))?;
    let name = path.file_name().ok_or_else(|| WriteError::NoName(path.to_owned()))?;
    let file = rustix::fs::openat(&folder, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    let file = file.map_err(failed("open", path))?;
    sync(&file).map_err(failed("sync", path))?;
    sync(&folder).map_err(failed("sync folder", parent))
}

fn sync(handle: &OwnedFd) -> Result<(), Errno> {
    match rustix::fs::fsync(handle) {
        Err(Errno::INVAL) => Ok(()),
        other => other,
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn beside(name: &OsStr, suffix: &str) -> OsString {
    [".".as_ref(), name, suffix.as_ref()].join("".as_ref())
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(Errno) -> WriteError + use<> {
    let path = path.to_owned();
    move |e| WriteError::Step { step, path, source: e.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn create(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
        Writer::lock(path)?.create(bytes)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("stat").permissions().mode() & 0o7777
    }

    #[test]
    fn a_new_file_is_private_and_only_the_lock_is_left_beside_it() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("keyring");
        create(&path, b"bytes").expect("creates");
        assert_eq!((fs::read(&path).expect("read").as_slice(), mode(&path)), (b"bytes".as_slice(), 0o600));
        let mut names: Vec<_> = fs::read_dir(dir.path()).expect("list").map(|e| e.expect("entry").file_name()).collect();
        names.sort();
        assert_eq!(names, [".keyring.lock", "keyring"]);
    }

    #[test]
    fn what_stands_there_is_left_alone_by_create_a_dangling_link_too() {
        let dir = tempfile::tempdir().expect("folder");
        let (path, link) = (dir.path().join("keyring"), dir.path().join("link"));
        fs::write(&path, b"old").expect("write");
        symlink(dir.path().join("nowhere"), &link).expect("link");
        assert!(matches!(create(&path, b"new"), Err(WriteError::Exists(_))));
        assert!(matches!(create(&link, b"new"), Err(WriteError::Exists(_))));
        assert_eq!(fs::read(&path).expect("read"), b"old");
        assert!(!dir.path().join("nowhere").exists());
    }

    #[test]
    fn replace_puts_the_new_file_in_the_place_of_the_old_one_and_keeps_it_private() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("keyring");
        fs::write(&path, b"old, and much longer").expect("write");
        Writer::lock(&path).expect("locks").replace(b"new").expect("replaces");
        assert_eq!((fs::read(&path).expect("read").as_slice(), mode(&path)), (b"new".as_slice(), 0o600));
    }

    #[test]
    fn a_longer_left_over_of_a_kill_with_an_open_mode_does_not_show_in_the_new_file() {
        let dir = tempfile::tempdir().expect("folder");
        let (path, torn) = (dir.path().join("keyring"), dir.path().join(".keyring.new"));
        fs::write(&torn, b"torn, and much longer").expect("write");
        fs::set_permissions(&torn, fs::Permissions::from_mode(0o666)).expect("chmod");
        create(&path, b"new").expect("creates");
        assert_eq!((fs::read(&path).expect("read").as_slice(), mode(&path)), (b"new".as_slice(), 0o600));
    }

    #[test]
    fn what_stands_there_is_settled_without_a_right_to_write_and_what_does_not_is_an_error() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("keyring");
        assert!(matches!(settle(&path), Err(WriteError::Step { step: "open", .. })));
        create(&path, b"bytes").expect("creates");
        for (at, mode) in [(path.as_path(), 0o400), (dir.path(), 0o500)] {
            fs::set_permissions(at, fs::Permissions::from_mode(mode)).expect("chmod");
        }
        settle(&path).expect("settles");
        // No file of the kernel's own can be synced, nor be lost.
        settle(Path::new("/proc/self/stat")).expect("nothing to do");
    }

    #[test]
    fn what_is_removed_is_gone_and_nothing_to_remove_is_no_error() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("keyring");
        create(&path, b"bytes").expect("creates");
        let writer = Writer::lock(&path).expect("locks");
        writer.remove().expect("removes");
        assert!(!path.exists());
        writer.remove().expect("nothing there");
    }

    #[test]
    fn a_second_writer_is_told_so_at_once_and_may_go_on_after_the_first() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("keyring");
        let first = Writer::lock(&path).expect("locks");
        assert!(matches!(Writer::lock(&path), Err(WriteError::Busy(_))));
        drop(first);
        Writer::lock(&path).expect("free again");
    }
}
