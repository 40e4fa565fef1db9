//! What is worth seeing in a step of a participant or of the ledger, whichever model takes it.

use bazaar_protocol::{
    archive::Deed,
    effect::{Departure, Note},
    election::{ElectionMessage, Phase},
    id::{Epoch, PeerId, RequestId},
    invariant::{Log, Stepped},
    ledger::{Echo, LedgerAnswer, LedgerCall, LedgerReply, LedgerRequest, Verdict},
    message::{Body, BuyerStanding, ClientMessage, TraderMessage},
    participant::{Participant, ParticipantEffect, ParticipantInput},
    record::{Batch, Entry},
};

use crate::sighting::{Sighting, Sightings};

/// What is seen in a participant's step.
#[must_use]
pub fn in_step(step: Stepped<'_>) -> Sightings {
    let Stepped { before, input, effects, after } = step;
    let mut seen = Sightings::default();
    if let Some(epoch) = after.epoch().filter(|epoch| before.epoch() != Some(*epoch)) {
        seen.note(match epoch {
            Epoch(0 | 1) => Sighting::TookOffice,
            Epoch(2) => Sighting::SecondEpoch,
            Epoch(3..) => Sighting::ThirdEpoch,
        });
    }
    let phase = |participant: &Participant| participant.election().map(|election| election.phase());
    match (phase(before), phase(after)) {
        (Some(Phase::Calling), Some(Phase::Waiting)) => seen.note(Sighting::Answered),
        (Some(Phase::Asking), Some(Phase::Standing | Phase::Leading { .. })) => seen.note(Sighting::LoneSurvivor),
        (Some(Phase::Leading { .. }), Some(Phase::Following { .. })) => seen.note(Sighting::Deposed),
        (_, _) => {}
    }
    match input {
        ParticipantInput::Ledger(reply) => in_reply(before, reply, &mut seen),
        ParticipantInput::LedgerDown
            if matches!(phase(before), Some(Phase::Calling | Phase::Asking | Phase::Waiting)) =>
        {
            seen.note(Sighting::LedgerLostInElection);
        }
        ParticipantInput::Heard { body: Body::Heartbeat { head, .. }, .. } => {
            let office = before.office().filter(|office| office.is_standing());
            if office.and_then(|office| office.books()).is_some_and(|books| books.position() < *head) {
                seen.note(Sighting::HeadOvertook);
            }
        }
        ParticipantInput::Heard { .. }
        | ParticipantInput::Fired(_)
        | ParticipantInput::LedgerUp
        | ParticipantInput::LedgerDown
        | ParticipantInput::Chose { .. }
        | ParticipantInput::Stand
        | ParticipantInput::Yield => {}
    }
    let asked = if let ParticipantInput::Heard { body: Body::Client(ClientMessage::Request(request)), .. } = input {
        Some(request.id)
    } else {
        None
    };
    for effect in effects {
        in_effect(before, effect, asked, &mut seen);
    }
    seen
}

fn in_reply(before: &Participant, reply: &LedgerReply, seen: &mut Sightings) {
    match &reply.answer {
        LedgerAnswer::Append { echo, verdict } => {
            let Some(office) = before.office() else { return };
            if office.in_flight().is_none_or(|batch| *echo != Echo::of(before.me(), batch)) {
                return;
            }
            let is_claim = office.epoch().is_none();
            match verdict {
                Verdict::Fenced if is_claim => seen.note(Sighting::ClaimFenced),
                Verdict::Fenced => seen.note(Sighting::TraderFenced),
                Verdict::Conflict if is_claim => seen.note(Sighting::ClaimConflict),
                Verdict::Held => seen.note(Sighting::ClaimHeld),
                Verdict::Appended { contested: true, .. } => seen.note(Sighting::Contested),
                Verdict::Conflict | Verdict::Appended { .. } => {}
            }
        }
        LedgerAnswer::Part { id, of, .. } => {
            let Some(wanted) = before.office().and_then(|office| office.wanted()) else { return };
            seen.note(Sighting::ReadSnapshot);
            if *of > 1 {
                seen.note(Sighting::SeveralParts);
            }
            if wanted.1.is_some_and(|wanted| wanted.position != id.position) {
                seen.note(Sighting::OtherSnapshot);
            }
        }
        LedgerAnswer::Records { from, records } => {
            let reads = before.office().is_some_and(|office| office.wanted().is_some());
            if reads && !records.is_empty() && from.plus(records.len()) < reply.status.head {
                seen.note(Sighting::CutRead);
            }
        }
        LedgerAnswer::Status => {}
    }
}

