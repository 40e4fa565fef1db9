//! What the records say so far, added up without [`Books`]: the second opinion that the checks of the log are stated over.
//! Only where the first records are not kept any more, what they add up to is taken from books.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
};

use super::{Property, Violation};
use crate::{
    account::{BooksTerm, DepositStatus, TraderAccount},
    books::Books,
    clock::Time,
    config::Ordering,
    id::{
        DepositId, DepositNumber, Epoch, Incarnation, Item, Life, PeerId, Position, RequestId, SaleNumber, Sequence,
        Units,
    },
    money::Price,
    record::{Deposit, Entry, Record, Request, Sale},
};

/// What the records up to a position say. It believes every record, so that one wrong record is reported once and what
/// follows is still checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct History {
    /// Where it begins: the records before are known only by what they add up to.
    pub(super) since: Position,
    /// How many requests waited there.
    pub(super) waited: u64,
    /// The position of the next record.
    pub(super) position: Position,
    /// The largest time in any of them.
    pub(super) latest: Time,
    /// The first claimant of each epoch, from that on that was the latest where the history begins.
    pub(super) holders: BTreeMap<Epoch, Life>,
    /// The peers that have held an epoch; of those that held one before the history begins, the ones that sold something.
    pub(super) former: BTreeSet<PeerId>,
    /// The latest epoch that each peer has resigned since the history begins.
    pub(super) resigned: BTreeMap<PeerId, Epoch>,
    /// The latest term.
    pub(super) term: Option<TermSoFar>,
    /// In which order requests are served, by the claims.
    pub(super) ordering: Ordering,
    /// The place of the last outcome (SPEC C5).
    pub(super) floor: Option<Place>,
    /// The largest stamp of a request that has an outcome.
    served: Option<Place>,
    /// The buyers that ever had seats, each with its latest life that had one, and whether it still has it.
    pub(super) seats: BTreeMap<PeerId, (Incarnation, bool)>,
    /// Every request that was admitted, and what became of it; of those that were admitted before the history begins, the
    /// ones that waited there.
    pub(super) requests: BTreeMap<RequestId, Fate>,
    /// The open requests in order, each with the position of its admission.
    pub(super) queue: BTreeMap<Place, (Position, Request)>,
    /// Every deposit, by its id; of those that were booked before the history begins, the last one of each seller.
    pub(super) deposits: BTreeMap<DepositId, Stock>,
    /// The deposits that have something left, by item and then in order.
    offers: BTreeMap<Item, BTreeMap<Place, DepositId>>,
    /// Every buyer that was admitted.
    pub(super) buyers: BTreeMap<PeerId, BuyerSoFar>,
    /// Every seller that has deposited.
    pub(super) sellers: BTreeMap<PeerId, SellerSoFar>,
    /// Every trader that has sold.
    pub(super) traders: BTreeMap<PeerId, TraderSoFar>,
    /// Counts and sums over all records since the history begins.
    pub(super) sums: Sums,
}

/// A request's place among those that wait, (time, buyer, sequence), or a deposit's among those that can fill it,
/// (seller's clock, seller, number) (SPEC C4). They are plain numbers, so that no order of the protocol's own decides.
pub(super) type Place = (u64, u32, u64);

pub(super) fn place_of_request(time: Time, id: RequestId) -> Place {
    (time.0, id.buyer.0, id.sequence.0)
}

