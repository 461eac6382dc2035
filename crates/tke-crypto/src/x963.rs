//! The key derivation function of ANSI X9.63 with SHA-256 (SEC 1 §3.6.1).

use sha2::{Digest, Sha256};

/// Fills `key` from a shared secret: its first 32 bytes are SHA-256(`secret ‖ 00000001 ‖ shared_info`), and so on.
pub(crate) fn derive(secret: &[u8], shared_info: &[u8], key: &mut [u8]) {
    for (block, counter) in key.chunks_mut(<Sha256 as Digest>::output_size()).zip(1u32..) {
        let mut digest = Sha256::new();
        digest.update(secret);
        digest.update(counter.to_be_bytes());
        digest.update(shared_info);
        let mut digest: [u8; 32] = digest.finalize().into();
        for (to, from) in block.iter_mut().zip(&digest) {
            *to = *from;
        }
        zeroize::Zeroize::zeroize(&mut digest);
    }
}

#[cfg(test)]
mod tests {
    use super::derive;
    use std::vec;
    use std::vec::Vec;

    const CAVP: &str = include_str!("../../../fixtures/kat/x963-kdf/cavp-sha256.txt");

    fn hex(digits: &str) -> Vec<u8> {
        let digits = digits.trim_start_matches('-');
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn kat_x963_cavp() {
        let vectors = CAVP.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let [secret, shared_info, expected] =
                line.split(' ').map(hex).collect::<Vec<_>>().try_into().unwrap();
            let mut key = vec![0; expected.len()];
            derive(&secret, &shared_info, &mut key);
            assert_eq!(key, expected);
        });
        assert_eq!(vectors.count(), 20);
    }
}
