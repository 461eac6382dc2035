//! The service over a real unit: the firmware core on the software engine.

#[path = "common/real.rs"]
mod real;

use std::sync::Arc;
use std::time::Duration;

use getrandom::SysRng;
use keystore::{MemoryStore, StoreIdentity, WallClock};
use kms::rotation::RegionRotation;
use kms::{
    Call, InstanceHeader, InstanceId, KeyKind, KeyRef, Kms, KmsError, KmsOptions, NewKey, Payload, Plaintext,
    RotationPhase, Timers, Units,
};
use real::RealFleet;
use unit_api::{Command, Response, Variants};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);
const OLD: [[u8; 32]; 2] = [[1; 32], [2; 32]];
const NEW: [[u8; 32]; 2] = [[1; 32], [3; 32]];

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
async fn a_real_unit_permits_every_use_of_units() {
    let store = Arc::new(MemoryStore::new(StoreIdentity([1; 16]), WallClock::system()));
    let (unit, pattern) = RealFleet::new(1, OLD);
    let unit = Arc::new(unit);
    let instance = InstanceId(Uuid::from_u128(1));
    let header =
        InstanceHeader::create(&store, &unit, &mut SysRng, instance, pattern, PATIENCE).await.unwrap();

    // The canary answers a challenge, as in the host's check of a unit.
    let by = engine::MacMechanism::AesCmac;
    let challenge = Command::Sign { by, key: &header.proof.canary_blob, data: b"challenge" };
    let answer = unit.execute(&Variants::of(challenge), PATIENCE).await.unwrap();
    assert!(matches!(answer.response().unwrap(), Response::Signature(mac) if mac.len() == 16));

    let options = KmsOptions::default().with_timers(Timers::UNGUARDED);
    let kms = Kms::open(store, unit, options, PATIENCE).await.unwrap();
    let call = Call { instance, caller: "IBMid-alice", deadline: PATIENCE, changed_at: None };
    let op = || kms.random_op().unwrap();

    for material in [None, Some(vec![1; 16]), Some(vec![2; 24]), Some(vec![3; 32])] {
        let payload = material.clone().map(Payload::new);
        let key: KeyRef =
            kms.create_key(&call, op(), new_key(KeyKind::Root, material)).await.unwrap().id.into();
        // The longest plaintext with almost the longest associated data.
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

/// Two units, activated one after the other; keys of every kind, created before, during and after the rotation.
#[tokio::test]
async fn real_units_rotate_their_master_key() {
    let store = Arc::new(MemoryStore::new(StoreIdentity([1; 16]), WallClock::system()));
    let (fleet, old) = RealFleet::new(2, OLD);
    let fleet = Arc::new(fleet);
    let instances = [InstanceId(Uuid::from_u128(1))];
    InstanceHeader::create(&store, &fleet, &mut SysRng, instances[0], old, PATIENCE).await.unwrap();
    let options = KmsOptions::default().with_timers(Timers::UNGUARDED);
    let kms = Kms::open(store, Arc::clone(&fleet), options, PATIENCE).await.unwrap();
    let call = Call { instance: instances[0], caller: "IBMid-alice", deadline: PATIENCE, changed_at: None };
    let op = || kms.random_op().unwrap();
    let make = async || {
        let mut made = Vec::new();
        for material in [None, Some(vec![3; 16])] {
            let key: KeyRef =
                kms.create_key(&call, op(), new_key(KeyKind::Root, material)).await.unwrap().id.into();
            let data = Some(Plaintext::new(vec![7; 9]));
            let ciphertext = kms.wrap(&call, &key, data, &["a"]).await.unwrap().ciphertext;
            made.push((key, Some(ciphertext)));
        }
        let standard = new_key(KeyKind::Standard, Some(vec![5; 77]));
        made.push((kms.create_key(&call, op(), standard).await.unwrap().id.into(), None));
        made
    };
    let check = async |made: &[(KeyRef, Option<String>)]| {
        for (key, ciphertext) in made {
            match ciphertext {
                Some(ciphertext) => {
                    let found = kms.unwrap(&call, key, ciphertext, &["a"]).await.unwrap();
                    assert_eq!(found.plaintext.expose(), [7; 9]);
                }
                None => {
                    let found = kms.get_key(&call, key).await.unwrap();
                    assert_eq!(found.payload.unwrap().expose(), [5; 77]);
                }
            }
        }
    };
    let rotation = RegionRotation::new(&kms, &instances, call);
    let mut made = make().await;
    let new = fleet.units[0].prepare(NEW);
    fleet.units[1].prepare(NEW);
    rotation.begin(new).await.unwrap();
    made.extend(make().await);
    rotation.run(|_, _| ()).await.unwrap();
    made.extend(make().await);
    rotation.begin_activation().await.unwrap();
    for unit in &fleet.units {
        check(&made).await;
        unit.activate(new);
        check(&made).await;
        made.extend(make().await);
    }
    rotation.finish(&fleet.states()).await.unwrap();
    made.extend(make().await);
    let end = rotation.run(|_, _| ()).await.unwrap();
    assert_eq!(end.instances[0].1.unwrap().phase, RotationPhase::Done);
    check(&made).await;
    let header = kms.header(&call).await.unwrap();
    assert!(header.pattern().is_of_same_key(&new) && header.next.is_none());
}
