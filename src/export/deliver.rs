//! Puts an export into a file in two steps: written and synced under another name before the keyring records it, given its name after.
//!
//! So a full disk is noticed before the keyring says that there is an export, and no file with keys lies about of which no keyring knows.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};

/// An export that is written and has no name yet. Dropped, it is gone.
pub struct Prepared {
    folder: OwnedFd,
    new: OsString,
    name: OsString,
    named: bool,
}

impl Prepared {
    /// Writes `bytes` beside `path`, mode 0600, durably. Fails if anything stands at `path`.
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
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, &new, flags, Mode::from_raw_mode(0o600))?;
        let prepared = Self { folder, new, name, named: false };
        // Opening an existing file does not tighten its mode.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o600))?;
        let mut file = File::from(file);
        file.write_all(bytes)?;
        rustix::fs::fsync(file.as_fd())?;
        Ok(prepared)
    }

    /// Gives it its name, durably. Fails if anything stands there by now.
    pub fn publish(mut self) -> io::Result<()> {
        rustix::fs::renameat_with(&self.folder, &self.new, &self.folder, &self.name, RenameFlags::NOREPLACE)?;
        self.named = true;
        Ok(rustix::fs::fsync(&self.folder)?)
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
        std::fs::write(&path, b"first").expect("write");
        assert_eq!(Prepared::write(&path, b"x").err().map(|e| e.kind()), Some(io::ErrorKind::AlreadyExists));
        assert!(late.publish().is_err());
        assert_eq!(std::fs::read(&path).expect("read"), b"first");
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 1);
    }
}
