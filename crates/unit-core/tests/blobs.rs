//! Key blobs that were altered, or belong to another unit.

use crate::common::{
    Answer, CIPHER, Fixture, MAC, OTHER_PARTS, TestEnv, WRAPPING, activate, bring_into_service, bytes,
    commit, done, execute, generate, import, load, refusal, spec, status,
};
use engine::{Algorithm, Engine, KeyPart, KeyUses, MacMechanism, WrapMechanism};
use unit_api::{Command, NewRegister, UnitError};
use unit_core::Unit;
use unit_core::constant_time::check_blob_mac;

const WKID: core::ops::Range<usize> = 32..48;

/// A blob of each kind: both algorithms, with and without padding, imported and generated.
fn every_kind(unit: &mut Unit<TestEnv>) -> Vec<Vec<u8>> {
    let mut blobs = Vec::new();
    for (algorithm, lens, uses) in
        [(Algorithm::Aes, &[16, 24, 32][..], WRAPPING), (Algorithm::GenericSecret, &[1, 15, 16, 20, 64], MAC)]
    {
        for key_len in lens {
            blobs.push(bytes(unit, Command::GenerateKey { spec: spec(algorithm, *key_len, uses, true) }));
            blobs.push(import(unit, algorithm, &vec![0x5c; usize::from(*key_len)], uses));
        }
    }
    blobs
}

/// Commands that decrypt a blob, one for each path.
fn openers(blob: &[u8]) -> [Command<'_>; 3] {
    [
        Command::Verify { by: MacMechanism::HmacSha256, key: blob, data: b"", signature: &[0; 32] },
        Command::WrapKey { by: WrapMechanism::AesKwp, kek: blob, key: blob },
        Command::Reencipher { blob },
    ]
}

#[test]
fn every_bit_of_every_byte_counts() {
    let fixture = Fixture::new(1);
    let mut unit = fixture.rotating();
    let keys_at_rest = fixture.device.live();
    for mut blob in every_kind(&mut unit) {
        for bit in 0..blob.len() * 8 {
            let byte = bit / 8;
            blob[byte] ^= 1 << (bit % 8);
            let expected = if WKID.contains(&byte) { UnitError::WkidMismatch } else { UnitError::BlobError };
            for command in openers(&blob) {
                assert_eq!(refusal(&mut unit, command), expected, "bit {bit} of {} bytes", blob.len());
            }
            blob[byte] ^= 1 << (bit % 8);
        }
    }
    assert_eq!(fixture.device.live(), keys_at_rest);
}

#[test]
fn truncated_and_extended_blobs_are_refused() {
    let mut unit = Fixture::new(1).rotating();
    for blob in every_kind(&mut unit) {
        let mut extended = blob.clone();
        extended.extend([0; 200]);
        for len in (0..blob.len()).chain(blob.len() + 1..extended.len()) {
            for command in openers(&extended[..len]) {
                assert_eq!(refusal(&mut unit, command), UnitError::BlobError, "{len} of {}", blob.len());
            }
        }
    }
}

#[test]
fn blobs_show_the_offsets_that_ep11_shows() {
    let mut unit = Fixture::new(1).ready();
    let current = status(&mut unit).current.unwrap();
    let blob = generate(&mut unit, CIPHER, false);
    assert_eq!(blob.len(), 80 + 40 + 16);
    assert_eq!(blob[..32], [0; 32]);
    assert_eq!(blob[WKID], current.as_bytes()[..16]);
    assert_eq!(blob[48..52], [0; 4]);
    // ENCRYPT, DECRYPT, LOCAL, NEVER_EXTRACTABLE.
    assert_eq!(blob[52..56], 0x0c22_u32.to_be_bytes());
    assert_eq!(blob[56..64], 1_u64.to_be_bytes());
    assert_eq!(blob[64..66], [0x12, 0x34]);
    let brought_in = import(&mut unit, Algorithm::GenericSecret, &[1; 20], KeyUses::SIGN);
    // SIGN, EXTRACTABLE.
    assert_eq!(brought_in[52..56], 0x0101_u32.to_be_bytes());
    assert_eq!(brought_in.len(), 80 + 32 + 16);
}

/// A unit with the master key of the blobs below.
pub(crate) fn known_master_key() -> Unit<TestEnv> {
    let mut unit = Fixture::new(1).in_service();
    let parts = [(0..32).collect::<Vec<u8>>(), vec![0xa5; 32]].concat();
    bring_into_service(&mut unit, &parts);
    unit
}

