//! Three nodes of one cluster: an API server and a plugin on each, one keyring, one etcd.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use keywright_testbed::apiserver::ApiServer;
use keywright_testbed::etcd::Etcd;
use keywright_testbed::plugin::Plugin;

use crate::home::{Home, KeyIn};
use crate::stack::{SOON, bytes, nothing_secret_printed_by, settings, sources, stored, tools};

const NODES: u8 = 3;

struct Node {
    server: ApiServer,
    plugin: Plugin,
    _home: Home,
}

pub(crate) struct Trio {
    nodes: Vec<Node>,
    etcd: Etcd,
}

/// Started once; the tests below only write and read.
fn trio() -> &'static Trio {
    static TRIO: OnceLock<Trio> = OnceLock::new();
    TRIO.get_or_init(|| Trio::start(KeyIn::Local))
}

impl Trio {
    pub(crate) fn start(key: KeyIn) -> Self {
        let etcd = Etcd::start(tools()).expect("etcd starts");
        let first = Home::new(key);
        let mut plugins = vec![(first.serve(), first)];
        for _ in 1..NODES {
            let home = plugins[0].1.copy();
            plugins.push((home.serve(), home));
        }
        let nodes = plugins.into_iter().zip(1..).map(|((plugin, home), number)| {
            let server = ApiServer::start(tools(), &etcd, &settings(plugin.socket()).node(number)).expect("the API server starts");
            server.kms_ready(SOON).expect("the API server likes the plugin");
            Node { server, plugin, _home: home }
        });
        Self { nodes: nodes.collect(), etcd }
    }
}

fn write_from_each(trio: &Trio, what: &str) {
    for (node, number) in trio.nodes.iter().zip(0..) {
        let answer = node.server.api().create_secret(&format!("{what}-{number}"), &[("value", &bytes(300, number))]);
        answer.and_then(|answer| answer.ok()).expect("it is written");
    }
}

#[test]
fn each_node_reads_what_the_others_wrote() {
    each_reads_what_the_others_wrote(trio());
}

#[test]
fn etcd_shows_one_key_id_and_a_seed_of_each_node() {
    one_key_id_and_three_seeds_are_stored(trio());
}

pub(crate) fn each_reads_what_the_others_wrote(trio: &Trio) {
    write_from_each(trio, "exchanged");
    for (node, reader) in trio.nodes.iter().zip(0..) {
        for writer in 0..u64::from(NODES) {
            let read = node.server.api().secret(&format!("exchanged-{writer}")).expect("it is read");
            assert_eq!(read["value"], bytes(300, writer), "node {reader} reading what node {writer} wrote");
        }
    }
    let stored = stored(&trio.etcd);
    for node in &trio.nodes {
        nothing_secret_printed_by(&node.plugin, "", &stored);
    }
}

pub(crate) fn one_key_id_and_three_seeds_are_stored(trio: &Trio) {
    write_from_each(trio, "seeds");
    let stored = stored(&trio.etcd);
    let written: Vec<_> = stored.into_iter().filter(|(key, _)| key.starts_with("/registry/secrets/default/seeds-")).collect();
    let key_ids: BTreeSet<_> = written.iter().map(|(_, object)| object.key_id.clone()).collect();
    let ready: BTreeSet<_> = trio.nodes.iter().map(|node| node.plugin.ready().expect("it is ready")).collect();
    assert_eq!((&key_ids, key_ids.len()), (&ready, 1));
    assert_eq!((written.len(), sources(&written).len()), (3, 3));
}

#[test]
fn the_cluster_shows_three_leases_and_three_endpoints() {
    let trio = trio();
    let api = trio.nodes[0].server.api();
    let get = |path: &str| api.get(path).and_then(|answer| answer.ok()).expect("the API server answers");

    let leases = get("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases");
    let hosts: BTreeSet<&str> = leases["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|lease| lease["metadata"]["labels"]["kubernetes.io/hostname"].as_str())
        .collect();
    assert_eq!(hosts, BTreeSet::from(["node-1", "node-2", "node-3"]));

    // Each API server publishes itself within seconds of its start.
    let addresses = keywright_testbed::wait::until("three endpoints", SOON, || {
        let slice = get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes");
        let endpoints = slice["endpoints"].as_array().cloned().unwrap_or_default();
        let addresses: BTreeSet<String> = endpoints.iter().filter_map(|one| one["addresses"][0].as_str().map(str::to_owned)).collect();
        if addresses.len() == usize::from(NODES) { Ok(addresses) } else { Err(format!("{addresses:?}")) }
    });
    let expected = ["192.0.2.11", "192.0.2.12", "192.0.2.13"].map(str::to_owned);
    assert_eq!(addresses.expect("there are three"), BTreeSet::from(expected));
}
