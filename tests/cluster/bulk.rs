//! Many Secrets at once.

use std::collections::BTreeMap;

use keywright_testbed::api::secret_data;

use crate::stack::{Stack, bytes, sources, stored};

const SECRETS: u64 = 2_000;
const WRITERS: u64 = 8;

#[test]
fn two_thousand_secrets_are_written_by_several_writers_and_read_back_without_an_error() {
    // Not the shared one: the count in etcd is to be exact.
    two_thousand_secrets(&mut Stack::start());
}

/// On a stack where nobody else writes, and where each Secret has a value.
pub(crate) fn two_thousand_secrets(stack: &mut Stack) {
    let before = stack.etcd.count("/registry/secrets/").expect("etcd answers");
    each_in_parallel(|number| {
        stack
            .api()
            .create_secret(&name(number), &[("value", &value(number))])
            .and_then(|answer| answer.ok())
            .unwrap_or_else(|e| panic!("{e}"));
    });
    assert_eq!(stack.etcd.count("/registry/secrets/").expect("etcd answers"), before + SECRETS);

    stack.server.restart().expect("the API server starts"); // what is read next was decrypted anew
    each_in_parallel(|number| {
        let read = stack.api().secret(&name(number)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(read, BTreeMap::from([("value".to_owned(), value(number))]), "{}", name(number));
    });
    let list = stack.api().get("/api/v1/namespaces/default/secrets").and_then(|answer| answer.ok()).expect("the list is read");
    let items = list["items"].as_array().expect("a list has items");
    let listed: BTreeMap<&str, Vec<u8>> = items
        .iter()
        .map(|item| {
            let data = secret_data(item).expect("its data is base64");
            (item["metadata"]["name"].as_str().expect("it has a name"), data["value"].clone())
        })
        .collect();
    for number in 0..SECRETS {
        assert_eq!(listed.get(name(number).as_str()), Some(&value(number)), "{} in the list", name(number));
    }

    // All of them were written by one run of one API server: one seed is behind them.
    let stored: Vec<_> = stored(&stack.etcd).into_iter().filter(|(key, _)| key.starts_with("/registry/secrets/default/many-")).collect();
    assert_eq!((stored.len(), sources(&stored).len()), (2_000, 1));
    stack.nothing_secret_was_printed();
}

fn each_in_parallel(act: impl Fn(u64) + Sync) {
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let act = &act;
            scope.spawn(move || (writer..SECRETS).step_by(WRITERS as usize).for_each(act));
        }
    });
}

fn name(number: u64) -> String {
    format!("many-{number:04}")
}

fn value(number: u64) -> Vec<u8> {
    bytes(600, number)
}
