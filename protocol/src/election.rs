//! placeholder
use crate::id::{Epoch, PeerId};
use serde::{Deserialize, Serialize};
/// What peers say to each other in an election (Garcia-Molina 1982, section 4, with "normal operation" announced by epoch).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ElectionMessage {
    /// "Election": who is higher than me?
    Call,
    /// "Is anybody eligible?", from a peer that is not (DESIGN 3, lone survivor).
    Anyone,
    /// "Ok": I am higher, or eligible; leave it to me.
    Answer,
    /// "I hear this leader": the answer to a call that nobody needs.
    Leader {
        /// Its epoch.
        epoch: Epoch,
        /// Who it is.
        leader: PeerId,
    },
    /// "Won": I hold this epoch.
    Coordinator {
        /// The epoch.
        epoch: Epoch,
    },
    /// I held this epoch and give it back.
    Resigned {
        /// The epoch.
        epoch: Epoch,
    },
}
