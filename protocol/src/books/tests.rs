use super::*;
use crate::config::Ordering;
use crate::{
    id::{Item, Sequence},
    ledger::LedgerAnswer,
    money::{Cents, Price},
    reading::Reading,
    testing::{claim, deposit, life, record, request, sale},
};
use alloc::{format, vec};

const KEPT: u64 = Limits::DEFAULT.sales_kept as u64;
const HEAVIEST: u32 = Limits::DEFAULT.chunk_weight;

/// The books after these records.
fn fold(records: impl IntoIterator<Item = Record>) -> Books {
    let mut books = Books::default();
    for record in records {
        assert_eq!(books.apply(&record), Ok(()), "{record:?}");
    }
    books
}

/// Peer 9 is in office; seller 1 has sold one of two fish to buyer 3, whose next request waits, as does buyer 4's
/// first.
fn log() -> Vec<Record> {
    let first = request(2, 3, 1);
    let entries = [
        Entry::Deposited(deposit(1, 1, 2)),
        Entry::admitted(first.clone()),
        Entry::Sold(sale(&first, &deposit(1, 1, 2), 1)),
        Entry::admitted(request(7, 3, 2)),
        Entry::admitted(request(6, 4, 1)),
    ];
    let rest = (6..).zip(entries).map(|(time, entry)| record(time, 9, entry));
    core::iter::once(claim(5, 9, 1)).chain(rest).collect()
}

// SPEC D4, D6.
#[test]
fn a_sale_changes_everything_it_concerns_at_once() {
    let books = fold(log().into_iter().take(4));
    let sold = sale(&request(2, 3, 1), &deposit(1, 1, 2), 1);
    let status = books.seller_status(PeerId(1), None);
    assert_eq!(status.deposit.map(|deposit| deposit.left), Some(Units(1)));
    assert_eq!((status.sales, status.earned, status.recent), (SaleNumber(1), Cents(720), vec![sold.clone()]));
    let buyer = &books.buyers()[&PeerId(3)];
    assert_eq!((buyer.open, buyer.bought, buyer.spent), (None, 1, Cents(900)));
    assert_eq!(books.buyer_status(PeerId(3)).last, Some((Sequence(1), Outcome::Sold(sold))));
    assert_eq!(books.traders()[&PeerId(9)], TraderAccount { sales: 1, commission: Cents(180) });
    assert_eq!((books.sales(), books.term().unwrap().sales, books.queue().len()), (1, 1, 0));
    assert_eq!(books.sellers()[&PeerId(1)].clock, Time(8), "SPEC C4: raised to the sale's");
}

// SPEC C4.
#[test]
fn the_queue_is_ordered_by_stamp_and_not_by_arrival() {
    let books = fold(log());
    assert_eq!(books.queue().cloned().collect::<Vec<_>>(), [request(6, 4, 1), request(7, 3, 2)]);
    assert_eq!(books.first_in_queue(), Some(&request(6, 4, 1)));
}