/// The blob of a known key under a known master key, calculated with an independent implementation of every mechanism.
#[test]
fn kat_blob_openssl() {
    let mut unit = known_master_key();
    let aes = import(&mut unit, Algorithm::Aes, &(0x40..0x60).collect::<Vec<u8>>(), KeyUses::ENCRYPT);
    assert_eq!(hex(&aes), AES_BLOB);
    let secret =
        import(&mut unit, Algorithm::GenericSecret, &(0x40..0x54).collect::<Vec<u8>>(), KeyUses::SIGN);
    assert_eq!(hex(&secret), SECRET_BLOB);
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap()).collect();
    digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const AES_BLOB: &str = "\
    00000000000000000000000000000000000000000000000000000000000000000c7116b0cabdb39ac9ff6073862e2a4f\
    000000000000080100000000000000011234010100200100000000000000000061544489eec01d2545685d34a17e9057\
    11d2782a708208cbd4e98a892dd84ece1c5a380a8a91dae22fff7d805098e9dd30d9dc2dc11363e9";
/// The same key, extractable and with every use, as units made it before uses were limited to one family.
const MIXED_BLOB: &str = "\
    00000000000000000000000000000000000000000000000000000000000000000c7116b0cabdb39ac9ff6073862e2a4f\
    000000000000fd0100000000000000011234010100200100000000000000000061544489eec01d2545685d34a17e9057\
    11d2782a708208cbd4e98a892dd84ece1c5a380a8a91dae29dedafd8e2d9d410fe92d7a57763272d";
/// The same key, extractable, with WRAP and DECRYPT.
pub(crate) const WRAP_AND_DECRYPT_BLOB: &str = "\
    00000000000000000000000000000000000000000000000000000000000000000c7116b0cabdb39ac9ff6073862e2a4f\
    000000000000440100000000000000011234010100200100000000000000000061544489eec01d2545685d34a17e9057\
    11d2782a708208cbd4e98a892dd84ece1c5a380a8a91dae2913506a055251eb8f09b18700a71c26e";
const SECRET_BLOB: &str = "\
    00000000000000000000000000000000000000000000000000000000000000000c7116b0cabdb39ac9ff6073862e2a4f\
    0000000000000101000000000000000112340102001402000000000000000000aab677fd6ecbf1d102766122d5836e6b\
    c639fb9d1bcc30bf48943199866d0581964eec58d5fb74a055d6299620276fc0";

/// Blobs that earlier versions made have uses of several families: they undo what they protect and protect nothing more.
#[test]
fn a_blob_of_before_the_table_of_uses_protects_nothing_more() {
    let mut unit = known_master_key();
    let (by, mac) = (WrapMechanism::AesKw, MacMechanism::AesCmac);
    let mixed = unhex(MIXED_BLOB);
    let data = import(&mut unit, Algorithm::Aes, &(0x40..0x60).collect::<Vec<u8>>(), KeyUses::ENCRYPT);
    let encrypt = Command::Encrypt { key: &data, aad: b"", plaintext: b"kept" };
    let Ok(Answer::Ciphertext { iv, ciphertext }) = execute(&mut unit, encrypt) else { panic!() };
    let decrypt = Command::Decrypt { key: &mixed, iv, aad: b"", ciphertext: &ciphertext };
    assert_eq!(bytes(&mut unit, decrypt), b"kept");
    let signs = import(&mut unit, Algorithm::Aes, &(0x40..0x60).collect::<Vec<u8>>(), KeyUses::SIGN);
    let signature = bytes(&mut unit, Command::Sign { by: mac, key: &signs, data: b"d" });
    done(&mut unit, Command::Verify { by: mac, key: &mixed, data: b"d", signature: &signature });
    let wraps = import(&mut unit, Algorithm::Aes, &(0x40..0x60).collect::<Vec<u8>>(), KeyUses::WRAP);
    let wrapped = bytes(&mut unit, Command::WrapKey { by, kek: &wraps, key: &data });
    let spec = spec(Algorithm::Aes, 32, CIPHER, false);
    bytes(&mut unit, Command::UnwrapKey { by, kek: &mixed, wrapped: &wrapped, spec });
    for command in [
        Command::Encrypt { key: &mixed, aad: b"", plaintext: b"" },
        Command::Sign { by: mac, key: &mixed, data: b"" },
        Command::WrapKey { by, kek: &mixed, key: &data },
    ] {
        assert_eq!(refusal(&mut unit, command), UnitError::KeyUsesInconsistent, "{command:?}");
    }
    // Its owner gives it one family: it is extractable.
    let kek = generate(&mut unit, WRAPPING, false);
    let wrapped = bytes(&mut unit, Command::WrapKey { by, kek: &kek, key: &mixed });
    let again = bytes(&mut unit, Command::UnwrapKey { by, kek: &kek, wrapped: &wrapped, spec });
    assert_eq!(
        bytes(&mut unit, Command::Decrypt { key: &again, iv, aad: b"", ciphertext: &ciphertext }),
        b"kept"
    );
    // It moves to the next master key as it is.
    let pattern = load(&mut unit, &OTHER_PARTS);
    commit(&mut unit, pattern);
    assert_eq!(bytes(&mut unit, Command::Reencipher { blob: &mixed })[48..80], mixed[48..80]);
}

