//! Events as JSON lines: `time`, `peer`, `clock`, `epoch`, then which `event`, and all that is its own below `data`. So
//! no field of an event can have the name of a field of the line.

use bazaar_protocol::{
    account::Outcome,
    clock::{Stamp, Time},
    config::Ordering,
    effect::{Departure, Note},
    id::{DepositId, Epoch, Incarnation, Item, Life, PeerId, Position, RequestId, Units},
    money::{Cents, Price},
    plausible::Implausible,
    record::{Deposit, Entry, Record, Request, Sale},
};
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use super::{DepositJson, NumberJson, RequestJson, SaleJson, Schema};
use crate::processes::report::{Event, Names, ProcessEvent, What};

/// Declares the JSON of an enum of the protocol: each variant's fields with the names that JSON gives them. A variant or
/// a field that is missing here does not compile.
macro_rules! lines {
    (
        $(#[$doc:meta])*
        $line:ident of $of:ident {
            $($variant:ident { $($field:tt as $name:ident: $type:ty),* })*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
        #[serde(rename_all = "snake_case", tag = "event", content = "data", deny_unknown_fields)]
        #[strum(serialize_all = "snake_case")]
        #[allow(missing_docs)]
        pub enum $line {
            $($variant { $($name: <$type as Schema>::Json),* },)*
        }

        impl $line {
            /// What JSON calls this kind.
            pub(crate) fn kind_of(of: &$of) -> &'static str {
                #[derive(IntoStaticStr)]
                #[strum(serialize_all = "snake_case")]
                enum Kind {
                    $($variant,)*
                }
                match of {
                    $($of::$variant { .. } => Kind::$variant.into(),)*
                }
            }
        }

        impl Schema for $of {
            type Json = $line;

            fn show(&self, names: &Names) -> $line {
                match self {
                    $($of::$variant { $($field: $name),* } => $line::$variant { $($name: $name.show(names)),* },)*
                }
            }

            fn read(json: $line, names: &Names) -> Option<$of> {
                Some(match json {
                    $($line::$variant { $($name),* } => {
                        $of::$variant { $($field: <$type as Schema>::read($name, names)?),* }
                    })*
                })
            }
        }
    };
}

lines! {
    /// A peer's note, as JSON shows it. [`Note`] says what each is.
    NoteLine of Note {
        Joined { incarnation as life: Incarnation }
        ElectionCalled {}
        AskedForAnyone {}
        TraderSuspected { trader as trader: PeerId }
        ElectionWon {}
        TookOffice { inherited as requests_open: u32 }
        Recognised { trader as trader: PeerId }
        SteppedDown { reason as reason: Departure }
        Deposited { deposit as deposit: DepositId, item as item: Item, count as units: Units, price as price_cents: Price }
        Admitted {
            request as request: RequestId,
            item as item: Item,
            quantity as units: Units,
            stamp as stamp: Time,
            place as place: Time
        }
        Seated { buyer as buyer: PeerId, incarnation as life: Incarnation }
        Unseated { buyer as buyer: PeerId, incarnation as life: Incarnation }
        Sold { sale as sale: Sale }
        Refused { request as request: RequestId }
        Wanted { request as request: RequestId, item as item: Item, quantity as units: Units }
        Bought { sale as sale: Sale }
        Unavailable { request as request: RequestId, item as item: Item }
        ResumedRequest { request as request: RequestId }
        Recalled { request as request: RequestId, outcome as outcome: Outcome }
        Registered { deposit as deposit: DepositId, item as item: Item, count as units: Units, price as price_cents: Price }
        Earned { sale as sale: Sale, total as earned_cents: Cents, left as units_left: Units }
        SoldOut { deposit as deposit: DepositId, item as item: Item }
        LeftOver { deposit as deposit: DepositId, item as item: Item, left as units_left: Units }
        ResumedAccount { sales as sales: u64, earned as earned_cents: Cents }
        LedgerHeard {}
        LedgerSilent {}
        EnvelopeRefused { from as from: PeerId, source as source: PeerId, implausible as implausible: Implausible }
        NoSuchEpoch { epoch as epoch: Epoch, latest as latest: Epoch }
        TermRefused { source as source: PeerId, epoch as epoch: Epoch, leader as trader: PeerId }
        BooksRefused { position as position: Position }
    }
}

/// What a record of the log says, as JSON shows it: at least what the event of this name says. [`Entry`] says what each
/// is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event", content = "data", deny_unknown_fields)]
#[allow(missing_docs)]
pub enum EntryLine {
    Claimed {
        epoch: Epoch,
        trader: PeerId,
        life: Incarnation,
        ordering: Ordering,
    },
    Seated {
        buyer: PeerId,
        life: Incarnation,
        above: Time,
    },
    Unseated {
        buyer: PeerId,
    },
    Deposited {
        deposit: DepositJson,
        item: String,
        units: Units,
        price_cents: Price,
        stamp: Time,
        previous: Option<NumberJson>,
    },
    Admitted {
        request: RequestJson,
        item: String,
        units: Units,
        stamp: Time,
        place: Time,
        previous: Option<NumberJson>,
    },
    Sold {
        sale: SaleJson,
    },
    Refused {
        request: RequestJson,
        left_over: Option<DepositJson>,
    },
    Resigned {},
}

impl Schema for Entry {
    type Json = EntryLine;

    fn show(&self, names: &Names) -> EntryLine {
        match self {
            Entry::Claimed { epoch, holder: Life { peer, incarnation }, ordering } => {
                EntryLine::Claimed { epoch: *epoch, trader: *peer, life: *incarnation, ordering: *ordering }
            }
            Entry::Seated { buyer: Life { peer, incarnation }, above } => {
                EntryLine::Seated { buyer: *peer, life: *incarnation, above: *above }
            }
            Entry::Unseated { buyer } => EntryLine::Unseated { buyer: *buyer },
            Entry::Deposited(Deposit { id, previous, item, count, price, stamp }) => EntryLine::Deposited {
                deposit: id.show(names),
                item: item.show(names),
                units: *count,
                price_cents: *price,
                stamp: stamp.time,
                previous: previous.show(names),
            },
            Entry::Admitted { request: Request { id, previous, item, quantity, stamp }, place } => {
                EntryLine::Admitted {
                    request: id.show(names),
                    item: item.show(names),
                    units: *quantity,
                    stamp: stamp.time,
                    place: *place,
                    previous: previous.show(names),
                }
            }
            Entry::Sold(sale) => EntryLine::Sold { sale: sale.show(names) },
            Entry::Refused { request, leftover } => {
                EntryLine::Refused { request: request.show(names), left_over: leftover.show(names) }
            }
            Entry::Resigned => EntryLine::Resigned {},
        }
    }

    // A request's stamp is its buyer's, and a deposit's its seller's: the audit checks it (S7).
    fn read(json: EntryLine, names: &Names) -> Option<Entry> {
        Some(match json {
            EntryLine::Claimed { epoch, trader: peer, life: incarnation, ordering } => {
                Entry::Claimed { epoch, holder: Life { peer, incarnation }, ordering }
            }
            EntryLine::Seated { buyer: peer, life: incarnation, above } => {
                Entry::Seated { buyer: Life { peer, incarnation }, above }
            }
            EntryLine::Unseated { buyer } => Entry::Unseated { buyer },
            EntryLine::Deposited { deposit, item, units, price_cents, stamp: time, previous } => {
                let (id, item) = (DepositId::read(deposit, names)?, Item::read(item, names)?);
                let (previous, stamp) = (Schema::read(previous, names)?, Stamp { time, peer: id.seller });
                Entry::Deposited(Deposit { id, previous, item, count: units, price: price_cents, stamp })
            }
            EntryLine::Admitted { request, item, units, stamp: time, place, previous } => {
                let (id, item) = (RequestId::read(request, names)?, Item::read(item, names)?);
                let (previous, stamp) = (Schema::read(previous, names)?, Stamp { time, peer: id.buyer });
                Entry::Admitted { request: Request { id, previous, item, quantity: units, stamp }, place }
            }
            EntryLine::Sold { sale } => Entry::Sold(Sale::read(sale, names)?),
            EntryLine::Refused { request, left_over } => {
                Entry::Refused { request: RequestId::read(request, names)?, leftover: Schema::read(left_over, names)? }
            }
            EntryLine::Resigned {} => Entry::Resigned,
        })
    }
}

/// An event, as JSON shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// When it happened, by the wall clock of the machine it happened on.
    pub time: jiff::Timestamp,
    /// The peer it happened at; absent for an event of a process.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peer: Option<PeerId>,
    /// That peer's Lamport clock (SPEC C6).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clock: Option<Time>,
    /// The epoch of the trader that peer knows of, if any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub epoch: Option<Epoch>,
    /// What happened: `event` and `data`, whatever it is.
    #[serde(flatten)]
    pub said: Said,
}

