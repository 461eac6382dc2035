//! The port to the cryptographic hardware under a crypto unit.
//!
//! An [`Engine`] holds keys by handle and runs mechanisms over them: handles in, handles out, and the only
//! key bytes that ever pass are those a caller had in the clear to begin with.
//!
//! What it deliberately does not know: key blobs, administrators, master-key registers, files, clocks, threads.
//!
//! Invariants:
//! - A mechanism that is listed works; one that is not listed answers [`EngineError::MechanismInvalid`].
//! - A key does what its [`KeySpec`] permits and nothing else, whoever asks.
//! - A refused call leaves its output buffer zeroed and the engine as it was.

#![no_std]

#[cfg(test)]
extern crate std;

mod error;
mod forward;
mod key;
mod mechanism;
mod secret;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use error::EngineError;
pub use key::{Algorithm, KeyHandle, KeySpec, KeyUses, MAX_KEY_LEN};
pub use mechanism::{
    AES_GCM_IV_LEN, AES_GCM_TAG_LEN, CMAC_LEN, CipherMechanism, DigestMechanism, MacMechanism, Mechanism,
    MechanismInfo, SHA256_LEN, WrapMechanism,
};
#[cfg(feature = "declassify-hook")]
pub use secret::DECLASSIFY_HOOK;
pub use secret::{KEY_PART_LEN, KeyPart, declassify};

/// The cryptographic hardware under a unit. Keys stay inside, or leave wrapped.
///
/// No method has a default body: every engine answers every method. Usable as `dyn Engine`; calls block. A `&mut` to
/// an engine is that engine, for owners that are moved while the keys have to stay where they are.
pub trait Engine {
    /// Mechanisms offered. Listed means it works.
    fn mechanisms(&self) -> &[MechanismInfo];

    /// Fills `out` from the engine's random bit generator (SP 800-90A or the token's own).
    ///
    /// # Errors
    /// [`EngineError::RandomFailed`] when no entropy is to be had; `out` is zero then.
    fn random(&mut self, out: &mut [u8]) -> Result<(), EngineError>;

    /// Makes a key of fresh random bits.
    ///
    /// An AES key of 32 bytes for [`KeyUses::DERIVE`] alone is a master key, like a combined one.
    ///
    /// # Errors
    /// [`EngineError::KeySizeRange`] as [`KeySpec::check`] says, [`EngineError::RandomFailed`],
    /// [`EngineError::DeviceMemory`].
    fn generate_key(&mut self, spec: &KeySpec) -> Result<KeyHandle, EngineError>;

    /// Takes in a key that the caller holds in the clear: `value` is exactly `spec.key_len` bytes.
    ///
    /// # Errors
    /// [`EngineError::KeySizeRange`] for another length, or one that the algorithm does not have.
    fn import_key(&mut self, spec: &KeySpec, value: &[u8]) -> Result<KeyHandle, EngineError>;

    /// Combines 1 to 3 master-key parts by exclusive or into an AES-256 key for derivation only.
    ///
    /// A single part is the whole key, on its way from one unit to another. The engine checks the number of parts; when a
    /// single one will do, that none is zero and that no two are equal are the unit's rules. `extractable` is of the
    /// master key what [`KeySpec::extractable`] is of one that is generated: whether [`Engine::export_key_part`] may
    /// ever let it out.
    ///
    /// # Errors
    /// [`EngineError::KeyPartsInvalid`] for another number of parts.
    fn combine_key_parts(&mut self, parts: &[KeyPart], extractable: bool) -> Result<KeyHandle, EngineError>;

    /// A master key of 32 bytes, as the single part that [`Engine::combine_key_parts`] makes it from again.
    ///
    /// The one function in which bytes of a master key leave the engine. Whoever asks has to seal the part for its
    /// recipient at once and to let go of it.
    ///
    /// # Errors
    /// [`EngineError::KeyFunctionNotPermitted`] for what is no master key; [`EngineError::KeyUnextractable`] for one that
    /// was not made extractable, and where the hardware lets none out.
    fn export_key_part(&mut self, key: KeyHandle) -> Result<KeyPart, EngineError>;

    /// Derives a key from `base`: SP 800-108 in counter mode with AES-CMAC as PRF.
    ///
    /// The input of the PRF is `[i]₄ ‖ label ‖ 0x00 ‖ context ‖ [L]₄`: both numbers big-endian in 32 bits, `L`
    /// the length of the derived key in bits. `base` is an AES key and needs [`KeyUses::DERIVE`].
    ///
    /// Hardware may put a master key beyond all use once it is persisted: from one that was recalled, only keys are sure
    /// to come that were derived from it before, by the same label and context and for the same use.
    ///
    /// # Errors
    /// [`EngineError::KeyUnextractable`] for another derivation from a master key that was recalled, where it is beyond
    /// use.
    ///
    /// Source: NIST SP 800-108r1 §4.1.
    fn derive_key(
        &mut self,
        base: KeyHandle,
        label: &[u8],
        context: &[u8],
        spec: &KeySpec,
    ) -> Result<KeyHandle, EngineError>;

    /// SHA-256 over `prefix ‖ key value`; what a verification pattern is made of. `key` needs [`KeyUses::DERIVE`].
    fn digest_key(
        &mut self,
        prefix: &[u8],
        key: KeyHandle,
        digest: &mut [u8; SHA256_LEN],
    ) -> Result<(), EngineError>;

