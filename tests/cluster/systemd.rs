//! The unit in the repository, started by a real systemd, with each kind of credential.

#[path = "systemd/token.rs"]
mod token;
#[path = "systemd/tpm.rs"]
mod tpm;

use std::path::Path;
use std::time::Duration;

use keywright_testbed::leak;
use keywright_testbed::page::bodies;
use keywright_testbed::plugin::field;
use keywright_testbed::systemd::{Machine, OUT, Report};

use crate::stack::{KEYWRIGHT, bytes};

const CONFIG: &str = "/etc/keywright/config.toml";
const LIMIT: Duration = Duration::from_secs(120);

/// The property by which a command has the credential that the unit has.
const PLAIN: &str = "LoadCredential=keywright-seal:/etc/keywright/seal.key";
const ENCRYPTED: &str = "LoadCredentialEncrypted=keywright-seal:/etc/keywright/seal.cred";
const PASSPHRASE: &str = "LoadCredential=keywright-passphrase:/etc/keywright/passphrase";

/// Seals the key to the host and takes the plain one away, as docs/seals.md says.
const TO_HOST: &str = "systemd-creds setup && \
                       systemd-creds encrypt --with-key=host --name=keywright-seal /etc/keywright/seal.key /etc/keywright/seal.cred && \
                       rm /etc/keywright/seal.key";

const START: &str = "timeout 30 systemctl start keywright.service";
const STATUS: &str = "/usr/local/bin/keywright status --config /etc/keywright/config.toml --output json";
/// Ends when the unit is active, however often it had to be started.
const BACK: &str = "timeout 30 sh -c 'until systemctl --quiet is-active keywright; do sleep 0.05; done'";
const NEVER_ACTIVE: &str = "ActiveEnterTimestampMonotonic=0";

fn seal_key() -> Vec<u8> {
    bytes(64, 7)
}

const WORDS: &str = "eleven lilac otters juggle quietly";

/// A machine with the binary, the unit, a configuration and keys, as an operator would install them.
fn machine() -> Machine {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/keywright.service");
    // There is no journal inside. How each run ended is written down, for systemd forgets it together with a unit that nobody names.
    let watch = format!(
        "[Service]\nStandardOutput=append:{OUT}/unit.log\nStandardError=append:{OUT}/unit.log\n\
         ExecStopPost=+/bin/sh -c 'echo $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS >> {OUT}/ends'\n"
    );
    Machine::new()
        .copy(Path::new(KEYWRIGHT), "/usr/local/bin/keywright", 0o755)
        .and_then(|machine| machine.copy(Path::new(env!("CARGO_BIN_EXE_keywright-operator")), "/usr/local/bin/keywright-operator", 0o755))
        .and_then(|machine| machine.copy(&unit, "/etc/systemd/system/keywright.service", 0o644))
        .expect("the binary and the unit are there")
        .file("/etc/systemd/system/keywright.service.d/watch.conf", 0o644, watch)
        .file(CONFIG, 0o644, config("credential = \"keywright-seal\""))
        .file("/etc/keywright/seal.key", 0o600, seal_key())
        .file("/etc/keywright/recovery.key", 0o600, bytes(64, 8))
        .file("/etc/keywright/passphrase", 0o600, format!("{WORDS}\n"))
        .step("bus", "chmod 0700 /etc/keywright && systemctl start dbus.socket") // systemd-run needs it
}

/// The only block of this kind in the section of a page that has `text`.
fn block(page: &str, section: &str, kind: &str, text: &str) -> String {
    let mut found = bodies(page, section, kind);
    found.retain(|body| body.contains(text));
    let [body] = &found[..] else { panic!("{} {kind} blocks under {section:?} have {text:?}", found.len()) };
    body.clone()
}

/// What a block does before it ends by having the unit edited.
fn before_the_edit(block: &str) -> &str {
    block.strip_suffix("systemctl edit keywright\n").unwrap_or_else(|| panic!("the last line edits the unit: {block}"))
}

fn config(seal: &str) -> String {
    format!("keyring = \"/etc/keywright/keyring\"\n[seal]\n{seal}\n")
}

