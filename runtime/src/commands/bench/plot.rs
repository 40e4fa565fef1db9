//! Plots that can be read without the text: axes with units, and what a figure is to be compared with drawn in.

use std::{
    io,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use bazaar_protocol::text::visible;
use bazaar_runtime::system::output::{self, OutputError};
use plotters::{
    coord::{
        Shift,
        combinators::IntoLogRange as _,
        ranged1d::{AsRangedCoord, Ranged, ValueFormatter},
    },
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{Failure, sample::millis};

const SIZE: (u32, u32) = (960, 540);
const FONT: &str = "sans-serif";
/// Colours that people with any colour vision tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
const GREY: RGBColor = RGBColor(110, 110, 110);

/// An axis of a plot.
#[derive(Clone, Debug)]
pub struct Axis {
    label: String,
    is_logarithmic: bool,
}

impl Axis {
    /// One that begins at zero. The label names the unit.
    pub fn linear(label: &str) -> Axis {
        Axis { label: label.to_owned(), is_logarithmic: false }
    }

    /// One on which each step multiplies.
    pub fn logarithmic(label: &str) -> Axis {
        Axis { label: label.to_owned(), is_logarithmic: true }
    }

    /// From where to where it goes, to show all of these.
    fn range(&self, values: impl Iterator<Item = f64>) -> (f64, f64) {
        let (least, most) =
            values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
        match (self.is_logarithmic, least.is_finite() && most > 0.0) {
            (_, false) => (0.1, 1.0),
            (true, true) => (least.max(1e-6) / 1.3, most * 1.3),
            (false, true) => (0.0, most * 1.05),
        }
    }
}

/// A line across a plot, for something to compare with.
#[derive(Clone, Debug)]
pub struct Mark {
    pub at: f64,
    pub name: String,
}

/// Points that belong together.
#[derive(Clone, Debug)]
pub struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    is_line: bool,
}

impl Series {
    pub fn dots(name: &str, points: Vec<(f64, f64)>) -> Series {
        Series { name: name.to_owned(), points, is_line: false }
    }

    pub fn line(name: &str, points: Vec<(f64, f64)>) -> Series {
        Series { name: name.to_owned(), points, is_line: true }
    }
}

/// A plot of points, with marks at some heights.
#[derive(Clone, Debug)]
pub struct Chart {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
    pub marks: Vec<Mark>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Chart {
    /// The plot as SVG.
    ///
    /// # Errors
    /// When it cannot be drawn, which is a fault in the program.
    pub fn draw(&self) -> Result<String, Failure> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = self.x.range(points().map(|(x, _)| *x));
        let mut y = self.y.range(points().map(|(_, y)| *y).chain(self.marks.iter().map(|mark| mark.at)));
        if self.series.len() > 1 {
            // Room for the legend above them.
            y.1 *= if self.y.is_logarithmic { (y.1 / y.0).powf(0.3) } else { 1.3 };
        }
        on_svg(|area| match (self.x.is_logarithmic, self.y.is_logarithmic) {
            (false, false) => self.draw_on(area, x, x.0..x.1, y.0..y.1),
            (false, true) => self.draw_on(area, x, x.0..x.1, (y.0..y.1).log_scale()),
            (true, false) => self.draw_on(area, x, (x.0..x.1).log_scale(), y.0..y.1),
            (true, true) => self.draw_on(area, x, (x.0..x.1).log_scale(), (y.0..y.1).log_scale()),
        })
    }

    fn draw_on<X, Y>(&self, area: &Area<'_>, (left, right): (f64, f64), x: X, y: Y) -> Drawn
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, (FONT, 24))
            .margin(14)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(x, y)?;
        let format = |value: &f64| tick(*value);
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .x_label_formatter(&format)
            .y_label_formatter(&format)
            .label_style((FONT, 15))
            .draw()?;
        for mark in &self.marks {
            let line = [(left, mark.at), (right, mark.at)];
            chart.draw_series(DashedLineSeries::new(line, 6, 4, GREY.stroke_width(2)))?;
            let place = (left, mark.at);
            chart
                .draw_series([EmptyElement::at(place)
                    + Text::new(mark.name.clone(), (8, -18), (FONT, 15).into_font().color(&GREY))])?;
        }
        for (series, colour) in self.series.iter().zip(COLOURS.into_iter().cycle()) {
            if series.is_line {
                chart.draw_series(LineSeries::new(series.points.clone(), colour.stroke_width(2)))?;
            }
            // A few must be seen, and many must leave each other room.
            let size = if series.is_line || series.points.len() <= 50 { 4 } else { 2 };
            let dots = series.points.iter().map(|point| Circle::new(*point, size, colour.filled()));
            let drawn = chart.draw_series(dots)?;
            drawn.label(&series.name).legend(move |(x, y)| Circle::new((x + 10, y), 5, colour.filled()));
        }
        if self.series.len() > 1 {
            let mut legend = chart.configure_series_labels();
            legend.background_style(WHITE.mix(0.85)).border_style(GREY).label_font((FONT, 15));
            legend.position(SeriesLabelPosition::UpperRight).draw()?;
        }
        Ok(())
    }
}

