//! Mutual TLS between members, and addresses to listen on and to be reached at (SPEC J1, J2).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bazaar;

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use bazaar::{Answer, Bazaar, DEADLINE, ask, free_port, note, until};
use bazaar_protocol::{
    effect::Note,
    id::{Incarnation, Life, PeerId},
    ledger::{LedgerStatus, Secret},
};
use bazaar_runtime::{
    config::run_dir,
    network::{
        hello::{self, AcceptError, ConnectError, Credentials, Purpose, Refusal, RunId, RunKey},
        host::Host,
        ledger_service::{LedgerServer, StoreAccess},
        refusals::{Counts, Reason},
        settings::Settings,
    },
    tls::{
        Identity, Tls,
        authority::{Authority, Issued},
        certificate::{Facts, Seconds, Serial},
        handshake::Pair,
    },
    tools,
};
use nix::sys::signal::Signal;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::timeout,
};

const RUN: RunId = RunId(1);
const SOON: Duration = Duration::from_secs(20);

fn peer(id: u32) -> Identity {
    Identity::Peer(PeerId(id))
}

fn settings() -> Settings {
    Settings { handshake: SOON, ..Settings::default() }
}

/// An authority, and its certificate.
fn authority() -> (Authority, CertificateDer<'static>) {
    let (authority, issued) = Authority::new(RUN).unwrap();
    (authority, CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap())
}

fn pair(issued: &Issued) -> Pair {
    Pair {
        certificate: CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap(),
        key: PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
    }
}

fn facts(issued: &Issued) -> Facts {
    Facts::of(&pair(issued).certificate).unwrap()
}

/// Credentials of a process that trusts this authority and shows these certificates for these members.
fn credentials<'a>(
    trusts: &CertificateDer<'_>,
    shows: impl IntoIterator<Item = (Identity, &'a Issued)>,
    revoked: impl IntoIterator<Item = Serial>,
) -> Credentials {
    let shows = shows.into_iter().map(|(of, issued)| (of, pair(issued)));
    let tls = Tls::new(RUN, std::slice::from_ref(trusts), shows, revoked.into_iter().collect()).unwrap();
    Credentials { run: RUN, key: RunKey::from_bytes([1; 32]), tls: Some(tls) }
}

fn plain() -> Credentials {
    Credentials { run: RUN, key: RunKey::from_bytes([1; 32]), tls: None }
}

fn life(id: u32) -> Life {
    Life { peer: PeerId(id), incarnation: Incarnation(1) }
}

fn to_ledger(id: u32) -> Purpose {
    Purpose::Ledger { from: life(id) }
}

/// What both ends of a connection say of it.
struct Ends {
    connector: Result<(), ConnectError>,
    acceptor: Result<Purpose, AcceptError>,
}

impl Ends {
    #[track_caller]
    fn say(&self, connector: &[&str], acceptor: &[&str]) {
        let error = self.connector.as_ref().unwrap_err().to_string();
        for part in connector {
            assert!(error.contains(part), "the connector does not say {part:?}: {error}");
        }
        let error = self.acceptor.as_ref().unwrap_err().to_string();
        for part in acceptor {
            assert!(error.contains(part), "the acceptor does not say {part:?}: {error}");
        }
    }

    #[track_caller]
    fn is_counted_as(&self, reason: Reason) {
        assert_eq!(Reason::from(self.acceptor.as_ref().unwrap_err()), reason);
    }
}

/// Lets one process connect to another for this purpose.
async fn meet_with(connector: &Credentials, purpose: Purpose, acceptor: &Credentials, settings: Settings) -> Ends {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        let accepted = hello::accept(stream, acceptor, &settings, |_| Ok(())).await;
        accepted.map(|(_, purpose, ())| purpose)
    };
    let connect = async { hello::connect(address, connector, purpose, &settings).await.map(drop) };
    let (connector, acceptor) = timeout(SOON * 2, async { tokio::join!(connect, accept) }).await.expect("an end");
    Ends { connector, acceptor }
}

async fn meet(connector: &Credentials, purpose: Purpose, acceptor: &Credentials) -> Ends {
    meet_with(connector, purpose, acceptor, settings()).await
}

/// SPEC J1.
#[tokio::test]
async fn a_member_is_let_in_with_its_own_certificate_and_reaches_whom_it_means() {
    let (authority, trusted) = authority();
    let issue = |of: Identity| authority.issue(RUN, of, 9).unwrap();
    let (three, five, six, ledger, tools) =
        (issue(peer(3)), issue(peer(5)), issue(peer(6)), issue(Identity::Ledger), issue(Identity::Tools));
    let ledger = credentials(&trusted, [(Identity::Ledger, &ledger)], []);
    let me = credentials(&trusted, [(peer(3), &three), (Identity::Tools, &tools)], []);
    for purpose in [to_ledger(3), Purpose::Tool] {
        let ends = meet(&me, purpose, &ledger).await;
        ends.connector.unwrap();
        assert_eq!(ends.acceptor.unwrap(), purpose);
    }
    // A process with several peers shows the certificate of the one that is wanted.
    let host = credentials(&trusted, [(peer(5), &five), (peer(6), &six)], []);
    for to in [5, 6] {
        let purpose = Purpose::Link { from: life(3), to: PeerId(to) };
        let ends = meet(&me, purpose, &host).await;
        ends.connector.unwrap();
        assert_eq!(ends.acceptor.unwrap(), purpose);
    }
}

/// SPEC J1: each kind of wrong certificate of a connector is refused, and both ends say why.
#[tokio::test]
async fn a_connectors_wrong_certificate_is_refused_and_both_ends_say_what_is_wrong() {
    let (authority, trusted) = authority();
    let ledger = authority.issue(RUN, Identity::Ledger, 9).unwrap();
    let good = authority.issue(RUN, peer(3), 9).unwrap();
    let now = Seconds::now();
    let at = |from: i64, until: i64| {
        authority.issue_for(&peer(3).dns_name(RUN), Seconds(now.0 + from), Seconds(now.0 + until)).unwrap()
    };
    let acceptor = credentials(&trusted, [(Identity::Ledger, &ledger)], []);
    let shows = |issued: &Issued| credentials(&trusted, [(peer(3), issued)], []);

    let expired = at(-90_000, -60);
    let ends = meet(&shows(&expired), to_ledger(3), &acceptor).await;
    let serial = facts(&expired).serial.to_string();
    let when = format!("expired at {}", Seconds(now.0 - 60));
    ends.say(
        &["does not accept", &serial, &when, "bazaar cert renew"],
        &[&serial, "peer-3", &when, "bazaar cert renew"],
    );
    ends.is_counted_as(Reason::CertificateExpired);

    let early = at(90_000, 180_000);
    let ends = meet(&shows(&early), to_ledger(3), &acceptor).await;
    ends.say(&["is not valid before"], &["peer-3", "is not valid before", "clock"]);
    ends.is_counted_as(Reason::CertificateNotYetValid);

    // An authority of a run with the same name.
    let (stranger, _) = Authority::new(RUN).unwrap();
    let ends = meet(&shows(&stranger.issue(RUN, peer(3), 9).unwrap()), to_ledger(3), &acceptor).await;
    ends.say(
        &["another authority has issued it", "ca.pem"],
        &["peer-3", "was not issued by the authority of this run"],
    );
    ends.is_counted_as(Reason::CertificateForeign);

    let serial = facts(&good).serial;
    let strict = credentials(&trusted, [(Identity::Ledger, &ledger)], [serial.clone()]);
    let ends = meet(&shows(&good), to_ledger(3), &strict).await;
    ends.say(
        &["it is revoked there (tls.revoked)", "bazaar cert renew"],
        &[&serial.to_string(), "is revoked here (tls.revoked)"],
    );
    ends.is_counted_as(Reason::CertificateRevoked);
    meet(&shows(&good), to_ledger(3), &acceptor).await.connector.unwrap();

    // One that the authority has issued for a peer of another run.
    let ends = meet(&shows(&authority.issue(RunId(2), peer(3), 9).unwrap()), to_ledger(3), &acceptor).await;
    let name = peer(3).dns_name(RunId(2));
    ends.say(&[&name, "no member of this run"], &[&name, "no member of this run"]);
    ends.is_counted_as(Reason::CertificateOfAnother);
}

