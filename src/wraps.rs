//! How often each key in a token has wrapped here: AES-GCM with random 96-bit IVs must not do so more than 2^32 times (NIST SP 800-38D, 8.3).
//!
//! The count is kept in the state directory in blocks, written before the first wrap of each: after a crash it is too high by at most a block, never
//! too low. Other nodes that wrap with the same key count their own. Local keys have no such limit, and are not counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::durable::Writer;
use crate::key_id::KeyId;
use crate::ownership;

const NAME: &str = "wraps";
const MAGIC: &str = "keywright-wraps 1";
const MAX_FILE: u64 = 1 << 20;
/// Wraps that one write of the file pays for.
const BLOCK: u64 = 10_000;
/// From here on it is said, with every block: a 32nd of what one key may do, so that the nodes of any cluster together stay far below it.
pub const MANY: u64 = 1 << 27;

/// The counts of this node.
pub struct Wraps {
    path: PathBuf,
    state: Mutex<State>,
    /// Held while the file is read or written.
    file: Mutex<OnDisk>,
}

/// For each key: wraps so far, and up to where the file allows.
#[derive(Default)]
struct State(BTreeMap<KeyId, (u64, u64)>);

/// What is known of the file.
#[derive(Default)]
struct OnDisk {
    /// Whether it was read; what it says is a beginning, for it was written ahead.
    read: bool,
    /// What keeps it from being read or written, said once.
    broken: Option<String>,
}

