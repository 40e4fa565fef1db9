use super::*;

fn lanes() -> Vec<Lane> {
    let lane = |name: &str, kind| Lane { name: name.to_owned(), kind };
    vec![lane("peer 1", LaneKind::Peer), lane("peer 2", LaneKind::Peer), lane("the ledger", LaneKind::Ledger)]
}

fn sent(from: usize, to: impl Into<Option<usize>>, message: u64, label: &str) -> Mark {
    Mark::Sent { from, to: to.into(), message, label: label.to_owned() }
}

fn arrived(at: usize, message: u64) -> Mark {
    Mark::Arrived { at, message }
}

fn drawn(steps: &[Vec<Mark>]) -> String {
    let drawn = svg(&lanes(), steps, Options::default());
    if let Err(error) = roxmltree::Document::parse(&drawn) {
        panic!("{error}\n{drawn}");
    }
    drawn
}

/// All texts of the picture, one after the other, their lines joined.
fn texts(drawn: &str) -> Vec<String> {
    let document = roxmltree::Document::parse(drawn).unwrap();
    let texts = document.descendants().filter(|node| node.has_tag_name("text"));
    let lines = |node: roxmltree::Node<'_, '_>| {
        let is_shown = |text: &roxmltree::Node<'_, '_>| !text.parent().is_some_and(|of| of.has_tag_name("title"));
        let lines: Vec<_> = node.descendants().filter(|node| node.is_text()).filter(is_shown).collect();
        lines.iter().filter_map(|line| line.text()).collect::<Vec<_>>().join(" ")
    };
    texts.map(lines).collect()
}

fn all_kinds() -> Vec<Vec<Mark>> {
    let label = |label: &str| label.to_owned();
    vec![
        vec![Mark::Timer { at: 0, label: label("answer timer") }, sent(0, 2, 1, "claim 1")],
        vec![arrived(2, 1), Mark::Happened { at: 2, label: label("sync") }, sent(2, 0, 2, "Appended")],
        vec![arrived(0, 2), Mark::TookOffice { at: 0, epoch: 1 }, sent(0, None, 3, "coordinator")],
        vec![arrived(1, 3), sent(1, 0, 4, "request")],
        vec![Mark::Lost { message: 4 }, Mark::Cut { from: 0, to: 1 }],
        vec![Mark::Crashed { at: 2 }, Mark::Healed { from: 0, to: 1 }],
        vec![Mark::Restarted { at: 2 }, Mark::LeftOffice { at: 0, label: label("fenced") }],
        vec![Mark::Violated { at: Some(0), label: label("S1: an epoch has two holders") }],
    ]
}

