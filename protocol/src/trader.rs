//! The trader's trade: what to write next, given the books and the messages that have arrived. It writes nothing itself;
//! the [office](crate::office) appends for it, one batch at a time.
//!
//! Beside the books it keeps what waits for the next batch, and in the stable order what `order` adds to that. All of it may
//! be lost: clients ask again, and promises are made again.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use self::order::Order;
use crate::{
    account::{QueueKey, SellerAccount, SellerStatus},
    books::{Ahead, Books, BooksError},
    clock::Clock,
    config::{Ordering, Terms},
    effect::Note,
    id::{DepositId, PeerId},
    message::{ClientMessage, TraderMessage},
    record::{Batch, Deposit, Entry, Record, Request, Sale},
};

/// A peer's trade while it holds the office.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trader {
    me: PeerId,
    /// What it serves from: always the fold of the durable log, never what is only planned (DESIGN R4, S12).
    /// Whoever looks at the trader before and after a step shares them until they change.
    books: Arc<Books>,
    /// Those that wait for the next batch; in the stable order also those that wait until buyers were heard past them.
    requests: Requests,
    deposits: BTreeMap<PeerId, Deposit>,
    order: Order,
    /// Somebody wants it to give the office back.
    resigns: bool,
}

impl Trader {
    /// The trade of `me`, starting from the books as it has read and claimed them.
    #[must_use]
    pub fn new(me: PeerId, books: Books) -> Trader {
        let buyers: Vec<PeerId> = books.buyers().keys().copied().collect();
        let mut trader = Trader {
            me,
            books: Arc::new(books),
            requests: Requests::default(),
            deposits: BTreeMap::new(),
            order: Order::default(),
            resigns: false,
        };
        buyers.into_iter().for_each(|buyer| trader.heed(buyer));
        trader
    }

