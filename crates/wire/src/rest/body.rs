//! What every request body has in common: strict fields, the envelope, and what may be wrong with them.

use super::json::{self, Json, Text};
use super::{ReasonCode, Time};
use crate::{Secret, base64};
use std::fmt;

/// Texts of a body that go into a message are cut to this many characters.
const MAX_QUOTED: usize = 64;

/// Why a request body is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// Not UTF-8.
    #[error("the body is not UTF-8")]
    Encoding,
    /// Not JSON.
    #[error("invalid JSON {place} at byte {at}")]
    Syntax {
        /// Where, in bytes.
        at: usize,
        /// In what.
        place: &'static str,
    },
    /// Nested beyond the limit.
    #[error("the body is nested deeper than {limit} levels")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// An object with too many fields.
    #[error("an object has more than {limit} fields")]
    TooManyFields {
        /// The limit.
        limit: usize,
    },
    /// A name given twice in one object, case aside.
    #[error("json: duplicate field \"{0}\"")]
    DuplicateField(String),
    /// A field that the call does not have.
    #[error("json: unknown field \"{0}\"")]
    UnknownField(String),
    /// A value of another JSON type.
    #[error("json: cannot unmarshal {found} into field {field} of type {wanted}")]
    WrongType {
        /// The field; the empty text for the body itself.
        field: &'static str,
        /// What came.
        found: &'static str,
        /// What the field takes.
        wanted: &'static str,
    },
    /// A part of the envelope is absent or empty.
    #[error("The field `{0}` must be: present and not empty")]
    Missing(&'static str),
    /// More keys than one in a create.
    #[error("Only one key can be created at a time, not {0}")]
    ManyKeys(usize),
    /// The envelope miscounts its resources.
    #[error("The field `collectionTotal` is {said}, but the number of resources is {found}")]
    CollectionTotal {
        /// What it says.
        said: u64,
        /// What there are.
        found: usize,
    },
    /// Another number of resources than the call takes.
    #[error("The number of resources must be: 1, not {0}")]
    ResourceCount(usize),
    /// A field out of range or badly formed.
    #[error(transparent)]
    Field(#[from] InvalidField),
    /// No body where one is needed.
    #[error("A request body is required")]
    NoBody,
}

impl BodyError {
    /// The code that clients see.
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

    /// The one field to blame, if it is one.
    #[must_use]
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::Field(invalid) => Some(invalid.field),
            _ => None,
        }
    }
}

/// A field out of range or badly formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    /// Its name.
    pub field: &'static str,
    /// What it must be; reads on after "must be: ".
    pub must_be: String,
}

impl InvalidField {
    /// `field` must be `must_be`.
    #[must_use]
    pub fn new(field: &'static str, must_be: impl Into<String>) -> Self {
        Self { field, must_be: must_be.into() }
    }
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Clients have been matching on both kinds of quotes, as the service writes them.
        let quote = if self.field == "ciphertext" { '\'' } else { '`' };
        write!(f, "The field {quote}{}{quote} must be: {}", self.field, self.must_be)
    }
}

impl std::error::Error for InvalidField {}

/// At most [`MAX_QUOTED`] characters of `text`.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(MAX_QUOTED).collect()
}

/// The fields of an object, each to be taken once; what is left over is refused.
pub(crate) struct Fields<'a>(Vec<(Text<'a>, Json<'a>)>);

impl<'a> Fields<'a> {
    /// The body's object; nothing, white space, `null` and `{}` are all an object without fields.
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

    /// The field's value; `null` is as good as absent.
    fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let at = self.0.iter().position(|(field, _)| field.as_str().eq_ignore_ascii_case(name))?;
        match self.0.remove(at).1 {
            Json::Null => None,
            value => Some(value),
        }
    }

    /// Refuses what nobody took.
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

    /// Base64; `what` begins the message that says what it should have been.
    pub(crate) fn secret(&mut self, name: &'static str, what: &str) -> Result<Option<Secret>, BodyError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let bytes = base64::decode(text.as_str());
        bytes.map(Some).map_err(|error| InvalidField::new(name, format!("{what}: {error}")).into())
    }

    /// The only resource of the envelope that these fields are.
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
