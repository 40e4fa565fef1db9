//! The rule for when two states are the same, and what is dropped because it can no longer matter.
//!
//! Clock readings count from the least of them ([`shared`](crate::subject::shared)); [`ledger`](crate::subject::ledger)
//! says which of those in the log count.

use std::hash::{Hash, Hasher};

use bazaar_protocol::{
    id::{Life, PeerId},
    ledger::{LedgerAnswer, LedgerRequest},
    office::Office,
};

use super::{
    step::Step,
    world::{Call, World},
};
use crate::subject::{ledger::Reply, shared::digest};

impl World {
    /// Everything by which states are told apart.
    fn parts(&self) -> impl Hash {
        let World { peers, ledger, observer, calls, replies, mail, leases, budget, violation } = self;
        (peers, ledger, observer, (calls, replies, mail), leases, budget, violation)
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(digest(&self.parts()));
    }
}

impl Step<'_> {
    /// A digest of the world together with something else, and with what is remembered of the fair schedule.
    pub(super) fn digest_with(&self, other: impl Hash) -> u64 {
        let Step { setup: _, world, landmarks: _, cut: _, unanswered, reading, told } = self;
        digest(&(world.parts(), unanswered, reading, told, other))
    }

    /// Drops what can no longer have an effect on any machine. The rules keep enough for faulty machines too: one that
    /// mistakes an old verdict or an old request for a new one would still receive it. Of the answers to reads, only
    /// those are kept from which the reader could continue.
    pub(super) fn prune(&mut self) {
        let setup = self.setup;
        let World { peers, ledger, calls, replies, mail, .. } = &mut self.world;
        let live = |peer: PeerId| setup.role(peer).and_then(|_| peers[setup.place(peer)].live());
        if setup.is_synchronous() {
            // What is under way to a life that is over, or to a trader where there is none, arrives nowhere.
            let is_up = |life: Life| live(life.peer).is_some_and(|live| live.participant.me() == life);
            let is_there = |peer: PeerId| live(peer).is_some();
            let has_trader = peers.iter().any(|peer| peer.live().is_some_and(|live| live.epoch().is_some()));
            if !replies.iter().all(|reply| is_up(reply.reply.word.to)) {
                replies.change(|replies| replies.retain(|reply| is_up(reply.reply.word.to)));
            }
            if !mail.iter().all(|mail| mail.to.map_or(has_trader, is_there)) {
                mail.change(|bag| bag.retain(|mail| mail.to.map_or(has_trader, is_there)));
            }
            return;
        }
        if setup.keeps_all {
            return;
        }
        let office_of = |life: Life| -> Option<&Office> {
            live(life.peer).filter(|live| live.participant.me() == life)?.participant.office()
        };
        let status = ledger.status();
        let fence = status.epoch();
        let is_ended = status.term.is_none_or(|term| term.ended);

        // An append stays while the ledger could still accept it, even if its caller has gone, and while its caller
        // waits. (A late copy of the very last batch, for which nobody waits, could renew a lease and nothing more.) A
        // question stays while it is what its caller asks.
        let may_be_taken = |call: &Call| {
            let office = office_of(call.caller);
            match &call.request {
                LedgerRequest::Append(batch) => {
                    let in_turn = match batch.claimant() {
                        Some(_) => batch.epoch > fence,
                        None => batch.epoch == fence && !is_ended,
                    };
                    let is_waited_for = || office.and_then(Office::in_flight) == Some(batch);
                    (in_turn && batch.position >= status.head) || is_waited_for()
                }
                LedgerRequest::Read { from, chunk } => office.and_then(Office::wanted) == Some((*from, *chunk)),
                LedgerRequest::Status => office.is_some_and(|office| office.epoch().is_none() && !office.is_standing()),
            }
        };
        if !calls.iter().all(|call| may_be_taken(call)) {
            calls.change(|calls| calls.retain(may_be_taken));
        }

        // A verdict stays while its caller is alive and waits, or may yet wait, for one on the same position in the
        // same epoch. An answer to a read stays while its caller reads and could continue from it, or could believe
        // that it could.
        let may_be_mistaken = |reply: &Reply| {
            let Some(office) = office_of(reply.reply.word.to) else { return false };
            let echo = match &reply.reply.answer {
                LedgerAnswer::Append { echo, .. } => echo,
                LedgerAnswer::Records { from, .. } => return office.wanted().is_some_and(|wanted| wanted.0 >= *from),
                LedgerAnswer::Chunk { id, .. } => return office.wanted().is_some_and(|wanted| wanted.0 < id.position),
                LedgerAnswer::Status => return false,
            };
            let of_now = match (office.trader(), office.in_flight()) {
                (Some(trader), _) => Some(echo.epoch) == office.epoch() && echo.position >= trader.books().position(),
                (None, Some(claim)) => echo.epoch == claim.epoch && echo.position == claim.position,
                (None, None) => false,
            };
            of_now || (echo.epoch > fence && echo.position >= status.head)
        };
        if !replies.iter().all(|reply| may_be_mistaken(reply)) {
            replies.change(|replies| replies.retain(may_be_mistaken));
        }
    }
}
