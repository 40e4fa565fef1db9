use super::*;
use crate::testing::{FISH, PACE, TERMS, TIMEOUTS, batch, claim, deposit, life, record, request, sale};
use crate::{
    account::{BuyerStatus, Outcome},
    client::{ClientEffect, ClientInput},
    clock::Time,
    config::{Limits, Offer, Offers},
    id::{Epoch, Incarnation, Item, RequestId, Sequence, Units},
    message::Promise,
    seller::{Seller, SellerContext, SellerTimer},
};
use alloc::{
    format,
    string::{String, ToString},
};

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

/// A life asks for its seat, and knows of so many changes.
fn join(incarnation: u32, changes: u32) -> ClientMessage {
    ClientMessage::Join { incarnation: Incarnation(incarnation), changes }
}

fn offer(trader: &mut Trader, deposit: &Deposit) -> Option<TraderMessage> {
    trader.on_client(deposit.id.seller, ClientMessage::Deposit(deposit.clone()))
}

/// The next batch, in short: c for a claim, d for a deposit, a for an admission, s for a sale, r for a refusal, each
/// with its client, and a refusal with whose deposit is left over; + and - for a seat; R for the resignation.
fn plan(trader: &mut Trader, terms: &Terms) -> (String, Batch) {
    let mut clock = Clock::resume(PeerId(9), Time(100));
    let position = trader.books().position().0;
    let batch = batch(1, position, trader.plan(terms, &mut clock));
    (in_short(&batch), batch)
}

fn in_short(batch: &Batch) -> String {
    let words = batch.records.iter().map(|record| match &record.entry {
        Entry::Claimed { .. } => String::from("c "),
        Entry::Deposited(deposit) => format!("d{} ", deposit.id.seller),
        Entry::Seated { buyer, .. } => format!("+{} ", buyer.peer),
        Entry::Unseated { buyer } => format!("-{buyer} "),
        Entry::Admitted { request, .. } => format!("a{} ", request.id.buyer),
        Entry::Sold(sale) => format!("s{}<{} ", sale.request.buyer, sale.deposit.seller),
        Entry::Refused { request, leftover: None } => format!("r{} ", request.buyer),
        Entry::Refused { request, leftover: Some(deposit) } => format!("r{}:{} ", request.buyer, deposit.seller),
        Entry::Resigned => String::from("R "),
    });
    words.collect::<String>().trim_end().into()
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
    let entries = [Entry::Deposited(deposit(9, 1, 2)), Entry::admitted(request(6, 9, 1))];
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
        [Entry::Deposited(stock.clone()), Entry::admitted(first.clone()), Entry::Sold(sale(&first, &stock, 1))]
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
    let mut books = trader([Entry::admitted(request(6, 3, 1)), Entry::admitted(request(8, 4, 1))]).books().clone();
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
    assert_eq!(second[0].entry, Entry::admitted(request(7, 5, 1)));
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
    assert_eq!(plan(&mut trader, &TERMS).1.records[0].entry, Entry::admitted(again));
}

