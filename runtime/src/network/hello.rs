//! How a connection opens: who is connecting is settled before anything else is said.
//!
//! ```text
//! acceptor                                    connector
//!   Challenge{magic, version, nonce} ------->
//!           <--------------------- Hello{version, run, nonce, purpose}, mac over nonce and hello
//!   Welcome{mac over both nonces and hello} ->        or Refused{why}
//! ```
//!
//! Both sides prove that they know the run's key. A proof is worth nothing on another connection, since each side adds
//! a nonce of its own. This keeps out strangers, and peers of another run that connect by accident to a reused port.
//! Without TLS, what is sent afterwards is neither signed nor encrypted, so this does not keep out an attacker who can
//! change packets in transit (DESIGN 2).
//!
//! With TLS (SPEC J1), all of this happens inside it, and the hello may only claim what the connector's certificate
//! says. An acceptor that speaks TLS and hears nothing for a while sends a challenge in a version of its own, since a
//! connector without TLS waits for one.

use std::{fmt, io, str::FromStr, time::Duration};

use bazaar_protocol::id::{Incarnation, Life, PeerId};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, ToSocketAddrs, lookup_host},
    time::timeout,
};
use tokio_util::bytes::Bytes;

use crate::{
    network::{
        settings::Settings,
        stream::Stream,
        wire::{self, Frames, MAX_FRAME, WireError},
    },
    tls::{
        Identity, Tls,
        handshake::{CertificateFault, HandshakeError, Shown, linger},
    },
};

/// The version of everything that is said over connections. Only equal versions talk to each other.
pub const VERSION: u16 = 9;

/// The version that an acceptor names to a connector that does not speak TLS, where TLS is spoken.
const TLS_ONLY: u16 = 0;

/// The first bytes of every connection to this system, in every version there will be.
pub const MAGIC: [u8; 8] = *b"bazaar\r\n";

/// The longest frame in bytes until both sides have proved who they are.
const MAX_HELLO: usize = 512;

/// Identifies a run, so that processes of two runs never talk to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId(pub u64);

impl RunId {
    /// A random id for a new run.
    #[must_use]
    pub fn random() -> RunId {
        RunId(rand::random())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for RunId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<RunId, Self::Err> {
        u64::from_str_radix(text, 16).map(RunId)
    }
}

/// The secret that members of a run share. It is never shown in logs; [`RunKey::to_hex`] is for the run's own files.
#[derive(Clone, PartialEq, Eq)]
pub struct RunKey(blake3::Hash);

/// A key's text is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a run key is 64 hexadecimal digits")]
pub struct KeyError;

impl RunKey {
    /// A random key.
    #[must_use]
    pub fn random() -> RunKey {
        RunKey::from_bytes(rand::random())
    }

    /// The key that consists of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> RunKey {
        RunKey(blake3::Hash::from_bytes(bytes))
    }

    /// Reads what [`RunKey::to_hex`] wrote.
    ///
    /// # Errors
    /// When `text` is anything else.
    pub fn from_hex(text: &str) -> Result<RunKey, KeyError> {
        blake3::Hash::from_hex(text.trim()).map(RunKey).map_err(|_| KeyError)
    }

    /// The key as 64 hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.to_hex().to_string()
    }

    /// A proof that its author knows the key. `label` keeps the proofs of one end apart from those of the other.
    fn prove(&self, label: &str, parts: &[&[u8]]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(self.0.as_bytes());
        hasher.update(label.as_bytes());
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize()
    }
}

impl fmt::Debug for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunKey(..)")
    }
}

/// What proves that a process belongs to a run.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The run's id.
    pub run: RunId,
    /// The run's key.
    pub key: RunKey,
    /// What its connections are encrypted with; `None`: they are not.
    pub tls: Option<Tls>,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Purpose {
    /// A link of the overlay: `from` will deliver envelopes to `to`.
    Link {
        /// The life that connects.
        from: Life,
        /// The peer it wants to reach.
        to: PeerId,
    },
    /// A peer's connection to the ledger.
    Ledger {
        /// The life that connects.
        from: Life,
    },
    /// A tool that inspects a process.
    Tool,
}

impl Purpose {
    /// Who connects. With TLS, it must show that one's certificate.
    #[must_use]
    pub fn caller(self) -> Identity {
        match self {
            Purpose::Link { from, .. } | Purpose::Ledger { from } => Identity::Peer(from.peer),
            Purpose::Tool => Identity::Tools,
        }
    }

