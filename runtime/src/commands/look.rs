//! `bazaar status` and `bazaar graph`.

use std::{collections::BTreeMap, fmt::Write as _, process::ExitCode, time::Duration};

use bazaar_protocol::{
    config::Ordering,
    id::{Epoch, Life, PeerId},
    text::{agreeing, counted, visible},
    words::Names as _,
};
use bazaar_runtime::{
    config::{
        RawConfig,
        ledger::LedgerId,
        picture::{Moment, Picture},
        run_dir::{left_file, living_process, peer_dir},
    },
    network::{
        door::DoorStatus,
        service::{LinkCounts, LinkStatus, PeerInfo, PeerStatus, Waits},
    },
    processes::{
        report::Names,
        supervise::{Process, briefly},
    },
    schema::Schema as _,
    store::witness::Gone,
    system::{
        output::{self, Reader},
        signals::StopSignals,
    },
    tools::access::{AccessError, HostDoor, Hosts, LedgerAnswer, Ledgers, Run, RunLog},
};
use serde_json::json;

use super::cli::{Format, Graph, Status};
use super::{
    Failure, block_on,
    books::{self, TermLine},
    no_signals, print, print_json,
    table::{Screen, table},
    which_run,
};

/// Who is trader at the moment.
pub fn trader(run: &Run) -> Result<Option<PeerId>, Failure> {
    let now = block_on(Snapshot::of(run))?;
    match now.phase {
        Phase::Ended(_) => Err(Failure::Stuck("the run has ended: it has no trader".to_owned())),
        Phase::Running | Phase::NoLedger(_) => Ok(now.trader),
    }
}

/// The state of a bazaar at one moment.
#[derive(Debug)]
struct Snapshot {
    phase: Phase,
    trader: Option<PeerId>,
    epoch: Epoch,
    /// `None` if the ledger cannot be asked.
    records: Option<u64>,
    requests_open: u32,
    ordering: Option<Ordering>,
    seats: Vec<Life>,
    waits: Option<Waits>,
    /// What is wrong with the ledger's log.
    trouble: Option<String>,
    /// Which of several processes of the ledger do not answer, and why.
    silent_ledgers: Vec<(LedgerId, String)>,
    peers: BTreeMap<PeerId, PeerState>,
    doors: Vec<DoorState>,
}

/// What goes on at the door of one of its processes (SPEC I7).
#[derive(Debug)]
struct DoorState {
    process: Process,
    address: String,
    status: DoorStatus,
}

impl DoorState {
    fn json(&self) -> serde_json::Value {
        let DoorStatus { strangers, refused } = &self.status;
        let process = self.process.to_string();
        json!({ "process": process, "address": self.address, "strangers": strangers, "refused": refused })
    }

    fn text(&self) -> Option<String> {
        let DoorStatus { strangers, refused } = &self.status;
        let refused: Vec<String> = refused.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let strangers = (*strangers > 0).then(|| format!("{} at the door", counted(*strangers, "stranger")));
        let refused = (!refused.is_empty()).then(|| format!("refused so far: {}", refused.join(", ")));
        let said: Vec<String> = strangers.into_iter().chain(refused).collect();
        (!said.is_empty()).then(|| format!("{}: {}", briefly(&self.process.to_string()), said.join("; ")))
    }
}

/// Whether a run goes on.
#[derive(Debug)]
enum Phase {
    Running,
    /// The ledger cannot be reached for this reason, and a process of the run lives.
    NoLedger(Failure),
    /// With what is known to be gone from its books.
    Ended(Option<Gone>),
}

impl Phase {
    fn name(&self) -> &'static str {
        match self {
            Phase::Running => "running",
            Phase::NoLedger(_) => "no_ledger",
            Phase::Ended(_) => "ended",
        }
    }

    /// What is wrong with the books, in words.
    fn unsound(&self) -> Option<String> {
        match self {
            Phase::NoLedger(why) if why.is_about_books() => Some(why.to_string()),
            Phase::Ended(Some(gone)) => Some(gone.to_string()),
            Phase::Running | Phase::NoLedger(_) | Phase::Ended(None) => None,
        }
    }
}

