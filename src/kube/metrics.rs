//! Lines of an API server's metrics, in Prometheus' text format.

/// Counts what was written and read with each key.
pub(super) const USES: &str = "apiserver_envelope_encryption_key_id_hash_total{";

/// The value at the end of a line.
pub(super) fn value(line: &str) -> Option<f64> {
    line.rsplit(' ').next().and_then(|value| value.parse().ok())
}
