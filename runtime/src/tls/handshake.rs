//! Mutual TLS on a connection, before its hello.
//!
//! Only TLS 1.3 is spoken, and no session is resumed, so that every connection is judged anew. The connector tells by
//! the name it asks for (SNI) whom it wants to reach, since one process may host many peers.
//!
//! In TLS 1.3 a connector's handshake is complete before the acceptor has judged its certificate. It learns of a
//! rejection only when it reads the first bytes of the hello, as an alert; [`Tls::rejection`] puts that into words.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore,
    ServerConfig, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::{
    network::{hello::RunId, task::lock},
    tls::{
        Identity,
        certificate::{Facts, NotACertificate, Seconds, Serial, Untimely},
    },
};

/// How long to wait for the other side to read why it is sent away.
const FAREWELL: Duration = Duration::from_millis(200);

/// A process's certificates, and what it judges those of others by.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    run: RunId,
    provider: Arc<CryptoProvider>,
    server_verifier: Arc<WebPkiServerVerifier>,
    client_verifier: Arc<dyn ClientCertVerifier>,
    revoked: BTreeSet<Serial>,
    own: BTreeMap<Identity, Own>,
}

/// A certificate that this process shows.
#[derive(Clone, Debug)]
struct Own {
    key: Arc<CertifiedKey>,
    facts: Facts,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("own", &self.0.own.keys().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

/// A certificate with its private key, to be shown to others.
#[derive(Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
}

/// Why certificates cannot be used. Their texts name no files; [`files`](crate::tls::files) does.
#[derive(Debug, Error)]
pub enum UnusableError {
    /// The authority's certificate is not one.
    #[error("the authority's certificate cannot be used: {0}")]
    Authority(String),
    /// A certificate is not one.
    #[error("the certificate of {of} cannot be used: {why}")]
    Certificate {
        /// Whose it is to be.
        of: Identity,
        /// Why, in words.
        why: String,
    },
    /// A key is not one, or of a kind that TLS 1.3 does not have.
    #[error("the key of {of} cannot be used: {why}")]
    Key {
        /// Whose it is to be.
        of: Identity,
        /// Why, in words.
        why: String,
    },
    /// A certificate and its key do not belong together.
    #[error("the key of {of} is not that of its certificate")]
    Mismatch {
        /// Whose they are to be.
        of: Identity,
    },
}

/// Why TLS could not be opened on a connection. "Its certificate" is the other side's, and "here" is this one.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// The other side shows a certificate that is not accepted here.
    #[error("its certificate ({facts}) is not accepted: it {fault}")]
    Certificate {
        /// What it says of itself.
        facts: String,
        /// What is wrong with it.
        fault: CertificateFault,
    },
    /// The other side shows no certificate.
    #[error("it shows no certificate, and TLS here is mutual: `bazaar cert add` makes one for it")]
    NoCertificate,
    /// The other side does not accept the certificate that was shown to it.
    #[error("the other side does not accept the certificate shown to it ({facts}): {why}")]
    Rejected {
        /// The certificate that was shown.
        facts: String,
        /// Why, as far as its alert and this machine's clock tell.
        why: String,
    },
    /// The other side does not speak TLS at all.
    #[error("TLS is spoken here, and the other side does not: both sides need the same [tls] in their configuration")]
    NotTls,
    /// The connection failed. Try again later.
    #[error("the connection broke: {0}")]
    Io(io::Error),
    /// Something else went wrong, in words.
    #[error("TLS failed: {0}")]
    Other(String),
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateFault {
    /// It is out of date, or ahead of it.
    #[error("{0}; `bazaar cert renew` makes a new one, unless the clock of a machine is wrong")]
    Untimely(#[from] Untimely),
    /// Another authority has issued it.
    #[error(
        "was not issued by the authority of this run: every member needs a certificate of the same authority, and its \
         ca.pem"
    )]
    Foreign,
    /// The configuration lists it as revoked.
    #[error("is revoked here (tls.revoked): `bazaar cert renew` makes a new one")]
    Revoked,
    /// It is for somebody else than was to be reached.
    #[error("is not {0}'s: the address belongs to another member")]
    OfAnother(Identity),
    /// Anything else.
    #[error("cannot be used: {0}")]
    Unusable(String),
}

