//! States and steps in words, and what a picture shows of them.

use std::fmt::Write as _;

use bazaar_protocol::{
    cluster::{Cluster, Process, Shelf},
    election::Phase,
    id::{PeerId, Position},
    input::{Choice, Timer},
    invariant::Property,
    ledger::{
        LedgerRequest,
        compaction::CompactionEffect,
        replica::{Outcome, Replica, Sign},
    },
    record::Batch,
};

use super::{
    Convergence, Cut, Participants, Timing,
    several::ProcessAction,
    world::{Action, Budget, Call, Live, Mail, State, World},
};
use crate::{
    subject::Subject,
    subject::known::Known,
    subject::ledger::Ledgers,
    subject::picture::Mark,
    subject::shared::{Bag, Shared},
    subject::words::{
        answered, asks, brief_question, brief_says, brief_verdict, joined, participant, record, says, the_ledger, told,
        verdict,
    },
};

/// What the adversary may do, and how often.
pub(super) fn adversary(setup: &Participants) -> String {
    let Budget {
        stands,
        yields,
        alarms,
        give_ups,
        renewals,
        crashes,
        restarts,
        ledger_crashes,
        snapshots,
        ticks,
        asks,
        sales,
        dismissals,
        lies,
        unknowns,
        declines,
        compactions,
        blinds,
        takes,
        wipes,
        old_images,
    } = setup.budget;
    let budgets = [
        (stands, "claim", "claims"),
        (yields, "departure", "departures"),
        (alarms, "election timer", "election timers"),
        (give_ups, "abandoned wait for the ledger", "abandoned waits for the ledger"),
        (renewals, "renewal", "renewals"),
        (crashes, "crash of a peer", "crashes of peers"),
        (restarts, "restart", "restarts"),
        (ledger_crashes, "crash of the ledger", "crashes of the ledger"),
        (snapshots, "snapshot of the books", "snapshots of the books"),
        (ticks, "spontaneous tick of a clock", "spontaneous ticks of clocks"),
        (asks, "early question of a seller", "early questions of sellers"),
        (sales, "sale to a passing customer", "sales to passing customers"),
        (dismissals, "resignation by hand", "resignations by hand"),
        (lies, "heartbeat of an epoch that nobody was granted", "heartbeats of epochs that nobody was granted"),
        (unknowns, "append of unknown outcome", "appends of unknown outcome"),
        (declines, "append declined", "appends declined"),
        (compactions, "snapshot", "snapshots"),
        (blinds, "ledger blind for a time", "times that a ledger is blind"),
        (takes.unwrap_or_default(), "call taken by a ledger", "calls taken by ledgers"),
        (wipes, "wiped store", "wiped stores"),
        (old_images, "old image of the store", "old images of the store"),
    ];
    let budgets = budgets.into_iter().filter(|(count, ..)| *count > 0);
    let budgets: Vec<String> =
        budgets.map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many })).collect();
    let timing = match setup.timing {
        Timing::Free => {
            "messages, calls and replies lost, duplicated, late and in any order; unlimited pauses and cuts"
        }
        Timing::Synchronous => "links and ledger up, no pauses, timers exactly on time",
    };
    let after = match setup.convergence {
        None => String::new(),
        Some(Convergence { within, cut, .. }) => {
            let cut = match cut {
                Cut::Nothing => String::new(),
                Cut::FromLedger(peer) => format!(" while peer {peer} and the ledger stay cut off from each other"),
                Cut::AnswersOfLedger(peer) => format!(" while the ledger hears peer {peer} and cannot answer it"),
                Cut::FromOverlay(peer) => format!(" while peer {peer} stays cut off from all other peers"),
                Cut::FirstAnswers => " while the ledger's first answer to every append is lost".to_owned(),
                Cut::SlowReads => format!(" while every answer to a read takes {:?}", super::SLOW),
                Cut::Liar => " while a member goes on naming epochs that nobody was granted".to_owned(),
                Cut::Ledger => " while nobody hears the ledger".to_owned(),
            };
            format!("; then no more faults{cut}, at most {within} steps of the fair schedule from every state")
        }
    };
    format!("{timing}; {}{after}", budgets.join(", "))
}

