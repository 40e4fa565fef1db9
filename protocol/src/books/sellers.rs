//! The sellers' accounts, and among them the deposit that fills a request.
//!
//! What is derived here from the accounts is no part of the books' state: it is not compared, hashed, sent or saved.
//! Every change of an account keeps it up to date.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use core::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize, Serializer};

use crate::{
    account::{DepositStatus, SellerAccount},
    clock::Time,
    id::{Item, PeerId, Units},
};

/// All sellers' accounts. They are shared until they change, so that books are cheap to copy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "BTreeMap<PeerId, Arc<SellerAccount>>")]
pub(super) struct Sellers {
    accounts: BTreeMap<PeerId, Arc<SellerAccount>>,
    /// All deposits, by what is left of them.
    stock: Shelf,
    /// The deposits of which something was sold and something is left, and which no refusal has named, by how many
    /// units they were of.
    begun: Shelf,
}

impl PartialEq for Sellers {
    fn eq(&self, other: &Sellers) -> bool {
        self.accounts == other.accounts
    }
}

impl Eq for Sellers {}

impl Hash for Sellers {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.accounts.hash(state);
    }
}

impl Serialize for Sellers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.accounts.serialize(serializer)
    }
}

impl From<BTreeMap<PeerId, Arc<SellerAccount>>> for Sellers {
    fn from(accounts: BTreeMap<PeerId, Arc<SellerAccount>>) -> Sellers {
        let mut sellers = Sellers::default();
        accounts.into_iter().for_each(|(seller, account)| sellers.replace(seller, Some(account)));
        sellers
    }
}

impl Sellers {
    /// All accounts, by seller.
    pub(super) fn accounts(&self) -> &BTreeMap<PeerId, Arc<SellerAccount>> {
        &self.accounts
    }

    /// The account of a seller that ever made a deposit.
    pub(super) fn get(&self, seller: PeerId) -> Option<&SellerAccount> {
        self.accounts.get(&seller).map(|account| &**account)
    }

    /// Changes a seller's account, or opens one.
    pub(super) fn change(&mut self, seller: PeerId, change: impl FnOnce(&mut SellerAccount)) {
        let account = self.accounts.entry(seller).or_default();
        self.stock.take(seller, account, in_stock);
        self.begun.take(seller, account, begun);
        change(Arc::make_mut(account));
        self.stock.put(seller, account, in_stock);
        self.begun.put(seller, account, begun);
    }

    /// Puts an account in place of the present one; with `None` there is none.
    pub(super) fn replace(&mut self, seller: PeerId, account: Option<Arc<SellerAccount>>) {
        if let Some(account) = self.accounts.remove(&seller) {
            self.stock.take(seller, &account, in_stock);
            self.begun.take(seller, &account, begun);
        }
        if let Some(account) = account {
            self.stock.put(seller, &account, in_stock);
            self.begun.put(seller, &account, begun);
            self.accounts.insert(seller, account);
        }
    }

    /// See [`Books::seller_for`](super::Books::seller_for).
    pub(super) fn first_with(&self, item: Item, quantity: Units, may: impl Fn(PeerId) -> bool) -> Option<PeerId> {
        self.stock.first(item, quantity, may)
    }

    /// See [`Books::leftover_for`](super::Books::leftover_for).
    pub(super) fn first_begun(&self, item: Item, quantity: Units, may: impl Fn(PeerId) -> bool) -> Option<PeerId> {
        self.begun.first(item, quantity, may)
    }
}

/// Under how many units a deposit stands among all.
fn in_stock(deposit: &DepositStatus) -> Units {
    deposit.left
}

/// Under how many units a deposit stands among those that are begun; 0 for any other.
fn begun(deposit: &DepositStatus) -> Units {
    let DepositStatus { left, count, leftover, .. } = *deposit;
    if Units(0) < left && left < count && !leftover { count } else { Units(0) }
}

/// Deposits, by item and by a number of units, such that of those with *at least* so many the one of the smallest
/// (clock, seller) is found without looking at the others.
///
/// A number is larger than `wanted` exactly if the two agree above some bit in which it has a 1 and `wanted` a 0. So a
/// deposit is listed once for each 1 in its number, under that bit and those above it, and a search looks once for each
/// 0 in `wanted`. Both are at most 32 steps, each logarithmic in the number of deposits, whatever the numbers are; with
/// ten units, four.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shelf(BTreeMap<Row, BTreeSet<(Time, PeerId)>>);

/// An item, the number of lower bits that are left out, and the bits above them.
type Row = (Item, u32, u32);

/// The rows of a deposit under so many units; none under 0. The row that leaves out nothing is always among them, for
/// those who want exactly that many.
fn rows(item: Item, units: Units) -> impl Iterator<Item = Row> {
    let ones = (1..u32::BITS).filter(move |bit| units.0 >> bit & 1 == 1).map(move |bit| (item, bit, units.0 >> bit));
    (units.0 > 0).then_some((item, 0, units.0)).into_iter().chain(ones)
}

impl Shelf {
    fn put(&mut self, seller: PeerId, account: &SellerAccount, units: impl Fn(&DepositStatus) -> Units) {
        let Some(deposit) = &account.deposit else { return };
        for row in rows(deposit.item, units(deposit)) {
            self.0.entry(row).or_default().insert((account.clock, seller));
        }
    }

