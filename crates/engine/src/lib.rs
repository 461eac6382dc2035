#![doc = include_str!("../README.md")]
#![no_std]

#[cfg(test)]
extern crate std;

mod attestation;
mod error;
mod forward;
mod key;
mod mechanism;
mod secret;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use attestation::{ATTESTATION_POINT_LEN, ATTESTATION_SIGNATURE_LEN, AttestationKey, EngineClass};
pub use error::EngineError;
pub use key::{Algorithm, KeyHandle, KeySpec, KeyUses, MAX_KEY_LEN, STATE_KEY_ID_LEN, StateKeyId};
pub use mechanism::{
    AES_GCM_IV_LEN, AES_GCM_TAG_LEN, CMAC_LEN, CipherMechanism, DigestMechanism, MacMechanism, Mechanism,
    MechanismInfo, SHA256_LEN, WrapMechanism,
};
#[cfg(feature = "declassify-hook")]
pub use secret::DECLASSIFY_HOOK;
pub use secret::{KEY_PART_LEN, KeyPart, declassify, publish};

/// The cryptographic hardware under a unit. Keys stay inside, or leave wrapped.
///
/// No method has a default body: every engine implements every method. Usable as `dyn Engine`; calls block. A `&mut` to an
/// engine is an engine too, for an owner that moves while the keys stay where they are; [`forward_engine!`] helps to write
/// other wrappers.
pub trait Engine {
    /// The mechanisms that the engine offers. A listed mechanism works; every other is refused.
    fn mechanisms(&self) -> &[MechanismInfo];

    /// Fills `out` from the engine's random bit generator (SP 800-90A or the token's own).
    ///
    /// # Errors
    /// [`EngineError::RandomFailed`] when the source of entropy fails; `out` is zero then.
    fn random(&mut self, out: &mut [u8]) -> Result<(), EngineError>;

    /// Generates a random key.
    ///
    /// An AES key of 32 bytes for [`KeyUses::DERIVE`] alone is a master key, like a combined one.
    ///
    /// # Errors
    /// [`EngineError::KeySizeRange`] as in [`KeySpec::check`], [`EngineError::RandomFailed`],
    /// [`EngineError::DeviceMemory`].
    fn generate_key(&mut self, spec: &KeySpec) -> Result<KeyHandle, EngineError>;

    /// Imports a key that the caller holds in the clear: `value` is exactly `spec.key_len` bytes.
    ///
    /// # Errors
    /// [`EngineError::KeySizeRange`] for another length, or a length that the algorithm does not have.
    fn import_key(&mut self, spec: &KeySpec, value: &[u8]) -> Result<KeyHandle, EngineError>;

    /// Combines 1 to 3 master-key parts by exclusive or into an AES-256 key for derivation only.
    ///
    /// A single part is the whole key, in transport from one unit to another. The engine checks the number of parts. The
    /// unit decides whether a single part is allowed, and checks that no part is zero and no two are equal. `extractable`
    /// means what [`KeySpec::extractable`] means for a generated master key: whether [`Engine::export_key_part`] may ever
    /// export it.
    ///
    /// # Errors
    /// [`EngineError::KeyPartsInvalid`] for another number of parts.
    fn combine_key_parts(&mut self, parts: &[KeyPart], extractable: bool) -> Result<KeyHandle, EngineError>;

    /// Exports a master key of 32 bytes as a single part, from which [`Engine::combine_key_parts`] makes the same key.
    ///
    /// This is the only function in which bytes of a master key leave the engine. The caller seals the part for its
    /// recipient at once and drops it.
    ///
    /// # Errors
    /// [`EngineError::KeyFunctionNotPermitted`] for any other key; [`EngineError::KeyUnextractable`] for a master key that
    /// was not made extractable, and where the hardware exports none.
    fn export_key_part(&mut self, key: KeyHandle) -> Result<KeyPart, EngineError>;

    /// Derives a key from `base`: SP 800-108 in counter mode with AES-CMAC as PRF.
    ///
    /// The input of the PRF is `[i]₄ ‖ label ‖ 0x00 ‖ context ‖ [L]₄`: both numbers big-endian in 32 bits, `L`
    /// the length of the derived key in bits. `base` is an AES key and needs [`KeyUses::DERIVE`].
    ///
    /// Hardware may disable a master key once it is persisted. From a recalled master key, callers can rely only on keys
    /// that were derived from it before, with the same label, context and uses.
    ///
    /// # Errors
    /// [`EngineError::KeyUnextractable`] for another derivation from a recalled master key that the hardware has disabled;
    /// [`EngineError::ReferenceInvalid`] if the derived key in the master key's reference is damaged.
    ///
    /// Source: NIST SP 800-108r1 §4.1.
    fn derive_key(
        &mut self,
        base: KeyHandle,
        label: &[u8],
        context: &[u8],
        spec: &KeySpec,
    ) -> Result<KeyHandle, EngineError>;

    /// Computes SHA-256 over `prefix ‖ key value`, the source of verification patterns. `key` needs [`KeyUses::DERIVE`].
    fn digest_key(
        &mut self,
        prefix: &[u8],
        key: KeyHandle,
        digest: &mut [u8; SHA256_LEN],
    ) -> Result<(), EngineError>;

    /// Destroys a key; its handle is never valid again.
    ///
    /// # Errors
    /// [`EngineError::KeyFunctionNotPermitted`] for the device key and state keys.
    fn destroy_key(&mut self, key: KeyHandle) -> Result<(), EngineError>;

