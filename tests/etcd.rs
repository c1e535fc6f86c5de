//! The reader of a live etcd against real ones: plain and with TLS, with authentication, one member and three, some of them killed.
//!
//! What is right is what etcdctl says.

#[path = "etcd/access.rs"]
mod access;
#[path = "etcd/faults.rs"]
mod faults;
#[path = "etcd/foreign.rs"]
mod foreign;
#[path = "etcd/history.rs"]
mod history;
#[path = "etcd/support.rs"]
mod support;
#[path = "etcd/whole.rs"]
mod whole;
