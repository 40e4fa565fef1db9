//! States and steps in words, and what a picture shows of them.

use std::fmt::Write as _;

use bazaar_protocol::{
    election::Phase,
    id::PeerId,
    input::{Choice, Timer},
    invariant::Property,
    ledger::Ledger,
    message::{Envelope, Route},
};

use super::{
    Convergence, Disk, Opening, Place, System, Way,
    world::{Action, Budget, Channel, Live, Node, Parcel, World},
};
use crate::{
    subject::Subject,
    subject::known::Known,
    subject::picture::Mark,
    subject::shared::{Shared, digest},
    subject::words::{
        answered, asks, brief_question, brief_says, brief_verdict, joined, participant, reading, says, the_ledger, told,
    },
};

fn place(setup: &System, place: Place) -> String {
    match place {
        Place::Peer(peer) => setup.name_of(peer),
        Place::Ledger => "the ledger".to_owned(),
    }
}

/// What the adversary may do, and how often.
pub(super) fn adversary(setup: &System) -> String {
    let disk = match setup.disk {
        Disk::AtOnce => "instant disks",
        Disk::InSteps => "slow disks",
    };
    let opening = match setup.opening {
        Opening::AtTheStart => "from the very start",
        Opening::InOffice => "from where one peer is in office and all know it",
        Opening::Deposited => "from where one peer is in office and all goods are deposited",
    };
    let cuts = if setup.budget.cuts > 0 && !setup.weak.is_empty() {
        let weak = setup.weak.iter().map(|way| format!("{} and {}", place(setup, way.from), place(setup, way.to)));
        format!(" (between {})", weak.collect::<Vec<_>>().join(", between "))
    } else {
        String::new()
    };
    let after = match setup.convergence {
        None => String::new(),
        Some(Convergence { within, lasting, cut, restarts }) => {
            let cut = cut.map_or(String::new(), |way| {
                format!(" while {} and {} stay cut off from each other", place(setup, way.from), place(setup, way.to))
            });
            let who = if restarts { "crashed peers come back" } else { "crashed peers stay away" };
            format!(
                "; then no more faults{cut}, {who}, at most {within} steps of the fair schedule from every state until \
                 all has been well for {lasting:?}"
            )
        }
    };
    format!("{opening}, messages late by any time, {disk}; {}{cuts}{after}", budgets(setup.budget))
}

fn budgets(budget: Budget) -> String {
    let Budget {
        alarms,
        retries,
        give_ups,
        renewals,
        resends,
        ticks,
        crashes,
        restarts,
        ledger_crashes,
        put_backs,
        snapshots,
        cuts,
        losses,
        doubles,
        swaps,
        reports,
    } = budget;
    let budgets = [
        (alarms, "election timer", "election timers"),
        (retries, "repeated question to the ledger", "repeated questions to the ledger"),
        (give_ups, "abandoned wait for the ledger", "abandoned waits for the ledger"),
        (renewals, "renewal", "renewals"),
        (resends, "repeated message of a client", "repeated messages of clients"),
        (ticks, "clock interval that ends", "clock intervals that end"),
        (crashes, "crash of a peer", "crashes of peers"),
        (restarts, "restart", "restarts"),
        (ledger_crashes, "crash of the ledger", "crashes of the ledger"),
        (put_backs, "old image of the ledger put back", "old images of the ledger put back"),
        (snapshots, "snapshot", "snapshots"),
        (cuts, "cut of a connection, one way or both", "cuts of connections, one way or both"),
        (losses, "loss", "losses"),
        (doubles, "duplicated message", "duplicated messages"),
        (swaps, "pair of messages out of order", "pairs of messages out of order"),
        (reports, "report of the ledger's state, unasked", "reports of the ledger's state, unasked"),
    ];
    let budgets = budgets.into_iter().filter(|(count, ..)| *count > 0);
    let budgets: Vec<String> =
        budgets.map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many })).collect();
    if budgets.is_empty() { "nothing else".to_owned() } else { budgets.join(", ") }
}

