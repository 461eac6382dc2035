//! Request bodies, one type per call.

use super::Time;
use super::body::{BodyError, Fields, InvalidField};
use crate::{Secret, base64};

const KEY_MATERIAL: &str = "a base64 encoded key material";

/// `POST /keys`: generate or import one key.
#[derive(Debug)]
pub struct CreateKey {
    /// Name of the key.
    pub name: Option<String>,
    /// Free text about the key.
    pub description: Option<String>,
    /// Alternative names.
    pub aliases: Vec<String>,
    /// Tags (legacy).
    pub tags: Vec<String>,
    /// Expiration date.
    pub expiration_date: Option<Time>,
    /// `false` for a root key; absent means `true`, a standard key.
    pub extractable: bool,
    /// Value of an imported key.
    pub payload: Option<Secret>,
    /// Whether the call uses an import token.
    pub under_import_token: bool,
}

impl CreateKey {
    /// Decodes the body with its envelope.
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

/// `actions/rotate`: no value for a generated key, a new value for an imported one.
#[derive(Debug)]
pub struct Rotate {
    /// New value of an imported key.
    pub payload: Option<Secret>,
    /// Whether the call uses an import token.
    pub under_import_token: bool,
}

impl Rotate {
    /// Decodes the body; it may be absent.
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

/// The value of an import, and whether the call uses an import token.
fn material(fields: &mut Fields<'_>) -> Result<(Option<Secret>, bool), BodyError> {
    let payload = fields.secret("payload", KEY_MATERIAL)?;
    let nonce = fields.secret("encryptedNonce", "base64 encoded")?;
    let iv = fields.secret("iv", "base64 encoded")?;
    let algorithm = fields.string("encryptionAlgorithm")?;
    Ok((payload, nonce.is_some() || iv.is_some() || algorithm.is_some()))
}

/// Body of `actions/wrap`.
#[derive(Debug)]
pub struct Wrap {
    /// Plaintext to wrap; absent asks for a new data key.
    pub plaintext: Option<Secret>,
    /// Additional authenticated data, in order.
    pub aad: Vec<String>,
}

impl Wrap {
    /// Decodes the body; it may be absent.
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
    /// Ciphertext of an earlier wrap: base64, opaque.
    pub ciphertext: String,
    /// Additional authenticated data, as in the wrap.
    pub aad: Vec<String>,
}

impl Unwrap {
    /// Decodes the body.
    ///
    /// # Errors
    /// [`BodyError`]; [`BodyError::NoBody`] for an absent body.
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
        // Line ends in base64 are accepted, and removed here.
        ciphertext.retain(|character| !matches!(character, '\n' | '\r'));
        Ok(Self { ciphertext, aad })
    }
}

/// A call without a body: empty, `null` or `{}`.
///
/// # Errors
/// [`BodyError`] for anything else.
pub fn no_body(body: &[u8]) -> Result<(), BodyError> {
    Fields::of_body(body)?.finish()
}
