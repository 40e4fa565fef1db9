use super::*;
use crate::testing::{FISH, PACE, TIMEOUTS, life, request, sale};
use crate::{clock::Time, id::PeerId, money::Price, record::Sale};
use alloc::vec;

type Input = ClientInput<SellerStatus, SellerTimer>;

/// The second life of seller 1, which offers two fish or one salt, with its context.
struct Stall {
    seller: Seller,
    offers: Offers,
    limits: Limits,
    clock: Clock,
}

const SALT: Offer = Offer { item: Item::SALT, count: Units(1), price: Price(300) };

/// The first number assigned in the second life.
const FIRST: u64 = (2 << 32) | 1;

impl Stall {
    fn take(&mut self, input: Input) -> Vec<ClientEffect<SellerTimer>> {
        let Stall { seller, offers, limits, clock } = self;
        seller.step(&mut SellerContext { offers, pace: &PACE, timeouts: &TIMEOUTS, limits, clock }, input)
    }

    fn fire(&mut self) -> Vec<ClientEffect<SellerTimer>> {
        self.take(ClientInput::Fired(SellerTimer))
    }

    /// The books' status: deposit `number`, with so many left, so many sales, and the latest of those.
    fn told(&mut self, number: u64, left: u32, sales: u64, recent: &[Sale]) -> Vec<ClientEffect<SellerTimer>> {
        self.take(ClientInput::Told(status(number, left, sales, recent)))
    }
}

fn status(number: u64, left: u32, sales: u64, recent: &[Sale]) -> SellerStatus {
    let number = DepositNumber(number);
    let (item, count, left, price) = (Item::FISH, Units(2), Units(left), Price(900));
    let deposit = DepositStatus { number, item, count, left, price, leftover: false };
    let earned = Cents(720 * u128::from(sales));
    SellerStatus { deposit: Some(deposit), sales: SaleNumber(sales), earned, recent: recent.to_vec() }
}

/// The seller's `number`-th sale, of one fish.
fn sold(deposit: u64, number: u64) -> Sale {
    sale(&request(9, 3, number), &crate::testing::deposit(1, deposit, 2), number)
}

fn stall() -> Stall {
    let offers = Offers(vec![FISH, SALT]);
    let (limits, clock) = (Limits::DEFAULT, Clock::resume(PeerId(1), Time(0)));
    Stall { seller: Seller::new(life(1, 2), FISH), offers, limits, clock }
}

/// With a trader, and its first deposit on its way.
fn depositing() -> Stall {
    let mut stall = stall();
    assert_eq!(stall.take(ClientInput::TraderKnown), [arm(PACE.deposit_after)]);
    stall.fire();
    stall
}

/// With its first deposit booked.
fn selling() -> Stall {
    let mut stall = depositing();
    stall.told(FIRST, 2, 0, &[]);
    stall
}

fn arm(wait: core::time::Duration) -> ClientEffect<SellerTimer> {
    ClientEffect::Arm(SellerTimer, wait)
}

fn ask(after: Option<u64>) -> Vec<ClientEffect<SellerTimer>> {
    let after = after.map(SaleNumber);
    vec![ClientEffect::Tell(ClientMessage::AskSales { after }), arm(TIMEOUTS.resend * 4)]
}

/// What it was told it has earned: by which sale, the total by then, and what is left.
fn earned(effects: &[ClientEffect<SellerTimer>]) -> Vec<(u64, u128, u32)> {
    let earned = effects.iter().filter_map(|effect| match effect {
        ClientEffect::Note(Note::Earned { sale, total, left }) => Some((sale.number.0, total.0, left.0)),
        ClientEffect::Note(_)
        | ClientEffect::Tell(_)
        | ClientEffect::MulticastClock
        | ClientEffect::Arm(..)
        | ClientEffect::Promise(..)
        | ClientEffect::Choose(..) => None,
    });
    earned.collect()
}

// SPEC D1.
#[test]
fn a_deposit_is_repeated_unchanged_until_it_is_booked_and_then_asked_about() {
    let mut stall = depositing();
    let deposit = stall.seller.depositing().expect("a deposit").clone();
    assert_eq!((deposit.id.number, deposit.previous, deposit.count), (DepositNumber(FIRST), None, Units(2)));
    let again = vec![ClientEffect::Tell(ClientMessage::Deposit(deposit)), arm(TIMEOUTS.resend)];
    assert_eq!(stall.fire(), again);
    assert_eq!(stall.take(ClientInput::TraderKnown), again);
    assert!(matches!(stall.told(FIRST, 2, 0, &[])[0], ClientEffect::Note(Note::Registered { .. })));
    assert_eq!(stall.fire(), ask(Some(0)), "DESIGN R9");
    stall.take(ClientInput::TraderGone);
    assert_eq!(stall.fire(), []);
}

