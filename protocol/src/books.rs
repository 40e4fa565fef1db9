//! The books: a pure fold over the log. Stock, queue, accounts and the term are what the records add up to; none of it
//! is stored anywhere else (DESIGN 3).

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::{fmt, mem};

use serde::{Deserialize, Serialize};

pub(crate) use self::ahead::Ahead;
use self::sellers::Sellers;
use crate::{
    account::{
        BooksTerm, BuyerAccount, BuyerStatus, DepositStatus, Outcome, QueueKey, Seat, SellerAccount, SellerStatus,
        TraderAccount,
    },
    clock::{Clock, Stamp, Time},
    config::{Limits, Ordering},
    id::{DepositId, Epoch, Item, Life, PeerId, Position, RequestId, SaleNumber, Units},
    record::{Deposit, Entry, Record, Request, Sale},
    snapshot::{ChunkEntry, ChunkId, SnapshotChunk},
};

mod ahead;
mod sellers;

/// The state of the bazaar after a number of records. Every operation costs at most the logarithm of what the books
/// hold, but for those about all of it: copying, comparing, [`chunks`](Books::chunks), [`sales`](Books::sales).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Books {
    position: Position,
    latest: Time,
    term: Option<BooksTerm>,
    queue: BTreeMap<QueueKey, Request>,
    buyers: BTreeMap<PeerId, BuyerAccount>,
    sellers: Sellers,
    traders: BTreeMap<PeerId, TraderAccount>,
    refusals: u64,
    /// The place of the last request that was served (SPEC C5).
    floor: Option<QueueKey>,
    /// How many sales of each seller are kept ([`Limits::sales_kept`]).
    sales_kept: u32,
}

impl Default for Books {
    fn default() -> Books {
        Books::keeping(Limits::DEFAULT.sales_kept)
    }
}

/// Why a record cannot follow the ones before it. Honest traders never write such a record: it means damage or a fault
/// in the protocol, so a peer that meets one stops serving and says so.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BooksError {
    /// The position of the record.
    pub position: Position,
    /// What is wrong with it.
    pub reason: BooksFault,
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BooksFault {
    /// A claim whose epoch does not follow the latest one, or that another peer stamped, or of another ordering.
    ClaimOutOfTurn,
    /// A record that names a clock reading above every possible one ([`Clock::MOST`]).
    ClockImpossible,
    /// In the stable order, a record that is not stamped above all before it.
    StampOutOfTurn,
    /// A request at a place that is neither its own nor, if that was passed, the next after the last that was served.
    PlaceOutOfTurn,
    /// In the stable order, an outcome for a request that is not the first in the queue.
    OutcomeOutOfTurn,
    /// A seat for a life that has one, or comes before one that had it, or whose promise is below what was served; the end
    /// of a seat that there is not.
    SeatOutOfTurn,
    /// Written by a peer that does not hold the latest term, or after that term was resigned.
    NotInOffice,
    /// A deposit that does not name the seller's last one, or comes before that is sold out or left over, or is of
    /// nothing.
    DepositOutOfTurn,
    /// A request that does not name the buyer's last one, or comes while one is open, or is for nothing.
    RequestOutOfTurn,
    /// An outcome for a request that is not in the queue, or that differs from it.
    NoSuchRequest,
    /// A sale from a deposit that does not exist, differs from the sale, or has too little left. A refusal that names a
    /// deposit that does not exist or could not have been wanted for the request.
    NoSuchStock,
    /// A sale whose number is not the seller's next one.
    SaleOutOfTurn,
    /// A sale whose two parts do not add up to the price paid.
    MoneyDoesNotAddUp,
}

