//! A network in which the addresses that API servers publish are theirs.
//!
//! An API server publishes no loopback address, and on the machine of the test the others are not ours to take. So the test starts itself once
//! more in a network namespace whose loopback interface has them.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use keywright_testbed::process::{Process, ending};

/// Where API servers listen, and what they publish: TEST-NET-1, RFC 5737.
pub(super) const ADDRESSES: [Ipv4Addr; 3] = [Ipv4Addr::new(192, 0, 2, 11), Ipv4Addr::new(192, 0, 2, 12), Ipv4Addr::new(192, 0, 2, 13)];

/// Says to a test that it was started there.
const INSIDE: &str = "KEYWRIGHT_TEST_NETWORK";

/// Runs `work` if this is that network; else runs the test called `test` there, within `limit`, and shows what it printed.
pub(super) fn inside(test: &str, limit: Duration, work: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return work();
    }
    let addresses: String = ADDRESSES.iter().map(|address| format!("ip address add {address}/32 dev lo; ")).collect();
    let script = format!("set -e; ip link set lo up; {addresses} exec \"$@\"");
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new("unshare");
    command.args(["--net", "--", "sh", "-c", &script, "sh"]).arg(program).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let mut process = Process::spawn("the test in its network", &mut command).expect("it starts");
    let ended = process.wait(limit);
    // Without the lines of its own test harness: whoever counts tests by them would count twice.
    let said = process.out().lines();
    said.iter().filter(|line| !line.starts_with("test ") && !line.starts_with("running ")).for_each(|line| println!("{line}"));
    let status = ended.unwrap_or_else(|e| panic!("{e}"));
    assert!(status.success(), "{}:\n{}", ending(status), process.err().lines().join("\n"));
    // A name that fits no test would succeed too.
    assert!(said.iter().any(|line| line.starts_with("test result: ok. 1 passed")), "no test is called {test}");
}
