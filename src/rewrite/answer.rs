//! What the API server's answer to an empty patch means.
//!
//! Texts of the API server are shown only where Kubernetes or an administrator wrote them. What a validation says quotes the field that
//! it dislikes, and so may quote a Secret: of it only the names of the fields are kept.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::kube::access::Answer;

/// Longest text of others that is shown, in characters.
const LONGEST_TEXT: usize = 400;

/// Why an object was not rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The credential has no `patch` on this resource here.
    Forbidden,
    /// An admission plugin, a policy or a webhook refused the update; or a webhook that must be asked does not answer.
    Admission(String),
    /// The object is not valid by today's schema: these fields.
    Invalid(Vec<String>),
    /// The API server cannot read what is stored.
    Undecryptable(String),
    /// The resource is not served any more.
    NotServed,
    /// The StorageVersionMigration of its resource ended as failed, with this message.
    Migration(String),
    /// It was changed by others each time.
    Conflict,
    /// Anything else: status, and the server's one word for it.
    Other {
        /// The HTTP status.
        status: u16,
        /// Such as `NotAcceptable`.
        reason: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden => f.write_str("the verb patch on it is missing; apply the ClusterRole that the plan prints"),
            Self::Admission(text) => write!(f, "admission refused the update: {text}"),
            Self::Invalid(fields) => {
                write!(f, "it is invalid under today's schema ({}); correct it, or its definition", fields.join(", "))
            }
            Self::Undecryptable(text) => write!(f, "the API server cannot read it from etcd: {text}"),
            Self::NotServed => f.write_str("its resource is not served any more"),
            Self::Migration(text) => write!(f, "the API server's own migration failed: {text}"),
            Self::Conflict => f.write_str("others changed it at each attempt; run again"),
            Self::Other { status, reason } => write!(f, "HTTP {status} {reason}"),
        }
    }
}

/// How often an object is tried that failed in a way that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// The server is busy: as often as was asked for.
    Full,
    /// Likely to stay: twice more.
    Short,
}

/// What follows from an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Stored at this revision now, whoever wrote it.
    Stored(u64),
    Gone,
    Again {
        reason: Reason,
        patience: Patience,
        overloaded: bool,
        after: Option<Duration>,
    },
    Failed(Reason),
    /// The answer was not metadata only. It may be the object whole.
    NotMetadata,
    /// The credential is not accepted.
    Unauthorized,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    kind: String,
    api_version: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

/// The API server's `Status`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    message: String,
    reason: String,
    details: Option<Details>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    name: String,
    causes: Vec<Cause>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cause {
    field: String,
}

/// Reads it.
pub(super) fn verdict(answer: &Answer) -> Verdict {
    let body = answer.body.expose_secret();
    if (200..300).contains(&answer.status) {
        return written(body);
    }
    // A refusal that is not JSON comes from something before the API server, or from a path that it does not know.
    let status: Status = serde_json::from_slice(body).unwrap_or_default();
    let after = answer.retry_after;
    let again = |reason, patience, overloaded| Verdict::Again { reason, patience, overloaded, after };
    let text = || printable(&status.message);
    let other = || Reason::Other { status: answer.status, reason: printable(&status.reason) };
    // A webhook chooses the status of its refusal: one with 404 or 401 must not pass for an object that is gone or a credential that ended.
    if refused_by_admission(&status.message) {
        return Verdict::Failed(Reason::Admission(text()));
    }
    match answer.status {
        401 => Verdict::Unauthorized,
        403 if status.message.contains(" cannot patch resource ") => Verdict::Failed(Reason::Forbidden),
        404 if status.details.as_ref().is_some_and(|details| !details.name.is_empty()) => Verdict::Gone,
        404 => Verdict::Failed(Reason::NotServed),
        409 => again(Reason::Conflict, Patience::Full, false),
        429 => again(other(), Patience::Full, true),
        _ if status.message.contains("failed calling webhook") => again(Reason::Admission(text()), Patience::Short, false),
        403 => Verdict::Failed(Reason::Admission(text())),
        422 => Verdict::Failed(Reason::Invalid(fields(&status))),
        500.. => match unreadable(&status) {
            Some(text) => again(Reason::Undecryptable(text), Patience::Short, false),
            None => again(other(), Patience::Full, true),
        },
        _ => Verdict::Failed(other()),
    }
}

