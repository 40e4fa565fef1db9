#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use anstream::adapter::strip_str;
use bazaar_protocol::{
    clock::Stamp,
    config::{Offer, Offers, Role, Wishes},
    effect::Note,
    record::{Deposit, Entry, Record, Request},
};
use serde_json::Value;

use super::*;
use crate::processes::{
    report::{Event, ProcessEvent, What},
    supervise::Process,
};

const BUYER: PeerId = PeerId(4);
const SELLER: PeerId = PeerId(1);
const REQUEST: RequestId = RequestId { buyer: BUYER, sequence: Sequence((3 << 32) + 7) };
const DEPOSIT: DepositId = DepositId { seller: SELLER, number: DepositNumber((1 << 32) + 2) };
const LIFE: Life = Life { peer: BUYER, incarnation: Incarnation(3) };

fn names() -> Names {
    Names { items: ["fish", "salt", "boar"].map(String::from).to_vec(), roles: Vec::new() }
}

fn sale() -> Sale {
    Sale {
        request: REQUEST,
        deposit: DEPOSIT,
        number: SaleNumber(5),
        item: Item::BOAR,
        quantity: Units(2),
        price: Price(900),
        commission: Cents(360),
        earned: Cents(1_440),
    }
}

/// One note of each kind, and more where a field may be absent.
fn notes() -> Vec<Note> {
    let (item, count, quantity, price) = (Item::BOAR, Units(2), Units(2), Price(900));
    let (stamp, place, left) = (Time(12), Time(13), Units(1));
    vec![
        Note::Joined { incarnation: Incarnation(3) },
        Note::ElectionCalled,
        Note::AskedForAnyone,
        Note::TraderSuspected { trader: PeerId(9) },
        Note::ElectionWon,
        Note::TookOffice { inherited: 2 },
        Note::Recognised { trader: PeerId(9) },
        Note::SteppedDown { reason: Departure::LeaseActive },
        Note::Deposited { deposit: DEPOSIT, item, count, price },
        Note::Admitted { request: REQUEST, item, quantity, stamp, place },
        Note::Seated { buyer: BUYER, incarnation: Incarnation(3) },
        Note::Unseated { buyer: BUYER, incarnation: Incarnation(3) },
        Note::Sold { sale: sale() },
        Note::Refused { request: REQUEST },
        Note::Wanted { request: REQUEST, item: Item(7), quantity },
        Note::Bought { sale: sale() },
        Note::Unavailable { request: REQUEST, item },
        Note::ResumedRequest { request: REQUEST },
        Note::Recalled { request: REQUEST, outcome: Outcome::Sold(sale()) },
        Note::Recalled { request: REQUEST, outcome: Outcome::Refused { item } },
        Note::Registered { deposit: DEPOSIT, item, count, price },
        Note::Earned { sale: sale(), total: Cents(u128::from(u64::MAX) + 1), left },
        Note::SoldOut { deposit: DEPOSIT, item },
        Note::LeftOver { deposit: DEPOSIT, item, left },
        Note::ResumedAccount { sales: 8, earned: Cents(7_200) },
        Note::LedgerHeard,
        Note::LedgerSilent,
        Note::EnvelopeRefused { from: PeerId(2), source: PeerId(5), implausible: Implausible::Clock(Time(u64::MAX)) },
        Note::NoSuchEpoch { epoch: Epoch(9), latest: Epoch(4) },
        Note::TermRefused { source: PeerId(2), epoch: Epoch(9), leader: PeerId(3) },
        Note::BooksRefused { position: Position(17) },
    ]
}

/// One event of each kind.
fn process_events() -> Vec<ProcessEvent> {
    let process = || "peer 3".to_owned();
    vec![
        ProcessEvent::RunStarted { dir: "market".to_owned(), peers: 10, processes: 4, seed: 7 },
        ProcessEvent::TradeDoubtful { reason: "no trade is possible".to_owned() },
        ProcessEvent::ProcessStarted { process: process(), pid: 17 },
        ProcessEvent::ProcessDied { process: process(), pid: 17, how: "signal: 9 (SIGKILL)".to_owned() },
        ProcessEvent::Restarting { process: process(), after_ms: 5_000 },
        ProcessEvent::LedgerReady {
            process: "ledger 2".to_owned(),
            address: "127.0.0.1:7000".to_owned(),
            records: 1_836,
        },
        ProcessEvent::LogCut { what: "half a record".to_owned() },
        ProcessEvent::StoreTroubled { process: process(), what: "etcd does not answer".to_owned() },
        ProcessEvent::StoreWell { process: process() },
        ProcessEvent::OrderingDiffers { books: Ordering::Stable, configured: Ordering::SmallestOpen },
        ProcessEvent::Paused { process: process() },
        ProcessEvent::Resumed { process: process() },
        ProcessEvent::AskedToResign { process: process() },
        ProcessEvent::LinkCut { process: process(), neighbour: PeerId(5) },
        ProcessEvent::LinkHealed { process: process(), neighbour: PeerId(5) },
        ProcessEvent::Failed { process: process(), reason: "exit status: 3".to_owned() },
    ]
}

