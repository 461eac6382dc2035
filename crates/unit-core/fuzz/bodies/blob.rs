//! Arbitrary bytes as a key blob, sent to a unit in service. Only a blob that a unit made is accepted.

use crate::administration::ruled_by;
use crate::fixture::{Answer, Bytes, Fixture, Lasting};
use engine::{Algorithm, KeySpec, KeyUses, MacMechanism, WrapMechanism};
use std::cell::RefCell;
use unit_api::{Command, UnitError};

/// A unit with two master keys, and its blobs.
struct Made {
    fixture: Fixture,
    state: Lasting,
    /// Blobs under the current master key.
    blobs: Vec<Vec<u8>>,
    /// Blobs under the new master key.
    moved: Vec<Vec<u8>>,
    mac: Vec<u8>,
}

thread_local! {
    /// One unit for all inputs; each run checks that data commands leave no key behind.
    static MADE: RefCell<Made> = RefCell::new(make());
}

const CIPHER: KeyUses = KeyUses::ENCRYPT.with(KeyUses::DECRYPT);
const MAC: KeyUses = KeyUses::SIGN.with(KeyUses::VERIFY);
const WRAPPING: KeyUses = KeyUses::WRAP.with(KeyUses::UNWRAP);

/// Both algorithms, wrapped without and with padding. Values are fixed, so that the blobs are the same in every run.
const KEYS: [(Algorithm, u16, KeyUses); 6] = [
    (Algorithm::Aes, 16, MAC),
    (Algorithm::Aes, 32, WRAPPING),
    (Algorithm::GenericSecret, 1, MAC),
    (Algorithm::GenericSecret, 20, MAC),
    (Algorithm::GenericSecret, 64, MAC),
    (Algorithm::Aes, 32, CIPHER),
];

fn make() -> Made {
    let mut fixture = Fixture::start(ruled_by(1));
    let mut blobs = Vec::new();
    for (algorithm, key_len, uses) in KEYS {
        for extractable in [false, true] {
            let spec = KeySpec { algorithm, key_len, uses, extractable };
            let value = vec![0x5c; usize::from(key_len)];
            blobs.push(fixture.bytes(Command::ImportKey { spec, value: &value }));
        }
    }
    let moved = blobs.iter().map(|blob| fixture.bytes(Command::Reencipher { blob })).collect();
    let mac =
        fixture.bytes(Command::Sign { by: MacMechanism::AesCmac, key: &blobs[0], data: b"still there" });
    Made { state: fixture.lasting(), fixture, blobs, moved, mac }
}

/// Panics if the unit panics, accepts a blob that no unit made, or leaves a key behind.
pub(crate) fn check(data: &[u8]) {
    MADE.with_borrow_mut(|made| {
        let mut bytes = Bytes(data);
        let (how, what) = (bytes.byte(), bytes.byte());
        let mut blob = match what {
            0xff => bytes.slice().to_vec(),
            n if n & 0x80 == 0 => made.blobs[usize::from(n) % made.blobs.len()].clone(),
            n => made.moved[usize::from(n) % made.moved.len()].clone(),
        };
        bytes.alter(&mut blob);
        open(made, how, &blob, bytes.0);
    });
}

fn open(made: &mut Made, how: u8, blob: &[u8], data: &[u8]) {
    let good = made.blobs[3].clone();
    let by_mac = if how & 0x80 == 0 { MacMechanism::AesCmac } else { MacMechanism::HmacSha256 };
    let by_wrap = if how & 0x80 == 0 { WrapMechanism::AesKw } else { WrapMechanism::AesKwp };
    let spec = KeySpec::aes(32, KeyUses::SIGN);
    let command = match how & 0x7f {
        0 => Command::Decrypt { key: blob, iv: [9; 12], aad: b"", ciphertext: data },
        1 => Command::Encrypt { key: blob, aad: data, plaintext: data },
        2 => Command::Sign { by: by_mac, key: blob, data },
        3 => Command::Verify { by: by_mac, key: blob, data: b"", signature: data },
        4 => Command::WrapKey { by: by_wrap, kek: blob, key: &good },
        5 => Command::WrapKey { by: by_wrap, kek: &good, key: blob },
        6 => Command::UnwrapKey { by: by_wrap, kek: blob, wrapped: data, spec },
        _ => Command::Reencipher { blob },
    };
    let answer = made.fixture.execute(command);
    let refusal = answer.as_ref().err().and_then(|refusal| refusal.unit_error());
    if !made.blobs.iter().any(|made| made == blob) {
        let elsewhere = made.moved.iter().any(|moved| moved == blob);
        let expected: &[_] = if elsewhere {
            &[UnitError::WkidMismatch]
        } else {
            &[UnitError::WkidMismatch, UnitError::BlobError]
        };
        assert!(refusal.is_some_and(|it| expected.contains(&it)), "{command:?}: a forged blob: {answer:?}");
    } else if matches!(command, Command::Reencipher { .. }) {
        assert!(matches!(&answer, Ok(Answer::Bytes(moved)) if made.moved.contains(moved)), "{answer:?}");
    } else {
        assert!(
            ![Some(UnitError::BlobError), Some(UnitError::WkidMismatch)].contains(&refusal),
            "{command:?}: a blob that the unit has made was refused"
        );
    }
    let sign = Command::Sign { by: MacMechanism::AesCmac, key: &made.blobs[0], data: b"still there" };
    assert_eq!(made.fixture.execute(sign), Ok(Answer::Bytes(made.mac.clone())), "the unit serves no more");
    assert_eq!(made.fixture.lasting(), made.state, "a blob changed the unit");
}

/// Seeds: every valid blob, by reference and as raw bytes, and some altered blobs.
#[allow(dead_code, reason = "who fuzzes starts from files")]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    const OPENED: [&str; 8] =
        ["decrypt", "encrypt", "sign", "verify", "wrap-by", "wrap-it", "unwrap", "reencipher"];
    const WHOLE: [&str; 12] = [
        "aes-16",
        "aes-16-extractable",
        "aes-32",
        "aes-32-extractable",
        "secret-1",
        "secret-1-extractable",
        "secret-20",
        "secret-20-extractable",
        "secret-64",
        "secret-64-extractable",
        "aes-32-cipher",
        "aes-32-cipher-extractable",
    ];
    // The number of a blob that permits it.
    const PERMITS: [u8; 8] = [10, 10, 0, 0, 2, 3, 2, 2];
    let named = (0..).zip(OPENED).zip(PERMITS);
    let named = named.map(|((how, name), blob)| (name, [&[how, blob, 0][..], &[7; 48]].concat()));
    let made = make();
    let whole = (0_u8..).zip(WHOLE).zip(made.blobs).map(|((n, name), blob)| {
        let len = u16::try_from(blob.len()).unwrap().to_le_bytes();
        (name, [&[n % 8, 0xff], &len[..], &blob, &[0], b"data"].concat())
    });
    let flipped = ("flipped", vec![2, 2, 1, 79, 0, 1]);
    // The bit of the attributes that makes a key extractable.
    let freed = ("made-extractable", vec![5, 2, 1, 55, 0, 1]);
    let moved = ("under-new", vec![2, 0x82, 0]);
    named.chain(whole).chain([flipped, freed, moved]).collect()
}
