//! A report for people.

use std::fmt::Write as _;

use comfy_table::{Table, presets};

use super::{Report, Source};
use crate::scan::Limit;

impl Report {
    /// Tables and sentences. Names from etcd are escaped, so that none of them steers a terminal.
    pub fn text(&self) -> String {
        let mut text = self.heading();
        let mut table = table(&["RESOURCE", "VALUES", "ENCRYPTED BY", "NAME", "KEY", "DETAIL"]);
        for count in &self.counts {
            let resource = if count.old { format!("{} (old revisions)", shown(&count.resource)) } else { shown(&count.resource) };
            let [provider, key_id, detail] = [&count.provider, &count.key_id, &count.detail].map(|text| shown(text));
            table.add_row([resource, count.values.to_string(), count.kind.name().to_owned(), provider, key_id, detail]);
        }
        // Writing to a String does not fail.
        let _ = writeln!(text, "\n{}", table.trim_fmt());
        if !self.seeds.is_empty() {
            let mut table = self::table(&["KEY", "WRAPPED SEEDS"]);
            for seeds in &self.seeds {
                table.add_row([shown(&seeds.key_id), seeds.distinct.to_string()]);
            }
            let _ = writeln!(text, "\n{}", table.trim_fmt());
        }
        text.push_str(&self.remarks());
        text
    }

    fn heading(&self) -> String {
        let store = &self.store;
        let source = match store.source {
            Source::Live => "etcd",
            Source::Snapshot => "snapshot",
        };
        let cluster = store.cluster_id.map_or_else(String::new, |id| format!(" of cluster {id:016x}"));
        let compacted = store.compaction_revision.map_or_else(String::new, |revision| format!(", compacted up to {revision}"));
        let (values, prefix) = (self.values, shown(&store.prefix));
        let read = format!("{values} values in the {source}{cluster} at revision {}{compacted}, prefix {prefix}\n", store.revision);
        let keyring = match &self.keyring {
            Some(keyring) => format!("keyring {} at generation {}, primary {}\n", keyring.id, keyring.generation, keyring.primary),
            None => "no keyring: this report is no evidence\n".to_owned(),
        };
        format!("{read}read from {} to {}\n{keyring}", self.started, self.ended)
    }

    /// What is missing, so that nobody takes a part for the whole.
    fn remarks(&self) -> String {
        let mut text = String::new();
        for unread in &self.unread {
            let to = if unread.to.is_empty() { "the end".to_owned() } else { shown(&unread.to) };
            let _ = writeln!(text, "not read: from {} to {to}: {}", shown(&unread.from), shown(&unread.why));
        }
        if self.uncounted > 0 {
            let _ = writeln!(text, "not counted: {} values, for there are too many kinds of values", self.uncounted);
        }
        for limit in &self.limits {
            match limit {
                Limit::Counts => {}
                Limit::FirstKeys => text.push_str("not listed: some of the first keys of each count, for they are too long\n"),
                Limit::Seeds => text.push_str("there are more wrapped seeds than were counted\n"),
            }
        }
        if text.is_empty() { text } else { format!("\n{text}") }
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    table
}

/// Without control characters.
fn shown(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}
