//! Every property on the shortest log for which it holds, and on the shortest for which it does not.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::config::Ordering;
use alloc::{string::ToString, vec, vec::Vec};

use super::*;
use crate::{
    account::Outcome,
    account::{BuyerStatus, DepositStatus, SellerStatus},
    books::Books,
    clock::{Stamp, Time},
    config::Limits,
    id::{DepositId, DepositNumber, Epoch, Incarnation, Item, Life, PeerId, RequestId, SaleNumber, Sequence, Units},
    message::{FloodId, TraderMessage},
    money::{Cents, Commission, Price},
    record::{Batch, Deposit, Entry, Record, Request, Sale},
};

type Log = Vec<Record>;
type Verdict = Result<(), Violation>;

/// The trader, its successor, two sellers and two buyers of every log here.
const TRADER: PeerId = PeerId(9);
const NEXT: PeerId = PeerId(8);
const SELLER: PeerId = PeerId(1);
const OTHER_SELLER: PeerId = PeerId(2);
const BUYER: PeerId = PeerId(3);
const OTHER_BUYER: PeerId = PeerId(4);
const TERMS: AuditTerms =
    AuditTerms { commission: Some(Commission::TWENTY_PERCENT), resign_after: Some(2), batch_limit: Some(2) };

fn life(peer: PeerId) -> Life {
    Life { peer, incarnation: Incarnation(1) }
}

fn stamp(time: u64, peer: PeerId) -> Stamp {
    Stamp { time: Time(time), peer }
}

fn record(time: u64, writer: PeerId, entry: Entry) -> Record {
    Record { stamp: stamp(time, writer), entry }
}

fn claim(time: u64, holder: PeerId, epoch: u64) -> Record {
    record(time, holder, Entry::Claimed { epoch: Epoch(epoch), holder: life(holder), ordering: Ordering::SmallestOpen })
}

/// Fish at 9.00.
fn deposit(time: u64, seller: PeerId, number: u64, count: u32) -> Deposit {
    Deposit {
        id: DepositId { seller, number: DepositNumber(number) },
        previous: (number > 1).then(|| DepositNumber(number - 1)),
        item: Item::FISH,
        count: Units(count),
        price: Price(900),
        stamp: stamp(time, seller),
    }
}

fn id(buyer: PeerId, sequence: u64) -> RequestId {
    RequestId { buyer, sequence: Sequence(sequence) }
}

/// One fish.
fn request(time: u64, buyer: PeerId, sequence: u64) -> Request {
    Request {
        id: id(buyer, sequence),
        previous: (sequence > 1).then(|| Sequence(sequence - 1)),
        item: Item::FISH,
        quantity: Units(1),
        stamp: stamp(time, buyer),
    }
}

/// One fish, from the seller's first deposit.
fn sale(buyer: PeerId, sequence: u64, seller: PeerId, number: u64) -> Sale {
    Sale {
        request: id(buyer, sequence),
        deposit: DepositId { seller, number: DepositNumber(1) },
        number: SaleNumber(number),
        item: Item::FISH,
        quantity: Units(1),
        price: Price(900),
        commission: Cents(180),
        earned: Cents(720),
    }
}

fn deposited(time: u64, deposit: Deposit) -> Record {
    record(time, TRADER, Entry::Deposited(deposit))
}

fn admitted(time: u64, request: Request) -> Record {
    record(time, TRADER, Entry::admitted(request))
}

fn sold(time: u64, sale: Sale) -> Record {
    record(time, TRADER, Entry::Sold(sale))
}

fn refused(time: u64, buyer: PeerId, sequence: u64) -> Record {
    record(time, TRADER, Entry::Refused { request: id(buyer, sequence), leftover: None })
}

fn resigned(time: u64) -> Record {
    record(time, TRADER, Entry::Resigned)
}

fn by(writer: PeerId, mut record: Record) -> Record {
    record.stamp.peer = writer;
    record
}

/// A term with everything in it: two sellers, three requests and two sales; the request that waits goes to the next
/// term, where it is refused.
fn good() -> Log {
    vec![
        claim(10, TRADER, 1),
        deposited(11, deposit(1, SELLER, 1, 1)),
        deposited(12, deposit(2, OTHER_SELLER, 1, 1)),
        admitted(13, request(3, BUYER, 1)),
        admitted(14, request(3, OTHER_BUYER, 1)),
        sold(15, sale(BUYER, 1, SELLER, 1)),
        admitted(17, request(16, BUYER, 2)),
        sold(18, sale(OTHER_BUYER, 1, OTHER_SELLER, 1)),
        resigned(19),
        claim(20, NEXT, 2),
        by(NEXT, refused(21, BUYER, 2)),
        by(NEXT, admitted(25, request(24, BUYER, 3))),
    ]
}

/// The first records of [`good`], followed by another.
fn good_then(records: usize, last: Record) -> Log {
    good().into_iter().take(records).chain([last]).collect()
}

/// Each record in a batch of its own.
fn batches(log: Log) -> Vec<Batch> {
    let mut epoch = Epoch(0);
    (0..)
        .zip(log)
        .map(|(position, record)| {
            if let Entry::Claimed { epoch: claimed, .. } = record.entry {
                epoch = claimed;
            }
            Batch { epoch, position: Position(position), records: vec![record] }
        })
        .collect()
}

#[track_caller]
fn violates(verdict: Verdict, property: Property, position: u64) {
    let violation = verdict.expect_err("a violation");
    assert_eq!((violation.property, violation.position), (property, Some(Position(position))), "{violation}");
}

#[track_caller]
fn violates_off_the_log(verdict: Verdict, property: Property) {
    let violation = verdict.expect_err("a violation");
    assert_eq!((violation.property, violation.position), (property, None), "{violation}");
}

#[test]
fn everything_holds_of_a_good_log() {
    let log = good();
    each_epoch_has_one_holder_and_epochs_rise_by_one(&log).unwrap();
    every_record_is_stamped_by_the_holder_of_its_epoch(&log).unwrap();
    every_admitted_request_is_open_or_has_an_outcome(&log).unwrap();
    every_request_has_at_most_one_outcome(&log).unwrap();
    a_deposit_follows_the_sold_out_one_before_it(&log).unwrap();
    stock_is_what_was_deposited_less_what_was_sold(&log).unwrap();
    money_adds_up(&log, TERMS.commission).unwrap();
    stamps_rise_along_the_log(&log).unwrap();
    what_answers_is_later_than_what_it_answers(&log).unwrap();
    the_smallest_stamp_is_served_first_from_the_smallest_seller(&log).unwrap();
    nothing_is_admitted_before_the_inherited_queue_is_served(&log).unwrap();
    a_request_names_the_outcome_before_it(&log).unwrap();
    a_term_ends_with_its_last_sale(&log, TERMS.resign_after).unwrap();
    a_trader_in_office_neither_buys_nor_sells(&log).unwrap();
    every_batch_is_of_the_latest_epoch_at_the_head(&batches(good())).unwrap();
    no_admission_follows_an_outcome_in_its_batch(&batches(good())).unwrap();
    a_batch_holds_at_most_as_many_records_as_its_limit(&batches(good()), TERMS.batch_limit).unwrap();
    a_batch_is_deposits_then_admissions_then_outcomes(&batches(good())).unwrap();
}