/// One event of each kind.
fn events() -> Vec<Event> {
    let notes = notes().into_iter().map(|note| Event::noted(PeerId(3), Time(47), Some(Epoch(2)), note));
    notes.chain(process_events().into_iter().map(Event::now)).collect()
}

/// One record of each kind.
fn records() -> Vec<Record> {
    let (item, stamp) = (Item::SALT, |peer| Stamp { time: Time(12), peer });
    let request = Request { id: REQUEST, previous: Some(Sequence(7)), item, quantity: Units(2), stamp: stamp(BUYER) };
    let deposit =
        Deposit { id: DEPOSIT, previous: None, item, count: Units(9), price: Price(531), stamp: stamp(SELLER) };
    [
        Entry::Claimed { epoch: Epoch(2), holder: LIFE, ordering: Ordering::Stable },
        Entry::Seated { buyer: LIFE, above: Time(11) },
        Entry::Unseated { buyer: BUYER },
        Entry::Deposited(deposit),
        Entry::Admitted { request, place: Time(14) },
        Entry::Sold(sale()),
        Entry::Refused { request: REQUEST, leftover: Some(DEPOSIT) },
        Entry::Refused { request: REQUEST, leftover: None },
        Entry::Resigned,
    ]
    .map(|entry| Record { stamp: stamp(PeerId(9)), entry })
    .into()
}

