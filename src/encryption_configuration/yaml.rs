//! The text as a tree whose every node knows its line. Scalars are borrowed from the text wherever YAML allows, so that a key in it is not copied.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle};
use zeroize::{Zeroize, Zeroizing};

use super::Problem;

/// Nodes that one file may have, aliases counted as often as they are looked at: some 10,000 keys.
const MAX_NODES: usize = 100_000;
/// Nesting of a file: the deepest that an EncryptionConfiguration has is seven.
const MAX_DEPTH: usize = 32;

/// A scalar. It may be a key: never printed.
pub(super) struct Scalar<'a> {
    text: Cow<'a, str>,
    plain: bool,
}

impl Scalar<'_> {
    /// The characters. Secret where the field is.
    pub(super) fn expose_secret(&self) -> &str {
        &self.text
    }

    /// Whether YAML reads it as nothing, `null`.
    fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_ref(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// Whether YAML reads it as a text, and not as a number or a truth value, which the API server would refuse.
    ///
    /// As YAML 1.1 has it, which the API server's reader follows.
    pub(super) fn is_text(&self) -> bool {
        const WORDS: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "y", "n"];
        const NO_NUMBERS: [&str; 4] = [".inf", "+.inf", "-.inf", ".nan"];
        let word = || WORDS.iter().chain(&NO_NUMBERS).any(|word| self.text.eq_ignore_ascii_case(word));
        !self.plain || !(self.is_null() || word() || self.is_number())
    }

    fn is_number(&self) -> bool {
        if !self.text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
            return false;
        }
        // A key may begin like a number, so the copy is wiped.
        let mut digits = Zeroizing::new(String::with_capacity(self.text.len()));
        digits.extend(self.text.chars().filter(|c| *c != '_'));
        let radix = |start, radix| {
            let unsigned = digits.trim_start_matches(['+', '-']);
            unsigned.strip_prefix(start).is_some_and(|digits| u64::from_str_radix(digits, radix).is_ok())
        };
        digits.parse::<f64>().is_ok() || radix("0x", 16) || radix("0o", 8) || radix("0b", 2)
    }

    /// Whether YAML reads it as a whole number.
    pub(super) fn number(&self) -> Option<i32> {
        self.text.parse().ok().filter(|_| self.plain)
    }
}

impl Drop for Scalar<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(text) = &mut self.text {
            text.zeroize();
        }
    }
}

/// What a node holds.
pub(super) enum Content<'a> {
    /// Text, number or truth value.
    Scalar(Scalar<'a>),
    /// A list.
    List(Vec<Rc<Node<'a>>>),
    /// Fields in their order. No name stands twice.
    Fields(Vec<Named<'a>>),
}

/// One field.
pub(super) struct Named<'a> {
    /// Of the name, counted from 1.
    pub(super) line: usize,
    /// It could be a key in the wrong place: see who quotes it.
    pub(super) name: String,
    pub(super) value: Rc<Node<'a>>,
}

/// One node of the tree.
pub(super) struct Node<'a> {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) content: Content<'a>,
}

impl Node<'_> {
    /// Whether it stands for a field that is not there.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar(scalar) if scalar.is_null())
    }
}

/// Parses the first document of `text`, YAML or JSON.
///
/// Errors name a line and never quote the text, which has keys in it.
pub(super) fn parse(text: &str) -> Result<Rc<Node<'_>>, (usize, Problem)> {
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0, line: 1 };
    loop {
        match reader.next()? {
            Event::StreamStart | Event::DocumentStart(..) => {}
            Event::StreamEnd => return Err((reader.line, Problem::Empty)),
            event => {
                let root = reader.node(event, 0)?;
                reader.end()?;
                return Ok(root);
            }
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, Rc<Node<'a>>>,
    nodes: usize,
    /// Where the last event began.
    line: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, (usize, Problem)> {
        loop {
            match self.parser.next_event() {
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok((event, span))) => {
                    self.line = span.start.line();
                    return Ok(event);
                }
                Some(Err(error)) => return Err((error.marker().line(), Problem::Syntax)),
                None => return Ok(Event::StreamEnd),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Rc<Node<'a>>, (usize, Problem)> {
        let line = self.line;
        self.nodes += 1;
        if self.nodes > MAX_NODES || depth > MAX_DEPTH {
            return Err((line, Problem::TooLarge));
        }
        let (content, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                // Another tag could make a number of it, or binary data.
                if tag.as_ref().is_some_and(|tag| !tag.is_yaml_core_schema_tag("str")) {
                    return Err((line, Problem::Tag));
                }
                let plain = tag.is_none() && matches!(style, ScalarStyle::Plain);
                (Content::Scalar(Scalar { text, plain }), anchor)
            }
            Event::SequenceStart(_, anchor, _) => (Content::List(self.list(depth)?), anchor),
            Event::MappingStart(_, anchor, _) => (Content::Fields(self.fields(depth)?), anchor),
            Event::Alias(anchor) => return self.anchors.get(&anchor).cloned().ok_or((line, Problem::Syntax)),
            _ => return Err((line, Problem::Syntax)),
        };
        let node = Rc::new(Node { line, content });
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Rc<Node<'a>>>, (usize, Problem)> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(list),
                event => list.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn fields(&mut self, depth: usize) -> Result<Vec<Named<'a>>, (usize, Problem)> {
        let mut fields: Vec<Named<'a>> = Vec::new();
        loop {
            let event = self.next()?;
            let line = self.line;
            let name = match event {
                Event::MappingEnd => return Ok(fields),
                // A name is checked against the known ones before anything is said about it, for it could be a key in the wrong place.
                Event::Scalar(name, _, 0, None) => name.into_owned(),
                _ => return Err((line, Problem::Name)),
            };
            if name == "<<" {
                return Err((line, Problem::Merge));
            }
            if fields.iter().any(|known| known.name == name) {
                return Err((line, Problem::Duplicate));
            }
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            fields.push(Named { line, name, value });
        }
    }

    /// The document ends behind its one node. What follows in a further document is not looked at, as in the API server.
    fn end(&mut self) -> Result<(), (usize, Problem)> {
        match self.next()? {
            Event::StreamEnd | Event::DocumentEnd => Ok(()),
            _ => Err((self.line, Problem::Syntax)),
        }
    }
}
