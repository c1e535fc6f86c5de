//! What the benchmark `instructions` has left: figures, and what each is made of.

use std::collections::BTreeMap;

use serde_json::Value;

/// One figure of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) value: f64,
    /// How much it may grow: a share of the value.
    pub(super) tolerance: f64,
    /// By layer or system call; together they are about the value.
    pub(super) parts: BTreeMap<String, f64>,
    /// For some parts, what is most in it.
    pub(super) details: BTreeMap<String, Vec<String>>,
}

/// All figures of a result; it says what is wrong with one that is not whole.
pub(super) fn parse(text: &str) -> Result<Vec<Figure>, String> {
    let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let figures: Option<Vec<_>> = json["figures"].as_array().and_then(|figures| figures.iter().map(Figure::parse).collect());
    figures.filter(|figures| !figures.is_empty()).ok_or_else(|| "it has no figures, or one that is not whole".to_owned())
}

impl Figure {
    fn parse(json: &Value) -> Option<Self> {
        let words = |list: &Value| list.as_array()?.iter().map(|word| word.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
        let parts = json["parts"].as_object()?.iter().map(|(name, value)| Some((name.clone(), value.as_f64()?)));
        let details = json["details"].as_object()?.iter().map(|(name, list)| Some((name.clone(), words(list)?)));
        Some(Self {
            name: json["figure"].as_str()?.to_owned(),
            value: json["value"].as_f64()?,
            tolerance: json["tolerance"].as_f64()?,
            parts: parts.collect::<Option<_>>()?,
            details: details.collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_without_a_value_is_none() {
        let whole =
            r#"{"figures": [{"figure": "f", "value": 1.5, "tolerance": 0.02, "parts": {"libc": 1.5}, "details": {"libc": ["x"]}}]}"#;
        assert_eq!(parse(whole).expect("whole")[0].parts["libc"], 1.5);
        // What is no number is `null` in JSON.
        for bad in
            [whole.replace("1.5, \"tol", "null, \"tol"), whole.replace("{\"libc\": 1.5}", "{\"libc\": null}"), "{\"figures\": []}".into()]
        {
            parse(&bad).expect_err("not whole");
        }
    }
}
