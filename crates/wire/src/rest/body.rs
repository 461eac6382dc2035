//! Common parts of request bodies: strict fields, the envelope, and errors.

use super::json::{self, Json, Text};
use super::{ReasonCode, Time};
use crate::{Secret, base64};
use std::fmt;

/// Maximum number of characters of a client's text in an error message.
const MAX_QUOTED: usize = 64;

/// Reason why a request body is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The body is not UTF-8.
    #[error("the body is not UTF-8")]
    Encoding,
    /// The body is not JSON.
    #[error("invalid JSON {place} at byte {at}")]
    Syntax {
        /// Position of the error, in bytes.
        at: usize,
        /// Description of the place, such as `in a string`.
        place: &'static str,
    },
    /// The body is nested beyond the limit.
    #[error("the body is nested deeper than {limit} levels")]
    TooDeep {
        /// Maximum depth.
        limit: usize,
    },
    /// An object has too many fields.
    #[error("an object has more than {limit} fields")]
    TooManyFields {
        /// Maximum number of fields.
        limit: usize,
    },
    /// A name appears twice in one object, regardless of case.
    #[error("json: duplicate field \"{0}\"")]
    DuplicateField(String),
    /// The request has a field that the call does not define.
    #[error("json: unknown field \"{0}\"")]
    UnknownField(String),
    /// A value has another JSON type than its field.
    #[error("json: cannot unmarshal {found} into field {field} of type {wanted}")]
    WrongType {
        /// Name of the field; empty for the body itself.
        field: &'static str,
        /// JSON type of the value.
        found: &'static str,
        /// Type of the field.
        wanted: &'static str,
    },
    /// A part of the envelope is absent or empty.
    #[error("The field `{0}` must be: present and not empty")]
    Missing(&'static str),
    /// A create has more than one key.
    #[error("Only one key can be created at a time, not {0}")]
    ManyKeys(usize),
    /// `collectionTotal` differs from the number of resources.
    #[error("The field `collectionTotal` is {said}, but the number of resources is {found}")]
    CollectionTotal {
        /// Value of `collectionTotal`.
        said: u64,
        /// Number of resources.
        found: usize,
    },
    /// The number of resources is not the one that the call takes.
    #[error("The number of resources must be: 1, not {0}")]
    ResourceCount(usize),
    /// A field is out of range or malformed.
    #[error(transparent)]
    Field(#[from] InvalidField),
    /// The call needs a body, and there is none.
    #[error("A request body is required")]
    NoBody,
}

impl BodyError {
    /// Reason code that clients see.
    #[must_use]
    pub const fn code(&self) -> ReasonCode {
        match self {
            Self::Encoding
            | Self::Syntax { .. }
            | Self::TooDeep { .. }
            | Self::TooManyFields { .. }
            | Self::DuplicateField(_)
            | Self::UnknownField(_)
            | Self::WrongType { .. }
            | Self::Missing(_)
            | Self::ManyKeys(_) => ReasonCode::BadBody,
            Self::CollectionTotal { .. } => ReasonCode::CollectionTotalMismatch,
            Self::ResourceCount(_) => ReasonCode::NumCollectionResource,
            Self::Field(_) => ReasonCode::InvalidField,
            Self::NoBody => ReasonCode::NoBody,
        }
    }

    /// The field that is wrong, if it is a single one.
    #[must_use]
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::Field(invalid) => Some(invalid.field),
            _ => None,
        }
    }
}

/// A field is out of range or malformed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    /// Name of the field.
    pub field: &'static str,
    /// Requirement, as it continues after `must be: `.
    pub must_be: String,
}

impl InvalidField {
    /// An error with this requirement.
    #[must_use]
    pub fn new(field: &'static str, must_be: impl Into<String>) -> Self {
        Self { field, must_be: must_be.into() }
    }
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Clients match on both kinds of quotes, as the original service writes them.
        let quote = if self.field == "ciphertext" { '\'' } else { '`' };
        write!(f, "The field {quote}{}{quote} must be: {}", self.field, self.must_be)
    }
}

impl std::error::Error for InvalidField {}

/// The first [`MAX_QUOTED`] characters of `text`.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(MAX_QUOTED).collect()
}

/// The fields of an object. Each is taken once; what is left is refused.
pub(crate) struct Fields<'a>(Vec<(Text<'a>, Json<'a>)>);

