//! The recorded figures, and what a run says beside them.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::figure::Figure;

const ABOUT: &str = "# What a call costs, layer by layer: written by `cargo xtask instructions --record`, compared by `cargo xtask instructions` and `cargo xtask test`.\n\
                     # Instructions are in units of what a call of the yardstick H costs (benches/echo); how they are counted stands in benches/instructions.rs.\n\
                     # No figure here is edited by hand. One that grew for a good reason is recorded anew, and the commit says the reason.\n";
/// Of a layer that grew, so many others that grew too are named.
const NAMED: usize = 3;
/// Part of a figure's growth below which a layer is not named.
const WORTH_NAMING: f64 = 0.1;

/// By architecture: `tools`, and a table of `value` and `parts` for each figure.
pub(super) struct Baseline(Table);

/// What a comparison found.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict {
    /// One text for each figure that grew, or that nothing was recorded of.
    pub(super) worse: Vec<String>,
    /// What is no failure.
    pub(super) notes: Vec<String>,
}

impl Baseline {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: toml::de::Error| error.to_string())
    }

    /// Takes `figures` over in place of all that was recorded for this architecture.
    pub(super) fn record(&mut self, architecture: &str, tools: &str, figures: &[Figure]) {
        let mut table = Table::from_iter([("tools".to_owned(), Value::from(tools))]);
        for figure in figures {
            // What rounds to nothing is noise.
            let parts = figure.parts.iter().map(|(name, value)| (name.clone(), rounded(*value))).filter(|(_, value)| *value != 0.0);
            let parts = parts.map(|(name, value)| (name, Value::from(value))).collect::<Table>();
            let entry = Table::from_iter([("value".to_owned(), Value::from(rounded(figure.value))), ("parts".to_owned(), parts.into())]);
            table.insert(figure.name.clone(), entry.into());
        }
        self.0.insert(architecture.to_owned(), table.into());
    }

    pub(super) fn text(&self) -> String {
        let mut text = ABOUT.to_owned();
        let quoted = |text: &str| Value::from(text).to_string();
        for (architecture, table) in self.0.iter().filter_map(|(name, table)| Some((name, table.as_table()?))) {
            // Writing to a String does not fail.
            let _ = writeln!(text, "\n[{architecture}]");
            // What stands behind the head of a figure would be part of it.
            for (name, value) in table.iter().filter(|(_, value)| !value.is_table()) {
                let _ = writeln!(text, "{name} = {value}");
            }
            for (name, (value, parts)) in table.iter().filter_map(|(name, value)| Some((name, entry(value)?))) {
                let _ = writeln!(text, "\n[{architecture}.{}]\nvalue = {}", quoted(name), Value::from(value));
                for (part, value) in parts {
                    let _ = writeln!(text, "parts.{} = {value}", quoted(part));
                }
            }
        }
        text
    }

    pub(super) fn compare(&self, architecture: &str, tools: &str, figures: &[Figure]) -> Verdict {
        let mut verdict = Verdict::default();
        let Some(recorded) = self.0.get(architecture).and_then(Value::as_table) else {
            verdict.worse.push(format!("nothing is recorded for {architecture}: cargo xtask instructions --record"));
            return verdict;
        };
        for figure in figures {
            let Some((value, parts)) = recorded.get(&figure.name).and_then(entry) else {
                verdict.worse.push(format!("nothing is recorded of {}: cargo xtask instructions --record", figure.name));
                continue;
            };
            let change =
                format!("{}: {:.3}, recorded {value:.3} ({:+.1} %)", figure.name, figure.value, (figure.value / value - 1.0) * 100.0);
            if figure.value > value * (1.0 + figure.tolerance) {
                verdict.worse.push(format!("{change}; what grew: {}", grown(figure, value, parts)));
            } else if figure.value < value * (1.0 - figure.tolerance) {
                verdict.notes.push(format!("{change}: better; `cargo xtask instructions --record` keeps it so"));
            } else {
                verdict.notes.push(change);
            }
        }
        let then = recorded.get("tools").and_then(Value::as_str).unwrap_or_default();
        if !verdict.worse.is_empty() && then != tools {
            verdict.worse.push(format!("recorded with {then}, this is {tools}: if that alone changed the figures, record them anew"));
        }
        verdict
    }
}

fn entry(entry: &Value) -> Option<(f64, &Table)> {
    Some((number(entry.get("value")?)?, entry.get("parts")?.as_table()?))
}

