//! Software smart cards: zones, PINs, and what leaves a card.

use crate::WEAK;
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use tke::card::{
    CaCard, CaPins, CaSession, CardError, CardFull, Ep11Card, Ep11Session, PartList, PartListInvalid, Pin,
    ZoneId,
};
use tke::holder::{SignatureKey, SignatureKeyFile};
use tke::part::{KeyPartFile, KeyPartHolder, KeyPartSet, PartLabel, PartOrigin, PartSetError};
use tke::secret_file::{Folder, Password};
use tke_crypto::{AdministratorName, SigningKey, open_key_part};

const A: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const B: &str = "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5";
const C: &str = "e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";
const A_XOR_B: &str = "a5a4a7a6a1a0a3a2adacafaea9a8abaab5b4b7b6b1b0b3b2bdbcbfbeb9b8bbba";

fn pin(digits: &str) -> Pin {
    Pin::parse(digits).unwrap()
}

fn ca_pins(first: &str, second: &str) -> CaPins {
    CaPins { first: pin(first), second: pin(second) }
}

fn right_ca_pins() -> CaPins {
    ca_pins("111111", "222222")
}

fn label(text: &str) -> PartLabel {
    PartLabel::try_from(text).unwrap()
}

fn ada() -> AdministratorName {
    AdministratorName::try_from("Ada").unwrap()
}

/// A drawer of cards.
struct Drawer {
    dir: tempfile::TempDir,
}

impl Drawer {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, card: &str) -> PathBuf {
        self.dir.path().join(card)
    }

    fn zone(&self, card: &str) -> CaSession {
        CaCard::found_zone(&self.path(card), &right_ca_pins(), WEAK).unwrap();
        CaCard::insert(&self.path(card)).unwrap().enter_pins(&right_ca_pins()).unwrap()
    }

    fn card(&self, zone: &CaSession, card: &str) -> Ep11Session {
        Ep11Card::enrol(&self.path(card), zone, &pin("333333"), WEAK).unwrap();
        self.insert(card)
    }

    fn insert(&self, card: &str) -> Ep11Session {
        Ep11Card::insert(&self.path(card)).unwrap().enter_pin(&pin("333333")).unwrap()
    }
}

fn try_pin(path: &Path, digits: &str) -> Result<Ep11Session, CardError> {
    Ep11Card::insert(path)?.enter_pin(&pin(digits))
}

fn try_ca_pins(path: &Path, first: &str, second: &str) -> Result<CaSession, CardError> {
    CaCard::insert(path)?.enter_pins(&ca_pins(first, second))
}

#[test]
fn a_pin_has_six_digits() {
    for wrong in ["", "12345", "1234567", "12345a", "１２３４５６"] {
        assert!(Pin::parse(wrong).is_err(), "{wrong}");
    }
    assert_eq!(
        format!("{:?} {:?}", pin("123456"), right_ca_pins()),
        "Pin CaPins { first: Pin, second: Pin }"
    );
}

#[tokio::test]
async fn a_key_made_on_a_card_signs_after_the_card_was_out() {
    let drawer = Drawer::new();
    let zone = drawer.zone("ca");
    let card = drawer.card(&zone, "a");
    assert!(matches!(card.signature_key(), Err(CardError::NoSignatureKey)));
    let public = card.generate_signature_key(ada()).unwrap().public_key().clone();
    assert!(matches!(card.generate_signature_key(ada()), Err(CardError::Full(CardFull::SignatureKey))));
    assert!(matches!(Ep11Card::insert(&drawer.path("a")), Err(CardError::InUse)));
    drop(card);

    let key = drawer.insert("a").signature_key().unwrap();
    assert_eq!(key.ski(), public.ski());
    assert_eq!(key.name(), &ada());
    public.verify(b"command", &key.sign(b"command").await.unwrap()).unwrap();
    assert!(format!("{key:?}").contains("Ada"));
}

