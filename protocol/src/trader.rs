//! The trader's trade: what to write next, given the books and the messages that have arrived. It writes nothing itself
//! and keeps no queue of its own beside the books'; the [office](crate::office) appends for it, one batch at a time.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use crate::{
    account::QueueKey,
    books::{Books, BooksError},
    clock::Clock,
    config::Terms,
    effect::Note,
    id::{DepositId, PeerId, SaleNumber},
    message::{ClientMessage, TraderMessage},
    record::{Batch, Deposit, Entry, Record, Request, Sale},
};

/// A peer's trade while it holds the office.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trader {
    me: PeerId,
    /// What it serves from: always the fold of the durable log, never what is only planned (DESIGN R4, S12).
    books: Books,
    requests: BTreeMap<PeerId, Request>,
    deposits: BTreeMap<PeerId, Deposit>,
}

impl Trader {
    /// The trade of `me`, starting from the books as it has read and claimed them.
    #[must_use]
    pub fn new(me: PeerId, books: Books) -> Trader {
        Trader { me, books, requests: BTreeMap::new(), deposits: BTreeMap::new() }
    }

    /// The books it serves from: the fold of the durable log.
    #[must_use]
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// How many client messages are waiting for the next batch.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.requests.len() + self.deposits.len()
    }

    /// Takes a client's message. If it can be answered already, the answer comes from the durable books; a message that
    /// waits for the next batch is answered when that batch is appended.
    pub fn on_client(&mut self, from: PeerId, message: ClientMessage) -> Option<TraderMessage> {
        match message {
            ClientMessage::Request(request) => {
                if request.id.buyer == from && self.may_trade(from) && self.books.is_admissible(&request) {
                    mutant!(ToldOnArrival => return Some(self.accept_at_once(request)));
                    keep_latest(&mut self.requests, from, request, |request| request.id.sequence);
                    return None;
                }
                Some(TraderMessage::Buyer(self.books.buyer_status(from)))
            }
            ClientMessage::Deposit(deposit) => {
                if deposit.id.seller == from && self.may_trade(from) && self.books.is_depositable(&deposit) {
                    keep_latest(&mut self.deposits, from, deposit, |deposit| deposit.id.number);
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

    /// The next batch: the waiting deposits, then the admissions, then outcomes in order of stamp, and the resignation
    /// with the last sale of the term (DESIGN R5). Empty when there is nothing to write. What the batch takes up no
    /// longer waits; should the append fail, the term is over and the clients ask the next trader.
    pub fn plan(&mut self, terms: &Terms, clock: &mut Clock) -> Vec<Record> {
        let Some(term) = self.books.term().copied() else { return Vec::new() };
        let may_admit = mutant!(term.inherited == 0; AdmitsBeforeInherited => true);
        let has_ended = mutant!(term.ended; ServesAfterResigning => false);
        mutant!(ResignsInOwnAppend => if term.sales >= terms.resign_after && !term.ended {
            return alloc::vec![Record { stamp: clock.tick(), entry: Entry::Resigned }];
        });
        let idle = self.deposits.is_empty() && self.requests.is_empty();
        if has_ended || (idle && self.books.queue().len() == 0) {
            return Vec::new();
        }
        let mut plan = Plan { ahead: self.books.clone(), limit: terms.batch_limit as usize, records: Vec::new() };

        for (seller, deposit) in core::mem::take(&mut self.deposits) {
            if plan.room() == 0 {
                self.deposits.insert(seller, deposit);
            } else if plan.ahead.is_depositable(&deposit) {
                plan.write(clock, Entry::Deposited(deposit));
            }
        }

        mutant!(OutcomesBeforeAdmissions => self.serve(&mut plan, terms, clock));
        // DESIGN R4: nothing new is admitted before the inherited queue is empty.
        if may_admit {
            let mut requests: Vec<_> = core::mem::take(&mut self.requests).into_values().collect();
            requests.sort_by_key(QueueKey::of);
            for request in requests {
                if plan.room() == 0 {
                    self.requests.insert(request.id.buyer, request);
                } else if plan.ahead.is_admissible(&request) {
                    plan.write(clock, Entry::Admitted(request));
                }
            }
        }

        self.serve(&mut plan, terms, clock);
        plan.records
    }

    /// Adds outcomes, up to the last sale of the term.
    fn serve(&self, plan: &mut Plan, terms: &Terms, clock: &mut Clock) {
        // SPEC C4: the smallest stamp first.
        while let Some(request) = plan.ahead.first_in_queue().cloned() {
            let sale = sale_for(&plan.ahead, terms, self.me, &request);
            let sales = plan.ahead.term().map_or(0, |term| term.sales);
            // The last sale of a term needs room for the resignation as well.
            let needed = if sale.is_some() && sales + 1 >= terms.resign_after { 2 } else { 1 };
            if plan.room() < needed {
                break;
            }
            let entry = sale.map_or(Entry::Refused { request: request.id }, Entry::Sold);
            if !plan.write(clock, entry) {
                break;
            }
            if plan.ahead.term().is_some_and(|term| term.sales >= terms.resign_after) {
                // SPEC B6. In one step with the last sale; otherwise a trader that dies in between has not resigned.
                mutant!(
                    plan.write(clock, Entry::Resigned);
                    ResignationForgotten => continue,
                    ResignsInOwnAppend => break
                );
                break;
            }
        }
    }

    /// A batch has been appended: it counts from now on, and the clients it concerns are told their status.
    ///
    /// # Errors
    /// When the batch cannot follow the books; these books must no longer be served from.
    pub fn on_appended(&mut self, batch: &Batch) -> Result<Told, BooksError> {
        let mut notes = Vec::new();
        let mut buyers = BTreeSet::new();
        // The sellers, each with the last sale it was told of before this batch.
        let mut sellers = BTreeMap::new();
        for record in &batch.records {
            self.books.apply(record)?;
            match &record.entry {
                Entry::Deposited(deposit) => {
                    sellers.entry(deposit.id.seller).or_insert(None);
                    let Deposit { id, item, count, price, .. } = *deposit;
                    notes.push(Note::Deposited { deposit: id, item, count, price });
                }
                Entry::Admitted(request) => {
                    buyers.insert(request.id.buyer);
                    let Request { id, item, quantity, stamp, .. } = *request;
                    notes.push(Note::Admitted { request: id, item, quantity, stamp: stamp.time });
                }
                Entry::Sold(sale) => {
                    buyers.insert(sale.request.buyer);
                    sellers.entry(sale.deposit.seller).or_insert(None).get_or_insert(SaleNumber(sale.number.0 - 1));
                    notes.push(Note::Sold { sale: sale.clone() });
                }
                Entry::Refused { request } => {
                    buyers.insert(request.buyer);
                    notes.push(Note::Refused { request: *request });
                }
                Entry::Claimed { .. } | Entry::Resigned => {}
            }
        }
        let buyers = buyers.into_iter().map(|buyer| (buyer, TraderMessage::Buyer(self.books.buyer_status(buyer))));
        let sellers = sellers.into_iter().map(|(seller, after)| {
            let after = after.or(self.books.sellers().get(&seller).map(|account| account.sales));
            (seller, TraderMessage::Seller(self.books.seller_status(seller, after)))
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

/// A batch being planned.
struct Plan {
    /// The books as they will be once the batch is appended.
    ahead: Books,
    limit: usize,
    records: Vec<Record>,
}

impl Plan {
    fn room(&self) -> usize {
        mutant!(self.limit.saturating_sub(self.records.len()); BatchLimitIgnored => usize::MAX)
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

/// The sale that fills this request: from the smallest (clock, seller) among those who can, with the clocks in the
/// books (SPEC C4), and all of it from one deposit (SPEC D8). Nobody sells to themselves, and the trader sells nothing
/// of its own (SPEC B7).
fn sale_for(books: &Books, terms: &Terms, trader: PeerId, request: &Request) -> Option<Sale> {
    let buyer = request.id.buyer;
    let (seller, account, deposit) = books
        .sellers()
        .iter()
        .filter(|(seller, _)| mutant!(**seller != trader; TraderTrades => true))
        .filter(|(seller, _)| mutant!(**seller != buyer; SellsToItself => true))
        .filter_map(|(seller, account)| Some((*seller, account, account.deposit.as_ref()?)))
        .filter(|(_, _, deposit)| deposit.item == request.item)
        .filter(|(_, _, deposit)| mutant!(deposit.left >= request.quantity; StockUnchecked | AsksOneSellerOnly => true))
        .min_by_key(|(seller, account, _)| (mutant!(account.clock; SellerById => crate::clock::Time(0)), *seller))?;
    mutant!(AsksOneSellerOnly => if deposit.left < request.quantity { return None });
    let split = terms.commission.split(deposit.price.times(request.quantity));
    Some(Sale {
        request: request.id,
        deposit: DepositId { seller, number: deposit.number },
        number: account.sales.next(),
        item: request.item,
        quantity: request.quantity,
        price: deposit.price,
        commission: split.commission,
        earned: split.earned,
    })
}

/// Of two messages from one client only the one decided later counts; the other is from a former life, or overtaken.
fn keep_latest<T, N: Ord>(kept: &mut BTreeMap<PeerId, T>, from: PeerId, new: T, number: impl Fn(&T) -> N) {
    if kept.get(&from).is_none_or(|old| number(old) < number(&new)) {
        kept.insert(from, new);
    }
}

#[cfg(feature = "mutants")]
mod mutants;

#[cfg(test)]
mod tests;
