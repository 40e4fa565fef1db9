//! A peer: a participant with an overlay that carries its messages, the gossip that carries the clock multicasts, and a
//! journal that holds back whatever is not yet durable enough to leave. It decides nothing itself.

use alloc::{collections::BTreeSet, sync::Arc, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    books::Books,
    buyer::Buyer,
    clock::{Clock, Time},
    config::{Config, ConfigError},
    digest::Digest,
    effect::{Durable, Effect, Effects, Note},
    election::Eligibility,
    gossip::Gossip,
    id::{Epoch, Life, PeerId},
    input::{Input, Timer, WriteId},
    journal::{Draft, Journal},
    message::{Body, Envelope, Route},
    overlay::Overlay,
    participant::{Context, Participant, ParticipantEffect, ParticipantInput, Parts},
    plausible::Known,
    seller::Seller,
};

/// One peer of the bazaar.
///
/// ```
/// use bazaar_protocol::{Config, Durable, Effect, Input, Item, Peer, PeerId, Role, Units, Wishes};
///
/// // Peer 0 of a bazaar of two: it buys fish.
/// let wishes = Wishes { items: vec![Item::FISH], quantity: Units(1) };
/// let config = Config::new(PeerId(0), 2, [PeerId(1)], Role::Buyer(wishes));
/// let (mut peer, effects) = Peer::recover(config, Durable::default())?;
///
/// // First it asks for a write: until this life is durable it says nothing to anybody.
/// let Some(Effect::Write { id, durable }) = effects.first() else { panic!("a life begins with a write") };
/// assert!(!effects.iter().any(|effect| matches!(effect, Effect::Send { .. } | Effect::Ledger(_))));
/// let disk = *durable;
///
/// // The driver has written it and reports back; now what was held back leaves.
/// let effects = peer.step(Input::Written(*id));
/// assert!(effects.iter().any(|effect| matches!(effect, Effect::Ledger(_))));
///
/// // After a crash only the disk is left, and the next life begins from it.
/// let (next, _) = Peer::recover(peer.config().clone(), disk)?;
/// assert_eq!(next.view().me.incarnation.0, 2);
/// # Ok::<(), bazaar_protocol::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Peer {
    config: Arc<Config>,
    participant: Participant,
    overlay: Overlay,
    gossip: Gossip,
    journal: Journal,
}

/// Called with a peer's participant after its step, the input of the step, and what the participant decided.
pub type Watch<'a> = dyn FnMut(&Participant, ParticipantInput, &[ParticipantEffect]) + 'a;

/// Called with what a peer's participant decided as it started.
pub type WatchStart<'a> = dyn FnMut(&Participant, &[ParticipantEffect]) + 'a;

/// A peer's state as it sees it, for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// This life: the peer and its incarnation.
    pub me: Life,
    /// The current reading of its clock.
    pub clock: Time,
    /// The neighbours whose links work.
    pub links: &'a BTreeSet<PeerId>,
    /// The trader it follows, or itself in office, and the epoch.
    pub leader: Option<(Epoch, PeerId)>,
    /// The epoch it holds itself, if it is in office.
    pub office: Option<Epoch>,
    /// The books it has read or serves from.
    pub books: Option<&'a Books>,
    /// How many client messages wait for its next batch; 0 out of office.
    pub waiting: usize,
    /// Whether it may stand for office.
    pub eligibility: Eligibility,
}

impl Peer {
    /// A peer's next life. The effects begin with the write that makes this life durable; until that is confirmed the
    /// peer sends nothing.
    ///
    /// # Errors
    /// When the configuration does not pass [`Config::check`].
    pub fn recover(config: Config, durable: Durable) -> Result<(Peer, Effects), ConfigError> {
        Peer::watched_recover(config, durable, &mut |_, _| {})
    }