/// A step as a sentence, with its consequences.
pub(super) fn sentence(setup: &System, before: &World, action: &Action, after: &World) -> String {
    let name = |peer: &PeerId| setup.name_of(*peer);
    let next =
        |way: &Way| before.next_on(setup, *way).map_or("nothing".to_owned(), |parcel| quoted(setup, *way, parcel));
    let ends = |way: &Way| (place(setup, way.from), place(setup, way.to));
    let what = match action {
        Action::Arrive(way) => {
            let (from, to) = ends(way);
            format!("{to} hears from {from} {}", next(way))
        }
        Action::Lose(way) => {
            let (from, to) = ends(way);
            format!("{} is lost on its way from {from} to {to}", next(way))
        }
        Action::Double(way) => {
            let (from, to) = ends(way);
            format!("{} is duplicated on its way from {from} to {to}", next(way))
        }
        Action::Swap(way) => {
            let (from, to) = ends(way);
            format!("{} is overtaken on its way from {from} to {to}", next(way))
        }
        Action::Cut { way, both } => {
            let (from, to) = ends(way);
            if *both {
                format!("the connection between {from} and {to} is cut")
            } else {
                format!("nothing gets through from {from} to {to} any more")
            }
        }
        Action::Heal(way) => {
            let (from, to) = ends(way);
            format!("the connection between {from} and {to} works again")
        }
        Action::Notice(peer, to) => {
            let works = before.is_connected(setup, Way { from: Place::Peer(*peer), to: *to });
            let works = if works { "works" } else { "does not work" };
            format!("{} learns that its connection to {} {works}", name(peer), place(setup, *to))
        }
        Action::Consult(peer) => {
            format!("{} asks the ledger {} and is answered", name(peer), next(&Way::to_ledger(*peer)))
        }
        Action::Report(peer) => format!("the ledger tells {} how far the books reach", name(peer)),
        Action::Sync => "the ledger's write is durable".to_owned(),
        Action::LeaseRunsOut => "the lease runs out".to_owned(),
        Action::Answer => "the ledger learns that its write is durable".to_owned(),
        Action::Read(nth) => match before.ledger.reads().get(*nth) {
            Some(read) => format!("the ledger's store answers the read of {}", name(&read.word.to.peer)),
            None => "the ledger's store answers nothing".to_owned(),
        },
        Action::Snapshot => "the ledger's store takes a snapshot of the books".to_owned(),
        Action::CrashLedger => "the ledger crashes and comes back with only what was durable".to_owned(),
        Action::PutBack { batches: 0 } => "the ledger is replaced by an empty one".to_owned(),
        Action::PutBack { batches: 1 } => "an old image of the ledger is put back, with its first batch".to_owned(),
        Action::PutBack { batches } => {
            format!("an old image of the ledger is put back, with its first {batches} batches")
        }
        Action::Persist(peer) => format!("the write of {} is durable", name(peer)),
        Action::Confirm(peer) => format!("{} learns that its write is durable", name(peer)),
        Action::Fire(peer, timer) => fires(setup, before, *peer, *timer),
        Action::Pick(peer, Choice::Wish, pick) => format!("{} picks what it wants (number {pick})", name(peer)),
        Action::Pick(peer, Choice::Offer, pick) => {
            format!("{} picks its next deposit (number {pick})", name(peer))
        }
        Action::Crash(peer) => format!("{} crashes", name(peer)),
        Action::Restart(peer) => format!("{} comes back", name(peer)),
    };
    let comes = consequences(setup, before, action, after);
    joined(&what, &comes, after.violation.as_deref())
}

/// The peer that takes the step, if a peer does.
fn who(action: &Action) -> Option<PeerId> {
    match action {
        Action::Arrive(Way { to: Place::Peer(peer), .. })
        | Action::Notice(peer, _)
        | Action::Consult(peer)
        | Action::Report(peer)
        | Action::Persist(peer)
        | Action::Confirm(peer)
        | Action::Fire(peer, _)
        | Action::Pick(peer, ..)
        | Action::Crash(peer)
        | Action::Restart(peer) => Some(*peer),
        Action::Arrive(Way { to: Place::Ledger, .. })
        | Action::Lose(_)
        | Action::Double(_)
        | Action::Swap(_)
        | Action::Cut { .. }
        | Action::Heal(_)
        | Action::Sync
        | Action::Answer
        | Action::Read(_)
        | Action::Snapshot
        | Action::LeaseRunsOut
        | Action::CrashLedger
        | Action::PutBack { .. } => None,
    }
}

fn phase(live: &Live) -> Option<Phase> {
    live.participant().election().map(|election| election.phase())
}

