//! Keywright: a Kubernetes KMS v2 plugin that holds the key-encryption keys of a cluster.
//!
//! Each layer imports only what stands below it:
//!
//! ```text
//! cli                      one file per command: parse, call, print
//! server, service          sockets and peers; gRPC calls and the one table from errors to codes
//! rotation, scan,          what operators do: what comes next, what is encrypted with which key, stale objects written anew,
//! rewrite, recover         a backup opened without the cluster
//! config, client, bench    settings; the other end of the socket, and what it can bear
//! health                   which keys in tokens are away
//! keyring                  versions, states, snapshots, the file they live in
//! etcd, kube               what the API server stored; the API server as kubectl reaches it
//! envelope, key_id         frozen formats; no keys, no I/O
//! provider                 the narrow `Kek` behaviour and who implements it
//! durable, ownership       files: written whole or not at all, read only when nobody else could have written them
//! log, entropy, secret     lines out, randomness in, and the only place where raw key bytes are defined
//! ```
//!
//! What holds everywhere, as "X never does Y", stands in `ARCHITECTURE.md` with the test that shows it.

pub mod acknowledgement;
pub mod adoption;
#[cfg(feature = "operator")]
pub mod bench;
pub mod cli;
#[cfg(feature = "operator")]
pub mod client;
pub mod config;
pub mod durable;
#[cfg(feature = "operator")]
pub mod encryption_configuration;
pub mod entropy;
pub mod envelope;
#[cfg(feature = "operator")]
pub mod etcd;
pub mod evidence;
#[cfg(feature = "operator")]
pub mod export;
pub mod hardening;
pub mod health;
mod hex;
pub mod key_id;
pub mod keyring;
#[cfg(feature = "operator")]
pub mod kube;
pub mod log;
pub mod ownership;
pub mod protocol;
pub mod provider;
#[cfg(feature = "operator")]
pub mod recover;
#[cfg(feature = "operator")]
pub mod rewrite;
#[cfg(feature = "operator")]
pub mod rotation;
#[cfg(feature = "operator")]
pub mod scan;
pub mod secret;
pub mod server;
pub mod service;
pub mod source;
pub mod stretch;
pub mod unseal;
pub mod wraps;
