//! From protobuf to what the API server shows. All texts and values stay borrowed from the plaintext.
//!
//! Field numbers: `k8s.io/api` core/v1/generated.proto, `k8s.io/apimachinery` pkg/apis/meta/v1 and pkg/runtime/generated.proto.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use super::ShowError;
use crate::recover::wire::{Field, Fields, WireError};

/// A value of an object, as JSON knows them.
pub(super) enum Value<'a> {
    /// A text. Owned ones are public: times and revisions.
    Text(Cow<'a, str>),
    /// Bytes, shown as base64.
    Bytes(&'a [u8]),
    Number(i64),
    Truth(bool),
    List(Vec<Value<'a>>),
    /// Sorted by name, as `kubectl` prints it.
    Map(BTreeMap<&'a str, Value<'a>>),
}

type Map<'a> = BTreeMap<&'a str, Value<'a>>;
type Result<T> = std::result::Result<T, ShowError>;

/// Decodes a `runtime.Unknown`, which wraps every stored built-in object.
pub(super) fn decode<'a>(message: &'a [u8], revision: Option<&'a str>) -> Result<Value<'a>> {
    let (mut api_version, mut kind, mut raw, mut plain) = ("", "", None, true);
    for field in Fields::of(message) {
        match field? {
            (1, Field::Bytes(types)) => {
                for field in Fields::of(types) {
                    match field? {
                        (1, Field::Bytes(bytes)) => api_version = text(bytes)?,
                        (2, Field::Bytes(bytes)) => kind = text(bytes)?,
                        _ => {}
                    }
                }
            }
            (2, Field::Bytes(bytes)) => raw = Some(bytes),
            // An encoding, or another type than protobuf: nothing writes these.
            (3 | 4, Field::Bytes(word)) => plain &= word.is_empty(),
            _ => {}
        }
    }
    let mut object = match (api_version, kind) {
        // Every object has metadata, so one without any bytes was cut.
        ("v1", "Secret") if plain => secret(raw.ok_or(WireError)?, revision)?,
        ("v1", "ConfigMap") if plain => config_map(raw.ok_or(WireError)?, revision)?,
        _ => return Err(ShowError::NotDecoded { api_version: shown(api_version), kind: shown(kind) }),
    };
    object.insert("apiVersion", Value::Text(api_version.into()));
    object.insert("kind", Value::Text(kind.into()));
    Ok(Value::Map(object))
}

fn shown(word: &str) -> String {
    word.chars().take(100).flat_map(char::escape_debug).collect()
}

fn secret<'a>(raw: &'a [u8], revision: Option<&'a str>) -> Result<Map<'a>> {
    let (mut object, mut metadata, mut data) = (Map::new(), Metadata::default(), Map::new());
    for field in Fields::of(raw) {
        match field? {
            (1, Field::Bytes(message)) => metadata.read(message)?,
            (2, Field::Bytes(entry)) => insert(&mut data, entry, |bytes| Ok(Value::Bytes(bytes)))?,
            (3, Field::Bytes(kind)) => set_text(&mut object, "type", kind)?,
            (5, Field::Number(immutable)) => drop(object.insert("immutable", Value::Truth(immutable != 0))),
            // 4 is stringData, which is never stored.
            _ => {}
        }
    }
    Ok(finish(object, metadata, revision, [("data", data)]))
}

fn config_map<'a>(raw: &'a [u8], revision: Option<&'a str>) -> Result<Map<'a>> {
    let (mut object, mut metadata, mut data, mut binary) = (Map::new(), Metadata::default(), Map::new(), Map::new());
    for field in Fields::of(raw) {
        match field? {
            (1, Field::Bytes(message)) => metadata.read(message)?,
            (2, Field::Bytes(entry)) => insert(&mut data, entry, text_value)?,
            (3, Field::Bytes(entry)) => insert(&mut binary, entry, |bytes| Ok(Value::Bytes(bytes)))?,
            (4, Field::Number(immutable)) => drop(object.insert("immutable", Value::Truth(immutable != 0))),
            _ => {}
        }
    }
    Ok(finish(object, metadata, revision, [("data", data), ("binaryData", binary)]))
}

fn finish<'a, const N: usize>(
    mut object: Map<'a>,
    metadata: Metadata<'a>,
    revision: Option<&'a str>,
    maps: [(&'a str, Map<'a>); N],
) -> Map<'a> {
    object.insert("metadata", Value::Map(metadata.into_map(revision)));
    object.extend(maps.into_iter().filter(|(_, map)| !map.is_empty()).map(|(name, map)| (name, Value::Map(map))));
    object
}

/// `ObjectMeta`, without `managedFields` (17): who set what is of no use to whoever restores an object.
#[derive(Default)]
struct Metadata<'a> {
    fields: Map<'a>,
    labels: Map<'a>,
    annotations: Map<'a>,
    owners: Vec<Value<'a>>,
    finalizers: Vec<Value<'a>>,
}