fn fires(setup: &System, world: &World, peer: PeerId, timer: Timer) -> String {
    let name = setup.name_of(peer);
    let live = world.live(peer);
    let is_due = live.and_then(|live| live.timers.get(&timer)).is_some_and(std::time::Duration::is_zero);
    match timer {
        Timer::Election => match live.and_then(phase) {
            Some(Phase::Following { leader, .. }) => {
                format!("{name}'s election timer fires: it has not heard from trader {leader} for too long")
            }
            Some(Phase::Onset | Phase::Roused) => format!("{name}'s election timer fires: its turn has come"),
            Some(Phase::Calling) => format!("{name}'s answer timer fires: nobody higher has answered"),
            Some(Phase::Asking) => format!("{name}'s timer fires: nobody eligible has answered"),
            Some(Phase::Waiting) => format!("{name}'s victory timer fires: no coordinator has appeared"),
            Some(Phase::Standing | Phase::Leading { .. }) | None => format!("{name}'s election timer fires"),
        },
        Timer::LedgerRetry => format!("{name}'s retry timer fires: it asks the ledger again"),
        Timer::LedgerGiveUp => format!("{name} gives up waiting for the ledger"),
        Timer::Renewal => format!("{name}'s renewal timer fires"),
        Timer::Buyer if is_due => format!("{name} wants something"),
        Timer::Buyer => format!("{name}'s timer fires: it asks again"),
        Timer::Seller if is_due => format!("{name} has goods to deposit"),
        Timer::Seller => format!("{name}'s timer fires: it deposits again, or asks what was sold"),
        Timer::Wave => format!("{name}'s wave timer fires"),
        Timer::Gather => format!("{name} waits for no more promises"),
        Timer::ClockInterval => format!("{name}'s clock interval ends"),
    }
}

/// What one step has changed in a state.
fn consequences(setup: &System, before: &World, action: &Action, after: &World) -> Vec<String> {
    let mut comes = Vec::new();
    let actor = who(action);
    for peer in setup.ids() {
        let (Some(was), Some(is)) = (before.live(peer), after.live(peer)) else { continue };
        // The peer that acts is "it".
        let name = if actor == Some(peer) { "it".to_owned() } else { setup.name_of(peer) };
        match (was.epoch(), is.epoch()) {
            (None, Some(epoch)) => comes.push(format!("{name} takes office for epoch {epoch}")),
            (Some(epoch), None) => comes.push(format!("{name} leaves the office of epoch {epoch}")),
            (Some(_), Some(_)) | (None, None) => {}
        }
        match (was.is_standing(), is.is_standing()) {
            (false, true) => comes.push(format!("{name} stands for office")),
            (true, false) if is.epoch().is_none() => comes.push(format!("{name} no longer stands")),
            (_, _) => {}
        }
        let leader = |live: &Live| live.participant().leader().filter(|(_, leader)| *leader != peer);
        if let Some((epoch, trader)) = leader(is).filter(|now| Some(*now) != leader(was)) {
            comes.push(format!("{name} recognises trader {trader} of epoch {epoch}"));
        }
        if is.writes.len() > was.writes.len() {
            comes.push(format!("{name} asks for a write"));
        }
    }
    let sent = sent(setup, before, action, after).into_iter();
    let sent = sent.map(|(way, parcel)| (place(setup, way.from), place(setup, way.to), quoted(setup, way, parcel)));
    // A step that sends something and is not a peer's is the ledger's.
    let actor = place(setup, actor.map_or(Place::Ledger, Place::Peer));
    comes.extend(told(Some(&actor), sent.collect()));
    if after.ledger.is_unsynced() && !before.ledger.is_unsynced() {
        comes.push("it writes".to_owned());
    }
    if after.ledger.waiting() > before.ledger.waiting() {
        comes.push("the call waits there".to_owned());
    }
    if has_stopped(after) && !has_stopped(before) {
        comes.push("the ledger holds less than it has shown, and stops".to_owned());
    }
    if after.is_over() {
        comes.push("nobody could know that it holds less than before: the history ends here".to_owned());
    }
    comes
}

fn has_stopped(world: &World) -> bool {
    world.machine().is_some_and(Ledger::has_failed)
}

/// What was put under way in a step.
fn sent<'a>(setup: &System, before: &World, action: &Action, after: &'a World) -> Vec<(Way, &'a Shared<Parcel>)> {
    let mut all = Vec::new();
    for ((way, was), is) in setup.ways().zip(&before.channels).zip(&after.channels) {
        let taken = match action {
            Action::Arrive(taken) => usize::from(*taken == way),
            // It goes and is answered in one step.
            Action::Consult(peer) => usize::from(Way::to_ledger(*peer) == way),
            Action::Lose(_) | Action::Double(_) | Action::Swap(_) | Action::Cut { .. } | Action::Heal(_) => continue,
            Action::Notice(..)
            | Action::Report(_)
            | Action::Sync
            | Action::Answer
            | Action::Read(_)
            | Action::Snapshot
            | Action::LeaseRunsOut
            | Action::CrashLedger
            | Action::PutBack { .. }
            | Action::Persist(_)
            | Action::Confirm(_)
            | Action::Fire(..)
            | Action::Pick(..)
            | Action::Crash(_)
            | Action::Restart(_) => 0,
        };
        let left = was.queue.len() - taken.min(was.queue.len());
        all.extend(is.queue.iter().skip(left).map(|parcel| (way, parcel)));
    }
    all
}

