use super::*;
use crate::testing::{FISH, PACE, TERMS, TIMEOUTS, batch, claim, deposit, life, record, request, sale};
use crate::{
    account::BuyerStatus,
    account::Outcome,
    client::{ClientEffect, ClientInput},
    clock::Time,
    config::{Limits, Offer, Offers},
    id::{Epoch, Item, Sequence, Units},
    seller::{Seller, SellerContext, SellerTimer},
};
use alloc::{format, string::String};

/// The trader of every test here, peer 9, with books in which these records follow its claim.
fn trader(entries: impl IntoIterator<Item = Entry>) -> Trader {
    let mut books = Books::default();
    books.apply(&claim(1, 9, 1)).unwrap();
    for entry in entries {
        books.apply(&record(2, 9, entry)).unwrap();
    }
    Trader::new(PeerId(9), books)
}

fn ask(trader: &mut Trader, request: &Request) -> Option<TraderMessage> {
    trader.on_client(request.id.buyer, ClientMessage::Request(request.clone()))
}

fn offer(trader: &mut Trader, deposit: &Deposit) -> Option<TraderMessage> {
    trader.on_client(deposit.id.seller, ClientMessage::Deposit(deposit.clone()))
}

/// The next batch, in short: c for a claim, d for a deposit, a for an admission, s for a sale, r for a refusal, each
/// with its client, and a refusal with whose deposit is left over; R for the resignation.
fn plan(trader: &mut Trader, terms: &Terms) -> (String, Batch) {
    let mut clock = Clock::resume(PeerId(9), Time(100));
    let position = trader.books().position().0;
    let batch = batch(1, position, trader.plan(terms, &mut clock));
    let words = batch.records.iter().map(|record| match &record.entry {
        Entry::Claimed { .. } => String::from("c "),
        Entry::Deposited(deposit) => format!("d{} ", deposit.id.seller),
        Entry::Admitted(request) => format!("a{} ", request.id.buyer),
        Entry::Sold(sale) => format!("s{}<{} ", sale.request.buyer, sale.deposit.seller),
        Entry::Refused { request, leftover: None } => format!("r{} ", request.buyer),
        Entry::Refused { request, leftover: Some(deposit) } => format!("r{}:{} ", request.buyer, deposit.seller),
        Entry::Resigned => String::from("R "),
    });
    (words.collect::<String>().trim_end().into(), batch)
}

/// Plans batch after batch and appends each, until there is nothing left to write.
fn trade(trader: &mut Trader, terms: &Terms) -> Vec<String> {
    let mut batches = Vec::new();
    loop {
        let (words, batch) = plan(trader, terms);
        if batch.records.is_empty() {
            return batches;
        }
        trader.on_appended(&batch).unwrap();
        batches.push(words);
    }
}

// DESIGN R5, SPEC C4: by stamp, not by arrival; from the seller with the smallest clock.
#[test]
fn a_batch_is_deposits_then_admissions_then_outcomes_by_stamp() {
    let mut trader = trader([]);
    for request in [request(7, 3, 1), request(6, 5, 1), request(6, 4, 1)] {
        assert_eq!(ask(&mut trader, &request), None);
    }
    offer(&mut trader, &Deposit { stamp: crate::testing::stamp(5, 1), ..deposit(1, 1, 2) });
    offer(&mut trader, &deposit(2, 1, 1));
    assert_eq!(trader.waiting(), 5);
    assert_eq!(trade(&mut trader, &TERMS), ["d1 d2 a4 a5 a3 s4<2 s5<1 s3<1"]);
    assert_eq!(trader.waiting(), 0);
}

// DESIGN R5.
#[test]
fn a_batch_never_exceeds_its_limit_and_the_rest_waits() {
    let mut trader = trader([]);
    offer(&mut trader, &deposit(1, 1, 2));
    offer(&mut trader, &deposit(2, 1, 2));
    offer(&mut trader, &deposit(6, 1, 2));
    ask(&mut trader, &request(6, 3, 1));
    ask(&mut trader, &request(7, 4, 1));
    let terms = Terms { batch_limit: 2, ..TERMS };
    assert_eq!(trade(&mut trader, &terms), ["d1 d2", "d6 a3", "a4 s3<1", "s4<2"]);
}

