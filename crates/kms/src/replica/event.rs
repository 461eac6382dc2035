//! What a source tells its mirror, and how that is encoded.

use std::fmt;

use keystore::{
    Bytes, Key, MAX_KEY_LEN, MAX_KEYS_PER_TXN, MAX_PAGE_ENTRIES, MAX_VALUE_LEN, Revision, SECRET_LEN, Secret,
    SecretId, StoreIdentity,
};
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use super::digest::Digest;
use super::secrets::secrets_named;
use super::{EventError, SourcePosition};
use crate::layout;

const FORMAT: u8 = 1;
/// Longest encoded event, in bytes: a page of a store, with the secrets that it names.
pub const MAX_EVENT_LEN: usize = 2 * 1024 * 1024;

/// One message of a source.
///
/// All but the first three say which revision they follow, so that none can be left out unnoticed.
#[derive(Debug)]
pub enum Event {
    /// A full copy of the source begins, as it is at this revision.
    CopyBegins {
        /// The revision.
        at: SourcePosition,
        /// Why everything is copied.
        why: CopyReason,
    },
    /// A part of the copy.
    CopyPage(CopyPage),
    /// The copy is complete. Transactions after the revision follow.
    CopyEnds {
        /// The revision of the copy.
        at: SourcePosition,
    },
    /// A transaction of the source.
    Txn(SourceTxn),
    /// The source has no other change up to a revision.
    Progress {
        /// The revision that the mirror has to have reached before.
        after: Revision,
        /// All changes up to this revision were sent.
        at: SourcePosition,
        /// The newest revision of the source.
        newest: Revision,
        /// The source's time at which that was its newest revision, in milliseconds since 1970.
        time_ms: u64,
    },
    /// The source's digest, for a comparison.
    Digest {
        /// The revision of the digest, which the mirror has to have reached, and not passed.
        at: SourcePosition,
        /// The digest of the source.
        digest: Digest,
    },
}

/// Why a source copies everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyReason {
    /// The mirror has no position.
    FirstTime,
    /// The mirror's position is of another store, or of a time that the source has lost.
    OtherStore,
    /// The source no longer keeps the changes since the mirror's position.
    Compacted,
}

/// The entries of a range, in ascending order of their keys, and the secrets that they name.
pub struct CopyPage {
    /// First key of the range.
    pub from: Key,
    /// End of the range, exclusive.
    pub until: Key,
    /// All entries of the range.
    pub entries: Vec<CopiedEntry>,
    /// The secrets that records of keys in this page name, in ascending order.
    pub secrets: Vec<NamedSecret>,
}

/// A key and its value.
#[derive(Clone, PartialEq, Eq)]
pub struct CopiedEntry {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Bytes,
}

/// A transaction of the source, as far as it is replicated.
pub struct SourceTxn {
    /// The revision that the mirror has to have reached before.
    pub after: Revision,
    /// The revision of the transaction.
    pub at: SourcePosition,
    /// Changed keys in ascending order, at most [`MAX_KEYS_PER_TXN`]; never empty.
    pub changes: Vec<SourceChange>,
    /// The secrets that written records of keys name, in ascending order.
    pub secrets: Vec<NamedSecret>,
}

/// The change of one key.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceChange {
    /// The key.
    pub key: Key,
    /// The new value; `None` if the key was deleted.
    pub value: Option<Bytes>,
}

/// A secret that a value names.
#[derive(Debug)]
pub struct NamedSecret {
    /// The identifier that the value names.
    pub id: SecretId,
    /// The secret; `None` if the source has erased it meanwhile. The deletion of the value follows.
    pub secret: Option<Secret>,
}

