//! Limits that the system sets a process: raised as far as it allows, and what is needed beyond is refused before
//! anything starts (SPEC I3).

use std::{io, path::Path};

use bazaar_protocol::{graph::Graph, id::PeerId, text::counted};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::network::settings::Settings;

/// A process would need more than the system lets it have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Descriptors of open files and connections.
    #[error(
        "{who} may need {needed} open files and connections at once, and a process may have {allowed} here (`ulimit \
         -Hn`): {remedy}"
    )]
    Descriptors {
        /// The process that would need them.
        who: String,
        /// How many it may need.
        needed: u64,
        /// How many it may have.
        allowed: u64,
        /// What would help.
        remedy: String,
    },
    /// The size of a file.
    #[error(
        "a file may have {allowed} bytes here (`ulimit -f`), too few for the books, which take {needed} to begin with: \
         raise the limit"
    )]
    FileSize {
        /// How large a file must be able to be.
        needed: u64,
        /// How large it may be.
        allowed: u64,
    },
    /// Room on the disk.
    #[error(
        "{dir} has {free} bytes of room, and a bazaar of this size needs {needed} to start: make room, or give a --dir \
         on another disk"
    )]
    DiskFull {
        /// The directory that is to hold the run.
        dir: String,
        /// How much it needs.
        needed: u64,
        /// How much there is.
        free: u64,
    },
}

/// Raises what this process may use to what the system allows it: descriptors, and the size of files. Its children get
/// the same.
pub fn raise() {
    for resource in [Resource::Nofile, Resource::Fsize] {
        let Rlimit { maximum, .. } = getrlimit(resource);
        // If not, the limit stays as it is, and is checked.
        let _ = setrlimit(resource, Rlimit { current: maximum, maximum });
    }
}

/// Descriptors that every process has: its standard streams, its event loop, its trace, its listener, a tool's
/// connections, and a file or two that is opened for a moment.
const OF_A_PROCESS: u64 = 40;
/// Each hosted peer has its log, its database and a connection to the ledger, and opens two files for a moment when it
/// writes.
const OF_A_PEER: u64 = 5;
/// A link between two processes is a connection each way.
const OF_A_LINK: u64 = 2;
/// The supervisor has three pipes and the process itself.
const OF_A_CHILD: u64 = 4;
/// While it starts a child, it has the other ends of the pipes as well, and a few more to hear how that went.
const OF_A_START: u64 = 8;

/// How many descriptors the process that hosts these peers may need at once.
#[must_use]
pub fn needed_by_host(graph: &Graph, ids: &[PeerId]) -> u64 {
    let links = |id: &PeerId| graph.neighbours(*id).iter().filter(|other| !ids.contains(other)).count() as u64;
    let peers = ids.iter().map(|id| OF_A_PEER + OF_A_LINK * links(id)).sum::<u64>();
    OF_A_PROCESS + Settings::default().strangers as u64 + peers
}

/// How many descriptors the ledger's process may need at once.
#[must_use]
pub fn needed_by_ledger(peers: u32) -> u64 {
    OF_A_PROCESS + Settings::default().strangers as u64 + u64::from(peers)
}

/// How many descriptors the supervisor of so many processes may need at once.
#[must_use]
pub fn needed_by_supervisor(children: usize) -> u64 {
    OF_A_PROCESS + OF_A_START + OF_A_CHILD * children as u64
}

/// Checks that the process that hosts these peers can have as many descriptors as it may need.
///
/// # Errors
/// [`LimitError::Descriptors`].
pub fn check_host(graph: &Graph, ids: &[PeerId]) -> Result<(), LimitError> {
    let remedy = || "let it host fewer of them, or raise the limit".to_owned();
    check_descriptors(allowed(Resource::Nofile), needed_by_host(graph, ids), || hosting(ids), remedy)
}

/// Checks that the ledger's process can have as many descriptors as it may need.
///
/// # Errors
/// [`LimitError::Descriptors`].
pub fn check_ledger(peers: u32) -> Result<(), LimitError> {
    let remedy = || "raise the limit".to_owned();
    check_descriptors(allowed(Resource::Nofile), needed_by_ledger(peers), || "the ledger".to_owned(), remedy)
}

