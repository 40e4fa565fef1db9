//! From what was written to what applies: each table of a configuration, checked key by key.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bazaar_protocol::{
    cast,
    config::{LimitRange, Limits, Offer, Offers, Ordering, Role, Terms, Timeouts, Wishes},
    graph::{Graph, GraphError, MOST_PEERS},
    id::{Item, Units},
    money::{Cents, Commission, Price},
    text,
};

use super::{
    Address, ConfigError, Goods, Listen, Member, Place, Speed, Think, TlsSettings, Waits, defaults,
    document::{Entry, Section, Value, nearest},
};
use crate::{
    config::duration::{format_duration, parse_range},
    tls::certificate::Serial,
};

/// The most items that a bazaar trades.
const MOST_ITEMS: usize = 1_000;
/// The largest number that most keys accept.
pub(super) const MOST: u32 = 1_000_000_000;
/// The most units in one deposit or request.
const MOST_UNITS: u32 = 1_000_000;

pub(super) fn checked_name(text: &str) -> Result<&str, String> {
    let fits = (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if fits { Ok(text) } else { Err("must be 1 to 64 letters, digits, dashes, dots or underscores".to_owned()) }
}

pub(super) fn speed(text: &str) -> Result<Speed, String> {
    let found = Speed::ALL.into_iter().find(|speed| speed.name() == text);
    found.ok_or_else(|| {
        let names = Speed::ALL.map(Speed::name);
        let near = nearest(text, &names).map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
        format!("must be \"reference\", \"brisk\" or \"flat-out\"{near}")
    })
}

/// Reads the name of an ordering.
///
/// # Errors
/// Says what would be right.
pub fn parse_ordering(text: &str) -> Result<Ordering, String> {
    let orderings = [Ordering::Stable, Ordering::SmallestOpen];
    orderings.into_iter().find(|ordering| ordering.name() == text).ok_or_else(|| {
        let near = nearest(text, &orderings.map(Ordering::name));
        let near = near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
        format!("must be \"stable\" or \"smallest-open\"{near}")
    })
}

/// Reads `never`, a duration or a range of durations.
fn think(text: &str) -> Result<Think, String> {
    if text == "never" {
        return Ok(Think::Never);
    }
    let (shortest, longest) = parse_range(text).map_err(|error| error.to_string())?.into_inner();
    Ok(Think::Within { shortest, longest })
}

/// Where the others reach a member, and where it listens, if that is said (SPEC J2).
pub(super) fn addresses(section: &Section<'_>) -> Result<(Option<Address>, Option<Listen>), ConfigError> {
    let address = section.text("address", Address::parse)?;
    let listen = section.text("listen", Listen::parse)?;
    match (&address, &listen) {
        (None, Some(listen)) if listen.is_wildcard() => Err(section.refuse(
            "address",
            format!("{listen} is every address of this machine; say at which host:port the others reach it"),
        )),
        (Some(address), Some(listen)) if listen.is_any_port() => {
            Err(section.refuse("listen", format!("must name a port, since the others come to {address}")))
        }
        (None, Some(listen)) => Ok((listen.as_address(), Some(listen.clone()))),
        (Some(_), Some(_)) | (_, None) => Ok((address, listen)),
    }
}

/// Where the certificates are. A table that does not say so is a mistake: without TLS, there would be none.
pub(super) fn tls(section: &Section<'_>) -> Result<TlsSettings, ConfigError> {
    let dir = section.path("dir", "a directory")?;
    let mut revoked = BTreeSet::new();
    let right = "must be a list of serial numbers, as `bazaar cert show` prints them";
    if let Some(entry) = section.entry("revoked") {
        let Value::List(entries) = &entry.value else { return Err(section.refuse("revoked", right)) };
        for entry in entries {
            let serial = match &entry.value {
                Value::Text(text) => text.parse::<Serial>().ok(),
                Value::Integer(..) | Value::Other(_) | Value::List(_) | Value::Table(_) => None,
            };
            revoked.insert(serial.ok_or_else(|| section.refuse_value("revoked", entry, right))?);
        }
    }
    let dir = dir.ok_or_else(|| {
        section.refuse(
            "dir",
            "say in which directory the certificates are (`bazaar init --tls` makes one), or leave [tls] out: then \
             connections are not encrypted",
        )
    })?;
    Ok(TlsSettings { dir, revoked })
}

pub(super) fn terms(section: &Section<'_>, speed: Speed) -> Result<Terms, ConfigError> {
    let default = speed.terms();
    let commission = section.small("commission", 0..=10_000)?.and_then(|points| u16::try_from(points).ok());
    Ok(Terms {
        commission: commission.and_then(Commission::new).unwrap_or(default.commission),
        resign_after: section.small("resign_after", 1..=MOST)?.unwrap_or(default.resign_after),
        batch_limit: section.small("batch_limit", 2..=Terms::LARGEST_BATCH)?.unwrap_or(default.batch_limit),
        ordering: section.text("ordering", parse_ordering)?.unwrap_or(default.ordering),
    })
}

pub(super) fn waits(section: &Section<'_>, speed: Speed) -> Result<Waits, ConfigError> {
    let preset = speed.waits();
    Ok(Waits {
        deposit_after: section.duration("deposit_after")?.unwrap_or(preset.deposit_after),
        trade_after: section.duration("trade_after")?.unwrap_or(preset.trade_after),
        think: section.durations("think", think)?.unwrap_or(preset.think),
    })
}

/// The entries of `[timeouts]`, by their keys.
pub(super) fn timeout_entries(timeouts: &mut Timeouts) -> [(&'static str, &mut Duration); 12] {
    [
        ("first_call", &mut timeouts.first_call),
        ("stagger", &mut timeouts.stagger),
        ("answer", &mut timeouts.answer),
        ("victory", &mut timeouts.victory),
        ("suspicion", &mut timeouts.suspicion),
        ("renewal", &mut timeouts.renewal),
        ("lease", &mut timeouts.lease),
        ("retry", &mut timeouts.retry),
        ("give_up_after", &mut timeouts.give_up_after),
        ("resend", &mut timeouts.resend),
        ("wave", &mut timeouts.wave),
        ("clock_interval", &mut timeouts.clock_interval),
    ]
}

pub(super) fn timeouts(section: &Section<'_>, speed: Speed, peers: u32) -> Result<Timeouts, ConfigError> {
    let mut timeouts = speed.timeouts();
    for (name, timeout) in timeout_entries(&mut timeouts) {
        if let Some(duration) = section.duration(name)? {
            *timeout = duration;
        }
    }
    let Err(error) = timeouts.check(peers) else { return Ok(timeouts) };
    let values: BTreeMap<&str, Duration> =
        timeout_entries(&mut timeouts).into_iter().map(|(name, timeout)| (name, *timeout)).collect();
    let described = error.entries().filter_map(|name| {
        let value = format_duration(*values.get(name)?);
        let whence = if section.has(name) { String::new() } else { format!(" (pace {})", speed.name()) };
        Some(format!("timeouts.{name} = \"{value}\"{whence}"))
    });
    let pair = described.collect::<Vec<_>>().join(" and ");
    let places = error.entries().filter_map(|name| section.entry(name)).map(|entry| entry.place.clone());
    Err(ConfigError::Timeouts { place: places.max_by_key(Place::line), pair, error: Box::new(error) })
}

pub(super) fn limits(section: &Section<'_>) -> Result<Limits, ConfigError> {
    let read = |(range, default): (LimitRange, u32)| {
        section.small(range.name, range.least..=range.most).map(|limit| limit.unwrap_or(default))
    };
    let [chunk_weight, read_records, sales_kept, flood_window, held_back, waiting_calls] =
        Limits::DEFAULT.entries().map(read);
    Ok(Limits {
        chunk_weight: chunk_weight?,
        read_records: read_records?,
        sales_kept: sales_kept?,
        flood_window: flood_window?,
        held_back: held_back?,
        waiting_calls: waiting_calls?,
    })
}

pub(super) fn goods(section: &Section<'_>) -> Result<Goods, ConfigError> {
    let mut goods = Goods::default();
    if let Some(entries) = section.list("items", "such as [\"fish\", \"salt\", \"boar\"]")? {
        goods.items.clear();
        if entries.len() > MOST_ITEMS {
            return Err(section.refuse("items", format!("there are at most {MOST_ITEMS} items")));
        }
        for entry in entries {
            let name = match &entry.value {
                Value::Text(name) if is_item_name(name) => name,
                Value::Text(_) | Value::Integer(..) | Value::Other(_) | Value::List(_) | Value::Table(_) => {
                    let right = "an item is a text of 1 to 32 letters, digits, dashes or underscores";
                    return Err(section.refuse_value("items", entry, right));
                }
            };
            if goods.items.contains(name) {
                return Err(section.refuse_value("items", entry, "is listed twice; name each item once"));
            }
            goods.items.push(name.clone());
        }
    }
    goods.units = section.small("units", 1..=MOST_UNITS)?.map_or(goods.units, Units);
    goods.quantity = section.small("quantity", 1..=MOST_UNITS)?.map_or(goods.quantity, Units);
    goods.lowest_price = section.text("lowest_price", parse_price)?.unwrap_or(goods.lowest_price);
    goods.highest_price = section.text("highest_price", parse_price)?.unwrap_or(goods.highest_price);
    if goods.lowest_price > goods.highest_price {
        let (name, right) = if section.has("lowest_price") {
            ("lowest_price", format!("must be at most highest_price, \"{}\"", format_price(goods.highest_price)))
        } else {
            ("highest_price", format!("must be at least lowest_price, \"{}\"", format_price(goods.lowest_price)))
        };
        return Err(section.refuse(name, right));
    }
    if goods.quantity > goods.units {
        let (name, right) = if section.has("quantity") {
            ("quantity", format!("must be at most goods.units, {}: an order is filled from one deposit", goods.units))
        } else {
            (
                "units",
                format!("must be at least goods.quantity, {}: an order is filled from one deposit", goods.quantity),
            )
        };
        return Err(section.refuse(name, right));
    }
    Ok(goods)
}

fn is_item_name(name: &str) -> bool {
    (1..=32).contains(&name.chars().count()) && name.chars().all(|c| c.is_alphanumeric() || "-_".contains(c))
}

/// Reads a price: dollars with two decimals or none, `"9.50"`, `"9"`.
///
/// # Errors
/// Says what would be right.
pub fn parse_price(text: &str) -> Result<Price, String> {
    let right = || "a price is a text in dollars and cents, such as \"9.50\"".to_owned();
    let (dollars, cents) = text.split_once('.').unwrap_or((text, "00"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(owed) = text.strip_prefix('-').filter(|owed| is_number(&owed.replacen('.', "", 1))) {
        return Err(format!("a price cannot be negative; write \"{owed}\""));
    }
    if !is_number(dollars) || !is_number(cents) || cents.len() != 2 {
        return Err(right());
    }
    let highest = || format!("the highest price is \"{}\"", format_price(Price(u32::MAX)));
    let price: u32 = format!("{dollars}{cents}").parse().map_err(|_| highest())?;
    if price == 0 { Err("a price must be at least \"0.01\"".to_owned()) } else { Ok(Price(price)) }
}

/// Writes a price as [`parse_price`] reads it.
#[must_use]
pub fn format_price(price: Price) -> String {
    Cents(price.0.into()).to_string()
}

pub(super) fn graph(top: &Section<'_>, seed: u64) -> Result<Graph, ConfigError> {
    let peers = top.small("peers", 1..=MOST_PEERS)?;
    let section = top.section("graph")?;
    if section.is_empty() {
        return Ok(Graph::random(peers.unwrap_or(defaults::PEERS), seed));
    }
    if section.has("file") && section.has("adjacency") {
        return Err(section.refuse("file", "a graph comes from a file or from graph.adjacency; give one of them"));
    }
    let graph = match (section.text("file", Ok)?, section.entry("file")) {
        (Some(name), Some(entry)) => {
            let file = entry.place.resolve(name);
            let bytes = std::fs::read(&file)
                .map_err(|error| section.refuse("file", format!("{} cannot be read: {error}", file.display())))?;
            let text =
                text::decode(&bytes).map_err(|error| section.refuse("file", format!("{}: {error}", file.display())))?;
            Graph::parsed(serde_json::from_str(text)).map_err(|error| section.refuse("file", error.to_string()))?
        }
        (_, _) => adjacency(&section)?,
    };
    match peers {
        Some(peers) if peers != graph.len() => Err(top.refuse(
            "peers",
            format!("the graph has {}; give that number or leave it out", text::counted(graph.len(), "peer")),
        )),
        Some(_) | None => Ok(graph),
    }
}

fn adjacency(section: &Section<'_>) -> Result<Graph, ConfigError> {
    let right = "must list each peer's neighbours, such as { 0 = [1, 2], 1 = [0, 2], 2 = [0, 1] }";
    let Some(Entry { value: Value::Table(table), .. }) = section.entry("adjacency") else {
        return Err(section.refuse("adjacency", right));
    };
    let mut lists = BTreeMap::new();
    for (key, entry) in table {
        let peer: u32 = key.parse().map_err(|_| {
            section.refuse_value(&format!("adjacency.{key}"), entry, GraphError::NoId(key.clone()).to_string())
        })?;
        let Value::List(neighbours) = &entry.value else {
            return Err(section.refuse_value(&format!("adjacency.{key}"), entry, "must be a list of peer ids"));
        };
        let mut list = Vec::new();
        for neighbour in neighbours {
            match neighbour.value {
                Value::Integer(Some(id), _) if i64::try_from(id).is_ok() => list.push(id as i64),
                Value::Integer(..) | Value::Text(_) | Value::Other(_) | Value::List(_) | Value::Table(_) => {
                    let right = "a neighbour is a peer id, a whole number";
                    return Err(section.refuse_value(&format!("adjacency.{key}"), neighbour, right));
                }
            }
        }
        // `00` and `0` are two keys for one peer.
        if lists.insert(peer, (list, entry)).is_some() {
            let error = GraphError::ListedTwice(peer);
            return Err(section.refuse_value(&format!("adjacency.{key}"), entry, error.to_string()));
        }
    }
    Graph::from_adjacency(lists.iter().map(|(peer, (list, _))| (*peer, list.clone()))).map_err(|error| {
        let entry = error.peer().and_then(|peer| Some((peer, lists.get(&peer)?.1)));
        match entry {
            Some((peer, entry)) => section.refuse_value(&format!("adjacency.{peer}"), entry, error.to_string()),
            None => section.refuse("adjacency", error.to_string()),
        }
    })
}

/// The first address on another machine, and where it is written.
pub(super) type Distant = Option<(Place, String)>;

/// All members, and the first of their addresses that is on another machine.
pub(super) fn members(
    top: &Section<'_>,
    peers: u32,
    seed: u64,
    goods: &Goods,
) -> Result<(Vec<Member>, Distant), ConfigError> {
    let drawn = cast::draw(peers, seed, &goods.assortment());
    let mut both: Vec<Option<Role>> = drawn.iter().map(|drawn| Some(drawn.both.clone())).collect();
    let mut roles: Vec<Role> = drawn.into_iter().map(|drawn| drawn.role).collect();
    let mut places = vec![(None, None); peers as usize];
    let mut distant = None;
    let mut seen: BTreeMap<u32, &Place> = BTreeMap::new();
    let right = "one [[peer]] for each peer that is set up by hand";
    for entry in top.list("peer", right)?.unwrap_or_default() {
        let Value::Table(table) = &entry.value else { return Err(top.refuse_value("peer", entry, right)) };
        let unnamed = Section::open("peer", String::new(), Some(&entry.place), table)?;
        let Some(id) = unnamed.small("id", 0..=peers - 1)? else {
            return Err(unnamed.refuse("id", format!("say which peer it is about, id = 0 to {}", peers - 1)));
        };
        if let Some(first) = seen.insert(id, &entry.place) {
            return Err(
                unnamed.refuse("id", format!("peer {id} is already set up at {first}; put it all in one [[peer]]"))
            );
        }
        let section = Section::open("peer", format!("peer {id}"), Some(&entry.place), table)?;
        let place = id as usize;
        let (address, listen) = addresses(&section)?;
        if let Some(at) = section.entry("address").or_else(|| section.entry("listen")) {
            let away = address.as_ref().filter(|address| !address.is_loopback()).map(Address::to_string);
            let away = away.or_else(|| listen.as_ref().filter(|listen| !listen.is_loopback()).map(Listen::to_string));
            distant = distant.or_else(|| away.map(|away| (at.place.clone(), away)));
        }
        places[place] = (address, listen);
        if let Some(role) = role(&section, goods, both[place].as_ref())? {
            roles[place] = role;
            both[place] = None;
        }
    }
    cast::make_trade_possible(&mut roles, seed, &both);
    let member = |(role, (address, listen))| Member { role, address, listen };
    Ok((roles.into_iter().zip(places).map(member).collect(), distant))
}

/// A peer's role, if it is given by hand. What that leaves open comes from what was drawn for it.
fn role(section: &Section<'_>, goods: &Goods, drawn: Option<&Role>) -> Result<Option<Role>, ConfigError> {
    let roles = ["buyer", "seller", "both"];
    let role = section.text("role", |text| {
        roles.into_iter().find(|role| *role == text).ok_or_else(|| {
            let near = nearest(text, &roles).map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
            format!("must be \"buyer\", \"seller\" or \"both\"{near}")
        })
    })?;
    let buys = ["wants", "quantity"].into_iter().find(|key| section.has(key));
    let sells = section.has("offers").then_some("offers");
    let Some(role) = role else {
        return match buys.or(sells) {
            Some(key) => Err(section.refuse(key, "needs a role; add role = \"buyer\", \"seller\" or \"both\"")),
            None => Ok(None),
        };
    };
    if let Some(key) = buys.filter(|_| role == "seller") {
        return Err(section.refuse(key, "a seller wants nothing; make its role \"both\", or leave this out"));
    }
    if let Some(key) = sells.filter(|_| role == "buyer") {
        return Err(section.refuse(key, "a buyer offers nothing; make its role \"both\", or leave this out"));
    }
    let wishes = wishes(section, goods)?;
    let offers = match offers(section, goods)? {
        Some(offers) => offers,
        None => drawn.and_then(Role::offers).cloned().unwrap_or(Offers(Vec::new())),
    };
    Ok(Some(match role {
        "buyer" => Role::Buyer(wishes),
        "seller" => Role::Seller(offers),
        _ => Role::Both(wishes, offers),
    }))
}

fn named_item(section: &Section<'_>, key: &str, entry: &Entry, goods: &Goods) -> Result<Item, ConfigError> {
    match &entry.value {
        Value::Text(name) => goods.find(name).map_err(|right| section.refuse_value(key, entry, right)),
        Value::Integer(..) | Value::Other(_) | Value::List(_) | Value::Table(_) => {
            Err(section.refuse_value(key, entry, format!("must be the name of an item: {}", goods.items.join(", "))))
        }
    }
}

fn wishes(section: &Section<'_>, goods: &Goods) -> Result<Wishes, ConfigError> {
    let quantity = section.small("quantity", 1..=MOST_UNITS)?.map_or(goods.quantity, Units);
    let Some(entries) = section.list("wants", "such as [\"fish\", \"salt\"]")? else {
        return Ok(Wishes { items: goods.assortment().item_ids().collect(), quantity });
    };
    let mut items = Vec::new();
    for entry in entries {
        let item = named_item(section, "wants", entry, goods)?;
        if items.contains(&item) {
            return Err(section.refuse_value("wants", entry, "is listed twice; name each item once"));
        }
        items.push(item);
    }
    Ok(Wishes { items, quantity })
}

fn offers(section: &Section<'_>, goods: &Goods) -> Result<Option<Offers>, ConfigError> {
    let right = "such as [{ item = \"fish\", count = 10, price = \"9.50\" }]";
    let Some(entries) = section.list("offers", right)? else { return Ok(None) };
    if entries.len() > MOST_ITEMS {
        return Err(section.refuse("offers", format!("a peer has at most {MOST_ITEMS} offers")));
    }
    let mut offers = Vec::new();
    for entry in entries {
        let Value::Table(table) = &entry.value else {
            return Err(section.refuse_value("offers", entry, format!("an offer is a table, {right}")));
        };
        let offer = Section::open("offer", section.offer_owner(), Some(&entry.place), table)?;
        let missing = |name: &str| offer.refuse(name, format!("an offer names item and price, {right}"));
        let entry = offer.entry("item").ok_or_else(|| missing("item"))?;
        let item = named_item(&offer, "item", entry, goods)?;
        let count = offer.small("count", 1..=MOST_UNITS)?.map_or(goods.units, Units);
        let price = match offer.entry("price").map(|entry| &entry.value) {
            Some(Value::Integer(_, raw)) => {
                let right = format!("a price is a text in dollars and cents; write \"{raw}.00\" or \"0.{raw:0>2}\"");
                return Err(offer.refuse("price", right));
            }
            Some(Value::Text(_) | Value::Other(_) | Value::List(_) | Value::Table(_)) | None => {
                offer.text("price", parse_price)?.ok_or_else(|| missing("price"))?
            }
        };
        offers.push(Offer { item, count, price });
    }
    Ok(Some(Offers(offers)))
}
