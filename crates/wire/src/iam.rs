//! Token service: requests and responses.

use crate::form;
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// The grant type for an API key.
pub const GRANT_APIKEY: &str = "urn:ibm:params:oauth:grant-type:apikey";
/// The grant type for a refresh token.
pub const GRANT_REFRESH: &str = "refresh_token";
/// Error code for an unknown API key.
pub const CODE_BAD_APIKEY: &str = "BXNIM0415E";
/// Error code for a form without the fields of its grant type.
pub const CODE_BAD_FORM: &str = "BXNIM0109E";
/// Error code for an unsupported grant type.
pub const CODE_BAD_GRANT: &str = "BXNIM0406E";
/// Error code for an invalid refresh token.
pub const CODE_BAD_REFRESH: &str = "BXNIM0408E";
/// Error code for a failure of the service.
pub const CODE_FAILURE: &str = "BXNIM0500E";

/// Credential in a token request.
pub enum TokenRequest {
    /// An API key. Secret.
    ApiKey(Zeroizing<String>),
    /// A refresh token. Secret.
    Refresh(Zeroizing<String>),
}

/// The variant only: both contain secrets.
impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApiKey(_) => "ApiKey",
            Self::Refresh(_) => "Refresh",
        })
    }
}

/// Reason why a token request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The body is not form-encoded.
    #[error("The request body is not form-encoded.")]
    Encoding,
    /// A field is missing or empty.
    #[error("Property missing or empty: {0}")]
    Missing(&'static str),
    /// The grant type is not supported.
    #[error("The grant type is not supported.")]
    GrantType,
}

impl FormError {
    /// Error code of the token service.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Encoding | Self::Missing(_) => CODE_BAD_FORM,
            Self::GrantType => CODE_BAD_GRANT,
        }
    }
}

/// Decodes a token request. Fields that other clients add (`response_type`, `uaa_client_id`, …) are ignored.
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

/// Response of the token service. Times in seconds.
#[derive(Serialize)]
pub struct TokenAnswer<'a> {
    /// Access token: a JWT. Secret.
    pub access_token: &'a str,
    /// Refresh token. Secret.
    pub refresh_token: &'a str,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Lifetime of the access token.
    pub expires_in: u64,
    /// Expiration of the access token, since the Unix epoch.
    pub expiration: u64,
    /// Always `ibm openid`.
    pub scope: &'static str,
}

/// Claims of an access token. Times in seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Identity of the caller: `IBMid-…` or `iam-ServiceId-…`.
    pub iam_id: String,
    /// Subject: the address of a person, or the identifier of a service.
    pub sub: String,
    /// `User` or `ServiceId`.
    pub sub_type: String,
    /// Account of the caller.
    pub account: Account,
    /// Time of issue, in seconds since the Unix epoch.
    pub iat: u64,
    /// Time of expiration, in seconds since the Unix epoch.
    pub exp: u64,
    /// URL of the issuer.
    pub iss: String,
    /// APIs that the token is for: `kms`, `tke`.
    pub aud: Vec<String>,
    /// Roles of the caller.
    pub roles: Vec<String>,
    /// Instances that the caller has these roles on; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<Vec<uuid::Uuid>>,
    /// Grant type of the request.
    pub grant_type: String,
    /// Always `ibm openid`.
    pub scope: String,
}

/// Account of a caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Identifier of the account.
    pub bss: String,
}

/// Error body of the token service, which differs from that of the Key Protect API.
#[derive(Serialize)]
pub struct IamErrorAnswer<'a> {
    /// Error code: `BXNIM…`.
    #[serde(rename = "errorCode")]
    pub code: &'a str,
    /// Error message.
    #[serde(rename = "errorMessage")]
    pub message: &'a str,
    /// Context of the request.
    pub context: IamContext<'a>,
}

/// Context of a request.
#[derive(Serialize)]
pub struct IamContext<'a> {
    /// Identifier of the request.
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