/// A step as a sentence, with its consequences.
pub(super) fn sentence(setup: &Participants, before: &World, action: &Action, after: &World) -> String {
    let name = |peer: &PeerId| setup.name_of(*peer);
    let what = match action {
        Action::Resign(peer) => format!("somebody wants {} to resign", name(peer)),
        Action::Stand(peer) => format!("{} is made to stand for office", name(peer)),
        Action::Yield(peer) => format!("{} is made to leave the office", name(peer)),
        Action::Fire(peer, timer) => fires(setup, before, *peer, *timer),
        Action::Pick(peer, pick) => {
            let choice = before.live(setup, *peer).and_then(|live| live.choice);
            let what = match choice {
                Some((Choice::Wish, _)) => "picks what it wants",
                Some((Choice::Offer, _)) | None => "picks its next deposit",
            };
            format!("{} {what} (number {pick})", name(peer))
        }
        Action::Tick(peer) => format!("{}'s clock rises spontaneously", name(peer)),
        Action::Serve(peer) => format!("a passing customer asks {} for a fish", name(peer)),
        Action::Lie(peer) => {
            let (liar, epoch) = before.lie(setup, *peer);
            format!("{} has a bug and tells {} and the ledger that it leads in epoch {epoch}", name(&liar), name(peer))
        }
        Action::Consult(peer) => {
            let asks = before.live(setup, *peer).and_then(|live| live.question.as_ref());
            let what = match asks {
                Some(LedgerRequest::Read { from, .. }) if from.0 == 0 => "reads the books".to_owned(),
                Some(LedgerRequest::Read { from, .. }) => format!("reads the books from record {from} on"),
                Some(LedgerRequest::Status | LedgerRequest::Append(_)) | None => "asks for the ledger's status".into(),
            };
            format!("{} {what}", name(peer))
        }
        Action::Arrive(peer, mail) => {
            format!("{} hears from {} {}", name(peer), name(&mail.from), quoted(mail))
        }
        Action::Take(call) => {
            let Call { caller, request } = &**call;
            format!("the ledger hears from {} \"{}\"", name(&caller.peer), asks(request))
        }
        Action::Sync => "the ledger's write is durable".to_owned(),
        Action::Confirm => "the ledger learns that its write is durable".to_owned(),
        Action::Answer(peer, reply) => format!("{} hears from the ledger \"{}\"", name(peer), answered(reply)),
        Action::At(at, action) => happens_at(setup, before, *at, action),
        Action::Stray(nth) => {
            let stray = before.ledger.several().and_then(|cluster| cluster.strays().get(*nth));
            let what = stray.map_or("an append".to_owned(), |stray| append_name(&stray.batch));
            format!("the store is given {what}, of which no ledger waits to hear")
        }
        Action::Wipe => "the ledgers' store is wiped".to_owned(),
        Action::PutBack => "the ledgers' store is put back to an old image, without its last batch".to_owned(),
        Action::LeaseRunsOut => "the lease runs out".to_owned(),
        Action::Snapshot => "the ledger's store takes a snapshot of the books".to_owned(),
        Action::Crash(peer) => format!("{} crashes", name(peer)),
        Action::Restart(peer) => format!("{} comes back, knowing nothing", name(peer)),
        Action::CrashLedger { kept: true } => {
            "the ledger crashes and comes back with everything it had written".to_owned()
        }
        Action::CrashLedger { kept: false } => {
            "the ledger crashes and comes back with only what was durable".to_owned()
        }
    };
    let comes = consequences(setup, before, action, after);
    joined(&what, &comes, after.violation.as_deref())
}

/// An append in a few words.
fn append_name(batch: &Batch) -> String {
    let what = if batch.claimant().is_some() { "the claim" } else { "the batch" };
    format!("{what} for epoch {} at {}", batch.epoch, batch.position)
}

