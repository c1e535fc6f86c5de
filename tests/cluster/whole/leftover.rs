//! One object as it was stored under a key that is to go.

use super::corpus::Object;
use super::site::Site;

/// A Secret of the first time.
const OBJECT: Object = Object(999);

/// What stood in etcd for it.
pub(super) struct Leftover(Vec<u8>);

impl Leftover {
    /// As it is stored now.
    pub(super) fn of(site: &Site) -> Self {
        Self(site.etcd.value(&OBJECT.etcd_key()).expect("it is stored"))
    }

    /// Puts it back.
    pub(super) fn put(self, site: &Site) {
        site.etcd.put_all(&[(OBJECT.etcd_key(), self.0)]).expect("etcd takes it");
    }

    /// Puts it back, and asserts that this alone keeps the step in `words` from being taken.
    pub(super) fn blocks(&self, site: &Site, words: &[&str]) {
        Self(self.0.clone()).put(site);
        site.step(words).fails(6, &["1 stored value", &OBJECT.etcd_key()]);
    }
}
