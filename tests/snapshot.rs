//! The snapshot reader on files of a real etcd, compared with what that etcd itself answers; and on the same files, damaged.
//!
//! `cargo xtask test` builds etcd, etcdctl and the generator once, and turns these tests on.

#[path = "snapshot/common.rs"]
mod common;
#[path = "snapshot/content.rs"]
mod content;
#[path = "snapshot/damage.rs"]
mod damage;
#[path = "snapshot/generated.rs"]
mod generated;