fn number(value: &Value) -> Option<f64> {
    // A person, or a formatter, may have made 1.0 a 1.
    value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64))
}

/// `cipher 0.171 -> 0.260 (+0.089; 3301 instructions in sha2::compress)`, that which grew most first.
fn grown(figure: &Figure, value: f64, parts: &Table) -> String {
    let mut grown: Vec<_> =
        figure.parts.iter().map(|(name, now)| (name, parts.get(name).and_then(number).unwrap_or_default(), *now)).collect();
    grown.sort_by(|(_, before, now), (_, other_before, other_now)| (other_now - other_before).total_cmp(&(now - before)));
    let least = (figure.value - value) * WORTH_NAMING;
    let texts = grown.into_iter().filter(|(_, before, now)| now - before > least).take(NAMED).map(|(name, before, now)| {
        let details = figure.details.get(name).map(|details| format!("; {}", details.join(", "))).unwrap_or_default();
        format!("{name} {before:.3} -> {now:.3} ({:+.3}{details})", now - before)
    });
    let texts: Vec<_> = texts.collect();
    if texts.is_empty() { "a little of everything".into() } else { texts.join("; ") }
}

/// Four digits behind the point: more than rounds of one build have in common.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, parts: &[(&str, f64)]) -> Figure {
        let details = [("cipher".to_owned(), vec!["900 instructions in sha2::compress".to_owned()])].into();
        let parts = parts.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Figure { name: "instructions per Encrypt, 1 x 100".into(), value, tolerance: 0.02, parts, details }
    }

    fn recorded() -> Baseline {
        let mut baseline = Baseline::parse("").expect("nothing is a table");
        baseline.record("x86_64", "rustc 1", &[figure(1.3, &[("cipher", 0.2), ("http2", 1.1), ("log", 0.000_001)])]);
        Baseline::parse(&baseline.text()).expect("it is written as it is read")
    }

    #[test]
    fn a_figure_that_grew_is_named_with_the_layer_that_grew() {
        let baseline = recorded();
        let within = figure(1.325, &[("cipher", 0.225), ("http2", 1.1)]);
        let note = "instructions per Encrypt, 1 x 100: 1.325, recorded 1.300 (+1.9 %)".to_owned();
        assert_eq!(baseline.compare("x86_64", "rustc 1", &[within]), Verdict { worse: vec![], notes: vec![note] });
        let beyond = figure(1.4, &[("cipher", 0.295), ("http2", 1.105)]);
        let worse = "instructions per Encrypt, 1 x 100: 1.400, recorded 1.300 (+7.7 %); what grew: cipher 0.200 -> 0.295 (+0.095; 900 instructions in \
                     sha2::compress)";
        assert_eq!(baseline.compare("x86_64", "rustc 1", std::slice::from_ref(&beyond)).worse, [worse]);
        let with_another_compiler = baseline.compare("x86_64", "rustc 2", &[beyond]).worse;
        assert_eq!(with_another_compiler.len(), 2, "{with_another_compiler:?}");
    }

    #[test]
    fn a_layer_that_was_not_there_has_grown_too() {
        let worse = recorded().compare("x86_64", "rustc 1", &[figure(1.5, &[("cipher", 0.2), ("http2", 1.1), ("log", 0.2)])]).worse;
        assert!(worse[0].ends_with("what grew: log 0.000 -> 0.200 (+0.200)"), "{worse:?}");
    }

    #[test]
    fn what_was_never_recorded_is_a_failure_and_what_got_better_is_none() {
        let baseline = recorded();
        let new = Figure { name: "system calls".into(), ..figure(1.0, &[]) };
        assert_eq!(baseline.compare("x86_64", "rustc 1", &[new]).worse.len(), 1);
        assert_eq!(baseline.compare("riscv64", "rustc 1", &[figure(1.3, &[])]).worse.len(), 1);
        let better = baseline.compare("x86_64", "rustc 1", &[figure(1.2, &[])]);
        assert!(better.worse.is_empty() && better.notes[0].contains("better"), "{better:?}");
    }

    #[test]
    fn what_another_architecture_has_recorded_stays() {
        let mut baseline = recorded();
        baseline.record("aarch64", "rustc 1", &[figure(1.2, &[("cipher", 0.1)])]);
        let text = baseline.text();
        assert!(text.contains("\n[x86_64]\ntools = \"rustc 1\"\n") && text.contains("\nparts.\"http2\" = 1.1\n"), "{text}");
        assert!(!text.contains("log"), "what rounds to nothing is not recorded: {text}");
    }
}
