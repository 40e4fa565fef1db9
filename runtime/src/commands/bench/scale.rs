//! What size costs: long books, and many peers in one process (SPEC F4).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::ControlFlow,
    path::Path,
    time::{Duration, Instant},
};

use bazaar_protocol::{config::Ordering, effect::Note, id::PeerId, text::counted};
use bazaar_runtime::{
    config::{
        ledger::{LedgerId, LedgerSettings},
        run_dir::{ledger_dir, peer_dir, pid_file, store_dir},
    },
    processes::report::{Event, ProcessEvent, What},
    system::process::ProcessMark,
    tools::access::Run,
};
use serde_json::json;
use tokio::{sync::Notify, time::sleep};

use super::{
    Failure, Finding, Table,
    baseline::Baseline,
    block_on,
    market::{Market, Ready, note, since_1970},
    plot::{Axis, Chart, Series},
    sample::{Sample, micros, millis, shown},
    say, stuck, throughput,
};

/// How many buyers fill the books.
const BUYERS: u32 = 16;

/// How long purchases are timed once the books have been opened again.
const TIMED: Duration = Duration::from_secs(3);

/// How long a process is watched while nobody wants anything.
const IDLE: Duration = Duration::from_secs(5);

/// What books of some length cost.
struct Books {
    records: u64,
    /// From the start of the ledger's process until it serves.
    opening: Duration,
    /// From the win of the election until the trader is in office.
    takeover: Duration,
    /// The resident memory of the ledger's process once it serves, in bytes.
    memory: u64,
    /// What its store takes then, in bytes.
    disk: u64,
    answers: Sample,
}

fn market(dir: &Path, kinds: &'static [&'static str]) -> Result<Ready, Failure> {
    Market {
        dir: dir.to_owned(),
        config: throughput::config(BUYERS, Ordering::SmallestOpen, LedgerSettings::default().snapshot_every),
        processes: Some(1),
        kinds,
        of: Vec::new(),
        restart_after: None,
        at_most: Duration::from_secs(600),
    }
    .prepare()
}

/// Trades until the books have so many records.
fn fill(dir: &Path, records: u64) -> Result<(), Failure> {
    let ready = market(dir, &["took_office"])?;
    let full = async {
        loop {
            sleep(Duration::from_millis(20)).await;
            // At first, there is no ledger to ask.
            let info = match Run::at(dir) {
                Ok(run) => run.ledger_info().await.ok(),
                Err(_) => None,
            };
            if info.is_some_and(|info| info.status.head.0 >= records) {
                return Ok(());
            }
        }
    };
    block_on(ready.run(|_| {}, full))
}

fn books(dir: &Path, records: u64) -> Result<Books, Failure> {
    say(&format!("scale: books of {records} records"));
    let dir = dir.join(format!("scale-{records}"));
    fill(&dir, records)?;
    let ready = market(&dir, &["process_started", "ledger_ready", "election_won", "took_office", "wanted", "bought"])?;
    let ledger = ledger_dir(&dir, LedgerId::ONLY);
    let (mut started, mut opened, mut won, mut office) = (None, None, None, None);
    let (mut asked, mut answers, mut timed_until) = (BTreeMap::new(), Vec::new(), None);
    block_on(ready.listen(|event| {
        let now = since_1970(event.time);
        match &event.what {
            What::Process(ProcessEvent::ProcessStarted { process, .. }) if process == "the ledger" => {
                started = Some(now);
            }
            What::Process(ProcessEvent::LedgerReady { records, .. }) => {
                opened = Some((now, *records, resident(&ledger), size_of(&store_dir(&ledger))));
            }
            What::Peer(_) | What::Process(_) => {}
        }
        match (event.peer, note(event)) {
            (_, Some((Note::ElectionWon, at))) => won = Some(at),
            (_, Some((Note::TookOffice { .. }, at))) => office = Some(at),
            (Some(peer), Some((Note::Wanted { .. }, at))) => {
                asked.insert(peer, at);
            }
            (Some(peer), Some((Note::Bought { .. }, at))) => {
                let until = *timed_until.get_or_insert(at + TIMED);
                answers.extend(asked.remove(&peer).map(|asked| at.saturating_sub(asked)));
                if at > until {
                    return ControlFlow::Break(());
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }))?;
    let (Some(started), Some((opened, records, memory, disk)), Some(won), Some(office)) =
        (started, opened, won, office)
    else {
        return Err(Failure::Stuck("the start of the bazaar was not heard".to_owned()));
    };
    Ok(Books {
        records,
        opening: opened.saturating_sub(started),
        takeover: office.saturating_sub(won),
        memory: memory?,
        disk,
        answers: answers.into_iter().collect(),
    })
}

/// What a process of some peers costs while nobody wants anything.
struct Hosted {
    peers: u32,
    memory: u64,
    descriptors: usize,
    /// Of one processor, in percent.
    busy: f64,
}

fn hosted(dir: &Path, peers: u32) -> Result<Hosted, Failure> {
    say(&format!("scale: {} in one process, and nobody wants anything", counted(peers, "peer")));
    let dir = dir.join(format!("hosted-{peers}"));
    let ready = Market {
        dir: dir.clone(),
        config: format!("peers = {peers}\nseed = 7\n[waits]\nthink = \"never\"\n"),
        processes: Some(1),
        kinds: &["took_office", "recognised"],
        of: Vec::new(),
        restart_after: None,
        at_most: Duration::from_secs(120),
    }
    .prepare()?;
    let (mut knowing, known) = (BTreeSet::new(), Notify::new());
    let measured = async {
        known.notified().await;
        // Deposits and the last greetings.
        sleep(Duration::from_secs(2)).await;
        let of = peer_dir(&dir, PeerId(0));
        let (from, before) = (Instant::now(), ticks(&of)?);
        sleep(IDLE).await;
        let ticks = ticks(&of)?.saturating_sub(before);
        let busy = ticks as f64 / rustix::param::clock_ticks_per_second() as f64 / from.elapsed().as_secs_f64() * 100.0;
        let descriptors = fs::read_dir(format!("/proc/{}/fd", pid(&of)?)).map_err(stuck("count descriptors"))?.count();
        Ok(Hosted { peers, memory: resident(&of)?, descriptors, busy })
    };
    let hear = |event: &Event| {
        if let Some((Note::Recognised { .. } | Note::TookOffice { .. }, _)) = note(event) {
            knowing.extend(event.peer);
            if knowing.len() >= peers as usize {
                known.notify_one();
            }
        }
    };
    block_on(ready.run(hear, measured))
}

fn pid(dir: &Path) -> Result<u32, Failure> {
    let mark = ProcessMark::read(&pid_file(dir));
    mark.map(|mark| mark.pid()).ok_or_else(|| Failure::Stuck(format!("no process is noted in {}", dir.display())))
}

/// The resident memory of the process that is noted in a directory, in bytes.
fn resident(dir: &Path) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid(dir)?)).map_err(stuck("read a process's memory"))?;
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    Ok(kilobytes.unwrap_or(0_u64) * 1_024)
}

