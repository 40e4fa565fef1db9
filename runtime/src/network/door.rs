//! The door of a process: where connections arrive, and what becomes of those that do not say who they are (SPEC I7).
//!
//! Every connection is accepted at once. Until its hello it is a stranger: it has one of a bounded number of
//! places (`strangers`), and [`Settings::handshake`] to introduce itself.
//!
//! This side of a connection only answers. So it would never notice that the other has gone without a word, as when a
//! machine is lost; the kernel does (`GONE_AFTER`).

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustix::net::sockopt;
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::network::{
    hello::{self, Credentials, Purpose, Refusal},
    refusals::{Counts, Reason, Refusals},
    settings::Settings,
    strangers::{Place, Strangers},
    wire::Frames,
};

/// What goes on at the door of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoorStatus {
    /// How many connections have not yet said who they are.
    pub strangers: u32,
    /// How much was refused so far, by reason.
    pub refused: Counts,
}

/// How long the other end of a connection may be without a sign of life, of its kernel at least.
const GONE_AFTER: Duration = Duration::from_secs(120);

/// How often a silent end is asked within that.
const ASKED: u32 = 4;

/// The door of a process.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) credentials: Credentials,
    pub(crate) settings: Settings,
    pub(crate) refusals: Arc<Refusals>,
    strangers: Strangers,
}

/// A connection that has not yet said who it is.
#[derive(Debug)]
pub(crate) struct Stranger {
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
}

impl Door {
    pub(crate) fn new(credentials: Credentials, settings: Settings) -> Door {
        let strangers = Strangers::new(settings.strangers);
        Door { credentials, settings, refusals: Refusals::none_yet(), strangers }
    }

    pub(crate) fn status(&self) -> DoorStatus {
        DoorStatus { strangers: self.strangers.count(), refused: self.refusals.counts() }
    }

    /// Accepts connections forever; each has a task of its own, which ends with this one.
    pub(crate) async fn accept_all<F>(&self, listener: TcpListener, serve: impl Fn(Stranger) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut connections = JoinSet::new();
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    if let Err(error) = notice_its_end(&stream) {
                        // It works without.
                        tracing::debug!(%address, "keepalive: {error}");
                    }
                    let place = self.strangers.arrive(address.ip());
                    let is_crowded = place.took_anothers;
                    connections.spawn(serve(Stranger { stream, address, place }));
                    if is_crowded {
                        // Another must go first, and gets the chance; members, too, have their turn in between.
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) => {
                    // Usually too many open files: others will close some.
                    self.refusals.refuse(Reason::NotAccepted, &error);
                    tokio::time::sleep(self.settings.backoff_min).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }

    /// Lets a stranger introduce itself. Afterwards its place is free.
    pub(crate) async fn introduce<T>(
        &self,
        stranger: Stranger,
        admit: impl FnOnce(Purpose) -> Result<T, Refusal>,
    ) -> Option<(Frames, Purpose, T)> {
        let Stranger { stream, address, mut place } = stranger;
        let accepted = tokio::select! {
            accepted = hello::accept(stream, &self.credentials, &self.settings, admit) => accepted,
            () = place.is_lost() => {
                self.refusals.refuse(Reason::CrowdedOut, format_args!("{address}: its place was needed"));
                return None;
            }
        };
        accepted.inspect_err(|error| self.refusals.refuse(error.into(), format_args!("{address}: {error}"))).ok()
    }
}

/// Has the kernel ask whether the other end is still there.
fn notice_its_end(stream: &TcpStream) -> io::Result<()> {
    // Before the first time it waits twice as long as between them.
    let pause = GONE_AFTER / (ASKED + 2);
    sockopt::set_tcp_keepidle(stream, pause * 2)?;
    sockopt::set_tcp_keepintvl(stream, pause)?;
    sockopt::set_tcp_keepcnt(stream, ASKED)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}
