//! A real control plane for tests: etcd, kube-apiserver, the plugin under test, and a systemd of our own.
//!
//! Nothing here is simulated, and nothing here knows how Keywright works inside: the plugin is a binary with arguments, a
//! socket and a log. What the tests believe about stored values comes from the readers in [`stored`], which share no code with it.
//!
//! | module | what it gives |
//! |---|---|
//! | [`tools`] | where the built control-plane binaries are |
//! | [`process`], [`log`] | a child process whose lines can be awaited and which dies with its owner |
//! | [`scratch`] | folders and processes that are gone after the test, even when it was killed |
//! | [`plugin`], [`etcd`], [`apiserver`] | the three servers |
//! | [`controllers`] | kube-controller-manager, for one controller |
//! | [`pki`] | certificates for TLS between them, good and bad ones |
//! | [`encryption`], [`api`], [`metrics`], [`stored`] | the API server's configuration, its HTTPS API, its metrics, what it stores |
//! | [`leak`] | looks for secret bytes in any of the forms in which they get printed |
//! | [`systemd`] | a systemd as PID 1 in namespaces of its own |
//! | [`terminal`] | a command at a terminal, its prompts answered |
//! | [`tokens`] | tokens behind PKCS#11 modules, real ones and one that follows a script |
//! | [`kubeadm`] | control-plane nodes with every file at kubeadm's place, for guides that are written for such nodes |
//! | [`page`] | the shell blocks of a page, and whether what they print is what the page shows |
//! | [`ran`] | a command that ran to its end, and what may be relied on then |
//! | [`callgrind`] | what callgrind counted, by layer of the plugin |
//! | [`cluster`] | the same servers, left running for trials by hand |

pub mod api;
pub mod apiserver;
pub mod callgrind;
pub mod cluster;
pub mod controllers;
pub mod encryption;
pub mod error;
pub mod etcd;
pub mod kubeadm;
pub mod kubeconfig;
pub mod leak;
pub mod log;
pub mod metrics;
pub mod page;
pub mod pki;
pub mod plugin;
pub mod ports;
pub mod process;
pub mod ran;
pub mod scratch;
pub mod stored;
pub mod systemd;
pub mod terminal;
pub mod tokens;
pub mod tools;
pub mod wait;

pub use error::{Error, Result};
