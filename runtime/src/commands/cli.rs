//! The command line. Names and exit codes are a contract.

use std::{fmt::Display, ops::RangeInclusive, path::PathBuf, process::ExitCode, str::FromStr, time::Duration};

use bazaar_protocol::{config::Ordering, id::PeerId, text};
use bazaar_runtime::{
    config::duration::parse_duration,
    config::ledger::MOST_LEDGERS,
    config::{BazaarConfig, Speed, parse_ordering},
    processes::report::{Filter, Form},
    schema::Said,
    system::output,
    tls::{
        authority::MEMBER_DAYS,
        certificate::{Serial, SerialError},
    },
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::Failure;

const EXIT_CODES: &str = "\
Exit codes:
  0  success (and where books are audited, the audit holds)
  1  a property or the audit fails
  2  wrong usage or configuration
  3  could not finish";

/// A trading post: peers that talk only to their neighbours elect a trader, deposit, buy and sell, lose the trader and
/// carry on.
#[derive(Debug, Parser)]
#[command(version, name = "bazaar", after_help = EXIT_CODES, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// Whether to colour the output
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
}

/// Reads the command line.
///
/// # Errors
/// The exit code, after what was wrong, or the help that was asked for, has been printed.
pub fn parse() -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|error| {
        if error.use_stderr() {
            // It quotes what was given, which must not control the terminal. Made visible, it is as wrong as it was.
            let given = std::env::args_os().map(|arg| text::visible(&arg.to_string_lossy()));
            let error = Cli::try_parse_from(given).err().filter(clap::Error::use_stderr).unwrap_or(error);
            // If nobody can be told, the exit code still says it.
            let _ = error.print();
            return ExitCode::from(2);
        }
        match output::print(&error.render().ansi().to_string()) {
            Ok(_) => ExitCode::SUCCESS,
            Err(failure) => Failure::from(failure).tell(),
        }
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    Auto,
    Always,
    Never,
}

