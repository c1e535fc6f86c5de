//! What something costs as one number grows (benches/shared/curve.rs), and the law that fits it.

use serde_json::Value;

use super::results::digits;

/// One law for each side.
pub(super) struct Curve {
    /// Of the file with its plot.
    pub(super) name: String,
    pub(super) title: String,
    /// What grows.
    pub(super) x: String,
    /// What is paid, with its unit.
    pub(super) y: String,
    pub(super) unit: String,
    pub(super) sides: Vec<Side>,
}

/// The points of one side, by x.
pub(super) struct Side {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
    pub(super) law: Law,
}

/// What was measured at one x.
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Fitted to the medians, by least squares of relative errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Law {
    /// `factor * x ^ exponent`: the slope of a line where both axes are logarithmic. Flat is 0.
    Power { factor: f64, exponent: f64 },
    /// `once + each * x`.
    Line { once: f64, each: f64 },
    /// `each * x`, through the last point: not fitted.
    Each { each: f64 },
}

impl Curve {
    /// `None` unless it is whole, with one y at least at every x, and two x at least.
    pub(super) fn parse(json: &Value) -> Option<Self> {
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        let fit = match json["fit"].as_str()? {
            "power" => Law::power,
            "line" => Law::line,
            "each" => Law::each,
            _ => return None,
        };
        let side = |side: &Value| {
            let points: Vec<Point> = side["points"].as_array()?.iter().map(Point::parse).collect::<Option<_>>()?;
            let law = fit(&points)?;
            Some(Side { name: side["side"].as_str()?.to_owned(), points, law })
        };
        let sides: Vec<Side> = json["sides"].as_array()?.iter().map(side).collect::<Option<_>>()?;
        // A name becomes that of a file.
        let name = text("name").filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))?;
        let xs = |side: &Side| side.points.iter().map(|point| point.x).collect::<Vec<f64>>();
        let alike = sides.windows(2).all(|pair| xs(&pair[0]) == xs(&pair[1]));
        (alike && !sides.is_empty()).then_some(())?;
        Some(Self { name, title: text("title")?, x: text("x")?, y: text("y")?, unit: text("unit")?, sides })
    }

    /// The law of a side, in words.
    pub(super) fn says(&self, side: &Side) -> String {
        match side.law {
            Law::Power { exponent, .. } => {
                let [first, .., last] = &side.points[..] else { unreachable!("a curve has two points") };
                let growth = last.median / first.median;
                format!(
                    "slope {exponent:+.3} (log-log), so that ten times the {} cost {:.2} x; {} beside {}: {growth:.2} x",
                    self.x,
                    10_f64.powf(exponent),
                    grouped(last.x),
                    grouped(first.x)
                )
            }
            Law::Each { each } => {
                let last = self.sides[0].points.last().map_or(0.0, |point| point.x);
                format!("{} {} for each 1,000 {} where there are {}", digits(each * 1e3), self.unit, self.x, grouped(last))
            }
            Law::Line { once, each } => {
                format!("{} {} for each 1,000 {}, and {} {} once", digits(each * 1e3), self.unit, self.x, digits(once), self.unit)
            }
        }
    }
}

impl Point {
    fn parse(json: &Value) -> Option<Self> {
        let mut rounds: Vec<f64> = json["rounds"].as_array()?.iter().map(Value::as_f64).collect::<Option<_>>()?;
        rounds.sort_by(f64::total_cmp);
        let (&low, &high) = (rounds.first()?, rounds.last()?);
        let middle = rounds.len() / 2;
        let median = if rounds.len() % 2 == 1 { rounds[middle] } else { (rounds[middle - 1] + rounds[middle]) / 2.0 };
        let x = json["x"].as_f64()?;
        // Both axes may be logarithmic.
        (x > 0.0 && low > 0.0).then_some(Self { x, median, low, high })
    }
}

impl Law {
    /// Its y at `x`.
    pub(super) fn at(self, x: f64) -> f64 {
        match self {
            Self::Power { factor, exponent } => factor * x.powf(exponent),
            Self::Line { once, each } => once + each * x,
            Self::Each { each } => each * x,
        }
    }

    fn power(points: &[Point]) -> Option<Self> {
        let logarithms = points.iter().map(|point| (point.x.ln(), point.median.ln(), 1.0));
        let (intercept, exponent) = least_squares(logarithms)?;
        Some(Self::Power { factor: intercept.exp(), exponent })
    }

    fn line(points: &[Point]) -> Option<Self> {
        // Relative errors count: else the largest x alone would decide.
        let (once, each) = least_squares(points.iter().map(|point| (point.x, point.median, point.median.powi(-2))))?;
        Some(Self::Line { once, each })
    }

    fn each(points: &[Point]) -> Option<Self> {
        let [_, .., last] = points else { return None };
        Some(Self::Each { each: last.median / last.x })
    }
}

