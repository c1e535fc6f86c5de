//! Every command that changes a keyring is killed at every step of its writing, and is given every error that a disk can give.
//!
//! Real processes, real files. A kill proves nothing about what a power cut leaves (the kernel's cache outlives the process): for that, a trace
//! of each command shows that it asked for durability in the right order. Needs root, strace and libfaketime.

#![expect(clippy::print_stderr, reason = "what was tried, and how much, is the record of the run")]

#[path = "crash/cases.rs"]
mod cases;
#[path = "crash/clock.rs"]
mod clock;
#[path = "crash/damage.rs"]
mod damage;
#[path = "crash/errors.rs"]
mod errors;
#[path = "crash/export.rs"]
mod export;
#[path = "crash/ground.rs"]
mod ground;
#[path = "crash/kill.rs"]
mod kill;
#[path = "crash/order.rs"]
mod order;
#[path = "crash/serving.rs"]
mod serving;
#[path = "crash/settled.rs"]
mod settled;
#[path = "crash/together.rs"]
mod together;
#[path = "crash/trace.rs"]
mod trace;
#[path = "crash/volume.rs"]
mod volume;
