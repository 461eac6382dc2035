//! The URI that names a token (RFC 7512).

use super::pin::{PinSource, PinSourceInvalid};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A PKCS#11 URI that names one module, one token of it, and where its PIN is read from.
///
/// ```text
/// pkcs11:token=core;serial=0123?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/hsm/pin
/// ```
///
/// | attribute | meaning |
/// |---|---|
/// | `token`, `manufacturer`, `model`, `serial` | fields of the token's `CK_TOKEN_INFO`, compared without trailing blanks |
/// | `slot-id`, `slot-description` | the token's slot |
/// | `module-path` | absolute path of the vendor's PKCS#11 library; required |
/// | `pin-source` | a [`PinSource`]: `file:/path`, or, beyond the standard, `env:NAME` or `prompt` |
///
/// At least one of `token`, `serial` and `slot-id` is required. URIs are written to files and shown to users, so
/// `pin-value` is rejected.
///
/// ```
/// use engine_pkcs11::TokenUri;
/// use std::path::Path;
///
/// let uri: TokenUri = "pkcs11:token=core?module-path=/usr/lib/hsm.so&pin-source=env:HSM_PIN".parse()?;
/// assert_eq!(uri.token(), Some("core"));
/// assert_eq!(uri.module_path(), Path::new("/usr/lib/hsm.so"));
/// # Ok::<(), engine_pkcs11::UriError>(())
/// ```
///
/// Source: RFC 7512 §2.3 (syntax), §2.4 (attributes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUri {
    token: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
    serial: Option<String>,
    slot_description: Option<String>,
    slot_id: Option<u64>,
    module_path: PathBuf,
    pin_source: Option<PinSource>,
}

/// Why a text is not a [`TokenUri`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// The text does not begin with the scheme `pkcs11`.
    #[error("a token is named by a PKCS#11 URI, which begins with `pkcs11:`")]
    Scheme,
    /// An attribute is not of the form `name=value`. Holds the text found.
    #[error(
        "`{0}` is not an attribute: a PKCS#11 URI consists of `name=value`, separated by `;` before the `?` and by `&` after it"
    )]
    NotAnAttribute(String),
    /// The URI contains a PIN.
    #[error(
        "pin-value is not accepted, because command lines and configuration files can be read by others: write the PIN \
         to a file that only you can read and use pin-source=file:/path, or use pin-source=env:NAME"
    )]
    PinValue,
    /// The attribute's name is not supported. Holds the name.
    #[error("unsupported token attribute `{0}`; supported: {attributes}", attributes = ATTRIBUTES)]
    Unsupported(String),
    /// A path attribute is in the query, or the reverse.
    #[error("`{name}` must be {required} the `?` of a PKCS#11 URI", required = side(*.in_query))]
    Misplaced {
        /// Name of the attribute.
        name: &'static str,
        /// Whether it belongs in the query, after the `?`.
        in_query: bool,
    },
    /// The attribute occurs more than once. Holds its name.
    #[error("`{0}` is given twice")]
    Duplicate(&'static str),
    /// The attribute's value is empty or blank. Holds its name.
    #[error("`{0}` has no value")]
    Empty(&'static str),
    /// The value is longer than its field in `CK_TOKEN_INFO` or `CK_SLOT_INFO`.
    #[error("`{name}` is longer than {max} bytes, the size of its PKCS#11 field")]
    TooLong {
        /// Name of the attribute.
        name: &'static str,
        /// Size of the field, in bytes.
        max: usize,
    },
    /// The value has a `%` without two hexadecimal digits, a NUL, or a character that must be percent-encoded.
    #[error("the value of `{name}` is not correctly percent-encoded, from `{rest}` on (RFC 7512 §2.3)")]
    Encoding {
        /// Name of the attribute.
        name: &'static str,
        /// The value from the first invalid character on.
        rest: String,
    },
    /// The decoded value is not UTF-8. Holds the attribute's name.
    #[error("the value of `{0}` is not UTF-8")]
    NotUtf8(&'static str),
    /// The slot is not a decimal number of 64 bits. Holds the value.
    #[error("slot-id must be a decimal number, not `{0}`")]
    SlotId(String),
    /// The library's path is relative.
    #[error("module-path must be absolute, not {}", .0.display())]
    RelativeModule(PathBuf),
    /// `module-path` is missing.
    #[error("the URI does not name the token's PKCS#11 library: add ?module-path=/path/to/library.so")]
    NoModule,
    /// `token`, `serial` and `slot-id` are all missing.
    #[error("the URI does not name a token: add token (its label), serial or slot-id")]
    NoToken,
    /// The value of `pin-source` is invalid.
    #[error(transparent)]
    PinSource(#[from] PinSourceInvalid),
}

const ATTRIBUTES: &str =
    "token, manufacturer, model, serial, slot-id, slot-description, module-path, pin-source";

const fn side(in_query: bool) -> &'static str {
    if in_query { "after" } else { "before" }
}

/// What a module reports of one token and its slot, with or without trailing blanks.
#[derive(Clone, Copy, Debug)]
pub struct TokenAttributes<'a> {
    /// Label of the token.
    pub label: &'a str,
    /// Manufacturer of the token.
    pub manufacturer: &'a str,
    /// Model of the token.
    pub model: &'a str,
    /// Serial number of the token.
    pub serial: &'a str,
    /// Number of the slot.
    pub slot_id: u64,
    /// Description of the slot.
    pub slot_description: &'a str,
}

impl TokenUri {
    /// The URI of the token with this label in the module at `module_path`.
    ///
    /// # Errors
    /// [`UriError::Empty`], [`UriError::TooLong`] or [`UriError::RelativeModule`].
    pub fn with_label(label: &str, module_path: &Path, pin_source: PinSource) -> Result<Self, UriError> {
        let mut parts = UriParts::default();
        parts.set_path_attribute("token", label.as_bytes().to_vec())?;
        parts.set_query_attribute("module-path", module_path.as_os_str().as_bytes().to_vec())?;
        parts.pin_source = Some(pin_source);
        parts.finish()
    }

    /// Label of the token, if the URI gives it.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Serial number of the token, if the URI gives it.
    #[must_use]
    pub fn serial(&self) -> Option<&str> {
        self.serial.as_deref()
    }

    /// Slot of the token, if the URI gives it.
    #[must_use]
    pub const fn slot_id(&self) -> Option<u64> {
        self.slot_id
    }

    /// Path of the token's PKCS#11 library.
    #[must_use]
    pub fn module_path(&self) -> &Path {
        &self.module_path
    }

    /// Where the PIN is read from, if the URI gives it.
    #[must_use]
    pub const fn pin_source(&self) -> Option<&PinSource> {
        self.pin_source.as_ref()
    }

    /// Whether both URIs give the same attributes of token and slot. `module-path` and `pin-source` are not compared.
    #[must_use]
    pub fn is_same_token(&self, other: &Self) -> bool {
        let Self { token, manufacturer, model, serial, slot_description, slot_id, .. } = other;
        (&self.token, &self.manufacturer, &self.model) == (token, manufacturer, model)
            && (&self.serial, &self.slot_description, &self.slot_id) == (serial, slot_description, slot_id)
    }

    /// Whether every attribute that the URI gives equals the token's, trailing blanks aside.
    #[must_use]
    pub fn matches(&self, attributes: &TokenAttributes<'_>) -> bool {
        let equals = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| unpadded(wanted) == unpadded(found))
        };
        equals(&self.token, attributes.label)
            && equals(&self.manufacturer, attributes.manufacturer)
            && equals(&self.model, attributes.model)
            && equals(&self.serial, attributes.serial)
            && equals(&self.slot_description, attributes.slot_description)
            && self.slot_id.is_none_or(|wanted| wanted == attributes.slot_id)
    }
}

