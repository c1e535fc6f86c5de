use super::*;
use crate::scratch;

/// What every kind can do, seen by the program of another project.
fn keys_come_and_go(hsm: &Hsm) {
    let mut token = hsm.token("a label", "12345678").expect("a token can be made");
    token.make_key("key", &[1, 2], Guarded::Fully).expect("a key can be made");
    token.make_key("other", &[3], Guarded::Fully).expect("a key can be made");
    token.change_pin("87654321").expect("the PIN can be changed");
    assert_eq!(token.objects().expect("objects can be listed").len(), 2);
    token.destroy_key(&[3]).expect("a key can be destroyed");
    let left = token.objects().expect("objects can be listed");
    assert_eq!(left.iter().map(|object| object.label.as_str()).collect::<Vec<_>>(), ["key"]);
    token.pin = "wrong-one".to_owned();
    token.objects().expect_err("the PIN is another");
}

/// What all but NSS can do.
fn tokens_of_one_label_are_told_apart(hsm: &Hsm) {
    let tokens = ["same", "same"].map(|label| hsm.token(label, "12345678").expect("a token can be made"));
    assert_ne!(tokens[0].serial(), tokens[1].serial());
    tokens[1].make_key("key", &[1, 2], Guarded::Extractable).expect("a key can be made");
    tokens[1].make_key("key", &[1, 2], Guarded::Fully).expect("ids may repeat");
    let objects = tokens.each_ref().map(|token| token.objects().expect("objects can be listed"));
    assert_eq!(objects[0], []);
    let mut access: Vec<_> = objects[1].iter().map(|object| (object.id.as_str(), object.access.contains("never extractable"))).collect();
    access.sort_unstable();
    assert_eq!(access, [("0102", false), ("0102", true)]);
}

fn a_store_goes_away_and_comes_back(hsm: &Hsm) {
    let token = hsm.token("kept", "12345678").expect("a token can be made");
    token.make_key("key", &[1], Guarded::Fully).expect("a key can be made");
    hsm.take_away().expect("the store can be taken away");
    token.objects().expect_err("it is away");
    hsm.put_back().expect("the store can be put back");
    assert_eq!(token.objects().expect("it is back").len(), 1);
}

fn a_token_initialised_again_is_empty(hsm: &Hsm) {
    let mut token = hsm.token("again", "12345678").expect("a token can be made");
    token.make_key("key", &[1], Guarded::Fully).expect("a key can be made");
    token.reinitialise().expect("it can be initialised again");
    assert_eq!(token.objects().expect("objects can be listed"), []);
}

#[test]
fn softhsm_does_what_tests_need() {
    let folder = scratch::folder("softhsm").expect("a folder can be made");
    let hsm = Hsm::softhsm(folder.path()).expect("softhsm2 is installed");
    keys_come_and_go(&hsm);
    tokens_of_one_label_are_told_apart(&hsm);
    a_store_goes_away_and_comes_back(&hsm);
    a_token_initialised_again_is_empty(&hsm);
}

#[test]
fn kryoptic_does_what_tests_need() {
    let folder = scratch::folder("kryoptic").expect("a folder can be made");
    let hsm = Hsm::kryoptic(folder.path()).expect("Kryoptic builds");
    keys_come_and_go(&hsm);
    tokens_of_one_label_are_told_apart(&hsm);
    a_store_goes_away_and_comes_back(&hsm);
    a_token_initialised_again_is_empty(&hsm);
}

#[test]
fn nss_does_what_tests_need() {
    let folder = scratch::folder("nss").expect("a folder can be made");
    let hsm = Hsm::nss(folder.path()).expect("NSS is installed");
    let mut token = hsm.token("ignored", "12345678").expect("a token can be made");
    token.nss_keys(&["-K", "-n", "key", "-t", "aes", "-s", "32"]).expect("a key can be made");
    token.change_pin("87654321").expect("the PIN can be changed");
    let left = token.objects().expect("objects can be listed");
    assert_eq!(left.iter().map(|object| object.label.as_str()).collect::<Vec<_>>(), ["key"]);
    token.pin = "wrong-one".to_owned();
    token.objects().expect_err("the PIN is another");
    hsm.token("second", "12345678").expect_err("it has one");
}

#[test]
fn the_fake_looks_like_a_token_to_others() {
    let folder = scratch::folder("fake").expect("a folder can be made");
    let fake = Fake::new(folder.path()).expect("the fake builds");
    keys_come_and_go(fake.hsm());
    tokens_of_one_label_are_told_apart(fake.hsm());
    let token = fake.hsm().token("gone", "12345678").expect("a token can be made");
    fake.script("gone").expect("the script can be written");
    token.objects().expect_err("the script says that it is gone");
    fake.script("").expect("the script can be written");
    fake.forget_calls().expect("calls can be forgotten");
    assert_eq!(token.objects().expect("it is back"), []);
    assert_eq!(fake.calls().expect("calls can be read").answers("C_Login"), [0]);
}

#[test]
fn a_test_alone_has_a_folder_and_the_variables() {
    let Some(folder) = alone("tokens::tests::a_test_alone_has_a_folder_and_the_variables").expect("it passes alone") else { return };
    assert_eq!(std::env::var_os("SOFTHSM2_CONF"), Some(folder.join("softhsm2.conf").into_os_string()));
    let error = alone::again("a name that no test has").expect_err("there is no such test");
    assert!(error.to_string().contains("no test of the name"), "{error}");
}

#[test]
fn a_label_is_escaped_in_an_address() {
    assert_eq!(escaped("my key;é"), "my%20key%3B%C3%A9");
}