fn written(body: &[u8]) -> Verdict {
    match serde_json::from_slice::<Written>(body) {
        Ok(written) if written.kind == "PartialObjectMetadata" && written.api_version.starts_with("meta.k8s.io/") => {
            written.metadata.resource_version.parse().map_or(Verdict::NotMetadata, Verdict::Stored)
        }
        _ => Verdict::NotMetadata,
    }
}

/// A webhook names itself at the beginning, a policy behind the object; the names of both are the administrator's. What a validation says
/// never counts, whatever words it quotes from the object.
fn refused_by_admission(message: &str) -> bool {
    let by_policy = |(_, words): (&str, &str)| {
        ["ValidatingAdmissionPolicy '", "policy '", "policy \""].iter().any(|beginning| words.starts_with(beginning))
            && words.contains(" denied request")
    };
    message.starts_with("admission webhook \"") || message.split_once(" is forbidden: ").is_some_and(by_policy)
}

/// Where the API server cannot decode what it has decrypted, its words may quote it.
const UNDECODABLE: &str = "object not decodable";

/// The storage layer's words for a value that it cannot decrypt: the first as of 1.37, the others of releases before, which pass on what the
/// cipher or the list of providers says. They do not name the value.
const UNTRANSFORMABLE: [&str; 5] = [
    "data from the storage is not transformable",
    "unable to transform key",
    "failed to decrypt",
    "cipher: message authentication failed",
    "no matching prefix found",
];

/// What is to be shown if the API server could not read what is stored.
fn unreadable(status: &Status) -> Option<String> {
    if status.message.contains(UNDECODABLE) {
        return Some(UNDECODABLE.to_owned());
    }
    let is_transform = UNTRANSFORMABLE.iter().any(|words| status.message.contains(words));
    (is_transform || status.reason == "StorageReadError").then(|| printable(&status.message))
}

fn fields(status: &Status) -> Vec<String> {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let mut fields: Vec<String> = causes.iter().map(|cause| printable(&cause.field)).collect();
    fields.dedup();
    if fields.is_empty() {
        fields.push("the server names no field".to_owned());
    }
    fields
}