/// As the unit, with another credential in the place of the one it names.
fn with_credential(machine: Machine, property: &str) -> Machine {
    let text = format!("[Service]\nLoadCredential=\n{property}\n");
    machine.file("/etc/systemd/system/keywright.service.d/credential.conf", 0o644, text)
}

/// A command in a unit of its own that has the credential.
fn command(property: &str, words: &str) -> String {
    format!("systemd-run --quiet --pipe --wait -p {property} keywright {words} --config {CONFIG}")
}

fn init(property: &str) -> String {
    command(property, "init --also-key-file /etc/keywright/recovery.key")
}

fn state(properties: &str) -> String {
    format!("systemctl show --property={properties} keywright.service")
}

fn run(machine: Machine) -> Report {
    let report = machine.run(LIMIT).unwrap_or_else(|e| panic!("{e}"));
    let printed = format!("{}{}", report.transcript(), report.file("unit.log").unwrap_or_default());
    for (what, secret) in [("seal key", seal_key()), ("recovery key", bytes(64, 8)), ("passphrase", WORDS.into())] {
        assert_eq!(leak::found_in(printed.as_bytes(), &secret), [""; 0], "the {what} was printed");
    }
    report
}

fn assert_ran(report: &Report, steps: &[&str]) {
    for name in steps {
        assert_eq!(report.step(name).code, 0, "{name}:\n{}", everything(report));
    }
}

/// The unit was started, never became active, and its log or the console says all of `texts`.
fn assert_never_active(report: &Report, texts: &[&str]) {
    assert_ne!(report.step("start").code, 0, "{}", everything(report));
    assert_lines(report, "state", &[NEVER_ACTIVE]);
    let log = report.file("unit.log").unwrap_or_default();
    assert!(!log.contains(" INFO ready "), "{log}");
    for text in texts {
        assert!(log.contains(text) || report.console.contains(text), "{text:?} is not said:\n{}", everything(report));
    }
}

#[test]
fn systemctl_start_returns_when_keys_answer_and_stop_ends_with_exit_0() {
    let report = run(machine()
        .step("init", &init(PLAIN))
        .step("start", "systemctl start keywright.service")
        .step("status", STATUS) // no wait in between
        .step("state", &state("ActiveState,Type,NotifyAccess"))
        .step("stop", "systemctl stop keywright.service")
        .step("stopped", &state("ActiveState")));
    assert_ran(&report, &["init", "start", "status", "stop"]);
    let status: serde_json::Value = serde_json::from_str(&report.step("status").output).expect("status prints JSON");
    assert_eq!((&status["healthz"], &status["round_trip"]), (&"ok".into(), &"ok".into()), "{status}");
    assert_lines(&report, "state", &["ActiveState=active", "Type=notify"]);
    assert_lines(&report, "stopped", &["ActiveState=inactive"]);
    assert_eq!(ends(&report), ["success exited 0"]);
    let log = report.file("unit.log").expect("the unit printed");
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("no {text:?} in:\n{log}"));
    assert!(at(" INFO ready ") < at(" INFO draining") && at(" INFO draining") < at(" INFO stopped"), "{log}");
}

#[test]
fn a_unit_with_a_broken_keyring_never_becomes_active() {
    let report = run(machine()
        .step("init", &init(PLAIN))
        .step("break", "sed -i '$d' /etc/keywright/keyring")
        .step("start", START)
        .step("state", &state("ActiveState,SubState,ActiveEnterTimestampMonotonic,ExecMainStatus"))
        .step("status", STATUS));
    assert_ran(&report, &["init", "break"]);
    assert_never_active(&report, &["Restore the keyring file from its backup"]);
    assert_ne!(report.step("status").code, 0, "{}", everything(&report));
}

