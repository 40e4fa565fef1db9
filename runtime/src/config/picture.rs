//! The graph as a picture: SVG for people, DOT for tools (SPEC A3).

use std::{
    collections::{BTreeMap, BTreeSet},
    f64::consts::TAU,
    fmt::Write as _,
};

use bazaar_protocol::{cast::Kind, graph::Graph, id::PeerId, random::SplitMix64};

/// What a picture shows of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// What it does, shown by its colour.
    pub kind: Kind,
    /// Its role in words, such as "seller of fish".
    pub text: String,
}

/// What a picture shows of the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Who is trader.
    pub trader: Option<PeerId>,
    /// Who is down.
    pub down: BTreeSet<PeerId>,
}

/// What the legend calls it.
fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Buyer => "buyer",
        Kind::Seller => "seller",
        Kind::Both => "buyer and seller",
    }
}

/// Distinguishable with any colour vision, and white text is readable on all of them.
fn fill(kind: Kind) -> &'static str {
    match kind {
        Kind::Buyer => "#2f6db3",
        Kind::Seller => "#b8500f",
        Kind::Both => "#6f4d9c",
    }
}

const UNKNOWN_FILL: &str = "#6b7280";
/// Of a peer that is down: its colour, and that of the ring and the cross which tell it without colour.
const DOWN_FILL: &str = "#c9ced6";
const DOWN: &str = "#b42318";
/// The height of a line of text, in pixels, and about the width of a letter.
const LINE: f64 = 14.0;
const LETTER: f64 = 6.6;
/// About how many letters a line of a label has at most, and how many lines it has.
const LETTERS: usize = 16;
const LINES: usize = 4;
const GOLD: &str = "#e0a100";
/// The radius of a peer's disc, in pixels.
const RADIUS: f64 = 21.0;
/// About how long a link is drawn, in pixels.
const LINK: f64 = 150.0;
/// The least distance between two peers, where there is a choice, in pixels: both discs and a line of text.
const ROOM: f64 = RADIUS * 3.4;
/// Beyond this many peers there is no room for the roles in words; they still show when one points at a peer.
const MOST_WITH_TEXT: u32 = 80;
/// Beyond this many peers they are put in a circle: any other drawing of so many links is as tangled, and slower.
const MOST_LAID_OUT: u32 = 500;
/// Up to this many peers, several layouts are tried and the clearest is taken.
const MOST_TRIED: u32 = 80;

/// Up to this many peers, a layout in which a link runs through a label is tried anew.
const MOST_RETRIED: u32 = 20;

/// A graph that is to be drawn.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a>(pub &'a Graph);

