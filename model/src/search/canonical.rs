//! Checks, for any subject, that states taken for the same behave the same.
//!
//! Of two states with the same hash a search keeps the one it met first and never looks at what follows from the other.
//! That is exact if the hash leaves out only what makes no difference: if the same steps can be taken from both, with
//! the same verdicts, and lead to states that are again taken for the same. Then, by induction over the steps, the same
//! holds for everything that follows.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use bazaar_protocol::invariant::Property;

use crate::{search::trace::wrong, subject::Subject, subject::shared::digest};

/// Walks all states breadth first, up to `limit` of them. Whenever a state is unequal to one met before and taken for
/// the same, compares what follows from both in one step. Returns the number of such pairs.
///
/// # Errors
/// Two states that are taken for the same and behave differently.
pub fn merged_pairs_step_alike<S: Subject>(subject: &S, limit: usize) -> Result<usize, String> {
    let first = subject.first();
    let mut known = HashMap::from([(digest(&first), first.clone())]);
    let mut rim = VecDeque::from([first]);
    let mut actions = Vec::new();
    let mut pairs = 0;
    while let Some(state) = rim.pop_front() {
        subject.actions(&state, &mut actions);
        for action in actions.drain(..) {
            let (next, _) = subject.after(&state, &action);
            let size = known.len();
            match known.entry(digest(&next)) {
                Entry::Vacant(place) if size < limit => {
                    place.insert(next.clone());
                    rim.push_back(next);
                }
                Entry::Vacant(_) => {}
                Entry::Occupied(met) if *met.get() == next => {}
                Entry::Occupied(met) => {
                    pairs += 1;
                    alike(subject, met.get(), subject, &next)?;
                }
            }
        }
    }
    Ok(pairs)
}

/// Walks two subjects in lock step, breadth first, up to `limit` states, each state of one subject beside the state of
/// the other that is taken for the same. Returns the number of states.
///
/// # Errors
/// The states in which the two subjects first differ.
pub fn step_in_lock_step<S: Subject>(one: &S, other: &S, limit: usize) -> Result<usize, String> {
    let pair = (one.first(), other.first());
    if digest(&pair.0) != digest(&pair.1) {
        return Err(format!("they differ at the start:\n{:?}\n{:?}", pair.0, pair.1));
    }
    let mut known = HashMap::from([(digest(&pair.0), ())]);
    let mut rim = VecDeque::from([pair]);
    while let Some((state, beside)) = rim.pop_front() {
        let pairs = alike(one, &state, other, &beside)?;
        for (digest, pair) in pairs {
            if known.len() < limit && known.insert(digest, ()).is_none() {
                rim.push_back(pair);
            }
        }
    }
    Ok(known.len())
}

/// Two states that are taken for the same.
type Pair<S> = (<S as Subject>::State, <S as Subject>::State);

/// What is compared of a state: its hash, and what is wrong with it.
type Face = (u64, Option<Property>);

/// Compares two states that are taken for the same: what is wrong with them, and, as a multiset, what follows from
/// them. Returns the states that follow, side by side, by hash.
fn alike<S: Subject>(one: &S, state: &S::State, other: &S, beside: &S::State) -> Result<Vec<(u64, Pair<S>)>, String> {
    let said = |subject: &S, state: &S::State| wrong(subject, state).map(|violation| violation.property);
    if said(one, state) != said(other, beside) {
        return Err(format!("one of these is wrong and the other is not:\n{state:?}\n{beside:?}"));
    }
    let follow = |subject: &S, state: &S::State| {
        let mut actions = Vec::new();
        subject.actions(state, &mut actions);
        let mut after: Vec<(Face, S::State)> = actions
            .iter()
            .map(|action| subject.after(state, action).0)
            .map(|next| ((digest(&next), said(subject, &next)), next))
            .collect();
        after.sort_by_key(|(face, _)| *face);
        after
    };
    let (after, after_beside) = (follow(one, state), follow(other, beside));
    if !after.iter().map(|(face, _)| face).eq(after_beside.iter().map(|(face, _)| face)) {
        return Err(format!("these are taken for the same and step differently:\n{state:?}\n{beside:?}"));
    }
    Ok(after
        .into_iter()
        .zip(after_beside)
        .map(|((face, next), (_, next_beside))| (face.0, (next, next_beside)))
        .collect())
}