#[test]
fn a_unit_with_another_seal_key_never_becomes_active_and_says_which_one_it_wants() {
    let report = run(machine()
        .step("init", &init(PLAIN))
        .step("digest", "sha256sum /etc/keywright/keyring")
        .step("swap", "head -c 64 /dev/urandom > /etc/keywright/seal.key")
        .step("start", START)
        .step("state", &state("ActiveState,ActiveEnterTimestampMonotonic"))
        .step("digest after", "sha256sum /etc/keywright/keyring"));
    assert_ran(&report, &["init", "digest", "swap"]);
    assert_never_active(
        &report,
        &["this is not the secret that the keyring's credential `keywright-seal` slot was made with", "Restore the credential"],
    );
    assert_eq!(report.step("digest after").output, report.step("digest").output, "the keyring is as it was");
}

#[test]
fn a_unit_without_a_credential_never_becomes_active_and_says_how_to_give_it_one() {
    let report = run(with_credential(machine(), "")
        .step("init", &init(PLAIN))
        .step("start", START)
        .step("state", &state("ActiveState,ActiveEnterTimestampMonotonic")));
    assert_ran(&report, &["init"]);
    assert_never_active(&report, &["this process was given no credentials", "LoadCredential=keywright-seal:"]);
}

#[test]
fn a_unit_whose_credential_file_is_gone_or_has_another_name_never_becomes_active() {
    let report = run(machine()
        .step("init", &init(PLAIN))
        .step("remove", "mv /etc/keywright/seal.key /etc/keywright/elsewhere")
        .step("start", START)
        .step("state", &state("ActiveState,ActiveEnterTimestampMonotonic,Result,ExecMainStatus")));
    assert_ran(&report, &["init", "remove"]);
    // systemd itself refuses: the plugin is not even started. 243 is its exit status for credentials.
    assert_never_active(&report, &["status=243/CREDENTIALS"]);

    let report = run(with_credential(machine(), "LoadCredential=another-name:/etc/keywright/seal.key")
        .step("init", &init(PLAIN))
        .step("start", START)
        .step("state", &state("ActiveState,ActiveEnterTimestampMonotonic")));
    assert_ran(&report, &["init"]);
    assert_never_active(
        &report,
        &["/keywright-seal: No such file", "Give the unit a credential of that name: LoadCredential=keywright-seal:PATH"],
    );
}

#[test]
fn a_credential_sealed_to_the_host_opens_the_keyring_in_its_unit_and_beside_it() {
    let decrypt = "umask 077; install -d -m 0700 /run/opened && systemd-creds decrypt --name=keywright-seal /etc/keywright/seal.cred \
                   /run/opened/keywright-seal && CREDENTIALS_DIRECTORY=/run/opened keywright keyring verify --config /etc/keywright/config.toml";
    let report = run(with_credential(machine(), ENCRYPTED)
        .step("seal", TO_HOST)
        .step("init", &init(ENCRYPTED))
        .step("start", "systemctl start keywright.service")
        .step("status", STATUS)
        .step("state", &state("ActiveState"))
        .step("decrypt", decrypt)
        .step("bare", &format!("keywright keyring verify --config {CONFIG}")));
    assert_ran(&report, &["seal", "init", "start", "status", "decrypt"]);
    assert_lines(&report, "state", &["ActiveState=active"]);
    let bare = report.step("bare");
    assert_eq!(bare.code, 3, "{}", bare.output);
    for text in ["was given no credentials", "systemd-run --pipe --wait -p LoadCredential=keywright-seal:", "--ask-passphrase"] {
        assert!(bare.output.contains(text), "{}", bare.output);
    }
}

#[test]
fn a_credential_of_another_host_never_opens_the_unit_and_the_recovery_key_opens_the_keyring() {
    let another_host = "rm /var/lib/systemd/credential.secret && systemd-creds setup";
    let recover = format!(
        "sed -i 's|^credential = .*|key_file = \"/etc/keywright/recovery.key\"|' {CONFIG} && keywright keyring verify --config {CONFIG}"
    );
    let report = run(with_credential(machine(), ENCRYPTED)
        .step("seal", TO_HOST)
        .step("init", &init(ENCRYPTED))
        .step("another host", another_host)
        .step("start", START)
        .step("state", &state("ActiveState,ActiveEnterTimestampMonotonic"))
        .step("recover", &recover));
    assert_ran(&report, &["seal", "init", "another host", "recover"]);
    assert_never_active(&report, &["status=243/CREDENTIALS"]);
}