/// What happens at one of several ledgers.
fn happens_at(setup: &Participants, before: &World, at: usize, action: &ProcessAction) -> String {
    let ledger = setup.ledger_name(at);
    let process = before.ledger.several().and_then(|cluster| cluster.processes().get(at));
    let appends = || process.and_then(|process| process.machine()?.appending()).map(|(_, batch)| append_name(batch));
    match action {
        ProcessAction::Take(call) => {
            format!("{ledger} receives {}'s \"{}\"", setup.name_of(call.caller.peer), asks(&call.request))
        }
        ProcessAction::Consult(peer) => format!("{} asks {ledger}, which looks at the store", setup.name_of(*peer)),
        ProcessAction::Look => format!("{ledger} looks at the store"),
        ProcessAction::Happen => match process.and_then(|process| process.transaction()) {
            Some(transaction) => {
                format!("the store is given {} by {ledger}", append_name(&transaction.batch))
            }
            None => format!("the store is looked at for {ledger}"),
        },
        ProcessAction::Hear => match (process.and_then(|process| process.outcome()), appends()) {
            (Some(Outcome::Written), Some(what)) => format!("{ledger} hears that {what} is written"),
            (Some(Outcome::Refused(_)), Some(what)) => format!("{ledger} hears that {what} is refused"),
            (Some(Outcome::Declined(_)), Some(what)) => {
                format!("{ledger} hears that there is no room for {what}, and looks at the store")
            }
            (Some(_) | None, _) => format!("{ledger} hears what the store holds"),
        },
        ProcessAction::Lose => {
            format!("{ledger} is told that nobody knows what became of {}", appends().unwrap_or_default())
        }
        ProcessAction::Decline { carried_out } => {
            let done = if *carried_out { "carries out" } else { "does not carry out" };
            format!("the store {done} {}, and says that it is full", appends().unwrap_or_default())
        }
        ProcessAction::Read => format!("the store answers a read for {ledger}"),
        ProcessAction::NoticeGrowth => format!("{ledger} notices that the log has grown"),
        ProcessAction::Tidy => match process.and_then(Process::tidying) {
            None | Some(CompactionEffect::FindBase) => format!("{ledger} looks where the base is"),
            Some(CompactionEffect::WriteSnapshot(at)) => format!("{ledger} writes a snapshot at {at}"),
            Some(CompactionEffect::MoveBase { from, to }) => format!("{ledger} moves the base from {from} to {to}"),
            Some(CompactionEffect::ClearBelow(base)) => format!("{ledger} removes what is below {base}"),
        },
        ProcessAction::See(Sign::Renewed(epoch)) => format!("{ledger} sees that epoch {epoch} was renewed"),
        ProcessAction::See(Sign::Contested(epoch)) => format!("{ledger} sees that epoch {epoch} is contested"),
        ProcessAction::SeeAppend => format!("{ledger} sees that another has appended"),
        ProcessAction::GoBlind => format!("{ledger} no longer sees what the others do"),
        ProcessAction::SeeAgain => format!("{ledger} sees again what the others do"),
        ProcessAction::LeaseRunsOut => format!("the lease runs out at {ledger}"),
        ProcessAction::Crash => format!("{ledger} crashes and comes back, knowing nothing"),
    }
}

/// What a picture shows of what happens at one of several ledgers.
fn marks_at(setup: &Participants, before: &World, at: usize, action: &ProcessAction) -> Vec<Mark> {
    let lane = setup.cast.len() + at;
    let happened = |label: &str| Mark::Happened { at: lane, label: label.to_owned() };
    let process = before.ledger.several().and_then(|cluster| cluster.processes().get(at));
    match action {
        ProcessAction::Take(call) => vec![Mark::Arrived { at: lane, message: call.name() }],
        ProcessAction::Consult(peer) => {
            let label = format!("asks {}", setup.ledger_name(at));
            vec![Mark::Happened { at: setup.place(*peer), label }]
        }
        ProcessAction::Happen if process.is_some_and(|process| process.transaction().is_some()) => {
            vec![happened("its append reaches the store")]
        }
        ProcessAction::Look | ProcessAction::Happen => vec![happened("looks at the store")],
        ProcessAction::Hear => vec![happened(match process.and_then(|process| process.outcome()) {
            Some(Outcome::Written) => "hears: written",
            Some(Outcome::Refused(_)) => "hears: refused",
            Some(Outcome::Declined(_)) => "hears: full",
            Some(Outcome::Unknown) | None => "hears what there is",
        })],
        ProcessAction::Lose => vec![happened("outcome unknown")],
        ProcessAction::Decline { carried_out: true } => vec![happened("full, and its append is written")],
        ProcessAction::Decline { carried_out: false } => vec![happened("full")],
        ProcessAction::Read => vec![happened("reads")],
        ProcessAction::NoticeGrowth => vec![happened("the log has grown")],
        ProcessAction::Tidy => vec![happened(match process.and_then(Process::tidying) {
            None | Some(CompactionEffect::FindBase) => "looks for the base",
            Some(CompactionEffect::WriteSnapshot(_)) => "writes a snapshot",
            Some(CompactionEffect::MoveBase { .. }) => "moves the base",
            Some(CompactionEffect::ClearBelow(_)) => "removes records",
        })],
        ProcessAction::See(Sign::Renewed(_)) => vec![happened("sees a renewal")],
        ProcessAction::See(Sign::Contested(_)) => vec![happened("sees a claim kept out")],
        ProcessAction::SeeAppend => vec![happened("sees an append")],
        ProcessAction::GoBlind => vec![happened("goes blind")],
        ProcessAction::SeeAgain => vec![happened("sees again")],
        ProcessAction::LeaseRunsOut => vec![Mark::Timer { at: lane, label: "lease runs out".to_owned() }],
        ProcessAction::Crash => vec![Mark::Crashed { at: lane }, Mark::Restarted { at: lane }],
    }
}

