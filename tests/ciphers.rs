//! The ciphers underneath, against vectors of others.
//!
//! XAES-256-GCM: the C2SP specification, <https://c2sp.org/XAES-256-GCM>, section "Test vectors", through the code that wraps with it.
//! AES-256-GCM, of which XAES-256-GCM is made: Project Wycheproof, <https://github.com/C2SP/wycheproof>.

#[path = "format/script.rs"]
mod script;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use keywright::provider::local::LocalKek;
use keywright::provider::{Kek, KekError};
use keywright::secret::SecretKey;
use script::Script;
use wycheproof::TestResult;
use wycheproof::aead::{Test, TestGroup, TestName, TestSet};

fn local(key: &[u8]) -> LocalKek {
    LocalKek::new(&SecretKey::from_slice(key).expect("32 bytes"))
}

/// Seals through the public interface and opens again.
fn seal(key: &[u8], nonce: &[u8], plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
    let kek = local(key);
    let wrapped = kek.wrap_key(aad, plaintext, &Script::new(nonce)).expect("wraps");
    assert_eq!(wrapped.nonce, nonce);
    assert_eq!(kek.unwrap_key(aad, nonce, &wrapped.sealed).expect("opens").expose_secret(), plaintext);
    wrapped.sealed
}

#[test]
fn xaes_agrees_with_the_two_vectors_of_its_specification() {
    // They differ in the highest bit of AES(K, 0), on which the doubling of CMAC's subkey depends.
    let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
    for (key, aad, expected) in [
        (1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
    ] {
        let sealed = seal(&[key; 32], nonce, b"XAES-256-GCM", aad.as_bytes());
        assert_eq!(base16ct::lower::encode_string(&sealed), expected);
    }
}

#[test]
fn xaes_agrees_with_the_accumulated_random_test_of_its_specification() {
    let mut random = Shake128::new();
    assert_eq!(base16ct::lower::encode_string(&Shake128::new().take(16)), "7f9c2ba4e88f827d616045507605853e");
    let mut hash = Shake128::new();
    for _ in 0..10_000 {
        let (key, nonce) = (random.take(32), random.take(24));
        let length = random.take(1)[0];
        let plaintext = random.take(length.into());
        let length = random.take(1)[0];
        let aad = random.take(length.into());
        hash.absorb(&seal(&key, &nonce, &plaintext, &aad));
    }
    let digest = base16ct::lower::encode_string(&hash.take(32));
    assert_eq!(digest, "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939");
}

#[test]
fn a_changed_vector_of_the_specification_does_not_open() {
    let (nonce, aad) = (b"ABCDEFGHIJKLMNOPQRSTUVWX", b"c2sp.org/XAES-256-GCM");
    let kek = local(&[3; 32]);
    let sealed = seal(&[3; 32], nonce, b"XAES-256-GCM", aad);
    let closed = |nonce: &[u8], aad: &[u8], sealed: &[u8]| {
        let error = kek.unwrap_key(aad, nonce, sealed).expect_err("opened");
        assert!(matches!(error, KekError::Authentication), "{error}");
    };
    let flips = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let flip = |bit: usize| {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            changed
        };
        (0..bytes.len() * 8).map(flip).collect()
    };
    flips(nonce).iter().for_each(|nonce| closed(nonce, aad, &sealed));
    flips(aad).iter().for_each(|aad| closed(nonce, aad, &sealed));
    flips(&sealed).iter().for_each(|sealed| closed(nonce, aad, sealed));
    flips(&[3; 32]).iter().for_each(|key| {
        local(key).unwrap_key(aad, nonce, &sealed).expect_err("opened with another key");
    });
    (0..sealed.len()).for_each(|len| closed(nonce, aad, &sealed[..len]));
}

/// What a set of tests came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    accepted: usize,
    refused: usize,
    /// Of key, nonce or tag lengths that nothing here uses.
    not_applicable: usize,
}

#[test]
#[allow(clippy::print_stdout, reason = "how many tests ran is part of the evidence")]
fn aes_256_gcm_agrees_with_wycheproof() {
    let set = TestSet::load(TestName::AesGcm).expect("the vectors of AES-GCM");
    let mut count = Count::default();
    for group in &set.test_groups {
        for test in &group.tests {
            if !is_ours(group) {
                count.not_applicable += 1;
                continue;
            }
            match test.result {
                TestResult::Valid => {
                    assert_valid(test);
                    count.accepted += 1;
                }
                TestResult::Invalid => {
                    assert_eq!(open(test), None, "test {}: {}", test.tc_id, test.comment);
                    count.refused += 1;
                }
                TestResult::Acceptable => panic!("test {} is neither valid nor invalid: decide what we do", test.tc_id),
            }
        }
    }
    println!("Wycheproof AES-GCM: {count:?}");
    assert!(count.accepted > 0 && count.refused > 0, "{count:?}");
    assert_eq!(count.accepted + count.refused + count.not_applicable, set.number_of_tests);
}