    /// Who is connected to. A tool connects to the ledger, unless it says otherwise ([`connect_to`]).
    #[must_use]
    pub fn callee(self) -> Identity {
        match self {
            Purpose::Link { to, .. } => Identity::Peer(to),
            Purpose::Ledger { .. } | Purpose::Tool => Identity::Ledger,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Purpose::Link { from, to } => {
                write!(f, "a link from peer {} (life {}) to peer {to}", from.peer, from.incarnation)
            }
            Purpose::Ledger { from } => {
                write!(f, "peer {} (life {}) calling the ledger", from.peer, from.incarnation)
            }
            Purpose::Tool => f.write_str("a tool"),
        }
    }
}

/// Why an acceptor refuses a connector. "Here" in its text is the acceptor's side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum Refusal {
    /// The connector speaks another version. Run the same build everywhere.
    #[error("the connector speaks version {yours}, and version {ours} is spoken here: use the same build everywhere")]
    Version {
        /// The acceptor's version.
        ours: u16,
        /// The connector's version.
        yours: u16,
    },
    /// The connector belongs to another run. The address is from an old run, or the port was reused.
    #[error("this is run {ours}, not run {yours}: the address belongs to another run")]
    Run {
        /// The acceptor's run.
        ours: RunId,
        /// The connector's run.
        yours: RunId,
    },
    /// The proof is wrong. Both sides must use the same key.
    #[error("the connector does not know the run's key: both sides must use the same key")]
    Key,
    /// The peer that was asked for is not, or no longer, hosted in this process. Ask the directory again.
    #[error("peer {0} is not here: ask the directory again")]
    NotHere(PeerId),
    /// The overlay has no such edge (SPEC A2).
    #[error("peers {from} and {to} are not neighbours")]
    NotNeighbours {
        /// The peer that connected.
        from: PeerId,
        /// The peer it wanted to reach.
        to: PeerId,
    },
    /// A later life of the connector has already connected: this one must not continue (DESIGN R7).
    #[error("life {latest} of this peer has already connected: an older one must not continue")]
    OldLife {
        /// The latest life that has connected.
        latest: Incarnation,
    },
    /// No configuration of this run has such a peer. All members must use the same one.
    #[error("there is no peer {peer}: this bazaar has {peers} peers, counted from 0")]
    NoSuchPeer {
        /// The peer that the connector says it is.
        peer: PeerId,
        /// How many peers there are.
        peers: u32,
    },
    /// No peer can have got to that life: the member has a bug (SPEC I8).
    #[error("nobody has got to life {0}")]
    NoSuchLife(Incarnation),
    /// This process does not serve connections of that kind.
    #[error("{wanted} is not served here: this is {this}")]
    WrongDoor {
        /// What the connector wanted.
        wanted: String,
        /// What this process is.
        this: String,
    },
    /// The hello could not be understood.
    #[error("the hello cannot be understood")]
    Garbled,
    /// The connector says that it is another than its certificate says.
    #[error("the connector says that it is {says}, and its certificate is that of {shows}: each needs its own")]
    OfAnother {
        /// Who the connector says it is.
        says: String,
        /// Whose certificate it shows.
        shows: String,
    },
    /// The authority has issued the connector's certificate, but not for a member of this run.
    #[error("the connector's certificate is for {name}, which is no member of this run: `bazaar cert renew` makes one")]
    OfNobody {
        /// The name in it.
        name: String,
    },
}

/// Why a connection could not be opened.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// There is no connection. Try again later.
    #[error("cannot connect: {0}")]
    Unreachable(#[from] io::Error),
    /// The connection broke. Try again later.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Something else answers at that address.
    #[error("what answers there is not part of the trading post")]
    NotBazaar,
    /// No answer came in time.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// The other side refused the connection.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The other side welcomed us without proving that it knows the key.
    #[error("the other side does not know the run's key")]
    Impostor,
    /// TLS could not be opened.
    #[error(transparent)]
    Tls(#[from] HandshakeError),
    /// TLS is spoken there, and this side has none.
    #[error(
        "TLS is spoken there, and this side's configuration has no certificates: both sides need the same [tls] in \
         their configuration"
    )]
    TlsOnly,
}

