//! Messages, records, calls and the states of machines, in words.

use bazaar_protocol::{
    account::Outcome,
    buyer::Buyer,
    election::{Election, ElectionMessage, Eligibility, Phase},
    id::{Epoch, Incarnation, Sequence},
    invariant::Violation,
    ledger::{Ledger, LedgerAnswer, LedgerRequest, Verdict},
    message::{Body, ClientMessage, Promise, TraderMessage},
    office::Office,
    participant::Participant,
    record::{Batch, Entry, Record},
    seller::Seller,
};

use crate::subject::{
    ledger::{LedgerNode, Reply},
    shared::AGE,
};

/// The content of a message, as a sentence of its sender.
pub(crate) fn says(body: &Body) -> String {
    match body {
        Body::Election(message) => match message {
            ElectionMessage::Call => "is anybody higher?".to_owned(),
            ElectionMessage::Anyone => "is anybody eligible?".to_owned(),
            ElectionMessage::Answer => "ok, leave it to me".to_owned(),
            ElectionMessage::Leader { epoch, leader } => format!("I hear trader {leader} of epoch {epoch}"),
            ElectionMessage::Coordinator { epoch } => format!("I am coordinator, epoch {epoch}"),
            ElectionMessage::Resigned { epoch } => format!("I have resigned epoch {epoch}"),
        },
        Body::Heartbeat { epoch, .. } => format!("heartbeat, epoch {epoch}"),
        Body::Wave => "what do you promise?".to_owned(),
        Body::Promises { promises, .. } => {
            let own = promises.iter().map(|(buyer, promise)| format!("of {buyer} {}", promised(promise)));
            let all: Vec<String> = own.collect();
            if all.is_empty() { "no promises".to_owned() } else { all.join("; ") }
        }
        Body::Clock => "my clock".to_owned(),
        Body::Client(ClientMessage::Request(request)) => {
            let previous = request.previous.map_or(String::new(), |previous| format!(", after {}", number(previous.0)));
            let (id, item) = (number(request.id.sequence.0), request.item);
            format!("request {id}: {} of item {item}{previous}", request.quantity)
        }
        Body::Client(ClientMessage::Deposit(deposit)) => {
            let previous = deposit.previous.map_or(String::new(), |previous| format!(", after {}", number(previous.0)));
            let (id, item) = (number(deposit.id.number.0), deposit.item);
            format!("deposit {id}: {} of item {item}{previous}", deposit.count)
        }
        Body::Client(ClientMessage::Join { .. }) => "my seat again, please".to_owned(),
        Body::Client(ClientMessage::AskSales { after }) => match after {
            Some(after) => format!("what was sold after sale {after}?"),
            None => "what was sold?".to_owned(),
        },
        Body::Trader(TraderMessage::Buyer(status)) => {
            let open = status.open.as_ref().map(|open| format!("request {} waits", number(open.id.sequence.0)));
            let last = status.last.as_ref().map(|(last, outcome)| {
                let outcome = match outcome {
                    Outcome::Sold(_) => "filled",
                    Outcome::Refused { .. } => "refused",
                };
                format!("request {} was {outcome}", number(last.0))
            });
            let all: Vec<String> = open.into_iter().chain(last).collect();
            if all.is_empty() { "nothing of yours is in the books".to_owned() } else { all.join(", ") }
        }
        Body::Trader(TraderMessage::Seller(status)) => {
            let deposit = status.deposit.as_ref().map_or("no deposit".to_owned(), |deposit| {
                format!("deposit {}, {} left", number(deposit.number.0), deposit.left)
            });
            format!("{deposit}, {} sales, earned {}", status.sales, status.earned)
        }
    }
}

fn promised(promise: &Promise) -> String {
    let open = promise.open.as_ref();
    let open = open.map_or(String::new(), |open| format!(", after request {}", number(open.id.sequence.0)));
    format!("nothing more up to {}{open}", promise.above)
}

/// The content of a message, in few words, for a picture.
pub(crate) fn brief_says(body: &Body) -> String {
    match body {
        Body::Client(ClientMessage::Request(request)) => {
            format!("request {}: {} of item {}", number(request.id.sequence.0), request.quantity, request.item)
        }
        Body::Client(ClientMessage::Deposit(deposit)) => {
            format!("deposit {}: {} of item {}", number(deposit.id.number.0), deposit.count, deposit.item)
        }
        Body::Trader(TraderMessage::Seller(status)) => {
            let deposit = status.deposit.as_ref().map_or("no deposit".to_owned(), |deposit| {
                format!("deposit {}: {} left", number(deposit.number.0), deposit.left)
            });
            if status.sales.0 == 0 { deposit } else { format!("{deposit}, earned {}", status.earned) }
        }
        Body::Election(_)
        | Body::Heartbeat { .. }
        | Body::Wave
        | Body::Promises { .. }
        | Body::Clock
        | Body::Client(ClientMessage::AskSales { .. } | ClientMessage::Join { .. })
        | Body::Trader(TraderMessage::Buyer(_)) => says(body),
    }
}

