//! The instance's header: what fences every write, and the proof of the master key.

use unit_api::VerificationPattern;

/// Whether an instance takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Reads and writes.
    ReadWrite = 0,
    /// Reads only: a standby.
    ReadOnly = 1,
    /// Reads only, while the instance is moved or fenced.
    Frozen = 2,
}

/// What shows that a unit holds the instance's master key: it opens this, and nobody else does.
///
/// Nothing in it is secret. The root blob is AES-256 with ENCRYPT and DECRYPT, made by a unit; under it, by AES-GCM with
/// [`SECRET_AAD`], stands the instance secret of 32 random bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterKeyProof {
    /// Blob of the key that the secret stands under.
    pub root_blob: Vec<u8>,
    /// IV of the encrypted secret.
    pub iv: [u8; engine::AES_GCM_IV_LEN],
    /// The encrypted secret ‖ tag: 48 bytes.
    pub sealed_secret: Vec<u8>,
    /// SHA-256([`COMMITMENT_LABEL`] ‖ secret).
    pub commitment: [u8; 32],
    /// Blob (AES-256, SIGN) of the key HMAC-SHA-256(secret, [`CANARY_LABEL`]), imported by a unit.
    pub canary: Vec<u8>,
}

/// Associated data of the encrypted instance secret.
pub const SECRET_AAD: &[u8] = b"hsm-sim instance secret v1";
/// What is hashed before the instance secret to commit to it.
pub const COMMITMENT_LABEL: &[u8] = b"hsm-sim instance commitment v1";
/// What the instance secret authenticates to make the canary's value.
pub const CANARY_LABEL: &[u8] = b"hsm-sim canary v1";

/// An instance as its store knows it.
#[derive(Clone, Debug)]
pub struct InstanceHeader {
    /// Grows whenever another side takes over the writing.
    pub epoch: u64,
    /// Whether writes are taken.
    pub mode: Mode,
    /// The pattern of the master key in force.
    pub pattern: VerificationPattern,
    /// Its proof.
    pub proof: MasterKeyProof,
}
