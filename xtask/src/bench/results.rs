//! What a benchmark has left in `target/bench/NAME.json` (benches/shared/report.rs).

use std::path::Path;

use serde_json::Value;

use super::curve::Curve;
use crate::files;
use crate::run::TaskError;

/// Of one benchmark.
pub(super) struct Results {
    pub(super) bench: String,
    pub(super) host: String,
    /// Before and after.
    pub(super) load: [f64; 2],
    /// Why the figures must not be quoted, if so.
    pub(super) not_a_claim: Option<String>,
    pub(super) gates: Vec<Gate>,
    /// `name: version, size` of the programs, where the benchmark says so.
    pub(super) builds: Vec<String>,
    /// Only told: point, side, requests per second, p50 and p99 in microseconds.
    pub(super) closed_loop: Vec<(String, String, [f64; 3])>,
    /// What grows with what, where the benchmark says so.
    pub(super) curves: Vec<Curve>,
    /// Only told, by the benchmark of small parts.
    pub(super) parts: Vec<Part>,
}

/// What one small part costs.
pub(super) struct Part {
    pub(super) name: String,
    /// The median in nanoseconds, between the ends of its confidence interval.
    pub(super) time: [f64; 3],
    pub(super) instructions: f64,
}

/// A ratio and what it must be.
pub(super) struct Gate {
    pub(super) metric: String,
    /// The median of each side, with its name and unit.
    pub(super) sides: [String; 2],
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) rounds: usize,
    pub(super) at_least: Option<f64>,
    pub(super) at_most: Option<f64>,
    pub(super) stretch: Option<f64>,
    pub(super) holds: bool,
}

impl Results {
    /// `None` if the benchmark has left nothing: it has no result.
    pub(super) fn read(bench: &str, file: &Path) -> Result<Option<Self>, TaskError> {
        let Some(text) = files::read_if_there(file)? else { return Ok(None) };
        let failed = |reason| TaskError::Output { command: format!("cargo bench --bench {bench}"), reason };
        let json = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        let results = Self::parse(&json).ok_or_else(|| failed(format!("{} is not what a benchmark leaves", file.display())))?;
        if results.bench != bench || results.gates.is_empty() && results.parts.is_empty() {
            return Err(failed(format!("{} has no figure of {bench}", file.display())));
        }
        Ok(Some(results))
    }

    pub(super) fn parse(json: &Value) -> Option<Self> {
        let host = &json["host"];
        let load = json["load_average"].as_array()?;
        let builds = json["builds"].as_array().into_iter().flatten().map(|build| {
            let megabytes = build["bytes"].as_f64()? / 1e6;
            Some(format!("{}: {}, {megabytes:.1} MB", build["name"].as_str()?, build["version"].as_str()?))
        });
        let closed_loop = json["closed_loop"].as_array().into_iter().flatten().map(|side| {
            let figures = ["requests_per_second", "p50_us", "p99_us"].map(|name| side[name].as_f64());
            let [Some(rate), Some(p50), Some(p99)] = figures else { return None };
            Some((side["point"].as_str()?.to_owned(), side["name"].as_str()?.to_owned(), [rate, p50, p99]))
        });
        Some(Self {
            bench: json["bench"].as_str()?.to_owned(),
            host: format!("{}, {} cores, Linux {}", host["cpu"].as_str()?, host["cores"].as_u64()?, host["kernel"].as_str()?),
            load: [load.first()?.as_f64()?, load.get(1)?.as_f64()?],
            not_a_claim: json["not_a_claim"].as_str().map(str::to_owned),
            gates: json["gates"].as_array()?.iter().map(Gate::parse).collect::<Option<_>>()?,
            builds: builds.collect::<Option<_>>()?,
            closed_loop: closed_loop.collect::<Option<_>>()?,
            curves: json["curves"].as_array().into_iter().flatten().map(Curve::parse).collect::<Option<_>>()?,
            parts: json["parts"].as_array().into_iter().flatten().map(Part::parse).collect::<Option<_>>()?,
        })
    }

    pub(super) fn holds(&self) -> bool {
        self.gates.iter().all(|gate| gate.holds)
    }
}

