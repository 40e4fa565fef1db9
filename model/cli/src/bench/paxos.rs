//! Single-decree Paxos as stateright's own example has it: three servers, clients that each write a value and read it
//! back, and the check that all of it is linearizable. It is what stateright's rates are usually quoted for, so our
//! models are measured beside it. The numbers of states are those of the example, which a test holds fast.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use stateright::{
    Expectation,
    actor::{
        Actor, ActorModel, Id, Network, Out, majority, model_peers,
        register::{RegisterActor, RegisterMsg},
    },
    semantics::{LinearizabilityTester, register::Register},
};

const SERVERS: usize = 3;

/// A round and who began it; later ones are greater.
type Ballot = (u32, Id);

/// What a client wants written: its request, who it is, the value.
type Proposal = (u64, Id, char);

/// What servers say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Word {
    /// "Take part in no earlier ballot any more."
    Prepare(Ballot),
    /// "I will not; and this is the last proposal that I accepted."
    Prepared(Ballot, Option<(Ballot, Proposal)>),
    /// "Accept this."
    Accept(Ballot, Proposal),
    /// "I have."
    Accepted(Ballot),
    /// "A majority has."
    Decided(Ballot, Proposal),
}

/// A server.
#[derive(Clone, Debug)]
pub struct Server {
    others: Vec<Id>,
}

/// What a server knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Known {
    /// The latest ballot that it takes part in.
    ballot: Ballot,
    /// What it proposes itself.
    proposal: Option<Proposal>,
    prepared: BTreeMap<Id, Option<(Ballot, Proposal)>>,
    accepted_by: BTreeSet<Id>,
    accepted: Option<(Ballot, Proposal)>,
    is_decided: bool,
}

type Message = RegisterMsg<u64, char, Word>;

impl Server {
    fn majority(&self) -> usize {
        majority(self.others.len() + 1)
    }

    fn tell_others(&self, word: Word, out: &mut Out<Server>) {
        out.broadcast(&self.others, &RegisterMsg::Internal(word));
    }

    /// Begins a ballot of its own with a client's value.
    fn propose(&self, me: Id, known: &mut Known, proposal: Proposal, out: &mut Out<Server>) {
        known.ballot = (known.ballot.0 + 1, me);
        known.proposal = Some(proposal);
        known.prepared = BTreeMap::from([(me, known.accepted)]);
        known.accepted_by = BTreeSet::new();
        self.tell_others(Word::Prepare(known.ballot), out);
    }

    fn on_prepared(
        &self,
        me: Id,
        from: Id,
        known: &mut Known,
        last: Option<(Ballot, Proposal)>,
        out: &mut Out<Server>,
    ) {
        known.prepared.insert(from, last);
        if known.prepared.len() != self.majority() {
            return;
        }
        // Something may have been decided already, and then a majority knows of it.
        let latest = known.prepared.values().flatten().max().map(|(_, proposal)| *proposal);
        let Some(proposal) = latest.or(known.proposal) else { return };
        known.proposal = Some(proposal);
        known.accepted = Some((known.ballot, proposal));
        known.accepted_by.insert(me);
        self.tell_others(Word::Accept(known.ballot, proposal), out);
    }

    fn on_accepted(&self, from: Id, known: &mut Known, out: &mut Out<Server>) {
        known.accepted_by.insert(from);
        let Some(proposal) = known.proposal.filter(|_| known.accepted_by.len() == self.majority()) else { return };
        known.is_decided = true;
        self.tell_others(Word::Decided(known.ballot, proposal), out);
        let (request, client, _) = proposal;
        out.send(client, RegisterMsg::PutOk(request));
    }
}

impl Actor for Server {
    type Msg = Message;
    type State = Known;
    type Timer = ();
    type Random = ();
    type Storage = ();

    fn on_start(&self, _: Id, _: &Option<()>, _: &mut Out<Server>) -> Known {
        Known {
            ballot: (0, Id::from(0)),
            proposal: None,
            prepared: BTreeMap::new(),
            accepted_by: BTreeSet::new(),
            accepted: None,
            is_decided: false,
        }
    }

    fn on_msg(&self, me: Id, known: &mut Cow<'_, Known>, from: Id, message: Message, out: &mut Out<Server>) {
        let ballot = known.ballot;
        match message {
            // A server that knows of no decision cannot tell whether there is one.
            RegisterMsg::Get(request) => {
                if let Some((_, (_, _, value))) = known.accepted.filter(|_| known.is_decided) {
                    out.send(from, RegisterMsg::GetOk(request, value));
                }
            }
            _ if known.is_decided => {}
            RegisterMsg::Put(request, value) if known.proposal.is_none() => {
                self.propose(me, known.to_mut(), (request, from, value), out);
            }
            RegisterMsg::Internal(Word::Prepare(later)) if ballot < later => {
                known.to_mut().ballot = later;
                out.send(from, RegisterMsg::Internal(Word::Prepared(later, known.accepted)));
            }
            RegisterMsg::Internal(Word::Prepared(of, last)) if of == ballot => {
                self.on_prepared(me, from, known.to_mut(), last, out);
            }
            RegisterMsg::Internal(Word::Accept(of, proposal)) if ballot <= of => {
                let known = known.to_mut();
                (known.ballot, known.accepted) = (of, Some((of, proposal)));
                out.send(from, RegisterMsg::Internal(Word::Accepted(of)));
            }
            RegisterMsg::Internal(Word::Accepted(of)) if of == ballot => self.on_accepted(from, known.to_mut(), out),
            RegisterMsg::Internal(Word::Decided(of, proposal)) => {
                let known = known.to_mut();
                (known.ballot, known.accepted, known.is_decided) = (of, Some((of, proposal)), true);
            }
            RegisterMsg::Put(..) | RegisterMsg::PutOk(_) | RegisterMsg::GetOk(..) | RegisterMsg::Internal(_) => {}
        }
    }
}

/// What has been written and read so far.
type History = LinearizabilityTester<Id, Register<char>>;

/// Paxos with so many clients.
pub fn model(clients: usize) -> ActorModel<RegisterActor<Server>, (), History> {
    let servers = (0..SERVERS).map(|nth| RegisterActor::Server(Server { others: model_peers(nth, SERVERS) }));
    ActorModel::new((), History::new(Register(char::default())))
        .actors(servers)
        .actors((0..clients).map(|_| RegisterActor::Client { put_count: 1, server_count: SERVERS }))
        .init_network(Network::new_unordered_nonduplicating([]))
        .property(Expectation::Always, "linearizable", |_, state| state.history.serialized_history().is_some())
        .property(Expectation::Sometimes, "value chosen", |_, state| {
            let mut under_way = state.network.iter_deliverable();
            under_way.any(|envelope| matches!(envelope.msg, RegisterMsg::GetOk(_, value) if *value != char::default()))
        })
        .record_msg_in(RegisterMsg::record_returns)
        .record_msg_out(RegisterMsg::record_invocations)
}

#[cfg(test)]
mod tests {
    use stateright::{Checker as _, Model as _};

    use super::*;

    #[test]
    fn it_has_as_many_states_as_the_example_of_stateright() {
        let checker = model(2).checker().spawn_dfs().join();
        checker.assert_properties();
        assert_eq!(checker.unique_state_count(), 16_668);
    }
}