#[test]
fn three_wrong_pins_block_an_ep11_card_until_its_zone_unblocks_it() {
    let drawer = Drawer::new();
    let (zone, other_zone) = (drawer.zone("ca"), drawer.zone("other ca"));
    drawer.card(&zone, "a").enter_part(label("one"), A).unwrap();
    let path = drawer.path("a");

    assert!(matches!(zone.unblock(&path, &pin("444444"), WEAK), Err(CardError::NotBlocked)));
    assert!(matches!(try_pin(&path, "000000"), Err(CardError::WrongPin { tries_left: 2 })));
    assert!(matches!(try_pin(&path, "000000"), Err(CardError::WrongPin { tries_left: 1 })));
    // The right one gives the tries back.
    drop(try_pin(&path, "333333").unwrap());
    for tries_left in [2, 1, 0] {
        assert!(
            matches!(try_pin(&path, "000000"), Err(CardError::WrongPin { tries_left: n }) if n == tries_left)
        );
    }
    assert!(matches!(try_pin(&path, "333333"), Err(CardError::Blocked)), "the right one is of no use now");

    let refused = other_zone.unblock(&path, &pin("444444"), WEAK);
    assert!(matches!(refused, Err(CardError::OtherZone { zone }) if zone == other_zone.zone()));
    zone.unblock(&path, &pin("444444"), WEAK).unwrap();
    assert!(matches!(try_pin(&path, "333333"), Err(CardError::WrongPin { tries_left: 2 })));
    let card = try_pin(&path, "444444").unwrap();
    assert_eq!(card.list().parts[0].label, label("one"), "what it held is still there");
}

#[test]
fn a_killed_process_gains_no_try() {
    let drawer = Drawer::new();
    let zone = drawer.zone("ca");
    drop(drawer.card(&zone, "a"));
    let path = drawer.path("a");
    for left in [2, 1, 0] {
        // The process dies between counting and looking at the PIN.
        drop(Ep11Card::insert(&path).unwrap().count_try().unwrap());
        assert_eq!(Ep11Card::insert(&path).unwrap().tries_left(), left);
    }
    assert!(matches!(try_pin(&path, "333333"), Err(CardError::Blocked)));

    let path = drawer.path("ca 2");
    CaCard::found_zone(&path, &right_ca_pins(), WEAK).unwrap();
    for left in [4, 3, 2, 1, 0] {
        drop(CaCard::insert(&path).unwrap().count_try().unwrap());
        assert_eq!(CaCard::insert(&path).unwrap().tries_left(), left);
    }
    assert!(matches!(try_ca_pins(&path, "111111", "222222"), Err(CardError::PermanentlyBlocked)));
}

#[test]
fn five_wrong_pins_block_a_ca_card_for_ever() {
    let drawer = Drawer::new();
    drop(drawer.zone("ca"));
    let path = drawer.path("ca");
    // One wrong PIN of the two is wrong, and so are the right ones the wrong way round.
    for (tries_left, (first, second)) in
        [(4, ("111111", "000000")), (3, ("000000", "222222")), (2, ("222222", "111111"))]
    {
        let wrong = try_ca_pins(&path, first, second);
        assert!(matches!(wrong, Err(CardError::WrongPin { tries_left: n }) if n == tries_left));
    }
    drop(try_ca_pins(&path, "111111", "222222").unwrap());
    for tries_left in [4, 3, 2, 1, 0] {
        let wrong = try_ca_pins(&path, "000000", "000000");
        assert!(matches!(wrong, Err(CardError::WrongPin { tries_left: n }) if n == tries_left));
    }
    assert!(matches!(try_ca_pins(&path, "111111", "222222"), Err(CardError::PermanentlyBlocked)));
    // Editing the counter in the file does not unblock the card.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"tries_left\": 0", "\"tries_left\": 5")).unwrap();
    assert!(matches!(try_ca_pins(&path, "111111", "222222"), Err(CardError::Damaged)));
}