impl ConnectError {
    /// Whether the certificate there is good, but that of another member than was to be reached: at an address of the
    /// directory, a port may have been used again, or one of several peers of a process be gone.
    #[must_use]
    pub fn is_another_member(&self) -> bool {
        matches!(self, ConnectError::Tls(HandshakeError::Certificate { fault: CertificateFault::OfAnother(_), .. }))
    }

    /// Whether somebody has to do something before a connection can be opened. At an address of the directory,
    /// [another member](ConnectError::is_another_member) is no reason: its next answer may name another address.
    #[must_use]
    pub fn is_about_certificates(&self) -> bool {
        match self {
            ConnectError::Tls(HandshakeError::Io(_)) => false,
            ConnectError::Tls(_)
            | ConnectError::TlsOnly
            | ConnectError::Refused(Refusal::OfAnother { .. } | Refusal::OfNobody { .. }) => true,
            ConnectError::Unreachable(_)
            | ConnectError::Wire(_)
            | ConnectError::NotBazaar
            | ConnectError::Silent(_)
            | ConnectError::Refused(_)
            | ConnectError::Impostor => false,
        }
    }
}

/// Why a connection was not accepted.
#[derive(Debug, Error)]
pub enum AcceptError {
    /// The connection broke, or what arrived was not a hello.
    #[error("no hello: {0}")]
    Wire(#[from] WireError),
    /// The connector said nothing in time.
    #[error("nothing was said within {0:?}")]
    Silent(Duration),
    /// The connector was refused and told why.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The connector does not speak TLS, and was told that it is spoken here.
    #[error("TLS is spoken here, and the connector does not: both sides need the same [tls] in their configuration")]
    Plain,
    /// The connector speaks TLS, and it is not spoken here.
    #[error(
        "the connector speaks TLS, and it is not spoken here: both sides need the same [tls] in their configuration"
    )]
    UnexpectedTls,
    /// TLS could not be opened.
    #[error(transparent)]
    Tls(HandshakeError),
}

type Nonce = [u8; 32];

#[derive(Debug, Serialize, Deserialize)]
struct Challenge {
    magic: [u8; 8],
    version: u16,
    nonce: Nonce,
}

#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    version: u16,
    run: RunId,
    nonce: Nonce,
    purpose: Purpose,
}

/// An encoded hello, with the proof over its bytes.
#[derive(Debug, Serialize, Deserialize)]
struct SignedHello {
    hello: Vec<u8>,
    proof: [u8; 32],
}

#[derive(Debug, Serialize, Deserialize)]
enum Verdict {
    Welcome { proof: [u8; 32] },
    Refused(Refusal),
}

/// How a record of a TLS handshake begins.
const TLS_RECORD: [u8; 2] = [0x16, 0x03];

const CONNECTOR: &str = "bazaar connector";
const ACCEPTOR: &str = "bazaar acceptor";

/// Opens a connection to an acceptor at `address`, and proves who we are.
///
/// # Errors
/// When nobody or something else answers, or the other side refuses; within [`Settings::handshake`] in any case.
pub async fn connect(
    address: impl ToSocketAddrs,
    credentials: &Credentials,
    purpose: Purpose,
    settings: &Settings,
) -> Result<Frames, ConnectError> {
    connect_to(purpose.callee(), address, credentials, purpose, settings).await
}

/// The same for a tool that connects to the process of some `callee`.
///
/// # Errors
/// As for [`connect`].
pub async fn connect_to(
    callee: Identity,
    address: impl ToSocketAddrs,
    credentials: &Credentials,
    purpose: Purpose,
    settings: &Settings,
) -> Result<Frames, ConnectError> {
    let opening = async {
        let stream = reach(address, settings.handshake).await?;
        stream.set_nodelay(true)?;
        match &credentials.tls {
            None => introduce(stream.into(), credentials, purpose).await,
            Some(tls) => {
                let stream = tls.connect(stream, purpose.caller(), callee).await?;
                introduce(stream.into(), credentials, purpose).await.map_err(|error| {
                    let ConnectError::Wire(WireError::Io(broken)) = &error else { return error };
                    tls.rejection(broken, purpose.caller()).map_or(error, ConnectError::from)
                })
            }
        }
    };
    timeout(settings.handshake, opening).await.unwrap_or(Err(ConnectError::Silent(settings.handshake)))
}

