use super::*;
use crate::testing::{TERMS, TIMEOUTS, batch, claim, deposit, life, record, request, sale};
use crate::{
    account::BuyerStatus,
    clock::Time,
    id::Incarnation,
    ledger::{LedgerStatus, Secret, Term, Word},
};
use alloc::vec;

const SALES_KEPT: u32 = 5;

/// The office of the first life of peer 1, with its context.
struct Desk {
    office: Office,
    clock: Clock,
    timeouts: Timeouts,
    terms: Terms,
    isolated: bool,
}

impl Desk {
    fn take(&mut self, input: OfficeInput) -> Vec<OfficeEffect> {
        let Desk { office, clock, timeouts, terms, isolated } = self;
        let limits = &Limits { sales_kept: SALES_KEPT, ..Limits::DEFAULT };
        office.step(&mut OfficeContext { timeouts, terms, limits, clock, asking: None, isolated: *isolated }, input)
    }

    fn fire(&mut self, timer: OfficeTimer) -> Vec<OfficeEffect> {
        self.take(OfficeInput::Fired(timer))
    }

    fn reply(&mut self, status: LedgerStatus, answer: LedgerAnswer) -> Vec<OfficeEffect> {
        self.reply_to(self.office.latest(), status, answer)
    }

    /// The ledger's reply to a call that was made when this epoch was the latest that anybody had named.
    fn reply_to(&mut self, heard: Epoch, status: LedgerStatus, answer: LedgerAnswer) -> Vec<OfficeEffect> {
        let word = Word::of(life(1, 1), heard, status, Secret::default());
        self.take(OfficeInput::Reply(LedgerReply { word, answer }))
    }

    /// The ledger's verdict on the append in flight.
    fn settle(&mut self, status: LedgerStatus, verdict: Verdict) -> Vec<OfficeEffect> {
        let echo = Echo::of(life(1, 1), self.office.in_flight().expect("an append in flight"));
        self.reply(status, LedgerAnswer::Append { echo, verdict })
    }

    /// The append in flight has been appended, in its own epoch.
    fn append(&mut self, contested: bool) -> Vec<OfficeEffect> {
        let head = self.office.in_flight().expect("an append in flight").end();
        self.settle(status(head.0, 4, 1), Verdict::Appended { head, contested })
    }
}

/// A status: so many records, and this epoch held by the first life of this peer.
fn status(head: u64, epoch: u64, holder: u32) -> LedgerStatus {
    let term = Term { epoch: Epoch(epoch), holder: life(holder, 1), ended: false };
    LedgerStatus { head: Position(head), term: Some(term), latest: Time(0) }
}

/// Peers 5, 6 and 7 have held epochs 1 to 3; buyer 2's request waits.
fn log() -> Vec<Record> {
    let admitted = record(6, 5, Entry::admitted(request(3, 2, 1)));
    vec![claim(5, 5, 1), admitted, claim(7, 6, 2), claim(50, 7, 3)]
}

fn records(from: u64, records: Vec<Record>) -> LedgerAnswer {
    LedgerAnswer::Records { from: Position(from), records }
}

fn asked(effects: &[OfficeEffect]) -> Vec<&LedgerRequest> {
    let asked =
        effects.iter().filter_map(|effect| if let OfficeEffect::Ask(asked) = effect { Some(asked) } else { None });
    asked.collect()
}

fn left(effects: &[OfficeEffect], why: Departure) -> bool {
    effects.contains(&OfficeEffect::Note(Note::SteppedDown { reason: why }))
        && effects.contains(&OfficeEffect::Vacated { resigned: None })
}

fn eligible() -> Desk {
    let clock = Clock::resume(PeerId(1), Time(0));
    let mut desk = Desk {
        office: Office::new(life(1, 1), HighWaterMark::default()),
        clock,
        timeouts: TIMEOUTS,
        terms: TERMS,
        isolated: false,
    };
    assert_eq!(asked(&desk.take(OfficeInput::Started)), [&LedgerRequest::Status]);
    let effects = desk.reply(status(4, 3, 7), LedgerAnswer::Status);
    assert!(effects.contains(&OfficeEffect::Eligibility(Eligibility::Eligible)));
    assert!(effects.contains(&OfficeEffect::Disarm(OfficeTimer::Retry)));
    desk
}

