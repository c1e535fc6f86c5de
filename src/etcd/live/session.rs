//! One connection and who answers on it.

use std::fmt;
use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::endpoint::Endpoint;
use super::error::Refusal;
use super::link::{self, Fault};
use super::page::MAX_ANSWER;
use super::pb::auth_client::AuthClient;
use super::pb::kv_client::KvClient;
use super::pb::maintenance_client::MaintenanceClient;
use super::{Options, User, pb, says};
use crate::etcd::tls::Tls;

/// Bytes that a member may send ahead of our reading: a page and more, so that the next one arrives while this one is visited.
const WINDOW: u32 = 8 << 20;
/// A peer that is silently gone is noticed while we wait for it. etcd takes one such question every 5 s.
const PING: Duration = Duration::from_secs(10);

/// A connection on which a voting member with a leader has answered.
pub(super) struct Session {
    channel: Channel,
    fault: Fault,
    identified: bool,
    token: Option<MetadataValue<Ascii>>,
    timeout: Duration,
    status: pb::StatusResponse,
}

impl Session {
    /// Connects, authenticates where a user is named, and asks the member how it is.
    pub(super) async fn open(endpoint: &Endpoint, options: &Options, tls: Option<&Tls>) -> Result<Self, Refusal> {
        match (Self::begin(endpoint, options, tls).await, tls) {
            (Err(Refusal::Lost(lost)), Some(tls)) if endpoint.is_tls() => {
                Err(link::complaint(endpoint, tls).await.map_or(Refusal::Lost(lost), Refusal::Tls))
            }
            (outcome, _) => outcome,
        }
    }

    async fn begin(endpoint: &Endpoint, options: &Options, tls: Option<&Tls>) -> Result<Self, Refusal> {
        let fault = Fault::default();
        let dialled = tokio::time::timeout(options.dial_timeout, link::dial(endpoint, tls, fault.clone())).await;
        let link = dialled.map_err(|_| Refusal::DialTimeout(options.dial_timeout))??;
        let mut link = Some(TokioIo::new(link));
        // One connection and no other: a second attempt would hide what happened to the first.
        let connector = tower::service_fn(move |_| {
            let link = link.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
            async move { link }
        });
        // The scheme here only says that TLS, if any, is below.
        let origin = endpoint.to_string().replacen("https://", "http://", 1);
        let channel = tonic::transport::Endpoint::from_shared(origin)
            .map_err(|error| Refusal::NotEtcd(error.to_string()))?
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(options.dial_timeout)
            .connect_with_connector(connector)
            .await
            .map_err(|error| Refusal::Lost(error.to_string()))?;
        let identified = tls.is_some_and(|tls| tls.identified);
        let status = pb::StatusResponse::default();
        let mut session = Self { channel, fault, identified, token: None, timeout: options.command_timeout, status };
        if let Some(user) = &options.user {
            session.authenticate(user).await?;
        }
        session.status = session.ask_status().await?;
        if session.status.is_learner {
            return Err(Refusal::Learner);
        }
        if session.status.leader == 0 {
            return Err(Refusal::NoLeader);
        }
        if session.cluster_id() == 0 {
            return Err(Refusal::NotEtcd("it names no cluster".to_owned()));
        }
        Ok(session)
    }

    pub(super) fn cluster_id(&self) -> u64 {
        self.status.header.as_ref().map_or(0, |header| header.cluster_id)
    }

    /// What it said last about itself.
    pub(super) fn status(&self) -> &pb::StatusResponse {
        &self.status
    }

    /// A linearizable read.
    pub(super) async fn range(&mut self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Refusal> {
        let request = self.request(request.clone());
        let mut client = KvClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER);
        let answer = tokio::time::timeout(self.timeout, client.range(request)).await;
        self.answer(answer)
    }

    async fn ask_status(&mut self) -> Result<pb::StatusResponse, Refusal> {
        let request = self.request(pb::StatusRequest {});
        let mut client = MaintenanceClient::new(self.channel.clone());
        let answer = tokio::time::timeout(self.timeout, client.status(request)).await;
        self.answer(answer)
    }

    /// Gets the token that every later call carries. Where authentication is off there is none, and none is needed.
    async fn authenticate(&mut self, user: &User) -> Result<(), Refusal> {
        // A password that is no text cannot be any user's.
        let password = std::str::from_utf8(user.password.expose_secret()).map_err(|_| Refusal::WrongPassword)?;
        let request = pb::AuthenticateRequest { name: user.name.clone(), password: password.to_owned() };
        let mut client = AuthClient::new(self.channel.clone());
        let answer = tokio::time::timeout(self.timeout, client.authenticate(request)).await;
        if let Ok(Err(status)) = &answer
            && says(status, Code::FailedPrecondition, "authentication is not enabled")
        {
            return Ok(());
        }
        let answer = self.answer(answer)?;
        let mut token: MetadataValue<Ascii> =
            answer.token.parse().map_err(|_| Refusal::NotEtcd("its token is no header value".to_owned()))?;
        token.set_sensitive(true);
        self.token = Some(token);
        Ok(())
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }

    /// Sorts what came back. What TLS said comes first: the layers above it only know that the connection ended.
    fn answer<T>(&self, answer: Result<Result<Response<T>, Status>, tokio::time::error::Elapsed>) -> Result<T, Refusal> {
        match answer {
            Err(_) => Err(Refusal::Timeout),
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(match self.fault.sorted(self.identified) {
                Some(fault) => Refusal::Tls(fault),
                None => Refusal::of_status(&status),
            }),
        }
    }
}

impl fmt::Debug for Session {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("status", &self.status).finish_non_exhaustive()
    }
}