impl Event {
    /// Format number ‖ postcard of the event. The buffer is wiped when it is dropped, and never grows.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(vec![0; self.max_len()]);
        let (front, rest) = bytes.split_first_mut().expect("an event has at least one byte");
        *front = FORMAT;
        let body =
            postcard::to_slice(&WireEvent::from(self), rest).expect("the buffer holds the longest form");
        let len = 1 + body.len();
        bytes.truncate(len);
        bytes
    }

    /// Decodes an event that anyone may have sent. Allocates as much as the bytes have, and at most a mebibyte more.
    ///
    /// # Errors
    /// [`EventError`] for every event that [`Self::encode`] does not make of a valid one.
    pub fn decode(bytes: &[u8]) -> Result<Self, EventError> {
        if bytes.len() > MAX_EVENT_LEN {
            return Err(EventError::TooLong { len: bytes.len() });
        }
        let (&found, body) = bytes.split_first().ok_or(EventError::Malformed)?;
        if found != FORMAT {
            return Err(EventError::Format { found, expected: FORMAT });
        }
        let event = match postcard::take_from_bytes::<WireEvent<'_>>(body) {
            Ok((event, [])) => event.into_event()?,
            _ => return Err(EventError::Malformed),
        };
        event.check()?;
        Ok(event)
    }

    /// Checks names, order, limits, and that the secrets are those that the values name.
    pub(super) fn check(&self) -> Result<(), EventError> {
        match self {
            Self::CopyPage(page) => page.check(),
            Self::Txn(txn) => txn.check(),
            Self::CopyBegins { .. } | Self::CopyEnds { .. } | Self::Progress { .. } | Self::Digest { .. } => {
                Ok(())
            }
        }
    }

    fn max_len(&self) -> usize {
        // Positions, hashes and numbers; then each list with the lengths of its parts.
        const FIXED: usize = 128;
        const PER_PART: usize = 16;
        let secrets = |secrets: &[NamedSecret]| secrets.len() * (SECRET_LEN + PER_PART);
        match self {
            Self::CopyPage(CopyPage { from, until, entries, secrets: named }) => {
                let entries = entries.iter().map(|entry| entry.key.0.len() + entry.value.len() + PER_PART);
                FIXED + from.0.len() + until.0.len() + entries.sum::<usize>() + secrets(named)
            }
            Self::Txn(SourceTxn { changes, secrets: named, .. }) => {
                let value_len = |change: &SourceChange| change.value.as_ref().map_or(0, |value| value.len());
                let changes = changes.iter().map(|change| change.key.0.len() + value_len(change) + PER_PART);
                FIXED + changes.sum::<usize>() + secrets(named)
            }
            Self::CopyBegins { .. } | Self::CopyEnds { .. } | Self::Progress { .. } | Self::Digest { .. } => {
                FIXED
            }
        }
    }
}

impl CopyPage {
    fn check(&self) -> Result<(), EventError> {
        if self.entries.len() > MAX_PAGE_ENTRIES {
            return Err(EventError::TooLarge);
        }
        let span = layout::replicated();
        let is_within = |key: &Key| *key >= self.from && *key < self.until;
        if self.from < span.start || self.until > span.end || !self.entries.iter().all(|e| is_within(&e.key))
        {
            return Err(EventError::Order);
        }
        check_names(self.entries.iter().map(|entry| &entry.key))?;
        let values = || self.entries.iter().map(|entry| (&entry.key, &entry.value));
        check_values(values())?;
        check_secrets(&self.secrets, values())
    }
}

impl SourceTxn {
    fn check(&self) -> Result<(), EventError> {
        if self.changes.len() > MAX_KEYS_PER_TXN || self.changes.is_empty() {
            return Err(EventError::TooLarge);
        }
        if self.after >= self.at.revision {
            return Err(EventError::Order);
        }
        check_names(self.changes.iter().map(|change| &change.key))?;
        let values = || self.changes.iter().filter_map(|change| Some((&change.key, change.value.as_ref()?)));
        check_values(values())?;
        check_secrets(&self.secrets, values())
    }
}

fn check_names<'a>(names: impl Iterator<Item = &'a Key>) -> Result<(), EventError> {
    let mut before: Option<&Key> = None;
    for name in names {
        if !layout::is_replicated(name) {
            return Err(EventError::NotReplicated);
        }
        if name.0.len() > MAX_KEY_LEN {
            return Err(EventError::TooLarge);
        }
        if before.is_some_and(|before| before >= name) {
            return Err(EventError::Order);
        }
        before = Some(name);
    }
    Ok(())
}

fn check_values<'a>(mut values: impl Iterator<Item = (&'a Key, &'a Bytes)>) -> Result<(), EventError> {
    if values.any(|(_, value)| value.len() > MAX_VALUE_LEN) { Err(EventError::TooLarge) } else { Ok(()) }
}