/// A request or deposit number for people to read: the incarnation that assigned it, if there is one, and its number in
/// that life.
pub(crate) fn number(n: u64) -> String {
    match Sequence(n).split() {
        (Incarnation(0), number) => number.to_string(),
        (life, number) => format!("{life}.{number}"),
    }
}

/// A record of the log, with its clock reading.
pub(crate) fn record(record: &Record) -> String {
    let what = match &record.entry {
        Entry::Claimed { epoch, holder, .. } => format!("epoch {epoch} claimed by peer {}", holder.peer),
        Entry::Deposited(deposit) => {
            format!("deposit {} of peer {}", number(deposit.id.number.0), deposit.id.seller)
        }
        Entry::Admitted { request, .. } => {
            format!("request {} of peer {}", number(request.id.sequence.0), request.id.buyer)
        }
        Entry::Sold(sale) => {
            format!(
                "sale {} of peer {} to peer {} for {}",
                sale.number,
                sale.deposit.seller,
                sale.request.buyer,
                sale.paid()
            )
        }
        Entry::Refused { request, leftover } => {
            let what = format!("refusal of request {} of peer {}", number(request.sequence.0), request.buyer);
            leftover.map_or(what.clone(), |deposit| {
                format!("{what} with deposit {} of peer {} left over", number(deposit.number.0), deposit.seller)
            })
        }
        Entry::Seated { buyer, above } => format!("a seat for peer {}, above {above}", buyer.peer),
        Entry::Unseated { buyer } => format!("no seat for peer {buyer}"),
        Entry::Resigned => "resignation".to_owned(),
    };
    format!("{what} @{}", record.stamp.time)
}

/// An append with its epoch, its position and its records.
pub(crate) fn appends(batch: &Batch) -> String {
    let records: Vec<String> = batch.records.iter().map(record).collect();
    let what = if records.is_empty() { "renewal".to_owned() } else { records.join(", ") };
    format!("[epoch {}, position {}] {what}", batch.epoch, batch.position)
}

/// An append, for use in a sentence.
pub(crate) fn planned(batch: &Batch) -> String {
    let Batch { epoch, position, records, .. } = batch;
    let what = |record: &Record| match &record.entry {
        Entry::Claimed { epoch, .. } => format!("claim of epoch {epoch}"),
        Entry::Deposited(deposit) => format!("deposit {} of peer {}", number(deposit.id.number.0), deposit.id.seller),
        Entry::Admitted { request, .. } => {
            format!("request {} of peer {}", number(request.id.sequence.0), request.id.buyer)
        }
        Entry::Sold(sale) => format!("sale {} to peer {}", sale.number, sale.request.buyer),
        Entry::Refused { request, leftover } => {
            let what = format!("refusal of request {} of peer {}", number(request.sequence.0), request.buyer);
            leftover.map_or(what.clone(), |deposit| {
                format!("{what} with deposit {} of peer {} left over", number(deposit.number.0), deposit.seller)
            })
        }
        Entry::Seated { buyer, above } => format!("a seat for peer {}, above {above}", buyer.peer),
        Entry::Unseated { buyer } => format!("no seat for peer {buyer}"),
        Entry::Resigned => "resignation".to_owned(),
    };
    match records.iter().map(what).collect::<Vec<_>>().as_slice() {
        [] => format!("renewal of epoch {epoch} (at {position})"),
        [claim] if matches!(records[0].entry, Entry::Claimed { .. }) => format!("{claim} (at {position})"),
        all => format!("{} (epoch {epoch}, at {position})", all.join(", ")),
    }
}

/// An answer of the ledger, for use in a sentence.
pub(crate) fn answered(Reply { reply, batch }: &Reply) -> String {
    let verdict = match &reply.answer {
        LedgerAnswer::Status => return format!("epoch {}, head {}", reply.word.status.epoch(), reply.word.status.head),
        LedgerAnswer::Chunk { id, of, .. } => return format!("chunk {} of {of} of a snapshot", id.index + 1),
        LedgerAnswer::Records { from, records } => return format!("{} records from {from} on", records.len()),
        LedgerAnswer::Append { verdict, .. } => verdict,
    };
    let what = match verdict {
        Verdict::Appended { contested: false, .. } => "appended",
        Verdict::Appended { contested: true, .. } => "appended; the term is contested",
        Verdict::Fenced => "fenced",
        Verdict::Conflict => "conflict",
        Verdict::LeaseActive => "lease active",
    };
    batch.as_ref().map_or(what.to_owned(), |batch| format!("{what}: {}", planned(batch)))
}

