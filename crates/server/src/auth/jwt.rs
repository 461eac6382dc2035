//! Tokens: compact JWS with HMAC-SHA-256 and one fixed header, so that a token cannot choose its algorithm.
//!
//! Source: RFC 7515 §3.1, §7.1; RFC 7519 §4.1; RFC 8725 §3.1.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt;
use wire::iam::Claims;
use wire::{SecretBuf, base64url};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// `{"alg":"HS256","typ":"JWT"}`, the only accepted header.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// Key of the tokens' signatures: 32 bytes, zeroized on drop, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SigningKey([u8; 32]);

impl SigningKey {
    /// A key with this value. The caller zeroizes its own copy.
    #[must_use]
    pub const fn new(value: [u8; 32]) -> Self {
        Self(value)
    }

    /// A random key. Tokens signed with it become invalid when the process ends.
    ///
    /// # Errors
    /// The operating system returned no random bytes.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut value = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *value)?;
        Ok(Self(*value))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// Issues and verifies the tokens of one purpose.
pub(super) struct Signer(Hmac<Sha256>);

impl Signer {
    /// A signer with a derived key, so that a token of one purpose is not valid for another.
    pub(super) fn new(key: &SigningKey, purpose: &str) -> Self {
        let derived = mac_under(&key.0).chain_update("hsm-sim token ").chain_update(purpose);
        Self(mac_under(&Zeroizing::new(derived.finalize().into_bytes().into())))
    }

    /// The token with these claims.
    pub(super) fn sign(&self, claims: &Claims) -> Zeroizing<String> {
        // Claims are text and numbers, which always serialize.
        let claims = SecretBuf::json(claims).unwrap_or_default();
        let token = Zeroizing::new(format!("{HEADER}.{}", base64url::encode(claims.expose()).as_str()));
        let tag = self.0.clone().chain_update(token.as_bytes()).finalize().into_bytes();
        Zeroizing::new(format!("{}.{}", token.as_str(), base64url::encode(&tag).as_str()))
    }

    /// The claims of a token if it was issued here and has not expired at `now`, in seconds since the epoch.
    pub(super) fn verify(&self, token: &str, now: u64) -> Option<Claims> {
        let (signed, tag) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let tag = base64url::decode(tag)?;
        // Compares in constant time, before anything of the token is used.
        self.0.clone().chain_update(signed).verify_slice(tag.expose()).ok()?;
        if header != HEADER {
            return None;
        }
        let claims: Claims = serde_json::from_slice(base64url::decode(claims)?.expose()).ok()?;
        (now < claims.exp).then_some(claims)
    }
}

/// HMAC-SHA-256 under a key of 32 bytes.
fn mac_under(key: &[u8; 32]) -> Hmac<Sha256> {
    // The key is shorter than a block, so it is padded with zeros instead of being hashed (RFC 2104 §2).
    let mut block = Zeroizing::new([0_u8; 64]);
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    Hmac::new((&*block).into())
}

#[cfg(test)]
mod tests {
    use super::{HEADER, mac_under};
    use hmac::Mac as _;
    use wire::base64url;

    #[test]
    fn the_header_names_the_algorithm() {
        assert_eq!(base64url::decode(HEADER).unwrap().expose(), br#"{"alg":"HS256","typ":"JWT"}"#);
    }

    /// RFC 4231 §4.3 with its key "Jefe", which zeros do not change.
    #[test]
    fn kat_hmac_sha256_rfc4231() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let tag = mac_under(&key).chain_update("what do ya want for nothing?").finalize().into_bytes();
        let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
