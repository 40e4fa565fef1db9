//! What is checked in a step, and what is seen in it.

use protocol::{
    client::ClientEffect,
    config::Limits,
    effect::{Departure, Note},
    election::{Eligibility, Phase},
    id::{Epoch, PeerId, RequestId, SaleNumber, Sequence},
    invariant::{self, AuditTerms, Property, Violation},
    ledger::{LedgerAnswer, LedgerEffect, LedgerFault, LedgerReply, LedgerRequest, Verdict},
    message::{Body, ClientMessage, TraderMessage},
    office::Office,
    record::{Batch, Entry},
    seller::Account,
};

use super::{
    Bazaar,
    step::{Occasion, Step},
    world::{Action, Archive, Live, Mail, Peer, World},
};
use crate::{
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
        let terms = self.audit_terms();
        let found = self.ledger(|archive| archive.audit(terms));
        self.check(found);
        if self.world.ledger.books.queue().len() > 0 {
            self.sightings.note(Sighting::Split);
        }
        self.see_durable();
    }

    /// What a trader serves from is checked whenever it changes.
    pub(super) fn check_books(&mut self, peer: PeerId) {
        let office = self.world.live(self.setup, peer).and_then(|live| live.office.as_ref());
        if let Some(trader) = office.and_then(Office::trader) {
            let found = invariant::the_books_equal_the_fold_of_the_log(trader.books(), self.world.log());
            self.check(found);
        }
    }

    pub(super) fn check_speaker(&mut self, peer: PeerId, epoch: Epoch) {
        if let Some(me) = self.world.live(self.setup, peer).map(|live| live.me) {
            self.check(invariant::an_epoch_is_spoken_for_by_its_holder(epoch, me, self.world.log()));
        }
    }

    pub(super) fn check_told(&mut self, to: PeerId, message: &TraderMessage, occasion: Occasion) {
        self.check(invariant::whatever_a_client_was_told_is_in_the_log(message, to, self.world.log()));
        if let TraderMessage::Buyer(standing) = message {
            let open = standing.open.iter().map(|request| request.id);
            let last = standing.last.iter().map(|(sequence, _)| RequestId { buyer: to, sequence: *sequence });
            let acknowledged: Vec<_> = open.chain(last).collect();
            if occasion.asked.is_some_and(|asked| acknowledged.contains(&asked)) {
                self.sightings.note(Sighting::FromTheBooks);
            }
            self.check(invariant::an_acknowledged_request_is_in_the_log(self.world.log(), acknowledged));
        }
    }

    /// S4: a number names one request or deposit for ever (DESIGN R8).
    pub(super) fn check_number(&mut self, message: &ClientMessage) {
        let is_other = |sent: &ClientMessage| match (sent, message) {
            (ClientMessage::Request(sent), ClientMessage::Request(now)) => sent.id == now.id && sent != now,
            (ClientMessage::Deposit(sent), ClientMessage::Deposit(now)) => sent.id == now.id && sent != now,
            (ClientMessage::Request(_) | ClientMessage::Deposit(_) | ClientMessage::AskSales { .. }, _) => false,
        };
        let reused = self.world.mail.iter().any(|mail| match &mail.body {
            Body::Client(sent) => is_other(sent),
            Body::Election(_) | Body::Heartbeat { .. } | Body::Clock | Body::Trader(_) => false,
        });
        if reused {
            self.check(violated(Property::S4, "a client gives a number a second time".to_owned()));
        }
    }

    /// B5: a heartbeat follows a renewal that was confirmed since the last.
    pub(super) fn check_confirmed(&mut self, peer: PeerId) {
        if self.world.live(self.setup, peer).is_some_and(|live| !live.confirmed) {
            let what = format!("peer {peer} sends a heartbeat, and nothing was confirmed since its last");
            self.check(violated(Property::B5, what));
        }
        self.live(peer, |live| live.confirmed = false);
    }

    /// The phase of a peer that hears the trader itself, if the message is another's.
    pub(super) fn hears_trader(&self, peer: PeerId, mail: &Mail) -> Option<Phase> {
        let phase = self.world.live(self.setup, peer)?.election.as_ref()?.phase();
        match phase {
            Phase::Following { leader, directly: true, .. } if leader != mail.from => Some(phase),
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
        let after = self.world.live(self.setup, peer).and_then(|live| live.election.as_ref()).map(|one| one.phase());
        if before.is_some() && after != before {
            let what = format!("peer {peer} hears the trader and joins an election all the same");
            self.check(violated(Property::B5, what));
        }
    }

    /// S4: what a buyer counts as the outcome of a request it did not know before.
    pub(super) fn check_outcomes_are_news(&mut self, peer: PeerId, known: Option<Sequence>, effects: &[ClientEffect]) {
        for effect in effects {
            let ClientEffect::Note(note) = effect else { continue };
            let Some(sequence) = outcome_in(note) else { continue };
            if Some(sequence) <= known {
                self.check(violated(Property::S4, format!("peer {peer} counts an outcome that it knew already")));
            }
        }
    }

    /// S4: what a seller counts is a sale it did not know before.
    pub(super) fn check_sales_are_news(&mut self, peer: PeerId, account: Option<Account>, effects: &[ClientEffect]) {
        let mut known = account.map_or(SaleNumber(0), |account| account.sales);
        for effect in effects {
            if let (ClientEffect::Note(Note::ResumedAccount { sales, .. }), Some(account)) = (effect, account)
                && sales.saturating_sub(account.sales.0) <= u64::from(Limits::DEFAULT.sales_kept)
            {
                self.check(violated(Property::S4, format!("peer {peer} passes over sales that are kept for it")));
            }
            let ClientEffect::Note(Note::Earned { sale, .. }) = effect else { continue };
            if sale.number != known.next() {
                let what = format!("peer {peer} counts sale {} after sale {known}", sale.number);
                self.check(violated(Property::S4, what));
            }
            known = sale.number;
        }
    }

    /// B4: who is told of a higher epoch is not in office in a lower one.
    pub(super) fn check_deposed(&mut self, peer: PeerId, told: Epoch) {
        if let Some(mine) = self.world.live(self.setup, peer).and_then(Live::epoch)
            && mine < told
        {
            let what = format!("peer {peer} goes on in epoch {mine} though it was told of epoch {told}");
            self.check(violated(Property::B4, what));
        }
    }

    /// B4: the epochs whose leaders a life recognises do not fall.
    pub(super) fn note_leader(&mut self, peer: PeerId) {
        let Some(live) = self.world.live(self.setup, peer) else { return };
        let Some((epoch, leader)) = live.election.as_ref().and_then(|election| election.leader()) else { return };
        let heard = live.heard;
        self.check(invariant::a_leader_holds_its_epoch(epoch, leader, self.world.log()));
        if epoch < heard {
            let what = format!("peer {peer} follows peer {leader} of epoch {epoch} though it knew of epoch {heard}");
            self.check(violated(Property::B4, what));
        } else if epoch > heard {
            self.live(peer, |live| live.heard = epoch);
        }
    }

    /// Y1 and Y2: who takes office was the highest of those that were there and eligible throughout, and did not just resign.
    pub(super) fn check_granted(&mut self, peer: PeerId) {
        if !self.setup.is_synchronous() {
            return;
        }
        let rivals = self.world.live(self.setup, peer).and_then(|live| live.rivals.clone()).unwrap_or_default();
        if let Some(higher) = rivals.iter().find(|rival| **rival > peer) {
            let what = format!("peer {peer} takes office while peer {higher} was there and eligible throughout");
            self.check(violated(Property::Y1, what));
        }
        // The claim is the last batch; the one before it ends the former term, if that was resigned.
        let former = self.world.ledger.store.durable().iter().rev().nth(1).filter(|batch| batch.resigns());
        let has_resigned = former.and_then(Batch::writer) == Some(peer);
        if let (true, Some(other)) = (has_resigned, rivals.iter().find(|other| **other != peer)) {
            let what = format!("peer {peer} resigned and holds the next epoch while peer {other} could");
            self.check(violated(Property::Y2, what));
        }
    }

    /// Who is there and eligible while somebody runs for office; and how many traders there are.
    pub(super) fn note_rivals(&mut self) {
        if !self.setup.is_synchronous() {
            return;
        }
        let traders: Vec<PeerId> = self.world.traders().map(|(peer, _)| peer).collect();
        if let [one, other, ..] = traders.as_slice() {
            let what = format!("peers {one} and {other} are both trader");
            self.check(violated(Property::Y1, what));
        }
        let can_stand = |live: &&Live| live.is_eligible() || self.has_sat_out(live);
        let eligible: Vec<PeerId> = self.world.lives().filter(can_stand).map(|live| live.me.peer).collect();
        let runs = |live: &Live| {
            let phase = live.election.as_ref().map(|election| election.phase());
            matches!(phase, Some(Phase::Calling | Phase::Asking | Phase::Standing))
        };
        for place in 0..self.world.peers.len() {
            let Peer::Up(live) = &*self.world.peers[place] else { continue };
            let rivals = match &live.rivals {
                _ if !runs(live) => None,
                None => Some(eligible.clone()),
                Some(rivals) => Some(rivals.iter().copied().filter(|rival| eligible.contains(rival)).collect()),
            };
            if rivals != live.rivals {
                let peer = live.me.peer;
                self.live(peer, |live| live.rivals = rivals);
            }
        }
    }

    /// Whether a peer that resigned has heard of a later term since: then it should be eligible, whatever it thinks.
    fn has_sat_out(&self, live: &Live) -> bool {
        let election = live.election.as_ref().map(|election| election.eligibility());
        let mut batches = self.world.ledger.store.durable().iter().rev();
        let resigned = batches.find(|batch| batch.resigns() && batch.writer() == Some(live.me.peer));
        election == Some(Eligibility::Resigned) && resigned.is_some_and(|batch| live.heard > batch.epoch)
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

    pub(super) fn see_verdict(&mut self, peer: PeerId, reply: &LedgerReply) {
        let LedgerAnswer::Append { echo, verdict } = &reply.answer else { return };
        let Some((awaited, is_claim)) = self.awaited(peer) else { return };
        if *echo != awaited {
            return;
        }
        if matches!(verdict, Verdict::Appended { .. }) {
            self.live(peer, |live| live.confirmed = true);
        }
        if let Some(sighting) = sighting_of_verdict(*verdict, is_claim) {
            self.sightings.note(sighting);
        }
    }

    fn see_durable(&mut self) {
        let Some(batch) = self.world.ledger.store.durable().last() else { return };
        let deposits_again = batch.records.iter().any(|record| match &record.entry {
            Entry::Deposited(deposit) => deposit.previous.is_some(),
            Entry::Claimed { .. } | Entry::Admitted(_) | Entry::Sold(_) | Entry::Refused { .. } | Entry::Resigned => {
                false
            }
        });
        let writer = batch
            .writer()
            .and_then(|writer| self.world.live(self.setup, writer)?.office.as_ref()?.in_flight().cloned());
        let is_late = batch.claimant().is_none() && writer.as_ref() != Some(batch);
        if deposits_again {
            self.sightings.note(Sighting::DepositedAgain);
        }
        if is_late {
            self.sightings.note(Sighting::LateAppend);
        }
    }
}

/// What a peer says it did, if it is worth seeing.
pub(crate) fn sighting_of_note(peer: PeerId, note: &Note) -> Option<Sighting> {
    Some(match note {
        Note::TookOffice { inherited } if *inherited > 0 => Sighting::Inherited,
        Note::SteppedDown { reason: Departure::Resigned } => Sighting::Resigned,
        Note::SteppedDown { reason: Departure::LedgerSilent } => Sighting::LedgerSilent,
        Note::SteppedDown { reason: Departure::Isolated } => Sighting::Isolated,
        Note::Sold { sale } if sale.request.buyer == peer => Sighting::ServedItself,
        Note::Sold { .. } => Sighting::Sold,
        Note::Refused { request } if request.buyer == peer => Sighting::ServedItself,
        Note::SteppedDown { reason: Departure::SitsOut } => Sighting::SatOut,
        Note::Refused { .. } => Sighting::Refused,
        Note::SoldOut { .. } => Sighting::SoldOut,
        Note::ResumedRequest { .. } | Note::ResumedAccount { .. } | Note::Recalled { .. } => Sighting::Resumed,
        Note::Joined { .. }
        | Note::ElectionCalled
        | Note::AskedForAnyone
        | Note::TraderSuspected { .. }
        | Note::ElectionWon
        | Note::TookOffice { .. }
        | Note::Recognised { .. }
        | Note::SteppedDown { .. }
        | Note::Deposited { .. }
        | Note::Admitted { .. }
        | Note::Wanted { .. }
        | Note::Bought { .. }
        | Note::Unavailable { .. }
        | Note::Registered { .. }
        | Note::Earned { .. }
        | Note::LedgerHeard
        | Note::LedgerSilent
        | Note::ClockRefused { .. }
        | Note::BooksRefused { .. } => return None,
    })
}

/// The request of which a buyer says that it knows the outcome now.
pub(crate) fn outcome_in(note: &Note) -> Option<Sequence> {
    match note {
        Note::Bought { sale } => Some(sale.request.sequence),
        Note::Unavailable { request, .. } | Note::Recalled { request, .. } => Some(request.sequence),
        Note::Joined { .. }
        | Note::ElectionCalled
        | Note::AskedForAnyone
        | Note::TraderSuspected { .. }
        | Note::ElectionWon
        | Note::TookOffice { .. }
        | Note::Recognised { .. }
        | Note::SteppedDown { .. }
        | Note::Deposited { .. }
        | Note::Admitted { .. }
        | Note::Sold { .. }
        | Note::Refused { .. }
        | Note::Wanted { .. }
        | Note::ResumedRequest { .. }
        | Note::Registered { .. }
        | Note::Earned { .. }
        | Note::SoldOut { .. }
        | Note::ResumedAccount { .. }
        | Note::LedgerHeard
        | Note::LedgerSilent
        | Note::ClockRefused { .. }
        | Note::BooksRefused { .. } => None,
    }
}

/// What a peer is told of what it waits for, if it is worth seeing.
pub(crate) fn sighting_of_verdict(verdict: Verdict, is_claim: bool) -> Option<Sighting> {
    match verdict {
        Verdict::Fenced if is_claim => Some(Sighting::ClaimFenced),
        Verdict::Fenced => Some(Sighting::TraderFenced),
        Verdict::Conflict if is_claim => Some(Sighting::ClaimConflict),
        Verdict::Held => Some(Sighting::ClaimHeld),
        Verdict::Appended { contested: true, .. } => Some(Sighting::Contested),
        Verdict::Conflict | Verdict::Appended { .. } => None,
    }
}

/// Whether the ledger finds that it has appended this batch already.
pub(crate) fn is_resent(batch: &Batch, effects: &[LedgerEffect]) -> bool {
    let is_appended = |effect: &LedgerEffect| {
        let LedgerEffect::Reply { reply, .. } = effect else { return false };
        matches!(reply.answer, LedgerAnswer::Append { verdict: Verdict::Appended { .. }, .. })
    };
    !batch.records.is_empty() && effects.iter().any(is_appended)
}

impl Archive {
    /// The log has grown: everything that is asked of it, and of the books that follow from it, which are brought up to date.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub(crate) fn audit(&mut self, terms: AuditTerms) -> Result<(), Violation> {
        let report = invariant::audit_batches(self.store.durable(), terms);
        report.violations().next().cloned().map_or(Ok(()), Err)?;
        invariant::every_deposit_is_one_its_seller_decided(self.store.records(), &self.decided)?;
        let Archive { store, books, .. } = self;
        let known = usize::try_from(books.position().0).unwrap_or(usize::MAX);
        for record in store.records().skip(known) {
            // An honest trader's records can be folded; books that refuse one would serve nobody any more.
            books.apply(record).map_err(|error| Violation {
                property: Property::S12,
                position: Some(error.position),
                what: format!("the books refuse what a trader has written: {error}"),
            })?;
        }
        invariant::the_books_say_what_the_records_say(books, store.records())?;
        invariant::the_accounts_add_up(books)
    }
}