#[test]
fn a_record_that_cannot_follow_changes_nothing() {
    let (waits, stock) = (request(7, 3, 2), deposit(1, 1, 2));
    let sold = sale(&waits, &stock, 2);
    let sell = |sale: Sale| record(20, 9, Entry::Sold(sale));
    let admit = |request: Request| record(20, 9, Entry::admitted(request));
    let store = |deposit: Deposit| record(20, 9, Entry::Deposited(deposit));
    let free = Request { previous: Some(Sequence(1)), ..request(20, 5, 2) };
    let wrong = [
        (claim(20, 8, 3), BooksFault::ClaimOutOfTurn),
        (claim(20, 8, 1), BooksFault::ClaimOutOfTurn),
        (
            record(20, 7, Entry::Claimed { epoch: Epoch(2), holder: life(8, 1), ordering: Ordering::SmallestOpen }),
            BooksFault::ClaimOutOfTurn,
        ),
        (record(20, 8, Entry::Resigned), BooksFault::NotInOffice),
        (record(20, 8, Entry::Sold(sold.clone())), BooksFault::NotInOffice),
        (store(deposit(1, 2, 2)), BooksFault::DepositOutOfTurn),
        (store(deposit(2, 2, 2)), BooksFault::DepositOutOfTurn),
        (store(deposit(2, 1, 0)), BooksFault::DepositOutOfTurn),
        (admit(request(20, 3, 3)), BooksFault::RequestOutOfTurn),
        (admit(free), BooksFault::RequestOutOfTurn),
        (admit(Request { quantity: Units(0), ..request(20, 5, 1) }), BooksFault::RequestOutOfTurn),
        (record(20, 9, Entry::Refused { request: request(2, 3, 1).id, leftover: None }), BooksFault::NoSuchRequest),
        (sell(sale(&request(2, 3, 1), &stock, 2)), BooksFault::NoSuchRequest),
        (sell(Sale { item: Item::SALT, ..sold.clone() }), BooksFault::NoSuchRequest),
        (sell(Sale { quantity: Units(2), ..sold.clone() }), BooksFault::NoSuchRequest),
        (sell(sale(&waits, &deposit(2, 1, 2), 1)), BooksFault::NoSuchStock),
        (sell(sale(&waits, &deposit(1, 2, 2), 2)), BooksFault::NoSuchStock),
        (sell(sale(&waits, &Deposit { price: Price(800), ..stock.clone() }, 2)), BooksFault::NoSuchStock),
        (sell(Sale { number: SaleNumber(3), ..sold.clone() }), BooksFault::SaleOutOfTurn),
        (sell(Sale { earned: Cents(721), ..sold.clone() }), BooksFault::MoneyDoesNotAddUp),
        (sell(Sale { commission: Cents(u128::MAX), ..sold.clone() }), BooksFault::MoneyDoesNotAddUp),
    ];
    let before = fold(log());
    for (record, reason) in wrong {
        let mut books = before.clone();
        let error = BooksError { position: Position(6), reason };
        assert_eq!(books.apply(&record), Err(error.clone()), "{record:?}");
        assert_eq!(books, before, "{record:?}");
        assert!(format!("{error}").starts_with("record 6: "));
    }
    assert_eq!(fold(log()).apply(&sell(sold)), Ok(()), "the sale that all of them are variants of");
}

// SPEC D5, D8.
#[test]
fn no_deposit_sells_more_than_is_left_of_it() {
    let mut log = log();
    log[4] = record(9, 9, Entry::admitted(Request { quantity: Units(2), ..request(7, 3, 2) }));
    let mut books = fold(log);
    let two = Request { quantity: Units(2), ..request(7, 3, 2) };
    let error = books.apply(&record(20, 9, Entry::Sold(sale(&two, &deposit(1, 1, 2), 2)))).unwrap_err();
    assert_eq!(error.reason, BooksFault::NoSuchStock);
}

#[test]
fn nothing_is_written_in_a_term_after_it_was_resigned() {
    let mut books = fold(log().into_iter().chain([record(20, 9, Entry::Resigned)]));
    let before = books.clone();
    let error =
        books.apply(&record(21, 9, Entry::Refused { request: request(6, 4, 1).id, leftover: None })).unwrap_err();
    assert_eq!((error.reason, &books), (BooksFault::NotInOffice, &before));
    assert_eq!(books.apply(&claim(22, 8, 2)), Ok(()));
}

// SPEC D6. The whole price on either side of the split, twice: more than 64 bits hold.
#[test]
fn an_account_holds_more_than_one_of_the_largest_orders() {
    let dear = |seller, number| Deposit { price: Price(u32::MAX), ..deposit(seller, number, u32::MAX) };
    let all = |buyer, sequence| Request { quantity: Units(u32::MAX), ..request(2, buyer, sequence) };
    let total = u128::from(u32::MAX) * u128::from(u32::MAX);
    let sold = |request: &Request, deposit: &Deposit, number, share: u128| {
        let commission = Cents(total * share);
        Sale { commission, earned: Cents(total - commission.0), ..sale(request, deposit, number) }
    };
    for share in [0, 1] {
        let mut books = fold([claim(5, 9, 1)]);
        for number in 1..=3 {
            let (stock, wish) = (dear(1, number), all(3, number));
            let sale = sold(&wish, &stock, number, share);
            for entry in [Entry::Deposited(stock), Entry::admitted(wish), Entry::Sold(sale)] {
                books.apply(&record(6, 9, entry)).unwrap();
            }
        }
        assert_eq!(books.buyers()[&PeerId(3)].spent, Cents(3 * total));
        assert_eq!(books.buyers()[&PeerId(3)].bought, 3 * u64::from(u32::MAX));
        assert_eq!(books.sellers()[&PeerId(1)].earned, Cents(3 * total * (1 - share)));
        assert_eq!(books.traders()[&PeerId(9)].commission, Cents(3 * total * share));
        assert_eq!(crate::invariant::the_accounts_add_up(&books), Ok(()));
    }
}