fn reading() -> Desk {
    let mut desk = eligible();
    let effects = desk.take(OfficeInput::Stand);
    assert_eq!(asked(&effects), [&LedgerRequest::Read { from: Position(0), chunk: None }]);
    assert!(desk.office.is_standing());
    desk
}

/// Its claim of epoch 4 is in flight.
fn claiming() -> Desk {
    let mut desk = reading();
    desk.reply(status(4, 3, 7), records(0, log()));
    assert_eq!(desk.office.in_flight().map(|claim| claim.position), Some(Position(4)));
    desk
}

/// In office, with the inherited request refused and nothing in flight.
fn holding() -> Desk {
    let mut desk = claiming();
    assert!(desk.append(false).contains(&OfficeEffect::Granted(Epoch(4))));
    desk.append(false);
    assert_eq!((desk.office.epoch(), desk.office.in_flight()), (Some(Epoch(4)), None));
    desk
}

fn stays_out(head: Position) -> OfficeEffect {
    OfficeEffect::Eligibility(Eligibility::Isolated { head })
}

/// Contested in office without a neighbour, and therefore out again.
fn isolated() -> Desk {
    let mut desk = holding();
    desk.fire(OfficeTimer::Renewal);
    desk.append(true);
    desk.isolated = true;
    let effects = desk.fire(OfficeTimer::Renewal);
    assert!(left(&effects, Departure::Isolated));
    assert!(effects.contains(&stays_out(desk.office.judged)));
    assert_eq!(asked(&effects), [&LedgerRequest::Status]);
    desk
}

// DESIGN R1, R10: at the head it has read, for the next epoch, stamped above all it has read.
#[test]
fn a_standing_peer_reads_to_the_head_and_claims_there() {
    let mut desk = reading();
    let effects = desk.reply(status(4, 3, 7), records(0, log()[..2].to_vec()));
    assert_eq!(asked(&effects), [&LedgerRequest::Read { from: Position(2), chunk: None }], "there is more");
    let effects = desk.reply(status(4, 3, 7), records(2, log()[2..].to_vec()));
    assert_eq!(asked(&effects), [&LedgerRequest::Append(batch(4, 4, [claim(51, 1, 4)]))]);
    let effects = desk.append(false);
    assert!(effects.contains(&OfficeEffect::Granted(Epoch(4))));
    assert!(effects.contains(&OfficeEffect::Note(Note::TookOffice { inherited: 1 })));
    let refusal = record(52, 1, Entry::Refused { request: request(3, 2, 1).id, leftover: None });
    assert_eq!(asked(&effects), [&LedgerRequest::Append(batch(4, 5, [refusal]))], "SPEC D9: what waited comes first");
}

// DESIGN R1.
#[test]
fn a_claim_that_meets_a_conflict_reads_on_and_is_made_again() {
    let mut desk = claiming();
    let effects = desk.settle(status(5, 4, 8), Verdict::Conflict);
    assert_eq!(asked(&effects), [&LedgerRequest::Read { from: Position(4), chunk: None }]);
    let effects = desk.reply(status(5, 4, 8), records(4, vec![claim(60, 8, 4)]));
    assert_eq!(asked(&effects), [&LedgerRequest::Append(batch(5, 5, [claim(61, 1, 5)]))]);
}

// DESIGN R2.
#[test]
fn a_claim_that_is_fenced_is_given_up() {
    let mut desk = claiming();
    assert!(left(&desk.settle(status(5, 4, 8), Verdict::Fenced), Departure::Deposed));
    assert_eq!(desk.office.seen(), HighWaterMark::sealed(Epoch(4), Position(5), Secret::default()));
}

