//! Who may read: TLS with its certificates, and etcd's own users.

use keywright::etcd::TlsFault;
use keywright::etcd::live::{Etcd, EtcdError, Options, Refusal, Request, User};
use keywright::secret::SecretBytes;
use keywright_testbed::etcd as bed;
use keywright_testbed::pki::{Authority, Identity};

use crate::support::{PREFIX, options, pairs, read, refusal, tools};

/// A server that wants client certificates, its authority, and a client.
fn mutual() -> (bed::Etcd, Authority, Identity) {
    let authority = Authority::new().expect("makes");
    let client = authority.client("kube-apiserver-etcd-client").expect("signs");
    let server = authority.server(&["127.0.0.1", "localhost"]).expect("signs");
    let tls = bed::Tls { authority: &authority, server, client: Some(client.clone()) };
    let etcd = bed::Etcd::start_tls(tools(), &tls).expect("etcd starts");
    (etcd, authority, client)
}

fn with(server: &bed::Etcd, authority: &Authority, client: Option<&Identity>) -> Options {
    let client = |file: fn(&Identity) -> &std::path::PathBuf| client.map(|client| file(client).clone());
    Options { cacert: Some(authority.cert()), cert: client(|client| &client.cert), key: client(|client| &client.key), ..options(&[server]) }
}

fn tls_fault(error: &EtcdError) -> &TlsFault {
    match error.refusal() {
        Some(Refusal::Tls(fault)) => fault,
        _ => panic!("another error: {error}"),
    }
}

#[tokio::test]
async fn a_client_certificate_opens_what_wants_one() {
    let (server, authority, client) = mutual();
    server.etcdctl(&["put", "/registry/a", "x"]).expect("puts");
    let mut etcd = Etcd::connect(with(&server, &authority, Some(&client))).await.unwrap_or_else(|e| panic!("{e}"));
    let (found, _) = read(&mut etcd, &Request::all(PREFIX.as_bytes())).await.expect("reads");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [("/registry/a".to_owned(), b"x".to_vec())]);
}

#[tokio::test]
async fn each_certificate_that_does_not_fit_has_its_own_error() {
    let (server, authority, client) = mutual();
    let stranger = Authority::new().expect("makes");
    let strange = stranger.client("kube-apiserver-etcd-client").expect("signs");
    for (options, fault) in [
        (with(&server, &stranger, Some(&client)), TlsFault::UnknownIssuer),
        (with(&server, &authority, None), TlsFault::ClientCertificateWanted),
        (with(&server, &authority, Some(&strange)), TlsFault::ClientCertificateRefused),
    ] {
        let error = refusal(options).await;
        assert_eq!(tls_fault(&error), &fault, "{error}");
        assert!(error.to_string().contains(server.endpoint()), "{error}");
    }
    let half = Options { key: None, ..with(&server, &authority, Some(&client)) };
    assert!(matches!(refusal(half).await, EtcdError::Tls(keywright::etcd::TlsError::Half)));
    let mixed = Options { key: Some(strange.key), ..with(&server, &authority, Some(&client)) };
    assert!(matches!(refusal(mixed).await, EtcdError::Tls(keywright::etcd::TlsError::Identity { .. })));
}

#[tokio::test]
async fn a_certificate_for_another_name_and_one_past_its_time_are_told_apart() {
    let authority = Authority::new().expect("makes");
    for (server, fault) in [
        (authority.server(&["etcd.example"]).expect("signs"), TlsFault::WrongName),
        (authority.expired_server(&["127.0.0.1"]).expect("signs"), TlsFault::Expired),
    ] {
        let tls = bed::Tls { authority: &authority, server, client: None };
        let server = bed::Etcd::start_tls(tools(), &tls).expect("etcd starts");
        let error = refusal(with(&server, &authority, None)).await;
        assert_eq!(tls_fault(&error), &fault, "{error}");
    }
}

