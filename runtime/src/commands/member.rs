//! `bazaar ledger` and `bazaar peer`: the processes of a run.

use std::{num::NonZeroU64, path::Path, process::ExitCode, sync::Arc};

use bazaar_protocol::id::PeerId;
use bazaar_runtime::{
    config::{
        Address, BazaarConfig, Listen, Member as MemberConfig, RawConfig,
        ledger::{LedgerId, LedgerProcess},
        run_dir::{self, ledger_dir, peer_dir, store_dir},
    },
    network::{directory::is_wildcard, host::Host, settings::Settings},
    processes::{
        eavesdroppers::warn_of_eavesdroppers,
        ledger_driver::{self, LedgerDriverConfig},
        peer_driver::{self, HostContext},
        replica_driver::{self, Keeping},
        report::{Event, Form, Names, ProcessEvent},
        supervise::Process,
    },
    store::{LedgerOptions, SledLedger},
    system::{limits, signals::stop_signal},
    tls::Identity,
    tools::access::{books_of_ledger, credentials_of, key_of, ledger_addresses},
};

use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use super::cli::{Ledger, Member, Peer};
use super::{Failure, block_on, no_signals};

/// Any free port on loopback.
const ANY: &str = "127.0.0.1:0";

pub fn ledger(flags: &Ledger) -> Result<ExitCode, Failure> {
    let config = read(&flags.member)?;
    limits::check_ledger(config.peers())?;
    let admit = |config: &BazaarConfig| {
        let id = ledger_id(config, flags.process)?;
        Ok::<_, Failure>((id, credentials_of(config, [Identity::Ledger])?))
    };
    let (config, (id, credentials)) = run_dir::join(&config, admit)?;
    let dir = ledger_dir(config.dir(), id);
    trace_to(&dir)?;
    let LedgerProcess { address, listen: listen_at } = config.ledger().process(id);
    let set_up = LedgerDriverConfig {
        id,
        listen: listen(address.as_ref(), listen_at.as_ref()),
        address: address.as_ref().map(Address::to_string),
        ledger: config.ledger_config(),
        ordering: config.terms().ordering,
        peers: config.peers(),
        credentials,
        settings: Settings::default(),
        form: if flags.json { Form::Json } else { Form::Text },
        dir,
    };
    let options = ledger_options(&config);
    match books_of_ledger(&config, id)?.zip(config.ledger().etcd().map(|etcd| etcd.history)) {
        None => block_on(async {
            let stop = stop_signal(flags.member.until_stdin_closes).map_err(no_signals)?;
            let open = |dir: &Path| SledLedger::open(store_dir(dir), options);
            Ok(ledger_driver::run_ledger(set_up, open, stop).await?)
        })?,
        Some((store, history)) => {
            let keeping = Keeping { snapshot_every: config.ledger().snapshot_every, history };
            block_on(async {
                let stop = stop_signal(flags.member.until_stdin_closes).map_err(no_signals)?;
                Ok(replica_driver::run_replica(set_up, store, keeping, stop).await?)
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub fn peer(flags: &Peer) -> Result<ExitCode, Failure> {
    let config = read(&flags.member)?;
    let ids = share(&config, &flags.ids)?;
    flags.shown.check(&config)?;
    limits::check_host(config.graph(), &ids)?;
    let admit = |config: &BazaarConfig| {
        let credentials = credentials_of(config, ids.iter().copied().map(Identity::Peer))?;
        Ok::<_, Failure>((addresses(config, &ids)?, credentials))
    };
    let (config, ((address, listen), credentials)) = run_dir::join(&config, admit)?;
    // The command line requires at least one.
    let first = ids.first().copied().unwrap_or_default();
    trace_to(&peer_dir(config.dir(), first))?;
    let peers: Vec<_> = ids.iter().filter_map(|id| config.peer(*id)).collect();
    let (form, filter) = (flags.shown.form(), flags.shown.filter());
    block_on(async {
        let stop = stop_signal(flags.member.until_stdin_closes).map_err(no_signals)?;
        let process = Process::Peers(ids.clone());
        let host = Host::listen(&*listen, credentials.clone(), Settings::default()).await.map_err(|error| {
            Failure::Stuck(format!(
                "{process} cannot listen on {listen}: {error}; give another address in [[peer]], or stop the program \
                 that uses it"
            ))
        })?;
        warn_of_eavesdroppers(&process, host.address(), credentials.tls.is_some());
        if is_wildcard(host.address(), address.as_ref().map(Address::as_str)).await {
            return Err(Failure::Usage(format!(
                "{} stands for every address of whichever machine uses it: give {process} an \
                 address in [[peer]] at which the others reach this machine",
                address.as_ref().map_or(&*listen, Address::as_str)
            )));
        }
        form.begin();
        let ledger_of = config.clone();
        let host_context = HostContext {
            // A configured name may stand for several interfaces, so it is what others are told.
            address: address.as_ref().map_or_else(|| host.address().to_string(), Address::to_string),
            host,
            credentials,
            settings: Settings::default(),
            ledger_addresses: Arc::new(move || ledger_addresses(&ledger_of, ledger_of.dir())),
            dir: config.dir().to_owned(),
            seed: config.seed(),
            form,
            filter,
            names: Arc::new(Names::of(&config)),
            stop,
        };
        let (host_context, shared) = (&host_context, ids.len() > 1);
        let ends = peers.into_iter().map(|peer| async move {
            let process = format!("peer {}", peer.me);
            let ended = peer_driver::run_peer(host_context, peer).await;
            // One that must not go on leaves the others of its process alone.
            if let Err(error) = ended.as_ref()
                && shared
            {
                let failed = Event::now(ProcessEvent::Failed { process, reason: error.to_string() });
                if host_context.filter.shows(&failed) {
                    host_context.form.print(&host_context.names, &failed);
                }
            }
            ended
        });
        futures::future::join_all(ends).await.into_iter().collect::<Result<(), _>>()?;
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// How a ledger's store is set up in this run.
pub fn ledger_options(config: &BazaarConfig) -> LedgerOptions {
    LedgerOptions {
        snapshot_every: NonZeroU64::new(config.ledger().snapshot_every),
        limits: config.limits(),
        ..LedgerOptions::default()
    }
}

fn read(member: &Member) -> Result<BazaarConfig, Failure> {
    let config = RawConfig::read(&member.config)?.check()?;
    // Tools need the key as well, so a directory without one would be of no use.
    key_of(&config)?;
    Ok(config)
}

/// The process of the ledger that is meant by a number.
fn ledger_id(config: &BazaarConfig, number: u8) -> Result<LedgerId, Failure> {
    config.ledger().id(number).ok_or_else(|| {
        let there = match config.ledger().processes.len() {
            1 => "the ledger has one process; others are added with [[ledger.process]]".to_owned(),
            several => format!("the processes of the ledger are numbered from 1 to {several}"),
        };
        Failure::Usage(format!("--process {number}: there is no such process; {there}"))
    })
}

fn share(config: &BazaarConfig, ids: &[u32]) -> Result<Vec<PeerId>, Failure> {
    let mut ids: Vec<PeerId> = ids.iter().copied().map(PeerId).collect();
    ids.sort_unstable();
    if let Some((twice, _)) = ids.iter().zip(ids.iter().skip(1)).find(|(a, b)| a == b) {
        return Err(Failure::Usage(format!("--id names peer {twice} twice")));
    }
    let last = config.peers() - 1;
    match ids.iter().find(|id| id.0 > last) {
        Some(id) => Err(Failure::Usage(format!("--id {id}: there is no such peer; ids run from 0 to {last}"))),
        None => Ok(ids),
    }
}

/// Where a process listens that has these addresses in its configuration.
fn listen(address: Option<&Address>, listen: Option<&Listen>) -> String {
    let listen = listen.map(Listen::to_string).or_else(|| address.map(Address::to_string));
    listen.unwrap_or_else(|| ANY.to_owned())
}

/// Where the others reach the process of these peers, and where it listens. It has one listener, so they must all have
/// the same addresses.
fn addresses(config: &BazaarConfig, ids: &[PeerId]) -> Result<(Option<Address>, String), Failure> {
    let members = ids.iter().filter_map(|id| Some((*id, config.member(*id)?)));
    let mut given = members.filter(|(_, member)| member.address.is_some() || member.listen.is_some());
    let Some((first, member)) = given.next() else { return Ok((None, ANY.to_owned())) };
    let in_words = |member: &MemberConfig| match (&member.address, &member.listen) {
        (Some(address), Some(listen)) if address.as_str() != listen.as_str() => {
            format!("{address} (listening at {listen})")
        }
        (Some(address), _) => address.to_string(),
        (None, listen) => listen.as_ref().map(Listen::to_string).unwrap_or_default(),
    };
    match given.find(|(_, other)| (&other.address, &other.listen) != (&member.address, &member.listen)) {
        Some((id, other)) => Err(Failure::Usage(format!(
            "peers {first} and {id} have the addresses {} and {}, but one process listens on one address: give them \
             the same, or start a process for each",
            in_words(member),
            in_words(other)
        ))),
        None => Ok((member.address.clone(), listen(member.address.as_ref(), member.listen.as_ref()))),
    }
}

/// Sends what happens below the protocol (mostly to connections) to a file of the process's own.
fn trace_to(dir: &std::path::Path) -> Result<(), Failure> {
    let failed = |error| Failure::Stuck(format!("cannot write {}: {error}", dir.display()));
    std::fs::create_dir_all(dir).map_err(failed)?;
    let file = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("trace")).map_err(failed)?;
    // tarpc logs every call, and every broken connection as an error; the links log what matters themselves.
    let levels = Targets::new().with_default(LevelFilter::INFO).with_target("tarpc", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::sync::Mutex::new(file));
    tracing_subscriber::registry().with(lines.with_filter(levels)).init();
    Ok(())
}
