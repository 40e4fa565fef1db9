//! Who buys and who sells (SPEC A7).

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};
use core::{fmt, ops::RangeInclusive, time::Duration};

use crate::{
    config::{Offer, Offers, Role, Wishes},
    id::{Item, PeerId, Units},
    money::Price,
    random::SplitMix64,
};

/// What a peer does, whatever its goods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It only buys.
    Buyer,
    /// It only sells.
    Seller,
    /// It both buys and sells.
    Both,
}

impl From<&Role> for Kind {
    fn from(role: &Role) -> Kind {
        match role {
            Role::Buyer(_) => Kind::Buyer,
            Role::Seller(_) => Kind::Seller,
            Role::Both(..) => Kind::Both,
        }
    }
}

/// The goods from which roles are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assortment {
    /// How many items there are; they are numbered from 0. At least one.
    pub items: u16,
    /// How many units a seller deposits at a time.
    pub units: Units,
    /// The lowest price that is drawn.
    pub lowest_price: Price,
    /// The highest price that is drawn; at least the lowest.
    pub highest_price: Price,
    /// How many units a buyer wants at a time.
    pub quantity: Units,
}

impl Assortment {
    /// Ten units of fish, salt or boar at 4 to 10, bought one by one (SPEC A7).
    pub const DEFAULT: Assortment = Assortment {
        items: 3,
        units: Units(10),
        lowest_price: Price(400),
        highest_price: Price(1_000),
        quantity: Units(1),
    };

    /// The items, in order.
    pub fn item_ids(&self) -> impl Iterator<Item = Item> + use<> {
        (0..self.items).map(Item)
    }
}

/// Why nothing can be sold, or not at all times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTrade {
    /// The trader neither buys nor sells, and without it there is no pair left to trade.
    TooFewPeers(u32),
    /// Nobody wants what another offers.
    Nobody,
    /// While one of these peers is trader, none of the others wants what another of them offers.
    Under {
        /// One or two: the only pair that could trade, or a part of each.
        traders: Vec<PeerId>,
        /// The peer that is elected first if all are up: the one with the highest id.
        first: PeerId,
    },
}

impl fmt::Display for NoTrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoTrade::TooFewPeers(peers) => write!(
                f,
                "no trade is possible: it takes a buyer, a seller and a trader, and there are {peers} peers; give at \
                 least 3"
            ),
            NoTrade::Nobody => write!(
                f,
                "no trade is possible: nobody offers what another wants, in the quantity wanted; give some peer the \
                 role both"
            ),
            NoTrade::Under { traders, first } => {
                let named: Vec<String> = traders.iter().map(|trader| format!("peer {trader}")).collect();
                let elected = if traders.contains(first) { "is" } else { "is not one of them and is" };
                write!(
                    f,
                    "no trade is possible while {} is the trader (peer {first} {elected} elected first): of the others, \
                     nobody offers what another wants, in the quantity wanted; give another peer the role both",
                    named.join(" or ")
                )
            }
        }
    }
}

impl core::error::Error for NoTrade {}

/// What a seed draws for a peer.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The role that was drawn.
    pub role: Role,
    /// Its role if it must both buy and sell.
    pub both: Role,
}

/// The roles of a seed, made such that from three peers on somebody can trade whoever is trader.
#[must_use]
pub fn roles(peers: u32, seed: u64, goods: &Assortment) -> Vec<Role> {
    let drawn = draw(peers, seed, goods);
    let both: Vec<Option<Role>> = drawn.iter().map(|drawn| Some(drawn.both.clone())).collect();
    let mut roles: Vec<Role> = drawn.into_iter().map(|drawn| drawn.role).collect();
    make_trade_possible(&mut roles, seed, &both);
    roles
}

/// The roles that a seed draws. A seller starts with a random item and continues with the others; a buyer wants
/// everything. The same arguments give the same roles in every release.
#[must_use]
pub fn draw(peers: u32, seed: u64, goods: &Assortment) -> Vec<Drawn> {
    let mut random = SplitMix64::new(seed, "roles");
    // Dealt like cards rather than tossed like coins, so that ten peers are not eight buyers and one seller.
    let mut cards: Vec<Kind> = (0..peers).map(card).collect();
    random.shuffle(&mut cards);
    cards.into_iter().map(|kind| draw_one(kind, &mut random, goods)).collect()
}

/// Of ten cards, five are buyers, four are sellers, and one is both.
fn card(number: u32) -> Kind {
    match number % 10 {
        9 => Kind::Both,
        rest if rest % 2 == 0 => Kind::Buyer,
        _ => Kind::Seller,
    }
}