fn check_secrets<'a>(
    secrets: &[NamedSecret],
    values: impl Iterator<Item = (&'a Key, &'a Bytes)>,
) -> Result<(), EventError> {
    let named = secrets_named(values);
    if secrets.iter().map(|secret| secret.id).eq(named.into_keys()) {
        Ok(())
    } else {
        Err(EventError::Secrets)
    }
}

/// The events as sent. New kinds are appended; a new field needs a new format number.
#[derive(Serialize, Deserialize)]
enum WireEvent<'a> {
    CopyBegins {
        at: WirePosition,
        why: WireReason,
    },
    CopyPage {
        #[serde(borrow)]
        from: Raw<'a>,
        until: Raw<'a>,
        entries: Vec<(Raw<'a>, Raw<'a>)>,
        secrets: Vec<(u64, Option<Raw<'a>>)>,
    },
    CopyEnds {
        at: WirePosition,
    },
    Txn {
        after: u64,
        at: WirePosition,
        changes: Vec<(Raw<'a>, Option<Raw<'a>>)>,
        secrets: Vec<(u64, Option<Raw<'a>>)>,
    },
    Progress {
        after: u64,
        at: WirePosition,
        newest: u64,
        time_ms: u64,
    },
    Digest {
        at: WirePosition,
        sha256: [u8; 32],
        entries: u64,
    },
}

/// Identity and revision.
#[derive(Serialize, Deserialize)]
struct WirePosition([u8; 16], u64);

#[derive(Serialize, Deserialize)]
enum WireReason {
    FirstTime,
    OtherStore,
    Compacted,
}

/// Bytes where they are.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowed;
        impl<'de> Visitor<'de> for Borrowed {
            type Value = &'de [u8];
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<&'de [u8], E> {
                Ok(bytes)
            }
            fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<&'de [u8], E> {
                Err(E::custom("bytes that are not borrowed"))
            }
        }
        deserializer.deserialize_bytes(Borrowed).map(Raw).map_err(|_| D::Error::custom("bytes"))
    }
}

impl<'a> Raw<'a> {
    fn of(bytes: &'a Bytes) -> Self {
        Raw(bytes)
    }

    fn key(&self) -> Key {
        Key::from(self.0)
    }
}

impl From<SourcePosition> for WirePosition {
    fn from(at: SourcePosition) -> Self {
        Self(at.source.0, at.revision.0)
    }
}

impl From<WirePosition> for SourcePosition {
    fn from(WirePosition(source, revision): WirePosition) -> Self {
        Self { source: StoreIdentity(source), revision: Revision(revision) }
    }
}

fn wire_secrets(secrets: &[NamedSecret]) -> Vec<(u64, Option<Raw<'_>>)> {
    secrets
        .iter()
        .map(|named| (named.id.0, named.secret.as_ref().map(|secret| Raw(secret.expose()))))
        .collect()
}

fn named_secrets(secrets: Vec<(u64, Option<Raw<'_>>)>) -> Result<Vec<NamedSecret>, EventError> {
    let named = |(id, secret): (u64, Option<Raw<'_>>)| {
        let secret = match secret {
            Some(Raw(bytes)) => Some(Secret::copy_of(bytes.try_into().map_err(|_| EventError::Malformed)?)),
            None => None,
        };
        Ok(NamedSecret { id: SecretId(id), secret })
    };
    secrets.into_iter().map(named).collect()
}

impl<'a> From<&'a Event> for WireEvent<'a> {
    fn from(event: &'a Event) -> Self {
        match event {
            Event::CopyBegins { at, why } => Self::CopyBegins { at: (*at).into(), why: (*why).into() },
            Event::CopyPage(page) => Self::CopyPage {
                from: Raw::of(&page.from.0),
                until: Raw::of(&page.until.0),
                entries: page.entries.iter().map(|e| (Raw::of(&e.key.0), Raw::of(&e.value))).collect(),
                secrets: wire_secrets(&page.secrets),
            },
            Event::CopyEnds { at } => Self::CopyEnds { at: (*at).into() },
            Event::Txn(txn) => Self::Txn {
                after: txn.after.0,
                at: txn.at.into(),
                changes: txn
                    .changes
                    .iter()
                    .map(|c| (Raw::of(&c.key.0), c.value.as_ref().map(Raw::of)))
                    .collect(),
                secrets: wire_secrets(&txn.secrets),
            },
            Event::Progress { after, at, newest, time_ms } => {
                Self::Progress { after: after.0, at: (*at).into(), newest: newest.0, time_ms: *time_ms }
            }
            Event::Digest { at, digest: Digest { sha256, entries } } => {
                Self::Digest { at: (*at).into(), sha256: *sha256, entries: *entries }
            }
        }
    }
}

