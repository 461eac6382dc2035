//! The rules for fields of requests.

use jiff::Timestamp;
use uuid::Uuid;

use crate::{Field, FieldRule, KeyKind, KmsError, NewKey, Payload};

const NAME: (usize, usize) = (2, 90);
const DESCRIPTION: (usize, usize) = (2, 240);
const MAX_TAGS: usize = 30;
const TAG: (usize, usize) = (1, 30);
const ALIAS: (usize, usize) = (2, 90);
/// Most aliases of one key.
pub(crate) const MAX_ALIASES: usize = 5;
/// Longest material of a standard key, in bytes.
pub(crate) const MAX_STANDARD_LEN: usize = 7500;

/// Words in the API's paths, at positions where an alias is possible.
const RESERVED: [&str; 16] = [
    "allowed_ip",
    "key",
    "keys",
    "metadata",
    "policy",
    "policies",
    "registration",
    "registrations",
    "ring",
    "rings",
    "rotate",
    "wrap",
    "unwrap",
    "rewrap",
    "version",
    "versions",
];

const fn invalid(field: Field, rule: FieldRule) -> KmsError {
    KmsError::InvalidField { field, rule }
}

fn check_chars(field: Field, text: &str, (min, max): (usize, usize)) -> Result<(), KmsError> {
    let found = text.chars().count();
    if (min..=max).contains(&found) {
        Ok(())
    } else {
        Err(invalid(field, FieldRule::Characters { min, max, found }))
    }
}

pub(crate) fn check_alias(alias: &str) -> Result<(), KmsError> {
    check_chars(Field::Aliases, alias, ALIAS)?;
    if !alias.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        return Err(invalid(Field::Aliases, FieldRule::AliasAlphabet));
    }
    if RESERVED.contains(&alias) || Uuid::try_parse(alias).is_ok() {
        return Err(invalid(Field::Aliases, FieldRule::NotReserved));
    }
    Ok(())
}

fn check_aliases(aliases: &[String]) -> Result<(), KmsError> {
    let found = aliases.len();
    if found > MAX_ALIASES {
        return Err(invalid(Field::Aliases, FieldRule::Entries { max: MAX_ALIASES, found }));
    }
    aliases.iter().try_for_each(|alias| check_alias(alias))?;
    if aliases.iter().enumerate().any(|(i, alias)| aliases.iter().skip(i + 1).any(|other| other == alias)) {
        return Err(invalid(Field::Aliases, FieldRule::Distinct));
    }
    Ok(())
}

fn check_tags(tags: &[String]) -> Result<(), KmsError> {
    let found = tags.len();
    if found > MAX_TAGS {
        return Err(invalid(Field::Tags, FieldRule::Entries { max: MAX_TAGS, found }));
    }
    tags.iter().try_for_each(|tag| {
        check_chars(Field::Tags, tag, TAG)?;
        if tag.contains(['<', '>', ',', ':', '&', '|']) {
            return Err(invalid(Field::Tags, FieldRule::TagAlphabet));
        }
        Ok(())
    })
}

/// Checks the length, and that not all bytes are zero. The time depends on the length alone.
pub(crate) fn check_payload(kind: KeyKind, payload: &Payload) -> Result<(), KmsError> {
    let bytes = payload.expose();
    let found = bytes.len();
    match kind {
        KeyKind::Root if !matches!(found, 16 | 24 | 32) => {
            return Err(invalid(Field::Payload, FieldRule::RootKeyLen { found }));
        }
        KeyKind::Standard if !(1..=MAX_STANDARD_LEN).contains(&found) => {
            return Err(invalid(Field::Payload, FieldRule::Bytes { min: 1, max: MAX_STANDARD_LEN, found }));
        }
        KeyKind::Root | KeyKind::Standard => {}
    }
    if bytes.iter().fold(0, |any, byte| any | byte) == 0 {
        return Err(invalid(Field::Payload, FieldRule::NotAllZero));
    }
    Ok(())
}