/// Sentences that say which peer tells which others what. The peer that acts is "it", and what it tells several peers
/// is said once.
pub(crate) fn told(actor: Option<&str>, all: Vec<(String, String, String)>) -> Vec<String> {
    let mut told: Vec<(String, Vec<String>, String)> = Vec::new();
    for (from, to, what) in all {
        match told.iter_mut().find(|(same_from, _, same)| *same_from == from && *same == what) {
            Some((_, others, _)) => others.push(to),
            None => told.push((from, vec![to], what)),
        }
    }
    let line = |(from, to, what): (String, Vec<String>, String)| {
        let from = if actor == Some(from.as_str()) { "it" } else { from.as_str() };
        format!("{from} tells {} {what}", to.join(" and "))
    };
    told.into_iter().map(line).collect()
}

/// A step and its consequences, in one sentence.
pub(crate) fn joined(what: &str, comes: &[String], violation: Option<&Violation>) -> String {
    let mut all = what.to_owned();
    // One colon is enough, not counting those in quotes.
    let has_colon = what.split('"').step_by(2).any(|said| said.contains(": "));
    for (nth, one) in comes.iter().take(MOST).enumerate() {
        all.push_str(if nth == 0 && !has_colon { ": " } else { "; " });
        all.push_str(one);
    }
    if comes.len() > MOST {
        all.push_str("; …");
    }
    if let Some(Violation { property, what, .. }) = violation {
        all.push_str(&format!(" — {property} IS VIOLATED: {what}"));
    }
    all
}

/// The most consequences of a step that are told.
const MOST: usize = 3;

/// A question to the ledger, or an append.
pub(crate) fn asks(request: &LedgerRequest) -> String {
    match request {
        LedgerRequest::Status => "what is your status?".to_owned(),
        LedgerRequest::Read { from, .. } => format!("what are the records from {from} on?"),
        LedgerRequest::Append(batch) => planned(batch),
    }
}

/// An answer of the ledger, with the batch it is about.
pub(crate) fn verdict(Reply { reply, batch }: &Reply) -> String {
    let verdict = match &reply.answer {
        LedgerAnswer::Status => return format!("epoch {}, head {}", reply.word.status.epoch(), reply.word.status.head),
        LedgerAnswer::Chunk { id, of, .. } => return format!("chunk {} of {of} of a snapshot", id.index + 1),
        LedgerAnswer::Records { from, records } => return format!("{} records from {from} on", records.len()),
        LedgerAnswer::Append { verdict, .. } => verdict,
    };
    let what = match verdict {
        Verdict::Appended { head, contested: false } => format!("appended, up to {head}"),
        Verdict::Appended { head, contested: true } => format!("appended, up to {head}; the term is contested"),
        Verdict::Fenced => "fenced".to_owned(),
        Verdict::Conflict => "conflict".to_owned(),
        Verdict::LeaseActive => "lease active".to_owned(),
    };
    batch.as_ref().map_or(what.clone(), |batch| format!("{what} {}", appends(batch)))
}

/// An append, in few words, for a picture.
pub(crate) fn brief(batch: &Batch) -> String {
    let records = batch.records.iter().map(|record| match &record.entry {
        Entry::Claimed { .. } => "claim",
        Entry::Deposited(_) => "deposit",
        Entry::Seated { .. } => "seat",
        Entry::Unseated { .. } => "end of a seat",
        Entry::Admitted { .. } => "request",
        Entry::Sold(_) => "sale",
        Entry::Refused { .. } => "refusal",
        Entry::Resigned => "resignation",
    });
    let records: Vec<&str> = records.collect();
    let what = if records.is_empty() { "renewal".to_owned() } else { records.join(", ") };
    format!("{what} (epoch {}, at {})", batch.epoch, batch.position)
}

/// A question to the ledger, or an append, in few words, for a picture.
pub(crate) fn brief_question(request: &LedgerRequest) -> String {
    match request {
        LedgerRequest::Status => "status?".to_owned(),
        LedgerRequest::Read { from, .. } => format!("read from {from} on"),
        LedgerRequest::Append(batch) => brief(batch),
    }
}

/// An answer of the ledger, in few words, for a picture.
pub(crate) fn brief_verdict(Reply { reply, batch }: &Reply) -> String {
    let verdict = match &reply.answer {
        LedgerAnswer::Status => return "status".to_owned(),
        LedgerAnswer::Chunk { .. } => return "snapshot".to_owned(),
        LedgerAnswer::Records { .. } => return "records".to_owned(),
        LedgerAnswer::Append { verdict, .. } => verdict,
    };
    let what = match verdict {
        Verdict::Appended { contested: false, .. } => "appended",
        Verdict::Appended { contested: true, .. } => "appended, contested",
        Verdict::Fenced => "fenced",
        Verdict::Conflict => "conflict",
        Verdict::LeaseActive => "lease active",
    };
    let of = |batch: &Batch| format!("{what} (epoch {}, at {})", batch.epoch, batch.position);
    batch.as_ref().map_or(what.to_owned(), of)
}

