//! A figure, what it is made of, and what the baseline compares (xtask/src/instructions/baseline.rs).

use std::collections::BTreeMap;
use std::path::Path;

use keywright_testbed::callgrind::{Layer, PerCall};
use serde_json::{Value, json};

use super::Result;
use super::report::median;

/// So many functions of a layer are named.
const FUNCTIONS: usize = 6;

/// One figure: the median of its rounds.
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    /// How much it may grow: a share of the value.
    pub(crate) tolerance: f64,
    /// By layer, or by system call.
    parts: BTreeMap<String, f64>,
    /// The functions of a layer that cost most.
    details: BTreeMap<String, Vec<String>>,
}

impl Figure {
    /// Of instructions, in units of what a call of the yardstick costs.
    pub(crate) fn instructions(name: String, value: f64, tolerance: f64, rounds: &[(PerCall, f64)]) -> Self {
        let mut figure = Self { name, value, tolerance, parts: BTreeMap::new(), details: BTreeMap::new() };
        for layer in Layer::ALL {
            let of = |(call, floor): &(PerCall, f64)| call.layers.get(&layer).copied().unwrap_or_default() / floor;
            figure.parts.insert(layer.name().into(), median(&rounds.iter().map(of).collect::<Vec<_>>()));
        }
        let functions = rounds.first().into_iter().flat_map(|(call, _)| &call.functions);
        let mut functions: Vec<_> = functions.map(|((layer, function), cost)| (layer, function, *cost)).collect();
        functions.sort_by(|(.., left), (.., right)| right.total_cmp(left));
        for (layer, function, cost) in functions {
            let named = figure.details.entry(layer.name().into()).or_default();
            if named.len() < FUNCTIONS && cost > 1.0 {
                named.push(format!("{cost:.0} instructions in {function}"));
            }
        }
        figure
    }

    /// Of system calls, by name.
    pub(crate) fn system_calls(name: String, value: f64, tolerance: f64, parts: BTreeMap<String, f64>) -> Self {
        Self { name, value, tolerance, parts, details: BTreeMap::new() }
    }

    pub(crate) fn json(&self) -> Value {
        let Self { name, value, tolerance, parts, details } = self;
        json!({ "figure": name, "value": value, "tolerance": tolerance, "parts": parts, "details": details })
    }
}

/// System calls by name, of a table that strace wrote.
pub(crate) fn system_calls(table: &Path) -> Result<BTreeMap<String, u64>> {
    let text = std::fs::read_to_string(table)?;
    let mut calls = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        // Its head, rules and total are no calls.
        if let [count, name] = words[..]
            && name != "total"
            && let Ok(count) = count.parse()
        {
            calls.insert(name.to_owned(), count);
        }
    }
    if calls.is_empty() { Err("strace has counted nothing".into()) } else { Ok(calls) }
}
