//! Money is integer cents; nothing here rounds twice, and nothing overflows (SPEC D6).

use core::{
    fmt,
    hash::{Hash, Hasher},
    iter::Sum,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::Units;

/// What a seller asks for one unit, in cents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Price(pub u32);

/// An amount of money, in cents: wide enough for any sum that the books can hold. An order's total is below 2^64, since
/// a price and a quantity are below 2^32 each; and a log has fewer than 2^64 records, so no account and no sum over
/// accounts reaches 2^128.
///
/// In JSON it is a number up to `u64::MAX` and a string of digits above it, which every reader takes without loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cents(pub u128);

impl Price {
    /// The price of `quantity` units: below 2^64.
    #[must_use]
    pub fn times(self, quantity: Units) -> Cents {
        Cents(u128::from(self.0) * u128::from(quantity.0))
    }
}

impl Cents {
    /// The sum. No amounts that stem from sales overflow; any others are capped at the largest amount there is.
    #[must_use]
    pub fn plus(self, more: Cents) -> Cents {
        Cents(self.0.saturating_add(more.0))
    }
}

impl Sum for Cents {
    fn sum<I: Iterator<Item = Cents>>(amounts: I) -> Cents {
        amounts.fold(Cents(0), Cents::plus)
    }
}

// As 64-bit words: to the hashers of the models a 128-bit word is a digest, which they leave out.
impl Hash for Cents {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
        if let high @ 1.. = (self.0 >> 64) as u64 {
            state.write_u64(high);
        }
    }
}

impl Serialize for Cents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match u64::try_from(self.0) {
            _ if !serializer.is_human_readable() => serializer.serialize_u128(self.0),
            Ok(cents) => serializer.serialize_u64(cents),
            Err(_) => serializer.collect_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Cents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cents, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Digits)
        } else {
            u128::deserialize(deserializer).map(Cents)
        }
    }
}

/// Reads an amount that is a number or a string of digits.
struct Digits;

impl de::Visitor<'_> for Digits {
    type Value = Cents;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount in cents: a number, or its digits as a string")
    }

    fn visit_u64<E: de::Error>(self, cents: u64) -> Result<Cents, E> {
        Ok(Cents(cents.into()))
    }

    fn visit_str<E: de::Error>(self, digits: &str) -> Result<Cents, E> {
        digits.parse().map(Cents).map_err(|_| E::invalid_value(de::Unexpected::Str(digits), &self))
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

    /// Splits `total` into what the trader keeps, rounded down, and what the seller gets: all the rest (SPEC D6). Takes
    /// any total.
    #[must_use]
    pub fn split(self, total: Cents) -> Split {
        // Ten thousands and the rest apart, so that no product is larger than the total.
        let (whole, rest) = (total.0 / 10_000 * u128::from(self.0), total.0 % 10_000 * u128::from(self.0));
        let commission = whole + mutant!(rest / 10_000; CommissionRoundedUp => rest.div_ceil(10_000));
        let commission = Cents(commission);
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
            assert_eq!(split.commission.plus(split.earned), total);
            assert_eq!(split.commission.0, total.0 * u128::from(basis_points) / 10_000);
        }
        assert_eq!(Commission::new(10_001), None);
        let all = Commission::new(10_000).expect("100 %").split(Cents(u128::MAX));
        assert_eq!(all, Split { commission: Cents(u128::MAX), earned: Cents(0) });
    }

    // SPEC D6: as many of the largest orders as a log has room for.
    #[test]
    fn no_sum_over_a_log_overflows() {
        let orders = u128::from(u64::MAX);
        let total = Price(u32::MAX).times(Units(u32::MAX));
        assert!(total.0 <= u128::from(u64::MAX) && total.0.checked_mul(orders).is_some());
        assert_eq!([total, total].into_iter().sum::<Cents>(), Cents(2 * total.0));
    }

    #[test]
    fn json_has_a_number_as_long_as_every_reader_takes_it_and_then_digits() {
        let most = u128::from(u64::MAX);
        for (cents, json) in [
            (0, "0"),
            (most, "18446744073709551615"),
            (most + 1, "\"18446744073709551616\""),
            (u128::MAX, "\"340282366920938463463374607431768211455\""),
        ] {
            assert_eq!(serde_json::to_string(&Cents(cents)).expect("JSON"), json);
            let value = serde_json::to_value(Cents(cents)).expect("JSON");
            assert_eq!(serde_json::from_value::<Cents>(value).expect("an amount"), Cents(cents));
            assert_eq!(serde_json::from_str::<Cents>(json).expect("an amount"), Cents(cents));
        }
        for wrong in ["\"\"", "\"-1\"", "-1", "1.5", "\"1.5\"", "null"] {
            assert!(serde_json::from_str::<Cents>(wrong).is_err(), "{wrong}");
        }
    }

    // Or states of a model that differ in an amount alone would count as one.
    #[test]
    fn amounts_that_differ_in_either_half_hash_differently() {
        use core::hash::BuildHasher as _;
        let hashes = std::hash::RandomState::new();
        let high = 1 << 64;
        let all = [0, 1, high, high + 1, 2 * high].map(|cents| hashes.hash_one(Cents(cents)));
        assert_eq!(std::collections::BTreeSet::from(all).len(), all.len());
    }
}
