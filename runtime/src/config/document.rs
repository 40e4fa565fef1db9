//! A configuration as it was written: every value with the place it comes from, nothing checked yet.

use std::{
    collections::BTreeMap,
    fmt,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use toml::de::{DeTable, DeValue};

use super::ConfigError;
use crate::config::duration::parse_duration;

/// Every key, by table. `peer`, `offer` and `ledger.process` stand for the entries of `[[peer]]`, of their `offers`, and of
/// `[[ledger.process]]`.
pub(super) const KEYS: [(&str, &[&str]); 13] = [
    ("", &["name", "peers", "seed", "dir", "key", "pace", "first_caller", "clock_range"]),
    ("ledger", &["store", "address", "listen", "snapshot_every"]),
    ("ledger.etcd", &["endpoints", "prefix", "user", "password_file", "ca", "certificate", "key", "history"]),
    ("ledger.process", &["address", "listen"]),
    ("tls", &["dir", "revoked"]),
    ("graph", &["file", "adjacency"]),
    ("goods", &["items", "units", "lowest_price", "highest_price", "quantity"]),
    ("terms", &["commission", "resign_after", "batch_limit", "ordering"]),
    ("waits", &["deposit_after", "trade_after", "think"]),
    (
        "timeouts",
        &[
            "first_call",
            "stagger",
            "answer",
            "victory",
            "suspicion",
            "renewal",
            "lease",
            "retry",
            "give_up_after",
            "resend",
            "wave",
            "clock_interval",
        ],
    ),
    ("limits", &["chunk_weight", "read_records", "sales_kept", "flood_window", "held_back", "waiting_calls"]),
    ("peer", &["id", "address", "listen", "role", "wants", "quantity", "offers"]),
    ("offer", &["item", "count", "price"]),
];

/// Keys that no longer exist, by table, and what has replaced them.
const MOVED: [(&str, &str, &str); 3] = [
    ("ledger", "waiting", "it is waiting_calls under [limits] now"),
    (
        "waits",
        "clock_interval",
        "a buyer's clock goes out before every request now, and clock_interval under [timeouts] says how long a link is \
         quiet before it crosses that link by itself",
    ),
    ("limits", "hops", "the number of peers decides after how many hops a message takes another way"),
];

/// Where something was written: a line of a file, or a flag on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    source: Arc<Source>,
    line: Option<usize>,
}

#[derive(Debug, PartialEq, Eq)]
struct Source {
    name: String,
    /// What relative paths start from.
    base: PathBuf,
}

impl Place {
    pub(super) fn file(file: &Path) -> Place {
        let base = file.parent().map(Path::to_owned).unwrap_or_default();
        Place { source: Arc::new(Source { name: file.display().to_string(), base }), line: Some(1) }
    }

    pub(super) fn flag(flag: &str) -> Place {
        Place { source: Arc::new(Source { name: flag.to_owned(), base: PathBuf::new() }), line: None }
    }

    fn at_line(&self, line: usize) -> Place {
        // A flag is one line; its number says nothing.
        let line = self.line.is_some().then_some(line);
        Place { source: Arc::clone(&self.source), line }
    }

    pub(super) fn line(&self) -> Option<usize> {
        self.line
    }

    /// The path that is meant here: one in a file is relative to that file.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.source.base.join(path)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.source.name),
            None => f.write_str(&self.source.name),
        }
    }
}

pub(super) type Table = BTreeMap<String, Entry>;

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    /// The number, `None` if it is so large that it is out of every range, and its text.
    Integer(Option<i128>, String),
    /// A float, a boolean or a date; no key takes one.
    Other(String),
    List(Vec<Entry>),
    Table(Table),
}

impl Value {
    /// The value as it would be written in TOML, shortened if it is long.
    pub(super) fn written(&self) -> String {
        match self {
            Value::Text(text) => quoted(text),
            Value::Integer(_, raw) | Value::Other(raw) => raw.clone(),
            Value::List(entries) => {
                let shown: Vec<String> = entries.iter().take(8).map(|entry| entry.value.written()).collect();
                format!("[{}{}]", shown.join(", "), if entries.len() > 8 { ", ..." } else { "" })
            }
            Value::Table(_) => "{ ... }".to_owned(),
        }
    }
}

/// A text as a TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Reads a text into a tree of located values.
pub(super) fn parse(text: &str, source: &Place) -> Result<Table, ConfigError> {
    let lines = Lines::of(text);
    let tree = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        place: error.span().map_or_else(|| source.clone(), |span| source.at_line(lines.line_at(span.start))),
        message: error.message().to_owned(),
    })?;
    Ok(convert_table(tree.get_ref(), source, &lines))
}

