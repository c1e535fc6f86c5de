//! Custom resources under a rewrite: versions that change, definitions that go, schemas that get stricter.

use std::time::{Duration, Instant};

use keywright_testbed::apiserver::Settings;
use keywright_testbed::encryption::{Provider, configuration};
use keywright_testbed::metrics;
use keywright_testbed::process::{Process, ending};
use keywright_testbed::ran::Ran;
use keywright_testbed::stored::EncryptedObject;
use keywright_testbed::wait;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::rewrite_answers::{Bench, counts, failures};
use crate::stack::{PROVIDER, SOON, Stack};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const GADGETS: &str = "/apis/widgets.example.com/v1/namespaces/default/gadgets";
const THINGS: &str = "/apis/gone.example.com/v1/namespaces/default/things";

/// A stack whose API server encrypts custom resources of two groups too.
fn bench() -> Bench {
    Bench::of(Stack::start_with(|socket| {
        let mut file: Value = serde_json::from_str(&configuration(&[Provider::kms_v2(PROVIDER, socket)])).expect("JSON");
        file["resources"][0]["resources"] = json!(["secrets", "configmaps", "*.widgets.example.com", "*.gone.example.com"]);
        Settings::new(file.to_string())
    }))
}

fn definition(plural: &str, kind: &str, group: &str, versions: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "versions": versions,
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
        },
    })
}

fn version(name: &str, is_storage: bool, spec: &Value) -> Value {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}});
    json!({"name": name, "served": true, "storage": is_storage, "schema": {"openAPIV3Schema": schema}})
}

