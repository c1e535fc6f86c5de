//! Status, Encrypt and Decrypt: one snapshot of the keyring answers one request.
//!
//! A call is a method and the bytes of its protobuf message; what carries them is [`crate::server`]'s business. What a request may do wrong
//! is decided in [`crate::protocol`]; what it gets told is decided in [`refusal`]. Nothing here waits: a key whose calls may is asked by
//! threads of its own, and the answer comes [`Later`].

mod join;
mod kms_v1;
mod kms_v2;
mod later;
pub mod refusal;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use prost::Message;

use crate::adoption::Caller;
use crate::entropy::Entropy;
use crate::key_id::KeyId;
use crate::keyring::{Keyring, LookupError, Unwrapping};
use crate::log::{Log, Request};
use crate::secret::SecretBytes;
use crate::wraps::Wraps;
use join::Joins;
use later::Step;
use refusal::Refusal;

pub use later::Later;

/// Bytes in front of an answer that are left to whatever carries it, so that its own framing needs no copy.
pub const ROOM: usize = 5;

/// The keyring that answers now; none until one was loaded and its primary proved.
#[derive(Clone, Default)]
pub struct Snapshots(Arc<RwLock<Option<Arc<Keyring>>>>);

impl Snapshots {
    /// The snapshot for one whole request.
    pub fn current(&self) -> Option<Arc<Keyring>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts `keyring` in the place of the last one, for every request that begins from now on.
    pub fn publish(&self, keyring: Keyring) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keyring));
    }
}

/// Everything that can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// KMS v2.
    Status,
    /// KMS v2.
    Encrypt,
    /// KMS v2.
    Decrypt,
    /// KMS v1.
    V1Version,
    /// KMS v1.
    V1Encrypt,
    /// KMS v1.
    V1Decrypt,
}

impl Method {
    /// The method at `path`, such as `/v2.KeyManagementService/Status`; those of KMS v1 only if `with_v1`.
    pub fn at(path: &str, with_v1: bool) -> Option<Self> {
        match path {
            "/v2.KeyManagementService/Status" => Some(Self::Status),
            "/v2.KeyManagementService/Encrypt" => Some(Self::Encrypt),
            "/v2.KeyManagementService/Decrypt" => Some(Self::Decrypt),
            "/v1beta1.KeyManagementService/Version" if with_v1 => Some(Self::V1Version),
            "/v1beta1.KeyManagementService/Encrypt" if with_v1 => Some(Self::V1Encrypt),
            "/v1beta1.KeyManagementService/Decrypt" if with_v1 => Some(Self::V1Decrypt),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Status => "Status",
            Self::V1Version => "Version",
            Self::Encrypt | Self::V1Encrypt => "Encrypt",
            Self::Decrypt | Self::V1Decrypt => "Decrypt",
        }
    }

    const fn api(self) -> &'static str {
        match self {
            Self::Status | Self::Encrypt | Self::Decrypt => "v2",
            Self::V1Version | Self::V1Encrypt | Self::V1Decrypt => "v1",
        }
    }
}

/// What every call needs.
pub struct Service {
    snapshots: Snapshots,
    entropy: Arc<dyn Entropy>,
    log: Log,
    with_v1: bool,
    joins: Arc<Joins>,
    wraps: Option<Arc<Wraps>>,
}

/// The answer to a call.
pub enum Answer {
    /// Known already, as it is whenever no token has to be asked.
    Now(Result<SecretBytes, Refusal>),
    /// Known once a token has answered, or the time is over.
    Later(Later),
}

/// What is said of a call in the log, filled in as it becomes known.
struct Record {
    start: Instant,
    uid: String,
    key_id: String,
    /// The version that did the work, of an Encrypt or Status of KMS v2.
    primary: Option<KeyId>,
    /// The version of a Decrypt that is disabled or destroyed, and the generation of the keyring that says so.
    refused: Option<(KeyId, u64)>,
}

