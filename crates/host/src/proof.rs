//! Checks what units answer when they prove that they hold the master key.

use aes::Aes256;
use cmac::{Cmac, KeyInit, Mac};
use subtle::ConstantTimeEq;
use unit_api::proof::{CHALLENGE_LEN, CanaryKey};

/// The proof of a master key, as the instance's header holds it.
pub type MasterKeyProof = unit_api::MasterKeyProof<Vec<u8>>;

/// The host's own copy of a canary's key, with which it checks answers to challenges.
#[derive(Clone)]
pub(crate) struct ChallengeCheck(Box<CanaryKey>);

impl ChallengeCheck {
    pub(crate) fn new(canary: CanaryKey) -> Self {
        Self(Box::new(canary))
    }

    /// Whether `mac` is the AES-CMAC of `challenge` under the canary, in constant time.
    pub(crate) fn verifies(&self, challenge: &[u8; CHALLENGE_LEN], mac: &[u8]) -> bool {
        let mut own = <Cmac<Aes256> as KeyInit>::new(self.0.expose().into());
        own.update(challenge);
        let own: [u8; 16] = own.finalize().into_bytes().into();
        own.ct_eq(mac).into()
    }
}

#[cfg(test)]
mod tests {
    use super::ChallengeCheck;
    use unit_api::proof::InstanceSecret;

    /// The MAC was computed with OpenSSL, for a secret of 32 bytes 0x42 and a challenge of 16 bytes 0x07.
    #[test]
    fn only_the_right_mac_of_the_challenge_is_accepted() {
        let secret = [0x42; 32];
        let check = ChallengeCheck::new(InstanceSecret::from_slice(&secret).unwrap().canary());
        let mac: [u8; 16] =
            [0x0b, 0xac, 0xd4, 0xed, 0x26, 0x27, 0x08, 0x7c, 0x30, 0x5f, 0xf6, 0xe3, 0xa2, 0x72, 0xb3, 0x16];
        assert!(check.verifies(&[7; 16], &mac));
        assert!(!check.verifies(&[8; 16], &mac));
        assert!(!check.verifies(&[7; 16], &mac[..15]));
        assert!(!check.verifies(&[7; 16], &[]));
    }
}