impl fmt::Display for BooksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason {
            BooksFault::ClaimOutOfTurn => {
                "the claim is not for the next epoch, not stamped by its holder, or of another ordering"
            }
            BooksFault::ClockImpossible => "it names a clock reading that is above every possible one",
            BooksFault::StampOutOfTurn => "it is not stamped above all before it",
            BooksFault::PlaceOutOfTurn => "the request is neither at its own place nor at the next one that is left",
            BooksFault::OutcomeOutOfTurn => "the outcome is for a request that is not the first in the queue",
            BooksFault::SeatOutOfTurn => "the buyer has that seat already, has none, or promises less than was served",
            BooksFault::NotInOffice => "its writer does not hold the latest term",
            BooksFault::DepositOutOfTurn => {
                "the deposit does not follow the seller's last one, or that is neither sold out nor left over"
            }
            BooksFault::RequestOutOfTurn => "the request does not follow the buyer's last one, or one is open",
            BooksFault::NoSuchRequest => "the outcome is for a request that is not in the queue",
            BooksFault::NoSuchStock => "the deposit that it names does not exist, or has not so much left as it says",
            BooksFault::SaleOutOfTurn => "the sale's number is not the seller's next",
            BooksFault::MoneyDoesNotAddUp => "commission and earnings do not add up to what is paid",
        };
        write!(f, "record {}: {reason}", self.position)
    }
}

impl core::error::Error for BooksError {}

impl Books {
    /// Empty books, which will keep so many of each seller's latest sales to be told again ([`Limits::sales_kept`]).
    #[must_use]
    pub fn keeping(sales_kept: u32) -> Books {
        Books {
            position: Position(0),
            latest: Time(0),
            term: None,
            queue: BTreeMap::new(),
            buyers: BTreeMap::new(),
            sellers: Sellers::default(),
            traders: BTreeMap::new(),
            refusals: 0,
            floor: None,
            sales_kept,
        }
    }

    /// How many of each seller's latest sales are kept.
    #[must_use]
    pub fn sales_kept(&self) -> u32 {
        self.sales_kept
    }

    /// How many records these books fold.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The largest time that any record in them carries.
    #[must_use]
    pub fn latest(&self) -> Time {
        self.latest
    }

    /// The latest term; `None` before the first claim.
    #[must_use]
    pub fn term(&self) -> Option<&BooksTerm> {
        self.term.as_ref()
    }