/// The offsets at which lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        Lines(std::iter::once(0).chain(text.match_indices('\n').map(|(index, _)| index + 1)).collect())
    }

    fn line_at(&self, index: usize) -> usize {
        self.0.partition_point(|start| *start <= index)
    }
}

fn convert_table(table: &DeTable<'_>, source: &Place, lines: &Lines) -> Table {
    let entry = |(key, value): (&toml::Spanned<std::borrow::Cow<'_, str>>, &toml::Spanned<DeValue<'_>>)| {
        let place = source.at_line(lines.line_at(key.span().start));
        (key.get_ref().to_string(), Entry { place, value: convert(value.get_ref(), source, lines) })
    };
    table.iter().map(entry).collect()
}

fn convert(value: &DeValue<'_>, source: &Place, lines: &Lines) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            Value::Integer(i128::from_str_radix(number.as_str(), number.radix()).ok(), number.to_string())
        }
        DeValue::Float(number) => Value::Other(number.to_string()),
        DeValue::Boolean(truth) => Value::Other(truth.to_string()),
        DeValue::Datetime(date) => Value::Other(date.to_string()),
        DeValue::Array(array) => Value::List(
            array
                .iter()
                .map(|element| Entry {
                    place: source.at_line(lines.line_at(element.span().start)),
                    value: convert(element.get_ref(), source, lines),
                })
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(convert_table(table, source, lines)),
    }
}

/// Lays `over` over `under`: what `over` says counts, and what it does not mention stays.
pub(super) fn overlay(under: &mut Table, over: Table) {
    for (key, entry) in over {
        match (under.get_mut(&key).map(|entry| &mut entry.value), entry) {
            // A graph is given in one way only; a new one replaces the old one, however that was given.
            (Some(Value::Table(under)), Entry { value: Value::Table(over), .. }) if key != "graph" => {
                overlay(under, over);
            }
            (_, entry) => {
                under.insert(key, entry);
            }
        }
    }
}

/// One table that is being checked. Everything it reads is either right or an error that says where it is written.
#[derive(Clone, Debug)]
pub(super) struct Section<'a> {
    /// The table's name in [`KEYS`].
    kind: &'static str,
    /// Whose table it is, for the entries of `[[peer]]`.
    owner: String,
    /// Where it is written, if it is.
    place: Option<&'a Place>,
    table: &'a Table,
}