/// How long the process that is noted in a directory has worked, in ticks of the system's clock.
fn ticks(dir: &Path) -> Result<u64, Failure> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid(dir)?)).map_err(stuck("read a process's times"))?;
    // The name before the last parenthesis may hold spaces.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ').collect::<Vec<_>>()).unwrap_or_default();
    Ok([11, 12].iter().filter_map(|nth| fields.get(*nth)?.parse::<u64>().ok()).sum())
}

/// How much room a directory takes on the disk.
fn size_of(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

pub fn scale(dir: &Path, quick: bool, baseline: &Baseline) -> Result<Finding, Failure> {
    let (lengths, sizes): (&[u64], &[u32]) =
        if quick { (&[1_000], &[10]) } else { (&[10_000, 100_000, 1_000_000], &[1, 10, 100, 500]) };
    let books = lengths.iter().map(|records| books(dir, *records)).collect::<Result<Vec<_>, _>>()?;
    let hosted = sizes.iter().map(|peers| hosted(dir, *peers)).collect::<Result<Vec<_>, _>>()?;
    let of_books = books.iter().map(|books| {
        vec![
            books.records.to_string(),
            shown(books.opening),
            shown(books.takeover),
            megabytes(books.memory),
            megabytes(books.disk),
            shown(books.answers.median()),
            shown(books.answers.percentile(99)),
        ]
    });
    let of_hosted = hosted.iter().map(|hosted| {
        vec![
            hosted.peers.to_string(),
            megabytes(hosted.memory),
            hosted.descriptors.to_string(),
            format!("{:.1} %", hosted.busy),
        ]
    });
    let line = |name: &str, of: &dyn Fn(&Books) -> Duration| {
        Series::line(name, books.iter().map(|books| (books.records as f64, millis(of(books)))).collect())
    };
    let chart = Chart {
        title: "Long books".to_owned(),
        x: Axis::logarithmic("records in the books"),
        y: Axis::logarithmic("time, ms"),
        series: vec![
            line("opening", &|books| books.opening),
            line("takeover", &|books| books.takeover),
            line("request to answer, p50", &|books| books.answers.median()),
        ],
        marks: Vec::new(),
    };
    Ok(Finding {
        name: "scale",
        title: "What size costs".to_owned(),
        tables: vec![
            Table {
                head: vec!["records", "opening", "takeover", "ledger's memory", "disk", "answer p50", "answer p99"],
                rows: of_books.collect(),
            },
            Table {
                head: vec!["peers", "memory", "descriptors", "processor used while idle"],
                rows: of_hosted.collect(),
            },
        ],
        notes: vec![
            format!(
                "Opening: from the start of the ledger's process until it serves; its files have just been written, so they are in memory. Takeover: from the win of an election until the trader is in office. Answers: {BUYERS} buyers, all peers in one process."
            ),
            baseline.line(),
        ],
        plots: vec![("scale".to_owned(), chart.draw()?)],
        json: json!({
            "books": books.iter().map(|books| json!({
                "records": books.records, "opening_us": micros(books.opening), "takeover_us": micros(books.takeover),
                "ledger_memory_bytes": books.memory, "disk_bytes": books.disk, "request_to_answer": books.answers.json(),
            })).collect::<Vec<_>>(),
            "hosted": hosted.iter().map(|hosted| json!({
                "peers": hosted.peers, "memory_bytes": hosted.memory, "descriptors": hosted.descriptors,
                "busy_percent": hosted.busy,
            })).collect::<Vec<_>>(),
        }),
    })
}
