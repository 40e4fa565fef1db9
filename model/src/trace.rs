//! The shortest way to somewhere. stateright's own counterexamples are whatever its search came upon first.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use crate::{
    part::digest,
    scenario::Scenario,
    sighting::Sightings,
    world::{Action, World},
};

/// The shortest sequence of steps from the first state whose last one meets the goal: breadth first, by one thread. It
/// keeps a few words for each state it comes by and the states at the rim.
#[must_use]
pub fn shortest(scenario: &Scenario, goal: impl Fn(&World, Sightings) -> bool) -> Option<Vec<Action>> {
    let first = World::first(scenario);
    // By digest: where it was come by, and by which of the steps from there.
    let mut known: HashMap<u64, Option<(u64, u32)>> = HashMap::from([(digest(&first), None)]);
    let mut rim = VecDeque::from([first]);
    let mut actions = Vec::new();
    while let Some(world) = rim.pop_front() {
        let from = digest(&world);
        world.actions(scenario, &mut actions);
        for (nth, action) in (0..).zip(actions.drain(..)) {
            let (next, sightings) = world.after(scenario, action);
            let to = digest(&next);
            let is_goal = goal(&next, sightings);
            if let Entry::Vacant(place) = known.entry(to) {
                place.insert(Some((from, nth)));
                rim.push_back(next);
            }
            if is_goal {
                let mut steps = vec![nth];
                let mut at = from;
                while let Some(Some((before, nth))) = known.get(&at) {
                    steps.push(*nth);
                    at = *before;
                }
                steps.reverse();
                return Some(replay(scenario, &steps));
            }
        }
    }
    None
}

fn replay(scenario: &Scenario, steps: &[u32]) -> Vec<Action> {
    let mut world = World::first(scenario);
    let mut taken = Vec::new();
    for nth in steps {
        let mut actions = Vec::new();
        world.actions(scenario, &mut actions);
        let action = actions.swap_remove(*nth as usize);
        (world, _) = world.after(scenario, action.clone());
        taken.push(action);
    }
    taken
}
