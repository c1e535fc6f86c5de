//! Files and folders, with errors that say what was attempted.

use std::path::Path;
use std::{fs, io};

use crate::run::TaskError;

pub(crate) fn create_folder(folder: &Path) -> Result<(), TaskError> {
    fs::create_dir_all(folder).map_err(while_doing(|| format!("create {}", folder.display())))
}

pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), TaskError> {
    fs::copy(from, to).map(drop).map_err(while_doing(|| format!("copy {} to {}", from.display(), to.display())))
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), TaskError> {
    fs::write(path, text).map_err(while_doing(|| format!("write {}", path.display())))
}

/// The text of a file; none where there is no file.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>, TaskError> {
    if_there(fs::read_to_string(path)).map_err(while_doing(|| format!("read {}", path.display())))
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), TaskError> {
    if_there(fs::remove_file(path)).map(drop).map_err(while_doing(|| format!("remove {}", path.display())))
}

fn if_there<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        done => done.map(Some),
    }
}

fn while_doing(attempt: impl FnOnce() -> String) -> impl FnOnce(io::Error) -> TaskError {
    move |source| TaskError::Io { attempt: attempt(), source }
}