/// SPEC J1: a certificate for 3 cannot say it is 4, to a peer or to the ledger; nor can a peer's stand for the tools,
/// nor the tools' or the ledger's for a peer.
#[tokio::test]
async fn a_certificate_speaks_for_nobody_but_its_owner() {
    let (authority, trusted) = authority();
    let issue = |of: Identity| authority.issue(RUN, of, 9).unwrap();
    let (three, ledger, tools, five) =
        (issue(peer(3)), issue(Identity::Ledger), issue(Identity::Tools), issue(peer(5)));
    let to_ledger_4 = to_ledger(4);
    let to_five = Purpose::Link { from: life(4), to: PeerId(5) };
    let cases = [
        (&three, peer(3), to_ledger_4),
        (&three, peer(3), to_five),
        (&three, peer(3), Purpose::Tool),
        (&tools, Identity::Tools, to_ledger_4),
        (&ledger, Identity::Ledger, to_five),
    ];
    for (shown, of, purpose) in cases {
        let callee = if purpose == to_five { (peer(5), &five) } else { (Identity::Ledger, &ledger) };
        let acceptor = credentials(&trusted, [callee], []);
        // It shows this certificate for whomever it says it is.
        let liar = credentials(&trusted, [(purpose.caller(), shown)], []);
        let ends = meet(&liar, purpose, &acceptor).await;
        let (says, shows) =
            (format!("says that it is {}", purpose.caller()), format!("its certificate is that of {of}"));
        ends.say(&[&says, &shows], &[&says, &shows]);
        let refusal = Refusal::OfAnother { says: purpose.caller().to_string(), shows: of.to_string() };
        assert!(matches!(&ends.connector, Err(ConnectError::Refused(why)) if *why == refusal), "{:?}", ends.connector);
        ends.is_counted_as(Reason::CertificateOfAnother);
    }
}

/// SPEC J1: nor is anybody taken for the ledger, or for another peer, who is not.
#[tokio::test]
async fn an_acceptors_wrong_certificate_is_refused_and_both_ends_say_what_is_wrong() {
    let (authority, trusted) = authority();
    let three = authority.issue(RUN, peer(3), 9).unwrap();
    let me = credentials(&trusted, [(peer(3), &three)], []);
    let now = Seconds::now();
    let name = Identity::Ledger.dns_name(RUN);
    let at = |from: i64, until: i64| authority.issue_for(&name, Seconds(now.0 + from), Seconds(now.0 + until)).unwrap();
    let shows = |issued: &Issued| credentials(&trusted, [(Identity::Ledger, issued)], []);

    for other in [peer(5), peer(3), Identity::Tools] {
        let ends = meet(&me, to_ledger(3), &shows(&authority.issue(RUN, other, 9).unwrap())).await;
        ends.say(
            &[&other.dns_name(RUN), "is not the ledger's"],
            &["does not accept", "wanted to reach another member"],
        );
        ends.is_counted_as(Reason::CertificateRejected);
    }
    // Where another peer answers than the directory says.
    let five = authority.issue(RUN, peer(5), 9).unwrap();
    let link = Purpose::Link { from: life(3), to: PeerId(6) };
    let ends = meet(&me, link, &credentials(&trusted, [(peer(5), &five)], [])).await;
    ends.say(&["for peer-5.", "is not peer 6's", "the address belongs to another"], &["another member"]);

    let ends = meet(&me, to_ledger(3), &shows(&at(-90_000, -60))).await;
    ends.say(&["for ledger.", "expired at"], &["it expired at", "bazaar cert renew"]);
    let ends = meet(&me, to_ledger(3), &shows(&at(90_000, 180_000))).await;
    ends.say(&["for ledger.", "is not valid before"], &["is not valid before"]);
    let (stranger, _) = Authority::new(RUN).unwrap();
    let ends = meet(&me, to_ledger(3), &shows(&stranger.issue(RUN, Identity::Ledger, 9).unwrap())).await;
    ends.say(&["was not issued by the authority of this run"], &["another authority has issued it"]);
    let good = authority.issue(RUN, Identity::Ledger, 9).unwrap();
    let strict = credentials(&trusted, [(peer(3), &three)], [facts(&good).serial]);
    let ends = meet(&strict, to_ledger(3), &shows(&good)).await;
    ends.say(&["is revoked here"], &["it is revoked there"]);
    meet(&me, to_ledger(3), &shows(&good)).await.connector.unwrap();
}

#[tokio::test]
async fn plain_and_tls_do_not_meet_and_both_ends_are_told() {
    let (authority, trusted) = authority();
    let (three, ledger) =
        (authority.issue(RUN, peer(3), 9).unwrap(), authority.issue(RUN, Identity::Ledger, 9).unwrap());
    let me = credentials(&trusted, [(peer(3), &three)], []);
    let tls_ledger = credentials(&trusted, [(Identity::Ledger, &ledger)], []);
    // In less than this the acceptor has found out.
    let quick = Settings { handshake: Duration::from_secs(2), ..Settings::default() };
    let ends = meet_with(&plain(), to_ledger(3), &tls_ledger, quick).await;
    ends.say(&["TLS is spoken there", "[tls]"], &["TLS is spoken here", "[tls]"]);
    ends.is_counted_as(Reason::Plain);
    let ends = meet_with(&me, to_ledger(3), &plain(), quick).await;
    ends.say(&["TLS is spoken here", "the other side does not", "[tls]"], &["speaks TLS", "not spoken here", "[tls]"]);
    ends.is_counted_as(Reason::Tls);
}

/// Somebody who is no member at all says nothing, or something else than TLS.
#[tokio::test]
async fn a_stranger_is_no_member_without_tls() {
    let (authority, trusted) = authority();
    let ledger = authority.issue(RUN, Identity::Ledger, 9).unwrap();
    let acceptor = credentials(&trusted, [(Identity::Ledger, &ledger)], []);
    let quick = Settings { handshake: Duration::from_millis(400), ..Settings::default() };
    for (says, reason) in [(&b""[..], Reason::Silent), (b"GET / HTTP/1.1\r\n\r\n", Reason::NoHello)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stranger = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stranger, says).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let error = hello::accept(stream, &acceptor, &quick, |_| Ok(())).await.map(drop).unwrap_err();
        assert_eq!(Reason::from(&error), reason, "{error}");
    }
}