    /// The latest epoch; 0 before the first claim.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.term.map_or(Epoch(0), |term| term.epoch)
    }

    /// The waiting requests, the one to be served next first.
    pub fn queue(&self) -> impl ExactSizeIterator<Item = &Request> {
        self.queue.values()
    }

    /// The request to be served next: the one with the smallest stamp (SPEC C4); in the stable order, with the smallest
    /// place (SPEC C5).
    #[must_use]
    pub fn first_in_queue(&self) -> Option<&Request> {
        mutant!(
            self.queue.values().next();
            LargestStampFirst => self.queue.values().next_back(),
            TiesByHighestPeer => self.last_of_the_smallest_time()
        )
    }

    /// In which order requests are served, if there has been a claim.
    #[must_use]
    pub fn ordering(&self) -> Option<Ordering> {
        self.term.map(|term| term.ordering)
    }

    /// The place of the request that was served last; nothing is admitted at or below it in the stable order (SPEC C5).
    #[must_use]
    pub fn floor(&self) -> Option<QueueKey> {
        self.floor
    }

    /// The place of the request to be served next.
    #[must_use]
    pub fn first_place(&self) -> Option<QueueKey> {
        self.queue.keys().next().copied()
    }

    /// Where a request would be admitted: at its own stamp, or, where that place has been passed in the stable order,
    /// at the next one that is left: then it is late (SPEC C5).
    #[must_use]
    pub fn place_for(&self, request: &Request) -> Time {
        let own = QueueKey::of(request);
        match self.floor {
            Some(floor) if mutant!(self.is_passed(own); LateWithItsOwnStamp => false) => floor.time.next(),
            Some(_) | None => own.time,
        }
    }

    /// Whether nothing is admitted at this place any more (SPEC C5).
    #[must_use]
    pub fn is_passed(&self, place: QueueKey) -> bool {
        self.is_stable() && Some(place) <= self.floor
    }

    fn is_stable(&self) -> bool {
        self.ordering() == Some(Ordering::Stable)
    }

    /// Whether a request cannot be its buyer's next, by what the log shows of the buyer (SPEC C5): it was made before
    /// something that the buyer has done since, or its place was passed before it came and seated its buyer, or it is of a
    /// life before the last that had a seat.
    #[must_use]
    pub fn is_stale(&self, request: &Request) -> bool {
        let Some(account) = self.buyers.get(&request.id.buyer) else { return false };
        let of_former_life = account.seat.is_some_and(|seat| request.id.sequence.split().0 < seat.incarnation);
        self.is_stable() && (request.stamp.time <= account.bound || of_former_life)
    }

    /// Whether a request is of a life that never had a seat, nor any later one.
    #[must_use]
    pub fn is_first(&self, request: &Request) -> bool {
        let seat = self.buyers.get(&request.id.buyer).and_then(|account| account.seat);
        seat.is_none_or(|seat| seat.incarnation < request.id.sequence.split().0)
    }

    /// All buyers that ever had a seat or made a request, by id.
    #[must_use]
    pub fn buyers(&self) -> &BTreeMap<PeerId, BuyerAccount> {
        &self.buyers
    }

    /// All sellers that ever made a deposit, by id.
    #[must_use]
    pub fn sellers(&self) -> &BTreeMap<PeerId, Arc<SellerAccount>> {
        self.sellers.accounts()
    }

    /// Of the sellers that have at least so much of the item left in one deposit, and that `may` sell it, the one with
    /// the smallest (clock, seller), with the clocks of the books (SPEC C4). Looks past those that may not.
    #[must_use]
    pub fn seller_for(
        &self,
        item: Item,
        quantity: Units,
        may: impl Fn(PeerId) -> bool,
    ) -> Option<(PeerId, &SellerAccount)> {
        let seller = self.sellers.first_with(item, quantity, may)?;
        self.sellers.get(seller).map(|account| (seller, account))
    }

    /// Of the deposits that would have filled such a request when they were whole, and of which something was sold, the
    /// one of the smallest (clock, seller) that no refusal has named yet and whose seller `may` sell. Where nobody
    /// [can fill it](Books::seller_for), it has too little left (SPEC D8).
    #[must_use]
    pub fn leftover_for(&self, item: Item, quantity: Units, may: impl Fn(PeerId) -> bool) -> Option<DepositId> {
        let seller = self.sellers.first_begun(item, quantity, may)?;
        let number = self.sellers.get(seller)?.deposit.as_ref()?.number;
        Some(DepositId { seller, number })
    }

    /// All peers that ever made a sale in office, by id.
    #[must_use]
    pub fn traders(&self) -> &BTreeMap<PeerId, TraderAccount> {
        &self.traders
    }

    /// How many sales have ever been booked.
    #[must_use]
    pub fn sales(&self) -> u64 {
        self.traders.values().map(|account| account.sales).sum()
    }

    /// How many requests have ever been refused.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    /// Whether this request may be admitted: its buyer knows the outcome of its last one, and has none open (S13).
    #[must_use]
    pub fn is_admissible(&self, request: &Request) -> bool {
        let account = self.buyers.get(&request.id.buyer);
        let last = account.and_then(|account| account.last.as_ref()).map(|(sequence, _)| *sequence);
        let open = account.is_some_and(|account| account.open.is_some());
        let follows = mutant!(
            request.previous == last && last < Some(request.id.sequence);
            RequestCountedTwice => true,
            RequestPredecessorUnchecked => last < Some(request.id.sequence)
        );
        mutant!(!open; RequestCountedTwice => true) && follows && request.quantity.0 > 0 && !self.is_stale(request)
    }

    /// Whether this deposit may be booked: its seller knows that the last one is sold out or left over, and it is
    /// (DESIGN R8).
    #[must_use]
    pub fn is_depositable(&self, deposit: &Deposit) -> bool {
        let last = self.sellers.get(deposit.id.seller).and_then(|account| account.deposit.as_ref());
        let number = last.map(|last| last.number);
        let open = last.is_some_and(|last| !last.is_over());
        let follows = mutant!(
            deposit.previous == number && number < Some(deposit.id.number);
            DepositCountedTwice => true,
            DepositPredecessorUnchecked => number < Some(deposit.id.number)
        );
        mutant!(!open; DepositCountedTwice => true) && follows && deposit.count.0 > 0
    }

    /// The buyer's status according to the books.
    #[must_use]
    pub fn buyer_status(&self, buyer: PeerId) -> BuyerStatus {
        let account = self.buyers.get(&buyer);
        BuyerStatus {
            open: account.and_then(|account| account.open).and_then(|key| self.queue.get(&key)).cloned(),
            last: account.and_then(|account| account.last.clone()),
            seat: account.and_then(|account| account.seat),
            bound: account.map_or(Time(0), |account| account.bound),
        }
    }

    /// The seller's status according to the books, with its sales after `after` as far as they are kept.
    #[must_use]
    pub fn seller_status(&self, seller: PeerId, after: Option<SaleNumber>) -> SellerStatus {
        let Some(SellerAccount { deposit, sales, earned, recent, .. }) = self.sellers.get(seller) else {
            return SellerStatus::default();
        };
        let recent = recent.iter().filter(|sale| Some(sale.number) > after).cloned().collect();
        SellerStatus { deposit: deposit.clone(), sales: *sales, earned: *earned, recent }
    }

    /// Folds one more record. If it fails, nothing has changed.
    ///
    /// # Errors
    /// When the record cannot follow the ones before it; see [`BooksError`].
    pub fn apply(&mut self, record: &Record) -> Result<(), BooksError> {
        let applied = match &record.entry {
            _ if record.furthest() > Clock::MOST => Err(BooksFault::ClockImpossible),
            _ if self.is_stable() && record.stamp.time <= self.latest => Err(BooksFault::StampOutOfTurn),
            Entry::Claimed { epoch, holder, ordering } => self.apply_claim(record.stamp, *epoch, *holder, *ordering),
            Entry::Seated { buyer, above } => {
                self.in_office(record.stamp).and_then(|()| self.apply_seat(*buyer, *above))
            }
            Entry::Unseated { buyer } => self.in_office(record.stamp).and_then(|()| self.apply_unseating(*buyer)),
            Entry::Deposited(deposit) => self.in_office(record.stamp).and_then(|()| self.apply_deposit(deposit)),
            Entry::Admitted { request, place } => {
                self.in_office(record.stamp).and_then(|()| self.apply_admission(request, *place))
            }
            Entry::Sold(sale) => self.in_office(record.stamp).and_then(|()| self.apply_sale(record.stamp, sale)),
            Entry::Refused { request, leftover } => {
                self.in_office(record.stamp).and_then(|()| self.apply_refusal(record.stamp, *request, *leftover))
            }
            Entry::Resigned => self.in_office(record.stamp).map(|()| {
                if let Some(term) = &mut self.term {
                    term.ended = true;
                }
            }),
        };
        applied.map_err(|reason| BooksError { position: self.position, reason })?;
        self.position = self.position.plus(1);
        self.latest = self.latest.max(record.stamp.time);
        Ok(())
    }

    fn apply_claim(&mut self, stamp: Stamp, epoch: Epoch, holder: Life, ordering: Ordering) -> Result<(), BooksFault> {
        let goes_on = self.ordering().is_none_or(|before| before == ordering);
        if epoch != self.epoch().next() || stamp.peer != holder.peer || !goes_on {
            return Err(BooksFault::ClaimOutOfTurn);
        }
        // All records since the last claim are of the one that held that term.
        if let Some(term) = self.term.filter(|_| ordering == Ordering::Stable)
            && let Some(account) = self.buyers.get_mut(&term.holder.peer)
        {
            account.bound = account.bound.max(self.latest);
        }
        mutant!(QueueForgotten => self.forget_queue());
        self.term =
            Some(BooksTerm { epoch, holder, ended: false, sales: 0, inherited: self.queue.len() as u32, ordering });
        Ok(())
    }

    fn in_office(&self, stamp: Stamp) -> Result<(), BooksFault> {
        match self.term {
            Some(term) if mutant!(!term.ended; ServesAfterResigning => true) && term.holder.peer == stamp.peer => {
                Ok(())
            }
            Some(_) | None => Err(BooksFault::NotInOffice),
        }
    }

    fn apply_deposit(&mut self, deposit: &Deposit) -> Result<(), BooksFault> {
        if !self.is_depositable(deposit) {
            return Err(BooksFault::DepositOutOfTurn);
        }
        self.sellers.change(deposit.id.seller, |account| {
            account.clock = account.clock.max(deposit.stamp.time);
            // Whatever was left of the last one goes back to its seller.
            account.deposit = Some(DepositStatus {
                number: deposit.id.number,
                item: deposit.item,
                count: deposit.count,
                left: mutant!(deposit.count; LeftoverSoldTwice => mutants::with_the_rest(deposit.count, account)),
                price: deposit.price,
                leftover: false,
            });
        });
        Ok(())
    }

    fn apply_seat(&mut self, buyer: Life, above: Time) -> Result<(), BooksFault> {
        let is_behind = mutant!(self.floor.is_some_and(|floor| above < floor.time); SeatBelowFloor => false);
        let may_be = self.buyers.get(&buyer.peer).is_none_or(|account| account.may_be_seated(buyer.incarnation));
        if !self.is_stable() || is_behind || !may_be {
            return Err(BooksFault::SeatOutOfTurn);
        }
        let account = self.buyers.entry(buyer.peer).or_default();
        let changes = account.seat.map_or(0, |seat| seat.changes).saturating_add(1);
        account.seat = Some(Seat { incarnation: buyer.incarnation, is_taken: true, changes });
        account.bound = account.bound.max(above);
        Ok(())
    }

    fn apply_unseating(&mut self, buyer: PeerId) -> Result<(), BooksFault> {
        let seat = self.buyers.get_mut(&buyer).and_then(|account| account.seat.as_mut());
        let seat = seat.filter(|seat| seat.is_taken).ok_or(BooksFault::SeatOutOfTurn)?;
        seat.is_taken = false;
        seat.changes = seat.changes.saturating_add(1);
        Ok(())
    }

    fn apply_admission(&mut self, request: &Request, place: Time) -> Result<(), BooksFault> {
        if !self.is_admissible(request) {
            return Err(BooksFault::RequestOutOfTurn);
        }
        if mutant!(place != self.place_for(request); PlaceRecedes => place < self.place_for(request)) {
            return Err(BooksFault::PlaceOutOfTurn);
        }
        let key = QueueKey { time: place, id: request.id };
        self.buyers.entry(request.id.buyer).or_default().open = Some(key);
        self.queue.insert(key, request.clone());
        Ok(())
    }

    // SPEC D4: everything that a sale changes is changed here.
    fn apply_sale(&mut self, stamp: Stamp, sale: &Sale) -> Result<(), BooksFault> {
        let (key, request) = self.open_request(sale.request).ok_or(BooksFault::NoSuchRequest)?;
        if request.item != sale.item || request.quantity != sale.quantity {
            return Err(BooksFault::NoSuchRequest);
        }
        self.is_next(key)?;
        let adds_up = sale.commission.plus(sale.earned) == sale.paid();
        if !mutant!(adds_up; CommissionRoundedTwice => true) {
            return Err(BooksFault::MoneyDoesNotAddUp);
        }
        let trader = self.traders.get(&stamp.peer).copied().unwrap_or_default();
        let DepositId { seller: id, number } = sale.deposit;
        let seller = self.sellers.get(id).ok_or(BooksFault::NoSuchStock)?;
        let deposit = seller
            .deposit
            .as_ref()
            .filter(|deposit| deposit.number == number && deposit.item == sale.item && deposit.price == sale.price)
            .ok_or(BooksFault::NoSuchStock)?;
        let left = mutant!(
            deposit.left.0.checked_sub(sale.quantity.0);
            StockUnchecked => Some(deposit.left.0.saturating_sub(sale.quantity.0)),
            SaleLeavesStock => Some(deposit.left.0)
        );
        let left = left.ok_or(BooksFault::NoSuchStock)?;
        if sale.number != seller.sales.next() {
            return Err(BooksFault::SaleOutOfTurn);
        }

        // Nothing below can fail.
        let kept = self.sales_kept;
        self.sellers.change(id, |seller| {
            if let Some(deposit) = &mut seller.deposit {
                deposit.left = Units(left);
            }
            mutant!(seller.clock = seller.clock.max(stamp.time); SellerClockStays => {});
            seller.sales = sale.number;
            seller.earned = seller.earned.plus(sale.earned);
            seller.recent.push(sale.clone());
            keep_latest(&mut seller.recent, kept);
        });
        let trader = TraderAccount {
            sales: trader.sales.saturating_add(1),
            commission: trader.commission.plus(sale.commission),
        };
        self.traders.insert(stamp.peer, trader);
        if let Some(term) = &mut self.term {
            term.sales = term.sales.saturating_add(1);
        }
        let buyer = self.close(stamp, key, Outcome::Sold(sale.clone()));
        buyer.bought = buyer.bought.saturating_add(sale.quantity.0.into());
        buyer.spent = buyer.spent.plus(sale.paid());
        Ok(())
    }

    fn apply_refusal(&mut self, stamp: Stamp, id: RequestId, leftover: Option<DepositId>) -> Result<(), BooksFault> {
        let (key, request) = self.open_request(id).ok_or(BooksFault::NoSuchRequest)?;
        let (item, quantity) = (request.item, request.quantity);
        self.is_next(key)?;
        if let Some(DepositId { seller, number }) = leftover {
            let deposit = self.sellers.get(seller).and_then(|account| account.deposit.as_ref());
            let is_one = |deposit: &DepositStatus| {
                deposit.number == number
                    && deposit.item == item
                    && (Units(1)..quantity).contains(&deposit.left)
                    && quantity <= deposit.count
                    && !deposit.leftover
            };
            if !deposit.is_some_and(is_one) {
                return Err(BooksFault::NoSuchStock);
            }
            self.sellers.change(seller, |account| {
                if let Some(deposit) = &mut account.deposit {
                    deposit.leftover = true;
                }
            });
        }
        self.close(stamp, key, Outcome::Refused { item });
        self.refusals = self.refusals.saturating_add(1);
        Ok(())
    }

    fn open_request(&self, id: RequestId) -> Option<(QueueKey, &Request)> {
        let key = self.buyers.get(&id.buyer)?.open.filter(|key| key.id == id)?;
        self.queue.get(&key).map(|request| (key, request))
    }

    /// In the stable order, outcomes stand in the order of their places.
    fn is_next(&self, key: QueueKey) -> Result<(), BooksFault> {
        if self.is_stable() && self.first_place() != Some(key) { Err(BooksFault::OutcomeOutOfTurn) } else { Ok(()) }
    }

    fn close(&mut self, stamp: Stamp, key: QueueKey, outcome: Outcome) -> &mut BuyerAccount {
        self.queue.remove(&key);
        let is_stable = self.is_stable();
        if is_stable {
            self.floor = Some(key);
        }
        if let Some(term) = self.term.as_mut().filter(|_| !is_stable) {
            term.inherited = term.inherited.saturating_sub(1);
        }
        let account = self.buyers.entry(key.id.buyer).or_default();
        account.open = None;
        account.last = Some((key.id.sequence, outcome));
        // S13: its next request names this outcome, so that it is made after this record.
        if is_stable {
            account.bound = account.bound.max(stamp.time);
        }
        account
    }

    /// These books in chunks, in order, none heavier than `heaviest` ([`Limits::chunk_weight`]) unless it is a single
    /// entry.
    #[must_use]
    pub fn chunks(&self, heaviest: u32) -> Vec<SnapshotChunk> {
        let totals = ChunkEntry::Totals {
            position: self.position,
            latest: self.latest,
            term: self.term,
            refusals: self.refusals,
            floor: self.floor,
        };
        let entries = core::iter::once(totals)
            .chain(
                self.queue
                    .iter()
                    .map(|(key, request)| ChunkEntry::Queued { place: key.time, request: request.clone() }),
            )
            .chain(self.buyers.iter().map(|(id, account)| ChunkEntry::Buyer(*id, account.clone())))
            .chain(self.sellers().iter().map(|(id, account)| ChunkEntry::Seller(*id, Arc::clone(account))))
            .chain(self.traders.iter().map(|(id, account)| ChunkEntry::Trader(*id, *account)));
        let mut chunks = Vec::new();
        let mut chunk = SnapshotChunk::default();
        for entry in entries {
            if !chunk.0.is_empty() && chunk.weight().saturating_add(entry.weight()) > heaviest as usize {
                chunks.push(mem::take(&mut chunk));
            }
            chunk.0.push(entry);
        }
        chunks.push(chunk);
        chunks
    }

    /// The books whose [`chunks`](Books::chunks) these are, keeping so many of each seller's latest sales; if the
    /// chunks hold more, the older ones are dropped.
    #[must_use]
    pub fn from_chunks(sales_kept: u32, chunks: impl IntoIterator<Item = SnapshotChunk>) -> Books {
        let mut books = Books::keeping(sales_kept);
        for entry in chunks.into_iter().flat_map(|chunk| chunk.0) {
            match entry {
                ChunkEntry::Totals { position, latest, term, refusals, floor } => {
                    (books.position, books.latest, books.term, books.refusals) = (position, latest, term, refusals);
                    books.floor = floor;
                }
                ChunkEntry::Queued { place, request } => {
                    books.queue.insert(QueueKey { time: place, id: request.id }, request);
                }
                ChunkEntry::Buyer(id, account) => {
                    books.buyers.insert(id, account);
                }
                ChunkEntry::Seller(id, mut account) => {
                    keep_latest(&mut Arc::make_mut(&mut account).recent, sales_kept);
                    books.sellers.replace(id, Some(account));
                }
                ChunkEntry::Trader(id, account) => {
                    books.traders.insert(id, account);
                }
            }
        }
        books
    }

    /// A store's answer when these books are the snapshot: the chunk `wanted`, or the first one if `wanted` is of
    /// another snapshot, and how many chunks there are. Chunks are as heavy as `heaviest` allows.
    #[must_use]
    pub fn chunk_for(&self, wanted: Option<ChunkId>, heaviest: u32) -> (ChunkId, u32, SnapshotChunk) {
        let chunks = self.chunks(heaviest);
        let of = chunks.len() as u32;
        let index = wanted.filter(|id| id.position == self.position && id.index < of).map_or(0, |id| id.index);
        let chunk = chunks.into_iter().nth(index as usize).unwrap_or_default();
        (ChunkId { position: self.position, index }, of, chunk)
    }
}

/// Drops all but the latest `kept` sales.
fn keep_latest(sales: &mut Vec<Sale>, kept: u32) {
    sales.drain(..sales.len().saturating_sub(kept as usize));
}

#[cfg(feature = "mutants")]
mod mutants;

#[cfg(test)]
mod tests;