#[derive(Debug)]
enum PeerState {
    Up {
        address: String,
        status: Box<PeerStatus>,
    },
    /// Its process is paused on this machine, and answers nobody.
    Paused {
        address: Option<String>,
    },
    Down {
        address: Option<String>,
        why: String,
    },
}

fn is_paused(run: &Run, peer: PeerId) -> bool {
    living_process(&peer_dir(run.dir(), peer)).is_some_and(|process| process.is_paused())
}

impl Snapshot {
    /// Asks the ledger and every peer. Of a run that has ended, this is what its books say.
    ///
    /// # Errors
    /// When neither the ledger nor a process of the run can be found here, and no books that can be read either.
    async fn of(run: &Run) -> Result<Snapshot, Failure> {
        match run.ledgers().await {
            Ok(ledgers) => Ok(Snapshot::asked(run, Phase::Running, Some(ledgers)).await),
            Err(error @ AccessError::LedgerDown(_)) if run.lives_here() => {
                Ok(Snapshot::asked(run, Phase::NoLedger(why_down(run, error)), None).await)
            }
            Err(AccessError::LedgerDown(_) | AccessError::Tools(_)) if !run.lives_here() && run.is_kept_here() => {
                let log = run.log().await?;
                log.warn();
                let RunLog { kept, gone, .. } = log;
                let ended = |id| (id, PeerState::Down { address: None, why: "the run has ended".to_owned() });
                let last = books::terms(&kept).last().map(TermLine::trader);
                let totals = books::audit_of(&kept, run.config()).totals;
                Ok(Snapshot {
                    phase: Phase::Ended(gone),
                    trader: last.or(kept.books_at_start().term().map(|term| term.holder.peer)),
                    epoch: totals.epoch,
                    records: Some(kept.mark().head.0),
                    requests_open: u32::try_from(totals.open).unwrap_or(u32::MAX),
                    ordering: totals.ordering,
                    seats: Vec::new(),
                    waits: None,
                    trouble: None,
                    silent_ledgers: Vec::new(),
                    doors: Vec::new(),
                    peers: (0..run.config().peers()).map(PeerId).map(ended).collect(),
                })
            }
            Err(error) => Err(why_down(run, error)),
        }
    }

    async fn asked(run: &Run, phase: Phase, ledgers: Option<Ledgers>) -> Snapshot {
        let Ledgers { answers, silent: silent_ledgers } = ledgers.unwrap_or_default();
        let info = Ledgers::together(&answers);
        let addresses = run.addresses(info.as_ref().map(|info| info.entries.as_slice()).unwrap_or_default());
        let Hosts { peers: mut asked, doors } = run.hosts(&addresses).await;
        let ledger_doors = answers.into_iter().map(|LedgerAnswer { id, address, info }| DoorState {
            process: Process::Ledger(id),
            address,
            status: info.door,
        });
        let door_state =
            |HostDoor { address, peers, status }| DoorState { process: Process::Peers(peers), address, status };
        let peers: BTreeMap<PeerId, PeerState> = (0..run.config().peers())
            .map(PeerId)
            .map(|id| {
                let address = addresses.get(&id).cloned();
                let left = std::fs::read_to_string(left_file(&peer_dir(run.dir(), id))).ok();
                let seen = match (asked.remove(&id), address) {
                    (Some(Ok(PeerInfo::Well(status))), Some(address)) => PeerState::Up { address, status },
                    (Some(Ok(_)), address) => PeerState::Down { address, why: "does not answer".to_owned() },
                    (Some(Err(why)), address) => PeerState::Down { address, why: left.unwrap_or(why) },
                    (None, address) => {
                        PeerState::Down { address, why: left.unwrap_or_else(|| "has not registered".to_owned()) }
                    }
                };
                let seen = match seen {
                    PeerState::Down { address, .. } if is_paused(run, id) => PeerState::Paused { address },
                    seen @ (PeerState::Up { .. } | PeerState::Paused { .. } | PeerState::Down { .. }) => seen,
                };
                (id, seen)
            })
            .collect();
        let statuses = || {
            peers.values().filter_map(|seen| match seen {
                PeerState::Up { status, .. } => Some(status),
                PeerState::Paused { .. } | PeerState::Down { .. } => None,
            })
        };
        let in_office = statuses().filter(|status| status.in_office).max_by_key(|status| status.epoch);
        let heard = statuses().filter_map(|status| status.epoch).max().unwrap_or_default();
        Snapshot {
            phase,
            trader: in_office.map(|status| status.id),
            epoch: info.as_ref().map_or(heard, |info| info.status.epoch()),
            records: info.as_ref().map(|info| info.status.head.0),
            requests_open: in_office.map_or(0, |status| status.waiting),
            ordering: in_office.and_then(|status| status.ordering),
            seats: in_office.map(|status| status.seats.clone()).unwrap_or_default(),
            waits: in_office.and_then(|status| status.waits.clone()),
            trouble: info.and_then(|info| info.trouble),
            silent_ledgers,
            peers,
            doors: ledger_doors.chain(doors.into_iter().map(door_state)).collect(),
        }
    }

