//! Authentication of callers: static tokens, API keys, and tokens issued for API keys.
//!
//! A presented secret is hashed or authenticated first, then compared in constant time. Tokens expire by the machine's
//! clock: the clock that key timers follow may be moved, and moving it must not log every client out.

mod jwt;
mod shared_token;

use crate::auth::jwt::Signer;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use subtle::ConstantTimeEq;
use wire::iam::{Account, Claims};
use zeroize::Zeroizing;

pub use jwt::SigningKey;
pub use shared_token::SharedToken;

/// Longest token that is processed, in bytes.
const MAX_TOKEN_LEN: usize = 8 * 1024;
/// Lifetime of a refresh token.
const REFRESH_LIFE: Duration = Duration::from_secs(72 * 3600);

/// A person or service that may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `IBMid-…` for a person, `iam-ServiceId-…` for a service.
    pub iam_id: String,
    /// Account that it belongs to.
    pub account: String,
}

/// Configuration of the token service.
#[non_exhaustive]
pub struct AuthConfig {
    /// Key of the tokens' signatures. Changing it invalidates every token issued before.
    pub signing_key: SigningKey,
    /// Issuer named in tokens.
    pub issuer: String,
    /// Lifetime of an access token.
    pub token_life: Duration,
    /// Bearer tokens that never expire. Secret.
    pub tokens: Vec<(Zeroizing<String>, Identity)>,
    /// API keys that can be exchanged for tokens. Secret.
    pub api_keys: Vec<(Zeroizing<String>, Identity)>,
}

impl AuthConfig {
    /// A configuration without callers, with a token lifetime of one hour.
    #[must_use]
    pub fn new(signing_key: SigningKey) -> Self {
        Self {
            signing_key,
            issuer: "https://iam.cloud.ibm.com/identity".to_owned(),
            token_life: Duration::from_secs(3600),
            tokens: Vec::new(),
            api_keys: Vec::new(),
        }
    }
}

/// Authenticates callers. Holds digests of tokens and API keys instead of their values.
pub struct Auth {
    access: Signer,
    refresh: Signer,
    issuer: String,
    token_life: Duration,
    tokens: Vec<Known>,
    api_keys: Vec<Known>,
}

struct Known {
    digest: [u8; 32],
    identity: Identity,
}

/// An authenticated caller: its `iam_id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(pub Arc<str>);

/// The answer of the token service: a pair of tokens.
pub(crate) struct Grant {
    pub(crate) access_token: Zeroizing<String>,
    pub(crate) refresh_token: Zeroizing<String>,
    pub(crate) expires_in: u64,
    pub(crate) expiration: u64,
}

impl Auth {
    /// Digests the secrets of the configuration and drops them.
    #[must_use]
    pub fn new(config: AuthConfig) -> Self {
        let known = |secrets: Vec<(Zeroizing<String>, Identity)>| {
            let digested = |(secret, identity): (Zeroizing<String>, Identity)| Known {
                digest: digest(&secret),
                identity,
            };
            secrets.into_iter().map(digested).collect()
        };
        Self {
            access: Signer::new(&config.signing_key, "access"),
            refresh: Signer::new(&config.signing_key, "refresh"),
            issuer: config.issuer,
            token_life: config.token_life,
            tokens: known(config.tokens),
            api_keys: known(config.api_keys),
        }
    }

    /// The caller that this value of an `Authorization` header authenticates; `None` if it authenticates none.
    pub fn caller(&self, authorization: &[u8]) -> Option<Caller> {
        let token = bearer(authorization)?;
        if let Some(identity) = find(&self.tokens, token) {
            return Some(Caller(identity.iam_id.as_str().into()));
        }
        let claims = self.access.verify(token, unix_now())?;
        Some(Caller(claims.iam_id.into()))
    }

    /// Tokens for an API key; `None` if the API key is unknown.
    pub(crate) fn grant_for_key(&self, api_key: &str) -> Option<Grant> {
        let identity = find(&self.api_keys, api_key)?;
        Some(self.grant(identity, wire::iam::GRANT_APIKEY))
    }

    /// Tokens for a refresh token; `None` if it was not issued here, has expired, or its holder has no API key any more.
    pub(crate) fn grant_for_refresh(&self, token: &str) -> Option<Grant> {
        if token.len() > MAX_TOKEN_LEN {
            return None;
        }
        let claims = self.refresh.verify(token, unix_now())?;
        let known = self.api_keys.iter().find(|known| known.identity.iam_id == claims.iam_id)?;
        Some(self.grant(&known.identity, wire::iam::GRANT_REFRESH))
    }

