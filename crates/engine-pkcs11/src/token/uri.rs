//! Which token, in the words of RFC 7512.

use crate::token::pin::{PinSource, PinSourceInvalid};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The one module and the one token in it that a unit's keys are on, as a PKCS#11 URI.
///
/// ```text
/// pkcs11:token=core;serial=0123?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/hsm/pin
/// ```
///
/// | attribute | is |
/// |---|---|
/// | `token`, `manufacturer`, `model`, `serial` | what the token says of itself, trailing blanks aside |
/// | `slot-id`, `slot-description` | where it is plugged in |
/// | `module-path` | the token's library, by its absolute path; required |
/// | `pin-source` | [`PinSource`]: `file:/path`, and beyond the standard `env:NAME` and `prompt` |
///
/// One of `token`, `serial` and `slot-id` has to be there. A URI is written to files and shown to people, so that no PIN
/// can stand in it: `pin-value` is refused.
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

/// Why a text is no [`TokenUri`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Another scheme, or none.
    #[error("a token is named by a PKCS#11 URI, which begins with `pkcs11:`")]
    Scheme,
    /// Not `name=value`.
    #[error(
        "`{0}` is no attribute: a PKCS#11 URI has `name=value`, with `;` between them, after `?` with `&`"
    )]
    NotAnAttribute(String),
    /// A PIN in the clear.
    #[error(
        "pin-value is not taken: a PIN in a command line or a configuration file is everybody's to read; \
         put it into a file that only you may read, and write pin-source=file:/path, or pin-source=env:NAME"
    )]
    PinValue,
    /// Not an attribute that tells tokens apart.
    #[error("`{0}` is no attribute that tokens are told apart by here: there are {attributes}", attributes = ATTRIBUTES)]
    Unknown(String),
    /// An attribute on the wrong side of the question mark.
    #[error("`{name}` stands {there} the question mark of a PKCS#11 URI, not {here} it", there = side(*.in_query), here = side(!*.in_query))]
    Misplaced {
        /// Which.
        name: &'static str,
        /// Where it belongs.
        in_query: bool,
    },
    /// An attribute that is there twice.
    #[error("`{0}` is given twice")]
    Twice(&'static str),
    /// An attribute without a value.
    #[error("`{0}` has no value")]
    Empty(&'static str),
    /// A value that no token can have.
    #[error("`{name}` is longer than the {max} bytes that a token has for it")]
    TooLong {
        /// Which.
        name: &'static str,
        /// Bytes there are.
        max: usize,
    },
    /// A `%` without two hexadecimal digits, or a character that has to be written with one.
    #[error("the value of `{name}` is not percent-encoded as it should be, from `{rest}` on (RFC 7512 §2.3)")]
    Encoding {
        /// Whose value.
        name: &'static str,
        /// What cannot be read.
        rest: String,
    },
    /// A text that is none.
    #[error("the value of `{0}` is not UTF-8")]
    NotText(&'static str),
    /// Not a number.
    #[error("slot-id is a decimal number, and `{0}` is none")]
    SlotId(String),
    /// A path that depends on where it is read.
    #[error("module-path has to be absolute: {} would be another file in another folder", .0.display())]
    RelativeModule(PathBuf),
    /// Nowhere to load the token's library from.
    #[error("the URI does not say which library the token speaks by: add ?module-path=/path/to/library.so")]
    NoModule,
    /// Any token would do, and none is meant.
    #[error("the URI does not say which token: name it by token (its label), serial or slot-id")]
    NoToken,
    /// Not a way to a PIN.
    #[error(transparent)]
    PinSource(#[from] PinSourceInvalid),
}

const ATTRIBUTES: &str =
    "token, manufacturer, model, serial, slot-id, slot-description, module-path, pin-source";

const fn side(in_query: bool) -> &'static str {
    if in_query { "after" } else { "before" }
}

/// What a module shows of one token and its slot, blanks at the end or not.
#[derive(Clone, Copy, Debug)]
pub struct TokenSeen<'a> {
    /// Label.
    pub label: &'a str,
    /// Who makes it.
    pub manufacturer: &'a str,
    /// What it is.
    pub model: &'a str,
    /// Which it is.
    pub serial: &'a str,
    /// Number of the slot.
    pub slot_id: u64,
    /// What the slot is.
    pub slot_description: &'a str,
}

impl TokenUri {
    /// The token with this label, by the library at `module_path`.
    ///
    /// # Errors
    /// [`UriError::Empty`], [`UriError::TooLong`] or [`UriError::RelativeModule`].
    pub fn labelled(label: &str, module_path: &Path, pin_source: PinSource) -> Result<Self, UriError> {
        let mut read = Read::default();
        read.path("token", label.as_bytes().to_vec())?;
        read.query("module-path", module_path.as_os_str().as_bytes().to_vec())?;
        read.pin_source = Some(pin_source);
        read.finish()
    }

    /// The label that the token has to have.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The serial number that it has to have.
    #[must_use]
    pub fn serial(&self) -> Option<&str> {
        self.serial.as_deref()
    }

    /// The slot that it has to be in.
    #[must_use]
    pub const fn slot_id(&self) -> Option<u64> {
        self.slot_id
    }

    /// The library.
    #[must_use]
    pub fn module_path(&self) -> &Path {
        &self.module_path
    }

    /// Where the PIN is, if the URI says so.
    #[must_use]
    pub const fn pin_source(&self) -> Option<&PinSource> {
        self.pin_source.as_ref()
    }

    /// Whether both name the same token in the same words, wherever its library and its PIN are.
    #[must_use]
    pub fn is_of_same_token(&self, other: &Self) -> bool {
        let Self { token, manufacturer, model, serial, slot_description, slot_id, .. } = other;
        (&self.token, &self.manufacturer, &self.model) == (token, manufacturer, model)
            && (&self.serial, &self.slot_description, &self.slot_id) == (serial, slot_description, slot_id)
    }

    /// Whether this is the token: every attribute that is given fits.
    #[must_use]
    pub fn matches(&self, seen: &TokenSeen<'_>) -> bool {
        let fits = |wanted: &Option<String>, seen: &str| {
            wanted.as_ref().is_none_or(|wanted| unpadded(wanted) == unpadded(seen))
        };
        fits(&self.token, seen.label)
            && fits(&self.manufacturer, seen.manufacturer)
            && fits(&self.model, seen.model)
            && fits(&self.serial, seen.serial)
            && fits(&self.slot_description, seen.slot_description)
            && self.slot_id.is_none_or(|wanted| wanted == seen.slot_id)
    }
}

/// Tokens fill their texts up with blanks.
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
        let mut read = Read::default();
        for attribute in path.split(';').filter(|_| !path.is_empty()) {
            let (name, value) = attribute_of(attribute, false)?;
            read.path(name, decode(name, value, false)?)?;
        }
        for attribute in query.split('&').filter(|_| !query.is_empty()) {
            let (name, value) = attribute_of(attribute, true)?;
            read.query(name, decode(name, value, true)?)?;
        }
        read.finish()
    }
}