impl Wraps {
    /// Those that are kept in `state_dir`; nothing is read yet.
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join(NAME), state: Mutex::default(), file: Mutex::default() }
    }

    /// Counts one wrap of `key_id`, which is about to be made. Blocks for a write of the file once in 10,000 times.
    ///
    /// A count that cannot be kept is logged and does not hold up the wrap: no key is near its limit so soon that an operator could not act.
    pub fn count(&self, key_id: KeyId) {
        if self.state().take(key_id) {
            return;
        }
        // One at a time, and without the counts locked: who shows them never waits for a disk.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(cause) = self.reserve(key_id, &mut file)
            && file.broken.as_ref() != Some(&cause)
        {
            tracing::error!(cause, "how often keys in tokens wrap is not kept");
            file.broken = Some(cause);
        }
    }

    /// Makes room for one more block of `key_id`, on disk first, and counts one wrap in it. What cannot be read is never written over.
    fn reserve(&self, key_id: KeyId, file: &mut OnDisk) -> Result<(), String> {
        if !file.read {
            match self.read() {
                Ok(counts) => {
                    file.read = true;
                    self.state().begin(counts);
                }
                Err(cause) => {
                    self.state().add(key_id, 0);
                    return Err(cause);
                }
            }
        }
        // Somebody else may have made room meanwhile.
        if self.state().take(key_id) {
            return Ok(());
        }
        let mut counts = self.state().0.clone();
        let (used, reserved) = counts.entry(key_id).or_default();
        *reserved = (*used).max(*reserved).saturating_add(BLOCK);
        if *used >= MANY {
            tracing::warn!(%key_id, wraps = *used, limit = 1u64 << 32, "the key has wrapped very often: rotate it");
        }
        let written = Writer::lock(&self.path).and_then(|writer| writer.replace(write(&counts).as_bytes()));
        self.state().add(key_id, if written.is_ok() { BLOCK } else { 0 });
        written.map_err(|error| error.to_string())?;
        file.broken = None;
        Ok(())
    }

    /// Wraps so far by each key that was counted.
    pub fn counts(&self) -> Vec<(KeyId, u64)> {
        self.state().0.iter().map(|(key_id, (used, _))| (*key_id, *used)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<BTreeMap<KeyId, (u64, u64)>, String> {
        let bytes = ownership::read_private_if_there(&self.path, MAX_FILE).map_err(|e| e.to_string())?;
        let Some(bytes) = bytes else { return Ok(BTreeMap::new()) };
        let text = std::str::from_utf8(bytes.expose_secret()).ok();
        text.and_then(parse).ok_or_else(|| format!("{} does not say how often keys have wrapped", self.path.display()))
    }
}

impl State {
    /// Counts one wrap, if the file allows it.
    fn take(&mut self, key_id: KeyId) -> bool {
        let Some((used, _)) = self.0.get_mut(&key_id).filter(|(used, reserved)| used < reserved) else { return false };
        *used += 1;
        true
    }

    /// Counts one wrap, of a block that the file allows now; of none, if it could not be written.
    fn add(&mut self, key_id: KeyId, block: u64) {
        let (used, reserved) = self.0.entry(key_id).or_default();
        if block > 0 {
            *reserved = (*used).max(*reserved).saturating_add(block);
        }
        *used = used.saturating_add(1);
    }

    /// What the file says comes before what was counted without it.
    fn begin(&mut self, counts: BTreeMap<KeyId, (u64, u64)>) {
        for (key_id, (used, reserved)) in counts {
            let (counted, allowed) = self.0.entry(key_id).or_default();
            *counted = counted.saturating_add(used);
            *allowed = reserved;
        }
    }
}

fn write(counts: &BTreeMap<KeyId, (u64, u64)>) -> String {
    let mut text = format!("{MAGIC}\n");
    for (key_id, (_, reserved)) in counts {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{key_id} {reserved}");
    }
    text
}

fn parse(text: &str) -> Option<BTreeMap<KeyId, (u64, u64)>> {
    let lines = text.strip_prefix(MAGIC)?.strip_prefix('\n')?.lines();
    let counts = lines.map(|line| {
        let (key_id, reserved) = line.split_once(' ')?;
        let reserved = reserved.parse().ok()?;
        Some((key_id.parse().ok()?, (reserved, reserved)))
    });
    let counts = counts.collect::<Option<BTreeMap<_, _>>>()?;
    (write(&counts) == text).then_some(counts)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key(version: u32) -> KeyId {
        format!("kw1.0101010101010101.{version}.00000000000000000000000000000000").parse().expect("valid")
    }

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).expect("chmod");
        dir
    }

    #[test]
    fn a_count_goes_on_over_a_restart_and_never_from_below_where_it_was() {
        let dir = folder();
        let wraps = Wraps::new(dir.path());
        for _ in 0..BLOCK + 3 {
            wraps.count(key(1));
        }
        wraps.count(key(2));
        assert_eq!(wraps.counts(), [(key(1), BLOCK + 3), (key(2), 1)]);
        let again = Wraps::new(dir.path());
        again.count(key(1));
        assert_eq!(again.counts(), [(key(1), 2 * BLOCK + 1), (key(2), BLOCK)]);
    }

    #[test]
    fn the_file_is_written_once_for_a_block_and_before_its_first_wrap() {
        let dir = folder();
        let (wraps, file) = (Wraps::new(dir.path()), dir.path().join(NAME));
        wraps.count(key(1));
        let text = std::fs::read_to_string(&file).expect("written");
        assert_eq!(text, format!("{MAGIC}\n{} {BLOCK}\n", key(1)));
        std::fs::remove_file(&file).expect("removes");
        for _ in 1..BLOCK {
            wraps.count(key(1));
        }
        assert!(!file.exists(), "within the block nothing is written");
        wraps.count(key(1));
        assert!(std::fs::read_to_string(&file).expect("written").contains(&format!(" {}\n", 2 * BLOCK)));
    }

    #[test]
    fn a_count_that_cannot_be_kept_holds_up_nothing() {
        let wraps = Wraps::new(Path::new("/nonexistent/keywright"));
        wraps.count(key(1));
        assert_eq!(wraps.counts(), [(key(1), 1)]);
        for torn in ["", "keywright-wraps 2\n", "keywright-wraps 1\nkey 1\n", "keywright-wraps 1", &format!("{MAGIC}\n{} 01\n", key(1))] {
            assert_eq!(parse(torn), None, "{torn:?}");
        }
    }
}
