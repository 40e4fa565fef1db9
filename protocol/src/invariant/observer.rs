//! The one observer: it is told what happens, and checks every property that applies.
//!
//! A world (a model, a random schedule, a simulator) tells it what its machines were given, what they made of that, and
//! when a batch has become durable. The observer remembers what a property needs and no state shows: who was heard
//! lately, what was counted already, what was decided. It reads from a machine what the machine holds and waits for,
//! never what the machine remembers to be true.
//!
//! What a participant says is compared with the log when it is *decided*, not when it leaves. Between the two a journal
//! may hold it back, and what was true may no longer be the latest; that is not a fault.
//!
//! ```text
//! on_durable        a batch is durable              S1-S8, S12, S13, B6, B7 of the log
//! on_call           the ledger has taken a call     S3, of an old image put back as well, R2, R3
//! on_answered       it has answered for a batch     R2, R3
//! on_read           its store has answered a read   R3
//! on_process_…      the same of one of several      S3, S15, R2, R3
//! on_start, on_step what a participant made of it   S1, S3, S4, S7, S11-S13, B4-B6, B9, D7, R1
//! on_leave          what leaves a peer              S7, S10, R7
//! on_arrival        what a peer is handed           S10
//! on_instant        everybody, under synchrony      Y1, Y2
//! ```
//!
//! A world that compares its states may compare observers too: two that are equal, over equal logs, find the same from
//! then on.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::hash::{Hash, Hasher};

use several::Several;

use super::{
    AuditTerms, Lease, LogAudit, Property, Violation, a_clock_never_goes_back, a_receive_is_later_than_its_send,
    books::the_batch_changed_what_was_audited,
    causes::Causes,
    every_multicast_has_been_heard,
    ledger::{Fence, the_ledger_answers_behind},
    network::Floods,
    nothing_is_sent_above_the_written_bound, nothing_is_sent_to_a_non_neighbour, the_accounts_add_up,
    the_books_equal_the_fold_of_the_log, the_books_say_what_was_audited,
    told::ClientSoFar,
    whatever_a_client_was_told_is_in_the_log, whatever_the_ledger_shows_is_durable,
};
use crate::{
    account::BuyerStatus,
    account::Outcome,
    archive::Deed,
    books::Books,
    clock::{Clock, Time},
    config::{Limits, Ordering, Terms},
    effect::{Departure, Durable, Effect, Note},
    election::{ElectionMessage, Eligibility},
    id::{DepositId, DepositNumber, Epoch, Incarnation, Life, PeerId, Position, RequestId, SaleNumber, Sequence},
    input::Timer,
    ledger::{Echo, HighWaterMark, Ledger, LedgerAnswer, LedgerCall, LedgerReply, LedgerRequest, Term, Verdict, Word},
    message::{Body, ClientMessage, Envelope, FloodId, Promise, Route, TraderMessage},
    office::Office,
    participant::{Participant, ParticipantEffect, ParticipantInput},
    peer::Peer,
    record::{Batch, Deposit, Entry, Record, Request, Sale},
};

/// What a property says about what has just happened.
pub type Checked = Result<(), Violation>;

/// What an observer knows in advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// The terms of trade of the run.
    pub terms: Terms,
    /// The limits of the run.
    pub limits: Limits,
    /// Links and ledger are up, nobody pauses, and a timer fires only when what it waits for can no longer arrive; Y1
    /// and Y2 are then checked as well.
    pub is_synchronous: bool,
    /// Whether C5 is checked, in the stable order: what each participant can know is followed, which takes a look at all
    /// open requests with every message.
    pub follows_causes: bool,
    /// The one property to check; `None`: all. Only the first violation of a step is reported, so this is how to look
    /// for one of several that are violated in the same step.
    pub only: Option<Property>,
}

/// Watches a bazaar, whichever world it is in.
#[derive(Clone, Debug)]
pub struct Observer {
    rules: Rules,
    log: Arc<Log>,
    decided: Arc<Decided>,
    witnesses: BTreeMap<PeerId, Arc<Witness>>,
    causes: Arc<Causes>,
    image: Image,
    lease: Lease,
    several: Several,
}

/// What the ledger is running on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Image {
    /// Everything that was ever durable.
    Latest,
    /// An old image, which was put back.
    Old,
    /// An old image, and the ledger has noticed.
    Noticed,
}

/// The durable log, audited, folded and indexed as it grows. It believes every batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    audit: LogAudit,
    books: Books,
    records: Vec<Record>,
    batches: Vec<Batch>,
    /// The positions at which batches end.
    ends: BTreeSet<Position>,
    /// The positions of the records that concern each buyer or seller.
    of_client: BTreeMap<PeerId, Vec<usize>>,
    /// What they add up to.
    clients: BTreeMap<PeerId, ClientSoFar>,
    /// The fence at the head.
    fence: Fence,
}

/// Up to so many accounts, all of them are compared after every batch; beyond that, those that the batch concerns, and
/// all of them after every so many batches. An account that the fold has spoilt stays spoilt, so it is found.
const COMPARED: usize = 64;

/// Everything that clients have ever decided to request and to deposit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Decided {
    requests: BTreeMap<RequestId, Request>,
    deposits: BTreeMap<DepositId, Deposit>,
    /// The peers that are not watched, so that nobody knows what they decided.
    outsiders: BTreeSet<PeerId>,
    /// The epochs that a member with a bug has made up.
    made_up: BTreeSet<Epoch>,
}

impl Decided {
    fn has_request(&self, request: &Request) -> bool {
        self.outsiders.contains(&request.id.buyer) || self.requests.get(&request.id) == Some(request)
    }

    fn has_deposit(&self, deposit: &Deposit) -> bool {
        self.outsiders.contains(&deposit.id.seller) || self.deposits.get(&deposit.id) == Some(deposit)
    }
}

/// What is remembered about one life of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Witness {
    /// The latest epoch that it was told of or that it held.
    known: Epoch,
    /// The lowest epoch whose leader may still be in office, by what other participants have told it and by what it
    /// held.
    floor: Epoch,
    /// The leader that it has itself heard since that was last silent for too long, and the leader's epoch.
    hears: Option<(Epoch, PeerId)>,
    /// In office: the last append that it asked for and that is not confirmed yet. By its epoch and where it begins and
    /// ends: a digest contains clock readings, which a state must not tell apart, so a late reply to an earlier batch at
    /// the same place counts too.
    asked: Option<(Epoch, Position, Position)>,
    /// In office: an append of its own has been confirmed since its last heartbeat.
    confirmed: bool,
    /// The ledger has answered it, and has since been neither lost nor waited for in vain.
    hears_ledger: bool,
    /// The last request whose outcome it counted.
    concluded: Option<Sequence>,
    /// The last sale it counted.
    earned: Option<SaleNumber>,
    /// It was told of an epoch that a member with a bug has made up, and may believe it.
    is_misled: bool,
    /// It has ever been, or was told of an epoch that is gone with the latest image of the ledger.
    was_misled: bool,
    /// The furthest durable books the ledger has shown it, and the latest term in them.
    shown: HighWaterMark,
    term: Option<Term>,
    /// Under synchrony, while it runs for office: the peers that have been present and eligible ever since it called.
    rivals: Option<BTreeSet<PeerId>>,
    /// The floods that it was handed.
    floods: Arc<Floods>,
    /// The last clock that it multicast itself.
    multicast: Option<Time>,
    /// The highest clock multicast that it was handed.
    handed: Time,
    /// What this life has promised to ask for nothing at or below (SPEC C5).
    promised: Option<(Incarnation, Time)>,
}

impl Witness {
    /// The highest clock multicast that it was handed or made.
    fn highest(&self) -> Time {
        self.handed.max(self.multicast.unwrap_or_default())
    }
}

/// One step of a participant.
#[derive(Clone, Copy, Debug)]
pub struct Stepped<'a> {
    /// The participant before the step.
    pub before: &'a Participant,
    /// The input of the step.
    pub input: &'a ParticipantInput,
    /// What it decided.
    pub effects: &'a [ParticipantEffect],
    /// The participant after the step.
    pub after: &'a Participant,
}

/// What of a participant before a step a property compares with what it is afterwards. A world in which a participant is
/// expensive to keep keeps this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    me: Life,
    clock: Time,
    epoch: Option<Epoch>,
    /// Whether it stands for office.
    stands: bool,
    /// Whether it has an office and no books in it.
    is_out: bool,
    /// Whether it believes nobody but the ledger.
    doubts: bool,
    /// Where the books end that it serves from, and in which epoch.
    serves: Option<(Epoch, Position)>,
    /// The leader it follows, according to its election.
    leader: Option<(Epoch, PeerId)>,
    asking: Option<Request>,
    depositing: Option<Deposit>,
}

impl Before {
    /// What is to be compared of this participant.
    #[must_use]
    pub fn of(participant: &Participant) -> Before {
        let office = participant.office();
        Before {
            me: participant.me(),
            doubts: office.is_some_and(Office::doubts),
            clock: participant.clock().now(),
            epoch: participant.epoch(),
            stands: office.is_some_and(|office| office.is_standing()),
            is_out: office.is_some_and(|office| office.books().is_none()),
            serves: serves(participant),
            leader: participant.election().and_then(|election| election.leader()),
            asking: participant.buyer().and_then(|buyer| buyer.asking().cloned()),
            depositing: participant.seller().and_then(|seller| seller.depositing().cloned()),
        }
    }
}

