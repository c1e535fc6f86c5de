//! Every ratio on one scale: how far it is from its gate.

use super::results::{Gate, Results};
use super::svg::Svg;

const ROW: usize = 26;
const LEFT: f64 = 390.0;
const WIDTH: f64 = 860.0;
/// Twice the gate ends the scale.
const SCALE: f64 = (WIDTH - LEFT - 30.0) / 2.0;

/// A line from the lowest to the highest ratio and a dot at the median, the gate at 1; on the left of it is better.
pub(super) fn gates(found: &[Results]) -> String {
    let gates: Vec<&Gate> = found.iter().flat_map(|results| &results.gates).collect();
    let height = 48 + ROW * gates.len();
    let mut svg = Svg::new(WIDTH, height as f64);
    svg.text((8.0, 20.0), "start", "ratio : gate (less is better; line: all rounds, dot: median, triangle: stretch)");
    svg.line((LEFT + SCALE, 30.0), (LEFT + SCALE, height as f64 - 14.0), "black", 1);
    for (at, gate) in gates.iter().enumerate() {
        let y = (40 + ROW * at) as f64;
        // A ratio that must be at least so much is turned round.
        let of = |ratio: f64| match (gate.at_most, gate.at_least) {
            (Some(most), _) => ratio / most,
            (None, Some(least)) => least / ratio,
            (None, None) => 1.0,
        };
        let x = |ratio: f64| LEFT + SCALE * of(ratio).clamp(0.0, 2.0);
        let colour = if gate.holds { "#4477aa" } else { "#cc3311" };
        svg.text((8.0, y + 4.0), "start", &gate.metric);
        svg.line((x(gate.low), y), (x(gate.high), y), colour, 2);
        svg.dot((x(gate.median), y), colour, &format!("{:.3}", gate.median));
        if let Some(stretch) = gate.stretch {
            svg.triangle((x(stretch), y + 3.0), "#228833");
        }
    }
    svg.text((LEFT + SCALE, height as f64 - 2.0), "middle", "gate");
    svg.end()
}

#[cfg(test)]
mod tests {
    use super::super::results::{Results, tests::sample};
    use super::*;

    #[test]
    fn what_holds_is_on_the_left_of_the_gate_and_what_does_not_on_its_right() {
        let median = |at_least: Option<f64>, at_most: Option<f64>, ratio: f64| {
            let mut json = sample();
            let gate = &mut json["gates"][0];
            (gate["at_least"], gate["at_most"], gate["ratio"]["median"]) = (at_least.into(), at_most.into(), ratio.into());
            let svg = gates(&[Results::parse(&json).expect("whole")]);
            let x = svg.split("cx=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a dot");
            x.parse::<f64>().expect("a number")
        };
        let gate = LEFT + SCALE;
        assert!(median(None, Some(0.6), 0.5) < gate && median(None, Some(0.6), 0.7) > gate);
        assert!(median(Some(4.0), None, 6.0) < gate && median(Some(4.0), None, 3.0) > gate);
        assert_eq!(median(None, Some(0.5), 0.5), gate);
        assert!(median(None, Some(0.1), 5.0) < WIDTH, "off the scale is at its end");
    }
}