/// Several ledgers and their log, line by line.
fn the_ledgers(setup: &Participants, cluster: &Cluster) -> String {
    let status = cluster.status();
    let mut lines = vec![match status.term {
        None => format!("store: no term yet, head {}", status.head),
        Some(term) => format!("store: epoch {} of peer {}, head {}", term.epoch, term.holder.peer, status.head),
    }];
    if cluster.is_wiped() {
        lines.push("  it was wiped".to_owned());
    }
    let Shelf { base, first, .. } = cluster.shelf();
    if *base > Position(0) {
        lines.push(format!("  there is a snapshot at {base}, and the records below {first} are removed"));
    }
    for (nth, one) in cluster.store().records().enumerate() {
        lines.push(format!("  {nth}. {}", record(one)));
    }
    for (at, process) in cluster.processes().iter().enumerate() {
        let mut says = vec![match process.machine() {
            None => "down".to_owned(),
            Some(machine) if machine.has_failed() => "stopped".to_owned(),
            Some(machine) if machine.is_lease_active() => format!("knows head {}, live", machine.known_status().head),
            Some(machine) => format!("knows head {}", machine.known_status().head),
        }];
        if let Some((_, batch)) = process.machine().and_then(Replica::appending) {
            says.push(format!("waits for {}", append_name(batch)));
        }
        if !process.watches() {
            says.push("does not see the others".to_owned());
        }
        lines.push(format!("{}: {}", setup.ledger_name(at), says.join(", ")));
    }
    for stray in cluster.strays() {
        lines.push(format!("under way to the store, and nobody waits: {}", append_name(&stray.batch)));
    }
    lines.join("\n")
}

/// The peer that takes the step, if a peer does.
fn who(action: &Action) -> Option<PeerId> {
    match action {
        Action::Resign(peer)
        | Action::Stand(peer)
        | Action::Yield(peer)
        | Action::Fire(peer, _)
        | Action::Pick(peer, _)
        | Action::Tick(peer)
        | Action::Serve(peer)
        | Action::Lie(peer)
        | Action::Consult(peer)
        | Action::Arrive(peer, _)
        | Action::Answer(peer, _)
        | Action::Crash(peer)
        | Action::Restart(peer) => Some(*peer),
        Action::At(_, ProcessAction::Consult(peer)) => Some(*peer),
        Action::At(..)
        | Action::Stray(_)
        | Action::Wipe
        | Action::PutBack
        | Action::Take(_)
        | Action::Sync
        | Action::Confirm
        | Action::LeaseRunsOut
        | Action::Snapshot
        | Action::CrashLedger { .. } => None,
    }
}

fn fires(setup: &Participants, world: &World, peer: PeerId, timer: Timer) -> String {
    let name = setup.name_of(peer);
    let live = world.live(setup, peer);
    match timer {
        Timer::Election => {
            let phase = live.and_then(|live| live.participant.election()).map(|election| election.phase());
            match phase {
                Some(Phase::Following { leader, .. }) => {
                    format!("{name}'s election timer fires: it has not heard from trader {leader} for too long")
                }
                Some(Phase::Onset | Phase::Roused) => format!("{name}'s election timer fires: its turn has come"),
                Some(Phase::Calling) => format!("{name}'s answer timer fires: nobody higher has answered"),
                Some(Phase::Asking) => format!("{name}'s timer fires: nobody eligible has answered"),
                Some(Phase::Waiting) => format!("{name}'s victory timer fires: no coordinator has appeared"),
                Some(Phase::Standing | Phase::Leading { .. }) | None => format!("{name}'s election timer fires"),
            }
        }
        Timer::LedgerRetry => format!("{name}'s retry timer fires: it asks the ledger again"),
        Timer::LedgerGiveUp => format!("{name} gives up waiting for the ledger"),
        Timer::Renewal => format!("{name}'s renewal timer fires"),
        Timer::Buyer => format!("{name} wants something"),
        Timer::Seller => format!("{name}'s timer fires: it asks what was sold"),
        Timer::Wave => format!("{name}'s wave timer fires"),
        Timer::Gather => format!("{name} waits for no more promises"),
        Timer::ClockInterval => format!("{name}'s clock interval ends"),
    }
}

