use std::os::unix::fs::PermissionsExt;

use super::*;

const KEY_16: &str = "c2VjcmV0LXNlY3JldC0xNg==";
const KEY_32: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTMyISE=";

fn file(resources: &str) -> String {
    format!("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n{resources}")
}

/// One block for Secrets with these providers, each line indented already.
fn providers(lines: &str) -> String {
    file(&format!("- resources: [secrets]\n  providers:\n{lines}"))
}

fn parsed(text: &str) -> EncryptionConfiguration {
    EncryptionConfiguration::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn refused(text: &str) -> ConfigurationError {
    EncryptionConfiguration::parse(text).map(|_| ()).expect_err(text)
}

#[test]
fn every_provider_is_read_with_its_keys_and_settings() {
    let text = providers(&format!(
        "  - kms:\n      apiVersion: v2\n      name: keywright\n      endpoint: unix:///run/keywright/kms.sock\n      timeout: 1m2.5s\n  \
         - kms: {{name: 'old:one', endpoint: 'unix:///@old', cachesize: -1}}\n  \
         - aescbc:\n      keys:\n      - name: key1\n        secret: {KEY_32}\n      - name: \"key:2\"\n        secret: |\n          {KEY_16}\n  \
         - aesgcm: {{keys: [{{name: g, secret: {KEY_16}}}]}}\n  - secretbox: {{keys: [{{name: s, secret: {KEY_32}}}]}}\n  - identity: {{}}\n"
    ));
    let configuration = parsed(&text);
    let found = configuration.providers_for("secrets");
    let kms = |version, name: &str, endpoint: &str, millis| Kms {
        version,
        name: name.into(),
        endpoint: endpoint.into(),
        timeout: Duration::from_millis(millis),
    };
    assert!(matches!(found[0], Provider::Kms(k) if *k == kms(KmsVersion::V2, "keywright", "unix:///run/keywright/kms.sock", 62_500)));
    assert!(matches!(found[1], Provider::Kms(k) if *k == kms(KmsVersion::V1, "old:one", "unix:///@old", 3_000)));
    let keys: Vec<_> = found.iter().flat_map(|p| p.keys()).map(|k| (k.name.as_str(), k.secret.expose_secret())).collect();
    let (long, short) = (&b"secret-secret-secret-secret-32!!"[..], &b"secret-secret-16"[..]);
    assert_eq!(keys, [("key1", long), ("key:2", short), ("g", short), ("s", long)]);
    let kinds: Vec<_> = found.iter().map(|p| p.kind()).collect();
    assert_eq!(kinds, ["kms", "kms", "aescbc", "aesgcm", "secretbox", "identity"]);
    assert_eq!(configuration.kms_v2_names().collect::<Vec<_>>(), ["keywright"]);
}

#[test]
fn json_the_older_spelling_and_anchors_are_read_too_and_a_second_document_is_not_as_in_the_api_server() {
    let json = r#"{
	"apiVersion": "v1", "kind": "EncryptionConfig",
	"resources": [{"resources": ["secrets"], "providers": [{"identity": {}, "kms": null}]}]
}"#;
    assert_eq!(parsed(json).providers_for("secrets").len(), 1);
    let text = format!("---\n{}# the end\n---\nnot: read\n", providers("  - &plain\n    identity: {}\n  - *plain\n"));
    assert_eq!(parsed(&text).providers_for("secrets").len(), 2);
}

#[test]
fn a_resource_is_looked_up_exactly_then_in_its_group_then_in_everything() {
    let kms = |name: &str| format!("  providers: [{{kms: {{apiVersion: v2, name: {name}, endpoint: 'unix:///s'}}}}]\n");
    let text = file(&format!(
        "- resources: [secrets, deployments.apps]\n{}- resources: [configmaps]\n  providers: [identity: {{}}]\n\
         - resources: [secrets]\n{}- resources: ['*.apps']\n{}- resources: ['*.*']\n{}",
        kms("a"),
        kms("b"),
        kms("c"),
        kms("d")
    ));
    let configuration = parsed(&text);
    let names = |resource: &str| {
        let name = |p: &Provider| if let Provider::Kms(kms) = p { kms.name.clone() } else { p.kind().into() };
        configuration.providers_for(resource).into_iter().map(name).collect::<Vec<_>>().join(" ")
    };
    for (resource, expected) in [
        ("secrets", "a b"),
        ("deployments.apps", "a"),
        ("daemonsets.apps", "c"),
        ("configmaps", "identity"),
        ("pods", "d"),
        ("pandas.awesome.bears.example", "d"),
        ("secrets.apps", "c"),
    ] {
        assert_eq!(names(resource), expected, "{resource}");
    }
    let covered: Vec<_> = configuration.encrypted_resources().iter().map(|e| format!("{} {}", e.pattern, e.writes.kind())).collect();
    assert_eq!(covered, ["secrets kms", "deployments.apps kms", "*.apps kms", "*.* kms"], "configmaps were opted out");
    assert!(parsed(&providers("  - identity: {}\n")).providers_for("pods").is_empty());
}

