//! PKCS#11 modules that Debian does not have: Kryoptic, and a fake of our own. Their crates are in `tests/modules`.
//!
//! A test that asks for one gets it built, by cargo and into the cache folder; half a minute on two cores the first time.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use super::{ToolsError, build, cache_folder, elapsed, fingerprint};

/// How much of cargo's output an error carries.
const LAST_LINES: usize = 25;

/// How many states of a module's sources keep their file.
const KEPT: usize = 5;

/// A module of `tests/modules`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// Follows a script; see [`crate::tokens::Fake`].
    Fake,
    /// An implementation of PKCS#11 that shares nothing with SoftHSM.
    Kryoptic,
}

impl Module {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Fake, Self::Kryoptic];

    /// Its folder in `tests/modules`; the package is called the same with `-module` behind.
    fn name(self) -> &'static str {
        match self {
            Self::Fake => "fake",
            Self::Kryoptic => "kryoptic",
        }
    }

    /// The file to load, built if this state of its sources was not built yet. A second caller waits for the first, in this process or another.
    pub fn path(self) -> Result<PathBuf, ToolsError> {
        static BUILT: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
        let [fake, kryoptic] = &BUILT;
        let built = if self == Self::Fake { fake } else { kryoptic };
        if let Some(path) = built.get() {
            return Ok(path.clone());
        }
        let path = self.build(&mut |_| {})?;
        Ok(built.get_or_init(|| path).clone())
    }

    /// The same, with a line of text for who waits.
    pub fn build(self, progress: &mut dyn FnMut(&str)) -> Result<PathBuf, ToolsError> {
        let (name, workspace) = (self.name(), workspace());
        let folder = cache_folder()?.join("modules");
        let _lock: File = build::lock(&folder, progress)?;
        let inputs = ["Cargo.toml", "Cargo.lock", name].map(|input| workspace.join(input));
        let path = folder.join(format!("{name}-{}.so", fingerprint::crates(&workspace, &inputs, &compiler()?)?));
        if path.is_file() {
            progress(&format!("{name}: already built"));
            return Ok(path);
        }
        progress(&format!("{name}: building tests/modules/{name}"));
        let (start, target) = (Instant::now(), folder.join("target"));
        compile(&workspace, name, &target)?;
        // Copied under another name first: a copy that was cut short leaves nothing that looks finished.
        let unfinished = folder.join(format!(".unfinished-{name}"));
        let built = target.join(format!("debug/lib{name}_module.so"));
        fs::copy(&built, &unfinished).map_err(ToolsError::io(format!("copy {}", built.display())))?;
        fs::rename(&unfinished, &path).map_err(ToolsError::io(format!("rename {} to {}", unfinished.display(), path.display())))?;
        progress(&format!("{name}: built in {}", elapsed(start.elapsed())));
        forget_old(&folder, name)?;
        Ok(path)
    }
}

/// Removes the files of sources that are long gone. Call it under the lock.
fn forget_old(folder: &Path, name: &str) -> Result<(), ToolsError> {
    let failed = || ToolsError::io(format!("clear old modules in {}", folder.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let file = entry.file_name().to_string_lossy().into_owned();
        if file.strip_prefix(name).is_some_and(|rest| rest.starts_with('-') && rest.ends_with(".so")) {
            files.push((entry.metadata().and_then(|data| data.modified()).map_err(failed())?, entry.path()));
        }
    }
    files.sort();
    let surplus = files.len().saturating_sub(KEPT);
    files.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path).map_err(failed()))
}

/// The workspace of the modules, in this checkout.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the test bed is a folder of tests/").join("modules")
}

fn compile(workspace: &Path, name: &str, target: &Path) -> Result<(), ToolsError> {
    let package = format!("{name}-module");
    let mut cargo = program("cargo");
    cargo.current_dir(workspace).args(["build", "--locked", "--package", &package, "--target-dir"]).arg(target);
    // Kryoptic reads OpenSSL's headers by libclang, which comes without the compiler's own ones; those of cc do as well.
    let headers = run(program("cc").arg("-print-file-name=include"))?;
    let headers = String::from_utf8_lossy(&headers.stdout).trim().to_owned();
    cargo.env("BINDGEN_EXTRA_CLANG_ARGS", format!("-isystem {headers}"));
    let Output { status, stderr, .. } = run(&mut cargo)?;
    if status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&stderr);
    let lines: Vec<_> = text.lines().collect();
    let output = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
    let command = format!("cargo build --locked --package {package}");
    Err(ToolsError::Build { name: package, command, folder: workspace.to_owned(), status, output })
}

/// What `rustc` says of itself: another compiler makes another file.
fn compiler() -> Result<Vec<u8>, ToolsError> {
    Ok(run(program("rustc").arg("-vV"))?.stdout)
}

fn run(command: &mut Command) -> Result<Output, ToolsError> {
    let name = command.get_program().display().to_string();
    command.stdin(Stdio::null()).output().map_err(|source: io::Error| ToolsError::Io { attempt: format!("run `{name}`"), source })
}

/// A program without what an outer cargo told the test about itself: it would be compiled again for every test that asks.
fn program(name: &str) -> Command {
    const THE_USERS: [&str; 4] = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR"];
    let mut command = Command::new(name);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_") && !THE_USERS.iter().any(|one| text.starts_with(one)) {
            command.env_remove(&name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_files_of_a_module_stay() {
        let folder = crate::scratch::folder("modules").expect("a folder can be made");
        for number in 0..KEPT + 2 {
            fs::write(folder.path().join(format!("fake-{number}.so")), "").expect("a file can be written");
        }
        fs::write(folder.path().join("kryoptic-0.so"), "").expect("a file can be written");
        forget_old(folder.path(), "fake").expect("old files can be removed");
        assert_eq!(fs::read_dir(folder.path()).expect("it is still there").count(), KEPT + 1);
        assert!(folder.path().join("kryoptic-0.so").exists());
    }
}