impl Record {
    fn new(start: Instant) -> Self {
        Self { start, uid: String::new(), key_id: String::new(), primary: None, refused: None }
    }

    /// Notes what the answer to `caller` says of the key that it uses, at `now`.
    fn adoption(&self, caller: &Caller, method: Method, ok: bool, now: Instant) {
        match method {
            Method::Encrypt => caller.encrypt(self.primary.filter(|_| ok), now),
            Method::Status if ok => self.primary.into_iter().for_each(|primary| caller.status(primary, now)),
            _ => {}
        }
    }

    /// Logs the call, which was answered with `code` at `end`.
    fn log(&self, log: &Log, method: Method, code: &'static str, end: Instant) {
        log.request(&Request {
            at: end,
            operation: method.name(),
            api: method.api(),
            uid: &self.uid,
            key_id: &self.key_id,
            code,
            took: end.saturating_duration_since(self.start),
        });
    }
}

fn code(outcome: &Result<SecretBytes, Refusal>) -> &'static str {
    outcome.as_ref().err().map_or("OK", |refusal| refusal.code().name())
}

impl Service {
    /// Answers from `snapshots`; nonces come from `entropy`, a line for every call goes to `log`; KMS v1 is served too if `with_v1`.
    pub fn new(snapshots: Snapshots, entropy: Box<dyn Entropy>, log: Log, with_v1: bool) -> Self {
        Self { snapshots, entropy: entropy.into(), log, with_v1, joins: Arc::default(), wraps: None }
    }

    /// Counts in `wraps` how often keys in tokens wrap.
    pub fn counting(self, wraps: Arc<Wraps>) -> Self {
        Self { wraps: Some(wraps), ..self }
    }

    /// The method at `path`, if it is served here.
    pub fn method(&self, path: &str) -> Option<Method> {
        Method::at(path, self.with_v1)
    }

    /// Answers one call of `caller` and logs it: `message` is the protobuf message of the method, as is what is returned behind [`ROOM`]
    /// zero bytes. Either may be secret. `limit`: how long the caller waits, asked only if the call does.
    ///
    /// Errors: see [`Refusal`]. A panic costs this one call.
    pub fn call(&self, caller: &Arc<Caller>, method: Method, message: &[u8], limit: impl FnOnce() -> Option<Duration>) -> Answer {
        let start = Instant::now();
        let mut record = Record::new(start);
        let step = catch_unwind(AssertUnwindSafe(|| self.act(method, message, &mut record))).unwrap_or_else(|_| {
            tracing::error!(op = method.name(), "a call panicked: a defect of Keywright, please report it");
            Err(Refusal::Ours)
        });
        let outcome = match step {
            Ok(Step::Done(answer)) => Ok(answer),
            Ok(Step::Wait(wait)) => return Answer::Later(self.later(caller, method, record, *wait, limit())),
            Err(refusal) => Err(refusal),
        };
        record.adoption(caller, method, outcome.is_ok(), start);
        if let Some((key_id, generation)) = record.refused {
            caller.refused(key_id, generation, start);
        }
        record.log(&self.log, method, code(&outcome), Instant::now());
        Answer::Now(outcome)
    }

    fn act(&self, method: Method, message: &[u8], record: &mut Record) -> Result<Step, Refusal> {
        match method {
            Method::Status => encoded(&self.status(decoded(message)?, record)?).map(Step::Done),
            Method::Encrypt => self.encrypt(decoded(message)?, record),
            Method::Decrypt => self.decrypt(decoded(message)?, record),
            Method::V1Version => encoded(&self.v1_version(decoded(message)?)?).map(Step::Done),
            Method::V1Encrypt => self.v1_encrypt(decoded(message)?, record),
            Method::V1Decrypt => self.v1_decrypt(decoded(message)?, record),
        }
    }

