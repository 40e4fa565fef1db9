//! Messages in frames: a length of four bytes, then at most [`MAX_FRAME`] bytes of postcard.
//!
//! Anything that arrives is either understood as a whole or ends the connection. It costs no more memory than a small
//! multiple of one frame and never causes a panic. This is why tarpc's own message types are not decoded from the wire:
//! a deadline in them that is far enough away overflows an `Instant`. [`Wire`] reads a plain [`Call`] instead and turns
//! it into a checked message.

use std::{
    io,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures::{Sink, SinkExt, Stream, StreamExt};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tarpc::{ClientMessage, Request, Response, ServerError, context};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::{
    bytes::Bytes,
    codec::{Framed, LengthDelimitedCodec, length_delimited::LengthDelimitedCodecError},
};

use crate::network::{
    refusals::{Reason, Refusals},
    stream::Stream as Bytestream,
};

/// The longest frame in bytes, not counting its length.
pub const MAX_FRAME: usize = 64 * 1_024;

/// How many bytes of a frame are left for a message's content; the rest is for its header.
pub const MAX_BODY: usize = MAX_FRAME - 64;

/// The longest timeout a call may ask for. A caller that asks for more gets this.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// A byte stream cut into frames.
pub type Frames<S = Bytestream> = Framed<S, LengthDelimitedCodec>;

/// Cuts a byte stream into frames of at most `limit` bytes. A longer one is an error as soon as its length is read;
/// nothing is allocated for it.
pub fn frames<S: AsyncRead + AsyncWrite>(stream: S, limit: usize) -> Frames<S> {
    let codec = LengthDelimitedCodec::builder().max_frame_length(limit).new_codec();
    Framed::with_capacity(stream, codec, 4_096)
}

/// Why a message cannot be put into a frame or taken out of one.
#[derive(Debug, Error)]
pub enum WireError {
    /// The connection failed, or the other side closed it. Open another.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The other side closed the connection where a message was expected.
    #[error("the other side closed the connection")]
    Closed,
    /// A frame is longer than allowed. If it was to be sent, nothing was; if it was received, the connection is of no
    /// further use.
    #[error("a frame of more than {limit} bytes")]
    TooLong {
        /// The longest frame allowed, in bytes.
        limit: usize,
    },
    /// The bytes are not the message that was expected. The connection is of no further use.
    #[error("a message that cannot be understood: {0}")]
    Garbled(#[from] postcard::Error),
    /// Bytes follow the message. The connection is of no further use.
    #[error("{0} bytes too many after a message")]
    Trailing(usize),
}

impl WireError {
    /// Tells an overlong frame from everything else that can go wrong when reading.
    fn reading(error: io::Error, limit: usize) -> WireError {
        if error.get_ref().is_some_and(|inner| inner.is::<LengthDelimitedCodecError>()) {
            WireError::TooLong { limit }
        } else {
            WireError::Io(error)
        }
    }
}

impl From<WireError> for io::Error {
    fn from(error: WireError) -> io::Error {
        match error {
            WireError::Io(error) => error,
            WireError::Closed => io::Error::new(io::ErrorKind::UnexpectedEof, error),
            WireError::TooLong { .. } | WireError::Garbled(_) | WireError::Trailing(_) => {
                io::Error::new(io::ErrorKind::InvalidData, error)
            }
        }
    }
}

/// Encodes a message as the content of one frame.
///
/// # Errors
/// When it does not fit into a frame.
pub fn encode<T: Serialize + ?Sized>(message: &T) -> Result<Bytes, WireError> {
    let bytes = postcard::to_allocvec(message)?;
    if bytes.len() > MAX_FRAME { Err(WireError::TooLong { limit: MAX_FRAME }) } else { Ok(Bytes::from(bytes)) }
}

/// Decodes a message that fills `bytes`.
///
/// # Errors
/// When the bytes are anything other than exactly one such message.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let (message, rest) = postcard::take_from_bytes(bytes)?;
    if rest.is_empty() { Ok(message) } else { Err(WireError::Trailing(rest.len())) }
}

/// How many bytes a message takes; `usize::MAX` for one that cannot be encoded at all.
pub fn size_of<T: Serialize>(message: &T) -> usize {
    postcard::experimental::serialized_size(message).unwrap_or(usize::MAX)
}

/// As many items, starting with the first, as fit into one frame together, beside something that goes with them.
pub fn that_fit<T: Serialize>(beside: &impl Serialize, items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut room = MAX_BODY.saturating_sub(size_of(beside));
    let fits = |item: &T| {
        room = room.saturating_sub(size_of(item));
        room > 0
    };
    items.into_iter().take_while(fits).collect()
}

/// Writes one message.
///
/// # Errors
/// When it does not fit, or the connection breaks.
pub async fn write<S, T>(frames: &mut Frames<S>, message: &T) -> Result<(), WireError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: Serialize,
{
    Ok(frames.send(encode(message)?).await?)
}

/// Reads one frame.
///
/// # Errors
/// When the connection ends or the frame is too long.
pub async fn read<S>(frames: &mut Frames<S>) -> Result<Bytes, WireError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limit = frames.codec().max_frame_length();
    match frames.next().await {
        Some(Ok(bytes)) => Ok(bytes.freeze()),
        Some(Err(error)) => Err(WireError::reading(error, limit)),
        None => Err(WireError::Closed),
    }
}

