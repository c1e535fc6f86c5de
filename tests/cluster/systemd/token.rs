//! The unit with a token, set up by the blocks of `docs/pkcs11.md` as they stand there; the token is SoftHSM 2, its PIN an encrypted credential.

use keywright_testbed::page::bodies;
use keywright_testbed::systemd::{Machine, OUT, Report};

use super::{
    BACK, CONFIG, PLAIN, START, STATUS, assert_lines, assert_ran, before_the_edit, block, ends, everything, key_id, machine, reloaded, run,
    state,
};

const PAGE: &str = include_str!("../../../docs/pkcs11.md");
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "the-right-pin-6174";
const WRONG_PIN: &str = "the-wrong-pin-4161";
/// What asks a person for the PIN on the page.
const ASKS: &str = "systemd-ask-password -n \"PIN:\"";
/// The serial number of the page's token, in whose place comes that of ours.
const SERIAL: &str = "0123456789abcdef";
const FOR_A_KEY: usize = 0;
const FOR_THE_ROOT_KEY: usize = 1;
const BY_CREDENTIAL: &str = "credential = \"keywright-seal\"";

/// What of the page's drop-ins the unit gets: the first is for every token, the second for one that opens the keyring too; then what SoftHSM needs.
fn drop_in(number: usize) -> String {
    format!("{}{}", bodies(PAGE, "The unit", "ini")[number], block(PAGE, "The unit", "ini", "/softhsm/"))
}

/// Puts this PIN into the unit's credential as the page does, which has the unit edited after that.
fn credential(pin: &str) -> String {
    let commands = block(PAGE, "The unit", "sh", ASKS);
    before_the_edit(&commands).replace(ASKS, &format!("printf %s {pin}"))
}

/// The command of the page that makes a keyring whose key is in the token.
fn init() -> String {
    block(PAGE, "Setting up", "sh", "systemd-run")
}

/// A machine with a token and no keyring yet; its configuration has the table of the page, its unit this drop-in.
fn with_token(seal: &str, drop_in: &str) -> Machine {
    let table = block(PAGE, "Setting up", "toml", "[[token]]");
    assert!(table.contains(SERIAL) && table.contains(MODULE), "{table}");
    let name = format!(
        "serial=$(pkcs11-tool --module {MODULE} -L | grep -A9 'token label *: kms$' | sed -n 's/.*serial num *: //p'); \
         test -n \"$serial\" && sed -i \"s/{SERIAL}/$serial/\" {CONFIG}"
    );
    machine()
        .file(CONFIG, 0o644, format!("keyring = \"/etc/keywright/keyring\"\n[seal]\n{seal}\n{table}"))
        .file("/etc/systemd/system/keywright.service.d/override.conf", 0o644, drop_in)
        .step("token", &format!("softhsm2-util --init-token --free --label kms --so-pin 87654321 --pin {PIN}"))
        .step("name", &name)
        .step("credential", &credential(PIN))
}

const MADE: [&str; 4] = ["token", "name", "credential", "init"];

/// Everything that was printed shows neither PIN.
fn assert_no_pin(report: &Report) {
    let printed = format!("{}{}", report.transcript(), report.file("unit.log").unwrap_or_default());
    assert!(![PIN, WRONG_PIN].iter().any(|pin| printed.contains(pin)), "a PIN was printed");
}

fn status(report: &Report, step: &str) -> serde_json::Value {
    serde_json::from_str(&report.step(step).output).unwrap_or_else(|e| panic!("{e}: {}", everything(report)))
}

/// The plugin answered in this step, its keys made a round trip, and the token is up.
fn assert_good(report: &Report, step: &str) {
    let status = status(report, step);
    assert_eq!([&status["healthz"], &status["round_trip"]], ["ok", "ok"], "{step}: {status}");
    assert_eq!([&status["tokens"][0]["up"], &status["tokens"][0]["pin_latched"]], [true, false], "{step}: {status}");
}

#[test]
fn the_unit_with_the_drop_in_of_the_page_serves_a_key_in_a_token_over_a_restart_and_a_rotation() {
    // The page's own command with another one behind `keywright`.
    let command = |words: &str| {
        let init = init();
        let (before, _) = init.split_once(" init ").expect("it makes a keyring");
        format!("{before} {words} --config {CONFIG}")
    };
    let report = run(with_token(BY_CREDENTIAL, &drop_in(FOR_A_KEY))
        .step("init", &init())
        .step("start", START)
        .step("state", &state("ActiveState,Type,RestartUSec"))
        .step("first", STATUS)
        .step("restart", "systemctl restart keywright.service")
        .step("second", STATUS)
        .step("begin", &command("rotate begin --provider pkcs11"))
        .step("staged", &reloaded(1))
        .step("promote", &command("rotate promote"))
        .step("promoted", &reloaded(2))
        .step("third", STATUS)
        .step("stop", "systemctl stop keywright.service"));
    assert_ran(&report, &MADE);
    assert_ran(&report, &["start", "first", "restart", "second", "begin", "staged", "promote", "promoted", "third", "stop"]);
    assert_lines(&report, "state", &["ActiveState=active", "Type=notify", "RestartUSec=5s"]);
    for step in ["first", "second", "third"] {
        assert_good(&report, step);
    }
    assert_eq!(key_id(&report, "first"), key_id(&report, "second"));
    assert!(key_id(&report, "third").contains(".2."), "{}", everything(&report));
    assert_eq!(ends(&report), ["success exited 0", "success exited 0"]);
    assert_no_pin(&report);
}

