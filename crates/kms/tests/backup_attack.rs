//! A backup that was changed is refused, and changes nothing; one that was stolen tells nothing.

use std::io::Cursor;

use crate::common::backup::{File, backup, content, parts, restored, store};
use crate::common::{PATIENCE, World, new_key, op};
use kms::backup::{BackupError, BackupReader, RestoreError};
use kms::{KeyKind, NewKey};
use proptest::prelude::*;

/// Whether a file is refused, and the store has nothing afterwards.
async fn is_refused(world: &World, file: &[u8]) -> Option<RestoreError> {
    let there = store(2);
    let refused = restored(&there, &world.unit, file).await.err()?;
    assert!(content(&there).await.is_empty(), "{refused}");
    Some(refused)
}

#[tokio::test]
async fn attack_a_changed_byte_anywhere_is_refused() {
    let world = World::new().await;
    world.root(None).await;
    let file = backup(&world.kms, &world.call()).await;
    for at in 0..file.len() {
        let mut bad = file.clone();
        bad[at] ^= 1 << (at % 8);
        let refused = is_refused(&world, &bad).await.unwrap_or_else(|| panic!("byte {at} is not protected"));
        assert!(matches!(&refused, RestoreError::Backup(why) if why.is_damage()), "byte {at}: {refused}");
    }
    restored(&store(2), &world.unit, &file).await.unwrap();
}

#[tokio::test]
async fn attack_a_forged_header_is_refused_by_the_units() {
    use sha2::{Digest, Sha256};
    let world = World::new().await;
    world.root(None).await;
    let parts = parts(&world.kms, &world.call()).await;
    let head = &parts[0];
    let body = parts[1..].concat();
    for at in 16..head.len() - 32 {
        let mut forged = head[..head.len() - 32].to_vec();
        forged[at] ^= 1;
        let checksum = Sha256::digest(&forged);
        forged.extend_from_slice(&checksum);
        forged.extend_from_slice(&body);
        assert!(is_refused(&world, &forged).await.is_some(), "byte {at} of the head can be forged");
    }
}

#[tokio::test]
async fn attack_a_shortened_or_longer_file_is_refused() {
    let world = World::new().await;
    world.root(None).await;
    let file = backup(&world.kms, &world.call()).await;
    for len in 0..file.len() {
        let refused = is_refused(&world, &file[..len]).await.unwrap_or_else(|| panic!("{len} bytes suffice"));
        assert!(matches!(refused, RestoreError::Backup(BackupError::Truncated)), "{len}: {refused}");
    }
    let longer = [&file[..], &[0]].concat();
    let refused = is_refused(&world, &longer).await.unwrap();
    assert!(matches!(refused, RestoreError::Backup(BackupError::Surplus)), "{refused}");
}

#[tokio::test]
async fn attack_parts_are_not_left_out_repeated_exchanged_or_mixed() {
    let world = World::new().await;
    for _ in 0..700 {
        world.root(None).await;
    }
    let (one, two) = (parts(&world.kms, &world.call()).await, parts(&world.kms, &world.call()).await);
    let [head, body @ ..] = one.as_slice() else { panic!("no head") };
    assert!(body.len() > 2, "{} parts", body.len());
    for at in 0..body.len() {
        let without = [head.clone(), [&body[..at], &body[at + 1..]].concat().concat()].concat();
        assert!(is_refused(&world, &without).await.is_some(), "without part {at}");
        let twice = [head.clone(), [&body[..=at], &body[at..]].concat().concat()].concat();
        assert!(is_refused(&world, &twice).await.is_some(), "part {at} twice");
        let mut mixed = one.clone();
        mixed[at + 1].clone_from(&two[at + 1]);
        assert!(is_refused(&world, &mixed.concat()).await.is_some(), "part {at} of another backup");
        // The file ends after this part, which claims to be the last one.
        let mut short = one[..=at + 1].to_vec();
        short[at + 1][0] |= 0x80;
        let is_whole = at + 1 == body.len();
        assert_eq!(is_refused(&world, &short.concat()).await.is_none(), is_whole, "cut after part {at}");
    }
    let mut exchanged = one.clone();
    exchanged.swap(1, 2);
    assert!(is_refused(&world, &exchanged.concat()).await.is_some());
    assert!(is_refused(&world, &[two[0].clone(), body.concat()].concat()).await.is_some());
    restored(&store(2), &world.unit, &one.concat()).await.unwrap();
}

