//! Follows a guide on the nodes that it is written for: its `sh` blocks run, and what they print is what it shows.
#![expect(clippy::print_stdout, reason = "what each block printed is the record of the run")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use keywright_testbed::kubeadm::{Client, Cluster, Node};
use keywright_testbed::page::{Block, assert_shown, blocks};
use serde_json::{Value, json};

/// What a block is marked with that runs on each node, in place of the first one only.
pub(crate) const EVERY: &str = "on every node";
/// A block has at most two starts of kube-apiserver in it, or a poll; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(180);

/// A page and where it stands in the repository.
pub(crate) struct Guide {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

/// The data of Secrets and ConfigMaps, by kind, namespace and name.
pub(crate) type Objects = BTreeMap<[String; 3], Value>;

impl Guide {
    /// Runs the blocks of `sections` in order. After each block on each node, every API server must read what every other one writes, and must
    /// have all `objects` as they are at the end.
    pub(crate) fn follow(&self, sections: &[&str], cluster: &mut Cluster, objects: &Objects) {
        let all = blocks(self.text);
        let mut probes = 0;
        for section in sections {
            assert!(all.iter().any(|block| block.section == *section), "{} has no block under {section:?}", self.name);
            for block in all.iter().filter(|block| block.section == *section) {
                let nodes = if block.note == EVERY { cluster.nodes().len() } else { 1 };
                for number in 0..nodes {
                    self.run(&mut cluster.nodes()[number], block);
                    if block.script.contains("taken") {
                        probes += 1;
                        each_reads_what_the_others_write(cluster.nodes(), probes);
                    }
                }
            }
        }
        for node in cluster.nodes() {
            assert_eq!(differences(&read(&node.client()), objects), [""; 0], "as {} reads them", node.name);
        }
    }

    fn run(&self, node: &mut Node, block: &Block) {
        let started = Instant::now();
        let output = node.run(&block.script, LIMIT).unwrap_or_else(|e| panic!("{}, line {}: {e}", self.name, block.line));
        let took = started.elapsed().as_secs_f64();
        println!("{}, line {}, on {}, {took:.1} s:\n{}\n", self.name, block.line, node.name, output.join("\n"));
        assert_shown(self.name, block, &output);
    }
}

fn each_reads_what_the_others_write(nodes: &[Node], round: u32) {
    if nodes.len() < 2 {
        return; // an API server that wrote an object has it in memory
    }
    let name = |writer: &Node| format!("probe-{round}-{}", writer.name);
    for writer in nodes {
        writer
            .client()
            .kubectl(&["create", "secret", "generic", &name(writer), "--from-literal=value=probe"])
            .expect("kubectl runs")
            .succeeds();
    }
    for (writer, reader) in nodes.iter().flat_map(|writer| nodes.iter().map(move |reader| (writer, reader))) {
        let read = reader.client().kubectl(&["get", "secret", &name(writer), "--output=jsonpath={.data.value}"]).expect("kubectl runs");
        assert_eq!(read.out, "cHJvYmU=", "{} reads what {} wrote: {}", reader.name, writer.name, read.err);
    }
    let names: Vec<_> = nodes.iter().map(name).collect();
    let names: Vec<_> = ["delete", "secret"].into_iter().chain(names.iter().map(String::as_str)).collect();
    nodes[0].client().kubectl(&names).expect("kubectl runs").succeeds();
}

/// Writes `number` Secrets whose names begin with `name`, and one ConfigMap.
pub(crate) fn write(client: &Client, name: &str, number: u64) {
    let object =
        |kind: &str, name: String, data: Value| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": data});
    let secrets = (0..number).map(|number| {
        let value = crate::stack::bytes(100 + usize::try_from(number).expect("small"), number);
        object("Secret", format!("{name}-{number}"), json!({"value": keywright_testbed::api::base64(&value)}))
    });
    let map = object("ConfigMap", format!("{name}-map"), json!({"text": format!("written by {name}")}));
    let items: Vec<_> = secrets.chain([map]).collect();
    client.create(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).expect("kubectl runs").succeeds();
}

/// Everything that must be the same afterwards.
pub(crate) fn read(client: &Client) -> Objects {
    let list = client.kubectl(&["get", "secrets,configmaps", "--all-namespaces", "--output=json"]).expect("kubectl runs");
    assert_eq!(list.code, 0, "{}", list.err);
    let list = list.json();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let items = list["items"].as_array().expect("a list").iter();
    items
        .map(|item| {
            let metadata = &item["metadata"];
            (
                [text(&item["kind"]), text(&metadata["namespace"]), text(&metadata["name"])],
                json!([item["data"], item["type"], metadata["uid"]]),
            )
        })
        .collect()
}

fn differences(after: &Objects, before: &Objects) -> Vec<String> {
    let missing =
        before.iter().filter(|(name, value)| after.get(*name) != Some(value)).map(|(name, _)| format!("{name:?} differs or is gone"));
    let new = after.keys().filter(|name| !before.contains_key(*name)).map(|name| format!("{name:?} is new"));
    missing.chain(new).collect()
}
