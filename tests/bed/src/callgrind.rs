//! What callgrind counted: instructions of a run by object, source file and function, and so by [`Layer`].
//!
//! The program needs a symbol table and line tables. With them the file of an instruction is the one that it was written in, also where it was inlined
//! into a function from elsewhere; so a layer gets what its own source costs. Callgrind sees no kernel.

mod layer;

use std::collections::BTreeMap;
use std::path::Path;

pub use layer::Layer;

use crate::{Error, Result};

/// Where instructions were executed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Path of the program or the library.
    pub object: String,
    /// Source file, `???` where it is not known.
    pub file: String,
    /// The function that it is part of after inlining, demangled.
    pub function: String,
}

/// The instructions of one run, from the start of the process to its end.
#[derive(Debug, Default)]
pub struct Profile {
    own: BTreeMap<Place, u64>,
    total: u64,
}

/// Instructions of one call.
#[derive(Debug, Default, Clone)]
pub struct PerCall {
    /// All of them.
    pub total: f64,
    /// By layer; together they are the total.
    pub layers: BTreeMap<Layer, f64>,
    /// By layer and function, without what was called.
    pub functions: BTreeMap<(Layer, String), f64>,
}

impl Profile {
    /// Reads a file that callgrind wrote.
    ///
    /// Errors: what is not such a file, and one whose costs are not the total that callgrind itself states.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).map_err(|error| Error::while_doing(format!("read {}", file.display()), error))?;
        Self::parse(&text).map_err(|error| Error::while_doing(format!("read {}", file.display()), error))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut reader = Reader::default();
        for line in text.lines() {
            reader.take(line).ok_or_else(|| Error::new(format!("not a line of callgrind: {line:?}")))?;
        }
        let sum = reader.profile.own.values().sum::<u64>();
        match reader.stated {
            Some(stated) if stated == sum => Ok(Self { total: sum, ..reader.profile }),
            stated => Err(Error::new(format!("the costs are {sum}, the stated total is {stated:?}"))),
        }
    }

    /// All instructions.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What a call costs, where `few` is the same run as this with `calls` calls less: what a start costs is in neither.
    pub fn per_call(&self, few: &Self, calls: u64) -> PerCall {
        let each = |many: u64, few: u64| (many as f64 - few as f64) / calls as f64;
        let mut per_call = PerCall { total: each(self.total, few.total), ..PerCall::default() };
        for place in self.own.keys().chain(few.own.keys().filter(|place| !self.own.contains_key(*place))) {
            let count = |profile: &Self| profile.own.get(place).copied().unwrap_or_default();
            let cost = each(count(self), count(few));
            let layer = Layer::of(place);
            *per_call.layers.entry(layer).or_default() += cost;
            *per_call.functions.entry((layer, place.function.clone())).or_default() += cost;
        }
        per_call
    }
}

/// Names are given once, as `fn=(7) name`, and then meant by `fn=(7)`.
#[derive(Default)]
struct Reader {
    objects: BTreeMap<u64, String>,
    files: BTreeMap<u64, String>,
    functions: BTreeMap<u64, String>,
    object: String,
    file: String,
    function: String,
    /// The next line of costs is that of a call, which is counted where it was executed.
    called: bool,
    stated: Option<u64>,
    profile: Profile,
}

impl Reader {
    fn take(&mut self, line: &str) -> Option<()> {
        // The position in front is a number, or relative to the last one: `+3`, `-2`, `*`.
        if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            // A line that was executed without an instruction of its own states no cost.
            let cost = line.split_ascii_whitespace().nth(1).map_or(Some(0), |cost| cost.parse().ok())?;
            if !std::mem::take(&mut self.called) {
                let place = Place { object: self.object.clone(), file: self.file.clone(), function: self.function.clone() };
                *self.profile.own.entry(place).or_default() += cost;
            }
            return Some(());
        }
        if let Some(total) = line.strip_prefix("totals: ") {
            self.stated = Some(total.trim().parse().ok()?);
            return Some(());
        }
        let Some((what, value)) = line.split_once('=') else { return Some(()) };
        match what {
            "ob" => self.object = name(&mut self.objects, value)?,
            "fl" | "fi" | "fe" => self.file = name(&mut self.files, value)?,
            "fn" => self.function = name(&mut self.functions, value)?,
            // What is called may be named here for the first time.
            "cob" => drop(name(&mut self.objects, value)?),
            "cfl" | "cfi" => drop(name(&mut self.files, value)?),
            "cfn" => drop(name(&mut self.functions, value)?),
            "calls" => self.called = true,
            _ => {}
        }
        Some(())
    }
}

fn name(names: &mut BTreeMap<u64, String>, value: &str) -> Option<String> {
    let (id, name) = value.strip_prefix('(')?.split_once(')')?;
    let id = id.parse().ok()?;
    match name.trim_start() {
        "" => names.get(&id).cloned(),
        name => {
            // The same function at another depth of a recursion.
            let name = name.rsplit_once('\'').filter(|(_, depth)| depth.parse::<u32>().is_ok()).map_or(name, |(name, _)| name);
            names.insert(id, name.to_owned());
            Some(name.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `main` executes 10 of its own and 5 of an inlined file, and calls `free`, whose 7 are named with it.
    const FEW: &str = "# callgrind format\nversion: 1\npositions: line\nevents: Ir\nsummary: 22\n\nob=(1) /x/keywright\nfl=(1) /x/src/service.rs\n\
                       fn=(1) keywright::service::Service::call\n16 4\n+3 6\nfi=(2) /x/registry/src/index-1/h2-0.4.1/src/share.rs\n* 5\nfe=(1)\n\
                       cob=(2) /lib/libc.so.6\ncfi=(3) ./malloc/malloc.c\ncfn=(2) free\ncalls=1 20\n16 7\n\nob=(2)\nfl=(3)\nfn=(2)\n3 7\n\ntotals: 22\n";

    #[test]
    fn costs_are_counted_once_where_they_were_executed() {
        let profile = Profile::parse(FEW).expect("callgrind writes it so");
        assert_eq!(profile.total(), 22);
        let many = Profile::parse(&FEW.replace("+3 6", "+3 26").replace("\n3 7\n", "\n3 13\n").replace("totals: 22", "totals: 48"));
        let call = many.expect("as good").per_call(&profile, 2);
        assert_eq!(call.total, 13.0);
        assert_eq!(call.layers, BTreeMap::from([(Layer::Http2, 0.0), (Layer::Service, 10.0), (Layer::Allocator, 3.0)]));
        assert_eq!(call.functions[&(Layer::Allocator, "free".to_owned())], 3.0);
    }

    #[test]
    fn a_cut_file_and_one_of_another_total_are_refused() {
        for bad in [FEW.replace("totals: 22", ""), FEW.replace("totals: 22", "totals: 23"), FEW.replace("ob=(1) /x", "ob=1) /x")] {
            Profile::parse(&bad).expect_err("not what callgrind counted");
        }
    }
}