// SPEC D8.
#[test]
fn a_refusal_names_only_what_is_left_of_a_deposit_that_was_enough_when_it_was_whole() {
    let wish = |buyer, sequence, quantity| Request { quantity: Units(quantity), ..request(6, buyer, sequence) };
    let stock = deposit(1, 1, 3);
    let first = wish(3, 1, 2);
    let start = [
        claim(5, 9, 1),
        record(6, 9, Entry::Deposited(stock.clone())),
        record(7, 9, Entry::admitted(first.clone())),
        record(8, 9, Entry::Sold(sale(&first, &stock, 1))),
    ];
    let refusal =
        |deposit: &Deposit| record(10, 9, Entry::Refused { request: wish(4, 1, 1).id, leftover: Some(deposit.id) });
    for (quantity, named, is_fine) in [
        (2, deposit(1, 1, 3), true),
        (3, deposit(1, 1, 3), true),
        (1, deposit(1, 1, 3), false),
        (4, deposit(1, 1, 3), false),
        (2, deposit(1, 2, 3), false),
        (2, deposit(2, 1, 3), false),
    ] {
        let mut books = fold(start.clone());
        books.apply(&record(9, 9, Entry::admitted(wish(4, 1, quantity)))).unwrap();
        let before = books.clone();
        let applied = books.apply(&refusal(&named));
        assert_eq!(applied.is_ok(), is_fine, "{quantity} of {named:?}: {applied:?}");
        assert!(is_fine || books == before);
        if is_fine {
            assert!(books.seller_status(PeerId(1), None).deposit.is_some_and(|deposit| deposit.leftover));
            books.apply(&record(11, 9, Entry::admitted(wish(4, 2, quantity)))).unwrap();
            let again = Entry::Refused { request: wish(4, 2, quantity).id, leftover: Some(stock.id) };
            let error = books.apply(&record(12, 9, again)).unwrap_err();
            assert_eq!(error.reason, BooksFault::NoSuchStock, "it is named once");
            books.apply(&record(13, 9, Entry::Deposited(deposit(1, 2, 3)))).unwrap();
            let status = books.seller_status(PeerId(1), None).deposit.unwrap();
            assert_eq!((status.left, status.leftover), (Units(3), false), "the rest is not counted twice");
        }
    }
    assert!(!fold(start).is_depositable(&deposit(1, 2, 3)), "nobody has said that too little is left");
}

// DESIGN R4.
#[test]
fn a_claim_inherits_the_queue_and_each_outcome_shortens_it() {
    let mut books = fold(log().into_iter().chain([claim(20, 8, 2)]));
    assert_eq!(books.term().map(|term| (term.sales, term.inherited)), Some((0, 2)));
    books.apply(&record(21, 8, Entry::Refused { request: request(6, 4, 1).id, leftover: None })).unwrap();
    assert_eq!(books.term().map(|term| term.inherited), Some(1));
    assert_eq!((books.refusals(), books.latest()), (1, Time(21)));
    let outcome = Outcome::Refused { item: Item::FISH };
    assert_eq!(
        books.buyer_status(PeerId(4)),
        BuyerStatus { last: Some((Sequence(1), outcome)), ..BuyerStatus::default() }
    );
}

/// Books in which each of the sellers 100 to 119 has made `sales` sales, each from a deposit of its own, to its own
/// buyer.
fn busy(sales: u64) -> Books {
    busy_keeping(Limits::DEFAULT.sales_kept, sales)
}

fn busy_keeping(sales_kept: u32, sales: u64) -> Books {
    let mut books = Books::keeping(sales_kept);
    books.apply(&claim(5, 9, 1)).unwrap();
    for seller in 100..120 {
        for number in 1..=sales {
            let (stock, wish) = (deposit(seller, number, 1), request(number, seller + 100, number));
            let sold = sale(&wish, &stock, number);
            for entry in [Entry::Deposited(stock), Entry::admitted(wish), Entry::Sold(sold)] {
                books.apply(&record(6, 9, entry)).unwrap();
            }
        }
        books.apply(&record(6, 9, Entry::admitted(request(9, seller + 100, sales + 1)))).unwrap();
    }
    books
}