/// The ledger and its log, line by line.
pub(crate) fn the_ledger(ledger: &LedgerNode) -> String {
    let status = ledger.status();
    let term = match status.term {
        None => "no term yet".to_owned(),
        Some(term) => {
            let live = if term.ended {
                "resigned"
            } else if ledger.is_lease_active() {
                "live"
            } else {
                "lapsed"
            };
            format!("epoch {} of peer {} ({live})", term.epoch, term.holder.peer)
        }
    };
    let mut lines = vec![format!("ledger: {term}, head {}", status.head)];
    if ledger.machine().is_none_or(Ledger::has_failed) {
        lines.push("  it has stopped answering: it holds less than it has shown".to_owned());
    }
    let durable = ledger.store().durable().len();
    let mut position = 0;
    for (nth, batch) in ledger.store().written().iter().enumerate() {
        for one in &batch.records {
            let not_yet = if nth >= durable { " (written, not durable)" } else { "" };
            lines.push(format!("  {position}. {}{not_yet}", record(one)));
            position += 1;
        }
    }
    lines.join("\n")
}

/// What a participant is and does, in several phrases.
pub(crate) fn participant(participant: &Participant) -> Vec<String> {
    let mut says = vec![format!("clock {}", reading(participant.clock().now().0))];
    if participant.me().incarnation.0 > 1 {
        says.push(format!("life {}", participant.me().incarnation));
    }
    if let Some(epoch) = participant.epoch() {
        says.push(format!("TRADER of epoch {epoch}"));
    }
    says.extend(participant.office().and_then(office));
    says.extend(participant.election().into_iter().flat_map(|one| election(one, participant.epoch())));
    says.extend(participant.buyer().into_iter().flat_map(buyer));
    says.extend(participant.seller().and_then(seller));
    says
}

/// A clock reading for people to read: one of a later age, which only a restart at a written bound reaches, has the age
/// in front.
pub(crate) fn reading(clock: u64) -> String {
    match clock / AGE {
        0 => clock.to_string(),
        age => format!("{age}'{}", clock % AGE),
    }
}

/// What an office is waiting for or reading, if anything.
pub(crate) fn office(office: &Office) -> Option<String> {
    match office.in_flight() {
        Some(batch) => Some(format!("waits for the ledger's answer to {}", planned(batch))),
        None if office.is_standing() => Some("reads the books".to_owned()),
        None => None,
    }
}

/// The phase of an election and the peer's eligibility; for a trader only what its office does not already say.
pub(crate) fn election(election: &Election, office: Option<Epoch>) -> Vec<String> {
    let phase = match election.phase() {
        Phase::Leading { epoch } if office == Some(epoch) => return eligibility(election),
        Phase::Onset => "knows no trader".to_owned(),
        Phase::Roused => "has answered a lower peer".to_owned(),
        Phase::Calling => "has called an election".to_owned(),
        Phase::Asking => "asks whether anybody is eligible".to_owned(),
        Phase::Waiting => "leaves it to a higher peer".to_owned(),
        Phase::Standing => "stands for office".to_owned(),
        Phase::Leading { epoch } => format!("leads in epoch {epoch}"),
        Phase::Following { epoch, leader, directly } => {
            let how = if directly { "" } else { " by hearsay" };
            format!("follows trader {leader} of epoch {epoch}{how}")
        }
    };
    [phase].into_iter().chain(eligibility(election)).collect()
}

fn eligibility(election: &Election) -> Vec<String> {
    match election.eligibility() {
        Eligibility::Eligible => Vec::new(),
        Eligibility::Resigned => vec!["resigned".to_owned()],
        Eligibility::Unreachable => vec!["unreachable".to_owned()],
        Eligibility::Isolated { head } => vec![format!("isolated, and the books end at {head}")],
    }
}

/// What a buyer asks for and knows.
pub(crate) fn buyer(buyer: &Buyer) -> Vec<String> {
    let asks = match buyer.asking() {
        Some(request) => format!("asks for request {}", number(request.id.sequence.0)),
        None => "asks for nothing".to_owned(),
    };
    let known = buyer.known().map(|known| format!("knows how request {} ended", number(known.0)));
    [asks].into_iter().chain(known).collect()
}

/// What a seller deposits, or what it knows of its account.
pub(crate) fn seller(seller: &Seller) -> Option<String> {
    match (seller.depositing(), seller.account()) {
        (Some(deposit), _) => Some(format!("deposits {}", number(deposit.id.number.0))),
        (None, Some(account)) => Some(format!("knows of {} sales, earned {}", account.sales, account.earned)),
        (None, None) => None,
    }
}