    /// The version that `key_id` names; one that refuses is noted, for something still needs it.
    fn find<'k>(keyring: &'k Keyring, key_id: &KeyId, record: &mut Record) -> Result<Unwrapping<'k>, Refusal> {
        keyring.find(key_id).map_err(|error| {
            if matches!(error, LookupError::Disabled | LookupError::Destroyed) {
                record.refused = Some((*key_id, keyring.generation()));
            }
            error.into()
        })
    }

    fn snapshot(&self) -> Result<Arc<Keyring>, Refusal> {
        self.snapshots.current().ok_or(Refusal::NotReady)
    }
}

fn decoded<M: Message + Default>(message: &[u8]) -> Result<M, Refusal> {
    M::decode(message).map_err(|_| Refusal::NotTheMessage)
}

/// Encodes an answer into memory of its size, so that nothing is left behind by growing.
fn encoded(answer: &impl Message) -> Result<SecretBytes, Refusal> {
    let mut bytes = Vec::with_capacity(ROOM + answer.encoded_len());
    bytes.extend_from_slice(&[0; ROOM]);
    answer.encode_raw(&mut bytes);
    Ok(SecretBytes::from_vec(bytes))
}

/// Parses a key_id that somebody sent. A malformed one names no key of ours, as an unknown one does.
fn parse_key_id(text: &str) -> Result<KeyId, Refusal> {
    text.parse().map_err(|_| Refusal::from(LookupError::Unknown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;
    use crate::keyring::seal::Opener;
    use crate::keyring::store;
    use crate::protocol::v2;
    use crate::provider::pkcs11::Tokens;

    const SAMPLE: &str = include_str!("../keys/insecure-format-1/two-versions.keyring");

    fn caller() -> Arc<Caller> {
        crate::adoption::Callers::new(Instant::now()).connect(0, 0, Instant::now())
    }

    fn service(ready: bool) -> (Service, crate::log::LogGuard) {
        let snapshots = Snapshots::default();
        if ready {
            snapshots.publish(store::open(SAMPLE, &Opener::InsecureDevelopment, &Tokens::none()).expect("opens"));
        }
        let (log, guard) = Log::to(std::io::sink()).expect("starts");
        (Service::new(snapshots, Box::new(OsEntropy), log, false), guard)
    }

    /// The answer to a call that waits for nothing.
    fn ask(service: &Service, caller: &Arc<Caller>, method: Method, message: &[u8]) -> Result<SecretBytes, Refusal> {
        match service.call(caller, method, message, || None) {
            Answer::Now(outcome) => outcome,
            Answer::Later(_) => panic!("a key in memory waits for nothing"),
        }
    }

    #[test]
    fn nothing_is_answered_before_a_keyring_is_published() {
        let (service, _guard) = service(false);
        for method in [Method::Status, Method::Encrypt] {
            let request = v2::EncryptRequest { plaintext: vec![1; 32], uid: "u".into() };
            assert_eq!(ask(&service, &caller(), method, &request.encode_to_vec()).err(), Some(Refusal::NotReady));
        }
    }

    #[test]
    fn status_and_encrypt_name_the_same_key_and_decrypt_gives_back_what_encrypt_was_given() {
        let (service, _guard) = service(true);
        let status: v2::StatusResponse =
            decoded(&ask(&service, &caller(), Method::Status, &[]).expect("answers").expose_secret()[ROOM..]).expect("decodes");
        let request = v2::EncryptRequest { plaintext: vec![7; 32], uid: "u".into() };
        let answer = ask(&service, &caller(), Method::Encrypt, &request.encode_to_vec()).expect("answers");
        let encrypted: v2::EncryptResponse = decoded(&answer.expose_secret()[ROOM..]).expect("decodes");
        assert_eq!((status.version.as_str(), status.healthz.as_str()), ("v2", "ok"));
        assert_eq!(encrypted.key_id, status.key_id);
        let request = v2::DecryptRequest {
            ciphertext: encrypted.ciphertext,
            uid: "u".into(),
            key_id: encrypted.key_id,
            annotations: encrypted.annotations,
        };
        let answer = ask(&service, &caller(), Method::Decrypt, &request.encode_to_vec()).expect("answers");
        let decrypted: v2::DecryptResponse = decoded(&answer.expose_secret()[ROOM..]).expect("decodes");
        assert_eq!(decrypted.plaintext, [7; 32]);
    }

    #[test]
    fn a_decrypt_of_a_disabled_version_is_refused_and_counted_with_the_generation_that_refused_it() {
        use crate::keyring::rotation;
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
        let (path, now) = (dir.path().join("keyring"), "2027-02-01T00:00:00Z".parse().expect("valid"));
        let first = crate::keyring::create::First {
            openers: &[Opener::InsecureDevelopment],
            nodes: vec![],
            hold: std::time::Duration::ZERO,
            key: crate::keyring::create::NewKey::Local,
            now,
        };
        let keyring = store::create(&path, first, &Tokens::none(), &OsEntropy).expect("makes");
        let old = *keyring.primary();
        let (v2, v1) = [crate::envelope::Purpose::KmsV2, crate::envelope::Purpose::KmsV1]
            .map(|purpose| keyring.wrap(purpose, &[7; 32], &OsEntropy).expect("wraps"))
            .into();
        let mut opened = store::read(&path, &Opener::InsecureDevelopment, &Tokens::none()).expect("opens");
        rotation::begin(&mut opened.document, &opened.keys, now, &OsEntropy).expect("begins");
        rotation::promote(&mut opened.document, None, now).expect("promotes");
        rotation::verify(&mut opened.document, old, "a test".parse().expect("valid")).expect("verifies");
        rotation::disable(&mut opened.document, old, now).expect("disables");
        rotation::record(&mut opened.document, now, "disable 1".parse().expect("valid")).expect("counts");
        let (service, _guard) = service(false);
        service.snapshots.publish(opened.prove().expect("proves"));

        let callers = crate::adoption::Callers::new(Instant::now());
        let caller = callers.connect(0, 0, Instant::now());
        let request =
            |key_id: String| v2::DecryptRequest { ciphertext: v2.clone(), uid: "u".into(), key_id, annotations: Default::default() };
        let refused = Some(Refusal::Lookup(LookupError::Disabled));
        assert_eq!(ask(&service, &caller, Method::Decrypt, &request(old.to_string()).encode_to_vec()).err(), refused);
        let unknown = old.to_string().replace("kw1.", "kw1.0");
        assert!(ask(&service, &caller, Method::Decrypt, &request(unknown).encode_to_vec()).is_err());
        let request = crate::protocol::v1beta1::DecryptRequest { version: "v1beta1".into(), cipher: v1 };
        assert_eq!(ask(&service, &caller, Method::V1Decrypt, &request.encode_to_vec()).err(), refused);
        let page = callers.refused(Instant::now());
        assert_eq!((page.since(old, 2).0, page.since(old, 3).0, page.counts.len()), (2, 0, 1), "{page:?}");
    }

    #[test]
    fn bytes_that_are_not_the_message_are_refused() {
        let (service, _guard) = service(true);
        // Field 3 of DecryptRequest, key_id, with one byte that is not UTF-8.
        for message in [&[0x1a, 1, 0xff][..], &[0x0a, 0xff], &[0xff; 12]] {
            assert_eq!(ask(&service, &caller(), Method::Decrypt, message).err(), Some(Refusal::NotTheMessage));
        }
    }

    #[test]
    fn methods_of_kms_v1_are_there_only_when_asked_for() {
        assert_eq!(Method::at("/v1beta1.KeyManagementService/Version", false), None);
        assert_eq!(Method::at("/v1beta1.KeyManagementService/Version", true), Some(Method::V1Version));
        for path in ["/v2alpha1.KeyManagementService/Status", "/v2.KeyManagementService/status", "v2.KeyManagementService/Status", "/", ""]
        {
            assert_eq!(Method::at(path, true), None, "{path}");
        }
    }
}
