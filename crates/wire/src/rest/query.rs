//! Query parameters of lists.

use super::ReasonCode;
use super::body::shortened;
use crate::form;
use zeroize::Zeroizing;

/// Default number of keys or versions on a page.
const DEFAULT_LIMIT: usize = 200;
/// Maximum number of keys or versions on a page.
const MAX_LIMIT: usize = 5000;

/// A query parameter is out of range or malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The query parameter `{name}` must be: {must_be}")]
pub struct InvalidQuery {
    /// Name of the parameter; empty for the query as a whole.
    pub name: &'static str,
    /// What a valid value is, as the end of a sentence "must be …".
    pub must_be: &'static str,
    /// Whether the API defines the parameter and this service does not offer it.
    pub not_offered: bool,
}

impl InvalidQuery {
    const fn new(name: &'static str, must_be: &'static str) -> Self {
        Self { name, must_be, not_offered: false }
    }

    /// Reason code that clients see.
    #[must_use]
    pub const fn code(&self) -> ReasonCode {
        if self.not_offered { ReasonCode::NotOffered } else { ReasonCode::InvalidQueryParam }
    }
}

/// A property to sort keys by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortBy {
    /// The property.
    pub property: SortProperty,
    /// Whether the largest value comes first.
    pub descending: bool,
}

macro_rules! sort_properties {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        /// Properties by which keys can be sorted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum SortProperty { $($(#[$doc])* $name,)+ }

        impl SortProperty {
            fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

sort_properties! {
    /// `id`: the key's UUID.
    Id = "id";
    /// `state`: the number of the state.
    State = "state";
    /// `extractable`: root keys before standard keys.
    Extractable = "extractable";
    /// `imported`: generated keys before imported keys.
    Imported = "imported";
    /// `creationDate`: time of creation.
    CreationDate = "creationDate";
    /// `lastUpdateDate`: time of the last change.
    LastUpdateDate = "lastUpdateDate";
    /// `lastRotateDate`: time of the last rotation.
    LastRotateDate = "lastRotateDate";
    /// `deletionDate`: time of deletion.
    DeletionDate = "deletionDate";
    /// `expirationDate`: time at which the key is deactivated.
    ExpirationDate = "expirationDate";
}

/// The query of `GET /keys` and `HEAD /keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Maximum number of keys on the page.
    pub limit: usize,
    /// Number of keys to skip.
    pub offset: usize,
    /// States to include; absent means all except 5.
    pub states: Option<Vec<u8>>,
    /// Include only keys with this value of `extractable`.
    pub extractable: Option<bool>,
    /// Sort order; empty means by identifier.
    pub sort: Vec<SortBy>,
}

impl ListQuery {
    /// Decodes a query string. Parameters that the API does not define are ignored.
    ///
    /// # Errors
    /// [`InvalidQuery`].
    pub fn decode(query: &str) -> Result<Self, InvalidQuery> {
        let parameters = Parameters::of(query)?;
        // Go writes a blank before a filter and a comma after a search, even if there is nothing else.
        let asked =
            |name| Ok(!parameters.take(name)?.unwrap_or_default().trim_matches([' ', ',']).is_empty());
        for name in ["search", "filter"] {
            if asked(name)? {
                return Err(InvalidQuery {
                    name,
                    must_be: "absent: not offered by this service",
                    not_offered: true,
                });
            }
        }
        Ok(Self {
            limit: parameters.limit()?,
            offset: parameters.offset()?,
            states: parameters.take("state")?.map(states).transpose()?,
            extractable: parameters.flag("extractable")?,
            sort: parameters.take("sort")?.map_or(Ok(Vec::new()), sort)?,
        })
    }
}

/// The query of `GET /keys/{key}/versions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionsQuery {
    /// Maximum number of versions on the page.
    pub limit: usize,
    /// Number of versions to skip.
    pub offset: usize,
    /// Whether the response has the total number of versions.
    pub total_count: bool,
    /// Whether the key may be in any state.
    pub all_key_states: bool,
}

impl VersionsQuery {
    /// Decodes a query string. Parameters that the API does not define are ignored.
    ///
    /// # Errors
    /// [`InvalidQuery`].
    pub fn decode(query: &str) -> Result<Self, InvalidQuery> {
        let parameters = Parameters::of(query)?;
        Ok(Self {
            limit: parameters.limit()?,
            offset: parameters.offset()?,
            total_count: parameters.flag("totalCount")?.unwrap_or(false),
            all_key_states: parameters.flag("allKeyStates")?.unwrap_or(false),
        })
    }
}

/// The parameter `action` of the deprecated `POST /keys/{key}?action=…`, if there is one.
///
/// # Errors
/// [`InvalidQuery`].
pub fn action(query: &str) -> Result<Option<String>, InvalidQuery> {
    Ok(Parameters::of(query)?.take("action")?.map(shortened))
}

