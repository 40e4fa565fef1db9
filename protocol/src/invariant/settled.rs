//! What must hold once faults have stopped (L1 to L3, B9), checked for everybody at once.

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};

use super::{Checked, Property, Violation};
use crate::{
    books::Books,
    election::{Eligibility, Phase},
    id::{Epoch, PeerId},
    ledger::LedgerStatus,
    participant::Participant,
};

/// Everybody who is alive, once faults have stopped and nothing is in flight.
#[derive(Clone, Debug)]
pub struct Settled<'a> {
    /// The peers that are alive.
    pub live: Vec<&'a Participant>,
    /// The peers that hear each other; nothing is asked of a peer that is cut off from them.
    pub together: BTreeSet<PeerId>,
    /// The peers that the ledger cannot answer.
    pub unheard: BTreeSet<PeerId>,
    /// The peers that are told nothing, and so are not asked what they were told.
    pub deaf: BTreeSet<PeerId>,
    /// The ledger's own status.
    pub status: LedgerStatus,
    /// What the durable records add up to.
    pub books: &'a Books,
}

impl Settled<'_> {
    fn missing(&self, property: Property, what: String) -> Checked {
        let is_lone = self.live.len() == 1 && property == Property::L1;
        Err(Violation::off_the_log(if is_lone { Property::L3 } else { property }, what))
    }

    fn asked(&self) -> impl Iterator<Item = &Participant> {
        self.live.iter().copied().filter(|participant| self.together.contains(&participant.me().peer))
    }

    /// L1: there is one trader, the ledger agrees, and everybody who hears it knows it; and all of them may stand
    /// again, except those that the ledger cannot answer. A resignation keeps nobody out for longer than the term that
    /// follows it.
    ///
    /// # Errors
    /// When there is not: L1, or L3 where a single peer is left.
    pub fn there_is_one_trader_that_all_know(&self) -> Checked {
        if !self.live.iter().any(|participant| participant.election().is_some()) {
            return Ok(());
        }
        let traders: Vec<(PeerId, Epoch)> =
            self.live.iter().filter_map(|participant| Some((participant.me().peer, participant.epoch()?))).collect();
        let [(trader, epoch)] = traders.as_slice() else {
            return self.missing(Property::L1, format!("{} peers are trader", traders.len()));
        };
        let holder = self.status.term.filter(|term| !term.ended);
        if holder.is_none_or(|term| (term.holder.peer, term.epoch) != (*trader, *epoch)) {
            let what = format!("peer {trader} thinks it holds epoch {epoch}, but the ledger disagrees");
            return self.missing(Property::L1, what);
        }
        if !self.together.contains(trader) {
            return self.missing(Property::L1, format!("peer {trader} holds epoch {epoch} and hears nobody"));
        }
        for participant in self.asked() {
            let Some(election) = participant.election() else { continue };
            let peer = participant.me().peer;
            if election.leader() != Some((*epoch, *trader)) || matches!(election.phase(), Phase::Standing) {
                return self.missing(Property::L1, format!("peer {peer} does not know trader {trader}"));
            }
            if election.eligibility() != Eligibility::Eligible && !self.unheard.contains(&peer) {
                let what = format!("peer {peer} could not stand if trader {trader} were gone");
                return self.missing(Property::L1, what);
            }
        }
        Ok(())
    }

    /// L2: every accepted request has an outcome, and everyone concerned was told. A peer in office trades nothing, and
    /// learns of its own requests when it is out again.
    ///
    /// # Errors
    /// When something is missing.
    pub fn everybody_was_told(&self) -> Checked {
        if let Some(request) = self.books.queue().next() {
            return self.missing(Property::L2, format!("a request of peer {} waits", request.id.buyer));
        }
        for participant in self.clients() {
            let peer = participant.me().peer;
            if let Some(buyer) = participant.buyer() {
                let booked = self.books.buyers().get(&peer).and_then(|account| account.last.as_ref());
                if buyer.asking().is_some() {
                    return self.missing(Property::L2, format!("peer {peer} still asks"));
                }
                if buyer.is_joining() {
                    return self.missing(Property::L2, format!("peer {peer} still asks for its seat"));
                }
                if buyer.known() != booked.map(|(sequence, _)| *sequence) {
                    let what = format!("peer {peer} was not told how its last request ended");
                    return self.missing(Property::L2, what);
                }
            }
            if let Some(seller) = participant.seller() {
                let booked = self.books.sellers().get(&peer);
                let told = seller.account().unwrap_or_default();
                if seller.depositing().is_some() {
                    return self.missing(Property::L2, format!("peer {peer} still deposits"));
                }
                if booked.is_some_and(|booked| (booked.sales, booked.earned) != (told.sales, told.earned)) {
                    return self.missing(Property::L2, format!("peer {peer} was not told of all its sales"));
                }
            }
        }
        Ok(())
    }

    /// L2: every seller has goods with the trader: what was sold out or left over was followed by others (SPEC D8).
    ///
    /// # Errors
    /// Names a seller that has none.
    pub fn every_seller_has_goods(&self) -> Checked {
        for participant in self.clients().filter(|participant| participant.seller().is_some()) {
            let peer = participant.me().peer;
            let deposit = self.books.sellers().get(&peer).and_then(|account| account.deposit.as_ref());
            if deposit.is_none_or(|deposit| deposit.is_over()) {
                return self.missing(Property::L2, format!("peer {peer} is a seller but brings no goods"));
            }
        }
        Ok(())
    }

    /// B9: where nobody hears the ledger, nobody holds the office or stands for it.
    ///
    /// # Errors
    /// Names a peer that does.
    pub fn nobody_leads_without_the_ledger(&self) -> Checked {
        for participant in &self.live {
            let peer = participant.me().peer;
            if let Some(epoch) = participant.epoch() {
                return self.missing(Property::B9, format!("peer {peer} still holds epoch {epoch}"));
            }
            if participant.office().is_some_and(|office| office.is_standing()) {
                return self.missing(Property::B9, format!("peer {peer} still claims"));
            }
        }
        Ok(())
    }

    fn clients(&self) -> impl Iterator<Item = &Participant> {
        self.asked().filter(|participant| participant.epoch().is_none() && !self.deaf.contains(&participant.me().peer))
    }
}
/// Whether a buyer has not yet been told everything that the books say about its requests: one waits, or has ended
/// since.
#[must_use]
pub fn is_untold(participant: &Participant, books: &Books) -> bool {
    let (Some(buyer), Some(account)) = (participant.buyer(), books.buyers().get(&participant.me().peer)) else {
        return false;
    };
    account.open.is_some() || buyer.known() < account.last.as_ref().map(|(sequence, _)| *sequence)
}