#[test]
fn every_kind_of_mark_is_drawn() {
    let texts = texts(&drawn(&all_kinds()));
    for expected in [
        "peer 1",
        "the ledger",
        "answer timer",
        "claim 1",
        "sync",
        "Appended",
        "trader of epoch 1",
        "coordinator",
        "request",
        "lost",
        "cut",
        "crashes",
        "healed",
        "restarts",
        "fenced",
        "here",
        "Violated: S1: an epoch has two holders",
    ] {
        assert!(texts.iter().any(|text| text == expected), "{expected} is not among {texts:?}");
    }
    let all = drawn(&all_kinds());
    assert!(all.contains("<title>epoch 1</title>"), "no band");
    assert!(all.contains(r#"stroke-dasharray="2 5""#), "no lane that is down");
    assert!(all.contains(&format!("stroke='{WRONG}' stroke-width='3' stroke-opacity")), "no bar of a cut");
}

#[test]
fn a_repeated_delivery_is_dashed_and_labelled() {
    let once = vec![vec![sent(0, 1, 1, "claim")], vec![arrived(1, 1)]];
    assert!(!drawn(&once).contains(DOUBLED));
    let again: Vec<_> = once.into_iter().chain([vec![arrived(1, 1)]]).collect();
    let drawn = drawn(&again);
    assert!(drawn.contains(&format!(r#"stroke="{DOUBLED}" stroke-width="1.4" stroke-dasharray"#)));
    assert!(texts(&drawn).contains(&"again: claim".to_owned()));
}

#[test]
fn a_message_to_all_is_not_doubled_at_its_first_arrivals() {
    let steps = [vec![sent(0, None, 1, "anyone?")], vec![arrived(1, 1)], vec![arrived(2, 1)]];
    assert!(!drawn(&steps).contains("again"));
}

#[test]
fn a_resent_message_arrives_from_its_last_sending() {
    let steps = [vec![sent(0, 1, 1, "ask")], vec![sent(0, 1, 1, "ask")], vec![arrived(1, 1)], vec![arrived(1, 1)]];
    let drawn = drawn(&steps);
    assert!(!drawn.contains("again: ask"), "both have been sent");
}

#[test]
fn a_message_that_never_arrives_ends_in_a_stub() {
    let unarrived = "not delivered so far";
    assert!(drawn(&[vec![sent(0, 1, 1, "claim")]]).contains(unarrived));
    assert!(!drawn(&[vec![sent(0, 1, 1, "claim")], vec![arrived(1, 1)]]).contains(unarrived));
}

#[test]
fn all_text_is_escaped() {
    let nasty = "<b>&\"'\u{1}</b>";
    let mut lanes = lanes();
    lanes[0].name = nasty.to_owned();
    let steps = [
        vec![sent(0, 1, 1, nasty), Mark::Timer { at: 1, label: nasty.to_owned() }],
        vec![Mark::Violated { at: None, label: nasty.to_owned() }],
    ];
    let words = [nasty.to_owned()];
    let drawn = svg(&lanes, &steps, Options { title: Some(nasty), words: &words, ..Options::default() });
    let document = roxmltree::Document::parse(&drawn).unwrap();
    assert!(!document.descendants().any(|node| node.has_tag_name("b")));
    let read = texts(&drawn).into_iter().filter(|text| text.contains("<b>&\"'\u{fffd}</b>")).count();
    assert_eq!(read, 5, "title, lane, message, timer, violation");
}

#[test]
fn the_same_history_gives_the_same_picture() {
    assert_eq!(drawn(&all_kinds()), drawn(&all_kinds()));
}

#[test]
fn nothing_leaks_into_a_page() {
    let drawn = drawn(&all_kinds());
    for leak in ["<style", "<script", " id=", " class=", "href", "url("] {
        assert!(!drawn.contains(leak), "{leak}");
    }
}

#[test]
fn labels_neither_overlap_nor_leave_the_picture() {
    let long =
        "a label that is much longer than there is room for between two lanes, andwithonewordthatiswiderthanaline";
    let mut steps = all_kinds();
    for nth in 0..40_usize {
        let (from, to) = (nth % 3, (nth + 1 + nth / 3 % 2) % 3);
        let message = 100 + nth as u64;
        steps.push(vec![
            Mark::Timer { at: from, label: long.to_owned() },
            sent(from, to, message, long),
            Mark::Happened { at: to, label: long.to_owned() },
            sent(to, None, 1000 + message, "short"),
        ]);
        if let Some(before) = message.checked_sub(103) {
            steps.push(vec![arrived((before as usize + 1) % 3, 100 + before), arrived(from, 1100 + before)]);
        }
    }
    let drawn = drawn(&steps);
    let document = roxmltree::Document::parse(&drawn).unwrap();
    let number = |node: roxmltree::Node<'_, '_>, name: &str| node.attribute(name).unwrap().parse::<f64>().unwrap();
    let root = document.root_element();
    let grounds = document.descendants().filter(|node| node.attribute("fill-opacity") == Some("0.85"));
    let mut boxes: Vec<_> = grounds
        .map(|node| (number(node, "x"), number(node, "y"), number(node, "width"), number(node, "height")))
        .collect();
    assert!(boxes.len() > 100);
    boxes.sort_by(|one, other| one.1.total_cmp(&other.1));
    for (nth, (x, y, wide, high)) in boxes.iter().enumerate() {
        assert!(*x >= 0.0 && x + wide <= number(root, "width") && y + high <= number(root, "height"));
        for (other_x, other_y, other_wide, _) in &boxes[nth + 1..] {
            let is_clear =
                *other_y >= y + high - 0.11 || *other_x >= x + wide - 4.0 || other_x + other_wide - 4.0 <= *x;
            assert!(is_clear, "{:?} overlaps a label at ({other_x}, {other_y})", boxes[nth]);
        }
    }
}

#[test]
fn a_history_without_steps_or_lanes_is_a_picture_too() {
    drawn(&[]);
    let nobody = svg(&[], &all_kinds(), Options::default());
    roxmltree::Document::parse(&nobody).unwrap();
}