    /// Destroys a key held by handle; the handle is never valid again.
    ///
    /// # Errors
    /// [`EngineError::KeyFunctionNotPermitted`] for the device key, which stays.
    fn destroy_key(&mut self, key: KeyHandle) -> Result<(), EngineError>;

    /// Makes `key` outlive a restart and writes the reference that [`Engine::recall_key`] finds it by.
    ///
    /// A token stores an object and gives its label; software gives the key wrapped under its device key.
    /// Returns the reference's length, at most [`MAX_REFERENCE_LEN`]. The handle stays valid.
    ///
    /// # Errors
    /// [`EngineError::KeyFunctionNotPermitted`] for the device key, which needs no reference.
    fn persist_key(&mut self, key: KeyHandle, reference: &mut [u8]) -> Result<usize, EngineError>;

    /// The key that an earlier [`Engine::persist_key`] wrote a reference for, with its specification.
    ///
    /// # Errors
    /// [`EngineError::ReferenceInvalid`] when the reference is damaged, forgotten or another engine's.
    fn recall_key(&mut self, reference: &[u8]) -> Result<KeyHandle, EngineError>;

    /// Removes what [`Engine::persist_key`] stored, if anything is stored. Handles stay valid until destroyed.
    ///
    /// To forget twice is no error, so that whoever was interrupted may do it again. Where the reference is all
    /// there is of the key, dropping the reference is what forgets it.
    fn forget_key(&mut self, reference: &[u8]) -> Result<(), EngineError>;

    /// Removes everything that [`Engine::persist_key`] stored and that none of these references is for: what a change
    /// left behind that was interrupted between the engine and its caller's own memory. Handles stay valid.
    ///
    /// # Errors
    /// The device's; some of it may be removed then.
    fn forget_all_but(&mut self, references: &[&[u8]]) -> Result<(), EngineError>;

    /// The key by which the unit seals what it keeps outside: AES-256, [`KeyUses::ENCRYPT`] and
    /// [`KeyUses::DECRYPT`], the same after every restart of the same engine, never any other engine's.
    fn device_key(&self) -> KeyHandle;

    /// Wraps `key` under `kek` ([`KeyUses::WRAP`]) and returns the number of bytes written to `wrapped`.
    ///
    /// An extractable key leaves under any such key. Any other leaves under one kind of key at most: one that
    /// [`Engine::derive_key`] made from a master key, whose value nobody outside can know; hardware may keep it even so.
    /// The device key and master keys never leave wrapped. A master key is one that [`Engine::combine_key_parts`] made,
    /// or [`Engine::generate_key`] for derivation alone.
    ///
    /// # Errors
    /// [`EngineError::KeyUnextractable`] when `key` may not leave under `kek`; [`EngineError::KeySizeRange`] when the
    /// mechanism does not take a key of its length.
    fn wrap_key(
        &mut self,
        by: WrapMechanism,
        kek: KeyHandle,
        key: KeyHandle,
        wrapped: &mut [u8],
    ) -> Result<usize, EngineError>;

    /// Unwraps a key under `kek` ([`KeyUses::UNWRAP`]). `spec.key_len` must be the length found inside.
    ///
    /// # Errors
    /// [`EngineError::WrappedKeyInvalid`] for a bad length, a failed check or another length inside, not told apart.
    fn unwrap_key(
        &mut self,
        by: WrapMechanism,
        kek: KeyHandle,
        wrapped: &[u8],
        spec: &KeySpec,
    ) -> Result<KeyHandle, EngineError>;

    /// Encrypts `plaintext` into `output` and returns the number of bytes written. `key` needs [`KeyUses::ENCRYPT`].
    ///
    /// AES-GCM writes ciphertext ‖ tag: `plaintext.len() + 16` bytes. Beyond what is written, `output` stays as it was.
    fn encrypt(
        &mut self,
        by: CipherMechanism<'_>,
        key: KeyHandle,
        plaintext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, EngineError>;

    /// Decrypts `ciphertext` into `output` and returns the number of bytes written. `key` needs [`KeyUses::DECRYPT`].
    ///
    /// # Errors
    /// [`EngineError::EncryptedDataInvalid`] for a bad length or a failed tag, not told apart; `output` is zeroed.
    fn decrypt(
        &mut self,
        by: CipherMechanism<'_>,
        key: KeyHandle,
        ciphertext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, EngineError>;

    /// Writes the MAC of `data` and returns its length. `key` needs [`KeyUses::SIGN`].
    fn sign(
        &mut self,
        by: MacMechanism,
        key: KeyHandle,
        data: &[u8],
        signature: &mut [u8],
    ) -> Result<usize, EngineError>;

    /// Checks a whole, untruncated MAC in constant time. `key` needs [`KeyUses::VERIFY`].
    ///
    /// # Errors
    /// [`EngineError::SignatureInvalid`] for a wrong length or value, not told apart.
    fn verify(
        &mut self,
        by: MacMechanism,
        key: KeyHandle,
        data: &[u8],
        signature: &[u8],
    ) -> Result<(), EngineError>;

    /// Writes the digest of `data` and returns its length.
    fn digest(&mut self, by: DigestMechanism, data: &[u8], digest: &mut [u8]) -> Result<usize, EngineError>;
}

/// Longest reference that [`Engine::persist_key`] may write, in bytes.
pub const MAX_REFERENCE_LEN: usize = 96;
