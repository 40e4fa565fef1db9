//! The seller: deposits goods, learns what was sold from them, and deposits others when they are sold out, or when too
//! little of them is left for what is asked.
//!
//! Like the buyer it writes nothing to disk and names the predecessor of each deposit (DESIGN R8). It polls: from time
//! to time, and with each new trader, it asks for the sales after the last one it knows (DESIGN R9).

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{
    account::{DepositStatus, SellerStatus},
    client::{ClientEffect, ClientInput},
    clock::Clock,
    config::{Limits, Offer, Offers, Pace, Timeouts},
    effect::Note,
    id::{DepositId, DepositNumber, Item, Life, SaleNumber, Units, numbered},
    input::{Choice, Timer},
    message::ClientMessage,
    money::Cents,
    record::Deposit,
};

/// A peer's part as a seller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seller {
    me: Life,
    /// How many deposits this life has numbered.
    numbered: u32,
    /// The last deposit it knows to be sold out or left over.
    known: Option<DepositNumber>,
    /// How many units of that deposit are left, by its own count.
    rest: Units,
    /// Its account as far as it was told; `None` until this life has been told anything.
    account: Option<Account>,
    has_trader: bool,
    state: State,
}

/// A seller's account, as far as the seller was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Account {
    /// The last sale it was told of.
    pub sales: SaleNumber,
    /// What its sales up to that one have earned.
    pub earned: Cents,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum State {
    /// It has something to deposit, and does so once there is a trader and the timer has fired.
    Ready(Offer),
    /// It waits for its choice of what to deposit next; not what has just sold out, if there is anything else.
    Choosing(Item),
    /// It sends its deposit until that is booked.
    Depositing(Deposit),
    /// It has goods with the trader.
    Selling { number: DepositNumber, item: Item, left: Units },
}

/// A seller's only timer: it is time to deposit, or to ask again what has been sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SellerTimer;

impl From<SellerTimer> for Timer {
    fn from(SellerTimer: SellerTimer) -> Timer {
        Timer::Seller
    }
}

/// What a seller is given in a step.
#[derive(Debug)]
pub struct SellerContext<'a> {
    /// The goods it offers.
    pub offers: &'a Offers,
    /// How busy it is.
    pub pace: &'a Pace,
    /// All waits.
    pub timeouts: &'a Timeouts,
    /// How many of its latest sales are kept to be told again.
    pub limits: &'a Limits,
    /// The peer's clock.
    pub clock: &'a mut Clock,
}

impl Seller {
    /// How many times the wait for an answer it waits before it asks unprompted about its sales. Normally the trader
    /// has already told it of them once.
    const RESENDS_BETWEEN_QUESTIONS: u32 = 4;

    /// A new life of a seller, which starts with `first`. It knows nothing about its former lives.
    #[must_use]
    pub fn new(me: Life, first: Offer) -> Seller {
        Seller {
            me,
            numbered: 0,
            known: None,
            rest: Units(0),
            account: None,
            has_trader: false,
            state: State::Ready(first),
        }
    }

    /// Its account, as far as it was told.
    #[must_use]
    pub fn account(&self) -> Option<Account> {
        self.account
    }

    /// The deposit it is trying to make, if there is one.
    #[must_use]
    pub fn depositing(&self) -> Option<&Deposit> {
        match &self.state {
            State::Depositing(deposit) => Some(deposit),
            State::Ready(_) | State::Choosing(_) | State::Selling { .. } => None,
        }
    }

    /// How many deposits this life has made.
    #[must_use]
    pub fn numbered(&self) -> u32 {
        self.numbered
    }

    /// Takes one input. Cannot fail.
    pub fn step(
        &mut self,
        ctx: &mut SellerContext<'_>,
        input: ClientInput<SellerStatus, SellerTimer>,
    ) -> Vec<ClientEffect<SellerTimer>> {
        let mut step = Step { seller: self, ctx, effects: Vec::new() };
        match input {
            ClientInput::TraderKnown => step.on_trader_known(),
            ClientInput::TraderGone => step.seller.has_trader = false,
            // Only buyers are awaited.
            ClientInput::Asked(_) => {}
            ClientInput::Fired(SellerTimer) => step.on_fired(),
            ClientInput::Chose(pick) => step.on_chose(pick),
            ClientInput::Told(status) => step.on_status(status),
        }
        step.effects
    }
}

fn choices(offers: &Offers, sold_out: Item) -> impl Iterator<Item = Offer> + '_ {
    let others = offers.0.iter().any(|offer| offer.item != sold_out);
    offers.0.iter().copied().filter(move |offer| !others || offer.item != sold_out)
}

/// One step in progress.
struct Step<'a, 'b> {
    seller: &'a mut Seller,
    ctx: &'a mut SellerContext<'b>,
    effects: Vec<ClientEffect<SellerTimer>>,
}

