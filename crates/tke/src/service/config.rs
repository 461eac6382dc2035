//! Which service, which keys.

use super::ServiceError;
use serde::Deserialize;
use std::fmt;
use zeroize::Zeroizing;

/// The variable of the environment that holds the address of the signing service.
pub const SERVICE_URL_VARIABLE: &str = "TKE_SIGNSERV_URL";
/// What the list of a signing service's keys is called, as a variable of the environment or as a file.
pub const SERVICE_KEYS_VARIABLE: &str = "SIGNSERVKEYS";

/// What a service calls a key: RFC 3986's unreserved characters, so that it stands in a path as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyName(String);

impl KeyName {
    /// Reads a name.
    ///
    /// # Errors
    /// [`ServiceError::NameInvalid`], also for `.` and `..`, which mean something else in a path.
    pub fn new(name: &str) -> Result<Self, ServiceError> {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if name.is_empty() || !name.bytes().all(unreserved) || [".", ".."].contains(&name) {
            return Err(ServiceError::NameInvalid(name.to_owned()));
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

/// What a service asks for before it signs; zeroized on drop, never printed.
pub struct Token(Zeroizing<String>);

impl Token {
    /// Takes the text over without copying it.
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

/// A key of a signing service, and what it takes to use it.
#[derive(Debug)]
pub struct NamedKey {
    /// What the service calls it.
    pub key: KeyName,
    /// What the service asks for.
    pub token: Option<Token>,
}

#[derive(Deserialize)]
struct Listed {
    key: String,
    token: Option<String>,
}

/// Reads a `SIGNSERVKEYS` list: `[{"key": "ada", "token": "…"}, {"key": "bob"}]`.
///
/// # Errors
/// [`ServiceError::KeysInvalid`], [`ServiceError::NameInvalid`].
pub fn parse_keys(json: &[u8]) -> Result<Vec<NamedKey>, ServiceError> {
    let listed: Vec<Listed> = serde_json::from_slice(json).map_err(|_| ServiceError::KeysInvalid)?;
    let named = |listed: Listed| {
        let token = listed.token.map(Token::new);
        KeyName::new(&listed.key).map(|key| NamedKey { key, token })
    };
    listed.into_iter().map(named).collect()
}
