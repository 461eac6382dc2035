//! The service over a real unit: the firmware core on the software engine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bench_unit::BenchUnit;
use keystore::{MemoryStore, StoreIdentity, WallClock};
use kms::{
    Call, InstanceHeader, InstanceId, KeyKind, KeyRef, Kms, KmsError, KmsOptions, NewKey, OsRng, Payload,
    Plaintext, Timers, UnitReply, Units, UnitsError,
};
use unit_api::{Command, Response, VerificationPattern};
use uuid::Uuid;
use zeroize::Zeroizing;

const PATIENCE: Duration = Duration::from_secs(20);

/// A unit behind a lock, its answers as the frames they would be.
struct RealUnit(Mutex<BenchUnit>);

impl RealUnit {
    /// A unit with a master key of its own, and the key's pattern.
    fn new() -> (Self, VerificationPattern) {
        let mut unit = BenchUnit::secured(1);
        let pattern = unit.generate_master_key();
        (Self(Mutex::new(unit)), pattern)
    }
}

impl Units for RealUnit {
    async fn execute(&self, command: &Command<'_>, _: Duration) -> Result<UnitReply, UnitsError> {
        Ok(UnitReply::from_body(Zeroizing::new(self.0.lock().unwrap().reply_body(*command))))
    }
}

fn new_key(kind: KeyKind, payload: Option<Vec<u8>>) -> NewKey {
    NewKey {
        kind,
        name: "over a real unit".into(),
        description: None,
        aliases: vec![],
        tags: vec![],
        expires_at: None,
        payload: payload.map(Payload::new),
    }
}

#[tokio::test]
async fn every_use_of_units_is_one_that_a_real_unit_permits() {
    let store = Arc::new(MemoryStore::new(StoreIdentity([1; 16]), WallClock::system()));
    let (unit, pattern) = RealUnit::new();
    let unit = Arc::new(unit);
    let instance = InstanceId(Uuid::from_u128(1));
    let header = InstanceHeader::create(&store, &unit, &OsRng, instance, pattern, PATIENCE).await.unwrap();

    // The canary answers a challenge, as a host will have it do.
    let by = engine::MacMechanism::AesCmac;
    let challenge = Command::Sign { by, key: &header.proof.canary, data: b"challenge" };
    let answer = unit.execute(&challenge, PATIENCE).await.unwrap();
    assert!(matches!(answer.response().unwrap(), Response::Signature(mac) if mac.len() == 16));

    let options = KmsOptions { timers: Timers::UNGUARDED, ..KmsOptions::default() };
    let kms = Kms::open(store, unit, options, PATIENCE).await.unwrap();
    let call = Call { instance, caller: "IBMid-alice", deadline: PATIENCE };
    let op = || kms.random_op().unwrap();

    for material in [None, Some(vec![1; 16]), Some(vec![2; 24]), Some(vec![3; 32])] {
        let payload = material.clone().map(Payload::new);
        let key: KeyRef =
            kms.create_key(&call, op(), new_key(KeyKind::Root, material)).await.unwrap().id.into();
        // The longest plaintext together with nearly the longest associated data.
        let aad = vec!["\u{10ffff}".repeat(255); 15];
        for len in [1, 32, 32 * 1024] {
            let data = Some(Plaintext::new(vec![0x5a; len]));
            let wrapped = kms.wrap(&call, &key, data, &aad).await.unwrap();
            let found = kms.unwrap(&call, &key, &wrapped.ciphertext, &aad).await.unwrap();
            assert_eq!(found.plaintext.expose(), vec![0x5a; len]);
            let found = kms.unwrap(&call, &key, &wrapped.ciphertext, &["other"]).await;
            assert!(matches!(found, Err(KmsError::CiphertextRejected)));
        }
        let old = kms.wrap(&call, &key, None, &aad).await.unwrap();
        kms.rotate(&call, op(), &key, payload).await.unwrap();
        let found = kms.unwrap(&call, &key, &old.ciphertext, &aad).await.unwrap();
        assert_eq!(found.plaintext.expose(), old.generated.unwrap().expose());
        assert!(found.rewrapped.is_some());
    }
    for material in [vec![9; 1], vec![9; 7500]] {
        let made = kms.create_key(&call, op(), new_key(KeyKind::Standard, Some(material.clone()))).await;
        let key = kms.get_key(&call, &made.unwrap().id.into()).await.unwrap();
        assert_eq!(key.payload.unwrap().expose(), material);
    }
}