impl Picture<'_> {
    /// The graph in Graphviz's language. `labels` go by peer id; a peer without one is drawn grey.
    #[must_use]
    pub fn to_dot(&self, labels: &[Label], moment: &Moment) -> String {
        let mut text = String::from(
            "graph bazaar {\n  layout=neato; overlap=false; splines=true;\n  \
             node [shape=circle, style=filled, fontname=\"sans-serif\", fontcolor=white, penwidth=0];\n  \
             edge [color=\"#94a3b8\"];\n",
        );
        for peer in self.0.peers() {
            let label = labels.get(peer.0 as usize);
            let fill = fill_of(peer, label, moment);
            let role = label.map_or_else(String::new, |label| format!("\\n{}", escape_dot(&label.text)));
            let (office, ring) = if moment.trader == Some(peer) {
                ("\\ntrader", format!(", peripheries=2, penwidth=3, color=\"{GOLD}\""))
            } else if moment.down.contains(&peer) {
                ("\\ndown", format!(", style=\"filled,dashed\", penwidth=2, color=\"{DOWN}\", fontcolor=black"))
            } else {
                ("", String::new())
            };
            // Writing to a string cannot fail; here and below.
            let _ = writeln!(text, "  {peer} [label=\"{peer}{role}{office}\", fillcolor=\"{fill}\"{ring}];");
        }
        for (a, b) in self.0.links() {
            let _ = writeln!(text, "  {a} -- {b};");
        }
        text.push_str("}\n");
        text
    }

    /// The graph as a picture that a browser shows; the same arguments give the same picture. `labels` go by peer id; a
    /// peer without one is drawn grey. The trader wears a crown; who is down is crossed out.
    #[must_use]
    pub fn to_svg(&self, title: &str, labels: &[Label], moment: &Moment) -> String {
        let with_text = self.0.len() <= MOST_WITH_TEXT;
        let lines: Vec<Vec<String>> = labels.iter().map(|label| wrapped(&label.text)).collect();
        let places = if with_text { self.layout_for(&lines, moment) } else { self.layout(0) };
        let corner = |pick: fn(f64, f64) -> f64, start: f64| {
            places.iter().fold((start, start), |(x, y), place| (pick(x, place.x), pick(y, place.y)))
        };
        let (left, top) = corner(f64::min, f64::INFINITY);
        let (right, bottom) = corner(f64::max, f64::NEG_INFINITY);
        let (side, head, foot) = (140.0, 120.0, 124.0);
        let width = (right - left + 2.0 * side).max(640.0);
        let height = bottom - top + head + foot;
        let shift = Place { x: (width - (right - left)) / 2.0 - left, y: head - top };
        let places: Vec<Place> = places.iter().map(|place| place.plus(shift)).collect();

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" font-family=\"system-ui, 'DejaVu Sans', Helvetica, Arial, sans-serif\">\n\
             <title>{title}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fbfaf7\"/>\n\
             <text x=\"24\" y=\"36\" font-size=\"19\" font-weight=\"600\" fill=\"#1f2937\">{title}</text>\n\
             <g stroke=\"#a3adba\" stroke-width=\"2.2\" stroke-linecap=\"round\">\n",
            title = escape_xml(title),
        );
        for (a, b) in self.0.links() {
            let (from, to) = (places[a.0 as usize], places[b.0 as usize]);
            let _ = writeln!(svg, "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>", from.x, from.y, to.x, to.y);
        }
        svg.push_str("</g>\n<g text-anchor=\"middle\" font-size=\"15\" font-weight=\"600\" fill=\"#fff\">\n");
        for (peer, place) in self.0.peers().zip(&places) {
            draw_peer(&mut svg, peer, *place, labels.get(peer.0 as usize), moment);
        }
        svg.push_str("</g>\n");
        if with_text {
            // The halo keeps words readable where a link runs under them. It is a copy underneath, since not every
            // program that draws SVG knows `paint-order`.
            svg.push_str("<g text-anchor=\"middle\" font-size=\"12\">\n");
            let boxes = self.place_labels(&places, &lines, moment);
            for (lines, at) in lines.iter().zip(&boxes) {
                for (nth, text) in (0_u8..).zip(lines) {
                    let (x, y) = (at.middle.x, at.middle.y - at.high / 2.0 + LINE * (f64::from(nth) + 0.78));
                    let (at, text) = (format!("x=\"{x:.1}\" y=\"{y:.1}\""), escape_xml(text));
                    let _ = writeln!(
                        svg,
                        "<text {at} fill=\"none\" stroke=\"#fbfaf7\" stroke-width=\"4\" stroke-linejoin=\"round\" \
                         aria-hidden=\"true\">{text}</text><text {at} fill=\"#374151\">{text}</text>"
                    );
                }
            }
            svg.push_str("</g>\n");
        }
        draw_legend(&mut svg, height - 26.0, self.0.len(), labels, moment);
        svg.push_str("</svg>\n");
        svg
    }

    /// Puts each label beside its peer, where no link runs through it and nothing else is, if there is such a place.
    fn place_labels(&self, places: &[Place], lines: &[Vec<String>], moment: &Moment) -> Vec<Spot> {
        let links: Vec<(Place, Place)> =
            self.0.links().map(|(a, b)| (places[a.0 as usize], places[b.0 as usize])).collect();
        let mut put: Vec<Spot> = Vec::new();
        for ((peer, place), lines) in self.0.peers().zip(places).zip(lines) {
            let letters = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
            let (wide, high) = (letters as f64 * LETTER, lines.len() as f64 * LINE);
            let is_trader = moment.trader == Some(peer);
            let radius = RADIUS + if is_trader { 9.0 } else { 4.0 };
            let mut best: Option<(f64, Spot)> = None;
            for (nth, (angle, away)) in
                directions().flat_map(|angle| [0.0, 14.0, 30.0, 48.0].map(|away| (angle, away))).enumerate()
            {
                let (y, x) = (angle * TAU).sin_cos();
                let out = Place { x: x * (radius + away + wide / 2.0), y: y * (radius + away + high / 2.0) };
                let at = Spot { middle: place.plus(out), wide, high };
                let crossed = links.iter().filter(|(from, to)| at.is_crossed_by(*from, *to)).count();
                let hidden = places.iter().filter(|place| at.distance(**place) < RADIUS + 2.0).count();
                let over = put.iter().filter(|other| at.overlaps(other)).count();
                // The crown is above.
                let crown = usize::from(is_trader && y < -0.3);
                let cost = 3 * crossed + 4 * (hidden + over) + 3 * crown;
                let cost = cost as f64 + away / 40.0 + nth as f64 / 1_000.0;
                if best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, at));
                }
            }
            put.extend(best.map(|(_, at)| at));
        }
        put
    }

    /// Of a few layouts the first in which no link runs through a label, or else that with the fewest such.
    fn layout_for(&self, lines: &[Vec<String>], moment: &Moment) -> Vec<Place> {
        let tries = if self.0.len() <= MOST_RETRIED { 12 } else { 1 };
        let mut best: Option<(usize, Vec<Place>)> = None;
        for nth in 0..tries {
            let places = self.layout(nth);
            let crossed = self.crossed_labels(&places, &self.place_labels(&places, lines, moment));
            if best.as_ref().is_none_or(|(least, _)| crossed < *least) {
                best = Some((crossed, places));
            }
            if crossed == 0 {
                break;
            }
        }
        best.map(|(_, places)| places).unwrap_or_default()
    }

    /// How often a link runs through a label.
    fn crossed_labels(&self, places: &[Place], labels: &[Spot]) -> usize {
        let links = self.0.links().map(|(a, b)| (places[a.0 as usize], places[b.0 as usize]));
        links.map(|(from, to)| labels.iter().filter(|at| at.is_crossed_by(from, to)).count()).sum()
    }

    /// The `nth` layout, for when another is wanted.
    fn layout(&self, nth: u64) -> Vec<Place> {
        match self.0.len() {
            0 | 1 => vec![Place { x: 0.0, y: 0.0 }],
            2 | 3 => circle(self.0.len() as usize, LINK * 0.75),
            4..=MOST_LAID_OUT => self.clearest_layout(nth),
            _ => circle(self.0.len() as usize, f64::from(self.0.len()) * RADIUS * 2.4 / TAU),
        }
    }

    /// Tries a few layouts, more where it costs little, and takes the one that is easiest to read.
    fn clearest_layout(&self, nth: u64) -> Vec<Place> {
        let hops: Vec<Vec<f64>> = self
            .0
            .peers()
            .map(|peer| self.0.hops_from(peer).into_iter().map(|hops| f64::from(hops.unwrap_or(0))).collect())
            .collect();
        let tries = if self.0.len() <= MOST_TRIED { 48 } else { 1 };
        let mut random = SplitMix64::new(u64::from(self.0.len()) + (nth << 32), "layout");
        let mut best: Option<(f64, Vec<Place>)> = None;
        for _ in 0..tries {
            let mut places = stress_layout(&hops, &mut random);
            spread(&mut places);
            let clutter = if tries > 1 { self.clutter(&places) } else { 0.0 };
            if best.as_ref().is_none_or(|(least, _)| clutter < *least) {
                best = Some((clutter, places));
            }
        }
        let mut places = best.map(|(_, places)| lie_down(places)).unwrap_or_default();
        if tries > 1 {
            self.tidy(&mut places, &mut random);
        }
        places
    }

    /// Nudges peers, one at a time, wherever that makes the drawing easier to read.
    fn tidy(&self, places: &mut [Place], random: &mut SplitMix64) {
        let mut least = self.clutter(places);
        for reach in [1.0, 0.6, 0.35] {
            for peer in 0..places.len() {
                let before = places[peer];
                for _ in 0..8 {
                    let nudge = Place { x: random.unit() - 0.5, y: random.unit() - 0.5 };
                    places[peer] = before.plus(nudge.times(2.0 * reach * LINK));
                    let clutter = self.clutter(places);
                    if clutter < least {
                        least = clutter;
                        break;
                    }
                    places[peer] = before;
                }
            }
        }
    }

    /// How hard a drawing is to read: links that cross, and, worse, links that run over a peer they do not join, or
    /// peers that are in each other's way.
    fn clutter(&self, places: &[Place]) -> f64 {
        let links: Vec<(usize, usize)> = self.0.links().map(|(a, b)| (a.0 as usize, b.0 as usize)).collect();
        let mut clutter = 0.0;
        for (index, &(a, b)) in links.iter().enumerate() {
            let (from, to) = (places[a], places[b]);
            let crossed = links[index + 1..]
                .iter()
                .filter(|&&(c, d)| c != a && c != b && d != a && d != b && cross(from, to, places[c], places[d]));
            clutter += crossed.count() as f64;
            let touched = (0..places.len())
                .filter(|peer| *peer != a && *peer != b && places[*peer].distance_to_link(from, to) < RADIUS * 1.5);
            clutter += 4.0 * touched.count() as f64;
            // A link three times as long as it should be is as bad as a crossing.
            clutter += (from.distance(to) / LINK - 1.0).max(0.0) / 2.0;
        }
        for (index, a) in places.iter().enumerate() {
            let crowded = places[..index].iter().map(|b| (1.0 - a.distance(*b) / ROOM).max(0.0));
            clutter += crowded.map(|crowded| 4.0 * crowded).sum::<f64>();
        }
        clutter
    }
}

