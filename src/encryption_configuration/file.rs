//! The file that a configuration is read from. It is the API server's, not ours, so who else can read it is told, not refused.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use thiserror::Error;

use super::{ConfigurationError, EncryptionConfiguration};
use crate::secret::SecretBytes;

/// Largest file that is read, in bytes: some 10,000 keys.
pub const MAX_FILE: u64 = 1 << 20;

/// Why no configuration came from a file. Each names it.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("read EncryptionConfiguration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder, a socket or a device.
    #[error("read EncryptionConfiguration {0}: it is not a regular file")]
    NotRegular(PathBuf),
    /// Larger than any.
    #[error("read EncryptionConfiguration {0}: it has more than 1 MiB")]
    TooLarge(PathBuf),
    /// No text.
    #[error("read EncryptionConfiguration {0}: it is not UTF-8 text")]
    NotText(PathBuf),
    /// The API server would not take it.
    #[error("{path}:{}: {}; is it the file that kube-apiserver was started with (--encryption-provider-config)?", source.line, source.problem)]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: Box<ConfigurationError>,
    },
}

/// A configuration from a file.
#[derive(Debug)]
pub struct Loaded {
    /// What stands in it.
    pub configuration: EncryptionConfiguration,
    /// The file's permission bits, if others than its owner may read or change it: whoever can read it has its keys.
    pub open_to_others: Option<u32>,
}

/// Reads and parses the configuration at `path`; a symbolic link is followed, as the API server does.
pub fn load(path: &Path) -> Result<Loaded, FileError> {
    let failed = |source: io::Error| FileError::Read { path: path.to_owned(), source };
    // NONBLOCK, so that a FIFO put in the place of the file cannot hold us.
    let handle =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()).map_err(|e| failed(e.into()))?;
    let stat = rustix::fs::fstat(&handle).map_err(|e| failed(e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(FileError::NotRegular(path.to_owned()));
    }
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if size > MAX_FILE {
        return Err(FileError::TooLarge(path.to_owned()));
    }
    // Sized before the first byte, so that growing leaves no copy behind; one spare byte shows a file that grew.
    let mut bytes = SecretBytes::with_capacity(size as usize + 1);
    let read = bytes.fill_from(&mut File::from(handle).take(size + 1)).map_err(failed)?;
    if read as u64 > size {
        return Err(failed(io::Error::other("it grew while it was read")));
    }
    let text = std::str::from_utf8(bytes.expose_secret()).map_err(|_| FileError::NotText(path.to_owned()))?;
    let configuration =
        EncryptionConfiguration::parse(text).map_err(|source| FileError::Invalid { path: path.to_owned(), source: source.into() })?;
    let mode = stat.st_mode & 0o7777;
    Ok(Loaded { configuration, open_to_others: (mode & 0o077 != 0).then_some(mode) })
}