// SPEC D7.
#[test]
fn the_latest_sales_of_a_seller_are_kept_to_be_told_again() {
    let books = busy(KEPT + 3);
    let told = |after| books.seller_status(PeerId(100), after).recent.iter().map(|sale| sale.number.0).collect();
    let (all, two): (Vec<_>, Vec<_>) = (told(None), told(Some(SaleNumber(33))));
    assert_eq!((all, two), ((4..=35).collect(), vec![34, 35]));
    assert_eq!(books.seller_status(PeerId(100), None).sales, SaleNumber(35));
}

// SPEC D7.
#[test]
fn books_that_keep_one_sale_of_a_seller_tell_its_latest() {
    let books = busy_keeping(1, 3);
    let status = books.seller_status(PeerId(100), None);
    assert_eq!(status.recent.iter().map(|sale| sale.number.0).collect::<Vec<_>>(), [3]);
    assert_eq!((status.sales, status.earned), (SaleNumber(3), Cents(3 * 720)), "the account counts all of them");
}

#[test]
fn a_chunk_that_may_weigh_one_is_one_entry_however_heavy() {
    let books = busy_keeping(3, 3);
    let chunks = books.chunks(1);
    // The totals, twenty requests, twenty buyers and sellers, and the trader.
    assert_eq!(chunks.len(), 1 + 20 + 20 + 20 + 1);
    assert!(chunks.iter().all(|chunk| chunk.0.len() == 1));
    assert_eq!(chunks.iter().map(SnapshotChunk::weight).max(), Some(5), "a seller's account with three sales");
    assert_eq!(Books::from_chunks(3, chunks), books);

    let mut reading = Reading::on(Books::keeping(3));
    while reading.take(answer(books.chunk_for(reading.wanted().1, 1))) == Ok(true) {}
    assert_eq!(reading.into_books(), books);
}

#[test]
fn a_chunk_may_be_as_heavy_as_the_heaviest_account() {
    let most = Limits::FRAME - Limits::ACCOUNT_WEIGHT;
    let books = busy_keeping(most, u64::from(most) + 1);
    for heaviest in [1, 100, Limits::FRAME] {
        let chunks = books.chunks(heaviest);
        assert!(chunks.iter().all(|chunk| chunk.weight() <= Limits::FRAME as usize));
    }
}

#[test]
fn books_that_keep_fewer_sales_than_the_chunks_hold_keep_the_latest() {
    let mut reading = Reading::on(Books::keeping(2));
    let many = busy_keeping(3, 3);
    while reading.take(chunk(&many, reading.wanted().1.map_or(0, |id| id.index))) == Ok(true) {}
    assert_eq!(reading.into_books(), busy_keeping(2, 3));
}

#[test]
fn books_taken_apart_and_put_together_are_the_same() {
    for books in [Books::default(), fold(log()), busy(KEPT)] {
        let chunks = books.chunks(HEAVIEST);
        assert!(chunks.iter().all(|chunk| chunk.weight() <= HEAVIEST as usize));
        assert_eq!(Books::from_chunks(books.sales_kept(), chunks), books);
    }
    assert!(busy(KEPT).chunks(HEAVIEST).len() > 2, "or nothing was taken apart");
}

/// Chunk `index` of a snapshot of these books.
fn chunk(books: &Books, index: u32) -> LedgerAnswer {
    answer(books.chunk_for(Some(ChunkId { position: books.position(), index }), HEAVIEST))
}

fn answer((id, of, chunk): (ChunkId, u32, SnapshotChunk)) -> LedgerAnswer {
    LedgerAnswer::Chunk { id, of, chunk }
}

fn of(answer: &LedgerAnswer) -> Option<(ChunkId, u32)> {
    match answer {
        LedgerAnswer::Chunk { id, of, .. } => Some((*id, *of)),
        LedgerAnswer::Status | LedgerAnswer::Records { .. } | LedgerAnswer::Append { .. } => None,
    }
}