fn in_effect(before: &Participant, effect: &ParticipantEffect, asked: Option<RequestId>, seen: &mut Sightings) {
    match effect {
        ParticipantEffect::Tell { body: Body::Election(ElectionMessage::Leader { .. }), .. } => {
            seen.note(Sighting::ReferredToLeader);
        }
        ParticipantEffect::Tell {
            to, body: Body::Trader(TraderMessage::Buyer(BuyerStanding { open, last })), ..
        } => {
            let open = open.iter().map(|request| request.id);
            let last = last.iter().map(|(sequence, _)| RequestId { buyer: *to, sequence: *sequence });
            if asked.is_some_and(|asked| open.chain(last).any(|told| told == asked)) {
                seen.note(Sighting::FromTheBooks);
            }
        }
        ParticipantEffect::TellAll { body: Body::Heartbeat { .. }, .. } => seen.note(Sighting::Heartbeat),
        ParticipantEffect::Note { note, .. } => {
            let had_account = before.seller().is_some_and(|seller| seller.account().is_some());
            if had_account && matches!(note, Note::ResumedAccount { .. }) {
                seen.note(Sighting::MissedTooMuch);
            } else if let Some(sighting) = of_note(before.me().peer, note) {
                seen.note(sighting);
            }
        }
        ParticipantEffect::Tell { .. }
        | ParticipantEffect::TellAll { .. }
        | ParticipantEffect::Ledger(_)
        | ParticipantEffect::Arm { .. }
        | ParticipantEffect::Disarm(_)
        | ParticipantEffect::Choose { .. } => {}
    }
}

/// What a peer says it did, if it is worth seeing.
fn of_note(peer: PeerId, note: &Note) -> Option<Sighting> {
    Some(match note {
        Note::TookOffice { inherited } if *inherited > 0 => Sighting::Inherited,
        Note::SteppedDown { reason: Departure::Resigned } => Sighting::Resigned,
        Note::SteppedDown { reason: Departure::LedgerSilent } => Sighting::LedgerSilent,
        Note::SteppedDown { reason: Departure::Isolated } => Sighting::Isolated,
        Note::SteppedDown { reason: Departure::SitsOut } => Sighting::SatOut,
        Note::Sold { sale } if sale.request.buyer == peer => Sighting::ServedItself,
        Note::Sold { .. } => Sighting::Sold,
        Note::Refused { request } if request.buyer == peer => Sighting::ServedItself,
        Note::Refused { .. } => Sighting::Refused,
        Note::SoldOut { .. } => Sighting::SoldOut,
        Note::ResumedRequest { .. } => Sighting::ResumedRequest,
        Note::ResumedAccount { .. } | Note::Recalled { .. } => Sighting::Resumed,
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

/// What is seen when the ledger has taken a call: `waited` is whether it waits there now.
#[must_use]
pub fn in_call(call: &LedgerCall, deeds: &[Deed], waited: bool) -> Sightings {
    let mut seen = Sightings::default();
    if waited {
        seen.note(Sighting::CallWaited);
    }
    for deed in deeds {
        match deed {
            Deed::Reply { reply, .. } => {
                let is_appended =
                    matches!(reply.answer, LedgerAnswer::Append { verdict: Verdict::Appended { .. }, .. });
                if is_appended && matches!(&call.request, LedgerRequest::Append(batch) if !batch.records.is_empty()) {
                    seen.note(Sighting::Resent);
                }
            }
            Deed::Drop(_) => seen.note(Sighting::CallDropped),
            Deed::ArmLease(_) | Deed::Fail(_) => {}
        }
    }
    seen
}

/// What is seen when a batch has become durable. `writer` is its writer, if that lives.
#[must_use]
pub fn in_batch(batch: &Batch, log: &Log, writer: Option<&Participant>) -> Sightings {
    let mut seen = Sightings::default();
    if log.books().queue().len() > 0 {
        seen.note(Sighting::Split);
    }
    let deposits_again = |entry: &Entry| matches!(entry, Entry::Deposited(deposit) if deposit.previous.is_some());
    if batch.records.iter().any(|record| deposits_again(&record.entry)) {
        seen.note(Sighting::DepositedAgain);
    }
    let waits = writer.and_then(|writer| writer.office()?.in_flight()) == Some(batch);
    if batch.claimant().is_none() && !waits {
        seen.note(Sighting::LateAppend);
    }
    seen
}
