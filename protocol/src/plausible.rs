//! Whether what a member says can be true at all (SPEC I8). What cannot is refused where it enters, so that a member with
//! a bug does not stop the others: no peer makes any of it its own, and nothing of it becomes durable.
//!
//! What can be true and is not, like an epoch that nobody was granted, is dealt with elsewhere: only the ledger's own word
//! becomes durable or is shown to the ledger ([`office`](crate::office)), and what the ledger says ends what an election
//! was told wrongly ([`ElectionInput::Refuted`](crate::election::ElectionInput::Refuted)).

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    account::{BuyerStatus, Outcome, SellerStatus},
    clock::{Clock, Stamp, Time},
    election::ElectionMessage,
    id::{Epoch, Incarnation, PeerId, RequestId},
    message::{Body, ClientMessage, Envelope, Promise, Route, TraderMessage},
    record::{Batch, Deposit, Entry, Record, Request, Sale},
};

/// A number that cannot be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Implausible {
    /// No such peer is in this bazaar.
    Peer(PeerId),
    /// A clock reading that no clock can have got to ([`Clock::MOST`]).
    Clock(Time),
    /// An epoch that is absurdly far ahead ([`Epoch::MAX_LEAD`]).
    Epoch(Epoch),
    /// A life that nobody can have got to ([`Incarnation::MOST`]).
    Life(Incarnation),
}

impl fmt::Display for Implausible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Implausible::Peer(peer) => write!(f, "there is no peer {peer} in this bazaar"),
            Implausible::Clock(reading) => write!(f, "no clock can have got to {reading}"),
            Implausible::Epoch(epoch) => write!(f, "epoch {epoch} is absurdly far ahead"),
            Implausible::Life(incarnation) => write!(f, "nobody has got to life {incarnation}"),
        }
    }
}

/// What a peer knows, by which it judges what others say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// How many peers the bazaar has.
    pub peers: u32,
    /// The latest epoch it knows of.
    pub epoch: Epoch,
}

impl Known {
    fn refuses(&self, name: Name) -> Option<Implausible> {
        match name {
            Name::Peer(peer) => (peer.0 >= self.peers).then_some(Implausible::Peer(peer)),
            Name::Clock(reading) => (reading > Clock::MOST).then_some(Implausible::Clock(reading)),
            Name::Epoch(epoch) => {
                let most = self.epoch.0.saturating_add(Epoch::MAX_LEAD);
                (epoch.0 > most).then_some(Implausible::Epoch(epoch))
            }
            Name::Life(life) => (life > Incarnation::MOST).then_some(Implausible::Life(life)),
        }
    }
}

impl Envelope {
    /// The first number in this envelope that cannot be true, as far as the peer that it reached can know.
    #[must_use]
    pub fn implausible(&self, known: &Known) -> Option<Implausible> {
        let mut found = None;
        names_of(self, &mut |name| {
            if found.is_none() {
                found = known.refuses(name);
            }
        });
        found
    }

    /// The highest clock reading in it, of whatever kind.
    #[must_use]
    pub fn furthest(&self) -> Time {
        let mut furthest = Time(0);
        names_of(self, &mut |name| {
            if let Name::Clock(reading) = name {
                furthest = furthest.max(reading);
            }
        });
        furthest
    }
}

impl Record {
    /// The highest clock reading in it, of whatever kind.
    #[must_use]
    pub fn furthest(&self) -> Time {
        let inner = match &self.entry {
            Entry::Seated { above, .. } => *above,
            Entry::Deposited(deposit) => deposit.stamp.time,
            Entry::Admitted { request, place } => request.stamp.time.max(*place),
            Entry::Claimed { .. }
            | Entry::Unseated { .. }
            | Entry::Sold(_)
            | Entry::Refused { .. }
            | Entry::Resigned => Time(0),
        };
        self.stamp.time.max(inner)
    }
}

