//! The plot of one curve: a dot for each median, a line from the lowest to the highest round, and dashes for the law that fits.

use super::curve::{Curve, grouped};
use super::results::digits;
use super::svg::Svg;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = WIDTH - 30.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = HEIGHT - 50.0;
const COLOURS: [&str; 2] = ["#4477aa", "#ee7733"];
const GREY: &str = "#dddddd";
/// Where y grows by more than this, its axis is logarithmic; else it begins at 0, and what is flat looks flat.
const WIDE: f64 = 20.0;
/// Pieces of the law's curve.
const PIECES: u32 = 60;

/// The whole file.
pub(super) fn graph(curve: &Curve) -> String {
    let points = || curve.sides.iter().flat_map(|side| &side.points);
    let x = Axis::logarithmic(points().map(|point| point.x), LEFT, RIGHT);
    let y = Axis::of(points().flat_map(|point| [point.low, point.high]));
    let mut svg = Svg::new(WIDTH, HEIGHT);
    svg.text((8.0, 20.0), "start", &format!("{}: {}, {}", curve.title, curve.y, curve.unit));
    for value in y.marks() {
        svg.line((LEFT, y.place(value)), (RIGHT, y.place(value)), GREY, 1);
        svg.text((LEFT - 6.0, y.place(value) + 4.0), "end", &mark(value));
    }
    for point in &curve.sides[0].points {
        svg.line((x.place(point.x), TOP), (x.place(point.x), BOTTOM), GREY, 1);
        svg.text((x.place(point.x), BOTTOM + 18.0), "middle", &grouped(point.x));
    }
    svg.text(((LEFT + RIGHT) / 2.0, HEIGHT - 10.0), "middle", &curve.x);
    for (at, side) in curve.sides.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let legend = LEFT + 160.0 * at as f64;
        svg.dot((legend, 40.0), colour, &side.name);
        svg.text((legend + 10.0, 44.0), "start", &side.name);
        let law = (0..=PIECES).map(|piece| x.value(f64::from(piece) / f64::from(PIECES)));
        svg.dashes(law.map(|value| (x.place(value), y.place(side.law.at(value)))), colour);
        for point in &side.points {
            let across = x.place(point.x);
            svg.line((across, y.place(point.low)), (across, y.place(point.high)), colour, 2);
            svg.dot((across, y.place(point.median)), colour, &format!("{}: {}", grouped(point.x), digits(point.median)));
        }
    }
    svg.end()
}

fn mark(value: f64) -> String {
    if value >= 10.0 || value.fract() == 0.0 { grouped(value) } else { digits(value) }
}

/// From values to places.
struct Axis {
    low: f64,
    high: f64,
    /// Where the ends are.
    places: [f64; 2],
    logarithmic: bool,
}

impl Axis {
    fn logarithmic(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = ends(values);
        Self { low, high, places: [from, to], logarithmic: true }
    }

    /// The vertical one.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = ends(values);
        let places = [BOTTOM, TOP];
        if high / low > WIDE {
            let [low, high] = [low.log10().floor(), high.log10().ceil()].map(|power| 10_f64.powf(power));
            return Self { low, high, places, logarithmic: true };
        }
        let step = step(high);
        Self { low: 0.0, high: (high / step).ceil() * step, places, logarithmic: false }
    }

    fn marks(&self) -> Vec<f64> {
        if self.logarithmic {
            return std::iter::successors(Some(self.low), |mark| Some(mark * 10.0)).take_while(|mark| *mark <= self.high * 1.001).collect();
        }
        let step = step(self.high);
        (0_u32..).map(|number| f64::from(number) * step).take_while(|mark| *mark <= self.high * 1.001).collect()
    }

    fn place(&self, value: f64) -> f64 {
        // A law may leave what was measured, and be less than nothing.
        let value = value.clamp(self.low, self.high);
        let part = if self.logarithmic { (value / self.low).log10() / (self.high / self.low).log10() } else { value / self.high };
        self.places[0] + (self.places[1] - self.places[0]) * part
    }

    /// The value at a part of a logarithmic axis.
    fn value(&self, part: f64) -> f64 {
        self.low * (self.high / self.low).powf(part)
    }
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// 1, 2 or 5 times a power of ten, so that three to seven of them make `high`.
fn step(high: f64) -> f64 {
    let power = 10_f64.powf((high / 7.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| high / step <= 7.0).unwrap_or(high)
}

#[cfg(test)]
mod tests {
    use super::super::curve::tests::sample;
    use super::*;

    fn dots(svg: &str) -> Vec<(f64, f64)> {
        let number = |text: &str, name: &str| -> f64 {
            let rest = text.split_once(name).expect("it is there").1;
            rest.split('"').next().expect("a value").parse().expect("a number")
        };
        // The first dot is the legend's.
        svg.lines().filter(|line| line.starts_with("<circle")).skip(1).map(|line| (number(line, "cx=\""), number(line, "cy=\""))).collect()
    }

    #[test]
    fn what_is_flat_looks_flat_and_what_grows_goes_up_in_a_straight_line() {
        let flat = dots(&graph(&Curve::parse(&sample("power", |_| 8.0)).expect("whole")));
        assert!(flat.len() == 3 && flat.iter().all(|(_, y)| *y == flat[0].1) && flat[0].1 < BOTTOM, "{flat:?}");
        let grows = dots(&graph(&Curve::parse(&sample("line", |x| x)).expect("whole")));
        let [(x0, y0), (x1, y1), (x2, y2)] = grows[..] else { panic!("three points: {grows:?}") };
        assert!(y0 > y1 && y1 > y2, "{grows:?}");
        assert!((x2 - x1 - (x1 - x0)).abs() < 0.2 && (y2 - y1 - (y1 - y0)).abs() < 0.2, "a hundredfold is as far each time: {grows:?}");
    }

    #[test]
    fn everything_is_within_the_picture_also_where_a_law_leaves_what_was_measured() {
        let flat_then_steep = graph(&Curve::parse(&sample("power", |x| if x < 1_000.0 { 2.0 } else { 20_000.0 })).expect("whole"));
        let below_nothing = graph(&Curve::parse(&sample("line", |x| if x < 2.0 { 50.0 } else { 0.1 * x })).expect("whole"));
        for svg in [flat_then_steep, below_nothing] {
            let dashes = svg.split_once("<polyline points=\"").and_then(|(_, rest)| rest.split_once('"')).expect("a law").0;
            let number = |text: &str| -> f64 { text.parse().expect("a number") };
            let dashes = dashes.split(' ').map(|point| point.split_once(',').expect("a point")).map(|(x, y)| (number(x), number(y)));
            for (x, y) in dots(&svg).into_iter().chain(dashes) {
                assert!((LEFT..=RIGHT).contains(&x) && (TOP..=BOTTOM).contains(&y), "{x}, {y} in {svg}");
            }
        }
    }

    #[test]
    fn an_axis_has_a_few_round_marks() {
        for (high, expected) in [(8.5, 2.0), (1.04, 0.2), (70.0, 10.0), (0.33, 0.05)] {
            assert!((step(high) - expected).abs() < 1e-9, "{high}: {}", step(high));
        }
    }
}
