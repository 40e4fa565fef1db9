//! The part of a configuration that is about the ledger: where the books are kept, and which processes keep them.

use std::{fmt, path::PathBuf};

use bazaar_etcd::{Endpoints, EndpointsError, Settings, Tls, User};

use super::{
    Address, ConfigError, Listen,
    document::{Section, Value, nearest},
    read::{Distant, MOST, addresses},
};
use crate::tls::files::{CertificateFileError, read_certificate_text, read_key_text, read_password};

/// The most processes that a ledger has. Each is one more that may die, and each asks the same store.
pub const MOST_LEDGERS: u8 = 9;

/// One of the processes of a run's ledger. It is called "the ledger" where it is the only one, and "ledger 2" where there
/// are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LedgerId {
    number: u8,
    of: u8,
}

impl LedgerId {
    /// That of the only one.
    pub const ONLY: LedgerId = LedgerId { number: 1, of: 1 };

    /// Those of a ledger that has so many processes, from 1 to [`MOST_LEDGERS`], in order.
    pub fn all(of: usize) -> impl DoubleEndedIterator<Item = LedgerId> + Clone {
        let of = u8::try_from(of).unwrap_or(MOST_LEDGERS).clamp(1, MOST_LEDGERS);
        (1..=of).map(move |number| LedgerId { number, of })
    }

    /// Its number, counted from 1.
    #[must_use]
    pub fn number(self) -> u8 {
        self.number
    }

    /// Whether the ledger has no other process.
    #[must_use]
    pub fn is_only(self) -> bool {
        self.of == 1
    }
}

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_only() { f.write_str("the ledger") } else { write!(f, "ledger {}", self.number) }
    }
}

/// How the ledger is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerSettings {
    /// Where it keeps the books.
    pub store: LedgerStore,
    /// Its processes, from 1 to [`MOST_LEDGERS`]; one if they are kept in sled.
    pub processes: Vec<LedgerProcess>,
    /// After how many records it writes a snapshot.
    pub snapshot_every: u64,
}

/// Where a ledger keeps the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerStore {
    /// On the disk of its one process.
    Sled,
    /// In a cluster of etcd, which all its processes use (SPEC J3).
    Etcd(EtcdSettings),
}

/// Where one of its processes is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerProcess {
    /// Where the others reach it. `None`: where it listens, found through the run's directory.
    pub address: Option<Address>,
    /// Where it listens. `None`: at its address or, without one, on this machine, on any free port.
    pub listen: Option<Listen>,
}

/// A cluster of etcd, and what of it is this run's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSettings {
    /// Its members.
    pub endpoints: Endpoints,
    /// How the keys of everything that belongs to this run begin; it ends with a slash. `None`: with one that follows from
    /// the run's key ([`BazaarConfig::etcd_prefix`](super::BazaarConfig::etcd_prefix)).
    pub prefix: Option<String>,
    /// Who to log in as.
    pub user: Option<EtcdUser>,
    /// The certificates of the authorities that its members' certificates are signed by; there if and only if the
    /// endpoints are `https`.
    pub ca: Option<PathBuf>,
    /// What this side shows.
    pub identity: Option<EtcdIdentity>,
    /// How many records are kept below the latest snapshot, for those who audit the log.
    pub history: u64,
}

/// A user of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdUser {
    /// Its name.
    pub name: String,
    /// The file with its password.
    pub password_file: PathBuf,
}

/// What a client shows to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdIdentity {
    /// The file with its certificate.
    pub certificate: PathBuf,
    /// The file with the certificate's key.
    pub key: PathBuf,
}

impl Default for LedgerSettings {
    fn default() -> LedgerSettings {
        LedgerSettings { store: LedgerStore::Sled, processes: vec![LedgerProcess::default()], snapshot_every: 10_000 }
    }
}

impl LedgerSettings {
    /// The ids of its processes, in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = LedgerId> + Clone + use<> {
        LedgerId::all(self.processes.len())
    }

    /// The id of its process with this number, counted from 1; `None` if it has no such process.
    #[must_use]
    pub fn id(&self, number: u8) -> Option<LedgerId> {
        self.ids().find(|id| id.number == number)
    }

    /// Where one of its processes is. One that it does not have is anywhere on this machine.
    #[must_use]
    pub fn process(&self, id: LedgerId) -> LedgerProcess {
        self.processes.get(usize::from(id.number) - 1).cloned().unwrap_or_default()
    }

    /// The cluster that its books are in, if they are.
    #[must_use]
    pub fn etcd(&self) -> Option<&EtcdSettings> {
        match &self.store {
            LedgerStore::Sled => None,
            LedgerStore::Etcd(etcd) => Some(etcd),
        }
    }

    /// The same where `other` says that its processes and the cluster are. Where it says nothing, nothing has changed.
    pub(super) fn move_to(&mut self, other: &LedgerSettings) {
        let says = |process: &LedgerProcess| process.address.is_some() || process.listen.is_some();
        if other.processes.len() > 1 || other.processes.iter().any(says) {
            self.processes.clone_from(&other.processes);
        }
        if let (LedgerStore::Etcd(was), LedgerStore::Etcd(now)) = (&mut self.store, &other.store) {
            let EtcdSettings { endpoints, prefix: _, user, ca, identity, history: _ } = now.clone();
            (was.endpoints, was.user, was.ca, was.identity) = (endpoints, user, ca, identity);
        }
    }
}

