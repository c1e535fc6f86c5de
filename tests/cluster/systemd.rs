//! The unit in the repository, started by a real systemd.

use std::path::Path;
use std::time::Duration;

use keywright_testbed::leak;
use keywright_testbed::plugin::field;
use keywright_testbed::systemd::{Machine, OUT, Report};

use crate::stack::{KEYWRIGHT, bytes};

const CONFIG: &str = "/etc/keywright/config.toml";
const LIMIT: Duration = Duration::from_secs(90);

/// As the comment in the unit says: `init` has the credential that the unit will have. systemd-run needs the system bus.
const INIT: &str = "systemctl start dbus.socket && install -d -m 0700 /etc/keywright /var/lib/keywright && \
                    systemd-run --pipe --wait -p LoadCredential=keywright-seal:/etc/keywright/seal.key \
                    keywright init --config /etc/keywright/config.toml";

const STATUS: &str = "/usr/local/bin/keywright status --config /etc/keywright/config.toml --output json";

fn seal_key() -> Vec<u8> {
    bytes(64, 7)
}

/// A machine with the binary, the unit, a configuration and a seal key, as an operator would install them.
fn machine() -> Machine {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/keywright.service");
    // There is no journal inside. How each run ended is written down, for systemd forgets it together with a unit that nobody names.
    let watch = format!(
        "[Service]\nStandardOutput=append:{OUT}/unit.log\nStandardError=append:{OUT}/unit.log\n\
         ExecStopPost=+/bin/sh -c 'echo $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS >> {OUT}/ends'\n"
    );
    Machine::new()
        .copy(Path::new(KEYWRIGHT), "/usr/local/bin/keywright", 0o755)
        .and_then(|machine| machine.copy(&unit, "/etc/systemd/system/keywright.service", 0o644))
        .expect("the binary and the unit are there")
        .file("/etc/systemd/system/keywright.service.d/watch.conf", 0o644, watch)
        .file(CONFIG, 0o644, "keyring = \"/var/lib/keywright/keyring\"\n[seal]\ncredential = \"keywright-seal\"\n")
        .file("/etc/keywright/seal.key", 0o600, seal_key())
}

fn state(properties: &str) -> String {
    format!("systemctl show --property={properties} keywright.service")
}

fn run(machine: Machine) -> Report {
    let report = machine.run(LIMIT).unwrap_or_else(|e| panic!("{e}"));
    let printed = format!("{}{}", report.transcript(), report.file("unit.log").unwrap_or_default());
    assert_eq!(leak::found_in(printed.as_bytes(), &seal_key()), [""; 0], "the seal key was printed");
    report
}

#[test]
fn systemctl_start_returns_when_keys_answer_and_stop_ends_with_exit_0() {
    let report = run(machine()
        .step("init", INIT)
        .step("start", "systemctl start keywright.service")
        .step("status", STATUS) // no wait in between
        .step("state", &state("ActiveState,Type,NotifyAccess"))
        .step("stop", "systemctl stop keywright.service")
        .step("stopped", &state("ActiveState")));
    for name in ["init", "start", "status", "stop"] {
        assert_eq!(report.step(name).code, 0, "{name}:\n{}", everything(&report));
    }
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
        .step("init", INIT)
        .step("break", "f=/var/lib/keywright/keyring && sed -i '$d' $f")
        .step("start", "timeout 30 systemctl start keywright.service")
        .step("state", &state("ActiveState,SubState,ActiveEnterTimestampMonotonic,ExecMainStatus"))
        .step("status", STATUS));
    for name in ["init", "break"] {
        assert_eq!(report.step(name).code, 0, "{name}:\n{}", everything(&report));
    }
    assert_ne!(report.step("start").code, 0, "{}", everything(&report));
    assert_lines(&report, "state", &["ActiveEnterTimestampMonotonic=0"]);
    assert_ne!(report.step("status").code, 0, "{}", everything(&report));
    let log = report.file("unit.log").expect("the unit printed");
    assert!(!log.contains(" INFO ready "), "{log}");
}

#[test]
fn a_unit_with_another_seal_key_never_becomes_active() {
    let report = run(machine()
        .step("init", INIT)
        .step("swap", "head -c 64 /dev/urandom > /etc/keywright/seal.key")
        .step("start", "timeout 30 systemctl start keywright.service")
        .step("state", &state("ActiveState,ActiveEnterTimestampMonotonic")));
    assert_eq!(report.step("init").code, 0, "{}", everything(&report));
    assert_ne!(report.step("start").code, 0, "{}", everything(&report));
    assert_lines(&report, "state", &["ActiveEnterTimestampMonotonic=0"]);
}

#[test]
fn after_a_restart_a_sigterm_and_a_kill_the_unit_serves_the_same_key_id_again() {
    let report = run(machine()
        .step("init", INIT)
        .step("start", "systemctl start keywright.service")
        .step("first", STATUS)
        .step("restart", "systemctl restart keywright.service")
        .step("second", STATUS)
        .step("term", &format!("systemctl kill --signal=TERM keywright.service; {}", back_after(1)))
        .step("third", STATUS)
        .step("kill", &format!("systemctl kill --signal=KILL keywright.service; {}", back_after(2)))
        .step("fourth", STATUS));
    for name in ["init", "start", "first", "restart", "second", "term", "third", "kill", "fourth"] {
        assert_eq!(report.step(name).code, 0, "{name}:\n{}", everything(&report));
    }
    // The first by `restart`, the last when the machine goes down.
    assert_eq!(ends(&report), ["success exited 0", "success exited 0", "signal killed KILL", "success exited 0"]);
    let key_ids: Vec<serde_json::Value> = ["first", "second", "third", "fourth"]
        .map(|name| serde_json::from_str::<serde_json::Value>(&report.step(name).output).expect("status prints JSON")["key_id"].clone())
        .into();
    assert!(key_ids[0].as_str().is_some_and(|key_id| key_id.starts_with("kw1.")), "{key_ids:?}");
    assert!(key_ids.iter().all(|key_id| *key_id == key_ids[0]), "{key_ids:?}");
    let log = report.file("unit.log").expect("the unit printed");
    let ready: Vec<_> = log.lines().filter(|line| line.contains(" INFO ready ")).filter_map(|line| field(line, "key_id")).collect();
    assert_eq!(ready.len(), 4, "{log}");
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
