//! Draws a history as a sequence diagram: a lane for each peer and for the ledger, time running down, a band for each
//! step.
//!
//! A picture is one self-contained SVG element. It is never wider than its place on a page, and has its own background,
//! so that it is readable on light and dark pages. It has no style sheet, script, font or id, so that nothing leaks
//! into the page or out of it. The same history gives the same bytes.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    search::history::History,
    subject::Subject,
    subject::picture::{Lane, LaneKind, Mark},
};

/// What a picture shows besides its marks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The title above it, if any.
    pub title: Option<&'a str>,
    /// The steps in words, shown when the pointer rests on a step's number. There may be fewer than there are steps.
    pub words: &'a [String],
    /// What is shown before the first step.
    pub opening: &'a [Mark],
    /// How many of the steps belong to the history; those after them show what happens once faults stop. `None` if all
    /// do.
    pub steps: Option<usize>,
}

/// The picture of these steps.
#[must_use]
pub fn svg(lanes: &[Lane], steps: &[Vec<Mark>], options: Options<'_>) -> String {
    let mut drawing = Drawing::new(lanes, steps, options);
    if !options.opening.is_empty() {
        drawing.row(0, options.opening, "", "before the first step");
    }
    let own = options.steps.unwrap_or(steps.len());
    for (nth, marks) in steps.iter().enumerate() {
        if nth == own {
            drawing.divide("once faults stop");
        }
        let number = if nth < own { format!("{}", nth + 1) } else { format!("+{}", nth + 1 - own) };
        drawing.row(nth + 1, marks, &number, options.words.get(nth).map_or("", String::as_str));
    }
    drawing.end()
}

/// The picture of a history: its steps, its sentences, and what is wrong at its end.
#[must_use]
pub fn history<S: Subject>(history: &History<'_, S>, title: Option<&str>) -> String {
    let mut steps: Vec<_> = history.marks().collect();
    let mut words: Vec<_> = history.sentences().collect();
    let own = steps.len();
    // No step marks that a state does not converge; what happens instead shows it.
    let is_told = steps.iter().flatten().any(|mark| matches!(mark, Mark::Violated { .. }));
    for (word, marks) in history.afterwards() {
        words.push(word);
        steps.push(marks);
    }
    if let (false, Some(violation)) = (is_told, history.wrong()) {
        let marks = vec![Mark::Violated { at: None, label: violation.to_string() }];
        match steps.last_mut() {
            Some(last) => last.extend(marks),
            None => steps.push(marks),
        }
    }
    let opening = history.subject().opening();
    svg(
        &history.subject().lanes(history.last()),
        &steps,
        Options { title, words: &words, opening: &opening, steps: Some(own) },
    )
}

const TEXT: f64 = 11.0;
const LINE: f64 = 13.0;
/// The space left of the first lane, for the numbers of the steps.
const GUTTER: f64 = 60.0;
/// The space between a lane and the label beside it.
const BESIDE: f64 = 12.0;
const PADDING: f64 = 5.0;
const NARROWEST: f64 = 96.0;
const WIDEST: f64 = 176.0;
const HEADER: f64 = 34.0;
/// The distance at which the epoch is repeated on its band.
const AGAIN: f64 = 150.0;

/// The background of every other step.
const STRIPE: &str = "#f6f8fa";
const GROUND: &str = "#ffffff";

const INK: &str = "#1f2328";
const PALE: &str = "#6e7781";
const MESSAGE: &str = "#0550ae";
const DOUBLED: &str = "#8250df";
const WRONG: &str = "#cf222e";
const CLOCK: &str = "#9a6700";
const PEER: (&str, &str) = ("#ddf4ff", "#0969da");
const LEDGER: (&str, &str) = ("#fff8c5", "#9a6700");
/// The fill and the edge of an epoch's band; consecutive epochs differ.
const OFFICES: [(&str, &str); 5] = [
    ("#4ac26b", "#116329"),
    ("#fb8f44", "#953800"),
    ("#c297ff", "#6639ba"),
    ("#54aeff", "#0550ae"),
    ("#ff80c8", "#99286e"),
];

/// A message under way.
struct Flight<'a> {
    from: usize,
    to: Option<usize>,
    message: u64,
    label: &'a str,
    step: usize,
    /// Where it leaves.
    y: f64,
    /// Where it has arrived.
    arrived: Vec<usize>,
    is_lost: bool,
}

/// An office that a peer believes it holds.
struct Office {
    epoch: u64,
    since: f64,
}

/// The signs that the legend has to explain.
#[derive(Default)]
struct Legend {
    duplicated: bool,
    unarrived: bool,
    cut: bool,
    office: bool,
    crashed: bool,
}

