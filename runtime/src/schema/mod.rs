//! The JSON of all events and tables: one word for each thing (docs/json.md). Nothing else decides how an item, an
//! amount, an id or a stamp is named there.
//!
//! A value of the protocol is turned into its JSON by [`Schema::show`] and back by [`Schema::read`], with the names of
//! a bazaar's goods, since JSON names an item and the protocol numbers it.

use bazaar_protocol::{
    account::Outcome,
    clock::Time,
    config::Ordering,
    effect::Departure,
    id::{
        DepositId, DepositNumber, Epoch, Incarnation, Item, Life, PeerId, Position, RequestId, SaleNumber, Sequence,
        Units,
    },
    money::{Cents, Price},
    plausible::Implausible,
    record::Sale,
    words::Names as _,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::processes::report::Names;

mod event;

pub use event::{EntryLine, EventLine, NoteLine, RecordLine, Said};

/// A value that has one form in JSON.
pub trait Schema: Sized {
    /// Its form in JSON.
    type Json: Serialize + DeserializeOwned;

    /// The value as JSON shows it.
    fn show(&self, names: &Names) -> Self::Json;

    /// The value that JSON shows; `None` if it names an unknown item or a number that does not exist.
    fn read(json: Self::Json, names: &Names) -> Option<Self>;
}

/// These look the same in JSON.
macro_rules! as_they_are {
    ($($type:ty),*) => {
        $(impl Schema for $type {
            type Json = $type;

            fn show(&self, _: &Names) -> $type {
                *self
            }

            fn read(json: $type, _: &Names) -> Option<$type> {
                Some(json)
            }
        })*
    };
}

as_they_are! {
    u32, u64, PeerId, Incarnation, Epoch, Position, Units, SaleNumber, Time, Cents, Price, Departure, Ordering,
    Implausible
}

impl<T: Schema> Schema for Option<T> {
    type Json = Option<T::Json>;

    fn show(&self, names: &Names) -> Option<T::Json> {
        self.as_ref().map(|value| value.show(names))
    }

    fn read(json: Option<T::Json>, names: &Names) -> Option<Option<T>> {
        match json {
            None => Some(None),
            Some(json) => T::read(json, names).map(Some),
        }
    }
}

impl<T: Schema> Schema for Vec<T> {
    type Json = Vec<T::Json>;

    fn show(&self, names: &Names) -> Vec<T::Json> {
        self.iter().map(|value| value.show(names)).collect()
    }

    fn read(json: Vec<T::Json>, names: &Names) -> Option<Vec<T>> {
        json.into_iter().map(|json| T::read(json, names)).collect()
    }
}

/// An item is its name.
impl Schema for Item {
    type Json = String;

    fn show(&self, names: &Names) -> String {
        names.item(*self)
    }

    fn read(json: String, names: &Names) -> Option<Item> {
        match names.items.iter().position(|name| *name == json) {
            Some(nth) => u16::try_from(nth).ok().map(Item),
            None => json.strip_prefix("item ")?.parse().ok().map(Item),
        }
    }
}

/// Declares an object of the schema: its fields in order, and for each where the value has it. `$from` and `$to` name
/// the value while it is shown and the object while it is read.
macro_rules! object {
    (
        $(#[$doc:meta])*
        $json:ident of $type:ty {
            $($(#[$field_doc:meta])* $field:ident: $field_type:ty = $get:expr,)*
        }
        as $from:ident; $to:ident => $back:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $json {
            $($(#[$field_doc])* pub $field: <$field_type as Schema>::Json,)*
        }

        impl Schema for $type {
            type Json = $json;

            fn show(&self, names: &Names) -> $json {
                let $from = self;
                $json { $($field: <$field_type as Schema>::show(&$get, names),)* }
            }

            fn read(json: $json, names: &Names) -> Option<$type> {
                #[allow(dead_code)]
                struct Read { $($field: $field_type,)* }
                let $to = Read { $($field: <$field_type as Schema>::read(json.$field, names)?,)* };
                Some($back)
            }
        }
    };
}

object! {
    /// One life of a peer.
    LifeJson of Life {
        /// The peer.
        peer: PeerId = life.peer,
        /// Which of its lives.
        life: Incarnation = life.incarnation,
    }
    as life; json => Life { peer: json.peer, incarnation: json.life }
}

object! {
    /// A buyer's request: the buyer, in which of its lives it asked, and which request of that life it is.
    RequestJson of RequestId {
        /// The buyer.
        buyer: PeerId = id.buyer,
        /// The life in which it asked.
        life: Incarnation = id.sequence.split().0,
        /// Which request of that life it is.
        number: u32 = id.sequence.split().1,
    }
    as id; json => RequestId { buyer: json.buyer, sequence: Sequence(joined(json.life, json.number)) }
}

object! {
    /// A seller's deposit: the seller, in which of its lives it made it, and which deposit of that life it is.
    DepositJson of DepositId {
        /// The seller.
        seller: PeerId = id.seller,
        /// The life in which it made it.
        life: Incarnation = id.number.split().0,
        /// Which deposit of that life it is.
        number: u32 = id.number.split().1,
    }
    as id; json => DepositId { seller: json.seller, number: DepositNumber(joined(json.life, json.number)) }
}

object! {
    /// A number within a life, where it is clear whose.
    NumberJson of Sequence {
        /// The life.
        life: Incarnation = number.split().0,
        /// The number in that life.
        number: u32 = number.split().1,
    }
    as number; json => Sequence(joined(json.life, json.number))
}

/// A deposit's number, which has the form of a request's.
impl Schema for DepositNumber {
    type Json = NumberJson;

    fn show(&self, names: &Names) -> NumberJson {
        Sequence(self.0).show(names)
    }

    fn read(json: NumberJson, names: &Names) -> Option<DepositNumber> {
        Sequence::read(json, names).map(|number| DepositNumber(number.0))
    }
}

object! {
    /// A sale.
    SaleJson of Sale {
        /// The request that it fills.
        request: RequestId = sale.request,
        /// The deposit that the goods come from.
        deposit: DepositId = sale.deposit,
        /// How many sales its seller has made up to and including this one.
        sale_number: SaleNumber = sale.number,
        /// The item.
        item: Item = sale.item,
        /// How many units.
        units: Units = sale.quantity,
        /// The price of one unit.
        price_cents: Price = sale.price,
        /// What the buyer pays: what the seller earns and the commission.
        paid_cents: Cents = sale.paid(),
        /// What the seller earns.
        earned_cents: Cents = sale.earned,
        /// What the trader keeps.
        commission_cents: Cents = sale.commission,
    }
    as sale; json => Sale {
        request: json.request,
        deposit: json.deposit,
        number: json.sale_number,
        item: json.item,
        quantity: json.units,
        price: json.price_cents,
        commission: json.commission_cents,
        earned: json.earned_cents,
    }
}

/// How a request ended: a sale, or none of the item that it asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeJson {
    /// It was filled.
    Sold(SaleJson),
    /// Nobody could fill it.
    Refused {
        /// The item that it asked for.
        item: String,
    },
}

impl Schema for Outcome {
    type Json = OutcomeJson;

    fn show(&self, names: &Names) -> OutcomeJson {
        match self {
            Outcome::Sold(sale) => OutcomeJson::Sold(sale.show(names)),
            Outcome::Refused { item } => OutcomeJson::Refused { item: item.show(names) },
        }
    }

    fn read(json: OutcomeJson, names: &Names) -> Option<Outcome> {
        Some(match json {
            OutcomeJson::Sold(sale) => Outcome::Sold(Sale::read(sale, names)?),
            OutcomeJson::Refused { item } => Outcome::Refused { item: Item::read(item, names)? },
        })
    }
}

/// A number as [`Sequence::split`] divides it.
fn joined(life: Incarnation, number: u32) -> u64 {
    (u64::from(life.0) << 32) | u64::from(number)
}

#[cfg(test)]
mod tests;
