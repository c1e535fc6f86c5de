//! What `cargo test` said: which targets ran, and how many tests of each passed.

use std::collections::BTreeMap;

/// Counts of one target, or of many.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) ignored: usize,
}

/// Tallies by target: source file in its package, name of the crate.
#[derive(Debug, Default)]
pub(super) struct Report {
    tallies: BTreeMap<(String, String), Tally>,
    current: Option<(String, String)>,
}

impl Report {
    /// Takes the next line of cargo's output.
    pub(super) fn see(&mut self, line: &str) {
        if let Some(target) = started(line) {
            self.tallies.entry(target.clone()).or_default();
            self.current = Some(target);
        } else if let (Some(tally), Some(target)) = (result(line), &self.current) {
            add(self.tallies.entry(target.clone()).or_default(), tally);
        }
    }

    /// All tests of all targets.
    pub(super) fn total(&self) -> Tally {
        self.tallies.values().fold(Tally::default(), |mut sum, tally| {
            add(&mut sum, *tally);
            sum
        })
    }

    /// The tally of one target, `None` when it did not run.
    pub(super) fn of(&self, source: &str, name: &str) -> Option<Tally> {
        self.tallies.get(&(source.to_owned(), name.to_owned())).copied()
    }

    /// Takes over what another run found.
    pub(super) fn add(&mut self, other: Report) {
        for (target, tally) in other.tallies {
            add(self.tallies.entry(target).or_default(), tally);
        }
    }
}

fn add(sum: &mut Tally, tally: Tally) {
    sum.passed += tally.passed;
    sum.failed += tally.failed;
    sum.ignored += tally.ignored;
}

/// `     Running unittests src/lib.rs (target/debug/deps/keywright-0123)`, `   Doc-tests keywright`
fn started(line: &str) -> Option<(String, String)> {
    let line = line.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(("documentation".to_owned(), name.trim().to_owned()));
    }
    let (source, program) = line.strip_prefix("Running ")?.strip_suffix(')')?.rsplit_once(" (")?;
    let (name, _hash) = program.rsplit('/').next()?.rsplit_once('-')?;
    Some((source.trim_start_matches("unittests ").to_owned(), name.to_owned()))
}

/// `test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s`
fn result(line: &str) -> Option<Tally> {
    let mut tally = Tally::default();
    for part in line.strip_prefix("test result: ")?.split(['.', ';']) {
        if let Some((count, what)) = part.trim().split_once(' ')
            && let Ok(count) = count.parse::<usize>()
        {
            match what {
                "passed" => tally.passed = count,
                "failed" => tally.failed = count,
                "ignored" => tally.ignored = count,
                _ => {}
            }
        }
    }
    Some(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
   Compiling keywright v0.1.0
     Running unittests src/lib.rs (target/debug/deps/keywright-8b6d0f)

running 3 tests
test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s

     Running tests/two_words.rs (/elsewhere/debug/deps/two_words-01ab)
   Doc-tests keywright
test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s
";

    #[test]
    fn results_are_counted_for_the_target_that_ran() {
        let mut report = Report::default();
        OUTPUT.lines().for_each(|line| report.see(line));
        assert_eq!(report.of("src/lib.rs", "keywright"), Some(Tally { passed: 1, failed: 1, ignored: 1 }));
        assert_eq!(report.of("documentation", "keywright"), Some(Tally { passed: 5, failed: 0, ignored: 0 }));
        assert_eq!(report.total(), Tally { passed: 6, failed: 1, ignored: 1 });
    }

    #[test]
    fn a_target_that_crashed_ran_without_a_result() {
        let mut report = Report::default();
        OUTPUT.lines().for_each(|line| report.see(line));
        assert_eq!(report.of("tests/two_words.rs", "two_words"), Some(Tally::default()));
        assert_eq!(report.of("tests/other.rs", "other"), None);
    }
}