// SPEC I8.
#[test]
fn an_epoch_that_was_named_before_the_ledger_was_asked_and_that_it_does_not_know_is_not_believed_again() {
    let mut desk = eligible();
    let said = |epoch, holder| TermSaid { epoch: Epoch(epoch), holder: PeerId(holder), is_held: true };
    let lie = |desk: &mut Desk| desk.take(OfficeInput::Heard(Epoch(9)));
    lie(&mut desk);
    // Asked before anybody named it, or answered before the books got as far as is known.
    desk.reply_to(Epoch(3), status(4, 3, 7), LedgerAnswer::Status);
    assert!(!desk.office.doubts() && desk.office.latest() == Epoch(9));
    desk.reply_to(Epoch(9), status(3, 2, 7), LedgerAnswer::Status);
    assert!(!desk.office.doubts() && !desk.office.disbelieves(&said(9, 0)));

    let told = desk.reply_to(Epoch(9), status(4, 3, 7), LedgerAnswer::Status);
    let note = OfficeEffect::Note(Note::NoSuchEpoch { epoch: Epoch(9), latest: Epoch(3) });
    assert_eq!(told[..2], [note, OfficeEffect::Refuted { latest: Epoch(3), ended: false }]);
    assert!(desk.office.disbelieves(&said(9, 0)) && desk.office.disbelieves(&said(4, 0)));
    assert_eq!(desk.office.latest(), Epoch(3));
    // Of the latest one the ledger has said who holds it.
    assert!(!desk.office.disbelieves(&said(3, 7)) && desk.office.disbelieves(&said(3, 0)));
    // What the ledger says next is known at once.
    desk.reply_to(Epoch(3), status(5, 4, 0), LedgerAnswer::Status);
    assert!(!desk.office.disbelieves(&said(4, 0)) && desk.office.disbelieves(&said(5, 0)));
    // Where it says nothing, there is nobody else to believe.
    desk.take(OfficeInput::LedgerDown);
    assert!(!desk.office.doubts() && !desk.office.disbelieves(&said(5, 0)));
}

// SPEC B4.
#[test]
fn a_grant_that_comes_after_word_of_a_later_term_is_not_taken_up() {
    let appended = Verdict::Appended { head: Position(5), contested: false };
    let mut in_time = claiming();
    in_time.settle(status(5, 4, 1), appended);
    assert_eq!(in_time.office.epoch(), Some(Epoch(4)));
    let mut late = claiming();
    late.reply(status(6, 5, 8), LedgerAnswer::Status);
    assert!(left(&late.settle(status(5, 4, 1), appended), Departure::Deposed));
    assert_eq!(late.office.epoch(), None);
}

// SPEC I8. A field that nobody has set, or a trader that does not know that it has resigned, would be followed for ever.
#[test]
fn an_epoch_that_is_over_or_never_was_has_no_leader_whoever_says_so() {
    let mut desk = eligible();
    let said = |epoch, holder, is_held| TermSaid { epoch: Epoch(epoch), holder: PeerId(holder), is_held };
    assert!(desk.office.disbelieves(&said(0, 7, true)) && desk.office.disbelieves(&said(2, 7, true)));
    // What a trader that hung says when it wakes up was true once; that there is an epoch 0, or another holder, never was.
    let late = |desk: &Desk, epoch, holder| desk.office.finds_late(&said(epoch, holder, true));
    assert!(late(&desk, 2, 7) && late(&desk, 2, 0) && !late(&desk, 0, 7) && !late(&desk, 3, 7) && !late(&desk, 3, 0));
    assert!(!desk.office.disbelieves(&said(3, 7, true)) && !desk.office.disbelieves(&said(3, 7, false)));
    let term = Term { epoch: Epoch(3), holder: life(7, 1), ended: true };
    let ended = LedgerStatus { head: Position(5), term: Some(term), latest: Time(0) };
    desk.reply(ended, LedgerAnswer::Status);
    assert!(desk.office.disbelieves(&said(3, 7, true)) && !desk.office.disbelieves(&said(3, 7, false)));
    assert!(late(&desk, 3, 7) && !late(&desk, 3, 0));
    assert!(desk.office.disbelieves(&said(3, 0, false)) && !desk.office.disbelieves(&said(4, 0, true)));
}

// DESIGN R6, SPEC B9.
#[test]
fn a_claim_that_meets_an_active_lease_is_repeated_then_given_up_and_its_peer_stays_eligible() {
    let mut desk = claiming();
    let claim = desk.office.in_flight().cloned().unwrap();
    assert_eq!(desk.settle(status(4, 3, 7), Verdict::LeaseActive), []);
    assert_eq!(asked(&desk.fire(OfficeTimer::Retry)), [&LedgerRequest::Append(claim)]);
    desk.settle(status(4, 3, 7), Verdict::LeaseActive);
    let effects = desk.fire(OfficeTimer::GiveUp);
    assert!(left(&effects, Departure::LeaseActive));
    assert_eq!(asked(&effects), [] as [&LedgerRequest; 0]);
    assert_eq!(desk.office.eligibility, Eligibility::Eligible);
}