fn place_of_deposit(clock: Time, id: DepositId) -> Place {
    (clock.0, id.seller.0, id.number.0)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TermSoFar {
    pub(super) epoch: Epoch,
    pub(super) holder: Life,
    pub(super) claimed_at: Position,
    /// The stamp of the claim; the latest that it can be if the history begins after it.
    pub(super) claimed: Time,
    pub(super) ended: bool,
    pub(super) sales: u64,
    /// In which order requests are served.
    pub(super) ordering: Ordering,
    /// Requests admitted before the claim that still have no outcome.
    pub(super) inherited: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    /// It waits at this time's place.
    Open(Time),
    /// The record at this position is its outcome.
    Settled(Position),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stock {
    pub(super) item: Item,
    pub(super) count: Units,
    pub(super) price: Price,
    pub(super) sold: u64,
    /// When a refusal named it as left over; 0 if that was before the history begins.
    pub(super) leftover: Option<Time>,
    /// How many units its seller took back with its next deposit.
    pub(super) returned: u64,
}

impl Stock {
    pub(super) fn left(&self) -> u64 {
        u64::from(self.count.0).saturating_sub(self.sold).saturating_sub(self.returned)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct BuyerSoFar {
    pub(super) open: BTreeSet<Sequence>,
    /// Its last outcome, and when that was written; 0 if that was before the history begins.
    pub(super) last: Option<(Sequence, Time)>,
    pub(super) bought: u64,
    pub(super) spent: u128,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct SellerSoFar {
    /// Its deposit's stamp, raised to the sale's stamp by each sale (SPEC C4).
    pub(super) clock: Time,
    pub(super) sales: SaleNumber,
    pub(super) last_deposit: Option<DepositNumber>,
    /// Its deposits that have something left; at most one in a good log.
    open: BTreeSet<(Item, DepositNumber)>,
    pub(super) earned: u128,
}

impl SellerSoFar {
    /// Its deposits that have something left.
    pub(super) fn in_stock(&self) -> impl Iterator<Item = DepositNumber> {
        self.open.iter().map(|(_, number)| *number)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct TraderSoFar {
    pub(super) sales: u64,
    pub(super) commission: u128,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Sums {
    /// Terms that were claimed, or under way where the history begins.
    pub(super) terms: u64,
    pub(super) resignations: u64,
    pub(super) deposits: u64,
    pub(super) deposited: u64,
    pub(super) returned: u64,
    pub(super) admissions: u64,
    /// Outcomes after one, since the history begins, of a request with a later stamp.
    pub(super) overtaken: u64,
    /// Requests at another place than their own.
    pub(super) late: u64,
    pub(super) sales: u64,
    pub(super) sold: u64,
    pub(super) refusals: u64,
    pub(super) paid: u128,
    pub(super) earned: u128,
    pub(super) commission: u128,
}

/// What a sale costs its buyer, in cents.
pub(super) fn paid_for(sale: &Sale) -> u128 {
    u128::from(sale.price.0) * u128::from(sale.quantity.0)
}

impl History {
    /// A history that begins where these books end, and takes them for what the records before add up to.
    pub(super) fn after(books: &Books) -> History {
        let mut history = History {
            since: books.position(),
            waited: books.queue().len() as u64,
            position: books.position(),
            latest: books.latest(),
            ordering: books.ordering().unwrap_or_default(),
            floor: books.floor().map(|place| place_of_request(place.time, place.id)),
            former: books.traders().keys().copied().collect(),
            ..History::default()
        };
        if let Some(BooksTerm { epoch, holder, ended, sales, inherited, ordering }) = books.term().copied() {
            history.holders.insert(epoch, holder);
            history.sums.terms = u64::from(!ended);
            history.term = Some(TermSoFar {
                epoch,
                holder,
                // All that waits was admitted before: in earlier terms as long as something is inherited, in this one then.
                claimed_at: if inherited > 0 { books.position() } else { Position(0) },
                claimed: books.latest(),
                ended,
                sales: sales.into(),
                ordering,
                inherited: inherited.into(),
            });
        }
        for (id, account) in books.buyers() {
            let mut buyer = BuyerSoFar {
                last: account.last.as_ref().map(|(sequence, _)| (*sequence, Time(0))),
                bought: account.bought,
                spent: account.spent.0,
                ..BuyerSoFar::default()
            };
            if let Some(open) = account.open {
                buyer.open.insert(open.id.sequence);
                history.requests.insert(open.id, Fate::Open(open.time));
            }
            history.seats.extend(account.seat.map(|seat| (*id, (seat.incarnation, seat.is_taken))));
            history.buyers.insert(*id, buyer);
        }
        for request in books.queue() {
            if let Some(Fate::Open(time)) = history.requests.get(&request.id) {
                history.queue.insert(place_of_request(*time, request.id), (Position(0), request.clone()));
            }
        }
        for (id, account) in books.sellers() {
            let (clock, sales, earned) = (account.clock, account.sales, account.earned.0);
            let mut seller = SellerSoFar { clock, sales, earned, ..SellerSoFar::default() };
            if let Some(DepositStatus { number, item, count, left, price, leftover }) = account.deposit.clone() {
                let deposit = DepositId { seller: *id, number };
                seller.last_deposit = Some(number);
                if left.0 > 0 {
                    seller.open.insert((item, number));
                    history.offers.entry(item).or_default().insert(place_of_deposit(clock, deposit), deposit);
                }
                let (sold, leftover) = (u64::from(count.0.saturating_sub(left.0)), leftover.then_some(Time(0)));
                history.deposits.insert(deposit, Stock { item, count, price, sold, leftover, returned: 0 });
            }
            history.sellers.insert(*id, seller);
        }
        let so_far = |(id, account): (&PeerId, &TraderAccount)| {
            (*id, TraderSoFar { sales: account.sales, commission: account.commission.0 })
        };
        history.traders = books.traders().iter().map(so_far).collect();
        history
    }

    /// Of something that is neither in the log nor was there where the history begins.
    pub(super) fn unknown(&self) -> String {
        match self.since {
            Position(0) => String::from("is not in the log"),
            since => format!("is not in the log from record {since} on, nor was there then"),
        }
    }

    /// A violation by the next record.
    pub(super) fn violated(&self, property: Property, what: String) -> Result<(), Violation> {
        Err(Violation::at(property, self.position, what))
    }

    /// The holder of the current term; nobody before the first claim and after a resignation.
    pub(super) fn in_office(&self) -> Option<PeerId> {
        self.term.as_ref().filter(|term| !term.ended).map(|term| term.holder.peer)
    }

    /// The open request with this id, and the position of its admission.
    pub(super) fn open(&self, id: RequestId) -> Option<&(Position, Request)> {
        match self.requests.get(&id) {
            Some(Fate::Open(time)) => self.queue.get(&place_of_request(*time, id)),
            Some(Fate::Settled(_)) | None => None,
        }
    }

    /// The position of a request's outcome.
    pub(super) fn outcome_at(&self, id: RequestId) -> Option<Position> {
        match self.requests.get(&id)? {
            Fate::Settled(position) => Some(*position),
            Fate::Open(_) => None,
        }
    }

    /// The deposit that must fill this request: of those with enough of the item left, the one whose seller has the
    /// smallest (clock, seller) (SPEC C4). The trader in office does not sell (SPEC B7), and nobody sells to
    /// themselves.
    pub(super) fn smallest_offer(&self, request: &Request) -> Option<(Time, DepositId)> {
        let offers = self.offers.get(&request.item)?;
        let can_fill = |(_, id): &(&Place, &DepositId)| {
            Some(id.seller) != self.in_office()
                && id.seller != request.id.buyer
                && self.deposits.get(*id).is_some_and(|stock| stock.left() >= u64::from(request.quantity.0))
        };
        offers.iter().find(can_fill).map(|((clock, ..), id)| (Time(*clock), *id))
    }

    /// The deposit that a refusal of this request must name: of those that could have filled it when they were whole,
    /// have something sold and something left and are not named yet, the one whose seller has the smallest (clock,
    /// seller) (SPEC D8).
    pub(super) fn smallest_leftover(&self, request: &Request) -> Option<DepositId> {
        let offers = self.offers.get(&request.item)?;
        let is_one = |id: &&DepositId| {
            Some(id.seller) != self.in_office()
                && id.seller != request.id.buyer
                && self.deposits.get(*id).is_some_and(|stock| {
                    let count = stock.count.0;
                    stock.leftover.is_none() && stock.left() < u64::from(count) && request.quantity.0 <= count
                })
        };
        offers.values().find(is_one).copied()
    }

    /// A deposit and what was sold from it.
    pub(super) fn stock(&self, seller: PeerId, number: DepositNumber) -> Option<&Stock> {
        self.deposits.get(&DepositId { seller, number })
    }

    pub(super) fn absorb(&mut self, record: &Record) {
        match &record.entry {
            Entry::Claimed { epoch, holder, ordering } => {
                self.ordering = *ordering;
                self.absorb_claim(*epoch, *holder, record.stamp.time);
            }
            Entry::Seated { buyer, .. } => {
                self.seats.insert(buyer.peer, (buyer.incarnation, true));
                self.buyers.entry(buyer.peer).or_default();
            }
            Entry::Unseated { buyer } => self.seats.entry(*buyer).or_default().1 = false,
            Entry::Deposited(deposit) => self.absorb_deposit(deposit),
            Entry::Admitted { request, place } => self.absorb_admission(request, *place),
            Entry::Sold(sale) => self.absorb_sale(record, sale),
            Entry::Refused { request, leftover } => {
                self.sums.refusals += 1;
                if let Some(stock) = leftover.as_ref().and_then(|deposit| self.deposits.get_mut(deposit)) {
                    stock.leftover = Some(record.stamp.time);
                }
                self.settle(*request, record.stamp.time);
            }
            Entry::Resigned => {
                self.sums.resignations += 1;
                if let Some(term) = &mut self.term {
                    term.ended = true;
                    self.resigned.insert(record.stamp.peer, term.epoch);
                }
            }
        }
        self.latest = self.latest.max(record.stamp.time);
        self.position = Position(self.position.0 + 1);
    }

    /// Whether a request was made before the claim of the latest term, which is in the stable order.
    pub(super) fn was_made_before_the_claim(&self, request: &Request) -> bool {
        let term = self.term.as_ref().filter(|term| term.ordering == Ordering::Stable);
        term.is_some_and(|term| request.stamp.time < term.claimed)
    }

    fn absorb_claim(&mut self, epoch: Epoch, holder: Life, claimed: Time) {
        self.sums.terms += 1;
        self.holders.entry(epoch).or_insert(holder);
        self.former.extend(self.term.as_ref().map(|term| term.holder.peer));
        self.term = Some(TermSoFar {
            epoch,
            holder,
            claimed_at: self.position,
            claimed,
            ended: false,
            sales: 0,
            ordering: self.ordering,
            inherited: self.queue.len() as u64,
        });
    }

    fn absorb_deposit(&mut self, deposit: &Deposit) {
        self.sums.deposits += 1;
        self.sums.deposited = self.sums.deposited.saturating_add(deposit.count.0.into());
        let DepositId { seller, number } = deposit.id;
        self.take_back(seller);
        self.raise_seller(seller, deposit.stamp.time);
        let of = self.sellers.entry(seller).or_default();
        of.last_deposit = Some(number);
        // If a number is used twice, the first one counts.
        if self.deposits.contains_key(&deposit.id) {
            return;
        }
        let Deposit { item, count, price, .. } = *deposit;
        let stock = Stock { item, count, price, sold: 0, leftover: None, returned: 0 };
        self.deposits.insert(deposit.id, stock);
        if deposit.count.0 > 0 {
            of.open.insert((deposit.item, number));
            let place = place_of_deposit(of.clock, deposit.id);
            self.offers.entry(deposit.item).or_default().insert(place, deposit.id);
        }
    }

    /// A seller that deposits again takes back what is left of its deposits that are left over.
    fn take_back(&mut self, seller: PeerId) {
        let of = self.sellers.entry(seller).or_default();
        for (item, number) in core::mem::take(&mut of.open) {
            let id = DepositId { seller, number };
            match self.deposits.get_mut(&id) {
                Some(stock) if stock.leftover.is_some() => {
                    stock.returned = stock.left();
                    self.sums.returned = self.sums.returned.saturating_add(stock.returned);
                    self.offers.entry(item).or_default().remove(&place_of_deposit(of.clock, id));
                }
                Some(_) | None => drop(of.open.insert((item, number))),
            }
        }
    }

    /// The life of this buyer that has a seat.
    pub(super) fn seated(&self, buyer: PeerId) -> Option<Incarnation> {
        self.seats.get(&buyer).filter(|(_, is_taken)| *is_taken).map(|(life, _)| *life)
    }

    fn absorb_admission(&mut self, request: &Request, time: Time) {
        self.sums.admissions += 1;
        self.sums.late += u64::from(request.is_late_at(time));
        if let Some(Fate::Open(former)) = self.requests.insert(request.id, Fate::Open(time)) {
            self.queue.remove(&place_of_request(former, request.id));
        }
        self.queue.insert(place_of_request(time, request.id), (self.position, request.clone()));
        self.buyers.entry(request.id.buyer).or_default().open.insert(request.id.sequence);
    }

    fn absorb_sale(&mut self, record: &Record, sale: &Sale) {
        let (quantity, paid) = (u64::from(sale.quantity.0), paid_for(sale));
        self.sums.sales += 1;
        self.sums.sold = self.sums.sold.saturating_add(quantity);
        self.sums.paid += paid;
        self.sums.earned = self.sums.earned.saturating_add(sale.earned.0);
        self.sums.commission = self.sums.commission.saturating_add(sale.commission.0);

        let buyer = self.buyers.entry(sale.request.buyer).or_default();
        buyer.bought = buyer.bought.saturating_add(quantity);
        buyer.spent += paid;

        let trader = self.traders.entry(record.stamp.peer).or_default();
        trader.sales += 1;
        trader.commission = trader.commission.saturating_add(sale.commission.0);
        if let Some(term) = &mut self.term {
            term.sales += 1;
        }

        let DepositId { seller, number } = sale.deposit;
        self.raise_seller(seller, record.stamp.time);
        let of = self.sellers.entry(seller).or_default();
        of.sales = sale.number;
        of.earned = of.earned.saturating_add(sale.earned.0);
        if let Some(stock) = self.deposits.get_mut(&sale.deposit) {
            stock.sold = stock.sold.saturating_add(quantity);
            if stock.left() == 0 {
                of.open.remove(&(stock.item, number));
                let place = place_of_deposit(of.clock, sale.deposit);
                self.offers.entry(stock.item).or_default().remove(&place);
            }
        }
        self.settle(sale.request, record.stamp.time);
    }

    /// The seller's clock rises, and with it the place of its deposits.
    fn raise_seller(&mut self, seller: PeerId, time: Time) {
        let of = self.sellers.entry(seller).or_default();
        let (before, after) = (of.clock, of.clock.max(time));
        of.clock = after;
        for (item, number) in &of.open {
            let id = DepositId { seller, number: *number };
            let offers = self.offers.entry(*item).or_default();
            offers.remove(&place_of_deposit(before, id));
            offers.insert(place_of_deposit(after, id), id);
        }
    }

    fn settle(&mut self, id: RequestId, time: Time) {
        if let Some(Fate::Open(placed)) = self.requests.insert(id, Fate::Settled(self.position)) {
            let place = place_of_request(placed, id);
            self.floor = Some(place);
            let removed = self.queue.remove(&place);
            if let Some((_, request)) = &removed {
                let own = Some(place_of_request(request.stamp.time, id));
                self.sums.overtaken += u64::from(own < self.served);
                self.served = self.served.max(own);
            }
            if let Some((admitted_at, _)) = removed
                && let Some(term) = &mut self.term
                && admitted_at < term.claimed_at
                && term.ordering == Ordering::SmallestOpen
            {
                // Of a bad log that begins in the middle, it is not known which were inherited.
                term.inherited = term.inherited.saturating_sub(1);
            }
        }
        let buyer = self.buyers.entry(id.buyer).or_default();
        buyer.open.remove(&id.sequence);
        buyer.last = Some((id.sequence, time));
    }
}
