//! Names of cache folders: what a build depends on, hashed.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ToolsError;

/// Names the control plane: module versions and the Go that compiles them (its text includes the system and the processor).
pub(super) fn modules(module: &Path, go_version: &str) -> Result<String, ToolsError> {
    let mut hash = Sha256::new();
    for name in ["go.sum", "go.mod"] {
        add(&mut hash, name, &read(&module.join(name))?);
    }
    add(&mut hash, "go version", go_version.as_bytes());
    Ok(short(hash))
}

/// Names our own programs: every file below `tests/go`.
pub(super) fn sources(module: &Path) -> Result<String, ToolsError> {
    let mut files = Vec::new();
    list(module, &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let name = file.strip_prefix(module).expect("it was listed below this folder");
        add(&mut hash, &name.to_string_lossy(), &read(&file)?);
    }
    Ok(short(hash))
}

/// Names a module: every file that goes into it, below `workspace`, and what its compiler says of itself.
pub(super) fn crates(workspace: &Path, inputs: &[PathBuf], compiler: &[u8]) -> Result<String, ToolsError> {
    let mut files = Vec::new();
    for input in inputs {
        if input.is_dir() { list(input, &mut files)? } else { files.push(input.clone()) }
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let name = file.strip_prefix(workspace).expect("the inputs are below the workspace");
        add(&mut hash, &name.to_string_lossy(), &read(&file)?);
    }
    add(&mut hash, "compiler", compiler);
    Ok(short(hash))
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), ToolsError> {
    let failed = || ToolsError::io(format!("list {}", folder.display()));
    for entry in fs::read_dir(folder).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        match entry.file_type().map_err(failed())? {
            kind if kind.is_dir() => list(&entry.path(), files)?,
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>, ToolsError> {
    fs::read(file).map_err(ToolsError::io(format!("read {}", file.display())))
}

/// Lengths go in too, so that no two lists of files hash alike.
fn add(hash: &mut Sha256, name: &str, content: &[u8]) {
    for part in [name.as_bytes(), content] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
}

/// The first 16 hexadecimal digits: enough to tell states of one repository apart.
fn short(hash: Sha256) -> String {
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_go_version_is_another_folder() {
        let module = super::super::go_module();
        let name = |go| modules(&module, go).expect("tests/go is part of the repository");
        assert_eq!(name("go version go1.26.8 linux/amd64").len(), 16);
        assert_eq!(name("go version go1.26.8 linux/amd64"), name("go version go1.26.8 linux/amd64"));
        assert_ne!(name("go version go1.26.8 linux/amd64"), name("go version go1.26.9 linux/amd64"));
    }
}