// DESIGN R6: without the ledger's word the claim may have been granted already.
#[test]
fn a_heartbeat_ends_a_claim_only_when_the_ledger_has_said_that_the_lease_is_active() {
    let heartbeat = |epoch| OfficeInput::Heartbeat { from: PeerId(7), epoch: Epoch(epoch) };
    let lives = |epoch| OfficeEffect::LeaderLives { epoch: Epoch(epoch), leader: PeerId(7) };
    let mut desk = claiming();
    assert_eq!(desk.take(heartbeat(3)), [lives(3)]);
    desk.settle(status(4, 3, 7), Verdict::LeaseActive);
    assert_eq!(desk.take(heartbeat(2)), [lives(2)], "not from that trader");
    desk.fire(OfficeTimer::Retry);
    assert_eq!(desk.take(heartbeat(3)), [lives(3)], "it has asked again since");
    desk.settle(status(4, 3, 7), Verdict::LeaseActive);
    let effects = desk.take(heartbeat(3));
    assert!(left(&effects, Departure::LeaseActive));
    assert_eq!(effects.last(), Some(&lives(3)), "so that its followers no longer stand");
}

// SPEC B9.
#[test]
fn a_peer_that_the_ledger_does_not_answer_gives_up_and_is_ineligible_until_it_does() {
    let mut in_flight = holding();
    in_flight.fire(OfficeTimer::Renewal);
    for mut desk in [reading(), claiming(), in_flight] {
        let effects = desk.fire(OfficeTimer::GiveUp);
        assert!(left(&effects, Departure::LedgerSilent));
        assert!(effects.contains(&OfficeEffect::Eligibility(Eligibility::Unreachable)));
        assert_eq!(asked(&desk.fire(OfficeTimer::Retry)), [&LedgerRequest::Status], "it keeps asking");
        let effects = desk.reply(status(9, 4, 7), LedgerAnswer::Status);
        assert!(effects.contains(&OfficeEffect::Eligibility(Eligibility::Eligible)));
        assert!(effects.contains(&OfficeEffect::Note(Note::LedgerHeard)));
        assert_eq!(asked(&desk.fire(OfficeTimer::Retry)), [] as [&LedgerRequest; 0]);
    }
}

// SPEC B9.
#[test]
fn a_lost_connection_makes_a_peer_out_of_office_ineligible_at_once_and_leaves_the_others_their_time() {
    let mut out = eligible();
    assert!(out.take(OfficeInput::LedgerDown).contains(&OfficeEffect::Eligibility(Eligibility::Unreachable)));
    assert_eq!(claiming().take(OfficeInput::LedgerDown), []);
    let mut desk = holding();
    assert_eq!(desk.take(OfficeInput::LedgerDown), []);
    assert_eq!(desk.fire(OfficeTimer::GiveUp), [], "nothing is in flight, so nothing is overdue");
}

// DESIGN R2.
#[test]
fn a_reply_to_another_append_settles_nothing() {
    let mut desk = claiming();
    let claim = desk.office.in_flight().cloned().unwrap();
    let appended = Verdict::Appended { head: Position(5), contested: false };
    let echo = Echo::of(life(1, 1), &claim);
    desk.append(false);
    let refusal = desk.office.in_flight().cloned().unwrap();
    assert_eq!(
        desk.reply(status(5, 4, 1), LedgerAnswer::Append { echo, verdict: appended }),
        [],
        "the claim's, once more"
    );
    let of = Echo::of(life(1, 1), &refusal);
    for echo in [
        Echo { incarnation: Incarnation(2), ..of },
        Echo { epoch: Epoch(5), ..of },
        Echo { position: Position(4), ..of },
        Echo { digest: echo.digest, ..of },
    ] {
        assert_eq!(desk.reply(status(6, 4, 1), LedgerAnswer::Append { echo, verdict: Verdict::Conflict }), []);
    }
    let answer = LedgerAnswer::Append { echo: of, verdict: appended };
    let former = LedgerReply { word: Word::of(life(1, 0), Epoch(4), status(6, 4, 1), Secret::default()), answer };
    assert_eq!(desk.take(OfficeInput::Reply(former)), [], "to a former life");
    assert_eq!(desk.office.in_flight(), Some(&refusal));
}