impl<'a> Section<'a> {
    /// Opens a table of this kind, provided that all its keys are known.
    pub(super) fn open(
        kind: &'static str,
        owner: String,
        place: Option<&'a Place>,
        table: &'a Table,
    ) -> Result<Section<'a>, ConfigError> {
        let section = Section { kind, owner, place, table };
        let tables: &[&str] = match kind {
            "" => &["ledger", "tls", "graph", "goods", "terms", "waits", "timeouts", "limits", "peer"],
            "ledger" => &["etcd", "process"],
            _ => &[],
        };
        for (key, entry) in table {
            if !known(kind).contains(&key.as_str()) && !tables.contains(&key.as_str()) {
                return Err(ConfigError::UnknownKey {
                    place: entry.place.clone(),
                    key: section.key(key),
                    right: suggestion(kind, tables, key),
                });
            }
        }
        Ok(section)
    }

    /// The table of this kind in this one; an empty one if there is none.
    pub(super) fn section(&self, kind: &'static str) -> Result<Section<'a>, ConfigError> {
        static NOTHING: Table = Table::new();
        let name = kind.rsplit('.').next().unwrap_or(kind);
        match self.table.get(name) {
            None => Section::open(kind, String::new(), None, &NOTHING),
            Some(Entry { value: Value::Table(table), place }) => Section::open(kind, String::new(), Some(place), table),
            Some(_) => Err(self.refuse(name, format!("must be a table: [{kind}]"))),
        }
    }

    /// A key's name as people know it.
    pub(super) fn key(&self, name: &str) -> String {
        match (self.kind, self.owner.as_str()) {
            ("", _) => name.to_owned(),
            (kind, "") => format!("{kind}.{name}"),
            (_, owner) => format!("{name} of {owner}"),
        }
    }

    /// The owner of an offer in this entry of `[[peer]]`.
    pub(super) fn offer_owner(&self) -> String {
        format!("an offer of {}", self.owner)
    }

    pub(super) fn entry(&self, name: &str) -> Option<&'a Entry> {
        self.table.get(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// The error that a key's value is missing or wrong; `right` says what would be right.
    pub(super) fn refuse(&self, name: &str, right: impl Into<String>) -> ConfigError {
        match self.entry(name) {
            Some(entry) => self.refuse_value(name, entry, right),
            None => ConfigError::Missing { place: self.place.cloned(), key: self.key(name), right: right.into() },
        }
    }

    /// The same for `entry`, which is the key's value or a part of it.
    pub(super) fn refuse_value(&self, name: &str, entry: &Entry, right: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            place: entry.place.clone(),
            key: self.key(name),
            // It may be most of a secret.
            value: if name == "key" { "...".to_owned() } else { entry.value.written() },
            right: right.into(),
        }
    }

    pub(super) fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, ConfigError> {
        let Some(entry) = self.entry(name) else { return Ok(None) };
        let within = match &entry.value {
            Value::Integer(Some(number), _) => u64::try_from(*number).ok().filter(|number| range.contains(number)),
            Value::Integer(None, _) | Value::Text(_) | Value::Other(_) | Value::List(_) | Value::Table(_) => None,
        };
        let right = || format!("must be a whole number from {} to {}", range.start(), range.end());
        within.map(Some).ok_or_else(|| self.refuse(name, right()))
    }

    /// A number that fits 32 bits, because `range` does.
    pub(super) fn small(&self, name: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, ConfigError> {
        let number = self.number(name, u64::from(*range.start())..=u64::from(*range.end()))?;
        // Within the range.
        Ok(number.map(|number| number as u32))
    }

    /// A text that `read` accepts; `read` says what would be right.
    pub(super) fn text<T>(
        &self,
        name: &str,
        read: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        match self.entry(name) {
            None => Ok(None),
            Some(Entry { value: Value::Text(text), .. }) => {
                read(text).map(Some).map_err(|right| self.refuse(name, right))
            }
            Some(Entry { value: Value::Integer(..) | Value::Other(_) | Value::List(_) | Value::Table(_), .. }) => {
                Err(self.refuse(name, "must be a text in quotes"))
            }
        }
    }

    /// The absolute path of what is named, which is `what`, such as "a file"; a path in a file is relative to that file.
    pub(super) fn path(&self, name: &str, what: &str) -> Result<Option<PathBuf>, ConfigError> {
        let filled = |text: &'a str| if text.is_empty() { Err(format!("must name {what}")) } else { Ok(text) };
        let Some((text, entry)) = self.text(name, filled)?.zip(self.entry(name)) else { return Ok(None) };
        let path = entry.place.resolve(text);
        // Without a working directory it cannot be made absolute, and stays as it is.
        Ok(Some(std::path::absolute(&path).unwrap_or(path)))
    }

    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, ConfigError> {
        self.durations(name, |text| parse_duration(text).map_err(|error| error.to_string()))
    }

    /// A text of durations that `read` accepts; `read` says what would be right.
    pub(super) fn durations<T>(
        &self,
        name: &str,
        read: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        match self.entry(name) {
            Some(Entry { value: Value::Integer(_, raw), .. }) => {
                Err(self.refuse(name, format!("a duration is a text with a unit; write \"{raw}ms\" or \"{raw}s\"")))
            }
            Some(_) | None => self.text(name, read),
        }
    }

    pub(super) fn list(&self, name: &str, right: &str) -> Result<Option<&'a [Entry]>, ConfigError> {
        match self.entry(name) {
            None => Ok(None),
            Some(Entry { value: Value::List(entries), .. }) if !entries.is_empty() => Ok(Some(entries)),
            Some(_) => Err(self.refuse(name, format!("must be a list, {right}"))),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

fn known(kind: &str) -> &'static [&'static str] {
    KEYS.iter().find(|(name, _)| *name == kind).map_or(&[], |(_, keys)| keys)
}

fn suggestion(kind: &str, tables: &[&str], key: &str) -> String {
    if let Some((_, _, now)) = MOVED.iter().find(|(table, moved, _)| (*table, *moved) == (kind, key)) {
        return (*now).to_owned();
    }
    let here: Vec<&str> = known(kind).iter().chain(tables).copied().collect();
    if let Some(near) = nearest(key, &here) {
        return format!("did you mean {near}?");
    }
    let elsewhere =
        KEYS.iter().find(|(name, keys)| !matches!(*name, "peer" | "offer" | "ledger.process") && keys.contains(&key));
    match elsewhere {
        Some((table, _)) if !table.is_empty() => format!("it belongs under [{table}]"),
        Some(_) => "it belongs at the top, before the first [table]".to_owned(),
        None => format!("the known keys here are {}", here.join(", ")),
    }
}

/// The candidate that `word` is most likely a slip for.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let distances = candidates.iter().map(|candidate| (edits(word, candidate), *candidate));
    distances.min().filter(|(edits, candidate)| *edits <= 2 && *edits < candidate.len()).map(|(_, near)| near)
}

/// How many letters must be changed, added or dropped to turn one word into the other.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    // No slip is this long, and an absurdly long key must not cost anything.
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}
