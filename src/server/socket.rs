//! Binds the Unix socket: its final owner and mode from the first moment, nobody else's file ever touched.
//!
//! The folder is opened and checked once, and everything happens relative to that handle. The socket is bound under another
//! name, given its group and mode, and renamed; so a stale socket is replaced in one step and a half-made one is never seen. A
//! lock file beside it, held as long as the process lives, keeps two plugins from replacing each other's socket.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::ownership::{self, OwnershipError};

/// Longest path of a socket in bytes: `sun_path` of `unix(7)` has 108, one of them the end.
pub const MAX_PATH: usize = 107;

/// Where the socket stands and who may connect.
#[derive(Debug, Clone)]
pub struct SocketSettings {
    /// Absolute, at most [`MAX_PATH`] bytes.
    pub path: PathBuf,
    /// Permission bits of the socket.
    pub mode: u32,
    /// Group of the socket, if not ours.
    pub gid: Option<u32>,
    /// Uids that may connect.
    pub allow_uids: Vec<u32>,
}

/// Why the socket could not be had. Nothing was replaced.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The path does not fit into a socket address.
    #[error("socket path {path} has {} bytes; a Unix socket allows {MAX_PATH}", path.as_os_str().len())]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// The path names no file in a folder, or is not absolute.
    #[error("socket path {0} is not the absolute path of a file")]
    NoName(PathBuf),
    /// Its folder is not safe.
    #[error("folder of the socket: {0}")]
    Folder(#[from] OwnershipError),
    /// A Keywright process holds the lock.
    #[error("another Keywright{} serves {path}", pid.as_deref().map(|p| format!(" (pid {p})")).unwrap_or_default())]
    Held {
        /// The path.
        path: PathBuf,
        /// Its pid as it stands in the lock file.
        pid: Option<String>,
    },
    /// Something that is not ours answers there.
    #[error("another process listens on {0}")]
    Live(PathBuf),
    /// A symbolic link stands there.
    #[error("{0} is a symbolic link; it was left as it is")]
    Symlink(PathBuf),
    /// Something else stands there.
    #[error("{path} is {what}, not a socket; it was left as it is")]
    Foreign {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
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

/// A bound socket; gone from its folder when dropped, unless another has taken its place.
#[derive(Debug)]
pub(super) struct Socket {
    listener: UnixListener,
    folder: OwnedFd,
    name: std::ffi::OsString,
    /// Device and inode of the socket file.
    identity: (u64, u64),
    /// Held, not read.
    _lock: OwnedFd,
}

impl Socket {
    /// Binds as `settings` say.
    ///
    /// Errors: see [`SocketError`]; each thing that may stand in the way has its own.
    pub(super) fn bind(settings: &SocketSettings) -> Result<Self, SocketError> {
        let path = settings.path.as_path();
        let step = |step, path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| SocketError::Step { step, path, source }
        };
        let errno = |what, path: &Path| {
            let failed = step(what, path);
            move |e: Errno| failed(e.into())
        };
        if path.as_os_str().len() > MAX_PATH {
            return Err(SocketError::TooLong { path: path.to_owned() });
        }
        let (Some(parent), Some(name), true) = (path.parent(), path.file_name(), path.is_absolute()) else {
            return Err(SocketError::NoName(path.to_owned()));
        };
        ownership::check_folders_above(path)?;
        let folder = rustix::fs::open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let folder = folder.map_err(errno("open folder", parent))?;

        let lock = take_lock(&folder, path, name)?;
        let stale = is_stale(&folder, path, name)?;

        let new_name = short_name(name);
        // Through the handle: the folder that was checked is the folder that is used, and the address stays short.
        let at_handle = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(&new_name);
        match rustix::fs::unlinkat(&folder, &new_name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(errno("remove the left-over", &parent.join(&new_name))(e)),
        }
        let listener = UnixListener::bind(&at_handle).map_err(step("bind", path))?;
        let placed = (|| {
            if let Some(gid) = settings.gid {
                let gid = rustix::fs::Gid::from_raw(gid);
                rustix::fs::chownat(&folder, &new_name, None, Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(errno("set the group of", path))?;
            }
            rustix::fs::chmodat(&folder, &new_name, Mode::from_raw_mode(settings.mode), AtFlags::empty())
                .map_err(errno("set the mode of", path))?;
            let stat = rustix::fs::statat(&folder, &new_name, AtFlags::SYMLINK_NOFOLLOW).map_err(errno("look at", path))?;
            let flags = if stale { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
            rustix::fs::renameat_with(&folder, &new_name, &folder, name, flags).map_err(errno("rename to", path))?;
            Ok((stat.st_dev, stat.st_ino))
        })();
        match placed {
            Ok(identity) => Ok(Self { listener, folder, name: name.to_owned(), identity, _lock: lock }),
            Err(error) => {
                // Best effort: the next start removes it too.
                let _ = rustix::fs::unlinkat(&folder, &new_name, AtFlags::empty());
                Err(error)
            }
        }
    }

    /// The listener, for the runtime that this is called in.
    pub(super) fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        let listener = self.listener.try_clone()?;
        listener.set_nonblocking(true)?;
        tokio::net::UnixListener::from_std(listener)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.identity);
        if ours {
            // A left-over is recognised as stale by the next start.
            let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
        }
    }
}

/// Another name in the same folder, the same in every start and never too long for a socket address.
fn short_name(name: &std::ffi::OsStr) -> std::ffi::OsString {
    let digest = Sha256::digest(name.as_bytes());
    format!(".{}.new", base16ct::lower::encode_string(&digest[..8])).into()
}

fn take_lock(folder: &OwnedFd, path: &Path, name: &std::ffi::OsStr) -> Result<OwnedFd, SocketError> {
    let lock_name = [name, ".lock".as_ref()].join("".as_ref());
    let lock_path = path.with_file_name(&lock_name);
    let failed = |step| {
        let path = lock_path.clone();
        move |e: Errno| SocketError::Step { step, path, source: e.into() }
    };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = rustix::fs::openat(folder, &lock_name, flags, Mode::from_raw_mode(0o600)).map_err(failed("open lock file"))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            let mut text = [0; 16];
            let read = rustix::io::pread(&lock, &mut text, 0).unwrap_or(0);
            let pid = std::str::from_utf8(&text[..read]).ok().map(str::trim);
            let pid = pid.filter(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit())).map(str::to_owned);
            return Err(SocketError::Held { path: path.to_owned(), pid });
        }
        other => other.map_err(failed("lock"))?,
    }
    // Always of the same length, over what stood there: to empty the file first took 5 % of a start on ext4, which journals that.
    let pid = format!("{:<10}\n", std::process::id());
    rustix::io::pwrite(&lock, pid.as_bytes(), 0).map_err(failed("write"))?;
    Ok(lock)
}

