//! The built binary, driven as a person and a service manager would drive it. Needs nothing but itself.

#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/common.rs"]
mod common;
#[path = "cli/config.rs"]
mod config;
#[cfg(feature = "operator")]
#[path = "cli/export.rs"]
mod export;
#[cfg(feature = "operator")]
#[path = "cli/export_prompts.rs"]
mod export_prompts;
#[cfg(feature = "operator")]
#[path = "cli/export_ssh.rs"]
mod export_ssh;
#[cfg(feature = "operator")]
#[path = "cli/front.rs"]
mod front;
#[cfg(feature = "operator")]
#[path = "cli/nodes.rs"]
mod nodes;
#[path = "cli/peers.rs"]
mod peers;
#[cfg(feature = "operator")]
#[path = "cli/seal.rs"]
mod seal;
#[path = "cli/serve.rs"]
mod serve;
#[path = "cli/status.rs"]
mod status;
