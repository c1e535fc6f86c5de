//! `bench`: figures that add up, a plugin that is spared, and no figure without a word where an answer was not right.
#![cfg(feature = "operator")]

#[path = "bench/liar.rs"]
mod liar;

use std::process::Command;

use keywright::client::admin;
use keywright::config::admin_path;
use keywright_testbed::plugin::Plugin;
use keywright_testbed::process::{Process, ending};
use rustix::process::Signal;
use serde_json::Value;

use crate::common::{SOON, binary, config, folder, run, socket_table, text};
use liar::{Fault, Liar};

/// Runs `bench` against `plugin`, for JSON.
fn bench(plugin: &Plugin, arguments: &[&str]) -> Value {
    let ran = run(&[&["bench", "--socket", text(plugin.socket()), "--output", "json"], arguments].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.json()
}

/// The same in the background.
fn started(plugin: &Plugin, arguments: &[&str]) -> Process {
    let mut command = Command::new(binary());
    command.args(["bench", "--output", "json", "--socket"]).arg(plugin.socket()).args(arguments);
    Process::spawn("bench", &mut command).expect("starts")
}

fn ended(mut bench: Process) -> (String, Value, String) {
    let status = bench.wait(SOON).expect("ends");
    let (out, err) = (bench.out().lines().join("\n"), bench.err().lines().join("\n"));
    (ending(status), serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}\n{err}")), err)
}

fn points(report: &Value) -> &[Value] {
    report["points"].as_array().expect("a list")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// A plugin with a keyring that is none for development.
fn configured() -> (tempfile::TempDir, Plugin) {
    let dir = folder();
    let config = config(dir.path(), &socket_table(dir.path()));
    assert_eq!(run(&["init", "--config", text(&config)]).code, 0);
    let plugin = Plugin::configured(binary(), &config, &dir.path().join("kms.sock")).expect("starts");
    (dir, plugin)
}

/// Calls of that kind that the plugin has logged.
fn logged(plugin: &Plugin, operation: &str) -> usize {
    let lines = plugin.log().lines();
    lines.iter().filter(|line| line.contains(" request ") && line.contains(&format!(" op={operation} "))).count()
}

#[test]
fn the_figures_add_up_and_are_those_of_the_plugins_own_log() {
    let dir = folder();
    let mut plugin = Plugin::dev(binary(), dir.path()).expect("starts");
    let key_id = plugin.ready().expect("ready");
    let picture = dir.path().join("latencies.svg");
    let options = ["--concurrency", "1,8", "--connections", "2", "--count", "200", "--distinct", "30", "--svg", text(&picture)];
    let report = bench(&plugin, &options);

    assert_eq!((&report["good"], &report["interrupted"], &report["rate_limit"]), (&true.into(), &false.into(), &Value::Null));
    assert_eq!((&report["plugin"]["key_id"], &report["plugin"]["development"]), (&key_id.into(), &true.into()));
    assert_eq!((&report["plugin"]["pid"], &report["plugin"]["algorithm"]), (&plugin.pid().into(), &"xaes-256-gcm".into()));
    assert!(report["plugin"]["build"].as_str().expect("text").starts_with(env!("CARGO_PKG_VERSION")), "{report}");
    assert!(["cpu", "kernel"].iter().all(|name| report["host"][name].as_str().is_some_and(|text| !text.is_empty())), "{report}");
    let order: Vec<_> = points(&report).iter().map(|point| (point["operation"].as_str(), point["in_flight"].as_u64())).collect();
    let expected = ["Status", "Encrypt", "Decrypt"].map(|operation| [1, 8].map(|in_flight| (Some(operation), Some(in_flight))));
    assert_eq!(order, expected.concat());
    for point in points(&report) {
        let latency = &point["latency_us"];
        let rising = ["p50", "p90", "p99", "p99_9", "max"].map(|name| number(&latency[name]));
        assert!(rising[0] > 0.0 && rising.is_sorted(), "{point}");
        let counted: u64 = point["histogram"].as_array().expect("a list").iter().map(|step| step["count"].as_u64().expect("a count")).sum();
        assert_eq!((counted, point["calls"].as_u64(), &point["errors"]), (200, Some(200), &serde_json::json!({})), "{point}");
        let calls = number(&point["requests_per_second"]) * number(&point["seconds"]);
        assert!((calls - 200.0).abs() < 0.01, "{point}");
        // With one in flight, the calls come one after the other.
        let mean = number(&latency["mean"]) * 200.0 / number(&point["in_flight"]);
        assert!(mean <= number(&point["seconds"]) * 1e6 * 1.01, "{point}");
        assert!(number(&point["server_cpu_us_per_request"]) > 0.0 && number(&point["server_resident_kib"]) > 0.0, "{point}");
    }
    let picture = std::fs::read_to_string(&picture).expect("written");
    assert_eq!(picture.matches(" in flight: 200 calls").count(), 6);

    plugin.stop(SOON).expect("stops, with its log whole");
    // Beside what was measured: a Status for each connection, the ciphertexts, and 25 answers of each load of Encrypt.
    assert_eq!([logged(&plugin, "Status"), logged(&plugin, "Encrypt"), logged(&plugin, "Decrypt")], [402, 430, 450]);
}

#[test]
fn a_table_and_a_histogram_are_for_people() {
    let dir = folder();
    let plugin = Plugin::dev(binary(), dir.path()).expect("starts");
    let ran = run(&["bench", "--dev", "--dir", text(dir.path()), "--op", "encrypt", "--concurrency", "4", "--count", "50"]);
    let out = ran.succeeds();
    for expected in
        ["Encrypt, 4 in flight\n  <= ", "####", "development keyring", "xaes-256-gcm", "p99.9", "CPU us/call", "speed      full"]
    {
        assert!(out.contains(expected), "{expected:?} is missing in\n{out}");
    }
    assert!(out.contains(&plugin.ready().expect("ready")), "{out}");
}

#[test]
fn full_speed_is_refused_unless_the_keyring_is_for_development_or_somebody_says_yes() {
    let (_dir, plugin) = configured();
    for rate in ["none", "201"] {
        let ran = run(&["bench", "--socket", text(plugin.socket()), "--rate", rate]);
        ran.fails(6, &["does not say that it serves a development keyring", "say --yes"]);
    }
    assert_eq!(logged(&plugin, "Status"), 0, "it was asked before it was refused");

    let report = bench(&plugin, &["--op", "status", "--concurrency", "16", "--duration", "1s"]);
    let point = &points(&report)[0];
    assert_eq!((&report["rate_limit"], &report["plugin"]["development"]), (&200.0.into(), &false.into()));
    // A rate may catch up ten milliseconds, and begins with a call.
    assert!(number(&point["calls"]) <= 200.0 * number(&point["seconds"]) + 3.0 && number(&point["calls"]) > 20.0, "{point}");

    let report = bench(&plugin, &["--op", "status", "--concurrency", "16", "--count", "300", "--yes"]);
    assert_eq!((&report["rate_limit"], &points(&report)[0]["calls"]), (&Value::Null, &300.into()));
}

#[test]
fn what_is_known_of_the_api_servers_stays_as_it_is() {
    let dir = folder();
    let plugin = Plugin::dev(binary(), dir.path()).expect("starts");
    let page = || admin::get(&admin_path(plugin.socket()), "/adoption").expect("answers");
    for operation in ["status", "encrypt", "decrypt"] {
        let from = plugin.log().len();
        let bench = started(&plugin, &["--op", operation, "--concurrency", "2", "--connections", "2", "--duration", "60s"]);
        // The last of the ciphertexts, of a Status and so on are long behind.
        let name = format!(" op={}{} ", operation[..1].to_uppercase(), &operation[1..]);
        let seen = |line: &str| line.contains(&name);
        let mut at = from;
        for _ in 0..200 {
            plugin.log().wait_for(at, SOON, "calls", seen).expect("it is asked");
            at = plugin.log().lines().iter().skip(at).position(|line| seen(line)).expect("there") + at + 1;
        }
        let during = page();
        assert_eq!(during.lines().filter(|line| line.starts_with("caller ") && line.ends_with(" ours")).count(), 2, "{during}");
        assert_eq!(during.lines().count(), 3, "somebody is known, or a key_id was named: {during}");
        bench.signal(Signal::TERM).expect("it runs");
        assert_eq!(ended(bench).0, "exit 7");
    }
    assert!(!page().contains("named kw1."), "{}", page());
}

#[test]
fn a_signal_ends_it_with_an_account_of_what_was_done() {
    let dir = folder();
    let plugin = Plugin::dev(binary(), dir.path()).expect("starts");
    let bench = started(&plugin, &["--op", "encrypt,decrypt", "--concurrency", "4", "--duration", "60s"]);
    plugin.wait_line(500, SOON, " op=Encrypt ").expect("it is asked");
    bench.signal(Signal::INT).expect("it runs");
    let (status, report, err) = ended(bench);
    assert_eq!(status, "exit 7", "{err}");
    assert_eq!((&report["interrupted"], &report["good"], points(&report).len()), (&true.into(), &false.into(), 1));
    let calls = points(&report)[0]["calls"].as_u64().expect("a count");
    assert!(calls > 0 && err.contains(&format!("a signal stopped it in measurement 1 of 2, after {calls} calls")), "{err}");
}

#[test]
fn a_plugin_that_is_killed_meanwhile_gives_errors_by_code_and_no_good_figures() {
    let dir = folder();
    let mut plugin = Plugin::dev(binary(), dir.path()).expect("starts");
    let bench = started(&plugin, &["--op", "encrypt,decrypt", "--concurrency", "8", "--duration", "60s"]);
    plugin.wait_line(500, SOON, " op=Encrypt ").expect("it is asked");
    plugin.kill().expect("it runs");
    let (status, report, err) = ended(bench);
    assert_eq!(status, "exit 5", "{err}");
    let [point] = points(&report) else { panic!("one point: {report}") };
    assert!(point["errors"]["Unavailable"].as_u64().is_some_and(|count| (1..=8).contains(&count)), "{point}");
    assert_eq!((&report["good"], &point["good"]), (&false.into(), &false.into()));
    assert!(err.contains("the connection broke at Encrypt, 8 in flight") && err.contains("Unavailable"), "{err}");
}

#[test]
fn a_wrong_answer_or_a_refusal_is_named_and_ends_it_with_4() {
    let dir = folder();
    let path = dir.path().join("kms.sock");
    let of = |fault: Fault, operations: &str| {
        let _liar = Liar::start(&path, fault);
        run(&["bench", "--socket", text(&path), "--op", operations, "--concurrency", "2", "--count", "40", "--yes", "--output", "json"])
    };
    let good = of(Fault::None, "status,encrypt,decrypt");
    assert_eq!((good.code, &good.json()["plugin"]["algorithm"]), (0, &Value::Null), "{good:?}");

    let decrypts = of(Fault::Plaintext, "status,decrypt");
    assert_eq!((&decrypts.json()["points"][1]["wrong_answers"], &decrypts.json()["points"][0]["good"]), (&4.into(), &true.into()));
    decrypts.fails(4, &["vouch for Decrypt, 2 in flight", "4 of 40 calls", "something else than Encrypt was given"]);
    // What Encrypt answered is decrypted, or its figure would be one of garbage.
    of(Fault::Plaintext, "encrypt").fails(4, &["vouch for Encrypt, 2 in flight", "something else than Encrypt was given"]);
    of(Fault::KeyId, "encrypt").fails(4, &["while Status says"]);
    of(Fault::Healthz, "decrypt").fails(4, &["not a healthy Status"]);
    let refused = of(Fault::Refuse, "decrypt");
    assert_eq!(refused.json()["points"][0]["errors"], serde_json::json!({ "ResourceExhausted": 4 }));
    refused.fails(4, &["ResourceExhausted 4", "not today"]);
}

#[test]
fn no_plugin_is_said_plainly_and_nothing_is_measured() {
    let dir = folder();
    let path = dir.path().join("kms.sock");
    run(&["bench", "--socket", text(&path)]).fails(5, &["there is no socket at", "Start the plugin"]);
    run(&["bench", "--socket", text(&path), "--svg", "/nowhere/l.svg"]).fails(2, &["write /nowhere/l.svg", "--svg"]);
    let _silent = std::os::unix::net::UnixListener::bind(&path).expect("bind");
    run(&["bench", "--socket", text(&path), "--timeout", "300ms"]).fails(5, &["no answer to Status within 300ms"]);
}
