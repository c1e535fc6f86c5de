//! What these tests share.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use keywright::etcd::live::{Done, Endpoint, Etcd, EtcdError, Incomplete, Options, Request};
use keywright_testbed::etcd as bed;
use keywright_testbed::tools::Tools;

/// The built etcd; a test without it fails and says how to get it.
pub(crate) fn tools() -> &'static Tools {
    static TOOLS: LazyLock<Tools> = LazyLock::new(|| Tools::locate().unwrap_or_else(|e| panic!("{e}")));
    &TOOLS
}

pub(crate) const PREFIX: &str = "/registry/";

/// Options for those members, impatient: everything is on this machine.
pub(crate) fn options(members: &[&bed::Etcd]) -> Options {
    options_for(&members.iter().map(|member| member.endpoint()).collect::<Vec<_>>().join(","))
}

pub(crate) fn options_for(endpoints: &str) -> Options {
    let limit = Duration::from_secs(3);
    let endpoints = Endpoint::list(endpoints, false).expect("valid");
    Options { dial_timeout: limit, command_timeout: limit, ..Options::new(endpoints) }
}

pub(crate) async fn connect(members: &[&bed::Etcd]) -> Etcd {
    Etcd::connect(options(members)).await.unwrap_or_else(|e| panic!("{e}"))
}

/// The error of a connection that must not come about.
pub(crate) async fn refusal(options: Options) -> EtcdError {
    Etcd::connect(options).await.expect_err("a refusal")
}

/// All that is there.
pub(crate) async fn read(etcd: &mut Etcd, request: &Request<'_>) -> Result<(BTreeMap<String, Vec<u8>>, Done), Incomplete> {
    let mut found = BTreeMap::new();
    let done = etcd
        .range(
            request,
            |entry| {
                let before = found.insert(String::from_utf8_lossy(entry.key).into_owned(), entry.value.to_vec());
                assert_eq!(before, None, "a key came twice");
            },
            |_| {},
        )
        .await?;
    Ok((found, done))
}

/// `number` keys with `len` bytes each, all different.
pub(crate) fn pairs(number: usize, len: usize) -> Vec<(String, Vec<u8>)> {
    (0..number).map(|at| (format!("{PREFIX}secrets/default/s{at:06}"), value(at, len))).collect()
}

/// Bytes that nobody else has.
pub(crate) fn value(seed: usize, len: usize) -> Vec<u8> {
    let mut value = format!("{seed} ").into_bytes();
    value.resize(len.max(value.len()), b'v');
    value.truncate(len);
    value
}
