//! Attacks on the stream to a mirror, and on the mirror.

use std::sync::Arc;

use crate::common::fleet::Region;
use crate::common::mirror::Mirror;
use crate::common::{FakeUnit, PATIENCE, op, random, raw};
use keystore::{Key, Revision, SecretId, StoreIdentity};
use kms::replica::{
    Applied, CopiedEntry, CopyPage, Event, EventError, NamedSecret, ReplicaError, SourceChange,
    SourcePosition, SourceTxn,
};
use kms::{KeyKind, Kms, KmsError, KmsOptions, NewKey, Payload};

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test(start_paused = true)]
async fn attack_a_stream_and_a_mirror_reveal_nothing_without_a_unit() {
    let region = Region::new(1, 1).await;
    let (instance, call) = (region.instances[0], region.call(region.instances[0]));
    let mut mirror = Mirror::of(&region.store).await;
    let material = random(32);
    let mut secrets = Vec::new();
    for n in 0..6 {
        let new = NewKey {
            kind: if n % 2 == 0 { KeyKind::Root } else { KeyKind::Standard },
            name: "name-of-a-customer".into(),
            description: Some("description-of-a-customer".into()),
            aliases: vec![format!("alias-of-a-customer-{n}")],
            tags: vec!["tag-of-a-customer".into()],
            expires_at: None,
            payload: Some(Payload::new(material.clone())),
        };
        region.kms.create_key(&call, op(), new).await.unwrap();
        if n == 2 {
            // The rest comes as transactions.
            mirror.catch_up().await;
        }
    }
    mirror.catch_up().await;
    for (_, value) in raw::entries(&*region.store, &["/k/"]).await {
        secrets.push(raw::secret_of(&*region.store, &value).await.unwrap().1);
    }
    let files = [mirror.data.written(), mirror.secrets.written()];
    let everything: Vec<&[u8]> = mirror.sent.iter().chain(&files).map(Vec::as_slice).collect();
    // The search finds what is there: each secret once in the stream or more, and once in the mirror's file.
    for secret in &secrets {
        assert!(mirror.sent.iter().any(|bytes| contains(bytes, secret)) && contains(&files[1], secret));
        assert!(!contains(&files[0], secret));
    }
    let instance_secret = region.secret(instance).await;
    let hidden: [&[u8]; 4] = [b"of-a-customer", &material, &instance_secret, &crate::common::fleet::OLD];
    for part in hidden {
        assert!(!everything.iter().any(|bytes| contains(bytes, part)), "{}", part.escape_ascii());
    }
    // Units with another master key open nothing.
    let other = Arc::new(FakeUnit::new([0x11; 32]));
    let kms = Kms::open(Arc::clone(&mirror.store), other, KmsOptions::default(), PATIENCE).await.unwrap();
    let refused = kms.list_keys(&call, &kms::KeyQuery::default()).await;
    assert!(matches!(refused, Err(KmsError::Units(_))), "{refused:?}");
}