/// One line, of bounded length, with nothing that moves a terminal's cursor.
pub(super) fn printable(text: &str) -> String {
    let mut out: String = text.chars().take(LONGEST_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST_TEXT).is_some() {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretBytes;
    use serde_json::json;

    fn judged(status: u16, body: &serde_json::Value) -> Verdict {
        let body = SecretBytes::from_vec(body.to_string().into_bytes());
        verdict(&Answer { status, retry_after: Some(Duration::from_secs(1)), body })
    }

    fn metadata(kind: &str, version: &str) -> serde_json::Value {
        json!({"kind": kind, "apiVersion": version, "metadata": {"resourceVersion": "812", "annotations": {"a": "b"}}})
    }

    #[test]
    fn only_partial_metadata_counts_as_an_answer() {
        assert_eq!(judged(200, &metadata("PartialObjectMetadata", "meta.k8s.io/v1")), Verdict::Stored(812));
        assert_eq!(judged(200, &metadata("Secret", "v1")), Verdict::NotMetadata);
        assert_eq!(judged(200, &metadata("PartialObjectMetadata", "v1")), Verdict::NotMetadata);
        assert_eq!(judged(200, &json!({})), Verdict::NotMetadata);
        assert_eq!(judged(201, &json!("text")), Verdict::NotMetadata);
    }

    #[test]
    fn an_object_that_is_gone_is_told_from_a_resource_that_is_gone() {
        assert_eq!(judged(404, &json!({"reason": "NotFound", "details": {"name": "s1", "kind": "secrets"}})), Verdict::Gone);
        assert_eq!(judged(404, &json!({"reason": "NotFound", "details": {}})), Verdict::Failed(Reason::NotServed));
        assert_eq!(judged(404, &json!("404 page not found")), Verdict::Failed(Reason::NotServed));
    }

    #[test]
    fn a_missing_verb_is_told_from_a_refusal_by_admission() {
        let message = r#"secrets "s1" is forbidden: User "u" cannot patch resource "secrets" in API group "" in the namespace "default""#;
        assert_eq!(judged(403, &json!({"message": message})), Verdict::Failed(Reason::Forbidden));
        for (status, message) in [
            (403, "admission webhook \"w.example\" denied the request: no"),
            (422, "secrets \"s\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"),
            (403, "pods \"p\" is forbidden: violates PodSecurity"),
            // A webhook chooses its status, and these mean something else where the API server itself says them.
            (401, "admission webhook \"w.example\" denied the request: no"),
            (404, "admission webhook \"w.example\" denied the request: no"),
            (409, "admission webhook \"w.example\" denied the request: no"),
            (429, "admission webhook \"w.example\" denied the request without explanation"),
            (400, "admission webhook \"w.example\" does not support dry run"),
            (422, "secrets \"s\" is forbidden: policy 'p' with binding 'b' denied request: no"),
        ] {
            assert_eq!(judged(status, &json!({"message": message})), Verdict::Failed(Reason::Admission(message.to_owned())));
        }
    }

    #[test]
    fn of_an_invalid_object_the_fields_are_named_and_no_value_is_quoted() {
        let body = json!({
            "message": "Secret \"s\" is invalid: data.password: Invalid value: \"hunter2\"",
            "reason": "Invalid",
            "details": {"name": "s", "causes": [{"field": "data.password", "message": "Invalid value: \"hunter2\""}]},
        });
        let verdict = judged(422, &body);
        assert_eq!(verdict, Verdict::Failed(Reason::Invalid(vec!["data.password".to_owned()])));
        let mut quoting = body;
        quoting["message"] = json!("Secret \"s\" is invalid: data.password: Invalid value: \"denied the request\"");
        assert_eq!(judged(422, &quoting), Verdict::Failed(Reason::Invalid(vec!["data.password".to_owned()])));
    }

    #[test]
    fn what_cannot_be_read_from_etcd_is_told_from_a_server_that_is_busy_and_nothing_of_it_is_quoted() {
        let reason = |message: &str| match judged(500, &json!({"reason": "InternalError", "message": message})) {
            Verdict::Again { reason, patience: Patience::Short, overloaded: false, .. } => reason,
            verdict => panic!("{verdict:?}"),
        };
        let text = "Internal error occurred: data from the storage is not transformable revision=0: cipher: message authentication failed";
        assert_eq!(reason(text), Reason::Undecryptable(text.to_owned()));
        let text = "Internal error occurred: no matching prefix found";
        assert_eq!(reason(text), Reason::Undecryptable(text.to_owned()));
        let text = "Internal error occurred: object not decodable revision=7: parsing time \"hunter2\"";
        assert_eq!(reason(text), Reason::Undecryptable("object not decodable".to_owned()));
    }

    #[test]
    fn what_passes_is_tried_again_and_what_stays_is_tried_less_often() {
        let again = |status, message: &str| match judged(status, &json!({"message": message})) {
            Verdict::Again { patience, overloaded, after, .. } => (patience, overloaded, after),
            verdict => panic!("{verdict:?}"),
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(again(429, "too many requests"), (Patience::Full, true, second));
        assert_eq!(again(503, "etcdserver: leader changed"), (Patience::Full, true, second));
        assert_eq!(again(409, "the object has been modified"), (Patience::Full, false, second));
        assert_eq!(again(500, "Internal error occurred: failed calling webhook \"w\": refused"), (Patience::Short, false, second));
        assert_eq!(
            again(500, "Internal error occurred: unable to transform key \"/registry/secrets/a/b\": no"),
            (Patience::Short, false, second)
        );
        assert_eq!(judged(401, &json!({})), Verdict::Unauthorized);
    }

    #[test]
    fn texts_of_others_are_one_line_and_short() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert_eq!(printable(&"x".repeat(500)).chars().count(), LONGEST_TEXT + 3);
    }
}
