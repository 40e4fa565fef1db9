//! When two states are the same, and what is dropped because it can no longer matter.
//!
//! Clock readings count from the least of them ([`part`](crate::part)). Of the log only those readings count on which something
//! can still depend: those of its last batch, which may be sent again and is followed by what is stamped later; of requests that
//! wait; of each buyer's last outcome and each seller's last deposit and sale, which the next request or deposit is
//! held against. All else of the log counts. A sequence of records that lead to the same
//! books with other stamps, long after, is the same history.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
};

use protocol::{
    books::Books,
    id::{Life, PeerId, Position},
    ledger::LedgerAnswer,
    office::Office,
    record::{Entry, Record},
};

use super::{
    step::Step,
    world::{Archive, Call, Peer, Reply, World},
};
use crate::part::digest;

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let World { peers, ledger, calls, replies, mail, lease, budget, violation } = self;
        state.write_u64(digest(&(peers, ledger, (calls, replies, mail), lease, budget, violation)));
    }
}

impl Hash for Archive {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The fold is the durable log's.
        let Archive { machine, store, decided, books: _ } = self;
        // A snapshot is the fold of what stands below it.
        let snapshot = store.snapshot().map(Books::position);
        (machine, store.durable().len(), store.batches().len(), snapshot).hash(state);
        // The last batch may be sent again, and is there again when a crash takes the one that is being written.
        let last = store.durable().last().map_or(Position(0), |batch| batch.position);
        let keep = Latest::of(store.records());
        let mut position = Position(0);
        for batch in store.batches() {
            (batch.epoch, batch.records.len()).hash(state);
            for record in &batch.records {
                if position >= last {
                    record.hash(state);
                } else {
                    keep.hash(position, record, state);
                }
                position = position.plus(1);
            }
        }
        for deposit in decided {
            if keep.deposits.get(&deposit.id.seller).is_some_and(|(_, number)| *number >= deposit.id.number) {
                deposit.id.hash(state);
            } else {
                deposit.hash(state);
            }
        }
    }
}

/// The latest of each kind in a log, by where it stands.
#[derive(Debug, Default)]
struct Latest {
    admitted: BTreeMap<PeerId, Position>,
    settled: BTreeMap<PeerId, Position>,
    deposits: BTreeMap<PeerId, (Position, protocol::id::DepositNumber)>,
    sales: BTreeMap<PeerId, Position>,
}

impl Latest {
    fn of<'a>(records: impl Iterator<Item = &'a Record>) -> Latest {
        let mut latest = Latest::default();
        let mut position = Position(0);
        for record in records {
            match &record.entry {
                Entry::Deposited(deposit) => {
                    latest.deposits.insert(deposit.id.seller, (position, deposit.id.number));
                }
                Entry::Admitted(request) => {
                    latest.admitted.insert(request.id.buyer, position);
                }
                Entry::Sold(sale) => {
                    latest.settled.insert(sale.request.buyer, position);
                    latest.sales.insert(sale.deposit.seller, position);
                }
                Entry::Refused { request } => {
                    latest.settled.insert(request.buyer, position);
                }
                Entry::Claimed { .. } | Entry::Resigned => {}
            }
            position = position.plus(1);
        }
        latest
    }

    /// The record without the readings on which nothing depends any more.
    fn hash<H: Hasher>(&self, position: Position, record: &Record, state: &mut H) {
        record.stamp.peer.hash(state);
        std::mem::discriminant(&record.entry).hash(state);
        match &record.entry {
            Entry::Claimed { epoch, holder } => (epoch, holder).hash(state),
            Entry::Deposited(deposit) => {
                (deposit.id, deposit.previous, deposit.item, deposit.count, deposit.price).hash(state);
                if self.deposits.get(&deposit.id.seller).is_some_and(|(latest, _)| *latest == position) {
                    deposit.stamp.hash(state);
                }
            }
            Entry::Admitted(request) => {
                (request.id, request.previous, request.item, request.quantity).hash(state);
                let buyer = &request.id.buyer;
                if self.admitted.get(buyer) == Some(&position) && self.settled.get(buyer) < Some(&position) {
                    request.stamp.hash(state);
                }
            }
            Entry::Sold(sale) => {
                sale.hash(state);
                if self.settled.get(&sale.request.buyer) == Some(&position)
                    || self.sales.get(&sale.deposit.seller) == Some(&position)
                {
                    record.stamp.hash(state);
                }
            }
            Entry::Refused { request } => {
                request.hash(state);
                if self.settled.get(&request.buyer) == Some(&position) {
                    record.stamp.hash(state);
                }
            }
            Entry::Resigned => {}
        }
    }
}

impl Step<'_> {
    /// Drops what nobody can take for anything any more. The rules are such that not only the machines as they are, but also
    /// ones that mistake an old reply or an old request for a new one, would still meet it.
    pub(super) fn prune(&mut self) {
        let World { peers, ledger, calls, replies, mail, .. } = &mut self.world;
        let place = |peer: PeerId| (peer.0.wrapping_sub(self.setup.first_id)) as usize;
        if self.setup.is_synchronous() {
            // What is under way to somebody who is no more, or to a trader where there is none, arrives nowhere.
            let is_up = |life: Life| matches!(peers.get(place(life.peer)).map(|peer| &**peer), Some(Peer::Up(live)) if live.me == life);
            let is_there = |peer: PeerId| matches!(peers.get(place(peer)).map(|peer| &**peer), Some(Peer::Up(_)));
            let has_trader = peers.iter().any(|peer| matches!(&**peer, Peer::Up(live) if live.epoch().is_some()));
            if !replies.iter().all(|reply| is_up(reply.reply.to)) {
                replies.change(|replies| replies.retain(|reply| is_up(reply.reply.to)));
            }
            if !mail.iter().all(|mail| mail.to.map_or(has_trader, is_there)) {
                mail.change(|bag| bag.retain(|mail| mail.to.map_or(has_trader, is_there)));
            }
            return;
        }
        if self.setup.keeps_all {
            return;
        }
        let office_of = |life: Life| match &**peers.get(place(life.peer))? {
            Peer::Up(live) if live.me == life => live.office.as_ref(),
            Peer::Up(_) | Peer::Down { .. } => None,
        };
        let status = ledger.machine.status();
        let fence = status.epoch();
        let is_ended = status.term.is_none_or(|term| term.ended);

        // An append stays while the ledger could still take it, whoever else has gone, and while its caller waits.
        // (A late copy of the last batch of all, for which nobody waits, could renew a lease and nothing more.)
        let may_be_taken = |call: &Call| {
            let in_turn = match call.batch.claimant() {
                Some(_) => call.batch.epoch > fence,
                None => call.batch.epoch == fence && !is_ended,
            };
            let is_waited_for = || office_of(call.caller).and_then(Office::in_flight) == Some(&call.batch);
            (in_turn && call.batch.position >= status.head) || is_waited_for()
        };
        if !calls.iter().all(|call| may_be_taken(call)) {
            calls.change(|calls| calls.retain(may_be_taken));
        }

        // A verdict stays while its caller lives and waits, or may yet wait, for one on the same place in the same epoch.
        let may_be_mistaken = |reply: &Reply| {
            let LedgerAnswer::Append { echo, .. } = &reply.reply.answer else { return false };
            let Some(office) = office_of(reply.reply.to) else { return false };
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
