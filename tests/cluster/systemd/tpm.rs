//! The unit whose root key's credential is sealed to a TPM 2.0. The TPM is swtpm; who seals and opens is systemd, as on an operator's machine.
//!
//! No kernel stands between, which would make a device of it and free what each client leaves behind. So systemd is told the TPM's socket in place of
//! a device, and between two uses the TPM is switched off and on, which is a boot as far as it can tell.

use std::path::Path;

use keywright_testbed::systemd::Machine;

use super::{
    CONFIG, ENCRYPTED, NEVER_ACTIVE, START, STATUS, assert_lines, assert_ran, before_the_edit, block, everything, init, key_id, machine,
    run, state,
};

const PAGE: &str = include_str!("../../../docs/seals.md");
const CREDENTIALS: &str = "systemd credentials";
const TPM: &str = "swtpm:path=/run/tpm/socket";

const SWTPM: &str = "/usr/bin/swtpm";

/// Forks when its sockets are there. What is in its state folder makes it the TPM that it is.
const SERVICE: &str = "\
[Unit]
StartLimitIntervalSec=0
[Service]
Type=forking
PIDFile=/run/tpm/pid
RuntimeDirectory=tpm
StateDirectory=tpm
ExecStart=/usr/bin/swtpm socket --tpm2 --tpmstate dir=/var/lib/tpm --server type=unixio,path=/run/tpm/socket \
--ctrl type=unixio,path=/run/tpm/socket.ctrl --flags not-need-init,startup-clear --pid file=/run/tpm/pid --daemon
ExecStartPost=/usr/bin/python3 /var/bed/tpm.py /run/tpm/socket boot /etc/firmware
ExecStop=/usr/bin/python3 /var/bed/tpm.py /run/tpm/socket end
";

/// The machine is switched off and on, as far as its TPM is concerned.
const BOOT: &str = "systemctl restart tpm.service";

/// A way to lose what a credential is sealed to, and the way back to it.
struct Loss {
    lose: &'static str,
    find: &'static str,
}

const ANOTHER_TPM: Loss = Loss {
    lose: "systemctl stop tpm && mv /var/lib/tpm /var/lib/tpm.first && systemctl start tpm",
    find: "systemctl stop tpm && rm -r /var/lib/tpm && mv /var/lib/tpm.first /var/lib/tpm && systemctl start tpm",
};
const NO_TPM: Loss = Loss { lose: "systemctl stop tpm", find: "systemctl start tpm" };
/// Secure Boot is configured in another way, which firmware measures into PCR 7.
const ANOTHER_FIRMWARE: Loss =
    Loss { lose: "echo another > /etc/firmware && systemctl restart tpm", find: "echo one > /etc/firmware && systemctl restart tpm" };

/// Binds to what firmware measures of Secure Boot as well.
const SECURE_BOOT: &str = "--tpm2-pcrs=7";
/// Binds to the TPM and to what nothing measures.
const TPM_ALONE: &str = "--tpm2-pcrs=16";

/// A machine with a keyring that the TPM opens, set up as the page says, or else a recovery key; the plain key is gone.
fn sealed(with_key: &str, pcrs: &str) -> Machine {
    assert!(Path::new(SWTPM).is_file(), "{SWTPM} is missing: install swtpm");
    let commands = block(PAGE, CREDENTIALS, "sh", "--with-key=host");
    let commands = before_the_edit(&commands).replace("--with-key=host", &format!("--with-key={with_key} {pcrs}"));
    let seal = format!("set -e; export SYSTEMD_TPM2_DEVICE={TPM}; {commands} rm /etc/keywright/seal.key");
    machine()
        .file("/etc/systemd/system/keywright.service.d/override.conf", 0o644, block(PAGE, CREDENTIALS, "ini", "seal.cred"))
        .file("/etc/systemd/system/tpm.service", 0o644, SERVICE)
        // PID 1 opens the credentials of units.
        .file("/etc/systemd/system.conf.d/tpm.conf", 0o644, format!("[Manager]\nManagerEnvironment=SYSTEMD_TPM2_DEVICE={TPM}\n"))
        .file("/var/bed/tpm.py", 0o644, include_str!("tpm.py"))
        .file("/etc/firmware", 0o644, "one\n")
        .step("tpm", "systemctl start tpm.service")
        .step("seal", &seal)
        .step("boot", BOOT)
        .step("init", &init(ENCRYPTED))
        .step("boot again", BOOT)
}

const SEALED: [&str; 5] = ["tpm", "seal", "boot", "init", "boot again"];

/// The unit does not start without what is lost, the recovery key opens the keyring all the same, and the unit starts once it is found.
fn never_starts_without(loss: &Loss) {
    let recovery = "/etc/keywright/recovery.toml";
    let recover = format!(
        "sed 's|^credential = .*|key_file = \"/etc/keywright/recovery.key\"|' {CONFIG} > {recovery} && keywright keyring verify --config {recovery}"
    );
    let report = run(sealed("tpm2", SECURE_BOOT)
        .step("lose", loss.lose)
        .step("start", START)
        .step("state", &state("ActiveState,ActiveEnterTimestampMonotonic"))
        .step("recover", &recover)
        .step("find", &format!("systemctl stop keywright; {}", loss.find))
        .step("back", START)
        .step("status", STATUS));
    assert_ran(&report, &SEALED);
    assert_ran(&report, &["lose", "recover", "find", "back", "status"]);
    assert_ne!(report.step("start").code, 0, "{}", everything(&report));
    assert_lines(&report, "state", &[NEVER_ACTIVE]);
    assert!(report.console.contains("status=243/CREDENTIALS"), "{}", everything(&report));
}

#[test]
fn a_credential_sealed_to_a_tpm_opens_the_unit_after_every_boot() {
    for with_key in ["tpm2", "host+tpm2"] {
        let mut machine = sealed(with_key, SECURE_BOOT).step("start", START).step("status 0", STATUS).step("state", &state("ActiveState"));
        // More boots than there are wrong authorisations that a TPM lets pass.
        for boot in 1..=5 {
            let restart = format!("{BOOT} && systemctl restart keywright.service");
            machine = machine.step(&format!("boot {boot}"), &restart).step(&format!("status {boot}"), STATUS);
        }
        let report = run(machine);
        assert_ran(&report, &SEALED);
        assert_ran(&report, &["start"]);
        assert_lines(&report, "state", &["ActiveState=active"]);
        for boot in 1..=5 {
            assert_ran(&report, &[&format!("boot {boot}")]);
            assert_eq!(key_id(&report, &format!("status {boot}")), key_id(&report, "status 0"), "{with_key}");
        }
    }
}

#[test]
fn on_a_machine_with_another_tpm_the_unit_never_starts_and_the_recovery_key_opens_the_keyring() {
    never_starts_without(&ANOTHER_TPM);
}

#[test]
fn on_a_machine_without_a_tpm_the_unit_never_starts_and_the_recovery_key_opens_the_keyring() {
    never_starts_without(&NO_TPM);
}

#[test]
fn after_a_boot_that_measured_another_firmware_the_unit_never_starts_and_the_recovery_key_opens_the_keyring() {
    never_starts_without(&ANOTHER_FIRMWARE);
}

#[test]
fn a_credential_bound_to_the_tpm_alone_opens_the_unit_whatever_firmware_measured() {
    let report = run(sealed("tpm2", TPM_ALONE).step("lose", ANOTHER_FIRMWARE.lose).step("start", START).step("status", STATUS));
    assert_ran(&report, &SEALED);
    assert_ran(&report, &["lose", "start", "status"]);
}
