//! What comes of a state once faults stop: the fair schedule (DESIGN 5, L1-L3).
//!
//! No more faults, and no more wishes. All that is under way arrives, each once; then the timer that is due first fires. Where
//! the adversary says who leads, somebody who can is told to stand whenever nobody does. What should come about is asked
//! whenever all is quiet. Who has crashed stays away where a leader is looked for, and is back where people are to be told.
//! The schedule is one of many; that its steps are bounded from every state is what is checked.

use std::time::Duration;

use protocol::{
    election::Phase,
    id::{Epoch, PeerId},
    input::Timer,
    invariant::{Property, Violation},
    ledger::LedgerRequest,
};

use super::{
    Bazaar, Convergence, Cut, Timing,
    step::Step,
    words,
    world::{Action, Budget, Live, Mail, Peer, World},
};
use crate::{part::Part, picture::Mark};

/// Follows the fair schedule until what should come about has; the number of steps it took.
///
/// # Errors
/// When it has not within the stated number of steps: what is missing at the end.
pub fn converges(setup: &Bazaar, world: &World, convergence: Convergence) -> Result<usize, Violation> {
    // From here on what arrives has arrived.
    let setup = Bazaar { timing: Timing::Synchronous, ..setup.clone() };
    let mut step = Step::on(&setup, world.clone());
    step.cut = convergence.cut;
    step.stop_faults();
    // The epoch in which all was well when last looked, and for how long it has been since.
    let mut well: Option<(Epoch, Duration)> = None;
    for steps in 0..convergence.within {
        let is_quiet = step.world.is_quiet_but_for(convergence.cut);
        if is_quiet {
            let epoch = step.world.ledger.machine.status().epoch();
            well = match (step.missing(), well) {
                (Some(_), _) => None,
                (None, Some((same, since))) if same == epoch => Some((epoch, since)),
                (None, Some(_) | None) => Some((epoch, Duration::ZERO)),
            };
            if well.is_some_and(|(_, since)| since >= convergence.lasting) {
                return Ok(steps);
            }
        }
        let passes = step.world.next_instant().filter(|_| is_quiet);
        if step.go_on().is_none() {
            break;
        }
        if let (Some((_, since)), Some(time)) = (&mut well, passes) {
            *since += time;
        }
        if let Some(violation) = &step.world.violation {
            // Under synchrony more is asked; but here the state may be one that synchrony would not lead to.
            if !matches!(violation.property, Property::Y1 | Property::Y2) {
                return Err(Violation::clone(violation));
            }
            step.world.violation = None;
        }
    }
    let (property, what) = step.missing().unwrap_or_else(|| {
        let what = if setup.is_elected() { "one leader follows another" } else { "not all is settled" };
        (if setup.is_elected() { Property::L1 } else { Property::L2 }, what.to_owned())
    });
    Err(Violation { property, position: None, what: format!("{what}, after {} steps", convergence.within) })
}

/// The first steps of the fair schedule, in words and as a picture shows them.
pub fn follow(setup: &Bazaar, world: &World, convergence: Convergence, steps: usize) -> Vec<(String, Vec<Mark>)> {
    let setup = Bazaar { timing: Timing::Synchronous, ..setup.clone() };
    let mut step = Step::on(&setup, world.clone());
    step.cut = convergence.cut;
    step.stop_faults();
    let mut followed = Vec::new();
    // Said with the first step.
    let mut stays_cut = words::stays_cut(&setup, convergence.cut);
    while followed.len() < steps {
        let before = step.world.clone();
        let Some(action) = step.go_on() else { break };
        step.world.violation = None;
        if let Some(action) = action {
            let words = words::sentence(&setup, &before, &action, &step.world);
            stays_cut.extend(words::marks(&setup, &before, &action, &step.world));
            followed.push((words, std::mem::take(&mut stays_cut)));
        }
    }
    followed
}

impl World {
    fn is_quiet_but_for(&self, cut: Cut) -> bool {
        let is_done = |live: &Live| {
            let hears = !matches!(cut, Cut::Ledger)
                && cut != Cut::FromLedger(live.me.peer)
                && cut != Cut::AnswersOfLedger(live.me.peer);
            (live.question.is_none() || !hears) && (live.choice.is_none() || live.plans.deposits == 0)
        };
        self.mail.is_empty()
            && self.calls.is_empty()
            && self.replies.is_empty()
            && !self.ledger.is_writing()
            && self.lives().all(is_done)
    }
}

