//! The plugin with a real control plane: etcd, kube-apiserver and systemd, nothing simulated.
//!
//! `cargo xtask test` builds the servers once and turns these tests on. What they believe about stored values they read from etcd by
//! code that shares nothing with the plugin. Whatever a test did, the plugin's output must show neither plaintext nor seed.

#[path = "cluster/bulk.rs"]
mod bulk;
#[path = "cluster/counts.rs"]
mod counts;
#[path = "cluster/crash.rs"]
mod crash;
#[path = "cluster/evidence.rs"]
mod evidence;
#[path = "cluster/foreign.rs"]
mod foreign;
#[path = "cluster/guide.rs"]
mod guide;
#[path = "cluster/health.rs"]
mod health;
#[path = "cluster/hold.rs"]
mod hold;
#[path = "cluster/home.rs"]
mod home;
#[path = "cluster/hook.rs"]
mod hook;
#[path = "cluster/hsm.rs"]
mod hsm;
#[path = "cluster/kms.rs"]
mod kms;
#[path = "cluster/late.rs"]
mod late;
#[path = "cluster/legacy.rs"]
mod legacy;
#[path = "cluster/migration.rs"]
mod migration;
#[path = "cluster/nodes.rs"]
mod nodes;
#[path = "cluster/peers.rs"]
mod peers;
#[path = "cluster/recover.rs"]
mod recover;
#[path = "cluster/restart.rs"]
mod restart;
#[path = "cluster/rewrite.rs"]
mod rewrite;
#[path = "cluster/rewrite_answers.rs"]
mod rewrite_answers;
#[path = "cluster/rewrite_custom.rs"]
mod rewrite_custom;
#[path = "cluster/rotation.rs"]
mod rotation;
#[path = "cluster/stack.rs"]
mod stack;
#[path = "cluster/svm.rs"]
mod svm;
#[path = "cluster/systemd.rs"]
mod systemd;
#[path = "cluster/trio.rs"]
mod trio;
#[path = "cluster/values.rs"]
mod values;
#[path = "cluster/whole.rs"]
mod whole;