/// Where labels are tried: below first, then to the sides, then above; each as an angle in parts of a turn.
fn directions() -> impl Iterator<Item = f64> {
    const PARTS: u8 = 32;
    (0..=PARTS / 2).flat_map(|nth| {
        let aside = f64::from(nth) / f64::from(PARTS);
        if nth == 0 || nth == PARTS / 2 { vec![0.25 + aside] } else { vec![0.25 + aside, 0.25 - aside] }
    })
}

/// The colour of a peer's disc.
fn fill_of(peer: PeerId, label: Option<&Label>, moment: &Moment) -> &'static str {
    if moment.down.contains(&peer) { DOWN_FILL } else { label.map_or(UNKNOWN_FILL, |label| fill(label.kind)) }
}

/// A label in short lines.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= LETTERS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    if lines.len() > LINES {
        lines.truncate(LINES);
        lines.push("…".to_owned());
    }
    lines
}

fn draw_peer(svg: &mut String, peer: PeerId, place: Place, label: Option<&Label>, moment: &Moment) {
    let Place { x, y } = place;
    let (is_trader, is_down) = (moment.trader == Some(peer), moment.down.contains(&peer));
    let fill = fill_of(peer, label, moment);
    let words = label.map_or_else(String::new, |label| format!(": {}", escape_xml(&label.text)));
    let office = if is_trader {
        ", trader"
    } else if is_down {
        ", down"
    } else {
        ""
    };
    let _ = write!(svg, "<g><title>peer {peer}{words}{office}</title>");
    if is_trader {
        let _ = write!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{:.1}\" fill=\"#fbfaf7\" stroke=\"{GOLD}\" stroke-width=\"4\"/>",
            RADIUS + 5.0
        );
        draw_crown(svg, Place { x, y: y - RADIUS - 4.0 });
    }
    let size = if peer.0 < 1_000 { 15 } else { 12 };
    let ring = if is_down {
        format!("stroke=\"{DOWN}\" stroke-width=\"2\" stroke-dasharray=\"5 3\"")
    } else {
        "stroke=\"#fbfaf7\" stroke-width=\"2\"".to_owned()
    };
    let ink = if is_down { " fill=\"#1f2937\"" } else { "" };
    let _ = writeln!(
        svg,
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{RADIUS}\" fill=\"{fill}\" {ring}/>{}\
         <text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"{size}\"{ink}>{peer}</text></g>",
        if is_down { cross_out(place) } else { String::new() },
        y + 5.3
    );
}

