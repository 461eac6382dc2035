//! The bodies that clients send, one type per call.

use super::Time;
use super::body::{BodyError, Fields, InvalidField};
use crate::{Secret, base64};

const KEY_MATERIAL: &str = "a base64 encoded key material";

/// `POST /keys`: one key to generate or to import.
#[derive(Debug)]
pub struct CreateKey {
    /// The key's name.
    pub name: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Other names.
    pub aliases: Vec<String>,
    /// Legacy labels.
    pub tags: Vec<String>,
    /// When it stops being usable.
    pub expiration_date: Option<Time>,
    /// `false` for a root key; absent means `true`, a standard key.
    pub extractable: bool,
    /// Its value, if it is imported.
    pub payload: Option<Secret>,
    /// The call asks for an import under an import token.
    pub under_import_token: bool,
}

impl CreateKey {
    /// Reads the enveloped body.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let mut fields = Fields::of_body(body)?.resource(BodyError::ManyKeys)?;
        fields.string("type")?;
        let (name, description) = (fields.string("name")?, fields.string("description")?);
        let (aliases, tags) = (fields.strings("aliases")?, fields.strings("tags")?);
        let extractable = fields.flag("extractable")?.unwrap_or(true);
        let expiration_date = fields.time("expirationDate")?;
        let (payload, under_import_token) = material(&mut fields)?;
        fields.finish()?;
        let key = Self {
            name,
            description,
            aliases,
            tags,
            expiration_date,
            extractable,
            payload,
            under_import_token,
        };
        Ok(key)
    }
}

/// `actions/rotate`: nothing for a generated key, new material for an imported one.
#[derive(Debug)]
pub struct Rotate {
    /// The new value.
    pub payload: Option<Secret>,
    /// The call asks for an import under an import token.
    pub under_import_token: bool,
}

impl Rotate {
    /// Reads the body; it may be absent.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let mut fields = Fields::of_body(body)?;
        let (payload, under_import_token) = material(&mut fields)?;
        fields.finish()?;
        Ok(Self { payload, under_import_token })
    }
}

/// The fields of an import, and whether it is one under an import token.
fn material(fields: &mut Fields<'_>) -> Result<(Option<Secret>, bool), BodyError> {
    let payload = fields.secret("payload", KEY_MATERIAL)?;
    let nonce = fields.secret("encryptedNonce", "base64 encoded")?;
    let iv = fields.secret("iv", "base64 encoded")?;
    let algorithm = fields.string("encryptionAlgorithm")?;
    Ok((payload, nonce.is_some() || iv.is_some() || algorithm.is_some()))
}

/// `actions/wrap`.
#[derive(Debug)]
pub struct Wrap {
    /// What to wrap; absent asks for a new data key.
    pub plaintext: Option<Secret>,
    /// Additional authenticated data, in order.
    pub aad: Vec<String>,
}

impl Wrap {
    /// Reads the body; it may be absent.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let mut fields = Fields::of_body(body)?;
        let plaintext = fields.secret("plaintext", KEY_MATERIAL)?;
        let aad = fields.strings("aad")?;
        fields.finish()?;
        Ok(Self { plaintext, aad })
    }
}

/// `actions/unwrap` and `actions/rewrap`.
#[derive(Debug)]
pub struct Unwrap {
    /// What `wrap` gave: base64, opaque.
    pub ciphertext: String,
    /// The same additional authenticated data.
    pub aad: Vec<String>,
}

impl Unwrap {
    /// Reads the body.
    ///
    /// # Errors
    /// [`BodyError`], [`BodyError::NoBody`] for an absent one among them.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        const WHAT: &str = "the original base64 encoded ciphertext from the wrap operation";
        let mut fields = Fields::of_body(body)?;
        if fields.is_empty() {
            return Err(BodyError::NoBody);
        }
        let ciphertext = fields.string("ciphertext")?.filter(|text| !text.is_empty());
        let aad = fields.strings("aad")?;
        fields.finish()?;
        let mut ciphertext = ciphertext.ok_or_else(|| InvalidField::new("ciphertext", WHAT))?;
        if let Err(error) = base64::decode(&ciphertext) {
            return Err(InvalidField::new("ciphertext", format!("{WHAT}: {error}")).into());
        }
        // Tools that write base64 in lines are right to; whoever opens it need not know.
        ciphertext.retain(|character| !matches!(character, '\n' | '\r'));
        Ok(Self { ciphertext, aad })
    }
}

/// A call without a body: nothing, `null` or `{}`.
///
/// # Errors
/// [`BodyError`] for anything else.
pub fn no_body(body: &[u8]) -> Result<(), BodyError> {
    Fields::of_body(body)?.finish()
}