#[test]
fn a_violation_reads_as_property_place_and_finding() {
    let log = good_then(10, by(NEXT, refused(21, OTHER_BUYER, 1)));
    let violation = every_request_has_at_most_one_outcome(&log).unwrap_err();
    assert_eq!(violation.to_string(), "S4 at record 10: request 0.1 of peer 4 has its outcome in record 7 already");
}

// S1, S2.

#[test]
fn an_epoch_with_two_holders_is_found() {
    let log = good_then(4, claim(20, NEXT, 1));
    violates(each_epoch_has_one_holder_and_epochs_rise_by_one(&log), Property::S1, 4);
}

#[test]
fn a_claim_in_anothers_name_is_found() {
    let log = [by(NEXT, claim(10, TRADER, 1))];
    violates(each_epoch_has_one_holder_and_epochs_rise_by_one(&log), Property::S1, 0);
}

#[test]
fn an_epoch_that_is_skipped_claimed_twice_or_old_is_found() {
    for epoch in [1, 3, u64::MAX] {
        let log = [claim(10, TRADER, 1), claim(20, TRADER, epoch)];
        violates(each_epoch_has_one_holder_and_epochs_rise_by_one(&log), Property::S2, 1);
    }
}

#[test]
fn a_writer_that_never_held_the_office_is_found() {
    let stranger = good_then(4, by(NEXT, admitted(20, request(5, OTHER_BUYER, 1))));
    violates(every_record_is_stamped_by_the_holder_of_its_epoch(&stranger), Property::S1, 4);
    violates(every_record_is_stamped_by_the_holder_of_its_epoch(&[resigned(1)]), Property::S1, 0);
}

#[test]
fn a_deposed_trader_that_writes_on_is_found() {
    let log = [claim(10, TRADER, 1), claim(20, NEXT, 2), deposited(21, deposit(1, SELLER, 1, 1))];
    violates(every_record_is_stamped_by_the_holder_of_its_epoch(&log), Property::S2, 2);
}

#[test]
fn a_record_after_the_resignation_is_found() {
    let log = good_then(9, refused(20, BUYER, 2));
    violates(every_record_is_stamped_by_the_holder_of_its_epoch(&log), Property::S2, 9);
}

#[test]
fn a_batch_of_an_old_epoch_is_found() {
    let mut old = batches(good());
    old[10].epoch = Epoch(1);
    violates(every_batch_is_of_the_latest_epoch_at_the_head(&old), Property::S2, 10);
    violates(every_batch_is_of_the_latest_epoch_at_the_head(&old[10..]), Property::S2, 0);
}

#[test]
fn a_batch_in_another_place_is_found() {
    let mut moved = batches(good());
    moved[5].position = Position(6);
    violates(every_batch_is_of_the_latest_epoch_at_the_head(&moved), Property::S2, 5);
}

#[test]
fn a_claim_with_company_is_found() {
    let records = vec![claim(10, TRADER, 1), deposited(11, deposit(1, SELLER, 1, 1))];
    let batch = Batch { epoch: Epoch(1), position: Position(0), records };
    violates(every_batch_is_of_the_latest_epoch_at_the_head([&batch]), Property::S2, 0);
}

// S3, S4.

#[test]
fn an_outcome_of_a_request_that_was_never_admitted_is_found() {
    let log = good_then(3, sold(20, sale(BUYER, 1, SELLER, 1)));
    violates(every_admitted_request_is_open_or_has_an_outcome(&log), Property::S3, 3);
}

#[test]
fn a_sale_of_what_was_not_asked_for_is_found() {
    let two = Sale { quantity: Units(2), ..sale(BUYER, 1, SELLER, 1) };
    violates(every_admitted_request_is_open_or_has_an_outcome(&good_then(5, sold(20, two))), Property::S3, 5);
    let salt = Sale { item: Item::SALT, ..sale(BUYER, 1, SELLER, 1) };
    violates(every_admitted_request_is_open_or_has_an_outcome(&good_then(5, sold(20, salt))), Property::S3, 5);
}

#[test]
fn a_request_that_fell_out_of_the_queue_is_found_by_counting() {
    // Admitted twice, it is in the queue once.
    let log = good_then(4, admitted(20, request(3, BUYER, 1)));
    violates(every_admitted_request_is_open_or_has_an_outcome(&log), Property::S3, 5);
}

#[test]
fn a_second_outcome_is_found() {
    violates(every_request_has_at_most_one_outcome(&good_then(6, refused(20, BUYER, 1))), Property::S4, 6);
}

#[test]
fn a_second_admission_is_found() {
    violates(every_request_has_at_most_one_outcome(&good_then(4, admitted(20, request(3, BUYER, 1)))), Property::S4, 4);
    violates(every_request_has_at_most_one_outcome(&good_then(6, admitted(20, request(3, BUYER, 1)))), Property::S4, 6);
}

#[test]
fn a_deposit_that_counts_twice_is_found() {
    let log = good_then(3, deposited(20, deposit(1, SELLER, 1, 1)));
    violates(every_request_has_at_most_one_outcome(&log), Property::S4, 3);
}

#[test]
fn a_number_that_is_no_higher_than_the_last_is_found() {
    let log = good_then(6, admitted(20, Request { previous: Some(Sequence(1)), ..request(16, BUYER, 0) }));
    violates(every_request_has_at_most_one_outcome(&log), Property::S4, 6);
    let log = good_then(6, deposited(20, Deposit { previous: Some(DepositNumber(1)), ..deposit(16, SELLER, 0, 1) }));
    violates(every_request_has_at_most_one_outcome(&log), Property::S4, 6);
}

#[test]
fn a_sale_number_that_is_skipped_or_repeated_is_found() {
    let log = good_then(5, sold(20, sale(BUYER, 1, SELLER, 2)));
    violates(every_request_has_at_most_one_outcome(&log), Property::S4, 5);
    let log = good_then(6, sold(20, sale(OTHER_BUYER, 1, SELLER, 1)));
    violates(every_request_has_at_most_one_outcome(&log), Property::S4, 6);
}