impl Batch {
    /// The highest clock reading in it, of whatever kind.
    #[must_use]
    pub fn furthest(&self) -> Time {
        self.records.iter().map(Record::furthest).max().unwrap_or_default()
    }
}

/// Something that a message names.
enum Name {
    Peer(PeerId),
    Clock(Time),
    Epoch(Epoch),
    Life(Incarnation),
}

fn names_of(envelope: &Envelope, see: &mut impl FnMut(Name)) {
    let Envelope { source, clock, route, body, multicast } = envelope;
    see(Name::Peer(*source));
    see(Name::Clock(*clock));
    see(Name::Clock(*multicast));
    match route {
        Route::Flood { id, to } => {
            see(Name::Peer(id.origin));
            see(Name::Life(id.incarnation));
            to.iter().for_each(|to| see(Name::Peer(*to)));
        }
        Route::Direct { to, .. } => see(Name::Peer(*to)),
    }
    match body {
        Body::Election(message) => match message {
            ElectionMessage::Call | ElectionMessage::Anyone | ElectionMessage::Answer => {}
            ElectionMessage::Leader { epoch, leader } => {
                see(Name::Epoch(*epoch));
                see(Name::Peer(*leader));
            }
            ElectionMessage::Coordinator { epoch } | ElectionMessage::Resigned { epoch } => see(Name::Epoch(*epoch)),
        },
        Body::Heartbeat { epoch, waits } => {
            see(Name::Epoch(*epoch));
            waits.iter().for_each(|place| see(Name::Clock(*place)));
        }
        Body::Wave | Body::Clock => {}
        Body::Promises { promises, .. } => {
            for (buyer, Promise { incarnation, above, open }) in promises {
                see(Name::Peer(*buyer));
                see(Name::Life(*incarnation));
                see(Name::Clock(*above));
                open.iter().for_each(|request| in_request(request, see));
            }
        }
        Body::Client(message) => match message {
            ClientMessage::Request(request) => in_request(request, see),
            ClientMessage::Deposit(Deposit { id, stamp, previous, .. }) => {
                see(Name::Peer(id.seller));
                see(Name::Life(id.number.split().0));
                previous.iter().for_each(|previous| see(Name::Life(previous.split().0)));
                in_stamp(*stamp, see);
            }
            ClientMessage::Join { incarnation, .. } => see(Name::Life(*incarnation)),
            ClientMessage::AskSales { .. } => {}
        },
        Body::Trader(TraderMessage::Buyer(BuyerStatus { open, last, seat, bound })) => {
            open.iter().for_each(|request| in_request(request, see));
            if let Some((sequence, outcome)) = last {
                see(Name::Life(sequence.split().0));
                if let Outcome::Sold(sale) = outcome {
                    in_sale(sale, see);
                }
            }
            seat.iter().for_each(|seat| see(Name::Life(seat.incarnation)));
            see(Name::Clock(*bound));
        }
        Body::Trader(TraderMessage::Seller(SellerStatus { deposit, recent, .. })) => {
            deposit.iter().for_each(|deposit| see(Name::Life(deposit.number.split().0)));
            recent.iter().for_each(|sale| in_sale(sale, see));
        }
    }
}

fn in_request(request: &Request, see: &mut impl FnMut(Name)) {
    let Request { id, previous, stamp, .. } = request;
    in_id(*id, see);
    previous.iter().for_each(|previous| see(Name::Life(previous.split().0)));
    in_stamp(*stamp, see);
}

fn in_id(id: RequestId, see: &mut impl FnMut(Name)) {
    see(Name::Peer(id.buyer));
    see(Name::Life(id.sequence.split().0));
}

fn in_stamp(stamp: Stamp, see: &mut impl FnMut(Name)) {
    see(Name::Peer(stamp.peer));
    see(Name::Clock(stamp.time));
}

fn in_sale(sale: &Sale, see: &mut impl FnMut(Name)) {
    in_id(sale.request, see);
    see(Name::Peer(sale.deposit.seller));
    see(Name::Life(sale.deposit.number.split().0));
}