#[test]
fn a_backup_ca_card_rules_the_same_zone_with_other_pins() {
    let drawer = Drawer::new();
    let zone = drawer.zone("ca");
    drop(drawer.card(&zone, "a"));
    zone.back_up(&drawer.path("ca 2"), &ca_pins("555555", "666666"), WEAK).unwrap();
    let backup = try_ca_pins(&drawer.path("ca 2"), "555555", "666666").unwrap();
    assert_eq!(backup.zone(), zone.zone());
    for _ in 0..3 {
        try_pin(&drawer.path("a"), "000000").unwrap_err();
    }
    backup.unblock(&drawer.path("a"), &pin("777777"), WEAK).unwrap();
    try_pin(&drawer.path("a"), "777777").unwrap();
}

#[test]
fn a_card_is_copied_within_its_zone_and_nowhere_else() {
    let drawer = Drawer::new();
    let zone = drawer.zone("ca");
    let (card, copy) = (drawer.card(&zone, "a"), drawer.card(&zone, "copy"));
    let stranger = drawer.card(&drawer.zone("other ca"), "stranger");
    card.generate_signature_key(ada()).unwrap();
    let part = card.generate_part(label("one")).unwrap();
    card.enter_part(label("two"), B).unwrap();

    for refused in [
        card.copy_to(&stranger),
        card.send_part(&label("one"), &stranger.certificate()).map(|_| ()),
        card.send_signature_key(&stranger.certificate()).map(|_| ()),
        stranger.copy_to(&card).and(Err(CardError::OtherZone { zone: card.zone() })),
    ] {
        assert!(matches!(refused, Err(CardError::OtherZone { zone: z }) if z == card.zone()));
    }
    assert!(stranger.list().parts.is_empty() && stranger.list().signature_key.is_none());

    card.copy_to(&copy).unwrap();
    card.copy_to(&copy).unwrap();
    let copied = copy.list();
    assert_eq!(copied.signature_key, card.list().signature_key);
    assert_eq!(copied.parts.len(), 2);
    assert_eq!(copied.parts[0].id, part.id);
    assert!(copied.parts[0].pattern.is_of_same_key(&part.pattern));
}

#[test]
fn a_transfer_is_for_one_card_and_one_purpose() {
    let drawer = Drawer::new();
    let zone = drawer.zone("ca");
    let (a, b, c) = (drawer.card(&zone, "a"), drawer.card(&zone, "b"), drawer.card(&zone, "c"));
    a.enter_part(label("one"), A).unwrap();
    a.generate_signature_key(ada()).unwrap();
    let transfer = a.send_part(&label("one"), &b.certificate()).unwrap();
    assert!(matches!(c.receive_part(&transfer), Err(CardError::TransferInvalid)), "another card's");
    assert!(matches!(b.receive_signature_key(&transfer), Err(CardError::TransferInvalid)));
    let to_combine = a.send_part_for_combining(&label("one"), &b.certificate()).unwrap();
    assert!(matches!(b.receive_part(&to_combine), Err(CardError::TransferInvalid)), "may not be kept");
    b.receive_part(&transfer).unwrap();
    assert!(matches!(b.receive_part(&transfer), Err(CardError::LabelTaken)));
    let stranger = drawer.card(&drawer.zone("other ca"), "stranger");
    assert!(matches!(stranger.receive_part(&transfer), Err(CardError::OtherZone { .. })));
}

#[test]
fn a_card_holds_eighty_five_parts() {
    let drawer = Drawer::new();
    let card = drawer.card(&drawer.zone("ca"), "a");
    for number in 0..85 {
        card.generate_part(label(&format!("a label of thirty characters {number:02}")[..30]))
            .map_or_else(|error| assert!(matches!(error, CardError::LabelTaken)), |_| ());
        if card.list().parts.len() <= number {
            card.generate_part(label(&format!("{number:030}"))).unwrap();
        }
    }
    assert_eq!(card.list().parts.len(), 85);
    assert!(matches!(card.generate_part(label("more")), Err(CardError::Full(CardFull::Parts))));
    drop(card);
    let card = drawer.insert("a");
    assert_eq!(card.list().parts.len(), 85);
    let first = card.list().parts[0].label.clone();
    card.remove_part(&first).unwrap();
    assert!(matches!(card.remove_part(&first), Err(CardError::NoSuchPart)));
    card.generate_part(label("more")).unwrap();
}

