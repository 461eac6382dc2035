//! The symmetric family: AES with prepared schedules, its key wraps (KW, KWP) and its authenticated encryption (GCM).

use aes::cipher::KeyInit;
use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::{AeadInOut, inout::InOutBuf};
use aes_gcm::{AesGcm, Nonce, Tag, aead::consts::U12};
use engine::{
    AES_GCM_IV_LEN, AES_GCM_TAG_LEN, CipherMechanism, EngineError, Mechanism, MechanismInfo, WrapMechanism,
    declassify,
};
use key_wrap::{kw, kwp};
use subtle::{Choice, CtOption};

/// The family's mechanisms, with the sizes of AES keys.
pub(crate) const MECHANISMS: &[MechanismInfo] = &[
    MechanismInfo { mechanism: Mechanism::AesKw, min_key_bits: 128, max_key_bits: 256 },
    MechanismInfo { mechanism: Mechanism::AesKwp, min_key_bits: 128, max_key_bits: 256 },
    MechanismInfo { mechanism: Mechanism::AesGcm, min_key_bits: 128, max_key_bits: 256 },
];

/// An AES key of one of the three sizes, with both schedules prepared; the `aes` crate wipes them on drop.
pub(crate) enum Cipher {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

/// Evaluates an expression with the cipher of the key's size.
macro_rules! each_size {
    ($cipher:expr, $aes:ident => $run:expr) => {
        match $cipher {
            $crate::symmetric::Cipher::Aes128($aes) => $run,
            $crate::symmetric::Cipher::Aes192($aes) => $run,
            $crate::symmetric::Cipher::Aes256($aes) => $run,
        }
    };
}
pub(crate) use each_size;

impl Cipher {
    /// The schedules for a key of 16, 24 or 32 bytes.
    pub(crate) fn new(value: &[u8]) -> Result<Self, EngineError> {
        match value.len() {
            16 => Aes128::new_from_slice(value).map(Self::Aes128),
            24 => Aes192::new_from_slice(value).map(Self::Aes192),
            _ => Aes256::new_from_slice(value).map(Self::Aes256),
        }
        .map_err(|_| EngineError::KeySizeRange)
    }

    /// Wraps `key` into the front of `wrapped` and returns the number of bytes written.
    pub(crate) fn wrap(
        &self,
        by: WrapMechanism,
        key: &[u8],
        wrapped: &mut [u8],
    ) -> Result<usize, EngineError> {
        each_size!(self, aes => match by {
            WrapMechanism::AesKw => kw::wrap(aes, key, wrapped),
            WrapMechanism::AesKwp => kwp::wrap(aes, key, wrapped),
        })
        .map_err(|_| EngineError::KeySizeRange)
    }

    /// Unwraps in place; the verdict is still secret.
    pub(crate) fn unwrap_ct(&self, by: WrapMechanism, wrapped: &mut [u8]) -> CtOption<u32> {
        each_size!(self, aes => match by {
            WrapMechanism::AesKw => kw::unwrap_in_place_ct(aes, wrapped),
            WrapMechanism::AesKwp => kwp::unwrap_in_place_ct(aes, wrapped),
        })
    }

    /// Encrypts `plaintext` to the front of `output` and returns the number of bytes written.
    pub(crate) fn encrypt(
        &self,
        by: CipherMechanism<'_>,
        plaintext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, EngineError> {
        let CipherMechanism::AesGcm { iv, aad } = by;
        let (ciphertext, rest) =
            output.split_at_mut_checked(plaintext.len()).ok_or(EngineError::BufferTooSmall)?;
        let tag = rest.first_chunk_mut::<AES_GCM_TAG_LEN>().ok_or(EngineError::BufferTooSmall)?;
        *tag = self.gcm_seal(iv, aad, plaintext, ciphertext)?;
        Ok(plaintext.len() + AES_GCM_TAG_LEN)
    }

    /// Decrypts `ciphertext` to the front of `output` and returns the number of bytes written.
    pub(crate) fn decrypt(
        &self,
        by: CipherMechanism<'_>,
        ciphertext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, EngineError> {
        let CipherMechanism::AesGcm { iv, aad } = by;
        let (body, tag) = ciphertext.split_last_chunk().ok_or(EngineError::EncryptedDataInvalid)?;
        let plaintext = output.get_mut(..body.len()).ok_or(EngineError::BufferTooSmall)?;
        self.gcm_open(iv, aad, body, tag, plaintext)?;
        Ok(body.len())
    }

    /// AES-GCM: `output` has the length of `plaintext` and receives the ciphertext.
    fn gcm_seal(
        &self,
        iv: &[u8; AES_GCM_IV_LEN],
        aad: &[u8],
        plaintext: &[u8],
        output: &mut [u8],
    ) -> Result<[u8; AES_GCM_TAG_LEN], EngineError> {
        let buffers = InOutBuf::new(plaintext, output).map_err(|_| EngineError::BufferTooSmall)?;
        let iv = Nonce::<U12>::from(*iv);
        each_size!(self, aes => AesGcm::<_, U12>::from(aes).encrypt_inout_detached(&iv, aad, buffers))
            .map(Into::into)
            .map_err(|_| EngineError::DataLenRange)
    }

    /// AES-GCM: `output` has the length of `ciphertext` and receives the plaintext once the tag has passed.
    fn gcm_open(
        &self,
        iv: &[u8; AES_GCM_IV_LEN],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; AES_GCM_TAG_LEN],
        output: &mut [u8],
    ) -> Result<(), EngineError> {
        let buffers = InOutBuf::new(ciphertext, output).map_err(|_| EngineError::BufferTooSmall)?;
        let (iv, tag) = (Nonce::<U12>::from(*iv), Tag::from(*tag));
        let opened = each_size!(self, aes => AesGcm::<_, U12>::from(aes).decrypt_inout_detached(&iv, aad, buffers, &tag));
        // The crate has branched on its verdict; for memcheck its result still depends on secrets.
        let valid = declassify(Choice::from(u8::from(opened.is_ok())));
        if valid { Ok(()) } else { Err(EngineError::EncryptedDataInvalid) }
    }
}