    /// Who is down, while the run goes on.
    fn moment(&self) -> Moment {
        let down = self.peers.iter().filter(|(_, state)| !state.is_up()).map(|(id, _)| *id);
        match self.phase {
            Phase::Ended(_) => Moment::default(),
            Phase::Running | Phase::NoLedger(_) => Moment { trader: self.trader, down: down.collect() },
        }
    }

    fn json(&self, names: &Names) -> serde_json::Value {
        let peers: Vec<_> = self.peers.iter().map(|(id, state)| state.json(*id, names)).collect();
        let doors: Vec<_> = self.doors.iter().map(DoorState::json).collect();
        json!({
            "phase": self.phase.name(), "trader": self.trader, "epoch": self.epoch, "records": self.records,
            "requests_open": self.requests_open, "ordering": self.ordering, "seats": self.seats.show(names),
            "waits": self.waits, "trouble": self.trouble, "unsound": self.phase.unsound(), "peers": peers,
            "doors": doors,
        })
    }

    /// The state in words, with a row for each peer; of these as many as fit on the screen, if it is one that is looked
    /// at all the time.
    fn text(&self, names: &Names, screen: Option<Screen>) -> String {
        let head = self.head(names);
        let rows = |with_why| -> Vec<(&PeerState, Vec<String>)> {
            self.peers.iter().map(|(id, state)| (state, self.row(*id, state, names, with_why))).collect()
        };
        let shown = |rows: &[(&PeerState, Vec<String>)]| {
            let rows: Vec<Vec<String>> = rows.iter().map(|(_, row)| row.clone()).collect();
            table(&["id", "is", "pid", "address", "clock", "seat", "neighbours", "role"], &rows)
        };
        let whole = shown(&rows(true));
        let Some(screen) =
            screen.filter(|screen| screen.needs(&head) + screen.needs(&whole) >= usize::from(screen.lines))
        else {
            return head + &whole;
        };
        // Why those that are down do not answer takes several lines each.
        let mut rows = rows(false);
        // First those that one looks for.
        rows.sort_by_key(|(state, _)| match state {
            PeerState::Up { status, .. } if status.in_office => 0,
            PeerState::Paused { .. } | PeerState::Down { .. } => 1,
            PeerState::Up { .. } => 2,
        });
        // A line for what is left out, and one for the cursor.
        let room = usize::from(screen.lines).saturating_sub(screen.needs(&head) + 2);
        let (mut fit, mut text) = (rows.len(), shown(&rows));
        while fit > 1 && screen.needs(&text) > room {
            fit -= 1;
            text = shown(&rows[..fit]);
        }
        let left = &rows[fit..];
        if left.is_empty() {
            return head + &text;
        }
        let down = left.iter().filter(|(state, _)| !state.is_up()).count();
        format!("{head}{text}and {} more, {down} of them down or paused\n", left.len())
    }