/// Adds every key of every object in it.
fn keys(json: &Value, into: &mut BTreeSet<String>) {
    match json {
        Value::Object(object) => {
            for (key, value) in object {
                into.insert(key.clone());
                keys(value, into);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| keys(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

// The event of a refused clock had the key `clock` twice, and so could not be read back: a run passed over it.
#[test]
fn every_kind_of_event_survives_its_json() {
    let names = names();
    let mut kinds = BTreeSet::new();
    for event in events() {
        let line = serde_json::to_string(&event.show(&names)).unwrap();
        assert_eq!(names.event(&line).as_ref(), Some(&event), "{line}");
        kinds.insert(serde_json::from_str::<Value>(&line).unwrap()["event"].as_str().unwrap().to_owned());
        let half = &line[..line.len() / 2];
        assert_eq!(names.event(half), None, "half a line of a killed process");
    }
    // A note and a process event of one name could not be told apart.
    let all: BTreeSet<String> = Said::kinds().map(str::to_owned).collect();
    assert_eq!(Said::kinds().count(), all.len(), "each has a name of its own");
    assert_eq!(kinds, all, "one of each is tried here");
    for record in records() {
        let line = serde_json::to_string(&record.show(&names)).unwrap();
        assert_eq!(Record::read(serde_json::from_str(&line).unwrap(), &names), Some(record), "{line}");
    }
}

#[test]
fn an_item_is_its_name_and_money_is_in_cents() {
    let names = names();
    let bought = Event::noted(PeerId(4), Time(47), Some(Epoch(2)), Note::Bought { sale: sale() });
    let line = serde_json::to_value(bought.show(&names)).unwrap();
    let data = serde_json::json!({ "sale": {
        "request": { "buyer": 4, "life": 3, "number": 7 },
        "deposit": { "seller": 1, "life": 1, "number": 2 },
        "sale_number": 5, "item": "boar", "units": 2,
        "price_cents": 900, "paid_cents": 1_800, "earned_cents": 1_440, "commission_cents": 360,
    }});
    assert_eq!((&line["event"], &line["data"], &line["peer"]), (&"bought".into(), &data, &4.into()));
    let unnamed = serde_json::to_value(Item(7).show(&names)).unwrap();
    assert_eq!(unnamed, "item 7");
}

/// An event and a record of the same name say the same in the same words; the record may say more.
#[test]
fn events_and_records_of_one_name_agree() {
    let names = names();
    let events: Vec<Value> = events().iter().map(|event| serde_json::to_value(event.show(&names)).unwrap()).collect();
    let mut compared = 0;
    for record in records() {
        let record = serde_json::to_value(record.show(&names)).unwrap();
        for event in events.iter().filter(|event| event["event"] == record["event"]) {
            compared += 1;
            let said: BTreeSet<&String> = event["data"].as_object().unwrap().keys().collect();
            let mut written: BTreeSet<&String> = record["data"].as_object().unwrap().keys().collect();
            // Of a seat that is taken away the books know whose it is, and need not be told in which life.
            let life = "life".to_owned();
            if record["event"] == "unseated" {
                written.insert(&life);
            }
            assert!(said.is_subset(&written), "{event} {record}");
        }
    }
    assert!(compared >= 6, "{compared}");
}

#[test]
fn the_page_about_json_names_every_event_and_every_key() {
    let page = include_str!("../../../docs/json.md");
    let names = names();
    let mut words = BTreeSet::new();
    for event in events() {
        let json = serde_json::to_value(event.show(&names)).unwrap();
        words.insert(json["event"].as_str().unwrap().to_owned());
        keys(&json, &mut words);
    }
    for record in records() {
        let json = serde_json::to_value(record.show(&names)).unwrap();
        words.insert(json["event"].as_str().unwrap().to_owned());
        keys(&json, &mut words);
    }
    let missing: Vec<&String> = words.iter().filter(|word| !page.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty() && words.len() > 80, "not in docs/json.md: {missing:?}");
}

/// But for reasons, addresses and directories, which are as long as they are, and what happens to a message or to the books
/// that cannot be right, of which no word is too many.
#[test]
fn lines_for_the_screen_fit_in_80_columns() {
    let items = ["fish", "salt", "boar"].map(String::from).to_vec();
    let (all, two) = ([Item::FISH, Item::SALT, Item::BOAR].to_vec(), [Item::FISH, Item::SALT].to_vec());
    let offer = |item: &Item| Offer { item: *item, count: Units(10), price: Price(531) };
    let offers = |items: &[Item]| Offers(items.iter().map(offer).collect());
    let wishes = |items: &[Item]| Wishes { items: items.to_vec(), quantity: Units(1) };
    let roles = [Role::Both(wishes(&all), offers(&two)), Role::Both(wishes(&two), offers(&all))];
    let names = Names { items, roles: roles.into_iter().cycle().take(100).collect() };
    let may_be_longer = |what: &What| match what {
        What::Peer(note) => matches!(
            note,
            Note::EnvelopeRefused { .. }
                | Note::NoSuchEpoch { .. }
                | Note::TermRefused { .. }
                | Note::BooksRefused { .. }
        ),
        What::Process(event) => {
            matches!(
                event,
                ProcessEvent::OrderingDiffers { .. } | ProcessEvent::LogCut { .. } | ProcessEvent::StoreTroubled { .. }
            )
        }
    };
    let hosts = || (0..125).map(|nth| PeerId(4 * nth)).collect();
    let process = || Process::Peers(hosts()).to_string();
    let dir = || "bazaar-runs/20261129-012745".to_owned();
    let mut events = events();
    events.push(Event::noted(PeerId(97), Time(54_321), Some(Epoch(123)), Note::Joined { incarnation: Incarnation(1) }));
    events.extend([
        Event::now(ProcessEvent::RunStarted { dir: dir(), peers: 500, processes: 4, seed: 65_535 }),
        Event::now(ProcessEvent::ProcessDied {
            process: process(),
            pid: 65_535,
            how: "signal: 9 (SIGKILL)".to_owned(),
        }),
        Event::now(ProcessEvent::Restarting { process: process(), after_ms: 5_000 }),
        Event::now(ProcessEvent::LinkCut { process: process(), neighbour: PeerId(497) }),
        Event::now(ProcessEvent::Paused { process: process() }),
    ]);
    for event in events.iter().filter(|event| !may_be_longer(&event.what)) {
        let alone = names.short_line(event);
        let line_is_cut = alone.contains(" more ");
        let together = names.together(event).map(|together| Names::line_together(event, &together, 99));
        for line in [Some(alone), together].into_iter().flatten() {
            let line = strip_str(&line).to_string();
            assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
        }
        let logged = names.line(event);
        assert!(!logged.contains(" more ") && (!line_is_cut || logged.contains(&process())), "{logged}");
    }
}