#[test]
fn a_reader_that_wants_a_chunk_of_another_snapshot_gets_the_first_of_this_one() {
    let books = busy(KEPT);
    let first = (ChunkId { position: books.position(), index: 0 }, books.chunks(HEAVIEST).len() as u32);
    assert_eq!(of(&answer(books.chunk_for(None, HEAVIEST))), Some(first));
    assert_eq!(of(&answer(books.chunk_for(Some(ChunkId { position: Position(1), index: 1 }), HEAVIEST))), Some(first));
    assert_eq!(of(&chunk(&books, first.1)), Some(first), "past the last chunk");
    assert_eq!(of(&chunk(&books, 1)), Some((ChunkId { index: 1, ..first.0 }, first.1)));
}

fn records(from: u64, records: &[Record]) -> LedgerAnswer {
    LedgerAnswer::Records { from: Position(from), records: records.to_vec() }
}

#[test]
fn a_reading_takes_records_that_continue_it_and_no_others() {
    let (log, mut reading) = (log(), Reading::default());
    assert_eq!(reading.take(records(2, &log[2..])), Ok(false), "too early");
    assert_eq!(reading.take(records(0, &log[..2])), Ok(true));
    assert_eq!(reading.take(records(0, &log[..2])), Ok(false), "duplicated");
    assert_eq!(reading.take(records(0, &log)), Ok(false), "stale, although longer");
    assert_eq!(reading.wanted(), (Position(2), None));
    assert_eq!(reading.take(records(2, &log[2..])), Ok(true));
    assert_eq!(reading.take(records(6, &[])), Ok(false), "there are no more");
    assert_eq!(reading.take(LedgerAnswer::Status), Ok(false));
    assert_eq!(reading.into_books(), fold(log));
}

#[test]
fn a_reading_names_the_record_that_cannot_follow() {
    let log = log();
    let error = Reading::default().take(records(0, &[log[0].clone(), log[2].clone(), log[3].clone()])).unwrap_err();
    assert_eq!(error, BooksError { position: Position(2), reason: BooksFault::NoSuchStock });
}

#[test]
fn a_snapshot_is_put_together_from_its_chunks_in_order_whatever_comes_twice() {
    let (books, mut reading) = (busy(KEPT), Reading::default());
    let last = books.chunks(HEAVIEST).len() as u32 - 1;
    assert_eq!(reading.take(chunk(&books, 1)), Ok(false), "not before the first chunk");
    for index in 0..=last {
        assert_eq!(reading.take(chunk(&books, index)), Ok(true));
        if 0 < index {
            assert_eq!(reading.take(chunk(&books, index)), Ok(false), "duplicated");
        }
        let next = (index < last).then(|| ChunkId { position: books.position(), index: index + 1 });
        assert_eq!(reading.wanted().1, next);
    }
    assert_eq!(reading.take(chunk(&books, 0)), Ok(false), "it does not start over");
    assert_eq!(reading.into_books(), books);
}

#[test]
fn a_snapshot_that_is_replaced_midway_is_begun_anew() {
    let (old, new) = (busy(20), busy(24));
    let mut reading = Reading::default();
    reading.take(chunk(&old, 0)).unwrap();
    assert_eq!(reading.take(chunk(&new, 1)), Ok(false), "chunks of two snapshots do not mix");
    assert_eq!(reading.take(chunk(&new, 0)), Ok(true));
    assert_eq!(reading.take(chunk(&old, 1)), Ok(false));
    for index in 1..new.chunks(HEAVIEST).len() as u32 {
        assert_eq!(reading.take(chunk(&new, index)), Ok(true));
    }
    assert_eq!(reading.into_books(), new);
}

#[test]
fn a_reading_does_without_a_snapshot_that_is_gone_midway() {
    let (log, mut reading) = (log(), Reading::default());
    reading.take(chunk(&busy(20), 0)).unwrap();
    assert_eq!(reading.take(records(0, &log)), Ok(true));
    assert_eq!(reading.wanted(), (Position(6), None), "it no longer asks for a chunk");
    assert_eq!(reading.into_books(), fold(log));
}

#[test]
fn a_reading_goes_on_from_books_and_takes_no_snapshot_of_what_it_has() {
    let mut reading = Reading::on(fold(log()));
    assert_eq!(reading.take(chunk(&fold(log().into_iter().take(4)), 0)), Ok(false));
    assert_eq!(reading.take(records(6, &[claim(20, 8, 2)])), Ok(true));
    assert_eq!(reading.books().epoch(), Epoch(2));
}