// SPEC B6: without room for both, the last sale waits.
#[test]
fn the_last_sale_of_a_term_and_the_resignation_are_one_batch() {
    let mut trader = trader([]);
    offer(&mut trader, &deposit(1, 1, 2));
    ask(&mut trader, &request(6, 3, 1));
    ask(&mut trader, &request(7, 4, 1));
    let terms = Terms { batch_limit: 4, resign_after: 1, ..TERMS };
    assert_eq!(trade(&mut trader, &terms), ["d1 a3 a4", "s3<1 R"]);
    assert_eq!(trader.books().queue().len(), 1, "the other waits for the next trader");
    assert!(plan(&mut trader, &terms).1.records.is_empty(), "the term is over");
}

// SPEC B6.
#[test]
fn a_refusal_in_place_of_the_last_sale_needs_room_for_one_record_only() {
    let mut trader = trader([]);
    ask(&mut trader, &request(6, 3, 1));
    assert_eq!(trade(&mut trader, &Terms { batch_limit: 2, resign_after: 1, ..TERMS }), ["a3 r3"]);
}

// SPEC B7.
#[test]
fn the_trader_s_own_stock_is_set_aside_and_its_earlier_request_is_served() {
    let entries = [Entry::Deposited(deposit(9, 1, 2)), Entry::Admitted(request(6, 9, 1))];
    let mut trader = trader(entries);
    ask(&mut trader, &request(7, 3, 1));
    assert_eq!(trade(&mut trader, &TERMS), ["a3 r9 r3"]);
    assert!(ask(&mut trader, &request(8, 9, 2)).is_some(), "told how it stands");
    assert!(offer(&mut trader, &deposit(9, 2, 1)).is_some());
    assert_eq!(trader.waiting(), 0);
}

#[test]
fn nobody_buys_from_itself() {
    let mut trader = trader([Entry::Deposited(deposit(3, 1, 2))]);
    ask(&mut trader, &request(6, 3, 1));
    ask(&mut trader, &request(7, 4, 1));
    assert_eq!(trade(&mut trader, &TERMS), ["a3 a4 r3 s4<3"]);
}

// SPEC D8.
#[test]
fn a_request_is_filled_whole_from_one_deposit_or_not_at_all() {
    let mut trader = trader([]);
    offer(&mut trader, &deposit(1, 1, 1));
    offer(&mut trader, &deposit(2, 1, 1));
    ask(&mut trader, &Request { quantity: Units(2), ..request(6, 3, 1) });
    ask(&mut trader, &Request { item: Item::SALT, ..request(7, 4, 1) });
    assert_eq!(trade(&mut trader, &TERMS), ["d1 d2 a3 a4 r3 r4"]);
}

/// A buyer's request for so many.
fn wish(time: u64, buyer: u32, sequence: u64, quantity: u32) -> Request {
    Request { quantity: Units(quantity), ..request(time, buyer, sequence) }
}

// SPEC D8.
#[test]
fn a_refusal_names_the_deposit_that_would_have_been_enough_when_it_was_whole() {
    let mut trader = trader([]);
    for (seller, count) in [(1, 3), (2, 4), (5, 2)] {
        offer(&mut trader, &deposit(seller, 1, count));
    }
    ask(&mut trader, &wish(6, 3, 1, 2));
    ask(&mut trader, &wish(7, 4, 1, 3));
    assert_eq!(trade(&mut trader, &TERMS), ["d1 d2 d5 a3 a4 s3<1 s4<2"]);
    // One is left of three, one of four, and two of two.
    ask(&mut trader, &wish(200, 3, 2, 5));
    ask(&mut trader, &wish(201, 4, 2, 3));
    assert_eq!(trade(&mut trader, &TERMS), ["a3 a4 r3 r4:1"], "of five there never was enough");
    ask(&mut trader, &wish(300, 3, 3, 3));
    assert_eq!(trade(&mut trader, &TERMS), ["a3 r3:2"], "the next one");
    ask(&mut trader, &wish(400, 3, 4, 3));
    assert_eq!(trade(&mut trader, &TERMS), ["a3 r3"], "each is named once");
    ask(&mut trader, &wish(500, 3, 5, 1));
    assert_eq!(trade(&mut trader, &TERMS), ["a3 s3<5"], "what is left is for sale, by whoever has the smallest clock");
}