#[test]
fn a_deposit_beside_one_that_is_not_sold_out_is_found() {
    let beside = good_then(5, deposited(20, deposit(5, SELLER, 2, 1)));
    violates(a_deposit_follows_the_sold_out_one_before_it(&beside), Property::S4, 5);
    let after = good_then(6, deposited(20, deposit(16, SELLER, 2, 1)));
    a_deposit_follows_the_sold_out_one_before_it(&after).unwrap();
}

#[test]
fn a_deposit_of_a_former_life_is_found() {
    let left_over = Deposit { previous: None, ..deposit(5, SELLER, 2, 1) };
    let log = good_then(6, deposited(20, left_over));
    violates(a_deposit_follows_the_sold_out_one_before_it(&log), Property::S4, 6);
}

// SPEC D8.

/// A log in which one of three is left when two are asked for, and the seller takes it back and deposits three more.
fn left_over() -> Log {
    let two = |time, sequence| Request { quantity: Units(2), ..request(time, BUYER, sequence) };
    let sold_two =
        Sale { quantity: Units(2), commission: Cents(360), earned: Cents(1440), ..sale(BUYER, 1, SELLER, 1) };
    let leftover = Some(sold_two.deposit);
    vec![
        claim(10, TRADER, 1),
        deposited(11, deposit(1, SELLER, 1, 3)),
        admitted(12, two(2, 1)),
        sold(13, sold_two),
        admitted(16, two(15, 2)),
        record(17, TRADER, Entry::Refused { request: id(BUYER, 2), leftover }),
        deposited(20, deposit(18, SELLER, 2, 3)),
        admitted(22, request(21, OTHER_BUYER, 1)),
        sold(
            23,
            Sale { deposit: DepositId { seller: SELLER, number: DepositNumber(2) }, ..sale(OTHER_BUYER, 1, SELLER, 2) },
        ),
    ]
}

#[test]
fn what_is_left_over_goes_back_to_its_seller() {
    let terms = AuditTerms { resign_after: None, ..TERMS };
    let report = audit(&left_over(), terms);
    assert!(report.is_clean(), "{report:?}");
    let AuditTotals { units_deposited, units_sold, units_returned, units_left, .. } = report.totals;
    assert_eq!((units_deposited, units_sold, units_returned, units_left), (6, 3, 1, 2));
    let mut books = Books::default();
    left_over().iter().for_each(|record| books.apply(record).unwrap());
    the_books_say_what_the_records_say(&books, &left_over()).unwrap();

    // Before its next deposit is booked, the rest may be sold, and then nothing is taken back.
    let mut log = left_over();
    log.insert(6, admitted(18, request(14, OTHER_BUYER, 1)));
    log.insert(7, sold(19, sale(OTHER_BUYER, 1, SELLER, 2)));
    log.truncate(9);
    let report = audit(&log, terms);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.totals.units_returned, report.totals.units_left), (0, 3));
}

#[test]
fn a_refusal_that_names_another_deposit_as_left_over_is_found() {
    let log = left_over();
    a_refusal_names_the_deposit_that_is_left_over(&log).unwrap();
    let other = DepositId { seller: OTHER_SELLER, number: DepositNumber(1) };
    for leftover in [None, Some(other)] {
        let mut log = log.clone();
        log[5] = record(17, TRADER, Entry::Refused { request: id(BUYER, 2), leftover });
        violates(a_refusal_names_the_deposit_that_is_left_over(&log), Property::D8, 5);
        assert!(audit(&log, TERMS).violations().any(|found| found.property == Property::D8));
    }
    // One is left of three; of five there never was enough.
    let mut log = log;
    log[4] = admitted(16, Request { quantity: Units(5), ..request(15, BUYER, 2) });
    violates(a_refusal_names_the_deposit_that_is_left_over(&log), Property::D8, 5);
}

#[test]
fn what_was_taken_back_is_not_sold_and_is_taken_back_only_when_left_over() {
    let mut log = left_over();
    log[8] = sold(23, sale(OTHER_BUYER, 1, SELLER, 2));
    violates(stock_is_what_was_deposited_less_what_was_sold(&log), Property::S5, 8);
    let mut log = left_over();
    log[5] = refused(17, BUYER, 2);
    violates(a_deposit_follows_the_sold_out_one_before_it(&log), Property::S4, 6);
    let mut log = left_over();
    log[6] = deposited(20, deposit(17, SELLER, 2, 3));
    violates(what_answers_is_later_than_what_it_answers(&log), Property::S7, 6);
}

#[test]
fn a_seller_that_is_told_that_something_is_left_over_was_told_the_truth() {
    let log = left_over();
    let mut books = Books::default();
    log[..6].iter().for_each(|record| books.apply(record).unwrap());
    let status = books.seller_status(SELLER, None);
    assert!(status.deposit.as_ref().is_some_and(|deposit| deposit.leftover));
    let told = TraderMessage::Seller(status);
    whatever_a_client_was_told_is_in_the_log(&told, SELLER, &log).unwrap();
    let early = whatever_a_client_was_told_is_in_the_log(&told, SELLER, &log[..5]);
    violates_off_the_log(early, Property::S11);
}

// S5, S6.

#[test]
fn a_sale_of_more_than_is_left_is_found() {
    let log = good_then(6, sold(20, sale(OTHER_BUYER, 1, SELLER, 2)));
    violates(stock_is_what_was_deposited_less_what_was_sold(&log), Property::S5, 6);
}

#[test]
fn a_sale_that_is_not_as_deposited_is_found() {
    let nowhere = DepositId { seller: SELLER, number: DepositNumber(7) };
    for wrong in [
        Sale { deposit: nowhere, ..sale(BUYER, 1, SELLER, 1) },
        Sale { item: Item::SALT, ..sale(BUYER, 1, SELLER, 1) },
        Sale { price: Price(901), ..sale(BUYER, 1, SELLER, 1) },
        Sale { quantity: Units(0), ..sale(BUYER, 1, SELLER, 1) },
    ] {
        violates(stock_is_what_was_deposited_less_what_was_sold(&good_then(5, sold(20, wrong))), Property::S5, 5);
    }
}

