//! Start order, and what an API server with nothing in its memory can read.

use std::collections::BTreeSet;

use keywright_testbed::apiserver::ApiServer;
use keywright_testbed::etcd::Etcd;
use keywright_testbed::wait;

use crate::home::Home;
use crate::stack::{MARKER, SOON, Stack, bytes, nothing_secret_printed_by, settings, sources, stored, tools};

#[test]
fn an_api_server_that_starts_anew_reads_everything_that_was_written_before() {
    the_api_server_starts_anew(&mut Stack::start());
}

#[test]
fn the_plugin_started_anew_opens_what_it_wrapped_before() {
    the_plugin_starts_anew(&mut Stack::start());
}

#[test]
fn writes_begin_to_work_when_the_plugin_starts_after_the_api_server() {
    the_plugin_starts_late(&Home::local());
}

pub(crate) fn the_api_server_starts_anew(stack: &mut Stack) {
    for round in 0..3 {
        for number in 0..10 {
            let value = bytes(200, round * 10 + number);
            let answer = stack.api().create_secret(&format!("kept-{}", round * 10 + number), &[("value", &value)]);
            answer.and_then(|answer| answer.ok()).expect("it is written");
        }
        let seen = stack.plugin.log().len();
        stack.server.restart().expect("the API server starts");
        for number in 0..(round + 1) * 10 {
            assert_eq!(stack.api().secret(&format!("kept-{number}")).expect("it is read")["value"], bytes(200, number), "kept-{number}");
        }
        // Otherwise it was not the plugin that made this possible.
        stack.plugin.wait_line_with(seen, SOON, &["op=Decrypt", "code=OK"]).expect("the plugin was asked to decrypt");
    }
    let seeds: BTreeSet<_> = sources(&stored(&stack.etcd)).into_iter().map(|(_, source)| source).collect();
    assert!(seeds.len() >= 3, "each start has a seed of its own, but etcd shows {}", seeds.len());
    stack.nothing_secret_was_printed();
}

pub(crate) fn the_plugin_starts_anew(stack: &mut Stack) {
    stack.api().create_secret("kept", &[("value", MARKER)]).and_then(|answer| answer.ok()).expect("it is written");
    let status = stack.plugin.stop(SOON).expect("it stops");
    assert!(status.success(), "{status}");
    stack.kill_plugin(); // it has ended; this keeps its output
    stack.start_plugin();
    stack.server.restart().expect("the API server starts");
    stack.server.kms_ready(SOON).expect("the API server likes the plugin");
    assert_eq!(stack.api().secret("kept").expect("it is read")["value"], MARKER);
    stack.nothing_secret_was_printed();
}

pub(crate) fn the_plugin_starts_late(home: &Home) {
    let etcd = Etcd::start(tools()).expect("etcd starts");
    let settings = settings(&home.socket());
    let server = ApiServer::start_without_plugin(tools(), &etcd, &settings).expect("the API server starts");
    let refused = server.api().create_secret("early", &[("value", MARKER)]).expect("the API server answers");
    assert_eq!(refused.status, 500, "{}", refused.text);

    let plugin = home.serve();
    wait::until("a write that works", SOON, || {
        let answer = server.api().create_secret("late", &[("value", MARKER)]).map_err(|e| e.to_string())?;
        if answer.status == 201 { Ok(()) } else { Err(answer.text) }
    })
    .expect("writes begin to work");
    assert_eq!(server.api().secret("late").expect("it is read")["value"], MARKER);
    server.kms_ready(SOON).expect("the API server likes the plugin");
    nothing_secret_printed_by(&plugin, "", &stored(&etcd));
}
