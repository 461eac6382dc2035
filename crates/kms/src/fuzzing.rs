//! The decoders of stored values, for fuzzing: each function gives any bytes to one of them. Not part of the API.
//!
//! Values in a store are authenticated before they are decoded. The functions therefore authenticate their input, as a bug
//! of this service, or who has the instance secret, could.

use std::sync::OnceLock;

use jiff::Timestamp;
use keystore::{Key, SecretId};
use unit_api::proof::InstanceSecret;
use uuid::Uuid;

use crate::index::{Bucket, Item, Listed};
use crate::invocations::Counts;
use crate::record::{BlobRecord, Record, encode};
use crate::replica::{Event, SourcePosition};
use crate::seal::{InstanceKeys, OwnKey, Sealed, secret_of};
use crate::{InstanceHeader, InstanceId, KeyId, Timers, layout};

const INSTANCE: InstanceId = InstanceId(Uuid::from_u128(7));
const KEY: KeyId = KeyId(Uuid::from_u128(9));

fn keys() -> &'static InstanceKeys {
    static KEYS: OnceLock<InstanceKeys> = OnceLock::new();
    KEYS.get_or_init(|| {
        InstanceKeys::derived_from(InstanceSecret::from_slice(&[7; 32]).expect("a secret has 32 bytes"))
    })
}

fn own_key() -> &'static OwnKey {
    static OWN: OnceLock<OwnKey> = OnceLock::new();
    OWN.get_or_init(|| keys().own_key_of(SecretId(1 << 32 | 2), &[3; keystore::SECRET_LEN]))
}

/// A bucket of the index.
///
/// # Panics
/// If the decoder is wrong.
pub fn index_bucket(data: &[u8]) {
    let place = layout::index(INSTANCE, 5);
    assert!(Bucket::decode(data, &place, keys()).is_err(), "a forged bucket");
    let signed = [data, &keys().header_tag(&place, data)].concat();
    if let Ok(bucket) = Bucket::decode(&signed, &place, keys()) {
        let again = bucket.encode(&place, keys());
        assert_eq!(Bucket::decode(&again, &place, keys()).as_ref(), Ok(&bucket));
        for (item, listed) in bucket.entries() {
            let _ = (item.bucket(), item.record_id(), item.is_counts(), listed.secret(), bucket.listed(item));
        }
        let mut next = bucket.successor();
        if let (Some(item), Some(listed)) = (Item::of(&layout::counts(INSTANCE, KEY)), Listed::of(&signed)) {
            next.set(item, Some(listed));
            next.set(item, None);
        }
    }
    let _ = Item::of(&Key::from(data.to_vec()));
    let _ = layout::bucket_of(&Key::from(data.to_vec()));
}

/// The header of an instance.
///
/// # Panics
/// If the decoder is wrong.
pub fn instance_header(data: &[u8]) {
    let place = layout::header(INSTANCE);
    let signed = [data, &keys().header_tag(&place, data)].concat();
    if let Ok((header, body, tag)) = InstanceHeader::decode(&signed) {
        assert!(keys().header_is_authentic(&place, body, tag));
        let again = header.encode(&place, keys());
        let (read, ..) = InstanceHeader::decode(&again).expect("what was encoded decodes");
        assert_eq!(read.encode(&place, keys()), again);
        let _ = (read.successor(), read.serving(&[]), read.pattern());
    }
    let _ = InstanceHeader::decode(data);
}