    /// Who is trader, and what is waiting.
    fn head(&self, names: &Names) -> String {
        let up = self.peers.values().filter(|state| state.is_up()).count();
        let trader = match (&self.phase, self.trader) {
            (Phase::Ended(_), None) => "the run has ended; there was no trader".to_owned(),
            (Phase::Ended(_), Some(trader)) => format!("the run has ended; the last trader was {}", names.peer(trader)),
            (_, None) => "no trader".to_owned(),
            (_, Some(trader)) => format!("trader {}", names.peer(trader)),
        };
        let records = self.records.map_or_else(|| "? records".to_owned(), |records| counted(records, "record"));
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{trader}, epoch {}, {} {}, {records} in the books",
            self.epoch,
            counted(self.requests_open, "request"),
            agreeing(self.requests_open, "waits", "wait")
        );
        match &self.phase {
            Phase::Ended(_) => return text,
            Phase::NoLedger(why) => {
                let why = if let Failure::Access(AccessError::LedgerDown(why)) = why { why } else { &why.to_string() };
                let why = visible(why);
                let _ = writeln!(text, "THE LEDGER CANNOT BE REACHED, and nobody trades without it: {why}");
            }
            Phase::Running => {}
        }
        for (id, why) in &self.silent_ledgers {
            let _ = writeln!(text, "{id} does not answer: {}", visible(why));
        }
        let _ = writeln!(text, "{up} of {} peers are up", self.peers.len());
        if let Some(ordering) = self.ordering {
            let _ = writeln!(text, "{}", self.order_text(ordering, names));
        }
        let links = self.peers.values().flat_map(|seen| match seen {
            PeerState::Up { status, .. } => status.links.as_slice(),
            PeerState::Paused { .. } | PeerState::Down { .. } => &[],
        });
        let sum = |count: fn(&LinkCounts) -> u64| links.clone().map(|link| count(&link.counts)).sum::<u64>();
        let [sent, clocks, floods] = [sum(|all| all.given), sum(|all| all.clocks), sum(|all| all.flooded)];
        let _ = writeln!(
            text,
            "{} sent to neighbours: {clocks} only a clock, {floods} in floods for one peer",
            counted(sent, "envelope")
        );
        for door in self.doors.iter().filter_map(DoorState::text) {
            let _ = writeln!(text, "{}", visible(&door));
        }
        for (whose, trouble) in self.troubles() {
            let _ = writeln!(text, "{whose}: {}", visible(trouble));
        }
        text.push('\n');
        text
    }

    fn row(&self, id: PeerId, state: &PeerState, names: &Names, with_why: bool) -> Vec<String> {
        let away = |is: &str, address: &Option<String>, role: String| {
            let none = || "-".to_owned();
            let address = address.clone().unwrap_or_else(none);
            vec![id.to_string(), is.to_owned(), none(), address, none(), self.seat(id), none(), role]
        };
        match state {
            PeerState::Up { address, status } => {
                let links = status.links.iter().map(|link| {
                    let mark = match link {
                        LinkStatus { cut: true, .. } => " (cut)",
                        LinkStatus { up: true, .. } => "",
                        LinkStatus { .. } => " (down)",
                    };
                    format!("{}{mark}", link.neighbour)
                });
                vec![
                    id.to_string(),
                    if status.in_office { "trader".to_owned() } else { "up".to_owned() },
                    status.pid.to_string(),
                    address.clone(),
                    status.clock.to_string(),
                    self.seat(id),
                    links.collect::<Vec<_>>().join(", "),
                    status.role.clone(),
                ]
            }
            PeerState::Paused { address } => away("paused", address, names.role(id)),
            PeerState::Down { address, why } if with_why => {
                away("down", address, format!("{} [{why}]", names.role(id)))
            }
            PeerState::Down { address, why: _ } => away("down", address, names.role(id)),
        }
    }

    /// In which order requests are served, how many buyers count, and for whom the next request waits.
    fn order_text(&self, ordering: Ordering, names: &Names) -> String {
        if ordering == Ordering::SmallestOpen {
            return "order smallest-open: no request waits for a buyer".to_owned();
        }
        let seats = format!(
            "order stable: {} {}",
            counted(self.seats.len(), "buyer"),
            agreeing(self.seats.len(), "has a seat", "have seats")
        );
        match &self.waits {
            None => format!("{seats}; no request waits for any of them"),
            Some(Waits { place, buyers }) => {
                const SHOWN: usize = 3;
                let some: Vec<String> = buyers.iter().take(SHOWN).map(|buyer| names.peer(*buyer)).collect();
                let more = match buyers.len().saturating_sub(SHOWN) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                format!("{seats}\nthe next request, with place {place}, waits for {}{more}", some.join(", "))
            }
        }
    }

    /// What is wrong with whose log.
    fn troubles(&self) -> impl Iterator<Item = (String, &str)> {
        let of_ledger = self.trouble.as_deref().map(|trouble| ("the ledger".to_owned(), trouble));
        let of_peers = self.peers.iter().filter_map(|(id, state)| match state {
            PeerState::Up { status, .. } => Some((format!("peer {id}"), status.trouble.as_deref()?)),
            PeerState::Paused { .. } | PeerState::Down { .. } => None,
        });
        of_ledger.into_iter().chain(of_peers)
    }

    /// The life of this peer that has a seat.
    fn seat(&self, peer: PeerId) -> String {
        let seat = self.seats.iter().find(|life| life.peer == peer);
        seat.map_or_else(|| "-".to_owned(), |life| format!("life {}", life.incarnation))
    }
}