#[test]
fn a_passphrase_in_a_credential_opens_the_unit_and_a_wrong_one_does_not() {
    let seal = config("passphrase_credential = \"keywright-passphrase\"");
    let report = run(with_credential(machine(), PASSPHRASE)
        .file(CONFIG, 0o644, seal)
        .step("init", &command(PASSPHRASE, "init"))
        .step("start one", "systemctl start keywright.service")
        .step("status", STATUS)
        .step("environment", "p=/proc/$(systemctl show -P MainPID keywright); tr '\\0' '\\n' < $p/environ; tr '\\0' ' ' < $p/cmdline")
        .step("stop", "systemctl stop keywright.service")
        .step("swap", "echo 'twelve lilac otters juggle quietly' > /etc/keywright/passphrase")
        .step("start", START)
        .step("said", &format!("timeout 20 sh -c 'until grep -q \"passphrase slot\" {OUT}/unit.log; do sleep 0.05; done'"))
        .step("state", &state("ActiveState")));
    assert_ran(&report, &["init", "start one", "status", "environment", "swap", "said"]);
    assert!(report.step("environment").output.contains("CREDENTIALS_DIRECTORY="), "{}", everything(&report));
    assert_ne!(report.step("start").code, 0, "{}", everything(&report));
    assert!(!report.step("state").output.contains("=active"), "{}", everything(&report));
    let log = report.file("unit.log").expect("the unit printed");
    assert_eq!(log.matches(" INFO ready ").count(), 1, "{log}");
    let wrong = "this is not the secret that the keyring's passphrase slot was made with";
    assert!(log.contains(wrong), "{}\n{log}", everything(&report));
}

#[test]
fn a_rotation_beside_the_serving_unit_is_seen_by_it_without_a_restart() {
    let report = run(machine()
        .step("init", &init(PLAIN))
        .step("start", "systemctl start keywright.service")
        .step("first", STATUS)
        .step("begin", &command(PLAIN, "rotate begin"))
        .step("staged", &reloaded(1))
        .step("promote", &command(PLAIN, "rotate promote"))
        .step("promoted", &reloaded(2))
        .step("second", STATUS)
        .step("state", &state("ActiveState,NRestarts")));
    assert_ran(&report, &["init", "start", "first", "begin", "staged", "promote", "promoted", "second"]);
    assert_lines(&report, "state", &["ActiveState=active", "NRestarts=0"]);
    let key_id = |step| key_id(&report, step);
    assert!(key_id("first").contains(".1.") && key_id("second").contains(".2."), "{} {}", key_id("first"), key_id("second"));
    let log = report.file("unit.log").expect("the unit printed");
    let reloads: Vec<_> =
        log.lines().filter(|line| line.contains("INFO keyring reloaded")).filter_map(|line| field(line, "key_id")).collect();
    assert_eq!(reloads, [key_id("first"), key_id("second")], "{log}");
    assert_eq!(log.matches(" INFO ready ").count(), 1, "{log}");
}

#[test]
fn in_its_unit_the_socket_gets_its_group_and_peers_are_told_apart_by_uid() {
    let ask = |uid: u32| format!("setpriv --reuid={uid} --regid=4242 --clear-groups keywright status --socket /run/keywright/kms.sock");
    let socket = "[socket]\nmode = \"0660\"\ngid = 4242\nallow_uids = [0, 4343]\n";
    let report = run(machine()
        .file(CONFIG, 0o644, format!("{}{socket}", config("credential = \"keywright-seal\"")))
        .step("init", &init(PLAIN))
        .step("start", "systemctl start keywright.service")
        .step("socket", "stat -c '%a %u %g' /run/keywright/kms.sock")
        .step("allowed", &ask(4343))
        .step("refused", &ask(4344)));
    assert_ran(&report, &["init", "start", "socket", "allowed"]);
    assert_eq!(report.step("socket").output.trim(), "660 0 4242");
    assert_eq!(report.step("refused").code, 5, "{}", everything(&report));
    let log = report.file("unit.log").expect("the unit printed");
    assert!(log.lines().any(|line| line.contains("connection refused") && field(line, "uid").as_deref() == Some("4344")), "{log}");
}

