//! The Prometheus text format, as far as a test needs it.

use std::collections::BTreeMap;

/// One line of a metrics page.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric's name, with `_bucket`, `_count` and the like.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// All samples of a page; comments and lines of other shapes are left out.
pub fn parse(page: &str) -> Vec<Sample> {
    page.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

/// The samples of `page` called `name` whose labels hold all of `wanted`.
pub fn find(page: &str, name: &str, wanted: &[(&str, &str)]) -> Vec<Sample> {
    parse(page)
        .into_iter()
        .filter(|sample| sample.name == name)
        .filter(|sample| wanted.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|found| found == value)))
        .collect()
}

fn sample(line: &str) -> Option<Sample> {
    let split = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(split);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, quoted) = rest.split_once("=\"")?;
            let (value, after) = unquote(quoted)?;
            labels.insert(label.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.trim_start().split(' ').next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// The text up to the closing quotation mark, with `\\`, `\"` and `\n` undone, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP a_total what\n# TYPE a_total counter\na_total{x=\"1\",y=\"q\\\"}, \"} 3\nb 2.5e-01\nc{} +Inf\nnonsense\n";

    #[test]
    fn labels_may_hold_quotation_marks_and_brackets() {
        let found = find(PAGE, "a_total", &[("x", "1"), ("y", "q\"}, ")]);
        assert_eq!(found.iter().map(|sample| sample.value).collect::<Vec<_>>(), [3.0]);
        assert!(find(PAGE, "a_total", &[("x", "2")]).is_empty());
    }

    #[test]
    fn samples_without_labels_are_read_and_nonsense_is_not() {
        let values: Vec<_> = parse(PAGE).into_iter().map(|sample| (sample.name, sample.value)).collect();
        assert_eq!(values, [("a_total".to_owned(), 3.0), ("b".to_owned(), 0.25), ("c".to_owned(), f64::INFINITY)]);
    }
}