    /// Like [`Peer::recover`], and shows `watch` what the participant decides before any of it is held back.
    ///
    /// # Errors
    /// As [`Peer::recover`].
    pub fn watched_recover(
        config: Config,
        durable: Durable,
        watch: &mut WatchStart<'_>,
    ) -> Result<(Peer, Effects), ConfigError> {
        config.check()?;
        let alone = Context { config: &config, is_isolated: !config.neighbours.is_empty() };
        let (participant, said) = Participant::recover(alone, Parts::ALL, durable);
        watch(&participant, &said);
        let me = participant.me();
        let (journal, birth) = Journal::begin(durable, me.incarnation, participant.clock().now(), config.clock_range);
        let overlay = Overlay::new(me, config.peers, &config.limits);
        let gossip = Gossip::default();
        let mut peer = Peer { config: Arc::new(config), participant, overlay, gossip, journal };
        let mut step = Step { peer: &mut peer, drafts: alloc::vec![Draft::Local(birth)] };
        step.carry(said);
        let effects = step.finish();
        Ok((peer, effects))
    }

    /// Takes one input and returns what to do about it. Cannot fail and cannot block.
    pub fn step(&mut self, input: Input) -> Effects {
        self.run(input, None)
    }

    /// Like [`Peer::step`], and shows `watch` what the participant is given and what it decides, before the overlay
    /// sends any of it anywhere or the journal holds any of it back. Not called when the participant is given nothing.
    pub fn watched_step(&mut self, input: Input, watch: &mut Watch<'_>) -> Effects {
        self.run(input, Some(watch))
    }

    fn run(&mut self, input: Input, watch: Option<&mut Watch<'_>>) -> Effects {
        let mut step = Step { peer: self, drafts: Vec::new() };
        if let Some(given) = step.dispatch(input) {
            let copy = watch.is_some().then(|| given.clone());
            let context = Context { config: &step.peer.config, is_isolated: step.peer.is_isolated() };
            let said = step.peer.participant.step(context, given);
            if let (Some(watch), Some(given)) = (watch, copy) {
                watch(&step.peer.participant, given, &said);
            }
            step.carry(said);
        }
        step.finish()
    }

    /// What to make durable before the peer is stopped on purpose: its last write, updated with everything it has seen
    /// of the books. It only affects how recent an old copy of the books can be and still be noticed (DESIGN 3).
    #[must_use]
    pub fn durable_at_stop(&self) -> Durable {
        Durable { seen: self.participant.seen(), ..self.journal.requested() }
    }

    /// The peer's state as it sees it.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        let trader = self.participant.office().and_then(|office| office.trader());
        View {
            me: self.participant.me(),
            clock: self.participant.clock().now(),
            links: self.overlay.links(),
            leader: self.participant.leader(),
            office: self.participant.epoch(),
            books: trader.map(|trader| trader.books()),
            waiting: trader.map_or(0, |trader| trader.waiting()),
            eligibility: self.participant.eligibility(),
        }
    }

    /// The machine that makes this peer's decisions.
    #[must_use]
    pub fn participant(&self) -> &Participant {
        &self.participant
    }

    /// The overlay: its links, and the paths and floods it remembers.
    #[must_use]
    pub fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// The journal: what it writes ahead and holds back.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What it knows of the clock multicasts.
    #[must_use]
    pub fn gossip(&self) -> &Gossip {
        &self.gossip
    }

    /// The peer's Lamport clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.participant.clock()
    }

    /// Its buyer, if its role includes buying.
    #[must_use]
    pub fn buyer(&self) -> Option<&Buyer> {
        self.participant.buyer()
    }

    /// Its seller, if its role includes selling.
    #[must_use]
    pub fn seller(&self) -> Option<&Seller> {
        self.participant.seller()
    }

    /// The configuration it was recovered with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A digest of the whole state, the same in every process (DESIGN 4).
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self)
    }

    fn is_isolated(&self) -> bool {
        !self.config.neighbours.is_empty() && self.overlay.links().is_empty()
    }
}