impl WireEvent<'_> {
    fn into_event(self) -> Result<Event, EventError> {
        Ok(match self {
            Self::CopyBegins { at, why } => Event::CopyBegins { at: at.into(), why: why.into() },
            Self::CopyPage { from, until, entries, secrets } => {
                let entry =
                    |(key, value): (Raw<'_>, Raw<'_>)| CopiedEntry { key: key.key(), value: value.0.into() };
                Event::CopyPage(CopyPage {
                    from: from.key(),
                    until: until.key(),
                    entries: entries.into_iter().map(entry).collect(),
                    secrets: named_secrets(secrets)?,
                })
            }
            Self::CopyEnds { at } => Event::CopyEnds { at: at.into() },
            Self::Txn { after, at, changes, secrets } => {
                let change = |(key, value): (Raw<'_>, Option<Raw<'_>>)| SourceChange {
                    key: key.key(),
                    value: value.map(|value| value.0.into()),
                };
                Event::Txn(SourceTxn {
                    after: Revision(after),
                    at: at.into(),
                    changes: changes.into_iter().map(change).collect(),
                    secrets: named_secrets(secrets)?,
                })
            }
            Self::Progress { after, at, newest, time_ms } => {
                Event::Progress { after: Revision(after), at: at.into(), newest: Revision(newest), time_ms }
            }
            Self::Digest { at, sha256, entries } => {
                Event::Digest { at: at.into(), digest: Digest { sha256, entries } }
            }
        })
    }
}

impl From<CopyReason> for WireReason {
    fn from(why: CopyReason) -> Self {
        match why {
            CopyReason::FirstTime => Self::FirstTime,
            CopyReason::OtherStore => Self::OtherStore,
            CopyReason::Compacted => Self::Compacted,
        }
    }
}

impl From<WireReason> for CopyReason {
    fn from(why: WireReason) -> Self {
        match why {
            WireReason::FirstTime => Self::FirstTime,
            WireReason::OtherStore => Self::OtherStore,
            WireReason::Compacted => Self::Compacted,
        }
    }
}

/// Range and numbers only.
impl fmt::Debug for CopyPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyPage")
            .field("from", &self.from)
            .field("until", &self.until)
            .field("entries", &self.entries.len())
            .field("secrets", &self.secrets.len())
            .finish()
    }
}

