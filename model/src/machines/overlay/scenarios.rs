//! The scenarios of the overlay model.

use bazaar_protocol::{config::Limits, id::PeerId};

use super::{Budget, Overlays};
use crate::machines::network::{self, Network};
use crate::subject::{
    landmark::Landmark,
    scenario::{Family, Scenario},
};

/// The scenarios of the model, in the order in which they are checked.
#[must_use]
pub fn scenarios() -> Vec<Scenario<Overlays>> {
    let limits = Limits::DEFAULT;
    let any_time = |sizes, budget| Overlays { sizes, only: None, partner: None, limits, budget, calm: false };
    let calm = |sizes, budget| Overlays { sizes, only: None, partner: None, limits, budget, calm: true };
    let window = |sizes, flood_window, budget| {
        let limits = Limits { flood_window, ..limits };
        Overlays { sizes, only: None, partner: None, limits, budget, calm: false }
    };
    let (line, one, other) = line_of(6);
    let broadcast = Budget { broadcasts: 1, ..Budget::default() };
    let answered = Budget { to_speaker: 1, ..broadcast };
    let asked = Budget { broadcasts: 0, from_speaker: 1, ..answered };
    let crash = Budget { crashes: 1, ..answered };
    let lives = Budget { crashes: 1, restarts: 1, ..answered };
    vec![
        Scenario {
            name: "overlay-broadcast",
            family: Family::Overlay,
            about: "a broadcast of any peer, on all 112 networks of 2 to 7 peers",
            bounds: "1 broadcast, no faults, every order of arrival. Another flood has a name of its own and would \
                     meet the same conditions.",
            landmarks: vec![Landmark::FloodDropped, Landmark::LongWay],
            case: any_time(2..=7, broadcast),
            further: Some(any_time(2..=6, Budget { broadcasts: 2, ..broadcast })),
        },
        Scenario {
            name: "overlay-answer",
            family: Family::Overlay,
            about: "any peer answers a broadcast when it is over, on all 112 networks",
            bounds: "1 broadcast, 1 unicast back: along every path that any order of arrival has left behind. Further: \
                     the unicast at any moment, up to 6 peers.",
            landmarks: vec![Landmark::FloodDropped, Landmark::LongWay, Landmark::PathFollowed],
            case: calm(2..=7, answered),
            further: Some(any_time(2..=6, answered)),
        },
        Scenario {
            name: "overlay-ask",
            family: Family::Overlay,
            about: "a peer sends to another from which it has never heard, and any peer sends to it, at any moment",
            bounds: "1 unicast from the speaker, 1 to it, up to 5 peers: both are flooded, or the second follows the \
                     path that the first has left. On larger networks paths are longer and consist of the same hops.",
            landmarks: vec![Landmark::PathUnknown, Landmark::PathFollowed, Landmark::FloodDropped, Landmark::LongWay],
            case: any_time(2..=5, asked),
            further: Some(any_time(2..=6, asked)),
        },
        Scenario {
            name: "overlay-overtaken",
            family: Family::Overlay,
            about: "two broadcasts of a peer overtake one another, and any peer sends to it, at any moment",
            bounds: "2 broadcasts, 1 unicast, up to 4 peers, the fewest with a ring and another peer beside it: a path \
                     may point back to where a unicast comes from.",
            landmarks: vec![Landmark::PathFollowed, Landmark::FloodDropped, Landmark::LongWay],
            case: any_time(2..=4, Budget { broadcasts: 2, ..answered }),
            further: Some(any_time(2..=5, Budget { broadcasts: 2, ..answered })),
        },
        Scenario {
            name: "overlay-around",
            family: Family::Overlay,
            about: "any peer has crashed and its neighbours know; a message is routed around it as long as a path is \
                    left",
            bounds: "1 broadcast, 1 crash before or after it, 1 unicast back, each when the one before is over and the \
                     break is noticed. Up to 6 peers; further: up to 7, all 112 networks.",
            landmarks: vec![Landmark::WentAround, Landmark::PathUnknown, Landmark::PathFollowed, Landmark::CutOff],
            case: calm(2..=6, crash),
            further: Some(calm(2..=7, crash)),
        },
        Scenario {
            name: "overlay-crash",
            family: Family::Overlay,
            about: "any peer crashes at any moment, and its neighbours notice late",
            bounds: "1 broadcast, 1 crash, 1 unicast, up to 4 peers: two paths around a relay with a peer beyond it, \
                     or a ring; the crash may come before, during or after either message, and be noticed at one end \
                     only.",
            landmarks: vec![
                Landmark::HandedToDead,
                Landmark::WentAround,
                Landmark::PathFollowed,
                Landmark::CutOff,
                Landmark::LostOnLink,
            ],
            case: any_time(2..=4, crash),
            further: Some(any_time(2..=5, crash)),
        },
        Scenario {
            name: "overlay-lives",
            family: Family::Overlay,
            about: "any peer, including the speaker, crashes and comes back between the broadcasts or during one",
            bounds: "2 broadcasts, 1 unicast, 1 crash, 1 restart, up to 3 peers: floods of both lives are under way at \
                     once, and a relay forgets what it has accepted.",
            landmarks: vec![
                Landmark::Restarted,
                Landmark::FormerLife,
                Landmark::FloodDropped,
                Landmark::HandedToDead,
                Landmark::PathFollowed,
            ],
            case: any_time(2..=3, Budget { broadcasts: 2, ..lives }),
            further: Some(any_time(2..=3, Budget { broadcasts: 2, crashes: 2, restarts: 2, ..lives })),
        },
        Scenario {
            name: "overlay-back",
            family: Family::Overlay,
            about: "any peer crashes and comes back, and everybody knows before the next message",
            bounds: "2 broadcasts, 1 unicast, 1 crash, 1 restart, up to 5 peers, each when the one before is over: \
                     what the next life sends is new to everybody, and the paths learned from the former one still \
                     lead somewhere.",
            landmarks: vec![Landmark::Restarted, Landmark::WentAround, Landmark::PathFollowed, Landmark::CutOff],
            case: calm(2..=5, Budget { broadcasts: 2, ..lives }),
            further: Some(calm(2..=5, Budget { broadcasts: 2, to_speaker: 2, ..lives })),
        },
        Scenario {
            name: "overlay-circle",
            family: Family::Overlay,
            about: "a relay that has forgotten its path learns it from peers that learned theirs from it",
            bounds: "One network, a triangle with the speaker beside it: the smallest on which the paths to a peer can \
                     form a circle. 1 broadcast, 1 unicast, 1 crash, 1 restart. The unicast goes round until its hops \
                     are used up: 16, several times round the circle.",
            landmarks: vec![Landmark::LeftCircle, Landmark::Restarted, Landmark::PathFollowed, Landmark::WentAround],
            case: Overlays {
                sizes: 4..=4,
                only: Some((TAILED_TRIANGLE, PeerId(3))),
                partner: None,
                limits,
                budget: lives,
                calm: false,
            },
            further: None,
        },
        Scenario {
            name: "overlay-flap",
            family: Family::Overlay,
            about: "a link is down for some of several unicasts both ways, and no flood of that lasts",
            bounds: "1 broadcast, 2 unicasts to the speaker, 1 from it, in any order, 1 link that breaks and may come \
                     back between any two, up to 4 peers: one is flooded around the break, one goes the other way, \
                     and what both have shown must not spoil the way of the last. Further: 2 and 2.",
            landmarks: vec![Landmark::WentAround, Landmark::EndedBeside, Landmark::PathFollowed, Landmark::PathUnknown],
            case: calm(2..=4, Budget { from_speaker: 1, to_speaker: 2, breaks: 1, ..broadcast }),
            further: Some(calm(2..=4, Budget { from_speaker: 2, to_speaker: 2, breaks: 1, ..broadcast })),
        },
        Scenario {
            name: "overlay-line",
            family: Family::Overlay,
            about: "the same on a line of six, the shortest on which a flood comes back to a peer that is a neighbour of \
                    neither end of the way",
            bounds: "1 broadcast of one end, 3 unicasts to it from the other and 2 back, 1 link that breaks and may \
                     come back between any two: one shows the way, one is flooded, and then two each way.",
            landmarks: vec![Landmark::WentAround, Landmark::EndedBeside, Landmark::PathFollowed, Landmark::PathUnknown],
            case: Overlays {
                sizes: 6..=6,
                only: Some((line, one)),
                partner: Some(other),
                limits,
                budget: Budget { from_speaker: 2, to_speaker: 3, breaks: 1, ..broadcast },
                calm: true,
            },
            further: None,
        },
        Scenario {
            name: "overlay-break",
            family: Family::Overlay,
            about: "a link breaks and comes back at any moment, and each end notices it late",
            bounds: "1 broadcast, 1 unicast to the speaker, 1 from it, 1 break, up to 3 peers: what was sent before the \
                     break is still under way after it.",
            landmarks: vec![Landmark::EndedBeside, Landmark::PathFollowed, Landmark::PathUnknown, Landmark::CutOff],
            case: any_time(2..=3, Budget { from_speaker: 1, breaks: 1, ..answered }),
            further: Some(any_time(2..=4, Budget { from_speaker: 1, breaks: 1, ..answered })),
        },
        Scenario {
            name: "overlay-loss",
            family: Family::Overlay,
            about: "a link loses a message",
            bounds: "1 loss, 1 broadcast, 1 unicast, at any moment, up to 5 peers: every peer that is otherwise \
                     connected is still reached.",
            landmarks: vec![Landmark::LostOnLink, Landmark::CutOff, Landmark::PathFollowed, Landmark::FloodDropped],
            case: any_time(2..=5, Budget { losses: 1, ..answered }),
            further: Some(any_time(2..=5, Budget { losses: 2, ..answered })),
        },
        Scenario {
            name: "overlay-twice",
            family: Family::Overlay,
            about: "a link delivers a message twice",
            bounds: "1 message duplicated, 1 broadcast, 1 unicast, at any moment, up to 5 peers: the second copy may \
                     come at once or last of all.",
            landmarks: vec![Landmark::FloodDropped, Landmark::PathFollowed, Landmark::LongWay],
            case: any_time(2..=5, Budget { duplicates: 1, ..answered }),
            further: Some(any_time(2..=5, Budget { duplicates: 2, ..answered })),
        },
        Scenario {
            name: "overlay-window",
            family: Family::Overlay,
            about: "broadcasts of a peer overtake one another, more of them than are told apart, and one is lost for \
                    good",
            bounds: "5 broadcasts, 2 told apart out of order, 1 loss, 1 message duplicated, up to 3 peers: with one \
                     missing for good, 3 that come early fill the window and move it on, and the last is too late. \
                     Further: a window of 1, 4 broadcasts, up to 4 peers, so that a relay drops what others accept.",
            landmarks: vec![Landmark::AfterGap, Landmark::BelowWindow, Landmark::LostOnLink, Landmark::FloodDropped],
            case: window(2..=3, 2, Budget { broadcasts: 5, losses: 1, duplicates: 1, ..Budget::default() }),
            further: Some(window(2..=4, 1, Budget { broadcasts: 4, losses: 1, duplicates: 1, ..Budget::default() })),
        },
    ]
}

/// The line of so many peers, by its index among all networks, and its ends.
fn line_of(peers: u32) -> (usize, PeerId, PeerId) {
    let ends = |network: &Network| -> Vec<PeerId> {
        (0..peers).map(PeerId).filter(|peer| network.neighbours(*peer).count() == 1).collect()
    };
    let lines = network::all().iter().enumerate().filter(|(_, network)| {
        let is_tree = network.peers == peers && network.links.len() + 1 == peers as usize;
        is_tree && ends(network).len() == 2
    });
    let found = lines.map(|(nth, network)| (nth, ends(network))).next();
    // There is one line of each size, and it has two ends.
    match found {
        Some((nth, ends)) => (nth, ends[0], ends[1]),
        None => (0, PeerId(0), PeerId(1)),
    }
}

/// The index among all networks of 0-1, 0-2, 1-2, 0-3.
const TAILED_TRIANGLE: usize = 5;