/// Removes the blanks that tokens pad their fields with (PKCS #11 §3.2).
fn unpadded(text: &str) -> &str {
    text.trim_end_matches(' ')
}

impl FromStr for TokenUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        // RFC 3986 §3.1: a scheme's case does not matter.
        let (scheme, rest) = text.split_once(':').ok_or(UriError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("pkcs11") {
            return Err(UriError::Scheme);
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut parts = UriParts::default();
        for attribute in path.split(';').filter(|_| !path.is_empty()) {
            let (name, value) = split_attribute(attribute, false)?;
            parts.set_path_attribute(name, decode(name, value, false)?)?;
        }
        for attribute in query.split('&').filter(|_| !query.is_empty()) {
            let (name, value) = split_attribute(attribute, true)?;
            parts.set_query_attribute(name, decode(name, value, true)?)?;
        }
        parts.finish()
    }
}

/// Supported attributes: name, and whether it belongs in the query.
const KNOWN: [(&str, bool); 8] = [
    ("token", false),
    ("manufacturer", false),
    ("model", false),
    ("serial", false),
    ("slot-id", false),
    ("slot-description", false),
    ("module-path", true),
    ("pin-source", true),
];

/// Splits `name=value` and checks that the attribute is supported in this part of the URI.
fn split_attribute(attribute: &str, in_query: bool) -> Result<(&'static str, &str), UriError> {
    let name = attribute.split('=').next().unwrap_or_default();
    // Checked first, so that no error message repeats the PIN.
    if name == "pin-value" {
        return Err(UriError::PinValue);
    }
    let (name, value) =
        attribute.split_once('=').ok_or_else(|| UriError::NotAnAttribute(attribute.to_owned()))?;
    match KNOWN.iter().find(|(known, _)| *known == name) {
        None => Err(UriError::Unsupported(name.to_owned())),
        Some((name, belongs)) if *belongs == in_query => Ok((name, value)),
        Some((name, belongs)) => Err(UriError::Misplaced { name, in_query: *belongs }),
    }
}

