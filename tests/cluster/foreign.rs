//! A node that was set up with keys of its own.

use keywright_testbed::apiserver::ApiServer;

use crate::home::{Home, KeyIn};
use crate::stack::{MARKER, SOON, Stack, settings, tools};

#[test]
fn a_node_with_other_keys_cannot_read_and_the_api_error_says_why() {
    another_node_cannot_read(&Stack::start(), KeyIn::Local);
}

/// The other node's KEK is there.
pub(crate) fn another_node_cannot_read(stack: &Stack, key: KeyIn) {
    stack.api().create_secret("ours", &[("value", MARKER)]).and_then(|answer| answer.ok()).expect("it is written");

    let home = Home::new(key);
    let other = home.serve();
    assert_ne!(other.ready().expect("it is ready"), stack.key_id);
    let foreign = ApiServer::start_without_plugin(tools(), &stack.etcd, &settings(other.socket())).expect("the API server starts");
    foreign.kms_ready(SOON).expect("with its own plugin all is well");

    let answer = foreign.api().get("/api/v1/namespaces/default/secrets/ours").expect("the API server answers");
    assert_eq!(answer.status, 500, "{}", answer.text);
    assert!(answer.text.contains("key_id is not one of this keyring"), "{}", answer.text);
    other.wait_line_with(0, SOON, &["op=Decrypt", "code=NotFound"]).expect("the plugin's log says so too");

    // And the first node still reads it: nothing was damaged by the attempt.
    assert_eq!(stack.api().secret("ours").expect("it is read")["value"], MARKER);
    stack.nothing_secret_was_printed();
    assert_eq!(keywright_testbed::leak::found_in(other.printed().as_bytes(), MARKER), [""; 0]);
}