fn serves(participant: &Participant) -> Option<(Epoch, Position)> {
    let office = participant.office()?;
    Some((office.epoch()?, office.trader()?.books().position()))
}

/// A step, with no more of the participant before it than is compared.
#[derive(Clone, Copy)]
struct Step<'a> {
    before: &'a Before,
    input: &'a ParticipantInput,
    effects: &'a [ParticipantEffect],
    after: &'a Participant,
}

impl PartialEq for Observer {
    fn eq(&self, other: &Observer) -> bool {
        (self.image, self.lease, &self.several) == (other.image, other.lease, &other.several)
            && self.decided == other.decided
            && self.witnesses == other.witnesses
            && self.causes == other.causes
            && self.log == other.log
    }
}

impl Eq for Observer {}

/// The log is left out: a world that compares states has the batches it follows from, until an old image is put back.
/// So is what was decided and is in the log, except for its id.
impl Hash for Observer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.image, self.lease, &self.several, &self.witnesses, &self.causes).hash(state);
        if self.image != Image::Latest {
            self.log.records.hash(state);
        }
        let history = self.log.audit.history();
        self.decided.outsiders.hash(state);
        for (id, request) in &self.decided.requests {
            id.hash(state);
            if !history.requests.contains_key(id) {
                request.hash(state);
            }
        }
        for (id, deposit) in &self.decided.deposits {
            id.hash(state);
            if !history.deposits.contains_key(id) {
                deposit.hash(state);
            }
        }
    }
}

fn violated(property: Property, what: String) -> Checked {
    Err(Violation::off_the_log(property, what))
}

impl Log {
    fn new(terms: Terms, limits: &Limits) -> Log {
        let terms = AuditTerms::of(terms);
        Log {
            audit: LogAudit::new(terms),
            books: Books::keeping(limits.sales_kept),
            records: Vec::new(),
            batches: Vec::new(),
            ends: BTreeSet::from([Position(0)]),
            of_client: BTreeMap::new(),
            clients: BTreeMap::new(),
            fence: Fence::default(),
        }
    }

    /// The durable records.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// What the durable records add up to.
    #[must_use]
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// The durable batches.
    #[must_use]
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// What was audited, and what it adds up to.
    #[must_use]
    pub fn audit(&self) -> &LogAudit {
        &self.audit
    }

    /// The holder of an epoch.
    #[must_use]
    pub fn holder(&self, epoch: Epoch) -> Option<Life> {
        self.audit.history().holders.get(&epoch).copied()
    }

    /// The records that concern a client, in order.
    fn of_client(&self, client: PeerId) -> impl Iterator<Item = &Record> + Clone {
        self.of_client.get(&client).into_iter().flatten().map(|nth| &self.records[*nth])
    }

    /// The record that is a request's outcome.
    fn outcome(&self, id: RequestId) -> Option<&Entry> {
        let position = self.audit.history().outcome_at(id)?;
        self.records.get(usize::try_from(position.0).ok()?).map(|record| &record.entry)
    }

    /// The latest epoch that this peer has resigned, in whichever life.
    fn resigned_by(&self, peer: PeerId) -> Option<Epoch> {
        self.audit.history().resigned.get(&peer).copied()
    }

    fn take(&mut self, batch: &Batch) -> Vec<Violation> {
        let observed = self.audit.observe_batch(batch);
        let mut found: Vec<Violation> = observed.err().into_iter().collect();
        for record in &batch.records {
            let (buyer, seller) = match &record.entry {
                Entry::Deposited(deposit) => (None, Some(deposit.id.seller)),
                Entry::Admitted { request, .. } => (Some(request.id.buyer), None),
                Entry::Sold(sale) => (Some(sale.request.buyer), Some(sale.deposit.seller)),
                Entry::Refused { request, leftover } => (Some(request.buyer), leftover.map(|deposit| deposit.seller)),
                Entry::Seated { buyer, .. } => (Some(buyer.peer), None),
                Entry::Unseated { buyer } => (Some(*buyer), None),
                Entry::Claimed { .. } | Entry::Resigned => (None, None),
            };
            for client in buyer.into_iter().chain(seller.filter(|seller| Some(*seller) != buyer)) {
                self.of_client.entry(client).or_default().push(self.records.len());
                self.clients.entry(client).or_default().absorb(client, record);
            }
            // An honest trader's records can be folded; books that refuse one could no longer serve anybody.
            let folded = self.books.apply(record);
            self.records.push(record.clone());
            if let Err(error) = folded {
                let what = format!("the books refuse what a trader has written: {error}");
                found.push(Violation::at(Property::S12, error.position, what));
                found.extend(self.audit.report().violations().cloned());
                return found;
            }
        }
        self.batches.push(batch.clone());
        self.fence.absorb(batch);
        self.ends.insert(self.books.position());
        if !found.is_empty() || self.audit.verdict().is_err() {
            found.extend(self.audit.report().violations().cloned());
        }
        let accounts = self.books.buyers().len() + self.books.sellers().len();
        if accounts <= COMPARED || self.batches.len().is_multiple_of(COMPARED) {
            found.extend(the_books_say_what_was_audited(&self.books, &self.audit).err());
            found.extend(the_accounts_add_up(&self.books).err());
        } else {
            found.extend(the_batch_changed_what_was_audited(&self.books, &self.audit, batch).err());
        }
        found
    }
}

impl Observer {
    /// An observer of a run that is about to begin.
    #[must_use]
    pub fn new(rules: Rules) -> Observer {
        Observer {
            log: Arc::new(Log::new(rules.terms, &rules.limits)),
            rules,
            decided: Arc::default(),
            witnesses: BTreeMap::new(),
            causes: Arc::default(),
            image: Image::Latest,
            lease: Lease::default(),
            several: Several::default(),
        }
    }

    fn is_asked(&self, violation: &Violation) -> bool {
        self.rules.only.is_none_or(|property| property == violation.property)
    }

    /// What was found, if that property is to be checked.
    fn asked(&self, found: Checked) -> Checked {
        found.or_else(|violation| if self.is_asked(&violation) { Err(violation) } else { Ok(()) })
    }

    /// The durable log.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Whether a life was handed this flood before.
    #[must_use]
    pub fn was_handed(&self, peer: PeerId, flood: FloodId) -> bool {
        self.witnesses.get(&peer).is_some_and(|witness| witness.floods.contains(flood))
    }

    fn witness(&mut self, peer: PeerId) -> &mut Witness {
        Arc::make_mut(self.witnesses.entry(peer).or_default())
    }

    fn seen_of(&self, peer: PeerId) -> Option<&Witness> {
        self.witnesses.get(&peer).map(|witness| &**witness)
    }

    // What happened before what.

    fn follows_causes(&self) -> bool {
        self.rules.follows_causes && self.rules.terms.ordering == Ordering::Stable
    }

    /// A participant learns what a message or the ledger tells it.
    fn learn(&mut self, Step { before, input, after, .. }: Step<'_>) {
        if !self.follows_causes() {
            return;
        }
        let (causes, me) = (&self.causes, before.me);
        let (told, reading): (BTreeSet<RequestId>, Time) = match input {
            // What was gathered is of those who promise, whoever handed it over.
            ParticipantInput::Heard { clock, body: Body::Promises { promises, .. }, .. } => {
                let told = promises.iter().flat_map(|(buyer, promise)| causes.told(*buyer, promise.above));
                (told.collect(), *clock)
            }
            // If a multicast has raised the reading, it is later than all that its sender says here.
            ParticipantInput::Heard { from, clock, .. } => (causes.told(*from, *clock).collect(), *clock),
            ParticipantInput::Ledger(LedgerReply { word: Word { to, status, .. }, .. }) if *to == me => {
                (causes.shown(status.head).collect(), status.latest)
            }
            ParticipantInput::Ledger(_)
            | ParticipantInput::Fired(_)
            | ParticipantInput::LedgerUp
            | ParticipantInput::LedgerDown
            | ParticipantInput::Chose { .. }
            | ParticipantInput::Resign
            | ParticipantInput::Stand
            | ParticipantInput::Yield => return,
        };
        // The first reading since: right after the merge, before anything is said.
        let merged = after.clock().now().min(Time(reading.0.saturating_add(1)));
        self.learns(me.peer, told, merged.max(Time(before.clock.0 + 1)));
    }

    fn learns(&mut self, peer: PeerId, told: BTreeSet<RequestId>, since: Time) {
        if self.causes.teaches(peer, told.iter().copied()) {
            Arc::make_mut(&mut self.causes).learn(peer, told, since);
        }
    }

    // The log.

    /// Like [`Observer::new`], for a log that has begun: these batches were decided by clients that are not watched.
    ///
    /// # Errors
    /// The first property that does not hold for that log.
    pub fn over(rules: Rules, batches: &[Batch]) -> Result<Observer, Violation> {
        let mut observer = Observer::new(rules);
        for batch in batches {
            for record in &batch.records {
                match &record.entry {
                    Entry::Deposited(deposit) => observer.on_outsider(deposit.id.seller),
                    Entry::Admitted { request, .. } => observer.on_outsider(request.id.buyer),
                    Entry::Seated { buyer, .. } => observer.on_outsider(buyer.peer),
                    Entry::Claimed { .. }
                    | Entry::Unseated { .. }
                    | Entry::Sold(_)
                    | Entry::Refused { .. }
                    | Entry::Resigned => {}
                }
            }
            observer.on_durable(batch)?;
        }
        Ok(observer)
    }

