//! Each text once, and a small number for it: rows are compared and found without copying texts.

use std::collections::HashMap;
use std::sync::Arc;

/// Stands for a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Text(u32);

/// Texts seen so far.
#[derive(Default)]
pub(super) struct Strings {
    numbers: HashMap<Arc<str>, Text>,
    texts: Vec<Arc<str>>,
}

impl Strings {
    /// The number of `text`; `None` if it is new and `may_add` is false.
    pub(super) fn find_or_add(&mut self, text: &str, may_add: bool) -> Option<Text> {
        if let Some(known) = self.numbers.get(text) {
            return Some(*known);
        }
        if !may_add {
            return None;
        }
        let number = Text(u32::try_from(self.texts.len()).ok()?);
        let text: Arc<str> = text.into();
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        Some(number)
    }

    /// The text that `number` stands for.
    pub(super) fn text(&self, number: Text) -> &str {
        usize::try_from(number.0).ok().and_then(|at| self.texts.get(at)).map_or("", AsRef::as_ref)
    }
}