impl PeerState {
    fn is_up(&self) -> bool {
        matches!(self, PeerState::Up { .. })
    }

    fn json(&self, peer: PeerId, names: &Names) -> serde_json::Value {
        let (buys, sells) = names.goods(peer);
        let (buys, sells) = (buys.show(names), sells.show(names));
        match self {
            PeerState::Up { address, status } => {
                let PeerStatus { id: _, incarnation, pid, role: _, links, ledger, clock, .. } = &**status;
                let PeerStatus { trader, epoch, in_office, waiting, trouble, .. } = &**status;
                json!({
                    "peer": peer, "up": true, "life": incarnation, "pid": pid, "address": address, "clock": clock,
                    "epoch": epoch, "trader": trader, "in_office": in_office, "requests_open": waiting,
                    "ledger": ledger, "trouble": trouble, "links": links, "buys": buys, "sells": sells,
                })
            }
            PeerState::Paused { address } => json!({
                "peer": peer, "up": false, "why": "its process is paused", "address": address, "buys": buys,
                "sells": sells,
            }),
            PeerState::Down { address, why } => {
                json!({ "peer": peer, "up": false, "why": why, "address": address, "buys": buys, "sells": sells })
            }
        }
    }
}

pub fn status(flags: &Status) -> Result<ExitCode, Failure> {
    let run = Run::at(&which_run(&flags.which)?)?;
    let names = Names::of(run.config());
    block_on(async {
        let mut signals = StopSignals::catch().map_err(no_signals)?;
        loop {
            let snapshot = match Snapshot::of(&run).await {
                Ok(snapshot) => snapshot,
                // It is on another machine, or being put back, and may come back.
                Err(failure) if flags.watch && is_down(&failure) => {
                    if print(&format!("{failure}\n"))? == Reader::Gone || !pause(&mut signals).await {
                        return Ok(ExitCode::SUCCESS);
                    }
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let reader = if flags.json {
                print_json(&snapshot.json(&names))?
            } else if matches!(snapshot.phase, Phase::Ended(_)) {
                print(&last_picture(&run, &snapshot, &names).await?)?
            } else if flags.watch {
                print(&format!("\x1b[2J\x1b[H{}", snapshot.text(&names, Screen::here())))?
            } else {
                print(&snapshot.text(&names, None))?
            };
            match snapshot.phase {
                Phase::Ended(Some(gone)) => return Err(gone.into()),
                Phase::Ended(None) => return Ok(ExitCode::SUCCESS),
                Phase::NoLedger(why) if !flags.watch && why.is_about_books() => return Err(why),
                Phase::Running | Phase::NoLedger(_) => {}
            }
            if !flags.watch || reader == Reader::Gone || !pause(&mut signals).await {
                return Ok(ExitCode::SUCCESS);
            }
        }
    })
}

/// Waits a second; `false` if this process is to stop meanwhile.
async fn pause(signals: &mut StopSignals) -> bool {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(1)) => true,
        () = signals.arrived() => false,
    }
}

