use proptest::prelude::*;

use super::*;

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = if number < 16 { vec![number << 3 | 2] } else { vec![(number & 15) << 3 | 0x82, number >> 4] };
    let mut length = content.len();
    while length > 127 {
        field.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend_from_slice(content);
    field
}

fn entry(number: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
    field(number, &[field(1, key), field(2, value)].concat())
}

/// As etcd has it: the magic, `runtime.Unknown`, and the two empty fields at its end.
fn stored(api_version: &str, kind: &str, object: &[u8]) -> SecretBytes {
    let types = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    SecretBytes::from_vec([b"k8s\0".to_vec(), field(1, &types), field(2, object), b"\x1a\0\x22\0".to_vec()].concat())
}

fn secret() -> SecretBytes {
    let time = field(8, b"\x08\x80\x92\xb8\xc3\x06");
    let owner =
        field(13, &[field(5, b"apps/v1"), field(1, b"Deployment"), field(3, b"d"), field(4, b"uid-2"), b"\x30\x01".to_vec()].concat());
    let metadata = [
        field(1, b"s1"),
        field(2, b""),
        field(3, b"default"),
        field(5, b"uid-1"),
        field(6, b""),
        b"\x38\0".to_vec(),
        time,
        entry(11, b"app", b"yes"),
        entry(12, b"example.com/note", b"two\nlines\n"),
        owner,
        field(14, b"example.com/hold"),
        field(17, b"\x0a\x07kubectl"),
    ];
    let data = [entry(2, b"b", b"\0\xff"), entry(2, b"a", b"hunter2"), entry(2, b"empty", b"")].concat();
    stored("v1", "Secret", &[field(1, &metadata.concat()), data, field(3, b"Opaque"), b"\x28\x01".to_vec()].concat())
}

fn config_map(key: &str, text: &str) -> SecretBytes {
    stored("v1", "ConfigMap", &[field(1, &field(1, b"m")), entry(2, key.as_bytes(), text.as_bytes())].concat())
}

fn shown(plaintext: &SecretBytes, form: Form) -> String {
    let text = show(plaintext, form, None).unwrap_or_else(|e| panic!("{e}"));
    String::from_utf8(text.expose_secret().to_vec()).expect("text")
}

#[test]
fn a_secret_is_shown_as_kubectl_shows_it_but_for_managed_fields() {
    let text = show(&secret(), Form::Json, Some(42)).expect("decodes");
    let json: serde_json::Value = serde_json::from_slice(text.expose_secret()).expect("JSON");
    let expected = serde_json::json!({
        "apiVersion": "v1",
        "data": {"a": "aHVudGVyMg==", "b": "AP8=", "empty": ""},
        "immutable": true,
        "kind": "Secret",
        "metadata": {
            "annotations": {"example.com/note": "two\nlines\n"},
            "creationTimestamp": "2025-07-09T06:15:28Z",
            "finalizers": ["example.com/hold"],
            "labels": {"app": "yes"},
            "name": "s1",
            "namespace": "default",
            "ownerReferences": [{"apiVersion": "apps/v1", "controller": true, "kind": "Deployment", "name": "d", "uid": "uid-2"}],
            "resourceVersion": "42",
            "uid": "uid-1",
        },
        "type": "Opaque",
    });
    assert_eq!(json, expected);
    assert_eq!(
        text.expose_secret(),
        [serde_json::to_string_pretty(&expected).expect("JSON").replace("  ", "    ").as_bytes(), b"\n"].concat()
    );
}

#[test]
fn yaml_of_a_secret_reads_well() {
    let expected = "apiVersion: \"v1\"\ndata:\n  a: \"aHVudGVyMg==\"\n  b: \"AP8=\"\n  empty: \"\"\nimmutable: true\nkind: \"Secret\"\nmetadata:\n  \
                    annotations:\n    example.com/note: |\n      two\n      lines\n  creationTimestamp: \"2025-07-09T06:15:28Z\"\n  finalizers:\n  \
                    - \"example.com/hold\"\n  labels:\n    app: \"yes\"\n  name: \"s1\"\n  namespace: \"default\"\n  ownerReferences:\n  \
                    - apiVersion: \"apps/v1\"\n    controller: true\n    kind: \"Deployment\"\n    name: \"d\"\n    uid: \"uid-2\"\n  uid: \"uid-1\"\ntype: \"Opaque\"\n";
    assert_eq!(shown(&secret(), Form::Yaml), expected);
}

#[test]
fn long_values_are_base64_without_a_seam() {
    for length in [767, 768, 769, 5_000] {
        let value: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        let object = stored("v1", "Secret", &entry(2, b"k", &value));
        let json: serde_json::Value = serde_json::from_str(&shown(&object, Form::Json)).expect("JSON");
        use base64::Engine;
        let digits = json["data"]["k"].as_str().expect("text");
        assert_eq!(base64::engine::general_purpose::STANDARD.decode(digits).expect("base64"), value);
    }
}