/// Whether a dead socket stands at `path`; false when nothing does, an error when anything else does.
fn is_stale(folder: &OwnedFd, path: &Path, name: &std::ffi::OsStr) -> Result<bool, SocketError> {
    let step = |step| move |source: io::Error| SocketError::Step { step, path: path.to_owned(), source };
    let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(false),
        other => other.map_err(|e| step("look at")(e.into()))?,
    };
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => None,
        FileType::Symlink => return Err(SocketError::Symlink(path.to_owned())),
        FileType::RegularFile => Some("a regular file"),
        FileType::Directory => Some("a folder"),
        _ => Some("a FIFO or device"),
    };
    if let Some(what) = what {
        return Err(SocketError::Foreign { path: path.to_owned(), what });
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::Live(path.to_owned())),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(step("probe the socket that stands at")(e)),
    }
}

/// Whether `path` could be the path of a socket, before anything is touched.
pub fn check_path(path: &Path) -> Result<(), SocketError> {
    if path.as_os_str().len() > MAX_PATH {
        return Err(SocketError::TooLong { path: path.to_owned() });
    }
    let plain = path.is_absolute() && path.file_name().is_some() && !path.as_os_str().as_bytes().ends_with(b"/");
    if plain { Ok(()) } else { Err(SocketError::NoName(path.to_owned())) }
}

