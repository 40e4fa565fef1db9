use std::collections::{HashMap, VecDeque};

use super::*;
use crate::subject::shared::digest;

/// The index among all networks of 0-1, 0-2, 1-2.
const TRIANGLE: usize = 2;

fn needless_at<'a>(scene: &'a Scene, all: &'a [Shared<Handed>]) -> impl Iterator<Item = &'a Shared<Handed>> {
    all.iter().filter(|handed| {
        let Some(up) = scene.up(handed.to) else { return false };
        let mut overlay = up.overlay.clone();
        overlay.receive(handed.from, handed.envelope.clone()) == Arrival::default() && overlay == up.overlay
    })
}

/// Every step from every state on one network, and every envelope that is ever sent on it.
fn walk(overlays: &Overlays) -> (Vec<(Scene, Scene)>, Vec<Shared<Handed>>) {
    let mut known = HashMap::new();
    let mut rim = VecDeque::from([overlays.first()]);
    let (mut steps, mut handed) = (Vec::new(), HashMap::new());
    while let Some(state) = rim.pop_front() {
        let mut actions = Vec::new();
        overlays.actions(&state, &mut actions);
        for action in actions {
            let run = overlays.run(&state, &action).expect("a step that can be taken");
            for event in &run.events {
                match event {
                    Event::Handed(one) | Event::Needless(one) | Event::Gone(one) => {
                        handed.insert(one.name(), one.clone())
                    }
                    Event::Delivered(_) => None,
                };
            }
            let next = State { scene: Some(run.scene.clone()), violation: run.wrong };
            steps.extend(state.scene.clone().map(|before| (before, run.scene)));
            if known.insert(digest(&next), ()).is_none() {
                rim.push_back(next);
            }
        }
    }
    (steps, handed.into_values().collect())
}

#[test]
fn what_is_needless_at_a_peer_stays_so_as_long_as_it_lives() {
    let crash = Budget { broadcasts: 2, crashes: 1, restarts: 1, ..Budget::default() };
    let overtaken = Budget { broadcasts: 4, ..Budget::default() };
    for (budget, flood_window) in [(crash, Limits::DEFAULT.flood_window), (overtaken, 1)] {
        let limits = Limits { flood_window, ..Limits::DEFAULT };
        let overlays =
            Overlays { sizes: 3..=3, only: Some((TRIANGLE, PeerId(0))), partner: None, limits, budget, calm: false };
        let (steps, all) = walk(&overlays);
        let mut compared = 0;
        for (before, after) in &steps {
            for handed in needless_at(before, &all) {
                let peer = handed.to.0 as usize;
                let lives_on = before.peers[peer].incarnation == after.peers[peer].incarnation;
                // Over a link that has gone down meanwhile it shows that the neighbour is there; that is left out.
                let is_up = after.up(handed.to).is_some_and(|up| up.overlay.links().contains(&handed.from));
                if lives_on && is_up {
                    compared += 1;
                    assert_eq!(needless_at(after, std::slice::from_ref(handed)).count(), 1, "{handed:?}");
                }
            }
        }
        assert!(compared > 10_000, "only {compared} with a window of {flood_window}");
    }
}

/// The index among all networks of 0-1, 0-2.
const LINE: usize = 1;

fn after(overlays: &Overlays, state: &State, step: Step) -> State {
    let mut actions = Vec::new();
    overlays.actions(state, &mut actions);
    assert!(actions.contains(&step), "{step:?} is none of {actions:?}");
    let run = overlays.run(state, &step).expect("a step that can be taken");
    assert_eq!(run.wrong, None, "{step:?}");
    State { scene: Some(run.scene), violation: None }
}

/// The envelope that is under way between these two.
fn between(state: &State, from: u32, to: u32, is_flood: bool) -> Option<Step> {
    let under_way = &state.scene.as_ref().expect("a network").under_way;
    let is_it = |handed: &&Shared<Handed>| {
        let is_of_flood = matches!(handed.envelope.route, Route::Flood { .. });
        (handed.from, handed.to, is_of_flood) == (PeerId(from), PeerId(to), is_flood)
    };
    under_way.iter().find(is_it).map(|handed| Step::Arrive { handed: handed.clone(), stays: false })
}

// SPEC A9: the neighbour may be back by then.
#[test]
fn a_unicast_for_a_neighbour_that_is_gone_is_still_under_way() {
    let limits = Limits::DEFAULT;
    let budget = Budget { broadcasts: 1, from_speaker: 1, to_speaker: 1, breaks: 1, ..Budget::default() };
    let (relay, speaker, far) = (PeerId(0), PeerId(1), PeerId(2));
    let only = Some((LINE, speaker));
    let overlays = Overlays { sizes: 3..=3, only, partner: None, limits, budget, calm: false };
    let arrives = |state: &State, from, to, is_flood| {
        let step = between(state, from, to, is_flood).expect("it is under way");
        after(&overlays, state, step)
    };
    let mut state = after(&overlays, &overlays.first(), Step::Choose { network: LINE, speaker });
    // The speaker hears the far peer, and so knows a path to it.
    state = after(&overlays, &state, Step::Answer(far));
    state = arrives(&state, 2, 0, between(&state, 2, 0, true).is_some());
    state = arrives(&state, 0, 1, between(&state, 0, 1, true).is_some());
    state = after(&overlays, &state, Step::Tell(far));
    state = after(&overlays, &state, Step::Broadcast);
    state = after(&overlays, &state, Step::Break { one: relay, other: far });
    state = after(&overlays, &state, Step::LinkDown { at: relay, to: far });
    // The broadcast overtakes the unicast and leaves it nothing to teach the relay.
    state = arrives(&state, 1, 0, true);
    assert!(between(&state, 1, 0, false).is_some(), "the neighbour may come back");
    state = after(&overlays, &state, Step::LinkDown { at: far, to: relay });
    state = after(&overlays, &state, Step::LinkUp { at: relay, to: far });
    state = after(&overlays, &state, Step::LinkUp { at: far, to: relay });
    state = arrives(&state, 1, 0, false);
    state = arrives(&state, 0, 2, false);
    assert_eq!(state.violation, None);
}