/// A cross through a disc.
fn cross_out(Place { x, y }: Place) -> String {
    let (left, right, top, bottom) = (x - 14.0, x + 14.0, y - 14.0, y + 14.0);
    format!(
        "<path d=\"m{left:.1} {top:.1}L{right:.1} {bottom:.1}M{right:.1} {top:.1}L{left:.1} {bottom:.1}\" \
         stroke=\"{DOWN}\" stroke-width=\"3\" stroke-linecap=\"round\" opacity=\"0.55\"/>"
    )
}

/// A crown whose base rests on `base`.
fn draw_crown(svg: &mut String, base: Place) {
    let _ = write!(
        svg,
        "<path transform=\"translate({:.1} {:.1})\" d=\"M-13 0L-15 -15L-7 -8L0 -19L7 -8L15 -15L13 0Z\" \
         fill=\"{GOLD}\" stroke=\"#8a6100\" stroke-width=\"1.2\" stroke-linejoin=\"round\"/>",
        base.x, base.y
    );
}

fn draw_legend(svg: &mut String, y: f64, peers: u32, labels: &[Label], moment: &Moment) {
    let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
    for label in labels.iter().take(peers as usize) {
        *kinds.entry(label.kind).or_default() += 1;
    }
    svg.push_str("<g font-size=\"13\" fill=\"#374151\">\n");
    let mut x = 32.0;
    for (kind, count) in kinds {
        let text = format!("{} ({count})", name(kind));
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
            fill(kind),
            x + 14.0,
            y + 4.6
        );
        x += 44.0 + 7.6 * text.len() as f64;
    }
    if let Some(trader) = moment.trader {
        draw_crown(svg, Place { x: x + 6.0, y: y + 8.0 });
        let text = format!("trader: peer {trader}");
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{text}</text>", x + 28.0, y + 4.6);
        x += 58.0 + 7.6 * text.len() as f64;
    }
    if !moment.down.is_empty() {
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\" fill=\"{DOWN_FILL}\" stroke=\"{DOWN}\" stroke-width=\"2\" \
             stroke-dasharray=\"4 2\"/><text x=\"{:.1}\" y=\"{:.1}\">down ({})</text>",
            x + 14.0,
            y + 4.6,
            moment.down.len()
        );
    }
    svg.push_str("</g>\n");
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    x: f64,
    y: f64,
}

