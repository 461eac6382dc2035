//! Configuration of a signing service: its address and its keys.

use super::SigningServiceError;
use serde::Deserialize;
use std::fmt;
use zeroize::Zeroizing;

/// Environment variable with the address of the signing service.
pub const SERVICE_URL_VARIABLE: &str = "TKE_SIGNSERV_URL";
/// Name of the list of a signing service's keys: an environment variable, or a file.
pub const SERVICE_KEYS_VARIABLE: &str = "SIGNSERVKEYS";

/// Name of a key at the service: unreserved characters of RFC 3986, which need no escape in a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyName(String);

impl KeyName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`SigningServiceError::NameInvalid`], also for `.` and `..`, which have a meaning in a path.
    pub fn new(name: &str) -> Result<Self, SigningServiceError> {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if name.is_empty() || !name.bytes().all(unreserved) || [".", ".."].contains(&name) {
            return Err(SigningServiceError::NameInvalid(name.to_owned()));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Authorization of a key; zeroized on drop, never printed.
pub struct Token(Zeroizing<String>);

impl Token {
    /// Takes ownership of the text without a copy.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// A key of a signing service.
#[derive(Debug)]
pub struct NamedKey {
    /// Name of the key.
    pub key: KeyName,
    /// Authorization, if the service needs one.
    pub token: Option<Token>,
}

#[derive(Deserialize)]
struct ListedKey {
    key: String,
    token: Option<String>,
}

/// Decodes a `SIGNSERVKEYS` list: `[{"key": "ada", "token": "…"}, {"key": "bob"}]`.
///
/// # Errors
/// [`SigningServiceError::KeysInvalid`], [`SigningServiceError::NameInvalid`].
pub fn parse_keys(json: &[u8]) -> Result<Vec<NamedKey>, SigningServiceError> {
    let listed: Vec<ListedKey> =
        serde_json::from_slice(json).map_err(|_| SigningServiceError::KeysInvalid)?;
    let named = |listed: ListedKey| {
        let token = listed.token.map(Token::new);
        KeyName::new(&listed.key).map(|key| NamedKey { key, token })
    };
    listed.into_iter().map(named).collect()
}