impl<'a> Metadata<'a> {
    fn read(&mut self, message: &'a [u8]) -> Result<()> {
        let fields = &mut self.fields;
        for field in Fields::of(message) {
            match field? {
                (1, Field::Bytes(text)) => set_text(fields, "name", text)?,
                (2, Field::Bytes(text)) => set_text(fields, "generateName", text)?,
                (3, Field::Bytes(text)) => set_text(fields, "namespace", text)?,
                (4, Field::Bytes(text)) => set_text(fields, "selfLink", text)?,
                (5, Field::Bytes(text)) => set_text(fields, "uid", text)?,
                (6, Field::Bytes(text)) => set_text(fields, "resourceVersion", text)?,
                (7, Field::Number(generation)) => set_number(fields, "generation", generation),
                (8, Field::Bytes(time)) => set_time(fields, "creationTimestamp", time)?,
                (9, Field::Bytes(time)) => set_time(fields, "deletionTimestamp", time)?,
                (10, Field::Number(seconds)) => drop(fields.insert("deletionGracePeriodSeconds", Value::Number(seconds.cast_signed()))),
                (11, Field::Bytes(entry)) => insert(&mut self.labels, entry, text_value)?,
                (12, Field::Bytes(entry)) => insert(&mut self.annotations, entry, text_value)?,
                (13, Field::Bytes(owner)) => self.owners.push(owner_reference(owner)?),
                (14, Field::Bytes(finalizer)) => self.finalizers.push(text_value(finalizer)?),
                _ => {}
            }
        }
        Ok(())
    }

    fn into_map(self, revision: Option<&'a str>) -> Map<'a> {
        let Self { mut fields, labels, annotations, owners, finalizers } = self;
        fields.extend(revision.map(|revision| ("resourceVersion", Value::Text(revision.into()))));
        let maps = [("labels", labels), ("annotations", annotations)];
        fields.extend(maps.into_iter().filter(|(_, map)| !map.is_empty()).map(|(name, map)| (name, Value::Map(map))));
        let lists = [("ownerReferences", owners), ("finalizers", finalizers)];
        fields.extend(lists.into_iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| (name, Value::List(list))));
        fields
    }
}

fn owner_reference(message: &[u8]) -> Result<Value<'_>> {
    let empty = || Value::Text("".into());
    let mut owner: Map<'_> = ["apiVersion", "kind", "name", "uid"].into_iter().map(|name| (name, empty())).collect();
    for field in Fields::of(message) {
        let (name, value) = match field? {
            (1, Field::Bytes(bytes)) => ("kind", text_value(bytes)?),
            (3, Field::Bytes(bytes)) => ("name", text_value(bytes)?),
            (4, Field::Bytes(bytes)) => ("uid", text_value(bytes)?),
            (5, Field::Bytes(bytes)) => ("apiVersion", text_value(bytes)?),
            (6, Field::Number(truth)) => ("controller", Value::Truth(truth != 0)),
            (7, Field::Number(truth)) => ("blockOwnerDeletion", Value::Truth(truth != 0)),
            _ => continue,
        };
        owner.insert(name, value);
    }
    Ok(Value::Map(owner))
}

/// One entry of a protobuf map: {1 key, 2 value}. The last of two with one key wins.
fn insert<'a>(map: &mut Map<'a>, entry: &'a [u8], value: impl Fn(&'a [u8]) -> Result<Value<'a>>) -> Result<()> {
    let (mut key, mut bytes) = (&[][..], &[][..]);
    for field in Fields::of(entry) {
        match field? {
            (1, Field::Bytes(found)) => key = found,
            (2, Field::Bytes(found)) => bytes = found,
            _ => {}
        }
    }
    map.insert(text(key)?, value(bytes)?);
    Ok(())
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| ShowError::NotText)
}

fn text_value(bytes: &[u8]) -> Result<Value<'_>> {
    text(bytes).map(|text| Value::Text(text.into()))
}

/// Empty texts are written to etcd, and not shown.
fn set_text<'a>(map: &mut Map<'a>, name: &'a str, bytes: &'a [u8]) -> Result<()> {
    if bytes.is_empty() {
        map.remove(name);
    } else {
        map.insert(name, text_value(bytes)?);
    }
    Ok(())
}

fn set_number<'a>(map: &mut Map<'a>, name: &'a str, number: u64) {
    match number.cast_signed() {
        0 => drop(map.remove(name)),
        number => drop(map.insert(name, Value::Number(number))),
    }
}

/// `Time` {1 seconds, 2 nanos}: RFC 3339 in whole seconds. An empty message is no time.
fn set_time<'a>(map: &mut Map<'a>, name: &'a str, message: &[u8]) -> Result<()> {
    /// 9999-12-31T23:59:59Z.
    const LAST: u64 = 253_402_300_799;
    let mut seconds = 0;
    for field in Fields::of(message) {
        if let (1, Field::Number(found)) = field? {
            seconds = found;
        }
    }
    match seconds {
        0 => drop(map.remove(name)),
        1..=LAST => {
            let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
            map.insert(name, Value::Text(text.into()));
        }
        _ => return Err(ShowError::Time),
    }
    Ok(())
}