/// The attributes that there can be: name, whether in the query.
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

fn attribute_of(attribute: &str, in_query: bool) -> Result<(&'static str, &str), UriError> {
    let name = attribute.split('=').next().unwrap_or_default();
    // Before all else, lest a message repeat it.
    if name == "pin-value" {
        return Err(UriError::PinValue);
    }
    let (name, value) =
        attribute.split_once('=').ok_or_else(|| UriError::NotAnAttribute(attribute.to_owned()))?;
    match KNOWN.iter().find(|(known, _)| *known == name) {
        None => Err(UriError::Unknown(name.to_owned())),
        Some((name, belongs)) if *belongs == in_query => Ok((name, value)),
        Some((name, belongs)) => Err(UriError::Misplaced { name, in_query: *belongs }),
    }
}

/// What has been read so far.
#[derive(Default)]
struct Read {
    token: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
    serial: Option<String>,
    slot_description: Option<String>,
    slot_id: Option<u64>,
    module_path: Option<PathBuf>,
    pin_source: Option<PinSource>,
}

impl Read {
    fn path(&mut self, name: &'static str, value: Vec<u8>) -> Result<(), UriError> {
        let value = String::from_utf8(value).map_err(|_| UriError::NotText(name))?;
        // Lengths of CK_TOKEN_INFO and CK_SLOT_INFO.
        let (field, max) = match name {
            "token" => (&mut self.token, 32),
            "manufacturer" => (&mut self.manufacturer, 32),
            "model" => (&mut self.model, 16),
            "serial" => (&mut self.serial, 16),
            "slot-description" => (&mut self.slot_description, 64),
            _ => {
                let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                let number = value.parse().ok().filter(|_| digits).ok_or(UriError::SlotId(value))?;
                return put(&mut self.slot_id, name, number);
            }
        };
        if unpadded(&value).is_empty() {
            return Err(UriError::Empty(name));
        }
        if value.len() > max {
            return Err(UriError::TooLong { name, max });
        }
        put(field, name, value)
    }

    fn query(&mut self, name: &'static str, value: Vec<u8>) -> Result<(), UriError> {
        if value.is_empty() {
            return Err(UriError::Empty(name));
        }
        if name == "pin-source" {
            return put(&mut self.pin_source, name, PinSource::from_bytes(value)?);
        }
        let path = PathBuf::from(OsString::from_vec(value));
        if !path.is_absolute() {
            return Err(UriError::RelativeModule(path));
        }
        put(&mut self.module_path, name, path)
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

fn put<T>(field: &mut Option<T>, name: &'static str, value: T) -> Result<(), UriError> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(UriError::Twice(name)),
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
        let mut between = "";
        for (name, value) in path {
            let Some(value) = value else { continue };
            write!(f, "{between}{name}=")?;
            encode(f, value.as_bytes(), false)?;
            between = ";";
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

/// Whether a byte may stand for itself in a value. Source: RFC 7512 §2.3, `pk11-pchar` and `pk11-qchar`.
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
    let wrong = |rest: &[u8]| UriError::Encoding { name, rest: String::from_utf8_lossy(rest).into_owned() };
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'%' => {
                let (digits, after) = after.split_first_chunk::<2>().ok_or_else(|| wrong(rest))?;
                let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
                let value = high.zip(low).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                decoded.push(value.ok_or_else(|| wrong(rest))?);
                after
            }
            _ if is_plain(byte, in_query) => {
                decoded.push(byte);
                after
            }
            _ => return Err(wrong(rest)),
        };
    }
    // No path, label or variable's name has it, and C would end the text there.
    if decoded.contains(&0) { Err(wrong(b"%00")) } else { Ok(decoded) }
}

#[cfg(test)]
mod tests;