/// A boolean parameter, such as `force`; absent means false.
///
/// # Errors
/// [`InvalidQuery`].
pub fn flag(query: &str, name: &'static str) -> Result<Option<bool>, InvalidQuery> {
    Parameters::of(query)?.flag(name)
}

struct Parameters(Vec<(String, Zeroizing<String>)>);

impl Parameters {
    fn of(query: &str) -> Result<Self, InvalidQuery> {
        form::pairs(query).map(Self).ok_or(InvalidQuery::new("", "percent-encoded UTF-8"))
    }

    /// The value of a parameter. An empty one is the same as absent: Python sends `state=` with every list.
    fn take(&self, name: &'static str) -> Result<Option<&str>, InvalidQuery> {
        let given = self.0.iter().filter(|(given, value)| given == name && !value.is_empty());
        let mut values = given.map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(InvalidQuery::new(name, "given once")),
        }
    }

    fn limit(&self) -> Result<usize, InvalidQuery> {
        let limit = self.take("limit")?.map_or(Some(DEFAULT_LIMIT), |text| text.parse().ok());
        let in_range = limit.filter(|limit| (1..=MAX_LIMIT).contains(limit));
        in_range.ok_or(InvalidQuery::new("limit", "an integer between 1 and 5000 (inclusive)"))
    }

    fn offset(&self) -> Result<usize, InvalidQuery> {
        let offset = self.take("offset")?.map_or(Some(0), |text| text.parse().ok());
        offset.ok_or(InvalidQuery::new("offset", "an integer of at least 0"))
    }

    /// Python writes `True`.
    fn flag(&self, name: &'static str) -> Result<Option<bool>, InvalidQuery> {
        match self.take(name)? {
            None => Ok(None),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(_) => Err(InvalidQuery::new(name, "true or false")),
        }
    }
}

fn states(text: &str) -> Result<Vec<u8>, InvalidQuery> {
    let known = |item: &str| match item {
        "0" => Some(0),
        "1" => Some(1),
        "2" => Some(2),
        "3" => Some(3),
        "5" => Some(5),
        _ => None,
    };
    let states: Option<Vec<u8>> = text.split(',').map(known).collect();
    states.ok_or(InvalidQuery::new("state", "a list of 0, 1, 2, 3 and 5, separated by commas"))
}

fn sort(text: &str) -> Result<Vec<SortBy>, InvalidQuery> {
    const MUST_BE: &str =
        "a list of properties of a key, separated by commas, each once, `-` before it for descending";
    let mut order: Vec<SortBy> = Vec::new();
    for item in text.split(',') {
        let (name, descending) = item.strip_prefix('-').map_or((item, false), |name| (name, true));
        let property = SortProperty::from_name(name).ok_or(InvalidQuery::new("sort", MUST_BE))?;
        if order.iter().any(|by| by.property == property) {
            return Err(InvalidQuery::new("sort", MUST_BE));
        }
        order.push(SortBy { property, descending });
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::{ListQuery, SortBy, SortProperty, VersionsQuery};

    #[test]
    fn reads_what_clients_ask() {
        let all =
            ListQuery::decode("limit=2000&offset=200&state=1,5&extractable=True&sort=-creationDate,id&x=1");
        let expected = ListQuery {
            limit: 2000,
            offset: 200,
            states: Some(vec![1, 5]),
            extractable: Some(true),
            sort: vec![
                SortBy { property: SortProperty::CreationDate, descending: true },
                SortBy { property: SortProperty::Id, descending: false },
            ],
        };
        assert_eq!(all.unwrap(), expected);
        for query in ["", "state=", "limit=&state=&extractable=&sort="] {
            let plain = ListQuery::decode(query).unwrap();
            assert_eq!((plain.limit, plain.offset, plain.states, plain.sort.len()), (200, 0, None, 0));
        }
        assert!(VersionsQuery::decode("allKeyStates=TRUE").unwrap().all_key_states);
        assert_eq!(ListQuery::decode("offset=9223372036854775807").unwrap().offset, 0x7fff_ffff_ffff_ffff);
    }

    #[test]
    fn refuses_by_name() {
        for (query, name) in [
            ("limit=0", "limit"),
            ("limit=5001", "limit"),
            ("limit=1&limit=2", "limit"),
            ("offset=-1", "offset"),
            ("state=4", "state"),
            ("state=1, 2", "state"),
            ("extractable=maybe", "extractable"),
            ("sort=name", "sort"),
            ("sort=id,-id", "sort"),
            ("search=x", "search"),
            ("filter=%20state%3D1", "filter"),
            ("a=%zz", ""),
        ] {
            assert_eq!(ListQuery::decode(query).unwrap_err().name, name, "{query}");
        }
        assert!(ListQuery::decode("search=,&filter=%20").is_ok());
    }
}
