//! The MAC family: AES-CMAC and HMAC-SHA-256.

use crate::key::SoftKey;
use crate::symmetric::{Cipher, each_size};
use cmac::Cmac;
use cmac::digest::InnerInit;
use engine::{CMAC_LEN, EngineError, Mechanism, MechanismInfo, SHA256_LEN};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The family's mechanisms.
pub(crate) const MECHANISMS: &[MechanismInfo] = &[
    MechanismInfo { mechanism: Mechanism::AesCmac, min_key_bits: 128, max_key_bits: 256 },
    MechanismInfo { mechanism: Mechanism::HmacSha256, min_key_bits: 8, max_key_bits: 512 },
];

/// AES-CMAC over the parts, one after the other (SP 800-38B).
pub(crate) fn cmac(cipher: &Cipher, parts: &[&[u8]]) -> Zeroizing<[u8; CMAC_LEN]> {
    Zeroizing::new(each_size!(cipher, aes => {
        let mut mac = Cmac::inner_init(aes);
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }))
}

/// HMAC-SHA-256 over `data` (FIPS 198-1).
pub(crate) fn hmac_sha256(key: &SoftKey, data: &[u8]) -> Result<Zeroizing<[u8; SHA256_LEN]>, EngineError> {
    let hmac = key.expose(Hmac::<Sha256>::new_from_slice).map_err(|_| EngineError::KeySizeRange)?;
    Ok(Zeroizing::new(hmac.chain_update(data).finalize().into_bytes().into()))
}