    fn take(&mut self, seller: PeerId, account: &SellerAccount, units: impl Fn(&DepositStatus) -> Units) {
        let Some(deposit) = &account.deposit else { return };
        for row in rows(deposit.item, units(deposit)) {
            if let Some(sellers) = self.0.get_mut(&row) {
                sellers.remove(&(account.clock, seller));
                if sellers.is_empty() {
                    self.0.remove(&row);
                }
            }
        }
    }

    /// Of the sellers with at least `wanted` units, and at least 1, the one with the smallest (clock, seller) that
    /// `may` be chosen. Looks past as many as may not be.
    fn first(&self, item: Item, wanted: Units, may: impl Fn(PeerId) -> bool) -> Option<PeerId> {
        let wanted = wanted.0.max(1);
        let (&(_, widest, _), _) = self.0.range((item, 0, 0)..=(item, u32::BITS, 0)).next_back()?;
        let zeros = (0..=widest).filter(|bit| wanted >> bit & 1 == 0).map(|bit| (item, bit, wanted >> bit | 1));
        let rows = core::iter::once((item, 0, wanted)).chain(zeros);
        let first = rows.filter_map(|row| self.0.get(&row)?.iter().find(|(_, seller)| may(*seller))).min()?;
        Some(first.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::DepositNumber, money::Price};
    use proptest::prelude::*;

    /// What is meant by the first: a look at every account.
    fn scan(
        sellers: &Sellers,
        item: Item,
        may: impl Fn(PeerId) -> bool,
        fits: impl Fn(&DepositStatus) -> bool,
    ) -> Option<PeerId> {
        let fits = |account: &SellerAccount| account.deposit.as_ref().is_some_and(|it| it.item == item && fits(it));
        let all = sellers.accounts.iter().filter(|(seller, account)| may(**seller) && fits(account));
        all.map(|(seller, account)| (account.clock, *seller)).min().map(|(_, seller)| seller)
    }

    /// Numbers that are near one another, near powers of two, and at the ends.
    fn units() -> impl Strategy<Value = u32> {
        prop_oneof![
            0..40_u32,
            (0..32_u32, 0..3_u32).prop_map(|(bit, off)| (1_u32 << bit).wrapping_sub(1) + off),
            any::<u32>()
        ]
    }

    /// Item, count, how many of them are sold, and whether a refusal has named it.
    fn deposits() -> impl Strategy<Value = (u16, u32, u32, bool)> {
        let sold = prop_oneof![Just(0), Just(1), units()];
        (0..2_u16, units(), sold, prop::bool::weighted(0.2))
    }

    fn account((item, count, sold, leftover): (u16, u32, u32, bool), clock: u64) -> SellerAccount {
        let (item, count, left) = (Item(item), Units(count), Units(count.saturating_sub(sold)));
        let deposit = DepositStatus { number: DepositNumber(1), item, count, left, price: Price(1), leftover };
        SellerAccount { deposit: Some(deposit), clock: Time(clock), ..SellerAccount::default() }
    }

    proptest! {
        // SPEC C4.
        #[test]
        fn the_first_is_the_one_that_a_look_at_every_account_finds(
            changes in prop::collection::vec((0..12_u32, deposits(), 0..6_u64, any::<bool>()), 1..60),
            wanted in prop::collection::vec((0..3_u16, units(), 0..13_u32), 1..20),
        ) {
            let mut sellers = Sellers::default();
            for (seller, deposit, clock, stays) in changes {
                if stays {
                    sellers.change(PeerId(seller), |present| *present = account(deposit, clock));
                } else {
                    let former = sellers.accounts.get(&PeerId(seller)).cloned();
                    sellers.change(PeerId(seller), |present| *present = account(deposit, clock));
                    sellers.replace(PeerId(seller), former);
                }
            }
            for (item, quantity, but) in wanted {
                // Quantities of nothing are never asked for.
                let (item, quantity) = (Item(item), Units(quantity.max(1)));
                let may = |seller: PeerId| seller.0 != but && seller.0 != but / 2;
                let has_enough = |deposit: &DepositStatus| deposit.left >= quantity;
                prop_assert_eq!(sellers.first_with(item, quantity, may), scan(&sellers, item, may, has_enough));
                let had_enough = |deposit: &DepositStatus| {
                    let is_begun = Units(0) < deposit.left && deposit.left < deposit.count;
                    is_begun && deposit.count >= quantity && !deposit.leftover
                };
                prop_assert_eq!(sellers.first_begun(item, quantity, may), scan(&sellers, item, may, had_enough));
            }
            let anew = Sellers::from(sellers.accounts.clone());
            prop_assert_eq!((&anew.stock, &anew.begun), (&sellers.stock, &sellers.begun), "left over from changes");
            let json = serde_json::to_string(&sellers).unwrap();
            prop_assert_eq!(&json, &serde_json::to_string(&sellers.accounts).unwrap(), "only accounts are saved");
            let read: Sellers = serde_json::from_str(&json).unwrap();
            prop_assert_eq!((&read.stock, &read.begun), (&sellers.stock, &sellers.begun));
        }
    }
}
