//! References to persisted keys: the key itself, wrapped and authenticated under keys that only the device has.
//!
//! ```text
//! 0      1          2       3         4      8                        −16
//! ┌──────┬──────────┬───────┬─────────┬──────┬────────────────────────┬──────────┐
//! │format│algorithm │ flags │ key_len │ uses │ key under AES-KWP      │ AES-CMAC │
//! └──────┴──────────┴───────┴─────────┴──────┴────────────────────────┴──────────┘
//! flags: bit 0 extractable, bits 1 and 2 origin      uses: big-endian      CMAC: over all before it
//! ```

use crate::device::DeviceSecret;
use crate::key::{Origin, SoftKey};
use crate::mac::cmac;
use crate::symmetric::Cipher;
use engine::{
    Algorithm, CMAC_LEN, EngineError, KeySpec, KeyUses, MAX_KEY_LEN, MAX_REFERENCE_LEN, WrapMechanism,
    declassify,
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const FORMAT: u8 = 1;
const HEADER_LEN: usize = 8;
const MAX_WRAPPED_LEN: usize = WrapMechanism::AesKwp.wrapped_len(MAX_KEY_LEN);
const _: () = assert!(HEADER_LEN + MAX_WRAPPED_LEN + CMAC_LEN <= MAX_REFERENCE_LEN);

/// The device's two keys for references, both AES-256, with one use each.
pub(crate) struct ReferenceKeys {
    wrapping: Cipher,
    authenticating: Cipher,
}

impl ReferenceKeys {
    pub(crate) fn new(secret: &DeviceSecret) -> Result<Self, EngineError> {
        Ok(Self {
            wrapping: Cipher::new(&*secret.derive(b"persisted key wrapping")?)?,
            authenticating: Cipher::new(&*secret.derive(b"persisted key authentication")?)?,
        })
    }

    /// Writes the reference of `key` and returns its length.
    pub(crate) fn write(&self, key: &SoftKey, reference: &mut [u8]) -> Result<usize, EngineError> {
        let body_len = HEADER_LEN + WrapMechanism::AesKwp.wrapped_len(key.spec.len());
        let reference = reference.get_mut(..body_len + CMAC_LEN).ok_or(EngineError::BufferTooSmall)?;
        let (body, mac) = reference.split_at_mut_checked(body_len).ok_or(EngineError::BufferTooSmall)?;
        let (header, wrapped) = body.split_first_chunk_mut().ok_or(EngineError::BufferTooSmall)?;
        *header = encode_header(key)?;
        key.expose(|value| self.wrapping.wrap(WrapMechanism::AesKwp, value, wrapped))?;
        mac.copy_from_slice(&*cmac(&self.authenticating, &[body]));
        Ok(body_len + CMAC_LEN)
    }

    /// Refuses a reference that this device did not write, and returns its bytes before the MAC.
    pub(crate) fn authenticate<'r>(&self, reference: &'r [u8]) -> Result<&'r [u8], EngineError> {
        let (body, mac) = reference.split_last_chunk::<CMAC_LEN>().ok_or(EngineError::ReferenceInvalid)?;
        if declassify(cmac(&self.authenticating, &[body]).ct_eq(mac)) {
            Ok(body)
        } else {
            Err(EngineError::ReferenceInvalid)
        }
    }

    /// The key in a reference.
    pub(crate) fn read(&self, reference: &[u8]) -> Result<SoftKey, EngineError> {
        let body = self.authenticate(reference)?;
        let (header, wrapped) = body.split_first_chunk().ok_or(EngineError::ReferenceInvalid)?;
        let (spec, origin) = decode_header(header).ok_or(EngineError::ReferenceInvalid)?;
        let mut buffer = Zeroizing::new([0; MAX_WRAPPED_LEN]);
        let buffer = buffer.get_mut(..wrapped.len()).ok_or(EngineError::ReferenceInvalid)?;
        buffer.copy_from_slice(wrapped);
        let key_len = self.wrapping.unwrap_ct(WrapMechanism::AesKwp, buffer).unwrap_or(0);
        let valid = declassify(key_len.ct_eq(&u32::from(spec.key_len)));
        let value = buffer.get(..spec.len()).filter(|_| valid);
        let value = value.ok_or(EngineError::ReferenceInvalid)?;
        SoftKey::copied(&spec, origin, value)
    }
}

fn encode_header(key: &SoftKey) -> Result<[u8; HEADER_LEN], EngineError> {
    let key_len = u8::try_from(key.spec.key_len).map_err(|_| EngineError::KeySizeRange)?;
    let flags = u8::from(key.spec.extractable) | (key.origin as u8) << 1;
    let [a, b, c, d] = key.spec.uses.bits().to_be_bytes();
    Ok([FORMAT, key.spec.algorithm as u8, flags, key_len, a, b, c, d])
}

fn decode_header(header: &[u8; HEADER_LEN]) -> Option<(KeySpec, Origin)> {
    let [format, algorithm, flags, key_len, uses @ ..] = *header;
    let spec = KeySpec {
        algorithm: Algorithm::from_number(algorithm)?,
        key_len: u16::from(key_len),
        uses: KeyUses::from_bits(u32::from_be_bytes(uses))?,
        extractable: flags & 1 == 1,
    };
    (format == FORMAT && spec.check().is_ok()).then_some((spec, Origin::from_number(flags >> 1)?))
}
