//! What must hold once faults have stopped (L1, L2).

use std::collections::{BTreeMap, BTreeSet};

use bazaar_protocol::{
    id::PeerId,
    input::Input,
    invariant::{Checked, Property, Settled},
    ledger::Ledger,
    peer::Peer,
};

use super::{World, violated};

impl World {
    /// How many timers may fire from the end of all faults until everybody knows the one trader, everything that was
    /// accepted is settled, and everyone concerned knows.
    const BOUND: u64 = 600;

    /// How many timers fire after that at least.
    const GOES_ON: u64 = 15;

    /// Ends all faults: cuts are healed, everybody is up, and everybody knows which links are up.
    fn heal(&mut self) -> Checked {
        self.tell(|| String::from("# all faults end"));
        self.cut.clear();
        if self.ledger.machine().is_none() {
            self.start_ledger()?;
        }
        for id in self.ids() {
            self.node(id).paused = false;
            if self.peer(id).is_none() {
                self.start(id)?;
            }
        }
        for (a, b) in self.directed_links() {
            self.report(a, b)?;
        }
        for id in self.ids() {
            if !std::mem::replace(&mut self.node(id).reaches_ledger, true) {
                self.give(id, Input::LedgerUp)?;
            }
        }
        Ok(())
    }

    /// Everything in flight arrives.
    fn settle(&mut self) -> Checked {
        for _ in 0..100_000 {
            if !self.flow()? {
                return Ok(());
            }
        }
        violated(Property::L1, String::from("messages breed messages for ever"))
    }

    /// All peers, now that everything has arrived.
    fn settled(&self, together: impl IntoIterator<Item = PeerId>) -> Settled<'_> {
        Settled {
            live: self.nodes.iter().filter_map(|node| node.peer.as_ref()).map(Peer::participant).collect(),
            together: together.into_iter().collect(),
            unheard: BTreeSet::new(),
            deaf: BTreeSet::new(),
            status: self.ledger.status(),
            books: self.observer.log().books(),
        }
    }

    /// C2: where no peer has anything left to tell of the clock multicasts, all have heard of them.
    fn clocks_have_arrived(&mut self) -> Checked {
        let live: Vec<&Peer> = self.nodes.iter().filter_map(|node| node.peer.as_ref()).collect();
        if live.iter().any(|peer| peer.gossip().is_unsettled()) {
            return Ok(());
        }
        let live: Vec<_> = live.into_iter().map(Peer::participant).collect();
        self.observer.on_quiet(&live)?;
        self.stats.count("times that all clocks had arrived");
        Ok(())
    }

    /// From now on nothing fails: within [`World::BOUND`] firings there is one trader that everybody knows, everything
    /// that was accepted has its outcome, and buyers and sellers know all that concerns them. Then trading continues.
    ///
    /// Until then buyers want nothing new: where some are served while others ask there may never be an instant in which
    /// everybody knows everything.
    pub fn converge(&mut self) -> Checked {
        self.heal()?;
        self.are_content = true;
        let mut missing = Ok(());
        for firing in 0..Self::BOUND {
            self.settle()?;
            let settled = self.settled(self.ids());
            missing = settled.there_is_one_trader_that_all_know().and_then(|()| settled.everybody_was_told());
            missing = missing.and_then(|()| self.clocks_have_arrived());
            if missing.is_ok() {
                self.stats.count("recoveries");
                self.stats.most_firings = firing;
                self.are_content = false;
                return self.gets_on();
            }
            if !self.tick()? {
                return violated(Property::L1, format!("nothing is armed any more; {missing:?}"));
            }
        }
        missing
    }

    /// An old image of the ledger is put back while it is down, and some peers restart. Then nothing fails any more,
    /// and everybody calls it: if any of them remembers having seen more than it holds, it stops before it continues
    /// with a different history, and then nobody leads.
    pub fn notice(&mut self, batches: u16, restarts: u8) -> Checked {
        self.crash_ledger(0)?;
        let Some(kept) = usize::from(batches).checked_rem(self.ledger.store().durable().len()) else {
            return self.converge();
        };
        self.stats.count("old images put back");
        self.ledger.put_back(kept);
        self.observer.on_put_back();
        // That takes longer than anything that was on its way to or from it.
        (self.calls, self.replies) = Default::default();
        for id in self.ids().filter(|id| restarts >> id.0 & 1 == 1) {
            self.crash(id, 0);
        }
        self.heal()?;
        let holds = self.ledger.status().seen(self.setup.ledger().secret);
        for id in self.ids() {
            self.give(id, Input::LedgerDown)?;
            self.give(id, Input::LedgerUp)?;
        }
        let mut missing = Ok(());
        for _ in 0..Self::BOUND {
            // One thing after another, to see whether it stops before it writes.
            while self.flow()? {
                if self.ledger.is_asked_to_write() {
                    // Nobody that knows better had called it yet: the observer has checked each call.
                    self.stats.count("old images that nobody could notice");
                    return Ok(());
                }
            }
            if self.ledger.machine().is_some_and(Ledger::has_failed) {
                missing = self.settled(self.ids()).nobody_leads_without_the_ledger();
                if missing.is_ok() {
                    self.stats.count("old images noticed");
                    return Ok(());
                }
            }
            self.tick()?;
        }
        missing?;
        let knows = |id: &PeerId| {
            let seen = self.peer(*id).map(|peer| peer.participant().seen()).unwrap_or_default();
            seen.epoch > holds.epoch || seen.head > holds.head
        };
        match self.ids().find(knows) {
            Some(id) => violated(Property::S3, format!("an old image is put back, and peer {id} never says so")),
            None => Ok(()),
        }
    }

    /// Every buyer gets another outcome, and every seller that is sold out deposits other goods. The trader is exempt:
    /// it does not trade (SPEC B7), and where nobody sells anything it may stay in office for ever.
    fn gets_on(&mut self) -> Checked {
        let mut waiting: BTreeMap<PeerId, _> =
            self.ids().filter_map(|id| Some((id, self.peer(id)?.buyer()?.known()))).collect();
        // Since which firing each seller has been without goods.
        let mut without: BTreeMap<PeerId, u64> = BTreeMap::new();
        for firing in 0..2 * Self::BOUND {
            let trader = self.observer.log().books().term().map(|term| term.holder.peer);
            waiting.retain(|id, before| {
                self.peer(*id).and_then(Peer::buyer).is_some_and(|buyer| buyer.known() <= *before)
            });
            for id in self.ids() {
                if self.settled([id]).every_seller_has_goods().is_err() {
                    without.entry(id).or_insert(firing);
                } else if without.remove(&id).is_some() && trader != Some(id) {
                    self.stats.count("goods brought after a recovery");
                }
            }
            let buyer = waiting.keys().find(|id| Some(**id) != trader);
            if firing >= Self::GOES_ON && buyer.is_none() && without.is_empty() {
                return Ok(());
            }
            if let Some(buyer) = buyer.filter(|_| firing > Self::BOUND) {
                return violated(Property::L2, format!("buyer {buyer} waits for ever"));
            }
            if let Some((seller, _)) = without.iter().find(|(_, since)| firing - **since > Self::BOUND) {
                return violated(Property::L2, format!("seller {seller} has no goods and brings none"));
            }
            self.tick()?;
            self.settle()?;
        }
        Ok(())
    }
}