impl Step<'_> {
    fn stop_faults(&mut self) {
        self.world.budget = Budget::default();
        for place in 0..self.world.peers.len() {
            self.world.peers[place].change(|peer| match peer {
                Peer::Up(live) => (live.plans.wishes, live.plans.deposits) = (0, 0),
                Peer::Down { plans, .. } => (plans.wishes, plans.deposits) = (0, 0),
            });
        }
        if !self.setup.is_elected() {
            for peer in self.setup.ids() {
                self.start(peer);
            }
        }
        // What is cut gets nothing through any more.
        let cut = self.cut;
        let is_cut = |peer: PeerId| cut == Cut::FromOverlay(peer);
        self.world.mail.change(|bag| bag.retain(|mail| !is_cut(mail.from) && !mail.to.is_some_and(is_cut)));
        let hears =
            |peer: PeerId| cut != Cut::Ledger && cut != Cut::FromLedger(peer) && cut != Cut::AnswersOfLedger(peer);
        self.world.calls.change(|calls| {
            calls.retain(|call| cut != Cut::Ledger && cut != Cut::FromLedger(call.caller.peer));
        });
        self.world.replies.change(|replies| replies.retain(|reply| hears(reply.reply.to.peer)));
        for peer in self.setup.ids().filter(|peer| !hears(*peer)) {
            self.live(peer, |live| live.question = None);
        }
        // The lease runs from now at the latest; how much of it is left where timing was free nobody knows.
        if self.world.ledger.machine.is_held() && self.world.lease.is_none() {
            self.world.lease = Some(super::TIMEOUTS.lease);
        }
        self.prune();
    }

    /// One step of the fair schedule, or none if there is nothing left to do. Something that arrives nowhere is a step that is no
    /// action.
    fn go_on(&mut self) -> Option<Option<Action>> {
        self.prune();
        let action = match self.arriving() {
            Some(Err(mail)) => {
                self.world.mail.change(|bag| bag.take(&mail));
                return Some(None);
            }
            Some(Ok(action)) => action,
            None => self.due()?,
        };
        self.act(&action);
        Some(Some(action))
    }

    /// What arrives next: a message, or one that arrives nowhere; what the ledger does; what it is asked.
    fn arriving(&self) -> Option<Result<Action, Part<Mail>>> {
        if let Some(mail) = self.world.mail.iter().next() {
            let listener = self.setup.ids().find(|peer| self.world.is_heard_by(self.setup, mail, *peer));
            return Some(listener.map(|listener| Action::Arrive(listener, mail.clone())).ok_or_else(|| mail.clone()));
        }
        if self.world.ledger.is_writing() {
            return Some(Ok(Action::Sync));
        }
        if let Some(call) = self.world.calls.iter().next() {
            return Some(Ok(Action::Take(call.clone())));
        }
        if let Some(reply) = self.world.replies.iter().next() {
            return Some(Ok(Action::Answer(reply.reply.to.peer, reply.clone())));
        }
        let asks = |live: &&Live| matches!(live.question, Some(LedgerRequest::Read { .. } | LedgerRequest::Status));
        self.world.lives().find(asks).map(|live| Ok(Action::Consult(live.me.peer)))
    }

    /// What happens when all is quiet: somebody stands where nobody elects, somebody asks who was not told, time passes.
    fn due(&self) -> Option<Action> {
        let stands = if self.setup.is_elected() { None } else { self.who_stands() };
        let asks = || self.untold().map(|peer| Action::Fire(peer, Timer::Buyer));
        stands.map(Action::Stand).or_else(asks).or_else(|| self.next_timer())
    }

    /// Where there is no election: somebody who can, if nobody holds the office or stands.
    fn who_stands(&self) -> Option<PeerId> {
        let is_busy = |live: &Live| live.office.as_ref().is_some_and(|office| office.is_standing());
        let in_office = self.world.traders().map(|(_, epoch)| epoch).max();
        // Who was deposed and does not know it is no trader any more.
        if in_office == Some(self.world.ledger.machine.status().epoch()) || self.world.lives().any(is_busy) {
            return None;
        }
        self.world.lives().find(|live| live.office.is_some() && live.epoch().is_none()).map(|live| live.me.peer)
    }

    /// A buyer that was not told how its last request ended, and is asking for nothing.
    fn untold(&self) -> Option<PeerId> {
        let books = &self.world.ledger.books;
        let is_untold = |live: &&Live| {
            let Some(buyer) = &live.buyer else { return false };
            let account = books.buyers().get(&live.me.peer);
            let last = account.and_then(|account| account.last.as_ref()).map(|(sequence, _)| *sequence);
            let open = account.is_some_and(|account| account.open.is_some());
            live.may_want() && live.timers.contains_key(&Timer::Buyer) && (open || buyer.known() < last)
        };
        self.world.lives().find(is_untold).map(|live| live.me.peer)
    }

    fn next_timer(&self) -> Option<Action> {
        // A buyer that wants nothing more does not think of anything.
        let counts = |live: &Live, timer: Timer| timer != Timer::Buyer || !live.may_want();
        let timers = self.world.lives().flat_map(|live| {
            let armed = live.timers.iter().filter(|(timer, _)| counts(live, **timer));
            armed.map(|(timer, wait)| (*wait, Some((live.me.peer, *timer))))
        });
        let lease = self.world.lease.map(|wait| (wait, None));
        let (_, next) = timers.chain(lease).min()?;
        Some(next.map_or(Action::LeaseRunsOut, |(peer, timer)| Action::Fire(peer, timer)))
    }

    /// What has not come about yet.
    fn missing(&self) -> Option<(Property, String)> {
        if self.cut == Cut::Ledger {
            let trader = self.world.traders().next();
            let standing =
                self.world.lives().find(|live| live.office.as_ref().is_some_and(|office| office.is_standing()));
            return match (trader, standing) {
                (Some((peer, epoch)), _) => Some((Property::B9, format!("peer {peer} still holds epoch {epoch}"))),
                (None, Some(live)) => Some((Property::B9, format!("peer {} still claims", live.me.peer))),
                (None, None) => None,
            };
        }
        if self.setup.is_elected() { self.no_leader() } else { self.untold_clients() }
    }

    /// L1: one trader that all live peers know; one that is cut off from all others need not.
    fn no_leader(&self) -> Option<(Property, String)> {
        let counts = |peer: PeerId| self.cut != Cut::FromOverlay(peer);
        let electors: Vec<&Live> =
            self.world.lives().filter(|live| live.election.is_some() && counts(live.me.peer)).collect();
        if electors.is_empty() {
            return None;
        }
        let property = if self.world.lives().count() == 1 { Property::L3 } else { Property::L1 };
        let missing = |what: String| Some((property, what));
        let traders: Vec<_> = self.world.traders().collect();
        let [(trader, epoch)] = traders.as_slice() else {
            return missing(format!("{} peers are trader", traders.len()));
        };
        let holder = self.world.ledger.machine.status().term.filter(|term| !term.ended);
        if holder.is_none_or(|term| (term.holder.peer, term.epoch) != (*trader, *epoch)) {
            return missing(format!("peer {trader} thinks it holds epoch {epoch}, and the ledger does not"));
        }
        if !counts(*trader) {
            return missing(format!("peer {trader} holds epoch {epoch} and hears nobody"));
        }
        let knows = |live: &&Live| {
            live.election.as_ref().is_some_and(|election| {
                election.leader() == Some((*epoch, *trader)) && !matches!(election.phase(), Phase::Standing)
            })
        };
        let stranger = electors.into_iter().find(|live| !knows(live));
        stranger.and_then(|live| missing(format!("peer {} does not know trader {trader}", live.me.peer)))
    }

    /// L2: every accepted request has an outcome, and all whom it concerns were told.
    fn untold_clients(&self) -> Option<(Property, String)> {
        let books = &self.world.ledger.books;
        let missing = |what: String| Some((Property::L2, what));
        if let Some(request) = books.queue().next() {
            return missing(format!("a request of peer {} waits", request.id.buyer));
        }
        for live in self.world.lives() {
            let peer = live.me.peer;
            if self.setup.role(peer).is_some_and(|role| role.deaf) || live.epoch().is_some() {
                continue;
            }
            if let Some(buyer) = &live.buyer {
                let account = books.buyers().get(&peer);
                let last = account.and_then(|account| account.last.as_ref()).map(|(sequence, _)| *sequence);
                if buyer.asking().is_some() {
                    return missing(format!("peer {peer} still asks"));
                }
                if buyer.known() != last {
                    return missing(format!("peer {peer} was not told how its last request ended"));
                }
            }
            if let Some(seller) = &live.seller {
                let account = books.sellers().get(&peer);
                let sales = account.map(|account| account.sales);
                if seller.depositing().is_some() {
                    return missing(format!("peer {peer} still deposits"));
                }
                if sales.is_some_and(|sales| seller.account().map(|account| account.sales) != Some(sales)) {
                    return missing(format!("peer {peer} was not told of all its sales"));
                }
            }
        }
        None
    }
}