#[test]
fn a_credential_is_exchanged_for_another_as_the_documentation_says() {
    const SECOND: &str = "LoadCredential=keywright-seal-2:/etc/keywright/seal-2.key";
    let both = format!("{PLAIN} -p {SECOND}");
    let recovery = "--to-key-file /etc/keywright/recovery.key";
    let reseal_both = format!("keyring reseal --to-credential keywright-seal --to-credential keywright-seal-2 {recovery}");
    let switch = format!(
        "sed -i 's/^credential = .*/credential = \"keywright-seal-2\"/' {CONFIG} && \
         printf '[Service]\\nLoadCredential=\\n{SECOND}\\n' > /etc/systemd/system/keywright.service.d/credential.conf && \
         systemctl daemon-reload && systemctl restart keywright.service"
    );
    let old = format!("sed 's/keywright-seal-2/keywright-seal/' {CONFIG} > /etc/keywright/old.toml");
    let report = run(machine()
        .step("init", &init(PLAIN))
        .step("start", "systemctl start keywright.service")
        .step("first", STATUS)
        .step("second key", "head -c 64 /dev/urandom > /etc/keywright/seal-2.key && chmod 0400 /etc/keywright/seal-2.key")
        .step("for both", &command(&both, &reseal_both))
        .step("reloaded", &reloaded(1))
        .step("switch", &switch)
        .step("second", STATUS)
        .step("for the second", &command(SECOND, &format!("keyring reseal --to-credential keywright-seal-2 {recovery}")))
        .step("reloaded again", &reloaded(2))
        .step("third", STATUS)
        .step("old configuration", &old)
        .step("old", &format!("systemd-run --quiet --pipe --wait -p {PLAIN} keywright keyring verify --config /etc/keywright/old.toml")));
    let steps =
        ["init", "start", "first", "second key", "for both", "reloaded", "switch", "second", "for the second", "reloaded again", "third"];
    assert_ran(&report, &steps);
    assert_eq!([key_id(&report, "second"), key_id(&report, "third")], [key_id(&report, "first"), key_id(&report, "first")]);
    let old = report.step("old");
    assert!(old.code == 3 && old.output.contains("the keyring has no credential `keywright-seal` slot"), "{old:?}");
    let log = report.file("unit.log").expect("the unit printed");
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn the_unit_cannot_write_its_keyring_nor_anything_but_its_state_and_its_sockets() {
    // As the service would: its mount namespace, its root, and the whole of root's powers, which the service has not.
    let inside = |command: &str| format!("nsenter --mount --target $(systemctl show -P MainPID keywright) -- sh -c '{command}'");
    let forbidden = [
        ("new file", "touch /etc/keywright/new"),
        ("write", "echo >> /etc/keywright/keyring"),
        ("rename", "mv /etc/keywright/keyring /etc/keywright/other"),
        ("unit", "touch /etc/systemd/system/other.service"),
        ("binary", "mv /usr/local/bin/keywright /usr/local/bin/other"),
        ("spool", "touch /var/lib/other"),
    ];
    let mut machine = machine().step("init", &init(PLAIN)).step("start", "systemctl start keywright.service");
    for (name, command) in forbidden {
        machine = machine.step(name, &inside(command));
    }
    let report = run(machine
        .step("state dir", &inside("touch /var/lib/keywright/new && rm /var/lib/keywright/new && cat /var/lib/keywright/seen"))
        .step("powers", "grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/$(systemctl show -P MainPID keywright)/status")
        .step("status", STATUS));
    assert_ran(&report, &["init", "start", "state dir", "status"]);
    for (name, _) in forbidden {
        let step = report.step(name);
        assert!(step.code != 0 && step.output.contains("Read-only file system"), "{name}: {step:?}");
    }
    assert!(report.step("state dir").output.starts_with("keywright-seen "), "{}", everything(&report));
    // CAP_CHOWN and no other; no way to more; a filter of system calls.
    assert_lines(&report, "powers", &["CapBnd:\t0000000000000001", "NoNewPrivs:\t1", "Seccomp:\t2"]);
}

#[test]
fn systemd_finds_no_mistake_in_the_unit_and_little_that_it_could_do() {
    let report = run(machine()
        .step("verify", "systemd-analyze verify --man=no /etc/systemd/system/keywright.service")
        .step("security", "systemd-analyze security --offline=true --threshold=15 /etc/systemd/system/keywright.service"));
    let verify = report.step("verify");
    assert_eq!((verify.code, verify.output.trim()), (0, ""), "{}", everything(&report));
    let security = report.step("security");
    let figure = security.output.lines().rfind(|line| line.contains("Overall exposure level")).unwrap_or_default();
    // Of 10; the threshold above is 1.5. What is left is what it needs: root, Unix sockets, its credential.
    assert_eq!(security.code, 0, "{figure}");
    assert!(!figure.is_empty(), "{}", security.output);
}

#[test]
fn after_a_restart_a_sigterm_and_a_kill_the_unit_serves_the_same_key_id_again() {
    let report = run(machine()
        .step("init", &init(PLAIN))
        .step("start", "systemctl start keywright.service")
        .step("first", STATUS)
        .step("restart", "systemctl restart keywright.service")
        .step("second", STATUS)
        .step("term", &format!("systemctl kill --signal=TERM keywright.service; {}", back_after(1)))
        .step("third", STATUS)
        .step("kill", &format!("systemctl kill --signal=KILL keywright.service; {}", back_after(2)))
        .step("fourth", STATUS)
        .step("stop", "systemctl stop keywright.service")); // a machine that goes down does not wait for the last note
    assert_ran(&report, &["init", "start", "first", "restart", "second", "term", "third", "kill", "fourth", "stop"]);
    // The first by `restart`, the last by `stop`.
    assert_eq!(ends(&report), ["success exited 0", "success exited 0", "signal killed KILL", "success exited 0"]);
    let key_ids = ["first", "second", "third", "fourth"].map(|name| key_id(&report, name));
    assert!(key_ids[0].starts_with("kw1."), "{key_ids:?}");
    assert!(key_ids.iter().all(|key_id| *key_id == key_ids[0]), "{key_ids:?}");
    let log = report.file("unit.log").expect("the unit printed");
    let ready: Vec<_> = log.lines().filter(|line| line.contains(" INFO ready ")).filter_map(|line| field(line, "key_id")).collect();
    assert_eq!(ready.len(), 4, "{log}");
}

/// A shell loop that ends when the unit has loaded a changed keyring for the `times`-th time.
fn reloaded(times: u32) -> String {
    format!("timeout 20 sh -c 'until [ $(grep -c \"INFO keyring reloaded\" {OUT}/unit.log) = {times} ]; do sleep 0.05; done'")
}

/// The key_id in what the status command printed.
fn key_id(report: &Report, step: &str) -> String {
    let status: serde_json::Value = serde_json::from_str(&report.step(step).output).expect("status prints JSON");
    status["key_id"].as_str().expect("it has a key_id").to_owned()
}

/// A shell loop that ends when systemd has started the unit again for the `times`-th time and it is active.
fn back_after(times: u32) -> String {
    let wanted = format!("NRestarts={times} ActiveState=active");
    format!(
        "timeout 30 sh -c 'until [ \"$(echo $(systemctl show -p NRestarts -p ActiveState keywright))\" = \"{wanted}\" ]; do sleep 0.05; done'"
    )
}

/// How each run of the unit ended, in systemd's words.
fn ends(report: &Report) -> Vec<String> {
    report.file("ends").expect("the unit ended at least once").lines().map(str::to_owned).collect()
}

fn assert_lines(report: &Report, step: &str, wanted: &[&str]) {
    let output = &report.step(step).output;
    for line in wanted {
        assert!(output.lines().any(|found| found == *line), "no {line} after {step}:\n{}", everything(report));
    }
}

fn everything(report: &Report) -> String {
    let log = report.file("unit.log").unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    format!("{}## unit.log, its end\n{}", report.transcript(), lines[lines.len().saturating_sub(20)..].join("\n"))
}