impl Place {
    fn plus(self, other: Place) -> Place {
        Place { x: self.x + other.x, y: self.y + other.y }
    }

    fn minus(self, other: Place) -> Place {
        Place { x: self.x - other.x, y: self.y - other.y }
    }

    fn times(self, factor: f64) -> Place {
        Place { x: self.x * factor, y: self.y * factor }
    }

    fn distance(self, other: Place) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }

    fn distance_to_link(self, from: Place, to: Place) -> f64 {
        let (along, out) = (to.minus(from), self.minus(from));
        let length = (along.x * along.x + along.y * along.y).max(1e-9);
        let part = ((out.x * along.x + out.y * along.y) / length).clamp(0.0, 1.0);
        self.distance(from.plus(along.times(part)))
    }
}

/// The room that a label takes.
#[derive(Clone, Copy, Debug)]
struct Spot {
    middle: Place,
    wide: f64,
    high: f64,
}

impl Spot {
    /// How far a place is from it; 0 inside.
    fn distance(&self, place: Place) -> f64 {
        let out = place.minus(self.middle);
        (out.x.abs() - self.wide / 2.0).max(0.0).hypot((out.y.abs() - self.high / 2.0).max(0.0))
    }

    fn overlaps(&self, other: &Spot) -> bool {
        let out = self.middle.minus(other.middle);
        out.x.abs() < (self.wide + other.wide) / 2.0 && out.y.abs() < (self.high + other.high) / 2.0
    }

    /// Whether a link runs through it.
    fn is_crossed_by(&self, from: Place, to: Place) -> bool {
        let corner = |x: f64, y: f64| self.middle.plus(Place { x: x * self.wide / 2.0, y: y * self.high / 2.0 });
        let (a, b, c, d) = (corner(-1.0, -1.0), corner(1.0, -1.0), corner(1.0, 1.0), corner(-1.0, 1.0));
        cross(from, to, a, c) || cross(from, to, b, d)
    }
}

fn circle(count: usize, radius: f64) -> Vec<Place> {
    (0..count)
        .map(|index| {
            let angle = TAU * index as f64 / count as f64 - TAU / 4.0;
            Place { x: radius * angle.cos(), y: radius * angle.sin() }
        })
        .collect()
}

fn cross(a: Place, b: Place, c: Place, d: Place) -> bool {
    let side =
        |from: Place, to: Place, of: Place| (to.x - from.x) * (of.y - from.y) - (to.y - from.y) * (of.x - from.x) > 0.0;
    side(a, b, c) != side(a, b, d) && side(c, d, a) != side(c, d, b)
}