/// What a test passes on, twice or in another order.
fn again(event: &Event) -> Event {
    Event::decode(&event.encode()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn attack_a_transaction_that_is_replayed_reordered_or_foreign_changes_nothing() {
    let region = Region::new(1, 1).await;
    let instance = region.instances[0];
    region.keep(instance).await.unwrap();
    let mut mirror = Mirror::of(&region.store).await;
    mirror.catch_up().await;
    region.keep(instance).await.unwrap();
    region.keep(instance).await.unwrap();
    let mut txns = Vec::new();
    while txns.len() < 2 {
        let event = mirror.next().await;
        if matches!(event, Event::Txn(_)) {
            txns.push(event);
        }
    }
    let before = raw::entries(&*mirror.store, &[""]).await;
    // Left out.
    let refused = mirror.replica.apply(&txns[1]).await;
    assert!(matches!(refused, Err(ReplicaError::Gap { .. })), "{refused:?}");
    // Of another store.
    let Event::Txn(SourceTxn { after, at, changes, secrets }) = again(&txns[0]) else {
        panic!("no transaction")
    };
    let foreign = SourcePosition { source: StoreIdentity([7; 16]), ..at };
    let event = Event::Txn(SourceTxn { after, at: foreign, changes, secrets });
    let refused = mirror.replica.apply(&event).await;
    assert!(matches!(refused, Err(ReplicaError::Foreign { .. })), "{refused:?}");
    // A page, or the end of a copy, without a copy.
    let refused = mirror.replica.apply(&Event::CopyEnds { at }).await;
    assert!(matches!(refused, Err(ReplicaError::OutOfOrder)), "{refused:?}");
    assert_eq!(raw::entries(&*mirror.store, &[""]).await, before);
    // In order, and then again.
    for event in &txns {
        assert_eq!(mirror.replica.apply(event).await.unwrap(), Applied::Applied);
    }
    let after = raw::entries(&*mirror.store, &[""]).await;
    for event in &txns {
        assert_eq!(mirror.replica.apply(event).await.unwrap(), Applied::Skipped);
    }
    assert_eq!(raw::entries(&*mirror.store, &[""]).await, after);
    mirror.reconnect();
    mirror.catch_up().await;
}

/// Two replicas over one store: one of them is told, and nothing is applied twice.
#[tokio::test(start_paused = true)]
async fn two_replicas_do_not_apply_a_transaction_twice() {
    let region = Region::new(1, 1).await;
    let mut mirror = Mirror::of(&region.store).await;
    mirror.catch_up().await;
    let open = kms::replica::Replica::open(Arc::clone(&mirror.store), Default::default());
    let mut other = open.await.unwrap();
    region.keep(region.instances[0]).await.unwrap();
    let event = loop {
        let event = mirror.next().await;
        if matches!(event, Event::Txn(_)) {
            break event;
        }
        other.apply(&event).await.unwrap();
        mirror.replica.apply(&event).await.unwrap();
    };
    assert_eq!(mirror.replica.apply(&event).await.unwrap(), Applied::Applied);
    let refused = other.apply(&event).await;
    assert!(matches!(refused, Err(ReplicaError::Superseded)), "{refused:?}");
    assert_eq!(other.apply(&event).await.unwrap(), Applied::Skipped);
}

/// A broken or malicious source writes nothing outside of what is replicated.
#[tokio::test(start_paused = true)]
async fn attack_an_event_with_other_names_or_secrets_is_refused() {
    let region = Region::new(1, 1).await;
    let mut mirror = Mirror::of(&region.store).await;
    mirror.catch_up().await;
    let at = mirror.replica.position().unwrap();
    let next = SourcePosition { revision: Revision(at.revision.0 + 1), ..at };
    let txn = |keys: &[&str], secrets: Vec<NamedSecret>| {
        let change =
            |key: &&str| SourceChange { key: Key::from(key.as_bytes()), value: Some([1, 2][..].into()) };
        let changes = keys.iter().map(change).collect();
        Event::Txn(SourceTxn { after: at.revision, at: next, changes, secrets })
    };
    let secret = || vec![NamedSecret { id: SecretId(1 << 32 | 1), secret: None }];
    let one = "v1/i/00000000-0000-0000-0000-000000000001/hdr";
    let page = |from: &str, until: &str, key: &str| {
        let entries = vec![CopiedEntry { key: Key::from(key.as_bytes()), value: [1][..].into() }];
        let (from, until) = (Key::from(from.as_bytes()), Key::from(until.as_bytes()));
        Event::CopyPage(CopyPage { from, until, entries, secrets: Vec::new() })
    };
    for (event, why) in [
        (txn(&["v1/repl/pos"], vec![]), EventError::NotReplicated),
        (txn(&["v1/jobs/sweeper"], vec![]), EventError::NotReplicated),
        (txn(&["v2/i/x"], vec![]), EventError::NotReplicated),
        (txn(&[one, one], vec![]), EventError::Order),
        (txn(&["v1/meta", one], vec![]), EventError::Order),
        (txn(&[], vec![]), EventError::TooLarge),
        (txn(&[one], secret()), EventError::Secrets),
        (page("v1/i/", "v1/i/z", "v1/meta"), EventError::Order),
        (page("v1/", "v1/i/z", "v1/i/a"), EventError::Order),
        (page("v1/i/", "v1/z", "v1/i/a"), EventError::Order),
    ] {
        assert_eq!(Event::decode(&event.encode()).unwrap_err(), why, "{event:?}");
        let refused = mirror.replica.apply(&event).await;
        assert!(matches!(refused, Err(ReplicaError::Event(found)) if found == why), "{refused:?}");
    }
    mirror.catch_up().await;
}
