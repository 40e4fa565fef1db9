use std::collections::{HashMap, VecDeque};

use super::*;

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
