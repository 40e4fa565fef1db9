//! Clock multicasts (SPEC C2), carried from neighbour to neighbour.
//!
//! A multicast says one number, the buyer's clock, and of several only the highest says anything. So nothing is flooded:
//! every envelope that leaves a peer anyway also carries the highest multicast that the peer has heard of. Only a
//! neighbour to which nothing was sent for a while gets an envelope of its own for it. What clocks cost a link therefore
//! does not depend on the number of buyers.
//!
//! Envelopes are lost. A peer therefore goes on telling a neighbour until that neighbour's own envelopes show that it
//! knows; once both ends know that both know, they are silent. Both wait for a few ticks of a timer first
//! ([`Timeouts::clock_interval`](crate::config::Timeouts::clock_interval)), since most links carry something anyway.

use alloc::{collections::BTreeMap, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{clock::Time, id::PeerId};

/// What a peer knows of the multicasts, and what it knows of what its neighbours know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Gossip {
    /// The highest multicast it has heard of, its own included; 0 before the first.
    highest: Time,
    /// Its own last multicast, if this life has made one.
    mine: Option<Time>,
    /// While it has something to tell: what was the highest at the last tick.
    ticked: Option<Time>,
    /// The neighbours whose links are up.
    links: BTreeMap<PeerId, Link>,
}

/// How far a neighbour is behind the highest multicast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Link {
    /// By what it was told last.
    told: Lag,
    /// By what it has itself shown to know.
    known: Lag,
}

impl Link {
    fn is_settled(self) -> bool {
        self == Link::default()
    }
}

/// For how many ticks something has been behind the highest multicast, counting the one that has begun; 0: it is not
/// behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Lag(u8);

impl Lag {
    /// It is behind, and has not been for long.
    const FRESH: Lag = Lag(1);
    /// A neighbour that has not been told for a whole tick is told.
    const UNTOLD: Lag = Lag(2);
    /// A neighbour that was told by then, and is as quiet, has told something itself two ticks later at the latest. If
    /// not, it is told again.
    const UNKNOWN: Lag = Lag(5);

    /// A tick has ended. Returns whether it was this late already.
    fn tick(&mut self, limit: Lag) -> bool {
        let is_due = *self >= limit;
        if Lag(0) < *self && *self < Lag::UNKNOWN {
            self.0 = self.0.saturating_add(1);
        }
        is_due
    }
}

impl Gossip {
    /// The highest multicast it has heard of, its own included; 0 before the first.
    #[must_use]
    pub fn highest(&self) -> Time {
        self.highest
    }

    /// Its own last multicast, which any envelope may reveal.
    #[must_use]
    pub fn mine(&self) -> Option<Time> {
        self.mine
    }

