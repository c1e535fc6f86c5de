//! Room on the disk: a full one makes tests fail with whatever they happened to write.

use crate::run::{TaskError, target_folder};
use crate::stages::Outcome;

/// Least room to begin with, in bytes: what etcd, the API servers and the linker write while the tests run, with something over. A first
/// run on a machine needs 12 GB more for what it builds.
const LEAST: u64 = 4_000_000_000;

/// Fails when there is less room than the tests need.
pub(crate) fn ensure() -> Result<Outcome, TaskError> {
    let free = free()?;
    println!("{} are free", shown(free));
    let problem = format!("{} are free where the build is, and the tests need at least {}", shown(free), shown(LEAST));
    Ok(Outcome { problems: if free < LEAST { vec![problem] } else { Vec::new() }, ..Outcome::default() })
}

/// Bytes that are free on the file system that holds what is built.
pub(crate) fn free() -> Result<u64, TaskError> {
    // It may not be there before the first build; its parent is the checkout, or was made by whoever set the variable.
    let target = target_folder();
    let folder = target.ancestors().find(|folder| folder.exists()).unwrap_or(&target);
    let stat = rustix::fs::statvfs(folder)
        .map_err(|e| TaskError::Io { attempt: format!("ask how much room {} has", folder.display()), source: e.into() })?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whole gigabytes, with one digit behind the point.
pub(crate) fn shown(bytes: u64) -> String {
    format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10)
}

#[cfg(test)]
mod tests {
    #[test]
    fn gigabytes_are_cut_not_rounded() {
        assert_eq!(super::shown(3_999_999_999), "3.9 GB");
        assert_eq!(super::shown(12_050_000_000), "12.0 GB");
    }
}
