//! Events in words: requests, sales and notes as people read them (SPEC H1).

use alloc::{format, string::String};
use core::fmt;

use crate::{
    account::Outcome,
    effect::{Departure, Note},
    id::{Item, PeerId, Units},
    record::{Request, Sale},
};

/// The names of peers and goods.
pub trait Names {
    /// A peer's name, as in "seller 3".
    fn peer(&self, peer: PeerId) -> String;

    /// A good's name, as in "salt".
    fn item(&self, item: Item) -> String;
}

/// The names in a bazaar of which nothing is known: "peer 3", and the goods of the reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlainNames;

impl Names for PlainNames {
    fn peer(&self, peer: PeerId) -> String {
        format!("peer {peer}")
    }

    fn item(&self, item: Item) -> String {
        match item {
            Item::FISH => String::from("fish"),
            Item::SALT => String::from("salt"),
            Item::BOAR => String::from("boar"),
            other => format!("item {other}"),
        }
    }
}

/// A note in words, with the names of a bazaar. It follows the name of the peer it is about: "wants 2 fish".
#[derive(Clone, Copy, Debug)]
pub struct Told<'a, N> {
    note: &'a Note,
    names: &'a N,
    is_brief: bool,
}

impl Note {
    /// The note in words, with these names.
    pub fn told<'a, N: Names>(&'a self, names: &'a N) -> Told<'a, N> {
        Told { note: self, names, is_brief: false }
    }

    /// The same in fewer words, for narrow lines: up to 44 columns for everything that happens all the time, with names
    /// of two words and two digits.
    pub fn told_briefly<'a, N: Names>(&'a self, names: &'a N) -> Told<'a, N> {
        Told { note: self, names, is_brief: true }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.told(&PlainNames).fmt(f)
    }
}

/// "2 salt for peer 4 (request 7, clock 12)".
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request { id, item, quantity, stamp, .. } = self;
        let (buyer, (_, number)) = (PlainNames.peer(id.buyer), id.sequence.split());
        write!(f, "{quantity} {} for {buyer} (request {number}, clock {})", PlainNames.item(*item), stamp.time)
    }
}

/// "2 salt of peer 3 to peer 4 for 18.00".
impl fmt::Display for Sale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seller, buyer) = (PlainNames.peer(self.deposit.seller), PlainNames.peer(self.request.buyer));
        write!(f, "{} {} of {seller} to {buyer} for {}", self.quantity, PlainNames.item(self.item), self.paid())
    }
}