/// What is wrong with the books of a ledger that is down, if that is why; or else that it is down.
fn why_down(run: &Run, error: AccessError) -> Failure {
    if !matches!(error, AccessError::LedgerDown(_)) {
        return error.into();
    }
    match run.is_gone() {
        Ok(Some(gone)) => gone.into(),
        Err(damage) if damage.is_damage() => damage.into(),
        // It may be on another machine.
        Ok(None) | Err(_) => error.into(),
    }
}

fn is_down(failure: &Failure) -> bool {
    failure.is_about_books() || matches!(failure, Failure::Access(AccessError::LedgerDown(_)))
}

/// What a run that has ended leaves: who was trader last, and the accounts.
async fn last_picture(run: &Run, snapshot: &Snapshot, names: &Names) -> Result<String, Failure> {
    let accounts = books::accounts_text(&run.log().await?.kept, names)?;
    let dir = output::shown(run.dir());
    Ok(format!(
        "{}\n{accounts}everything is in {dir}; `bazaar books` and `bazaar audit` read it\n",
        snapshot.head(names)
    ))
}

pub fn graph(flags: &Graph) -> Result<ExitCode, Failure> {
    let (config, moment) = match &flags.peers {
        Some(peers) => {
            let mut raw = RawConfig::new();
            raw.set_number("--peers", "peers", peers)?;
            if let Some(seed) = flags.seed {
                raw.set("--seed", &format!("seed = {seed}"))?;
            }
            (raw.check()?, Moment::default())
        }
        None => {
            let run = Run::at(&which_run(&flags.which)?)?;
            // If nobody answers, nobody is marked.
            let now = block_on(async { Ok(Snapshot::of(&run).await.ok()) })?;
            (run.config().clone(), now.map(|now| now.moment()).unwrap_or_default())
        }
    };
    let graph = config.graph();
    print(&match flags.format {
        Format::Json => graph.to_json(),
        Format::Dot => Picture(graph).to_dot(&config.labels(), &moment),
        Format::Svg => {
            let title = format!("The bazaar: {}, seed {}", counted(config.peers(), "peer"), config.seed());
            Picture(graph).to_svg(&title, &config.labels(), &moment)
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_small_screen_the_headline_stays_and_those_that_are_down_come_first() {
        let state = |id: u32| {
            let (address, why) = ("127.0.0.1:7000".to_owned(), "has not registered".to_owned());
            let links = Vec::new();
            let status = || PeerStatus {
                id: PeerId(id),
                incarnation: Default::default(),
                pid: 17,
                role: "buys fish".to_owned(),
                links,
                ledger: true,
                clock: Default::default(),
                trader: None,
                epoch: None,
                in_office: false,
                waiting: 0,
                ordering: None,
                seats: Vec::new(),
                waits: None,
                trouble: None,
            };
            let is_down = id == 42 || id == 17;
            let state = if is_down {
                PeerState::Down { address: None, why }
            } else {
                PeerState::Up { address, status: Box::new(status()) }
            };
            (PeerId(id), state)
        };
        let snapshot = Snapshot {
            phase: Phase::Running,
            trader: Some(PeerId(3)),
            epoch: Epoch(2),
            records: Some(17),
            requests_open: 0,
            ordering: None,
            seats: Vec::new(),
            waits: None,
            trouble: None,
            silent_ledgers: Vec::new(),
            doors: Vec::new(),
            peers: (0..50).map(state).collect(),
        };
        let text = snapshot.text(&Names::default(), Some(Screen { columns: 80, lines: 24 }));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() < 24, "{} lines: {text}", lines.len());
        assert!(lines[0].starts_with("trader peer 3, epoch 2"), "{text}");
        assert!(lines[5].trim_start().starts_with("17 ") && lines[6].trim_start().starts_with("42 "), "{text}");
        assert!(text.ends_with("more, 0 of them down or paused\n"), "{text}");
        assert_eq!(snapshot.text(&Names::default(), None).lines().count(), 4 + 1 + 50);
    }
}