// DESIGN R4, R9, SPEC D7.
#[test]
fn a_client_is_told_when_its_batch_is_appended() {
    let mut desk = holding();
    let wish = request(9, 3, 1);
    desk.take(OfficeInput::Client(PeerId(4), ClientMessage::Deposit(deposit(4, 1, 2))));
    let effects = desk.take(OfficeInput::Client(PeerId(3), ClientMessage::Request(wish.clone())));
    assert_eq!(effects, [], "one append at a time");
    desk.append(false);
    assert_eq!(desk.office.in_flight().map(|batch| batch.records.len()), Some(2));
    let effects = desk.append(false);
    let last = Some((wish.id.sequence, crate::account::Outcome::Sold(sale(&wish, &deposit(4, 1, 2), 1))));
    assert!(effects.contains(&OfficeEffect::Tell(
        PeerId(3),
        TraderMessage::Buyer(BuyerStatus { open: None, last, ..BuyerStatus::default() })
    )));
    assert!(effects.iter().any(|effect| matches!(effect, OfficeEffect::Tell(PeerId(4), TraderMessage::Seller(_)))));
    assert_eq!(claiming().take(OfficeInput::Client(PeerId(3), ClientMessage::Request(wish))), [], "out of office");
}

// DESIGN R6.
#[test]
fn a_heartbeat_follows_only_a_renewal_that_was_confirmed_since_the_last() {
    let mut desk = holding();
    let heartbeat = |effects: &[OfficeEffect]| effects.iter().any(|e| matches!(e, OfficeEffect::Heartbeat { .. }));
    let effects = desk.fire(OfficeTimer::Renewal);
    assert!(effects.contains(&OfficeEffect::Heartbeat { epoch: Epoch(4), waits: None }));
    assert_eq!(asked(&effects), [&LedgerRequest::Append(batch(4, 6, []))]);
    let effects = desk.fire(OfficeTimer::Renewal);
    assert_eq!((heartbeat(&effects), asked(&effects).len()), (false, 0), "one append at a time");
    desk.append(false);
    assert!(heartbeat(&desk.fire(OfficeTimer::Renewal)));
}

// DESIGN R6, SPEC B5.
#[test]
fn a_trader_leaves_when_it_is_contested_and_hears_no_neighbour_but_not_for_either_alone() {
    let mut contested = holding();
    contested.fire(OfficeTimer::Renewal);
    contested.append(true);
    contested.fire(OfficeTimer::Renewal);
    contested.append(false);
    contested.isolated = true;
    contested.fire(OfficeTimer::Renewal);
    assert_eq!(contested.office.epoch(), Some(Epoch(4)), "isolated, but no longer contested");
    isolated();
}

// DESIGN R6.
#[test]
fn a_peer_that_left_in_isolation_leaves_the_office_to_the_others_before_it_hears_somebody() {
    let eligible = OfficeEffect::Eligibility(Eligibility::Eligible);
    let mut desk = isolated();
    assert_eq!(desk.reply(status(6, 4, 1), LedgerAnswer::Status), []);
    assert_eq!(asked(&desk.fire(OfficeTimer::Retry)), [&LedgerRequest::Status], "it keeps asking");
    let mut elsewhere = Desk { office: desk.office.clone(), clock: desk.clock.clone(), ..desk };
    let effects = elsewhere.reply(status(7, 5, 8), LedgerAnswer::Status);
    assert_eq!(effects, [stays_out(Position(7))], "another term has begun, of which it could not hear the end");
    desk.isolated = false;
    assert!(desk.reply(status(6, 4, 1), LedgerAnswer::Status).contains(&eligible), "a link is up");
    desk.isolated = true;
    desk.take(OfficeInput::LedgerDown);
    assert!(desk.reply(status(6, 4, 1), LedgerAnswer::Status).contains(&eligible), "it need not be up twice");
}

// Found by the simulator: it stood, though the ledger had been silent since.
#[test]
fn a_peer_that_left_in_isolation_and_loses_the_ledger_is_unreachable_and_then_isolated_again() {
    let mut desk = isolated();
    let effects = desk.take(OfficeInput::LedgerDown);
    assert!(effects.contains(&OfficeEffect::Eligibility(Eligibility::Unreachable)));
    let effects = desk.reply(status(6, 4, 1), LedgerAnswer::Status);
    assert!(effects.contains(&stays_out(Position(6))));
}

// Found by the random schedules: it stood, heard of a new trader before the ledger answered, and never asked again.
#[test]
fn an_isolated_peer_whose_claim_is_cut_short_goes_on_asking_the_ledger() {
    let mut desk = isolated();
    desk.take(OfficeInput::Stand);
    desk.isolated = false;
    let effects = desk.take(OfficeInput::Yield);
    assert!(left(&effects, Departure::Deposed));
    assert_eq!(asked(&effects), [&LedgerRequest::Status]);
    desk.reply(status(6, 4, 1), LedgerAnswer::Status);
    assert_eq!(desk.office.eligibility, Eligibility::Eligible);
}

