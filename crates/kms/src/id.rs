//! Names of instances, keys and key versions.

use std::fmt;
use uuid::Uuid;

macro_rules! uuid_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        /// In lower case with hyphens, 36 characters.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    };
}

uuid_name! {
    /// A service instance: one customer's keys under one master key.
    InstanceId
}

uuid_name! {
    /// A key of an instance. Never changes.
    KeyId
}

uuid_name! {
    /// A version of a key. The first version's id equals the key's.
    VersionId
}

impl KeyId {
    /// The id of this key's first version.
    #[must_use]
    pub const fn first_version(self) -> VersionId {
        VersionId(self.0)
    }
}

/// How a caller names a key: by id or by an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRef {
    /// By id.
    Id(KeyId),
    /// By alias, case-sensitive. No alias is a UUID, so that the two never meet.
    Alias(String),
}

impl KeyRef {
    /// A UUID of 36 characters is an id, anything else an alias.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match Uuid::try_parse(text) {
            Ok(id) if text.len() == uuid::fmt::Hyphenated::LENGTH => Self::Id(KeyId(id)),
            _ => Self::Alias(text.to_owned()),
        }
    }
}

impl From<KeyId> for KeyRef {
    fn from(id: KeyId) -> Self {
        Self::Id(id)
    }
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Alias(alias) => write!(f, "alias {alias:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyId, KeyRef};
    use uuid::Uuid;

    #[test]
    fn an_id_is_told_from_an_alias() {
        let id = KeyId(Uuid::from_u128(0x1234));
        assert_eq!(KeyRef::parse(&id.to_string()), KeyRef::Id(id));
        assert_eq!(KeyRef::parse("backups"), KeyRef::Alias("backups".into()));
        // 32 digits without hyphens fit an alias's alphabet and are not how an id is written.
        let plain = id.0.simple().to_string();
        assert_eq!(KeyRef::parse(&plain), KeyRef::Alias(plain));
    }
}