/// The record of a key, and a blob record.
///
/// # Panics
/// If a decoder is wrong.
pub fn key_record(data: &[u8]) {
    let place = layout::record(INSTANCE, KEY);
    for kind in [Sealed::Record, Sealed::Blob, Sealed::Blobs, Sealed::Counts] {
        assert!(own_key().open(kind, &place, data).is_err(), "a forged value");
        assert!(keys().open(kind, &place, data).is_err(), "a forged value");
    }
    let _ = (secret_of(data), Listed::of(data), Sealed::of_blob(data));
    if let Ok(record) = Record::decode(data) {
        let again = encode(&record);
        let read = Record::decode(&again).expect("what was encoded decodes");
        assert_eq!(encode(&read), again);
        let timers = Timers::STANDARD;
        for now in [Timestamp::UNIX_EPOCH, Timestamp::MIN, Timestamp::MAX] {
            if let Some(state) = record.state(now, &timers) {
                let _ = record.metadata(KEY, state, now, &timers);
            }
        }
    }
    for kind in [Sealed::Blob, Sealed::Blobs] {
        if let Ok(record) = BlobRecord::decode(kind, data) {
            let (kind, again) = record.encode();
            let read = BlobRecord::decode(kind, &again).expect("what was encoded decodes");
            assert_eq!(read.encode().1, again);
            let _ = read.under([0; 16]);
        }
    }
}

/// The head of a backup and the parts of its body.
///
/// Parts are authenticated before they are decoded. The function therefore authenticates its input, too.
///
/// # Panics
/// If a decoder is wrong.
pub fn backup(data: &[u8]) {
    crate::backup::fuzz(data);
}

/// The counts of a key's versions.
///
/// # Panics
/// If the decoder is wrong.
pub fn counts(data: &[u8]) {
    let Ok(mut counts) = Counts::decode(data) else { return };
    let again = encode(&counts);
    assert_eq!(Counts::decode(&again).as_ref(), Ok(&counts));
    for count in counts.all().collect::<Vec<_>>() {
        let leased = counts.leased(count.version);
        let next = crate::InvocationLimits::STANDARD.next_block(leased);
        assert!(
            leased.saturating_add(next.unwrap_or(0))
                <= leased.max(crate::InvocationLimits::STANDARD.leasable())
        );
        counts.set(count.version, leased);
    }
    assert_eq!(encode(&counts), again, "counts that are set to what they are stay the same");
}

/// What a source sends to its mirror, and how far a mirror has come.
///
/// # Panics
/// If a decoder is wrong.
pub fn replica_event(data: &[u8]) {
    if let Ok(event) = Event::decode(data) {
        let again = event.encode();
        assert!(again.len() <= data.len() + 1024, "an event is longer than what it was decoded from");
        let read = Event::decode(&again).expect("what was encoded decodes");
        assert_eq!(*read.encode(), *again);
        let _ = format!("{event:?}");
    }
    crate::replica::check_position(data);
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(position) = SourcePosition::from_text(text)
    {
        assert_eq!(position.to_text(), text);
    }
}

#[cfg(test)]
mod tests {
    use super::{Bucket, Counts, INSTANCE, Item, KEY, Listed, encode, keys};
    use crate::record::{Lifecycle, Live, Record, Version};
    use crate::replica::{Event, NamedSecret, SourceChange, SourcePosition, SourceTxn};
    use crate::time::Millis;
    use crate::{InstanceHeader, MasterKeyProof, Mode, layout};
    use keystore::{Revision, Secret, SecretId, StoreIdentity};
    use proptest::prelude::*;
    use std::path::{Path, PathBuf};
    use unit_api::VerificationPattern;

