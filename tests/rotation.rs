//! Rotation with the built binary: a live plugin under load, keyring files that go wrong, every guard, several nodes.
//!
//! Needs nothing but itself and root or a user namespace (one test binds a folder read-only).
#![expect(clippy::print_stdout, reason = "what was tried, and how much, is the record of the run")]
#![cfg(feature = "operator")]

#[path = "rotation/alarm.rs"]
mod alarm;
#[path = "rotation/commands.rs"]
mod commands;
#[path = "rotation/common.rs"]
mod common;
#[path = "rotation/exports.rs"]
mod exports;
#[path = "rotation/guards.rs"]
mod guards;
#[path = "rotation/load.rs"]
mod load;
#[path = "rotation/nodes.rs"]
mod nodes;
#[path = "rotation/read_only.rs"]
mod read_only;
#[path = "rotation/start.rs"]
mod start;
#[path = "rotation/states.rs"]
mod states;