/// Why the ledger refuses a connector that is no member's, and is set up like this; the connector is cut off.
async fn refusal_of(config: rustls::ClientConfig, acceptor: &Credentials) -> hello::AcceptError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connect = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from(Identity::Ledger.dns_name(RUN)).unwrap();
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        tokio::io::AsyncReadExt::read(&mut stream, &mut [0]).await
    };
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        hello::accept(stream, acceptor, &settings(), |_| Ok(())).await.map(drop)
    };
    let (read, accepted) = timeout(SOON, async { tokio::join!(connect, accept) }).await.unwrap();
    assert!(read.is_err(), "{read:?}");
    accepted.unwrap_err()
}

/// The certificate proves nothing without the key of the run, and a connector that has none at all is refused.
#[tokio::test]
async fn the_key_is_still_asked_for_and_so_is_a_certificate() {
    let (authority, trusted) = authority();
    let (three, ledger) =
        (authority.issue(RUN, peer(3), 9).unwrap(), authority.issue(RUN, Identity::Ledger, 9).unwrap());
    let acceptor = credentials(&trusted, [(Identity::Ledger, &ledger)], []);
    let wrong = RunKey::from_bytes([2; 32]);
    let me = Credentials { key: wrong, ..credentials(&trusted, [(peer(3), &three)], []) };
    let ends = meet(&me, to_ledger(3), &acceptor).await;
    assert!(matches!(ends.connector, Err(ConnectError::Refused(Refusal::Key))), "{:?}", ends.connector);

    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let error = refusal_of(config, &acceptor).await;
    assert_eq!(Reason::from(&error), Reason::NoCertificate, "{error}");
}

/// Configuration of a connector that shows this chain of certificates and speaks for itself, with all that rustls has.
fn raw_connector(trusts: &CertificateDer<'_>, chain: &[&Issued]) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusts.clone().into_owned()).unwrap();
    let certificates = chain.iter().map(|issued| pair(issued).certificate).collect();
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates, pair(chain[0]).key)
        .unwrap()
}

/// SPEC J1: nor does a certificate make others: 3 signs one for 4, and shows its own as that of the issuer.
#[tokio::test]
async fn a_members_certificate_issues_none() {
    let (authority, trusted) = authority();
    let (three, ledger) =
        (authority.issue(RUN, peer(3), 9).unwrap(), authority.issue(RUN, Identity::Ledger, 9).unwrap());
    let key = rcgen::KeyPair::from_pem(&three.key).unwrap();
    let as_authority = Authority::of(&pair(&three).certificate, facts(&three).not_after, key).unwrap();
    let four = as_authority.issue(RUN, peer(4), 9).unwrap();
    let acceptor = credentials(&trusted, [(Identity::Ledger, &ledger)], []);
    let ends = meet(&credentials(&trusted, [(peer(4), &four)], []), to_ledger(4), &acceptor).await;
    ends.is_counted_as(Reason::CertificateForeign);

    let config = raw_connector(&trusted, &[&four, &three]);
    let error = refusal_of(config, &acceptor).await.to_string();
    assert!(error.contains("its certificate") && error.contains("peer-4") && error.contains("not accepted"), "{error}");
}

/// SPEC J1: a certificate with two names is for neither of them.
#[tokio::test]
async fn a_certificate_with_two_names_speaks_for_nobody() {
    let (key, issued) = {
        let (_, issued) = Authority::new(RUN).unwrap();
        (rcgen::KeyPair::from_pem(&issued.key).unwrap(), issued)
    };
    let trusted = pair(&issued).certificate;
    let issuer = rcgen::Issuer::from_ca_cert_der(&trusted, &key).unwrap();
    let of_both = rcgen::KeyPair::generate().unwrap();
    let names = [peer(3).dns_name(RUN), peer(4).dns_name(RUN)];
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&of_both, &issuer).unwrap().pem();
    let both = Issued { certificate, key: of_both.serialize_pem() };
    let authority = Authority::of(&trusted, facts(&issued).not_after, rcgen::KeyPair::from_pem(&issued.key).unwrap());
    let ledger = authority.unwrap().issue(RUN, Identity::Ledger, 9).unwrap();
    let acceptor = credentials(&trusted, [(Identity::Ledger, &ledger)], []);
    for id in [3, 4] {
        let ends = meet(&credentials(&trusted, [(peer(id), &both)], []), to_ledger(id), &acceptor).await;
        ends.say(&["no member of this run"], &["no member of this run"]);
        ends.is_counted_as(Reason::CertificateOfAnother);
    }
}

/// SPEC J1: only TLS 1.3 is spoken, and no session is resumed: nothing is given to a connector to resume one with.
#[tokio::test]
async fn only_tls_1_3_is_spoken_and_nothing_is_resumed() {
    let (authority, trusted) = authority();
    let (three, ledger) =
        (authority.issue(RUN, peer(3), 9).unwrap(), authority.issue(RUN, Identity::Ledger, 9).unwrap());
    let acceptor = credentials(&trusted, [(Identity::Ledger, &ledger)], []);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let quick = Settings { handshake: Duration::from_secs(2), ..Settings::default() };
    let accept = async || {
        let (stream, _) = listener.accept().await.unwrap();
        hello::accept(stream, &acceptor, &quick, |_| Ok(())).await.map(drop)
    };
    // It keeps what it is given for the next time, as rustls does unless it is told otherwise.
    let connector = tokio_rustls::TlsConnector::from(Arc::new(raw_connector(&trusted, &[&three])));
    let connect = async || {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from(Identity::Ledger.dns_name(RUN)).unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        // The beginning of the hello comes after any ticket.
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut [0; 4]).await.unwrap();
        let session = stream.get_ref().1;
        (session.protocol_version(), session.handshake_kind(), session.tls13_tickets_received())
    };
    for _ in 0..2 {
        let (session, _) = timeout(SOON, async { tokio::join!(connect(), accept()) }).await.unwrap();
        assert_eq!(session.0, Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!((session.1, session.2), (Some(rustls::HandshakeKind::Full), 0));
    }
    // The hello of a connector whose latest version is 1.2: one cipher suite, groups and signatures of that time.
    let extensions: &[u8] = &[0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
    let hello = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, 0, 0, extensions.len() as u8], extensions].concat();
    let record = [&[0x16, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8][..], &hello].concat();
    let old = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, &record).await.unwrap();
        let mut alert = [0; 7];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut alert).await.unwrap();
        alert
    };
    let (alert, accepted) = timeout(SOON, async { tokio::join!(old, accept()) }).await.unwrap();
    let protocol_version = 70;
    assert_eq!((alert[0], alert[5], alert[6]), (0x15, 2, protocol_version), "{alert:?}");
    accepted.unwrap_err();
}

/// What a host and a ledger have refused, as they tell the tools.
async fn refused_at_ledger(address: SocketAddr, tools: &Credentials) -> Counts {
    let ledger = tools::ledger(address, tools, &settings()).await.unwrap();
    ledger.status(bazaar_runtime::network::service::within(SOON), None).await.unwrap().unwrap().door.refused
}

