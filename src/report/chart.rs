//! Charts as inline SVG: a frame, two axes, marks. No script, no style of its own but classes.
//!
//! Owns places and ticks. Refuses to know what is drawn. Invariant: whatever the numbers, what is drawn lies in the frame, and no text in it is markup.

use std::fmt::Write as _;

use super::words::{self, escape};
use crate::format::Timestamp;

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;

/// An axis.
pub struct Axis {
    from: f64,
    to: f64,
    ticks: Vec<(f64, String)>,
}

/// What is drawn. Classes are ours; texts are anybody's.
pub enum Mark {
    /// From the ground up.
    Bar {
        /// Where, and how high.
        at: (f64, f64),
        /// Its class.
        class: &'static str,
        /// What it says when pointed at.
        title: String,
    },
    /// A dot.
    Dot {
        /// Where.
        at: (f64, f64),
        /// Its class.
        class: &'static str,
        /// What it says when pointed at.
        title: String,
    },
    /// A cross.
    Cross {
        /// Where.
        at: (f64, f64),
        /// What it says when pointed at.
        title: String,
    },
    /// From place to place.
    Line {
        /// The places.
        through: Vec<(f64, f64)>,
        /// Its class.
        class: &'static str,
    },
    /// From side to side.
    Level {
        /// How high.
        at: f64,
        /// What it is.
        label: String,
    },
}

impl Axis {
    /// Bytes from 0 up to `most`.
    #[must_use]
    pub fn bytes(most: u64) -> Self {
        let mut step = 1_u64;
        // A power of two: 256 MiB, 512 MiB, 1 GiB.
        while most / step > 4 {
            step = step.saturating_mul(2);
        }
        Self::even(precise(step), precise(most), |at| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a conversion of a float stays within bounds"
            )]
            words::bytes(at as u64).replace(".0 ", " ")
        })
    }

    /// Percent from 0 up to `most`.
    #[must_use]
    pub fn percent(most: f64) -> Self {
        let step = step_of(most, &[5.0, 10.0, 20.0, 25.0, 50.0, 100.0, 200.0, 500.0, 1_000.0]);
        Self::even(step, most, |at| format!("{at:.0} %"))
    }

    /// Seconds from 0 up to `most`.
    #[must_use]
    pub fn secs(most: f64) -> Self {
        let step = step_of(
            most,
            &[
                1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0,
                86_400.0,
            ],
        );
        Self::even(step, most, |at| words::span(at).replace(".0s", "s"))
    }

    /// Days from 0 up to `most`.
    #[must_use]
    pub fn days(most: f64) -> Self {
        let step = step_of(most, &[1.0, 2.0, 5.0, 7.0, 14.0, 28.0, 91.0]);
        let mut axis = Self::even(step, most, |at| if at == 0.0 { "full".to_owned() } else { format!("+{at:.0} d") });
        axis.to = most.max(1.0);
        axis.ticks.retain(|(at, _)| *at <= axis.to);
        axis
    }

    /// Moments from the first to the last.
    #[must_use]
    pub fn times(first: Timestamp, last: Timestamp) -> Self {
        const DAY: i64 = 86_400;
        let steps =
            [3_600, 3 * 3_600, 6 * 3_600, 12 * 3_600, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 91 * DAY, 364 * DAY];
        // A single moment stands in the middle of a day.
        let (from, to) = if last.secs.saturating_sub(first.secs) < 3_600 {
            (first.secs.saturating_sub(DAY / 2), last.secs.saturating_add(DAY / 2))
        } else {
            let margin = last.secs.saturating_sub(first.secs) / 40;
            (first.secs.saturating_sub(margin), last.secs.saturating_add(margin))
        };
        let span = to.saturating_sub(from);
        let step = steps.into_iter().find(|step| span / step <= 5).unwrap_or(span / 4).max(1);
        let mut ticks = Vec::new();
        let mut at = from.div_euclid(step).saturating_add(1).saturating_mul(step);
        while at <= to && ticks.len() < 6 {
            let text = words::moment(Timestamp::new(at, 0));
            // `2026-11-20 10:05`: the year is said elsewhere, the time of day where days are too coarse.
            let text = match (text.len(), step < DAY) {
                (16, true) => &text[5..],
                (16, false) if step < 364 * DAY => &text[5..10],
                _ => &text,
            };
            ticks.push((lossy(at), text.to_owned()));
            at = at.saturating_add(step);
        }
        Self { from: lossy(from), to: lossy(to), ticks }
    }

    fn even(step: f64, most: f64, text: impl Fn(f64) -> String) -> Self {
        let count = (most / step).ceil().clamp(1.0, 8.0);
        let ticks = (0..=8).map(f64::from).filter(|at| *at <= count).map(|at| (at * step, text(at * step))).collect();
        Self { from: 0.0, to: (count * step).max(most), ticks }
    }

    /// Where a value lies, from 0 to 1; none outside.
    fn place(&self, value: f64) -> f64 {
        let place = (value - self.from) / (self.to - self.from);
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// The least of `steps` that parts 0 to `most` into five at most; beyond them, an even part.
fn step_of(most: f64, steps: &[f64]) -> f64 {
    let most = if most.is_finite() { most } else { 1.0 };
    steps.iter().copied().find(|step| most / step <= 5.0).unwrap_or_else(|| (most / 5.0).ceil().max(1.0))
}

/// A chart. `title` is what it shows, for those who do not see it.
#[must_use]
pub fn svg(title: &str, x: &Axis, y: &Axis, marks: &[Mark]) -> String {
    let (right, ground) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let across = |value| LEFT + x.place(value) * (right - LEFT);
    let up = |value| ground - y.place(value) * (ground - TOP);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n", escape(title));
    for (at, text) in &y.ticks {
        let height = up(*at);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{height:.1}\" y2=\"{height:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            height + 3.5,
            escape(text)
        );
    }
    for (at, text) in &x.ticks {
        // The outermost stay inside.
        let half = 3.2 * precise(text.chars().count() as u64);
        let place = across(*at).min(WIDTH - half);
        let _ = writeln!(
            svg,
            "<text class=\"tick\" x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 9.0,
            escape(text)
        );
    }
    let bars = marks.iter().filter(|mark| matches!(mark, Mark::Bar { .. })).count();
    let width = ((right - LEFT) / precise(bars.max(1) as u64) * 0.65).clamp(1.0, 9.0);
    for mark in marks {
        let _ = match mark {
            Mark::Bar { at, class, title } => {
                // What is there is seen, however small.
                let top = up(at.1).min(ground - 1.5);
                writeln!(
                    svg,
                    "<rect class=\"{class}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
                    across(at.0) - width / 2.0,
                    ground - top,
                    escape(title)
                )
            }
            Mark::Dot { at, class, title } => writeln!(
                svg,
                "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\"><title>{}</title></circle>",
                across(at.0),
                up(at.1),
                escape(title)
            ),
            Mark::Cross { at, title } => {
                let (x, y) = (across(at.0), up(at.1));
                writeln!(
                    svg,
                    "<path class=\"cross\" d=\"M{:.1} {:.1}l8 8m0 -8l-8 8\"><title>{}</title></path>",
                    x - 4.0,
                    y - 4.0,
                    escape(title)
                )
            }
            Mark::Line { through, class } => {
                let mut places = String::new();
                for (x, y) in through {
                    let _ = write!(places, "{:.1},{:.1} ", across(*x), up(*y));
                }
                writeln!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", places.trim_end())
            }
            Mark::Level { at, label } => {
                let height = up(*at);
                writeln!(
                    svg,
                    "<line class=\"level\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{height:.1}\" y2=\"{height:.1}\"/>\
                     <text class=\"level-label\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                    height - 4.0,
                    escape(label)
                )
            }
        };
    }
    let _ =
        writeln!(svg, "<line class=\"ground\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{ground}\" y2=\"{ground}\"/>\n</svg>");
    svg
}