impl Part {
    fn parse(json: &Value) -> Option<Self> {
        let [low, median, high] = ["low_ns", "median_ns", "high_ns"].map(|name| json[name].as_f64());
        Some(Self { name: json["part"].as_str()?.to_owned(), time: [low?, median?, high?], instructions: json["instructions"].as_f64()? })
    }
}

impl Gate {
    fn parse(json: &Value) -> Option<Self> {
        let side = |at: usize| {
            let side = &json["sides"][at];
            Some(format!("{}: {} {}", side["side"].as_str()?, digits(side["value"].as_f64()?), side["unit"].as_str()?))
        };
        let ratio = &json["ratio"];
        Some(Self {
            metric: json["metric"].as_str()?.to_owned(),
            sides: [side(0)?, side(1)?],
            // A ratio that is no number is `null` in JSON, and so no result.
            median: ratio["median"].as_f64()?,
            low: ratio["low"].as_f64()?,
            high: ratio["high"].as_f64()?,
            rounds: ratio["rounds"].as_array()?.len(),
            at_least: json["at_least"].as_f64(),
            at_most: json["at_most"].as_f64(),
            stretch: json["stretch"].as_f64(),
            holds: json["holds"].as_bool()?,
        })
    }
}

/// Three digits that count.
pub(super) fn digits(value: f64) -> String {
    match value.abs() {
        ..9.995 => format!("{value:.2}"),
        ..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::curve::tests::sample as curve;
    use super::*;
    use serde_json::json;

    pub(crate) fn sample() -> Value {
        let gate = json!({
            "metric": "server CPU/request 1 x 1",
            "sides": [{ "side": "keywright", "value": 20.456, "unit": "us" }, { "side": "reference", "value": 40.0, "unit": "us" }],
            "ratio": { "median": 0.51, "low": 0.48, "high": 0.55, "rounds": [0.48, 0.51, 0.55] },
            "at_least": null, "at_most": 0.6, "stretch": 0.4, "holds": true,
        });
        json!({
            "bench": "side_by_side", "host": { "cpu": "a processor", "cores": 2, "kernel": "6.1" }, "load_average": [0.1, 1.2],
            "not_a_claim": null, "gates": [gate],
            "builds": [{ "name": "keywright", "version": "keywright 0.1.0", "bytes": 3_100_000 }],
            "parts": [{ "part": "parse a key_id", "low_ns": 99.0, "median_ns": 101.0, "high_ns": 104.0, "instructions": 700.4 }],
            "closed_loop": [{ "point": "1 x 1", "name": "keywright", "requests_per_second": 9000.0, "p50_us": 80.0, "p99_us": 150.0 }],
        })
    }

    #[test]
    fn a_result_is_read_whole_or_not_at_all() {
        let results = Results::parse(&sample()).expect("whole");
        assert_eq!(results.gates[0].sides, ["keywright: 20.5 us", "reference: 40.0 us"]);
        assert_eq!((results.gates[0].rounds, results.builds[0].as_str()), (3, "keywright: keywright 0.1.0, 3.1 MB"));
        for broken in ["bench", "host", "load_average", "gates"] {
            let mut json = sample();
            json.as_object_mut().expect("an object").remove(broken);
            assert!(Results::parse(&json).is_none(), "{broken}");
        }
        let mut json = sample();
        json["gates"][0]["ratio"]["median"] = Value::Null;
        assert!(Results::parse(&json).is_none(), "a ratio that is no number");
        let mut json = sample();
        json["parts"][0]["instructions"] = Value::Null;
        assert!(Results::parse(&json).is_none(), "a part that was not counted");
        let mut json = sample();
        json["curves"] = json!([curve("power", |x| x)]);
        assert_eq!(Results::parse(&json).expect("whole").curves.len(), 1);
        json["curves"][0]["sides"] = Value::Null;
        assert!(Results::parse(&json).is_none(), "a curve without points");
    }

    #[test]
    fn three_digits_count_on_both_sides_of_nothing() {
        assert_eq!([0.123, -0.5, 10.26, -10.26, 1234.5].map(digits), ["0.12", "-0.50", "10.3", "-10.3", "1234"]);
    }
}
