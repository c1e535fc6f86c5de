//! Rotation beside a real API server: it writes and reads all the time, and nobody restarts anything but the test at its end.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keywright::adoption::page;
use keywright::client::admin;
use keywright::config::admin_path;
use keywright_testbed::stored::EncryptedObject;
use keywright_testbed::{metrics, wait};

use crate::stack::{KEYWRIGHT, SOON, Stack, bytes, stored};

/// Each request of this health endpoint has the API server ask for Status, once its last answer is older than a second or so.
const POLLS: usize = 2;
/// `timeout` of the provider in the EncryptionConfiguration of the test bed.
const KMS_TIMEOUT: Duration = Duration::from_secs(3);

fn keywright(arguments: &[&str], dir: &Path) {
    let dir = dir.display().to_string();
    keywright_testbed::process::output(KEYWRIGHT, &[arguments, &["--dev", "--dir", &dir]].concat()).expect("the command succeeds");
}

/// The Secrets in etcd whose names begin with `prefix`.
fn secrets(stack: &Stack, prefix: &str) -> Vec<EncryptedObject> {
    let prefix = format!("/registry/secrets/default/{prefix}");
    stored(&stack.etcd).into_iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(_, object)| object).collect()
}

fn write(stack: &Stack, name: &str, salt: u64) {
    stack.api().create_secret(name, &[("value", &bytes(200, salt))]).and_then(|answer| answer.ok()).expect("it is written");
}

fn reads(stack: &Stack, name: &str, salt: u64) {
    assert_eq!(stack.api().secret(name).expect("it is read")["value"], bytes(200, salt), "{name}");
}

/// Whether the API server's metrics say that it wrote with `key_id`.
fn shown_by_the_api_server(stack: &Stack, key_id: &str) -> Result<(), String> {
    let page = stack.api().metrics().map_err(|e| e.to_string())?;
    let hash = keywright::key_id::sha256_form(key_id);
    let labels = [("provider_name", "keywright"), ("transformation_type", "to_storage"), ("key_id_hash", &hash)];
    let found = metrics::find(&page, "apiserver_envelope_encryption_key_id_hash_total", &labels);
    if found.iter().any(|sample| sample.value > 0.0) { Ok(()) } else { Err("no write with it".into()) }
}

/// The key_id that every API server here writes with, by what the plugin saw of their calls.
fn adopted(stack: &Stack) -> Result<String, String> {
    let now = Instant::now();
    let text = admin::get(&admin_path(stack.plugin.socket()), "/adoption").map_err(|e| e.to_string())?;
    let page = page::read(&text, now).ok_or_else(|| format!("no page: {text}"))?;
    let writers: Vec<_> = page.callers.iter().filter(|caller| !caller.ours).collect();
    assert!(writers.iter().all(|caller| caller.pid as u32 == stack.server.pid()), "{text}");
    match writers[..] {
        [only] => only.calls.adopted(now, KMS_TIMEOUT).map(|key_id| key_id.to_string()).ok_or(text),
        _ => Err(format!("not one connection: {text}")),
    }
}

#[test]
fn a_rotation_under_writes_and_reads_moves_new_objects_to_the_new_key_and_every_old_one_stays_readable() {
    let mut stack = Stack::start();
    let dir = stack.plugin.socket().parent().expect("a folder").to_owned();
    let old = stack.key_id.clone();
    for number in 0..10 {
        write(&stack, &format!("before-{number}"), number);
    }
    assert!(secrets(&stack, "before-").iter().all(|object| object.key_id == old));
    shown_by_the_api_server(&stack, &old).expect("its metrics show the old key");
    // Our own command asks for an Encrypt too, and says nothing about an API server.
    keywright(&["status"], &dir);
    wait::until("the old key is seen to be adopted", SOON, || {
        stack.api().kms_ready()?;
        if adopted(&stack)? == old { Ok(()) } else { Err("another key".into()) }
    })
    .expect("seen");

    // Writes and reads without a pause, through all of the rotation; the first failure ends the test.
    let over = AtomicBool::new(false);
    let new = std::thread::scope(|scope| {
        let stack = &stack;
        let busy = scope.spawn(|| {
            let mut number = 0;
            while !over.load(Ordering::SeqCst) {
                write(stack, &format!("during-{number}"), number);
                reads(stack, &format!("during-{}", number / 2), number / 2);
                number += 1;
            }
            number
        });
        let new = rotate(stack, &dir);
        over.store(true, Ordering::SeqCst);
        let written = busy.join().expect("no write or read failed");
        assert!(written >= 10, "only {written} writes during the rotation");
        new
    });
    assert_ne!(new, old);
    wait::until("the new key is seen to be adopted", SOON, || if adopted(&stack)? == new { Ok(()) } else { Err("another key".into()) })
        .expect("seen");
    shown_by_the_api_server(&stack, &new).expect("its metrics show the new key");
    let during = secrets(&stack, "during-");
    assert!(during.iter().all(|object| object.key_id == old || object.key_id == new));
    assert!(during.iter().any(|object| object.key_id == new));

    // Nothing decrypted is left in its memory, and the old version only unwraps.
    let seen = stack.plugin.log().len();
    stack.server.restart().expect("the API server starts");
    stack.server.kms_ready(SOON).expect("it likes the plugin");
    for number in 0..10 {
        reads(&stack, &format!("before-{number}"), number);
    }
    for number in 0..during.len() as u64 {
        reads(&stack, &format!("during-{number}"), number);
    }
    for key_id in [&old, &new] {
        stack.plugin.wait_line_with(seen, SOON, &["op=Decrypt", key_id, "code=OK"]).expect("the plugin was asked to unwrap with it");
    }
    write(&stack, "restarted", 1);
    assert!(secrets(&stack, "restarted").iter().all(|object| object.key_id == new));
    stack.nothing_secret_was_printed();
}

/// Begins and promotes; has the API server poll; gives the new key_id once objects carry it.
fn rotate(stack: &Stack, dir: &Path) -> String {
    let seen = stack.plugin.log().len();
    keywright(&["rotate", "begin"], dir);
    keywright(&["rotate", "promote"], dir);
    let line = stack.plugin.wait_line_with(seen, SOON, &["keyring reloaded", "generation=3"]).expect("the plugin follows");
    let new = keywright_testbed::plugin::field(&line, "key_id").expect("a key_id");
    for poll in 0..POLLS {
        let seen = stack.plugin.log().len();
        // Answered from a cache of seconds; each Status that comes of it is one poll.
        wait::until("a poll", SOON, || {
            stack.api().kms_ready()?;
            let lines = stack.plugin.log().lines();
            let polled = lines[seen..].iter().any(|line| line.contains("op=Status") && line.contains(&new) && line.contains("code=OK"));
            if polled { Ok(()) } else { Err("no Status asked".into()) }
        })
        .unwrap_or_else(|e| panic!("poll {poll}: {e}"));
    }
    // What is written from here on has the new key: the second answer has come after the Encrypt that the first one led to.
    for number in 0..5 {
        write(stack, &format!("after-{number}"), number);
    }
    let after = secrets(stack, "after-");
    assert_eq!(after.len(), 5);
    assert!(after.iter().all(|object| object.key_id == new), "after two polls an object still has another key");
    new
}