impl Color {
    pub fn write_global(self) {
        match self {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole bazaar on this machine: a process per peer, and one for the ledger
    Run(Run),
    /// Write a commented configuration with every parameter and its default, or make a run with certificates
    Init(Init),
    /// Show, add, renew and revoke the certificates of a run
    Cert(Cert),
    /// Keep the books (`run` starts this for you; by hand on several machines)
    Ledger(Ledger),
    /// Host one or more peers (`run` starts these for you; by hand on several machines)
    Peer(Peer),
    /// Show who is up, who is trader, and what is waiting
    Status(Status),
    /// Kill a process of a run with SIGKILL, to see what happens
    Kill(Kill),
    /// Pause a process of a run with SIGSTOP: it hangs until it is resumed
    Pause(Pause),
    /// Let a paused process go on
    Resume(Resume),
    /// Cut two neighbours off from each other, until they are healed
    Cut(Cut),
    /// Heal everything that was cut
    Heal(Heal),
    /// Have the trader give the office back, before its number of sales
    Resign(Resign),
    /// Let a peer in again whose store is lost or an old copy
    Rejoin(Rejoin),
    /// Show what is in the books, while the bazaar runs and afterwards
    Books(Books),
    /// Check what the log shows, from the first record that is kept on: chain, sums, and the properties S1 to S9, S13, S14,
    /// R5, B6, B7 and D8
    Audit(Audit),
    /// Save the books in one file, while the bazaar runs and afterwards, also what is intact of a damaged ledger
    Backup(Backup),
    /// Put a backup in the place of the ledger's store
    Restore(Restore),
    /// Draw the network
    Graph(Graph),
    /// Measure how long purchases take here and how many there are a second, beside what disk and network take
    Bench(Bench),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Write the manual, a page for each command
    Man(Man),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bazaar run                                   ten peers until Ctrl-C
  bazaar run --peers 10 --seed 7 --for 60s     the same bazaar each time, for a minute
  bazaar run --peers 50 --processes 8          50 peers in 8 processes
  bazaar run --dir market                      start there, or continue the run that is there
  bazaar run --etcd                            with books in a three-node etcd of its own, and two ledgers
  bazaar run --only took_office,stepped_down   who is trader, and nothing else
  bazaar run --peer 3,4                        what peers 3 and 4 say, and nothing else
  bazaar run --json --purchases 100 | jq .event

Without --dir, a fresh directory is made below ./bazaar-runs/, and the link `latest` there points to the newest.

Exit codes: 0 success and the audit holds, 1 the audit fails, 2 wrong usage or configuration, 3 could not finish, or had
to do without somebody")]
pub struct Run {
    /// How many peers [default: 10]
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    pub peers: Option<String>,
    /// How many processes host the peers [default: one each]
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = number::<u32>(1..=10_000))]
    pub processes: Option<u32>,
    /// The seed of the network and the roles [default: random]
    #[arg(long, allow_negative_numbers = true, value_name = "S", value_parser = number::<u64>(0..=u64::MAX))]
    pub seed: Option<u64>,
    /// The configuration to start from; `bazaar init` writes one
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the run keeps everything; a run that is already there continues
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// How long to run, such as 500ms, 1.5s, 1h30m [default: until Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub length: Option<Duration>,
    /// End when the books hold this many purchases
    #[arg(long, allow_negative_numbers = true, value_name = "K", value_parser = number::<u64>(1..=u64::MAX))]
    pub purchases: Option<u64>,
    /// Keep the books in etcd, with two processes of the ledger: three nodes of the run's own, on this machine, in DIR/etcd.
    /// (A cluster that is there already is named under [ledger.etcd] in the configuration, without this.)
    #[arg(long)]
    pub etcd: bool,
    /// How fast everything goes [default: brisk]
    #[arg(long, value_parser = pace, value_name = "reference|brisk|flat-out")]
    pub pace: Option<Speed>,
    /// In which order requests are served: none after one that it happened before, so that each waits until all buyers
    /// were heard past it; or always the smallest stamp of those that are open [default: stable; flat-out: smallest-open]
    #[arg(long, value_parser = parse_ordering, value_name = "stable|smallest-open")]
    pub ordering: Option<Ordering>,
    /// After how many sales a trader resigns [default: 40]
    #[arg(long, allow_negative_numbers = true, value_name = "SALES")]
    pub resign_after: Option<String>,
    /// How long after its death a process is restarted, or `never`
    #[arg(long, value_name = "DURATION|never", default_value = "5s", value_parser = restart_after)]
    pub restart_after: RestartAfter,
    #[command(flatten)]
    pub shown: Shown,
}

/// Which events are printed.
#[derive(Debug, Args)]
pub struct Shown {
    /// Print one JSON event per line (docs/json.md)
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    /// Print only events of these kinds, as JSON names them, such as sold,took_office; the logs have all
    #[arg(long, value_name = "KIND,…", value_delimiter = ',', value_parser = kind, conflicts_with = "quiet")]
    pub only: Vec<String>,
    /// Print only what these peers say; the logs have all
    #[arg(long = "peer", value_name = "ID,…", value_delimiter = ',', conflicts_with = "quiet")]
    #[arg(allow_negative_numbers = true, value_parser = number::<u32>(0..=u32::MAX))]
    pub show_peers: Vec<u32>,
    /// Print no events
    #[arg(long)]
    pub quiet: bool,
}

impl Shown {
    pub fn form(&self) -> Form {
        match (self.json, self.quiet) {
            (true, _) => Form::Json,
            (false, true) => Form::Quiet,
            (false, false) => Form::Text,
        }
    }

    /// Refuses what no peer of this bazaar can say.
    pub fn check(&self, config: &BazaarConfig) -> Result<(), Failure> {
        let last = config.peers() - 1;
        match self.show_peers.iter().find(|id| **id > last) {
            Some(id) => Err(Failure::Usage(format!("--peer {id}: there is no such peer; ids run from 0 to {last}"))),
            None => Ok(()),
        }
    }