/// Intercept and slope of the line through points of x, y and weight; `None` where there are not two different x.
fn least_squares(points: impl Iterator<Item = (f64, f64, f64)> + Clone) -> Option<(f64, f64)> {
    let sum = |of: fn((f64, f64, f64)) -> f64| points.clone().map(of).sum::<f64>();
    let weight = sum(|(_, _, w)| w);
    let (x, y) = (sum(|(x, _, w)| w * x) / weight, sum(|(_, y, w)| w * y) / weight);
    let spread: f64 = points.clone().map(|(px, _, w)| w * (px - x).powi(2)).sum();
    let slope = points.map(|(px, py, w)| w * (px - x) * (py - y)).sum::<f64>() / spread;
    let intercept = y - slope * x;
    (slope.is_finite() && intercept.is_finite()).then_some((intercept, slope))
}

/// `10,000`
pub(super) fn grouped(number: f64) -> String {
    let whole = format!("{number:.0}");
    let from_the_end = |at: usize| whole.len() - at;
    let groups =
        whole.char_indices().flat_map(|(at, digit)| (at > 0 && from_the_end(at) % 3 == 0).then_some(',').into_iter().chain([digit]));
    groups.collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// A curve whose y at `x` is what `y` says, in three rounds that differ.
    pub(crate) fn sample(fit: &str, y: fn(f64) -> f64) -> Value {
        let points = [1.0, 100.0, 10_000.0].map(|x| json!({ "x": x, "rounds": [y(x) * 1.5, y(x), y(x) * 0.9] }));
        json!({
            "name": "a-curve", "title": "Scan against objects", "x": "objects", "y": "time of a scan", "unit": "ms", "fit": fit,
            "sides": [{ "side": "keywright", "points": points }],
        })
    }

    #[test]
    fn a_law_is_found_again_from_its_points() {
        let law = |fit, y: fn(f64) -> f64| Curve::parse(&sample(fit, y)).expect("whole").sides[0].law;
        let Law::Power { factor, exponent } = law("power", |x| 7.0 * x.powf(0.5)) else { panic!("a power was asked for") };
        assert!((factor - 7.0).abs() < 1e-9 && (exponent - 0.5).abs() < 1e-9, "{factor} {exponent}");
        let Law::Line { once, each } = law("line", |x| 5.0 + 0.25 * x) else { panic!("a line was asked for") };
        assert!((once - 5.0).abs() < 1e-9 && (each - 0.25).abs() < 1e-9, "{once} {each}");
    }

    #[test]
    fn what_is_paid_once_is_found_beside_a_total_that_is_a_thousand_times_as_much() {
        // One point is a tenth off, where without weights all of the rest would be in vain.
        let law =
            Curve::parse(&sample("line", |x| if x > 5_000.0 { 1.1 * (5.0 + 0.5 * x) } else { 5.0 + 0.5 * x })).expect("whole").sides[0].law;
        let Law::Line { once, .. } = law else { panic!("a line was asked for") };
        assert!((4.0..6.0).contains(&once), "{once}");
    }

    #[test]
    fn a_law_is_said_in_words() {
        let says = |fit, y: fn(f64) -> f64| {
            let curve = Curve::parse(&sample(fit, y)).expect("whole");
            curve.says(&curve.sides[0])
        };
        assert_eq!(says("power", |_| 8.0), "slope +0.000 (log-log), so that ten times the objects cost 1.00 x; 10,000 beside 1: 1.00 x");
        assert_eq!(says("line", |x| 5.0 + 0.25 * x), "250 ms for each 1,000 objects, and 5.00 ms once");
        assert_eq!(says("each", |x| x.max(10.0)), "1000 ms for each 1,000 objects where there are 10,000");
    }

    #[test]
    fn a_curve_is_read_whole_or_not_at_all() {
        for name in ["name", "title", "x", "y", "unit", "fit", "sides"] {
            let mut json = sample("line", |x| x);
            json.as_object_mut().expect("an object").remove(name);
            assert!(Curve::parse(&json).is_none(), "{name}");
        }
        let broken = |change: fn(&mut Value)| {
            ["power", "line", "each"].into_iter().all(|fit| {
                let mut json = sample(fit, |x| x);
                change(&mut json);
                Curve::parse(&json).is_none()
            })
        };
        assert!(broken(|json| json["sides"][0]["points"][1]["rounds"] = json!([])), "a point without a round");
        assert!(broken(|json| json["sides"][0]["points"][1]["rounds"][0] = Value::Null), "a figure that is no number");
        assert!(broken(|json| json["sides"][0]["points"].as_array_mut().expect("a list").truncate(1)), "one point");
        assert!(broken(|json| json["name"] = json!("../elsewhere")), "a name that leaves the folder");
        assert!(broken(|json| json["sides"].as_array_mut().expect("a list").clear()), "no side");
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!([1.0, 999.0, 1_000.0, 1_234_567.0].map(grouped), ["1", "999", "1,000", "1,234,567"]);
    }
}
