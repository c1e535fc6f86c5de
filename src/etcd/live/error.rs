//! Why etcd did not answer: which endpoint, for what reason, and whether another try could help.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use thiserror::Error;
use tonic::{Code, Status};

use super::page::Broken;
use super::says;
use crate::etcd::tls::{TlsError, TlsFault};

/// What stood in the way of an answer.
#[derive(Debug, Error)]
pub enum EtcdError {
    /// The files of `--cacert`, `--cert` or `--key`.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No endpoint is a working member that talks to us.
    #[error("no etcd endpoint can be read: {}", list(.0))]
    NoEndpoint(Vec<Refused>),
    /// There was a connection, and then no answer, try after try: the last few are named.
    #[error("etcd did not answer: {}", list(.0))]
    NoAnswer(Vec<Refused>),
    /// An answer that says no, and would say so again.
    #[error("etcd refused: {0}")]
    Refused(Box<Refused>),
    /// The wanted revision is compacted away.
    #[error("revision {revision} is compacted away")]
    Compacted {
        /// Which.
        revision: u64,
    },
    /// An answer that cannot be true.
    #[error("etcd's answer is wrong: {0}; nothing of this read is to be believed")]
    Broken(#[from] Broken),
}

impl EtcdError {
    /// From what the tries ended with, the last one deciding.
    pub(super) fn of(mut refused: Vec<Refused>) -> Self {
        match refused.pop() {
            Some(last) if !last.refusal.is_passing() => Self::Refused(Box::new(last)),
            Some(last) => {
                refused.push(last);
                Self::NoAnswer(refused)
            }
            None => Self::NoAnswer(refused),
        }
    }

    /// What the one decisive refusal was, if there is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refused) => Some(&refused.refusal),
            Self::NoEndpoint(refused) | Self::NoAnswer(refused) => refused.last().map(|refused| &refused.refusal),
            _ => None,
        }
    }
}

/// Each endpoint once, with the last that was heard of it.
fn list(refused: &[Refused]) -> String {
    let mut last: Vec<&Refused> = Vec::new();
    for one in refused {
        last.retain(|seen| seen.endpoint != one.endpoint);
        last.push(one);
    }
    let texts: Vec<_> = last.iter().map(ToString::to_string).collect();
    if texts.is_empty() { "there is none: --endpoints".to_owned() } else { texts.join("; ") }
}

/// A range that was not read to its end. What was visited of it is no evidence of anything.
#[derive(Debug, Error)]
#[error("read {read} of {} keys at revision {}, then: {why}", known(.total), known(.revision))]
pub struct Incomplete {
    /// How many entries were visited.
    pub read: u64,
    /// How many there are; unknown when not even the first page came.
    pub total: Option<u64>,
    /// The revision that was being read; unknown alike.
    pub revision: Option<u64>,
    /// What went wrong.
    #[source]
    pub why: EtcdError,
}

fn known(number: &Option<u64>) -> String {
    number.map_or_else(|| "unknown".to_owned(), |number| number.to_string())
}

/// One endpoint's refusal.
#[derive(Debug, Error)]
#[error("{endpoint}: {refusal}")]
pub struct Refused {
    /// Which.
    pub endpoint: String,
    /// Why.
    pub refusal: Refusal,
}

/// Why one endpoint gave no answer.
#[derive(Debug, Error)]
pub enum Refusal {
    /// Nobody listens there.
    #[error("connection refused: no etcd listens there")]
    Refused,
    /// The host's name is unknown, or there is no way to it.
    #[error("cannot be reached: {0}")]
    Unreachable(io::Error),
    /// No connection in time.
    #[error("no connection within {}", humantime::format_duration(*.0))]
    DialTimeout(Duration),
    /// The handshake failed.
    #[error("{0}")]
    Tls(TlsFault),
    /// Somebody listens who does not speak etcd's protocol.
    #[error("what answers there is no etcd ({0}); if it wants TLS, write https://")]
    NotEtcd(String),
    /// The connection broke before the answer was whole.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The member has no leader: it may be cut off, or an election is on.
    #[error("the member has no leader")]
    NoLeader,
    /// The member is a learner, which answers no linearizable read.
    #[error("the member is a learner: name a voting one")]
    Learner,
    /// It cannot at the moment, by its own word.
    #[error("{0}")]
    Unavailable(String),
    /// Authentication is on and we named nobody.
    #[error("etcd's authentication is on: --user, or a client certificate whose common name is a user")]
    AuthRequired,
    /// The user or its password is wrong.
    #[error("etcd does not know this user with this password")]
    WrongPassword,
    /// The token is not known, or too old: a new one may be.
    #[error("etcd no longer accepts the token that it gave")]
    StaleToken,
    /// The user may not read this range.
    #[error("permission denied: the user needs read permission on the whole prefix")]
    Denied,
    /// Its revision is compacted away.
    #[error("the revision is compacted away")]
    Compacted,
    /// The message would be longer than what is accepted.
    #[error("its answer is too long")]
    TooLong,
    /// A member of another cluster, or of none.
    #[error("it belongs to another cluster ({found:x}, not {expected:x})")]
    OtherCluster {
        /// The id so far.
        expected: u64,
        /// The id in this answer.
        found: u64,
    },
    /// Anything else, in its words.
    #[error("{code:?}: {message}")]
    Answered {
        /// The gRPC code.
        code: Code,
        /// Its message.
        message: String,
    },
}

