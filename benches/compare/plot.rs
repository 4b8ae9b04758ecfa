//! Bars with the spread of the rounds, as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde::{Deserialize, Serialize};

use crate::stats::{Spread, number};

const WIDTH: u32 = 820;
const BAR: i32 = 18;
const GAP: i32 = 8;
/// Between groups of bars.
const GROUP_GAP: i32 = 14;
const TOP: i32 = 40;
const BOTTOM: i32 = 12;
const LEFT: i32 = 290;
const RIGHT: i32 = 90;
// The SVG shows about four fifths of these as pixels.
const TITLE_SIZE: u32 = 19;
const TEXT_SIZE: u32 = 16;
const OURS: RGBColor = RGBColor(36, 113, 163);
const THEIRS: RGBColor = RGBColor(170, 178, 189);
/// Readable on white and on black: the page may be either.
const INK: RGBColor = RGBColor(110, 118, 129);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plot {
    /// Of the file, without its ending.
    pub name: String,
    pub title: String,
    /// Decades instead of multiples: for what differs by orders of magnitude.
    pub logarithmic: bool,
    pub bars: Vec<Bar>,
    /// The next bar begins a group.
    #[serde(skip)]
    next_apart: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bar {
    pub label: String,
    /// One of ours, in colour.
    pub ours: bool,
    /// The first of a group.
    pub apart: bool,
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Plot {
    pub fn new(name: &str, title: impl Into<String>) -> Plot {
        Plot { name: name.to_string(), title: title.into(), logarithmic: false, bars: Vec::new(), next_apart: false }
    }

    /// A bar of several rounds; of none, no bar.
    pub fn bar(&mut self, label: impl Into<String>, ours: bool, values: &[f64]) {
        if let Some(Spread { median, min, max }) = Spread::of(values) {
            let apart = std::mem::take(&mut self.next_apart);
            self.bars.push(Bar { label: label.into(), ours, apart, median, min, max });
        }
    }

    /// Bars from now on stand apart from those before.
    pub fn group(&mut self) {
        self.next_apart = true;
    }
}

/// Writes the file.
pub fn draw(plot: &Plot, file: &Path) -> Result<()> {
    let gaps = plot.bars.iter().skip(1).filter(|bar| bar.apart).count();
    let height = TOP + BOTTOM + i32::try_from(plot.bars.len())? * (BAR + GAP) + i32::try_from(gaps)? * GROUP_GAP;
    let area = SVGBackend::new(file, (WIDTH, u32::try_from(height)?)).into_drawing_area();
    let failed = |e: DrawingAreaErrorKind<std::io::Error>| anyhow!("{e}");

    let title = ("sans-serif", TITLE_SIZE).into_font().style(FontStyle::Bold).color(&INK);
    area.draw_text(&plot.title, &title, (12, 12)).map_err(failed)?;
    let text = |at: HPos| ("sans-serif", TEXT_SIZE).into_font().color(&INK).pos(Pos::new(at, VPos::Center));
    let highest = plot.bars.iter().map(|bar| bar.max).fold(f64::MIN_POSITIVE, f64::max);
    let lowest = plot.bars.iter().map(|bar| bar.min).filter(|min| *min > 0.0).fold(highest, f64::min);
    let width = WIDTH as i32 - LEFT - RIGHT;
    let along = |value: f64| {
        let share = if plot.logarithmic {
            // The shortest bar still has some length.
            let from = lowest.log10() - 0.3;
            (value.max(lowest).log10() - from) / (highest.log10() - from)
        } else {
            value / highest
        };
        LEFT + (share * f64::from(width)) as i32
    };
    let mut top = TOP;
    for (number_of, bar) in plot.bars.iter().enumerate() {
        if bar.apart && number_of > 0 {
            top += GROUP_GAP;
        }
        let middle = top + BAR / 2;
        let colour = if bar.ours { OURS } else { THEIRS };
        area.draw_text(&bar.label, &text(HPos::Right), (LEFT - 8, middle)).map_err(failed)?;
        let body = Rectangle::new([(LEFT, top), (along(bar.median), top + BAR)], colour.filled());
        area.draw(&body).map_err(failed)?;
        let spread = PathElement::new(vec![(along(bar.min), middle), (along(bar.max), middle)], INK.stroke_width(2));
        area.draw(&spread).map_err(failed)?;
        area.draw_text(&number(bar.median), &text(HPos::Left), (along(bar.max) + 8, middle)).map_err(failed)?;
        top += BAR + GAP;
    }
    area.present().map_err(failed)
}
