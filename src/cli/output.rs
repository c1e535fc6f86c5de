//! `--output table|json`, the same for every command that has something to show.

use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::failure::Failure;
use super::print;

/// How to print.
#[derive(Args)]
#[group(id = "printing")]
pub(super) struct Arguments {
    /// How to print the answer
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

impl Arguments {
    /// Whether the answer is for a script.
    pub(super) fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Prints one of the two. A failure is printed as JSON too, where that was asked for, before it goes on to standard error.
    pub(super) fn show(&self, outcome: Result<Answer, Failure>) -> Result<(), Failure> {
        match (outcome, self.output) {
            (Ok(answer), Output::Table) => print(&answer.text),
            (Ok(answer), Output::Json) => print(&format!("{:#}\n", answer.json)),
            (Err(failure), Output::Table) => return Err(failure),
            (Err(failure), Output::Json) => {
                let error = json!({
                    "exit": failure.exit as u8, "attempted": failure.attempted, "why": failure.why, "next": failure.next,
                });
                print(&format!("{:#}\n", json!({ "error": error })));
                return Err(failure);
            }
        }
        Ok(())
    }
}

/// What a command has to say, for people and for scripts.
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) json: Value,
}

/// Two columns, names and values.
pub(super) fn pairs<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    table(None, rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]))
}

/// Columns under a header.
pub(super) fn columns(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    table(Some(header), rows)
}

fn table(header: Option<&[&str]>, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if let Some(header) = header {
        table.set_header(header.iter().copied());
    }
    for row in rows {
        table.add_row(row);
    }
    format!("{}\n", table.trim_fmt())
}
