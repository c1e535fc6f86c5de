//! Makes a key of what a person can remember, a passphrase or a PIN, slowly and with much memory, so that guessing is dear.

use argon2::{Algorithm, Argon2, Params, Version};

use thiserror::Error;

use crate::secret::{SecretBytes, SecretKey};

/// There is not enough memory to derive a key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("deriving the key of a passphrase failed: {0}")]
pub struct StretchError(String);

/// What one guess costs: argon2id version 0x13 (RFC 9106). Only costs within the limits below exist, so that a file cannot ask for an
/// absurd amount of memory, nor for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    /// For new slots: 64 MiB, 3 passes, 4 lanes (the second recommendation of RFC 9106, section 4); some 0.2 s on one core.
    pub const NEW: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 4 };

    /// A cost from a file: 64 MiB to 1 GiB, 3 to 16 passes, 1 to 16 lanes; `None` outside of that.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Option<Self> {
        let within = (64 << 10..=1 << 20).contains(&memory_kib) && (3..=16).contains(&passes) && (1..=16).contains(&lanes);
        within.then_some(Self { memory_kib, passes, lanes })
    }

    /// Memory in KiB, passes, lanes: the three numbers of a slot.
    pub fn numbers(self) -> [u32; 3] {
        [self.memory_kib, self.passes, self.lanes]
    }

    /// 32 bytes of `passphrase`, which cost what this says.
    pub fn stretch(self, passphrase: &SecretBytes, salt: &[u8; 16]) -> Result<SecretKey, StretchError> {
        let failed = |e: argon2::Error| StretchError(e.to_string());
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(SecretKey::LEN)).map_err(failed)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        SecretKey::try_fill(|out| argon2.hash_password_into(passphrase.expose_secret(), salt, out)).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_costs_do_not_exist() {
        let new = Cost::NEW.numbers();
        assert_eq!(Cost::new(new[0], new[1], new[2]), Some(Cost::NEW));
        for [memory, passes, lanes] in [
            [(64 << 10) - 1, 3, 4],
            [(1 << 20) + 1, 3, 4],
            [u32::MAX, 3, 4],
            [64 << 10, 2, 4],
            [64 << 10, 17, 4],
            [64 << 10, 3, 0],
            [64 << 10, 3, 17],
        ] {
            assert_eq!(Cost::new(memory, passes, lanes), None, "{memory} {passes} {lanes}");
        }
    }
}