#[tokio::test]
async fn files_go_onto_cards() {
    let drawer = Drawer::new();
    let card = drawer.card(&drawer.zone("ca"), "a");
    let folder = Folder::open(drawer.path("files")).unwrap();
    let password = Password::new("correct horse".to_owned());
    let key = SignatureKeyFile::create(&folder, ada(), &password, WEAK).unwrap().key;
    let part = KeyPartFile::enter(&folder, label("one"), A, &password, WEAK).unwrap();
    assert_eq!(card.import_signature_key(&key).unwrap().ski(), key.ski());
    let held = card.import_part(&part).unwrap();
    assert_eq!((held.origin, held.id), (PartOrigin::Imported, part.id()));

    let importer = SigningKey::from_scalar(&[1; 66]).unwrap();
    let sealed = card.part(&label("one")).unwrap().seal_for(&importer.public()).await.unwrap();
    assert_eq!(open_key_part(&importer, &sealed.0).unwrap()[..4], [0, 1, 2, 3]);
}

#[test]
fn cards_work_out_the_master_keys_pattern_and_forget_the_parts() {
    let drawer = Drawer::new();
    let zone = drawer.zone("ca");
    let (a, b, c) = (drawer.card(&zone, "a"), drawer.card(&zone, "b"), drawer.card(&zone, "c"));
    for (card, part) in [(&a, A), (&b, B), (&c, C)] {
        card.enter_part(label("mine"), part).unwrap();
    }
    let parts = || [&a, &b, &c].map(|card| card.part(&label("mine")).unwrap()).to_vec();
    let set = KeyPartSet::of_cards(parts()).unwrap();
    let expected = "947d5b800a42f1596c6b39093bb9e21ed61bc86294c1469157395fe000000000";
    assert_eq!(set.combined_pattern().to_string(), expected);
    assert_eq!(c.list().parts.len(), 1, "the others' parts are forgotten");

    // One card after the other, as with one reader, and the list that the custodians keep.
    let to = c.certificate();
    let others = [&a, &b].map(|card| card.send_part_for_combining(&label("mine"), &to).unwrap());
    let json = c.combine(&[label("mine")], &others).unwrap().to_json();
    let list = PartList::parse(json.as_bytes(), zone.zone()).unwrap();
    assert_eq!(list.combined().to_string(), expected);
    assert_eq!(list.by(), c.serial());
    let holders = || parts().into_iter().rev().map(|part| Box::new(part) as Box<dyn KeyPartHolder>).collect();
    assert_eq!(KeyPartSet::of_list(holders(), &list).unwrap().combined_pattern().to_string(), expected);
    a.remove_part(&label("mine")).unwrap();
    a.enter_part(label("mine"), A_XOR_B).unwrap();
    assert!(matches!(KeyPartSet::of_list(holders(), &list), Err(PartSetError::NotThoseOfTheList)));
}

#[test]
fn cards_refuse_degenerate_parts() {
    let drawer = Drawer::new();
    let zone = drawer.zone("ca");
    let (a, b) = (drawer.card(&zone, "a"), drawer.card(&zone, "b"));
    a.enter_part(label("A"), A).unwrap();
    a.enter_part(label("A xor B"), A_XOR_B).unwrap();
    b.enter_part(label("A"), A).unwrap();
    b.enter_part(label("B"), B).unwrap();
    let set = |parts: &[(&Ep11Session, &str)]| {
        KeyPartSet::of_cards(parts.iter().map(|(card, l)| card.part(&label(l)).unwrap()).collect())
    };
    set(&[(&a, "A"), (&b, "B")]).unwrap();
    for refused in [set(&[(&a, "A"), (&b, "A")]), set(&[(&a, "A"), (&a, "A xor B"), (&b, "B")])] {
        assert!(matches!(refused, Err(PartSetError::Card(CardError::NoMasterKey))));
    }
    assert!(matches!(set(&[(&a, "A")]), Err(PartSetError::Number(1))));
    assert!(matches!(a.enter_part(label("zero"), &"0".repeat(64)), Err(CardError::Part(_))));
}

