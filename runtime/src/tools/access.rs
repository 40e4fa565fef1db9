//! How tools reach a run: its processes while it is going on, its files afterwards.

use std::{
    collections::{BTreeMap, btree_map},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bazaar_etcd::{Client, SettingsError, cluster::ClusterError};
use bazaar_protocol::{
    books::{Books, BooksError},
    id::{PeerId, Position},
    ledger::replica::Found,
    record::Batch,
};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::{
    config::{
        BazaarConfig, TlsSettings,
        ledger::LedgerId,
        run_dir::{
            RunDir, RunDirError, address_file, config_of, ledger_dir, living_process, member_dirs, peer_dir, store_dir,
        },
    },
    network::{
        directory::Entry,
        door::DoorStatus,
        hello::{Credentials, RunId, RunKey},
        service::{Hand, HostInfo, HostToolsClient, LedgerInfo, LedgerRefusal, LedgerToolsClient, PeerInfo, within},
        settings::{Backoff, Settings},
    },
    processes::{own_etcd::OwnEtcd, supervise::Process},
    store::{
        Intact, KeptLog, StoreError,
        etcd::{EtcdStore, Looked, ReadError},
        examine, read_acknowledged,
        witness::{self, Gone, Witness},
    },
    system::output::complain,
    tls::{
        Identity,
        files::{CertificateDir, CertificateFileError},
    },
    tools,
};

/// How long a tool waits for each answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why a tool does not get what it asks for.
#[derive(Debug, Error)]
pub enum AccessError {
    /// There is no run there, or it cannot be read.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The configuration has no key.
    #[error("the configuration has no `key`; `bazaar init` writes one, and all members of a run need the same")]
    NoKey,
    /// The certificates cannot be used.
    #[error(transparent)]
    Certificates(#[from] CertificateFileError),
    /// This machine lacks the certificate without which no process of the run answers.
    #[error("the run can only be asked with the tools' certificate: {0}")]
    Tools(Arc<CertificateFileError>),
    /// The cluster that the books are in cannot be turned to with what the configuration says.
    #[error("[ledger.etcd]: {0}")]
    Etcd(#[from] SettingsError),
    /// The books in etcd cannot be read.
    #[error(transparent)]
    Cluster(#[from] ReadError),
    /// The run's own cluster of etcd, which rests while the run does, does not start, so that its books cannot be read.
    #[error(transparent)]
    OwnEtcd(#[from] ClusterError),
    /// The ledger's process cannot be reached: the run has ended, or the ledger is down.
    #[error("the ledger of this run cannot be reached ({0}): the run has ended, or its ledger is down")]
    LedgerDown(String),
    /// The connection broke.
    #[error("the ledger did not answer: {0}")]
    Call(String),
    /// The process that hosts a peer cannot be reached, or does not do what it is asked.
    #[error("peer {peer}: {why}")]
    Host {
        /// The peer.
        peer: PeerId,
        /// Why, in words.
        why: String,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log cannot be folded.
    #[error(transparent)]
    Books(#[from] BooksError),
}

impl AccessError {
    /// Whether the books themselves are wrong, rather than out of reach.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            AccessError::Store(error) => error.is_damage(),
            AccessError::Cluster(error) => error.is_damage(),
            AccessError::Books(_) => true,
            AccessError::RunDir(_)
            | AccessError::NoKey
            | AccessError::Certificates(_)
            | AccessError::Tools(_)
            | AccessError::Etcd(_)
            | AccessError::OwnEtcd(_)
            | AccessError::LedgerDown(_)
            | AccessError::Call(_)
            | AccessError::Host { .. } => false,
        }
    }
}

/// What proves to a run that this process is one of its tools.
///
/// # Errors
/// When the configuration has no key, or the tools have no certificate here and need one.
pub fn credentials(config: &BazaarConfig) -> Result<Credentials, AccessError> {
    credentials_of(config, [Identity::Tools])
}

/// What proves to a run that this process is these members of it.
///
/// # Errors
/// When the configuration has no key, or one of them has no certificate here and needs one.
pub fn credentials_of(
    config: &BazaarConfig,
    members: impl IntoIterator<Item = Identity>,
) -> Result<Credentials, AccessError> {
    let credentials = key_of(config)?;
    let load = |tls: &TlsSettings| CertificateDir::at(&tls.dir).load(credentials.run, members, &tls.revoked);
    let tls = config.tls().map(load).transpose()?;
    Ok(Credentials { tls, ..credentials })
}

/// The books of a run that keeps them in etcd; `None` for one that does not. Nothing is connected to yet.
///
/// # Errors
/// When the configuration has no key, or what it names to get into the cluster is missing or wrong.
pub fn books_in_etcd(config: &BazaarConfig) -> Result<Option<EtcdStore>, AccessError> {
    let Some(etcd) = config.ledger().etcd() else { return Ok(None) };
    store_in_etcd(config, &etcd.client()?)
}

/// The same for one of the processes of the run's ledger. It notices that it does not see what the others do before terms run
/// out that they renew, and begins with another member of the cluster than they do.
///
/// # Errors
/// As for [`books_in_etcd`].
pub fn books_of_ledger(config: &BazaarConfig, id: LedgerId) -> Result<Option<EtcdStore>, AccessError> {
    let Some(etcd) = config.ledger().etcd() else { return Ok(None) };
    let mut settings = etcd.client()?;
    settings.endpoints.rotate(usize::from(id.number()) - 1);
    settings.watch_silence = settings.watch_silence.min(config.timeouts().lease / 2);
    store_in_etcd(config, &settings)
}

fn store_in_etcd(config: &BazaarConfig, settings: &bazaar_etcd::Settings) -> Result<Option<EtcdStore>, AccessError> {
    let (prefix, run) = config.etcd_prefix().zip(config.books_id()).ok_or(AccessError::NoKey)?;
    let client = Client::new(settings)?;
    Ok(Some(EtcdStore::new(client, &prefix, run, config.limits())))
}

/// Asks a store until it answers, for as long as a tool waits. Each attempt that fails has turned to another member.
async fn answered<T>(ask: impl AsyncFn() -> Result<T, ReadError>) -> Result<T, ReadError> {
    let mut backoff = Backoff::between(Duration::from_millis(10), Duration::from_millis(200));
    let ends = Instant::now() + DEADLINE;
    loop {
        match ask().await {
            Err(ReadError::Unanswered { .. }) if Instant::now() < ends => sleep(backoff.wait()).await,
            asked => return asked,
        }
    }
}

/// What is kept of the log of a run whose books are in etcd.
///
/// # Errors
/// When it cannot be read.
pub async fn log_in_etcd(store: &EtcdStore) -> Result<KeptLog, AccessError> {
    Ok(answered(async || store.kept().await).await?)
}

/// What proves that a process knows the key of the run that `config` describes, and no more.
///
/// # Errors
/// When the configuration has no key.
pub fn key_of(config: &BazaarConfig) -> Result<Credentials, AccessError> {
    let key = config.key().ok_or(AccessError::NoKey)?;
    let digest = blake3::hash(config.name().as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    Ok(Credentials {
        run: RunId(u64::from_le_bytes([a, b, c, d, e, f, g, h])),
        key: RunKey::from_bytes(*key.as_bytes()),
        tls: None,
    })
}

/// Where a process of a run's ledger listens now: as configured, or else as it has written it into the run's directory.
#[must_use]
pub fn ledger_address(config: &BazaarConfig, run: &Path, id: LedgerId) -> Option<String> {
    match config.ledger().process(id).address {
        Some(address) => Some(address.as_str().to_owned()),
        None => std::fs::read_to_string(address_file(&ledger_dir(run, id))).ok(),
    }
}

/// The same for all of its processes, in the order of their numbers.
#[must_use]
pub fn ledger_addresses(config: &BazaarConfig, run: &Path) -> Vec<Option<String>> {
    config.ledger().ids().map(|id| ledger_address(config, run, id)).collect()
}

/// A run, as tools see it.
#[derive(Debug)]
pub struct Run {
    dir: PathBuf,
    config: BazaarConfig,
    /// Without the tools' certificate on this machine, what is in files can still be read.
    credentials: Result<Credentials, Arc<CertificateFileError>>,
    settings: Settings,
}

impl Run {
    /// The run in `dir`, whether it is going on or has ended.
    ///
    /// # Errors
    /// When there is no run in `dir`, or its configuration has no key.
    pub fn at(dir: &Path) -> Result<Run, AccessError> {
        let config = config_of(dir)?;
        let credentials = match credentials(&config) {
            Err(AccessError::Certificates(error)) => Err(Arc::new(error)),
            credentials => Ok(credentials?),
        };
        Ok(Run { dir: dir.to_owned(), config, credentials, settings: Settings::default() })
    }

    /// The run's effective configuration.
    #[must_use]
    pub fn config(&self) -> &BazaarConfig {
        &self.config
    }

    /// The run's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn credentials(&self) -> Result<&Credentials, AccessError> {
        self.credentials.as_ref().map_err(|error| AccessError::Tools(Arc::clone(error)))
    }

    /// Opens a connection to its ledger: if that has several processes, to the first that answers.
    ///
    /// # Errors
    /// When the ledger cannot be reached, or this machine lacks the tools' certificate.
    pub async fn ledger(&self) -> Result<LedgerToolsClient, AccessError> {
        let mut silent = Vec::new();
        for id in self.config.ledger().ids() {
            match self.answering(id).await {
                Ok(ledger) => return Ok(ledger),
                Err(error) => silent.push((id, self.if_another_may_answer(id, error)?)),
            }
        }
        Err(self.all_silent(&silent))
    }

    /// What the processes of its ledger tell; at least one does.
    ///
    /// # Errors
    /// When none of them can be reached.
    pub async fn ledgers(&self) -> Result<Ledgers, AccessError> {
        let asked = self.config.ledger().ids().map(|id| async move { (id, self.info_of(id).await) });
        let mut ledgers = Ledgers::default();
        for (id, told) in futures::future::join_all(asked).await {
            match told {
                Ok((address, info)) => ledgers.answers.push(LedgerAnswer { id, address, info }),
                Err(error) => ledgers.silent.push((id, self.if_another_may_answer(id, error)?)),
            }
        }
        if ledgers.answers.is_empty() { Err(self.all_silent(&ledgers.silent)) } else { Ok(ledgers) }
    }

    /// The state of the ledger, with the whole directory.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn ledger_info(&self) -> Result<LedgerInfo, AccessError> {
        let Ledgers { answers, silent } = self.ledgers().await?;
        Ledgers::together(&answers).ok_or_else(|| self.all_silent(&silent))
    }

    /// Where one of several processes of the ledger was looked for, and why it does not answer; an error if there are no
    /// others, or they would not answer either.
    fn if_another_may_answer(&self, id: LedgerId, error: AccessError) -> Result<String, AccessError> {
        match error {
            AccessError::LedgerDown(why) | AccessError::Call(why) if !id.is_only() => {
                let address = ledger_address(&self.config, &self.dir, id);
                Ok(address.map_or_else(|| why.clone(), |address| format!("{address}: {why}")))
            }
            error @ (AccessError::RunDir(_)
            | AccessError::NoKey
            | AccessError::Certificates(_)
            | AccessError::Tools(_)
            | AccessError::Etcd(_)
            | AccessError::OwnEtcd(_)
            | AccessError::Cluster(_)
            | AccessError::LedgerDown(_)
            | AccessError::Call(_)
            | AccessError::Host { .. }
            | AccessError::Store(_)
            | AccessError::Books(_)) => Err(error),
        }
    }

    fn all_silent(&self, silent: &[(LedgerId, String)]) -> AccessError {
        let each: Vec<String> = silent.iter().map(|(id, why)| format!("{id}: {why}")).collect();
        AccessError::LedgerDown(each.join("; "))
    }

    /// Opens a connection to one process of the ledger.
    async fn ledger_at(&self, id: LedgerId) -> Result<(String, LedgerToolsClient), AccessError> {
        let down = |why: String| AccessError::LedgerDown(why);
        let credentials = self.credentials()?;
        let address = ledger_address(&self.config, &self.dir, id);
        let address = address.ok_or_else(|| down("it has written no address".into()))?;
        let ledger = tools::ledger(&*address, credentials, &self.settings).await;
        Ok((address, ledger.map_err(|error| down(error.to_string()))?))
    }

    /// Opens a connection to a process of the ledger which, if it is one of several, answers over it: one whose store does
    /// not answer is there, and of no use.
    async fn answering(&self, id: LedgerId) -> Result<LedgerToolsClient, AccessError> {
        let (_, ledger) = self.ledger_at(id).await?;
        if !id.is_only() {
            let nobody = Some(PeerId(u32::MAX));
            answer(ledger.status(within(DEADLINE), nobody).await)?;
        }
        Ok(ledger)
    }

    /// What one process of the ledger tells, with its whole directory, and where it listens.
    async fn info_of(&self, id: LedgerId) -> Result<(String, LedgerInfo), AccessError> {
        let (address, ledger) = self.ledger_at(id).await?;
        let mut info = answer(ledger.status(within(DEADLINE), None).await)?;
        while info.more {
            let after = info.entries.last().map(|entry| entry.registration.life.peer);
            let next = answer(ledger.status(within(DEADLINE), after).await)?;
            info.entries.extend(next.entries);
            info.more = next.more;
        }
        Ok((address, info))
    }

    /// Where each of its peers listens: as the directory says or, of those that it does not have (yet), as their
    /// processes on this machine have written it down. The directory begins anew with the ledger's process.
    #[must_use]
    pub fn addresses(&self, entries: &[Entry]) -> BTreeMap<PeerId, String> {
        let mut addresses: BTreeMap<PeerId, String> =
            entries.iter().map(|entry| (entry.registration.life.peer, entry.registration.address.clone())).collect();
        for id in (0..self.config.peers()).map(PeerId) {
            if let btree_map::Entry::Vacant(unknown) = addresses.entry(id)
                && let Ok(address) = std::fs::read_to_string(address_file(&peer_dir(&self.dir, id)))
            {
                unknown.insert(address);
            }
        }
        addresses
    }

    /// Whether any process of this run is running on this machine.
    #[must_use]
    pub fn lives_here(&self) -> bool {
        member_dirs(&self.dir, self.config.peers()).any(|dir| living_process(&dir).is_some())
    }

    /// The state of its peers and their doors, as told by the process at each of these addresses.
    pub async fn hosts(&self, addresses: &BTreeMap<PeerId, String>) -> Hosts {
        let mut processes: BTreeMap<&str, Vec<PeerId>> = BTreeMap::new();
        for (id, address) in addresses {
            processes.entry(address).or_default().push(*id);
        }
        let asked = processes.into_iter().map(|(address, ids)| async move {
            let answer = self.host(&ids, address).await;
            (address, ids, answer)
        });
        let mut hosts = Hosts::default();
        for (address, ids, answer) in futures::future::join_all(asked).await {
            if let Ok(HostInfo { door, .. }) = &answer {
                let (peers, status) = (ids.clone(), door.clone());
                hosts.doors.push(HostDoor { address: address.to_owned(), peers, status });
            }
            let infos = answer.map(|answer| answer.peers);
            hosts.peers.extend(ids.into_iter().map(|id| {
                let of_it = |infos: Vec<PeerInfo>| infos.into_iter().find(|info| info.id() == id);
                let info = infos.clone().and_then(|infos| of_it(infos).ok_or_else(|| "no longer hosted there".into()));
                (id, info)
            }));
        }
        hosts
    }

    /// What the process says that hosts some of these peers, or in words why it says nothing.
    async fn host(&self, peers: &[PeerId], address: &str) -> Result<HostInfo, String> {
        let host = self.connect(peers, address).await?;
        let silent = |error| format!("no answer: {error}");
        let mut info = host.status(within(DEADLINE), None).await.map_err(silent)?;
        while info.more {
            let page = host.status(within(DEADLINE), info.peers.last().map(PeerInfo::id)).await.map_err(silent)?;
            info.more = page.more && !page.peers.is_empty();
            info.peers.extend(page.peers);
        }
        Ok(info)
    }

    /// Has the log of a process say what is done to it by hand.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn by_hand(&self, process: &Process, hand: Hand) -> Result<(), AccessError> {
        match process {
            Process::Ledger(id) => answer(self.ledger_at(*id).await?.1.hand(within(DEADLINE), hand).await),
            Process::Peers(ids) => {
                for id in ids.iter().take(1) {
                    let told = self.host_of(*id).await?.hand(within(DEADLINE), hand).await;
                    told.map_err(|error| host_fault(*id, error))?;
                }
                Ok(())
            }
        }
    }

    /// Cuts the link of `from` to its neighbour `to`, until [`Run::heal`].
    ///
    /// # Errors
    /// When the process of `from` cannot be reached, or they are not neighbours.
    pub async fn cut(&self, from: PeerId, to: PeerId) -> Result<(), AccessError> {
        let cut = self.host_of(from).await?.cut(within(DEADLINE), from, to).await;
        cut.map_err(|error| host_fault(from, error))?.map_err(|refusal| host_fault(from, refusal))
    }

    /// Wants a trader to give the office back, before its number of sales.
    ///
    /// # Errors
    /// When its process cannot be reached, or it is not the trader.
    pub async fn resign(&self, trader: PeerId) -> Result<(), AccessError> {
        let asked = self.host_of(trader).await?.resign(within(DEADLINE), trader).await;
        asked.map_err(|error| host_fault(trader, error))?.map_err(|refusal| host_fault(trader, refusal))
    }

    /// Heals all links that were cut. Returns them, each as from whom to whom, and the peers that could not be asked.
    ///
    /// # Errors
    /// When the ledger, which knows the addresses, cannot be reached.
    pub async fn heal(&self) -> Result<(Vec<(PeerId, PeerId)>, Vec<PeerId>), AccessError> {
        let entries = self.ledger_info().await?.entries;
        let asked = entries.iter().map(|Entry { registration, .. }| async move {
            let peer = registration.life.peer;
            let healed = match self.connect(&[peer], &registration.address).await {
                Ok(host) => host.heal(within(DEADLINE), peer).await.ok().and_then(Result::ok),
                Err(_) => None,
            };
            (peer, healed)
        });
        let (mut healed, mut unreached) = (Vec::new(), Vec::new());
        for (peer, answer) in futures::future::join_all(asked).await {
            match answer {
                Some(neighbours) => healed.extend(neighbours.into_iter().map(|to| (peer, to))),
                None => unreached.push(peer),
            }
        }
        Ok((healed, unreached))
    }

    /// Opens a connection to the process that hosts a peer.
    async fn host_of(&self, peer: PeerId) -> Result<HostToolsClient, AccessError> {
        let entries = self.ledger_info().await?.entries;
        let entry = entries.iter().find(|entry| entry.registration.life.peer == peer);
        let entry = entry.ok_or_else(|| host_fault(peer, "it has not registered"))?;
        self.connect(&[peer], &entry.registration.address).await.map_err(|error| host_fault(peer, error))
    }

    /// Opens a connection to the process at `address`, which hosts any of these peers; or says in words why that cannot
    /// be done.
    async fn connect(&self, peers: &[PeerId], address: &str) -> Result<HostToolsClient, String> {
        let credentials = self.credentials().map_err(|error| error.to_string())?;
        let mut why = "no peer is known to be there".to_owned();
        for peer in peers {
            match tools::host(*peer, address, credentials, &self.settings).await {
                Ok(host) => return Ok(host),
                // The directory still has a peer there that is gone. With TLS, only one that is there can be asked for.
                Err(error) if error.is_another_member() => why = error.to_string(),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(why)
    }

    /// What is kept of the log: from etcd if it is there, from the running ledger, or else from the files of its store; and
    /// whether that is all that was ever acknowledged.
    ///
    /// # Errors
    /// When it cannot be read, or the store is damaged.
    pub async fn log(&self) -> Result<RunLog, AccessError> {
        // First: nobody has seen more than what is in the log afterwards.
        let witnesses = self.witnesses()?;
        if let Some(store) = books_in_etcd(&self.config)? {
            let _awake = self.wake(&store).await?;
            return Ok(RunLog::new(self, log_in_etcd(&store).await?, &witnesses));
        }
        let batches = match self.ledger().await {
            Ok(ledger) => read_log(&ledger).await?,
            Err(error) if self.is_at_rest(&error) => read_acknowledged(&self.store())?,
            Err(error) => return Err(error),
        };
        Ok(RunLog::new(self, KeptLog::whole(batches), &witnesses))
    }

    /// What is there of the log: all that is kept of it or, if the store is damaged, what of that is intact.
    ///
    /// # Errors
    /// When nothing can be read.
    pub async fn remains(&self) -> Result<(RunLog, Intact), AccessError> {
        let witnesses = self.witnesses()?;
        let whole = |kept: KeptLog| {
            let records = kept.mark().head;
            (RunLog::new(self, kept, &witnesses), Intact { records, acknowledged: Some(records) })
        };
        if let Some(store) = books_in_etcd(&self.config)? {
            let _awake = self.wake(&store).await?;
            return Ok(whole(log_in_etcd(&store).await?));
        }
        match self.ledger().await {
            Ok(ledger) => Ok(whole(KeptLog::whole(read_log(&ledger).await?))),
            Err(error) if self.is_at_rest(&error) => {
                let remains = examine(&self.store())?;
                let intact = remains.intact();
                Ok((RunLog::new(self, KeptLog::whole(remains.into_batches()), &witnesses), intact))
            }
            Err(error) => Err(error),
        }
    }

    /// Starts the run's own cluster of etcd, if it has one and has ended, so that its books can be read.
    async fn wake(&self, store: &EtcdStore) -> Result<Option<Awake>, AccessError> {
        if !OwnEtcd::is_in(&self.dir) || self.lives_here() {
            return Ok(None);
        }
        for _ in store.client().endpoints() {
            if let Ok(Looked { found: Found::Tail(_), .. }) = store.look().await {
                return Ok(None);
            }
        }
        match RunDir::take_ended(&self.dir) {
            Ok(taken) => Ok(Some(Awake { _etcd: OwnEtcd::start(&self.dir).await?, _taken: taken })),
            // It is about to begin or to end, or another tool has woken it.
            Err(RunDirError::InUse(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the books can be read from the files of a store, now that the ledger cannot be asked for this reason.
    fn is_at_rest(&self, why: &AccessError) -> bool {
        matches!(why, AccessError::LedgerDown(_)) || matches!(why, AccessError::Tools(_)) && !self.lives_here()
    }

    /// Whether the ledger's store, whose process is down, lacks what was acknowledged. Of a store in etcd, nobody knows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_gone(&self) -> Result<Option<Gone>, AccessError> {
        if self.config.ledger().etcd().is_some() {
            return Ok(None);
        }
        let witnesses = self.witnesses()?;
        Ok(RunLog::new(self, KeptLog::whole(read_acknowledged(&self.store())?), &witnesses).gone)
    }

    /// Whether the books were kept from this machine alone, so that none of its processes living here means that the
    /// run has ended.
    #[must_use]
    pub fn is_kept_here(&self) -> bool {
        match self.config.ledger().etcd() {
            None => self.store().exists(),
            Some(_) => self.config.ledger().ids().all(|id| ledger_dir(&self.dir, id).is_dir()),
        }
    }

    /// The ledger's store, if it is on disk.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        store_dir(&ledger_dir(&self.dir, LedgerId::ONLY))
    }

    /// Those on this machine who remember how far the books had got.
    ///
    /// # Errors
    /// When the ledger's own note of it cannot be read.
    pub fn witnesses(&self) -> Result<Vec<Witness>, AccessError> {
        let notes = self.config.ledger().ids().map(|id| witness::noted(&ledger_dir(&self.dir, id)));
        let noted = notes.collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
        let peers = (0..self.config.peers()).map(PeerId);
        let seen = peers.filter_map(|peer| witness::seen_by(peer, &store_dir(&peer_dir(&self.dir, peer))));
        Ok(noted.chain(seen).collect())
    }
}

/// The own cluster of a run that has ended, for as long as its books are read; nobody can continue the run meanwhile.
struct Awake {
    // Before the lock, so that whoever takes that next finds no node.
    _etcd: OwnEtcd,
    _taken: RunDir,
}

/// A log, and whether its end is the end of it.
#[derive(Clone, Debug)]
pub struct RunLog {
    /// All that is kept of it.
    pub kept: KeptLog,
    /// Somebody has seen more than this: acknowledged records are gone.
    pub gone: Option<Gone>,
    /// Whose store on this machine is an old copy, or gone, in words.
    pub old_copies: Vec<String>,
}

impl RunLog {
    /// Says on standard error whose store here is an old copy, or gone.
    pub fn warn(&self) {
        self.old_copies.iter().for_each(|old| complain(&format!("warning: {old}")));
    }

    fn new(run: &Run, kept: KeptLog, witnesses: &[Witness]) -> RunLog {
        let gone = witness::gone(witnesses, kept.mark());
        let store = |peer| store_dir(&peer_dir(&run.dir, peer));
        let peers = (0..run.config.peers()).map(PeerId);
        let old_copies = peers.filter_map(|peer| witness::old_copy(&kept, peer, &store(peer))).collect();
        RunLog { kept, gone, old_copies }
    }
}

fn host_fault(peer: PeerId, why: impl ToString) -> AccessError {
    AccessError::Host { peer, why: why.to_string() }
}

/// What the processes of a ledger tell.
#[derive(Clone, Debug, Default)]
pub struct Ledgers {
    /// What each of those tells that answer, in the order of their numbers.
    pub answers: Vec<LedgerAnswer>,
    /// Where the others were looked for, and why they do not answer. The only process of a ledger is never among them.
    pub silent: Vec<(LedgerId, String)>,
}

/// What one process of a ledger tells.
#[derive(Clone, Debug)]
pub struct LedgerAnswer {
    /// Which one it is.
    pub id: LedgerId,
    /// Where it listens.
    pub address: String,
    /// What it tells.
    pub info: LedgerInfo,
}

impl Ledgers {
    /// What they tell together: the furthest state of the fence, and of each peer the latest registration, connected if it
    /// is to any of them. `None` if there is no answer.
    #[must_use]
    pub fn together(answers: &[LedgerAnswer]) -> Option<LedgerInfo> {
        let furthest = answers.iter().max_by_key(|answer| (answer.info.status.epoch(), answer.info.status.head))?;
        let mut entries: BTreeMap<PeerId, Entry> = BTreeMap::new();
        for entry in answers.iter().flat_map(|answer| &answer.info.entries) {
            let life = entry.registration.life;
            match entries.entry(life.peer) {
                btree_map::Entry::Vacant(unknown) => {
                    unknown.insert(entry.clone());
                }
                btree_map::Entry::Occupied(mut known) if life == known.get().registration.life => {
                    known.get_mut().connected |= entry.connected;
                }
                btree_map::Entry::Occupied(mut known) => {
                    if life.incarnation > known.get().registration.life.incarnation {
                        known.insert(entry.clone());
                    }
                }
            }
        }
        let troubles = answers.iter().filter_map(|LedgerAnswer { id, info, .. }| {
            let trouble = info.trouble.as_deref()?;
            Some(if id.is_only() { trouble.to_owned() } else { format!("{id}: {trouble}") })
        });
        let troubles: Vec<String> = troubles.collect();
        // They may end with commands, which are lines of their own.
        let trouble = (!troubles.is_empty()).then(|| troubles.join("\n"));
        Some(LedgerInfo { trouble, entries: entries.into_values().collect(), ..furthest.info.clone() })
    }
}

/// What the processes that host peers tell of them and of themselves.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// The state of each peer, or why it is not known.
    pub peers: BTreeMap<PeerId, Result<PeerInfo, String>>,
    /// What goes on at the doors of the processes that answer.
    pub doors: Vec<HostDoor>,
}

/// What goes on at the door of a process that hosts peers.
#[derive(Clone, Debug)]
pub struct HostDoor {
    /// Where it listens.
    pub address: String,
    /// Its peers, by the directory.
    pub peers: Vec<PeerId>,
    /// What goes on there.
    pub status: DoorStatus,
}

fn answer<T>(result: Result<Result<T, LedgerRefusal>, tarpc::client::RpcError>) -> Result<T, AccessError> {
    match result {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(refusal)) => Err(AccessError::Call(refusal.to_string())),
        Err(error) => Err(AccessError::Call(error.to_string())),
    }
}

async fn read_log(ledger: &LedgerToolsClient) -> Result<Vec<Batch>, AccessError> {
    let mut log: Vec<Batch> = Vec::new();
    loop {
        let at = log.last().map_or(Position(0), Batch::end);
        let batches = answer(ledger.log(within(DEADLINE), at).await)?;
        if batches.is_empty() {
            return Ok(log);
        }
        log.extend(batches);
    }
}

/// Follows the books of a run that is going on.
#[derive(Debug)]
pub struct BooksReader {
    dir: PathBuf,
    ledger: Option<LedgerToolsClient>,
    /// Where they are in etcd. It remembers which member has answered last.
    store: Option<EtcdStore>,
    books: Books,
}

impl BooksReader {
    /// How long one request to a cluster may take, so that another member can be asked within the time that a reader has.
    const ATTEMPT: Duration = Duration::from_millis(500);

    /// A reader of the books of the run in `dir`.
    #[must_use]
    pub fn of_run(dir: &Path) -> BooksReader {
        BooksReader { dir: dir.to_owned(), ledger: None, store: None, books: Books::default() }
    }

    /// Reads what is new, and gives the books as they are now. If the call is dropped, the next one goes on after the last
    /// page that it has read.
    ///
    /// # Errors
    /// When the ledger or the cluster cannot be reached; ask again later.
    pub async fn refresh(&mut self) -> Result<&Books, AccessError> {
        if let Some(store) = self.store.clone() {
            return self.read_on(&store).await;
        }
        let ledger = match self.ledger.take() {
            Some(ledger) => ledger,
            None => {
                let run = Run::at(&self.dir)?;
                if let Some(store) = books_in_etcd(&run.config)? {
                    let client = store.client().with_deadline(Self::ATTEMPT);
                    let store = self.store.insert(store.with_client(client)).clone();
                    return self.read_on(&store).await;
                }
                run.ledger().await?
            }
        };
        loop {
            let batches = answer(ledger.log(within(DEADLINE), self.books.position()).await)?;
            if batches.is_empty() {
                break;
            }
            apply(&mut self.books, &batches)?;
        }
        // Kept only if it works: a broken connection never recovers.
        self.ledger = Some(ledger);
        Ok(&self.books)
    }

    async fn read_on(&mut self, store: &EtcdStore) -> Result<&Books, AccessError> {
        let Looked { found, .. } = answered(async || store.look().await).await?;
        let Found::Tail(tail) = found else { return Err(ReadError::NotHeld { prefix: store.prefix(), found }.into()) };
        if self.books.position() == Position(0) {
            self.books = answered(async || store.books().await).await?;
        }
        while self.books.position() < tail.status.head {
            let from = self.books.position();
            let batches = match answered(async || store.batches(from, tail.status.head).await).await {
                // Below a newer snapshot, it does not matter.
                Err(error) if error.is_damage() => None,
                batches => batches?,
            };
            match batches.filter(|batches| !batches.is_empty()) {
                Some(batches) => apply(&mut self.books, &batches)?,
                // A snapshot has taken the place of what comes next.
                None => {
                    self.books = answered(async || store.books().await).await?;
                    if self.books.position() <= from {
                        return Err(store.other_log().into());
                    }
                }
            }
        }
        Ok(&self.books)
    }
}

fn apply(books: &mut Books, batches: &[Batch]) -> Result<(), BooksError> {
    batches.iter().flat_map(|batch| &batch.records).try_for_each(|record| books.apply(record))
}