impl World {
    /// Which machine a step gives what.
    pub(super) fn stepped(&self, setup: &Bazaar, action: &Action) -> Option<Stepped> {
        let (peer, kind) = match action {
            Action::Stand(peer) => (peer, Kind::Stand),
            Action::Yield(peer) => (peer, Kind::Yield),
            Action::Fire(peer, timer) => (peer, Kind::of_timer(*timer)),
            Action::Pick(peer, _) => {
                let choice = self.live(setup, *peer)?.choice?.0;
                (peer, Kind::of_choice(choice))
            }
            Action::Tick(peer) => (peer, Kind::Tick),
            Action::Serve(peer) => (peer, Kind::Request),
            Action::Consult(peer) => {
                let kind = match self.live(setup, *peer)?.question.as_ref()? {
                    LedgerRequest::Status => Kind::Status,
                    LedgerRequest::Read { from, .. }
                        if self.ledger.store.snapshot().is_some_and(|books| books.position() > *from) =>
                    {
                        Kind::Part
                    }
                    LedgerRequest::Read { .. } | LedgerRequest::Append(_) => Kind::Records,
                };
                (peer, kind)
            }
            Action::Arrive(peer, mail) => (peer, Kind::of_body(&mail.body)),
            Action::Answer(peer, reply) => (peer, Kind::of_answer(&reply.reply.answer)),
            Action::Take(call) => return Some(Stepped { kind: Kind::of_batch(&call.batch), role: Role::Ledger }),
            Action::Sync => return Some(Stepped { kind: Kind::Persisted, role: Role::Ledger }),
            Action::LeaseRunsOut => return Some(Stepped { kind: Kind::Lease, role: Role::Ledger }),
            Action::CrashLedger { .. } => return Some(Stepped { kind: Kind::Start, role: Role::Ledger }),
            Action::Restart(peer) => (peer, Kind::Start),
            Action::Snapshot | Action::Crash(_) => return None,
        };
        let role = self.live(setup, *peer).map_or_else(|| setup.role_at_start(*peer), Live::role);
        Some(Stepped { kind, role })
    }
}

impl Bazaar {
    fn role_at_start(&self, peer: PeerId) -> Role {
        let role = self.role(peer);
        Role::of_client(role.is_some_and(|role| role.buys.is_some()), role.is_some_and(|role| role.sells.is_some()))
    }
}

impl Live {
    /// What it is at the moment.
    #[must_use]
    pub fn role(&self) -> Role {
        match &self.office {
            Some(office) if office.epoch().is_some() => Role::Trader,
            Some(office) if office.is_standing() => Role::Candidate,
            Some(_) | None => Role::of_client(self.buyer.is_some(), self.seller.is_some()),
        }
    }
}