/// What a caller sends in a frame.
#[derive(Debug, Serialize, Deserialize)]
pub enum Call<T> {
    /// "Do this, and answer within the time I am willing to wait."
    Ask {
        /// The number that the answer will carry.
        id: u64,
        /// How long the caller waits, in milliseconds.
        timeout_millis: u32,
        /// The request.
        body: T,
    },
    /// "I no longer wait for that."
    Cancel {
        /// The call's number.
        id: u64,
    },
}

/// A message that can be read from a frame.
pub trait Readable: Sized {
    /// Decodes the message from a frame's bytes.
    ///
    /// # Errors
    /// When the bytes are not exactly one message.
    fn from_frame(bytes: &[u8]) -> Result<Self, WireError>;
}

/// A message that can be written into a frame.
pub trait Writable {
    /// Encodes the message as a frame's bytes.
    ///
    /// # Errors
    /// When the message does not fit.
    fn into_frame(self) -> Result<Bytes, WireError>;
}

impl<T: DeserializeOwned> Readable for ClientMessage<T> {
    fn from_frame(bytes: &[u8]) -> Result<Self, WireError> {
        Ok(match decode(bytes)? {
            Call::Ask { id, timeout_millis, body } => {
                let mut context = context::current();
                context.deadline = Instant::now() + Duration::from_millis(timeout_millis.into()).min(MAX_TIMEOUT);
                ClientMessage::Request(Request { context, id, message: body })
            }
            Call::Cancel { id } => {
                ClientMessage::Cancel { trace_context: tarpc::trace::Context::default(), request_id: id }
            }
        })
    }
}

impl<T: Serialize> Writable for ClientMessage<T> {
    fn into_frame(self) -> Result<Bytes, WireError> {
        match self {
            ClientMessage::Request(Request { context, id, message }) => {
                let left = context.deadline.saturating_duration_since(Instant::now());
                let timeout_millis = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
                encode(&Call::Ask { id, timeout_millis, body: message })
            }
            ClientMessage::Cancel { request_id, .. } => encode(&Call::<T>::Cancel { id: request_id }),
            _ => {
                Err(WireError::Io(io::Error::new(io::ErrorKind::Unsupported, "a message this protocol does not have")))
            }
        }
    }
}

impl<T: DeserializeOwned> Readable for Response<T> {
    fn from_frame(bytes: &[u8]) -> Result<Self, WireError> {
        decode(bytes)
    }
}

impl<T: Serialize> Writable for Response<T> {
    fn into_frame(self) -> Result<Bytes, WireError> {
        let request_id = self.request_id;
        match encode(&self) {
            // The caller learns why instead of losing the connection.
            Err(error @ WireError::TooLong { .. }) => {
                let refusal = ServerError::new(io::ErrorKind::InvalidData, format!("the answer is too long: {error}"));
                encode(&Response::<T> { request_id, message: Err(refusal) })
            }
            result => result,
        }
    }
}

/// tarpc's transport: messages in frames.
#[derive(Debug)]
pub struct Wire<In, Out, S = Bytestream> {
    frames: Frames<S>,
    /// What reports call the other side.
    other: String,
    /// Where frames that cannot be understood are counted.
    refusals: Option<Arc<Refusals>>,
    messages: PhantomData<fn(Out) -> In>,
}

impl<In, Out, S> Wire<In, Out, S> {
    /// Takes over a connection once it is open. `other` is what reports call the other side.
    pub fn new(frames: Frames<S>, other: impl Into<String>) -> Wire<In, Out, S> {
        Wire { frames, other: other.into(), refusals: None, messages: PhantomData }
    }

    /// From now on, counts and reports frames that cannot be understood.
    #[must_use]
    pub fn reporting_to(self, refusals: &Arc<Refusals>) -> Wire<In, Out, S> {
        Wire { refusals: Some(Arc::clone(refusals)), ..self }
    }
}

/// A caller's end of a connection.
pub type Caller<Req, Resp, S = Bytestream> = Wire<Response<Resp>, ClientMessage<Req>, S>;
/// The answering end of a connection.
pub type Answerer<Req, Resp, S = Bytestream> = Wire<ClientMessage<Req>, Response<Resp>, S>;

impl<In, Out, S> Stream for Wire<In, Out, S>
where
    In: Readable,
    S: AsyncRead + AsyncWrite + Unpin,
{
    type Item = io::Result<In>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<In>>> {
        let message = match ready!(self.frames.poll_next_unpin(cx)) {
            None => return Poll::Ready(None),
            Some(Ok(bytes)) => In::from_frame(&bytes),
            Some(Err(error)) => Err(WireError::reading(error, self.frames.codec().max_frame_length())),
        };
        if let Err(error @ (WireError::TooLong { .. } | WireError::Garbled(_) | WireError::Trailing(_))) = &message
            && let Some(refusals) = &self.refusals
        {
            refusals.refuse(Reason::BadFrame, format_args!("{}: {error}", self.other));
        }
        Poll::Ready(Some(message.map_err(io::Error::from)))
    }
}

impl<In, Out, S> Sink<Out> for Wire<In, Out, S>
where
    Out: Writable,
    S: AsyncRead + AsyncWrite + Unpin,
{
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        SinkExt::<Bytes>::poll_ready_unpin(&mut self.frames, cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Out) -> io::Result<()> {
        let bytes = message.into_frame()?;
        self.frames.start_send_unpin(bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        SinkExt::<Bytes>::poll_flush_unpin(&mut self.frames, cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        SinkExt::<Bytes>::poll_close_unpin(&mut self.frames, cx)
    }
}
