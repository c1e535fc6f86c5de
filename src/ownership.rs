//! Reads a file only when nobody but root and ourselves could have written or, where it is secret, read it.
//!
//! The file is opened first and its owner and mode are read from the open handle; a path can be exchanged, a handle cannot.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use thiserror::Error;

use crate::secret::SecretBytes;

/// Why a file or folder is not trusted. Each names the path it is about.
#[derive(Debug, Error)]
pub enum OwnershipError {
    /// It cannot be opened or read.
    #[error("{path}: {source}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a symbolic link.
    #[error("{0} is a symbolic link")]
    Symlink(PathBuf),
    /// It is a folder, a socket or a device.
    #[error("{0} is not a regular file")]
    NotRegular(PathBuf),
    /// It belongs to somebody else.
    #[error("{path} belongs to uid {uid}, neither to root nor to uid {own}, as which this process runs")]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Ours.
        own: u32,
    },
    /// Its mode lets others in.
    #[error("{path} has mode {mode:04o}, which lets others {what}")]
    Mode {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What others could do.
        what: &'static str,
    },
    /// Larger than anything that belongs there.
    #[error("{path} has more than {max} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        max: u64,
    },
}

/// Who may read a file besides its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readers {
    /// Nobody.
    Owner,
    /// Its group too: systemd opens a credential to the user of a unit by an access list, which shows as the group's bit.
    Group,
}

/// Reads a file that holds keys: a regular file of root or of ours, closed to everybody else, in folders that others cannot change.
///
/// Errors: see [`OwnershipError`]; more than `max` bytes are refused, never cut.
pub fn read_private_file(path: &Path, max: u64) -> Result<SecretBytes, OwnershipError> {
    check_folders_above(path)?;
    read(path, max, Readers::Owner)
}

/// The same for a file of a state directory, which need not be there: then none.
pub fn read_private_if_there(path: &Path, max: u64) -> Result<Option<SecretBytes>, OwnershipError> {
    match read_private_file(path, max) {
        Err(OwnershipError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// Where the service manager puts the credential of that name for this process; none if it was given no credentials.
pub fn credential_path(name: &str) -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| PathBuf::from(folder).join(name))
}

/// Reads a credential that the service manager put into the folder it made for this unit.
pub fn read_credential(path: &Path, max: u64) -> Result<SecretBytes, OwnershipError> {
    read(path, max, Readers::Group)
}

fn read(path: &Path, max: u64, readers: Readers) -> Result<SecretBytes, OwnershipError> {
    let failed = |source: io::Error| OwnershipError::Read { path: path.to_owned(), source };
    // NONBLOCK, so that a FIFO put in the place of the file cannot hold us.
    let handle = rustix::fs::open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty());
    let handle = match handle {
        Err(rustix::io::Errno::LOOP) => return Err(OwnershipError::Symlink(path.to_owned())),
        other => other.map_err(|e| failed(e.into()))?,
    };
    let stat = rustix::fs::fstat(&handle).map_err(|e| failed(e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(OwnershipError::NotRegular(path.to_owned()));
    }
    check_owner(path, &stat)?;
    let (forbidden, what) = match readers {
        Readers::Owner => (0o077, "read or change it"),
        Readers::Group => (0o037, "read or change it"),
    };
    check_mode(path, &stat, forbidden, what)?;
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if size > max {
        return Err(OwnershipError::TooLarge { path: path.to_owned(), max });
    }
    // Sized before the first byte, so that growing leaves no copy behind; one spare byte shows a file that grew.
    let mut bytes = SecretBytes::with_capacity(size as usize + 1);
    let read = bytes.fill_from(&mut File::from(handle).take(size + 1)).map_err(failed)?;
    if read as u64 > size {
        return Err(failed(io::Error::other("it grew while it was read")));
    }
    Ok(bytes)
}

/// Checks the folder of `path` and every folder above it, so that nobody else can put another file in its place.
///
/// The folder itself must be writable by its owner alone; those above may be sticky, as `/tmp` is.
pub fn check_folders_above(path: &Path) -> Result<(), OwnershipError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| OwnershipError::Read { path, source }
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let folder = std::fs::canonicalize(parent).map_err(failed(parent))?;
    for (depth, at) in folder.ancestors().enumerate() {
        let stat = rustix::fs::stat(at).map_err(|e| failed(at)(e.into()))?;
        check_owner(at, &stat)?;
        let sticky = stat.st_mode & 0o1000 != 0;
        if depth == 0 || !sticky {
            check_mode(at, &stat, 0o022, "put another file in the place of ours")?;
        }
    }
    Ok(())
}

