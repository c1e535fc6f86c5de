//! Which resources an entry is for: names and wildcards, and the rules that keep one from hiding another.

use std::fmt;

use thiserror::Error;

/// What may stand in a list of resources.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pattern {
    /// `secrets`, `deployments.apps`: one resource of one group; the core group is empty.
    Resource {
        /// Its plural.
        name: String,
        /// Its API group.
        group: String,
    },
    /// `*.apps`, or `*.` for the core group: all resources of one group.
    Group(String),
    /// `*.*`: all resources.
    Everything,
}

/// Why a text is not a pattern that the API server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PatternError {
    /// It has capital letters.
    #[error("the name of a resource has no capital letters, such as secrets or pandas.example.com")]
    Capitals,
    /// `*`.
    #[error("`*` is not a resource; write `*.` for the core group or `*.*` for everything")]
    Star,
    /// `secrets.*`.
    #[error("one resource in all groups cannot be named; name its group")]
    AcrossGroups,
    /// The group `events.k8s.io`.
    #[error("events are stored in the core group; write events")]
    Events,
    /// The group `extensions`.
    #[error("the group extensions is gone")]
    Extensions,
    /// An allocator.
    #[error("it has no REST API, so it cannot be encrypted")]
    NoApi,
}

impl Pattern {
    /// Parses `text` by the rules of the API server, which takes names that no resource has.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.contains(char::is_uppercase) {
            return Err(PatternError::Capitals);
        }
        let (name, group) = text.split_once('.').unwrap_or((text, ""));
        match (name, group) {
            _ if text == "*" => Err(PatternError::Star),
            _ if matches!(text, "apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations") => Err(PatternError::NoApi),
            (_, "events.k8s.io") => Err(PatternError::Events),
            (_, "extensions") => Err(PatternError::Extensions),
            ("*", "*") => Ok(Self::Everything),
            (_, "*") => Err(PatternError::AcrossGroups),
            ("*", group) => Ok(Self::Group(group.to_owned())),
            (name, group) => Ok(Self::Resource { name: name.to_owned(), group: group.to_owned() }),
        }
    }

    /// Whether it is for resource `name` of `group` (empty: the core group).
    pub fn matches(&self, name: &str, group: &str) -> bool {
        match self {
            Self::Resource { name: own, group: in_group } => own == name && in_group == group,
            Self::Group(in_group) => in_group == group,
            Self::Everything => true,
        }
    }

    /// The group that it is about, if about one.
    fn group(&self) -> Option<&str> {
        match self {
            Self::Resource { group, .. } | Self::Group(group) => Some(group),
            Self::Everything => None,
        }
    }

    /// Whether a later entry of this pattern would never be asked, because `earlier` takes what it is for.
    ///
    /// The same single resource twice is no such case: the API server puts the lists of providers one behind the other.
    pub(super) fn is_masked_by(&self, earlier: &Self) -> bool {
        match earlier {
            Self::Everything => true,
            Self::Group(group) => self.group() == Some(group),
            Self::Resource { .. } => false,
        }
    }

    /// Whether both in one list are an error: the same twice, a name beside the wildcard of its group, anything beside `*.*`.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let wild = |pattern: &Self| matches!(pattern, Self::Group(_));
        match (self, other) {
            (Self::Everything, _) | (_, Self::Everything) => true,
            _ => self == other || ((wild(self) || wild(other)) && self.group() == other.group()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource { name, group } if group.is_empty() => f.write_str(name),
            Self::Resource { name, group } => write!(f, "{name}.{group}"),
            Self::Group(group) => write!(f, "*.{group}"),
            Self::Everything => f.write_str("*.*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_shown_as_they_are_written_and_the_dot_of_the_core_group_is_dropped() {
        for text in ["secrets", "deployments.apps", "pandas.awesome.bears.example", "*.", "*.apps", "*.*"] {
            assert_eq!(Pattern::parse(text).expect(text).to_string(), text);
        }
        assert_eq!(Pattern::parse("secrets."), Pattern::parse("secrets"));
    }

    #[test]
    fn what_the_api_server_refuses_is_refused_for_its_reason() {
        for (text, error) in [
            ("Secrets", PatternError::Capitals),
            ("*", PatternError::Star),
            ("secrets.*", PatternError::AcrossGroups),
            ("events.events.k8s.io", PatternError::Events),
            ("*.events.k8s.io", PatternError::Events),
            ("*.extensions", PatternError::Extensions),
            ("ingresses.extensions", PatternError::Extensions),
            ("apiserveripinfo", PatternError::NoApi),
            ("serviceipallocations", PatternError::NoApi),
            ("servicenodeportallocations", PatternError::NoApi),
        ] {
            assert_eq!(Pattern::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn wildcards_mask_and_overlap_what_they_take_and_nothing_else() {
        let pattern = |text: &str| Pattern::parse(text).expect(text);
        // earlier, later, masked, overlapping in one list
        for (earlier, later, masked, overlaps) in [
            ("secrets", "secrets", false, true),
            ("secrets", "*.", false, true),
            ("*.", "secrets", true, true),
            ("*.", "*.", true, true),
            ("*.", "*.apps", false, false),
            ("*.", "deployments.apps", false, false),
            ("*.apps", "deployments.apps", true, true),
            ("*.*", "secrets", true, true),
            ("*.*", "*.*", true, true),
            ("*.apps", "*.*", false, true),
            ("secrets", "configmaps", false, false),
        ] {
            let (earlier, later) = (pattern(earlier), pattern(later));
            assert_eq!(later.is_masked_by(&earlier), masked, "{later} behind {earlier}");
            assert_eq!((later.overlaps(&earlier), earlier.overlaps(&later)), (overlaps, overlaps), "{later} beside {earlier}");
        }
    }
}