#[test]
fn a_deposit_of_nothing_and_a_request_for_nothing_are_found() {
    let empty = [claim(10, TRADER, 1), deposited(11, deposit(1, SELLER, 1, 0))];
    violates(stock_is_what_was_deposited_less_what_was_sold(&empty), Property::S5, 1);
    let idle = Request { quantity: Units(0), ..request(3, BUYER, 1) };
    violates(
        stock_is_what_was_deposited_less_what_was_sold(&[claim(10, TRADER, 1), admitted(11, idle)]),
        Property::S5,
        1,
    );
}

#[test]
fn a_cent_that_nobody_got_is_found() {
    let short = Sale { earned: Cents(719), ..sale(BUYER, 1, SELLER, 1) };
    violates(money_adds_up(&good_then(5, sold(20, short)), None), Property::S6, 5);
}

#[test]
fn another_commission_than_agreed_is_found() {
    let greedy = Sale { commission: Cents(181), earned: Cents(719), ..sale(BUYER, 1, SELLER, 1) };
    let log = good_then(5, sold(20, greedy));
    money_adds_up(&log, None).unwrap();
    violates(money_adds_up(&log, Some(Commission::TWENTY_PERCENT)), Property::S6, 5);
}

#[test]
fn a_commission_that_is_rounded_up_is_found() {
    // 20 % of 9.99 is 199.8 cents.
    let price = Price(999);
    let right = Sale { price, commission: Cents(199), earned: Cents(800), ..sale(BUYER, 1, SELLER, 1) };
    let up = Sale { commission: Cents(200), earned: Cents(799), ..right.clone() };
    money_adds_up(&good_then(5, sold(20, right)), TERMS.commission).unwrap();
    let log = good_then(5, sold(20, up));
    money_adds_up(&log, None).unwrap();
    violates(money_adds_up(&log, TERMS.commission), Property::S6, 5);
}

#[test]
fn the_share_of_the_largest_order_is_that_of_any_other() {
    let order = Sale { price: Price(u32::MAX), quantity: Units(u32::MAX), ..sale(BUYER, 1, SELLER, 1) };
    let total = 18_446_744_065_119_617_025_u128;
    for (basis_points, due) in
        [(0, 0), (1, 1_844_674_406_511_961), (9_999, 18_444_899_390_713_105_063), (10_000, total)]
    {
        let commission = Commission::new(basis_points);
        let log = |kept: u128| {
            let sale = Sale { commission: Cents(kept), earned: Cents(total - kept), ..order.clone() };
            [claim(10, TRADER, 1), sold(11, sale)]
        };
        money_adds_up(&log(due), commission).unwrap();
        for wrong in [due.checked_sub(1), due.checked_add(1).filter(|kept| *kept <= total)].into_iter().flatten() {
            violates(money_adds_up(&log(wrong), commission), Property::S6, 1);
        }
    }
}

// S7.

#[test]
fn a_clock_that_went_back_is_found() {
    a_clock_never_goes_back(Time(4), Time(4)).unwrap();
    violates_off_the_log(a_clock_never_goes_back(Time(5), Time(4)), Property::S7);
}

#[test]
fn a_receive_at_its_send_is_found() {
    a_receive_is_later_than_its_send(Time(4), Time(5)).unwrap();
    violates_off_the_log(a_receive_is_later_than_its_send(Time(4), Time(4)), Property::S7);
}

#[test]
fn a_clock_sent_above_the_bound_is_found() {
    nothing_is_sent_above_the_written_bound(Time(4), Time(4)).unwrap();
    violates_off_the_log(nothing_is_sent_above_the_written_bound(Time(5), Time(4)), Property::S7);
}

#[test]
fn a_writer_that_stamps_twice_alike_is_found() {
    let log = good_then(4, admitted(13, request(3, OTHER_BUYER, 1)));
    violates(stamps_rise_along_the_log(&log), Property::S7, 4);
}

#[test]
fn a_new_trader_that_stamps_below_what_it_read_is_found() {
    violates(stamps_rise_along_the_log(&good_then(9, claim(19, NEXT, 2))), Property::S7, 9);
}

#[test]
fn an_answer_that_is_not_later_than_its_question_is_found() {
    let head = || claim(10, TRADER, 1);
    let early_deposit = [head(), deposited(11, deposit(11, SELLER, 1, 1))];
    violates(what_answers_is_later_than_what_it_answers(&early_deposit), Property::S7, 1);
    let early_admission = [head(), admitted(11, request(12, BUYER, 1))];
    violates(what_answers_is_later_than_what_it_answers(&early_admission), Property::S7, 1);
    let early_outcome = [head(), admitted(13, request(12, BUYER, 1)), refused(12, BUYER, 1)];
    violates(what_answers_is_later_than_what_it_answers(&early_outcome), Property::S7, 2);
}

#[test]
fn a_request_no_later_than_the_outcome_it_names_is_found() {
    let log = good_then(6, admitted(17, request(15, BUYER, 2)));
    violates(what_answers_is_later_than_what_it_answers(&log), Property::S7, 6);
    let log = good_then(6, deposited(17, deposit(15, SELLER, 2, 1)));
    violates(what_answers_is_later_than_what_it_answers(&log), Property::S7, 6);
}

#[test]
fn a_request_stamped_by_another_is_found() {
    let forged = Request { stamp: stamp(3, OTHER_BUYER), ..request(3, BUYER, 1) };
    let log = [claim(10, TRADER, 1), admitted(11, forged)];
    violates(what_answers_is_later_than_what_it_answers(&log), Property::S7, 1);
}

// S8.

#[test]
fn a_larger_stamp_that_is_served_first_is_found() {
    let log = good_then(5, sold(20, sale(OTHER_BUYER, 1, SELLER, 1)));
    violates(the_smallest_stamp_is_served_first_from_the_smallest_seller(&log), Property::S8, 5);
}

#[test]
fn a_sale_from_a_larger_seller_is_found() {
    let log = good_then(5, sold(20, sale(BUYER, 1, OTHER_SELLER, 1)));
    violates(the_smallest_stamp_is_served_first_from_the_smallest_seller(&log), Property::S8, 5);
}

#[test]
fn a_sale_raises_its_sellers_clock() {
    let start = vec![
        claim(10, TRADER, 1),
        deposited(11, deposit(1, SELLER, 1, 5)),
        deposited(12, deposit(2, OTHER_SELLER, 1, 5)),
        admitted(13, request(3, BUYER, 1)),
        admitted(14, request(4, OTHER_BUYER, 1)),
        sold(15, sale(BUYER, 1, SELLER, 1)),
    ];
    let again = start.iter().cloned().chain([sold(16, sale(OTHER_BUYER, 1, SELLER, 2))]).collect::<Log>();
    violates(the_smallest_stamp_is_served_first_from_the_smallest_seller(&again), Property::S8, 6);
    let other = start.into_iter().chain([sold(16, sale(OTHER_BUYER, 1, OTHER_SELLER, 1))]).collect::<Log>();
    the_smallest_stamp_is_served_first_from_the_smallest_seller(&other).unwrap();
}

