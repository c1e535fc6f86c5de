//! How single fields stand in JSON.

use serde::{Deserialize, Deserializer};

/// By `Display` and `FromStr`.
pub(super) mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(in super::super) fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::custom("a text is not of the form of its field"))
    }
}

/// `null` for none. The field must be there: serde takes an absent option for none, unless it is told how to read it.
pub(super) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// In 16 hexadecimal digits: many readers of JSON lose digits of large numbers. `null` if there is none.
pub(super) mod cluster_id {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(in super::super) fn serialize<S: Serializer>(id: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        id.map(|id| format!("{id:016x}")).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let id = u64::from_str_radix(&text, 16).ok().filter(|id| format!("{id:016x}") == text);
        id.map(Some).ok_or_else(|| D::Error::custom("a cluster id is not 16 lower-case hexadecimal digits"))
    }
}