    /// A client that is not watched takes part: nobody is asked what it has decided.
    pub fn on_outsider(&mut self, client: PeerId) {
        if !self.decided.outsiders.contains(&client) {
            Arc::make_mut(&mut self.decided).outsiders.insert(client);
        }
    }

    /// A member with a bug names an epoch that nobody was granted (SPEC I8). Whoever is told may believe it for a while.
    pub fn on_made_up(&mut self, epoch: Epoch) {
        Arc::make_mut(&mut self.decided).made_up.insert(epoch);
    }

    /// A batch has become durable.
    ///
    /// # Errors
    /// The first property that no longer holds for the log.
    pub fn on_durable(&mut self, batch: &Batch) -> Checked {
        if self.image != Image::Latest {
            return violated(Property::S3, "what was durable has been taken away, but the log continues".to_string());
        }
        let outdated = self.outdated_by_seats(batch);
        let mut found = Arc::make_mut(&mut self.log).take(batch);
        found.extend(outdated);
        if self.follows_causes() {
            found.extend(Arc::make_mut(&mut self.causes).written(batch).err());
        }
        for record in &batch.records {
            let (property, what) = match &record.entry {
                Entry::Deposited(deposit) if !self.decided.has_deposit(deposit) => {
                    (Property::S5, format!("deposit {:?} is not what its seller decided", deposit.id))
                }
                Entry::Admitted { request, .. } if !self.decided.has_request(request) => {
                    (Property::S13, format!("request {:?} is not what its buyer decided", request.id))
                }
                Entry::Claimed { .. }
                | Entry::Deposited(_)
                | Entry::Seated { .. }
                | Entry::Unseated { .. }
                | Entry::Admitted { .. }
                | Entry::Sold(_)
                | Entry::Refused { .. }
                | Entry::Resigned => continue,
            };
            found.push(Violation::off_the_log(property, what));
        }
        found.into_iter().find(|violation| self.is_asked(violation)).map_or(Ok(()), Err)
    }

    /// S14: a life that is given its seat back asks for nothing that could be admitted and that its seat makes stale.
    fn outdated_by_seats(&self, batch: &Batch) -> Option<Violation> {
        let books = &self.log.books;
        batch.records.iter().find_map(|record| {
            let Entry::Seated { buyer, above } = record.entry else { return None };
            let had_one = books.buyers().get(&buyer.peer)?.seat?.incarnation == buyer.incarnation;
            let of_buyer = |sequence| RequestId { buyer: buyer.peer, sequence };
            let asked = self.decided.requests.range(of_buyer(Sequence(0))..=of_buyer(Sequence(u64::MAX)));
            let (id, request) = asked.last().filter(|(id, _)| id.sequence.split().0 == buyer.incarnation)?;
            let admits =
                |record: &Record| matches!(&record.entry, Entry::Admitted { request, .. } if request.id == *id);
            let is_outdated = request.stamp.time <= above && books.is_admissible(request);
            if !had_one || !is_outdated || batch.records.iter().any(admits) {
                return None;
            }
            let name = super::request_name(*id);
            let what = format!(
                "{name}, which was asked for before, can never be admitted once its buyer is seated above {above}"
            );
            Some(Violation::off_the_log(Property::S14, what))
        })
    }

    // The ledger.

    /// An old image of the ledger was put back, with less than was durable. The log remains what was durable: nothing
    /// that the ledger appends from now on is added to it.
    pub fn on_put_back(&mut self) {
        self.image = Image::Old;
    }

    /// Whether the ledger runs on an old image of itself.
    #[must_use]
    pub fn is_put_back(&self) -> bool {
        self.image != Image::Latest
    }

    /// The ledger has taken a call, and this is what it did. What the call shows is all that its caller had been shown;
    /// that was checked when the caller decided to call. If the caller has seen no more than the ledger holds, neither
    /// of them can know that the image is old: such a call may even be granted, and what follows from it is a different
    /// history. `was_writing`: a batch was being written when the call arrived, so that an append must wait.
    ///
    /// # Errors
    /// S3: when it continues although its caller has seen more, or stops although nobody has, or does anything once it
    /// has stopped. R2, R3: when it gives any answer but the one that is due, or shows what is not durable.
    pub fn on_call(&mut self, call: &LedgerCall, was_writing: bool, ledger: &Ledger, deeds: &[Deed]) -> Checked {
        let (status, peer) = (ledger.status(), call.caller.peer);
        let holds = (status.epoch(), status.head);
        let has_seen_more = call.seen.epoch > holds.0 || call.seen.head > holds.1;
        let (waiting, room) = (ledger.waiting(), self.rules.limits.waiting_calls);
        if waiting > room as usize {
            return violated(Property::R2, format!("{waiting} calls wait in the ledger, which has room for {room}"));
        }
        let fails = deeds.iter().any(|deed| matches!(deed, Deed::Fail(_)));
        let is_refused = matches!(deeds, [Deed::Refuse { call: refused, .. }] if refused == call);
        let is_absurd = matches!(&call.request, LedgerRequest::Append(batch) if !batch.is_of(call.caller));
        let repeats_another = |deed: &Deed| match deed {
            Deed::Reply { reply: LedgerReply { word, .. }, .. } => {
                word.to == call.caller && !was_writing && word.heard != call.heard
            }
            Deed::ArmLease(_)
            | Deed::Drop { .. }
            | Deed::Refuse { .. }
            | Deed::Fail(_)
            | Deed::Give(_)
            | Deed::Stop(_) => false,
        };
        if deeds.iter().any(repeats_another) {
            return violated(
                Property::S3,
                format!("peer {peer} is told that it had heard of another epoch than it had"),
            );
        }
        let what = match self.image {
            Image::Noticed if !deeds.is_empty() => {
                format!("the ledger has stopped, but still does something for peer {peer}")
            }
            Image::Noticed => return Ok(()),
            Image::Latest | Image::Old if fails => {
                if self.image == Image::Old && has_seen_more && self.was_shown(call) {
                    self.image = Image::Noticed;
                    return Ok(());
                }
                format!(
                    "peer {peer} has seen epoch {}, head {}, and the ledger, which holds epoch {}, head {}, stops",
                    call.seen.epoch, call.seen.head, holds.0, holds.1
                )
            }
            Image::Latest | Image::Old if is_absurd || (has_seen_more && !self.was_shown(call)) => {
                if is_refused {
                    return Ok(());
                }
                format!("the ledger does {deeds:?} for peer {peer}, which has a bug: {call:?}")
            }
            Image::Latest | Image::Old if is_refused => {
                format!("the ledger refuses {call:?}, and nothing is wrong with it")
            }
            Image::Latest | Image::Old if has_seen_more => format!(
                "the ledger holds epoch {}, head {}, and continues although peer {peer} has seen epoch {}, head {}",
                holds.0, holds.1, call.seen.epoch, call.seen.head
            ),
            Image::Latest | Image::Old => {
                self.check_replies(deeds)?;
                return self.is_to_be_written(call, was_writing, deeds);
            }
        };
        violated(Property::S3, what)
    }

    /// Whether a ledger can have shown the caller what it says it has seen.
    fn was_shown(&self, LedgerCall { caller, seen, .. }: &LedgerCall) -> bool {
        let Log { fence, .. } = &*self.log;
        let was_durable = seen.epoch <= fence.epoch() && seen.head.0 <= fence.head();
        was_durable || self.seen_of(caller.peer).is_some_and(|witness| !seen.is_beyond(witness.shown))
    }

    /// R2: what was not answered at once must be written first.
    fn is_to_be_written(&self, call: &LedgerCall, was_writing: bool, deeds: &[Deed]) -> Checked {
        match &call.request {
            LedgerRequest::Append(batch) if !was_writing && deeds.is_empty() && self.image == Image::Latest => {
                self.answers(call.caller, batch, None)
            }
            LedgerRequest::Append(_) | LedgerRequest::Status | LedgerRequest::Read { .. } => Ok(()),
        }
    }

    /// The batch that has become durable last is answered, and then whatever waited for it.
    ///
    /// # Errors
    /// As [`Observer::on_call`].
    pub fn on_answered(&mut self, deeds: &[Deed]) -> Checked {
        if let Some(batch) = self.log.batches.last() {
            self.lease = self.lease.written(batch);
        }
        self.check_replies(deeds)
    }

    /// The ledger's store has answered a read.
    ///
    /// # Errors
    /// R3: when it shows what is not durable.
    pub fn on_read(&self, reply: &LedgerReply) -> Checked {
        // What an old image shows was durable as well, until it continues as a different history.
        if self.image != Image::Latest {
            return Ok(());
        }
        if self.log.fence.shows(&self.log.records, reply) {
            return Ok(());
        }
        whatever_the_ledger_shows_is_durable(&self.log.batches, reply)
    }

    fn answers(&self, caller: Life, batch: &Batch, answered: Option<&Verdict>) -> Checked {
        let Log { fence, batches, .. } = &*self.log;
        the_ledger_answers_behind(fence, batches.last(), self.lease, caller, batch, answered)
    }