/// SPEC I7: what is refused for its certificate is counted at the door, of hosts and ledger alike.
#[tokio::test]
async fn refused_certificates_are_counted_by_reason_at_the_doors() {
    let (authority, trusted) = authority();
    let issue = |of: Identity| authority.issue(RUN, of, 9).unwrap();
    let (three, tools, ledger, five) =
        (issue(peer(3)), issue(Identity::Tools), issue(Identity::Ledger), issue(peer(5)));
    let tools = credentials(&trusted, [(Identity::Tools, &tools)], []);
    let (jobs, mut asked) = mpsc::channel(4);
    let fence = watch::Sender::new(LedgerStatus::default()).subscribe();
    let server = LedgerServer::listen(
        "127.0.0.1:0",
        credentials(&trusted, [(Identity::Ledger, &ledger)], []),
        settings(),
        9,
        jobs,
        StoreAccess::Sole { status: fence, secret: Secret(5) },
    );
    let server = server.await.unwrap();
    tokio::spawn(async move {
        while let Some(job) = asked.recv().await {
            if let bazaar_runtime::network::ledger_service::LedgerJob::Info { reply } = job {
                let fence = bazaar_runtime::network::ledger_service::Fence {
                    status: LedgerStatus::default(),
                    live: false,
                    trouble: None,
                };
                let _ = reply.send(fence);
            }
        }
    });
    let (stranger, _) = Authority::new(RUN).unwrap();
    let foreign = stranger.issue(RUN, peer(3), 9).unwrap();
    for (shown, purpose) in [(&foreign, to_ledger(3)), (&three, to_ledger(4)), (&three, to_ledger(4))] {
        let me = credentials(&trusted, [(purpose.caller(), shown)], []);
        hello::connect(server.address(), &me, purpose, &settings()).await.map(drop).unwrap_err();
    }
    let refused = until_counted(|| refused_at_ledger(server.address(), &tools), 3).await;
    let expected = Counts::from([(Reason::CertificateForeign, 1), (Reason::CertificateOfAnother, 2)]);
    assert_eq!(refused, expected);

    let host = credentials(&trusted, [(peer(5), &five)], []);
    let host = Host::listen("127.0.0.1:0", host, settings()).await.unwrap();
    let me = credentials(&trusted, [(peer(4), &three)], []);
    let purpose = Purpose::Link { from: life(4), to: PeerId(5) };
    hello::connect(host.address(), &me, purpose, &settings()).await.map(drop).unwrap_err();
    let ask = || async {
        let tool = tools::host(PeerId(5), host.address(), &tools, &settings()).await.unwrap();
        tool.status(bazaar_runtime::network::service::within(SOON), None).await.unwrap().door.refused
    };
    assert_eq!(until_counted(ask, 1).await, Counts::from([(Reason::CertificateOfAnother, 1)]));
}