/// The attributes parsed so far.
#[derive(Default)]
struct UriParts {
    token: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
    serial: Option<String>,
    slot_description: Option<String>,
    slot_id: Option<u64>,
    module_path: Option<PathBuf>,
    pin_source: Option<PinSource>,
}

impl UriParts {
    fn set_path_attribute(&mut self, name: &'static str, value: Vec<u8>) -> Result<(), UriError> {
        let value = String::from_utf8(value).map_err(|_| UriError::NotUtf8(name))?;
        // Sizes of the fields of CK_TOKEN_INFO and CK_SLOT_INFO, in bytes.
        let (field, max) = match name {
            "token" => (&mut self.token, 32),
            "manufacturer" => (&mut self.manufacturer, 32),
            "model" => (&mut self.model, 16),
            "serial" => (&mut self.serial, 16),
            "slot-description" => (&mut self.slot_description, 64),
            _ => {
                let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                let number = value.parse().ok().filter(|_| digits).ok_or(UriError::SlotId(value))?;
                return set_once(&mut self.slot_id, name, number);
            }
        };
        if unpadded(&value).is_empty() {
            return Err(UriError::Empty(name));
        }
        if value.len() > max {
            return Err(UriError::TooLong { name, max });
        }
        set_once(field, name, value)
    }

    fn set_query_attribute(&mut self, name: &'static str, value: Vec<u8>) -> Result<(), UriError> {
        if value.is_empty() {
            return Err(UriError::Empty(name));
        }
        if name == "pin-source" {
            return set_once(&mut self.pin_source, name, PinSource::from_bytes(value)?);
        }
        let path = PathBuf::from(OsString::from_vec(value));
        if !path.is_absolute() {
            return Err(UriError::RelativeModule(path));
        }
        set_once(&mut self.module_path, name, path)
    }

    fn finish(self) -> Result<TokenUri, UriError> {
        let Self { token, manufacturer, model, serial, slot_description, slot_id, module_path, pin_source } =
            self;
        if token.is_none() && serial.is_none() && slot_id.is_none() {
            return Err(UriError::NoToken);
        }
        let module_path = module_path.ok_or(UriError::NoModule)?;
        Ok(TokenUri {
            token,
            manufacturer,
            model,
            serial,
            slot_description,
            slot_id,
            module_path,
            pin_source,
        })
    }
}

fn set_once<T>(field: &mut Option<T>, name: &'static str, value: T) -> Result<(), UriError> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(UriError::Duplicate(name)),
    }
}

impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.slot_id.map(|id| id.to_string());
        let path = [
            ("token", &self.token),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("serial", &self.serial),
            ("slot-description", &self.slot_description),
            ("slot-id", &number),
        ];
        f.write_str("pkcs11:")?;
        let mut separator = "";
        for (name, value) in path {
            let Some(value) = value else { continue };
            write!(f, "{separator}{name}=")?;
            encode(f, value.as_bytes(), false)?;
            separator = ";";
        }
        f.write_str("?module-path=")?;
        encode(f, self.module_path.as_os_str().as_bytes(), true)?;
        if let Some(source) = &self.pin_source {
            f.write_str("&pin-source=")?;
            encode(f, &source.to_bytes(), true)?;
        }
        Ok(())
    }
}

/// Whether a byte may occur unencoded in a value. Source: RFC 7512 §2.3, `pk11-pchar` and `pk11-qchar`.
const fn is_plain(byte: u8, in_query: bool) -> bool {
    match byte {
        b'-' | b'.' | b'_' | b'~' => true,
        b':' | b'[' | b']' | b'@' | b'!' | b'$' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' => true,
        b'&' => !in_query,
        b'/' | b'?' | b'|' => in_query,
        _ => byte.is_ascii_alphanumeric(),
    }
}

fn encode(f: &mut fmt::Formatter<'_>, value: &[u8], in_query: bool) -> fmt::Result {
    for &byte in value {
        if is_plain(byte, in_query) {
            write!(f, "{}", char::from(byte))?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

fn decode(name: &'static str, value: &str, in_query: bool) -> Result<Vec<u8>, UriError> {
    let invalid = |rest: &[u8]| UriError::Encoding { name, rest: String::from_utf8_lossy(rest).into_owned() };
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'%' => {
                let (digits, after) = after.split_first_chunk::<2>().ok_or_else(|| invalid(rest))?;
                let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
                let value = high.zip(low).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                decoded.push(value.ok_or_else(|| invalid(rest))?);
                after
            }
            _ if is_plain(byte, in_query) => {
                decoded.push(byte);
                after
            }
            _ => return Err(invalid(rest)),
        };
    }
    // A NUL would end the string in C.
    if decoded.contains(&0) { Err(invalid(b"%00")) } else { Ok(decoded) }
}

#[cfg(test)]
mod tests;
