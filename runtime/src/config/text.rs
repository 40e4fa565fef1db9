//! Configurations as text: the commented one to start from, and the one that a run saves.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, time::Duration};

use bazaar_protocol::{
    config::{Limits, Offers, Role, Wishes},
    graph::Graph,
    id::{Item, PeerId},
};

use super::{
    Address, BazaarConfig, Goods, Key, Listen, Speed, Think, Waits, defaults,
    document::quoted,
    format_price,
    ledger::{EtcdSettings, LedgerProcess, LedgerSettings},
    read::timeout_entries,
};
use crate::config::duration::{format_duration, format_range};

/// One line of a configuration: its table, its key, its value as TOML.
struct Setting {
    table: &'static str,
    key: &'static str,
    value: String,
}

/// What each key means, in the order in which they are written.
const MEANINGS: [(&str, &str, &str); 43] = [
    ("", "name", "The name of the run. Members of another run are refused."),
    ("", "peers", "How many peers there are, from 1 to 10000. They are numbered from 0."),
    ("", "seed", "The seed of the graph and the roles: the same seed gives the same bazaar."),
    ("", "dir", "Where everything is kept: logs, books, state. Relative to this file."),
    ("", "key", "The secret that the members share, 64 hexadecimal digits. Without one, a run makes up its own."),
    (
        "",
        "pace",
        "How fast everything goes: \"reference\" (slow enough to read along), \"brisk\", or \"flat-out\" (nobody\n\
         # waits, for measuring). It sets all of [waits] and [timeouts], terms.ordering and clock_range; what is\n\
         # written there takes precedence.",
    ),
    ("", "first_caller", "Which peer calls the first election. With fewer than 3 peers, the default is 0."),
    ("", "clock_range", "How far ahead a peer writes its clock to disk, in ticks of the clock."),
    (
        "ledger",
        "store",
        "Where the books are: \"sled\", on the disk of the ledger's one process, or \"etcd\", in a cluster that several\n\
         # processes may use. A run stays with one of them.",
    ),
    ("ledger", "snapshot_every", "After how many records the ledger writes a snapshot of the books."),
    ("ledger.etcd", "", ""),
    ("tls", "", ""),
    ("goods", "items", "What is traded. Add others, or replace these."),
    ("goods", "units", "How many units a seller deposits at a time."),
    ("goods", "lowest_price", "The lowest price that is drawn, in dollars and cents."),
    ("goods", "highest_price", "The highest price that is drawn."),
    ("goods", "quantity", "How many units a buyer wants at a time."),
    ("terms", "commission", "The trader's share of a sale, in hundredths of a percent."),
    ("terms", "resign_after", "After how many sales a trader resigns."),
    ("terms", "batch_limit", "The most records that the trader writes at once, from 2 to 512."),
    (
        "terms",
        "ordering",
        "In which order requests are served: \"stable\" (none is served after one that it happened before, so each waits\n\
         # until all buyers were heard past its stamp) or \"smallest-open\" (the smallest stamp of those that are open,\n\
         # which waits for nobody). The first trader fixes it for the life of the books.",
    ),
    ("waits", "deposit_after", "How long after recognising a trader a seller makes its first deposit."),
    ("waits", "trade_after", "How long after recognising a trader a buyer makes its first request."),
    (
        "waits",
        "think",
        "How long after an outcome a buyer makes its next request. In a range, \"50ms..2s\", each buyer has a time of its\n\
         # own, drawn from the seed. \"never\": nobody wants anything.",
    ),
    ("timeouts", "first_call", "How long after the start the first election is called."),
    (
        "timeouts",
        "stagger",
        "How long a message takes to cross the network, at most; then the next peer calls an election.",
    ),
    ("timeouts", "answer", "How long a candidate waits for a higher peer's answer."),
    ("timeouts", "victory", "How long a candidate that was answered waits for the new trader to appear."),
    ("timeouts", "suspicion", "How long a trader may be silent before it is assumed to have failed."),
    ("timeouts", "renewal", "How often a trader renews its term and shows that it is there."),
    ("timeouts", "lease", "How long a term lasts if it is not renewed."),
    ("timeouts", "retry", "How long to wait for the ledger's answer before a call is sent again."),
    ("timeouts", "give_up_after", "How long a trader waits for the ledger before it gives up the office."),
    ("timeouts", "resend", "How long a buyer or seller waits before it asks the trader again."),
    (
        "timeouts",
        "wave",
        "In the order stable: how soon a trader asks buyers again that the next request waits for; 0s: with heartbeats only.",
    ),
    (
        "timeouts",
        "clock_interval",
        "How long a link is quiet before a buyer's clock crosses it in a message of its own.",
    ),
    ("limits", "chunk_weight", "The largest weight of a chunk of a snapshot, counted in records, from 1 to 512."),
    ("limits", "read_records", "The most records in one answer of the ledger to a reader, from 1 to 512."),
    ("limits", "sales_kept", "How many of its latest sales a seller can be told again, from 1 to 510."),
    ("limits", "flood_window", "How many broadcasts of one peer are told apart if they arrive out of order."),
    ("limits", "held_back", "The most messages a peer holds back while it writes to its disk. Further ones are lost."),
    ("limits", "waiting_calls", "The most calls that wait while the ledger writes. Others are sent again later."),
    ("graph", "", ""),
];