    /// Whether some neighbour does not know the highest multicast, or is not known to know it; then the timer must run.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.links.values().any(|link| !link.is_settled())
    }

    /// A link has come up: its other end may have started anew and know nothing.
    pub fn link_up(&mut self, neighbour: PeerId) {
        let lag = if mutant!(self.highest > Time(0); RestartedNotTold => false) { Lag::FRESH } else { Lag(0) };
        self.links.insert(neighbour, Link { told: lag, known: lag });
    }

    /// A link has gone down.
    pub fn link_down(&mut self, neighbour: PeerId) {
        self.links.remove(&neighbour);
    }

    /// This peer multicasts its clock.
    pub fn multicast(&mut self, clock: Time) {
        self.mine = Some(clock);
        self.raise(clock);
    }

    /// A neighbour does not know that this peer knows what it has told it, and waits to hear so.
    pub fn asked(&mut self, by: PeerId) {
        if let Some(link) = self.links.get_mut(&by) {
            link.told = link.told.max(mutant!(Lag::FRESH; QuestionUnanswered => Lag(0)));
        }
    }

    /// A neighbour has said which multicast is the highest it has heard of. Whether that is news.
    pub fn hear(&mut self, from: PeerId, multicast: Time) -> bool {
        let is_news = multicast > self.highest;
        self.raise(multicast);
        let (highest, ticked) = (self.highest, self.ticked.unwrap_or(self.highest));
        if let Some(link) = self.links.get_mut(&from) {
            if multicast == highest {
                link.known = Lag(0);
            } else if multicast >= ticked {
                link.known = link.known.min(Lag::FRESH);
            }
        }
        is_news
    }

    /// What an envelope for this neighbour carries.
    pub fn say(&mut self, to: PeerId) -> Time {
        if let Some(link) = self.links.get_mut(&to) {
            link.told = Lag(0);
        }
        self.highest
    }

    /// The timer must be started: there is something to tell, and it does not run yet.
    pub fn starts(&mut self) -> bool {
        let starts = self.ticked.is_none() && self.is_unsettled();
        if starts {
            self.ticked = Some(self.highest);
        }
        starts
    }

    /// The timer has fired. Returns the neighbours to which an envelope must go for this alone, and whether each is known
    /// to know the highest multicast; one that is not must answer.
    pub fn tick(&mut self) -> Vec<(PeerId, bool)> {
        self.ticked = None;
        let mut due = Vec::new();
        for (neighbour, link) in &mut self.links {
            let is_untold = link.told.tick(Lag::UNTOLD);
            let is_unknown = link.known.tick(Lag::UNKNOWN);
            if is_untold || mutant!(is_unknown; LostClockNotToldAgain => false) {
                due.push((*neighbour, link.known == Lag(0)));
            }
        }
        due
    }

    fn raise(&mut self, multicast: Time) {
        if multicast <= self.highest {
            return;
        }
        self.highest = multicast;
        for link in self.links.values_mut() {
            *link = Link { told: link.told.max(Lag::FRESH), known: link.known.max(Lag::FRESH) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two neighbours; the first is peer 0.
    fn two() -> [Gossip; 2] {
        let [mut a, mut b] = [Gossip::default(), Gossip::default()];
        a.link_up(PeerId(1));
        b.link_up(PeerId(0));
        [a, b]
    }

    /// Lets both timers run until neither has anything to tell. Returns how many envelopes went for this alone, of which
    /// these are `lost`, counted from 1.
    fn settle(peers: &mut [Gossip; 2], lost: &[u32]) -> u32 {
        let mut sent = 0;
        for _ in 0..40 {
            for speaker in [0, 1] {
                // The timer has run since the last round.
                let due = if peers[speaker].starts() || peers[speaker].is_unsettled() {
                    peers[speaker].tick()
                } else {
                    Vec::new()
                };
                peers[speaker].starts();
                for (neighbour, is_known) in due {
                    sent += 1;
                    let said = peers[speaker].say(neighbour);
                    if !lost.contains(&sent) {
                        peers[1 - speaker].hear(PeerId(speaker as u32), said);
                        if !is_known {
                            peers[1 - speaker].asked(PeerId(speaker as u32));
                        }
                    }
                }
            }
        }
        assert!(peers.iter().all(|peer| !peer.is_unsettled()), "{peers:?}");
        sent
    }

    #[test]
    fn a_multicast_reaches_a_quiet_neighbour_once_and_is_acknowledged_once() {
        let mut peers = two();
        peers[0].multicast(Time(7));
        assert_eq!(settle(&mut peers, &[]), 2);
        assert_eq!(peers[1].highest(), Time(7));
        assert_eq!(settle(&mut peers, &[]), 0, "then they are silent");
    }

    #[test]
    fn a_lost_multicast_is_told_again() {
        // The multicast, the answer, both, and the multicast when it is told again.
        for lost in [&[1][..], &[2], &[1, 2], &[1, 2, 3], &[2, 3]] {
            let mut peers = two();
            peers[0].multicast(Time(7));
            assert!(settle(&mut peers, lost) > lost.len() as u32);
            assert_eq!(peers[1].highest(), Time(7));
        }
    }

    #[test]
    fn a_link_that_carries_something_anyway_gets_no_envelope_of_its_own() {
        let mut peers = two();
        for clock in 1..50 {
            peers[0].multicast(Time(10 * clock));
            for speaker in [0, 1] {
                let said = peers[speaker].say(PeerId(1 - speaker as u32));
                let raises = peers[1 - speaker].hear(PeerId(speaker as u32), said);
                assert_eq!(raises, speaker == 0);
            }
            peers[0].multicast(Time(10 * clock + 1));
            for peer in &mut peers {
                peer.starts();
                assert_eq!(peer.tick(), [], "at {clock}");
                peer.starts();
            }
        }
    }

    #[test]
    fn a_neighbour_that_comes_back_is_told_anew() {
        let mut peers = two();
        peers[0].multicast(Time(7));
        settle(&mut peers, &[]);
        let [a, b] = &mut peers;
        a.link_down(PeerId(1));
        *b = Gossip::default();
        a.link_up(PeerId(1));
        b.link_up(PeerId(0));
        settle(&mut peers, &[]);
        assert_eq!(peers[1].highest(), Time(7));
    }
}