// SPEC D8.
#[test]
fn a_seller_that_is_sold_out_picks_another_item_and_names_the_last_deposit() {
    let mut stall = selling();
    let effects = stall.told(FIRST, 0, 2, &[sold(FIRST, 1), sold(FIRST, 2)]);
    assert_eq!(earned(&effects), [(1, 720, 1), (2, 1_440, 0)]);
    assert_eq!(effects.last(), Some(&ClientEffect::Choose(Choice::Offer, 1)), "fish is sold out");
    stall.take(ClientInput::Chose(0));
    let deposit = stall.seller.depositing().expect("a deposit");
    assert_eq!((deposit.item, deposit.previous), (Item::SALT, Some(DepositNumber(FIRST))), "DESIGN R8");
    assert_eq!(stall.told(FIRST, 0, 2, &[sold(FIRST, 2)]), [], "told again");
    assert_eq!(stall.seller.depositing().map(|deposit| deposit.id.number), Some(DepositNumber(FIRST + 1)));
}

/// The status of a deposit of which one is left, and which a refusal has named.
fn left_over(number: u64) -> SellerStatus {
    let mut status = status(number, 1, 1, &[sold(number, 1)]);
    status.deposit.as_mut().unwrap().leftover = true;
    status
}

// SPEC D8, DESIGN R8.
#[test]
fn a_seller_with_too_little_left_takes_it_back_and_brings_the_same_again() {
    let mut stall = selling();
    let effects = stall.take(ClientInput::Told(left_over(FIRST)));
    let deposit = DepositId { seller: PeerId(1), number: DepositNumber(FIRST) };
    let left_over_note = Note::LeftOver { deposit, item: Item::FISH, left: Units(1) };
    assert!(effects.contains(&ClientEffect::Note(left_over_note)), "{effects:?}");
    let next = stall.seller.depositing().expect("a deposit").clone();
    assert_eq!((next.item, next.count, next.previous), (Item::FISH, Units(2), Some(DepositNumber(FIRST))));
    assert_eq!(next.id.number, DepositNumber(FIRST + 1));
    assert_eq!(stall.take(ClientInput::Told(left_over(FIRST))), [], "told again, it decides nothing new");
    // The rest is sold before its next deposit is booked.
    let effects = stall.told(FIRST, 0, 2, &[sold(FIRST, 2)]);
    assert_eq!(earned(&effects), [(2, 1_440, 0)]);
    assert_eq!(stall.seller.depositing(), Some(&next));
    stall.told(FIRST + 1, 2, 2, &[]);
    assert_eq!(stall.seller.depositing(), None);
    assert_eq!(stall.fire(), ask(Some(2)));
}

// SPEC D8, DESIGN R8: its former life was told, and what that decided may be booked yet.
#[test]
fn a_seller_that_comes_back_to_a_leftover_deposits_in_its_place() {
    let mut stall = stall();
    stall.take(ClientInput::TraderKnown);
    stall.take(ClientInput::Told(left_over(1)));
    assert_eq!(stall.seller.depositing().map(|deposit| deposit.previous), Some(Some(DepositNumber(1))));
    stall.told(2, 2, 1, &[]);
    assert_eq!(stall.seller.depositing(), None, "the former life's counts instead");
}

#[test]
fn a_leftover_is_followed_by_no_less_of_it_or_by_another_item() {
    let little = Offer { count: Units(1), ..FISH };
    let mut stall = selling();
    stall.offers = Offers(vec![little, SALT, FISH]);
    stall.take(ClientInput::Told(left_over(FIRST)));
    assert_eq!(stall.seller.depositing().map(|deposit| (deposit.item, deposit.count)), Some((Item::FISH, Units(2))));

    let mut stall = selling();
    stall.offers = Offers(vec![little, SALT]);
    let effects = stall.take(ClientInput::Told(left_over(FIRST)));
    assert_eq!(effects.last(), Some(&ClientEffect::Choose(Choice::Offer, 1)));
    stall.take(ClientInput::Chose(0));
    assert_eq!(stall.seller.depositing().map(|deposit| deposit.item), Some(Item::SALT));
}

#[test]
fn a_seller_with_nothing_else_deposits_the_same_again() {
    let mut stall = selling();
    stall.offers = Offers(vec![FISH]);
    let effects = stall.told(FIRST, 0, 2, &[sold(FIRST, 1), sold(FIRST, 2)]);
    assert_eq!(effects.last(), Some(&ClientEffect::Choose(Choice::Offer, 1)));
    stall.take(ClientInput::TraderGone);
    assert_eq!(stall.take(ClientInput::Chose(0)), [], "SPEC B7: not without a trader");
    assert_eq!(stall.take(ClientInput::TraderKnown), [arm(PACE.deposit_after)]);
    stall.fire();
    assert_eq!(stall.seller.depositing().map(|deposit| deposit.item), Some(Item::FISH));
}

// SPEC D7, DESIGN R9.
#[test]
fn a_gap_in_its_sales_makes_it_ask_and_moves_nothing() {
    let mut stall = selling();
    let before = stall.seller.clone();
    assert_eq!(stall.told(FIRST, 0, 2, &[sold(FIRST, 2)]), ask(Some(0)));
    assert_eq!(stall.seller, before);
    let effects = stall.told(FIRST, 0, 2, &[sold(FIRST, 1), sold(FIRST, 2)]);
    assert_eq!(earned(&effects), [(1, 720, 1), (2, 1_440, 0)]);
}