    fn grant(&self, identity: &Identity, grant_type: &str) -> Grant {
        let now = unix_now();
        let service = identity.iam_id.starts_with("iam-ServiceId-");
        let claims = |life: Duration| Claims {
            iam_id: identity.iam_id.clone(),
            sub: identity.iam_id.trim_start_matches("iam-").to_owned(),
            sub_type: if service { "ServiceId" } else { "User" }.to_owned(),
            account: Account { bss: identity.account.clone() },
            iat: now,
            exp: now.saturating_add(life.as_secs()),
            iss: self.issuer.clone(),
            grant_type: grant_type.to_owned(),
            scope: "ibm openid".to_owned(),
        };
        let access = claims(self.token_life);
        Grant {
            access_token: self.access.sign(&access),
            refresh_token: self.refresh.sign(&claims(REFRESH_LIFE)),
            expires_in: self.token_life.as_secs(),
            expiration: access.exp,
        }
    }
}

/// The token in the value of an `Authorization` header.
fn bearer(authorization: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(authorization).ok().filter(|text| text.len() <= MAX_TOKEN_LEN)?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

/// The identity that a secret belongs to. Compares with all of them, so that time does not depend on the position.
fn find<'a>(all: &'a [Known], secret: &str) -> Option<&'a Identity> {
    let presented = digest(secret);
    let mut found = None;
    for known in all {
        if bool::from(known.digest.ct_eq(&presented)) {
            found = Some(&known.identity);
        }
    }
    found
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::{Auth, AuthConfig, Identity, SigningKey};
    use std::time::Duration;

    fn auth(token_life: Duration) -> Auth {
        let identity = |iam_id: &str| Identity { iam_id: iam_id.into(), account: "acc".into() };
        Auth::new(AuthConfig {
            token_life,
            tokens: vec![("static-token".to_owned().into(), identity("IBMid-1"))],
            api_keys: vec![("api-key".to_owned().into(), identity("iam-ServiceId-2"))],
            ..AuthConfig::new(SigningKey::new([7; 32]))
        })
    }

    fn caller(auth: &Auth, token: &str) -> Option<String> {
        auth.caller(format!("Bearer {token}").as_bytes()).map(|caller| caller.0.to_string())
    }

    #[test]
    fn static_and_issued_tokens_name_their_holder() {
        let auth = auth(Duration::from_secs(60));
        assert_eq!(caller(&auth, "static-token").as_deref(), Some("IBMid-1"));
        let grant = auth.grant_for_key("api-key").unwrap();
        assert_eq!(caller(&auth, &grant.access_token).as_deref(), Some("iam-ServiceId-2"));
        let again = auth.grant_for_refresh(&grant.refresh_token).unwrap();
        assert_eq!(caller(&auth, &again.access_token).as_deref(), Some("iam-ServiceId-2"));
    }

    #[test]
    fn other_credentials_authenticate_no_caller() {
        let auth = auth(Duration::from_secs(60));
        assert!(auth.grant_for_key("static-token").is_none());
        assert!(auth.grant_for_key("").is_none());
        let grant = auth.grant_for_key("api-key").unwrap();
        // A refresh token is no access token, and the reverse.
        assert!(caller(&auth, &grant.refresh_token).is_none());
        assert!(auth.grant_for_refresh(&grant.access_token).is_none());
        for header in ["", "Bearer", "Bearer ", "Basic static-token", "static-token", "Bearer api-key"] {
            assert!(auth.caller(header.as_bytes()).is_none(), "{header}");
        }
        assert!(auth.caller(b"bearer static-token").is_some());
    }

    #[test]
    fn a_token_expires() {
        let auth = auth(Duration::ZERO);
        let grant = auth.grant_for_key("api-key").unwrap();
        assert!(caller(&auth, &grant.access_token).is_none());
    }

    #[test]
    fn a_changed_token_is_refused() {
        let auth = auth(Duration::from_secs(60));
        let token = auth.grant_for_key("api-key").unwrap().access_token;
        for at in 0..token.len() {
            let mut bytes = token.as_bytes().to_vec();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(caller(&auth, &changed).is_none(), "byte {at}");
        }
        assert!(caller(&auth, token.trim_end_matches(|c| c != '.')).is_none());
    }
}