/// Asks again until so many are counted: the connector may know before the acceptor has counted it.
async fn until_counted<F: Future<Output = Counts>>(ask: impl Fn() -> F, count: u64) -> Counts {
    let counted = async {
        loop {
            let counts = ask().await;
            if counts.values().sum::<u64>() >= count {
                return counts;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, counted).await.expect("they are counted")
}

// ---------------------------------------------------------------------------------------------------- real processes

/// A directory of a run with certificates, made from this configuration.
fn certified(bazaar: &Bazaar) -> PathBuf {
    let dir = bazaar.dir();
    let given = bazaar.home().join("given.toml");
    let said = ask(&["init", "--tls", text(&dir), "--config", text(&given)]).ends(0).out;
    assert!(said.contains("an authority") && said.contains(text(&dir)), "{said}");
    dir
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// SPEC J1.
#[test]
fn a_bazaar_with_tls_trades_and_survives_its_trader() {
    let mut bazaar = Bazaar::new(bazaar::QUICK);
    let dir = certified(&bazaar);
    bazaar.start(&["--restart-after", "300ms"]);
    bazaar.wait_for_purchases(0, 3);
    // Nothing of it is plain.
    let ledger = fs::read_to_string(dir.join("ledger/address")).unwrap();
    let mut stream = StdStream::connect(&ledger).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(&[0, 0, 0, 1, 9]).unwrap();
    let mut first = [0];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(first[0], 0x15, "an alert of TLS");

    let trader = bazaar.trader();
    let from = bazaar.now();
    bazaar.ask(&["kill", &trader.to_string()]).ends(0);
    bazaar.wait_for_trader(from);
    bazaar.wait_for_purchases(bazaar.now(), 3);
    bazaar.ask(&["kill", "ledger"]).ends(0);
    bazaar.wait_for_purchases(bazaar.now(), 3);
    let status = bazaar.status();
    let links = status["peers"].as_array().unwrap().iter().filter(|peer| peer["up"] == true).count();
    assert!(links >= 3, "{status}");
    bazaar.stop();
    bazaar.check();
}

/// A market whose members are started by hand, with certificates; the ledger at this address.
fn by_hand(ledger: &str) -> (Bazaar, PathBuf) {
    let config = format!(
        "name = \"tls\"\npeers = 3\nseed = 7\n[ledger]\naddress = \"{ledger}\"\n[timeouts]\nfirst_call = \"300ms\"\n\
         [waits]\ndeposit_after = \"50ms\"\ntrade_after = \"100ms\"\nthink = \"50ms\"\n"
    );
    let bazaar = Bazaar::new(&config);
    let dir = certified(&bazaar);
    (bazaar, dir)
}

fn member(dir: &Path, args: &[&str]) -> Command {
    let mut command = bazaar::bazaar();
    command.args(args).arg("--json").arg("--config").arg(dir.join("bazaar.toml"));
    command
}

fn start(bazaar: &mut Bazaar, dir: &Path, args: &[&str]) -> i32 {
    bazaar.start_with(member(dir, args)) as i32
}

fn end(bazaar: &mut Bazaar, pids: &[i32]) {
    for pid in pids.iter().rev() {
        bazaar.signal(*pid, Signal::SIGTERM);
    }
    bazaar.assert_nobody_is_left();
}

/// The doors of a run, by process.
fn refused_by(dir: &Path, process: &str, reason: &str) -> Option<u64> {
    let answer = ask(&["status", "--json", "--dir", text(dir)]);
    let status = (answer.code == Some(0)).then(|| answer.json())?;
    let doors = status["doors"].as_array()?;
    doors.iter().find(|door| door["process"] == process).and_then(|door| door["refused"][reason].as_u64())
}

/// SPEC J1: the whole way of a certificate that is revoked while the run goes on, and of one that is renewed.
#[test]
fn a_revoked_certificate_is_refused_by_processes_and_status_and_a_renewed_one_is_let_in() {
    let (mut bazaar, dir) = by_hand(&format!("127.0.0.1:{}", free_port("127.0.0.1")));
    // What the machine of peer 2 has: a copy of the run's directory.
    let there = bazaar.home().join("there");
    bazaar::copy(&dir, &there);
    let revoked = ask(&["cert", "revoke", text(&dir), "--peer", "2"]).ends(0).out;
    let shown = ask(&["cert", "show", text(&dir)]).ends(0).out;
    assert!(shown.lines().any(|line| line.starts_with("peer-2") && line.ends_with("revoked")), "{shown}");
    assert!(revoked.contains("bazaar.toml") && shown.contains("\nrevoked: "), "{revoked}{shown}");

    let mut pids = vec![start(&mut bazaar, &dir, &["ledger"])];
    pids.push(start(&mut bazaar, &dir, &["peer", "--id", "0,1"]));
    pids.push(start(&mut bazaar, &there, &["peer", "--id", "2"]));
    until("the ledger counts it", || (refused_by(&dir, "the ledger", "certificate_revoked")? > 0).then_some(()));
    let people = ask(&["status", "--dir", text(&dir)]).ends(0).out;
    assert!(people.contains("certificate revoked"), "{people}");
    let trace = fs::read_to_string(there.join("peer-2/trace")).unwrap();
    assert!(trace.contains("it is revoked there (tls.revoked)"), "{trace}");
    let trace = fs::read_to_string(dir.join("ledger/trace")).unwrap();
    assert!(trace.contains("refused (certificate revoked)") && trace.contains("for peer-2."), "{trace}");
    bazaar.signal(pids.pop().unwrap(), Signal::SIGTERM);

    // With what is on its own machine it would not even start.
    Answer::of(member(&dir, &["peer", "--id", "2", "--until-stdin-closes"]))
        .refused(2, &["peer-2.pem is revoked here", "bazaar cert renew"]);
    ask(&["cert", "renew", text(&dir), "--peer", "2"]).ends(0);
    for file in ["peer-2.pem", "peer-2.key"] {
        fs::copy(dir.join("tls").join(file), there.join("tls").join(file)).unwrap();
    }
    let from = bazaar.now();
    pids.push(start(&mut bazaar, &there, &["peer", "--id", "2"]));
    bazaar.wait_for_event("it is let in", from, |event| {
        event.peer == Some(PeerId(2)) && matches!(note(event), Some(Note::Recognised { .. } | Note::TookOffice { .. }))
    });
    end(&mut bazaar, &pids);
}

/// The certificate that is to be refused may be the one that another has replaced.
#[test]
fn the_certificate_that_a_renewal_replaces_is_named_and_can_be_revoked() {
    let (bazaar, dir) = by_hand("127.0.0.1:1");
    let line = || -> (String, String) {
        let shown = ask(&["cert", "show", text(&dir), "--json"]).ends(0).json();
        let line = shown.as_array().unwrap().iter().find(|line| line["member"] == "peer-2").unwrap();
        (line["serial"].as_str().unwrap().to_owned(), line["state"].as_str().unwrap().to_owned())
    };
    let (former, _) = line();
    let renewed = ask(&["cert", "renew", text(&dir), "--peer", "2"]).ends(0).out;
    let command = format!("bazaar cert revoke {} --serial {former}\n", text(&dir));
    assert!(renewed.contains(&format!("replaces serial {former}\n")) && renewed.contains(&command), "{renewed}");
    let revoked = ask(&["cert", "revoke", text(&dir), "--serial", &former]).ends(0).out;
    // All copies of the tools' certificate are one, and whoever has it needs no other.
    assert!(revoked.contains("tools.pem") && revoked.contains("--tools"), "{revoked}");
    assert!(line().1.ends_with("days left"), "the new one is not refused: {:?}", line());
    let revoked = ask(&["cert", "revoke", text(&dir), "--tools"]).ends(0).out;
    assert!(!revoked.contains("tools.pem"), "{revoked}");
    drop(bazaar);
}

/// SPEC J1: what was revoked stays revoked, and a run with certificates keeps them, whatever a file says that a member
/// is started with.
#[test]
fn a_configuration_that_is_given_takes_back_neither_a_revocation_nor_tls() {
    let (mut bazaar, dir) = by_hand(&format!("127.0.0.1:{}", free_port("127.0.0.1")));
    let given = bazaar.home().join("other.toml");
    let saved = fs::read_to_string(dir.join("bazaar.toml")).unwrap();
    let moved = saved.replacen("dir = \".\"", &format!("dir = \"{}\"", text(&dir)), 1);
    let with_tls = moved.replacen("dir = \"tls\"", &format!("dir = \"{}\"", text(&dir.join("tls"))), 1);
    let without = moved.replacen("[tls]\ndir = \"tls\"\n", "", 1);
    assert!(with_tls != moved && without != moved, "{moved}");
    ask(&["cert", "revoke", text(&dir), "--peer", "2"]).ends(0);
    let is_revoked = || fs::read_to_string(dir.join("bazaar.toml")).unwrap().contains("revoked = [");
    for config in [with_tls, without.clone()] {
        fs::write(&given, config).unwrap();
        let mut command = bazaar::bazaar();
        command.args(["peer", "--id", "2", "--until-stdin-closes", "--config", text(&given)]);
        Answer::of(command).refused(2, &["peer-2.pem is revoked here"]);
        assert!(is_revoked());
    }
    let pid = bazaar.start_with({
        let mut command = bazaar::bazaar();
        command.args(["ledger", "--json", "--config", text(&given)]);
        command
    }) as i32;
    // The tools find it, with TLS, and it refuses what was revoked.
    until("the ledger serves", || {
        // Until its process has left its mark, there is a run that has ended.
        let status = ask(&["status", "--json", "--dir", text(&dir)]);
        (status.code == Some(0) && status.json()["phase"] == "running").then_some(())
    });
    assert!(is_revoked());
    end(&mut bazaar, &[pid]);
    // `bazaar run` with the same file does not take it back either.
    ask(&["run", "--dir", text(&dir), "--config", text(&given), "--for", "100ms", "--quiet"]);
    assert!(is_revoked());
}

/// Whoever changes bazaar.toml reads it in the same turn, so that nobody's change is lost.
#[test]
fn what_is_revoked_at_the_same_time_is_all_revoked() {
    let (bazaar, dir) = by_hand("127.0.0.1:1");
    let serials: Vec<Serial> = (0..8).map(|_| Serial::random()).collect();
    // It was read before anything was revoked, as by a member that is just starting.
    let stale = run_dir::config_of(&dir).unwrap();
    std::thread::scope(|scope| {
        for serial in &serials {
            scope.spawn(|| run_dir::revoke(&dir, [serial.clone()]).unwrap());
            scope.spawn(|| run_dir::join(&stale, |_| Ok::<_, run_dir::RunDirError>(())).unwrap());
        }
    });
    let revoked = &run_dir::config_of(&dir).unwrap().tls().unwrap().revoked.clone();
    assert_eq!(*revoked, serials.into_iter().collect());
    drop(bazaar);
}

/// An authority that is at its end is replaced as its error says.
#[test]
fn an_authority_is_replaced_once_its_directory_is_moved_away() {
    let (bazaar, dir) = by_hand("127.0.0.1:1");
    ask(&["cert", "revoke", text(&dir), "--serial", "4f0c"]).ends(0);
    fs::rename(dir.join("tls"), dir.join("tls.old")).unwrap();
    let shown = ask(&["cert", "show", text(&dir)]).ends(0).out;
    assert!(shown.lines().any(|line| line.starts_with("ca ") && line.ends_with("none here")), "{shown}");
    ask(&["init", "--tls", text(&dir)]).ends(0);
    let shown = ask(&["cert", "show", text(&dir)]).ends(0).out;
    assert_eq!(shown.lines().filter(|line| line.ends_with("days left")).count(), 6, "{shown}");
    assert!(shown.contains("revoked: 4f0c"), "{shown}");
    ask(&["init", "--tls", text(&dir)]).refused(2, &["has certificates already", "move DIR/tls away"]);
    drop(bazaar);
}

#[test]
fn a_member_without_tls_is_told_that_the_others_speak_it() {
    let (mut bazaar, dir) = by_hand(&format!("127.0.0.1:{}", free_port("127.0.0.1")));
    let there = bazaar.home().join("there");
    bazaar::copy(&dir, &there);
    let config = fs::read_to_string(there.join("bazaar.toml")).unwrap();
    fs::write(there.join("bazaar.toml"), config.replace("[tls]\ndir = \"tls\"\n", "")).unwrap();
    let mut pids = vec![start(&mut bazaar, &dir, &["ledger"])];
    let member = start(&mut bazaar, &there, &["peer", "--id", "2"]);
    pids.push(member);
    until("the ledger counts it", || (refused_by(&dir, "the ledger", "plain")? > 0).then_some(()));
    let trace = fs::read_to_string(there.join("peer-2/trace")).unwrap();
    assert!(trace.contains("no ledger") && trace.contains("TLS is spoken there"), "{trace}");
    let told = ask(&["status", "--dir", text(&there)]).ends(0).out;
    assert!(told.contains("TLS is spoken there"), "{told}");
    end(&mut bazaar, &pids);
    let errors = bazaar::until("standard error is read", || Some(bazaar.errors()).filter(|said| !said.is_empty()));
    assert!(errors.contains("warning: peer 2 cannot reach the ledger") && errors.contains("TLS is spoken"), "{errors}");
}

#[test]
fn certificates_that_cannot_be_used_end_a_process_at_its_start_with_file_and_remedy() {
    let (bazaar, dir) = by_hand("127.0.0.1:1");
    let file = |name: &str| dir.join("tls").join(name);
    // One that starts all the same ends at once.
    let run = |args: &[&str]| Answer::of(member(&dir, &[args, &["--until-stdin-closes"]].concat()));
    let key = file("peer-1.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    run(&["peer", "--id", "1"]).refused(2, &["mode 644", &format!("chmod 600 {}", key.display())]);
    let shown = ask(&["cert", "show", text(&dir)]).ends(0).out;
    assert!(shown.lines().any(|line| line.starts_with("peer-1") && line.ends_with("exposed key")), "{shown}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::copy(file("peer-0.key"), &key).unwrap();
    run(&["peer", "--id", "0,1"]).refused(2, &["peer-1.key is not the key of", "peer-1.pem"]);
    fs::write(file("peer-1.pem"), "no certificate\n").unwrap();
    run(&["peer", "--id", "1"]).refused(2, &["peer-1.pem: it holds no certificate in PEM", "bazaar cert"]);
    fs::copy(file("peer-0.pem"), file("ledger.pem")).unwrap();
    run(&["ledger"]).refused(2, &["ledger.pem is not the certificate of the ledger", "bazaar cert renew DIR --ledger"]);
    fs::remove_file(file("ca.pem")).unwrap();
    run(&["ledger"]).refused(2, &["ca.pem: there is no such file", "bazaar init --tls"]);
    // What is in files can be read without any.
    ask(&["graph", "--dir", text(&dir)]).ends(0);
    drop(bazaar);
}

#[test]
fn certificates_are_shown_added_and_renewed() {
    let bazaar = Bazaar::new("peers = 3\nseed = 7\n");
    let dir = certified(&bazaar);
    let tls = dir.join("tls");
    for entry in fs::read_dir(&tls).unwrap().map(|entry| entry.unwrap()) {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
    let show = || ask(&["cert", "show", text(&dir), "--json"]).ends(0).json();
    let members = |shown: &Value| -> Vec<String> {
        shown.as_array().unwrap().iter().map(|line| line["member"].as_str().unwrap().to_owned()).collect()
    };
    let before = show();
    assert_eq!(members(&before), ["ca", "ledger", "tools", "peer-0", "peer-1", "peer-2"]);
    assert!(before.as_array().unwrap().iter().all(|line| line["state"].as_str().unwrap().ends_with("days left")));
    for line in ask(&["cert", "show", text(&dir)]).ends(0).out.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    ask(&["cert", "add", text(&dir)]).refused(2, &["everybody has a certificate", "renew"]);
    ask(&["cert", "add", text(&dir), "--peer", "1"]).refused(2, &["peer 1 has a certificate already", "renew"]);
    ask(&["cert", "add", text(&dir), "--peer", "3"]).refused(2, &["--peer 3", "from 0 to 2"]);
    ask(&["cert", "renew", text(&dir)]).refused(2, &["--peer ID, --ledger, --tools, or --all"]);
    ask(&["cert", "renew", text(&dir), "--all", "--ledger"]).refused(2, &["--all", "--ledger"]);
    ask(&["cert", "renew", text(&dir), "--peer", "1", "--days", "0"]).refused(2, &["--days"]);
    ask(&["cert", "revoke", text(&dir)]).refused(2, &["--serial"]);
    ask(&["cert", "revoke", text(&dir), "--serial", "xyz"]).refused(2, &["xyz", "bazaar cert show"]);
    fs::remove_file(tls.join("peer-1.pem")).unwrap();
    assert_eq!(show()[4]["state"], "none here");
    // What is wrong with the files of one is no trouble for the others.
    let whole = fs::read(tls.join("peer-2.pem")).unwrap();
    fs::write(tls.join("peer-2.pem"), "garbage").unwrap();
    assert_eq!(show()[5]["state"], "unreadable");
    let added = ask(&["cert", "add", text(&dir)]).ends(0).out;
    assert!(added.starts_with("peer 1: serial ") && added.lines().count() == 3, "{added}");
    fs::write(tls.join("peer-2.pem"), whole).unwrap();
    let renewed = ask(&["cert", "renew", text(&dir), "--peer", "0,1", "--tools", "--days", "9"]).ends(0).out;
    for who in ["peer 0: ", "peer 1: ", "the tools: "] {
        assert!(renewed.contains(who), "{renewed}");
    }
    let after = show();
    let serials =
        |shown: &Value| shown.as_array().unwrap().iter().map(|line| line["serial"].clone()).collect::<Vec<_>>();
    let changed: Vec<bool> = serials(&before).iter().zip(serials(&after)).map(|(was, is)| *was != is).collect();
    assert_eq!(changed, [false, false, true, true, true, false]);
    assert_eq!(after[3]["state"], "9 days left: renew");
    let authority = after[0]["serial"].as_str().unwrap();
    ask(&["cert", "revoke", text(&dir), "--serial", authority]).refused(2, &[authority, "the authority's own"]);
    // Nothing is wrong with the certificates that are there, but a new one cannot be written.
    fs::remove_file(tls.join("ledger.pem")).unwrap();
    fs::create_dir_all(tls.join("ledger.pem/full")).unwrap();
    ask(&["cert", "renew", text(&dir), "--ledger"]).refused(3, &["cannot write", "ledger.pem"]);
    fs::remove_dir_all(tls.join("ledger.pem")).unwrap();
    ask(&["cert", "add", text(&dir)]).ends(0);
    let after = show();
    // The authority's key may be elsewhere.
    fs::remove_file(tls.join("ca.key")).unwrap();
    ask(&["cert", "renew", text(&dir), "--ledger"]).refused(2, &["ca.key", "where the authority's key is"]);
    ask(&["init", "--tls", text(&dir)]).refused(2, &["has certificates already", "bazaar cert"]);
    assert_eq!(serials(&show()), serials(&after));

    let plain = Bazaar::run("peers = 3\nseed = 7\n", &["--for", "1s"]);
    let mut plain = plain;
    assert_eq!(plain.wait_for_end().code(), Some(0), "{}", plain.errors());
    let dir = plain.dir();
    ask(&["cert", "show", text(&dir)]).refused(2, &["has no certificates", "bazaar init --tls"]);
    // A run that has ended gets certificates, and goes on with them.
    ask(&["init", "--tls", text(&dir)]).ends(0);
    let config = fs::read_to_string(dir.join("bazaar.toml")).unwrap();
    assert!(config.contains("[tls]\ndir = \"tls\"\n"), "{config}");
    plain.start(&["--for", "1s"]);
    assert_eq!(plain.wait_for_end().code(), Some(0), "{}", plain.errors());
    let nobody = bazaar.home().join("nobody");
    ask(&["cert", "show", text(&nobody)]).refused(2, &["there is no run in"]);
    ask(&["init", "--tls", "/proc/nowhere"]).refused(2, &["/proc/nowhere"]);
    assert!(!nobody.exists());
}

// ------------------------------------------------------------------------------------------------------- addresses

/// What a process that was started says on standard error, once it has ended.
fn said_at_start(bazaar: &mut Bazaar, pid: i32, is_ready: impl Fn() -> bool) -> String {
    until("it serves", || is_ready().then_some(()));
    bazaar.signal(pid, Signal::SIGTERM);
    bazaar.wait_for_end();
    bazaar.errors()
}

/// SPEC J1, J2.
#[test]
fn a_wildcard_is_listened_on_and_never_told_and_without_tls_it_is_warned_of() {
    for with_tls in [false, true] {
        let port = free_port("0.0.0.0");
        let key = "5a".repeat(32);
        let config = format!(
            "key = \"{key}\"\npeers = 3\ndir = \"run\"\n[ledger]\nlisten = \"0.0.0.0:{port}\"\n\
             address = \"127.0.0.1:{port}\"\n"
        );
        let mut bazaar = Bazaar::new(&config);
        let dir = bazaar.dir();
        let file = if with_tls { certified(&bazaar).join("bazaar.toml") } else { bazaar.home().join("given.toml") };
        let mut command = bazaar::bazaar();
        command.args(["ledger", "--json", "--config", text(&file)]);
        let pid = bazaar.start_with(command) as i32;
        let address = dir.join("ledger/address");
        let errors =
            said_at_start(&mut bazaar, pid, || address.exists() && StdStream::connect(("127.0.0.2", port)).is_ok());
        assert_eq!(fs::read_to_string(&address).unwrap(), format!("127.0.0.1:{port}"));
        let warned = format!("warning: the ledger listens at 0.0.0.0:{port} without TLS");
        assert_eq!(errors.contains(&warned), !with_tls, "{errors}");
    }
}

/// Says that a test is skipped. libtest captures the output of the printing macros but not this.
fn skip(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED {test}: {why}");
}

/// SPEC J1: so it is for peers.
#[test]
fn peers_that_listen_beyond_loopback_without_tls_are_warned_of() {
    for (ids, says) in [("0", "peer 0 listens at 0.0.0.0:"), ("0,1", "peers 0,1 listen at 0.0.0.0:")] {
        let port = free_port("0.0.0.0");
        let members: String = (0..2)
            .map(|id| format!("[[peer]]\nid = {id}\nlisten = \"0.0.0.0:{port}\"\naddress = \"127.0.0.1:{port}\"\n"))
            .collect();
        let key = "5a".repeat(32);
        let config = format!("key = \"{key}\"\npeers = 3\ndir = \"run\"\nledger.address = \"127.0.0.1:1\"\n{members}");
        let mut bazaar = Bazaar::new(&config);
        let mut command = bazaar::bazaar();
        command.args(["peer", "--json", "--id", ids, "--config", text(&bazaar.home().join("given.toml"))]);
        let pid = bazaar.start_with(command) as i32;
        let errors = said_at_start(&mut bazaar, pid, || StdStream::connect(("127.0.0.2", port)).is_ok());
        assert!(errors.contains(&format!("warning: {says}{port} without TLS")), "{errors}");
    }
}

/// SPEC J2: whatever name it has. In a mount namespace of its own, a test can give it one.
#[test]
fn a_wildcard_is_not_told_by_another_name_either() {
    let home = tempfile::tempdir().unwrap();
    let hosts = home.path().join("hosts");
    fs::write(&hosts, "0.0.0.0 everywhere.bazaar.test\n127.0.0.1 localhost\n").unwrap();
    let apart = apart(&hosts);
    if !is_apart(&apart, "everywhere.bazaar.test") {
        skip("a_wildcard_is_not_told_by_another_name_either", NO_NAMESPACE);
        return;
    }
    let port = free_port("0.0.0.0");
    let everywhere = format!("everywhere.bazaar.test:{port}");
    let alone = format!("listen = \"{everywhere}\"\n");
    let told = format!("listen = \"0.0.0.0:{port}\"\naddress = \"{everywhere}\"\n");
    for addresses in [alone, told] {
        for (args, at) in [(&["ledger"][..], "[ledger]\n"), (&["peer", "--id", "0"], "[[peer]]\nid = 0\n")] {
            let far = if args == ["ledger"] { "" } else { "ledger.address = \"127.0.0.1:1\"\n" };
            let dir = home.path().join(format!("run-{}", rand::random::<u32>()));
            let head = format!("key = \"{}\"\npeers = 3\ndir = \"{}\"\n", "5a".repeat(32), text(&dir));
            let given = home.path().join("given.toml");
            fs::write(&given, format!("{head}{far}{at}{addresses}")).unwrap();
            let program = env!("CARGO_BIN_EXE_bazaar");
            let config = ["--until-stdin-closes", "--config", text(&given)];
            let refused = Answer::of(apart(&[&[program], args, &config].concat()));
            assert_ne!(refused.code, Some(0), "{addresses} {args:?}");
            assert!(refused.err.contains("every address"), "{}", refused.err);
        }
    }
}

const NO_NAMESPACE: &str = "this machine lets no test have a mount namespace of its own";

/// Makes commands that are run where this file says what names mean.
fn apart(hosts: &Path) -> impl Fn(&[&str]) -> Command {
    move |inside: &[&str]| {
        let mut command = Command::new("unshare");
        let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(hosts).args(inside);
        command
    }
}

fn is_apart(apart: &impl Fn(&[&str]) -> Command, name: &str) -> bool {
    apart(&["grep", "-q", name, "/etc/hosts"]).output().is_ok_and(|done| done.status.success())
}

/// A process whose peers are not all there any more is asked by the name of one that is.
#[test]
fn a_process_that_hosts_fewer_peers_than_the_directory_says_is_up() {
    let (mut bazaar, dir) = by_hand(&format!("127.0.0.1:{}", free_port("127.0.0.1")));
    let address = format!("127.0.0.1:{}", free_port("127.0.0.1"));
    let file = dir.join("bazaar.toml");
    let config = fs::read_to_string(&file).unwrap();
    let both = [0, 1].iter().fold(config, |config, id| {
        config.replace(&format!("id = {id}\n"), &format!("id = {id}\naddress = \"{address}\"\n"))
    });
    fs::write(&file, both).unwrap();
    let ledger = start(&mut bazaar, &dir, &["ledger"]);
    let peers = start(&mut bazaar, &dir, &["peer", "--id", "0,1"]);
    let up = || -> Option<Vec<bool>> {
        let answer = ask(&["status", "--json", "--dir", text(&dir)]);
        let status = (answer.code == Some(0)).then(|| answer.json())?;
        Some(status["peers"].as_array()?.iter().map(|peer| peer["up"] == true).collect())
    };
    until("both are up", || (up()? == [true, true, false]).then_some(()));
    bazaar.end(peers, Signal::SIGTERM);
    let one = start(&mut bazaar, &dir, &["peer", "--id", "1"]);
    until("the one that is there is up", || (up()? == [false, true, false]).then_some(()));
    end(&mut bazaar, &[ledger, one]);
}

/// Without their certificate, the tools cannot know how the run is, and say so.
#[test]
fn tools_without_a_certificate_say_that_they_need_one() {
    let (mut bazaar, dir) = by_hand(&format!("127.0.0.1:{}", free_port("127.0.0.1")));
    let ledger = start(&mut bazaar, &dir, &["ledger"]);
    until("it serves, and says which process it is", || dir.join("ledger/pid").exists().then_some(()));
    let (file, away) = (dir.join("tls/tools.pem"), dir.join("tls/away.pem"));
    fs::rename(&file, &away).unwrap();
    for args in [&["status"][..], &["books", "sales"], &["cut", "0", "1"], &["resign"]] {
        let args = [args, &["--dir", text(&dir)]].concat();
        ask(&args).refused(2, &["tools.pem", "there is no such file", "bazaar cert add DIR --tools"]);
    }
    end(&mut bazaar, &[ledger]);
    // What is in files can be read without, as soon as the system has forgotten the process.
    let books = || ask(&["books", "sales", "--dir", text(&dir)]);
    until("the books are read from files", || (books().code == Some(0)).then_some(()));
}

/// SPEC J2: the whole market on IPv6.
#[test]
fn a_bazaar_trades_over_ipv6() {
    if StdListener::bind("[::1]:0").is_err() {
        skip("a_bazaar_trades_over_ipv6", "this machine has no IPv6 loopback");
        return;
    }
    let peers: String = (0..3).map(|id| format!("[[peer]]\nid = {id}\nlisten = \"[::1]:0\"\n")).collect();
    let config =
        format!("{}[ledger]\nlisten = \"[::]:0\"\naddress = \"[::1]:1\"\n{peers}", bazaar::QUICK.replace('4', "3"));
    let refused = Bazaar::new(&config);
    let given = refused.home().join("given.toml");
    ask(&["ledger", "--config", text(&given)]).refused(2, &["ledger.listen", "must name a port"]);
    let config = config.replace("listen = \"[::]:0\"\naddress = \"[::1]:1\"", "listen = \"[::1]:0\"");
    let mut bazaar = Bazaar::new(&config);
    certified(&bazaar);
    bazaar.start(&[]);
    bazaar.wait_for_purchases(0, 3);
    let status = bazaar.status();
    for peer in status["peers"].as_array().unwrap() {
        assert!(peer["address"].as_str().unwrap().starts_with("[::1]:"), "{status}");
    }
    assert!(status["doors"][0]["address"].as_str().unwrap().starts_with("[::1]:"), "{status}");
    bazaar.stop();
}

/// SPEC J2: the directory takes the new address, and neighbours find it there.
#[test]
fn a_member_may_come_back_at_another_port_and_host() {
    let (mut bazaar, dir) = by_hand(&format!("127.0.0.1:{}", free_port("127.0.0.1")));
    let pids = [start(&mut bazaar, &dir, &["ledger"]), start(&mut bazaar, &dir, &["peer", "--id", "0,1"])];
    // They have read the configuration, and it may be changed.
    until("they serve", || {
        ["ledger", "peer-0", "peer-1"].iter().all(|of| dir.join(of).join("address").exists()).then_some(())
    });
    let config = fs::read_to_string(dir.join("bazaar.toml")).unwrap();
    let mut were = BTreeSet::new();
    for host in ["127.0.0.1", "127.0.0.2", "127.0.0.2"] {
        let address = format!("{host}:{}", free_port(host));
        let (listen, from) = (format!("0.0.0.0:{}", address.rsplit_once(':').unwrap().1), bazaar.now());
        let moved = format!("id = 2\naddress = \"{address}\"\nlisten = \"{listen}\"\n");
        fs::write(dir.join("bazaar.toml"), config.replace("id = 2\n", &moved)).unwrap();
        let pid = start(&mut bazaar, &dir, &["peer", "--id", "2"]);
        until("its neighbours reach it there", || {
            let answer = ask(&["status", "--json", "--dir", text(&dir)]);
            let status = (answer.code == Some(0)).then(|| answer.json())?;
            let peers = status["peers"].as_array()?;
            let is_up =
                |peer: &Value| peer["links"].as_array().is_some_and(|links| links.iter().all(|l| l["up"] == true));
            (peers[2]["address"] == address.as_str() && peers.iter().all(is_up)).then_some(())
        });
        bazaar.wait_for_purchases(from, 1);
        bazaar.end(pid, Signal::SIGKILL);
        assert!(were.insert(address));
    }
    end(&mut bazaar, &pids);
}

/// SPEC J2: a name is looked up again each time. In a mount namespace of its own, a test can change what it means.
#[test]
fn a_ledger_whose_name_gets_another_address_is_found_there() {
    let port = free_port("127.0.0.1");
    let (mut bazaar, dir) = by_hand(&format!("ledger.bazaar.test:{port}"));
    let hosts = bazaar.home().join("hosts");
    let is_at = |address: &str| fs::write(&hosts, format!("{address} ledger.bazaar.test localhost\n")).unwrap();
    is_at("127.0.0.1");
    let apart = apart(&hosts);
    if !is_apart(&apart, "ledger.bazaar.test") {
        skip("a_ledger_whose_name_gets_another_address_is_found_there", NO_NAMESPACE);
        return;
    }
    let file = dir.join("bazaar.toml");
    let program = env!("CARGO_BIN_EXE_bazaar");
    let given = fs::read_to_string(&file).unwrap();
    let ledger_at = |bazaar: &mut Bazaar, address: &str| {
        is_at(address);
        let named = format!("address = \"ledger.bazaar.test:{port}\"\n");
        fs::write(&file, given.replace(&named, &format!("{named}listen = \"{address}:{port}\"\n"))).unwrap();
        bazaar.start_with(apart(&[program, "ledger", "--json", "--config", text(&file)])) as i32
    };
    let first = ledger_at(&mut bazaar, "127.0.0.1");
    let peers = bazaar.start_with(apart(&[program, "peer", "--json", "--id", "0,1,2", "--config", text(&file)])) as i32;
    bazaar.wait_for_purchases(0, 2);
    bazaar.end(first, Signal::SIGKILL);
    let second = ledger_at(&mut bazaar, "127.0.0.2");
    bazaar.wait_for_purchases(bazaar.now(), 2);
    assert!(StdStream::connect(("127.0.0.1", port)).is_err(), "nobody is where it was");
    end(&mut bazaar, &[second, peers]);
}
