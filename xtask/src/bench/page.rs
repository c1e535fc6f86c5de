//! `docs/benchmarks.md`.

use std::fmt::Write as _;

use super::curve::{Curve, grouped};
use super::results::{Results, digits};

/// What was measured, beside the figures.
pub(super) struct Origin<'a> {
    pub(super) commit: &'a str,
    pub(super) rustc: &'a str,
    /// Where the plots are, from the page.
    pub(super) plots: &'a str,
    /// The plot of all gates, there.
    pub(super) plot: &'a str,
}

/// The page about all of `found`; there is at least one.
pub(super) fn render(found: &[Results], origin: &Origin<'_>) -> String {
    let mut page = String::from(
        "# Benchmarks\n\nWritten by `cargo xtask bench`; no figure here is edited by hand. What counts is the ratio of two sides that ran in turn, in the \
         same run and\non the same machine: absolute figures change from machine to machine and from hour to hour. A ratio is taken within each round; the \
         median of the\nrounds is held against its gate, which must hold, and its stretch, which is wanted. Every answer is checked; one that is wrong, an error \
         or a yardstick\nthat is missing, and there is no page.\n\n",
    );
    // Writing to a String does not fail.
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(page, "- {name}: {value}");
    };
    line("commit", origin.commit);
    line("build", &format!("{}, profile `release` (fat LTO, one codegen unit)", origin.rustc));
    if let Some(first) = found.first() {
        line("machine", &first.host);
    }
    for build in found.iter().flat_map(|results| &results.builds) {
        line("program", build);
    }
    for why in found.iter().filter_map(|results| results.not_a_claim.as_ref()) {
        line("NOT A CLAIM", why);
    }
    page.push_str(
        "\n| metric | measured | beside | ratio | lowest to highest | rounds | gate | stretch | |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    let bound = |value: Option<f64>, sign: &str| value.map(|value| format!("{sign}{value}"));
    for gate in found.iter().flat_map(|results| &results.gates) {
        let gates = [bound(gate.at_least, ">= "), bound(gate.at_most, "<= ")];
        let gates: Vec<_> = gates.into_iter().flatten().collect();
        let _ = writeln!(
            page,
            "| {} | {} | {} | **{:.3}** | {:.3} to {:.3} | {} | {} | {} | {} |",
            gate.metric,
            gate.sides[0],
            gate.sides[1],
            gate.median,
            gate.low,
            gate.high,
            gate.rounds,
            gates.join(", "),
            bound(gate.stretch, "").unwrap_or_else(|| "-".into()),
            if gate.holds { "ok" } else { "**MISSED**" },
        );
    }
    let _ = writeln!(page, "\n![every ratio beside its gate]({}/{})", origin.plots, origin.plot);
    let sides: Vec<_> = found.iter().flat_map(|results| &results.closed_loop).collect();
    if !sides.is_empty() {
        page.push_str(
            "\n## Throughput and latency, for information\n\nOf a closed loop of Encrypt calls, connections x calls in flight on each; with many in flight, \
             latency is mostly the queue that the loop keeps full.\n\n| load | side | calls/s | p50, us | p99, us |\n|---|---|---|---|---|\n",
        );
        for (point, side, [rate, p50, p99]) in sides {
            let _ = writeln!(page, "| {point} | {side} | {rate:.0} | {} | {} |", digits(*p50), digits(*p99));
        }
    }
    let curves: Vec<_> = found.iter().flat_map(|results| &results.curves).collect();
    if !curves.is_empty() {
        page.push_str(
            "\n## Cost curves\n\nMedians of the rounds, with the lowest and the highest. The law beside each is fitted to the medians by least squares of relative errors; \
             dashes in its plot.\n",
        );
        curves.into_iter().for_each(|curve| page.push_str(&section(curve, origin.plots)));
    }
    let parts: Vec<_> = found.iter().flat_map(|results| &results.parts).collect();
    if !parts.is_empty() {
        page.push_str(
            "\n## Small parts, for information\n\nThe median of many with its confidence interval, by criterion; instructions by callgrind, which sees no kernel.\n\n\
             | part | time, us | from, to | instructions |\n|---|---|---|---|\n",
        );
        for part in parts {
            let [low, median, high] = part.time.map(|nanoseconds| format!("{:.3}", nanoseconds / 1e3));
            let _ = writeln!(page, "| {} | {median} | {low}, {high} | {:.0} |", part.name, part.instructions);
        }
    }
    page.push_str("\n## How each is measured\n\n| benchmark | load average before and after |\n|---|---|\n");
    for results in found {
        let _ = writeln!(page, "| [{0}](../benches/{0}.rs) | {1:.2}, {2:.2} |", results.bench, results.load[0], results.load[1]);
    }
    page
}

