//! What something costs as one number grows: printed for people, and left beside the gates for `cargo xtask bench`, which fits it and draws it.
#![allow(dead_code, reason = "each benchmark takes what it needs")]

use std::fmt;

use serde_json::{Value, json};

use crate::report::{Figure, Gate, Report, median};

/// How the points are read.
#[derive(Clone, Copy)]
pub(crate) enum Fit {
    /// The cost of one: a power of x, whose exponent is 0 where nothing grows.
    Power,
    /// The cost of all: something that is paid once, and so much for each.
    Line,
    /// The cost of all, as much for each as at the last point.
    Each,
}

impl Fit {
    fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Line => "line",
            Self::Each => "each",
        }
    }
}

/// One curve for each side.
pub(crate) struct Curve {
    /// Of the file with its plot.
    pub(crate) name: &'static str,
    pub(crate) title: String,
    /// What grows.
    pub(crate) x: &'static str,
    /// What is paid.
    pub(crate) y: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) fit: Fit,
    pub(crate) sides: Vec<Side>,
}

/// The points of one side, by x; each has one y for every round.
pub(crate) struct Side {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, Vec<f64>)>,
}

impl Side {
    /// Without rounds yet.
    pub(crate) fn new(name: impl Into<String>, xs: &[usize]) -> Self {
        Self { name: name.into(), points: xs.iter().map(|&x| (x as f64, Vec::new())).collect() }
    }

    /// The last point beside the first, round by round.
    fn growth(&self) -> Vec<f64> {
        let [(_, first), .., (_, last)] = &self.points[..] else { panic!("a curve needs two points") };
        first.iter().zip(last).map(|(first, last)| last / first).collect()
    }

    /// What each unit costs from one point to the next, round by round.
    fn each(&self, from: usize) -> Vec<f64> {
        let [(less, cheap), (more, dear)] = &self.points[from..from + 2] else { unreachable!("two points") };
        cheap.iter().zip(dear).map(|(cheap, dear)| (dear - cheap) / (more - less)).collect()
    }
}

impl Curve {
    /// Holds what one costs at the last x to what it costs at the first.
    pub(crate) fn flat(&self, at_most: f64, wanted: impl Into<Option<f64>>) -> Gate {
        let side = &self.sides[0];
        let [(first, cheap), .., (last, dear)] = &side.points[..] else { panic!("a curve needs two points") };
        let sides = [(last, dear), (first, cheap)].map(|(x, rounds)| Figure::median(format!("{x} {}", self.x), rounds, self.unit));
        Gate::at_most(format!("{}, flat", self.title), at_most, wanted, sides, side.growth())
    }

    /// Holds what each further unit costs between the last two x to what it costs between the two before: what is paid once is in neither.
    pub(crate) fn proportional(&self, at_most: f64, wanted: impl Into<Option<f64>>) -> Gate {
        let side = &self.sides[0];
        let last = side.points.len() - 2;
        let [before, after] = [last - 1, last].map(|at| (side.points[at].0, side.points[at + 1].0, side.each(at)));
        let ratios = after.2.iter().zip(&before.2).map(|(after, before)| after / before).collect();
        // From so much of a unit that three digits of it can be read.
        let thousand = |(from, to, rounds): &(f64, f64, Vec<f64>)| {
            let rounds: Vec<f64> = rounds.iter().map(|each| each * 1e3).collect();
            Figure::median(format!("1,000 more, from {from} to {to}"), &rounds, self.unit)
        };
        Gate::at_most(format!("{}, of each further one", self.title), at_most, wanted, [thousand(&after), thousand(&before)], ratios)
    }

    fn json(&self) -> Value {
        let points = |side: &Side| -> Value { side.points.iter().map(|(x, rounds)| json!({ "x": x, "rounds": rounds })).collect() };
        let sides: Value = self.sides.iter().map(|side| json!({ "side": side.name, "points": points(side) })).collect();
        json!({
            "name": self.name, "title": self.title, "x": self.x, "y": self.y, "unit": self.unit,
            "fit": self.fit.name(), "sides": sides,
        })
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}, {}", self.title, self.y, self.unit)?;
        for side in &self.sides {
            for (x, rounds) in &side.points {
                let low = rounds.iter().copied().fold(f64::INFINITY, f64::min);
                let high = rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                write!(out, "\n  {}, {x} {}: {:.3} ({low:.3}..{high:.3})", side.name, self.x, median(rounds))?;
            }
        }
        Ok(())
    }
}

impl Report {
    /// Prints and keeps a curve.
    pub(crate) fn curve(&mut self, curve: &Curve) {
        println!("{curve}");
        let curves = self.more.entry("curves").or_insert_with(|| json!([]));
        curves.as_array_mut().expect("made as a list here, and nowhere else").push(curve.json());
    }
}