// SPEC D8, B7.
#[test]
fn the_trader_s_and_the_buyer_s_own_deposits_are_not_left_over() {
    let entries = |seller| {
        let (first, stock) = (wish(6, 7, 1, 2), deposit(seller, 1, 3));
        [Entry::Deposited(stock.clone()), Entry::Admitted(first.clone()), Entry::Sold(sale(&first, &stock, 1))]
    };
    let mut own = trader(entries(9));
    ask(&mut own, &wish(8, 3, 1, 2));
    assert_eq!(trade(&mut own, &TERMS), ["a3 r3"]);
    let mut other = trader(entries(4));
    ask(&mut other, &wish(8, 4, 1, 2));
    assert_eq!(trade(&mut other, &TERMS), ["a4 r4"]);
}

// SPEC D8, DESIGN R8, R9: five peers, three at a time, ten units: three sales, and then one is left of each deposit.
#[test]
fn the_market_goes_on_when_something_is_left_of_every_deposit() {
    let mut trader = trader([]);
    let mut numbers = [0, 0];
    let mut deposit_again = |trader: &mut Trader, seller: u32| {
        let number = &mut numbers[seller as usize - 1];
        *number += 1;
        offer(trader, &Deposit { count: Units(10), ..deposit(seller, *number, 10) });
    };
    (1..=2).for_each(|seller| deposit_again(&mut trader, seller));
    let mut sold = 0;
    for sequence in 1..=40 {
        for buyer in [3, 4] {
            ask(&mut trader, &wish(100 * sequence, buyer, sequence, 3));
        }
        let (_, batch) = plan(&mut trader, &Terms { resign_after: 1_000, ..TERMS });
        sold += batch.records.iter().filter(|record| matches!(record.entry, Entry::Sold(_))).count();
        for (to, message) in trader.on_appended(&batch).unwrap().messages {
            if let TraderMessage::Seller(status) = message
                && status.deposit.is_some_and(|deposit| deposit.is_over())
            {
                deposit_again(&mut trader, to.0);
            }
        }
    }
    assert!(sold >= 55, "{sold} of 80 requests were filled");
    assert!(trader.books().refusals() <= 25, "{} refusals", trader.books().refusals());
}

// DESIGN R4, SPEC D9.
#[test]
fn inherited_requests_are_served_before_anything_new_is_admitted() {
    let mut books = trader([Entry::Admitted(request(6, 3, 1)), Entry::Admitted(request(8, 4, 1))]).books().clone();
    books.apply(&claim(9, 8, 2)).unwrap();
    let mut next = Trader::new(PeerId(8), books);
    ask(&mut next, &request(7, 5, 1));
    offer(&mut next, &deposit(1, 1, 2));
    let mut clock = Clock::resume(PeerId(8), Time(100));
    let first = next.plan(&TERMS, &mut clock);
    let kinds = first.iter().map(|record| core::mem::discriminant(&record.entry)).collect::<Vec<_>>();
    let sold = core::mem::discriminant(&Entry::Sold(sale(&request(6, 3, 1), &deposit(1, 1, 2), 1)));
    assert_eq!(kinds, [core::mem::discriminant(&Entry::Deposited(deposit(1, 1, 2))), sold, sold]);
    next.on_appended(&Batch { epoch: Epoch(2), position: next.books().position(), records: first }).unwrap();
    let second = next.plan(&TERMS, &mut clock);
    assert_eq!(second[0].entry, Entry::Admitted(request(7, 5, 1)));
    assert_eq!(second[1].entry, Entry::Refused { request: request(7, 5, 1).id, leftover: None });
}

// DESIGN R8.
#[test]
fn of_two_messages_from_one_client_the_one_decided_later_counts() {
    let again = Request { item: Item::SALT, id: request(1, 3, 2).id, ..request(6, 3, 1) };
    let mut trader = trader([]);
    for request in [&request(6, 3, 1), &again, &request(6, 3, 1)] {
        assert_eq!(ask(&mut trader, request), None);
    }
    assert_eq!(plan(&mut trader, &TERMS).1.records[0].entry, Entry::Admitted(again));
}

// DESIGN R8, SPEC D1, D2.
#[test]
fn what_cannot_be_booked_is_answered_with_its_sender_s_status() {
    let mut trader = trader([Entry::Deposited(deposit(1, 1, 2)), Entry::Admitted(request(6, 3, 1))]);
    let open = TraderMessage::Buyer(BuyerStatus { open: Some(request(6, 3, 1)), last: None });
    assert_eq!(ask(&mut trader, &request(6, 3, 1)), Some(open), "it is booked already");
    let booked = TraderMessage::Seller(trader.books().seller_status(PeerId(1), None));
    assert_eq!(offer(&mut trader, &deposit(1, 1, 2)), Some(booked));
    assert!(ask(&mut trader, &request(6, 4, 2)).is_some(), "it names a request that the books do not have");
    let stolen = ClientMessage::Request(request(6, 5, 1));
    assert_eq!(
        trader.on_client(PeerId(4), stolen),
        Some(TraderMessage::Buyer(BuyerStatus { open: None, last: None })),
        "in another's name"
    );
    assert_eq!(trader.waiting(), 0);
}