#[test]
fn a_part_list_that_was_changed_is_not_believed() {
    let drawer = Drawer::new();
    let zone = drawer.zone("ca");
    let card = drawer.card(&zone, "a");
    card.enter_part(label("one"), A).unwrap();
    card.enter_part(label("two"), B).unwrap();
    let json = card.combine(&[label("one"), label("two")], &[]).unwrap().to_json();
    assert!(PartList::parse(json.as_bytes(), zone.zone()).is_ok());
    assert_eq!(PartList::parse(json.as_bytes(), ZoneId([0; 16])).unwrap_err(), PartListInvalid::OtherZone);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    for leaf in leaves(&value, String::new()) {
        let mut changed = value.clone();
        let place = changed.pointer_mut(&leaf).unwrap();
        let Some(text) = place.as_str() else { continue };
        // The last character, which keeps most fields what they were in form.
        let end = if text.ends_with('1') { "2" } else { "1" };
        *place = format!("{}{end}", &text[..text.len() - 1]).into();
        let changed = serde_json::to_vec(&changed).unwrap();
        assert!(PartList::parse(&changed, zone.zone()).is_err(), "{leaf}");
    }
}

#[test]
fn a_card_file_that_was_changed_does_not_open() {
    let drawer = Drawer::new();
    let zone = drawer.zone("ca");
    drawer.card(&zone, "a").enter_part(label("zebra"), B).unwrap();
    let path = drawer.path("a");
    let original = std::fs::read_to_string(&path).unwrap();
    assert!(!original.contains("zebra") && !original.contains(B), "nothing stands in the clear");
    let value: serde_json::Value = serde_json::from_str(&original).unwrap();
    for leaf in leaves(&value, String::new()) {
        // The tries are a counter, which the file's own rules change; the unblocking key matters to the CA card alone.
        if ["/tries_left", "/unblock"].contains(&leaf.as_str()) {
            continue;
        }
        let mut changed = value.clone();
        let place = changed.pointer_mut(&leaf).unwrap();
        *place = match place.as_str() {
            Some(text) => {
                let first = if text.starts_with('0') { "1" } else { "0" };
                format!("{first}{}", &text[1..]).into()
            }
            None => (place.as_u64().unwrap() + 1).into(),
        };
        std::fs::write(&path, serde_json::to_vec(&changed).unwrap()).unwrap();
        assert!(try_pin(&path, "333333").is_err(), "{leaf}");
    }
    std::fs::write(&path, &original).unwrap();
    assert!(try_pin(&path, "333333").is_ok());
    assert!(matches!(CaCard::insert(&path), Err(CardError::InvalidFormat(_))));
    assert!(matches!(
        Ep11Card::enrol(&path, &zone, &pin("333333"), WEAK),
        Err(CardError::Disk { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists
    ));
}

fn leaves(value: &serde_json::Value, path: String) -> Vec<String> {
    match value {
        serde_json::Value::Object(fields) => {
            fields.iter().flat_map(|(name, value)| leaves(value, format!("{path}/{name}"))).collect()
        }
        serde_json::Value::Array(items) => {
            items.iter().enumerate().flat_map(|(n, value)| leaves(value, format!("{path}/{n}"))).collect()
        }
        _ => vec![path],
    }
}

proptest! {
    #[test]
    fn prop_nothing_makes_the_part_list_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = PartList::parse(&bytes, ZoneId([0; 16]));
    }

    #[test]
    fn prop_no_file_makes_a_reader_of_cards_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("card");
        std::fs::write(&path, &bytes).unwrap();
        prop_assert!(Ep11Card::insert(&path).is_err());
    }
}