/// The text above a table's keys.
fn heading(table: &str) -> &'static str {
    match table {
        "" => {
            "# A trading post. Durations are texts such as \"500ms\", \"20s\", \"2m\" or \"1h\".\n\
               # A line that starts with # and a key shows its default; remove the # to change it.\n"
        }
        "ledger" => {
            "[ledger]\n\
             # Where the others reach it. Without an address: on a free port of this machine, found through `dir`.\n\
             # Members on several machines need one:\n#   address = \"192.168.0.7:7000\"\n\
             # Where it listens, if that is somewhere else; never told to others:\n#   listen = \"0.0.0.0:7000\"\n"
        }
        "ledger.etcd" => {
            "# With store = \"etcd\": the cluster. All endpoints are https, or all are http.\n\
             #   [ledger.etcd]\n\
             #   endpoints = [\"https://10.0.0.1:2379\", \"https://10.0.0.2:2379\", \"https://10.0.0.3:2379\"]\n\
             # How the keys of this run begin. Without it, with the run's name and a number that follows from its key, so\n\
             # that no two runs share one. What is written here belongs to this run alone.\n\
             #   prefix = \"/bazaar/market/\"\n\
             # Who to log in as. The file holds the password and nothing else, and only its owner may read it (mode 600).\n\
             #   user = \"bazaar\"\n\
             #   password_file = \"etcd.password\"\n\
             # With https: the authority that has signed the certificates of etcd's members and, where those ask for one,\n\
             # the certificate and key to show to them. All these files are relative to this one.\n\
             #   ca = \"etcd-ca.pem\"\n\
             #   certificate = \"etcd-client.pem\"\n\
             #   key = \"etcd-client.key\"\n\
             # How many records are kept below the latest snapshot: where `bazaar audit` and `bazaar books` begin.\n\
             #   history = 1000000\n\
             \n\
             # With store = \"etcd\": one for each process of the ledger, up to 9. Any of them may die. Peers know all and\n\
             # go from one to the next. Then [ledger] itself has no address.\n\
             #   [[ledger.process]]\n\
             #   address = \"192.168.0.7:7000\"\n\
             #   listen = \"0.0.0.0:7000\"\n"
        }
        "tls" => {
            "# Certificates. Without them, connections are authenticated with the key and not encrypted.\n\
             # `bazaar init --tls` makes a run that has some.\n\
             #   [tls]\n\
             # Where they are, relative to this file:\n\
             #   dir = \"tls\"\n\
             # The serial numbers of those that are refused, as `bazaar cert show` prints them:\n\
             #   revoked = [\"4f0c\"]\n"
        }
        "goods" => "[goods]\n",
        "terms" => "[terms]\n",
        "waits" => "# How long buyers and sellers wait. `pace` sets all of them.\n[waits]\n",
        "timeouts" => {
            "# The waits of the protocol. `pace` sets all of them. They must fit together: answer below victory; stagger,\n\
             # times the turns of all peers (15 at 10000 peers), below victory; three times stagger plus renewal\n\
             # below suspicion; renewal below lease; retry below give_up_after, give_up_after at most lease, lease\n\
             # plus renewal at most suspicion.\n\
             [timeouts]\n"
        }
        "limits" => {
            "# The bounds that affect a decision; nobody needs to change them. They must be the same for all \
                     members;\n# change them only while no member runs.\n[limits]\n"
        }
        "graph" => {
            "# Who is whose neighbour. The graph must be connected, and no peer may have more than three neighbours.\n\
                    # Without this table it is drawn from the seed.\n\
                    [graph]\n\
                    # A file, as `bazaar` saves it, relative to this one:\n\
                    #   file = \"graph.json\"\n\
                    # or right here:\n\
                    #   adjacency = { 0 = [1, 2], 1 = [0, 2], 2 = [0, 1] }\n\
                    \n\
                    # What a peer buys and sells is drawn from the seed; any of it can be fixed, peer by peer.\n\
                    # A role is \"buyer\", \"seller\" or \"both\"; what is left out comes from [goods] and the seed.\n\
                    #   [[peer]]\n\
                    #   id = 0\n\
                    #   address = \"192.168.0.8:7001\"\n\
                    #   listen = \"0.0.0.0:7001\"\n\
                    #   role = \"both\"\n\
                    #   wants = [\"salt\", \"boar\"]\n\
                    #   quantity = 2\n\
                    #   offers = [{ item = \"fish\", count = 10, price = \"9.50\" }]\n"
        }
        _ => "",
    }
}