// DESIGN R4, R9.
#[test]
fn clients_are_told_when_a_batch_is_appended_and_only_what_is_new() {
    let first = request(6, 3, 1);
    let stock = deposit(1, 1, 3);
    let mut trader =
        trader([Entry::Deposited(stock.clone()), Entry::Admitted(first.clone()), Entry::Sold(sale(&first, &stock, 1))]);
    let second = request(7, 3, 2);
    ask(&mut trader, &second);
    let before = trader.books().clone();
    let (_, batch) = plan(&mut trader, &TERMS);
    assert_eq!(trader.books(), &before, "what is planned does not count yet");
    let told = trader.on_appended(&batch).unwrap();
    let sold = sale(&second, &stock, 2);
    let [(PeerId(3), TraderMessage::Buyer(buyer)), (PeerId(1), TraderMessage::Seller(seller))] = &told.messages[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!(buyer.last, Some((Sequence(2), Outcome::Sold(sold.clone()))));
    assert_eq!(seller.recent, [sold]);
    assert_eq!(told.notes.len(), 2);
    let all = trader.on_client(PeerId(1), ClientMessage::AskSales { after: None });
    assert_eq!(all, Some(TraderMessage::Seller(trader.books().seller_status(PeerId(1), None))));
}

/// The seller with fish for all, as the trader of these tests tells it.
fn seller_of(count: u32) -> (Seller, Offers) {
    let offer = Offer { count: Units(count), ..FISH };
    (Seller::new(life(1, 1), offer), Offers(alloc::vec![offer]))
}

// SPEC D7: nothing is lost, doubled or overtaken, and the books keep one sale.
#[test]
fn a_seller_that_misses_nothing_counts_every_sale_however_few_are_kept() {
    let limits = Limits { sales_kept: 1, ..Limits::DEFAULT };
    let mut books = Books::keeping(limits.sales_kept);
    books.apply(&claim(1, 9, 1)).unwrap();
    let mut trader = Trader::new(PeerId(9), books);
    let (mut seller, offers) = seller_of(7);
    let mut clock = Clock::resume(PeerId(1), Time(0));
    let mut notes = Vec::new();
    let mut tell = |seller: &mut Seller, trader: &mut Trader, input| {
        let (pace, timeouts) = (&PACE, &TIMEOUTS);
        let mut ctx = SellerContext { offers: &offers, pace, timeouts, limits: &limits, clock: &mut clock };
        for effect in seller.step(&mut ctx, input) {
            match effect {
                ClientEffect::Tell(message) => drop(trader.on_client(PeerId(1), message)),
                ClientEffect::Note(note) => notes.push(note),
                ClientEffect::MulticastClock | ClientEffect::Arm(..) | ClientEffect::Choose(..) => {}
            }
        }
    };
    tell(&mut seller, &mut trader, ClientInput::TraderKnown);
    tell(&mut seller, &mut trader, ClientInput::Fired(SellerTimer));
    for (sequence, buyers) in [(1, 3..6), (2, 3..6)] {
        for buyer in buyers {
            ask(&mut trader, &request(sequence + 5, buyer, sequence));
        }
        let (_, batch) = plan(&mut trader, &TERMS);
        for (to, message) in trader.on_appended(&batch).unwrap().messages {
            if let (PeerId(1), TraderMessage::Seller(status)) = (to, message) {
                tell(&mut seller, &mut trader, ClientInput::Told(status));
            }
        }
    }
    let sales = notes.iter().filter(|note| matches!(note, Note::Earned { .. })).count();
    assert_eq!((sales, notes.len()), (6, 7), "its deposit and each sale, and no account is taken over: {notes:?}");
}

#[test]
fn a_batch_that_cannot_follow_the_books_is_an_error() {
    let refusal = record(3, 9, Entry::Refused { request: request(6, 3, 1).id, leftover: None });
    assert!(trader([]).on_appended(&batch(1, 1, [refusal])).is_err());
}