#[test]
fn a_blob_opens_in_another_unit_with_the_same_master_key_only() {
    let (mut first, mut second) = (Fixture::new(1).ready(), Fixture::new(2).ready());
    let key = import(&mut first, Algorithm::Aes, &[3; 32], KeyUses::SIGN);
    let sign = Command::Sign { by: MacMechanism::AesCmac, key: &key, data: b"data" };
    assert_eq!(bytes(&mut first, sign), bytes(&mut second, sign));
    let mut foreign = Fixture::new(3).in_service();
    assert_eq!(refusal(&mut foreign, sign), UnitError::WkNotInitialized);
    let pattern = load(&mut foreign, &OTHER_PARTS);
    commit(&mut foreign, pattern);
    assert_eq!(refusal(&mut foreign, sign), UnitError::WkNotInitialized);
    activate(&mut foreign, pattern);
    assert_eq!(refusal(&mut foreign, sign), UnitError::WkidMismatch);
    // The identifier of the right master key does not make the blob valid.
    let mut forged = key.clone();
    forged[WKID].copy_from_slice(&pattern.as_bytes()[..16]);
    let sign = Command::Sign { by: MacMechanism::AesCmac, key: &forged, data: b"data" };
    assert_eq!(refusal(&mut foreign, sign), UnitError::BlobError);
}

#[test]
fn a_blob_under_the_new_master_key_is_refused_before_activation() {
    let mut elsewhere = Fixture::new(2).in_service();
    let pattern = bring_into_service(&mut elsewhere, &OTHER_PARTS);
    let key = generate(&mut elsewhere, KeyUses::SIGN, false);
    let sign = Command::Sign { by: MacMechanism::AesCmac, key: &key, data: b"" };
    let mut unit = Fixture::new(1).ready();
    load(&mut unit, &OTHER_PARTS);
    assert!(matches!(status(&mut unit).new, NewRegister::FullUncommitted(_)));
    assert_eq!(refusal(&mut unit, sign), UnitError::WkidMismatch);
    commit(&mut unit, pattern);
    assert_eq!(refusal(&mut unit, sign), UnitError::WkidMismatch);
    activate(&mut unit, pattern);
    bytes(&mut unit, sign);
}

#[test]
fn reenciphering_keeps_every_attribute_and_the_key() {
    let mut unit = Fixture::new(1).rotating();
    let blobs = every_kind(&mut unit);
    let moved: Vec<_> = blobs.iter().map(|blob| bytes(&mut unit, Command::Reencipher { blob })).collect();
    let NewRegister::FullCommitted(pattern) = status(&mut unit).new else { panic!() };
    for (before, after) in blobs.iter().zip(&moved) {
        assert_eq!(before[48..80], after[48..80]);
        assert_eq!(after[WKID], pattern.as_bytes()[..16]);
    }
    let imported = import(&mut unit, Algorithm::Aes, &[9; 16], KeyUses::SIGN);
    let after = bytes(&mut unit, Command::Reencipher { blob: &imported });
    let by = MacMechanism::AesCmac;
    let signature = bytes(&mut unit, Command::Sign { by, key: &imported, data: b"x" });
    activate(&mut unit, pattern);
    assert_eq!(bytes(&mut unit, Command::Sign { by, key: &after, data: b"x" }), signature);
}

#[test]
fn the_constant_time_surface_says_what_the_unit_says() {
    let fixture = Fixture::new(1);
    let mut blob = generate(&mut fixture.ready(), KeyUses::SIGN, false);
    let mut engine = fixture.device.power_on(&fixture.disk, false);
    let parts = [KeyPart::new([1; 32]), KeyPart::new([2; 32])];
    let other = engine.combine_key_parts(&[KeyPart::new([4; 32]), KeyPart::new([8; 32])], false).unwrap();
    let refused = check_blob_mac(&mut engine, other, &blob).unwrap_err();
    assert_eq!(refused.unit_error(), Some(UnitError::BlobError));
    let master = engine.combine_key_parts(&parts, false).unwrap();
    check_blob_mac(&mut engine, master, &blob).unwrap();
    blob[100] ^= 1;
    let refused = check_blob_mac(&mut engine, master, &blob).unwrap_err();
    assert_eq!(refused.unit_error(), Some(UnitError::BlobError));
    assert_eq!(fixture.device.live(), 2, "the two master keys lent to it");
}