    fn check_replies(&mut self, deeds: &[Deed]) -> Checked {
        for deed in deeds {
            let Deed::Reply { reply, batch, .. } = deed else { continue };
            self.on_read(reply)?;
            if let (LedgerAnswer::Append { echo, verdict }, Some(batch), Image::Latest) =
                (&reply.answer, batch, self.image)
            {
                if *echo != Echo::of(reply.word.to, batch) {
                    return violated(
                        Property::R2,
                        format!("peer {}'s append is answered as another one", reply.word.to.peer),
                    );
                }
                self.answers(reply.word.to, batch, Some(verdict))?;
                self.lease = self.lease.answered_behind(&self.log.fence, verdict);
            }
        }
        Ok(())
    }

    /// The ledger has started, with everything that is durable.
    pub fn on_ledger_start(&mut self) {
        self.lease = Lease::afresh_behind(&self.log.fence);
    }

    /// The ledger's lease has run out.
    pub fn on_lease_end(&mut self) {
        self.lease = self.lease.run_out();
    }

    // Participants.

    /// A participant has started; `durable` is what its former life left.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub fn on_start(&mut self, durable: Durable, started: &Participant, effects: &[ParticipantEffect]) -> Checked {
        // Before the first life of a seller there were no sales; a later one adopts what it is told of first.
        let earned = (durable.incarnation == Incarnation(0)).then_some(SaleNumber(0));
        let witness = Witness { shown: durable.seen, known: durable.seen.epoch, earned, ..Witness::default() };
        self.witnesses.insert(started.me().peer, Arc::new(witness));
        self.forget_unwritten(started.me());
        if self.follows_causes() {
            Arc::make_mut(&mut self.causes).restarted(started.me().peer, durable.clock_bound);
        }
        a_clock_never_goes_back(durable.clock_bound, started.clock().now())?;
        if started.me().incarnation <= durable.incarnation {
            let what = format!("peer {} starts in a life that was written before", started.me().peer);
            return violated(Property::S4, what);
        }
        self.on_effects(started, None, effects)
    }

    /// A participant has crashed. What it decided remains; what it was told is lost with it.
    pub fn on_crash(&mut self, peer: PeerId) {
        self.witnesses.remove(&peer);
    }

    /// A life that was never written has said nothing (DESIGN R7): the next one, which has the same incarnation, may
    /// decide differently what to say.
    fn forget_unwritten(&mut self, me: Life) {
        let first = u64::from(me.incarnation.0) << 32;
        let requests = [first, u64::MAX].map(|n| RequestId { buyer: me.peer, sequence: Sequence(n) });
        let deposits = [first, u64::MAX].map(|n| DepositId { seller: me.peer, number: DepositNumber(n) });
        let Decided { requests: asked, deposits: offered, .. } = &*self.decided;
        let asked: Vec<RequestId> = asked.range(requests[0]..=requests[1]).map(|(id, _)| *id).collect();
        let offered: Vec<DepositId> = offered.range(deposits[0]..=deposits[1]).map(|(id, _)| *id).collect();
        if !asked.is_empty() || !offered.is_empty() {
            let decided = Arc::make_mut(&mut self.decided);
            decided.requests.retain(|id, _| !asked.contains(id));
            decided.deposits.retain(|id, _| !offered.contains(id));
        }
        if !asked.is_empty() && self.follows_causes() {
            Arc::make_mut(&mut self.causes).forget(|id| asked.contains(id));
        }
    }

    /// A participant has taken a step.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub fn on_step(&mut self, step: Stepped<'_>) -> Checked {
        let Stepped { before, input, effects, after } = step;
        self.on_step_since(&Before::of(before), input, effects, after)
    }

    /// Like [`Observer::on_step`], where no more is kept of the participant before the step.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub fn on_step_since(
        &mut self,
        before: &Before,
        input: &ParticipantInput,
        effects: &[ParticipantEffect],
        after: &Participant,
    ) -> Checked {
        let step = Step { before, input, effects, after };
        let peer = after.me().peer;
        let hears = self.seen_of(peer).and_then(|witness| witness.hears);
        self.hear(step);
        self.learn(step);
        let found = a_clock_never_goes_back(before.clock, after.clock().now());
        self.asked(found)?;
        if let ParticipantInput::Heard { clock, .. } = input {
            let found = a_receive_is_later_than_its_send(*clock, after.clock().now());
            self.asked(found)?;
        }
        let found = self.check_office(before, after);
        self.asked(found)?;
        let found = self.check_books(before, after);
        self.asked(found)?;
        let found = nothing_is_renamed(before, after);
        self.asked(found)?;
        let found = self.on_effects(after, Some(before), effects);
        self.asked(found)?;
        let found = self.check_sales(peer, effects);
        self.asked(found)?;
        let found = everybody_is_told_of_every_sale(step);
        self.asked(found)?;
        let found = self.check_leader(before, after);
        self.asked(found)?;
        let found = self.check_eligibility(step);
        self.asked(found)?;
        self.lose_ledger(step);
        if let ParticipantInput::Heard { from, body, .. } = input {
            let found = self.check_referral(hears, *from, body, step);
            self.asked(found)?;
        }
        self.asked(told_what_waits(step))
    }

    /// Remembers what a step makes known to its participant, judging by the input alone.
    fn hear(&mut self, Step { before, input, after, .. }: Step<'_>) {
        let Before { me, epoch: mine, stands, doubts, .. } = *before;
        let known = self.witnesses.entry(me.peer).or_default();
        // Most steps teach nothing; then what is shared with other observers stays shared.
        let mut witness = Witness::clone(known);
        match input {
            ParticipantInput::Heard { body, .. }
                if body.names_epoch().is_some_and(|epoch| self.decided.made_up.contains(&epoch)) =>
            {
                (witness.is_misled, witness.was_misled) = (true, true);
            }
            // The ledger's word is against it, or is waited for.
            ParticipantInput::Heard { from, body, .. }
                if body.says_of_term(*from).is_some_and(|said| {
                    let is_unheard_of = doubts && witness.was_misled && said.epoch > witness.shown.epoch;
                    (is_unheard_of || said.is_contradicted(witness.term)) && after.office().is_some()
                }) => {}
            ParticipantInput::Heard { from, body, .. } => match body {
                Body::Heartbeat { epoch, .. } | Body::Election(ElectionMessage::Coordinator { epoch }) => {
                    // A peer that is standing does not follow the leader that it is about to replace.
                    let is_replaced = stands && *epoch == witness.floor;
                    let leads = mine.is_some_and(|mine| mine >= *epoch);
                    if *epoch >= witness.floor && !is_replaced && !leads {
                        witness.hears = Some((*epoch, *from));
                    }
                    witness.floor = witness.floor.max(*epoch);
                    witness.known = witness.known.max(*epoch);
                }
                Body::Election(ElectionMessage::Leader { epoch, leader }) if *leader != me.peer => {
                    witness.hears = witness.hears.filter(|(heard, _)| heard >= epoch);
                    witness.floor = witness.floor.max(*epoch);
                    witness.known = witness.known.max(*epoch);
                }
                Body::Election(ElectionMessage::Resigned { epoch }) => {
                    witness.hears = witness.hears.filter(|(heard, _)| heard > epoch);
                    witness.floor = witness.floor.max(epoch.next());
                    witness.known = witness.known.max(*epoch);
                }
                // A leader that calls has restarted and no longer leads.
                Body::Election(ElectionMessage::Call | ElectionMessage::Anyone) => {
                    witness.hears = witness.hears.filter(|(_, leader)| leader != from);
                }
                Body::Election(ElectionMessage::Leader { .. } | ElectionMessage::Answer)
                | Body::Wave
                | Body::Promises { .. }
                | Body::Clock
                | Body::Client(_)
                | Body::Trader(_) => {}
            },
            // The leader was silent for too long.
            ParticipantInput::Fired(Timer::Election) => witness.hears = None,
            ParticipantInput::Ledger(reply) if reply.word.to == me => {
                if let LedgerAnswer::Append { echo, verdict: Verdict::Appended { head, .. } } = &reply.answer
                    && echo.incarnation == me.incarnation
                    && witness.asked == Some((echo.epoch, echo.position, *head))
                {
                    witness.asked = None;
                    witness.confirmed = true;
                }
                witness.hears_ledger = true;
                let Word { heard, status, seen, .. } = reply.word;
                let may_be_refuted = witness.was_misled || self.image != Image::Latest;
                if may_be_refuted && heard > status.epoch() && !witness.shown.is_beyond(seen) {
                    // What it had heard of was made up, or taken away, and nobody but the ledger is to be believed now.
                    witness.floor = witness.floor.min(status.epoch());
                    witness.known = witness.known.min(status.epoch());
                    witness.hears = witness.hears.filter(|(epoch, _)| *epoch <= status.epoch());
                    witness.was_misled = true;
                }
                if !witness.shown.is_beyond(seen) {
                    (witness.shown, witness.term) = (seen, status.term);
                }
                witness.known = witness.known.max(reply.word.status.epoch());
            }
            ParticipantInput::Ledger(_)
            | ParticipantInput::Fired(_)
            | ParticipantInput::LedgerUp
            | ParticipantInput::LedgerDown
            | ParticipantInput::Chose { .. }
            | ParticipantInput::Resign
            | ParticipantInput::Stand
            | ParticipantInput::Yield => {}
        }
        // It hears no trader, until it follows or is a real one again.
        let leader = after.election().and_then(|election| election.leader());
        witness.is_misled &= leader.is_none_or(|(epoch, _)| self.decided.made_up.contains(&epoch));
        if witness.is_misled {
            witness.hears = None;
        }
        match (mine, after.epoch()) {
            (mine, Some(epoch)) if mine != Some(epoch) => {
                witness.confirmed = true;
                witness.floor = witness.floor.max(epoch);
                witness.hears = None;
            }
            (Some(_), None) => (witness.asked, witness.confirmed) = (None, false),
            (Some(_) | None, _) => {}
        }
        witness.known = witness.known.max(witness.shown.epoch).max(after.epoch().unwrap_or_default());
        if witness != **known {
            *known = Arc::new(witness);
        }
    }

    /// SPEC B9: a peer that is out of office when the ledger goes does not hear it; nor does a peer that has given up
    /// waiting for it.
    fn lose_ledger(&mut self, Step { before, input, effects, after }: Step<'_>) {
        let silent = |effect: &ParticipantEffect| match effect {
            ParticipantEffect::Note { note, .. } => {
                matches!(note, Note::SteppedDown { reason: Departure::LedgerSilent })
            }
            ParticipantEffect::Tell { .. }
            | ParticipantEffect::TellAll { .. }
            | ParticipantEffect::Ledger(_)
            | ParticipantEffect::Arm { .. }
            | ParticipantEffect::Disarm(_)
            | ParticipantEffect::Choose { .. }
            | ParticipantEffect::Stop(_) => false,
        };
        let is_lost = (*input == ParticipantInput::LedgerDown && before.is_out) || effects.iter().any(silent);
        let peer = after.me().peer;
        if is_lost && self.seen_of(peer).is_some_and(|witness| witness.hears_ledger) {
            self.witness(peer).hears_ledger = false;
        }
    }

    /// S1, B4, Y1, Y2: a peer that takes office holds it according to the log.
    fn check_office(&self, before: &Before, after: &Participant) -> Checked {
        let Some(epoch) = after.epoch() else { return Ok(()) };
        let me = after.me();
        if before.epoch == Some(epoch) {
            // A peer that claims and hears of a later epoch may still be granted an earlier one, and is fenced when it
            // writes.
            let floor = self.seen_of(me.peer).map_or(Epoch(0), |witness| witness.floor);
            // Where the driver decides who leads, it is the driver that has it yield.
            if epoch < floor && after.election().is_some() {
                let what = format!("peer {} continues in epoch {epoch} although it was told of epoch {floor}", me.peer);
                return violated(Property::B4, what);
            }
            return Ok(());
        }
        self.speaks_for(me, epoch)?;
        if !self.rules.is_synchronous {
            return Ok(());
        }
        let rivals = self.seen_of(me.peer).and_then(|witness| witness.rivals.as_ref());
        let mut rivals = rivals.into_iter().flatten();
        if let Some(higher) = rivals.clone().find(|rival| **rival > me.peer) {
            let what = format!("peer {} takes office while peer {higher} was there and eligible throughout", me.peer);
            return violated(Property::Y1, what);
        }
        let has_resigned = self.log.resigned_by(me.peer).is_some_and(|resigned| resigned.next() == epoch);
        if let (true, Some(other)) = (has_resigned, rivals.find(|other| **other != me.peer)) {
            let what = format!("peer {} resigned but holds the next epoch while peer {other} could", me.peer);
            return violated(Property::Y2, what);
        }
        Ok(())
    }

    fn speaks_for(&self, speaker: Life, epoch: Epoch) -> Checked {
        let name = |life: Life| format!("peer {} (incarnation {})", life.peer, life.incarnation);
        match self.log.holder(epoch) {
            Some(holder) if holder == speaker => Ok(()),
            Some(holder) => violated(
                Property::S1,
                format!("{} speaks for epoch {epoch}, which {} holds", name(speaker), name(holder)),
            ),
            None => {
                violated(Property::S1, format!("{} speaks for epoch {epoch}, which nobody has claimed", name(speaker)))
            }
        }
    }

    /// S12: a trader serves from the fold of the log, up to the end of a batch. Checked whenever the books change.
    fn check_books(&self, before: &Before, after: &Participant) -> Checked {
        let trader = after.office().and_then(|office| office.trader());
        let (Some(trader), true) = (trader, before.serves != serves(after)) else { return Ok(()) };
        let books = trader.books();
        if books.position() == self.log.books.position() && *books == self.log.books {
            return Ok(());
        }
        the_books_equal_the_fold_of_the_log(books, &self.log.records)?;
        if !self.log.ends.contains(&books.position()) {
            let what = format!("peer {} serves from books that end inside a batch", after.me().peer);
            return Err(Violation::at(Property::S12, books.position(), what));
        }
        Ok(())
    }

    /// Checks what a participant decided to say, to ask and to note.
    fn on_effects(&mut self, after: &Participant, before: Option<&Before>, effects: &[ParticipantEffect]) -> Checked {
        let me = after.me();
        // What a trader says as it resigns still belongs to the term it resigns.
        let serves = after.epoch().or(before.and_then(|before| before.epoch));
        for effect in effects {
            let found = match effect {
                ParticipantEffect::TellAll { clock, body: Body::Clock } => {
                    self.witness(me.peer).multicast = Some(*clock);
                    Ok(())
                }
                ParticipantEffect::Tell { to, body, .. } => self.check_word(me, Some(*to), body, serves),
                ParticipantEffect::TellAll { body, .. } => self.check_word(me, None, body, serves),
                ParticipantEffect::Ledger(call) => self.check_call(after, call),
                ParticipantEffect::Note { note, .. } => self.check_note(me.peer, note),
                ParticipantEffect::Arm { .. } | ParticipantEffect::Disarm(_) | ParticipantEffect::Choose { .. } => {
                    Ok(())
                }
                ParticipantEffect::Stop(forgotten) => violated(
                    Property::L1,
                    format!("peer {} has the latest store and stops because of {forgotten}", me.peer),
                ),
            };
            self.asked(found)?;
        }
        Ok(())
    }

    fn check_word(&mut self, me: Life, to: Option<PeerId>, body: &Body, serves: Option<Epoch>) -> Checked {
        match body {
            Body::Heartbeat { epoch, .. } => {
                self.speaks_for(me, *epoch)?;
                // DESIGN R6.
                if !core::mem::take(&mut self.witness(me.peer).confirmed) {
                    let what = format!("peer {} sends a heartbeat, but nothing was confirmed since its last", me.peer);
                    return violated(Property::B5, what);
                }
                Ok(())
            }
            Body::Election(ElectionMessage::Coordinator { epoch }) => self.speaks_for(me, *epoch),
            Body::Election(ElectionMessage::Resigned { epoch }) => {
                let witness = self.witness(me.peer);
                witness.floor = witness.floor.max(epoch.next());
                self.speaks_for(me, *epoch)
            }
            Body::Election(
                ElectionMessage::Call
                | ElectionMessage::Anyone
                | ElectionMessage::Answer
                | ElectionMessage::Leader { .. },
            )
            | Body::Wave
            | Body::Clock
            | Body::Client(ClientMessage::AskSales { .. } | ClientMessage::Join { .. }) => Ok(()),
            Body::Promises { promises, .. } => {
                promises.iter().try_for_each(|(_, promise)| self.check_promise(me, promise))
            }
            Body::Client(ClientMessage::Request(request)) => self.check_request(me, request),
            Body::Client(ClientMessage::Deposit(deposit)) => {
                let known = Arc::make_mut(&mut self.decided);
                let known = known.deposits.entry(deposit.id).or_insert_with(|| deposit.clone());
                once_and_for_all(known == deposit, me.peer, "deposit")
            }
            Body::Trader(told) => {
                let Some(epoch) = serves else {
                    return violated(Property::S1, format!("peer {} serves but holds no epoch", me.peer));
                };
                self.speaks_for(me, epoch)?;
                let Some(client) = to else {
                    return violated(Property::S11, format!("peer {} tells everybody one client's status", me.peer));
                };
                self.check_told(client, told)
            }
        }
    }

    fn check_promise(&mut self, me: Life, Promise { above, open, .. }: &Promise) -> Checked {
        open.as_ref().map_or(Ok(()), |request| self.check_request(me, request))?;
        let promised = &mut self.witness(me.peer).promised;
        *promised = (*promised).max(Some((me.incarnation, *above)));
        Ok(())
    }

    /// S4: a number is given once. S14: what a buyer has not asked for yet when it promises is stamped above its promise.
    fn check_request(&mut self, me: Life, request: &Request) -> Checked {
        let (_, promised) = self.witness(me.peer).promised.unwrap_or_default();
        let known = self.decided.requests.get(&request.id);
        if known.is_none() && request.stamp.time <= promised && request.id.sequence.split().0 == me.incarnation {
            let what = format!(
                "peer {} asks for something stamped {} after it promised that there is nothing up to {promised}",
                me.peer, request.stamp.time
            );
            return violated(Property::S14, what);
        }
        if known.is_none() && self.follows_causes() {
            Arc::make_mut(&mut self.causes).made(request);
        }
        let known = Arc::make_mut(&mut self.decided);
        let known = known.requests.entry(request.id).or_insert_with(|| request.clone());
        once_and_for_all(known == request, me.peer, "request")
    }

    /// S11, S3: what a trader tells a client.
    fn check_told(&self, client: PeerId, told: &TraderMessage) -> Checked {
        // Nearly always it is what the log says now.
        if !self.log.clients.get(&client).is_some_and(|so_far| so_far.is(told)) {
            whatever_a_client_was_told_is_in_the_log(told, client, self.log.of_client(client))?;
        }
        if let TraderMessage::Buyer(BuyerStatus { open, last, bound, .. }) = told {
            if *bound > self.log.books.buyer_status(client).bound {
                let what = format!("peer {client} was told the bound {bound}, which the log does not show");
                return violated(Property::S11, what);
            }
            let open = open.iter().map(|request| request.id);
            let last = last.iter().map(|(sequence, _)| RequestId { buyer: client, sequence: *sequence });
            for id in open.chain(last) {
                if !self.log.audit.history().requests.contains_key(&id) {
                    let what = format!("request {id:?} was acknowledged but is not in the log");
                    return violated(Property::S3, what);
                }
            }
        }
        Ok(())
    }

    /// R1: an append's position is the end of the books it was planned on; a claim is for the epoch after theirs. And a
    /// call shows the furthest books that its caller was shown, so that an old copy of them is noticed.
    fn check_call(&mut self, caller: &Participant, call: &LedgerCall) -> Checked {
        let me = caller.me();
        let shown = self.seen_of(me.peer).map(|witness| witness.shown).unwrap_or_default();
        if call.seen.epoch < shown.epoch || call.seen.head < shown.head {
            let what = format!(
                "peer {} was shown epoch {} and head {}, but tells the ledger of epoch {} and head {}",
                me.peer, shown.epoch, shown.head, call.seen.epoch, call.seen.head
            );
            return violated(Property::S3, what);
        }
        let LedgerRequest::Append(batch) = &call.request else { return Ok(()) };
        // A peer that has left the office in the same step no longer has books to compare with.
        let Some(books) = caller.office().and_then(|office| office.books()) else { return Ok(()) };
        let claims = matches!(batch.records.as_slice(), [Record { entry: Entry::Claimed { .. }, .. }]);
        let epoch = if claims { books.epoch().next() } else { books.epoch() };
        if (batch.position, batch.epoch) != (books.position(), epoch) {
            let what = format!(
                "peer {} appends for epoch {} at {}, from books of epoch {} that end at {}",
                me.peer,
                batch.epoch,
                batch.position,
                books.epoch(),
                books.position()
            );
            return violated(Property::R1, what);
        }
        if caller.epoch() == Some(batch.epoch) {
            self.witness(me.peer).asked = Some((batch.epoch, batch.position, batch.end()));
        }
        Ok(())
    }

    /// S4, S11: what a client has understood is in the log, and it understands it only once.
    fn check_note(&mut self, peer: PeerId, note: &Note) -> Checked {
        let believes =
            |what: &str| violated(Property::S11, format!("peer {peer} believes in {what} that is not in the books"));
        match note {
            Note::Bought { sale } => {
                if self.log.outcome(sale.request) != Some(&Entry::Sold(sale.clone())) {
                    return believes("a purchase");
                }
                self.conclude(peer, sale.request.sequence)
            }
            Note::Unavailable { request, .. } => {
                let is_refused =
                    |entry: &Entry| matches!(entry, Entry::Refused { request: refused, .. } if refused == request);
                if !self.log.outcome(*request).is_some_and(is_refused) {
                    return believes("a refusal");
                }
                self.conclude(peer, request.sequence)
            }
            Note::Recalled { request, outcome } => {
                let is_so = match (self.log.outcome(*request), outcome) {
                    (Some(Entry::Sold(booked)), Outcome::Sold(sale)) => booked == sale,
                    (Some(Entry::Refused { .. }), Outcome::Refused { .. }) => true,
                    (_, Outcome::Sold(_) | Outcome::Refused { .. }) => false,
                };
                if !is_so {
                    return believes("an outcome");
                }
                self.conclude(peer, request.sequence)
            }
            Note::Earned { sale, total, .. } => {
                let so_far = self.log.clients.get(&peer);
                let (is_booked, earned) = so_far.map_or((false, 0), |so_far| so_far.earned_up_to(sale));
                if !is_booked {
                    return believes("a sale");
                }
                if earned != total.0 {
                    let what =
                        format!("peer {peer} counts {total}, its sales up to {} earned {earned} cents", sale.number);
                    return violated(Property::S4, what);
                }
                Ok(())
            }
            Note::Registered { deposit, .. } => {
                if !self.log.audit.history().deposits.contains_key(deposit) {
                    return believes("a deposit");
                }
                Ok(())
            }
            Note::BooksRefused { position } => {
                Err(Violation::at(Property::S12, *position, format!("peer {peer} cannot fold the books")))
            }
            Note::SteppedDown { reason: Departure::BooksDamaged } => {
                violated(Property::S12, format!("peer {peer} cannot fold the books"))
            }
            Note::Joined { .. }
            | Note::ElectionCalled
            | Note::AskedForAnyone
            | Note::TraderSuspected { .. }
            | Note::ElectionWon
            | Note::TookOffice { .. }
            | Note::Recognised { .. }
            | Note::SteppedDown { .. }
            | Note::Deposited { .. }
            | Note::Admitted { .. }
            | Note::Seated { .. }
            | Note::Unseated { .. }
            | Note::Sold { .. }
            | Note::Refused { .. }
            | Note::Wanted { .. }
            | Note::ResumedRequest { .. }
            | Note::SoldOut { .. }
            | Note::LeftOver { .. }
            | Note::ResumedAccount { .. }
            | Note::LedgerHeard
            | Note::LedgerSilent
            | Note::TermRefused { .. }
            | Note::EnvelopeRefused { .. } => Ok(()),
            Note::NoSuchEpoch { .. } => {
                let may_doubt = self.seen_of(peer).is_some_and(|witness| witness.was_misled);
                if may_doubt {
                    Ok(())
                } else {
                    violated(Property::B4, "an epoch is refuted that was granted".to_string())
                }
            }
        }
    }

    fn conclude(&mut self, peer: PeerId, sequence: Sequence) -> Checked {
        let concluded = &mut self.witness(peer).concluded;
        if Some(sequence) <= *concluded {
            return violated(Property::S4, format!("peer {peer} counts an outcome that it knew already"));
        }
        *concluded = Some(sequence);
        Ok(())
    }

    /// S4: a seller counts each sale in its turn, and skips none that is kept for it.
    fn check_sales(&mut self, peer: PeerId, effects: &[ParticipantEffect]) -> Checked {
        let counted = self.seen_of(peer).and_then(|witness| witness.earned);
        let mut known = counted;
        for effect in effects {
            let ParticipantEffect::Note { note, .. } = effect else { continue };
            if let Note::ResumedAccount { sales, .. } = note {
                let kept = u64::from(self.rules.limits.sales_kept);
                if known.is_some_and(|known| sales.saturating_sub(known.0) <= kept) {
                    return violated(Property::S4, format!("peer {peer} skips sales that are kept for it"));
                }
                known = Some(SaleNumber(*sales));
            }
            let Note::Earned { sale, .. } = note else { continue };
            // Before its very first deposit there were no sales.
            let last = known.unwrap_or_default();
            if sale.number != last.next() {
                let what = format!("peer {peer} counts sale {} right after sale {last}", sale.number);
                return violated(Property::S4, what);
            }
            known = Some(sale.number);
        }
        if known != counted {
            self.witness(peer).earned = known;
        }
        Ok(())
    }

    /// B4: the epochs of the leaders that a life recognises never fall. S1: each of these leaders holds its epoch,
    /// according to the log.
    fn check_leader(&self, before: &Before, after: &Participant) -> Checked {
        let Some((epoch, leader)) = after.election().and_then(|election| election.leader()) else { return Ok(()) };
        let peer = after.me().peer;
        let floor = self.seen_of(peer).map_or(Epoch(0), |witness| witness.floor);
        let is_made_up = self.decided.made_up.contains(&epoch);
        if before.leader == Some((epoch, leader)) || leader == peer || is_made_up {
            return Ok(());
        }
        match self.log.holder(epoch) {
            Some(holder) if holder.peer == leader => {}
            holder => {
                let holder = holder.map_or("nobody".to_string(), |holder| format!("peer {}", holder.peer));
                let what =
                    format!("peer {peer} takes peer {leader} for the leader of epoch {epoch}, which {holder} holds");
                return violated(Property::S1, what);
            }
        }
        if epoch < floor {
            let what = format!("peer {peer} follows peer {leader} of epoch {epoch} although it knew of epoch {floor}");
            return violated(Property::B4, what);
        }
        Ok(())
    }

    /// B6: a peer that resigned sits out one term and no more. B9: a peer that cannot reach the ledger calls nobody and
    /// does not stand.
    fn check_eligibility(&self, Step { before, effects, after, .. }: Step<'_>) -> Checked {
        let peer = after.me().peer;
        if after.election().is_none() {
            return Ok(());
        }
        // How it interprets the silence is up to it, but it is bound by it.
        let hears_ledger = self.seen_of(peer).is_some_and(|witness| witness.hears_ledger);
        match after.eligibility() {
            Eligibility::Eligible | Eligibility::Isolated { .. } if hears_ledger => Ok(()),
            Eligibility::Resigned if hears_ledger => {
                let known = self.seen_of(peer).map_or(Epoch(0), |witness| witness.known);
                match self.log.resigned_by(peer) {
                    Some(resigned) if known <= resigned => Ok(()),
                    Some(resigned) => violated(
                        Property::B6,
                        format!("peer {peer} resigned epoch {resigned}, knows of epoch {known} but still sits out"),
                    ),
                    None => violated(Property::B6, format!("peer {peer} sits out but has never resigned")),
                }
            }
            Eligibility::Eligible | Eligibility::Resigned | Eligibility::Unreachable | Eligibility::Isolated { .. } => {
                let runs = |effect: &ParticipantEffect| match effect {
                    ParticipantEffect::Tell { body: Body::Election(message), .. }
                    | ParticipantEffect::TellAll { body: Body::Election(message), .. } => {
                        matches!(message, ElectionMessage::Call | ElectionMessage::Anyone | ElectionMessage::Answer)
                    }
                    ParticipantEffect::Tell { .. }
                    | ParticipantEffect::TellAll { .. }
                    | ParticipantEffect::Ledger(_)
                    | ParticipantEffect::Arm { .. }
                    | ParticipantEffect::Disarm(_)
                    | ParticipantEffect::Choose { .. }
                    | ParticipantEffect::Stop(_)
                    | ParticipantEffect::Note { .. } => false,
                };
                let stands = after.office().is_some_and(|office| office.is_standing());
                if effects.iter().any(runs) || (stands && !before.stands) {
                    let what = format!("peer {peer} does not hear the ledger but runs for office anyway");
                    return violated(Property::B9, what);
                }
                Ok(())
            }
        }
    }

    /// B5: a peer that hears the trader says so when another calls, and does not join.
    fn check_referral(
        &self,
        hears: Option<(Epoch, PeerId)>,
        from: PeerId,
        body: &Body,
        Step { effects, after, .. }: Step<'_>,
    ) -> Checked {
        let Some((epoch, leader)) = hears.filter(|(_, leader)| *leader != from) else { return Ok(()) };
        let is_called = match body {
            Body::Election(ElectionMessage::Call | ElectionMessage::Anyone) => true,
            Body::Election(ElectionMessage::Answer) => false,
            Body::Election(
                ElectionMessage::Leader { .. } | ElectionMessage::Coordinator { .. } | ElectionMessage::Resigned { .. },
            )
            | Body::Heartbeat { .. }
            | Body::Wave
            | Body::Promises { .. }
            | Body::Clock
            | Body::Client(_)
            | Body::Trader(_) => return Ok(()),
        };
        let peer = after.me().peer;
        let refers = |effect: &ParticipantEffect| match effect {
            ParticipantEffect::Tell { to, body, .. } => {
                *to == from && *body == Body::Election(ElectionMessage::Leader { epoch, leader })
            }
            ParticipantEffect::TellAll { .. }
            | ParticipantEffect::Ledger(_)
            | ParticipantEffect::Arm { .. }
            | ParticipantEffect::Disarm(_)
            | ParticipantEffect::Choose { .. }
            | ParticipantEffect::Stop(_)
            | ParticipantEffect::Note { .. } => false,
        };
        let follows = after.election().and_then(|election| election.leader()) == Some((epoch, leader));
        if !follows || (is_called && !effects.iter().any(refers)) {
            let what = format!("peer {peer} hears trader {leader} of epoch {epoch} but joins an election anyway");
            return violated(Property::B5, what);
        }
        Ok(())
    }

    // Peers: what leaves them, and what they are handed.

    /// An effect leaves a peer whose disk holds `durable`.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub fn on_leave(&self, peer: &Peer, durable: Durable, effect: &Effect) -> Checked {
        let me = peer.participant().me();
        match effect {
            Effect::Send { to, envelope } => {
                nothing_is_sent_to_a_non_neighbour(me.peer, *to, &peer.config().neighbours)?;
                speaks_in_a_written_life(me, durable)?;
                if envelope.source == me.peer && envelope.body != Body::Clock {
                    nothing_is_sent_above_the_written_bound(envelope.clock, durable.clock_bound)?;
                }
                let witness = self.seen_of(me.peer);
                let highest = witness.map_or(Time(0), Witness::highest);
                if envelope.multicast > highest {
                    let what = format!(
                        "peer {} tells of a clock multicast of {}, but has heard of none above {highest}",
                        me.peer, envelope.multicast
                    );
                    return violated(Property::C2, what);
                }
                match witness.and_then(|witness| witness.multicast) {
                    Some(mine) if mine <= envelope.multicast => {
                        nothing_is_sent_above_the_written_bound(mine, durable.clock_bound)
                    }
                    Some(_) | None => Ok(()),
                }
            }
            Effect::Ledger(call) => {
                speaks_in_a_written_life(me, durable)?;
                if let LedgerRequest::Append(batch) = &call.request {
                    for record in &batch.records {
                        nothing_is_sent_above_the_written_bound(record.stamp.time, durable.clock_bound)?;
                    }
                }
                Ok(())
            }
            Effect::Note { clock, .. } => nothing_is_sent_above_the_written_bound(*clock, durable.clock_bound),
            Effect::Write { durable: next, .. } => a_write_takes_nothing_back(me, durable, *next),
            Effect::Arm { .. } | Effect::Disarm(_) | Effect::Choose { .. } | Effect::Stop(_) => Ok(()),
        }
    }

    /// A peer was handed an envelope by a neighbour.
    ///
    /// # Errors
    /// When a flood that it was handed before had any effect, or it hears what is not for it or was not said that way
    /// (S10); when a flood that is new and meant for it was not taken (A2). `heard` is what its participant was given
    /// of it.
    pub fn on_arrival(
        &mut self,
        before: &Peer,
        from: PeerId,
        envelope: &Envelope,
        heard: Option<&ParticipantInput>,
        after: &Peer,
    ) -> Checked {
        let has_changed = || {
            !before.overlay().remembers_the_same(after.overlay())
                || (heard.is_none() && before.participant() != after.participant())
        };
        self.on_handed(&Before::of(before.participant()), from, envelope, heard, after, has_changed)
    }

    /// Like [`Observer::on_arrival`], where `has_changed` says whether the peer has done anything with the message, or
    /// remembers it.
    ///
    /// # Errors
    /// As for [`Observer::on_arrival`].
    pub fn on_handed(
        &mut self,
        before: &Before,
        from: PeerId,
        envelope: &Envelope,
        heard: Option<&ParticipantInput>,
        after: &Peer,
        has_changed: impl FnOnce() -> bool,
    ) -> Checked {
        let me = after.participant().me().peer;
        let witness = self.seen_of(me);
        let news = witness.is_none_or(|witness| envelope.multicast > witness.handed).then_some(envelope.multicast);
        let news = news.filter(|multicast| *multicast > Time(0));
        // Its own may have come before, and then this is no news; or it is the answer to this message.
        let may_be_old = witness.and_then(|witness| witness.multicast) >= news;
        if let Some(heard) = heard {
            let Envelope { source, clock, body, route, .. } = envelope;
            let is_for_me = match route {
                Route::Flood { to, .. } => to.is_none_or(|to| to == me),
                Route::Direct { to, .. } => *to == me,
            };
            let merged = news.map_or(*clock, |multicast| multicast.max(*clock));
            let said = |clock| ParticipantInput::Heard { from: *source, clock, body: body.clone() };
            let is_said = if let ParticipantInput::Heard { body: Body::Promises { promises, .. }, .. } = heard {
                // They were gathered from several envelopes, each as its buyer made it.
                matches!(body, Body::Promises { .. }) && promises.iter().all(|(buyer, made)| self.made(*buyer, made))
            } else {
                is_for_me && *body != Body::Clock && (*heard == said(merged) || (may_be_old && *heard == said(*clock)))
            };
            let is_multicast =
                news.is_some_and(|clock| *heard == ParticipantInput::Heard { from, clock, body: Body::Clock });
            if !is_said && !is_multicast {
                let what = format!("peer {me} hears something that peer {source} did not say to it");
                return violated(Property::S10, what);
            }
        }
        let is_refused = [envelope.clock, envelope.multicast].iter().any(|clock| *clock > Clock::MOST);
        if is_refused {
            return Ok(());
        }
        if let Some(multicast) = news {
            self.witness(me).handed = multicast;
            if self.follows_causes() {
                let made = self.witnesses.iter().filter(|(_, witness)| witness.multicast == Some(multicast));
                let told = made.flat_map(|(from, _)| self.causes.told(*from, multicast)).collect();
                let merged = after.clock().now().min(Time(multicast.0.saturating_add(1)));
                self.learns(me, told, merged.max(Time(before.clock.0 + 1)));
            }
            if after.clock().now() <= multicast {
                let what = format!("peer {me} was told of a clock multicast of {multicast}, but does not merge it");
                return violated(Property::C2, what);
            }
        }
        // A relay keeps what is promised for its own answer.
        if matches!(envelope.body, Body::Clock | Body::Promises { .. }) {
            return Ok(());
        }
        let is_unheard = !heard.is_some_and(is_message);
        match envelope.route {
            Route::Flood { id, .. } if self.was_handed(me, id) => {
                if heard.is_some_and(is_message) || has_changed() {
                    let what = format!("peer {me} takes a flood of peer {} a second time", envelope.source);
                    return violated(Property::S10, what);
                }
                Ok(())
            }
            Route::Flood { id, to } => {
                let window = self.rules.limits.flood_window;
                let handed = Arc::make_mut(&mut self.witness(me).floods);
                let checked = if is_unheard && to.is_none_or(|to| to == me) {
                    handed.a_new_one_is_dropped_only_below_the_window(me, id, window)
                } else {
                    Ok(())
                };
                handed.insert(id);
                checked
            }
            Route::Direct { to, .. } if to == me && is_unheard => {
                let what = format!("peer {me} was handed a message from peer {}, but ignores it", envelope.source);
                violated(Property::A2, what)
            }
            Route::Direct { .. } => Ok(()),
        }
    }

    /// Whether a buyer may have promised this: it has promised as much, and asked for what it says.
    fn made(&self, buyer: PeerId, promise: &Promise) -> bool {
        let promised = self.seen_of(buyer).and_then(|witness| witness.promised);
        // Of a former life nothing is known any more.
        let has_promised = promised.is_none_or(|promised| (promise.incarnation, promise.above) <= promised);
        let open = promise.open.as_ref();
        has_promised && open.is_none_or(|open| self.decided.requests.get(&open.id) == Some(open))
    }

    /// What a peer wants to be durable after a step covers what it has seen: a new epoch of the books at once, and of
    /// their records all but as many as its clock is written ahead. And it holds back no more than it may.
    ///
    /// # Errors
    /// S3: when it does not; then an old copy of the books might go unnoticed after its next start (DESIGN 3). R10:
    /// when it holds back more.
    pub fn on_written_ahead(&self, peer: &Peer) -> Checked {
        let (held, most) = (peer.journal().held(), self.rules.limits.held_back);
        if held > most as usize {
            let what = format!("peer {} holds back {held} effects, {most} at most", peer.participant().me().peer);
            return violated(Property::R10, what);
        }
        let shown = self.seen_of(peer.participant().me().peer).map(|witness| witness.shown).unwrap_or_default();
        let requested = peer.journal().requested().seen;
        if requested.epoch < shown.epoch || requested.head.0 + peer.config().clock_range <= shown.head.0 {
            let what = format!(
                "peer {} was shown epoch {} and head {}, but would remember epoch {} and head {}",
                peer.participant().me().peer,
                shown.epoch,
                shown.head,
                requested.epoch,
                requested.head
            );
            return violated(Property::S3, what);
        }
        Ok(())
    }

    // All peers at once.

    /// Faults have stopped, nothing more is asked for, and no clock is under way.
    ///
    /// # Errors
    /// C2: when somebody has not heard of a clock that was multicast, and that another still knows of.
    pub fn on_quiet(&self, everybody: &[&Participant]) -> Checked {
        let known = everybody.iter().filter_map(|participant| self.seen_of(participant.me().peer));
        let highest = known.map(Witness::highest).max().unwrap_or_default();
        everybody.iter().try_for_each(|participant| {
            every_multicast_has_been_heard(participant.me().peer, participant.clock().now(), highest)
        })
    }

    /// Under synchrony, after every step: everybody who is there.
    ///
    /// # Errors
    /// When two peers are trader (Y1).
    pub fn on_instant<'a>(&mut self, everybody: impl Iterator<Item = &'a Participant> + Clone) -> Checked {
        if !self.rules.is_synchronous {
            return Ok(());
        }
        // Judged by what it was told, whatever it makes of that: it hears the ledger, and has heard of a later term
        // than the one it resigned.
        let can_stand = |participant: &&Participant| {
            let peer = participant.me().peer;
            let resigned = self.log.resigned_by(peer);
            self.seen_of(peer)
                .is_some_and(|witness| witness.hears_ledger && resigned.is_none_or(|epoch| epoch < witness.known))
        };
        let eligible: BTreeSet<PeerId> =
            everybody.clone().filter(can_stand).map(|participant| participant.me().peer).collect();
        for participant in everybody.clone() {
            let peer = participant.me().peer;
            let runs = participant.election().is_some_and(|election| election.is_running());
            let before = self.seen_of(peer).and_then(|witness| witness.rivals.as_ref());
            let rivals: Option<BTreeSet<PeerId>> = match before {
                _ if !runs => None,
                None => Some(eligible.clone()),
                Some(rivals) => Some(rivals.intersection(&eligible).copied().collect()),
            };
            if rivals.as_ref() != before {
                self.witness(peer).rivals = rivals;
            }
        }
        let mut traders = everybody.filter(|participant| participant.epoch().is_some());
        if let (Some(one), Some(other)) = (traders.next(), traders.next()) {
            let what = format!("peers {} and {} are both in office", one.me().peer, other.me().peer);
            return violated(Property::Y1, what);
        }
        Ok(())
    }
}

