//! A peer whose store is an old copy, or gone, begins a life that it has lived before: it gives numbers again that the books
//! know already, so that nothing it asks for is ever served (DESIGN R7, R8). Others know of what it has forgotten, and
//! once it is told it must not go on (SPEC I5).

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    id::{DepositNumber, Incarnation, Sequence},
    message::{Body, TraderMessage},
    participant::{Participant, ParticipantInput},
};

/// What others know of a peer, and it does not know itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forgotten {
    /// A later life of it.
    Life(Incarnation),
    /// A request of this life that it never made.
    Request(Sequence),
    /// A deposit of this life that it never made.
    Deposit(DepositNumber),
}

impl Forgotten {
    /// The life that is told of.
    #[must_use]
    pub fn life(&self) -> Incarnation {
        match self {
            Forgotten::Life(life) => *life,
            Forgotten::Request(sequence) => sequence.split().0,
            Forgotten::Deposit(number) => number.split().0,
        }
    }
}

impl fmt::Display for Forgotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, (life, number)) = match self {
            Forgotten::Life(life) => return write!(f, "life {life} of it"),
            Forgotten::Request(sequence) => ("request", sequence.split()),
            Forgotten::Deposit(number) => ("deposit", number.split()),
        };
        write!(f, "{what} {number} of its life {life}")
    }
}

/// What this input tells the life `me` of itself that it does not know.
pub(crate) fn told_by(input: &ParticipantInput, participant: &Participant) -> Option<Forgotten> {
    let (me, buyer, seller) = (participant.me(), participant.buyer(), participant.seller());
    let later = |life: Incarnation| (life > me.incarnation).then_some(Forgotten::Life(life));
    match input {
        ParticipantInput::Ledger(reply) if reply.word.to == me => {
            let holder = reply.word.status.term?.holder;
            later(holder.incarnation).filter(|_| holder.peer == me.peer)
        }
        ParticipantInput::Heard { body: Body::Trader(TraderMessage::Buyer(status)), .. } => {
            let open = status.open.as_ref().map(|request| request.id.sequence);
            let sequence = open.max(status.last.as_ref().map(|(sequence, _)| *sequence));
            let seated = status.seat.and_then(|seat| later(seat.incarnation));
            let numbered = sequence.and_then(|sequence| {
                let (life, number) = sequence.split();
                let was_made = buyer.is_none_or(|buyer| number <= buyer.numbered());
                let is_new = life == me.incarnation && !was_made;
                later(life).or(is_new.then_some(Forgotten::Request(sequence)))
            });
            seated.or(numbered)
        }
        ParticipantInput::Heard { body: Body::Trader(TraderMessage::Seller(status)), .. } => {
            let number = status.deposit.as_ref()?.number;
            let (life, nth) = number.split();
            let was_made = seller.is_none_or(|seller| nth <= seller.numbered());
            let is_new = life == me.incarnation && !was_made;
            later(life).or(is_new.then_some(Forgotten::Deposit(number)))
        }
        ParticipantInput::Ledger(_)
        | ParticipantInput::Heard { .. }
        | ParticipantInput::Fired(_)
        | ParticipantInput::LedgerUp
        | ParticipantInput::LedgerDown
        | ParticipantInput::Chose { .. }
        | ParticipantInput::Resign
        | ParticipantInput::Stand
        | ParticipantInput::Yield => None,
    }
}