/// A configuration to start from: every key with what it means and its default. As it stands it means the same as no
/// configuration at all, and so it does with every `#key = ...` turned into `key = ...`.
#[must_use]
pub fn commented_default() -> String {
    let config = default_config();
    let values: BTreeMap<(&str, &str), String> =
        config.settings().into_iter().map(|setting| ((setting.table, setting.key), setting.value)).collect();
    let presets: Vec<BTreeMap<&str, String>> = Speed::ALL.into_iter().map(preset).collect();
    let mut text = String::new();
    let mut table = None;
    for (of, key, meaning) in MEANINGS {
        if table != Some(of) {
            let space = if table.is_some() { "\n" } else { "" };
            let _ = write!(text, "{space}{}", heading(of));
            table = Some(of);
        }
        if of.is_empty() {
            text.push('\n');
        }
        let Some(value) = values.get(&(of, key)) else {
            if key == "key" {
                let _ = writeln!(text, "# {meaning}\n#   key = \"{}\"", "00".repeat(32));
            }
            continue;
        };
        let is_default = matches!(of, "waits" | "timeouts" | "limits")
            || matches!((of, key), ("", "first_caller" | "clock_range") | ("terms", "ordering"));
        let mark = if is_default { "#" } else { "" };
        let others = match (presets[0].get(key), presets[2].get(key)) {
            (Some(reference), Some(flat_out)) if of == "waits" => {
                format!(" (reference: {reference}; flat-out: {flat_out})")
            }
            (Some(_), Some(flat_out)) if matches!(of, "" | "terms") => format!(" (flat-out: {flat_out})"),
            (Some(reference), Some(_)) if of == "timeouts" => format!(" (reference: {reference})"),
            (_, _) => String::new(),
        };
        let _ = writeln!(text, "# {meaning}{others}\n{mark}{key} = {value}");
    }
    text
}

/// What `bazaar init` writes: [`commented_default`] with a random key.
#[must_use]
pub fn init_text() -> String {
    let zeros = format!("#   key = \"{}\"", "00".repeat(32));
    commented_default().replacen(&zeros, &format!("key = \"{}\"", Key::random().to_hex()), 1)
}