impl LedgerStore {
    /// Its name in a configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            LedgerStore::Sled => SLED,
            LedgerStore::Etcd(_) => ETCD,
        }
    }
}

const SLED: &str = "sled";
const ETCD: &str = "etcd";

impl EtcdSettings {
    /// How many records are kept below the latest snapshot where nothing is written.
    pub const HISTORY: u64 = 1_000_000;

    /// What a client of the cluster is made with. Reads the password, the certificates and the key.
    ///
    /// # Errors
    /// Names the file that cannot be read, or that others can read and must not.
    pub fn client(&self) -> Result<Settings, CertificateFileError> {
        let mut settings = Settings::new(self.endpoints.clone());
        if let Some(EtcdUser { name, password_file }) = &self.user {
            let password = read_password(password_file, "write the password of etcd's user into it, and nothing else")?;
            settings.user = Some(User { name: name.clone(), password });
        }
        if let Some(ca) = &self.ca {
            let authorities =
                read_certificate_text(ca, "it is what etcd's members are started with as --trusted-ca-file")?;
            let remedy = "put back the certificate and the key of this client of etcd";
            let identity = match &self.identity {
                Some(EtcdIdentity { certificate, key }) => {
                    Some((read_certificate_text(certificate, remedy)?, read_key_text(key, remedy)?))
                }
                None => None,
            };
            settings.tls = Some(Tls { authorities, identity });
        }
        Ok(settings)
    }
}

/// Reads `[ledger]`, and which of several processes is on another machine, if one is.
pub(super) fn read(section: &Section<'_>) -> Result<(LedgerSettings, Distant), ConfigError> {
    let default = LedgerSettings::default();
    let etcd = section.section("ledger.etcd")?;
    let store = section.text("store", |name| {
        let found = [SLED, ETCD].into_iter().find(|known| *known == name);
        found.ok_or_else(|| {
            let near =
                nearest(name, &[SLED, ETCD]).map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
            format!("must be \"{SLED}\" or \"{ETCD}\"{near}")
        })
    })?;
    let store = match store {
        Some(ETCD) if !section.has("etcd") => {
            return Err(section.refuse("etcd", format!("say under [ledger.etcd] where it is: endpoints, {SUCH_AS}")));
        }
        Some(ETCD) => LedgerStore::Etcd(read_etcd(&etcd)?),
        Some(_) | None if section.has("etcd") => {
            let right = "says where the books are with store = \"etcd\"; write that under [ledger], or leave this out";
            return Err(section.refuse("etcd", right));
        }
        Some(_) | None => LedgerStore::Sled,
    };
    let (processes, distant) = read_processes(section, &store)?;
    let snapshot_every = section.number("snapshot_every", 1..=u64::from(MOST))?;
    Ok((LedgerSettings { store, processes, snapshot_every: snapshot_every.unwrap_or(default.snapshot_every) }, distant))
}

fn read_processes(section: &Section<'_>, store: &LedgerStore) -> Result<(Vec<LedgerProcess>, Distant), ConfigError> {
    let right = "one [[ledger.process]] for each process of the ledger";
    let Some(entries) = section.list("process", right)? else {
        let (address, listen) = addresses(section)?;
        return Ok((vec![LedgerProcess { address, listen }], None));
    };
    if *store == LedgerStore::Sled {
        let right = "needs a store that several processes can use, store = \"etcd\"; with sled there is one process, and \
                     its address belongs under [ledger]";
        return Err(section.refuse("process", right));
    }
    if let Some(key) = ["address", "listen"].into_iter().find(|key| section.has(key)) {
        return Err(
            section.refuse(key, "with [[ledger.process]], this belongs there, into that of the process it is of")
        );
    }
    if entries.len() > usize::from(MOST_LEDGERS) {
        return Err(section.refuse("process", format!("a ledger has at most {MOST_LEDGERS} processes")));
    }
    let mut processes: Vec<LedgerProcess> = Vec::new();
    let mut distant = None;
    for (entry, id) in entries.iter().zip(LedgerId::all(entries.len())) {
        let Value::Table(table) = &entry.value else { return Err(section.refuse_value("process", entry, right)) };
        let named =
            Section::open("ledger.process", format!("ledger process {}", id.number), Some(&entry.place), table)?;
        let (address, listen) = addresses(&named)?;
        let twin = processes.iter().position(|other| address.is_some() && other.address == address);
        if let Some(twin) = twin {
            let right =
                format!("is that of ledger process {} as well; each listens at an address of its own", twin + 1);
            return Err(named.refuse(if named.has("address") { "address" } else { "listen" }, right));
        }
        if let Some(away) = address.as_ref().filter(|address| !address.is_loopback())
            && entries.len() > 1
        {
            distant = distant.or_else(|| Some((entry.place.clone(), away.to_string())));
        }
        processes.push(LedgerProcess { address, listen });
    }
    Ok((processes, distant))
}