    type Target = (&'static str, fn(&[u8]), fn() -> Vec<u8>);
    const TARGETS: [Target; 6] = [
        ("index_bucket", super::index_bucket, bucket_seed),
        ("instance_header", super::instance_header, header_seed),
        ("key_record", super::key_record, record_seed),
        ("counts", super::counts, counts_seed),
        ("backup", super::backup, crate::backup::fuzz_seed),
        ("replica_event", super::replica_event, event_seed),
    ];

    fn unsigned(mut value: Vec<u8>) -> Vec<u8> {
        value.truncate(value.len() - 32);
        value
    }

    fn bucket_seed() -> Vec<u8> {
        let mut bucket = Bucket::default();
        bucket.sequence = 300;
        for place in
            [layout::record(INSTANCE, KEY), layout::counts(INSTANCE, KEY), layout::alias(INSTANCE, &[1; 32])]
        {
            bucket.set(Item::of(&place).unwrap(), Listed::of(&[5; 40]));
        }
        unsigned(bucket.encode(&layout::index(INSTANCE, 5), keys()))
    }

    fn header_seed() -> Vec<u8> {
        let proof = MasterKeyProof {
            pattern: VerificationPattern::from_bytes([1; 32]),
            root_blob: vec![2; 80],
            iv: [3; 12],
            sealed_secret: [4; 48],
            commitment: [5; 32],
            canary_blob: vec![6; 80],
        };
        let generation = Some(crate::header::Generation { born: 1, number: 2 });
        let header =
            InstanceHeader { epoch: 1, mode: Mode::ReadOnly, proof, next: None, generation, handover: None };
        unsigned(header.encode(&layout::header(INSTANCE), keys()))
    }

    fn record_seed() -> Vec<u8> {
        let at = Millis::from(jiff::Timestamp::UNIX_EPOCH);
        let record = Record {
            standard: false,
            imported: true,
            name: "name".into(),
            description: Some("text".into()),
            aliases: vec!["alias".into()],
            tags: vec!["tag".into()],
            expires_at: Some(at),
            created_at: at,
            created_by: "caller".into(),
            updated_at: at,
            rotated_at: Some(at),
            last_action: None,
            lifecycle: Lifecycle::Destroyed { was: Live::Enabled, at, by: "caller".into() },
            versions: vec![Version::new(KEY.first_version(), at)],
            request: [7; 32],
        };
        encode(&record).to_vec()
    }

    fn counts_seed() -> Vec<u8> {
        let mut counts = Counts::default();
        counts.set(KEY.first_version(), 1 << 31);
        encode(&counts).to_vec()
    }

    fn event_seed() -> Vec<u8> {
        let place = layout::record(INSTANCE, KEY);
        let value = [3, 0, 0, 0, 1, 0, 0, 0, 2, 9];
        let id = SecretId(1 << 32 | 2);
        let at = SourcePosition { source: StoreIdentity([0xab; 16]), revision: Revision(300) };
        let txn = SourceTxn {
            after: Revision(200),
            at,
            changes: vec![
                SourceChange { key: place, value: Some(value[..].into()) },
                SourceChange { key: layout::meta(), value: None },
            ],
            secrets: vec![NamedSecret { id, secret: Some(Secret::copy_of(&[5; 32])) }],
        };
        Event::Txn(txn).encode().to_vec()
    }

    fn folder(target: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpora").join(target)
    }

    /// With `HSM_SIM_BLESS` the seeds are written first.
    #[test]
    fn the_corpora_are_read_as_they_were() {
        for (target, body, seed) in TARGETS {
            let folder = folder(target);
            if std::env::var_os("HSM_SIM_BLESS").is_some() {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join("seed"), seed()).unwrap();
            }
            assert_eq!(
                std::fs::read(folder.join("seed")).unwrap(),
                seed(),
                "{target} is written in another way today"
            );
            for file in std::fs::read_dir(folder).unwrap() {
                body(&std::fs::read(file.unwrap().path()).unwrap());
            }
        }
    }

    proptest! {
        #[test]
        fn prop_any_bytes_decode_or_are_refused(data in prop::collection::vec(any::<u8>(), 0..300)) {
            for (_, body, _) in TARGETS {
                body(&data);
            }
        }

        #[test]
        fn prop_changed_values_decode_or_are_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            for (_, body, seed) in TARGETS {
                let mut data = seed();
                for (at, byte) in &changes {
                    let at = at.index(data.len());
                    data[at] = *byte;
                }
                body(&data);
                data.truncate(changes[0].0.index(data.len()));
                body(&data);
            }
        }
    }
}
