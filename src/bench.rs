//! Loads a KMS socket as an API server would, and measures what answers: for `keywright bench` and for the benchmarks.
//!
//! Nothing here knows what stands behind the socket; another KMS v2 plugin is measured in the same way. Every answer is checked.

pub mod chart;
pub mod client;
pub mod content;
pub mod host;
pub mod load;
pub mod process;