/// A parcel in quotes, with its clock. Its source and its destination are named only where they are not the two ends of
/// the way.
fn quoted(setup: &System, way: Way, parcel: &Parcel) -> String {
    match parcel {
        Parcel::Envelope(envelope) => {
            let Envelope { source, clock, route, body, multicast } = envelope;
            let of = (way.from != Place::Peer(*source)).then(|| format!("of {}", setup.name_of(*source)));
            let to = match route {
                Route::Flood { to: None, .. } => Some("to all".to_owned()),
                Route::Flood { to: Some(to), .. } => Some(format!("flooded to {}", setup.name_of(*to))),
                Route::Direct { to, .. } if way.to == Place::Peer(*to) => None,
                Route::Direct { to, .. } => Some(format!("for {}", setup.name_of(*to))),
            };
            let clock = format!("clock {}", reading(clock.0));
            let multicast = (multicast.0 > 0).then(|| format!("highest multicast {}", reading(multicast.0)));
            let all: Vec<String> = of.into_iter().chain(to).chain([clock]).chain(multicast).collect();
            format!("\"{}\" ({})", says(body), all.join(", "))
        }
        Parcel::Call(call) => format!("\"{}\"", asks(&call.request)),
        Parcel::Reply(reply) => format!("\"{}\"", answered(reply)),
    }
}

/// A state in several lines for people to read.
pub(super) fn portrait(setup: &System, world: &World) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    for (peer, node) in setup.ids().zip(&world.nodes) {
        let _ = writeln!(out, "{}", one_peer(setup, world, peer, node));
    }
    let _ = writeln!(out, "{}", the_ledger(&world.ledger));
    if world.observer.is_put_back() {
        let durable = world.observer.log().records().len();
        let _ = writeln!(out, "  an old image has been put back: {durable} records were durable");
    }
    for (way, channel) in setup.ways().zip(&world.channels) {
        let Channel { is_cut, queue } = &**channel;
        if *is_cut || !queue.is_empty() {
            let cut = if *is_cut { " (cut)" } else { "" };
            let _ = writeln!(out, "{} → {}{cut}", place(setup, way.from), place(setup, way.to));
            for parcel in queue {
                let _ = writeln!(out, "  {}", quoted(setup, way, parcel));
            }
        }
    }
    let _ = writeln!(out, "the adversary has left: {}", budgets(world.budget));
    let broken = world.violation.as_deref().cloned().or_else(|| setup.stuck(world, &Known::nothing()));
    let holds: Vec<String> = setup
        .properties()
        .into_iter()
        .filter(|property| broken.as_ref().is_none_or(|found| found.property != *property))
        .map(|property: Property| property.to_string())
        .collect();
    let _ = write!(out, "holds here: {}", holds.join(" "));
    if let Some(found) = broken {
        let _ = write!(out, "\nVIOLATED HERE: {found}");
    }
    out
}

fn one_peer(setup: &System, world: &World, peer: PeerId, node: &Node) -> String {
    let name = setup.name_of(peer);
    let live = match node {
        Node::Up(live) => live,
        Node::Down { durable, .. } => {
            let bound = reading(durable.clock_bound.0);
            return format!("{name}: down; durable: life {}, clock at most {bound}", durable.incarnation);
        }
    };
    let mut says = participant(live.participant());
    let links: Vec<String> = live.peer.view().links.iter().map(ToString::to_string).collect();
    says.push(if links.is_empty() { "hears nobody".to_owned() } else { format!("hears {}", links.join(", ")) });
    if !live.hears_ledger {
        says.push("does not hear the ledger".to_owned());
    }
    if !live.writes.is_empty() || live.synced.is_some() {
        says.push(format!("waits for its disk (durable: clock at most {})", reading(live.durable.clock_bound.0)));
    }
    let news: Vec<String> =
        live.places().filter(|to| world.is_news(setup, live, *to)).map(|to| place(setup, to)).collect();
    if !news.is_empty() {
        says.push(format!("does not yet know the state of its connection to {}", news.join(" and to ")));
    }
    format!("{name}: {}", says.join(", "))
}