fn check_owner(path: &Path, stat: &Stat) -> Result<(), OwnershipError> {
    let own = rustix::process::geteuid().as_raw();
    let uid = stat.st_uid;
    if uid == 0 || uid == own { Ok(()) } else { Err(OwnershipError::Owner { path: path.to_owned(), uid, own }) }
}

fn check_mode(path: &Path, stat: &Stat, forbidden: u32, what: &'static str) -> Result<(), OwnershipError> {
    let mode = stat.st_mode & 0o7777;
    if mode & forbidden == 0 { Ok(()) } else { Err(OwnershipError::Mode { path: path.to_owned(), mode, what }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("folder");
        chmod(dir.path(), 0o700);
        dir
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }

    #[test]
    fn a_private_file_is_read_whole() {
        let dir = folder();
        let path = dir.path().join("key");
        fs::write(&path, b"0123456789").expect("write");
        chmod(&path, 0o600);
        assert_eq!(read_private_file(&path, 10).expect("reads").expose_secret(), b"0123456789");
    }

    #[test]
    fn a_file_over_the_limit_is_refused_and_not_cut() {
        let dir = folder();
        let path = dir.path().join("key");
        fs::write(&path, b"0123456789").expect("write");
        chmod(&path, 0o600);
        assert!(matches!(read_private_file(&path, 9), Err(OwnershipError::TooLarge { max: 9, .. })));
    }

    #[test]
    fn every_bit_for_group_or_others_is_refused() {
        let dir = folder();
        let path = dir.path().join("key");
        fs::write(&path, b"x").expect("write");
        for bit in [0o040, 0o020, 0o010, 0o004, 0o002, 0o001] {
            chmod(&path, 0o600 | bit);
            assert!(matches!(read_private_file(&path, 9), Err(OwnershipError::Mode { mode, .. }) if mode == 0o600 | bit), "{bit:03o}");
        }
        chmod(&path, 0o440);
        assert!(read_credential(&path, 9).is_ok(), "the group's read bit of a credential");
        chmod(&path, 0o404);
        assert!(read_credential(&path, 9).is_err());
    }

    #[test]
    fn a_symbolic_link_a_folder_and_a_fifo_are_refused_without_waiting() {
        let dir = folder();
        let (link, fifo) = (dir.path().join("link"), dir.path().join("fifo"));
        symlink("/etc/hostname", &link).expect("link");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("fifo");
        assert!(matches!(read_private_file(&link, 9), Err(OwnershipError::Symlink(_))));
        assert!(matches!(read_private_file(&fifo, 9), Err(OwnershipError::NotRegular(_))));
        let sub = dir.path().join("sub");
        fs::create_dir(&sub).expect("mkdir");
        assert!(matches!(read_private_file(&sub, 9), Err(OwnershipError::NotRegular(_))));
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused_and_a_sticky_one_above_is_not() {
        let dir = folder();
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).expect("mkdir");
        let path = inner.join("key");
        fs::write(&path, b"x").expect("write");
        chmod(&path, 0o600);
        for mode in [0o770, 0o702, 0o1777] {
            chmod(&inner, mode);
            assert!(matches!(read_private_file(&path, 9), Err(OwnershipError::Mode { .. })), "{mode:o} on the folder itself");
        }
        chmod(&inner, 0o700);
        chmod(dir.path(), 0o777);
        assert!(matches!(read_private_file(&path, 9), Err(OwnershipError::Mode { .. })), "not sticky");
        chmod(dir.path(), 0o1777);
        assert!(read_private_file(&path, 9).is_ok(), "sticky, one above");
    }
}
