//! Authentication of callers: static tokens, API keys, and tokens issued for API keys.
//!
//! A presented secret is hashed or authenticated first, then compared in constant time. Tokens expire by the machine's
//! clock: the clock that key timers follow may be moved, and moving it must not log every client out.

mod grants;
mod jwt;
mod refresh;
mod shared_token;

use crate::auth::jwt::Signer;
use crate::auth::refresh::{Family, RefreshTokens};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use subtle::{Choice, ConstantTimeEq};
use wire::iam::{Account, Claims};
use zeroize::Zeroizing;

pub use grants::{Grants, Role};
pub use jwt::SigningKey;
pub use shared_token::SharedToken;

pub(crate) use grants::Action;
pub(crate) use refresh::RefreshRefusal;

/// Longest token that is processed, in bytes.
const MAX_TOKEN_LEN: usize = 8 * 1024;
/// What precedes a token in an `Authorization` header.
const BEARER: &[u8] = b"bearer ";

/// A person or service that may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `IBMid-…` for a person, `iam-ServiceId-…` for a service.
    pub iam_id: String,
    /// Account that it belongs to.
    pub account: String,
    /// What it may do.
    pub grants: Grants,
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
    refresh: RefreshTokens,
    issuer: String,
    token_life: Duration,
    tokens: Vec<Known>,
    api_keys: Vec<Known>,
}

struct Known {
    digest: [u8; 32],
    identity: Identity,
    caller: Caller,
}

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its `iam_id`.
    pub iam_id: Arc<str>,
    /// What it may do.
    pub grants: Arc<Grants>,
    /// The APIs that it may call with this credential; `None` if the credential is not for some alone.
    audience: Option<Arc<[String]>>,
}

impl Caller {
    /// Whether the caller may do this, on some instance at least.
    pub(crate) fn may(&self, action: Action) -> bool {
        let audience = action.audience().name();
        self.audience.as_ref().is_none_or(|names| names.iter().any(|name| name == audience))
            && self.grants.permit(action)
    }
}

/// Why no tokens are granted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GrantRefusal {
    /// The API key is unknown.
    UnknownKey,
    /// The refresh token is not accepted.
    Refresh(RefreshRefusal),
    /// The operating system returned no random bytes.
    Random,
}

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
                digest: digest(secret.as_bytes()),
                caller: Caller {
                    iam_id: identity.iam_id.as_str().into(),
                    grants: Arc::new(identity.grants.clone()),
                    audience: None,
                },
                identity,
            };
            secrets.into_iter().map(digested).collect()
        };
        Self {
            access: Signer::new(&config.signing_key, "access"),
            refresh: RefreshTokens::default(),
            issuer: config.issuer,
            token_life: config.token_life,
            tokens: known(config.tokens),
            api_keys: known(config.api_keys),
        }
    }

    /// The caller that this value of an `Authorization` header authenticates; `None` if it authenticates none.
    pub fn caller(&self, authorization: &[u8]) -> Option<Caller> {
        let token = bearer(authorization)?;
        if let Some((_, known)) = find(&self.tokens, token) {
            return Some(known.caller.clone());
        }
        let claims = self.access.verify(std::str::from_utf8(token).ok()?, unix_now())?;
        Some(Caller {
            grants: Arc::new(Grants::of_token(&claims.roles, claims.instances.as_deref())?),
            iam_id: claims.iam_id.into(),
            audience: Some(claims.aud.into()),
        })
    }

    /// Tokens for an API key, as the token service grants them: access token and refresh token; `None` for an unknown key.
    #[cfg(feature = "constant-time")]
    pub fn tokens_for_key(&self, api_key: &str) -> Option<(Zeroizing<String>, Zeroizing<String>)> {
        self.grant_for_key(api_key).ok().map(|grant| (grant.access_token, grant.refresh_token))
    }

    /// Tokens for an API key.
    pub(crate) fn grant_for_key(&self, api_key: &str) -> Result<Grant, GrantRefusal> {
        let (index, known) = find(&self.api_keys, api_key.as_bytes()).ok_or(GrantRefusal::UnknownKey)?;
        let refresh = self.refresh.begin(index, unix_now()).map_err(|_| GrantRefusal::Random)?;
        Ok(self.grant(&known.identity, wire::iam::GRANT_APIKEY, refresh))
    }

    /// Tokens for a refresh token, which cannot be used again.
    pub(crate) fn grant_for_refresh(&self, token: &str) -> Result<Grant, GrantRefusal> {
        let now = unix_now();
        let family = self.refresh.take(token, now).map_err(GrantRefusal::Refresh)?;
        let Family { api_key, .. } = family;
        let known = self.api_keys.get(api_key).ok_or(GrantRefusal::Refresh(RefreshRefusal::Unknown))?;
        let refresh = self.refresh.next(family, now).map_err(|_| GrantRefusal::Random)?;
        Ok(self.grant(&known.identity, wire::iam::GRANT_REFRESH, refresh))
    }

    fn grant(&self, identity: &Identity, grant_type: &str, refresh_token: Zeroizing<String>) -> Grant {
        let now = unix_now();
        let service = identity.iam_id.starts_with("iam-ServiceId-");
        let grants = &identity.grants;
        let instances = grants.instances.as_ref();
        let access = Claims {
            iam_id: identity.iam_id.clone(),
            sub: identity.iam_id.trim_start_matches("iam-").to_owned(),
            sub_type: if service { "ServiceId" } else { "User" }.to_owned(),
            account: Account { bss: identity.account.clone() },
            iat: now,
            exp: now.saturating_add(self.token_life.as_secs()),
            iss: self.issuer.clone(),
            aud: grants.audience_names(),
            roles: grants.role_names(),
            instances: instances.map(|instances| instances.iter().map(|instance| instance.0).collect()),
            grant_type: grant_type.to_owned(),
            scope: "ibm openid".to_owned(),
        };
        Grant {
            access_token: self.access.sign(&access),
            refresh_token,
            expires_in: self.token_life.as_secs(),
            expiration: access.exp,
        }
    }
}

