//! Puts an export into a file in two steps: written and synced under another name before the keyring records it, given its name after.
//!
//! So a full disk is noticed before the keyring says that there is an export, and no file with keys lies about of which no keyring knows.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use thiserror::Error;

/// Why an export did not get its name for good.
#[derive(Debug, Error)]
pub enum PublishError {
    /// It has no name, and is gone.
    #[error("{0}")]
    NotNamed(io::Error),
    /// It stands there under its name, and may not outlive a power cut.
    #[error("the file stands there, but its folder did not sync, and a power cut may take it away: {0}")]
    NotDurable(io::Error),
}

/// An export that is written and has no name yet. Dropped, it is gone.
pub struct Prepared {
    folder: OwnedFd,
    new: OsString,
    name: OsString,
    named: bool,
    /// Its lock keeps a second export from writing into the same new file.
    file: File,
}

impl Prepared {
    /// Writes `bytes` beside `path`, mode 0600, durably.
    ///
    /// Errors: `AlreadyExists` if anything stands at `path`, `ResourceBusy` if another process is writing an export to it.
    pub fn write(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let name = path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?.to_owned();
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_owned);
        let folder = rustix::fs::open(&parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        if rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut new = OsString::from(".");
        new.push(&name);
        new.push(".new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, &new, flags, Mode::from_raw_mode(0o600))?;
        let busy = || io::Error::new(io::ErrorKind::ResourceBusy, "another command is writing an export to it right now");
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(busy()),
            other => other?,
        }
        // Whoever had the lock before may have given this very file its name since it was opened here.
        let ours = rustix::fs::fstat(&file)?;
        if !rustix::fs::statat(&folder, &new, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|s| (s.st_dev, s.st_ino) == (ours.st_dev, ours.st_ino)) {
            return Err(busy());
        }
        let mut prepared = Self { folder, new, name, named: false, file: file.into() };
        // Opening an existing file does not tighten its mode, nor empty it.
        rustix::fs::fchmod(&prepared.file, Mode::from_raw_mode(0o600))?;
        rustix::fs::ftruncate(&prepared.file, 0)?;
        prepared.file.write_all(bytes)?;
        rustix::fs::fsync(prepared.file.as_fd())?;
        Ok(prepared)
    }

    /// Gives it its name, durably. Fails if anything stands there by now.
    pub fn publish(mut self) -> Result<(), PublishError> {
        let renamed = rustix::fs::renameat_with(&self.folder, &self.new, &self.folder, &self.name, RenameFlags::NOREPLACE);
        renamed.map_err(|e| PublishError::NotNamed(e.into()))?;
        self.named = true;
        rustix::fs::fsync(&self.folder).map_err(|e| PublishError::NotDurable(e.into()))
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if !self.named {
            // Best effort: what is left is encrypted, and the next attempt writes over it.
            let _ = rustix::fs::unlinkat(&self.folder, &self.new, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_published_leaves_nothing_and_what_stands_there_is_left_alone() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("e.age");
        drop(Prepared::write(&path, b"x").expect("writes"));
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0);
        let late = Prepared::write(&path, b"late").expect("writes");
        assert_eq!(Prepared::write(&path, b"x").err().map(|e| e.kind()), Some(io::ErrorKind::ResourceBusy), "late is not written over");
        std::fs::write(&path, b"first").expect("write");
        assert_eq!(Prepared::write(&path, b"x").err().map(|e| e.kind()), Some(io::ErrorKind::AlreadyExists));
        assert!(matches!(late.publish(), Err(PublishError::NotNamed(_))));
        assert_eq!(std::fs::read(&path).expect("read"), b"first");
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 1);
    }
}
