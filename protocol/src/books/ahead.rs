//! Looking ahead: the books as they will be after records that are only planned.

use alloc::{sync::Arc, vec::Vec};
use core::ops::Deref;

use super::{Books, BooksError};
use crate::{
    account::{BooksTerm, BuyerAccount, QueueKey, SellerAccount, TraderAccount},
    clock::Time,
    id::{PeerId, Position},
    record::{Entry, Record, Request},
};

/// Books with records that are not in the log yet. Planned records are folded by [`Books::apply`] like any others, and
/// what they changed is put back at the end: nothing of them is left in the books, and a plan costs what its records
/// cost, not what the books hold.
#[derive(Debug)]
pub(crate) struct Ahead<'a> {
    books: &'a mut Books,
    before: Vec<Before>,
}

/// What one record may change, as it was before.
#[derive(Debug)]
struct Before {
    position: Position,
    latest: Time,
    term: Option<BooksTerm>,
    refusals: u64,
    floor: Option<QueueKey>,
    queued: Option<(QueueKey, Option<Request>)>,
    buyer: Option<(PeerId, Option<BuyerAccount>)>,
    seller: Option<(PeerId, Option<Arc<SellerAccount>>)>,
    trader: (PeerId, Option<TraderAccount>),
}

impl<'a> Ahead<'a> {
    /// These books, for as long as it is planned.
    pub(crate) fn of(books: &'a mut Books) -> Ahead<'a> {
        Ahead { books, before: Vec::new() }
    }

    /// Folds one more planned record. If it fails, nothing has changed.
    ///
    /// # Errors
    /// As for [`Books::apply`].
    pub(crate) fn apply(&mut self, record: &Record) -> Result<(), BooksError> {
        let before = Before::of(self.books, record);
        self.books.apply(record)?;
        self.before.push(before);
        Ok(())
    }
}

impl Deref for Ahead<'_> {
    type Target = Books;

    fn deref(&self) -> &Books {
        self.books
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        while let Some(before) = self.before.pop() {
            before.restore(self.books);
        }
    }
}

impl Before {
    /// The clients that a record names, and everything that is not kept by client.
    fn of(books: &Books, record: &Record) -> Before {
        // Every field is named, so that none that is added is forgotten.
        let Books { position, latest, term, queue, buyers, sellers, traders, refusals, floor, sales_kept: _ } = books;
        let open = |buyer: PeerId| buyers.get(&buyer).and_then(|account| account.open);
        let (buyer, key, seller) = match &record.entry {
            // It raises the bound of the one that wrote before.
            Entry::Claimed { .. } => (term.map(|term| term.holder.peer), None, None),
            Entry::Resigned => (None, None, None),
            Entry::Deposited(deposit) => (None, None, Some(deposit.id.seller)),
            Entry::Admitted { request, place } => {
                (Some(request.id.buyer), Some(QueueKey { time: *place, id: request.id }), None)
            }
            Entry::Seated { buyer, .. } => (Some(buyer.peer), None, None),
            Entry::Unseated { buyer } => (Some(*buyer), None, None),
            Entry::Sold(sale) => (Some(sale.request.buyer), open(sale.request.buyer), Some(sale.deposit.seller)),
            Entry::Refused { request, leftover } => {
                (Some(request.buyer), open(request.buyer), leftover.map(|deposit| deposit.seller))
            }
        };
        Before {
            position: *position,
            latest: *latest,
            term: *term,
            refusals: *refusals,
            floor: *floor,
            queued: key.map(|key| (key, queue.get(&key).cloned())),
            buyer: buyer.map(|buyer| (buyer, buyers.get(&buyer).cloned())),
            seller: seller.map(|seller| (seller, sellers.accounts().get(&seller).cloned())),
            trader: (record.stamp.peer, traders.get(&record.stamp.peer).copied()),
        }
    }