// DESIGN R8, SPEC D1, D2.
#[test]
fn what_cannot_be_booked_is_answered_with_its_sender_s_status() {
    let mut trader = trader([Entry::Deposited(deposit(1, 1, 2)), Entry::admitted(request(6, 3, 1))]);
    let open = TraderMessage::Buyer(BuyerStatus { open: Some(request(6, 3, 1)), last: None, ..BuyerStatus::default() });
    assert_eq!(ask(&mut trader, &request(6, 3, 1)), Some(open), "it is booked already");
    let booked = TraderMessage::Seller(trader.books().seller_status(PeerId(1), None));
    assert_eq!(offer(&mut trader, &deposit(1, 1, 2)), Some(booked));
    assert!(ask(&mut trader, &request(6, 4, 2)).is_some(), "it names a request that the books do not have");
    let stolen = ClientMessage::Request(request(6, 5, 1));
    assert_eq!(
        trader.on_client(PeerId(4), stolen),
        Some(TraderMessage::Buyer(BuyerStatus::default())),
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
        trader([Entry::Deposited(stock.clone()), Entry::admitted(first.clone()), Entry::Sold(sale(&first, &stock, 1))]);
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
                ClientEffect::Promise(..)
                | ClientEffect::MulticastClock
                | ClientEffect::Arm(..)
                | ClientEffect::Choose(..) => {}
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

/// A trader that serves in the stable order, with its clock (SPEC C5).
struct Fair {
    trader: Trader,
    clock: Clock,
}

impl Fair {
    /// Peer 9 has claimed, and these buyers have seats, heard up to 10.
    fn with_seats(buyers: &[u32]) -> Fair {
        let mut books = Books::default();
        let epoch = Epoch(1);
        let claim = Entry::Claimed { epoch, holder: life(9, 1), ordering: Ordering::Stable };
        books.apply(&record(1, 9, claim)).unwrap();
        let mut fair = Fair { trader: Trader::new(PeerId(9), books), clock: Clock::resume(PeerId(9), Time(100)) };
        for buyer in buyers {
            fair.hear(*buyer, 10, None);
        }
        assert_eq!(fair.trade().len(), usize::from(!buyers.is_empty()));
        fair
    }

    /// A promise of this buyer's first life.
    fn hear(&mut self, buyer: u32, above: u64, open: Option<Request>) {
        let promise = Promise { incarnation: Incarnation(0), above: Time(above), open };
        self.trader.on_promises(alloc::vec![(PeerId(buyer), promise)]);
    }

    fn ask(&mut self, request: &Request) {
        assert_eq!(ask(&mut self.trader, request), None, "{request:?} is not answered yet");
    }

    /// As [`trade`], in short.
    fn trade(&mut self) -> Vec<String> {
        self.trade_on(&TERMS)
    }

    /// The next batch in the words of its notes.
    fn words(&mut self) -> Vec<String> {
        let position = self.trader.books().position().0;
        let batch = batch(1, position, self.trader.plan(&TERMS, &mut self.clock));
        self.trader.on_appended(&batch).unwrap().notes.iter().map(Note::to_string).collect()
    }

    fn trade_on(&mut self, terms: &Terms) -> Vec<String> {
        let mut batches = Vec::new();
        loop {
            let position = self.trader.books().position().0;
            let batch = batch(1, position, self.trader.plan(terms, &mut self.clock));
            if batch.records.is_empty() {
                return batches;
            }
            self.trader.on_appended(&batch).unwrap();
            batches.push(in_short(&batch));
        }
    }
}

// SPEC C5: 5 came last and is the smallest, so what is stamped later waits for it.
#[test]
fn a_request_waits_until_every_buyer_with_a_seat_was_heard_past_its_stamp() {
    let mut fair = Fair::with_seats(&[3, 4, 5]);
    fair.ask(&request(20, 3, 1));
    assert_eq!(fair.trade(), [""; 0]);
    assert_eq!(fair.trader.waits(), Some(Time(20)));
    assert_eq!(fair.trader.awaited().collect::<Vec<_>>(), [PeerId(4), PeerId(5)]);
    fair.hear(4, 30, None);
    assert_eq!(fair.trade(), [""; 0], "5 was heard up to 10 only");
    fair.ask(&request(15, 5, 1));
    assert_eq!(fair.trade(), ["a5 r5 a3 r3"]);
    assert_eq!(fair.trader.waits(), None);
}

// By the log alone: whoever has an outcome asks for nothing before it (S13).
#[test]
fn an_outcome_is_as_good_as_a_promise() {
    let mut fair = Fair::with_seats(&[3, 4]);
    fair.ask(&request(20, 3, 1));
    fair.ask(&request(21, 4, 1));
    assert_eq!(fair.trade(), ["a3 r3 a4 r4"]);
    let at = fair.trader.books().latest().0;
    fair.ask(&request(at + 1, 3, 2));
    assert_eq!(fair.trade(), [""; 0], "4 may have asked for something at the same time");
    fair.ask(&request(at + 1, 4, 2));
    assert_eq!(fair.trade(), ["a3 r3 a4 r4"]);
}

#[test]
fn a_single_buyer_waits_for_nobody() {
    let mut fair = Fair::with_seats(&[3]);
    fair.ask(&request(20, 3, 1));
    assert_eq!(fair.trade(), ["a3 r3"]);
}

#[test]
fn a_promise_is_as_good_as_the_request_that_it_carries() {
    let mut fair = Fair::with_seats(&[3, 4]);
    fair.ask(&request(20, 3, 1));
    fair.hear(4, 30, Some(request(15, 4, 1)));
    assert_eq!(fair.trade(), ["a4 r4 a3 r3"]);
}

#[test]
fn a_buyer_that_is_not_heard_for_a_suspicion_loses_its_seat_once_and_takes_it_again() {
    let mut fair = Fair::with_seats(&[3, 4, 5]);
    fair.ask(&request(20, 3, 1));
    fair.hear(5, 40, None);
    for _ in 0..2 {
        fair.trader.count_silence(3);
        assert_eq!(fair.trade(), [""; 0]);
    }
    fair.trader.count_silence(3);
    assert_eq!(fair.trade(), ["-4 a3 r3"]);
    fair.hear(4, 12, None);
    assert_eq!(fair.trade(), [""; 0], "12 was passed");
    let request = request(13, 4, 1);
    fair.ask(&request);
    assert_eq!(fair.trade(), ["a4 r4"], "it is late");
    let place = fair.trader.books().floor().map(|floor| floor.time);
    assert_eq!(place, Some(Time(21)), "the next place after 20");
    fair.hear(4, 150, None);
    assert_eq!(fair.trade(), ["+4"]);
}

#[test]
fn a_buyer_that_is_heard_meanwhile_keeps_its_seat() {
    let mut fair = Fair::with_seats(&[3, 4]);
    fair.ask(&request(20, 3, 1));
    for _ in 0..9 {
        fair.trader.count_silence(3);
        fair.hear(4, 15, None);
        assert_eq!(fair.trade(), [""; 0]);
    }
}

// What a former life sent may come at any time.
#[test]
fn what_a_seat_rules_out_is_answered_and_not_admitted() {
    let mut fair = Fair::with_seats(&[3]);
    assert!(ask(&mut fair.trader, &request(9, 3, 1)).is_some(), "its promise says that there is none up to 10");
    let next = join(1, 1);
    assert_eq!(fair.trader.on_client(PeerId(3), next.clone()), None);
    assert_eq!(fair.trade(), ["+3"]);
    assert!(ask(&mut fair.trader, &request(60, 3, 1)).is_some(), "another life has the seat");
    let again = fair.trader.on_client(PeerId(3), next);
    assert!(again.is_some(), "it has not heard that it is seated");
}

// A last sale takes three records: then the admission comes first.
#[test]
fn the_smallest_batch_is_large_enough_for_the_last_sale() {
    let mut fair = Fair::with_seats(&[3]);
    offer(&mut fair.trader, &deposit(1, 1, 2));
    fair.ask(&request(20, 3, 1));
    assert_eq!(fair.trade_on(&Terms { batch_limit: 2, resign_after: 1, ..TERMS }), ["d1", "a3", "s3<1 R"]);
}

#[test]
fn notes_say_who_is_seated_and_unseated_and_what_is_late() {
    let mut fair = Fair::with_seats(&[3, 4]);
    fair.ask(&request(20, 3, 1));
    (0..4).for_each(|_| fair.trader.count_silence(3));
    assert_eq!(
        fair.words(),
        [
            "takes the seat of peer 4 (life 0), which was not heard for too long: nothing waits for it any more",
            "queued a request of peer 3 for 1 fish with clock 20",
            "refused a request of peer 3: nobody can fill it",
        ]
    );
    fair.ask(&request(13, 4, 1));
    let late = "queued a request of peer 4 for 1 fish with clock 13, late: it goes to the front, with 21";
    assert_eq!(fair.words()[0], late);
    fair.hear(4, 150, None);
    assert_eq!(fair.words(), ["gives peer 4 (life 0) a seat: what is stamped later waits for it"]);
}

// SPEC C5: with one buyer nothing is added, neither a message nor a wait.
#[test]
fn the_first_request_of_a_life_seats_its_buyer_and_is_served_in_the_same_batch() {
    let mut fair = Fair::with_seats(&[]);
    fair.ask(&request(20, 3, 1));
    assert_eq!(fair.trade(), ["a3 +3 r3"]);
    fair.ask(&request(300, 3, 2));
    assert_eq!(fair.trade(), ["a3 r3"]);
}

// SPEC C5: it has lost nothing, and nothing of it may be late.
#[test]
fn a_first_request_whose_place_was_passed_is_made_anew() {
    let mut fair = Fair::with_seats(&[3]);
    fair.ask(&request(90, 3, 1));
    fair.trade();
    fair.ask(&request(80, 4, 1));
    assert_eq!(fair.trade(), ["+4"]);
    let told = ask(&mut fair.trader, &request(80, 4, 1));
    let Some(TraderMessage::Buyer(status)) = told else { panic!("{told:?}") };
    assert!(status.bound >= Time(80) && status.open.is_none(), "{status:?}");
    fair.ask(&request(300, 4, 1));
}

// DESIGN F11: or two peers that take turns in office would never be served.
#[test]
fn what_the_trader_asked_for_before_is_admitted_first_and_served_in_its_turn() {
    let mut fair = Fair::with_seats(&[3, 4]);
    fair.trader.take_own(&request(30, 9, 1));
    fair.ask(&request(20, 3, 1));
    assert_eq!(fair.trade(), ["a9"], "it is in the books, whatever becomes of this term");
    fair.hear(4, 25, None);
    assert_eq!(fair.trade(), ["a3 r3"]);
    fair.hear(3, 30, None);
    fair.hear(4, 30, None);
    assert_eq!(fair.trade(), ["r9"]);
}

// S14: the buyer was seated meanwhile, and has asked for something that is under way.
#[test]
fn a_copy_of_a_request_for_a_seat_does_not_seat_its_sender_again() {
    let mut fair = Fair::with_seats(&[3, 4]);
    let unseat = |fair: &mut Fair, nth: u64| {
        fair.clock.receive(Time(100 * nth));
        fair.ask(&request(100 * nth, 3, nth));
        (0..3).for_each(|_| fair.trader.count_silence(3));
        assert_eq!(fair.trade(), ["-4 a3 r3"]);
    };
    unseat(&mut fair, 1);
    assert_eq!(fair.trader.on_client(PeerId(4), join(0, 2)), None);
    assert_eq!(fair.trade(), ["+4"]);
    unseat(&mut fair, 2);
    assert!(fair.trader.on_client(PeerId(4), join(0, 2)).is_some());
    assert_eq!(fair.trade(), [""; 0]);
    assert_eq!(fair.trader.on_client(PeerId(4), join(0, 4)), None, "it knows that it has lost it twice");
    assert_eq!(fair.trade(), ["+4"]);
}

// Life 0 was unseated and has died; what it said to get its seat back comes late.
#[test]
fn an_old_life_does_not_take_the_seat_that_a_new_one_s_request_asks_for() {
    let mut fair = Fair::with_seats(&[3, 4]);
    fair.ask(&request(90, 3, 1));
    (0..3).for_each(|_| fair.trader.count_silence(3));
    assert_eq!(fair.trade(), ["-4 a3 r3"]);
    fair.clock.receive(Time(400));
    let first = Request { id: RequestId { buyer: PeerId(4), sequence: Sequence(1 << 32) }, ..request(400, 4, 1) };
    fair.ask(&first);
    assert_eq!(fair.trader.on_client(PeerId(4), join(0, 2)), None);
    fair.trade();
    let seat = fair.trader.books().buyers()[&PeerId(4)].seated();
    assert_eq!(seat, Some(Incarnation(1)));
}

/// What the trader would append now; `meanwhile` comes before that is appended.
fn with_a_batch_under_way(fair: &mut Fair, meanwhile: impl FnOnce(&mut Fair)) -> String {
    let position = fair.trader.books().position().0;
    let batch = batch(1, position, fair.trader.plan(&TERMS, &mut fair.clock));
    meanwhile(fair);
    fair.trader.on_appended(&batch).unwrap();
    in_short(&batch)
}

// S14: a copy of a request that is being served must not hide that its buyer is waited for again.
#[test]
fn a_copy_that_comes_while_its_request_is_served_keeps_nobody_from_waiting_for_the_buyer() {
    let mut fair = Fair::with_seats(&[3, 4]);
    fair.ask(&request(20, 3, 1));
    fair.hear(4, 25, None);
    let batch = with_a_batch_under_way(&mut fair, |fair| fair.ask(&request(20, 3, 1)));
    assert_eq!(batch, "a3 r3");
    fair.ask(&request(300, 4, 1));
    assert_eq!(fair.trade(), [""; 0], "buyer 3 may ask for something earlier");
    assert_eq!(fair.trader.awaited().collect::<Vec<_>>(), [PeerId(3)]);
}

// S14: neither must what a former life asked for.
#[test]
fn what_a_former_life_asked_for_keeps_nobody_from_waiting_for_the_next_life() {
    let mut fair = Fair::with_seats(&[3, 4]);
    assert_eq!(fair.trader.on_client(PeerId(3), join(1, 1)), None);
    let batch = with_a_batch_under_way(&mut fair, |fair| fair.ask(&request(20, 3, 1)));
    assert_eq!(batch, "+3");
    fair.ask(&request(300, 4, 1));
    assert_eq!(fair.trade(), [""; 0]);
    assert_eq!(fair.trader.awaited().collect::<Vec<_>>(), [PeerId(3)]);
}