/// Places peers so that distances in the drawing are proportional to the hops between them: stochastic gradient descent
/// on the stress (Zheng, Pawar, Goodman 2019), which untangles better than springs and needs a fixed number of rounds.
fn stress_layout(hops: &[Vec<f64>], random: &mut SplitMix64) -> Vec<Place> {
    let count = hops.len();
    let span = LINK * (count as f64).sqrt();
    let mut places: Vec<Place> =
        (0..count).map(|_| Place { x: random.unit() * span, y: random.unit() * span }).collect();
    let mut pairs: Vec<(usize, usize)> = (0..count).flat_map(|a| (0..a).map(move |b| (a, b))).collect();
    let longest = pairs.iter().map(|&(a, b)| hops[a][b]).fold(1.0, f64::max);
    let rounds = 40;
    // From "the farthest pair is put right at once" down to "a tenth of a link's error is corrected".
    let (first, last) = (longest * longest, 0.1_f64);
    for round in 0..rounds {
        let rate = first * (last / first).powf(f64::from(round) / f64::from(rounds - 1));
        random.shuffle(&mut pairs);
        for &(a, b) in &pairs {
            let (wanted, weight) = (hops[a][b] * LINK, 1.0 / (hops[a][b] * hops[a][b]).max(1.0));
            let apart = places[a].minus(places[b]);
            let distance = places[a].distance(places[b]).max(1e-6);
            let step = apart.times((rate * weight).min(1.0) * (distance - wanted) / 2.0 / distance);
            places[a] = places[a].minus(step);
            places[b] = places[b].plus(step);
        }
    }
    places
}

/// Moves peers apart that are too close to be read.
fn spread(places: &mut [Place]) {
    let least = ROOM;
    for _ in 0..60 {
        let mut moved = false;
        for a in 1..places.len() {
            for b in 0..a {
                let distance = places[a].distance(places[b]);
                if distance < least {
                    moved = true;
                    // On the very same spot any direction will do.
                    let apart = if distance < 1e-6 { Place { x: 1e-6, y: 0.0 } } else { places[a].minus(places[b]) };
                    let step = apart.times((least - distance + 0.1) / 2.0 / distance.max(1e-6));
                    places[a] = places[a].plus(step);
                    places[b] = places[b].minus(step);
                }
            }
        }
        if !moved {
            return;
        }
    }
}

/// Turns a drawing so that its longest extent is horizontal, as screens are.
fn lie_down(places: Vec<Place>) -> Vec<Place> {
    let count = places.len() as f64;
    let middle = places.iter().fold(Place { x: 0.0, y: 0.0 }, |sum, place| sum.plus(*place)).times(1.0 / count);
    let (xx, xy, yy) = places
        .iter()
        .map(|place| place.minus(middle))
        .fold((0.0, 0.0, 0.0), |(xx, xy, yy), out| (xx + out.x * out.x, xy + out.x * out.y, yy + out.y * out.y));
    let (sin, cos) = (-0.5 * (2.0 * xy).atan2(xx - yy)).sin_cos();
    places
        .into_iter()
        .map(|place| place.minus(middle))
        .map(|out| Place { x: out.x * cos - out.y * sin, y: out.x * sin + out.y * cos })
        .collect()
}

fn escape_xml(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML has no way to write the other control characters.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
        out
    })
}