impl Step<'_, '_> {
    fn on_trader_known(&mut self) {
        self.seller.has_trader = true;
        match &self.seller.state {
            State::Ready(_) => self.arm(self.ctx.pace.deposit_after),
            State::Choosing(_) => {}
            State::Depositing(_) | State::Selling { .. } => self.speak(),
        }
    }

    fn on_fired(&mut self) {
        if !self.seller.has_trader {
            return;
        }
        match self.seller.state {
            State::Ready(offer) => self.deposit(offer),
            State::Choosing(_) => {}
            State::Depositing(_) | State::Selling { .. } => self.speak(),
        }
    }

    /// Tells the trader what is due now, and waits for the answer.
    fn speak(&mut self) {
        let (message, wait) = match &self.seller.state {
            State::Depositing(deposit) => (ClientMessage::Deposit(deposit.clone()), self.ctx.timeouts.resend),
            State::Selling { .. } => {
                let after = self.seller.account.map(|account| account.sales);
                (
                    ClientMessage::AskSales { after },
                    self.ctx.timeouts.resend.saturating_mul(Seller::RESENDS_BETWEEN_QUESTIONS),
                )
            }
            State::Ready(_) | State::Choosing(_) => return,
        };
        if self.seller.has_trader {
            self.effects.push(ClientEffect::Tell(message));
            self.arm(wait);
        }
    }

    fn on_chose(&mut self, pick: u32) {
        let State::Choosing(sold_out) = self.seller.state else { return };
        let offer = choices(self.ctx.offers, sold_out).nth(pick as usize);
        if let Some(offer) = offer {
            self.deposit(offer);
        }
    }

    fn deposit(&mut self, offer: Offer) {
        if !self.seller.has_trader {
            // SPEC B7: not while there is no other trader; it deposits once there is one.
            self.seller.state = State::Ready(offer);
            return;
        }
        self.seller.numbered = self.seller.numbered.saturating_add(1);
        let number = numbered(self.seller.me.incarnation, self.seller.numbered);
        let number = DepositNumber(mutant!(number; DepositNumberReused => self.seller.numbered.into()));
        self.seller.state = State::Depositing(Deposit {
            id: DepositId { seller: self.seller.me.peer, number },
            previous: self.seller.known,
            item: offer.item,
            count: offer.count,
            price: offer.price,
            stamp: self.ctx.clock.tick(),
        });
        self.speak();
    }

    // DESIGN R8. A seller's last deposit and number of sales in the books only ever rise; that is how an older status
    // is recognised.
    fn on_status(&mut self, status: SellerStatus) {
        let number = status.deposit.as_ref().map(|deposit| deposit.number);
        let told = self.seller.account.map(|account| account.sales);
        let selling = match self.seller.state {
            State::Selling { number, .. } => Some(number),
            State::Ready(_) | State::Choosing(_) | State::Depositing(_) => self.seller.known,
        };
        if mutant!(Some(status.sales) < told || number < selling; OldAccountBelieved => false) {
            return;
        }
        if mutant!(self.has_gap(&status); MissedSaleNotAsked => false) {
            // It was told of a later sale before an earlier one: the notice was lost, or the trader that sent it has
            // died. The books still have that sale.
            self.speak();
            return;
        }
        self.learn_sales(&status);
        if let Some(deposit) = status.deposit {
            self.learn_deposit(deposit);
        }
    }

    /// Whether sales are missing before those it was told of, but are still kept to be told (SPEC D7). A seller that is
    /// told of as many as are kept, and is still missing some, has missed too many: what is told of a batch may be more
    /// than what is kept, but then all that is kept is in it.
    fn has_gap(&self, status: &SellerStatus) -> bool {
        let Some(Account { sales, .. }) = self.account_before(status) else { return false };
        let first = status.recent.iter().map(|sale| sale.number).find(|number| *number > sales);
        sales < status.sales
            && first.is_none_or(|first| first > sales.next())
            && mutant!(status.recent.len() < self.ctx.limits.sales_kept as usize; GapAskedForEver => true)
    }

    /// Its account before this status, if that can be known. Before its very first deposit there were no sales.
    fn account_before(&self, status: &SellerStatus) -> Option<Account> {
        let is_first = matches!((&self.seller.state, &status.deposit), (State::Depositing(mine), Some(booked))
            if mine.previous.is_none() && mine.id.number == booked.number);
        self.seller.account.or(mutant!(is_first.then(Account::default); FirstAccountAdopted => None))
    }

    fn learn_sales(&mut self, status: &SellerStatus) {
        let now = Account { sales: status.sales, earned: status.earned };
        let before = self.account_before(status);
        self.seller.account = Some(now);
        match before {
            Some(before) => {
                let first = status.recent.iter().find(|sale| sale.number > before.sales);
                if before.sales < now.sales && first.is_none_or(|sale| sale.number > before.sales.next()) {
                    self.resume(now);
                    return;
                }
                let mut total = before.earned;
                let recent = status.recent.iter();
                for sale in recent.filter(|sale| mutant!(sale.number > before.sales; SaleCountedTwice => true)) {
                    // SPEC C2: a completed sale is an event.
                    self.ctx.clock.tick();
                    total = total.plus(sale.earned);
                    let left = self.left_after(sale.deposit.number, sale.quantity);
                    self.effects.push(ClientEffect::Note(Note::Earned { sale: sale.clone(), total, left }));
                }
            }
            None => self.resume(now),
        }
    }

