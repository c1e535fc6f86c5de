use super::*;

fn value(prefix: &str, body: &[u8]) -> Vec<u8> {
    [prefix.as_bytes(), body].concat()
}

fn named(stored: Stored<'_>) -> Named<'_> {
    match stored {
        Stored::Local(_, named) | Stored::KmsV1(named) => named,
        other => panic!("no name in {other:?}"),
    }
}

#[test]
fn plaintext_is_sorted_by_its_first_bytes() {
    let cases: [(&[u8], Form); 9] = [
        (b"k8s\0\x0a\x0c", Form::Protobuf),
        (b"k8s\0", Form::Protobuf),
        (b"{\"kind\":", Form::Json),
        (&[0xd9, 0xd9, 0xf7, 0xa0], Form::Cbor),
        (&[0xd9, 0xd9], Form::Other),
        (b"", Form::Other),
        (b"k8s:enc", Form::Other),
        (b"K8S:ENC:kms:v2:", Form::Other),
        (b" k8s:enc:kms:v2:", Form::Other),
    ];
    for (bytes, form) in cases {
        assert_eq!(read(bytes), Stored::Plain(form), "{}", bytes.escape_ascii());
    }
}

#[test]
fn an_unknown_provider_is_named_only_if_it_looks_like_one() {
    let secret = "k8s:enc:my password is hunter2:v1:";
    for (text, label) in [
        ("k8s:enc:kms:v3:p:", "kms:v3"),
        ("k8s:enc:aesgcm:v2:k:", "aesgcm:v2"),
        ("k8s:enc:kms:v2alpha1:p:", "kms:v2alpha1"),
        ("k8s:enc:identity:v1:", "identity:v1"),
        ("k8s:enc:kms:v2", ""),
        ("k8s:enc:", ""),
        ("k8s:enc::::", ""),
        ("k8s:enc:kms:v:", ""),
        (secret, ""),
    ] {
        assert_eq!(read(text.as_bytes()), Stored::Unknown(label), "{text}");
    }
    assert_eq!(read(format!("k8s:enc:{}:v1:", "a".repeat(40)).as_bytes()), Stored::Unknown(""));
}

#[test]
fn a_local_name_ends_where_a_body_fits_and_the_configured_names_decide() {
    let cbc = value("k8s:enc:aescbc:v1:a:b:", &[b'x'; 48]);
    let stored = named(read(&cbc));
    // Two bytes more are no whole number of blocks, so the guess is right here.
    assert_eq!(stored.guess(), ("a:b", &[b'x'; 48][..]));
    let gcm = value("k8s:enc:aesgcm:v1:a:b:", &[b'x'; 48]);
    let stored = named(read(&gcm));
    assert_eq!(stored.guess().0, "a");
    assert_eq!(stored.among(["b", "a:b", "a"]).map(|(name, body)| (name, body.len())).collect::<Vec<_>>(), [("a:b", 48), ("a", 50)]);
    assert_eq!(stored.among(["a:"]).count(), 0);
    assert_eq!(stored.after_prefix().len(), 4 + 48);
}

#[test]
fn lengths_that_no_cipher_makes_are_damage() {
    for (prefix, good, bad) in [
        ("k8s:enc:aescbc:v1:k:", vec![32, 48], vec![0, 16, 31, 33, 47]),
        ("k8s:enc:aesgcm:v1:k:", vec![28, 29], vec![0, 27]),
        ("k8s:enc:secretbox:v1:k:", vec![40, 41], vec![0, 39]),
    ] {
        for length in good {
            assert!(matches!(read(&value(prefix, &vec![0; length])), Stored::Local(..)), "{prefix} {length}");
        }
        for length in bad {
            assert_eq!(read(&value(prefix, &vec![0; length])), Stored::Unreadable(Damage::Length), "{prefix} {length}");
        }
    }
}

#[test]
fn a_value_without_a_name_is_damage() {
    for kind in ["aescbc:v1", "aesgcm:v1", "secretbox:v1", "kms:v1", "kms:v2"] {
        for (rest, body) in [("", 0), ("name", 0), (":", 64), ("\u{0}", 0)] {
            let stored = value(&format!("k8s:enc:{kind}:{rest}"), &vec![0; body]);
            assert_eq!(read(&stored), Stored::Unreadable(Damage::NoName), "{kind} {rest}");
        }
        let not_text = [format!("k8s:enc:{kind}:").as_bytes(), &[0xff, b':'], &[0; 64]].concat();
        assert_eq!(read(&not_text), Stored::Unreadable(Damage::NoName), "{kind}");
    }
}

#[test]
fn a_v1_value_names_the_key_of_an_envelope_of_ours_and_no_other() {
    let key_id: KeyId = "kw1.0011223344556677.7.000102030405060708090a0b0c0d0e0f".parse().expect("valid");
    let header = crate::envelope::Header { algorithm: crate::envelope::Algorithm::Xaes256Gcm, key_id };
    let envelope = Envelope { header, nonce: &[5; 24], sealed: &[6; 48] }.write();
    for (cipher, expected) in [(envelope.as_slice(), Some(key_id)), (b"wrapped-dek", None), (b"", None)] {
        let body = [&(cipher.len() as u16).to_be_bytes(), cipher, &[7; 30]].concat();
        for name in ["p1", "a:b", "::"] {
            let stored = value(&format!("k8s:enc:kms:v1:{name}:"), &body);
            let named = named(read(&stored));
            let (found, behind) = named.among([name]).next().expect("configured");
            assert_eq!((found, behind), (name, &body[..]));
            let parsed = KmsV1Body::parse(behind).expect("fits");
            assert_eq!((parsed.cipher, parsed.data, parsed.key_id()), (cipher, &[7; 30][..], expected));
        }
    }
}

#[test]
fn an_envelope_of_ours_is_found_although_a_large_object_fits_behind_part_of_the_name() {
    let key_id: KeyId = "kw1.0011223344556677.7.000102030405060708090a0b0c0d0e0f".parse().expect("valid");
    let header = crate::envelope::Header { algorithm: crate::envelope::Algorithm::Xaes256Gcm, key_id };
    let envelope = Envelope { header, nonce: &[5; 24], sealed: &[6; 48] }.write();
    let body = [&(envelope.len() as u16).to_be_bytes(), &envelope[..], &[7; 60_000]].concat();
    let stored = value("k8s:enc:kms:v1:a:b:", &body);
    let named = named(read(&stored));
    // `b:` read as a length is 25146.
    assert!(KmsV1Body::parse(named.among(["a"]).next().expect("fits").1).is_some_and(|body| body.key_id().is_none()));
    assert_eq!(named.guess(), ("a:b", &body[..]));
}

#[test]
fn data_of_kms_v2_too_short_for_its_cipher_is_damage() {
    let object = |length: usize, kind: u8| {
        let data = [&[0x0a, length as u8][..], &vec![0; length]].concat();
        value("k8s:enc:kms:v2:p:", &[&data[..], &[0x12, 1, b'k', 0x1a, 1, 1, 0x28, kind]].concat())
    };
    for (length, kind, good) in [(27, 0, false), (28, 0, true), (59, 1, false), (60, 1, true)] {
        let stored = object(length, kind);
        let read = read(&stored);
        assert_eq!(matches!(read, Stored::KmsV2 { provider: "p", .. }), good, "{length} {kind}");
        assert_eq!(read == Stored::Unreadable(Damage::Length), !good, "{length} {kind}");
    }
}