/// The token in the value of an `Authorization` header. Of the token itself, only the ends are looked at.
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, mut token) = authorization.split_at_checked(BEARER.len())?;
    if authorization.len() > MAX_TOKEN_LEN || !scheme.eq_ignore_ascii_case(BEARER) {
        return None;
    }
    while let [b' ', rest @ ..] | [rest @ .., b' '] = token {
        token = rest;
    }
    Some(token)
}

/// The entry of a secret, and its index. Compares with all of them, so that time does not depend on the position.
fn find<'a>(all: &'a [Known], secret: &[u8]) -> Option<(usize, &'a Known)> {
    let presented = digest(secret);
    let mut found = None;
    for (index, known) in all.iter().enumerate() {
        if is_public(known.digest.ct_eq(&presented)) {
            found = Some((index, known));
        }
    }
    found
}

/// Declassifies a verdict: whether a credential is known is told to the caller that presented it.
fn is_public(verdict: Choice) -> bool {
    let bit = verdict.unwrap_u8();
    #[cfg(feature = "constant-time")]
    let bit = DECLASSIFY_HOOK.get().map_or(bit, |hook| hook(bit));
    bit == 1
}

/// What the constant-time gate does with a verdict that [`Auth`] and [`SharedToken`] make public. Set once, by the gate alone.
#[cfg(feature = "constant-time")]
pub static DECLASSIFY_HOOK: std::sync::OnceLock<fn(u8) -> u8> = std::sync::OnceLock::new();

fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::{Action, Auth, AuthConfig, Claims, Grants, Identity, SigningKey};
    use crate::auth::{GrantRefusal, RefreshRefusal};
    use kms::InstanceId;
    use std::time::Duration;
    use uuid::Uuid;

    fn auth(token_life: Duration) -> Auth {
        let identity = |iam_id: &str| Identity {
            iam_id: iam_id.into(),
            account: "acc".into(),
            grants: Grants::application([InstanceId(Uuid::from_u128(1))]),
        };
        Auth::new(AuthConfig {
            token_life,
            tokens: vec![("static-token".to_owned().into(), identity("IBMid-1"))],
            api_keys: vec![("api-key".to_owned().into(), identity("iam-ServiceId-2"))],
            ..AuthConfig::new(SigningKey::new([7; 32]))
        })
    }

    fn caller(auth: &Auth, token: &str) -> Option<String> {
        auth.caller(format!("Bearer {token}").as_bytes()).map(|caller| caller.iam_id.to_string())
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
        assert!(auth.grant_for_key("static-token").is_err());
        assert!(auth.grant_for_key("").is_err());
        let grant = auth.grant_for_key("api-key").unwrap();
        // A refresh token is no access token, and the reverse.
        assert!(caller(&auth, &grant.refresh_token).is_none());
        assert!(auth.grant_for_refresh(&grant.access_token).is_err());
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

    #[test]
    fn attack_a_refresh_token_is_used_once() {
        let auth = auth(Duration::from_secs(60));
        let first = auth.grant_for_key("api-key").unwrap().refresh_token;
        let second = auth.grant_for_refresh(&first).unwrap().refresh_token;
        let reused = auth.grant_for_refresh(&first).err();
        assert_eq!(reused, Some(GrantRefusal::Refresh(RefreshRefusal::Used)));
        // One of the two who used it has stolen it: neither goes on.
        let other = auth.grant_for_refresh(&second).err();
        assert_eq!(other, Some(GrantRefusal::Refresh(RefreshRefusal::Unknown)));
        assert!(auth.grant_for_key("api-key").is_ok());
    }

    #[test]
    fn attack_a_token_is_good_for_its_audience_and_roles_alone() {
        let auth = auth(Duration::from_secs(60));
        let token = auth.grant_for_key("api-key").unwrap().access_token;
        let caller = auth.caller(format!("Bearer {}", token.as_str()).as_bytes()).unwrap();
        assert!(caller.may(Action::Manage) && caller.may(Action::Purge) && !caller.may(Action::Administer));
        // As from an issuer that signs roles for another API into a token.
        let now = super::unix_now();
        let mut claims: Claims = auth.access.verify(&token, now).unwrap();
        claims.aud = vec!["tke".to_owned()];
        claims.roles = super::Role::ALL.map(|role| role.name().to_owned()).to_vec();
        let token = auth.access.sign(&claims);
        let caller = auth.caller(format!("Bearer {}", token.as_str()).as_bytes()).unwrap();
        assert!(caller.may(Action::Administer) && !caller.may(Action::Use) && !caller.may(Action::Purge));
    }
}
