//! Master keys in the unit: by handle, pattern and reference, never by value.

use crate::key_scope::KeyScope;
use engine::{
    CMAC_LEN, DigestMechanism, Engine, EngineError, KEY_PART_LEN, KeyHandle, KeyPart, KeySpec, KeyUses,
    MAX_REFERENCE_LEN, MacMechanism, SHA256_LEN, WrapMechanism, declassify,
};
use heapless::Vec;
use subtle::ConstantTimeEq;
use unit_api::{MAX_KEY_PARTS, Refusal, VerificationPattern};
use zeroize::Zeroizing;

/// Labels of the derivation (SP 800-108r1 §4.1, `Label`), one for each derived key; the context is the WKID.
const WRAP_LABEL: &[u8] = b"hsm-sim blob wrap v1";
const MAC_LABEL: &[u8] = b"hsm-sim blob mac v1";

/// Precedes the key in the digest of a verification pattern.
const PATTERN_PREFIX: &[u8] = &[0x01];

/// Specification of a master key: derivation and digest only. It never leaves the engine wrapped; whether it may be exported
/// is decided when it is made.
pub(crate) const fn master_key_spec(extractable: bool) -> KeySpec {
    KeySpec { extractable, ..KeySpec::aes(32, KeyUses::DERIVE) }
}

/// The key that wraps blobs, and nothing else. A type of its own, so that no key of a caller takes its place.
#[derive(Clone, Copy)]
pub(crate) struct BlobWrapKey(KeyHandle);

impl BlobWrapKey {
    /// Wraps a key for its blob.
    pub(crate) fn wrap<E: Engine + ?Sized>(
        self,
        engine: &mut E,
        by: WrapMechanism,
        key: KeyHandle,
        wrapped: &mut [u8],
    ) -> Result<usize, EngineError> {
        engine.wrap_key(by, self.0, key, wrapped)
    }

    /// Unwraps a key from its blob.
    pub(crate) fn unwrap<E: Engine + ?Sized>(
        self,
        engine: &mut E,
        by: WrapMechanism,
        wrapped: &[u8],
        spec: &KeySpec,
    ) -> Result<KeyHandle, EngineError> {
        engine.unwrap_key(by, self.0, wrapped, spec)
    }
}

/// The key that authenticates blobs, and nothing else.
#[derive(Clone, Copy)]
pub(crate) struct BlobMacKey(KeyHandle);

impl BlobMacKey {
    /// Computes the MAC of a blob's bytes before it.
    pub(crate) fn sign<E: Engine + ?Sized>(
        self,
        engine: &mut E,
        authenticated: &[u8],
        mac: &mut [u8; CMAC_LEN],
    ) -> Result<usize, EngineError> {
        engine.sign(MacMechanism::AesCmac, self.0, authenticated, mac)
    }

    /// Verifies a blob's MAC in constant time.
    pub(crate) fn verify<E: Engine + ?Sized>(
        self,
        engine: &mut E,
        authenticated: &[u8],
        mac: &[u8],
    ) -> Result<(), EngineError> {
        engine.verify(MacMechanism::AesCmac, self.0, authenticated, mac)
    }
}

/// The reference of a persisted key: [`Engine::persist_key`].
#[derive(Clone)]
pub(crate) struct Reference {
    bytes: Vec<u8, MAX_REFERENCE_LEN, u8>,
}

impl Reference {
    /// The reference with these bytes, if they are at most [`MAX_REFERENCE_LEN`].
    pub(crate) fn from_bytes(from: &[u8]) -> Option<Self> {
        Vec::from_slice(from).ok().map(|bytes| Self { bytes })
    }