fn define(bench: &Bench, definition: &Value, path: &str) {
    bench.create(DEFINITIONS, definition);
    wait::until("the definition to be served", SOON, || match bench.stack.api().get(path) {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .expect("it comes");
}

fn gadget(name: &str, api_version: &str, spec: &Value) -> Value {
    json!({"apiVersion": api_version, "kind": "Gadget", "metadata": {"name": name, "labels": {"a": "b"}}, "spec": spec})
}

/// The object as the API server shows it, without the revision that wrote it.
fn shown(bench: &Bench, path: &str) -> Value {
    let mut object = bench.stack.api().get(path).and_then(|answer| answer.ok()).expect("it is read");
    object["metadata"].as_object_mut().expect("an object").remove("resourceVersion").expect("it has one");
    object
}

/// The version in which an object is stored, from etcd by way of a snapshot.
fn stored_version(bench: &Bench, key: &str) -> String {
    let folder = bench.stack.plugin.socket().parent().expect("a folder");
    let file = folder.join("snapshot.db");
    bench.stack.etcd.save(&file).expect("a snapshot");
    let words = ["recover", "decrypt", "--output", "json", "--key", key, "--snapshot", file.to_str().expect("text")];
    let mut command = std::process::Command::new(crate::stack::KEYWRIGHT);
    let object = Ran::of(command.args(words).args(&bench.etcd[..3])).expect("it ends by itself").json();
    object["apiVersion"].as_str().expect("text").to_owned()
}

fn key_id(bench: &Bench, key: &str) -> String {
    EncryptedObject::from_value(&bench.stack.etcd.value(key).expect("it is stored")).expect("KMS v2").key_id
}

#[test]
fn objects_of_an_old_and_a_new_storage_version_are_patched_in_the_new_one_and_keep_every_field() {
    let bench = bench();
    let spec = json!({"size": {"type": "integer"}});
    let versions = |storage: &str| json!([version("v1", storage == "v1", &spec), version("v2", storage == "v2", &spec)]);
    let group = "widgets.example.com";
    define(&bench, &definition("gadgets", "Gadget", group, &versions("v1")), &GADGETS.replace("/v1/", "/v2/"));
    bench.create(GADGETS, &gadget("old", "widgets.example.com/v1", &json!({"size": 7})));
    let (old, new) = ("/registry/widgets.example.com/gadgets/default/old", "/registry/widgets.example.com/gadgets/default/new");
    assert_eq!(stored_version(&bench, old), "widgets.example.com/v1");
    let changed = bench.stack.api().patch(&format!("{DEFINITIONS}/gadgets.{group}"), &json!({"spec": {"versions": versions("v2")}}));
    changed.and_then(|answer| answer.ok()).expect("the storage version can be changed");
    wait::until("v2 to be the storage version", SOON, || {
        let path = format!("{GADGETS}/new");
        let written = bench.stack.api().create(GADGETS, &gadget("new", "widgets.example.com/v1", &json!({"size": 8})));
        written.and_then(|answer| answer.ok()).map_err(|e| e.to_string())?;
        match stored_version(&bench, new).as_str() {
            "widgets.example.com/v2" => Ok(()),
            other => {
                bench.stack.api().delete(&path).and_then(|answer| answer.ok()).map_err(|e| e.to_string())?;
                Err(other.to_owned())
            }
        }
    })
    .expect("it comes");

    let paths = ["old", "new"].map(|name| format!("/apis/widgets.example.com/v2/namespaces/default/gadgets/{name}"));
    let before = paths.each_ref().map(|path| shown(&bench, path));
    assert_eq!(stored_version(&bench, old), "widgets.example.com/v1", "nothing but the rewrite moves it");
    bench.stack.promote();
    let ran = bench.rewrite(&bench.admin);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(counts(&ran.json(), "gadgets.widgets.example.com"), [2, 0, 0, 0]);
    for key in [old, new] {
        assert_ne!(key_id(&bench, key), bench.stack.key_id, "{key}");
        assert_eq!(stored_version(&bench, key), "widgets.example.com/v2", "{key}");
    }
    assert_eq!(paths.each_ref().map(|path| shown(&bench, path)), before, "generation and managedFields included");
    let page = bench.stack.api().metrics().expect("a page");
    let patched = |version: &str| {
        let wanted = [("verb", "PATCH"), ("group", group), ("version", version), ("resource", "gadgets"), ("code", "200")];
        metrics::find(&page, "apiserver_request_total", &wanted).iter().map(|sample| sample.value).sum::<f64>()
    };
    assert_eq!((patched("v1"), patched("v2")), (0.0, 2.0));
}

#[test]
fn what_a_definition_left_behind_is_named_and_keeps_the_old_version_until_it_is_deleted_from_etcd() {
    let bench = bench();
    let versions = json!([version("v1", true, &json!({"size": {"type": "integer"}}))]);
    define(&bench, &definition("gadgets", "Gadget", "widgets.example.com", &versions), GADGETS);
    define(&bench, &definition("things", "Thing", "gone.example.com", &versions), THINGS);
    bench.create(GADGETS, &gadget("kept", "widgets.example.com/v1", &json!({"size": 7})));
    bench.create(THINGS, &json!({"apiVersion": "gone.example.com/v1", "kind": "Thing", "metadata": {"name": "left"}, "spec": {"size": 1}}));
    // Through the API its objects would go first.
    let key = "/registry/apiextensions.k8s.io/customresourcedefinitions/things.gone.example.com";
    bench.stack.etcd.etcdctl(&["del", key]).expect("it is deleted");
    wait::until("nothing to serve it", SOON, || match bench.stack.api().get("/apis/gone.example.com/v1") {
        Ok(answer) if answer.status == 404 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .expect("it comes");
    bench.stack.promote();

    let ran = bench.rewrite(&bench.admin);
    assert_eq!(ran.code, 4, "{ran:?}");
    let answer = ran.json();
    assert_eq!(counts(&answer, "gadgets.widgets.example.com"), [1, 0, 0, 0]);
    let impossible = answer["impossible"].as_array().expect("a list");
    let reason = "no API serves this resource any more; serve it again, or delete the key from etcd";
    assert_eq!(impossible, &[json!({"resource": "things", "namespace": "default", "name": "left", "reason": reason})]);
    ran.fails(4, &["1 objects cannot be patched, the first: things default/left: no API serves this resource any more"]);

    let left = "/registry/gone.example.com/things/default/left";
    let run = |words: &[&str]| Ran::of(&mut bench.keywright(words, &[])).expect("it ends by itself");
    run(&["scan", "--expect-primary", "--resources", "*.gone.example.com"]).fails(4, &["1 values are not so", left]);
    run(&["rotate", "verify", &bench.stack.key_id]).fails(6, &["1 stored value still names it", left]);
    bench.stack.etcd.etcdctl(&["del", left]).expect("it is deleted");
    run(&["scan", "--expect-primary", "--resources", "*.gone.example.com,*.widgets.example.com"]).succeeds();
    run(&["rotate", "verify", &bench.stack.key_id]).succeeds();
}

#[test]
fn what_a_stricter_schema_refuses_is_named_by_its_field_and_what_it_lets_stand_is_rewritten() {
    let bench = bench();
    let properties = |text: Value, turn: Value| {
        let mut properties = json!({"text": {"type": "string"}, "turn": {"type": "string", "maxLength": 40}});
        for (name, more) in [("text", text), ("turn", turn)] {
            properties[name].as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        }
        json!([version("v1", true, &properties)])
    };
    define(&bench, &definition("gadgets", "Gadget", "widgets.example.com", &properties(json!({}), json!({}))), GADGETS);
    let private = "hunter2-hunter2";
    for (name, spec) in [("long", json!({"text": private})), ("turning", json!({"turn": private})), ("fine", json!({"text": "ok"}))] {
        bench.create(GADGETS, &gadget(name, "widgets.example.com/v1", &spec));
    }
    // A rule about a change is one that an update without a change can break.
    let rule = json!({"x-kubernetes-validations": [{"rule": "self != oldSelf", "message": "it must change"}]});
    let strict = properties(json!({"maxLength": 3}), rule);
    let changed = bench.stack.api().patch(&format!("{DEFINITIONS}/gadgets.widgets.example.com"), &json!({"spec": {"versions": strict}}));
    changed.and_then(|answer| answer.ok()).expect("a schema can get stricter");
    wait::until("the schema to be in force", SOON, || {
        let probe = gadget("probe", "widgets.example.com/v1", &json!({"text": private}));
        let answer = bench.stack.api().create(&format!("{GADGETS}?dryRun=All"), &probe).map_err(|e| e.to_string())?;
        if answer.status == 422 { Ok(()) } else { Err(answer.status.to_string()) }
    })
    .expect("it comes");
    bench.stack.promote();

    let ran = bench.rewrite(&bench.admin);
    assert_eq!(ran.code, 4, "{ran:?}");
    let answer = ran.json();
    // What an update does not touch may stay as it was: Kubernetes calls that ratcheting.
    assert_eq!(counts(&answer, "gadgets.widgets.example.com"), [2, 0, 0, 1], "{answer:#}");
    assert_eq!(failures(&answer)["default/turning"], "it is invalid under today's schema (spec.turn); correct it, or its definition");
    assert!(!format!("{ran:?}").contains(private), "a value is quoted: {ran:?}");
    assert_ne!(key_id(&bench, "/registry/widgets.example.com/gadgets/default/long"), bench.stack.key_id);
}

#[test]
fn a_rewrite_that_is_stopped_says_how_far_it_came_and_the_next_one_does_the_rest_at_its_rate() {
    let bench = Bench::of(Stack::start());
    let objects = 24;
    (0..objects).for_each(|number| bench.secret("default", &format!("s{number:02}")));
    let under_old = || {
        let all = bench.stack.etcd.values("/registry/secrets/default/").expect("etcd answers");
        all.iter().filter(|(_, value)| EncryptedObject::from_value(value).expect("KMS v2").key_id == bench.stack.key_id).count() as u64
    };
    bench.stack.promote();
    let slow = ["rotate", "rewrite", "--output", "json", "--at-a-time", "1", "--rate"];
    for (signal, rate) in [(Signal::INT, "1"), (Signal::TERM, "1")] {
        let stale = under_old();
        let mut command = bench.keywright(&[&slow[..], &[rate]].concat(), &bench.admin);
        let (status, out, err) = bench.stack.polled(|| {
            let mut process = Process::spawn("keywright", &mut command).expect("it starts");
            wait::until("the first object to be rewritten", SOON * 2, || match under_old() {
                now if now < stale => Ok(()),
                now => Err(format!("{now} of {stale} are stale")),
            })
            .expect("it goes on");
            process.signal(signal).expect("it is running");
            let status = process.wait(SOON).expect("it ends by itself");
            (status, process.out().lines().join("\n"), process.err().lines().join("\n"))
        });
        assert_eq!(ending(status), "exit 7", "{out}\n{err}");
        let answer: Value = serde_json::from_str(&out).expect("JSON");
        let [done, unchanged, gone, failed] = counts(&answer, "secrets");
        assert_eq!((unchanged, gone, failed, &answer["stopped"]), (0, 0, 0, &json!(true)), "{answer:#}");
        assert_eq!(under_old(), stale - done, "what it says is what etcd has");
        assert!(done < stale, "it was stopped on its way: {answer:#}");
        let sum = |name: &str| answer["resources"].as_array().into_iter().flatten().filter_map(|one| one[name].as_u64()).sum::<u64>();
        let said = format!("a signal stopped it: {} of {} objects are done with", sum("rewritten"), sum("stale"));
        assert!(err.contains(&said) && err.contains("\n  next: Run it again"), "{err}");
    }

    // The rest, while one of them vanishes and one is changed by others, at no more than so many a second.
    let stale = under_old();
    let rate = 4;
    let mut command = bench.keywright(&[&slow[..], &[&rate.to_string()]].concat(), &bench.admin);
    let (status, out, took) = bench.stack.polled(|| {
        let mut process = Process::spawn("keywright", &mut command).expect("it starts");
        wait::until("the next object to be rewritten", SOON * 2, || match under_old() {
            now if now < stale => Ok(Instant::now()),
            now => Err(format!("{now} of {stale} are stale")),
        })
        .expect("it goes on");
        let path = |number: u64| format!("/api/v1/namespaces/default/secrets/s{number:02}");
        bench.stack.api().delete(&path(objects - 1)).and_then(|answer| answer.ok()).expect("it is deleted");
        bench.stack.api().patch(&path(objects - 2), &json!({"metadata": {"labels": {"a": "b"}}})).and_then(|a| a.ok()).expect("changed");
        let since = Instant::now();
        let left = under_old();
        let status = process.wait(SOON).expect("it ends by itself");
        (status, process.out().lines().join("\n"), (left, since.elapsed()))
    });
    assert_eq!(ending(status), "exit 0", "{out}");
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(counts(&answer, "secrets"), [stale - 1, 0, 1, 0], "{answer:#}");
    assert_eq!((under_old(), &answer["stopped"]), (0, &json!(false)));
    // Of those that were still stale at that moment one start may have been due, and the others each waited their turn.
    let (left, took) = took;
    let least = Duration::from_millis(1000 * left.saturating_sub(2) / rate);
    assert!(left > 4, "there was something to measure: {left}");
    assert!(took >= least, "{left} objects in {took:?}, at {rate} a second");
    bench.stack.nothing_secret_was_printed();
}