/// Whether a participant was given a message, and not only a clock multicast that came with one for somebody else.
fn is_message(heard: &ParticipantInput) -> bool {
    match heard {
        ParticipantInput::Heard { body, .. } => *body != Body::Clock,
        ParticipantInput::Fired(_)
        | ParticipantInput::LedgerUp
        | ParticipantInput::LedgerDown
        | ParticipantInput::Ledger(_)
        | ParticipantInput::Chose { .. }
        | ParticipantInput::Resign
        | ParticipantInput::Stand
        | ParticipantInput::Yield => false,
    }
}

/// S4: a number identifies one request or deposit for ever (DESIGN R8).
fn once_and_for_all(is_same: bool, peer: PeerId, what: &str) -> Checked {
    if is_same { Ok(()) } else { violated(Property::S4, format!("peer {peer} gives a {what}'s number a second time")) }
}

/// R7, and with it S7: nothing at all is sent before the life that sends it is written; otherwise the next life would
/// have the same incarnation.
fn speaks_in_a_written_life(me: Life, durable: Durable) -> Checked {
    if durable.incarnation < me.incarnation {
        let what = format!("peer {} speaks before its life {} is written", me.peer, me.incarnation);
        return violated(Property::S7, what);
    }
    Ok(())
}

/// S7: what replaces the contents of a disk continues from there; otherwise a later life would go back behind what was
/// sent (DESIGN R7, R10).
fn a_write_takes_nothing_back(me: Life, durable: Durable, next: Durable) -> Checked {
    let goes_on = next.incarnation >= durable.incarnation
        && next.clock_bound >= durable.clock_bound
        && next.seen.epoch >= durable.seen.epoch
        && next.seen.head >= durable.seen.head;
    if !goes_on {
        return violated(Property::S7, format!("peer {} writes {next:?} in place of {durable:?}", me.peer));
    }
    Ok(())
}

