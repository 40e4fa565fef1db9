//! How tools reach a run: its processes while it is going on, its files afterwards.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use bazaar_protocol::{
    books::{Books, BooksError},
    id::{PeerId, Position},
    record::Batch,
};
use thiserror::Error;

use crate::{
    config::{
        BazaarConfig,
        run_dir::{RunDirError, address_file, config_of, ledger_dir},
    },
    network::{
        directory::Entry,
        hello::{ConnectError, Credentials, RunId, RunKey},
        service::{LedgerInfo, LedgerRefusal, LedgerToolsClient, PeerInfo, within},
        settings::Settings,
    },
    store::{StoreError, open_copy},
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
    /// The ledger's process cannot be reached: the run has ended, or the ledger is down.
    #[error("the ledger of this run cannot be reached ({0}): the run has ended, or its ledger is down")]
    LedgerDown(String),
    /// The connection broke.
    #[error("the ledger did not answer: {0}")]
    Call(String),
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
            AccessError::Books(_) => true,
            AccessError::RunDir(_) | AccessError::NoKey | AccessError::LedgerDown(_) | AccessError::Call(_) => false,
        }
    }
}

/// The credentials of the run that `config` describes.
///
/// # Errors
/// When the configuration has no key.
pub fn credentials(config: &BazaarConfig) -> Result<Credentials, AccessError> {
    let key = config.key().ok_or(AccessError::NoKey)?;
    let digest = blake3::hash(config.name().as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    Ok(Credentials {
        run: RunId(u64::from_le_bytes([a, b, c, d, e, f, g, h])),
        key: RunKey::from_bytes(*key.as_bytes()),
    })
}

/// Where the ledger of a run listens now: as configured, or else as its process has written it into the run's
/// directory.
#[must_use]
pub fn ledger_address(config: &BazaarConfig, run: &Path) -> Option<String> {
    match &config.ledger().address {
        Some(address) => Some(address.as_str().to_owned()),
        None => std::fs::read_to_string(address_file(&ledger_dir(run))).ok(),
    }
}

/// A run, as tools see it.
#[derive(Debug)]
pub struct Run {
    dir: PathBuf,
    config: BazaarConfig,
    credentials: Credentials,
    settings: Settings,
}

impl Run {
    /// The run in `dir`, whether it is going on or has ended.
    ///
    /// # Errors
    /// When there is no run in `dir`, or its configuration has no key.
    pub fn at(dir: &Path) -> Result<Run, AccessError> {
        let config = config_of(dir)?;
        let credentials = credentials(&config)?;
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

    /// Opens a connection to its ledger.
    ///
    /// # Errors
    /// When the ledger cannot be reached.
    pub async fn ledger(&self) -> Result<LedgerToolsClient, AccessError> {
        let down = |why: String| AccessError::LedgerDown(why);
        let address =
            ledger_address(&self.config, &self.dir).ok_or_else(|| down("it has written no address".into()))?;
        tools::ledger(&*address, &self.credentials, &self.settings).await.map_err(|error| down(error.to_string()))
    }

    /// The state of the ledger, with the whole directory.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn ledger_info(&self) -> Result<LedgerInfo, AccessError> {
        let ledger = self.ledger().await?;
        let mut info = answer(ledger.status(within(DEADLINE), None).await)?;
        while info.more {
            let after = info.entries.last().map(|entry| entry.registration.life.peer);
            let next = answer(ledger.status(within(DEADLINE), after).await)?;
            info.entries.extend(next.entries);
            info.more = next.more;
        }
        Ok(info)
    }

    /// The state of its peers, as told by each process that the directory names.
    pub async fn peers(&self, entries: &[Entry]) -> BTreeMap<PeerId, Result<PeerInfo, String>> {
        let mut processes: BTreeMap<&str, Vec<PeerId>> = BTreeMap::new();
        for Entry { registration, .. } in entries {
            processes.entry(&registration.address).or_default().push(registration.life.peer);
        }
        let asked = processes.into_iter().map(|(address, ids)| async move {
            let result = self.host(address).await.map_err(|error| error.to_string());
            ids.into_iter()
                .map(|id| {
                    let info = result.clone().and_then(|infos| {
                        infos
                            .into_iter()
                            .find(|info| info.id() == id)
                            .ok_or_else(|| "no longer hosted there".to_owned())
                    });
                    (id, info)
                })
                .collect::<Vec<_>>()
        });
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }

    async fn host(&self, address: &str) -> Result<Vec<PeerInfo>, HostSilent> {
        let host = tools::host(address, &self.credentials, &self.settings).await?;
        let mut peers: Vec<PeerInfo> = Vec::new();
        loop {
            let page = host.status(within(DEADLINE), peers.last().map(PeerInfo::id)).await?;
            let is_last = !page.more || page.peers.is_empty();
            peers.extend(page.peers);
            if is_last {
                return Ok(peers);
            }
        }
    }

    /// The whole log: from the running ledger, or else from a copy of its store.
    ///
    /// # Errors
    /// When neither can be read, or the store is damaged.
    pub async fn log(&self) -> Result<Vec<Batch>, AccessError> {
        match self.ledger().await {
            Ok(ledger) => read_log(&ledger).await,
            Err(AccessError::LedgerDown(_)) => {
                let copy = open_copy(ledger_dir(&self.dir).join("store"))?;
                Ok(copy.batches()?.collect::<Result<_, _>>()?)
            }
            Err(error) => Err(error),
        }
    }
}

#[derive(Debug, Error)]
enum HostSilent {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no answer: {0}")]
    Call(#[from] tarpc::client::RpcError),
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
    books: Books,
}

impl BooksReader {
    /// A reader of the books of the run in `dir`, from the start.
    #[must_use]
    pub fn of_run(dir: &Path) -> BooksReader {
        BooksReader { dir: dir.to_owned(), ledger: None, books: Books::default() }
    }

    /// Reads what is new, and gives the books as they are now.
    ///
    /// # Errors
    /// When the ledger cannot be reached; ask again later.
    pub async fn refresh(&mut self) -> Result<&Books, AccessError> {
        let ledger = match self.ledger.take() {
            Some(ledger) => ledger,
            None => Run::at(&self.dir)?.ledger().await?,
        };
        loop {
            let batches = answer(ledger.log(within(DEADLINE), self.books.position()).await)?;
            if batches.is_empty() {
                break;
            }
            for record in batches.iter().flat_map(|batch| &batch.records) {
                self.books.apply(record)?;
            }
        }
        // Kept only if it works: a broken connection never recovers.
        self.ledger = Some(ledger);
        Ok(&self.books)
    }
}