impl Refusal {
    /// Whether the same question may get an answer a moment later or from another member.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Refused | Self::Unreachable(_) | Self::DialTimeout(_) | Self::Lost(_) | Self::Timeout => true,
            Self::NoLeader | Self::Learner | Self::Unavailable(_) | Self::StaleToken => true,
            Self::Tls(_) | Self::NotEtcd(_) | Self::AuthRequired | Self::WrongPassword | Self::Denied => false,
            Self::Compacted | Self::TooLong | Self::OtherCluster { .. } | Self::Answered { .. } => false,
        }
    }

    /// Whether it is about the way to this endpoint, and says nothing about the others.
    pub(super) fn is_of_endpoint(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::NotEtcd(_))
    }

    /// From a failed dial.
    pub(super) fn of_dial(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            _ => Self::Unreachable(error),
        }
    }

    /// From a status that the server sent or that our side made of a broken connection.
    pub(super) fn of_status(status: &Status) -> Self {
        if let Some(refusal) = of_connection(status) {
            return refusal;
        }
        let told = |code, text| says(status, code, text);
        if told(Code::OutOfRange, "mvcc: required revision has been compacted") {
            return Self::Compacted;
        }
        if told(Code::InvalidArgument, "user name is empty") {
            return Self::AuthRequired;
        }
        if told(Code::InvalidArgument, "authentication failed, invalid user ID or password") {
            return Self::WrongPassword;
        }
        if told(Code::InvalidArgument, "revision of auth store is old") || status.code() == Code::Unauthenticated {
            return Self::StaleToken;
        }
        if told(Code::Unavailable, "no leader") {
            return Self::NoLeader;
        }
        if told(Code::FailedPrecondition, "rpc not supported for learner") {
            return Self::Learner;
        }
        match status.code() {
            Code::PermissionDenied => Self::Denied,
            Code::DeadlineExceeded | Code::Cancelled => Self::Timeout,
            Code::Unavailable => Self::Unavailable(status.message().to_owned()),
            Code::ResourceExhausted if status.message() == "etcdserver: too many requests" => {
                Self::Unavailable(status.message().to_owned())
            }
            // The first is our own limit, the second a proxy's or the server's.
            Code::OutOfRange if status.message().contains("message length too large") => Self::TooLong,
            Code::ResourceExhausted if status.message().contains("message larger than max") => Self::TooLong,
            Code::Unimplemented => Self::NotEtcd(format!("it does not know the call: {}", status.message())),
            code => Self::Answered { code, message: status.message().to_owned() },
        }
    }
}

/// A status that was made on this side has its cause: the connection. None when the server sent it.
fn of_connection(status: &Status) -> Option<Refusal> {
    let mut cause = status.source()?;
    loop {
        if let Some(http2) = cause.downcast_ref::<h2::Error>() {
            // Bytes that are no HTTP/2 frames are found out by our own library, before any answer.
            let foreign = http2.is_library() && http2.reason().is_some_and(|reason| reason != h2::Reason::NO_ERROR);
            return Some(if foreign { Refusal::NotEtcd(http2.to_string()) } else { Refusal::Lost(http2.to_string()) });
        }
        match cause.source() {
            Some(deeper) => cause = deeper,
            None => return Some(Refusal::Lost(cause.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_refusal_decides_and_every_endpoint_is_named_once() {
        let refused = |endpoint: &str, refusal| Refused { endpoint: endpoint.to_owned(), refusal };
        let error = EtcdError::of(vec![
            refused("http://a:1", Refusal::Timeout),
            refused("http://b:1", Refusal::NoLeader),
            refused("http://a:1", Refusal::Refused),
        ]);
        let text = "etcd did not answer: http://b:1: the member has no leader; http://a:1: connection refused: no etcd listens there";
        assert_eq!(error.to_string(), text);
        assert!(matches!(EtcdError::of(vec![refused("http://a:1", Refusal::Denied)]), EtcdError::Refused(_)));
    }

    #[test]
    fn a_text_of_etcd_counts_only_with_its_code() {
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        assert!(matches!(Refusal::of_status(&Status::out_of_range(compacted)), Refusal::Compacted));
        assert!(matches!(Refusal::of_status(&Status::internal(compacted)), Refusal::Answered { code: Code::Internal, .. }));
        let future = Status::out_of_range("etcdserver: mvcc: required revision is a future revision");
        assert!(!Refusal::of_status(&future).is_passing());
    }

    #[test]
    fn an_incomplete_range_says_how_far_it_came() {
        let why = EtcdError::Compacted { revision: 9 };
        let error = Incomplete { read: 3, total: Some(10), revision: Some(9), why };
        assert_eq!(error.to_string(), "read 3 of 10 keys at revision 9, then: revision 9 is compacted away");
    }
}