fn read_etcd(section: &Section<'_>) -> Result<EtcdSettings, ConfigError> {
    let endpoints = read_endpoints(section)?;
    let user = section.text("user", filled)?;
    let path = |key| section.path(key, "a file");
    let (password_file, ca, certificate, key) =
        (path("password_file")?, path("ca")?, path("certificate")?, path("key")?);
    let user = match (user, password_file) {
        (Some(name), Some(password_file)) => Some(EtcdUser { name: name.to_owned(), password_file }),
        (None, None) => None,
        (Some(_), None) => return Err(section.refuse("password_file", "name the file that holds the user's password")),
        (None, Some(_)) => return Err(section.refuse("user", "say whose password that is")),
    };
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(EtcdIdentity { certificate, key }),
        (None, None) => None,
        (Some(_), None) => return Err(section.refuse("key", "name the file that holds the certificate's key")),
        (None, Some(_)) => return Err(section.refuse("certificate", "name the file that holds the key's certificate")),
    };
    if !endpoints.are_encrypted()
        && let Some(unused) = ["ca", "certificate", "key"].into_iter().find(|key| section.has(key))
    {
        return Err(section.refuse(unused, "the endpoints are http, which uses no certificates; make them https"));
    }
    if endpoints.are_encrypted() && ca.is_none() {
        let right = "name the file with the certificate of the authority that has signed those of the endpoints, which are \
                     https; what the system trusts is not used";
        return Err(section.refuse("ca", right));
    }
    let prefix = section.text("prefix", checked_prefix)?.map(str::to_owned);
    let history = section.number("history", 0..=u64::from(MOST))?.unwrap_or(EtcdSettings::HISTORY);
    Ok(EtcdSettings { endpoints, prefix, user, ca, identity, history })
}

const SUCH_AS: &str = "such as [\"https://10.0.0.1:2379\", \"https://10.0.0.2:2379\"]";

fn read_endpoints(section: &Section<'_>) -> Result<Endpoints, ConfigError> {
    let Some(entries) = section.list("endpoints", SUCH_AS)? else {
        return Err(section.refuse("endpoints", format!("say where the members of the cluster are, {SUCH_AS}")));
    };
    let mut texts: Vec<&str> = Vec::new();
    for entry in entries {
        let Value::Text(text) = &entry.value else {
            return Err(section.refuse_value("endpoints", entry, "an endpoint is a text in quotes"));
        };
        texts.push(text);
        // Those before it are right, so that it is about this one.
        match Endpoints::parse(&texts) {
            Ok(_) => {}
            Err(EndpointsError::Malformed(_)) => {
                let right = "must be \"http://host:port\" or \"https://host:port\"";
                return Err(section.refuse_value("endpoints", entry, right));
            }
            Err(EndpointsError::Repeated(_)) => {
                let right = "is listed twice; name each member once";
                return Err(section.refuse_value("endpoints", entry, right));
            }
            Err(EndpointsError::Mixed) => {
                let right = "those before it have another scheme; use https for all, or http for all";
                return Err(section.refuse_value("endpoints", entry, right));
            }
            Err(error @ EndpointsError::Empty) => return Err(section.refuse("endpoints", error.to_string())),
        }
    }
    Endpoints::parse(&texts).map_err(|error| section.refuse("endpoints", error.to_string()))
}

fn filled(text: &str) -> Result<&str, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text) }
}