/// What a picture shows of the first state.
pub(super) fn opening(setup: &System, first: &World) -> Vec<Mark> {
    let lane = |place: Place| match place {
        Place::Peer(peer) => peer.0 as usize,
        Place::Ledger => setup.cast.len(),
    };
    let epoch = |peer: PeerId| first.live(peer).and_then(Live::epoch).map(|epoch| (peer, epoch));
    let in_office = setup.ids().filter_map(epoch);
    let mut marks: Vec<Mark> =
        in_office.map(|(peer, epoch)| Mark::TookOffice { at: peer.0 as usize, epoch: epoch.0 }).collect();
    for (way, channel) in setup.ways().zip(&first.channels) {
        let (from, to) = (lane(way.from), lane(way.to));
        if channel.is_cut {
            marks.push(Mark::Cut { from, to });
        }
        marks.extend(channel.queue.iter().map(|parcel| sent_on(from, to, parcel)));
    }
    marks
}

fn sent_on(from: usize, to: usize, parcel: &Shared<Parcel>) -> Mark {
    let label = match &**parcel {
        Parcel::Envelope(envelope) => brief_says(&envelope.body),
        Parcel::Call(call) => brief_question(&call.request),
        Parcel::Reply(reply) => brief_verdict(reply),
    };
    Mark::Sent { from, to: Some(to), message: named(from, to, parcel), label }
}

/// A flood is the same on every link, so its name in a picture includes the link.
fn named(from: usize, to: usize, parcel: &Shared<Parcel>) -> u64 {
    digest(&(parcel.name(), from, to))
}

/// What a picture shows of connections and peers that have changed all at once.
pub(super) fn connections(setup: &System, before: &World, after: &World) -> Vec<Mark> {
    let lane = |place: Place| match place {
        Place::Peer(peer) => peer.0 as usize,
        Place::Ledger => setup.cast.len(),
    };
    let mut marks = Vec::new();
    for ((way, was), is) in setup.ways().zip(&before.channels).zip(&after.channels) {
        let (from, to) = (lane(way.from), lane(way.to));
        match (was.is_cut, is.is_cut) {
            (false, true) => {
                marks.push(Mark::Cut { from, to });
                marks.extend(was.queue.iter().map(|parcel| Mark::Lost { message: named(from, to, parcel) }));
            }
            (true, false) => marks.push(Mark::Healed { from, to }),
            (true, true) | (false, false) => {}
        }
    }
    let is_back = |peer: &PeerId| before.live(*peer).is_none() && after.live(*peer).is_some();
    marks.extend(setup.ids().filter(is_back).map(|peer| Mark::Restarted { at: peer.0 as usize }));
    marks
}

/// What a picture shows of a step.
pub(super) fn marks(setup: &System, before: &World, action: &Action, after: &World) -> Vec<Mark> {
    let mut marks = happenings(setup, before, action, after);
    if let Some(found) = after.violation.as_deref().cloned().or_else(|| setup.stuck(after, &Known::nothing())) {
        marks.push(Mark::Violated { at: None, label: format!("{}: {}", found.property, found.what) });
    }
    marks
}

