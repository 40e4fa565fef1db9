//! Who a certificate is for.

use std::fmt;

use bazaar_protocol::id::PeerId;

use crate::network::hello::RunId;

/// Who a certificate is for. It says what its holder may do: a peer's connects in that peer's name and is reached as
/// that peer, the ledger's is reached as the ledger, and the tools' inspects processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// The process that keeps the books.
    Ledger,
    /// The commands that people use, such as `bazaar status`.
    Tools,
    /// A peer. A process that hosts several has a certificate for each.
    Peer(PeerId),
}

impl Identity {
    /// The ledger, the tools, and all peers of a run with so many.
    pub fn all(peers: u32) -> impl Iterator<Item = Identity> {
        [Identity::Ledger, Identity::Tools].into_iter().chain((0..peers).map(|id| Identity::Peer(PeerId(id))))
    }

    /// The DNS name in its certificate, such as `peer-3.00c0ffee00c0ffee.bazaar`. Nobody looks it up: it is only
    /// compared.
    #[must_use]
    pub fn dns_name(self, run: RunId) -> String {
        format!("{}.{run}.bazaar", self.file_stem())
    }

    /// Whose DNS name this is in a run; `None` if it is nobody's.
    #[must_use]
    pub fn of_dns_name(name: &str, run: RunId) -> Option<Identity> {
        let label = name.strip_suffix(".bazaar")?.strip_suffix(&run.to_string())?.strip_suffix('.')?;
        let identity = match label {
            "ledger" => Identity::Ledger,
            "tools" => Identity::Tools,
            peer => Identity::Peer(PeerId(peer.strip_prefix("peer-")?.parse().ok()?)),
        };
        // `peer-03` and `peer-+3` are nobody's.
        (identity.file_stem() == label).then_some(identity)
    }

    /// What its files are called: `peer-3.pem` and `peer-3.key`.
    #[must_use]
    pub fn file_stem(self) -> String {
        match self {
            Identity::Ledger => "ledger".to_owned(),
            Identity::Tools => "tools".to_owned(),
            Identity::Peer(id) => format!("peer-{id}"),
        }
    }

    /// The flag of `bazaar cert` that names it.
    #[must_use]
    pub fn flag(self) -> String {
        match self {
            Identity::Ledger => "--ledger".to_owned(),
            Identity::Tools => "--tools".to_owned(),
            Identity::Peer(id) => format!("--peer {id}"),
        }
    }
}

/// "peer 3", "the ledger".
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Ledger => f.write_str("the ledger"),
            Identity::Tools => f.write_str("the tools"),
            Identity::Peer(id) => write!(f, "peer {id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_no_other_spelling_of_it_is() {
        let run = RunId(0xc0ffee);
        for identity in Identity::all(12) {
            let name = identity.dns_name(run);
            assert_eq!(Identity::of_dns_name(&name, run), Some(identity), "{name}");
            assert_eq!(Identity::of_dns_name(&name, RunId(1)), None, "{name} is of another run");
        }
        for label in ["peer-03", "peer-+3", "peer-", "peer-3.peer-4", "Ledger", "", "peer-4294967296", "*"] {
            assert_eq!(Identity::of_dns_name(&format!("{label}.{run}.bazaar"), run), None, "{label}");
        }
        assert_eq!(Identity::of_dns_name("peer-3", run), None);
    }
}