// It took office at the next resignation, alone, and each time that cost the others a suspicion.
#[test]
fn a_peer_that_hears_nobody_withdraws_its_claim_when_another_has_the_office() {
    let mut desk = claiming();
    desk.settle(status(4, 3, 7), Verdict::LeaseActive);
    assert!(desk.office.is_standing(), "the others are heard");
    desk.isolated = true;
    let effects = desk.settle(status(4, 3, 7), Verdict::LeaseActive);
    assert!(left(&effects, Departure::Isolated));
    assert!(effects.contains(&stays_out(Position(4))));
    assert!(!desk.office.is_standing());
}

// SPEC B6, DESIGN 3.
#[test]
fn a_peer_that_resigned_sits_out_one_term() {
    let mut desk = holding();
    desk.terms.resign_after = 1;
    desk.take(OfficeInput::Client(PeerId(4), ClientMessage::Deposit(deposit(4, 1, 2))));
    desk.take(OfficeInput::Client(PeerId(3), ClientMessage::Request(request(9, 3, 1))));
    desk.append(false);
    let effects = desk.append(false);
    assert!(effects.contains(&OfficeEffect::Eligibility(Eligibility::Resigned)));
    assert!(effects.contains(&OfficeEffect::Vacated { resigned: Some(Epoch(4)) }));
    assert_eq!(desk.office.epoch(), None);
    assert_eq!(desk.reply(status(7, 4, 1), LedgerAnswer::Status), [OfficeEffect::Disarm(OfficeTimer::Retry)], "late");
    let heard = |epoch| OfficeInput::Heard(Epoch(epoch));
    assert_eq!(desk.take(heard(4)), []);
    assert_eq!(desk.take(heard(5)), [OfficeEffect::Eligibility(Eligibility::Eligible)]);
    let term = Term { epoch: Epoch(4), holder: life(1, 1), ended: true };
    let old = LedgerStatus { head: desk.office.judged, term: Some(term), latest: Time(0) };
    let told = desk.reply_to(Epoch(4), old, LedgerAnswer::Status);
    assert_eq!(told, [OfficeEffect::Disarm(OfficeTimer::Retry)], "that term is over");
}

#[test]
fn a_trader_that_is_asked_to_resign_appends_that_alone_after_what_is_in_flight_and_nobody_else_does_anything() {
    let mut desk = holding();
    desk.take(OfficeInput::Client(PeerId(4), ClientMessage::Deposit(deposit(4, 1, 2))));
    desk.take(OfficeInput::Client(PeerId(3), ClientMessage::Request(request(9, 3, 1))));
    assert_eq!(desk.take(OfficeInput::Resign), []);
    desk.append(false);
    let entries: Vec<_> = desk.office.in_flight().unwrap().records.iter().map(|record| &record.entry).collect();
    assert_eq!(entries, [&Entry::Resigned]);
    let effects = desk.append(false);
    assert!(effects.contains(&OfficeEffect::Eligibility(Eligibility::Resigned)));
    assert!(effects.contains(&OfficeEffect::Vacated { resigned: Some(Epoch(4)) }));
    for mut desk in [eligible(), reading(), claiming()] {
        let before = desk.office.clone();
        assert_eq!(desk.take(OfficeInput::Resign), []);
        assert_eq!(desk.office, before);
    }
}

// DESIGN Y2. Found by the models: the peer was told that it may stand before its former life's last batch, which
// contained the resignation, was appended.
#[test]
fn a_peer_that_learns_while_standing_that_a_former_life_resigned_sits_out() {
    let mut desk = reading();
    let resigned = LedgerStatus {
        head: Position(6),
        term: Some(Term { epoch: Epoch(4), holder: life(1, 0), ended: true }),
        latest: Time(0),
    };
    let mut log = log();
    log.extend([claim(51, 1, 4), record(52, 1, Entry::Resigned)]);
    let effects = desk.reply(resigned, records(0, log.clone()));
    assert!(effects.contains(&OfficeEffect::Eligibility(Eligibility::Resigned)));
    assert!(left(&effects, Departure::SitsOut), "{effects:?}");
    assert!(asked(&effects).is_empty());
    // A peer that stands although it resigned, since nobody else does, goes through with it.
    desk.take(OfficeInput::Stand);
    assert_eq!(asked(&desk.reply(resigned, records(0, log))).len(), 1);
    assert!(desk.office.in_flight().is_some());
}

