//! The Go programs that tests run beside the plugin: a real control plane and a few small programs of our own.
//!
//! They are built from `tests/go` by the Go compiler alone, with the versions that `tests/go/go.sum` fixes, into a cache folder outside
//! `target/`, so that `cargo clean` and a fresh clone do not cost ten minutes. `cargo xtask tools` builds; tests only locate.
//! The modules that they load are built there too, by cargo: see [`Module`].

mod build;
mod error;
mod fingerprint;
mod modules;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::ToolsError;
pub use modules::Module;

/// The control plane and its clients: name of the file, Go package. Each package is a `tool` line of `tests/go/go.mod`.
const CONTROL_PLANE: [(&str, &str); 5] = [
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("etcdctl", "go.etcd.io/etcd/etcdctl/v3"),
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
];

/// Our own programs: name of the file, package in `tests/go`.
const OWN: [(&str, &str); 4] =
    [("conformance", "./conformance"), ("count", "./count"), ("refplugin", "./refplugin"), ("snapshotgen", "./snapshotgen")];

/// The built Go programs of this checkout.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Holds the control plane; named by Go's version and the module versions.
    folder: PathBuf,
    /// Holds our own programs; named by their sources, so that two checkouts never use each other's.
    own: PathBuf,
}

impl Tools {
    /// Finds the programs that `cargo xtask tools` built for this state of `tests/go`; builds nothing.
    ///
    /// Errors: `NotBuilt` names the first program that is missing; the Go errors, because the folder's name depends on Go's version.
    pub fn locate() -> Result<Self, ToolsError> {
        let tools = Self::folders()?;
        for (folder, (name, _)) in tools.all() {
            if !folder.join(name).is_file() {
                return Err(ToolsError::NotBuilt { name, folder: folder.to_owned() });
            }
        }
        Ok(tools)
    }

    /// Builds what is missing, and returns when all of it is there. `progress` gets one line of text at a time.
    ///
    /// Twelve minutes on two cores with cold caches, under a second when all is there. A second caller waits for the first.
    pub fn build(progress: &mut dyn FnMut(&str)) -> Result<Self, ToolsError> {
        Self::build_some(true, progress)
    }

    /// Builds only our own programs (for a benchmark that needs no control plane).
    pub fn build_own(progress: &mut dyn FnMut(&str)) -> Result<Self, ToolsError> {
        Self::build_some(false, progress)
    }

    fn build_some(control_plane: bool, progress: &mut dyn FnMut(&str)) -> Result<Self, ToolsError> {
        let tools = Self::folders()?;
        let _lock = build::lock(&tools.folder, progress)?;
        build::forget_leftovers(&tools.folder, &tools.own)?;
        if control_plane {
            for (name, package) in CONTROL_PLANE {
                build::program(&go_module(), &tools.folder, name, package, progress)?;
            }
        }
        for (name, package) in OWN {
            build::program(&go_module(), &tools.own, name, package, progress)?;
        }
        Ok(tools)
    }

    fn folders() -> Result<Self, ToolsError> {
        let module = go_module();
        let go = build::go_version(&module)?;
        let folder = cache_folder()?.join(format!("go-{}", fingerprint::modules(&module, &go)?));
        let own = folder.join(format!("own-{}", fingerprint::sources(&module)?));
        Ok(Self { folder, own })
    }

    fn all(&self) -> impl Iterator<Item = (&Path, (&'static str, &'static str))> {
        let control_plane = CONTROL_PLANE.into_iter().map(|tool| (self.folder.as_path(), tool));
        control_plane.chain(OWN.into_iter().map(|tool| (self.own.as_path(), tool)))
    }

    /// The folder of the control plane's programs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The API server.
    pub fn kube_apiserver(&self) -> PathBuf {
        self.folder.join("kube-apiserver")
    }

    /// The controllers, of the API server's version.
    pub fn kube_controller_manager(&self) -> PathBuf {
        self.folder.join("kube-controller-manager")
    }

    /// The etcd server, of the version that this API server names.
    pub fn etcd(&self) -> PathBuf {
        self.folder.join("etcd")
    }

    /// The Kubernetes command line, of the API server's version.
    pub fn kubectl(&self) -> PathBuf {
        self.folder.join("kubectl")
    }

    /// The etcd command line, of the server's version.
    pub fn etcdctl(&self) -> PathBuf {
        self.folder.join("etcdctl")
    }

    /// Our KMS client, which dials as kube-apiserver does.
    pub fn conformance(&self) -> PathBuf {
        self.own.join("conformance")
    }

    /// Counts what stands in etcd by Kubernetes' own packages.
    pub fn count(&self) -> PathBuf {
        self.own.join("count")
    }

    /// The reference KMS plugin that the benchmarks measure against.
    pub fn refplugin(&self) -> PathBuf {
        self.own.join("refplugin")
    }

    /// Writes etcd databases of any size for the snapshot reader.
    pub fn snapshotgen(&self) -> PathBuf {
        self.own.join("snapshotgen")
    }
}

/// The folder that outlives `target/`: `$KEYWRIGHT_CACHE`, else `keywright` in the user's cache folder. Safe to delete at any time.
pub fn cache_folder() -> Result<PathBuf, ToolsError> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("KEYWRIGHT_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("keywright")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/keywright")))
        .filter(|folder| folder.is_absolute())
        .ok_or(ToolsError::NoCacheFolder)
}

/// The Go module of the tests, in this checkout.
pub fn go_module() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the test bed is a folder of tests/").join("go")
}

/// A duration as people say it while they wait: `0.4 s`, `12 s`, `6 m 02 s`.
pub fn elapsed(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds => format!("{} m {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_plane_package_is_a_tool_line_of_go_mod() {
        let text = std::fs::read_to_string(go_module().join("go.mod")).expect("tests/go/go.mod is part of the repository");
        for (name, package) in CONTROL_PLANE {
            assert!(text.lines().any(|line| line.trim().trim_start_matches("tool ") == package), "no tool line for {name}");
        }
    }

    #[test]
    fn times_read_well_at_every_length() {
        let said = [400, 12_900, 362_000].map(|ms| elapsed(Duration::from_millis(ms)));
        assert_eq!(said, ["0.4 s", "12 s", "6 m 02 s"]);
    }
}
