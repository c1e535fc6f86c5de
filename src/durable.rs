//! Writes a file so that after any kill or power loss there is the old state or the new one, whole.
//!
//! New file beside the old one, write, sync, rename, sync of the folder; only then has it happened.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use thiserror::Error;

/// Why a file was not made. What stood at its path, if anything, is as it was.
#[derive(Debug, Error)]
pub enum CreateError {
    /// Something stands at the path already; it is left alone.
    #[error("{0} exists already and is left as it is")]
    Exists(PathBuf),
    /// Another process is making it right now.
    #[error("another process is making {0} right now")]
    Busy(PathBuf),
    /// The path names no file in a folder.
    #[error("{0} does not name a file")]
    NoName(PathBuf),
    /// A step failed.
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

/// Makes a file of mode 0600 with `bytes` at `path`, durably, if nothing stands there yet.
///
/// A file left half-written by a kill has the name `.<name>.new`, is never read, and is written over by the next attempt.
pub fn create_private_file(path: &Path, bytes: &[u8]) -> Result<(), CreateError> {
    let name = path.file_name().ok_or_else(|| CreateError::NoName(path.to_owned()))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |step, path: &Path| {
        let path = path.to_owned();
        move |e: rustix::io::Errno| CreateError::Step { step, path, source: e.into() }
    };
    let folder = rustix::fs::open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let folder = folder.map_err(failed("open folder", parent))?;
    if rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Err(CreateError::Exists(path.to_owned()));
    }

    let new_name = [".".as_ref(), name, ".new".as_ref()].join("".as_ref());
    let new_path = parent.join(&new_name);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let new = rustix::fs::openat(&folder, &new_name, flags, Mode::from_raw_mode(0o600)).map_err(failed("create", &new_path))?;
    match rustix::fs::flock(&new, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(CreateError::Busy(path.to_owned())),
        other => other.map_err(failed("lock", &new_path))?,
    }
    // Opening an existing file does not tighten its mode, nor does it empty it before we hold the lock.
    rustix::fs::fchmod(&new, Mode::from_raw_mode(0o600)).map_err(failed("set the mode of", &new_path))?;
    rustix::fs::ftruncate(&new, 0).map_err(failed("empty", &new_path))?;

    let mut file = File::from(new);
    let written = file.write_all(bytes).map_err(|source| CreateError::Step { step: "write", path: new_path.clone(), source });
    let written = written.and_then(|()| rustix::fs::fsync(file.as_fd()).map_err(failed("sync", &new_path)));
    let renamed = written.and_then(|()| match rustix::fs::renameat_with(&folder, &new_name, &folder, name, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::EXIST) => Err(CreateError::Exists(path.to_owned())),
        other => other.map_err(failed("rename to", path)),
    });
    if let Err(error) = renamed {
        // Best effort: the name is never read, and the next attempt writes over it.
        let _ = rustix::fs::unlinkat(&folder, &new_name, AtFlags::empty());
        return Err(error);
    }
    rustix::fs::fsync(&folder).map_err(failed("sync folder", parent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_new_file_is_private_and_leaves_no_other_name_behind() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("keyring");
        create_private_file(&path, b"bytes").expect("creates");
        assert_eq!(fs::read(&path).expect("read"), b"bytes");
        assert_eq!(fs::metadata(&path).expect("stat").permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);
    }

    #[test]
    fn what_stands_there_is_left_alone_a_dangling_link_too() {
        let dir = tempfile::tempdir().expect("folder");
        let (path, link) = (dir.path().join("keyring"), dir.path().join("link"));
        fs::write(&path, b"old").expect("write");
        symlink(dir.path().join("nowhere"), &link).expect("link");
        assert!(matches!(create_private_file(&path, b"new"), Err(CreateError::Exists(_))));
        assert!(matches!(create_private_file(&link, b"new"), Err(CreateError::Exists(_))));
        assert_eq!(fs::read(&path).expect("read"), b"old");
        assert!(!dir.path().join("nowhere").exists());
    }

    #[test]
    fn a_longer_left_over_of_a_kill_with_an_open_mode_does_not_show_in_the_new_file() {
        let dir = tempfile::tempdir().expect("folder");
        let (path, torn) = (dir.path().join("keyring"), dir.path().join(".keyring.new"));
        fs::write(&torn, b"torn, and much longer").expect("write");
        fs::set_permissions(&torn, fs::Permissions::from_mode(0o666)).expect("chmod");
        create_private_file(&path, b"new").expect("creates");
        assert_eq!(fs::read(&path).expect("read"), b"new");
        assert_eq!(fs::metadata(&path).expect("stat").permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn two_makers_at_once_do_not_mix() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("keyring");
        let held = File::create(dir.path().join(".keyring.new")).expect("create");
        rustix::fs::flock(&held, FlockOperation::LockExclusive).expect("lock");
        assert!(matches!(create_private_file(&path, b"new"), Err(CreateError::Busy(_))));
        assert!(!path.exists());
    }
}