/// What a picture shows of a step, without judging the state it leads to.
pub(super) fn happenings(setup: &System, before: &World, action: &Action, after: &World) -> Vec<Mark> {
    let mut marks = Vec::new();
    let ledger = setup.cast.len();
    let lane = |place: Place| match place {
        Place::Peer(peer) => peer.0 as usize,
        Place::Ledger => ledger,
    };
    let peer_lane = |peer: &PeerId| peer.0 as usize;
    let happened = |at: usize, label: &str| Mark::Happened { at, label: label.to_owned() };
    let front = |way: &Way| {
        let parcel = before.channel(setup, *way).and_then(|channel| channel.queue.front());
        parcel.map(|parcel| named(lane(way.from), lane(way.to), parcel))
    };
    match action {
        Action::Arrive(way) => {
            marks.extend(front(way).map(|message| Mark::Arrived { at: lane(way.to), message }));
        }
        Action::Lose(way) => marks.extend(front(way).map(|message| Mark::Lost { message })),
        Action::Double(way) => marks.push(happened(lane(way.from), "what it sent is duplicated")),
        Action::Swap(way) => marks.push(happened(lane(way.from), "what it sent is overtaken")),
        Action::Cut { way, both } => {
            let ways = if *both { vec![*way, way.back()] } else { vec![*way] };
            for way in ways {
                marks.push(Mark::Cut { from: lane(way.from), to: lane(way.to) });
                let queue = before.channel(setup, way).map(|channel| &channel.queue);
                marks.extend(
                    queue
                        .into_iter()
                        .flatten()
                        .map(|parcel| Mark::Lost { message: named(lane(way.from), lane(way.to), parcel) }),
                );
            }
        }
        Action::Heal(way) => {
            for way in [*way, way.back()] {
                if before.channel(setup, way).is_some_and(|channel| channel.is_cut) {
                    marks.push(Mark::Healed { from: lane(way.from), to: lane(way.to) });
                }
            }
        }
        Action::Notice(peer, to) => {
            let works = before.is_connected(setup, Way { from: Place::Peer(*peer), to: *to });
            let works = if works { "works" } else { "is down" };
            let what = format!("learns: its connection to {} {works}", place(setup, *to));
            marks.push(happened(peer_lane(peer), &what));
        }
        Action::Consult(peer) => {
            // It is answered in the same step.
            marks.extend(front(&Way::to_ledger(*peer)).map(|message| Mark::Arrived { at: ledger, message }));
            marks.push(happened(peer_lane(peer), "is answered"));
        }
        Action::Report(peer) => marks.push(happened(peer_lane(peer), "is told how far the books reach")),
        Action::Sync => marks.push(happened(ledger, "durable")),
        Action::LeaseRunsOut => marks.push(Mark::Timer { at: ledger, label: "lease runs out".to_owned() }),
        Action::Answer => {}
        Action::Read(_) => marks.push(happened(ledger, "reads")),
        Action::Snapshot => marks.push(happened(ledger, "snapshot")),
        Action::CrashLedger => {
            marks.push(Mark::Crashed { at: ledger });
            marks.push(Mark::Restarted { at: ledger });
            if before.ledger.is_unsynced() {
                marks.push(happened(ledger, "the batch is lost"));
            } else if before.ledger.is_unanswered() {
                marks.push(happened(ledger, "the batch is kept"));
            }
        }
        Action::PutBack { batches } => {
            marks.push(Mark::Crashed { at: ledger });
            marks.push(Mark::Restarted { at: ledger });
            marks.push(happened(ledger, &format!("an old image with {batches} batches")));
        }
        Action::Persist(peer) => marks.push(happened(peer_lane(peer), "durable")),
        Action::Confirm(peer) => marks.push(happened(peer_lane(peer), "learns that it is durable")),
        Action::Fire(peer, timer) => {
            let label = match timer {
                Timer::Election => "election timer",
                Timer::LedgerRetry => "retry timer",
                Timer::LedgerGiveUp => "gives up waiting",
                Timer::Renewal => "renewal timer",
                Timer::Buyer => "buyer's timer",
                Timer::Seller => "seller's timer",
                Timer::Wave => "wave timer",
                Timer::Gather => "waits for no more promises",
                Timer::ClockInterval => "clock interval",
            };
            marks.push(Mark::Timer { at: peer_lane(peer), label: label.to_owned() });
        }
        Action::Pick(peer, _, pick) => marks.push(happened(peer_lane(peer), &format!("picks number {pick}"))),
        Action::Crash(peer) => marks.push(Mark::Crashed { at: peer_lane(peer) }),
        Action::Restart(peer) => marks.push(Mark::Restarted { at: peer_lane(peer) }),
    }
    if after.ledger.is_unsynced() && !before.ledger.is_unsynced() {
        marks.push(happened(ledger, "writes"));
    }
    if has_stopped(after) && !has_stopped(before) {
        marks.push(happened(ledger, "holds less than it has shown, and stops"));
    }
    for peer in setup.ids() {
        let epoch = |world: &World| world.live(peer).and_then(Live::epoch);
        match (epoch(before), epoch(after)) {
            (None, Some(epoch)) => marks.push(Mark::TookOffice { at: peer_lane(&peer), epoch: epoch.0 }),
            (Some(_), None) if after.live(peer).is_some() => {
                marks.push(Mark::LeftOffice { at: peer_lane(&peer), label: "steps down".to_owned() });
            }
            (Some(_) | None, _) => {}
        }
    }
    let sent = sent(setup, before, action, after).into_iter();
    marks.extend(sent.map(|(way, parcel)| sent_on(lane(way.from), lane(way.to), parcel)));
    marks
}