/// Revisions and numbers only.
impl fmt::Debug for SourceTxn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceTxn")
            .field("after", &self.after)
            .field("at", &self.at)
            .field("changes", &self.changes.len())
            .field("secrets", &self.secrets.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        CopiedEntry, CopyPage, CopyReason, Event, MAX_EVENT_LEN, NamedSecret, SourceChange, SourceTxn,
    };
    use crate::replica::{Digest, EventError, SourcePosition};
    use crate::{InstanceId, KeyId, layout};
    use keystore::{Key, Revision, Secret, SecretId, StoreIdentity};
    use proptest::prelude::*;
    use uuid::Uuid;

    const AT: SourcePosition = SourcePosition { source: StoreIdentity([0xab; 16]), revision: Revision(300) };

    fn record() -> Key {
        layout::record(InstanceId(Uuid::from_u128(1)), KeyId(Uuid::from_u128(2)))
    }

    /// A value that names secret 2 of slot 1.
    const VALUE: [u8; 10] = [3, 0, 0, 0, 1, 0, 0, 0, 2, 9];

    fn samples() -> Vec<Event> {
        let named = |secret| NamedSecret { id: SecretId(1 << 32 | 2), secret };
        let (from, until) = (layout::replicated().start, layout::replicated().end);
        let entries = vec![
            CopiedEntry { key: record(), value: VALUE[..].into() },
            CopiedEntry { key: layout::meta(), value: [7][..].into() },
        ];
        let page = CopyPage { from, until, entries, secrets: vec![named(Some(Secret::copy_of(&[5; 32])))] };
        let changes = vec![
            SourceChange { key: record(), value: Some(VALUE[..].into()) },
            SourceChange { key: layout::meta(), value: None },
        ];
        let txn = SourceTxn { after: Revision(200), at: AT, changes, secrets: vec![named(None)] };
        vec![
            Event::CopyBegins { at: AT, why: CopyReason::Compacted },
            Event::CopyPage(page),
            Event::CopyEnds { at: AT },
            Event::Txn(txn),
            Event::Progress { after: Revision(1), at: AT, newest: Revision(301), time_ms: 5 },
            Event::Digest { at: AT, digest: Digest { sha256: [6; 32], entries: 4 } },
        ]
    }

    /// Regions of different versions depend on these bytes.
    #[test]
    fn wire_events_are_the_documented_ones() {
        let at = [&[0xab; 16][..], &[0xac, 2]].concat();
        let key = [&[record().0.len() as u8][..], &record().0].concat();
        let value = [&[10][..], &VALUE].concat();
        let id = [0x82, 0x80, 0x80, 0x80, 0x10];
        let list = |parts: &[&[u8]]| parts.concat();
        let expected = [
            list(&[&[1, 0], &at, &[2]]),
            list(&[
                &[1, 1, 5],
                b"v1/i/",
                &[8],
                b"v1/meta\0",
                &[2],
                &key,
                &value,
                &[7],
                b"v1/meta",
                &[1, 7],
                &[1],
                &id,
                &[1, 32],
                &[5; 32],
            ]),
            list(&[&[1, 2], &at]),
            list(&[&[1, 3, 0xc8, 1], &at, &[2], &key, &[1], &value, &[7], b"v1/meta", &[0], &[1], &id, &[0]]),
            list(&[&[1, 4, 1], &at, &[0xad, 2, 5]]),
            list(&[&[1, 5], &at, &[6; 32], &[4]]),
        ];
        for (event, expected) in samples().iter().zip(&expected) {
            assert_eq!(*event.encode(), *expected, "{event:?}");
            assert_eq!(*Event::decode(expected).unwrap().encode(), *expected);
            for cut in 0..expected.len() {
                assert!(Event::decode(&expected[..cut]).is_err(), "{event:?} cut at {cut}");
            }
            assert_eq!(Event::decode(&[&expected[..], &[0]].concat()).unwrap_err(), EventError::Malformed);
        }
        let newer = EventError::Format { found: 2, expected: 1 };
        assert_eq!(Event::decode(&[2, 2]).unwrap_err(), newer);
        let long = EventError::TooLong { len: MAX_EVENT_LEN + 1 };
        assert_eq!(Event::decode(&vec![1; MAX_EVENT_LEN + 1]).unwrap_err(), long);
    }

    #[test]
    fn a_claimed_length_is_not_allocated() {
        // A page, and a transaction, with 2^60 entries.
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f];
        let page = [&[1, 1, 5][..], b"v1/i/", &[8], b"v1/meta\0", &most].concat();
        let txn = [&[1, 3, 1][..], &[0xab; 16], &[2], &most].concat();
        let bytes = [&[1, 1][..], &most].concat();
        for event in [page, txn, bytes] {
            assert_eq!(Event::decode(&event).unwrap_err(), EventError::Malformed);
        }
    }

    #[test]
    fn an_event_shows_no_secret_and_no_value() {
        let shown = format!("{:?}", samples());
        assert!(!shown.contains("5, 5, 5") && !shown.contains("3, 0, 0, 0"), "{shown}");
    }

    proptest! {
        #[test]
        fn prop_any_bytes_decode_or_are_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            sample in 0..6_usize,
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let _ = Event::decode(&bytes);
            let _ = Event::decode(&[&[1][..], &bytes].concat());
            let mut changed = samples().remove(sample).encode().to_vec();
            let at = at.index(changed.len());
            changed[at] = byte;
            // What decodes, means what it was encoded from.
            if let Ok(event) = Event::decode(&changed) {
                prop_assert!(Event::decode(&event.encode()).is_ok());
            }
        }
    }
}