#[test]
fn a_refusal_of_what_somebody_can_fill_is_found() {
    let log = good_then(5, refused(20, BUYER, 1));
    violates(the_smallest_stamp_is_served_first_from_the_smallest_seller(&log), Property::S8, 5);
}

#[test]
fn a_deposit_too_small_for_the_order_cannot_fill_it() {
    let two = Request { quantity: Units(2), ..request(3, BUYER, 1) };
    let log = good_then(3, admitted(20, two)).into_iter().chain([refused(21, BUYER, 1)]).collect::<Log>();
    the_smallest_stamp_is_served_first_from_the_smallest_seller(&log).unwrap();
}

#[test]
fn the_trader_and_the_buyer_itself_cannot_fill_an_order() {
    let log = [
        claim(10, TRADER, 1),
        deposited(11, deposit(1, NEXT, 1, 1)),
        deposited(12, deposit(2, BUYER, 1, 1)),
        claim(13, NEXT, 2),
        by(NEXT, admitted(14, request(3, BUYER, 1))),
        by(NEXT, refused(15, BUYER, 1)),
    ];
    the_smallest_stamp_is_served_first_from_the_smallest_seller(&log).unwrap();
    for seller in [NEXT, BUYER] {
        let mut served = log.clone();
        served[5] = by(NEXT, sold(15, sale(BUYER, 1, seller, 1)));
        violates(the_smallest_stamp_is_served_first_from_the_smallest_seller(&served), Property::S8, 5);
    }
}

#[test]
fn an_admission_before_the_inherited_queue_is_served_is_found() {
    let log = good_then(10, by(NEXT, admitted(21, request(20, OTHER_BUYER, 2))));
    violates(nothing_is_admitted_before_the_inherited_queue_is_served(&log), Property::S8, 10);
    // What the new term itself admits holds nothing up.
    let log = good_then(12, by(NEXT, admitted(26, request(20, OTHER_BUYER, 2))));
    nothing_is_admitted_before_the_inherited_queue_is_served(&log).unwrap();
}

#[test]
fn an_admission_after_an_outcome_in_one_batch_is_found() {
    let [first, whole] = claim_and_rest();
    no_admission_follows_an_outcome_in_its_batch([&first, &whole]).unwrap();
    let mut swapped = whole.clone();
    swapped.records.swap(3, 4);
    violates(no_admission_follows_an_outcome_in_its_batch([&first, &swapped]), Property::S8, 5);
    // A deposit between the two hides nothing.
    let mut between = whole;
    between.records.extend([deposited(20, deposit(16, SELLER, 2, 1)), admitted(21, request(16, BUYER, 2))]);
    violates(no_admission_follows_an_outcome_in_its_batch([&first, &between]), Property::S8, 7);
}

// R5.

/// The first claim of [`good`], and the five records after it in one batch.
fn claim_and_rest() -> [Batch; 2] {
    let mut records = good();
    let rest = records.drain(1..).take(5).collect::<Log>();
    [(0, records), (1, rest)].map(|(at, records)| Batch { epoch: Epoch(1), position: Position(at), records })
}

#[test]
fn a_batch_of_more_than_its_limit_is_found() {
    let [first, whole] = claim_and_rest();
    for limit in [None, Some(5)] {
        a_batch_holds_at_most_as_many_records_as_its_limit([&first, &whole], limit).unwrap();
    }
    violates(a_batch_holds_at_most_as_many_records_as_its_limit([&first, &whole], Some(4)), Property::R5, 5);
    // A claim is a record like any other.
    violates(a_batch_holds_at_most_as_many_records_as_its_limit([&first], Some(0)), Property::R5, 0);
}

#[test]
fn a_batch_out_of_order_is_found() {
    let [first, whole] = claim_and_rest();
    a_batch_is_deposits_then_admissions_then_outcomes([&first, &whole]).unwrap();
    for (one, other, at) in [(1, 2, 3), (3, 4, 5)] {
        let mut swapped = whole.clone();
        swapped.records.swap(one, other);
        violates(a_batch_is_deposits_then_admissions_then_outcomes([&first, &swapped]), Property::R5, at);
    }
    let twice = Batch { records: vec![resigned(20), resigned(21)], ..whole };
    violates(a_batch_is_deposits_then_admissions_then_outcomes([&first, &twice]), Property::R5, 2);
}

// In the stable order admissions stand between outcomes, but seats do not, and deposits come first all the same.
#[test]
fn a_seat_after_an_outcome_and_a_deposit_after_an_admission_are_found_in_the_stable_order() {
    let log = in_order();
    let first = Batch { epoch: Epoch(1), position: Position(0), records: vec![log[0].clone()] };
    let rest = Batch { epoch: Epoch(1), position: Position(1), records: log[1..].to_vec() };
    a_batch_is_deposits_then_admissions_then_outcomes([&first, &rest]).unwrap();
    let seat = Entry::Seated { buyer: life(BUYER), above: Time(14) };
    for (nth, entry) in [(2, seat.clone()), (1, Entry::Deposited(deposit(3, SELLER, 1, 1)))] {
        let mut records = rest.records.clone();
        records.insert(nth, record(20 + nth as u64, TRADER, entry));
        let wrong = Batch { records, ..rest.clone() };
        violates(a_batch_is_deposits_then_admissions_then_outcomes([&first, &wrong]), Property::R5, 1 + nth as u64);
    }
    let mut records = rest.records.clone();
    records.insert(1, record(20, TRADER, seat));
    a_batch_is_deposits_then_admissions_then_outcomes([&first, &Batch { records, ..rest }]).unwrap();
}

// S9 and S14.

/// In the stable order: the second buyer's request is served, and then the first one's, stamped earlier, comes late.
fn in_order() -> Log {
    let claimed = Entry::Claimed { epoch: Epoch(1), holder: life(TRADER), ordering: Ordering::Stable };
    let late = Entry::Admitted { request: request(12, BUYER, 1), place: Time(14) };
    let refused = |time, buyer| {
        let request = RequestId { buyer, sequence: Sequence(1) };
        record(time, TRADER, Entry::Refused { request, leftover: None })
    };
    vec![
        record(11, TRADER, claimed),
        admitted(20, request(13, OTHER_BUYER, 1)),
        refused(21, OTHER_BUYER),
        record(22, TRADER, late),
        refused(23, BUYER),
    ]
}