/// A moment as a value of [`Axis::times`].
#[must_use]
pub const fn at(time: Timestamp) -> f64 {
    lossy(time.secs)
}

/// A count as a value of an axis.
#[must_use]
pub const fn size(bytes: u64) -> f64 {
    precise(bytes)
}

#[expect(clippy::cast_precision_loss, reason = "a chart is no more exact than that")]
const fn lossy(number: i64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "a chart is no more exact than that")]
const fn precise(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(texts(&Axis::bytes(3 << 30)), ["0 B", "1 GiB", "2 GiB", "3 GiB"]);
        assert_eq!(texts(&Axis::percent(60.0)), ["0 %", "20 %", "40 %", "60 %"]);
        assert_eq!(texts(&Axis::secs(100.0)), ["0s", "20s", "40s", "1m", "1m20s", "1m40s"]);
        let week = Axis::times(Timestamp::new(1_800_000_000, 0), Timestamp::new(1_800_000_000 + 6 * 86_400, 0));
        assert_eq!(texts(&week), ["01-16", "01-18", "01-20"]);
    }

    #[test]
    fn no_number_leaves_the_frame_or_the_memory() {
        let wild = [0.0, -5.0, 1e300, f64::NAN, f64::INFINITY];
        for most in [0, 1, u64::MAX] {
            for y in [Axis::bytes(most), Axis::percent(precise(most)), Axis::secs(f64::NAN), Axis::days(precise(most))]
            {
                assert!(y.ticks.len() <= 9);
                let ends = Axis::times(Timestamp::new(i64::MIN, 0), Timestamp::new(i64::MAX, 0));
                let marks = wild.map(|value| Mark::Dot { at: (value, value), class: "full", title: String::new() });
                let drawn = svg("", &ends, &y, &marks);
                for part in drawn.split("cy=\"").skip(1) {
                    let place: f64 = part.split('"').next().unwrap().parse().unwrap();
                    assert!((TOP..=HEIGHT - BOTTOM).contains(&place), "{place}");
                }
                assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
            }
        }
    }
}
