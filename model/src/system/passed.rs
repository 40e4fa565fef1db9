//! The landmarks that only whole peers pass, those of the overlay and the journal; and the machine input that a step
//! tries, for the matrix.

use bazaar_protocol::{
    effect::Effect,
    id::PeerId,
    ledger::{LedgerAnswer, LedgerRequest},
    message::Body,
    participant::ParticipantEffect,
    peer::Peer,
    record::Batch,
};

use super::{
    System,
    world::{Action, Parcel, Place, Way, World, is_for},
};
use crate::{
    subject::landmark::{Landmark, Landmarks},
    subject::matrix::{Kind, Role, Stepped},
};

/// The landmarks when something leaves a peer.
pub(super) fn in_leaving(peer: PeerId, effect: &Effect) -> Landmarks {
    let mut seen = Landmarks::default();
    if let Effect::Send { envelope, .. } = effect {
        if envelope.body == Body::Clock {
            seen.note(Landmark::ToldOfClock);
        } else if envelope.source != peer {
            seen.note(Landmark::Relayed);
        }
    }
    seen
}

/// The landmarks in what a peer holds back in a step in which its participant decided `said` and `effects` left.
pub(super) fn held_back(
    before: &Peer,
    is_written: bool,
    said: &[ParticipantEffect],
    effects: &[Effect],
    after: &Peer,
) -> Landmarks {
    let mut seen = Landmarks::default();
    let speaks = |effect: &Effect| matches!(effect, Effect::Send { .. } | Effect::Ledger(_));
    // Only in a life that is already written: waiting for that is merely part of starting.
    if is_written && before.journal().may_speak() && effects.iter().any(speaks) {
        seen.note(Landmark::HeldBack);
    }
    let bound = after.clock().bound();
    // What is told to all, or flooded, is more than one effect; counting one is enough.
    let waits = |effect: &&ParticipantEffect| match effect {
        // It leaves with other envelopes.
        ParticipantEffect::TellAll { body: Body::Clock, .. } => false,
        ParticipantEffect::Tell { .. }
        | ParticipantEffect::TellAll { .. }
        | ParticipantEffect::Ledger(_)
        | ParticipantEffect::Note { .. } => effect.reading() > Some(bound),
        ParticipantEffect::Arm { .. }
        | ParticipantEffect::Disarm(_)
        | ParticipantEffect::Choose { .. }
        | ParticipantEffect::Stop(_) => false,
    };
    let most = after.config().limits.held_back as usize;
    if before.journal().held() + said.iter().filter(waits).count() > most {
        seen.note(Landmark::JournalFull);
    }
    let crosses = |batch: &Batch| match batch.records.as_slice() {
        [first, .., last] => first.stamp.time <= bound && bound < last.stamp.time,
        [] | [_] => false,
    };
    let crosses = |effect: &ParticipantEffect| match effect {
        ParticipantEffect::Ledger(call) => matches!(&call.request, LedgerRequest::Append(batch) if crosses(batch)),
        ParticipantEffect::Tell { .. }
        | ParticipantEffect::TellAll { .. }
        | ParticipantEffect::Arm { .. }
        | ParticipantEffect::Disarm(_)
        | ParticipantEffect::Choose { .. }
        | ParticipantEffect::Stop(_)
        | ParticipantEffect::Note { .. } => false,
    };
    if said.iter().any(crosses) {
        seen.note(Landmark::BoundCrossed);
    }
    seen
}

impl World {
    /// The input and the role in this step; `None` where no machine is stepped.
    pub(super) fn stepped(&self, setup: &System, action: &Action) -> Option<Stepped> {
        let at_ledger = |kind| Some(Stepped { kind, role: Role::Ledger });
        let (peer, kind) = match action {
            Action::Arrive(way) => match (self.next_on(setup, *way)?, way.to) {
                (Parcel::Call(call), _) => return at_ledger(Kind::of_request(&call.request)),
                (Parcel::Envelope(envelope), Place::Peer(to)) => {
                    (to, if is_for(envelope, to) { Kind::of_body(&envelope.body) } else { Kind::Relayed })
                }
                (Parcel::Reply(reply), Place::Peer(to)) => (to, Kind::of_answer(&reply.reply.answer)),
                (Parcel::Envelope(_) | Parcel::Reply(_), Place::Ledger) => return None,
            },
            Action::Consult(peer) => match self.next_on(setup, Way::to_ledger(*peer))? {
                Parcel::Call(call) => return at_ledger(Kind::of_request(&call.request)),
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
            Action::Report(peer) => (*peer, Kind::of_answer(&LedgerAnswer::Status)),
            Action::Confirm(peer) => (*peer, Kind::Written),
            Action::Fire(peer, timer) => (*peer, Kind::of_timer(*timer)),
            Action::Pick(peer, choice, _) => (*peer, Kind::of_choice(*choice)),
            Action::Restart(peer) => (*peer, Kind::Start),
            Action::Answer => return at_ledger(Kind::Persisted),
            Action::LeaseRunsOut => return at_ledger(Kind::Lease),
            Action::CrashLedger | Action::PutBack { .. } => return at_ledger(Kind::Start),
            Action::Lose(_)
            | Action::Double(_)
            | Action::Swap(_)
            | Action::Cut { .. }
            | Action::Heal(_)
            | Action::Sync
            | Action::Read(_)
            | Action::Snapshot
            | Action::Persist(_)
            | Action::Crash(_) => return None,
        };
        let role = self.live(peer).map_or_else(|| setup.role_at_start(peer), |live| Role::of(live.participant()));
        Some(Stepped { kind, role })
    }
}

impl System {
    fn role_at_start(&self, peer: PeerId) -> Role {
        let role = self.cast.get(peer.0 as usize).map(|member| &member.role);
        let buys = role.is_some_and(|role| role.wishes().is_some());
        Role::of_client(buys, role.is_some_and(|role| role.offers().is_some()))
    }
}
