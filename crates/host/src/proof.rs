//! What a unit must show before it serves an instance: that it holds the master key, not only its pattern.
//!
//! The byte strings here are part of the stored header and never change.

use aes::Aes256;
use cmac::Cmac;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use unit_api::{Command, VerificationPattern};
use zeroize::{Zeroize, ZeroizeOnDrop};

const SECRET_AAD: &[u8] = b"hsm-sim instance secret v1";
const COMMITMENT_LABEL: &[u8] = b"hsm-sim instance commitment v1";
const CANARY_LABEL: &[u8] = b"hsm-sim canary v1";
const SECRET_LEN: usize = 32;
/// Length of a challenge, in bytes.
pub(crate) const CHALLENGE_LEN: usize = 16;

/// From the instance's header: what tells a unit that holds the instance's master key from one that says so.
///
/// Nothing in it is secret without the master key.
#[derive(Clone, Debug)]
pub struct MasterKeyProof {
    /// Of the instance's master key; compared on 28 bytes.
    pub pattern: VerificationPattern,
    /// Blob of the instance's AES-256 root key, which may encrypt and decrypt.
    pub root: Vec<u8>,
    /// IV of `secret`.
    pub iv: [u8; 12],
    /// AES-GCM ciphertext ‖ tag of the 32-byte instance secret under `root`, associated data
    /// `"hsm-sim instance secret v1"`.
    pub secret: Vec<u8>,
    /// SHA-256 of `"hsm-sim instance commitment v1"` ‖ the instance secret.
    pub commitment: [u8; 32],
    /// Blob of an AES-256 key with SIGN use whose value is HMAC-SHA-256(instance secret, `"hsm-sim canary v1"`).
    pub canary: Vec<u8>,
}

impl MasterKeyProof {
    /// The command that only a unit with the master key can answer with the instance secret.
    pub(crate) fn open_secret(&self) -> Command<'_> {
        Command::Decrypt { key: &self.root, iv: self.iv, aad: SECRET_AAD, ciphertext: &self.secret }
    }

    /// The canary's key, if `secret` is what the header commits to.
    pub(crate) fn canary_key(&self, secret: &[u8]) -> Option<CanaryKey> {
        if secret.len() != SECRET_LEN {
            return None;
        }
        let found: [u8; 32] =
            Sha256::new().chain_update(COMMITMENT_LABEL).chain_update(secret).finalize().into();
        if !bool::from(found.ct_eq(&self.commitment)) {
            return None;
        }
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret).ok()?;
        mac.update(CANARY_LABEL);
        Some(CanaryKey(Box::new(mac.finalize().into_bytes().into())))
    }

    /// The command that answers `challenge` with a MAC under the canary.
    pub(crate) fn answer_challenge<'a>(&'a self, challenge: &'a [u8; CHALLENGE_LEN]) -> Command<'a> {
        Command::Sign { by: engine::MacMechanism::AesCmac, key: &self.canary, data: challenge }
    }
}

/// Our own copy of the canary's key: it checks answers and opens nothing.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct CanaryKey(Box<[u8; 32]>);

impl CanaryKey {
    /// Whether `mac` is the AES-CMAC of `challenge`, found out in constant time.
    pub(crate) fn verifies(&self, challenge: &[u8; CHALLENGE_LEN], mac: &[u8]) -> bool {
        let mut own = <Cmac<Aes256> as KeyInit>::new(self.0.as_ref().into());
        own.update(challenge);
        let own: [u8; 16] = own.finalize().into_bytes().into();
        own.ct_eq(mac).into()
    }
}

#[cfg(test)]
mod tests {
    use super::MasterKeyProof;
    use sha2::{Digest, Sha256};
    use unit_api::VerificationPattern;

    /// The MAC was worked out with OpenSSL, for a secret of 32 bytes 0x42 and a challenge of 16 bytes 0x07.
    #[test]
    fn only_the_secret_committed_to_makes_a_canary_key() {
        let secret = [0x42; 32];
        let commitment = Sha256::digest([b"hsm-sim instance commitment v1".as_slice(), &secret].concat());
        let proof = MasterKeyProof {
            pattern: VerificationPattern::from_bytes([0; 32]),
            root: Vec::new(),
            iv: [0; 12],
            secret: Vec::new(),
            commitment: commitment.into(),
            canary: Vec::new(),
        };
        assert!(proof.canary_key(&[0x43; 32]).is_none());
        assert!(proof.canary_key(&secret[1..]).is_none());
        assert!(proof.canary_key(&[]).is_none());
        let key = proof.canary_key(&secret).unwrap();
        let mac: [u8; 16] =
            [0x0b, 0xac, 0xd4, 0xed, 0x26, 0x27, 0x08, 0x7c, 0x30, 0x5f, 0xf6, 0xe3, 0xa2, 0x72, 0xb3, 0x16];
        assert!(key.verifies(&[7; 16], &mac));
        assert!(!key.verifies(&[8; 16], &mac));
        assert!(!key.verifies(&[7; 16], &mac[..15]));
        assert!(!key.verifies(&[7; 16], &[]));
    }
}