/// One curve: its figures, its law, its plot.
fn section(curve: &Curve, plots: &str) -> String {
    let mut text = format!("\n### {}\n\n{}, {}.\n\n", curve.title, upper(&curve.y), curve.unit);
    let row = |text: &mut String, cells: Vec<String>| {
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    };
    row(&mut text, [&curve.x].into_iter().chain(curve.sides.iter().map(|side| &side.name)).cloned().collect());
    let _ = writeln!(text, "|{}", "---|".repeat(curve.sides.len() + 1));
    for (at, first) in curve.sides[0].points.iter().enumerate() {
        let cells = curve.sides.iter().map(|side| {
            let point = &side.points[at];
            format!("**{}** ({} to {})", digits(point.median), digits(point.low), digits(point.high))
        });
        row(&mut text, [grouped(first.x)].into_iter().chain(cells).collect());
    }
    text.push('\n');
    for side in &curve.sides {
        let _ = writeln!(text, "- {}: {}", side.name, curve.says(side));
    }
    let _ = writeln!(text, "\n![{}]({plots}/{}.svg)", curve.title, curve.name);
    text
}

/// A sentence begins with it.
fn upper(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::super::curve::tests::sample as curve;
    use super::super::results::{Results, tests::sample};
    use super::*;

    #[test]
    fn a_missed_gate_and_a_run_that_claims_nothing_say_so() {
        let origin = Origin { commit: "abc", rustc: "rustc 1.95.0", plots: "benchmarks", plot: "gates.svg" };
        let good = render(&[Results::parse(&sample()).expect("whole")], &origin);
        let row =
            "| server CPU/request 1 x 1 | keywright: 20.5 us | reference: 40.0 us | **0.510** | 0.480 to 0.550 | 3 | <= 0.6 | 0.4 | ok |";
        assert!(good.lines().any(|line| line == row), "{good}");
        assert!(
            !good.contains("MISSED") && !good.contains("CLAIM") && good.contains("| 1 x 1 | keywright | 9000 | 80.0 | 150 |"),
            "{good}"
        );
        assert!(good.contains("| parse a key_id | 0.101 | 0.099, 0.104 | 700 |"), "{good}");

        let mut json = sample();
        json["gates"][0]["holds"] = false.into();
        json["not_a_claim"] = "3 rounds".into();
        let bad = render(&[Results::parse(&json).expect("whole")], &origin);
        assert!(bad.contains("**MISSED**") && bad.contains("- NOT A CLAIM: 3 rounds"), "{bad}");
    }
    #[test]
    fn a_curve_stands_with_its_figures_its_law_and_its_plot() {
        let mut json = sample();
        json["curves"] = serde_json::json!([curve("line", |x| 5.0 + 0.25 * x)]);
        let origin = Origin { commit: "abc", rustc: "rustc 1.95.0", plots: "benchmarks", plot: "gates.svg" };
        let page = render(&[Results::parse(&json).expect("whole")], &origin);
        for line in [
            "### Scan against objects",
            "Time of a scan, ms.",
            "| objects | keywright |",
            "| 10,000 | **2505** (2254 to 3758) |",
            "- keywright: 250 ms for each 1,000 objects, and 5.00 ms once",
            "![Scan against objects](benchmarks/a-curve.svg)",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in:\n{page}");
        }
    }
}
