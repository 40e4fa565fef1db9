//! The command line. Names and exit codes are a contract.

use std::{path::PathBuf, time::Duration};

use anstyle::{AnsiColor, Style};
use bazaar_protocol::id::PeerId;
use bazaar_runtime::{config::Speed, config::duration::parse_duration};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// The style of the word "error".
pub const RED: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red))).bold();

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
    /// Write a commented configuration with every parameter and its default
    Init(Init),
    /// Keep the books (`run` starts this for you; by hand on several machines)
    Ledger(Ledger),
    /// Host one or more peers (`run` starts these for you; by hand on several machines)
    Peer(Peer),
    /// Show who is up, who is trader, and what is waiting
    Status(Status),
    /// Kill a process of a run with SIGKILL, to see what happens
    Kill(Kill),
    /// Show what is in the books, while the bazaar runs and afterwards
    Books(Books),
    /// Check what the whole log shows: chain, sums, and the properties S1 to S8, S13, R5, B6, B7 and D8
    Audit(Audit),
    /// Draw the network
    Graph(Graph),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bazaar run                                   ten peers until Ctrl-C
  bazaar run --peers 10 --seed 7 --for 60s     the same bazaar each time, for a minute
  bazaar run --peers 50 --processes 8          50 peers in 8 processes
  bazaar run --dir market                      start there, or continue the run that is there
  bazaar run --json --purchases 100 | jq .event

Without --dir, a fresh directory is made below ./bazaar-runs/, and the link `latest` there points to the newest.

Exit codes: 0 success and the audit holds, 1 the audit fails, 2 wrong usage or configuration, 3 could not finish")]
pub struct Run {
    /// How many peers [default: 10]
    #[arg(long, value_name = "N")]
    pub peers: Option<String>,
    /// How many processes host the peers [default: one each]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub processes: Option<u32>,
    /// The seed of the network and the roles [default: random]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// The configuration to start from; `bazaar init` writes one
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the run keeps everything; a run that is already there continues
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// How long to run, such as 500ms, 20s, 2m [default: until Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub length: Option<Duration>,
    /// End when the books hold this many purchases
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    pub purchases: Option<u64>,
    /// How fast everything goes [default: brisk]
    #[arg(long, value_parser = pace, value_name = "reference|brisk|flat-out")]
    pub pace: Option<Speed>,
    /// After how many sales a trader resigns [default: 40]
    #[arg(long, value_name = "SALES")]
    pub resign_after: Option<String>,
    /// How long after its death a process is restarted, or `never`
    #[arg(long, value_name = "DURATION|never", default_value = "5s", value_parser = restart_after)]
    pub restart_after: RestartAfter,
    /// Print one JSON event per line
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    /// Print only the summary
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bazaar init market.toml\n  bazaar init | less")]
pub struct Init {
    /// The file to write, which must not exist yet [default: standard output]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bazaar ledger --config market.toml")]
pub struct Ledger {
    #[command(flatten)]
    pub member: Member,
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
    #[arg(long = "id", value_name = "ID[,ID...]", required = true, value_delimiter = ',')]
    pub ids: Vec<u32>,
}

/// The flags of every process of a run.
#[derive(Debug, Args)]
pub struct Member {
    /// The run's configuration, the same for all its members
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Print one JSON event per line
    #[arg(long)]
    pub json: bool,
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
    /// Show it again every second, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bazaar kill trader\n  bazaar kill ledger\n  bazaar kill 3")]
pub struct Kill {
    /// `trader`, `ledger`, or a peer's id
    #[arg(value_parser = victim)]
    pub victim: Victim,
    #[command(flatten)]
    pub which: Which,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    Trader,
    Ledger,
    Peer(PeerId),
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

Exit codes: 0 it holds, 1 a property fails or the store is damaged (with the record), 2 wrong usage, 3 cannot read it")]
pub struct Audit {
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
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
    #[arg(long, value_name = "N", conflicts_with = "dir")]
    pub peers: Option<String>,
    /// The seed of that network
    #[arg(long, value_name = "S", requires = "peers")]
    pub seed: Option<u64>,
    /// A picture, Graphviz's language, or an adjacency list
    #[arg(long, value_enum, default_value_t = Format::Svg)]
    pub format: Format,
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

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn pace(text: &str) -> Result<Speed, String> {
    Speed::ALL
        .into_iter()
        .find(|speed| speed.name() == text)
        .ok_or_else(|| format!("must be one of {}", Speed::ALL.map(Speed::name).join(", ")))
}

fn victim(text: &str) -> Result<Victim, String> {
    match text {
        "trader" => Ok(Victim::Trader),
        "ledger" => Ok(Victim::Ledger),
        id => id
            .parse()
            .map(|id| Victim::Peer(PeerId(id)))
            .map_err(|_| "must be `trader`, `ledger`, or a peer's id (a number from 0)".to_owned()),
    }
}