/// The configuration that the defaults give, without its members: no line of the commented default is about them.
fn default_config() -> BazaarConfig {
    let speed = Speed::default();
    BazaarConfig {
        name: defaults::NAME.to_owned(),
        seed: defaults::SEED,
        dir: defaults::DIR.into(),
        key: None,
        speed,
        first_caller: defaults::first_caller(defaults::PEERS),
        clock_range: speed.clock_range(),
        ledger: LedgerSettings::default(),
        tls: None,
        graph: Graph::random(defaults::PEERS, defaults::SEED),
        goods: Goods::default(),
        terms: speed.terms(),
        waits: speed.waits(),
        timeouts: speed.timeouts(),
        limits: Limits::DEFAULT,
        members: Vec::new(),
    }
}

/// A preset's waits, timeouts and ordering, by key.
fn preset(speed: Speed) -> BTreeMap<&'static str, String> {
    wait_settings(speed.waits())
        .into_iter()
        .chain(timeout_entries(&mut speed.timeouts()).map(|(key, timeout)| (key, duration(*timeout))))
        .chain([("ordering", quoted(speed.terms().ordering.name())), ("clock_range", speed.clock_range().to_string())])
        .collect()
}

fn duration(duration: Duration) -> String {
    quoted(&format_duration(duration))
}

