//! The service over a real unit: the firmware core on the software engine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine_soft::{DeviceSecret, EntropyFailed, SoftEngine};
use keystore::{MemoryStore, StoreIdentity, WallClock};
use kms::{
    Call, InstanceHeader, InstanceId, KeyKind, KeyRef, Kms, KmsError, KmsOptions, NewKey, OsRng, Payload,
    Plaintext, Timers, UnitReply, Units, UnitsError,
};
use unit_api::{
    Command, Envelope, FRAME_HEADER_LEN, MAX_FRAME_LEN, Reply, Response, UnitId, VerificationPattern,
};
use unit_core::{Env, Identity, Slot, Storage, StorageFailed, Unit};
use uuid::Uuid;
use zeroize::Zeroizing;

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Memory([Vec<u8>; 2]);

impl Storage for Memory {
    fn read(&mut self, slot: Slot, content: &mut [u8]) -> Result<usize, StorageFailed> {
        let held = self.0.get(slot as usize).ok_or(StorageFailed)?;
        content.get_mut(..held.len()).ok_or(StorageFailed)?.copy_from_slice(held);
        Ok(held.len())
    }

    fn write(&mut self, slot: Slot, content: &[u8]) -> Result<(), StorageFailed> {
        *self.0.get_mut(slot as usize).ok_or(StorageFailed)? = content.to_vec();
        Ok(())
    }
}

struct World;

impl Env for World {
    type Engine = SoftEngine<fn(&mut [u8]) -> Result<(), EntropyFailed>>;
    type Storage = Memory;
}

/// A unit behind a lock, its answers as the frames they would be.
struct RealUnit(Mutex<Box<Unit<World>>>);

impl RealUnit {
    /// A unit with a master key of its own, and the key's pattern.
    fn new() -> (Self, VerificationPattern) {
        let entropy: fn(&mut [u8]) -> _ = |seed| getrandom::fill(seed).map_err(|_| EntropyFailed);
        let engine = SoftEngine::new(&DeviceSecret::new([7; 32]), entropy).unwrap();
        let identity = Identity { unit: UnitId(*b"TEST0001\0\0\0\0\0\0\0\x01"), domain_index: 0 };
        let mut unit = Box::new(Unit::start(engine, Memory::default(), identity));
        let mut out = vec![0; MAX_FRAME_LEN];
        let target = match unit.execute(&Envelope::plain(Command::Status), &mut out).unwrap() {
            Response::Status(s) => unit_api::Target {
                unit: s.unit,
                domain_index: s.domain_index,
                domain_instance: s.domain_instance,
            },
            other => unreachable!("{other:?}"),
        };
        let command = Command::GenerateMasterKey;
        let envelope = Envelope { target: Some(target), transaction_counter: 1, ..Envelope::plain(command) };
        let pattern = match unit.execute(&envelope, &mut out).unwrap() {
            Response::Loaded(pattern) => pattern,
            other => unreachable!("{other:?}"),
        };
        (Self(Mutex::new(unit)), pattern)
    }
}

impl Units for RealUnit {
    async fn execute(&self, command: &Command<'_>, _: Duration) -> Result<UnitReply, UnitsError> {
        let mut out = Zeroizing::new(vec![0; MAX_FRAME_LEN]);
        let mut frame = Zeroizing::new(vec![0; FRAME_HEADER_LEN + MAX_FRAME_LEN]);
        let len = {
            let mut unit = self.0.lock().unwrap();
            let result = unit.execute(&Envelope::plain(*command), &mut out);
            unit_api::encode_reply(&Reply { number: 1, result }, &mut frame).unwrap()
        };
        Ok(UnitReply::from_body(Zeroizing::new(frame.get(FRAME_HEADER_LEN..len).unwrap().to_vec())))
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