/// Who the other side is, by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A member of the run.
    Member(Identity),
    /// The authority has issued it, but for a name that no member of this run has.
    Nobody(String),
}

impl Tls {
    /// What a process of a run needs: the certificate of the run's authority (several while one takes over from
    /// another), its own certificates by whom they are to stand for, and the serial numbers of those that are revoked.
    /// Nothing is checked that the other side checks anyway: neither times nor names.
    ///
    /// # Errors
    /// When one of them cannot be used at all.
    pub fn new(
        run: RunId,
        authorities: &[CertificateDer<'_>],
        own: impl IntoIterator<Item = (Identity, Pair)>,
        revoked: BTreeSet<Serial>,
    ) -> Result<Tls, UnusableError> {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.clone().into_owned()).map_err(|error| UnusableError::Authority(error.to_string()))?;
        }
        let roots = Arc::new(roots);
        let server_verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| UnusableError::Authority(error.to_string()))?;
        let client_verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| UnusableError::Authority(error.to_string()))?;
        let own = own.into_iter().map(|(identity, Pair { certificate, key })| {
            let unreadable =
                |error: NotACertificate| UnusableError::Certificate { of: identity, why: error.to_string() };
            let facts = Facts::of(&certificate).map_err(unreadable)?;
            let key = CertifiedKey::from_der(vec![certificate], key, &provider).map_err(|error| {
                if matches!(error, rustls::Error::InconsistentKeys(_)) {
                    return UnusableError::Mismatch { of: identity };
                }
                UnusableError::Key { of: identity, why: error.to_string() }
            })?;
            Ok((identity, Own { key: Arc::new(key), facts }))
        });
        let own = own.collect::<Result<_, UnusableError>>()?;
        Ok(Tls(Arc::new(Inner { run, provider, server_verifier, client_verifier, revoked, own })))
    }

    /// Checks one of the own certificates as a connector would that wants to reach it.
    ///
    /// # Errors
    /// Says what is wrong with it. [`CertificateFault::Unusable`] if there is none.
    pub fn check(&self, identity: Identity) -> Result<(), CertificateFault> {
        let Some(own) = self.0.own.get(&identity) else {
            return Err(CertificateFault::Unusable("there is none".to_owned()));
        };
        let certificate = own.key.end_entity_cert().map_err(|error| CertificateFault::Unusable(error.to_string()))?;
        let judge = Judge::of(&self.0);
        let name = self.name_of(identity).map_err(|error| CertificateFault::Unusable(error.to_string()))?;
        let now = UnixTime::now();
        let checked = judge.verify_server_cert(certificate, &[], &name, &[], now);
        checked.map(drop).map_err(|error| fault(&error, Some(identity)))
    }

    fn name_of(&self, identity: Identity) -> Result<ServerName<'static>, HandshakeError> {
        ServerName::try_from(identity.dns_name(self.0.run)).map_err(|error| HandshakeError::Other(error.to_string()))
    }

    /// Opens TLS on a connection, as `me`, to `callee`.
    ///
    /// # Errors
    /// When the other side is not `callee`, or does not speak TLS. Whether it accepts `me` is not known yet.
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        me: Identity,
        callee: Identity,
    ) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let own = self.0.own.get(&me).ok_or_else(|| HandshakeError::Other(format!("no certificate for {me}")))?;
        let judge = Arc::new(Judge::of(&self.0));
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.0.provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| HandshakeError::Other(error.to_string()))?
            .dangerous()
            // It asks rustls's own verifier first.
            .with_custom_certificate_verifier(Arc::clone(&judge) as Arc<dyn ServerCertVerifier>)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::clone(&own.key))));
        config.resumption = Resumption::disabled();
        let name = self.name_of(callee)?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream).into_fallible();
        match connecting.await {
            Ok(stream) => Ok(TlsStream::Client(stream)),
            Err((error, mut stream)) => {
                linger(&mut stream).await;
                Err(judge.explain(error, Some(callee), || own.facts.clone()))
            }
        }
    }

    /// Opens TLS on a connection that was accepted, and says who the other side is.
    ///
    /// # Errors
    /// When the other side does not show a certificate that is accepted. It has been sent an alert then.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<(TlsStream<TcpStream>, Shown), HandshakeError> {
        let judge = Arc::new(Judge::of(&self.0));
        let by_name = Arc::new(ByName { of: Arc::clone(&self.0), shown: Mutex::default() });
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.0.provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| HandshakeError::Other(error.to_string()))?
            .with_client_cert_verifier(Arc::clone(&judge) as Arc<dyn ClientCertVerifier>)
            .with_cert_resolver(Arc::clone(&by_name) as Arc<dyn ResolvesServerCert>);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        match TlsAcceptor::from(Arc::new(config)).accept(stream).into_fallible().await {
            Ok(stream) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                // rustls has verified it, so that it is there and can be read.
                let facts = shown.and_then(|shown| Facts::of(shown).ok()).ok_or(HandshakeError::NoCertificate)?;
                let shown = facts.identity(self.0.run).map_or_else(|| Shown::Nobody(facts.name()), Shown::Member);
                Ok((TlsStream::Server(stream), shown))
            }
            Err((error, mut stream)) => {
                linger(&mut stream).await;
                let own = || lock(&by_name.shown).clone();
                Err(judge.explain(error, None, || own().unwrap_or_else(nobody)))
            }
        }
    }

    /// What the end of a connection says that was opened as `me`, if it is the other side's alert: in TLS 1.3 a
    /// connector learns only now that its certificate is not accepted.
    #[must_use]
    pub fn rejection(&self, error: &io::Error, me: Identity) -> Option<HandshakeError> {
        let alert = alert_in(error)?;
        let own = self.0.own.get(&me)?;
        Some(HandshakeError::Rejected { facts: own.facts.to_string(), why: why_rejected(alert, &own.facts) })
    }
}