/// Whether a socket stands at `path`, for clients that want to say what is wrong.
pub fn is_socket(path: &Path) -> io::Result<bool> {
    Ok(std::fs::symlink_metadata(path)?.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("folder");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
        dir
    }

    fn settings(path: &Path) -> SocketSettings {
        SocketSettings { path: path.to_owned(), mode: 0o600, gid: None, allow_uids: vec![] }
    }

    #[test]
    fn a_socket_has_its_mode_accepts_and_is_gone_when_dropped() {
        let dir = folder();
        let path = dir.path().join("kms.sock");
        let socket = Socket::bind(&SocketSettings { mode: 0o660, ..settings(&path) }).expect("binds");
        assert_eq!(fs::metadata(&path).expect("stat").mode() & 0o7777, 0o660);
        UnixStream::connect(&path).expect("connects");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_of_a_dead_process_is_replaced() {
        let dir = folder();
        let path = dir.path().join("kms.sock");
        drop(UnixListener::bind(&path).expect("binds"));
        assert!(is_socket(&path).expect("stat"));
        Socket::bind(&settings(&path)).expect("replaces");
    }

    #[test]
    fn a_left_over_of_a_start_that_was_killed_is_removed() {
        let dir = folder();
        let path = dir.path().join("kms.sock");
        drop(UnixListener::bind(dir.path().join(short_name("kms.sock".as_ref()))).expect("binds"));
        Socket::bind(&settings(&path)).expect("binds");
    }

    #[test]
    fn a_live_listener_is_left_alone() {
        let dir = folder();
        let path = dir.path().join("kms.sock");
        let other = UnixListener::bind(&path).expect("binds");
        assert!(matches!(Socket::bind(&settings(&path)), Err(SocketError::Live(_))));
        UnixStream::connect(&path).expect("still there");
        drop(other);
    }

    #[test]
    fn a_second_plugin_is_told_the_pid_of_the_first() {
        let dir = folder();
        let path = dir.path().join("kms.sock");
        let _first = Socket::bind(&settings(&path)).expect("binds");
        let pid = std::process::id().to_string();
        assert!(matches!(Socket::bind(&settings(&path)), Err(SocketError::Held { pid: Some(p), .. }) if p == pid));
    }

    #[test]
    fn files_folders_and_links_are_left_as_they_are() {
        let dir = folder();
        let (file, sub, link) = (dir.path().join("file"), dir.path().join("sub"), dir.path().join("link"));
        fs::write(&file, b"precious").expect("write");
        fs::create_dir(&sub).expect("mkdir");
        symlink(&file, &link).expect("link");
        assert!(matches!(Socket::bind(&settings(&file)), Err(SocketError::Foreign { what: "a regular file", .. })));
        assert!(matches!(Socket::bind(&settings(&sub)), Err(SocketError::Foreign { what: "a folder", .. })));
        assert!(matches!(Socket::bind(&settings(&link)), Err(SocketError::Symlink(_))));
        assert_eq!(fs::read(&file).expect("read"), b"precious");
        assert!(fs::symlink_metadata(&link).expect("stat").file_type().is_symlink());
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let dir = folder();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).expect("chmod");
        assert!(matches!(Socket::bind(&settings(&dir.path().join("kms.sock"))), Err(SocketError::Folder(_))));
    }

    #[test]
    fn a_path_of_107_bytes_serves_and_one_more_is_refused() {
        let dir = folder();
        let room = MAX_PATH - dir.path().as_os_str().len() - 1;
        let path = dir.path().join("s".repeat(room));
        let _socket = Socket::bind(&settings(&path)).expect("binds");
        UnixStream::connect(&path).expect("connects");
        assert!(matches!(Socket::bind(&settings(&dir.path().join("s".repeat(room + 1)))), Err(SocketError::TooLong { .. })));
    }

    #[test]
    fn a_socket_that_took_our_place_is_not_removed_with_ours() {
        let dir = folder();
        let path = dir.path().join("kms.sock");
        let socket = Socket::bind(&settings(&path)).expect("binds");
        fs::remove_file(&path).expect("remove");
        let _other = UnixListener::bind(&path).expect("binds");
        drop(socket);
        assert!(path.exists());
    }
}