/// The lengths that XAES-256-GCM uses, in bits.
fn is_ours(group: &TestGroup) -> bool {
    (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128)
}

fn cipher(test: &Test) -> (Aes256Gcm, [u8; 12]) {
    let nonce = test.nonce.as_slice().try_into().expect("96 bits");
    (Aes256Gcm::new_from_slice(&test.key).expect("256 bits"), nonce)
}

fn open(test: &Test) -> Option<Vec<u8>> {
    let (cipher, nonce) = cipher(test);
    let sealed = [test.ct.as_slice(), test.tag.as_slice()].concat();
    cipher.decrypt((&nonce).into(), Payload { msg: &sealed, aad: &test.aad }).ok()
}

fn assert_valid(test: &Test) {
    let (cipher, nonce) = cipher(test);
    let sealed = cipher.encrypt((&nonce).into(), Payload { msg: &test.pt, aad: &test.aad }).expect("seals");
    assert_eq!(sealed, [test.ct.as_slice(), test.tag.as_slice()].concat(), "test {}: {}", test.tc_id, test.comment);
    assert_eq!(open(test).as_deref(), Some(test.pt.as_slice()), "test {}: {}", test.tc_id, test.comment);
}

/// SHAKE-128 (FIPS 202), which the accumulated test of the specification draws from and hashes with. Nothing else here uses it.
struct Shake128 {
    state: [u64; 25],
    /// Where the next byte goes in or comes out, below [`Shake128::RATE`].
    at: usize,
    squeezing: bool,
}

impl Shake128 {
    /// Bytes in or out per permutation.
    const RATE: usize = 168;

    const fn new() -> Self {
        Self { state: [0; 25], at: 0, squeezing: false }
    }

    fn absorb(&mut self, bytes: &[u8]) {
        assert!(!self.squeezing, "absorb comes before take");
        for byte in bytes {
            self.xor(self.at, *byte);
            self.at += 1;
            if self.at == Self::RATE {
                self.permute();
            }
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        if !self.squeezing {
            self.squeezing = true;
            self.xor(self.at, 0x1f);
            self.xor(Self::RATE - 1, 0x80);
            self.permute();
        }
        let next = |_| {
            if self.at == Self::RATE {
                self.permute();
            }
            self.at += 1;
            self.state[(self.at - 1) / 8].to_le_bytes()[(self.at - 1) % 8]
        };
        (0..count).map(next).collect()
    }

    fn xor(&mut self, at: usize, byte: u8) {
        self.state[at / 8] ^= u64::from(byte) << (8 * (at % 8));
    }

    /// Keccak-f[1600]: 24 rounds of theta, rho and pi, chi, iota.
    fn permute(&mut self) {
        let lanes = &mut self.state;
        let mut lfsr = 1u8;
        for _ in 0..24 {
            let columns: [u64; 5] = std::array::from_fn(|x| (0..5).fold(0, |sum, y| sum ^ lanes[x + 5 * y]));
            for (at, lane) in lanes.iter_mut().enumerate() {
                *lane ^= columns[(at + 4) % 5] ^ columns[(at % 5 + 1) % 5].rotate_left(1);
            }
            let (mut x, mut y, mut moving) = (1, 0, lanes[1]);
            for step in 0..24 {
                (x, y) = (y, (2 * x + 3 * y) % 5);
                moving = std::mem::replace(&mut lanes[x + 5 * y], moving.rotate_left((step + 1) * (step + 2) / 2 % 64));
            }
            for row in lanes.chunks_exact_mut(5) {
                let old: [u64; 5] = std::array::from_fn(|x| row[x]);
                for x in 0..5 {
                    row[x] ^= !old[(x + 1) % 5] & old[(x + 2) % 5];
                }
            }
            for exponent in 0..7 {
                if lfsr & 1 == 1 {
                    lanes[0] ^= 1 << ((1u32 << exponent) - 1);
                }
                lfsr = (lfsr << 1) ^ ((lfsr >> 7) * 0x71);
            }
        }
        self.at = 0;
    }
}
