//! Objects of three kinds with contents that a number decides, and what each must read as for ever.

use std::collections::BTreeMap;

use keywright_testbed::api::{Api, base64};
use keywright_testbed::apiserver::ApiServer;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::stack::{SOON, bytes};

/// Requests in flight.
const AT_A_TIME: usize = 8;
/// The group of the custom resource.
pub(super) const GROUP: &str = "kept.example.com";
/// Where objects live; the API server makes the first one by itself.
const NAMESPACES: [&str; 3] = ["default", "kept-a", "kept-b"];

/// SHA-256 of an object without what a rewrite may change.
pub(super) type Print = [u8; 32];

/// What everything must read as.
pub(super) type Prints = BTreeMap<Object, Print>;

/// One object: its number says everything about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Object(pub(super) u64);

impl Object {
    fn kind(self) -> usize {
        (self.0 % 3) as usize
    }

    fn namespace(self) -> &'static str {
        NAMESPACES[(self.0 / 3 % 3) as usize]
    }

    fn name(self) -> String {
        format!("kept-{}", self.0)
    }

    /// Most are small, some have nothing in them, and a few are large.
    fn size(self) -> usize {
        match self.0 {
            number if number % 50 == 0 => 0,
            number if number % 401 == 1 => 300_000,
            number if number % 97 == 2 => 30_000,
            number => 40 + (number * 7919 % 1_200) as usize,
        }
    }

    fn collection(self) -> String {
        let group = ["api/v1".to_owned(), "api/v1".to_owned(), format!("apis/{GROUP}/v1")];
        format!("/{}/namespaces/{}/{}", group[self.kind()], self.namespace(), ["secrets", "configmaps", "widgets"][self.kind()])
    }

    fn path(self) -> String {
        format!("{}/{}", self.collection(), self.name())
    }

    /// Where the API server stores it.
    pub(super) fn etcd_key(self) -> String {
        format!("{}{}/{}", folders()[self.kind()], self.namespace(), self.name())
    }

    fn body(self) -> Value {
        let value = base64(&bytes(self.size(), self.0));
        let metadata = json!({"name": self.name(), "labels": {"number": self.0.to_string()}});
        match self.kind() {
            0 => json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"value": value}}),
            1 => {
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"text": "as it is"}, "binaryData": {"value": value}})
            }
            _ => json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Widget", "metadata": metadata, "spec": {"value": value}}),
        }
    }

    /// Writes it, and gives what it must read as from now on.
    pub(super) fn create(self, api: &Api) -> Result<Print, String> {
        let answer = api.create(&self.collection(), &self.body()).and_then(|answer| answer.ok()).map_err(|e| e.to_string())?;
        self.check_content(&answer);
        Ok(print(answer))
    }

    fn check_content(self, read: &Value) {
        let body = self.body();
        for field in ["data", "binaryData", "spec"] {
            assert_eq!(read[field], body[field], "{field} of {}", self.path());
        }
    }

    /// Reads it, and compares content and fingerprint.
    pub(super) fn check(self, api: &Api, expected: &Print) {
        let read = api.get(&self.path()).and_then(|answer| answer.ok()).unwrap_or_else(|e| panic!("{}: {e}", self.path()));
        self.check_content(&read);
        assert_eq!(print(read), *expected, "{} does not read as it did", self.path());
    }
}

/// Where the API server keeps each kind.
pub(super) fn folders() -> [String; 3] {
    ["secrets", "configmaps", &format!("{GROUP}/widgets")].map(|folder| format!("/registry/{folder}/"))
}

/// The fingerprint of an object: without the revision that a rewrite moves on, and without the record of who wrote which field.
pub(super) fn print(mut object: Value) -> Print {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
    }
    Sha256::digest(object.to_string()).into()
}

/// Whether the resource, by the name that a scan gives it, is one of those in the EncryptionConfiguration.
pub(super) fn is_encrypted(resource: &str) -> bool {
    ["secrets", "configmaps"].contains(&resource) || resource.strip_prefix("widgets.").is_some_and(|group| group == GROUP)
}

/// Makes what objects need: namespaces, and the kind of the custom resource.
pub(super) fn prepare(api: &Api) {
    let create =
        |path: &str, object: &Value| api.create(path, object).and_then(|answer| answer.ok()).unwrap_or_else(|e| panic!("{path}: {e}"));
    for namespace in &NAMESPACES[1..] {
        create("/api/v1/namespaces", &json!({"metadata": {"name": namespace}}));
    }
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"value": {"type": "string"}}}}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("widgets.{GROUP}")},
        "spec": {
            "group": GROUP, "scope": "Namespaced", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition);
}

/// Waits until `api` serves the custom resource, which it does some time after its start.
pub(super) fn serves(api: &Api) {
    keywright_testbed::wait::until("the custom resource to be served", SOON, || {
        let answer = api.get(&format!("/apis/{GROUP}/v1/widgets?limit=1")).map_err(|e| e.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(answer.text) }
    })
    .unwrap_or_else(|e| panic!("{e}"));
}

/// Writes the objects of `numbers`, several at a time.
pub(super) fn write(api: &Api, numbers: std::ops::Range<u64>) -> Prints {
    let objects: Vec<_> = numbers.map(Object).collect();
    let create = |object: Object| (object, object.create(api).unwrap_or_else(|e| panic!("{}: {e}", object.path())));
    each(&objects, create).into_iter().collect()
}

/// Reads all of them and compares, each through one of `servers`.
pub(super) fn check(servers: &[ApiServer], prints: &Prints) {
    let all: Vec<_> = prints.iter().zip(servers.iter().cycle()).collect();
    each(&all, |((object, print), server)| object.check(server.api(), print));
}

/// `act` on each of `all`, several at a time.
pub(super) fn each<T: Copy + Sync, R: Send>(all: &[T], act: impl Fn(T) -> R + Sync) -> Vec<R> {
    let part = |first: usize| all.iter().skip(first).step_by(AT_A_TIME).map(|one| act(*one)).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let part = &part;
        let running: Vec<_> = (0..AT_A_TIME).map(|first| scope.spawn(move || part(first))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}