#[tokio::test]
async fn attack_a_stolen_backup_has_no_name_and_no_key_material() {
    let world = World::new().await;
    let (name, alias, tag) = ("payroll of the north", "salaries-north", "department-seventeen");
    let material = [0x5a; 32];
    let mut secrets: Vec<Vec<u8>> = vec![material.to_vec(), world.secret().await.to_vec()];
    let mut ids = Vec::new();
    for kind in [KeyKind::Root, KeyKind::Standard] {
        let aliases = vec![format!("{alias}-{kind:?}")];
        let new = NewKey {
            name: name.into(),
            description: Some("a description of the key".into()),
            tags: vec![tag.into()],
            aliases,
            ..new_key(kind, Some(&material))
        };
        ids.push(world.kms.create_key(&world.call(), op(), new).await.unwrap().id);
    }
    let stored = crate::common::raw::entries(&*world.store, &["/k/"]).await;
    for (_, record) in &stored {
        secrets.push(crate::common::raw::secret_of(&*world.store, record).await.unwrap().1.to_vec());
    }
    let file = backup(&world.kms, &world.call()).await;
    let texts = [name, alias, tag, "description", crate::common::ALICE].map(|text| text.as_bytes().to_vec());
    let names = ids.iter().flat_map(|id| [id.to_string().into_bytes(), id.0.as_bytes().to_vec()]);
    for what in texts.into_iter().chain(names).chain(secrets) {
        assert!(!file.windows(what.len()).any(|part| part == what), "{}", what.escape_ascii());
    }
    // Neither is a value of the store, although it is sealed itself.
    for (_, value) in stored {
        assert!(!file.windows(value.len()).any(|part| *part == *value));
    }
    let reader: File = BackupReader::open(Cursor::new(file)).unwrap();
    let header = reader.header();
    assert_eq!((header.instance, header.keys, header.region.as_str()), (world.instance, 2, "us-south"));
}

#[tokio::test]
async fn attack_a_backup_of_another_instance_with_the_same_master_key_is_not_this_one() {
    let world = World::new().await;
    world.root(None).await;
    let other = World::new().await;
    let (one, two) = (parts(&world.kms, &world.call()).await, parts(&other.kms, &other.call()).await);
    // The units open the root keys of both; the body stays bound to its own head.
    assert!(is_refused(&world, &[one[0].clone(), two[1..].concat()].concat()).await.is_some());
}

proptest! {
    #[test]
    fn prop_any_bytes_are_no_backup(bytes in prop::collection::vec(any::<u8>(), 0..400), fields in 0..400_u32) {
        prop_assert!(BackupReader::open(Cursor::new(bytes.clone())).is_err());
        let framed = [&b"hsm-bkup"[..], &1_u32.to_be_bytes(), &fields.to_be_bytes(), &bytes].concat();
        prop_assert!(BackupReader::open(Cursor::new(framed)).is_err());
    }
}

#[test]
fn a_file_of_another_program_or_version_is_named_so() {
    let open = |bytes: &[u8]| BackupReader::open(Cursor::new(bytes.to_vec())).unwrap_err();
    assert!(matches!(open(b"hsm-bkup\0\0\0\x02\0\0\0\0"), BackupError::Format { found: 2, expected: 1 }));
    assert!(matches!(open(b"PK\x03\x04 and a few more bytes"), BackupError::NotABackup));
    assert!(matches!(open(b""), BackupError::Truncated));
    assert!(PATIENCE.as_secs() > 0);
}