#[tokio::test]
async fn plain_and_tls_do_not_understand_each_other_and_say_so() {
    let (server, authority, client) = mutual();
    let plain = bed::Etcd::start(tools()).expect("etcd starts");
    let as_tls = plain.endpoint().replacen("http:", "https:", 1);
    let endpoints = crate::support::options_for(&as_tls).endpoints;
    let error = refusal(Options { endpoints, ..with(&server, &authority, Some(&client)) }).await;
    assert_eq!(tls_fault(&error), &TlsFault::NotTls, "{error}");
    let error = refusal(crate::support::options_for(&server.endpoint().replacen("https:", "http:", 1))).await;
    assert!(matches!(error.refusal(), Some(Refusal::NotEtcd(_) | Refusal::Lost(_))), "{error}");
}

/// etcd's own authentication: root, and a user `reader` of the prefix alone.
fn with_users(server: &bed::Etcd) {
    for words in [
        &["user", "add", "root:rootpw"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "reader:readerpw"],
        &["role", "add", "read"],
        &["role", "grant-permission", "read", "read", PREFIX, "--prefix"],
        &["user", "grant-role", "reader", "read"],
        &["auth", "enable"],
    ] {
        server.etcdctl(words).unwrap_or_else(|e| panic!("{e}"));
    }
}

fn user(name: &str, password: &str) -> Option<User> {
    Some(User { name: name.to_owned(), password: SecretBytes::from_vec(password.as_bytes().to_vec()).into() })
}

#[tokio::test]
async fn a_user_with_its_password_reads_what_it_may_and_no_more() {
    let server = bed::Etcd::start(tools()).expect("etcd starts");
    server.put_all(&pairs(200, 10)).expect("puts");
    with_users(&server);
    let as_reader = Options { user: user("reader", "readerpw"), ..options(&[&server]) };
    let mut etcd = Etcd::connect(as_reader).await.unwrap_or_else(|e| panic!("{e}"));
    let (found, _) = read(&mut etcd, &Request::all(PREFIX.as_bytes())).await.expect("reads");
    assert_eq!(found.len(), 200);
    assert_eq!(etcd.oldest_revision().await.expect("found"), 1);
    let error = read(&mut etcd, &Request::all(b"")).await.expect_err("more than it may");
    assert!(matches!(error.why.refusal(), Some(Refusal::Denied)), "{error}");
    let as_root = Options { user: user("root", "rootpw"), ..options(&[&server]) };
    let mut etcd = Etcd::connect(as_root).await.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(read(&mut etcd, &Request::all(b"")).await.expect("reads").1.entries, 200);
}

#[tokio::test]
async fn nobody_and_a_wrong_password_are_refused_without_showing_it() {
    let server = bed::Etcd::start(tools()).expect("etcd starts");
    with_users(&server);
    let error = refusal(options(&[&server])).await;
    assert!(matches!(error.refusal(), Some(Refusal::AuthRequired)), "{error}");
    for (name, password) in [("root", "hunter2hunter2"), ("nobody", "hunter2hunter2"), ("root", "")] {
        let wrong = Options { user: user(name, password), ..options(&[&server]) };
        let error = refusal(wrong).await;
        assert!(matches!(error.refusal(), Some(Refusal::WrongPassword)), "{name}: {error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_user_where_authentication_is_off_is_no_hindrance() {
    let server = bed::Etcd::start(tools()).expect("etcd starts");
    let named = Options { user: user("root", "rootpw"), ..options(&[&server]) };
    Etcd::connect(named).await.unwrap_or_else(|e| panic!("{e}"));
}

#[tokio::test]
async fn a_token_that_has_gone_stale_is_replaced() {
    let server = bed::Etcd::start_with(tools(), &["--auth-token-ttl=1"]).expect("etcd starts");
    server.put_all(&pairs(20, 10)).expect("puts");
    with_users(&server);
    let as_reader = Options { user: user("reader", "readerpw"), ..options(&[&server]) };
    let mut etcd = Etcd::connect(as_reader).await.unwrap_or_else(|e| panic!("{e}"));
    // Any change of users makes earlier tokens old at once.
    server.etcdctl(&["--user=root:rootpw", "role", "add", "another"]).expect("adds");
    assert_eq!(read(&mut etcd, &Request::all(PREFIX.as_bytes())).await.expect("reads").1.entries, 20);
}
