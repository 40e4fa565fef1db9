//! Money is integer cents; nothing here rounds twice (SPEC D6).

use core::{fmt, iter::Sum};

use serde::{Deserialize, Serialize};

use crate::id::Units;

/// What a seller asks for one unit, in cents. At most `u32::MAX`, so that an order's total always fits in [`Cents`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Price(pub u32);

/// An amount of money, in cents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cents(pub u64);

impl Price {
    /// The price of `quantity` units. Cannot overflow.
    #[must_use]
    pub fn times(self, quantity: Units) -> Cents {
        Cents(u64::from(self.0) * u64::from(quantity.0))
    }
}

impl Cents {
    /// The sum; `None` if it does not fit in 64 bits.
    #[must_use]
    pub fn plus(self, more: Cents) -> Option<Cents> {
        self.0.checked_add(more.0).map(Cents)
    }
}

impl Sum for Cents {
    fn sum<I: Iterator<Item = Cents>>(amounts: I) -> Cents {
        Cents(amounts.map(|amount| amount.0).sum())
    }
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// The trader's share of an order, in hundredths of a percent. [`Commission::new`] keeps it at or below 100 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Commission(u16);

impl Commission {
    /// The bazaar's own commission: 20 %.
    pub const TWENTY_PERCENT: Commission = Commission(2_000);

    /// A share of `basis_points` hundredths of a percent; `None` above 10,000.
    #[must_use]
    pub fn new(basis_points: u16) -> Option<Commission> {
        (basis_points <= 10_000).then_some(Commission(basis_points))
    }

    /// Splits `total` into what the trader keeps, rounded down, and what the seller gets: all the rest (SPEC D6).
    #[must_use]
    pub fn split(self, total: Cents) -> Split {
        let share = u128::from(total.0) * u128::from(self.0);
        let commission = Cents(mutant!(share / 10_000; CommissionRoundedUp => share.div_ceil(10_000)) as u64);
        let earned = mutant!(Cents(total.0 - commission.0); CommissionRoundedTwice => self.rest_of(total));
        Split { commission, earned }
    }
}

impl From<Commission> for u16 {
    fn from(commission: Commission) -> u16 {
        commission.0
    }
}

impl TryFrom<u16> for Commission {
    type Error = &'static str;

    fn try_from(basis_points: u16) -> Result<Commission, &'static str> {
        Commission::new(basis_points).ok_or("a commission is at most 10000 basis points (100 %)")
    }
}

/// The two parts as which an order's total is booked. They always add up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Split {
    /// The trader's part.
    pub commission: Cents,
    /// The seller's part.
    pub earned: Cents,
}

#[cfg(feature = "mutants")]
mod mutants;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seller_of_one_boar_at_nine_gets_seven_twenty() {
        // SPEC E3 with the reference's own figures.
        let split = Commission::TWENTY_PERCENT.split(Price(900).times(Units(1)));
        assert_eq!(split, Split { commission: Cents(180), earned: Cents(720) });
    }

    #[test]
    fn the_commission_is_rounded_down_once_on_the_whole_order() {
        let total = Price(99).times(Units(3));
        assert_eq!(Commission::TWENTY_PERCENT.split(total), Split { commission: Cents(59), earned: Cents(238) });
    }

    #[test]
    fn the_parts_of_the_largest_order_add_up() {
        let total = Price(u32::MAX).times(Units(u32::MAX));
        for basis_points in [0, 1, 2_000, 9_999, 10_000] {
            let split = Commission::new(basis_points).expect("at most 10000").split(total);
            assert_eq!(split.commission.plus(split.earned), Some(total));
        }
        assert_eq!(Commission::new(10_001), None);
    }
}
