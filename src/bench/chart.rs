//! Latencies as bars: for a terminal, and as a picture. Both have logarithmic steps, for latencies have a long tail.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Upper end of the first step, in nanoseconds.
const FIRST: u64 = 1_000;
/// Longest bar on a terminal.
const BAR: u64 = 40;
/// Steps of a picture for each doubling.
const FINE: f64 = 4.0;

/// Size of one panel of a picture, and of what stands around its bars, in pixels.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 20.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 24.0;

/// A duration in the unit that reads best, with three digits: `41.2 us`, `1.30 ms`.
pub fn short(duration: Duration) -> String {
    let nanos = duration.as_nanos() as f64;
    let (value, unit) = match nanos {
        ..1e3 => return format!("{nanos:.0} ns"),
        ..999_500.0 => (nanos / 1e3, "us"),
        ..999_500_000.0 => (nanos / 1e6, "ms"),
        _ => (nanos / 1e9, "s"),
    };
    let digits = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {unit}")
}

/// Steps from the first one that is not empty to the last one: their upper ends in nanoseconds, and counts.
pub fn steps(latencies: &Histogram<u64>, base: f64) -> Vec<(u64, u64)> {
    let steps = latencies.iter_log(FIRST, base).map(|step| (step.value_iterated_to().saturating_add(1), step.count_since_last_iteration()));
    let mut steps: Vec<_> = steps.skip_while(|(_, count)| *count == 0).collect();
    steps.truncate(steps.iter().rposition(|(_, count)| *count > 0).map_or(0, |last| last + 1));
    steps
}

/// One line for each doubling: its upper end, a bar, the count.
pub fn text(latencies: &Histogram<u64>) -> String {
    let steps = steps(latencies, 2.0);
    let most = steps.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    let mut text = String::new();
    for (end, count) in steps {
        // A bar of at least one character, where there is anything.
        let length = usize::try_from((count.saturating_mul(BAR)).div_ceil(most)).unwrap_or_default();
        // Writing to a String does not fail.
        let _ = writeln!(text, "  <= {:>8}  {:<40} {count}", short(Duration::from_nanos(end)), "#".repeat(length));
    }
    text
}

/// One histogram of a picture.
pub struct Panel<'a> {
    /// What was measured.
    pub title: String,
    /// In nanoseconds.
    pub latencies: &'a Histogram<u64>,
}