impl NewKey {
    pub(crate) fn check(&self, now: Timestamp) -> Result<(), KmsError> {
        check_chars(Field::Name, &self.name, NAME)?;
        if let Some(description) = &self.description {
            check_chars(Field::Description, description, DESCRIPTION)?;
        }
        check_aliases(&self.aliases)?;
        check_tags(&self.tags)?;
        if self.expires_at.is_some_and(|at| at <= now) {
            return Err(invalid(Field::ExpirationDate, FieldRule::Future));
        }
        self.payload.as_ref().map_or(Ok(()), |payload| check_payload(self.kind, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::{RESERVED, check_alias, check_payload};
    use crate::{FieldRule, KeyKind, KmsError, NewKey, Payload};
    use jiff::{SignedDuration, Timestamp};

    fn rule(result: Result<(), KmsError>) -> Option<FieldRule> {
        match result {
            Ok(()) => None,
            Err(KmsError::InvalidField { rule, .. }) => Some(rule),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn aliases() {
        for good in ["ab", "A-b_9", "Wrap", &"a".repeat(90)] {
            assert_eq!(rule(check_alias(good)), None, "{good}");
        }
        for short_or_long in ["a", "", &"a".repeat(91)] {
            assert!(matches!(rule(check_alias(short_or_long)), Some(FieldRule::Characters { .. })));
        }
        for alphabet in ["a b", "a/b", "äö"] {
            assert_eq!(rule(check_alias(alphabet)), Some(FieldRule::AliasAlphabet));
        }
        let uuid = "7c44b60d-a3f2-4e26-a0f1-11a1c6bb3c6e";
        for reserved in RESERVED.into_iter().chain([uuid, &uuid.replace('-', "")]) {
            assert_eq!(rule(check_alias(reserved)), Some(FieldRule::NotReserved), "{reserved}");
        }
    }

    #[test]
    fn payloads() {
        for len in 0..=64 {
            let root = rule(check_payload(KeyKind::Root, &Payload::new(vec![1; len])));
            let expected = (![16, 24, 32].contains(&len)).then_some(FieldRule::RootKeyLen { found: len });
            assert_eq!(root, expected);
        }
        for (len, fits) in [(0, false), (1, true), (7500, true), (7501, false)] {
            let standard = rule(check_payload(KeyKind::Standard, &Payload::new(vec![1; len])));
            assert_eq!(standard.is_none(), fits, "{len}");
        }
        let zeros = rule(check_payload(KeyKind::Root, &Payload::new(vec![0; 32])));
        assert_eq!(zeros, Some(FieldRule::NotAllZero));
    }

    #[test]
    fn new_keys() {
        let now = Timestamp::UNIX_EPOCH;
        let good = || NewKey {
            kind: KeyKind::Root,
            name: "ab".into(),
            description: None,
            aliases: vec![],
            tags: vec![],
            expires_at: None,
            payload: None,
        };
        assert_eq!(rule(good().check(now)), None);
        assert!(rule(NewKey { name: "a".into(), ..good() }.check(now)).is_some());
        assert!(rule(NewKey { description: Some("d".into()), ..good() }.check(now)).is_some());
        let twice = NewKey { aliases: vec!["ab".into(), "ab".into()], ..good() };
        assert_eq!(rule(twice.check(now)), Some(FieldRule::Distinct));
        let six = (0..6).map(|i| format!("alias{i}")).collect();
        let found = rule(NewKey { aliases: six, ..good() }.check(now));
        assert_eq!(found, Some(FieldRule::Entries { max: 5, found: 6 }));
        let tagged = NewKey { tags: vec!["a:b".into()], ..good() };
        assert_eq!(rule(tagged.check(now)), Some(FieldRule::TagAlphabet));
        let tagged = NewKey { tags: vec!["t".into(); 31], ..good() };
        assert_eq!(rule(tagged.check(now)), Some(FieldRule::Entries { max: 30, found: 31 }));
        assert_eq!(rule(NewKey { expires_at: Some(now), ..good() }.check(now)), Some(FieldRule::Future));
        let soon = now + SignedDuration::from_secs(1);
        assert_eq!(rule(NewKey { expires_at: Some(soon), ..good() }.check(now)), None);
    }
}
