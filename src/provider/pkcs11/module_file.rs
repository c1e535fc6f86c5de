//! Whether the file of a module may be loaded: its code runs in this process, with the keys.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Problem;

/// The file without symbolic links, if nobody but root could have written it.
///
/// The path must be absolute and lead to a regular file that belongs to root and is written by root alone; so must every folder above it, and
/// above the link if it is one. With `insecure` only the first two are looked at.
/// Between this and the load nothing can change: who could exchange the file is root.
pub(super) fn check(path: &Path, insecure: bool) -> Result<PathBuf, Problem> {
    let refused = |at: &Path, why: String| Problem::File(format!("{} {why}", at.display()));
    if !path.is_absolute() {
        return Err(refused(path, "is not an absolute path".to_owned()));
    }
    let read = |at: &Path| std::fs::metadata(at).map_err(|e| Problem::File(format!("{}: {e}", at.display())));
    let file = std::fs::canonicalize(path).map_err(|e| Problem::File(format!("{}: {e}", path.display())))?;
    let metadata = read(&file)?;
    if !metadata.is_file() {
        return Err(refused(path, "is not a regular file".to_owned()));
    }
    if insecure {
        return Ok(file);
    }
    only_root(&metadata).map_err(|why| refused(&file, why))?;
    for folder in file.ancestors().skip(1).chain(path.ancestors().skip(1)) {
        only_root(&read(folder)?).map_err(|why| refused(folder, why))?;
    }
    Ok(file)
}

/// Why somebody else than root could write there.
fn only_root(metadata: &Metadata) -> Result<(), String> {
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if uid != 0 {
        return Err(format!("belongs to uid {uid}, not to root"));
    }
    if mode & 0o022 != 0 {
        return Err(format!("has mode {mode:04o}, which lets others put another module in its place"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_an_absolute_path_to_a_regular_file() {
        for insecure in [false, true] {
            let refused = |path: &str| check(Path::new(path), insecure).expect_err("refused").to_string();
            assert_eq!(refused("lib/module.so"), "its module is refused: lib/module.so is not an absolute path");
            assert_eq!(refused("/usr"), "its module is refused: /usr is not a regular file");
            assert!(refused("/no/such/module.so").contains("/no/such/module.so: No such file"));
        }
    }

    #[test]
    fn a_module_that_others_can_exchange_is_refused_unless_that_is_asked_for() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("module.so");
        std::fs::write(&path, b"").expect("write");
        // The folder for temporary files is everybody's.
        assert!(matches!(check(&path, false), Err(Problem::File(_))));
        assert!(check(&path, true).is_ok());
    }

    #[test]
    fn a_file_of_the_system_is_taken_by_its_own_name() {
        let link = Path::new("/bin/sh");
        assert_eq!(check(link, false), Ok(std::fs::canonicalize(link).expect("there")));
    }
}
