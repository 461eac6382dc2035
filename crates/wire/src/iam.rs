//! IAM's token service: the form a client posts and what it reads in the answer.

use crate::form;
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// The grant type for an API key.
pub const GRANT_APIKEY: &str = "urn:ibm:params:oauth:grant-type:apikey";
/// The grant type for a refresh token.
pub const GRANT_REFRESH: &str = "refresh_token";
/// IAM's code for an API key it does not know.
pub const CODE_BAD_APIKEY: &str = "BXNIM0415E";
/// IAM's code for a form without what its grant type needs.
pub const CODE_BAD_FORM: &str = "BXNIM0109E";
/// IAM's code for a grant type it does not offer.
pub const CODE_BAD_GRANT: &str = "BXNIM0406E";
/// IAM's code for a refresh token it does not accept.
pub const CODE_BAD_REFRESH: &str = "BXNIM0408E";

/// What a client asks a token for.
pub enum TokenRequest {
    /// An API key. Secret.
    ApiKey(Zeroizing<String>),
    /// A refresh token. Secret.
    Refresh(Zeroizing<String>),
}

/// The kind alone: both hold secrets.
impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApiKey(_) => "ApiKey",
            Self::Refresh(_) => "Refresh",
        })
    }
}

/// Why a form asks for nothing IAM gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Not form-encoded.
    #[error("The request body is not form-encoded.")]
    Encoding,
    /// A field is missing.
    #[error("Property missing or empty: {0}")]
    Missing(&'static str),
    /// The grant type is not offered.
    #[error("The grant type is not supported.")]
    GrantType,
}

impl FormError {
    /// IAM's code for it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Encoding | Self::Missing(_) => CODE_BAD_FORM,
            Self::GrantType => CODE_BAD_GRANT,
        }
    }
}

/// Reads a token request. Fields that other clients add (`response_type`, `uaa_client_id`, …) are ignored.
///
/// # Errors
/// [`FormError`].
pub fn token_request(body: &[u8]) -> Result<TokenRequest, FormError> {
    let text = std::str::from_utf8(body).map_err(|_| FormError::Encoding)?;
    let mut fields = form::pairs(text).ok_or(FormError::Encoding)?;
    let mut take = |name: &'static str| {
        let place = fields.iter().position(|(field, value)| field == name && !value.is_empty());
        place.map(|at| fields.swap_remove(at).1).ok_or(FormError::Missing(name))
    };
    match take("grant_type")?.as_str() {
        GRANT_APIKEY => take("apikey").map(TokenRequest::ApiKey),
        GRANT_REFRESH => take("refresh_token").map(TokenRequest::Refresh),
        _ => Err(FormError::GrantType),
    }
}

/// The answer of the token service. Times in seconds.
#[derive(Serialize)]
pub struct TokenAnswer<'a> {
    /// A JWT. Secret.
    pub access_token: &'a str,
    /// Good for a new access token. Secret.
    pub refresh_token: &'a str,
    /// `Bearer`.
    pub token_type: &'static str,
    /// Life of the access token.
    pub expires_in: u64,
    /// Its end, since the Unix epoch.
    pub expiration: u64,
    /// `ibm openid`.
    pub scope: &'static str,
}

/// What an access token says, as its JWT carries it. Times in seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who: `IBMid-…` or `iam-ServiceId-…`.
    pub iam_id: String,
    /// The subject: for a person the address, for a service its identifier.
    pub sub: String,
    /// `User` or `ServiceId`.
    pub sub_type: String,
    /// The account.
    pub account: Account,
    /// When it was issued.
    pub iat: u64,
    /// When it ends.
    pub exp: u64,
    /// Who issued it.
    pub iss: String,
    /// What it was issued for.
    pub grant_type: String,
    /// `ibm openid`.
    pub scope: String,
}

/// The account of a caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its identifier.
    pub bss: String,
}

/// IAM's error body, unlike Key Protect's.
#[derive(Serialize)]
pub struct IamErrorAnswer<'a> {
    /// `BXNIM…`.
    #[serde(rename = "errorCode")]
    pub code: &'a str,
    /// For people.
    #[serde(rename = "errorMessage")]
    pub message: &'a str,
    /// Where to look it up.
    pub context: IamContext<'a>,
}

/// Names one request.
#[derive(Serialize)]
pub struct IamContext<'a> {
    /// Unique.
    #[serde(rename = "requestId")]
    pub request_id: &'a str,
}

#[cfg(test)]
mod tests {
    use super::{FormError, TokenRequest, token_request};

    #[test]
    fn reads_what_the_clients_post() {
        let go = b"grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey=a%2Bb";
        assert!(matches!(token_request(go), Ok(TokenRequest::ApiKey(key)) if *key == "a+b"));
        let python = b"grant_type=urn:ibm:params:oauth:grant-type:apikey&apikey=k&response_type=cloud_iam";
        assert!(matches!(token_request(python), Ok(TokenRequest::ApiKey(key)) if *key == "k"));
        let refresh = b"grant_type=refresh_token&refresh_token=r";
        assert!(matches!(token_request(refresh), Ok(TokenRequest::Refresh(token)) if *token == "r"));
    }

    #[test]
    fn names_what_is_missing() {
        assert_eq!(token_request(b"").unwrap_err(), FormError::Missing("grant_type"));
        assert_eq!(token_request(b"grant_type=password").unwrap_err(), FormError::GrantType);
        assert_eq!(
            token_request(b"grant_type=refresh_token&refresh_token=").unwrap_err(),
            FormError::Missing("refresh_token")
        );
        assert_eq!(token_request(b"a=%").unwrap_err(), FormError::Encoding);
    }
}