/// How long this buyer thinks between an outcome and its next request: as long as it always does in a run with this seed,
/// in whole milliseconds of this range; its start where it is empty.
#[must_use]
pub fn think_time(buyer: PeerId, seed: u64, range: RangeInclusive<Duration>) -> Duration {
    let span = range.end().saturating_sub(*range.start()).as_millis();
    let choices = u64::try_from(span).unwrap_or(u64::MAX).saturating_add(1);
    let drawn = SplitMix64::new(seed, &format!("think of {buyer}")).below(choices);
    range.start().saturating_add(Duration::from_millis(drawn))
}

fn draw_one(kind: Kind, random: &mut SplitMix64, goods: &Assortment) -> Drawn {
    let items: Vec<Item> = goods.item_ids().collect();
    let first = random.index(items.len());
    let spread = u64::from(goods.highest_price.0 - goods.lowest_price.0);
    let offers = (0..items.len())
        .map(|index| Offer {
            item: items[(first + index) % items.len()],
            count: goods.units,
            // At most the highest price, which fits.
            price: Price(goods.lowest_price.0 + random.below(spread + 1) as u32),
        })
        .collect();
    let (wishes, offers) = (Wishes { items, quantity: goods.quantity }, Offers(offers));
    let both = Role::Both(wishes.clone(), offers.clone());
    let role = match kind {
        Kind::Buyer => Role::Buyer(wishes),
        Kind::Seller => Role::Seller(offers),
        Kind::Both => both.clone(),
    };
    Drawn { role, both }
}

/// Makes peers both buyer and seller, one after another, until somebody can trade whoever is trader. `both` says what a
/// peer would then buy and sell; `None` for those whose role is given.
pub fn make_trade_possible(roles: &mut [Role], seed: u64, both: &[Option<Role>]) {
    let mut order: Vec<(usize, &Role)> =
        both.iter().enumerate().filter_map(|(peer, role)| Some((peer, role.as_ref()?))).collect();
    SplitMix64::new(seed, "both").shuffle(&mut order);
    for (peer, role) in order {
        if check(roles).is_ok() {
            return;
        }
        roles[peer] = role.clone();
    }
}

/// Whether a buyer and a seller of something it wants remain, whoever is trader.
///
/// # Errors
/// Says under whom nobody can trade.
pub fn check(roles: &[Role]) -> Result<(), NoTrade> {
    if roles.len() < 3 {
        // Fewer than three.
        return Err(NoTrade::TooFewPeers(roles.len() as u32));
    }
    let (buyer, seller) = find_pair(roles, None).ok_or(NoTrade::Nobody)?;
    // Under any other trader these two trade.
    let hinders = |trader: &usize| find_pair(roles, Some(*trader)).is_none();
    let traders: Vec<PeerId> = [buyer.min(seller), buyer.max(seller)]
        .into_iter()
        .filter(hinders)
        .map(|trader| PeerId(trader as u32))
        .collect();
    let first = PeerId(roles.len() as u32 - 1);
    if traders.is_empty() { Ok(()) } else { Err(NoTrade::Under { traders, first }) }
}

/// A buyer and another peer that offers something it wants; neither is the trader.
fn find_pair(roles: &[Role], trader: Option<usize>) -> Option<(usize, usize)> {
    let items = roles.iter().flat_map(|role| role.wishes().into_iter().flat_map(|wishes| &wishes.items));
    let items: BTreeSet<Item> = items.copied().collect();
    items.into_iter().find_map(|item| {
        // The two buyers who want the least at a time and the two sellers who deposit the most: if anybody can trade
        // this item, two of these four can.
        let others = || roles.iter().enumerate().filter(|(peer, _)| Some(*peer) != trader);
        let wanting = |(peer, role): (usize, &Role)| {
            role.wishes().filter(|wishes| wishes.items.contains(&item)).map(|wishes| (wishes.quantity, peer))
        };
        let offering = |(peer, role): (usize, &Role)| {
            let counts = role.offers()?.0.iter().filter(|offer| offer.item == item).map(|offer| offer.count);
            counts.max().map(|count| (count, peer))
        };
        let buyers = best_two(others().filter_map(wanting), |a, b| a < b);
        let sellers = best_two(others().filter_map(offering), |a, b| a > b);
        let pairs =
            buyers.iter().flatten().flat_map(|buyer| sellers.iter().flatten().map(move |seller| (buyer, seller)));
        pairs
            .filter(|((quantity, buyer), (count, seller))| buyer != seller && quantity <= count)
            .map(|((_, buyer), (_, seller))| (*buyer, *seller))
            .next()
    })
}