    /// Persists a key and returns its reference.
    pub(crate) fn persist<E: Engine + ?Sized>(engine: &mut E, key: KeyHandle) -> Result<Self, EngineError> {
        let mut bytes = [0; MAX_REFERENCE_LEN];
        let len = engine.persist_key(key, &mut bytes)?;
        bytes.get(..len).and_then(Self::from_bytes).ok_or(EngineError::DeviceError)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The patterns of the parts that a master key was combined from; none if it was generated or imported as a single part.
#[derive(Clone)]
pub(crate) struct Origins {
    patterns: Vec<VerificationPattern, MAX_KEY_PARTS, u8>,
}

impl Origins {
    pub(crate) const fn none() -> Self {
        Self { patterns: Vec::new() }
    }

    pub(crate) fn push(&mut self, pattern: VerificationPattern) {
        // There is room for the pattern of every part.
        let _ = self.patterns.push(pattern);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &VerificationPattern> {
        self.patterns.iter()
    }
}

/// A master key in a register, with the two keys derived from it.
#[derive(Clone)]
pub(crate) struct MasterKey {
    pub(crate) handle: KeyHandle,
    pub(crate) pattern: VerificationPattern,
    pub(crate) origins: Origins,
    pub(crate) reference: Reference,
    pub(crate) wrap: BlobWrapKey,
    pub(crate) mac: BlobMacKey,
}

/// A master key in the engine that is not persisted yet; with a reference it becomes a [`MasterKey`].
pub(crate) struct Candidate {
    pub(crate) handle: KeyHandle,
    pub(crate) pattern: VerificationPattern,
    pub(crate) origins: Origins,
    wrap: BlobWrapKey,
    pub(crate) mac: BlobMacKey,
}

impl Candidate {
    /// Computes the pattern of a key and derives its two blob keys, which the scope owns until it releases them.
    pub(crate) fn derive<E: Engine>(scope: &mut KeyScope<'_, E>, handle: KeyHandle) -> Result<Self, Refusal> {
        let pattern = verification_pattern(scope.engine(), handle)?;
        let wkid = pattern.wkid();
        let wrap_spec = KeySpec::aes(32, KeyUses::WRAP.with(KeyUses::UNWRAP));
        let wrap = scope.engine().derive_key(handle, WRAP_LABEL, &wkid, &wrap_spec)?;
        scope.keep(wrap)?;
        let mac_spec = KeySpec::aes(32, KeyUses::SIGN.with(KeyUses::VERIFY));
        let mac = scope.engine().derive_key(handle, MAC_LABEL, &wkid, &mac_spec)?;
        scope.keep(mac)?;
        Ok(Self { handle, pattern, origins: Origins::none(), wrap: BlobWrapKey(wrap), mac: BlobMacKey(mac) })
    }

    pub(crate) fn with_origins(self, origins: Origins) -> Self {
        Self { origins, ..self }
    }

    pub(crate) fn with_reference(self, reference: Reference) -> MasterKey {
        let Self { handle, pattern, origins, wrap, mac } = self;
        MasterKey { handle, pattern, origins, reference, wrap, mac }
    }
}

impl MasterKey {
    /// The handles of the master key and its two derived keys.
    pub(crate) const fn handles(&self) -> [KeyHandle; 3] {
        [self.handle, self.wrap.0, self.mac.0]
    }

    /// Whether the key has this pattern. Patterns are public, but this one was computed from the key.
    pub(crate) fn has_pattern(&self, pattern: &VerificationPattern) -> bool {
        declassify(self.pattern.ct_eq(pattern))
    }

    /// Destroys the keys in the engine; the persisted key stays. Tries all, and returns the first failure.
    pub(crate) fn destroy<E: Engine + ?Sized>(&self, engine: &mut E) -> Result<(), EngineError> {
        let mut outcome = Ok(());
        for handle in self.handles() {
            outcome = outcome.and(engine.destroy_key(handle));
        }
        outcome
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn for_test(n: u8) -> Self {
        let handle = |role: u32| KeyHandle::from_raw(u32::from(n) * 3 + role);
        Self {
            handle: handle(0),
            pattern: VerificationPattern::from_digest([n; 32]),
            origins: Origins::none(),
            reference: Reference {
                bytes: core::iter::repeat_n(n, usize::from(n).min(MAX_REFERENCE_LEN)).collect(),
            },
            wrap: BlobWrapKey(handle(1)),
            mac: BlobMacKey(handle(2)),
        }
    }
}

/// Computes the verification pattern of a key in the engine.
///
/// Source: `SHA-256(0x01 ‖ key)` with the last four bytes zero, as EP11's wire format defines it.
pub(crate) fn verification_pattern<E: Engine + ?Sized>(
    engine: &mut E,
    key: KeyHandle,
) -> Result<VerificationPattern, EngineError> {
    let mut digest = [0; SHA256_LEN];
    engine.digest_key(PATTERN_PREFIX, key, &mut digest)?;
    Ok(VerificationPattern::from_digest(digest))
}

/// Computes the verification pattern of a clear part, by which its custodian recognises it.
pub(crate) fn pattern_of_part<E: Engine + ?Sized>(
    engine: &mut E,
    part: &KeyPart,
) -> Result<VerificationPattern, EngineError> {
    let mut prefixed = Zeroizing::new([0; PATTERN_PREFIX.len() + KEY_PART_LEN]);
    for (to, from) in prefixed.iter_mut().zip(PATTERN_PREFIX.iter().chain(part.expose())) {
        *to = *from;
    }
    let mut digest = [0; SHA256_LEN];
    engine.digest(DigestMechanism::Sha256, &*prefixed, &mut digest)?;
    Ok(VerificationPattern::from_digest(digest))
}