    /// The books it serves from: the fold of the durable log.
    #[must_use]
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// How many client messages are waiting for the next batch.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.requests.in_order.len().saturating_add(self.deposits.len())
    }

    /// Takes a client's message. If it can be answered already, the answer comes from the durable books; a message that
    /// waits for the next batch is answered when that batch is appended.
    pub fn on_client(&mut self, from: PeerId, message: ClientMessage) -> Option<TraderMessage> {
        match message {
            ClientMessage::Join { incarnation, changes } => {
                self.hear(from);
                let status = self.books.buyer_status(from);
                let is_old = mutant!(changes != status.changes(); OldJoinSeats => false);
                if is_old || !self.may_be_seated(from, incarnation) || !self.may_trade(from) {
                    return Some(TraderMessage::Buyer(status));
                }
                // It is told when it is seated.
                mutant!(JoinUnanswered => return None);
                self.order.join(from, incarnation);
                None
            }
            ClientMessage::Request(request) => {
                self.hear(from);
                if request.id.buyer == from && self.may_trade(from) && self.books.is_admissible(&request) {
                    mutant!(ToldOnArrival => return Some(self.accept_at_once(request)));
                    self.hold(request);
                    return None;
                }
                Some(TraderMessage::Buyer(self.books.buyer_status(from)))
            }
            ClientMessage::Deposit(deposit) => {
                if deposit.id.seller == from && self.may_trade(from) && self.books.is_depositable(&deposit) {
                    // The other is from a former life, or overtaken.
                    if self.deposits.get(&from).is_none_or(|kept| kept.id.number < deposit.id.number) {
                        self.deposits.insert(from, deposit);
                    }
                    return None;
                }
                Some(TraderMessage::Seller(self.books.seller_status(from, None)))
            }
            ClientMessage::AskSales { after } => Some(TraderMessage::Seller(self.books.seller_status(from, after))),
        }
    }

    /// SPEC B7: the trader itself neither buys nor sells. Its own stock is set aside; what it had requested before it
    /// took office is served like any other accepted request.
    fn may_trade(&self, peer: PeerId) -> bool {
        mutant!(peer != self.me; TraderTrades => true)
    }

    /// The term is to end: the next batch is the resignation alone.
    pub fn resign(&mut self) {
        self.resigns = true;
    }

    /// The next batch: the waiting deposits, then the admissions, then outcomes in order of stamp, and the resignation
    /// with the last sale of the term (DESIGN R5); or the resignation alone. Empty when there is nothing to write. What the
    /// batch takes up no longer waits; should the append fail, the term is over and the clients ask the next trader.
    pub fn plan(&mut self, terms: &Terms, clock: &mut Clock) -> Vec<Record> {
        let Some(term) = self.books.term().copied() else { return Vec::new() };
        if self.resigns && !term.ended {
            return alloc::vec![Record { stamp: clock.tick(), entry: Entry::Resigned }];
        }
        if term.ordering == Ordering::Stable {
            return self.plan_in_order(terms, clock);
        }
        let may_admit = mutant!(term.inherited == 0; AdmitsBeforeInherited => true);
        let has_ended = mutant!(term.ended; ServesAfterResigning => false);
        mutant!(ResignsInOwnAppend => if term.sales >= terms.resign_after && !term.ended {
            return alloc::vec![Record { stamp: clock.tick(), entry: Entry::Resigned }];
        });
        let idle = self.deposits.is_empty() && self.requests.in_order.is_empty();
        if has_ended || (idle && self.books.queue().len() == 0) {
            return Vec::new();
        }
        let Trader { me, books, requests, deposits, .. } = self;
        let limit = terms.batch_limit as usize;
        let mut plan = Plan { me: *me, terms, ahead: Ahead::of(Arc::make_mut(books)), limit, records: Vec::new() };

        plan.book(deposits, clock);
        mutant!(OutcomesBeforeAdmissions => plan.serve(clock));
        // DESIGN R4: nothing new is admitted before the inherited queue is empty.
        while may_admit
            && plan.room() > 0
            && let Some(request) = requests.pop_first()
        {
            plan.admit(Some(request), clock);
        }

        plan.serve(clock);
        plan.records
    }

    /// A batch has been appended: it counts from now on, and the clients it concerns are told their status.
    ///
    /// # Errors
    /// When the batch cannot follow the books; these books must no longer be served from.
    pub fn on_appended(&mut self, batch: &Batch) -> Result<Told, BooksError> {
        let mut notes = Vec::new();
        let (mut buyers, mut is_claim) = (BTreeSet::new(), false);
        // The sellers, each with its sales in this batch.
        let mut sellers: BTreeMap<PeerId, Vec<Sale>> = BTreeMap::new();
        let books = Arc::make_mut(&mut self.books);
        for record in &batch.records {
            let seat = |buyer: &PeerId| books.buyers().get(buyer).and_then(|account| account.seated());
            if let Entry::Unseated { buyer } = &record.entry
                && let Some(incarnation) = seat(buyer)
            {
                notes.push(Note::Unseated { buyer: *buyer, incarnation });
            }
            books.apply(record)?;
            match &record.entry {
                Entry::Deposited(deposit) => {
                    sellers.entry(deposit.id.seller).or_default();
                    let Deposit { id, item, count, price, .. } = *deposit;
                    notes.push(Note::Deposited { deposit: id, item, count, price });
                }
                Entry::Admitted { request, place } => {
                    buyers.insert(request.id.buyer);
                    let Request { id, item, quantity, stamp, .. } = *request;
                    notes.push(Note::Admitted { request: id, item, quantity, stamp: stamp.time, place: *place });
                }
                Entry::Sold(sale) => {
                    buyers.insert(sale.request.buyer);
                    sellers.entry(sale.deposit.seller).or_default().push(sale.clone());
                    notes.push(Note::Sold { sale: sale.clone() });
                }
                Entry::Refused { request, leftover } => {
                    buyers.insert(request.buyer);
                    if let Some(deposit) = leftover {
                        sellers.entry(deposit.seller).or_default();
                    }
                    notes.push(Note::Refused { request: *request });
                }
                Entry::Seated { buyer, .. } => {
                    buyers.insert(buyer.peer);
                    notes.push(Note::Seated { buyer: buyer.peer, incarnation: buyer.incarnation });
                }
                Entry::Unseated { buyer } => {
                    buyers.insert(*buyer);
                }
                Entry::Claimed { .. } => is_claim = true,
                Entry::Resigned => {}
            }
        }
        // A claim ends what the former trader may have been about to ask for.
        let heeded: Vec<PeerId> =
            if is_claim { self.books.buyers().keys().copied().collect() } else { buyers.iter().copied().collect() };
        for buyer in heeded {
            // What came while the batch was under way may be done with.
            let held = self.requests.of_buyer.get(&buyer);
            if held.is_some_and(|request| !self.books.is_admissible(request)) {
                self.requests.take(buyer);
            }
            self.heed(buyer);
        }
        let buyers = buyers.into_iter().map(|buyer| (buyer, TraderMessage::Buyer(self.books.buyer_status(buyer))));
        // SPEC D7: a seller is told of all of them, also of those that the books do not keep for it.
        let sellers = sellers.into_iter().map(|(seller, sold)| {
            let status = self.books.seller_status(seller, None);
            let recent = mutant!(sold; ToldWhatIsKept => mutants::kept_of(sold, &status));
            (seller, TraderMessage::Seller(SellerStatus { recent, ..status }))
        });
        Ok(Told { notes, messages: buyers.chain(sellers).collect() })
    }
}