/// What happened, to a peer or to a process. Their events have different names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Said {
    /// A note from a peer's machine.
    Peer(NoteLine),
    /// Something that happened to a process.
    Process(ProcessEvent),
}

impl Said {
    /// All kinds of events.
    pub fn kinds() -> impl Iterator<Item = &'static str> {
        NoteLine::VARIANTS.iter().chain(ProcessEvent::VARIANTS).copied()
    }
}

impl Schema for Event {
    type Json = EventLine;

    fn show(&self, names: &Names) -> EventLine {
        let said = match &self.what {
            What::Peer(note) => Said::Peer(note.show(names)),
            What::Process(event) => Said::Process(event.clone()),
        };
        EventLine { time: self.time, peer: self.peer, clock: self.clock, epoch: self.epoch, said }
    }

    fn read(json: EventLine, names: &Names) -> Option<Event> {
        let what = match json.said {
            Said::Peer(note) => What::Peer(Note::read(note, names)?),
            Said::Process(event) => What::Process(event),
        };
        Some(Event { time: json.time, peer: json.peer, clock: json.clock, epoch: json.epoch, what })
    }
}

/// A record of the log, as JSON shows it: like an event of the peer that wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordLine {
    /// The peer that wrote it.
    pub peer: PeerId,
    /// That peer's Lamport clock.
    pub clock: Time,
    /// What the record says: `event` and `data`.
    #[serde(flatten)]
    pub said: EntryLine,
}

impl Schema for Record {
    type Json = RecordLine;

    fn show(&self, names: &Names) -> RecordLine {
        RecordLine { peer: self.stamp.peer, clock: self.stamp.time, said: self.entry.show(names) }
    }

    fn read(json: RecordLine, names: &Names) -> Option<Record> {
        let stamp = Stamp { time: json.clock, peer: json.peer };
        Some(Record { stamp, entry: Entry::read(json.said, names)? })
    }
}