    pub fn filter(&self) -> Filter {
        Filter {
            kinds: self.only.iter().cloned().collect(),
            peers: self.show_peers.iter().copied().map(PeerId).collect(),
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bazaar init market.toml                          a configuration to edit
  bazaar init | less
  bazaar init --tls market                         a run of ten peers with certificates
  bazaar run --dir market                          starts it
  bazaar init --books market.toml                  makes its books in etcd, once, if it keeps them there
  bazaar init --tls market --config market.toml    the same for members on several machines, as the file says

With --tls, DIR becomes the directory of a run, with an authority and a certificate for each peer, the ledger and the
tools (`bazaar status` and its like, and `bazaar run`) in DIR/tls; a run that is there and has ended gets certificates.
Connections are encrypted then, and each member is known by its certificate. Another machine needs bazaar.toml, ca.pem,
and the .pem and .key files of its own members; ca.key, with which certificates are made, should stay where it is.")]
pub struct Init {
    /// The file to write, which must not exist yet [default: standard output]
    #[arg(conflicts_with = "tls")]
    pub file: Option<PathBuf>,
    /// Make a run in DIR whose members have certificates
    #[arg(long, value_name = "DIR")]
    pub tls: Option<PathBuf>,
    /// Make the books of the run that FILE configures in its cluster of etcd, once, before its first start
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "tls"])]
    pub books: Option<PathBuf>,
    // `file` keeps `tls` out, and clap then no longer asks for it: each of these has to keep `file` out as well, and so with `books`.
    /// The configuration that it starts from
    #[arg(long, value_name = "FILE", requires = "tls", conflicts_with_all = ["file", "books"])]
    pub config: Option<PathBuf>,
    /// How many peers it has [default: 10]
    #[arg(long, allow_negative_numbers = true, value_name = "N", requires = "tls", conflicts_with_all = ["file", "books"])]
    pub peers: Option<String>,
    /// How many days the certificates are valid
    #[arg(long, allow_negative_numbers = true, value_name = "DAYS", default_value_t = MEMBER_DAYS, requires = "tls")]
    #[arg(value_parser = number::<u32>(1..=3_650), conflicts_with_all = ["file", "books"])]
    pub days: u32,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bazaar cert show market
  bazaar cert revoke market --peer 3               what peer 3 has is no longer accepted; then
  bazaar cert renew market --peer 3                it gets another one

`bazaar init --tls DIR` makes the first ones. A process takes up new certificates, and what is revoked, when it is
started.")]
pub struct Cert {
    #[command(subcommand)]
    pub action: CertAction,
}

#[derive(Debug, Subcommand)]
pub enum CertAction {
    /// Show whose certificates are here, and how long they are valid
    Show(CertShow),
    /// Make certificates for those that have none here
    Add(CertMake),
    /// Make new certificates, with new keys
    Renew(CertMake),
    /// Have certificates refused
    Revoke(CertRevoke),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bazaar cert show market\n  bazaar cert show market --json | jq '.[].until'")]
pub struct CertShow {
    /// The run's directory
    pub dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bazaar cert add market                        for all that have none in market/tls
  bazaar cert renew market --peer 3,4 --days 90
  bazaar cert renew market --all

It needs the authority's key, ca.key. Copy the .pem and .key files to the machine of their member, and start that again.
What it replaces is still accepted until it expires; `renew` prints its serial number, with which it can be revoked.")]
pub struct CertMake {
    /// The run's directory
    pub dir: PathBuf,
    #[command(flatten)]
    pub whose: Whose,
    /// Of everybody
    #[arg(long, conflicts_with_all = ["peers", "ledger", "tools"])]
    pub all: bool,
    /// How many days they are valid
    #[arg(long, allow_negative_numbers = true, value_name = "DAYS", default_value_t = MEMBER_DAYS)]
    #[arg(value_parser = number::<u32>(1..=3_650))]
    pub days: u32,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bazaar cert revoke market --peer 3                    the certificate that is in market/tls now
  bazaar cert revoke market --serial 4f0c9a7be2d1

The numbers go into DIR/bazaar.toml, under tls.revoked. Copy that file to the other machines and start the processes of
the run again: each refuses these certificates from then on. `bazaar cert renew` makes new ones; before it, --peer,
--ledger and --tools mean the certificate that is in use, after it the new one: then give the number that it replaces.

All copies of tools.pem are one certificate. A machine that has one gets in as the tools, whoever else is revoked.")]
pub struct CertRevoke {
    /// The run's directory
    pub dir: PathBuf,
    #[command(flatten)]
    pub whose: Whose,
    /// The serial number of a certificate, as `bazaar cert show` and `openssl x509 -serial` print it
    #[arg(long = "serial", value_name = "NUMBER,…", value_delimiter = ',', value_parser = serial)]
    pub serials: Vec<Serial>,
}

/// Whose certificates a command is about.
#[derive(Debug, Args)]
pub struct Whose {
    /// Of these peers
    #[arg(long = "peer", value_name = "ID,…", value_delimiter = ',')]
    #[arg(allow_negative_numbers = true, value_parser = number::<u32>(0..=u32::MAX))]
    pub peers: Vec<u32>,
    /// Of the ledger
    #[arg(long)]
    pub ledger: bool,
    /// Of the tools: `bazaar status` and its like, and `bazaar run`
    #[arg(long)]
    pub tools: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bazaar ledger --config market.toml\n  bazaar ledger --config market.toml --process 2"
)]
pub struct Ledger {
    #[command(flatten)]
    pub member: Member,
    /// Which of its processes, if the configuration has several: 1 for the first [[ledger.process]]
    #[arg(long, value_name = "N", default_value = "1", allow_negative_numbers = true, value_parser = number::<u8>(1..=MOST_LEDGERS))]
    pub process: u8,
    /// Print one JSON event per line (docs/json.md)
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bazaar peer --config market.toml --id 3\n  bazaar peer --config market.toml --id \
        0,1,2,3,4"
)]
pub struct Peer {
    #[command(flatten)]
    pub member: Member,
    /// Which peers to host
    #[arg(long = "id", value_name = "ID[,ID...]", required = true, value_delimiter = ',', value_parser = number::<u32>(0..=u32::MAX))]
    pub ids: Vec<u32>,
    #[command(flatten)]
    pub shown: Shown,
}

/// The flags of every process of a run.
#[derive(Debug, Args)]
pub struct Member {
    /// The run's configuration, the same for all its members
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Stop when standard input closes, as it does when the process that started this one is gone
    #[arg(long)]
    pub until_stdin_closes: bool,
}

/// Which run a command is about.
#[derive(Debug, Args)]
pub struct Which {
    /// The run's directory [default: the newest below ./bazaar-runs/]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bazaar status\n  bazaar status --watch\n  bazaar status --json | jq .trader")]
pub struct Status {
    #[command(flatten)]
    pub which: Which,
    /// Show it again every second, until Ctrl-C or the end of the run
    #[arg(long)]
    pub watch: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bazaar kill trader\n  bazaar kill ledger\n  bazaar kill \
    ledger-2\n  bazaar kill 3")]
pub struct Kill {
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bazaar pause trader        the others elect another, and the books refuse what it writes when it wakes up
  bazaar pause ledger        nobody trades until it is resumed
  bazaar pause 3

All peers that its process hosts are paused; the answer names them.")]
pub struct Pause {
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bazaar resume trader       the latest trader whose process is paused
  bazaar resume ledger
  bazaar resume 3")]
pub struct Resume {
    #[command(flatten)]
    pub target: Target,
}

/// Which process a command is about.
#[derive(Debug, Args)]
pub struct Target {
    /// `trader`, `ledger`, or a peer's id; `ledger-2` if several processes of the ledger are on this machine
    #[arg(value_parser = victim, value_name = "ID|trader|ledger")]
    pub victim: Victim,
    #[command(flatten)]
    pub which: Which,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bazaar cut 3 5             messages go around, if there is another way
  bazaar cut 3 5 --one-way   3 no longer reaches 5, and 5 still reaches 3

A peer's process keeps to it also when the link is opened anew, and forgets it when it ends.")]
pub struct Cut {
    /// A peer's id
    #[arg(value_name = "A", value_parser = peer_id)]
    pub a: PeerId,
    /// The id of one of its neighbours
    #[arg(value_name = "B", value_parser = peer_id)]
    pub b: PeerId,
    /// Only from A to B
    #[arg(long)]
    pub one_way: bool,
    #[command(flatten)]
    pub which: Which,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bazaar heal")]
pub struct Heal {
    #[command(flatten)]
    pub which: Which,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  bazaar resign

It is written into the books as after the last sale of a term, and another peer is elected.")]
pub struct Resign {
    #[command(flatten)]
    pub which: Which,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    Trader,
    /// The one on this machine, or the one with this number.
    Ledger(Option<u8>),
    Peer(PeerId),
}

#[derive(Debug, Args)]
#[command(after_help = "\
A peer whose store is lost or an old copy would use numbers again that the books know already, so it stops with exit code
3. This gives it a store with which its next life is above all that the books, the directory and its neighbours know of
it. Whatever it asked for and was not told of is in the books (`bazaar books accounts`). Run it where the peer's directory
is, while the ledger runs.

Examples:
  bazaar rejoin 3
  bazaar rejoin 3 --dir market")]
pub struct Rejoin {
    /// The peer's id
    #[arg(value_parser = peer_id)]
    pub id: PeerId,
    #[command(flatten)]
    pub which: Which,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bazaar books stock\n  bazaar books sales --json\n  bazaar books accounts --dir market"
)]
pub struct Books {
    /// What to show
    #[arg(value_enum)]
    pub page: Page,
    #[command(flatten)]
    pub which: Which,
    /// Read a backup instead of a run
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    pub backup: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Page {
    /// What is deposited, and what is left of it
    Stock,
    /// Requests that are waiting, the next one first
    Queue,
    /// Every sale
    Sales,
    /// What each peer has paid, earned and kept
    Accounts,
    /// Who was trader when, and how it ended
    Terms,
    /// Every record
    Log,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bazaar audit
  bazaar audit --dir market --json
  bazaar audit --backup market.backup

Nothing is written, so a run that is write-protected can be audited too. A damaged store is named with the last record
that is intact; `bazaar backup` saves what is, and `bazaar restore` puts a backup in place. Also named is a store that is
sound but lacks what its ledger or a peer of this machine has seen: an old copy, or a disk that has lost records.

Exit codes: 0 it holds, 1 a property fails, the store is damaged or records are gone, 2 wrong usage, 3 cannot read it")]
pub struct Audit {
    #[command(flatten)]
    pub which: Which,
    /// Audit a backup instead of a run
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    pub backup: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bazaar backup market.backup
  bazaar backup --dir market market-`date +%F`.backup
  bazaar audit --backup market.backup

The file holds all that is kept of the log as of one moment (in etcd, the first records may have been removed), and the
run's configuration without its key and certificates. It is there whole or not at all, it is audited once it is written,
and it can be read without the run. Of a damaged ledger, it holds the records up to the last intact one.

Exit codes: 0 everything is saved and the audit holds, 1 saved, but records are damaged or gone or the audit fails,
2 wrong usage, 3 cannot read or write it")]
pub struct Backup {
    /// The file to write, which must not exist yet
    pub file: PathBuf,
    #[command(flatten)]
    pub which: Which,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bazaar restore market.backup --dir market
  bazaar restore market.backup --dir market --replace
  bazaar restore market.backup --dir market --replace --accept-loss
  bazaar restore market.backup --dir anew

In a new directory, a run is made from the backup alone, unless the first records were not kept any more. A backup has
no key, so that run gets a new one, and members on other machines need its configuration. It has no certificates
either: `bazaar init --tls DIR` makes some. Its peers begin lives that the books do not know of.

A run that is there must have ended. The backup is read, verified and audited before anything is changed, and a store
that is replaced is set aside, not removed. What was traded after the backup was taken is lost; the command says from
which record on, as far as the store in place, the ledger's notes and the peers on this machine know, and stops. With
--accept-loss it goes on, and makes the peers on this machine forget that there was more, or they would stop the ledger
as an old copy. If peers live on other machines, copy the file there and run the same command with --only-peers.

Exit codes: 0 it is in place, 1 the backup is damaged or its audit fails, 2 refused: see what it says, 3 could not finish")]
pub struct Restore {
    /// A file that `bazaar backup` wrote
    pub file: PathBuf,
    #[command(flatten)]
    pub which: Which,
    /// Put it in the place of a store that is there; that one is set aside
    #[arg(long)]
    pub replace: bool,
    /// Go on although acknowledged records are lost with it
    #[arg(long)]
    pub accept_loss: bool,
    /// On a machine without the ledger: only make the peers accept the loss
    #[arg(long, requires = "accept_loss", conflicts_with = "replace")]
    pub only_peers: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bazaar graph --format svg > network.svg             the newest run's network, its trader marked
  bazaar graph --peers 50 --seed 7 --format dot | neato -Tpng > network.png")]
pub struct Graph {
    #[command(flatten)]
    pub which: Which,
    /// Draw the network of this many peers instead of a run's
    #[arg(long, allow_negative_numbers = true, value_name = "N", conflicts_with = "dir")]
    pub peers: Option<String>,
    /// The seed of that network
    #[arg(long, allow_negative_numbers = true, value_name = "S", requires = "peers", value_parser = number::<u64>(0..=u64::MAX))]
    pub seed: Option<u64>,
    /// A picture, Graphviz's language, or an adjacency list
    #[arg(long, value_enum, default_value_t = Format::Svg)]
    pub format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bazaar bench                                  all of them, half an hour
  bazaar bench latency throughput --plots plots
  bazaar bench --quick                          checks only that it works; the figures mean nothing

Figures are of this machine while nothing else runs on it; compare them within one run, with the baseline beside them.
docs/experiments.md says what each experiment shows.")]
pub struct Bench {
    /// What to measure [default: all]
    #[arg(value_enum, value_name = "EXPERIMENT")]
    pub experiments: Vec<Experiment>,
    /// A few samples of each
    #[arg(long)]
    pub quick: bool,
    /// Write all figures into this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw the plots into this directory, as SVG
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
    /// Make PNG of them too, with `rsvg-convert` (librsvg2-bin in Debian)
    #[arg(long, requires = "plots")]
    pub png: bool,
    /// Where the bazaars run while they are measured: it is the disk there that counts [default: here]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Experiment {
    /// What the machine takes by itself: a sync, a round trip, a call, a commit
    Baseline,
    /// One purchase after the other, without an election
    Latency,
    /// The same, with another trader every 100 purchases
    Reelection,
    /// Purchases a second, with 1 to 256 buyers
    Throughput,
    /// How long nothing is sold after the trader was killed
    Failover,
    /// The same after a process of etcd, of the ledger or of the trader was killed or halted, with the books in etcd
    Outages,
    /// What it costs to keep the books in etcd: a purchase beside a bare transaction, purchases a second beside sled
    Replicated,
    /// What an election costs once the trader was killed, with 3 to 50 peers
    Election,
    /// One purchase after the other, with the peers as if on hosts of their own
    Distance,
    /// Long books, and many peers in one process
    Scale,
}

impl Experiment {
    pub const ALL: [Experiment; 10] = [
        Experiment::Baseline,
        Experiment::Latency,
        Experiment::Reelection,
        Experiment::Throughput,
        Experiment::Failover,
        Experiment::Outages,
        Experiment::Replicated,
        Experiment::Election,
        Experiment::Distance,
        Experiment::Scale,
    ];

    /// What it is called on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bazaar completions bash > ~/.local/share/bash-completion/completions/bazaar
  bazaar completions zsh > ~/.zfunc/_bazaar
  bazaar completions fish > ~/.config/fish/completions/bazaar.fish")]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  bazaar man ~/.local/share/man/man1
  man bazaar-run")]
pub struct Man {
    /// The directory to write it into; it is made if there is none
    pub dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Svg,
    Dot,
    Json,
}

/// How long after its death a process is restarted; `None`: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartAfter(pub Option<Duration>);

fn restart_after(text: &str) -> Result<RestartAfter, String> {
    match text {
        "never" => Ok(RestartAfter(None)),
        _ => duration(text).map(|after| RestartAfter(Some(after))).map_err(|error| format!("{error}, or `never`")),
    }
}

/// Reads a whole number within a range.
fn number<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync,
{
    move |given| text::number(given, &range)
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn pace(text: &str) -> Result<Speed, String> {
    Speed::ALL
        .into_iter()
        .find(|speed| speed.name() == text)
        .ok_or_else(|| format!("must be one of {}", Speed::ALL.map(Speed::name).join(", ")))
}

fn serial(text: &str) -> Result<Serial, String> {
    text.parse().map_err(|error: SerialError| error.to_string())
}

fn peer_id(text: &str) -> Result<PeerId, String> {
    text.parse().map(PeerId).map_err(|_| "must be a peer's id (a number from 0)".to_owned())
}

fn kind(text: &str) -> Result<String, String> {
    if Said::kinds().any(|kind| kind == text) {
        return Ok(text.to_owned());
    }
    let mut kinds: Vec<&str> = Said::kinds().collect();
    kinds.sort_unstable();
    Err(format!("there is no such kind of event; there are {}", kinds.join(", ")))
}

fn victim(text: &str) -> Result<Victim, String> {
    match text {
        "trader" => Ok(Victim::Trader),
        "ledger" => Ok(Victim::Ledger(None)),
        id => match id.strip_prefix("ledger-") {
            Some(id) => number(1..=MOST_LEDGERS)(id).map(|number| Victim::Ledger(Some(number))),
            None => peer_id(id)
                .map(Victim::Peer)
                .map_err(|_| "must be `trader`, `ledger`, or a peer's id (a number from 0)".to_owned()),
        },
    }
}
