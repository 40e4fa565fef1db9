//! Who may: users and passwords, certificates.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{fs, path::Path, time::Duration};

use bazaar_etcd::{
    Client, Endpoints, Keys, Lost, Range, ReadError, Refusal, Revision, Settings, Tls, User, WriteError,
    cluster::{Cluster, NodeTls, Plan},
};
use common::{Etcd, value};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Asks etcd's gateway from HTTP, which has the commands for users that a client of a log does not need.
async fn admin(endpoint: &str, path: &str, body: &str) -> String {
    let place = endpoint.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(place).await.unwrap();
    let length = body.len();
    let head = format!("POST /v3/auth/{path} HTTP/1.1\r\nHost: {place}\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    answer
}

#[tokio::test]
async fn a_user_is_logged_in_and_again_when_its_token_is_no_longer_valid() {
    let Some(mut etcd) = Etcd::start("a_user_is_logged_in", 1).await else { return };
    let as_user = |name: &str, password: &str| {
        let mut settings = etcd.settings();
        settings.user = Some(User { name: name.to_owned(), password: password.to_owned() });
        Client::new(&settings).unwrap()
    };
    let (trader, wrong, nobody) = (as_user("trader", "secret"), as_user("trader", "guessed"), etcd.client());
    // Nobody is asked who they are yet, and naming oneself does no harm.
    trader.put("books/0", "v").await.unwrap();

    let endpoint = etcd.cluster.endpoints()[0].clone();
    admin(&endpoint, "user/add", r#"{"name":"root","password":"root"}"#).await;
    admin(&endpoint, "role/add", r#"{"name":"root"}"#).await;
    admin(&endpoint, "user/grant", r#"{"user":"root","role":"root"}"#).await;
    admin(&endpoint, "user/add", r#"{"name":"trader","password":"secret"}"#).await;
    admin(&endpoint, "role/add", r#"{"name":"books"}"#).await;
    // "books/" to "books0", in base 64.
    let books = r#"{"permType":"READWRITE","key":"Ym9va3Mv","range_end":"Ym9va3Mw"}"#;
    admin(&endpoint, "role/grant", &format!(r#"{{"name":"books","perm":{books}}}"#)).await;
    admin(&endpoint, "user/grant", r#"{"user":"trader","role":"books"}"#).await;
    admin(&endpoint, "enable", "{}").await;

    trader.put("books/1", "v").await.unwrap();
    assert_eq!(value(&trader, "books/1").await.as_deref(), Some("v"));
    let denied = trader.put("others/1", "v").await;
    assert!(matches!(denied, Err(WriteError::Refused(Refusal::PermissionDenied(_)))), "{denied:?}");
    let denied = trader.watch(Keys::prefix("others/"), Revision(1)).await.map(drop);
    assert!(matches!(denied, Err(Lost::Refused(Refusal::PermissionDenied(_)))), "{denied:?}");
    for stranger in [&wrong, &nobody] {
        let refused = stranger.put("books/1", "w").await;
        assert!(matches!(refused, Err(WriteError::Refused(Refusal::Unauthenticated(_)))), "{refused:?}");
        let refused = stranger.range(Range::now(Keys::one("books/1"))).await;
        assert!(matches!(refused, Err(ReadError::Refused(Refusal::Unauthenticated(_)))), "{refused:?}");
    }

    // A node forgets its tokens when it is started again. No call fails for that.
    etcd.cluster.restart(0).unwrap();
    let is_up = async || nobody.status(0).await.ok().filter(|status| status.leader.is_some());
    common::eventually("the node is back", is_up).await;
    // (The connection is known to be broken once it was used.)
    let _ = trader.range(Range::now(Keys::one("books/1"))).await;
    trader.put("books/1", "again").await.unwrap();
    trader.watch(Keys::prefix("books/"), Revision(1)).await.unwrap();
    assert_eq!(value(&trader, "books/1").await.as_deref(), Some("again"));
}

/// Writes certificates of a new authority for 127.0.0.1 into a directory, and returns the authority's and a pair of
/// certificate and key, in PEM.
fn certificates(dir: &Path) -> (NodeTls, String, (String, String)) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let signed = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    let (node, client) = (signed("127.0.0.1"), signed("trader"));
    fs::create_dir_all(dir).unwrap();
    let write = |name: &str, pem: &str| {
        let file = dir.join(name);
        fs::write(&file, pem).unwrap();
        file
    };
    let files = NodeTls {
        authority: write("authority.pem", &authority),
        certificate: write("node.pem", &node.0),
        key: write("node.key", &node.1),
    };
    (files, authority, client)
}

#[tokio::test]
async fn over_tls_both_sides_show_certificates() {
    if !common::is_here("over_tls") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (files, authority, identity) = certificates(&dir.path().join("certificates"));
    let (_, foreign, foreign_identity) = certificates(&dir.path().join("foreign"));
    let trust = Tls { authorities: authority.clone(), identity: Some(identity.clone()) };
    let plan = Plan { tls: Some(files), ..Plan::new(dir.path().join("etcd"), 3) };
    let cluster = Cluster::start(plan, Some(trust.clone())).await.unwrap_or_else(|error| panic!("{error}"));
    let client = |tls: Tls| {
        let mut settings = Settings::new(Endpoints::parse(cluster.endpoints()).unwrap());
        settings.tls = Some(tls);
        settings.deadline = Duration::from_secs(10);
        Client::new(&settings).unwrap()
    };
    let ours = client(trust);
    ours.put("k", "v").await.unwrap();
    assert_eq!(value(&ours, "k").await.as_deref(), Some("v"));

    // Whose authority is not ours is not spoken to at all.
    let error = client(Tls { authorities: foreign, identity: Some(identity) }).put("k", "w").await.unwrap_err();
    assert!(matches!(&error, WriteError::NotSent(_)), "{error:?}");
    // Who shows no certificate, or one of another authority, changes nothing.
    for identity in [None, Some(foreign_identity)] {
        let error = client(Tls { authorities: authority.clone(), identity }).put("k", "w").await.unwrap_err();
        assert!(!matches!(&error, WriteError::Refused(_)), "{error:?}");
    }
    assert_eq!(value(&ours, "k").await.as_deref(), Some("v"));
}
