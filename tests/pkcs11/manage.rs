//! What commands do with keys in a token.

use keywright::envelope::Algorithm;
use keywright::provider::pkcs11::{KeyAt, KeyFacts, KeyKind, Listed, Problem};
use keywright_testbed::tokens::{Guarded, Hsm, Token, alone};

use crate::support::{LABEL, gcm, id, made, name, provider, round_trip, spec};

#[test]
fn a_key_is_made_looked_at_listed_and_destroyed_in_softhsm() {
    let Some(folder) = alone("manage::a_key_is_made_looked_at_listed_and_destroyed_in_softhsm").expect("alone") else { return };
    whole_life(&Hsm::softhsm(&folder).expect("module").token("one", "1234").expect("token"));
}

#[test]
fn a_key_is_made_looked_at_listed_and_destroyed_in_kryoptic() {
    let Some(folder) = alone("manage::a_key_is_made_looked_at_listed_and_destroyed_in_kryoptic").expect("alone") else { return };
    whole_life(&Hsm::kryoptic(&folder).expect("module").token("one", "12345678").expect("token"));
}

fn whole_life(token: &Token) {
    let tokens = provider(&[token]);
    let (kek, both) = made(&tokens, &spec(token, 1, Algorithm::Aes256CbcHmacSha256));
    round_trip(&kek).expect("works");
    let mac = KeyAt { id: both.mac.expect("has one"), ..both.at.clone() };
    let guarded = KeyFacts {
        private: Some(true),
        sensitive: Some(true),
        always_sensitive: Some(true),
        extractable: Some(false),
        never_extractable: Some(true),
        local: Some(true),
        wraps: Some(false),
    };
    assert_eq!(tokens.look(&both.at, KeyKind::Cipher), Ok(guarded));
    assert_eq!(tokens.look(&mac, KeyKind::Mac), Ok(guarded));
    let mut listed = tokens.list(&name(token), LABEL).expect("lists");
    listed.sort_by_key(|key| key.id.clone());
    let wanted = [Listed { id: id(1).to_vec(), kind: Some(KeyKind::Cipher) }, Listed { id: id(0x81).to_vec(), kind: Some(KeyKind::Mac) }];
    assert_eq!(listed, wanted);
    assert_eq!(tokens.list(&name(token), "other"), Ok(Vec::new()));

    // Neither id is ever given twice, not even to a key of another kind or label.
    let mut other = gcm(token, 0x81);
    other.at.label = "other".to_owned();
    for again in [both.clone(), gcm(token, 1), other] {
        assert!(matches!(tokens.create_key(&again).map_err(|e| e.problem), Err(Problem::Exists(_))));
    }
    assert_eq!(token.objects().expect("objects").len(), 2);

    // The kind is part of the name.
    assert!(matches!(tokens.destroy_key(&both.at, KeyKind::Mac).map_err(|e| e.problem), Err(Problem::NoKey { .. })));
    tokens.destroy_key(&mac, KeyKind::Mac).expect("destroys");
    assert_eq!(tokens.list(&name(token), LABEL), Ok(wanted[..1].to_vec()));
    tokens.destroy_key(&both.at, KeyKind::Cipher).expect("destroys");
    assert_eq!(token.objects().expect("objects"), []);
}

#[test]
fn of_two_keys_of_one_name_none_is_destroyed() {
    let Some(folder) = alone("manage::of_two_keys_of_one_name_none_is_destroyed").expect("alone") else { return };
    let token = Hsm::softhsm(&folder).expect("module").token("one", "1234").expect("token");
    token.make_key(LABEL, &id(1), Guarded::Fully).expect("key");
    token.make_key(LABEL, &id(1), Guarded::Fully).expect("key");
    let tokens = provider(&[&token]);
    let destroyed = tokens.destroy_key(&gcm(&token, 1).at, KeyKind::Cipher);
    assert!(matches!(destroyed.map_err(|e| e.problem), Err(Problem::Duplicate { count: 2, .. })));
    assert_eq!(token.objects().expect("objects").len(), 2);
}

#[test]
fn a_token_that_lacks_a_mechanism_is_refused_with_its_name() {
    let Some(folder) = alone("manage::a_token_that_lacks_a_mechanism_is_refused_with_its_name").expect("alone") else { return };
    let fake = keywright_testbed::tokens::Fake::new(&folder).expect("module");
    let token = fake.hsm().token("one", "1234").expect("token");
    fake.script("no-gcm").expect("script");
    let tokens = provider(&[&token]);
    let made = tokens.create_key(&gcm(&token, 1)).map_err(|e| e.problem);
    assert_eq!(made, Err(Problem::Mechanism(vec!["CKM_AES_GCM"])));
    assert_eq!(token.objects().expect("objects"), []);
}