/// The scalar at `data.key`, as a YAML parser reads it.
fn read_back(yaml: &str, key: &str) -> Option<String> {
    use granit_parser::{Event, Parser};
    let mut words = Vec::new();
    for event in Parser::new_from_str(yaml) {
        if let Event::Scalar(text, ..) = event.ok()?.0 {
            words.push(text.into_owned());
        }
    }
    let at = words.windows(2).position(|pair| pair[0] == "data" && pair[1] == key)?;
    words.get(at + 2).cloned()
}

/// Texts of what means something to JSON or YAML, with any characters between. (A regular expression would make one class of all of them.)
fn texts(length: usize) -> impl Strategy<Value = String> {
    let odd: Vec<char> = " \ta:#-\"'\\|>\n\r\0\u{7f}\u{85}\u{2028}\u{2029}\u{feff}\u{fffe}".chars().collect();
    let character = prop_oneof![3 => proptest::sample::select(odd), 1 => any::<char>()];
    proptest::collection::vec(character, 0..length).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn every_text_reads_back_from_json_and_from_yaml(key in texts(6), text in texts(40)) {
        let object = config_map(&key, &text);
        let json: serde_json::Value = serde_json::from_str(&shown(&object, Form::Json)).expect("JSON");
        prop_assert_eq!(json["data"][&key].as_str(), Some(text.as_str()));
        let yaml = shown(&object, Form::Yaml);
        // Line breaks and marks for readers of YAML 1.1, as the API server's own is.
        let breaks = ['\u{85}', '\u{2028}', '\u{2029}', '\u{feff}'];
        prop_assert!(!yaml.contains(breaks), "{}", yaml);
        prop_assert_eq!(read_back(&yaml, &key), Some(text), "{}", yaml);
    }

    #[test]
    fn no_bytes_behind_the_magic_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let unknown = SecretBytes::from_vec([b"k8s\0".to_vec(), bytes.clone()].concat());
        let _ = show(&unknown, Form::Json, None);
        let _ = show(&stored("v1", "Secret", &bytes), Form::Yaml, None);
        let _ = show(&stored("v1", "ConfigMap", &field(1, &bytes)), Form::Yaml, None);
    }
}

#[test]
fn lines_stay_lines_where_yaml_lets_them() {
    for (text, block) in [
        ("a\nb\n", true),
        ("a\n\n  b: \"c\"\n\td\\e", true),
        ("one line", false),
        ("one line\n", false),
        (" first\nsecond\n", false),
        ("a\nb\n\n", false),
        ("a \nb\n", false),
        ("a\r\nb\n", false),
    ] {
        let yaml = shown(&config_map("k", text), Form::Yaml);
        assert_eq!(yaml.contains("k: |"), block, "{text:?}:\n{yaml}");
        assert_eq!(read_back(&yaml, "k").as_deref(), Some(text));
    }
}

#[test]
fn an_object_cut_anywhere_is_shown_raw_or_not_at_all() {
    let whole = secret();
    for length in 4..whole.len() {
        let cut = SecretBytes::from_vec(whole.expose_secret()[..length].to_vec());
        // The four bytes at the end are two empty fields; without them it is the same object.
        let decodes = length + 4 == whole.len() || length + 2 == whole.len();
        assert_eq!(show(&cut, Form::Json, None).is_ok(), decodes, "{length} bytes of {}", whole.len());
        assert_eq!(show(&cut, Form::Raw, None).expect("always").expose_secret(), cut.expose_secret());
    }
}

#[test]
fn what_is_not_decoded_says_so() {
    let refused = |bytes: &[u8]| show(&SecretBytes::from_vec(bytes.to_vec()), Form::Yaml, None).map(|_| ()).expect_err("not shown");
    let deployment = stored("apps/v1", "Deployment", b"");
    let error = refused(deployment.expose_secret());
    assert_eq!(error, ShowError::NotDecoded { api_version: "apps/v1".into(), kind: "Deployment".into() });
    assert_eq!(error.to_string(), "Deployment of apps/v1 is stored as protobuf and is not decoded here; show it raw");
    assert_eq!(refused(b"\xd9\xd9\xf7\xa0"), ShowError::Cbor);
    assert_eq!(refused(b"hello"), ShowError::NoObject);
    assert_eq!(refused(b""), ShowError::NoObject);
    assert_eq!(refused(b"{\n\"a\": }"), ShowError::Json { line: 2, column: 6 });
    let time = |message: &[u8]| stored("v1", "Secret", &field(1, &field(8, message)));
    assert_eq!(refused(time(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").expose_secret()), ShowError::Time);
    assert_eq!(refused(stored("v1", "Secret", &entry(2, b"\xff", b"")).expose_secret()), ShowError::NotText);
    assert_eq!(refused(stored("v1", "Secret", b"\x0a").expose_secret()), ShowError::Wire(WireError));
    assert!(!shown(&time(b""), Form::Json).contains("creationTimestamp"), "an empty time is none");
}

#[test]
fn a_custom_resource_is_passed_through() {
    let json = b"{\"apiVersion\":\"example.com/v1\",\"kind\":\"Panda\",\"spec\":{\"token\":\"hunter2\"}}\n";
    for form in [Form::Raw, Form::Json, Form::Yaml] {
        assert_eq!(shown(&SecretBytes::from_vec(json.to_vec()), form).as_bytes(), json);
    }
}