#[test]
fn a_resource_on_its_way_to_plaintext_is_still_one_that_evidence_must_cover() {
    let text = providers(&format!("  - identity: {{}}\n  - aescbc: {{keys: [{{name: a, secret: {KEY_32}}}]}}\n"));
    let configuration = parsed(&text);
    let covered = configuration.encrypted_resources();
    assert_eq!(covered.len(), 1);
    assert!(matches!(covered[0].writes, Provider::Identity));
}

#[test]
fn each_rule_of_the_api_server_has_its_refusal_with_the_line() {
    let kms = |fields: &str| providers(&format!("  - kms: {{{fields}}}\n"));
    let key = |fields: &str| providers(&format!("  - aesgcm: {{keys: [{{{fields}}}]}}\n"));
    let missing = |field, place| Problem::Missing { field, place };
    let unknown = |field: &str, place, nearest| Problem::UnknownField { field: Some(field.into()), place, nearest };
    let pattern = |text| Pattern::parse(text).expect("valid");
    let endpoint = "endpoint: 'unix:///s'";
    for (text, line, problem) in [
        (String::new(), 1, Problem::Empty),
        ("# nothing\n".into(), 2, Problem::Empty),
        (file("- resources: [secrets\n"), 0, Problem::Syntax),
        ("apiVersion: v1\nkind: EncryptionConfiguration\nresources: []\n".into(), 1, Problem::NotOurs),
        (file("  []\n"), 4, Problem::AtLeastOne("resources")),
        ("apiVersion: v1\nkind: EncryptionConfig\n".into(), 1, Problem::AtLeastOne("resources")),
        (file("- resources: []\n  providers: [identity: {}]\n"), 4, Problem::AtLeastOne("resources")),
        (file("- resources: [secrets]\n"), 4, Problem::AtLeastOne("providers")),
        (file("- resources: secrets\n  providers: [identity: {}]\n"), 4, Problem::Kind { field: "resources", expected: "a list" }),
        (file("- resources: [secrets]\n  resources: [pods]\n"), 5, Problem::Duplicate),
        (file("- resource: [secrets]\n"), 4, unknown("resource", "an entry of resources", Some("resources"))),
        (file("- resources: [Secrets]\n  providers: [identity: {}]\n"), 4, Problem::Resource(PatternError::Capitals)),
        (file("- resources: [secrets, '*.']\n  providers: [identity: {}]\n"), 4, Problem::Overlap(pattern("secrets"), pattern("*."))),
        (
            file("- resources: ['*.']\n  providers: [identity: {}]\n- resources: [secrets]\n  providers: [identity: {}]\n"),
            6,
            Problem::Masked { pattern: pattern("secrets"), by: pattern("*.") },
        ),
        (providers("  - identity:\n"), 6, Problem::NoProvider),
        (providers("  -\n"), 6, Problem::NoProvider),
        (providers("  - identity: {}\n    aescbc: {}\n"), 6, Problem::SeveralProviders),
        (providers("  - aesgcm: {}\n"), 6, Problem::AtLeastOne("keys")),
        (providers("  - aescbc: {keys: []}\n"), 6, Problem::AtLeastOne("keys")),
        (key(&format!("secret: {KEY_16}")), 6, missing("name", "a key")),
        (key("name: a"), 6, missing("secret", "a key")),
        (key("name: a, secret: ''"), 6, missing("secret", "a key")),
        (key("name: a, secret: 'not base64'"), 6, Problem::NotBase64),
        (key("name: a, secret: c2hvcnQ="), 6, Problem::KeyLength { found: 5, expected: "16, 24 or 32" }),
        (
            providers(&format!("  - secretbox: {{keys: [{{name: a, secret: {KEY_16}}}]}}\n")),
            6,
            Problem::KeyLength { found: 16, expected: "32" },
        ),
        (kms(endpoint), 6, missing("name", "kms")),
        (kms("name: a"), 6, missing("endpoint", "kms")),
        (
            kms(&format!("name: 7, {endpoint}")),
            6,
            Problem::Kind { field: "name", expected: "a text (numbers and words such as `yes` need quotes)" },
        ),
        (kms(&format!("apiVersion: v2, name: 'a:b', {endpoint}")), 6, Problem::KmsName),
        (kms(&format!("apiVersion: v3, name: a, {endpoint}")), 6, Problem::KmsVersion),
        (kms(&format!("apiVersion: v2, name: a, cachesize: 5, {endpoint}")), 6, Problem::CacheSize),
        (kms(&format!("name: a, cachesize: 0, {endpoint}")), 6, Problem::CacheSize),
        (kms("name: a, endpoint: 'http://x'"), 6, Problem::Endpoint),
        (kms(&format!("name: a, timeout: 0s, {endpoint}")), 6, Problem::Timeout),
        (kms(&format!("name: a, timeout: -1s, {endpoint}")), 6, Problem::Timeout),
        (kms(&format!("name: a, timeout: 3 s, {endpoint}")), 6, Problem::Timeout),
        (
            providers(&format!("  - kms: {{name: a, {endpoint}}}\n  - kms: {{apiVersion: v2, name: a, {endpoint}}}\n")),
            7,
            Problem::KmsNameTwice,
        ),
        (kms(&format!("name: !!int 7, {endpoint}")), 6, Problem::Tag),
        (providers("  - &a\n    identity: {}\n  - {<<: *a}\n"), 8, Problem::Merge),
        (kms(&format!("name: a, timeout: '', {endpoint}")), 6, Problem::Timeout),
        (kms("name: a, endpoint: 'unix:///%zz'"), 6, Problem::Endpoint),
    ] {
        let error = refused(&text);
        assert_eq!(error.problem, problem, "{text}");
        assert!(line == 0 || error.line == line, "line {} and not {line} of\n{text}", error.line);
    }
}