/// The side of its lane on which a label is written.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
}

struct Drawing<'a> {
    lanes: &'a [Lane],
    title: Option<&'a str>,
    gap: f64,
    /// Where the next step begins, from the top.
    y: f64,
    /// Where the next label has room: left of the first lane, between the lanes, right of the last.
    free: Vec<f64>,
    /// Where the next mark of each lane has room.
    next: Vec<f64>,
    /// The places of each lane's marks.
    marked: Vec<Vec<f64>>,
    flights: Vec<Flight<'a>>,
    offices: BTreeMap<usize, Office>,
    /// Since when each lane has been up or down.
    since: Vec<f64>,
    is_down: Vec<bool>,
    cuts: BTreeMap<(usize, usize), f64>,
    violated: Vec<&'a str>,
    legend: Legend,
    /// The background layer of the steps.
    paper: &'static str,
    ground: String,
    bands: String,
    arrows: String,
    glyphs: String,
    labels: String,
}

impl<'a> Drawing<'a> {
    fn new(lanes: &'a [Lane], steps: &[Vec<Mark>], options: Options<'a>) -> Drawing<'a> {
        // As wide as the labels need.
        let names = lanes.iter().map(|lane| width(&lane.name, TEXT + 1.0) + 28.0);
        let marks = options.opening.iter().chain(steps.iter().flatten());
        let labels = marks.filter_map(label).map(|label| width(label, TEXT) + 2.0 * BESIDE + 2.0);
        let gap = names.chain(labels).fold(NARROWEST, f64::max).min(WIDEST).ceil();
        let top = if options.title.is_some() { 26.0 } else { 6.0 };
        let first = top + HEADER + 8.0;
        Drawing {
            lanes,
            title: options.title,
            gap,
            y: first,
            free: vec![0.0; lanes.len() + 1],
            next: vec![0.0; lanes.len()],
            marked: vec![Vec::new(); lanes.len()],
            flights: Vec::new(),
            offices: BTreeMap::new(),
            since: vec![first - 8.0; lanes.len()],
            is_down: vec![false; lanes.len()],
            cuts: BTreeMap::new(),
            violated: Vec::new(),
            legend: Legend::default(),
            paper: GROUND,
            ground: String::new(),
            bands: String::new(),
            arrows: String::new(),
            glyphs: String::new(),
            labels: String::new(),
        }
    }

    fn x(&self, lane: usize) -> f64 {
        GUTTER + 16.0 + self.gap * lane as f64
    }

    fn width(&self) -> f64 {
        (self.x(0) + self.gap * self.lanes.len() as f64 + 4.0).max(300.0)
    }

    /// Sets apart what comes from here on.
    fn divide(&mut self, label: &str) {
        let (y, left) = (self.y + 10.0, self.x(0) + BESIDE);
        let _ = write!(
            self.ground,
            r##"<path d="M8 {y:.1}H{:.1}M{:.1} {y:.1}H{:.1}" stroke="{PALE}" stroke-dasharray="8 4"/>"##,
            left - 6.0,
            left + width(label, TEXT) + 4.0,
            self.width() - 8.0
        );
        self.paper = GROUND;
        self.write(left, y - LINE / 2.0, "start", &[label.to_owned()], PALE, None);
        self.y += 20.0;
    }

    /// Draws the marks of a step; row 0 is what is shown before the first step.
    fn row(&mut self, nth: usize, marks: &'a [Mark], number: &str, words: &str) {
        let top = self.y;
        self.paper = if nth.is_multiple_of(2) { GROUND } else { STRIPE };
        self.free.fill(top + PADDING);
        self.next.fill(top + PADDING);
        let mut at = 0;
        while let Some(mark) = marks.get(at) {
            // The same message to several lanes leaves from one point and is labelled once.
            let alike = marks[at..].iter().take_while(|other| is_said_with(mark, other)).count().max(1);
            if lanes_of(mark).into_iter().flatten().all(|lane| lane < self.lanes.len()) {
                self.mark(nth, &marks[at..at + alike]);
            }
            at += alike;
        }
        let marked = self.free.iter().chain(&self.next).copied().fold(top + 22.0, f64::max);
        self.y = (marked + PADDING).ceil();

        let (width, height) = (self.width(), self.y - top);
        if self.paper == STRIPE {
            let _ = write!(
                self.ground,
                r#"<rect x="1" y="{top:.0}" width="{:.0}" height="{height:.0}" fill="{STRIPE}"/>"#,
                width - 2.0
            );
        }
        let _ = write!(
            self.labels,
            r#"<text x="{:.0}" y="{:.1}" text-anchor="end" font-weight="bold" fill="{PALE}">{}{}</text>"#,
            GUTTER - 20.0,
            top + PADDING + 11.0,
            number,
            if words.is_empty() { String::new() } else { tooltip(words) },
        );
    }

    fn mark(&mut self, nth: usize, marks: &'a [Mark]) {
        match &marks[0] {
            Mark::Sent { from, label, .. } => self.sent(nth, *from, label, marks),
            Mark::Arrived { at, message } => self.arrived(nth, *at, *message),
            Mark::Lost { message } => self.lost(*message),
            Mark::Timer { at, label } => {
                let (x, y) = self.beside(*at, label, CLOCK);
                let _ = write!(
                    self.glyphs,
                    "<g \
                        stroke='{CLOCK}' \
                        fill='none'><circle \
                        cx='{x:.1}' \
                        cy='{y:.1}' \
                        r='6' \
                        fill='#ffffff' \
                        stroke-width='1.5'/><path \
                        d='M{x:.1} {:.1}V{y:.1}H{:.1}'/></g>",
                    y - 4.0,
                    x + 3.0,
                );
            }
            Mark::Happened { at, label } => {
                let (x, y) = self.beside(*at, label, INK);
                let _ = write!(self.glyphs, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" fill="{INK}"/>"#);
            }
            Mark::Crashed { at } => {
                let (x, y) = self.beside(*at, "crashes", WRONG);
                self.cross(x, y, 6.0, 2.5);
                self.leave(*at, y);
                self.turn(*at, y, true);
                self.legend.crashed = true;
            }
            Mark::Restarted { at } => {
                let (x, y) = self.beside(*at, "restarts", INK);
                let _ = write!(
                    self.glyphs,
                    r##"<circle cx="{x:.1}" cy="{y:.1}" r="5" fill="#ffffff" stroke="{INK}" stroke-width="2"/>"##
                );
                self.turn(*at, y, false);
            }
            Mark::TookOffice { at, epoch } => {
                let (_, edge) = office(*epoch);
                let (_, y) = self.beside(*at, &format!("trader of epoch {epoch}"), edge);
                self.leave(*at, y);
                self.offices.insert(*at, Office { epoch: *epoch, since: y });
                self.epoch(*at, y, *epoch);
                self.legend.office = true;
            }
            Mark::LeftOffice { at, label } => {
                let edge = self.offices.get(at).map_or(PALE, |held| office(held.epoch).1);
                let (x, y) = self.beside(*at, label, edge);
                self.leave(*at, y);
                let _ = write!(
                    self.glyphs,
                    r#"<rect x="{:.1}" y="{:.1}" width="14" height="4" fill="{edge}"/>"#,
                    x - 7.0,
                    y - 2.0
                );
            }
            Mark::Cut { from, to } => {
                let y = self.across(*from, *to, "cut", WRONG, true);
                self.cuts.entry((*from, *to)).or_insert(y);
                self.legend.cut = true;
            }
            Mark::Healed { from, to } => {
                let y = self.across(*from, *to, "healed", "#1a7f37", false);
                self.mend((*from, *to), y);
            }
            Mark::Violated { at, label } => {
                if let Some(at) = at {
                    let (x, y) = self.beside(*at, "here", WRONG);
                    let _ = write!(
                        self.glyphs,
                        r#"<circle cx="{x:.1}" cy="{y:.1}" r="8" fill="none" stroke="{WRONG}" stroke-width="2.5"/>"#
                    );
                }
                self.violated.push(label);
            }
        }
    }

    fn sent(&mut self, nth: usize, from: usize, label: &'a str, marks: &'a [Mark]) {
        let to = |mark: &Mark| if let Mark::Sent { to, .. } = mark { *to } else { None };
        let last = self.lanes.len() - 1;
        let side_of = |to: Option<usize>| match to {
            Some(to) if to < from => Side::Left,
            Some(_) => Side::Right,
            None if from == last && last > 0 => Side::Left,
            None => Side::Right,
        };
        let has = |side| marks.iter().any(|mark| side_of(to(mark)) == side);
        let sides: Vec<_> = [Side::Left, Side::Right].into_iter().filter(|side| has(*side)).collect();
        let lines = self.wrap(label).0.len() as f64;
        let top = sides.iter().map(|side| self.free[cell(from, *side)]).fold(self.next[from], f64::max);
        // The line leaves below its label so as not to run through it.
        let y = top + lines * LINE + 3.0;
        for side in sides {
            self.label(from, side, top, label, MESSAGE, 2);
            self.free[cell(from, side)] = y + 4.0;
        }
        self.next[from] = y + 5.0;
        self.marked[from].push(y);
        let x = self.x(from);
        let _ = write!(self.glyphs, r#"<circle cx="{x:.1}" cy="{y:.1}" r="2.5" fill="{MESSAGE}"/>"#);
        for mark in marks {
            if let Mark::Sent { from, to, message, label } = mark {
                let arrived = Vec::new();
                let flight =
                    Flight { from: *from, to: *to, message: *message, label, step: nth, y, arrived, is_lost: false };
                self.flights.push(flight);
            }
        }
    }

    fn arrived(&mut self, nth: usize, at: usize, message: u64) {
        let is_it = |flight: &Flight<'_>| flight.message == message && flight.to.is_none_or(|to| to == at);
        let fresh = self.flights.iter().rposition(|flight| is_it(flight) && !flight.arrived.contains(&at));
        let found = fresh.or_else(|| self.flights.iter().rposition(is_it));
        let Some(found) = found else {
            // Sent before the picture begins.
            let (x, y) = self.beside(at, "something sent earlier arrives", PALE);
            self.arrow((x - 26.0, y - 8.0), (x, y), PALE, false);
            return;
        };
        let is_doubled = fresh.is_none();
        let flight = &mut self.flights[found];
        flight.arrived.push(at);
        let (from, label, sent, leaves) = (flight.from, flight.label, flight.step, flight.y);
        let side = if from > at { Side::Right } else { Side::Left };
        let top = self.next[at].max(self.free[cell(at, side)]);
        let y = if sent == nth { (top + 8.0).max(leaves + 8.0) } else { top + 8.0 };
        self.next[at] = y + 9.0;
        self.marked[at].push(y);
        let colour = if is_doubled { DOUBLED } else { MESSAGE };
        if is_doubled || nth > sent + 1 {
            // It comes from above, so its label is written below.
            let label = if is_doubled { format!("again: {label}") } else { label.to_owned() };
            let (colour, most) = if is_doubled { (DOUBLED, 2) } else { (PALE, 1) };
            let lines = self.label(at, side, y + 2.0, &label, colour, most);
            self.free[cell(at, side)] = y + 4.0 + lines * LINE;
        }
        self.legend.duplicated |= is_doubled;
        let (start, end) = ((self.x(from), leaves), (self.x(at), y));
        if from == at {
            self.arrow((start.0 + 22.0, y - 6.0), end, colour, is_doubled);
            let _ = write!(
                self.arrows,
                r#"<path d="M{:.1} {leaves:.1}q22 0 22 {:.1}" fill="none" stroke="{colour}" stroke-width="1.4"/>"#,
                start.0,
                y - 6.0 - leaves,
            );
        } else {
            self.arrow(start, end, colour, is_doubled);
        }
    }

    fn lost(&mut self, message: u64) {
        let is_it = |flight: &Flight<'_>| flight.message == message && flight.arrived.is_empty() && !flight.is_lost;
        let Some(found) = self.flights.iter().rposition(is_it) else { return };
        self.flights[found].is_lost = true;
        let (from, to, leaves) = (self.flights[found].from, self.flights[found].to, self.flights[found].y);
        let side = if to.is_some_and(|to| to < from) { Side::Left } else { Side::Right };
        let cell = cell(from, side);
        let y = self.free[cell].max(leaves) + 7.0;
        let sign = if side == Side::Left { -1.0 } else { 1.0 };
        let end = (self.x(from) + sign * 0.45 * self.gap, y);
        self.line((self.x(from), leaves), end, PALE, false);
        self.cross(end.0, end.1, 4.5, 2.0);
        let anchor = if side == Side::Left { "end" } else { "start" };
        self.write(end.0 + sign * 8.0, y - 6.0, anchor, &["lost".to_owned()], WRONG, None);
        self.free[cell] = y + 9.0;
    }

    /// Writes a label beside a lane and returns the place of its glyph.
    fn beside(&mut self, lane: usize, label: &str, colour: &str) -> (f64, f64) {
        let top = self.next[lane].max(self.free[cell(lane, Side::Right)]);
        let lines = self.label(lane, Side::Right, top, label, colour, 2);
        let y = top + LINE / 2.0 + 1.0;
        self.free[cell(lane, Side::Right)] = top + lines * LINE + 3.0;
        self.next[lane] = y + 9.0;
        self.marked[lane].push(y);
        (self.x(lane), y)
    }

    /// Draws a bar between two lanes with its label over the middle, and returns its height from the top.
    fn across(&mut self, from: usize, to: usize, label: &str, colour: &str, is_barred: bool) -> f64 {
        let (low, high) = (from.min(to), from.max(to));
        let free = self.free[low..=high + 1].iter().chain(&self.next[low..=high]).copied();
        let y = free.fold(0.0, f64::max) + LINE + 3.0;
        self.free[low..=high + 1].fill(y + 8.0);
        self.next[low..=high].fill(y + 8.0);
        let (start, end) = (self.x(from), self.x(to));
        let middle = (self.x(low) + self.x(low + 1)) / 2.0;
        self.line((start, y), (end, y), colour, !is_barred);
        self.head((start, y), (end, y), colour);
        if is_barred {
            let _ = write!(
                self.arrows,
                r#"<path d="M{0:.1} {1:.1}v10M{2:.1} {1:.1}v10" stroke="{colour}" stroke-width="2.5"/>"#,
                middle - 3.0,
                y - 5.0,
                middle + 3.0,
            );
        }
        let text = format!("{label}: {} to {}", self.lanes[from].name, self.lanes[to].name);
        self.write(self.x(low) + BESIDE, y - LINE - 3.0, "start", &[label.to_owned()], colour, Some(&text));
        y
    }

    /// Ends the band of an office, if there is one.
    fn leave(&mut self, lane: usize, y: f64) {
        let Some(Office { epoch, since }) = self.offices.remove(&lane) else { return };
        let (fill, edge) = office(epoch);
        let _ = write!(
            self.bands,
            "<rect \
                x='{:.1}' \
                y='{since:.1}' \
                width='9' \
                height='{:.1}' \
                fill='{fill}' \
                stroke='{edge}' \
                stroke-width='0.8'><title>epoch \
                {epoch}</title></rect>",
            self.x(lane) - 4.5,
            (y - since).max(1.0),
        );
        // A long band shows its epoch repeatedly.
        let mut mark = since + AGAIN;
        while mark + AGAIN / 4.0 < y {
            if self.marked[lane].iter().all(|other| (other - mark).abs() > 13.0) {
                self.epoch(lane, mark, epoch);
                mark += AGAIN;
            } else {
                // Clear of what is already there.
                mark += 6.0;
            }
        }
    }

    /// Writes the epoch's number on its band.
    fn epoch(&mut self, lane: usize, y: f64, epoch: u64) {
        let x = self.x(lane);
        let number = epoch.to_string();
        let wide = width(&number, 9.0).max(6.0) + 6.0;
        let (_, edge) = office(epoch);
        let _ = write!(
            self.glyphs,
            "<rect \
                x='{:.1}' \
                y='{:.1}' \
                width='{wide:.1}' \
                height='12' \
                rx='4' \
                fill='{edge}'/><text \
                x='{x:.1}' \
                y='{:.1}' \
                text-anchor='middle' \
                font-size='9' \
                font-weight='bold' \
                fill='#ffffff'>{number}</text>",
            x - wide / 2.0,
            y - 6.0,
            y + 3.2,
        );
    }

    /// Draws a lane up to here; from here on it is down, or up.
    fn turn(&mut self, lane: usize, y: f64, is_down: bool) {
        let (x, since) = (self.x(lane), self.since[lane]);
        let style = match (self.is_down[lane], self.lanes[lane].kind) {
            (true, _) => r##"stroke="#afb8c1" stroke-dasharray="2 5""##.to_owned(),
            (false, LaneKind::Peer) => format!(r#"stroke="{}""#, PEER.1),
            (false, LaneKind::Ledger) => format!(r#"stroke="{}""#, LEDGER.1),
        };
        let _ = write!(self.ground, r#"<path d="M{x:.1} {since:.1}V{y:.1}" stroke-width="1.5" {style}/>"#);
        self.since[lane] = y;
        self.is_down[lane] = is_down;
    }

    /// Ends the bar of a cut, if there is one.
    fn mend(&mut self, (from, to): (usize, usize), y: f64) {
        let Some(since) = self.cuts.remove(&(from, to)) else { return };
        let x = self.x(from) + if to < from { -8.0 } else { 8.0 };
        let _ = write!(
            self.bands,
            "<path \
                d='M{x:.1} {since:.1}V{y:.1}' \
                stroke='{WRONG}' \
                stroke-width='3' \
                stroke-opacity='0.45'><title>{}</title></path>",
            escape(&format!("cut: {} to {}", self.lanes[from].name, self.lanes[to].name)),
        );
    }

    fn wrap(&self, label: &str) -> (Vec<String>, bool) {
        wrap(label, self.gap - 2.0 * BESIDE, 2)
    }

    /// Writes a label beside a lane and returns its number of lines.
    fn label(&mut self, lane: usize, side: Side, top: f64, label: &str, colour: &str, most: usize) -> f64 {
        let (lines, is_cut) = wrap(label, self.gap - 2.0 * BESIDE, most);
        let (x, anchor) = match side {
            Side::Left => (self.x(lane) - BESIDE, "end"),
            Side::Right => (self.x(lane) + BESIDE, "start"),
        };
        self.write(x, top, anchor, &lines, colour, is_cut.then_some(label));
        lines.len() as f64
    }

    /// Writes lines of text on their own background, so that lines drawn below do not run through them.
    fn write(&mut self, x: f64, top: f64, anchor: &str, lines: &[String], colour: &str, whole: Option<&str>) {
        let wide = lines.iter().map(|line| width(line, TEXT)).fold(0.0, f64::max);
        let left = match anchor {
            "end" => x - wide - 2.0,
            _ => x - 2.0,
        };
        let _ = write!(
            self.labels,
            "<g>{}<rect \
                x='{left:.1}' \
                y='{top:.1}' \
                width='{:.1}' \
                height='{:.1}' \
                fill='{}' \
                fill-opacity='0.85'/><text \
                text-anchor='{anchor}' \
                fill='{colour}'>",
            whole.map(tooltip).unwrap_or_default(),
            wide + 4.0,
            lines.len() as f64 * LINE,
            self.paper,
        );
        for (nth, line) in lines.iter().enumerate() {
            let y = top + 10.0 + nth as f64 * LINE;
            let _ = write!(self.labels, r#"<tspan x="{x:.1}" y="{y:.1}">{}</tspan>"#, escape(line));
        }
        self.labels.push_str("</text></g>");
    }

    fn arrow(&mut self, start: (f64, f64), end: (f64, f64), colour: &str, is_dashed: bool) {
        self.line(start, end, colour, is_dashed);
        self.head(start, end, colour);
    }

    fn line(&mut self, start: (f64, f64), end: (f64, f64), colour: &str, is_dashed: bool) {
        let dashes = if is_dashed { r#" stroke-dasharray="6 4""# } else { "" };
        let _ = write!(
            self.arrows,
            r#"<path d="M{:.1} {:.1}L{:.1} {:.1}" stroke="{colour}" stroke-width="1.4"{dashes}/>"#,
            start.0, start.1, end.0, end.1,
        );
    }

    fn head(&mut self, start: (f64, f64), end: (f64, f64), colour: &str) {
        let (dx, dy) = (end.0 - start.0, end.1 - start.1);
        let length = (dx * dx + dy * dy).sqrt().max(1.0);
        let (ux, uy) = (dx / length, dy / length);
        let (bx, by) = (end.0 - 9.0 * ux, end.1 - 9.0 * uy);
        let _ = write!(
            self.arrows,
            r#"<path d="M{:.1} {:.1}L{:.1} {:.1}L{:.1} {:.1}Z" fill="{colour}"/>"#,
            end.0,
            end.1,
            bx - 3.6 * uy,
            by + 3.6 * ux,
            bx + 3.6 * uy,
            by - 3.6 * ux,
        );
    }

    fn cross(&mut self, x: f64, y: f64, size: f64, thick: f64) {
        let _ = write!(
            self.glyphs,
            "<path \
                d='M{0:.1} {1:.1}L{2:.1} {3:.1}M{0:.1} {3:.1}L{2:.1} {1:.1}' \
                stroke='{WRONG}' \
                stroke-width='{thick}'/>",
            x - size,
            y - size,
            x + size,
            y + size,
        );
    }

    /// Draws a stub for each message that has not arrived.
    fn stubs(&mut self) {
        for nth in 0..self.flights.len() {
            let Flight { from, to, y, ref arrived, is_lost, .. } = self.flights[nth];
            if !arrived.is_empty() || is_lost {
                continue;
            }
            self.legend.unarrived = true;
            let is_last = from + 1 == self.lanes.len() && from > 0;
            let sign = if to.map_or(is_last, |to| to < from) { -1.0 } else { 1.0 };
            let end = (self.x(from) + sign * 30.0, y + 4.0);
            self.arrow((self.x(from), y), end, PALE, true);
        }
    }

    fn end(mut self) -> String {
        self.stubs();
        let bottom = self.y + 6.0;
        for lane in 0..self.lanes.len() {
            self.leave(lane, bottom);
            self.turn(lane, bottom, false);
        }
        let cuts: Vec<_> = self.cuts.keys().copied().collect();
        for cut in cuts {
            self.mend(cut, bottom);
        }
        let width = self.width();
        let mut below = String::new();
        let mut y = bottom;
        if bottom > 640.0 {
            self.headers(&mut below, y);
            y += HEADER;
        }
        y += 4.0;
        for label in std::mem::take(&mut self.violated) {
            let (lines, is_cut) = wrap(&format!("Violated: {label}"), (width - 44.0) * TEXT / 12.5, 6);
            let height = lines.len() as f64 * 16.0 + 12.0;
            let _ = write!(
                below,
                "<g>{}<rect \
                    x='10' \
                    y='{y:.1}' \
                    width='{:.1}' \
                    height='{height:.1}' \
                    rx='4' \
                    fill='#ffebe9' \
                    stroke='{WRONG}' \
                    stroke-width='1.5'/><text \
                    font-size='12' \
                    font-weight='bold' \
                    fill='{WRONG}'>",
                if is_cut { tooltip(label) } else { String::new() },
                width - 20.0,
            );
            for (nth, line) in lines.iter().enumerate() {
                let _ =
                    write!(below, r#"<tspan x="20" y="{:.1}">{}</tspan>"#, y + 18.0 + nth as f64 * 16.0, escape(line));
            }
            below.push_str("</text></g>");
            y += height + 6.0;
        }
        y = self.explain(&mut below, y);

        let height = y + 6.0;
        let about = self.title.unwrap_or("sequence diagram");
        let mut out = String::new();
        let _ = write!(
            out,
            "<svg \
                xmlns='http://www.w3.org/2000/svg' \
                width='{width:.0}' \
                height='{height:.0}' \
                viewBox='0 0 {width:.0} {height:.0}' \
                style='max-width:100%;height:auto' \
                role='img' \
                aria-label='{}' \
                font-family='Helvetica, Arial, sans-serif' \
                font-size='{TEXT}' \
                font-weight='normal' \
                fill='none'><rect \
                x='0.5' \
                y='0.5' \
                width='{:.0}' \
                height='{:.0}' \
                rx='6' \
                fill='#ffffff' \
                stroke='#d0d7de'/>",
            escape(about),
            width - 1.0,
            height - 1.0,
        );
        let mut top = 6.0;
        if let Some(title) = self.title {
            let (lines, is_cut) = wrap(title, (width - 24.0) * TEXT / 13.0, 1);
            let _ = write!(
                out,
                r#"<text x="12" y="20" font-size="13" font-weight="bold" fill="{INK}">{}{}</text>"#,
                escape(&lines.concat()),
                if is_cut { tooltip(title) } else { String::new() },
            );
            top = 26.0;
        }
        out.push_str(&self.ground);
        self.headers(&mut out, top);
        for layer in [&self.bands, &self.arrows, &self.glyphs, &self.labels, &below] {
            out.push_str("\n<g>");
            out.push_str(layer);
            out.push_str("</g>");
        }
        out.push_str("\n</svg>\n");
        out
    }

    /// Draws the names of the lanes.
    fn headers(&self, out: &mut String, top: f64) {
        let wide = self.gap - 10.0;
        for (nth, lane) in self.lanes.iter().enumerate() {
            let (fill, edge) = match lane.kind {
                LaneKind::Peer => PEER,
                LaneKind::Ledger => LEDGER,
            };
            let x = self.x(nth);
            let (lines, is_cut) = wrap(&lane.name, (wide - 8.0) * TEXT / (TEXT + 1.5), 2);
            let box_wide =
                lines.iter().map(|line| width(line, TEXT + 1.5)).fold(36.0, f64::max).min(wide - 14.0) + 14.0;
            let _ = write!(
                out,
                "<g>{}<rect \
                    x='{:.1}' \
                    y='{:.1}' \
                    width='{box_wide:.1}' \
                    height='{:.1}' \
                    rx='4' \
                    fill='{fill}' \
                    stroke='{edge}'/><text \
                    font-size='12' \
                    font-weight='bold' \
                    text-anchor='middle' \
                    fill='{INK}'>",
                if is_cut { tooltip(&lane.name) } else { String::new() },
                x - box_wide / 2.0,
                top + 2.0,
                HEADER - 4.0,
            );
            let first = top + if lines.len() > 1 { 15.0 } else { 21.0 };
            for (nth, line) in lines.iter().enumerate() {
                let _ =
                    write!(out, r#"<tspan x="{x:.1}" y="{:.1}">{}</tspan>"#, first + nth as f64 * LINE, escape(line));
            }
            out.push_str("</text></g>");
        }
    }

    /// Writes the legend of the signs that occur and do not explain themselves, and returns where it ends.
    fn explain(&self, out: &mut String, top: f64) -> f64 {
        let Legend { duplicated, unarrived, cut, office, crashed } = self.legend;
        let signs = [
            (unarrived, "short dashed arrow: not delivered so far, late or lost"),
            (duplicated, "dashed arrow: delivered again"),
            (office, "band along a lane: believes it is trader of this epoch"),
            (crashed, "dotted lane: down"),
            (cut, "red bar beside a lane: nothing gets through from there"),
        ];
        let signs: Vec<_> = signs.into_iter().filter(|(occurs, _)| *occurs).map(|(_, sign)| sign).collect();
        if signs.is_empty() {
            return top;
        }
        let (lines, _) = wrap(&signs.join("; "), self.width() - 30.0, 5);
        let _ = write!(out, r#"<text font-style="italic" fill="{PALE}">"#);
        for (nth, line) in lines.iter().enumerate() {
            let _ = write!(out, r#"<tspan x="12" y="{:.1}">{}</tspan>"#, top + 12.0 + nth as f64 * LINE, escape(line));
        }
        out.push_str("</text>");
        top + lines.len() as f64 * LINE + 4.0
    }
}

/// Where a label on this side of a lane is written.
fn cell(lane: usize, side: Side) -> usize {
    match side {
        Side::Left => lane,
        Side::Right => lane + 1,
    }
}

fn office(epoch: u64) -> (&'static str, &'static str) {
    OFFICES[(epoch % OFFICES.len() as u64) as usize]
}

/// Whether the two leave together: from one point, with the same label.
fn is_said_with(one: &Mark, other: &Mark) -> bool {
    match (one, other) {
        (Mark::Sent { from, label, .. }, Mark::Sent { from: other_from, label: other_label, .. }) => {
            from == other_from && label == other_label
        }
        (_, _) => false,
    }
}

fn label(mark: &Mark) -> Option<&str> {
    match mark {
        Mark::Sent { label, .. }
        | Mark::Timer { label, .. }
        | Mark::Happened { label, .. }
        | Mark::LeftOffice { label, .. } => Some(label),
        Mark::TookOffice { .. } => Some("trader of epoch 10"),
        Mark::Arrived { .. }
        | Mark::Lost { .. }
        | Mark::Crashed { .. }
        | Mark::Restarted { .. }
        | Mark::Cut { .. }
        | Mark::Healed { .. }
        | Mark::Violated { .. } => None,
    }
}

/// The lanes that a mark names.
fn lanes_of(mark: &Mark) -> [Option<usize>; 2] {
    match mark {
        Mark::Sent { from, to, .. } => [Some(*from), *to],
        Mark::Arrived { at, .. }
        | Mark::Timer { at, .. }
        | Mark::Happened { at, .. }
        | Mark::Crashed { at }
        | Mark::Restarted { at }
        | Mark::TookOffice { at, .. }
        | Mark::LeftOffice { at, .. } => [Some(*at), None],
        Mark::Cut { from, to } | Mark::Healed { from, to } => [Some(*from), Some(*to)],
        Mark::Violated { at, .. } => [*at, None],
        Mark::Lost { .. } => [None, None],
    }
}

/// The greatest width of a text, in the widest of the usual sans-serif fonts.
fn width(text: &str, size: f64) -> f64 {
    let wide = |c: char| match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' => 0.32,
        ' ' | 'f' | 't' | 'r' | 'I' | '(' | ')' | '[' | ']' | '-' | '/' => 0.42,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.98,
        'A'..='Z' => 0.74,
        _ if c.is_ascii() => 0.61,
        _ => 1.0,
    };
    text.chars().map(wide).sum::<f64>() * size
}

/// Breaks a text into at most this many lines of at most this width, and says whether something had to be left out.
fn wrap(text: &str, widest: f64, most: usize) -> (Vec<String>, bool) {
    let mut lines = vec![String::new()];
    let mut is_cut = false;
    'words: for word in text.split_whitespace() {
        let mut word = word.to_owned();
        loop {
            let line = lines.last_mut().unwrap_or_else(|| unreachable!("it begins with a line"));
            let longer = if line.is_empty() { word.clone() } else { format!("{line} {word}") };
            if width(&longer, TEXT) <= widest {
                *line = longer;
                continue 'words;
            }
            if line.is_empty() {
                // A word wider than a line is broken.
                let mut fits = word.chars().count();
                let mut head = word.clone();
                while fits > 1 && width(&head, TEXT) > widest {
                    fits -= 1;
                    head = word.chars().take(fits).collect();
                }
                *line = head;
                word = word.chars().skip(fits).collect();
                if word.is_empty() {
                    continue 'words;
                }
            }
            if lines.len() == most {
                is_cut = true;
                break 'words;
            }
            lines.push(String::new());
        }
    }
    if is_cut && let Some(line) = lines.last_mut() {
        while !line.is_empty() && width(line, TEXT) + TEXT > widest {
            line.pop();
        }
        line.truncate(line.trim_end().len());
        line.push('…');
    }
    (lines, is_cut)
}

fn tooltip(text: &str) -> String {
    format!("<title>{}</title>", escape(text))
}

/// Escapes a text for XML content and attributes; characters that XML does not allow are replaced.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' => out.push(c),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