    /// Makes `key` survive a restart and writes the reference by which [`Engine::recall_key`] finds it.
    ///
    /// A token stores an object, and the reference is its label; in software the reference is the key itself, wrapped under
    /// the device key. Returns the reference's length, at most [`MAX_REFERENCE_LEN`]. The handle stays valid.
    ///
    /// # Errors
    /// [`EngineError::KeyFunctionNotPermitted`] for the device key and state keys, which survive by themselves;
    /// [`EngineError::DeviceMemory`] for a master key with more derived keys than the reference has room for.
    fn persist_key(&mut self, key: KeyHandle, reference: &mut [u8]) -> Result<usize, EngineError>;

    /// Restores the key that an earlier [`Engine::persist_key`] wrote this reference for, with its specification.
    ///
    /// # Errors
    /// [`EngineError::ReferenceInvalid`] when the reference is damaged, forgotten, or written by another engine.
    fn recall_key(&mut self, reference: &[u8]) -> Result<KeyHandle, EngineError>;

    /// Removes what [`Engine::persist_key`] stored, if anything is stored. Handles stay valid until destroyed.
    ///
    /// Forgetting a key twice is no error, so that an interrupted caller can repeat the call. Where the engine stores
    /// nothing outside the reference, the key is forgotten when the caller drops the reference.
    fn forget_key(&mut self, reference: &[u8]) -> Result<(), EngineError>;

    /// Removes everything that [`Engine::persist_key`] stored except the keys of these references: remains of a change that
    /// was interrupted after the engine had stored a key and before the caller had stored its reference. Handles stay valid.
    ///
    /// # Errors
    /// The device's errors; a part may have been removed.
    fn forget_all_but(&mut self, references: &[&[u8]]) -> Result<(), EngineError>;

    /// A key of the device: AES-256 with [`KeyUses::ENCRYPT`] and [`KeyUses::DECRYPT`]. It is the same after every restart
    /// until it is renewed, and no other engine has it. It opens what units sealed before there were state keys.
    fn device_key(&self) -> KeyHandle;

    /// The key with which the module signs what it says of itself and its units: ECDSA on P-521. It is made with the device,
    /// is the same after every restart, and no other engine has it. It has no handle: nothing wraps, exports, destroys or
    /// forgets it.
    fn attestation_key(&self) -> &AttestationKey;

    /// Signs the SHA-512 digest of `message` with the attestation key.
    ///
    /// # Errors
    /// The device's errors; `signature` is zeroed.
    ///
    /// Source: FIPS 186-5 §6.4.1.
    fn attest(
        &mut self,
        message: &[u8],
        signature: &mut [u8; ATTESTATION_SIGNATURE_LEN],
    ) -> Result<(), EngineError>;

    /// Replaces the device key by a new one. What was sealed under the former key can never be opened here again.
    ///
    /// # Errors
    /// The device's; the device key may be either one then.
    fn renew_device_key(&mut self) -> Result<(), EngineError>;

    /// Makes a random state key: the key under which a unit seals its stored state, AES-256 with [`KeyUses::ENCRYPT`] and
    /// [`KeyUses::DECRYPT`]. It is durable on return, and no other engine has it.
    ///
    /// A unit makes a new one when it changes which master keys it holds, and destroys the former one, so that states of
    /// before can never be opened again. An engine holds at least three.
    ///
    /// # Errors
    /// [`EngineError::DeviceMemory`] if there is no room for another; [`EngineError::RandomFailed`];
    /// [`EngineError::StorageFailed`].
    fn create_state_key(&mut self) -> Result<StateKeyId, EngineError>;

    /// The state key with this identifier. The handle stays valid until the key is destroyed by
    /// [`Engine::destroy_state_keys_but`], the only method that does so.
    ///
    /// # Errors
    /// [`EngineError::ReferenceInvalid`] if there is none.
    fn state_key(&mut self, id: &StateKeyId) -> Result<KeyHandle, EngineError>;

    /// Destroys every state key but these: on return none of the others can be restored from what the engine stores.
    ///
    /// # Errors
    /// The device's; a part may have been destroyed.
    fn destroy_state_keys_but(&mut self, kept: &[StateKeyId]) -> Result<(), EngineError>;

    /// Wraps `key` under `kek` ([`KeyUses::WRAP`]) and returns the number of bytes written to `wrapped`.
    ///
    /// An extractable key leaves under any such key. An unextractable key leaves at most under a key that
    /// [`Engine::derive_key`] derived from a master key, whose value is unknown outside the engine; hardware may refuse even
    /// that. The device key, state keys and master keys never leave wrapped. A master key is a key from [`Engine::combine_key_parts`],
    /// or a key generated by [`Engine::generate_key`] for derivation alone.
    ///
    /// # Errors
    /// [`EngineError::KeyUnextractable`] when `key` may not leave under `kek`; [`EngineError::KeySizeRange`] when the
    /// mechanism cannot wrap a key of its length.
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
    /// [`EngineError::WrappedKeyInvalid`] for a bad length, a failed check or another length inside; not distinguished.
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
    /// [`EngineError::EncryptedDataInvalid`] for a bad length or a failed tag, not distinguished; `output` is zeroed.
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

    /// Verifies a whole, untruncated MAC in constant time. `key` needs [`KeyUses::VERIFY`].
    ///
    /// # Errors
    /// [`EngineError::SignatureInvalid`] for a wrong length or value, not distinguished.
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