#[test]
fn an_outcome_below_the_last_place_is_found() {
    outcomes_rise_from_place_to_place(&in_order()).unwrap();
    let mut own = in_order();
    own[3] = admitted(22, request(12, BUYER, 1));
    violates(outcomes_rise_from_place_to_place(&own), Property::S9, 3);
    // Both wait, and the later one is served first.
    let mut swapped = in_order();
    swapped[2] = admitted(21, request(12, BUYER, 1));
    swapped[3] = in_order()[2].clone();
    violates(outcomes_rise_from_place_to_place(&swapped), Property::S9, 4);
}

#[test]
fn a_late_request_of_a_life_that_has_not_lost_its_seat_is_found() {
    violates(whoever_is_late_has_lost_its_seat(&in_order()), Property::S14, 3);
    let mut seated = in_order();
    let buyer = Life { peer: BUYER, incarnation: Incarnation(0) };
    seated.insert(1, record(12, TRADER, Entry::Seated { buyer, above: Time(1) }));
    violates(whoever_is_late_has_lost_its_seat(&seated), Property::S14, 4);
    let unseated = Entry::Unseated { buyer: BUYER };
    seated.insert(3, record(20, TRADER, unseated));
    whoever_is_late_has_lost_its_seat(&seated).unwrap();
}

// S13, SPEC B6 and B7.

#[test]
fn a_request_that_names_another_outcome_is_found() {
    for previous in [None, Some(Sequence(7))] {
        let unaware = Request { previous, ..request(16, BUYER, 2) };
        violates(a_request_names_the_outcome_before_it(&good_then(6, admitted(17, unaware))), Property::S13, 6);
    }
    let invented = Request { previous: Some(Sequence(7)), ..request(3, BUYER, 1) };
    violates(a_request_names_the_outcome_before_it(&good_then(3, admitted(17, invented))), Property::S13, 3);
}

#[test]
fn a_second_open_request_is_found() {
    let second = Request { previous: None, ..request(4, BUYER, 2) };
    violates(a_request_names_the_outcome_before_it(&good_then(5, admitted(17, second))), Property::S13, 5);
}

#[test]
fn a_sale_after_the_last_of_the_term_is_found() {
    violates(a_term_ends_with_its_last_sale(&good(), Some(1)), Property::B6, 6);
    a_term_ends_with_its_last_sale(&good(), Some(3)).unwrap();
    a_term_ends_with_its_last_sale(&good(), None).unwrap();
}

#[test]
fn a_resignation_that_is_missing_is_found() {
    violates(a_term_ends_with_its_last_sale(&good()[..8], Some(2)), Property::B6, 8);
}

#[test]
fn a_trader_that_deposits_asks_or_sells_is_found() {
    let deposits = [claim(10, TRADER, 1), deposited(11, deposit(1, TRADER, 1, 1))];
    violates(a_trader_in_office_neither_buys_nor_sells(&deposits), Property::B7, 1);
    let asks = [claim(10, TRADER, 1), admitted(11, request(1, TRADER, 1))];
    violates(a_trader_in_office_neither_buys_nor_sells(&asks), Property::B7, 1);
    let sells = [
        claim(10, TRADER, 1),
        deposited(11, deposit(1, NEXT, 1, 1)),
        admitted(12, request(1, BUYER, 1)),
        claim(13, NEXT, 2),
        by(NEXT, sold(14, sale(BUYER, 1, NEXT, 1))),
    ];
    violates(a_trader_in_office_neither_buys_nor_sells(&sells), Property::B7, 4);
}

#[test]
fn a_traders_own_request_from_before_is_served() {
    let log = [
        claim(10, TRADER, 1),
        deposited(11, deposit(1, SELLER, 1, 1)),
        admitted(12, request(1, NEXT, 1)),
        claim(13, NEXT, 2),
        by(NEXT, sold(14, sale(NEXT, 1, SELLER, 1))),
    ];
    assert!(audit(&log, TERMS).is_clean());
}

// S10.

#[test]
fn a_send_to_a_stranger_is_found() {
    let neighbours = [PeerId(1), PeerId(2)].into();
    nothing_is_sent_to_a_non_neighbour(PeerId(0), PeerId(2), &neighbours).unwrap();
    violates_off_the_log(nothing_is_sent_to_a_non_neighbour(PeerId(0), PeerId(3), &neighbours), Property::S10);
}

#[test]
fn a_flood_that_is_delivered_twice_to_one_life_is_found() {
    let flood = FloodId { origin: PeerId(0), incarnation: Incarnation(1), number: 1 };
    let restarted = Life { peer: BUYER, incarnation: Incarnation(2) };
    a_flood_is_delivered_at_most_once([(life(BUYER), flood), (life(SELLER), flood), (restarted, flood)]).unwrap();
    violates_off_the_log(
        a_flood_is_delivered_at_most_once([(life(BUYER), flood), (life(BUYER), flood)]),
        Property::S10,
    );
}

// S11, S1.

/// The books after the first records of [`good`].
fn books(records: usize) -> Books {
    let mut books = Books::default();
    good()[..records].iter().for_each(|record| books.apply(record).unwrap());
    books
}

#[test]
fn what_the_books_tell_at_any_head_is_in_the_log() {
    let log = good();
    for records in 0..=log.len() {
        let books = books(records);
        for peer in [SELLER, OTHER_SELLER, BUYER, OTHER_BUYER] {
            let buyer = TraderMessage::Buyer(books.buyer_status(peer));
            whatever_a_client_was_told_is_in_the_log(&buyer, peer, &log).unwrap();
            for after in [None, Some(SaleNumber(1))] {
                let seller = TraderMessage::Seller(books.seller_status(peer, after));
                whatever_a_client_was_told_is_in_the_log(&seller, peer, &log).unwrap();
            }
        }
    }
}

#[test]
fn what_is_not_durable_yet_and_was_told_is_found() {
    let log = good();
    for (told_at, durable, buyer) in [(4, 3, BUYER), (6, 5, BUYER), (11, 10, BUYER), (5, 4, OTHER_BUYER)] {
        let told = TraderMessage::Buyer(books(told_at).buyer_status(buyer));
        violates_off_the_log(whatever_a_client_was_told_is_in_the_log(&told, buyer, &log[..durable]), Property::S11);
    }
    for (told_at, durable) in [(2, 1), (6, 5)] {
        let told = TraderMessage::Seller(books(told_at).seller_status(SELLER, None));
        violates_off_the_log(whatever_a_client_was_told_is_in_the_log(&told, SELLER, &log[..durable]), Property::S11);
    }
}