/// What a batch makes known, and to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Notes for people.
    pub notes: Vec<Note>,
    /// Messages to clients. Each is sent once; a client that misses it asks (DESIGN R9).
    pub messages: Vec<(PeerId, TraderMessage)>,
}

/// The requests that wait for the next batch, or are held (DESIGN F10), at most one of each buyer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Requests {
    of_buyer: BTreeMap<PeerId, Request>,
    in_order: BTreeSet<QueueKey>,
}

impl Requests {
    /// Of two requests of one buyer only the one decided later counts; the other is from a former life, or overtaken.
    fn put(&mut self, request: Request) {
        let buyer = request.id.buyer;
        if let Some(kept) = self.of_buyer.get(&buyer) {
            if request.id.sequence <= kept.id.sequence {
                return;
            }
            self.in_order.remove(&QueueKey::of(kept));
        }
        self.in_order.insert(QueueKey::of(&request));
        self.of_buyer.insert(buyer, request);
    }

    /// The place and the buyer of the one to be served first; those that are late come before all others.
    fn first(&self, books: &Books) -> Option<(QueueKey, PeerId)> {
        let place = |key: &QueueKey| {
            let request = self.of_buyer.get(&key.id.buyer)?;
            Some((QueueKey { time: books.place_for(request), id: key.id }, key.id.buyer))
        };
        let is_passed = |key: &&QueueKey| books.is_passed(**key);
        let late = self.in_order.iter().take_while(is_passed).filter_map(place).min();
        let first = self.in_order.iter().find(|key| !is_passed(key)).and_then(place);
        late.into_iter().chain(first).min()
    }

    fn take(&mut self, buyer: PeerId) -> Option<Request> {
        let request = self.of_buyer.remove(&buyer)?;
        self.in_order.remove(&QueueKey::of(&request));
        Some(request)
    }

    /// The one with the smallest stamp (SPEC C4).
    fn pop_first(&mut self) -> Option<Request> {
        self.of_buyer.remove(&self.in_order.pop_first()?.id.buyer)
    }
}

/// A batch being planned.
struct Plan<'a> {
    me: PeerId,
    terms: &'a Terms,
    /// The books as they will be once the batch is appended.
    ahead: Ahead<'a>,
    limit: usize,
    records: Vec<Record>,
}