// DESIGN R2.
#[test]
fn a_trader_whose_append_is_refused_or_that_is_told_to_yield_steps_down_for_good() {
    for (verdict, why) in [(Verdict::Fenced, Departure::Deposed), (Verdict::Conflict, Departure::Overtaken)] {
        let mut desk = holding();
        desk.fire(OfficeTimer::Renewal);
        assert!(left(&desk.settle(status(7, 5, 8), verdict), why));
    }
    let mut desk = holding();
    desk.take(OfficeInput::Client(PeerId(4), ClientMessage::Deposit(deposit(4, 1, 2))));
    let echo = Echo::of(life(1, 1), desk.office.in_flight().unwrap());
    assert!(left(&desk.take(OfficeInput::Yield), Departure::Deposed));
    let verdict = Verdict::Appended { head: Position(7), contested: false };
    assert_eq!(desk.reply(status(7, 4, 1), LedgerAnswer::Append { echo, verdict }), [], "late");
    assert_eq!((desk.office.epoch(), desk.fire(OfficeTimer::Renewal)), (None, vec![]));
}

#[test]
fn a_peer_out_of_office_answers_a_yield_and_one_in_office_answers_a_stand() {
    assert_eq!(eligible().take(OfficeInput::Yield), [OfficeEffect::Vacated { resigned: None }]);
    assert_eq!(holding().take(OfficeInput::Stand), [OfficeEffect::Granted(Epoch(4))]);
    assert_eq!(claiming().take(OfficeInput::Stand), []);
}

#[test]
fn no_claim_is_made_on_damaged_books() {
    let mut desk = reading();
    let effects = desk.reply(status(4, 3, 7), records(0, log()[1..].to_vec()));
    assert!(effects.contains(&OfficeEffect::Note(Note::BooksRefused { position: Position(0) })));
    assert!(left(&effects, Departure::BooksDamaged));
}

// SPEC D7.
#[test]
fn the_books_it_reads_keep_as_many_sales_as_the_limits_say() {
    let desk = holding();
    assert_eq!(desk.office.trader().map(|trader| trader.books().sales_kept()), Some(SALES_KEPT));
}

// SPEC C5, DESIGN F12.
#[test]
fn a_trader_whose_next_request_waits_asks_for_promises_again() {
    let mut books = Books::default();
    let ordering = crate::config::Ordering::Stable;
    let claim = Entry::Claimed { epoch: Epoch(1), holder: life(1, 1), ordering };
    let seat = |buyer| Entry::Seated { buyer: life(buyer, 0), above: Time(3) };
    for (time, entry) in [(2, claim), (4, seat(2)), (5, seat(3))] {
        books.apply(&record(time, 1, entry)).unwrap();
    }
    let wave = Duration::from_millis(70);
    let arms = |effects: &[OfficeEffect]| effects.contains(&OfficeEffect::Arm(OfficeTimer::Wave, wave));
    for (wave, asks) in [(Duration::ZERO, false), (wave, true)] {
        let mut desk = eligible();
        desk.clock = Clock::resume(PeerId(1), Time(100));
        desk.timeouts.wave = wave;
        let trader = Trader::new(PeerId(1), books.clone());
        let (renewed, contested, asks_already) = (true, false, false);
        desk.office.state =
            State::Holding { epoch: Epoch(1), trader, in_flight: None, renewed, contested, asks: asks_already };
        assert!(!arms(&desk.take(OfficeInput::Heard(Epoch(1)))), "nothing waits");
        let effects = desk.take(OfficeInput::Client(PeerId(2), ClientMessage::Request(request(9, 2, 1))));
        assert_eq!(arms(&effects), asks, "it waits for buyer 3");
        if asks {
            let effects = desk.fire(OfficeTimer::Wave);
            assert!(effects.contains(&OfficeEffect::Wave) && arms(&effects), "{effects:?}");
        }
        let promise = Promise { incarnation: Incarnation(0), above: Time(9), open: None };
        let effects = desk.take(OfficeInput::Promises(vec![(PeerId(3), promise)]));
        assert_eq!(asked(&effects).len(), 1, "it is served");
        assert!(!desk.fire(OfficeTimer::Wave).contains(&OfficeEffect::Wave));
    }
}
