//! What the disk and the network of this machine take by themselves, in the same minutes.

use std::{
    fs::OpenOptions,
    io::{Read as _, Write as _},
    net::{TcpListener as StdListener, TcpStream as StdStream},
    path::Path,
    thread,
    time::Instant,
};

use bazaar_protocol::{
    clock::{Stamp, Time},
    config::Ordering,
    id::{Epoch, Incarnation, Life, PeerId, Position},
    record::{Batch, Entry, Record},
    store::Store as _,
};
use bazaar_runtime::store::{LedgerOptions, SledLedger};
use futures::StreamExt as _;
use serde_json::json;
use tarpc::{
    client, context,
    server::{BaseChannel, Channel as _},
};
use tokio::net::{TcpListener, TcpStream};

use super::{Failure, Finding, Plots, Table, block_on, not_interrupted, sample::Sample, shown, stuck};

/// The baseline of a run of experiments.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// An append of 200 bytes to a file and its fdatasync.
    pub sync: Sample,
    /// There and back over a TCP connection on loopback.
    pub round_trip: Sample,
    /// A call of the library that carries the calls here, with nothing in it.
    pub call: Sample,
    /// A batch appended to the ledger's store and synced.
    pub commit: Sample,
}

impl Baseline {
    pub fn measure(dir: &Path, count: usize) -> Result<Baseline, Failure> {
        let sync = sync(dir, count)?;
        not_interrupted()?;
        let round_trip = round_trip(count).map_err(stuck("measure a TCP round trip"))?;
        let call = call(count)?;
        not_interrupted()?;
        let commit = commit(dir, count)?;
        not_interrupted()?;
        Ok(Baseline { sync, round_trip, call, commit })
    }

    pub fn finding(&self) -> Finding {
        let rows = [
            ("append of 200 bytes, fdatasync", &self.sync),
            ("TCP round trip, loopback", &self.round_trip),
            ("tarpc call, loopback", &self.call),
            ("batch appended to the ledger's store, synced", &self.commit),
        ];
        let table = Table {
            head: ["what"].into_iter().chain(Sample::HEAD).collect(),
            rows: rows.map(|(what, sample)| [what.to_owned()].into_iter().chain(sample.cells()).collect()).to_vec(),
        };
        Finding {
            name: "baseline",
            title: "What the machine takes by itself".to_owned(),
            tables: vec![table],
            notes: Vec::new(),
            plots: Plots::new(),
            json: json!({
                "fdatasync": self.sync.json(),
                "tcp_round_trip": self.round_trip.json(),
                "tarpc_call": self.call.json(),
                "store_commit": self.commit.json(),
            }),
        }
    }

    /// One line to stand beside a figure.
    pub fn line(&self) -> String {
        format!(
            "In the same minutes: fdatasync {}, TCP round trip {}, tarpc call {}, commit {} (p50).",
            shown(self.sync.median()),
            shown(self.round_trip.median()),
            shown(self.call.median()),
            shown(self.commit.median())
        )
    }
}

/// Appends to a file and makes it durable, so many times.
pub fn sync(dir: &Path, count: usize) -> Result<Sample, Failure> {
    let measure = || -> std::io::Result<Sample> {
        let path = dir.join("fdatasync");
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        let times = (0..count).map(|_| {
            let from = Instant::now();
            file.write_all(&[7; 200])?;
            file.sync_data()?;
            Ok(from.elapsed())
        });
        let sample = times.collect::<std::io::Result<Sample>>();
        drop(std::fs::remove_file(path));
        sample
    };
    measure().map_err(stuck("measure an fdatasync"))
}

fn round_trip(count: usize) -> std::io::Result<Sample> {
    let listener = StdListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut bytes = [0; 64];
        while stream.read_exact(&mut bytes).is_ok() {
            stream.write_all(&bytes)?;
        }
        Ok(())
    });
    let mut stream = StdStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut bytes = [7; 64];
    let times = (0..count).map(|_| {
        let from = Instant::now();
        stream.write_all(&bytes)?;
        stream.read_exact(&mut bytes)?;
        Ok(from.elapsed())
    });
    let sample = times.collect::<std::io::Result<Sample>>()?;
    drop(stream);
    // It ends with the stream; its own error, if any, has ended the times as well.
    let _ = echo.join();
    Ok(sample)
}

mod rpc {
    // The attribute writes public items that cannot carry documentation of their own.
    #![allow(missing_docs, missing_debug_implementations)]

    #[tarpc::service]
    pub trait Echo {
        async fn echo(number: u64) -> u64;
    }
}

#[derive(Clone)]
struct Echoing;

impl rpc::Echo for Echoing {
    async fn echo(self, _: context::Context, number: u64) -> u64 {
        number
    }
}

/// Calls over a connection with this system's frames and codec, the two ends in threads of their own.
fn call(count: usize) -> Result<Sample, Failure> {
    use bazaar_runtime::network::wire::{MAX_FRAME, Wire, frames};
    let listener = StdListener::bind("127.0.0.1:0").map_err(stuck("listen"))?;
    let address = listener.local_addr().map_err(stuck("listen"))?;
    listener.set_nonblocking(true).map_err(stuck("listen"))?;
    let server = thread::spawn(move || {
        block_on(async {
            let listener = TcpListener::from_std(listener).map_err(stuck("listen"))?;
            let (stream, _) = listener.accept().await.map_err(stuck("accept"))?;
            stream.set_nodelay(true).map_err(stuck("accept"))?;
            let channel = BaseChannel::with_defaults(Wire::new(frames(stream, MAX_FRAME), "the caller"));
            let calls = channel.execute(rpc::Echo::serve(Echoing));
            calls.for_each(|call| call).await;
            Ok(())
        })
    });
    let times = block_on(async {
        let stream = TcpStream::connect(address).await.map_err(stuck("connect"))?;
        stream.set_nodelay(true).map_err(stuck("connect"))?;
        let wire = Wire::new(frames(stream, MAX_FRAME), "the callee");
        let client = rpc::EchoClient::new(client::Config::default(), wire).spawn();
        let mut times = Vec::with_capacity(count);
        for number in 0..count as u64 {
            let from = Instant::now();
            client.echo(context::current(), number).await.map_err(stuck("call"))?;
            times.push(from.elapsed());
        }
        Ok(times)
    })?;
    let _ = server.join();
    Ok(times.into_iter().collect())
}

/// Appends batches of one record to a ledger's store and syncs each.
fn commit(dir: &Path, count: usize) -> Result<Sample, Failure> {
    let dir = dir.join("commit");
    let mut store = SledLedger::open(&dir, LedgerOptions::default())?;
    let mut times = Vec::with_capacity(count);
    for epoch in 1..=count as u64 {
        let holder = Life { peer: PeerId(0), incarnation: Incarnation(1) };
        let entry = Entry::Claimed { epoch: Epoch(epoch), holder, ordering: Ordering::SmallestOpen };
        let stamp = Stamp { time: Time(epoch), peer: holder.peer };
        let batch =
            Batch { epoch: Epoch(epoch), position: Position(epoch - 1), records: vec![Record { stamp, entry }] };
        let from = Instant::now();
        store.append(&batch)?;
        store.sync()?;
        times.push(from.elapsed());
    }
    drop(store);
    // It is in a directory that is removed in any case.
    drop(std::fs::remove_dir_all(dir));
    Ok(times.into_iter().collect())
}

/// Whether a directory is in memory, where a sync does nothing and so nothing of a disk is measured.
pub fn is_in_memory(dir: &Path) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    rustix::fs::statfs(dir).is_ok_and(|fs| u64::try_from(fs.f_type) == Ok(TMPFS))
}