#[test]
fn the_unit_whose_root_key_is_in_a_token_starts_with_the_pin_alone() {
    let seal = format!("token = \"pkcs11:token=kms;serial={SERIAL}\"");
    // The key of the slot is in the token, those of the keyring are not.
    let init = init().replace(&format!("-p {PLAIN} "), "").replace(" --provider pkcs11", "");
    assert!(!init.contains("keywright-seal") && init.contains("kms-pin"), "{init}");
    let report = run(with_token(&seal, &drop_in(FOR_THE_ROOT_KEY))
        .step("no key file", "rm /etc/keywright/seal.key")
        .step("init", &init)
        .step("start", START)
        .step("first", STATUS)
        .step("credentials", "nsenter --mount --target $(systemctl show -P MainPID keywright) ls /run/credentials/keywright.service")
        .step("restart", "systemctl restart keywright.service")
        .step("second", STATUS)
        .step("stop", "systemctl stop keywright.service")
        .step("slots", "grep '^slot ' /etc/keywright/keyring"));
    assert_ran(&report, &MADE);
    assert_ran(&report, &["start", "first", "credentials", "restart", "second", "stop"]);
    assert_eq!(report.step("credentials").output.trim(), "kms-pin");
    for step in ["first", "second"] {
        let status = status(&report, step);
        assert_eq!([&status["healthz"], &status["round_trip"]], ["ok", "ok"], "{step}: {status}");
    }
    assert_eq!(key_id(&report, "first"), key_id(&report, "second"));
    assert!(report.step("slots").output.contains("slot pkcs11"), "{}", everything(&report));
    assert_no_pin(&report);
}

#[test]
fn a_restart_loop_gives_a_wrong_pin_once_says_what_to_do_and_ends_by_itself_when_the_pin_is_right() {
    // OpenSC's module writes down every call on its way to SoftHSM.
    let watched = format!(
        "spy=$(dirname $(dirname $(readlink -f {MODULE})))/pkcs11-spy.so; test -f $spy && sed -i \"s|^module = .*|module = \\\"$spy\\\"|\" {CONFIG}"
    );
    let restarts = "timeout 30 sh -c 'until [ $(systemctl show -P NRestarts keywright) -ge 8 ]; do sleep 0.05; done'";
    let logins = format!("grep -c ': C_Login$' {OUT}/calls");
    // More often than an operator would have it.
    let spy = format!("[Service]\nRestartSec=50ms\nEnvironment=PKCS11SPY={MODULE} PKCS11SPY_OUTPUT={OUT}/calls\nReadWritePaths={OUT}\n");
    let report = run(with_token(BY_CREDENTIAL, &drop_in(FOR_A_KEY))
        .file("/etc/systemd/system/keywright.service.d/spy.conf", 0o644, spy)
        .step("init", &init())
        .step("watched", &watched)
        .step("wrong", &credential(WRONG_PIN))
        .step("start", START)
        .step("restarts", restarts)
        .step("state", &state("ActiveState,ActiveEnterTimestampMonotonic"))
        .step("logins", &logins)
        .step("right", &credential(PIN))
        .step("back", BACK)
        .step("status", STATUS)
        .step("logins after", &logins)
        .step("stop", "systemctl stop keywright.service"));
    assert_ran(&report, &MADE);
    assert_ran(&report, &["watched", "wrong", "restarts", "right", "back", "status", "stop"]);
    assert_ne!(report.step("start").code, 0, "{}", everything(&report));
    assert!(!report.step("state").output.contains("ActiveState=active"), "{}", everything(&report));
    assert_lines(&report, "state", &["ActiveEnterTimestampMonotonic=0"]);
    assert_eq!([report.step("logins").output.trim(), report.step("logins after").output.trim()], ["1", "2"], "{}", everything(&report));
    let ends = ends(&report);
    assert!(ends.len() > 8 && ends[..8].iter().all(|end| end == "exit-code exited 3"), "{ends:?}");
    let log = report.file("unit.log").expect("the unit printed");
    let first = log.find("This one is not tried again until that changes").unwrap_or_else(|| panic!("{log}"));
    let again = log.find("another one is given at once").unwrap_or_else(|| panic!("{log}"));
    assert!(first < again, "{log}");
    assert_good(&report, "status");
    assert_no_pin(&report);
}

#[test]
fn systemd_understands_every_drop_in_of_the_page() {
    let drop_ins = bodies(PAGE, "The unit", "ini");
    assert!(drop_ins.len() > 4, "{drop_ins:?}");
    let mut machine = machine();
    for (number, text) in drop_ins.iter().enumerate() {
        let path = format!("/etc/systemd/system/keywright.service.d/override-{number}.conf");
        machine = machine.file(&path, 0o644, text.clone());
    }
    let report = run(machine.step("verify", "systemd-analyze verify --man=no keywright.service"));
    let verify = report.step("verify");
    assert_eq!((verify.code, verify.output.trim()), (0, ""), "{}", everything(&report));
}