#[test]
fn another_outcome_than_the_logs_is_found() {
    let last = Some((Sequence(1), Outcome::Refused { item: Item::FISH }));
    let told = TraderMessage::Buyer(BuyerStatus { open: None, last, ..BuyerStatus::default() });
    let violation = whatever_a_client_was_told_is_in_the_log(&told, BUYER, &good()).unwrap_err();
    assert_eq!(
        violation.to_string(),
        "S11: peer 3 was told an outcome of request 0.1 of peer 3 that is not in the log"
    );
}

#[test]
fn a_status_patched_together_from_two_heads_is_found() {
    // The request that waits together with its own outcome.
    let (before, after) = (books(4).buyer_status(BUYER), books(6).buyer_status(BUYER));
    let told = TraderMessage::Buyer(BuyerStatus { open: before.open, last: after.last, ..BuyerStatus::default() });
    violates_off_the_log(whatever_a_client_was_told_is_in_the_log(&told, BUYER, &good()), Property::S11);
    // A sale that has taken nothing from the stock.
    let (before, after) = (books(2).seller_status(SELLER, None), books(6).seller_status(SELLER, None));
    let told = TraderMessage::Seller(SellerStatus { deposit: before.deposit, ..after.clone() });
    violates_off_the_log(whatever_a_client_was_told_is_in_the_log(&told, SELLER, &good()), Property::S11);
    // A sale attributed to another seller.
    let dearer = Sale { price: Price(1), ..sale(BUYER, 1, SELLER, 1) };
    let told = TraderMessage::Seller(SellerStatus { recent: vec![dearer], ..after.clone() });
    violates_off_the_log(whatever_a_client_was_told_is_in_the_log(&told, SELLER, &good()), Property::S11);
    let more = DepositStatus { left: Units(7), ..after.deposit.clone().unwrap() };
    let told = TraderMessage::Seller(SellerStatus { deposit: Some(more), ..after });
    violates_off_the_log(whatever_a_client_was_told_is_in_the_log(&told, SELLER, &good()), Property::S11);
}

// S12, S6.

#[test]
fn books_at_any_head_equal_the_fold_and_what_the_records_say() {
    let log = good();
    for records in 0..=log.len() {
        let books = books(records);
        the_books_equal_the_fold_of_the_log(&books, &log).unwrap();
        the_books_say_what_the_records_say(&books, &log).unwrap();
        the_accounts_add_up(&books).unwrap();
    }
}

#[test]
fn books_that_missed_a_record_are_found() {
    // The same number of records, but another deposit.
    let mut log = good();
    log[2] = deposited(12, deposit(2, OTHER_SELLER, 1, 5));
    violates(the_books_equal_the_fold_of_the_log(&books(3), &log), Property::S12, 3);
    violates(the_books_say_what_the_records_say(&books(3), &log), Property::S12, 3);
    let mut log = good();
    log.swap(3, 4);
    the_books_say_what_the_records_say(&books(5), &log).unwrap();
    violates(the_books_say_what_the_records_say(&books(4), &log), Property::S12, 4);
}

#[test]
fn books_ahead_of_the_log_are_found() {
    violates(the_books_equal_the_fold_of_the_log(&books(5), &good()[..4]), Property::S12, 4);
    violates(the_books_say_what_the_records_say(&books(5), &good()[..4]), Property::S12, 5);
}

#[test]
fn a_record_that_cannot_be_folded_is_found() {
    let log = good_then(4, refused(20, OTHER_BUYER, 1));
    violates(the_books_equal_the_fold_of_the_log(&books(5), &log), Property::S12, 4);
}

#[test]
fn accounts_that_do_not_add_up_are_found() {
    // So many buyers that a snapshot has several chunks; the last, with the seller in it, is lost.
    let log = many_sales(200);
    let mut books = Books::default();
    log.iter().for_each(|record| books.apply(record).unwrap());
    the_accounts_add_up(&books).unwrap();
    let mut chunks = books.chunks(Limits::DEFAULT.chunk_weight);
    assert!(chunks.pop().is_some() && !chunks.is_empty());
    violates(the_accounts_add_up(&Books::from_chunks(books.sales_kept(), chunks)), Property::S6, 402);
}

/// One seller, one deposit, and one request from each of so many buyers, each served at once.
fn many_sales(buyers: u32) -> Log {
    let asks = (0..u64::from(buyers)).zip(100..).flat_map(|(nth, buyer)| {
        let now = 11 + 3 * nth;
        let request = request(now, PeerId(buyer), 1);
        [admitted(now + 1, request), sold(now + 2, sale(PeerId(buyer), 1, SELLER, nth + 1))]
    });
    [claim(10, TRADER, 1), deposited(11, deposit(1, SELLER, 1, buyers))].into_iter().chain(asks).collect()
}

// The audit.

#[test]
fn an_audit_of_a_good_log_is_clean_and_adds_it_up() {
    let report = audit(&good(), TERMS);
    assert!(report.is_clean(), "{report:?}");
    assert!(report.verdicts.iter().all(|(property, _)| *property != Property::R5), "nobody told it about batches");
    let by_batch = audit_batches(&batches(good()), TERMS);
    assert!(by_batch.is_clean() && by_batch.verdicts.contains(&(Property::R5, None)), "{by_batch:?}");
    assert_eq!(by_batch.totals, report.totals);
    let totals = AuditTotals {
        first_record: Position(0),
        records: 12,
        terms: 2,
        resignations: 1,
        epoch: Epoch(2),
        deposits: 2,
        units_deposited: 2,
        units_returned: 0,
        units_sold: 2,
        units_left: 0,
        requests: 4,
        open: 1,
        sales: 2,
        refusals: 1,
        ordering: Some(Ordering::SmallestOpen),
        late: 0,
        overtaken: 0,
        paid: Cents(1800),
        earned: Cents(1440),
        commission: Cents(360),
    };
    assert_eq!(report.totals, totals);
}

#[test]
fn an_audit_of_nothing_is_clean() {
    let report = audit(&[], TERMS);
    assert!(report.is_clean());
    assert_eq!(report.totals, AuditTotals::default());
}