#[test]
fn a_name_is_a_text_where_yaml_reads_one() {
    for (name, taken) in [
        ("a", true),
        ("1.2.3", true),
        ("2020-01-02", true),
        ("inf", true),
        ("'1'", true),
        ("!!str 1", true),
        ("1", false),
        ("1_000", false),
        ("0x1f", false),
        ("-0o17", false),
        ("0b11", false),
        (".5", false),
        ("1e3", false),
        (".NaN", false),
        ("-.inf", false),
        ("Yes", false),
        ("n", false),
        ("True", false),
    ] {
        let text = providers(&format!("  - aesgcm: {{keys: [{{name: {name}, secret: {KEY_16}}}]}}\n"));
        assert_eq!(EncryptionConfiguration::parse(&text).is_ok(), taken, "{name}");
    }
}

#[test]
fn no_error_and_no_debug_output_shows_what_could_be_a_key() {
    let secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0";
    for text in [
        providers(&format!("  - aescbc: {{keys: [{{name: a, {secret}: b}}]}}\n")),
        providers(&format!("  - aescbc: {{keys: [{{name: a, secret: [{secret}]}}]}}\n")),
        providers(&format!("  - aescbc: {{keys: {secret}}}\n")),
        providers(&format!("  - aescbc: {{keys: [{{name: a, secret: {secret}{secret}}}]}}\n")),
        providers(&format!("  - {secret}\n")),
        providers(&format!("  - kms: {{name: a, endpoint: {secret}, timeout: {secret}}}\n")),
        providers(&format!("  - aescbc: {{keys: [{{name: a, secret: \"{secret}\n")),
        providers(&format!("  - aescbc: {{keys: [{{name: a, secret: *{secret}}}]}}\n")),
        format!("{secret}: {secret}\n{secret}: {secret}\n"),
        file(&format!("- resources: [{secret}]\n")),
    ] {
        let error = refused(&text);
        assert!(!format!("{error} {error:?}").contains("c2Vjc"), "{error:?}");
    }
    let shown = format!("{:?}", parsed(&providers(&format!("  - aescbc: {{keys: [{{name: a, secret: {KEY_32}}}]}}\n"))));
    assert!(shown.contains("SecretBytes(32 bytes)") && !shown.contains("secret-secret") && !shown.contains("c2Vjc"), "{shown}");
}

#[test]
fn a_file_that_was_made_to_cost_much_is_refused() {
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert_eq!(refused(&deep).problem, Problem::TooLarge);
    // A list of aliases to lists of aliases: a billion providers in a few lines.
    let many = vec!["*p"; 2_000].join(", ");
    let blocks = vec!["*b"; 2_000].join(", ");
    let text = format!(
        "apiVersion: v1\nkind: EncryptionConfig\nresources:\n- &b\n  resources: [a.b]\n  providers: [&p {{identity: {{}}}}, {many}]\n- *b\n"
    );
    assert_eq!(parsed(&text).providers().count(), 4_002);
    let text =
        text.replace("- *b\n", &format!("- {{resources: [c.d], providers: [*p]}}\n{}", blocks.replace(", ", "\n").replace("*b", "- *b")));
    assert_eq!(refused(&text).problem, Problem::TooLarge);
}

#[test]
fn a_file_is_read_and_who_else_may_read_it_is_told() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("encryption.yaml");
    std::fs::write(&path, providers("  - identity: {}\n")).expect("write");
    for (mode, told) in [(0o600, None), (0o400, None), (0o644, Some(0o644)), (0o640, Some(0o640))] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        assert_eq!(load(&path).expect("loads").open_to_others, told, "{mode:o}");
    }
    std::fs::write(&path, "kind: Pod\n").expect("write");
    let error = load(&path).expect_err("no configuration").to_string();
    assert!(error.contains("encryption.yaml:1: unknown") || error.contains("encryption.yaml:1: this is no"), "{error}");
    std::fs::write(&path, [0xff, 0xfe]).expect("write");
    assert!(matches!(load(&path), Err(FileError::NotText(_))));
    assert!(matches!(load(dir.path()), Err(FileError::NotRegular(_))));
    assert!(matches!(load(&dir.path().join("none")), Err(FileError::Read { .. })));
    std::fs::write(&path, vec![b'#'; MAX_FILE as usize + 1]).expect("write");
    assert!(matches!(load(&path), Err(FileError::TooLarge(_))));
}