/// One step in progress.
struct Step<'a> {
    peer: &'a mut Peer,
    /// What is to leave, if the journal allows it.
    drafts: Vec<Draft>,
}

impl Step<'_> {
    /// Handles what concerns the overlay, the gossip and the journal; returns what is left for the participant.
    fn dispatch(&mut self, input: Input) -> Option<ParticipantInput> {
        match input {
            Input::Received { from, envelope } => return self.on_received(from, envelope),
            Input::LinkUp(neighbour) => {
                if self.peer.config.neighbours.contains(&neighbour) {
                    self.peer.overlay.link_up(neighbour);
                    self.peer.gossip.link_up(neighbour);
                }
            }
            Input::LinkDown(neighbour) => {
                self.peer.overlay.link_down(neighbour);
                self.peer.gossip.link_down(neighbour);
            }
            Input::Written(id) => self.on_written(id),
            Input::Fired(Timer::ClockInterval) => self.on_clock_interval(),
            Input::Fired(Timer::Gather) => self.peer.overlay.stop_waiting(),
            Input::Fired(timer) => return Some(ParticipantInput::Fired(timer)),
            Input::LedgerUp => return Some(ParticipantInput::LedgerUp),
            Input::LedgerDown => return Some(ParticipantInput::LedgerDown),
            Input::Ledger(reply) => return Some(ParticipantInput::Ledger(reply)),
            Input::Chose { choice, pick } => return Some(ParticipantInput::Chose { choice, pick }),
            Input::Resign => return Some(ParticipantInput::Resign),
        }
        None
    }

    fn on_received(&mut self, from: PeerId, envelope: Envelope) -> Option<ParticipantInput> {
        if !self.peer.config.neighbours.contains(&from) {
            return None;
        }
        let Peer { config, participant, .. } = &*self.peer;
        let known = Known { peers: config.peers, epoch: participant.latest_epoch() };
        if let Some(implausible) = envelope.implausible(&known) {
            self.note(Note::EnvelopeRefused { from, source: envelope.source, implausible });
            return None;
        }
        // A multicast is for everybody, so each peer on its way takes it, and merges it where it is news (SPEC C2).
        let multicast = self.peer.gossip.hear(from, envelope.multicast).then_some(envelope.multicast);
        let delivered = if envelope.body == Body::Clock {
            self.peer.overlay.heard(from);
            if envelope.clock < envelope.multicast {
                self.peer.gossip.asked(from);
            }
            None
        } else {
            let arrival = self.peer.overlay.receive(from, envelope);
            // A relay neither merges nor ticks (SPEC C1). Only a clock multicast of its own can hold the message back.
            self.send(None, arrival.forwarded);
            arrival.delivered
        };
        match (delivered, mutant!(multicast; MulticastUnheard => None)) {
            (Some(Envelope { source, clock, body, .. }), multicast) => {
                let clock = multicast.map_or(clock, |multicast| clock.max(multicast));
                Some(ParticipantInput::Heard { from: source, clock, body })
            }
            (None, Some(clock)) => Some(ParticipantInput::Heard { from, clock, body: Body::Clock }),
            (None, None) => None,
        }
    }

    /// Tells the neighbours that no other envelope has told of a multicast.
    fn on_clock_interval(&mut self) {
        let me = self.peer.participant.me().peer;
        let multicast = self.peer.gossip.highest();
        let due = self.peer.gossip.tick().into_iter().map(|(to, is_known)| {
            let clock = if is_known { multicast } else { Time(0) };
            let route = Route::Direct { to, hops: 0 };
            (to, Envelope { source: me, clock, route, body: Body::Clock, multicast })
        });
        self.send(None, due.collect());
    }

    fn on_written(&mut self, id: WriteId) {
        let confirmed = self.peer.journal.confirm(id);
        if let Some(bound) = confirmed.bound {
            self.peer.participant.extend(bound);
        }
        if confirmed.is_born {
            // What it has heard meanwhile may have raised its clock above this first bound; then it waits for the next
            // one, like any note (SPEC C3).
            self.note(Note::Joined { incarnation: self.peer.participant.me().incarnation });
        }
    }

    /// Sends what the participant has said on its way.
    fn carry(&mut self, said: Vec<ParticipantEffect>) {
        for said in said {
            let clock = said.reading();
            let draft = match said {
                ParticipantEffect::Tell { body: Body::Promises { promises, .. }, .. } => {
                    for (buyer, promise) in promises {
                        self.peer.overlay.promise(buyer, promise);
                    }
                    continue;
                }
                ParticipantEffect::Tell { to, clock: stamp, body } => {
                    let sent = self.peer.overlay.unicast(to, stamp, body);
                    self.send(clock, sent);
                    continue;
                }
                ParticipantEffect::TellAll { clock, body: Body::Clock } => {
                    self.peer.gossip.multicast(clock);
                    continue;
                }
                // The last one has not been answered yet.
                ParticipantEffect::TellAll { body: Body::Wave, .. } if self.peer.overlay.gathers() => continue,
                ParticipantEffect::TellAll { clock: stamp, body } => {
                    let sent = self.peer.overlay.broadcast(stamp, body);
                    self.send(clock, sent);
                    continue;
                }
                ParticipantEffect::Ledger(call) => Draft::Outgoing { clock, effect: Effect::Ledger(call) },
                ParticipantEffect::Arm { timer, after } => Draft::Local(Effect::Arm { timer, after }),
                ParticipantEffect::Disarm(timer) => Draft::Local(Effect::Disarm(timer)),
                ParticipantEffect::Stop(forgotten) => Draft::Local(Effect::Stop(forgotten)),
                ParticipantEffect::Choose { choice, among } => Draft::Local(Effect::Choose { choice, among }),
                // Held back like a message: a reader of the log must not see the clock go back after a crash (SPEC C3).
                ParticipantEffect::Note { clock: stamp, epoch, note } => {
                    Draft::Outgoing { clock, effect: Effect::Note { clock: stamp, epoch, note } }
                }
            };
            self.drafts.push(draft);
        }
    }

    /// Sends envelopes that reveal this reading of the peer's clock. All reveal its last multicast as well.
    fn send(&mut self, clock: Option<Time>, sent: Vec<(PeerId, Envelope)>) {
        let clock = clock.max(mutant!(self.peer.gossip.mine(); MulticastAboveBound => None));
        for (to, mut envelope) in sent {
            envelope.multicast = self.peer.gossip.say(to);
            self.drafts.push(Draft::Outgoing { clock, effect: Effect::Send { to, envelope } });
        }
    }

    fn note(&mut self, note: Note) {
        let note = self.peer.participant.note(note);
        self.carry(alloc::vec![note]);
    }

    fn finish(mut self) -> Effects {
        for (to, answer) in self.peer.overlay.answers() {
            self.send(Some(answer.clock), alloc::vec![(to, answer)]);
        }
        let timeouts = &self.peer.config.timeouts;
        let starts_waiting = self.peer.overlay.starts_waiting().then_some((Timer::Gather, timeouts.gather()));
        let starts_interval = self.peer.gossip.starts().then_some((Timer::ClockInterval, timeouts.clock_interval));
        for (timer, after) in starts_waiting.into_iter().chain(starts_interval) {
            self.drafts.push(Draft::Local(Effect::Arm { timer, after }));
        }
        let Peer { config, participant, journal, .. } = &mut *self.peer;
        let write = journal.write_ahead(participant.clock().now(), participant.seen(), config.clock_range);
        self.drafts.extend(write.map(Draft::Local));
        journal.sift(participant.clock().bound(), config.limits.held_back, self.drafts)
    }
}

#[cfg(test)]
mod tests;