/// A prefix ends with a slash: otherwise, that of one run could be the beginning of another's.
fn checked_prefix(text: &str) -> Result<&str, String> {
    let is_known = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let fits = (3..=200).contains(&text.len()) && text.chars().all(is_known) && text.starts_with('/');
    if fits && text.ends_with('/') && !text.contains("//") {
        return Ok(text);
    }
    Err("must be a path such as \"/bazaar/market/\": up to 200 letters, digits, dashes, dots and underscores, with a slash \
         before and after each part"
        .to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
        path::Path,
    };

    use crate::{
        config::{BazaarConfig, RawConfig},
        network::hello::RunId,
        tls::{Identity, authority::Authority},
    };

    use super::*;

    fn check(text: &str, file: &Path) -> BazaarConfig {
        RawConfig::parse(text, file).unwrap().check().unwrap()
    }

    /// SPEC I5: whoever can read the password can write into the books.
    #[test]
    fn a_client_of_etcd_gets_what_the_files_hold_and_none_that_others_can_read() {
        let home = tempfile::tempdir().unwrap();
        let file = |name: &str| home.path().join(name);
        let (authority, issued) = Authority::new(RunId(7)).unwrap();
        let own = authority.issue(RunId(7), Identity::Ledger, 9).unwrap();
        let all = [
            ("ca.pem", &*issued.certificate, 0o644),
            ("client.pem", &*own.certificate, 0o644),
            ("client.key", &*own.key, 0o600),
            ("password", "open sesame\n", 0o600),
        ];
        for (name, text, mode) in all {
            fs::write(file(name), text).unwrap();
            fs::set_permissions(file(name), Permissions::from_mode(mode)).unwrap();
        }
        let text = "[ledger]\nstore = \"etcd\"\n[ledger.etcd]\nendpoints = [\"https://a:1\", \"https://b:1\"]\n\
                    user = \"bazaar\"\npassword_file = \"password\"\nca = \"ca.pem\"\ncertificate = \"client.pem\"\n\
                    key = \"client.key\"\n";
        let config = check(text, &file("bazaar.toml"));
        let etcd = config.ledger().etcd().unwrap();
        let client = etcd.client().unwrap();
        assert!(client.endpoints.names().eq(["https://a:1", "https://b:1"]));
        let user = client.user.unwrap();
        assert_eq!((&*user.name, &*user.password), ("bazaar", "open sesame"));
        let tls = client.tls.unwrap();
        assert_eq!(tls.authorities, issued.certificate);
        assert_eq!(tls.identity, Some((own.certificate.clone(), own.key.clone())));

        let refused = |name: &str, parts: &[&str]| {
            let error = etcd.client().unwrap_err().to_string();
            assert!(error.contains(&*file(name).to_string_lossy()), "{error}");
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        };
        for secret in ["password", "client.key"] {
            for mode in [0o640, 0o604] {
                fs::set_permissions(file(secret), Permissions::from_mode(mode)).unwrap();
                refused(secret, &["can be read by others", "chmod 600"]);
            }
            fs::set_permissions(file(secret), Permissions::from_mode(0o600)).unwrap();
        }
        for wrong in ["", "\n", "two\nlines\n"] {
            fs::write(file("password"), wrong).unwrap();
            refused("password", &["one line"]);
        }
        fs::write(file("password"), "x").unwrap();
        fs::write(file("client.key"), &own.certificate).unwrap();
        refused("client.key", &["no private key"]);
        fs::write(file("client.key"), &own.key).unwrap();
        fs::write(file("client.pem"), &own.key).unwrap();
        refused("client.pem", &["no certificate"]);
        fs::remove_file(file("ca.pem")).unwrap();
        refused("ca.pem", &["no such file"]);
    }

    #[test]
    fn no_two_runs_share_a_prefix_unless_it_is_written() {
        let of = |name: &str, key: &str, more: &str| {
            let key = key.repeat(32);
            let text = format!(
                "name = \"{name}\"\nkey = \"{key}\"\n[ledger]\nstore = \"etcd\"\n[ledger.etcd]\nendpoints = \
                 [\"http://a:1\"]\n{more}"
            );
            check(&text, Path::new("x")).etcd_prefix().unwrap()
        };
        let one = of("market", "5a", "");
        assert_eq!(one, of("market", "5a", "history = 3\n"), "all members have the same, in every version");
        assert_eq!(one, "/bazaar/market-34f8725b89b5b721/");
        assert_ne!(one, of("market", "5b", ""), "they have the same name only");
        assert_eq!(of("market", "5b", "prefix = \"/x/\"\n"), "/x/");
        assert_eq!(check("", Path::new("x")).etcd_prefix(), None);
        let mut keyless =
            check("ledger = { store = \"etcd\", etcd = { endpoints = [\"http://a:1\"] } }", Path::new("x"));
        assert_eq!(keyless.etcd_prefix(), None);
        keyless.ensure_key();
        assert!(keyless.etcd_prefix().is_some());
    }

    #[test]
    fn a_ledger_is_named_by_its_number_only_where_there_are_several() {
        let names = |of| LedgerId::all(of).map(|id| id.to_string()).collect::<Vec<_>>();
        assert_eq!(names(1), ["the ledger"]);
        assert_eq!(names(3), ["ledger 1", "ledger 2", "ledger 3"]);
    }
}