/// Connects to the first address that answers. Of a name with several, none takes the time of the others (SPEC J2).
async fn reach(address: impl ToSocketAddrs, patience: Duration) -> io::Result<TcpStream> {
    let found: Vec<_> = lookup_host(address).await?.collect();
    let each = patience / u32::try_from(found.len()).unwrap_or(u32::MAX).max(1);
    let mut trouble = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in found {
        match timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => trouble = error,
            Err(elapsed) => trouble = elapsed.into(),
        }
    }
    Err(trouble)
}

async fn introduce(stream: Stream, credentials: &Credentials, purpose: Purpose) -> Result<Frames, ConnectError> {
    let mut frames = wire::frames(stream, MAX_HELLO);
    let bytes = match wire::read(&mut frames).await {
        Err(WireError::TooLong { .. }) => return Err(ConnectError::NotBazaar),
        result => result?,
    };
    let (magic, rest): ([u8; 8], &[u8]) = postcard::take_from_bytes(&bytes).map_err(|_| ConnectError::NotBazaar)?;
    if magic != MAGIC {
        return Err(ConnectError::NotBazaar);
    }
    // The version comes next in every version; what follows it may differ.
    let (version, _): (u16, &[u8]) = postcard::take_from_bytes(rest).map_err(WireError::from)?;
    if version == TLS_ONLY {
        // So that the acceptor, too, knows that this is a member.
        frames.into_inner().write_all(&MAGIC).await?;
        return Err(ConnectError::TlsOnly);
    }
    if version != VERSION {
        return Err(ConnectError::Refused(Refusal::Version { ours: version, yours: VERSION }));
    }
    let challenge: Challenge = wire::decode(&bytes)?;

    let nonce: Nonce = rand::random();
    let hello = wire::encode(&Hello { version: VERSION, run: credentials.run, nonce, purpose })?.to_vec();
    let proof = *credentials.key.prove(CONNECTOR, &[&challenge.nonce, &hello]).as_bytes();
    let signed = SignedHello { hello, proof };
    wire::write(&mut frames, &signed).await?;

    match wire::decode(&wire::read(&mut frames).await?)? {
        Verdict::Refused(refusal) => Err(ConnectError::Refused(refusal)),
        Verdict::Welcome { proof } => {
            let expected = credentials.key.prove(ACCEPTOR, &[&challenge.nonce, &nonce, &signed.hello]);
            // Comparing with a `Hash` takes constant time.
            if expected != proof {
                return Err(ConnectError::Impostor);
            }
            frames.codec_mut().set_max_frame_length(MAX_FRAME);
            Ok(frames)
        }
    }
}

/// Accepts a connection. `admit` decides whether to let in a connector whose proof is right; what it gives is returned.
///
/// # Errors
/// When the connector says nothing, or nothing acceptable; within [`Settings::handshake`] in any case. A refused
/// connector has been told why.
pub async fn accept<T>(
    mut stream: TcpStream,
    credentials: &Credentials,
    settings: &Settings,
    admit: impl FnOnce(Purpose) -> Result<T, Refusal>,
) -> Result<(Frames, Purpose, T), AcceptError> {
    let opening = async {
        stream.set_nodelay(true).map_err(WireError::Io)?;
        match &credentials.tls {
            None => examine(stream.into(), credentials, None, admit).await,
            Some(tls) => {
                // Later than this, no connector can be waiting for TLS: it gives up with us.
                await_client_hello(&mut stream, settings.handshake * 3 / 4).await?;
                let (stream, shown) = tls.accept(stream).await.map_err(AcceptError::Tls)?;
                examine(stream.into(), credentials, Some(shown), admit).await
            }
        }
    };
    timeout(settings.handshake, opening).await.unwrap_or(Err(AcceptError::Silent(settings.handshake)))
}

/// Waits until the connector says something. To one that says nothing, it is said that TLS is spoken here.
async fn await_client_hello(stream: &mut TcpStream, patience: Duration) -> Result<(), AcceptError> {
    if let Ok(peeked) = timeout(patience, stream.peek(&mut [0])).await {
        return match peeked.map_err(WireError::Io)? {
            0 => Err(WireError::Closed.into()),
            _ => Ok(()),
        };
    }
    // The connector reads as far as the version.
    wire::write(&mut wire::frames(&mut *stream, MAX_HELLO), &(MAGIC, TLS_ONLY)).await?;
    let mut answer = [0; MAGIC.len()];
    stream.read_exact(&mut answer).await.map_err(WireError::Io)?;
    Err(if answer == MAGIC { AcceptError::Plain } else { AcceptError::Tls(HandshakeError::NotTls) })
}