// SPEC D7: it was told of as many as are kept, and there is still a gap.
#[test]
fn a_seller_that_missed_more_sales_than_are_kept_adopts_its_account_from_the_books() {
    let kept = u64::from(Limits::DEFAULT.sales_kept);
    let mut stall = selling();
    let recent: Vec<_> = (2..2 + kept).map(|number| sold(FIRST, number)).collect();
    assert_eq!(stall.told(FIRST, 1, kept + 1, &recent[1..]), ask(Some(0)), "one fewer, so more may have been kept");
    let effects = stall.told(FIRST, 1, kept + 1, &recent);
    let resumed = Note::ResumedAccount { sales: kept + 1, earned: Cents(720 * u128::from(kept + 1)) };
    assert_eq!(effects[0], ClientEffect::Note(resumed));
    assert_eq!((earned(&effects), stall.fire()), (vec![], ask(Some(kept + 1))));
}

// SPEC D7.
#[test]
fn where_one_sale_is_kept_a_single_missed_one_makes_it_adopt_its_account() {
    let mut stall = selling();
    stall.limits.sales_kept = 1;
    let effects = stall.told(FIRST, 0, 2, &[sold(FIRST, 2)]);
    assert_eq!(effects[0], ClientEffect::Note(Note::ResumedAccount { sales: 2, earned: Cents(1_440) }));
    assert_eq!(earned(&effects), []);
}

// DESIGN R8: the deposit that was to be made instead names a predecessor that is no longer the last.
#[test]
fn a_booked_deposit_of_a_former_life_is_adopted() {
    let mut stall = depositing();
    let effects = stall.told(7, 1, 1, &[sold(7, 1)]);
    let resumed = Note::ResumedAccount { sales: 1, earned: Cents(720) };
    assert_eq!(effects, [ClientEffect::Note(resumed), arm(TIMEOUTS.resend * 4)]);
    assert_eq!(stall.seller.depositing(), None);
    assert_eq!(stall.fire(), ask(Some(1)));
    stall.told(7, 0, 2, &[sold(7, 2)]);
    stall.take(ClientInput::Chose(0));
    assert_eq!(stall.seller.depositing().and_then(|deposit| deposit.previous), Some(DepositNumber(7)));
}

// SPEC D7: before it there were none.
#[test]
fn the_sales_of_its_first_deposit_are_told_one_by_one_even_before_it_hears_that_it_is_booked() {
    let mut stall = depositing();
    let effects = stall.told(FIRST, 1, 1, &[sold(FIRST, 1)]);
    assert!(matches!(effects[0], ClientEffect::Note(Note::Registered { .. })), "{effects:?}");
    assert_eq!(earned(&effects), [(1, 720, 1)]);
    assert_eq!(stall.seller.account(), Some(Account { sales: SaleNumber(1), earned: Cents(720) }));
}

// SPEC D7. The notices of the deposit and of the first sale were lost.
#[test]
fn a_gap_makes_it_ask_even_before_it_hears_that_its_first_deposit_is_booked() {
    let mut stall = depositing();
    let before = stall.seller.clone();
    let effects = stall.told(FIRST, 0, 2, &[sold(FIRST, 2)]);
    assert!(matches!(effects[0], ClientEffect::Tell(ClientMessage::Deposit(_))), "{effects:?}");
    assert_eq!(stall.seller, before);
    let effects = stall.told(FIRST, 0, 2, &[sold(FIRST, 1), sold(FIRST, 2)]);
    assert_eq!(earned(&effects), [(1, 720, 1), (2, 1_440, 0)]);
}

// DESIGN R8; SPEC C2: a completed sale is an event.
#[test]
fn a_sale_is_learned_once_and_an_older_status_is_ignored() {
    let mut stall = selling();
    let (before, old) = (stall.clock.now(), status(FIRST, 2, 0, &[]));
    stall.told(FIRST, 1, 1, &[sold(FIRST, 1)]);
    assert_eq!(stall.clock.now().0, before.0 + 1);
    let seller = stall.seller.clone();
    assert_eq!(earned(&stall.told(FIRST, 1, 1, &[sold(FIRST, 1)])), [], "duplicated");
    assert_eq!(stall.take(ClientInput::Told(old)), [], "from before the sale");
    assert_eq!(stall.told(7, 0, 1, &[]), [], "of a deposit before this one");
    assert_eq!(stall.seller, seller);
}

#[test]
fn without_an_account_nothing_is_adopted_and_the_deposit_still_waits() {
    let mut stall = depositing();
    let none = SellerStatus { deposit: None, sales: SaleNumber(0), earned: Cents(0), recent: vec![] };
    assert_eq!(stall.take(ClientInput::Told(none)), []);
    assert!(stall.seller.depositing().is_some());
}