/// What one step has changed in a state.
fn consequences(setup: &Participants, before: &World, action: &Action, after: &World) -> Vec<String> {
    let mut comes = Vec::new();
    let actor = who(action);
    // The peer that acts is "it".
    let it = |peer: PeerId| if actor == Some(peer) { "it".to_owned() } else { setup.name_of(peer) };
    for peer in setup.ids() {
        let (Some(was), Some(is)) = (before.live(setup, peer), after.live(setup, peer)) else { continue };
        let name = it(peer);
        match (was.epoch(), is.epoch()) {
            (None, Some(epoch)) => comes.push(format!("{name} takes office for epoch {epoch}")),
            (Some(epoch), None) => comes.push(format!("{name} leaves the office of epoch {epoch}")),
            (Some(_), Some(_)) | (None, None) => {}
        }
        let stands = |live: &Live| live.participant.office().is_some_and(|office| office.is_standing());
        match (stands(was), stands(is)) {
            (false, true) if !matches!(action, Action::Stand(_)) => comes.push(format!("{name} stands for office")),
            (true, false) if is.epoch().is_none() => comes.push(format!("{name} no longer stands")),
            (_, _) => {}
        }
        let leader = |live: &Live| live.participant.election().and_then(|election| election.leader());
        if let Some((epoch, trader)) = leader(is).filter(|now| now.1 != peer && Some(*now) != leader(was)) {
            comes.push(format!("{name} recognises trader {trader} of epoch {epoch}"));
        }
        if was.is_eligible() != is.is_eligible() {
            let what = if is.is_eligible() { "is eligible now" } else { "is no longer eligible" };
            comes.push(format!("{name} {what}"));
        }
    }
    let mail = new(&before.mail, &after.mail).map(|mail| {
        let to = mail.to.map_or("any trader".to_owned(), |to| setup.name_of(to));
        (setup.name_of(mail.from), to, quoted(mail))
    });
    comes.extend(told(actor.map(|actor| setup.name_of(actor)).as_deref(), mail.collect()));
    comes.extend(
        new(&before.calls, &after.calls)
            .map(|call| format!("{} sends the ledger \"{}\"", it(call.caller.peer), asks(&call.request))),
    );
    comes.extend(
        new(&before.replies, &after.replies)
            .map(|reply| format!("it answers {} \"{}\"", setup.name_of(reply.reply.word.to.peer), answered(reply))),
    );
    if after.ledger.is_writing() && !before.ledger.is_writing() {
        comes.push("it writes".to_owned());
    }
    comes
}

/// What is under way now and was not before the step.
fn new<'a, T: std::hash::Hash + Eq>(before: &'a Bag<T>, after: &'a Bag<T>) -> impl Iterator<Item = &'a Shared<T>> {
    after.iter().filter(|one| !before.has(one))
}

/// A message in quotes, with its clock if it carries one.
fn quoted(mail: &Mail) -> String {
    let clock = if mail.clock.0 == 0 { String::new() } else { format!(" (clock {})", mail.clock) };
    format!("\"{}\"{clock}", says(&mail.body))
}