fn wait_settings(waits: Waits) -> [(&'static str, String); 3] {
    let think = match waits.think {
        Think::Never => "never".to_owned(),
        Think::Within { shortest, longest } => format_range(&(shortest..=longest)),
    };
    [
        ("deposit_after", duration(waits.deposit_after)),
        ("trade_after", duration(waits.trade_after)),
        ("think", quoted(&think)),
    ]
}

impl BazaarConfig {
    /// Every setting except the graph and the peers, in the order in which they are written.
    fn settings(&self) -> Vec<Setting> {
        let prices = (self.goods.lowest_price, self.goods.highest_price);
        let top = [
            ("name", Some(quoted(&self.name))),
            ("peers", Some(self.peers().to_string())),
            ("seed", Some(self.seed.to_string())),
            ("dir", Some(quoted(&self.dir.to_string_lossy()))),
            ("key", self.key.map(|key| quoted(&key.to_hex()))),
            ("pace", Some(quoted(self.speed.name()))),
            ("first_caller", Some(self.first_caller.to_string())),
            ("clock_range", Some(self.clock_range.to_string())),
        ];
        // Several have tables of their own.
        let only = if let [only] = self.ledger.processes.as_slice() { only.clone() } else { LedgerProcess::default() };
        let ledger = [
            ("store", Some(quoted(self.ledger.store.name()))),
            ("address", only.address.map(|address| quoted(address.as_str()))),
            ("listen", only.listen.map(|listen| quoted(listen.as_str()))),
            ("snapshot_every", Some(self.ledger.snapshot_every.to_string())),
        ];
        let etcd = self.ledger.etcd().map(|etcd| self.etcd_settings(etcd)).unwrap_or_default();
        let tls = [
            ("dir", self.tls.as_ref().map(|tls| self.path(&tls.dir))),
            (
                "revoked",
                self.tls
                    .as_ref()
                    .filter(|tls| !tls.revoked.is_empty())
                    .map(|tls| list(tls.revoked.iter().map(|serial| quoted(&serial.to_string())))),
            ),
        ];
        let goods = [
            ("items", list(self.goods.items.iter().map(|item| quoted(item)))),
            ("units", self.goods.units.to_string()),
            ("lowest_price", quoted(&format_price(prices.0))),
            ("highest_price", quoted(&format_price(prices.1))),
            ("quantity", self.goods.quantity.to_string()),
        ];
        let terms = [
            ("commission", u16::from(self.terms.commission).to_string()),
            ("resign_after", self.terms.resign_after.to_string()),
            ("batch_limit", self.terms.batch_limit.to_string()),
            ("ordering", quoted(self.terms.ordering.name())),
        ];
        let mut timeouts = self.timeouts;
        let timeouts = timeout_entries(&mut timeouts).map(|(key, timeout)| (key, duration(*timeout)));
        let limits = self.limits.entries().map(|(range, limit)| (range.name, limit.to_string()));
        let always = |(key, value)| (key, Some(value));
        let tables = [
            ("", top.to_vec()),
            ("ledger", ledger.to_vec()),
            ("ledger.etcd", etcd),
            ("tls", tls.to_vec()),
            ("goods", goods.map(always).to_vec()),
            ("terms", terms.map(always).to_vec()),
            ("waits", wait_settings(self.waits).map(always).to_vec()),
            ("timeouts", timeouts.map(always).to_vec()),
            ("limits", limits.map(always).to_vec()),
        ];
        tables
            .into_iter()
            .flat_map(|(table, settings)| settings.into_iter().map(move |(key, value)| (table, key, value)))
            .filter_map(|(table, key, value)| Some(Setting { table, key, value: value? }))
            .collect()
    }

    fn etcd_settings(&self, etcd: &EtcdSettings) -> Vec<(&'static str, Option<String>)> {
        let (user, identity) = (etcd.user.as_ref(), etcd.identity.as_ref());
        vec![
            ("endpoints", Some(list(etcd.endpoints.names().map(|name| quoted(&name))))),
            ("prefix", etcd.prefix.as_deref().map(quoted)),
            ("user", user.map(|user| quoted(&user.name))),
            ("password_file", user.map(|user| self.path(&user.password_file))),
            ("ca", etcd.ca.as_deref().map(|ca| self.path(ca))),
            ("certificate", identity.map(|identity| self.path(&identity.certificate))),
            ("key", identity.map(|identity| self.path(&identity.key))),
            ("history", Some(etcd.history.to_string())),
        ]
    }

    /// A path as it is written. One in the run's directory may be moved with it.
    fn path(&self, path: &Path) -> String {
        let path = path.strip_prefix(&self.dir).unwrap_or(path);
        let is_this = path.as_os_str().is_empty();
        if is_this { quoted(".") } else { quoted(&path.to_string_lossy()) }
    }

    /// The configuration in force, with everything written out that was drawn or left to defaults. Reading it back
    /// gives an equal one, even if the defaults change, from a file in the run's directory.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::from("# What this run was started with, in full.\n");
        let mut table = "";
        for setting in self.settings() {
            if setting.table != table {
                table = setting.table;
                let _ = writeln!(text, "\n[{table}]");
            }
            // The file lies in that directory, whose name need not be text.
            let is_this = (setting.table, setting.key) == ("", "dir");
            let value = if is_this { quoted(".") } else { setting.value };
            let _ = writeln!(text, "{} = {value}", setting.key);
        }
        text.push_str("\n[graph.adjacency]\n");
        for peer in self.graph.peers() {
            let _ = writeln!(text, "{peer} = {}", list(self.graph.neighbours(peer).iter().map(PeerId::to_string)));
        }
        if self.ledger.processes.len() > 1 {
            for LedgerProcess { address, listen } in &self.ledger.processes {
                let places = place_text(address.as_ref(), listen.as_ref());
                let _ = write!(text, "\n[[ledger.process]]\n{places}");
            }
        }
        for (id, member) in self.members().enumerate() {
            let _ = write!(text, "\n[[peer]]\nid = {id}\n{}", self.member_text(member));
        }
        text
    }

    fn member_text(&self, member: &super::Member) -> String {
        place_text(member.address.as_ref(), member.listen.as_ref()) + &self.role_text(member)
    }

    fn role_text(&self, member: &super::Member) -> String {
        let name = |item: &Item| quoted(&self.item_name(*item));
        let wishes = |wishes: &Wishes| {
            format!("wants = {}\nquantity = {}\n", list(wishes.items.iter().map(name)), wishes.quantity)
        };
        let offers = |offers: &Offers| {
            let offers = offers.0.iter().map(|offer| {
                let price = quoted(&format_price(offer.price));
                format!("{{ item = {}, count = {}, price = {price} }}", name(&offer.item), offer.count)
            });
            format!("offers = {}\n", list(offers))
        };
        match &member.role {
            Role::Buyer(wanted) => format!("role = \"buyer\"\n{}", wishes(wanted)),
            Role::Seller(offered) => format!("role = \"seller\"\n{}", offers(offered)),
            Role::Both(wanted, offered) => format!("role = \"both\"\n{}{}", wishes(wanted), offers(offered)),
        }
    }

    /// What would be different in a run that was started with this configuration if it continued with `other`: a line
    /// for each key. Where the files are kept makes no difference, nor does where its members listen and are reached, how
    /// many processes its ledger has, or how the cluster of its books is reached, nor do certificates, nor a secret that only
    /// one of them has.
    #[must_use]
    pub fn differences(&self, other: &BazaarConfig) -> Vec<String> {
        let by_key = |config: &BazaarConfig| -> BTreeMap<String, String> {
            let named = |setting: Setting| {
                let table = if setting.table.is_empty() { String::new() } else { format!("{}.", setting.table) };
                (format!("{table}{}", setting.key), setting.value)
            };
            config
                .settings()
                .into_iter()
                .filter(|setting| match setting.table {
                    "tls" => false,
                    // The same cluster may be reached in another way; what is the run's in it stays.
                    "ledger.etcd" => matches!(setting.key, "prefix" | "history"),
                    _ => !matches!(setting.key, "dir" | "key" | "address" | "listen"),
                })
                .map(named)
                .collect()
        };
        let (was, now) = (by_key(self), by_key(other));
        let absent = "not set".to_owned();
        let mut keys: Vec<&String> = was.keys().chain(now.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut differences: Vec<String> = keys
            .into_iter()
            .map(|key| (key, was.get(key).unwrap_or(&absent), now.get(key).unwrap_or(&absent)))
            .filter(|(_, was, now)| was != now)
            .map(|(key, was, now)| format!("{key}: was {was}, now {now}"))
            .collect();
        if self.key.zip(other.key).is_some_and(|(was, now)| was != now) {
            differences.push("key: has changed".to_owned());
        }
        // With another number of peers every peer is different, and the line about `peers` has said so.
        if self.peers() == other.peers() {
            if self.graph != other.graph {
                differences.push("graph: the links have changed".to_owned());
            }
            for (id, (was, now)) in self.members().zip(other.members()).enumerate() {
                let (was, now) = (self.role_text(was), other.role_text(now));
                if was != now {
                    let line = |text: &str| text.trim_end().replace('\n', ", ");
                    differences.push(format!("peer {id}: was {}, now {}", line(&was), line(&now)));
                }
            }
        }
        differences
    }
}

/// Where a member is reached and listens, as it is written.
fn place_text(address: Option<&Address>, listen: Option<&Listen>) -> String {
    let address = address.map(|address| format!("address = {}\n", quoted(address.as_str())));
    let listen = listen.map(|listen| format!("listen = {}\n", quoted(listen.as_str())));
    address.unwrap_or_default() + &listen.unwrap_or_default()
}

fn list(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm)]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{
        RawConfig,
        document::{self, KEYS, Place, Table, Value},
    };

    fn check(text: &str) -> BazaarConfig {
        RawConfig::parse(text, Path::new("bazaar.toml"))
            .unwrap()
            .check()
            .unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    fn defaults() -> BazaarConfig {
        RawConfig::new().check().unwrap()
    }

    /// The text with `mark` removed from every key and table that it comments out.
    fn uncommented(text: &str, mark: &str) -> String {
        let line = |line: &str| match line.strip_prefix(mark) {
            Some(rest) if rest.starts_with(|c: char| c.is_alphabetic() || c == '[') => format!("{rest}\n"),
            Some(_) | None => format!("{line}\n"),
        };
        text.lines().map(line).collect()
    }

    #[test]
    fn the_commented_default_means_the_same_as_no_configuration() {
        assert_eq!(check(&commented_default()), defaults());
    }

    #[test]
    fn so_does_the_commented_default_with_every_key_uncommented() {
        let text = uncommented(&commented_default(), "#");
        assert!(text.contains("\nthink = \"300ms\"\n") && text.contains("\nfirst_caller = 2\n"), "{text}");
        assert_eq!(check(&text), defaults());
    }

    /// A table, or the first table of a list.
    fn inner(value: &Value) -> &Table {
        match value {
            Value::Table(table) => table,
            Value::List(entries) => inner(&entries[0].value),
            Value::Text(_) | Value::Integer(..) | Value::Other(_) => panic!("{value:?}"),
        }
    }

    #[test]
    fn the_commented_default_shows_every_key() {
        // The examples are indented; in a real file `key` goes above the tables, as it does here.
        let text = uncommented(&uncommented(&commented_default(), "#   "), "#");
        let table = document::parse(&text, &Place::file(Path::new("x"))).unwrap();
        for (kind, known) in KEYS {
            let path = if kind == "offer" { "peer.offers" } else { kind };
            let within = path.split('.').filter(|name| !name.is_empty());
            let shown = within.fold(&table, |table, name| inner(&table[name].value));
            let is_table =
                |key: &str| KEYS.iter().any(|(table, _)| *table == format!("{kind}.{key}").trim_start_matches('.'));
            let shown: BTreeSet<String> = shown.keys().filter(|key| !is_table(key)).cloned().collect();
            assert_eq!(shown, known.iter().map(|key| (*key).to_owned()).collect(), "[{kind}]");
        }
    }

    #[test]
    fn init_adds_nothing_to_the_defaults_but_a_fresh_key_each_time() {
        let mut config = check(&init_text());
        assert_ne!(config.key, None);
        assert_ne!(config.key, check(&init_text()).key);
        config.key = None;
        assert_eq!(config, defaults());
    }

    #[test]
    fn every_preset_satisfies_the_inequalities() {
        for speed in Speed::ALL {
            assert_eq!(speed.timeouts().check(10_000), Ok(()), "{speed:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_saved_configuration_reads_back_as_the_same_one(
            peers in 1..40_u32, seed: u64, pace in 0..3_usize, think in prop::option::of((0..100_000_u64, 0..9_u64)),
            stable in prop::option::of(any::<bool>()),
            addresses: bool, tls in prop::option::of(prop::sample::select(vec![".", "tls", "/elsewhere"])),
            commission in 0..=10_000_u32, items in prop::collection::btree_set("[a-zü]{1,8}", 1..5)
        ) {
            let mut raw = RawConfig::new();
            let think = think.map_or("never".to_owned(), |(millis, more)| format!("{millis}ms..{}ms", millis + more));
            let ordering = stable.map(|stable| if stable { "stable" } else { "smallest-open" });
            let tls = tls.map(|dir| format!("tls.dir = \"{dir}\"\ntls.revoked = [\"4f\"]\n")).unwrap_or_default();
            let ordering = ordering.map(|name| format!("terms.ordering = \"{name}\"\n")).unwrap_or_default();
            raw.set("--x", &format!(
                "peers = {peers}\nseed = {seed}\npace = {}\nwaits.think = {}\nterms.commission = {commission}\n\
                 dir = \".\"\n{tls}{ordering}goods.items = {}\n{}",
                quoted(Speed::ALL[pace].name()),
                quoted(&think),
                list(items.iter().map(|item| quoted(item))),
                if addresses { "ledger.address = \"localhost:7000\"\npeer = [{ id = 0, address = \"[::1]:7001\" \
                    }]" } else { "" },
            )).unwrap();
            let mut config = raw.check().unwrap();
            config.ensure_key();
            let saved = config.to_toml();
            let read = check(&saved).in_dir(config.dir());
            prop_assert_eq!(&read, &config);
            prop_assert_eq!(read.to_toml(), saved);
            prop_assert_eq!(config.differences(&read), Vec::<String>::new());
        }
    }
}
