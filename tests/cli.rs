//! The built binary, driven as a person and a service manager would drive it. Needs nothing but itself.

#[path = "cli/common.rs"]
mod common;
#[path = "cli/config.rs"]
mod config;
#[path = "cli/peers.rs"]
mod peers;
#[path = "cli/serve.rs"]
mod serve;
#[path = "cli/status.rs"]
mod status;
