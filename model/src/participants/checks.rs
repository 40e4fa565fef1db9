//! The machine input that a step tries, and the role of the machine, for the matrix.

use bazaar_protocol::{id::PeerId, ledger::LedgerRequest};

use super::{
    Participants,
    world::{Action, Live, World},
};
use crate::subject::matrix::{Kind, Role, Stepped};

impl World {
    /// The input and the role in this step; `None` where no machine is stepped.
    pub(super) fn stepped(&self, setup: &Participants, action: &Action) -> Option<Stepped> {
        let (peer, kind) = match action {
            Action::Resign(peer) => (peer, Kind::Resign),
            Action::Stand(peer) => (peer, Kind::Stand),
            Action::Yield(peer) => (peer, Kind::Yield),
            Action::Fire(peer, timer) => (peer, Kind::of_timer(*timer)),
            Action::Pick(peer, _) => {
                let choice = self.live(setup, *peer)?.choice?.0;
                (peer, Kind::of_choice(choice))
            }
            Action::Tick(peer) => (peer, Kind::Tick),
            Action::Serve(peer) => (peer, Kind::Request),
            Action::Lie(peer) => (peer, Kind::Heartbeat),
            Action::Consult(peer) => (peer, self.kind_of_question(setup, *peer)?),
            Action::Arrive(peer, mail) => (peer, Kind::of_body(&mail.body)),
            Action::Answer(peer, reply) => (peer, Kind::of_answer(&reply.reply.answer)),
            Action::Take(call) => return Some(Stepped { kind: Kind::of_request(&call.request), role: Role::Ledger }),
            Action::Confirm => return Some(Stepped { kind: Kind::Persisted, role: Role::Ledger }),
            Action::LeaseRunsOut => return Some(Stepped { kind: Kind::Lease, role: Role::Ledger }),
            Action::CrashLedger { .. } => return Some(Stepped { kind: Kind::Start, role: Role::Ledger }),
            Action::Restart(peer) => (peer, Kind::Start),
            Action::At(_, action) => return self.stepped_at(setup, action),
            Action::Sync | Action::Snapshot | Action::Crash(_) | Action::Stray(_) | Action::Wipe | Action::PutBack => {
                return None;
            }
        };
        let role = self.live(setup, *peer).map_or_else(|| setup.role_at_start(*peer), Live::role);
        Some(Stepped { kind, role })
    }
}

impl World {
    /// The kind of the answer to the question that a peer asks the ledger.
    pub(super) fn kind_of_question(&self, setup: &Participants, peer: PeerId) -> Option<Kind> {
        let snapshot = self.ledger.store().snapshot();
        Some(match self.live(setup, peer)?.question.as_ref()? {
            LedgerRequest::Status => Kind::Status,
            LedgerRequest::Read { from, .. } if snapshot.is_some_and(|books| books.position() > *from) => Kind::Chunk,
            LedgerRequest::Read { .. } | LedgerRequest::Append(_) => Kind::Records,
        })
    }
}

impl Participants {
    fn role_at_start(&self, peer: PeerId) -> Role {
        let role = self.role(peer);
        Role::of_client(role.is_some_and(|role| role.buys.is_some()), role.is_some_and(|role| role.sells.is_some()))
    }
}

impl Live {
    /// Its role at the moment.
    #[must_use]
    pub fn role(&self) -> Role {
        Role::of(&self.participant)
    }
}