/// Checks that all processes of a run on this machine can have as many descriptors as they may need. `shares` are the
/// peers that each process hosts.
///
/// # Errors
/// [`LimitError::Descriptors`].
pub fn check_run(
    graph: &Graph,
    shares: &[Vec<PeerId>],
    redivide: impl Fn(usize) -> Vec<Vec<PeerId>>,
) -> Result<(), LimitError> {
    let allowed = allowed(Resource::Nofile);
    let needed = |shares: &[Vec<PeerId>]| shares.iter().map(|ids| needed_by_host(graph, ids)).max().unwrap_or(0);
    let remedy = || {
        let most = graph.len() as usize;
        match (shares.len() + 1..=most)
            .find(|processes| allowed.is_some_and(|may| needed(&redivide(*processes)) <= may))
        {
            Some(enough) => format!("give --processes {enough}, or raise the limit"),
            None => "raise the limit".to_owned(),
        }
    };
    let largest = shares.iter().max_by_key(|ids| needed_by_host(graph, ids)).map_or(&[][..], Vec::as_slice);
    check_descriptors(allowed, needed(shares), || hosting(largest), remedy)?;
    let raise = || "raise the limit".to_owned();
    check_descriptors(allowed, needed_by_ledger(graph.len()), || "the ledger".to_owned(), raise)?;
    let supervisor = needed_by_supervisor(shares.len() + 1);
    let fewer = || "give fewer --processes, or raise the limit".to_owned();
    check_descriptors(allowed, supervisor, || "`bazaar run` itself".to_owned(), fewer)
}

fn hosting(ids: &[PeerId]) -> String {
    match ids {
        [id] => format!("the process of peer {id}"),
        ids => format!("a process with {}", counted(ids.len(), "peer")),
    }
}

/// The limit; `None` if there is none.
fn allowed(resource: Resource) -> Option<u64> {
    getrlimit(resource).current
}

fn check_descriptors(
    allowed: Option<u64>,
    needed: u64,
    who: impl Fn() -> String,
    remedy: impl Fn() -> String,
) -> Result<(), LimitError> {
    match allowed {
        Some(allowed) if allowed < needed => {
            Err(LimitError::Descriptors { who: who(), needed, allowed, remedy: remedy() })
        }
        Some(_) | None => Ok(()),
    }
}

/// How large the ledger's database must be able to become: some thousand purchases.
const LARGEST_FILE: u64 = 1 << 20;
/// What the ledger takes of the disk at first, and what each peer does; somewhat more than measured.
const LEDGER_ROOM: u64 = 1 << 20;
const PEER_ROOM: u64 = 64 << 10;

/// Checks that a run of so many peers can start in `dir`, or in the nearest directory above it that exists.
///
/// # Errors
/// When files cannot be as large, or the disk has not as much room, as it takes to start.
pub fn check_room(dir: &Path, peers: u32) -> Result<(), LimitError> {
    match allowed(Resource::Fsize) {
        Some(allowed) if allowed < LARGEST_FILE => return Err(LimitError::FileSize { needed: LARGEST_FILE, allowed }),
        Some(_) | None => {}
    }
    // Where it cannot be asked, the first write will tell.
    match free(dir) {
        Ok(Some(free)) => check_free(dir, free, peers),
        Ok(None) | Err(_) => Ok(()),
    }
}

fn check_free(dir: &Path, free: u64, peers: u32) -> Result<(), LimitError> {
    let needed = LEDGER_ROOM + PEER_ROOM * u64::from(peers);
    if free < needed { Err(LimitError::DiskFull { dir: dir.display().to_string(), needed, free }) } else { Ok(()) }
}

/// How much room there is; `None` where there is no disk.
fn free(dir: &Path) -> io::Result<Option<u64>> {
    let absolute = std::path::absolute(dir)?;
    let there = absolute.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let disk = rustix::fs::statvfs(there)?;
    Ok((disk.f_blocks > 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_link_within_a_process_needs_no_descriptor() {
        let graph = Graph::random(8, 7);
        let all: Vec<PeerId> = graph.peers().collect();
        let alone = needed_by_host(&graph, &all);
        let apart: u64 = all.iter().map(|id| needed_by_host(&graph, &[*id])).sum();
        let ends = all.iter().map(|id| graph.neighbours(*id).len() as u64).sum::<u64>();
        assert_eq!(apart, alone + 7 * needed_by_host(&graph, &[]) + OF_A_LINK * ends);
    }

    #[test]
    fn a_full_disk_is_refused_with_what_it_takes() {
        let dir = Path::new("/some/where");
        assert_eq!(check_free(dir, LEDGER_ROOM + 10 * PEER_ROOM, 10), Ok(()));
        let refused = check_free(dir, 1_000, 10).unwrap_err().to_string();
        assert!(refused.contains("/some/where has 1000 bytes") && refused.contains("1703936"), "{refused}");
    }
}
