//! The log of calls, for tests that count them.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki_sys::CK_RV;

/// `PID.THREAD C_Name`
pub(crate) fn begins(name: &str) {
    write(&format!("{} {name}\n", who()));
}

/// `PID.THREAD C_Name 0xA0`
pub(crate) fn ends(name: &str, answer: CK_RV) {
    write(&format!("{} {name} 0x{answer:x}\n", who()));
}

/// One write for each line, at the end of the file: lines of several threads and processes never mix.
fn write(line: &str) {
    static FILE: OnceLock<Option<File>> = OnceLock::new();
    let open = || OpenOptions::new().append(true).create(true).open(crate::script::folder()?.join("calls")).ok();
    if let Some(mut file) = FILE.get_or_init(open).as_ref() {
        file.write_all(line.as_bytes()).expect("the log of calls can be written");
    }
}

fn who() -> String {
    static THREADS: AtomicU64 = AtomicU64::new(1);
    thread_local!(static THREAD: Cell<u64> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed)));
    format!("{}.{}", std::process::id(), THREAD.get())
}