impl<'a> Fields<'a> {
    /// The object of the body. An empty body, white space, `null` and `{}` are all an object without fields.
    pub(crate) fn of_body(body: &'a [u8]) -> Result<Self, BodyError> {
        let text = std::str::from_utf8(body).map_err(|_| BodyError::Encoding)?;
        match json::read(text)? {
            None | Some(Json::Null) => Ok(Self(Vec::new())),
            Some(value) => Self::of("", value),
        }
    }

    fn of(field: &'static str, value: Json<'a>) -> Result<Self, BodyError> {
        match value {
            Json::Object(fields) => Ok(Self(fields)),
            other => Err(BodyError::WrongType { field, found: other.kind(), wanted: "object" }),
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the value of a field; `null` is the same as absent.
    fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let at = self.0.iter().position(|(field, _)| field.as_str().eq_ignore_ascii_case(name))?;
        match self.0.remove(at).1 {
            Json::Null => None,
            value => Some(value),
        }
    }

    /// Refuses fields that were not taken.
    pub(crate) fn finish(self) -> Result<(), BodyError> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(BodyError::UnknownField(shortened(name.as_str()))),
        }
    }

    pub(crate) fn object(&mut self, name: &'static str) -> Result<Option<Self>, BodyError> {
        self.take(name).map(|value| Self::of(name, value)).transpose()
    }

    pub(crate) fn array(&mut self, name: &'static str) -> Result<Option<Vec<Json<'a>>>, BodyError> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Array(items)) => Ok(Some(items)),
            Some(other) => Err(BodyError::WrongType { field: name, found: other.kind(), wanted: "array" }),
        }
    }

    fn text(&mut self, name: &'static str) -> Result<Option<Text<'a>>, BodyError> {
        self.take(name).map(|value| text_of(name, value)).transpose()
    }

    pub(crate) fn string(&mut self, name: &'static str) -> Result<Option<String>, BodyError> {
        Ok(self.text(name)?.map(|text| text.as_str().to_owned()))
    }

    pub(crate) fn strings(&mut self, name: &'static str) -> Result<Vec<String>, BodyError> {
        let items = self.array(name)?.unwrap_or_default();
        items.into_iter().map(|item| Ok(text_of(name, item)?.as_str().to_owned())).collect()
    }

    pub(crate) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, BodyError> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(BodyError::WrongType { field: name, found: other.kind(), wanted: "bool" }),
        }
    }

    pub(crate) fn integer(&mut self, name: &'static str) -> Result<Option<u64>, BodyError> {
        let wrong = |found| BodyError::WrongType { field: name, found, wanted: "int" };
        match self.take(name) {
            None => Ok(None),
            Some(Json::Number(text)) => text.parse().map(Some).map_err(|_| wrong("number")),
            Some(other) => Err(wrong(other.kind())),
        }
    }

    pub(crate) fn time(&mut self, name: &'static str) -> Result<Option<Time>, BodyError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let time = Time::parse(text.as_str());
        time.map(Some).ok_or_else(|| InvalidField::new(name, "an RFC 3339 date and time").into())
    }

    /// Takes base64; `what` begins the error message.
    pub(crate) fn secret(&mut self, name: &'static str, what: &str) -> Result<Option<Secret>, BodyError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let bytes = base64::decode(text.as_str());
        bytes.map(Some).map_err(|error| InvalidField::new(name, format!("{what}: {error}")).into())
    }

    /// The only resource of the envelope with these fields.
    pub(crate) fn resource(mut self, many: impl Fn(usize) -> BodyError) -> Result<Self, BodyError> {
        let mut metadata = self.object("metadata")?.ok_or(BodyError::Missing("metadata"))?;
        let resources = self.array("resources")?;
        self.finish()?;
        if metadata.is_empty() {
            return Err(BodyError::Missing("metadata"));
        }
        metadata.string("collectionType")?;
        let said = metadata.integer("collectionTotal")?.unwrap_or(0);
        metadata.finish()?;
        let mut resources = resources.ok_or(BodyError::Missing("resources"))?;
        let found = resources.len();
        if found > 1 {
            return Err(many(found));
        }
        if u64::try_from(found) != Ok(said) {
            return Err(BodyError::CollectionTotal { said, found });
        }
        Self::of("resources", resources.pop().ok_or(BodyError::ResourceCount(0))?)
    }
}

fn text_of<'a>(field: &'static str, value: Json<'a>) -> Result<Text<'a>, BodyError> {
    match value {
        Json::Text(text) => Ok(text),
        other => Err(BodyError::WrongType { field, found: other.kind(), wanted: "string" }),
    }
}