#[test]
fn an_audit_goes_on_after_a_violation_and_keeps_the_first_of_each() {
    let mut log = good();
    log[5] = sold(15, Sale { commission: Cents(0), ..sale(BUYER, 1, SELLER, 1) });
    log[7] = sold(18, Sale { commission: Cents(0), ..sale(OTHER_BUYER, 1, OTHER_SELLER, 2) });
    log[11] = by(NEXT, admitted(20, request(19, BUYER, 3)));
    let report = audit(&log, TERMS);
    let found: Vec<_> = report.violations().map(|violation| (violation.property, violation.position)).collect();
    assert_eq!(
        found,
        [(Property::S4, Some(Position(7))), (Property::S6, Some(Position(5))), (Property::S7, Some(Position(11))),]
    );
}

/// So many records of a good log, what follows them, and what that violates.
fn bad_ends() -> Vec<(Property, usize, Record)> {
    let unaware = Request { previous: None, ..request(16, BUYER, 2) };
    let left_over = Deposit { previous: None, ..deposit(16, SELLER, 2, 1) };
    let cheap = Sale { price: Price(1), commission: Cents(0), earned: Cents(1), ..sale(BUYER, 1, SELLER, 1) };
    let free = Sale { earned: Cents(0), ..sale(BUYER, 1, SELLER, 1) };
    vec![
        (Property::S1, 4, claim(20, NEXT, 1)),
        (Property::S1, 4, by(NEXT, admitted(20, request(3, OTHER_BUYER, 1)))),
        (Property::S2, 4, claim(20, NEXT, 3)),
        (Property::S2, 10, refused(21, BUYER, 2)),
        (Property::S3, 3, refused(20, BUYER, 1)),
        (Property::S4, 6, refused(20, BUYER, 1)),
        (Property::S4, 6, deposited(20, left_over)),
        (Property::S5, 5, sold(20, cheap)),
        (Property::S6, 5, sold(20, free)),
        (Property::S7, 5, sold(14, sale(BUYER, 1, SELLER, 1))),
        (Property::S7, 4, admitted(20, request(20, OTHER_BUYER, 1))),
        (Property::S8, 5, refused(20, BUYER, 1)),
        (Property::S8, 10, by(NEXT, admitted(25, request(24, OTHER_BUYER, 2)))),
        (Property::S13, 6, admitted(20, unaware)),
        (Property::B6, 8, refused(20, BUYER, 2)),
        (Property::B7, 3, admitted(20, request(3, TRADER, 1))),
    ]
}

#[test]
fn an_audit_asks_every_question() {
    for (property, records, last) in bad_ends() {
        let mut audit = LogAudit::new(TERMS);
        good()[..records].iter().for_each(|record| audit.observe(record).unwrap());
        assert!(audit.observe(&last).is_err());
        let found = audit.report();
        let expected = Some(Position(records as u64));
        assert!(
            found.violations().any(|found| (found.property, found.position) == (property, expected)),
            "{property} at {records}: {found:?}"
        );
    }
}

#[test]
fn an_audit_that_begins_at_a_snapshot_asks_the_same() {
    for (property, records, last) in bad_ends() {
        let mut books = Books::default();
        for from in 0..=records {
            let mut audit = LogAudit::after(&books, TERMS);
            good()[from..records].iter().for_each(|record| audit.observe(record).unwrap());
            assert!(audit.observe(&last).is_err(), "{property} at {records} from {from}");
            let found = audit.report();
            let expected = Some(Position(records as u64));
            let is_found = |property| found.violations().any(|v| (v.property, v.position) == (property, expected));
            // Of what was settled before it begins, it knows nothing: to it, a second outcome is of what was not admitted.
            let is_second = last.entry == refused(20, BUYER, 1).entry && from == records;
            assert!(
                is_found(property) || property == Property::S4 && is_second && is_found(Property::S3),
                "{property} at {records} from {from}: {found:?}"
            );
            if let Some(record) = good().get(from) {
                books.apply(record).unwrap();
            }
        }
    }
}

#[test]
fn an_audit_that_begins_in_a_bad_log_goes_on() {
    // A request is admitted before the one that the term inherited is served.
    let mut log = good_then(10, by(NEXT, admitted(21, request(5, OTHER_BUYER, 2))));
    let Entry::Admitted { request: Request { previous, .. }, .. } = &mut log[10].entry else { unreachable!() };
    *previous = Some(Sequence(1));
    log.extend([by(NEXT, refused(22, OTHER_BUYER, 2)), by(NEXT, refused(23, BUYER, 2))]);
    let mut books = Books::default();
    for from in 0..log.len() {
        let mut audit = LogAudit::after(&books, TERMS);
        log[from..].iter().for_each(|record| drop(audit.observe(record)));
        let found: Vec<_> = audit.report().violations().map(|violation| violation.property).collect();
        assert_eq!(found.contains(&Property::S8), from <= 10, "from {from}: {found:?}");
        books.apply(&log[from]).unwrap();
    }
}

#[test]
fn a_missing_resignation_shows_when_the_log_ends() {
    let mut audit = LogAudit::new(TERMS);
    good()[..8].iter().for_each(|record| audit.observe(record).unwrap());
    let report = audit.report();
    assert_eq!(report.violations().map(|violation| violation.property).collect::<Vec<_>>(), [Property::B6]);
    audit.observe(&good()[8]).unwrap();
    assert!(audit.report().is_clean());
}

#[test]
fn an_audit_by_batch_sees_the_size_and_the_order_within() {
    let [first, whole] = claim_and_rest();
    let report = audit_batches([&first, &whole], TERMS);
    let found = report.violations().map(|violation| (violation.property, violation.position)).collect::<Vec<_>>();
    assert_eq!(found, [(Property::R5, Some(Position(3)))]);
    for (first, violated) in [(3, &[][..]), (4, &[]), (5, &[Property::S8, Property::R5])] {
        let mut joined = batches(good());
        let second = joined.remove(first + 1);
        joined[first].records.extend(second.records);
        let report = audit_batches(&joined, TERMS);
        let found = report.violations().map(|violation| violation.property).collect::<Vec<_>>();
        assert_eq!(found, violated, "batches {first} and {} as one", first + 1);
    }
}

#[test]
fn a_long_log_is_audited_in_one_pass() {
    // A check that searched the whole log for each record would not finish here.
    let log = many_sales(100_000);
    let report = audit(&log, AuditTerms { resign_after: None, ..TERMS });
    assert!(report.is_clean(), "{:?}", report.violations().next());
    assert_eq!((report.totals.sales, report.totals.units_left), (100_000, 0));
}

// C2, D7 and D8 were missing, and `simulate --without` refused them.
#[test]
fn all_properties_are_listed_in_order() {
    assert!(Property::ALL.iter().enumerate().all(|(nth, property)| *property as usize == nth));
    assert_eq!(Property::ALL.len(), Property::L4 as usize + 1, "the last one");
}
