//! What is checked in a step, and what is seen in it.

use protocol::{
    buyer::Buyer,
    clock::Time,
    config::Limits,
    effect::{Effect, Effects, Note},
    election::{ElectionMessage, Phase},
    id::{Epoch, PeerId, RequestId, SaleNumber},
    invariant::{self, AuditTerms, Property, Violation},
    ledger::{Echo, LedgerAnswer, LedgerCall, LedgerEffect, LedgerFault, LedgerRequest, Verdict},
    message::{Body, ClientMessage, Envelope, FloodId, Route, TraderMessage},
    peer::Peer,
    record::{Batch, Deposit, Entry, Record, Request},
    seller::Seller,
};

use super::{
    Whole,
    step::Step,
    world::{Action, Live, Parcel, Place, Way, World, is_for},
};
use crate::{
    bazaar::{
        checks::{is_resent, outcome_in, sighting_of_note, sighting_of_verdict},
        world::Reply,
    },
    matrix::{Kind, Role, Stepped},
    part::Part,
    sighting::Sighting,
};

fn violated(property: Property, what: String) -> Result<(), Violation> {
    Err(Violation { property, position: None, what })
}

impl Step<'_> {
    pub(super) fn check(&mut self, found: Result<(), Violation>) {
        if let Err(violation) = found {
            self.world.violation.get_or_insert_with(|| Part::new(violation));
        }
    }

    pub(super) fn fail(&mut self, fault: &LedgerFault) {
        let LedgerFault { witness, seen, holds } = fault;
        let what = format!(
            "the ledger has shown epoch {}, head {} to peer {}, and holds epoch {}, head {}",
            seen.epoch, seen.head, witness.peer, holds.epoch, holds.head
        );
        self.check(violated(Property::S3, what));
    }

    /// The log has grown. It never shrinks and no record changes, so what holds here holds until it grows again.
    pub(super) fn on_durable(&mut self) {
        let terms = &self.setup.terms;
        let terms = AuditTerms {
            commission: Some(terms.commission),
            resign_after: Some(terms.resign_after),
            batch_limit: Some(terms.batch_limit),
        };
        let found = self.ledger(|archive| archive.audit(terms));
        self.check(found);
        if self.world.ledger.books.queue().len() > 0 {
            self.sightings.note(Sighting::Split);
        }
        let Some(batch) = self.world.ledger.store.durable().last() else { return };
        let writer = batch.writer().and_then(|writer| self.world.live(writer)?.peer.office().in_flight().cloned());
        if batch.claimant().is_none() && writer.as_ref() != Some(batch) {
            self.sightings.note(Sighting::LateAppend);
        }
    }

    /// What a peer has become in a step, held against what it was: its clock (S7), its office (S1, B4), its books (S12).
    pub(super) fn check_step(&mut self, peer: PeerId, before: &Peer) {
        let Some(live) = self.world.live(peer) else { return };
        let after = &live.peer;
        let clocks = invariant::a_clock_never_goes_back(before.clock().now(), after.clock().now());
        let (was, is) = (before.office().epoch(), after.office().epoch());
        let me = after.view().me;
        let position = |peer: &Peer| peer.view().books.map(protocol::books::Books::position);
        let serves = after.view().books.filter(|_| was != is || position(before) != position(after));
        let books = serves.map(|books| invariant::the_books_equal_the_fold_of_the_log(books, self.world.log()));
        let office = is.filter(|_| was != is);
        let office = office.map(|epoch| invariant::an_epoch_is_spoken_for_by_its_holder(epoch, me, self.world.log()));
        let (heard, leader) = (live.heard, after.election().leader());
        let phases = (before.election().phase(), after.election().phase());
        let was_leading = before.election().is_leading();
        let is_news = leader != before.election().leader();
        let renames = renames(before, after);
        self.check(clocks);
        self.check(books.unwrap_or(Ok(())));
        self.check(office.unwrap_or(Ok(())));
        if renames {
            let what = format!("peer {peer} gives a number to something else while it waits for the answer");
            self.check(violated(Property::S4, what));
        }
        if was != is {
            self.live(peer, |live| live.confirmed = is.is_some());
        }
        self.check_leader(peer, heard, leader, is_news);
        self.see_office(was, is);
        match phases {
            (Phase::Calling, Phase::Waiting) => self.sightings.note(Sighting::Answered),
            (Phase::Asking, Phase::Standing | Phase::Leading { .. }) => self.sightings.note(Sighting::LoneSurvivor),
            (_, Phase::Following { .. }) if was_leading => self.sightings.note(Sighting::Deposed),
            (
                Phase::Onset
                | Phase::Calling
                | Phase::Asking
                | Phase::Waiting
                | Phase::Standing
                | Phase::Leading { .. }
                | Phase::Following { .. },
                Phase::Onset
                | Phase::Calling
                | Phase::Asking
                | Phase::Waiting
                | Phase::Standing
                | Phase::Leading { .. }
                | Phase::Following { .. },
            ) => {}
        }
    }

    /// B4: the epochs whose leaders a life recognises do not fall, and who recognises one holds no older office. S1: it is the
    /// holder of that epoch, as the log has it.
    fn check_leader(&mut self, peer: PeerId, heard: Epoch, leader: Option<(Epoch, PeerId)>, is_news: bool) {
        let Some((epoch, leader)) = leader else { return };
        if is_news {
            let claims = |record: &Record| match record.entry {
                Entry::Claimed { epoch: claimed, holder } => (claimed == epoch).then_some(holder.peer),
                Entry::Deposited(_) | Entry::Admitted(_) | Entry::Sold(_) | Entry::Refused { .. } | Entry::Resigned => {
                    None
                }
            };
            let holder = self.world.log().find_map(claims);
            if holder != Some(leader) {
                let holder = holder.map_or("nobody".to_owned(), |holder| format!("peer {holder}"));
                let what = format!("peer {peer} recognises peer {leader} for epoch {epoch}, which {holder} holds");
                self.check(violated(Property::S1, what));
            }
        }
        if epoch < heard {
            let what = format!("peer {peer} follows peer {leader} of epoch {epoch} though it knew of epoch {heard}");
            self.check(violated(Property::B4, what));
        } else if epoch > heard {
            self.live(peer, |live| live.heard = epoch);
        }
        if let Some(mine) = self.world.live(peer).and_then(Live::epoch).filter(|mine| *mine < epoch) {
            let what = format!("peer {peer} goes on in epoch {mine} though it knows of epoch {epoch}");
            self.check(violated(Property::B4, what));
        }
    }

    /// B5: a heartbeat follows an append that was confirmed since the last: since the renewal timer fired last, when one is due
    /// though there may be nobody to send it to. One that had to wait for a write is not looked at when it leaves.
    pub(super) fn check_heartbeat(&mut self, peer: PeerId, renews: bool, is_written: bool, effects: &Effects) {
        let is_heartbeat = |effect: &Effect| match effect {
            Effect::Send { envelope, .. } => envelope.source == peer && matches!(envelope.body, Body::Heartbeat { .. }),
            Effect::Ledger(_)
            | Effect::Write { .. }
            | Effect::Arm { .. }
            | Effect::Disarm(_)
            | Effect::Choose { .. }
            | Effect::Note { .. } => false,
        };
        let has_confirmed = self.world.live(peer).is_none_or(|live| live.confirmed);
        if !has_confirmed && !is_written && effects.iter().any(is_heartbeat) {
            let what = format!("peer {peer} sends a heartbeat, and nothing was confirmed since its last");
            self.check(violated(Property::B5, what));
        }
        if renews && has_confirmed {
            self.live(peer, |live| live.confirmed = false);
        }
    }

    /// The phase of a peer that hears the trader itself, if what it is handed is another's word on an election.
    pub(super) fn hears_trader(&self, peer: PeerId, envelope: &Envelope) -> Option<Phase> {
        let joins = match envelope.body {
            Body::Election(ElectionMessage::Call | ElectionMessage::Anyone | ElectionMessage::Answer) => true,
            Body::Election(
                ElectionMessage::Coordinator { .. } | ElectionMessage::Leader { .. } | ElectionMessage::Resigned { .. },
            )
            | Body::Heartbeat { .. }
            | Body::Clock
            | Body::Client(_)
            | Body::Trader(_) => false,
        };
        let phase = self.world.live(peer).filter(|_| joins)?.peer.election().phase();
        match phase {
            Phase::Following { leader, directly: true, .. } if leader != envelope.source => Some(phase),
            Phase::Following { .. }
            | Phase::Onset
            | Phase::Calling
            | Phase::Asking
            | Phase::Waiting
            | Phase::Standing
            | Phase::Leading { .. } => None,
        }
    }

    /// B5: who hears the trader says so when another calls, and does not join.
    pub(super) fn check_joins_not(&mut self, peer: PeerId, before: Option<Phase>) {
        let after = self.world.live(peer).map(|live| live.peer.election().phase());
        if before.is_some() && after != before {
            let what = format!("peer {peer} hears the trader and joins an election all the same");
            self.check(violated(Property::B5, what));
        }
    }

    fn see_office(&mut self, was: Option<Epoch>, is: Option<Epoch>) {
        if let Some(epoch) = is.filter(|_| was != is) {
            self.sightings.note(match epoch {
                Epoch(0 | 1) => Sighting::TookOffice,
                Epoch(2) => Sighting::SecondEpoch,
                Epoch(3..) => Sighting::ThirdEpoch,
            });
        }
    }

    /// What leaves a peer for a neighbour: S10, S7 and R7; and, of what it wrote itself, S1 and S11.
    pub(super) fn check_send(&mut self, peer: PeerId, to: PeerId, envelope: &Envelope, held: Option<Epoch>) {
        self.check(invariant::nothing_is_sent_to_a_non_neighbour(peer, to, &self.setup.neighbours(peer)));
        self.check_speaks(peer);
        if envelope.source != peer {
            self.sightings.note(Sighting::Relayed);
            return;
        }
        self.check_clock(peer, envelope.clock);
        if let Route::Flood { to: Some(_), .. } = envelope.route {
            self.sightings.note(Sighting::Detour);
        }
        match &envelope.body {
            Body::Heartbeat { epoch, .. } => {
                self.sightings.note(Sighting::Heartbeat);
                self.check_speaker(peer, *epoch);
            }
            Body::Election(ElectionMessage::Coordinator { epoch }) => self.check_speaker(peer, *epoch),
            Body::Election(ElectionMessage::Leader { .. }) => self.sightings.note(Sighting::ReferredToLeader),
            Body::Election(
                ElectionMessage::Call
                | ElectionMessage::Anyone
                | ElectionMessage::Answer
                | ElectionMessage::Resigned { .. },
            )
            | Body::Clock => {}
            Body::Client(ClientMessage::Request(request)) => {
                self.check_clock(peer, request.stamp.time);
                self.check_request(request);
            }
            Body::Client(ClientMessage::Deposit(deposit)) => {
                self.check_clock(peer, deposit.stamp.time);
                self.check_deposit(deposit);
                if !self.world.ledger.decided.contains(deposit) {
                    self.ledger(|archive| archive.decided.push(deposit.clone()));
                }
            }
            Body::Client(ClientMessage::AskSales { .. }) => {}
            Body::Trader(message) => {
                if let Some(epoch) = self.world.live(peer).and_then(Live::epoch).or(held) {
                    self.check_speaker(peer, epoch);
                }
                if let Some(to) = addressee(envelope) {
                    self.check_told(to, message);
                }
            }
        }
    }

    /// S4: a number names one request for ever (DESIGN R8): none that was admitted, and none that is still on its way, is another.
    fn check_request(&mut self, request: &Request) {
        let is_other = |known: &Request| known.id == request.id && known != request;
        let was_admitted = |record: &Record| match &record.entry {
            Entry::Admitted(known) => is_other(known),
            Entry::Claimed { .. } | Entry::Deposited(_) | Entry::Sold(_) | Entry::Refused { .. } | Entry::Resigned => {
                false
            }
        };
        let is_under_way = |parcel: &Part<Parcel>| match &**parcel {
            Parcel::Envelope(Envelope { body: Body::Client(ClientMessage::Request(known)), .. }) => is_other(known),
            Parcel::Envelope(_) | Parcel::Call(_) | Parcel::Reply(_) => false,
        };
        let mut queues = self.world.channels.iter().map(|channel| &channel.queue);
        if self.world.log().any(was_admitted) || queues.any(|queue| queue.iter().any(is_under_way)) {
            let what = format!("peer {} gives a request's number a second time", request.id.buyer);
            self.check(violated(Property::S4, what));
        }
    }

    /// S4: a number names one deposit for ever (DESIGN R8), of all that were ever sent.
    fn check_deposit(&mut self, deposit: &Deposit) {
        if self.world.ledger.decided.iter().any(|known| known.id == deposit.id && known != deposit) {
            let what = format!("peer {} gives a deposit's number a second time", deposit.id.seller);
            self.check(violated(Property::S4, what));
        }
    }

    /// What leaves a peer for the ledger: S7 and R7.
    pub(super) fn check_call(&mut self, peer: PeerId, call: &LedgerCall) {
        self.check_speaks(peer);
        if let LedgerRequest::Append(batch) = &call.request {
            for record in &batch.records {
                self.check_clock(peer, record.stamp.time);
            }
        }
    }

    /// R7, and with it S7: nothing at all is sent before the life that sends it is written, or the next life is the same one
    /// again.
    fn check_speaks(&mut self, peer: PeerId) {
        let Some(me) = self.world.live(peer).map(|live| live.peer.view().me) else { return };
        if self.durable(peer).incarnation < me.incarnation {
            let what = format!("peer {peer} speaks before its life {} is written", me.incarnation);
            self.check(violated(Property::S7, what));
        }
    }

    fn check_clock(&mut self, peer: PeerId, sent: Time) {
        let bound = self.durable(peer).clock_bound;
        self.check(invariant::nothing_is_sent_above_the_written_bound(sent, bound));
    }

    fn check_speaker(&mut self, peer: PeerId, epoch: Epoch) {
        if let Some(me) = self.world.live(peer).map(|live| live.peer.view().me) {
            self.check(invariant::an_epoch_is_spoken_for_by_its_holder(epoch, me, self.world.log()));
        }
    }

    fn check_told(&mut self, to: PeerId, message: &TraderMessage) {
        self.check(invariant::whatever_a_client_was_told_is_in_the_log(message, to, self.world.log()));
        if let TraderMessage::Buyer(standing) = message {
            let open = standing.open.iter().map(|request| request.id);
            let last = standing.last.iter().map(|(sequence, _)| RequestId { buyer: to, sequence: *sequence });
            let acknowledged: Vec<_> = open.chain(last).collect();
            self.check(invariant::an_acknowledged_request_is_in_the_log(self.world.log(), acknowledged));
        }
    }

    /// Whether this life was handed this flood before.
    pub(super) fn is_repeated(&self, peer: PeerId, envelope: &Envelope) -> bool {
        let Route::Flood { id, .. } = envelope.route else { return false };
        self.world.live(peer).is_some_and(|live| live.floods.contains(&id))
    }

    /// Whether a peer must take what it is handed for the first time: it is meant for it, and of no life that is over.
    pub(super) fn is_delivered(&self, peer: PeerId, envelope: &Envelope) -> bool {
        let Some(live) = self.world.live(peer) else { return false };
        let is_over = |id: FloodId| {
            let newer = |known: &FloodId| known.origin == id.origin && known.incarnation > id.incarnation;
            id.origin == peer || live.floods.iter().any(newer)
        };
        let is_fresh = match envelope.route {
            Route::Flood { id, .. } => !is_over(id),
            Route::Direct { .. } => true,
        };
        is_fresh && is_for(envelope, peer)
    }

    /// S10: what comes a second time has no effect at all.
    pub(super) fn check_repeated(&mut self, peer: PeerId, before: &Peer, envelope: &Envelope) {
        self.sightings.note(Sighting::RepeatedFlood);
        if self.world.live(peer).is_some_and(|live| live.peer != *before) {
            let what = format!("peer {peer} takes a flood of peer {} a second time", envelope.source);
            self.check(violated(Property::S10, what));
        }
    }

    /// S7 of what has been delivered. The trader ignores mere clocks (SPEC C2).
    pub(super) fn check_delivered(&mut self, peer: PeerId, envelope: &Envelope, was_in_office: bool) {
        if was_in_office && envelope.body == Body::Clock {
            return;
        }
        if let Some(now) = self.world.live(peer).map(|live| live.peer.clock().now()) {
            self.check(invariant::a_receive_is_later_than_its_send(envelope.clock, now));
        }
    }

    /// S7 of what people read, and S4: what a buyer or seller counts it did not count before.
    pub(super) fn check_note(&mut self, peer: PeerId, clock: Time, note: &Note) {
        self.check_clock(peer, clock);
        let Some(live) = self.world.live(peer) else { return };
        let (concluded, earned) = (live.concluded, live.earned);
        if let Some(sequence) = outcome_in(note) {
            if Some(sequence) <= concluded {
                self.check(violated(Property::S4, format!("peer {peer} counts an outcome that it knew already")));
            }
            self.live(peer, |live| live.concluded = Some(sequence));
        }
        if let Note::Earned { sale, .. } = note {
            if Some(sale.number) <= earned {
                let what = format!("peer {peer} counts sale {} a second time", sale.number);
                self.check(violated(Property::S4, what));
            }
            self.live(peer, |live| live.earned = Some(sale.number));
        }
        if let Note::ResumedAccount { sales, .. } = note {
            self.live(peer, |live| live.earned = Some(SaleNumber(*sales)));
        }
    }

    /// S4: a seller counts each sale in its turn, and passes over none that is kept for it.
    pub(super) fn check_sales(&mut self, peer: PeerId, before: &Peer, effects: &Effects) {
        let Some(account) = before.seller().map(|seller| seller.account()) else { return };
        let mut known = account.map(|account| account.sales);
        for effect in effects {
            let Effect::Note { note, .. } = effect else { continue };
            if let Note::ResumedAccount { sales, .. } = note {
                if known.is_some_and(|known| sales.saturating_sub(known.0) <= u64::from(Limits::DEFAULT.sales_kept)) {
                    let what = format!("peer {peer} passes over sales that are kept for it");
                    self.check(violated(Property::S4, what));
                }
                known = Some(SaleNumber(*sales));
            }
            let Note::Earned { sale, .. } = note else { continue };
            // Before its very first deposit there were no sales.
            let last = known.unwrap_or(SaleNumber(0));
            if sale.number > last.next() {
                let what = format!("peer {peer} counts sale {} next after sale {last}", sale.number);
                self.check(violated(Property::S4, what));
            }
            known = Some(sale.number);
        }
    }

    // What is seen.

    pub(super) fn see(&mut self, peer: PeerId, note: &Note) {
        if let Some(sighting) = sighting_of_note(peer, note) {
            self.sightings.note(sighting);
        }
    }

    pub(super) fn see_resent(&mut self, batch: &Batch, effects: &[LedgerEffect]) {
        if is_resent(batch, effects) {
            self.sightings.note(Sighting::Resent);
        }
    }

    pub(super) fn see_verdict(&mut self, peer: PeerId, Reply { reply, .. }: &Reply) {
        let LedgerAnswer::Append { echo, verdict } = &reply.answer else { return };
        let Some(office) = self.world.live(peer).map(|live| live.peer.office()) else { return };
        if office.in_flight().is_none_or(|batch| *echo != Echo::of(reply.to, batch)) {
            return;
        }
        let is_claim = office.epoch().is_none();
        if let Some(sighting) = sighting_of_verdict(*verdict, is_claim) {
            self.sightings.note(sighting);
        }
        if matches!(verdict, Verdict::Appended { .. }) && !is_claim {
            self.live(peer, |live| live.confirmed = true);
        }
    }
}