/// A state in several lines for people to read.
pub(super) fn portrait(setup: &Participants, world: &World) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    for peer in setup.ids() {
        let _ = writeln!(out, "{}", one_peer(setup, world, peer));
    }
    let _ = match &world.ledger {
        Ledgers::One(ledger) => writeln!(out, "{}", the_ledger(ledger)),
        Ledgers::Several(cluster) => writeln!(out, "{}", the_ledgers(setup, cluster)),
    };
    let under_way = under_way(setup, world);
    if !under_way.is_empty() {
        let _ =
            writeln!(out, "under way{}:", if setup.is_synchronous() { "" } else { " (each once, often, or never)" });
        for line in under_way {
            let _ = writeln!(out, "  {line}");
        }
    }
    let left = adversary(&Participants { budget: world.budget, convergence: None, ..setup.clone() });
    if let Some((_, left)) = left.split_once("; ") {
        let _ = writeln!(out, "the adversary has left: {}", if left.is_empty() { "nothing" } else { left });
    }
    let broken = world.violation.as_deref().cloned().or_else(|| setup.stuck(world, &Known::nothing()));
    // Only the first violation is kept, so nothing is said about the other properties of a state with a violation.
    let _ = match broken {
        Some(found) => write!(out, "VIOLATED HERE: {found}"),
        None => {
            let holds: Vec<String> = setup.properties().iter().map(Property::to_string).collect();
            write!(out, "holds here: {}", holds.join(" "))
        }
    };
    out
}

fn one_peer(setup: &Participants, world: &World, peer: PeerId) -> String {
    let name = setup.name_of(peer);
    let live = match &world.peers[setup.place(peer)].state {
        State::Up(live) => live,
        State::Down { durable, .. } => {
            return format!(
                "{name}: down; durable: life {}, clock at most {}",
                durable.incarnation, durable.clock_bound
            );
        }
    };
    let says = participant(&live.participant);
    format!("{name}: {}", says.join(", "))
}

fn under_way(setup: &Participants, world: &World) -> Vec<String> {
    let mail = world.mail.iter().map(|mail| {
        let to = mail.to.map_or("trader".to_owned(), |to| setup.name_of(to));
        format!("{} → {to}: {}", setup.name_of(mail.from), quoted(mail))
    });
    let calls =
        world.calls.iter().map(|call| format!("{} → ledger: {}", setup.name_of(call.caller.peer), asks(&call.request)));
    let replies = world
        .replies
        .iter()
        .map(|reply| format!("ledger → {}: {}", setup.name_of(reply.reply.word.to.peer), verdict(reply)));
    mail.chain(calls).chain(replies).collect()
}

/// What a picture shows of the first state.
pub(super) fn opening(setup: &Participants, first: &World) -> Vec<Mark> {
    let epoch = |peer| first.live(setup, peer).and_then(Live::epoch).map(|epoch| (peer, epoch));
    let in_office = setup.ids().filter_map(epoch);
    let in_office = in_office.map(|(peer, epoch)| Mark::TookOffice { at: setup.place(peer), epoch: epoch.0 });
    in_office.chain(first.mail.iter().map(|mail| sent(setup, mail))).collect()
}

fn sent(setup: &Participants, mail: &Shared<Mail>) -> Mark {
    let (from, to) = (setup.place(mail.from), mail.to.map(|to| setup.place(to)));
    Mark::Sent { from, to, message: mail.name(), label: brief_says(&mail.body) }
}

/// What a picture shows of what stays cut once faults stop.
pub(super) fn stays_cut(setup: &Participants, cut: Cut) -> Vec<Mark> {
    let ledger = setup.cast.len();
    let at_ledger = |label: &str| vec![Mark::Happened { at: ledger, label: label.to_owned() }];
    match cut {
        Cut::Nothing => Vec::new(),
        Cut::FromLedger(peer) => {
            let at = setup.place(peer);
            vec![Mark::Cut { from: at, to: ledger }, Mark::Cut { from: ledger, to: at }]
        }
        Cut::AnswersOfLedger(peer) => vec![Mark::Cut { from: ledger, to: setup.place(peer) }],
        Cut::FromOverlay(peer) => {
            let at = setup.place(peer);
            let others = setup.ids().filter(|other| *other != peer).map(|other| setup.place(other));
            others.flat_map(|other| [Mark::Cut { from: at, to: other }, Mark::Cut { from: other, to: at }]).collect()
        }
        Cut::FirstAnswers => at_ledger("loses its first answers"),
        Cut::SlowReads => at_ledger("answers reads slowly"),
        Cut::Liar => at_ledger("tells everybody how it is"),
        Cut::Ledger => at_ledger("nobody hears it"),
    }
}