async fn examine<T>(
    stream: Stream,
    credentials: &Credentials,
    shown: Option<Shown>,
    admit: impl FnOnce(Purpose) -> Result<T, Refusal>,
) -> Result<(Frames, Purpose, T), AcceptError> {
    let mut frames = wire::frames(stream, MAX_HELLO);
    let nonce: Nonce = rand::random();
    wire::write(&mut frames, &Challenge { magic: MAGIC, version: VERSION, nonce }).await?;
    let verdict = match wire::read(&mut frames).await {
        Ok(bytes) => judge(&bytes, credentials, shown.as_ref(), &nonce, admit),
        Err(error @ WireError::TooLong { .. }) => {
            let is_tls = shown.is_none() && frames.read_buffer().starts_with(&TLS_RECORD);
            send_away(frames, &Refusal::Garbled).await;
            return Err(if is_tls { AcceptError::UnexpectedTls } else { AcceptError::Wire(error) });
        }
        Err(error) => return Err(AcceptError::Wire(error)),
    };
    match verdict {
        Ok((purpose, proof, admitted)) => {
            wire::write(&mut frames, &Verdict::Welcome { proof }).await?;
            frames.codec_mut().set_max_frame_length(MAX_FRAME);
            Ok((frames, purpose, admitted))
        }
        Err(refusal) => {
            send_away(frames, &refusal).await;
            Err(AcceptError::Refused(refusal))
        }
    }
}

/// Checks a hello. The checks that best explain a misunderstanding come first, and the connector must prove that it
/// knows the key before it is told who is hosted here. (With TLS it has seen a certificate by then: whose it asked for,
/// or one of somebody who is here, whoever it is. Ids are no secret.)
fn judge<T>(
    bytes: &Bytes,
    credentials: &Credentials,
    shown: Option<&Shown>,
    nonce: &Nonce,
    admit: impl FnOnce(Purpose) -> Result<T, Refusal>,
) -> Result<(Purpose, [u8; 32], T), Refusal> {
    let signed: SignedHello = wire::decode(bytes).map_err(|_| Refusal::Garbled)?;
    let (version, _): (u16, &[u8]) = postcard::take_from_bytes(&signed.hello).map_err(|_| Refusal::Garbled)?;
    if version != VERSION {
        return Err(Refusal::Version { ours: VERSION, yours: version });
    }
    let hello: Hello = wire::decode(&signed.hello).map_err(|_| Refusal::Garbled)?;
    if hello.run != credentials.run {
        return Err(Refusal::Run { ours: credentials.run, yours: hello.run });
    }
    // Comparing with a `Hash` takes constant time.
    if credentials.key.prove(CONNECTOR, &[nonce, &signed.hello]) != signed.proof {
        return Err(Refusal::Key);
    }
    let says = hello.purpose.caller();
    match shown {
        // SPEC J1: an authenticated connection is that member.
        Some(Shown::Member(shows)) if *shows == says => {}
        Some(Shown::Member(shows)) => {
            return Err(Refusal::OfAnother { says: says.to_string(), shows: shows.to_string() });
        }
        Some(Shown::Nobody(name)) => return Err(Refusal::OfNobody { name: name.clone() }),
        None => {}
    }
    match hello.purpose {
        Purpose::Link { from, .. } | Purpose::Ledger { from } if from.incarnation > Incarnation::MOST => {
            return Err(Refusal::NoSuchLife(from.incarnation));
        }
        Purpose::Link { .. } | Purpose::Ledger { .. } | Purpose::Tool => {}
    }
    let admitted = admit(hello.purpose)?;
    let proof = *credentials.key.prove(ACCEPTOR, &[nonce, &hello.nonce, &signed.hello]).as_bytes();
    Ok((hello.purpose, proof, admitted))
}

/// Sends the refusal and reads on for a moment: closing a connection with unread bytes may discard what was sent.
async fn send_away(mut frames: Frames, refusal: &Refusal) {
    const DEADLINE: Duration = Duration::from_millis(200);
    // Whether the refusal is read is up to the other side.
    if let Ok(Ok(())) = timeout(DEADLINE, wire::write(&mut frames, &Verdict::Refused(refusal.clone()))).await {
        linger(&mut frames.into_inner()).await;
    }
}