/// A picture with the panels one below the other, all with the same scale, so that they can be compared by eye.
pub fn svg(heading: &str, panels: &[Panel<'_>]) -> String {
    let all: Vec<_> = panels.iter().map(|panel| steps(panel.latencies, 2.0_f64.powf(1.0 / FINE))).collect();
    let ends = || all.iter().flatten().map(|(end, _)| *end as f64);
    // One step more on the left, for the first bar.
    let low = ends().fold(f64::INFINITY, f64::min).min(1e12).log2() - 1.0 / FINE;
    let high = ends().fold(0.0, f64::max).max(2.0).log2();
    let scale = (WIDTH - 2.0 * LEFT) / (high - low).max(1.0 / FINE);
    let x = |nanos: f64| LEFT + (nanos.max(1.0).log2() - low) * scale;
    let whole = 32.0 + HEIGHT * panels.len() as f64;

    let mut svg = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{whole}" viewBox="0 0 {WIDTH} {whole}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="white"/>
<text x="{LEFT}" y="20" font-size="13" font-weight="bold">{}</text>"#,
        escaped(heading)
    );
    for (at, (panel, steps)) in panels.iter().zip(&all).enumerate() {
        let top = 32.0 + HEIGHT * at as f64;
        let (ceiling, floor) = (top + TOP, top + HEIGHT - BOTTOM);
        let _ = writeln!(svg, r#"<text x="{LEFT}" y="{:.1}" font-weight="bold">{}</text>"#, top + 16.0, escaped(&panel.title));
        let most = steps.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1) as f64;
        let width = (scale / FINE - 1.0).max(0.5);
        for (end, count) in steps.iter().filter(|(_, count)| *count > 0) {
            // Thin, where there is little: a lone slow call must be seen.
            let height = ((floor - ceiling) * *count as f64 / most).max(1.0);
            let right = x(*end as f64);
            let _ = writeln!(
                svg,
                r##"<rect x="{:.1}" y="{:.1}" width="{width:.1}" height="{height:.1}" fill="#4477aa"><title>up to {}: {count}</title></rect>"##,
                right - width,
                floor - height,
                short(Duration::from_nanos(*end)),
            );
        }
        let _ = writeln!(svg, r#"<line x1="{LEFT}" x2="{:.1}" y1="{floor:.1}" y2="{floor:.1}" stroke="black"/>"#, WIDTH - LEFT);
        if !panel.latencies.is_empty() {
            for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
                let value = panel.latencies.value_at_quantile(quantile);
                let at = x(value as f64);
                let _ = writeln!(
                    svg,
                    r##"<line x1="{at:.1}" x2="{at:.1}" y1="{:.1}" y2="{floor:.1}" stroke="#aa3377" stroke-dasharray="3 2"/>
<text x="{:.1}" y="{:.1}" fill="#aa3377">{name} {}</text>"##,
                    ceiling - 4.0,
                    (at + 3.0).min(WIDTH - 90.0),
                    if quantile < 0.9 { ceiling - 6.0 } else { ceiling + 6.0 },
                    short(Duration::from_nanos(value)),
                );
            }
        }
        for decade in 3..11 {
            let nanos = 10_f64.powi(decade);
            if (low..=high).contains(&nanos.log2()) {
                let _ = writeln!(
                    svg,
                    r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                    x(nanos),
                    floor + 14.0,
                    short(Duration::from_nanos(10_u64.pow(decade.unsigned_abs())))
                );
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(micros: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid");
        micros.iter().for_each(|micros| histogram.saturating_record(micros * 1_000));
        histogram
    }

    #[test]
    fn a_bar_for_each_doubling_and_all_counts_are_there() {
        let text = text(&latencies(&[10, 10, 10, 100, 5_000]));
        let counts: Vec<u64> = text.lines().map(|line| line.rsplit_once(' ').expect("a count").1.parse().expect("a number")).collect();
        assert_eq!((counts.iter().sum::<u64>(), counts.first(), counts.last()), (5, Some(&3), Some(&1)), "{text}");
        assert!(text.starts_with("  <=  16.0 us  ########################################  3\n".replace("  3", " 3").as_str()), "{text}");
        assert_eq!(self::text(&latencies(&[])), "");
    }

    #[test]
    fn a_picture_has_every_bar_on_it_and_no_open_markup() {
        let (one, other) = (latencies(&[10, 10, 100, 100_000]), latencies(&[]));
        let panels = [("Encrypt <1>", &one), ("nothing", &other)].map(|(title, latencies)| Panel { title: title.into(), latencies });
        let svg = svg("a & b", &panels);
        assert!(svg.contains("a &amp; b") && svg.contains("Encrypt &lt;1&gt;") && svg.ends_with("</svg>\n"), "{svg}");
        assert_eq!(svg.matches("<title>").count(), 3);
        for line in svg.lines().filter_map(|line| line.strip_prefix(r#"<rect x=""#)) {
            let x: f64 = line.split('"').next().and_then(|x| x.parse().ok()).expect("a number");
            assert!((LEFT - 1.0..WIDTH - LEFT).contains(&x), "{line}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(!super::svg("none", &[]).contains("inf"));
    }

    #[test]
    fn durations_have_three_digits() {
        let cases = [
            (999, "999 ns"),
            (1_000, "1.00 us"),
            (41_234, "41.2 us"),
            (999_600, "1.00 ms"),
            (130_000_000, "130 ms"),
            (3_000_000_000, "3.00 s"),
        ];
        for (nanos, expected) in cases {
            assert_eq!(short(Duration::from_nanos(nanos)), expected);
        }
    }
}