/// What is known of a certificate that was not shown.
fn nobody() -> Facts {
    Facts {
        serial: Serial::of_bytes(&[]),
        names: Vec::new(),
        not_before: Seconds(0),
        not_after: Seconds(i64::MAX),
        is_authority: false,
    }
}

/// Lets the other side read an alert: closing a connection with unread bytes may discard what was sent.
pub(crate) async fn linger(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let farewell = async {
        stream.shutdown().await?;
        let mut unread = [0_u8; 512];
        for _ in 0..128 {
            if stream.read(&mut unread).await? == 0 {
                break;
            }
        }
        Ok::<(), io::Error>(())
    };
    // Whether it is read is up to the other side.
    let _ = timeout(FAREWELL, farewell).await;
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

fn alert_in(error: &io::Error) -> Option<AlertDescription> {
    if let rustls::Error::AlertReceived(alert) = tls_error(error)? { Some(*alert) } else { None }
}

fn why_rejected(alert: AlertDescription, own: &Facts) -> String {
    if alert == AlertDescription::CertificateExpired {
        return match own.is_valid_at(Seconds::now()) {
            Err(untimely) => format!("it {untimely}; `bazaar cert renew` makes a new one"),
            // Without the time of this moment: what is said again at each attempt is said once.
            Ok(()) => format!(
                "its clock says that it is not valid now. It is, from {} to {}, by the clock here: set the clocks",
                own.not_before, own.not_after
            ),
        };
    }
    if alert == AlertDescription::UnknownCA || alert == AlertDescription::DecryptError {
        return "another authority has issued it: every member needs a certificate of the same authority, and its ca.pem"
            .to_owned();
    }
    if alert == AlertDescription::CertificateRevoked {
        return "it is revoked there (tls.revoked): `bazaar cert renew` makes a new one".to_owned();
    }
    if alert == AlertDescription::BadCertificate {
        return "it wanted to reach another member: the address belongs to this one".to_owned();
    }
    if alert == AlertDescription::CertificateRequired {
        return "none was shown".to_owned();
    }
    format!("alert {alert:?}")
}

/// What is wrong with a certificate, by the error of the verifier. `callee` is whom it should have been for.
fn fault(error: &rustls::Error, callee: Option<Identity>) -> CertificateFault {
    let rustls::Error::InvalidCertificate(error) = error else {
        return CertificateFault::Unusable(error.to_string());
    };
    let seconds = |time: &UnixTime| Seconds(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    if let CertificateError::ExpiredContext { not_after, .. } = error {
        return Untimely::Expired { at: seconds(not_after) }.into();
    }
    if let CertificateError::NotValidYetContext { not_before, .. } = error {
        return Untimely::NotYet { from: seconds(not_before) }.into();
    }
    if let (CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName, Some(callee)) =
        (error, callee)
    {
        return CertificateFault::OfAnother(callee);
    }
    if *error == CertificateError::Revoked {
        return CertificateFault::Revoked;
    }
    // Another authority may have the name of this one, but not its key.
    if *error == CertificateError::UnknownIssuer || *error == CertificateError::BadSignature {
        return CertificateFault::Foreign;
    }
    CertificateFault::Unusable(error.to_string())
}

/// Judges the certificate of one connection: as rustls does, and by the list of revoked ones. It remembers what it was
/// shown, for a message.
struct Judge {
    of: Arc<Inner>,
    shown: Mutex<Option<Facts>>,
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").field("shown", &self.shown).finish_non_exhaustive()
    }
}

impl Judge {
    fn of(of: &Arc<Inner>) -> Judge {
        Judge { of: Arc::clone(of), shown: Mutex::default() }
    }

    fn note(&self, certificate: &CertificateDer<'_>) {
        *lock(&self.shown) = Facts::of(certificate).ok();
    }

    /// What remains to be checked of a certificate that rustls accepts.
    fn check_not_revoked(&self) -> Result<(), rustls::Error> {
        match &*lock(&self.shown) {
            Some(facts) if self.of.revoked.contains(&facts.serial) => Err(CertificateError::Revoked.into()),
            Some(_) => Ok(()),
            None => Err(CertificateError::BadEncoding.into()),
        }
    }

    /// Puts the failure of a handshake into words. `own` is the certificate that was shown.
    fn explain(&self, error: io::Error, callee: Option<Identity>, own: impl FnOnce() -> Facts) -> HandshakeError {
        if let Some(alert) = alert_in(&error) {
            let own = own();
            return HandshakeError::Rejected { facts: own.to_string(), why: why_rejected(alert, &own) };
        }
        let Some(tls) = tls_error(&error) else { return HandshakeError::Io(error) };
        if matches!(tls, rustls::Error::InvalidCertificate(_)) {
            let facts = lock(&self.shown).as_ref().map_or_else(|| "not readable".to_owned(), Facts::to_string);
            return HandshakeError::Certificate { facts, fault: fault(tls, callee) };
        }
        if *tls == rustls::Error::NoCertificatesPresented {
            return HandshakeError::NoCertificate;
        }
        if matches!(tls, rustls::Error::InvalidMessage(_)) {
            return HandshakeError::NotTls;
        }
        HandshakeError::Other(tls.to_string())
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.note(end_entity);
        let verifier = &self.of.server_verifier;
        let verified = verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        self.check_not_revoked()?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.of.server_verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.of.server_verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.of.server_verifier.supported_verify_schemes()
    }
}

impl ClientCertVerifier for Judge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.of.client_verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.note(end_entity);
        let verified = self.of.client_verifier.verify_client_cert(end_entity, intermediates, now)?;
        self.check_not_revoked()?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.of.client_verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.of.client_verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.of.client_verifier.supported_verify_schemes()
    }
}

/// Chooses the certificate of the member that the connector wants to reach. If that is not here, the connector is shown
/// another's: it sees then who is here instead.
struct ByName {
    of: Arc<Inner>,
    shown: Mutex<Option<Facts>>,
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByName").field("shown", &self.shown).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = client_hello.server_name().and_then(|name| Identity::of_dns_name(name, self.of.run));
        let own = asked.and_then(|asked| self.of.own.get(&asked)).or_else(|| self.of.own.values().next())?;
        *lock(&self.shown) = Some(own.facts.clone());
        Some(Arc::clone(&own.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SPEC I7: it is said again at each attempt, and those that are equal are one line.
    #[test]
    fn what_is_said_of_a_clock_does_not_change_with_the_time() {
        let said =
            why_rejected(AlertDescription::CertificateExpired, &Facts { not_after: Seconds(1 << 34), ..nobody() });
        let expected = "its clock says that it is not valid now. It is, from 1970-01-01T00:00:00Z to \
                        2514-05-30T01:53:04Z, by the clock here: set the clocks";
        assert_eq!(said, expected);
    }
}