/// What a picture shows of a step.
pub(super) fn marks(setup: &Participants, before: &World, action: &Action, after: &World) -> Vec<Mark> {
    let mut marks = Vec::new();
    let place = |peer: PeerId| setup.place(peer);
    let ledger = setup.cast.len();
    let happened = |at: usize, label: &str| Mark::Happened { at, label: label.to_owned() };
    match action {
        Action::Resign(peer) => marks.push(happened(place(*peer), "is asked to resign")),
        Action::Stand(peer) => marks.push(happened(place(*peer), "stands")),
        Action::Yield(peer) => marks.push(happened(place(*peer), "is told to leave")),
        Action::Fire(peer, timer) => {
            let label = match timer {
                Timer::Election => "election timer",
                Timer::LedgerRetry => "retry timer",
                Timer::LedgerGiveUp => "gives up waiting",
                Timer::Renewal => "renewal timer",
                Timer::Buyer => "wants something",
                Timer::Seller => "seller's timer",
                Timer::Wave => "wave timer",
                Timer::Gather => "waits for no more promises",
                Timer::ClockInterval => "clock interval",
            };
            marks.push(Mark::Timer { at: place(*peer), label: label.to_owned() });
        }
        Action::Pick(peer, pick) => marks.push(happened(place(*peer), &format!("picks number {pick}"))),
        Action::Tick(peer) => marks.push(happened(place(*peer), "clock rises")),
        Action::Serve(peer) => marks.push(happened(place(*peer), "a customer passes by")),
        Action::Lie(peer) => marks.push(happened(place(*peer), "is told of an epoch that does not exist")),
        Action::Consult(peer) => {
            let is_read =
                before.live(setup, *peer).is_some_and(|live| matches!(live.question, Some(LedgerRequest::Read { .. })));
            marks.push(happened(place(*peer), if is_read { "reads the books" } else { "asks for the status" }));
        }
        Action::Arrive(peer, mail) => marks.push(Mark::Arrived { at: place(*peer), message: mail.name() }),
        Action::Take(call) => marks.push(Mark::Arrived { at: ledger, message: call.name() }),
        Action::Sync => marks.push(happened(ledger, "durable")),
        Action::Confirm => marks.push(happened(ledger, "learns of it")),
        Action::Answer(peer, reply) => marks.push(Mark::Arrived { at: place(*peer), message: reply.name() }),
        Action::LeaseRunsOut => marks.push(Mark::Timer { at: ledger, label: "lease runs out".to_owned() }),
        Action::At(at, action) => marks.extend(marks_at(setup, before, *at, action)),
        Action::Stray(_) => marks.push(happened(ledger, "the store is given a late append")),
        Action::Wipe => marks.push(happened(ledger, "the store is wiped")),
        Action::PutBack => marks.push(happened(ledger, "the store is put back")),
        Action::Snapshot => marks.push(happened(ledger, "snapshot")),
        Action::Crash(peer) => marks.push(Mark::Crashed { at: place(*peer) }),
        Action::Restart(peer) => marks.push(Mark::Restarted { at: place(*peer) }),
        Action::CrashLedger { kept } => {
            marks.push(Mark::Crashed { at: ledger });
            marks.push(Mark::Restarted { at: ledger });
            if before.ledger.one().is_some_and(|ledger| ledger.is_unsynced()) {
                marks.push(happened(ledger, if *kept { "the batch is kept" } else { "the batch is lost" }));
            }
        }
    }
    if after.ledger.is_writing() && !before.ledger.is_writing() {
        marks.push(happened(ledger, "writes"));
    }
    for peer in setup.ids() {
        let epoch = |world: &World| world.live(setup, peer).and_then(Live::epoch);
        match (epoch(before), epoch(after)) {
            (None, Some(epoch)) => marks.push(Mark::TookOffice { at: place(peer), epoch: epoch.0 }),
            (Some(_), None) if after.live(setup, peer).is_some() => {
                marks.push(Mark::LeftOffice { at: place(peer), label: "steps down".to_owned() });
            }
            (Some(_) | None, _) => {}
        }
    }
    marks.extend(new(&before.mail, &after.mail).map(|mail| sent(setup, mail)));
    marks.extend(new(&before.calls, &after.calls).map(|call| Mark::Sent {
        from: place(call.caller.peer),
        to: Some(ledger),
        message: call.name(),
        label: brief_question(&call.request),
    }));
    marks.extend(new(&before.replies, &after.replies).map(|reply| Mark::Sent {
        from: ledger,
        to: Some(place(reply.reply.word.to.peer)),
        message: reply.name(),
        label: brief_verdict(reply),
    }));
    if let Some(found) = &after.violation {
        marks.push(Mark::Violated { at: None, label: format!("{}: {}", found.property, found.what) });
    }
    marks
}
