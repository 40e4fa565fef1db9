//! What a picture of a history shows, before anybody draws it.

/// One vertical line of a picture: somebody to whom things happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// What it is called: "trader 1", "the ledger".
    pub name: String,
    /// What kind of lane it is.
    pub kind: LaneKind,
}

/// Lanes differ in colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneKind {
    /// A peer.
    Peer,
    /// The ledger.
    Ledger,
}

/// Something that a step shows. Lanes are named by their place in [`Subject::lanes`](crate::subject::Subject::lanes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Something leaves. It may arrive in a later step, or several times, or never.
    Sent {
        /// From where.
        from: usize,
        /// To where; nothing: to whoever it concerns.
        to: Option<usize>,
        /// Names it, to find its arrival. The same thing sent again has the same name.
        message: u64,
        /// What it says, in a few words.
        label: String,
    },
    /// Something that was sent arrives.
    Arrived {
        /// Where.
        at: usize,
        /// The name it was sent under.
        message: u64,
    },
    /// A link drops what was under way on it.
    Lost {
        /// The name it was sent under.
        message: u64,
    },
    /// A timer fires.
    Timer {
        /// Whose.
        at: usize,
        /// Which.
        label: String,
    },
    /// Something that happens in one place: a decision, a write, a sync, a choice.
    Happened {
        /// Where.
        at: usize,
        /// What, in a few words.
        label: String,
    },
    /// Somebody stops, with all that was not durable.
    Crashed {
        /// Who.
        at: usize,
    },
    /// Somebody is back.
    Restarted {
        /// Who.
        at: usize,
    },
    /// From here on somebody thinks it is trader, for this epoch.
    TookOffice {
        /// Who.
        at: usize,
        /// The epoch.
        epoch: u64,
    },
    /// From here on somebody no longer thinks it is trader.
    LeftOffice {
        /// Who.
        at: usize,
        /// Why, in a few words.
        label: String,
    },
    /// Nothing gets through from here on.
    Cut {
        /// From where.
        from: usize,
        /// To where.
        to: usize,
    },
    /// It gets through again.
    Healed {
        /// From where.
        from: usize,
        /// To where.
        to: usize,
    },
    /// A property is violated here.
    Violated {
        /// Where it shows, if at one place.
        at: Option<usize>,
        /// Which property, and what was found.
        label: String,
    },
}