    fn resume(&mut self, now: Account) {
        if now.sales > SaleNumber(0) {
            self.effects.push(ClientEffect::Note(Note::ResumedAccount { sales: now.sales.0, earned: now.earned }));
        }
    }

    /// What is left of a deposit after one more sale, by the seller's own count.
    fn left_after(&mut self, of: DepositNumber, sold: Units) -> Units {
        match &mut self.seller.state {
            State::Selling { number, left, .. } if *number == of => {
                *left = Units(left.0.saturating_sub(sold.0));
                *left
            }
            // It has not heard yet that the deposit is booked: evidently it is.
            State::Depositing(deposit) if deposit.id.number == of => {
                let left = Units(deposit.count.0.saturating_sub(sold.0));
                self.register();
                if let State::Selling { left: counted, .. } = &mut self.seller.state {
                    *counted = left;
                }
                left
            }
            // Something of what it is about to take back was sold first.
            State::Ready(_) | State::Choosing(_) | State::Depositing(_) if self.seller.known == Some(of) => {
                self.seller.rest = Units(self.seller.rest.0.saturating_sub(sold.0));
                self.seller.rest
            }
            State::Ready(_) | State::Choosing(_) | State::Depositing(_) | State::Selling { .. } => Units(0),
        }
    }

    fn learn_deposit(&mut self, booked: DepositStatus) {
        match &self.seller.state {
            State::Depositing(deposit) if deposit.id.number == booked.number => self.register(),
            State::Selling { number, .. } if *number == booked.number => {}
            // The last deposit it knows to be sold out or left over: nothing new.
            State::Depositing(_) | State::Ready(_) | State::Choosing(_) if Some(booked.number) <= self.seller.known => {
                return;
            }
            // A deposit of a former life is booked. The one that was to be made instead names a predecessor that is no
            // longer the last, so it can never be booked as well.
            State::Depositing(_) | State::Ready(_) | State::Choosing(_) | State::Selling { .. } => {}
        }
        self.seller.state = State::Selling { number: booked.number, item: booked.item, left: booked.left };
        if booked.left == Units(0) {
            self.sell_out();
        } else if mutant!(booked.leftover; LeftoverForGood => false) {
            self.take_back(&booked);
        } else {
            self.arm(self.ctx.timeouts.resend.saturating_mul(Seller::RESENDS_BETWEEN_QUESTIONS));
        }
    }

    fn register(&mut self) {
        if let State::Depositing(deposit) = &self.seller.state {
            let Deposit { id, item, count, price, .. } = *deposit;
            self.effects.push(ClientEffect::Note(Note::Registered { deposit: id, item, count, price }));
            self.seller.state = State::Selling { number: id.number, item, left: count };
        }
    }

    // SPEC D8: the seller is told, and picks another item.
    fn sell_out(&mut self) {
        let State::Selling { number, item, .. } = self.seller.state else { return };
        (self.seller.known, self.seller.rest) = (Some(number), Units(0));
        let deposit = DepositId { seller: self.seller.me.peer, number };
        self.effects.push(ClientEffect::Note(Note::SoldOut { deposit, item }));
        self.seller.state = State::Choosing(item);
        mutant!(SoldOutForGood => return);
        self.choose(item);
    }

    // SPEC D8: the item is wanted, so it brings the same again, and takes back what is left. Until that is booked the
    // rest stays for sale (DESIGN R8).
    fn take_back(&mut self, DepositStatus { number, item, count, left, .. }: &DepositStatus) {
        (self.seller.known, self.seller.rest) = (Some(*number), *left);
        let deposit = DepositId { seller: self.seller.me.peer, number: *number };
        self.effects.push(ClientEffect::Note(Note::LeftOver { deposit, item: *item, left: *left }));
        let same = self.ctx.offers.0.iter().find(|offer| offer.item == *item && offer.count >= *count);
        match same.copied() {
            Some(offer) => self.deposit(offer),
            // A former life offered it.
            None => {
                self.seller.state = State::Choosing(*item);
                self.choose(*item);
            }
        }
    }

    fn choose(&mut self, item: Item) {
        let among = choices(self.ctx.offers, item).count() as u32;
        self.effects.push(ClientEffect::Choose(Choice::Offer, among));
    }

    fn arm(&mut self, wait: core::time::Duration) {
        self.effects.push(ClientEffect::Arm(SellerTimer, wait));
    }
}

#[cfg(test)]
mod tests;
