//! The landmarks in a step of a participant or of the ledger, in whichever model it is taken.

use bazaar_protocol::{
    account::BuyerStatus,
    archive::Deed,
    effect::{Departure, Note},
    election::{ElectionMessage, Phase},
    id::{Epoch, PeerId, RequestId},
    invariant::{Log, Stepped},
    ledger::{Echo, LedgerAnswer, LedgerCall, LedgerReply, LedgerRequest, Verdict},
    message::{Body, ClientMessage, TraderMessage},
    participant::{Participant, ParticipantEffect, ParticipantInput},
    record::{Batch, Entry},
};

use crate::subject::landmark::{Landmark, Landmarks};

/// The landmarks in a step of a participant.
#[must_use]
pub fn in_step(step: Stepped<'_>) -> Landmarks {
    let Stepped { before, input, effects, after } = step;
    let mut seen = Landmarks::default();
    if let Some(epoch) = after.epoch().filter(|epoch| before.epoch() != Some(*epoch)) {
        seen.note(match epoch {
            Epoch(0 | 1) => Landmark::TookOffice,
            Epoch(2) => Landmark::SecondEpoch,
            Epoch(3..) => Landmark::ThirdEpoch,
        });
    }
    let doubts = |participant: &Participant| participant.office().is_some_and(|office| office.doubts());
    if doubts(after) && !doubts(before) {
        seen.note(Landmark::NoSuchEpoch);
    }
    let phase = |participant: &Participant| participant.election().map(|election| election.phase());
    match (phase(before), phase(after)) {
        (Some(Phase::Calling), Some(Phase::Waiting)) => seen.note(Landmark::Answered),
        (Some(Phase::Asking), Some(Phase::Standing | Phase::Leading { .. })) => seen.note(Landmark::LoneSurvivor),
        (Some(Phase::Leading { .. }), Some(Phase::Following { .. })) => seen.note(Landmark::Deposed),
        (_, _) => {}
    }
    match input {
        ParticipantInput::Ledger(reply) => {
            let office = before.office().filter(|office| office.is_standing());
            let read = office.and_then(|office| office.books()).map(|books| books.position());
            if reply.answer == LedgerAnswer::Status && read.is_some_and(|read| read < reply.word.status.head) {
                seen.note(Landmark::HeadOvertook);
            }
            in_reply(before, reply, &mut seen);
        }
        ParticipantInput::LedgerDown
            if matches!(phase(before), Some(Phase::Calling | Phase::Asking | Phase::Waiting)) =>
        {
            seen.note(Landmark::LedgerLostInElection);
        }
        ParticipantInput::Heard { .. }
        | ParticipantInput::Fired(_)
        | ParticipantInput::LedgerUp
        | ParticipantInput::LedgerDown
        | ParticipantInput::Chose { .. }
        | ParticipantInput::Resign
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

fn in_reply(before: &Participant, reply: &LedgerReply, seen: &mut Landmarks) {
    match &reply.answer {
        LedgerAnswer::Append { echo, verdict } => {
            let Some(office) = before.office() else { return };
            if office.in_flight().is_none_or(|batch| *echo != Echo::of(before.me(), batch)) {
                return;
            }
            let is_claim = office.epoch().is_none();
            match verdict {
                Verdict::Fenced if is_claim => seen.note(Landmark::ClaimFenced),
                Verdict::Fenced => seen.note(Landmark::TraderFenced),
                Verdict::Conflict if is_claim => seen.note(Landmark::ClaimConflict),
                Verdict::LeaseActive => seen.note(Landmark::ClaimMetLease),
                Verdict::Appended { contested: true, .. } => seen.note(Landmark::Contested),
                Verdict::Conflict | Verdict::Appended { .. } => {}
            }
        }
        LedgerAnswer::Chunk { id, of, .. } => {
            let Some(wanted) = before.office().and_then(|office| office.wanted()) else { return };
            seen.note(Landmark::ReadSnapshot);
            if *of > 1 {
                seen.note(Landmark::SeveralChunks);
            }
            if wanted.1.is_some_and(|wanted| wanted.position != id.position) {
                seen.note(Landmark::OtherSnapshot);
            }
        }
        LedgerAnswer::Records { from, records } => {
            let reads = before.office().is_some_and(|office| office.wanted().is_some());
            if reads && !records.is_empty() && from.plus(records.len()) < reply.word.status.head {
                seen.note(Landmark::CutRead);
            }
        }
        LedgerAnswer::Status => {}
    }
}

fn in_effect(before: &Participant, effect: &ParticipantEffect, asked: Option<RequestId>, seen: &mut Landmarks) {
    match effect {
        ParticipantEffect::Tell { body: Body::Election(ElectionMessage::Leader { .. }), .. } => {
            seen.note(Landmark::ReferredToLeader);
        }
        ParticipantEffect::Tell {
            to,
            body: Body::Trader(TraderMessage::Buyer(BuyerStatus { open, last, .. })),
            ..
        } => {
            let open = open.iter().map(|request| request.id);
            let last = last.iter().map(|(sequence, _)| RequestId { buyer: *to, sequence: *sequence });
            if asked.is_some_and(|asked| open.chain(last).any(|told| told == asked)) {
                seen.note(Landmark::FromTheBooks);
            }
        }
        ParticipantEffect::Tell { body: Body::Trader(TraderMessage::Seller(status)), .. } => {
            let kept = before.office().and_then(|office| office.books()).map(|books| books.sales_kept() as usize);
            if kept.is_some_and(|kept| status.recent.len() > kept) {
                seen.note(Landmark::ToldMoreThanKept);
            }
        }
        ParticipantEffect::TellAll { body: Body::Heartbeat { waits, .. }, .. } => {
            seen.note(Landmark::Heartbeat);
            if waits.is_some() {
                seen.note(Landmark::Held);
            }
        }
        ParticipantEffect::Tell { body: Body::Promises { .. }, .. } => seen.note(Landmark::Promised),
        ParticipantEffect::Note { note, .. } => {
            let had_account = before.seller().is_some_and(|seller| seller.account().is_some());
            if had_account && matches!(note, Note::ResumedAccount { .. }) {
                seen.note(Landmark::MissedTooMuch);
            } else if let Some(landmark) = of_note(before.me().peer, note) {
                seen.note(landmark);
            }
        }
        ParticipantEffect::Tell { .. }
        | ParticipantEffect::TellAll { .. }
        | ParticipantEffect::Ledger(_)
        | ParticipantEffect::Arm { .. }
        | ParticipantEffect::Disarm(_)
        | ParticipantEffect::Choose { .. }
        | ParticipantEffect::Stop(_) => {}
    }
}

/// The landmark in what a peer notes that it did, if there is one.
fn of_note(peer: PeerId, note: &Note) -> Option<Landmark> {
    Some(match note {
        Note::TookOffice { inherited } if *inherited > 0 => Landmark::Inherited,
        Note::SteppedDown { reason: Departure::Resigned } => Landmark::Resigned,
        Note::SteppedDown { reason: Departure::LedgerSilent } => Landmark::LedgerSilent,
        Note::SteppedDown { reason: Departure::Isolated } => Landmark::Isolated,
        Note::SteppedDown { reason: Departure::SitsOut } => Landmark::SatOut,
        Note::Sold { sale } if sale.request.buyer == peer => Landmark::ServedItself,
        Note::Sold { .. } => Landmark::Sold,
        Note::Refused { request } if request.buyer == peer => Landmark::ServedItself,
        Note::Refused { .. } => Landmark::Refused,
        Note::SoldOut { .. } => Landmark::SoldOut,
        Note::LeftOver { .. } => Landmark::LeftOver,
        Note::ResumedRequest { .. } => Landmark::ResumedRequest,
        Note::ResumedAccount { .. } | Note::Recalled { .. } => Landmark::Resumed,
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
        | Note::Seated { .. }
        | Note::Unseated { .. }
        | Note::Wanted { .. }
        | Note::Bought { .. }
        | Note::Unavailable { .. }
        | Note::Registered { .. }
        | Note::Earned { .. }
        | Note::LedgerHeard
        | Note::LedgerSilent
        | Note::NoSuchEpoch { .. }
        | Note::TermRefused { .. }
        | Note::EnvelopeRefused { .. }
        | Note::BooksRefused { .. } => return None,
    })
}

/// The landmarks when the ledger has taken a call; `waited` says whether the call now waits there.
#[must_use]
pub fn in_call(call: &LedgerCall, deeds: &[Deed], waited: bool) -> Landmarks {
    let mut seen = Landmarks::default();
    if waited {
        seen.note(Landmark::CallWaited);
    }
    for deed in deeds {
        match deed {
            Deed::Reply { reply, .. } => {
                let is_appended =
                    matches!(reply.answer, LedgerAnswer::Append { verdict: Verdict::Appended { .. }, .. });
                if is_appended && matches!(&call.request, LedgerRequest::Append(batch) if !batch.records.is_empty()) {
                    seen.note(Landmark::Resent);
                }
            }
            Deed::Drop { .. } => seen.note(Landmark::CallDropped),
            Deed::Refuse { .. } => seen.note(Landmark::MarkRefused),
            Deed::ArmLease(_) | Deed::Fail(_) | Deed::Give(_) | Deed::Stop(_) => {}
        }
    }
    seen
}

/// The landmarks when a batch has become durable; `writer` is its writer if that is alive.
#[must_use]
pub fn in_batch(batch: &Batch, log: &Log, writer: Option<&Participant>) -> Landmarks {
    let mut seen = Landmarks::default();
    if log.books().queue().len() > 0 {
        seen.note(Landmark::Split);
    }
    for record in &batch.records {
        match &record.entry {
            Entry::Seated { .. } => seen.note(Landmark::Seated),
            Entry::Unseated { .. } => seen.note(Landmark::Unseated),
            Entry::Admitted { request, place } if request.is_late_at(*place) => seen.note(Landmark::Late),
            Entry::Admitted { .. }
            | Entry::Claimed { .. }
            | Entry::Deposited(_)
            | Entry::Sold(_)
            | Entry::Refused { .. }
            | Entry::Resigned => {}
        }
    }
    let deposits_again = |entry: &Entry| matches!(entry, Entry::Deposited(deposit) if deposit.previous.is_some());
    if batch.records.iter().any(|record| deposits_again(&record.entry)) {
        seen.note(Landmark::DepositedAgain);
    }
    let waits = writer.and_then(|writer| writer.office()?.in_flight()) == Some(batch);
    if batch.claimant().is_none() && !waits {
        seen.note(Landmark::LateAppend);
    }
    seen
}