impl<N: Names> fmt::Display for Told<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = |peer: PeerId| self.names.peer(peer);
        let item = |item: Item| self.names.item(item);
        match self.note {
            Note::Joined { incarnation } if incarnation.0 == 1 => f.write_str("joined the bazaar"),
            Note::Joined { incarnation } => write!(f, "is back (life {incarnation})"),
            Note::ElectionCalled => f.write_str("calls an election"),
            Note::AskedForAnyone if self.is_brief => f.write_str("asks whether anyone else can be trader"),
            Note::AskedForAnyone => f.write_str("has resigned and asks whether anyone else can be trader"),
            Note::TraderSuspected { trader } => write!(f, "has not heard trader {trader} for too long"),
            Note::ElectionWon => f.write_str("won the election and claims the office"),
            Note::TookOffice { inherited: 0 } => f.write_str("\"I am the new coordinator\""),
            Note::TookOffice { inherited } if self.is_brief => {
                write!(f, "\"I am the new coordinator\"; {inherited} wait")
            }
            Note::TookOffice { inherited } => {
                write!(f, "\"I am the new coordinator\"; {inherited} inherited requests come first")
            }
            Note::Recognised { trader } => write!(f, "recognises {} as coordinator", peer(*trader)),
            Note::SteppedDown { reason } => f.write_str(match reason {
                Departure::Resigned => "resigns the office and takes up its old role",
                Departure::Deposed => "steps down: there is a newer epoch",
                Departure::Overtaken => "steps down: somebody else wrote to the log",
                Departure::LedgerSilent => "steps down: the ledger does not answer",
                Departure::LeaseActive => "gives up its claim: a trader renews its term",
                Departure::SitsOut => "does not stand: it resigned the last term",
                Departure::Isolated => "leaves the office: it hears no neighbour",
                Departure::BooksDamaged => "steps down: the books cannot be folded",
            }),
            Note::Deposited { deposit, item: what, count, price } => {
                let (seller, each) = (peer(deposit.seller), price.times(Units(1)));
                if self.is_brief {
                    return write!(f, "booked {count} {} of {seller} at {each}", item(*what));
                }
                write!(f, "booked a deposit of {seller}: {count} {} at {each}", item(*what))
            }
            Note::Admitted { request, item: what, quantity, stamp, place } => {
                let buyer = peer(request.buyer);
                if self.is_brief {
                    write!(f, "queued {quantity} {} for {buyer}, ", item(*what))?;
                    let is_late = place != stamp;
                    return if is_late { write!(f, "late at {place}") } else { write!(f, "clock {stamp}") };
                }
                write!(f, "queued a request of {buyer} for {quantity} {} with clock {stamp}", item(*what))?;
                let is_late = place != stamp;
                if is_late { write!(f, ", late: it goes to the front, with {place}") } else { Ok(()) }
            }
            Note::Seated { buyer, incarnation } if self.is_brief => {
                write!(f, "gives {} (life {incarnation}) a seat", peer(*buyer))
            }
            Note::Unseated { buyer, .. } if self.is_brief => {
                write!(f, "takes the seat of {}: not heard", peer(*buyer))
            }
            Note::Seated { buyer, incarnation } => {
                write!(f, "gives {} (life {incarnation}) a seat: what is stamped later waits for it", peer(*buyer))
            }
            Note::Unseated { buyer, incarnation } => {
                write!(f, "takes the seat of {} (life {incarnation}), which was not heard for too long", peer(*buyer))?;
                f.write_str(": nothing waits for it any more")
            }
            Note::Sold { sale } => {
                let (seller, buyer) = (peer(sale.deposit.seller), peer(sale.request.buyer));
                write!(f, "sold {} {} of {seller} to {buyer}", sale.quantity, item(sale.item))?;
                if self.is_brief {
                    write!(f, ": {}", sale.paid())
                } else {
                    write!(f, " for {}, keeping {}", sale.paid(), sale.commission)
                }
            }
            Note::Refused { request } if self.is_brief => {
                write!(f, "refused {}: nobody can fill it", peer(request.buyer))
            }
            Note::Refused { request } => write!(f, "refused a request of {}: nobody can fill it", peer(request.buyer)),
            Note::Wanted { item: what, quantity, .. } => write!(f, "wants {quantity} {}", item(*what)),
            Note::Bought { sale } => {
                let (what, seller) = (item(sale.item), peer(sale.deposit.seller));
                write!(f, "purchased {} {what} from {seller} for {}", sale.quantity, sale.paid())
            }
            Note::Unavailable { item: what, .. } => write!(f, "is told that {} is not available", item(*what)),
            Note::ResumedRequest { .. } if self.is_brief => f.write_str("waits for its former life's request"),
            Note::ResumedRequest { .. } => {
                f.write_str("finds a request of its former life in the queue and waits for it")
            }
            Note::Recalled { outcome: Outcome::Sold(sale), .. } => {
                let (what, seller) = (item(sale.item), peer(sale.deposit.seller));
                let quantity = sale.quantity;
                if self.is_brief {
                    return write!(f, "had purchased {quantity} {what} from {seller}");
                }
                write!(f, "learns that its former life purchased {quantity} {what} from {seller}")
            }
            Note::Recalled { outcome: Outcome::Refused { item: what }, .. } if self.is_brief => {
                write!(f, "had been told: no {}", item(*what))
            }
            Note::Recalled { outcome: Outcome::Refused { item: what }, .. } => {
                write!(f, "learns that {} was not available to its former life", item(*what))
            }
            Note::LeftOver { item: what, left, .. } if self.is_brief => {
                write!(f, "takes back {left} {}: too little", item(*what))
            }
            Note::LeftOver { item: what, left, .. } => {
                write!(f, "takes back {left} {}: too little for what was asked", item(*what))
            }
            Note::Registered { item: what, count, price, .. } => {
                write!(f, "registered {count} {} at {} with the trader", item(*what), price.times(Units(1)))
            }
            Note::Earned { sale, total, left } => {
                let (what, buyer) = (item(sale.item), peer(sale.request.buyer));
                if self.is_brief {
                    let Sale { quantity, earned, .. } = sale;
                    return write!(f, "sold {quantity} {what} to {buyer}, earned {earned}, {left} left");
                }
                write!(f, "has sold {} {what} to {buyer} and earned {}", sale.quantity, sale.earned)?;
                write!(f, " ({total} in all), {left} left")
            }
            Note::SoldOut { item: what, .. } if self.is_brief => write!(f, "is out of {}", item(*what)),
            Note::SoldOut { item: what, .. } => {
                write!(f, "is out of stock for {} and picks another item", item(*what))
            }
            Note::ResumedAccount { sales, earned } if self.is_brief => {
                write!(f, "takes over its account: {sales} sales, {earned}")
            }
            Note::ResumedAccount { sales, earned } => {
                write!(f, "takes over its account from the books: {sales} sales, {earned} earned")
            }
            Note::LedgerHeard => f.write_str("hears the ledger"),
            Note::LedgerSilent => f.write_str("does not hear the ledger"),
            Note::EnvelopeRefused { from, source, implausible } => {
                write!(f, "refused a message of peer {source} that peer {from} handed over: {implausible}")
            }
            Note::NoSuchEpoch { epoch, latest } => {
                write!(f, "was told of epoch {epoch}, and the ledger has granted none after {latest}")
            }
            Note::TermRefused { source, epoch, leader } => {
                write!(f, "refused a message of peer {source}: the ledger knows of no epoch {epoch} of peer {leader}")
            }
            Note::BooksRefused { position } => {
                write!(f, "will not serve: record {position} of the books cannot follow those before it")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::{
        clock::Time,
        id::Incarnation,
        money::Cents,
        testing::{deposit, request, sale},
    };

    #[test]
    fn requests_sales_and_notes_read_as_sentences() {
        let wanted = request(12, 4, 7);
        let sale = sale(&wanted, &deposit(1, 1, 2), 1);
        assert_eq!(wanted.to_string(), "1 fish for peer 4 (request 7, clock 12)");
        assert_eq!(sale.to_string(), "1 fish of peer 1 to peer 4 for 9.00");
        let note = Note::Bought { sale };
        assert_eq!(note.to_string(), "purchased 1 fish from peer 1 for 9.00");
    }

    /// With 36 columns of time, clock, epoch and name before them, lines fit in 80.
    #[test]
    fn what_happens_all_the_time_is_told_briefly_in_44_columns() {
        struct Long;
        impl Names for Long {
            fn peer(&self, peer: PeerId) -> String {
                format!("{} {peer}", if peer.0.is_multiple_of(2) { "seller" } else { "buyer" })
            }

            fn item(&self, item: Item) -> String {
                PlainNames.item(item)
            }
        }
        let (wanted, deposit) = (request(4_012, 17, 7), deposit(14, 1, 10));
        let (item, count, price, quantity) = (Item::BOAR, Units(10), deposit.price, Units(1));
        let sale = sale(&wanted, &deposit, 1);
        let (request, deposit, left) = (wanted.id, deposit.id, Units(9));
        let (stamp, place, buyer, incarnation) = (Time(4_012), Time(4_012), PeerId(17), Incarnation(1));
        let reasons = [
            Departure::Resigned,
            Departure::Deposed,
            Departure::Overtaken,
            Departure::LedgerSilent,
            Departure::LeaseActive,
            Departure::SitsOut,
            Departure::Isolated,
            Departure::BooksDamaged,
        ];
        let often = [
            Note::Joined { incarnation },
            Note::ElectionCalled,
            Note::AskedForAnyone,
            Note::TraderSuspected { trader: buyer },
            Note::ElectionWon,
            Note::TookOffice { inherited: 12 },
            Note::Recognised { trader: buyer },
            Note::Deposited { deposit, item, count, price },
            Note::Admitted { request, item, quantity, stamp, place },
            Note::Admitted { request, item, quantity, stamp, place: Time(4_020) },
            Note::Seated { buyer, incarnation },
            Note::Unseated { buyer, incarnation },
            Note::Sold { sale: sale.clone() },
            Note::Refused { request },
            Note::Wanted { request, item, quantity },
            Note::Bought { sale: sale.clone() },
            Note::Unavailable { request, item },
            Note::Recalled { request, outcome: Outcome::Sold(sale.clone()) },
            Note::Registered { deposit, item, count, price },
            Note::Earned { sale, total: Cents(72_000), left },
            Note::SoldOut { deposit, item },
            Note::LeftOver { deposit, item, left },
            Note::ResumedAccount { sales: 120, earned: Cents(72_000) },
        ];
        for note in often.into_iter().chain(reasons.map(|reason| Note::SteppedDown { reason })) {
            let told = note.told_briefly(&Long).to_string();
            assert!(told.chars().count() <= 44, "{} columns: {told}", told.chars().count());
        }
    }
}
