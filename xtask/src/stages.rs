//! What a long command does, step by step: a heading for each stage, its time, and one table at the end.

use std::time::{Duration, Instant};

use keywright_testbed::tools::elapsed;

use crate::disk;
use crate::run::TaskError;

/// What a stage found.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// Why the stage failed; empty when it did not.
    pub(crate) problems: Vec<String>,
}

impl Outcome {
    /// The outcome of a stage without tests.
    pub(crate) fn ok() -> Self {
        Self::default()
    }
}

/// The stages so far.
pub(crate) struct Stages {
    started: Instant,
    done: Vec<(String, Outcome, Duration)>,
}

impl Stages {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), done: Vec::new() }
    }

    /// Runs one stage; returns whether it went well. An error is a problem of this stage, and the next one may still run.
    pub(crate) fn run(&mut self, title: &str, work: impl FnOnce() -> Result<Outcome, TaskError>) -> bool {
        println!("\n== {title}");
        let start = Instant::now();
        let mut outcome = work().unwrap_or_else(|error| Outcome { problems: vec![error.to_string()], ..Outcome::default() });
        if outcome.failed > 0 && outcome.problems.is_empty() {
            outcome.problems.push(format!("{} tests failed", outcome.failed));
        }
        for problem in &outcome.problems {
            println!("FAILED: {problem}");
        }
        let free = disk::free().map_or_else(|error| error.to_string(), |free| format!("{} free on the disk", disk::shown(free)));
        println!("-- {title}: {}, {free}", elapsed(start.elapsed()));
        let good = outcome.problems.is_empty();
        self.done.push((title.to_owned(), outcome, start.elapsed()));
        good
    }

    /// Tests that passed in all stages.
    pub(crate) fn passed(&self) -> usize {
        self.done.iter().map(|(_, outcome, _)| outcome.passed).sum()
    }

    /// Tests that failed in all stages; a stage that failed without a failed test counts as one.
    pub(crate) fn failed(&self) -> usize {
        self.done.iter().map(|(_, outcome, _)| outcome.failed.max(usize::from(!outcome.problems.is_empty()))).sum()
    }

    /// Prints the table, then every problem once more, so that nobody has to scroll.
    pub(crate) fn print_summary(&self) {
        let width = self.done.iter().map(|(title, ..)| title.len()).max().unwrap_or_default().max("total".len());
        let tests = |passed: usize| if passed > 0 { format!("{passed} passed") } else { String::new() };
        println!();
        for (title, outcome, time) in &self.done {
            let result = if outcome.problems.is_empty() { "ok" } else { "FAILED" };
            println!("{title:width$}  {result:6}  {:>12}  {:>10}", tests(outcome.passed), elapsed(*time));
        }
        println!("{:width$}  {:6}  {:>12}  {:>10}", "total", "", tests(self.passed()), elapsed(self.started.elapsed()));
        for (title, outcome, _) in &self.done {
            for problem in &outcome.problems {
                println!("FAILED: {title}: {problem}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_breaks_counts_as_one_failure() {
        let mut stages = Stages::new();
        assert!(stages.run("good", || Ok(Outcome { passed: 3, ..Outcome::default() })));
        assert!(!stages.run("two tests fail", || Ok(Outcome { passed: 1, failed: 2, ..Outcome::default() })));
        assert!(!stages.run("does not start", || Err(TaskError::Cluster("no disk".to_owned()))));
        assert_eq!((stages.passed(), stages.failed()), (4, 3));
    }
}