/// A plot of how many times fall where, with marks at some of them.
///
/// # Errors
/// When it cannot be drawn, which is a fault in the program.
pub fn histogram(title: &str, x: Axis, times: &[Duration], marks: &[Mark]) -> Result<String, Failure> {
    const BINS: usize = 60;
    // The slowest of a hundred would leave no room for the others. What is above is counted in the last one.
    let most = times.get((times.len() * 99 / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default();
    let right = marks.iter().map(|mark| mark.at).fold(millis(most), f64::max) * 1.08;
    let width = right.max(1e-6) / BINS as f64;
    let mut bins = [0_u32; BINS];
    for time in times {
        let bin = (millis(*time) / width) as usize;
        bins[bin.min(BINS - 1)] += 1;
    }
    let top = f64::from(bins.iter().copied().max().unwrap_or_default().max(1)) * 1.25;
    on_svg(|area| {
        let mut chart = ChartBuilder::on(area)
            .caption(title, (FONT, 24))
            .margin(14)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(0.0..right, 0.0..top)?;
        let format = |value: &f64| tick(*value);
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc(format!("{} (the last bar: all above)", x.label))
            .y_desc("how many")
            .x_label_formatter(&format)
            .y_label_formatter(&format)
            .label_style((FONT, 15))
            .draw()?;
        let bars = bins.iter().enumerate().map(|(nth, count)| {
            let left = nth as f64 * width;
            Rectangle::new([(left, 0.0), (left + width * 0.9, f64::from(*count))], COLOURS[0].filled())
        });
        chart.draw_series(bars)?;
        for (nth, mark) in marks.iter().enumerate() {
            chart.draw_series(DashedLineSeries::new([(mark.at, 0.0), (mark.at, top)], 6, 4, GREY.stroke_width(2)))?;
            // Below each other, so that they can be read where marks are close, and within the plot.
            let place = (mark.at, top * (1.0 - 0.06 * nth as f64));
            let (side, gap) = if mark.at < right * 0.6 { (HPos::Left, 6) } else { (HPos::Right, -6) };
            let style = (FONT, 15).into_font().color(&GREY).pos(Pos::new(side, VPos::Top));
            chart.draw_series([EmptyElement::at(place) + Text::new(mark.name.clone(), (gap, 4), style)])?;
        }
        Ok(())
    })
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn on_svg(draw: impl FnOnce(&Area<'_>) -> Drawn) -> Result<String, Failure> {
    let mut svg = String::new();
    let drawn = (|| -> Drawn {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        Ok(area.present()?)
    })();
    drawn.map_err(|error| Failure::Stuck(format!("a plot cannot be drawn: {error}")))?;
    Ok(svg)
}

/// A number on an axis.
fn tick(value: f64) -> String {
    if value >= 10.0 || value == 0.0 {
        format!("{value:.0}")
    } else {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// The program that makes PNG of a plot: drawing text on pixels would take a font, and some sixty crates.
const RENDERER: &str = "rsvg-convert";

/// # Errors
/// When PNG cannot be made here.
pub fn can_render() -> Result<(), Failure> {
    let why = match Command::new(RENDERER).arg("--version").stdin(Stdio::null()).output() {
        Ok(tried) if tried.status.success() => return Ok(()),
        Ok(tried) => tried.status.to_string(),
        Err(error) => error.to_string(),
    };
    let remedy = "install it (librsvg2-bin in Debian), or leave --png out";
    Err(Failure::Usage(format!("--png: cannot run {RENDERER}: {why}; {remedy}")))
}

/// Makes a PNG beside a plot, sharp on any screen.
///
/// # Errors
/// When it cannot be made.
pub fn render(svg: &Path, png: &Path) -> Result<(), Failure> {
    let mut command = Command::new(RENDERER);
    command.arg("--zoom=2").arg("--output").arg(png).arg(svg).stdin(Stdio::null());
    let error = match command.output() {
        Ok(made) if made.status.success() => return Ok(()),
        Ok(made) => io::Error::other(format!("{RENDERER} says: {}", visible(&String::from_utf8_lossy(&made.stderr)))),
        Err(error) => error,
    };
    Err(OutputError { name: output::shown(png), error }.into())
}