impl Plan<'_> {
    fn room(&self) -> usize {
        mutant!(self.limit.saturating_sub(self.records.len()); BatchLimitIgnored => usize::MAX)
    }

    /// Adds the waiting deposits.
    fn book(&mut self, deposits: &mut BTreeMap<PeerId, Deposit>, clock: &mut Clock) {
        while self.room() > 0
            && let Some((_, deposit)) = deposits.pop_first()
        {
            if self.ahead.is_depositable(&deposit) {
                self.write(clock, Entry::Deposited(deposit));
            }
        }
    }

    /// Adds an admission, at the request's own place or, if it is late, at the next that is left. Whether it could.
    fn admit(&mut self, request: Option<Request>, clock: &mut Clock) -> bool {
        let Some(request) = request.filter(|request| self.ahead.is_admissible(request)) else { return false };
        let next = self.ahead.place_for(&request);
        let place = mutant!(next; PlaceRecedes => if next == request.stamp.time { next } else { clock.now() });
        self.write(clock, Entry::Admitted { request, place })
    }

    /// Whether the next sale is the last of the term.
    fn is_last_sale(&self) -> bool {
        self.ahead.term().is_some_and(|term| term.sales.saturating_add(1) >= self.terms.resign_after)
    }

    /// Adds outcomes, up to the last sale of the term.
    fn serve(&mut self, clock: &mut Clock) {
        while self.serve_one(clock) {}
    }

    /// Adds the outcome of the first request in the queue. Whether another may follow.
    fn serve_one(&mut self, clock: &mut Clock) -> bool {
        // SPEC C4: the smallest stamp first.
        let Some(request) = self.ahead.first_in_queue() else { return false };
        let sale = sale_for(&self.ahead, self.terms, self.me, request);
        // The last sale of a term needs room for the resignation as well.
        let needed = if sale.is_some() && self.is_last_sale() { 2 } else { 1 };
        if self.room() < needed {
            return false;
        }
        let entry = sale.map_or_else(|| refusal(&self.ahead, self.me, request), Entry::Sold);
        if !self.write(clock, entry) {
            return false;
        }
        let is_over = self.ahead.term().is_some_and(|term| term.sales >= self.terms.resign_after);
        // SPEC B6. In one step with the last sale; otherwise a trader that dies in between has not resigned.
        mutant!(
            if is_over { self.write(clock, Entry::Resigned); };
            ResignationForgotten => return true,
            ResignsInOwnAppend => {}
        );
        !is_over
    }

    /// Adds a record, if it can follow those before it. It always can; a record that could not would stop the ledger,
    /// so it is not sent there.
    fn write(&mut self, clock: &mut Clock, entry: Entry) -> bool {
        let record = Record { stamp: clock.tick(), entry };
        let applied = self.ahead.apply(&record);
        let is_fine = mutant!(applied.is_ok(); RequestCountedTwice | OutcomesBeforeAdmissions => true);
        debug_assert!(is_fine, "planned {record:?}: {applied:?}");
        if applied.is_ok() {
            self.records.push(record);
        }
        applied.is_ok()
    }
}

fn may_sell(seller: PeerId, trader: PeerId, request: &Request) -> bool {
    mutant!(seller != trader; TraderTrades => true) && mutant!(seller != request.id.buyer; SellsToItself => true)
}

/// The refusal of a request that nobody can fill. It names the deposit that could have, had nothing been sold of it:
/// its seller is told, and brings more (SPEC D8).
fn refusal(books: &Books, trader: PeerId, request: &Request) -> Entry {
    let may_sell = |seller| may_sell(seller, trader, request);
    let leftover = mutant!(
        books.leftover_for(request.item, request.quantity, may_sell);
        LeftoverNotNamed => None
    );
    Entry::Refused { request: request.id, leftover }
}

/// The sale that fills this request: from the smallest (clock, seller) among those who can, with the clocks in the
/// books (SPEC C4), and all of it from one deposit (SPEC D8). Nobody sells to themselves, and the trader sells nothing
/// of its own (SPEC B7).
fn sale_for(books: &Books, terms: &Terms, trader: PeerId, request: &Request) -> Option<Sale> {
    let may_sell = |seller| may_sell(seller, trader, request);
    let (seller, account) = mutant!(
        books.seller_for(request.item, request.quantity, may_sell);
        StockUnchecked | SellerById | AsksOneSellerOnly => mutants::seller_for(books, request, may_sell)
    )?;
    let SellerAccount { deposit: Some(deposit), sales, .. } = account else { return None };
    let split = terms.commission.split(deposit.price.times(request.quantity));
    Some(Sale {
        request: request.id,
        deposit: DepositId { seller, number: deposit.number },
        number: sales.next(),
        item: request.item,
        quantity: request.quantity,
        price: deposit.price,
        commission: split.commission,
        earned: split.earned,
    })
}

#[cfg(feature = "mutants")]
mod mutants;
mod order;

#[cfg(test)]
mod tests;