fn escape_dot(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).fold(String::with_capacity(text.len()), |mut out, c| {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn labels(count: u32) -> Vec<Label> {
        let label = |peer: u32| match peer % 5 {
            0 | 3 => Label { kind: Kind::Buyer, text: "buyer".to_owned() },
            1 => Label { kind: Kind::Seller, text: "seller of fish".to_owned() },
            2 => Label { kind: Kind::Seller, text: "seller of salt, boar, fish".to_owned() },
            _ => Label { kind: Kind::Both, text: "buyer and seller of boar, fish, salt".to_owned() },
        };
        (0..count).map(label).collect()
    }

    fn in_office(trader: u32) -> Moment {
        Moment { trader: Some(PeerId(trader)), ..Moment::default() }
    }

    #[test]
    fn no_link_runs_through_a_label_and_no_label_over_another_in_small_bazaars() {
        let (mut crossed, mut over, mut drawn) = (BTreeMap::new(), 0, 0);
        for (peers, seed) in (3..=12).flat_map(|peers| (0..8).map(move |seed| (peers, seed))) {
            let (graph, moment) = (Graph::random(peers, seed), in_office(peers - 1));
            let picture = Picture(&graph);
            let lines: Vec<Vec<String>> = labels(peers).iter().map(|label| wrapped(&label.text)).collect();
            let places = picture.layout_for(&lines, &moment);
            let spots = picture.place_labels(&places, &lines, &moment);
            drawn += spots.len();
            if let through @ 1.. = picture.crossed_labels(&places, &spots) {
                crossed.insert((peers, seed), through);
            }
            let pairs = (0..spots.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
            over += pairs.filter(|(a, b)| spots[*a].overlaps(&spots[*b])).count();
        }
        assert!(crossed.is_empty() && over == 0, "{crossed:?} crossed, {over} overlaps of {drawn} labels");
        assert!(drawn > 500);
    }

    #[test]
    fn the_dead_are_marked() {
        let moment = Moment { down: BTreeSet::from([PeerId(1), PeerId(4)]), ..in_office(2) };
        let graph = Graph::random(6, 1);
        let svg = Picture(&graph).to_svg("x", &labels(6), &moment);
        assert_eq!(svg.matches(", down</title>").count(), 2);
        assert!(svg.contains("peer 1: seller of fish, down</title>") && svg.contains("down (2)"), "{svg}");
        let dot = Picture(&graph).to_dot(&labels(6), &moment);
        assert_eq!(dot.matches("\\ndown").count(), 2, "{dot}");
    }

    #[test]
    fn a_picture_shows_every_peer_every_link_and_one_trader() {
        for peers in [1, 2, 3, 4, 10, 81, 501] {
            let graph = Graph::random(peers, 1);
            let svg = Picture(&graph).to_svg("The bazaar", &labels(peers), &in_office(0));
            assert_eq!(svg.matches("<title>peer ").count() as u32, peers, "{peers} peers");
            assert_eq!(svg.matches("<path d=\"M").count(), graph.links().count(), "{peers} peers");
            assert_eq!(svg.matches(", trader</title>").count(), 1);
            assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{peers} peers");
        }
    }

    #[test]
    fn the_same_arguments_give_the_same_picture() {
        let draw = || Picture(&Graph::random(30, 5)).to_svg("x", &labels(30), &Moment::default());
        assert_eq!(draw(), draw());
    }

    #[test]
    fn no_two_peers_overlap() {
        for (peers, seed) in [(4, 1), (10, 2), (50, 3), (200, 4), (500, 5)] {
            let places = Picture(&Graph::random(peers, seed)).layout(0);
            for a in 0..places.len() {
                for b in 0..a {
                    let apart = places[a].distance(places[b]);
                    assert!(apart > 2.0 * RADIUS, "{peers} peers, seed {seed}: {a} and {b} are {apart} apart");
                }
            }
        }
    }

    #[test]
    fn text_written_by_people_is_escaped() {
        let graph = Graph::random(1, 1);
        let label = [Label { kind: Kind::Seller, text: "<b> & \"c\" \\ \u{1}".to_owned() }];
        let svg = Picture(&graph).to_svg("a < b", &label, &Moment::default());
        assert!(svg.contains("peer 0: &lt;b&gt; &amp; &quot;c&quot; \\  </title>"), "{svg}");
        assert!(svg.contains("<title>a &lt; b</title>"));
        let dot = Picture(&graph).to_dot(&label, &Moment::default());
        assert!(dot.contains(r#"label="0\n<b> & \"c\" \\ ""#), "{dot}");
    }

    #[test]
    fn dot_lists_every_link_once_and_rings_the_trader() {
        let dot = Picture(&Graph::random(3, 1)).to_dot(&labels(3), &in_office(2));
        assert_eq!(dot.matches(" -- ").count(), 3);
        assert!(dot.contains("2 [label=\"2\\nseller of salt, boar, fish\\ntrader\""), "{dot}");
        assert_eq!(dot.matches("peripheries=2").count(), 1);
    }

    #[test]
    fn every_peer_is_drawn_however_many_there_are() {
        for peers in [100, 500, 10_000] {
            let svg = Picture(&Graph::random(peers, 1)).to_svg("x", &labels(peers), &Moment::default());
            let last = format!(">{}</text>", peers - 1);
            assert!(svg.contains(&last), "peer {} of {peers}", peers - 1);
        }
    }
}
