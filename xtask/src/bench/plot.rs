//! Every ratio on one scale: how far it is from its gate.

use std::fmt::Write as _;

use super::results::{Gate, Results};

const ROW: usize = 26;
const LEFT: f64 = 390.0;
const WIDTH: f64 = 860.0;
/// Twice the gate ends the scale.
const SCALE: f64 = (WIDTH - LEFT - 30.0) / 2.0;

/// A line from the lowest to the highest ratio and a dot at the median, the gate at 1; on the left of it is better.
pub(super) fn gates(found: &[Results]) -> String {
    let gates: Vec<&Gate> = found.iter().flat_map(|results| &results.gates).collect();
    let height = 48 + ROW * gates.len();
    let mut svg = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
<text x="8" y="20">ratio : gate (less is better; line: all rounds, dot: median, triangle: stretch)</text>"#
    );
    let _ = writeln!(svg, r#"<line x1="{0:.1}" x2="{0:.1}" y1="30" y2="{1}" stroke="black"/>"#, LEFT + SCALE, height - 14);
    for (at, gate) in gates.iter().enumerate() {
        let y = 40 + ROW * at;
        // A ratio that must be at least so much is turned round.
        let of = |ratio: f64| match (gate.at_most, gate.at_least) {
            (Some(most), _) => ratio / most,
            (None, Some(least)) => least / ratio,
            (None, None) => 1.0,
        };
        let x = |ratio: f64| LEFT + SCALE * of(ratio).clamp(0.0, 2.0);
        let colour = if gate.holds { "#4477aa" } else { "#cc3311" };
        let _ = writeln!(svg, r#"<text x="8" y="{}">{}</text>"#, y + 4, escaped(&gate.metric));
        let (low, median, high) = (x(gate.low), x(gate.median), x(gate.high));
        let _ = writeln!(svg, r#"<line x1="{low:.1}" x2="{high:.1}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>"#);
        let _ = writeln!(svg, r#"<circle cx="{median:.1}" cy="{y}" r="4" fill="{colour}"><title>{:.3}</title></circle>"#, gate.median);
        if let Some(stretch) = gate.stretch.map(x) {
            let _ = writeln!(svg, r##"<path d="M{:.1} {} l4 7 h-8 z" fill="#228833"/>"##, stretch, y + 3);
        }
    }
    let _ = writeln!(svg, r#"<text x="{:.1}" y="{}" text-anchor="middle">gate</text>"#, LEFT + SCALE, height - 2);
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
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
