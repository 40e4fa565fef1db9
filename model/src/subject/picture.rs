//! What a picture of a history shows, independent of how it is drawn.

/// One vertical line of a picture: a machine to which things happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Its name: "trader 1", "the ledger".
    pub name: String,
    /// Its kind, which decides its colour.
    pub kind: LaneKind,
}

/// The kinds of lanes, which differ in colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneKind {
    /// The lane of a peer.
    Peer,
    /// The lane of the ledger.
    Ledger,
}

/// Something that a picture shows of a step. A lane is given by its index in
/// [`Subject::lanes`](crate::subject::Subject::lanes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A message leaves. It may arrive in a later step, once or repeatedly, or never.
    Sent {
        /// The lane of the sender.
        from: usize,
        /// The lane of the addressee; `None` if the message is for any lane that it concerns.
        to: Option<usize>,
        /// The name by which its arrival is found. The same message sent again has the same name.
        message: u64,
        /// Its content, in a few words.
        label: String,
    },
    /// A message arrives.
    Arrived {
        /// The lane of the receiver.
        at: usize,
        /// The name under which it was sent.
        message: u64,
    },
    /// A link loses a message.
    Lost {
        /// The name under which it was sent.
        message: u64,
    },
    /// A timer fires.
    Timer {
        /// The lane of the machine.
        at: usize,
        /// The timer, in a few words.
        label: String,
    },
    /// Something that happens in one place: a decision, a write, a sync, a choice.
    Happened {
        /// The lane.
        at: usize,
        /// What happens, in a few words.
        label: String,
    },
    /// A machine crashes and loses what was not durable.
    Crashed {
        /// The lane of the machine.
        at: usize,
    },
    /// A machine restarts.
    Restarted {
        /// The lane of the machine.
        at: usize,
    },
    /// From here on a peer believes it is trader of this epoch.
    TookOffice {
        /// The lane of the machine.
        at: usize,
        /// The epoch.
        epoch: u64,
    },
    /// From here on a peer no longer believes it is trader.
    LeftOffice {
        /// The lane of the machine.
        at: usize,
        /// The reason, in a few words.
        label: String,
    },
    /// From here on nothing gets through in this direction.
    Cut {
        /// The lane of the sending end.
        from: usize,
        /// The lane of the receiving end.
        to: usize,
    },
    /// From here on messages get through again in this direction.
    Healed {
        /// The lane of the sending end.
        from: usize,
        /// The lane of the receiving end.
        to: usize,
    },
    /// A property is violated here.
    Violated {
        /// The lane where it shows, if there is one.
        at: Option<usize>,
        /// The property and what was found.
        label: String,
    },
}
