//! Gives mutated bbolt files checksums that are right, so that the fuzzer reaches what lies behind them.

/// FNV-1a of the 56 bytes behind the page header, written behind them, in both meta pages.
pub(crate) fn make_valid(file: &mut [u8]) {
    let page_size = file.get(24..28).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes) as usize;
    for page in [0, page_size] {
        let Some(meta) = file.get_mut(page..).and_then(|rest| rest.get_mut(16..80)) else { continue };
        let (body, checksum) = meta.split_at_mut(56);
        let hash = body.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
        checksum.copy_from_slice(&hash.to_le_bytes());
    }
}