type Candidate = Option<(Units, usize)>;

fn best_two(all: impl Iterator<Item = (Units, usize)>, better: impl Fn(Units, Units) -> bool) -> [Candidate; 2] {
    all.fold([None, None], |[first, second], next| match (first, second) {
        (None, _) => [Some(next), None],
        (Some(best), _) if better(next.0, best.0) => [Some(next), first],
        (Some(_), None) => [first, Some(next)],
        (Some(_), Some(good)) if better(next.0, good.0) => [first, Some(next)],
        (Some(_), Some(_)) => [first, second],
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trades(buyer: &Role, seller: &Role) -> bool {
        let (Some(wishes), Some(offers)) = (buyer.wishes(), seller.offers()) else { return false };
        offers.0.iter().any(|offer| wishes.items.contains(&offer.item) && wishes.quantity <= offer.count)
    }

    /// The rule as it is stated, without the shortcuts.
    fn trades_under_anybody(roles: &[Role]) -> bool {
        let others = |trader: usize| (0..roles.len()).filter(move |peer| *peer != trader);
        roles.len() >= 3
            && (0..roles.len())
                .all(|trader| others(trader).any(|b| others(trader).any(|s| b != s && trades(&roles[b], &roles[s]))))
    }

    fn any_role() -> impl Strategy<Value = Role> {
        let item = (0..2_u16).prop_map(Item);
        let wishes = (prop::collection::vec(item.clone(), 1..3), 1..3_u32)
            .prop_map(|(items, quantity)| Wishes { items, quantity: Units(quantity) });
        let offer = (item, 1..3_u32).prop_map(|(item, count)| Offer { item, count: Units(count), price: Price(1) });
        let offers = prop::collection::vec(offer, 1..3).prop_map(Offers);
        prop_oneof![
            wishes.clone().prop_map(Role::Buyer),
            offers.clone().prop_map(Role::Seller),
            (wishes, offers).prop_map(|(wishes, offers)| Role::Both(wishes, offers)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn the_check_agrees_with_the_rule_as_stated(roles in prop::collection::vec(any_role(), 1..6)) {
            prop_assert_eq!(check(&roles).is_ok(), trades_under_anybody(&roles));
            if let Err(NoTrade::Under { traders, first }) = check(&roles) {
                prop_assert_eq!(first.0 as usize, roles.len() - 1);
                // It names every peer under which nobody can trade, and no other.
                for trader in (0..).zip(&roles).map(|(peer, _)| PeerId(peer)) {
                    let without: Vec<&Role> =
                        (0..).zip(&roles).filter(|(peer, _)| PeerId(*peer) != trader).map(|(_, role)| role).collect();
                    let mut pairs = without.iter().enumerate().flat_map(|(a, buyer)| {
                        without.iter().enumerate().map(move |(b, seller)| a != b && trades(buyer, seller))
                    });
                    prop_assert_eq!(traders.contains(&trader), !pairs.any(|trades| trades));
                }
            }
        }

        #[test]
        fn from_three_peers_on_trade_is_possible_whoever_is_trader(peers in 3..60_u32, seed: u64) {
            prop_assert!(trades_under_anybody(&super::roles(peers, seed, &Assortment::DEFAULT)));
        }
    }

    #[test]
    fn another_seed_gives_another_cast() {
        let cast =
            |seed| -> Vec<Role> { draw(10, seed, &Assortment::DEFAULT).into_iter().map(|drawn| drawn.role).collect() };
        assert_eq!(cast(1), cast(1));
        assert_ne!(cast(1), cast(2));
    }

    #[test]
    fn all_kinds_of_roles_and_all_first_items_are_drawn() {
        let roles: Vec<Role> = draw(1_000, 1, &Assortment::DEFAULT).into_iter().map(|drawn| drawn.role).collect();
        let buyers = roles.iter().filter(|role| role.offers().is_none()).count();
        let sellers = roles.iter().filter(|role| role.wishes().is_none()).count();
        assert_eq!((buyers, sellers), (500, 400));
        for item in [Item::FISH, Item::SALT, Item::BOAR] {
            assert!(roles.iter().filter_map(Role::offers).any(|offers| offers.0[0].item == item));
        }
        let prices = roles.iter().filter_map(Role::offers).flat_map(|offers| &offers.0).map(|offer| offer.price);
        assert!(prices.clone().all(|price| (Price(400)..=Price(1_000)).contains(&price)));
        assert!(prices.clone().min() < Some(Price(410)) && prices.max() > Some(Price(990)));
    }
}