    fn restore(self, books: &mut Books) {
        let Before { position, latest, term, refusals, floor, queued, buyer, seller, trader } = self;
        (books.position, books.latest, books.term, books.refusals) = (position, latest, term, refusals);
        books.floor = floor;
        if let Some((key, request)) = queued {
            match request {
                Some(request) => books.queue.insert(key, request),
                None => books.queue.remove(&key),
            };
        }
        if let Some((id, account)) = buyer {
            match account {
                Some(account) => books.buyers.insert(id, account),
                None => books.buyers.remove(&id),
            };
        }
        if let Some((id, account)) = seller {
            books.sellers.replace(id, account);
        }
        let (id, account) = trader;
        match account {
            Some(account) => books.traders.insert(id, account),
            None => books.traders.remove(&id),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{DepositId, DepositNumber, Units},
        record::Deposit,
        testing::{claim, deposit, record, request, sale},
    };
    use alloc::format;
    use proptest::prelude::*;

    /// A record of this kind about these clients, which can follow the books more often than not.
    fn next(books: &Books, kind: u8, buyer: u32, seller: u32, units: u32) -> Record {
        let writer = books.term().map_or(9, |term| term.holder.peer.0);
        let last = books.seller_status(PeerId(seller), None);
        let number = last.deposit.as_ref().map_or(0, |deposit| deposit.number.0);
        let asked = books.buyer_status(PeerId(buyer));
        let sequence = asked.last.map_or(0, |(sequence, _)| sequence.0);
        let wish = Request { quantity: Units(units), ..request(books.latest().0, buyer, sequence + 1) };
        let entry = match kind {
            0 => return claim(books.latest().0 + 1, seller, books.epoch().next().0),
            1 => Entry::Resigned,
            2 | 3 => Entry::Deposited(Deposit {
                id: DepositId { seller: PeerId(seller), number: DepositNumber(number + 1) },
                previous: (number > 0).then_some(DepositNumber(number)),
                ..deposit(seller, 1, units)
            }),
            4..=6 => Entry::admitted(wish),
            7 => Entry::Refused { request: asked.open.map_or(wish.id, |open| open.id), leftover: None },
            8 => {
                let open = asked.open.unwrap_or(wish);
                let leftover = books.leftover_for(open.item, open.quantity, |_| true);
                Entry::Refused { request: open.id, leftover }
            }
            _ => {
                let stock = deposit(seller, number, 1);
                let sold = sale(&asked.open.unwrap_or(wish), &stock, last.sales.0 + 1);
                Entry::Sold(sold)
            }
        };
        record(books.latest().0 + 1, writer, entry)
    }

    proptest! {
        // DESIGN R4: what is planned does not count, whatever it is, and whether or not it can follow.
        #[test]
        fn after_looking_ahead_the_books_are_as_they_were(
            past in prop::collection::vec((0..14_u8, 0..4_u32, 5..8_u32, 1..4_u32), 0..40),
            ahead in prop::collection::vec((0..14_u8, 0..4_u32, 5..8_u32, 1..4_u32), 0..20),
        ) {
            let mut books = Books::keeping(2);
            books.apply(&claim(1, 9, 1)).unwrap();
            for (kind, buyer, seller, units) in past {
                let record = next(&books, kind, buyer, seller, units);
                // Some cannot follow.
                let _ = books.apply(&record);
            }
            let before = books.clone();
            let mut folded = before.clone();
            {
                let mut plan = Ahead::of(&mut books);
                for (kind, buyer, seller, units) in ahead {
                    let record = next(&plan, kind, buyer, seller, units);
                    prop_assert_eq!(plan.apply(&record), folded.apply(&record));
                    prop_assert_eq!(&*plan, &folded, "the same fold");
                }
            }
            prop_assert_eq!(&books, &before);
            prop_assert_eq!(format!("{books:?}"), format!("{before:?}"), "and what is derived from them");
        }
    }
}