/// S4: whether what a peer waits for has become something else with the same number.
fn renames(before: &Peer, after: &Peer) -> bool {
    let asking = before.buyer().and_then(Buyer::asking).zip(after.buyer().and_then(Buyer::asking));
    let depositing = before.seller().and_then(Seller::depositing).zip(after.seller().and_then(Seller::depositing));
    asking.is_some_and(|(was, is)| was.id == is.id && was != is)
        || depositing.is_some_and(|(was, is)| was.id == is.id && was != is)
}

/// Whom an envelope is for, if for one.
fn addressee(envelope: &Envelope) -> Option<PeerId> {
    match envelope.route {
        Route::Flood { to, .. } => to,
        Route::Direct { to, .. } => Some(to),
    }
}

impl World {
    /// Which machine a step gives what.
    pub(super) fn stepped(&self, setup: &Whole, action: &Action) -> Option<Stepped> {
        let at_ledger = |kind| Some(Stepped { kind, role: Role::Ledger });
        let (peer, kind) = match action {
            Action::Arrive(way) => match (self.next_on(setup, *way)?, way.to) {
                (Parcel::Call(call), _) => return at_ledger(kind_of_request(&call.request)),
                (Parcel::Envelope(envelope), Place::Peer(to)) => {
                    (to, if is_for(envelope, to) { Kind::of_body(&envelope.body) } else { Kind::Relayed })
                }
                (Parcel::Reply(reply), Place::Peer(to)) => (to, Kind::of_answer(&reply.reply.answer)),
                (Parcel::Envelope(_) | Parcel::Reply(_), Place::Ledger) => return None,
            },
            Action::Consult(peer) => match self.next_on(setup, Way::to_ledger(*peer))? {
                Parcel::Call(call) => return at_ledger(kind_of_request(&call.request)),
                Parcel::Envelope(_) | Parcel::Reply(_) => return None,
            },
            Action::Notice(peer, place) => {
                let works = self.is_connected(setup, Way { from: Place::Peer(*peer), to: *place });
                let kind = match (place, works) {
                    (Place::Peer(_), true) => Kind::LinkUp,
                    (Place::Peer(_), false) => Kind::LinkDown,
                    (Place::Ledger, true) => Kind::LedgerUp,
                    (Place::Ledger, false) => Kind::LedgerDown,
                };
                (*peer, kind)
            }
            Action::Confirm(peer) => (*peer, Kind::Written),
            Action::Fire(peer, timer) => (*peer, Kind::of_timer(*timer)),
            Action::Pick(peer, choice, _) => (*peer, Kind::of_choice(*choice)),
            Action::Restart(peer) => (*peer, Kind::Start),
            Action::Sync => return at_ledger(Kind::Persisted),
            Action::LeaseRunsOut => return at_ledger(Kind::Lease),
            Action::CrashLedger { .. } => return at_ledger(Kind::Start),
            Action::Lose(_)
            | Action::Double(_)
            | Action::Swap(_)
            | Action::Cut { .. }
            | Action::Heal(_)
            | Action::Persist(_)
            | Action::Crash(_) => return None,
        };
        let role = self.live(peer).map_or_else(|| setup.role_at_start(peer), Live::role);
        Some(Stepped { kind, role })
    }
}

fn kind_of_request(request: &LedgerRequest) -> Kind {
    match request {
        LedgerRequest::Status => Kind::StatusCall,
        LedgerRequest::Read { .. } => Kind::ReadCall,
        LedgerRequest::Append(batch) => Kind::of_batch(batch),
    }
}

impl Whole {
    fn role_at_start(&self, peer: PeerId) -> Role {
        let role = self.cast.get(peer.0 as usize).map(|member| &member.role);
        let buys = role.is_some_and(|role| role.wishes().is_some());
        Role::of_client(buys, role.is_some_and(|role| role.offers().is_some()))
    }
}
