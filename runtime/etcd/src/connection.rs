//! One connection to one member, made when it is needed and dropped when it has failed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Mutex as AsyncMutex;
use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::settings::{Settings, SettingsError, name};

/// The way to one member.
#[derive(Debug)]
pub(crate) struct Member {
    /// As it is written in the settings.
    pub(crate) name: String,
    endpoint: Endpoint,
    connection: Mutex<Slot>,
    /// Held while connecting, so that all who wait get the one connection.
    connecting: AsyncMutex<()>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Tells a connection from the one before it.
    number: u64,
    channel: Option<Channel>,
}

impl Slot {
    fn connection(&self) -> Option<Connection> {
        self.channel.clone().map(|channel| Connection { number: self.number, channel })
    }
}

/// A connection that was made at some time; whether it still works shows when it is used.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    number: u64,
    pub(crate) channel: Channel,
}

impl Member {
    /// The way to each member that the settings name.
    pub(crate) fn all(settings: &Settings) -> Result<Vec<Member>, SettingsError> {
        let tls = match (&settings.tls, settings.endpoints.are_encrypted()) {
            (Some(_), false) => return Err(SettingsError::NotEncrypted),
            (None, true) => return Err(SettingsError::NoAuthority),
            (None, false) => None,
            (Some(tls), true) => {
                // An authority that is no certificate would only show as one that nobody was signed by.
                if !tls.authorities.contains("-----BEGIN CERTIFICATE-----") {
                    return Err(SettingsError::NoAuthority);
                }
                let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.authorities));
                Some(match &tls.identity {
                    Some((certificate, key)) => config.identity(Identity::from_pem(certificate, key)),
                    None => config,
                })
            }
        };
        let member = |uri: &tonic::transport::Uri| {
            let mut endpoint = Endpoint::from(uri.clone()).tcp_nodelay(true);
            if let Some(tls) = &tls {
                endpoint = endpoint
                    .tls_config(tls.clone())
                    .map_err(|error| SettingsError::Certificates(crate::error::chain(&error)))?;
            }
            Ok(Member { name: name(uri), endpoint, connection: Mutex::default(), connecting: AsyncMutex::default() })
        };
        settings.endpoints.uris().map(member).collect()
    }

    /// The connection, made anew if there is none. Its failure says that nothing was sent.
    pub(crate) async fn connect(&self) -> Result<Connection, tonic::transport::Error> {
        if let Some(connection) = held(&self.connection).connection() {
            return Ok(connection);
        }
        let _alone = self.connecting.lock().await;
        if let Some(connection) = held(&self.connection).connection() {
            return Ok(connection);
        }
        let channel = self.endpoint.connect().await?;
        let mut slot = held(&self.connection);
        slot.number += 1;
        slot.channel = Some(channel.clone());
        Ok(Connection { number: slot.number, channel })
    }

    /// Lets go of a connection that has failed; the next call makes a new one. What still runs over it runs on.
    pub(crate) fn drop_connection(&self, failed: &Connection) {
        let mut slot = held(&self.connection);
        // Another call may have noticed first, and the connection be a new one.
        if slot.number == failed.number {
            slot.channel = None;
        }
    }
}

/// Locks what is never left half changed.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a login has given, if there was one.
#[derive(Debug, Default)]
pub(crate) struct Login(Mutex<State>);

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    None,
    Token(Token),
    /// The cluster asks nobody who they are.
    NotAsked,
}

/// Shows a member that this client has logged in. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) MetadataValue<Ascii>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Login {
    /// The token to show: `None` if somebody has to log in first, `Some(None)` if none is needed.
    pub(crate) fn token(&self) -> Option<Option<Token>> {
        match &*held(&self.0) {
            State::None => None,
            State::Token(token) => Some(Some(token.clone())),
            State::NotAsked => Some(None),
        }
    }

    pub(crate) fn note(&self, token: Option<Token>) {
        *held(&self.0) = token.map_or(State::NotAsked, State::Token);
    }

    /// Forgets the token that was refused, unless somebody has logged in anew since.
    pub(crate) fn forget(&self, refused: Option<&Token>) {
        let mut state = held(&self.0);
        let is_that = match &*state {
            State::None => false,
            State::Token(token) => Some(token) == refused,
            State::NotAsked => refused.is_none(),
        };
        if is_that {
            *state = State::None;
        }
    }
}