/// S4: what a client waits for has not changed under the same number.
fn nothing_is_renamed(before: &Before, after: &Participant) -> Checked {
    let asking = after.buyer().and_then(|buyer| buyer.asking());
    let depositing = after.seller().and_then(|seller| seller.depositing());
    let renamed = before.asking.as_ref().zip(asking).is_some_and(|(was, is)| was.id == is.id && was != is)
        || before.depositing.as_ref().zip(depositing).is_some_and(|(was, is)| was.id == is.id && was != is);
    once_and_for_all(!renamed, after.me().peer, "wish")
}

/// D7: when a trader notes that a sale is booked, it tells the buyer and the seller of that very sale.
fn everybody_is_told_of_every_sale(Step { effects, after, .. }: Step<'_>) -> Checked {
    let me = after.me().peer;
    let mut told: BTreeMap<PeerId, Vec<&Sale>> = BTreeMap::new();
    let mut booked = Vec::new();
    for effect in effects {
        match effect {
            ParticipantEffect::Note { note: Note::Sold { sale }, .. } => booked.push(sale),
            ParticipantEffect::Tell { to, body: Body::Trader(TraderMessage::Seller(status)), .. } => {
                told.entry(*to).or_default().extend(&status.recent);
            }
            ParticipantEffect::Tell { to, body: Body::Trader(TraderMessage::Buyer(status)), .. } => {
                if let Some((_, Outcome::Sold(sale))) = &status.last {
                    told.entry(*to).or_default().push(sale);
                }
            }
            ParticipantEffect::Tell { .. }
            | ParticipantEffect::TellAll { .. }
            | ParticipantEffect::Ledger(_)
            | ParticipantEffect::Arm { .. }
            | ParticipantEffect::Disarm(_)
            | ParticipantEffect::Choose { .. }
            | ParticipantEffect::Stop(_)
            | ParticipantEffect::Note { .. } => {}
        }
    }
    for sale in booked {
        // What concerns the trader itself does not leave it.
        for client in [sale.request.buyer, sale.deposit.seller].into_iter().filter(|client| *client != me) {
            if !told.get(&client).is_some_and(|told| told.contains(&sale)) {
                let what = format!(
                    "sale {} of peer {} is booked, but peer {client} is not told of it",
                    sale.number, sale.deposit.seller
                );
                return violated(Property::D7, what);
            }
        }
    }
    Ok(())
}

/// S13: a buyer that is told that a request of its own waits, and does not know the outcome of that one, waits for it.
fn told_what_waits(Step { input, after, .. }: Step<'_>) -> Checked {
    let ParticipantInput::Heard { body: Body::Trader(TraderMessage::Buyer(status)), .. } = input else {
        return Ok(());
    };
    let (Some(buyer), Some(open)) = (after.buyer(), &status.open) else { return Ok(()) };
    let waits = buyer.asking().is_some_and(|request| request.id == open.id);
    if Some(open.id.sequence) > buyer.known() && !waits {
        let what = format!("peer {} was told that a request of its own waits, but makes another", after.me().peer);
        return violated(Property::S13, what);
    }
    Ok(())
}

mod several;

#[cfg(test)]
mod tests;
