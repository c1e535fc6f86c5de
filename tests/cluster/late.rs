//! Three API servers, of which one adopts late, stands still, or is not to be asked: nothing is written back unseen, and none is left out.

use std::process::Command;
use std::sync::{Mutex, OnceLock};

use keywright_testbed::apiserver::{RESTRICTED, TOKEN};
use keywright_testbed::ran::Ran;
use keywright_testbed::{kubeconfig, ports};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::stack::{KEYWRIGHT, Stack, bytes, nothing_secret_printed_by, stored, tools};
use crate::trio::{LONG, NAMES, Trio, polled};

/// Rewrites what is stale, if every API server has adopted the primary; does not wait for that.
const REWRITE: [&str; 4] = ["rotate", "rewrite", "--adoption-wait", "0s"];

/// One test at a time; each leaves it whole.
fn trio() -> &'static Mutex<Trio> {
    static TRIO: OnceLock<Mutex<Trio>> = OnceLock::new();
    TRIO.get_or_init(|| Mutex::new(Trio::start()))
}

/// What is stored and not under `key_id`.
fn left(trio: &Trio, key_id: &str) -> Vec<String> {
    stored(&trio.etcd).into_iter().filter(|(_, object)| object.key_id != key_id).map(|(key, _)| key).collect()
}

/// Writes everything that is not under `key_id` anew through one API server, as somebody might who does not use `rotate rewrite`.
fn write_anew(trio: &Trio, at: usize, key_id: &str) {
    for key in left(trio, key_id) {
        let parts: Vec<&str> = key.split('/').collect();
        let ["", "registry", resource, namespace, name] = parts[..] else { panic!("{key}") };
        let path = format!("/api/v1/namespaces/{namespace}/{resource}/{name}");
        trio.nodes[at].server.api().patch(&path, &json!({})).and_then(|answer| answer.ok()).expect("it is written anew");
    }
}

#[test]
fn an_api_server_that_adopts_late_is_waited_for_and_what_it_wrote_meanwhile_is_found() {
    let trio = trio().lock().expect("the other test passed");
    let old = trio.key_ids().last().expect("a version").clone();
    for at in 0..NAMES.len() {
        assert_eq!(trio.write(at, &format!("before-{at}"), at as u64), old);
    }
    trio.run(&["rotate", "begin"]).succeeds();
    trio.carry(&[1, 2]);
    trio.acknowledged(&["rotate", "promote"]).succeeds();
    // The third node has the new version, staged: it reads what the others write, and goes on with the old one.
    trio.carry(&[1]);
    let new = trio.key_ids().last().expect("a version").clone();
    (0..2).for_each(|at| trio.adopts(at, &new));

    let late = trio.nodes[2].server.address().to_owned();
    assert_eq!(trio.write(2, "late-1", 1), old);
    let named = |ran: Ran| ran.fails(7, &[&format!("{late} (node-3, Lease apiserver-")]);
    named(trio.run_polled(&REWRITE));
    named(trio.run_polled(&["rotate", "run", "--no-backup", "a test", "--yes", "--until", "verify", "--adoption-wait", "1s"]));
    trio.run(&["rotate", "verify", &old]).fails(6, &["/registry/secrets/default/before-0"]);

    // With nothing left under the old key it still may come back, and does.
    write_anew(&trio, 0, &new);
    trio.run(&["scan", "--expect-primary"]).succeeds();
    named(trio.run_polled(&["rotate", "verify", &old]));
    assert_eq!(trio.write(2, "late-2", 2), old);
    trio.run(&["scan", "--expect-primary", "--resources", "secrets"])
        .fails(4, &["1 values are not so", "/registry/secrets/default/late-2"]);
    trio.run(&["rotate", "verify", &old]).fails(6, &["1 stored value still names it", "/registry/secrets/default/late-2"]);

    trio.carry(&[2]);
    let rewritten = std::thread::scope(|scope| {
        let rewriting = scope.spawn(|| trio.run_polled(&["rotate", "rewrite", "--adoption-wait", "150s", "--output", "json"]));
        trio.adopts(2, &new);
        rewriting.join().expect("it ends")
    });
    assert_eq!(rewritten.code, 0, "{rewritten:?}");
    let resources: Value = rewritten.json()["resources"].clone();
    let secrets = resources.as_array().expect("a list").iter().find(|r| r["resource"] == "secrets").expect("secrets");
    assert!(secrets["rewritten"].as_u64() >= Some(1), "{resources}");
    assert_eq!(left(&trio, &new), [""; 0]);
    trio.run(&["scan", "--expect-primary"]).succeeds();
    trio.run(&["rotate", "verify", &old]).succeeds();
    trio.carry(&[1, 2]);
    trio.acknowledged(&["rotate", "disable", &old]).succeeds();
    trio.carry(&[1, 2]);
    for node in &trio.nodes {
        for (name, salt) in [("before-0", 0), ("before-1", 1), ("before-2", 2), ("late-1", 1), ("late-2", 2)] {
            assert_eq!(node.server.api().secret(name).expect("it is read")["value"], bytes(200, salt), "{name}");
        }
        nothing_secret_printed_by(&node.plugin, "", &stored(&trio.etcd));
    }
}

