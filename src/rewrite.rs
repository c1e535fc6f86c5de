//! Has the API server rewrite stale objects, without reading one.
//!
//! An empty patch makes the API server read an object, find that it was not stored under its present key, and write it again. The answer
//! is asked for as metadata only. What is stale comes from a scan of etcd, and the next scan is the proof: there is no file that says
//! how far a run came, and so none that could be wrong. A run that was killed is continued by scanning and running again.

mod answer;
pub mod migration;
mod pace;
pub mod plan;
pub mod role;
pub mod run;

pub use plan::{Plan, plan};
pub use role::{migration_role, role};
pub use run::{Limits, Progress, Report, RewriteError, run};