#[test]
fn an_api_server_that_stands_still_was_not_asked_or_refuses_is_not_known() {
    let trio = trio().lock().expect("the other test passed");
    let primary = trio.key_ids().last().expect("a version").clone();
    (0..NAMES.len()).for_each(|at| trio.adopts(at, &primary));
    trio.run_polled(&REWRITE).succeeds();
    let addresses = trio.addresses();
    let asked = |at: &[usize]| {
        let servers: Vec<&str> = at.iter().map(|at| addresses[*at].as_str()).collect();
        trio.run(&[&REWRITE[..], &["--api-servers", &servers.join(",")]].concat())
    };
    let two = "2 API servers are asked, and the cluster has 3 (";
    asked(&[0, 2]).fails(7, &[two, "node-2, Lease apiserver-", "192.0.2.12:"]);
    asked(&[0, 2, 2]).fails(7, &[&format!("{} and {} are the same API server (node-3, Lease apiserver-", addresses[2], addresses[2])]);
    // Nobody is there: killed, while its entry stays.
    let dead = ports::free().expect("a port");
    let servers = format!("{},{},127.0.0.1:{dead}", addresses[0], addresses[1]);
    let refused = format!("127.0.0.1:{dead}: GET /metrics at https://127.0.0.1:{dead}: ");
    trio.run(&[&REWRITE[..], &["--api-servers", &servers]].concat()).fails(7, &[&refused, "Connection refused"]);
    asked(&[0, 0, 1, 2]).fails(7, &["are the same API server (node-1, "]);

    refused_until_each_right_is_given(&trio);

    let still = &trio.nodes[2].server;
    still.signal(Signal::STOP).expect("it stands still");
    let silent = format!("{} (", addresses[2]);
    let missing = trio.run(&REWRITE);
    assert!(!missing.err.contains(&silent), "who it is nobody could say: {}", missing.err);
    missing.fails(7, &[&format!("{}: GET /metrics at https://{}: no answer within 10s", addresses[2], addresses[2])]);
    // Soon nothing but its Lease tells of it, and that it may go on at any time.
    trio.published(2);
    asked(&[0, 1]).fails(7, &[two, "node-3, Lease apiserver-"]);
    still.signal(Signal::CONT).expect("it goes on");
    trio.published(3);
    trio.adopts(2, &primary);
    trio.run_polled(&REWRITE).succeeds();
}

#[test]
fn what_one_plugin_saw_is_not_enough_where_the_api_server_does_not_say_how_many_there_are() {
    let stack = Stack::start();
    let folder = stack.plugin.socket().parent().expect("a folder").to_owned();
    let rewrite = |token: &str, wait: &str| {
        let file = folder.join("kubeconfig");
        kubeconfig::write(&file, &stack.server, token).expect("it is written");
        let mut command = Command::new(KEYWRIGHT);
        command.args(["rotate", "rewrite", "--adoption-wait", wait, "--dev", "--endpoints", stack.etcd.endpoint()]);
        Ran::within(command.arg("--dir").arg(&folder).arg("--kubeconfig").arg(file), LONG).expect("it ends by itself")
    };
    stack.api().create_secret("one", &[("value", b"v")]).and_then(|answer| answer.ok()).expect("it is written");
    let adopted = polled(&[&stack.server], || rewrite(TOKEN, "150s"));
    assert_eq!(adopted.code, 0, "{adopted:?}");
    rewrite(RESTRICTED, "0s").fails(7, &["which API servers the cluster has is not known: ", "list endpointslices.discovery.k8s.io"]);
    stack.nothing_secret_was_printed();
}

/// The rights of `docs/evidence.md`, given one by one: what is missing is named, and with all of them nothing is.
fn refused_until_each_right_is_given(trio: &Trio) {
    let manifest = include_str!("../../docs/evidence.md").split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let file = trio.kubeconfig("admin", TOKEN).with_extension("yaml");
    std::fs::write(&file, manifest.expect("the page has it")).expect("it is written");
    kubectl(trio, &["apply", "-f", &file.display().to_string()]);
    let restricted = trio.kubeconfig("restricted", RESTRICTED).display().to_string();
    let rewrite = || trio.run(&[&REWRITE[..], &["--kubeconfig", &restricted]].concat());
    let needs = "HTTP 403: this credential needs the right to ";
    let user = "--user=restricted";

    rewrite().fails(7, &[needs, "list endpointslices.discovery.k8s.io in the namespace default"]);
    kubectl(trio, &["create", "rolebinding", "adoption", "--role=keywright-adoption", user, "--namespace=default"]);
    rewrite().fails(7, &[needs, "list leases.coordination.k8s.io in the namespace kube-system"]);
    kubectl(trio, &["create", "rolebinding", "adoption", "--role=keywright-adoption", user, "--namespace=kube-system"]);
    let each =
        trio.addresses().into_iter().map(|address| format!("{address}: GET /metrics at https://{address}: {needs}get the nonResourceURL"));
    rewrite().fails(7, &each.collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>());
    kubectl(trio, &["create", "clusterrolebinding", "adoption", "--clusterrole=keywright-adoption", user]);
    let adopted = rewrite();
    assert_eq!(adopted.code, 0, "{adopted:?}");
}

fn kubectl(trio: &Trio, words: &[&str]) {
    let admin = trio.kubeconfig("admin", TOKEN);
    Ran::of(Command::new(tools().kubectl()).arg("--kubeconfig").arg(admin).args(words)).expect("it ends by itself").succeeds();
}
