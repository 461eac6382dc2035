//! Results and refusals of each command.

use crate::common::administrators::{attributes, secure};
use crate::common::{
    Answer, CIPHER, Fixture, MAC, OTHER_PARTS, PARTS, WRAPPING, activate, bring_into_service, bytes, commit,
    done, execute, generate, import, load, refusal, run, spec, status, try_load, zeroize,
};
use engine::{Algorithm, KeyUses, MacMechanism, WrapMechanism};
use unit_api::admin::{AdminCommand, ControlPoint, Permissions};
use unit_api::{
    Command, Condition, Envelope, MAX_DATA_LEN, MAX_RANDOM_LEN, NewRegister, UnitError, UseFamily,
    VerificationPattern,
};

#[test]
fn a_new_unit_has_nothing_in_it() {
    let fixture = Fixture::new(1);
    let status = status(&mut fixture.start());
    assert_eq!(status.unit, fixture.identity.unit);
    assert_eq!(status.domain_index, fixture.identity.domain_index);
    assert_eq!((status.domain_instance, status.transaction_counter), (1, 0));
    assert_eq!(status.condition, Condition::Operational);
    assert!(status.current.is_none() && matches!(status.new, NewRegister::Empty));
    assert_eq!((status.administrators, status.signature_threshold, status.revocation_threshold), (0, 0, 0));
}

/// The published vectors: key parts 00…1f, a5…a5 and e0…ff.
#[test]
fn kat_verification_pattern_ep11() {
    let first: Vec<u8> = (0..32).collect();
    let second = [0xa5; 32];
    let third: Vec<u8> = (0xe0..=0xff).collect();
    let vectors = [
        ([&first[..], &second].concat(), "0c7116b0cabdb39ac9ff6073862e2a4f470786265a3ce8723c237eb400000000"),
        (
            [&first[..], &second, &third].concat(),
            "947d5b800a42f1596c6b39093bb9e21ed61bc86294c1469157395fe000000000",
        ),
        (
            [&third[..], &first, &second].concat(),
            "947d5b800a42f1596c6b39093bb9e21ed61bc86294c1469157395fe000000000",
        ),
    ];
    for (parts, expected) in vectors {
        assert_eq!(load(&mut Fixture::quick(1).in_service(), &parts).to_string(), expected);
    }
    let singles = [
        (first, "491176b0f443c65a7c7d72df47d6cbc0d04e111fb5a619f60d3e776700000000"),
        (second.to_vec(), "a06d2a8e43c60eee8e674e0ff528a69f148cd49752e3db09caba4dd000000000"),
    ];
    for (part, expected) in singles {
        assert_eq!(load(&mut Fixture::quick(1).in_service(), &part).to_string(), expected);
    }
}

#[test]
fn unfit_key_parts_are_refused_and_change_nothing() {
    let fixture = Fixture::quick(1);
    let mut unit = fixture.in_service();
    let part = |byte| [byte; 32];
    let unfit: [(Vec<u8>, UnitError); 7] = [
        (vec![], UnitError::KeyPartsMissing),
        (part(0).to_vec(), UnitError::KeyPartsInvalid),
        ([part(1), part(0)].concat(), UnitError::KeyPartsInvalid),
        ([part(1), part(1)].concat(), UnitError::KeyPartsInvalid),
        ([part(1), part(2), part(1)].concat(), UnitError::KeyPartsInvalid),
        ([part(1), part(2), part(3)].concat(), UnitError::KeyPartsInvalid),
        ([part(1), part(2), part(4), part(8)].concat(), UnitError::KeyPartsTooMany),
    ];
    for (parts, expected) in unfit {
        assert_eq!(try_load(&mut unit, &parts).unwrap_err(), expected);
    }
    let status = status(&mut unit);
    assert!(status.current.is_none() && matches!(status.new, NewRegister::Empty));
    assert_eq!((fixture.device.live(), fixture.device.persisted()), (0, 0));
}

#[test]
fn a_ceremony_leads_to_a_serving_unit() {
    let fixture = Fixture::new(1);
    let mut unit = fixture.in_service();
    let key = spec(Algorithm::Aes, 32, CIPHER, false);
    assert_eq!(refusal(&mut unit, Command::GenerateKey { spec: key }), UnitError::WkNotInitialized);
    let pattern = load(&mut unit, &PARTS);
    let early = run(&mut unit, AdminCommand::ActivateNew, pattern.as_bytes());
    assert_eq!(early, Err(UnitError::NewNotCommitted));
    assert_eq!(run(&mut unit, AdminCommand::CommitNew, &[0; 32]), Err(UnitError::PatternMismatch));
    commit(&mut unit, pattern);
    assert_eq!(refusal(&mut unit, Command::GenerateKey { spec: key }), UnitError::WkNotInitialized);
    activate(&mut unit, pattern);
    // Add, set attributes; importer key, import, early activation, wrong commit, commit, activation.
    assert_eq!(status(&mut unit).transaction_counter, 8);
    assert_eq!(try_load(&mut unit, &PARTS).unwrap_err(), UnitError::SameAsCurrent);
    assert_eq!(fixture.device.persisted(), 1);
    bytes(&mut unit, Command::GenerateKey { spec: key });
}

#[test]
fn a_random_master_key_goes_to_current_and_then_to_new() {
    let mut unit = Fixture::new(1).in_service();
    let generate = |unit: &mut _| {
        let output = run(unit, AdminCommand::GenerateMasterKey, b"");
        output.map(|output| VerificationPattern::from_bytes(output.try_into().unwrap()))
    };
    let first = generate(&mut unit).unwrap();
    assert!(status(&mut unit).current.unwrap().is_of_same_key(&first));
    let second = generate(&mut unit).unwrap();
    assert!(matches!(status(&mut unit).new, NewRegister::FullUncommitted(p) if p.is_of_same_key(&second)));
    assert!(!first.is_of_same_key(&second));
    assert_eq!(generate(&mut unit).unwrap_err(), UnitError::NewNotEmpty);
}

#[test]
fn resumed_ceremonies_succeed_without_change() {
    let mut unit = Fixture::new(1).rotating();
    let pattern = match status(&mut unit).new {
        NewRegister::FullCommitted(pattern) => pattern,
        other => panic!("{other:?}"),
    };
    let before = status(&mut unit).transaction_counter;
    commit(&mut unit, pattern);
    activate(&mut unit, pattern);
    activate(&mut unit, pattern);
    for clear in [AdminCommand::ClearNew, AdminCommand::ClearCurrent, AdminCommand::ClearCurrent] {
        run(&mut unit, clear, b"").unwrap();
    }
    assert_eq!(status(&mut unit).transaction_counter, before + 6);
}

#[test]
fn encrypted_data_decrypts_with_its_associated_data_only() {
    let mut unit = Fixture::new(1).ready();
    let key = generate(&mut unit, CIPHER, false);
    let encrypt = Command::Encrypt { key: &key, aad: b"about", plaintext: b"secret" };
    let Ok(Answer::Ciphertext { iv, ciphertext }) = execute(&mut unit, encrypt) else { panic!() };
    let Ok(Answer::Ciphertext { iv: again, .. }) = execute(&mut unit, encrypt) else { panic!() };
    assert_ne!(iv, again, "an IV served twice");
    let decrypt = |aad, ciphertext| Command::Decrypt { key: &key, iv, aad, ciphertext };
    assert_eq!(bytes(&mut unit, decrypt(b"about", &ciphertext)), b"secret");
    assert_eq!(refusal(&mut unit, decrypt(b"other", &ciphertext)), UnitError::EncryptedDataInvalid);
    let short = &ciphertext[..15];
    assert_eq!(refusal(&mut unit, decrypt(b"about", short)), UnitError::EncryptedDataInvalid);
}

#[test]
fn macs_verify_and_wrong_ones_do_not() {
    let mut unit = Fixture::new(1).ready();
    let keys = [
        (MacMechanism::AesCmac, Algorithm::Aes, 16),
        (MacMechanism::HmacSha256, Algorithm::GenericSecret, 33),
    ];
    for (by, algorithm, key_len) in keys {
        let key = bytes(&mut unit, Command::GenerateKey { spec: spec(algorithm, key_len, MAC, false) });
        let mut signature = bytes(&mut unit, Command::Sign { by, key: &key, data: b"data" });
        assert_eq!(signature.len(), by.mac_len());
        done(&mut unit, Command::Verify { by, key: &key, data: b"data", signature: &signature });
        let truncated = Command::Verify { by, key: &key, data: b"data", signature: &signature[1..] };
        assert_eq!(refusal(&mut unit, truncated), UnitError::SignatureInvalid);
        signature[0] ^= 1;
        let wrong = Command::Verify { by, key: &key, data: b"data", signature: &signature };
        assert_eq!(refusal(&mut unit, wrong), UnitError::SignatureInvalid);
    }
}

#[test]
fn a_key_wrapped_by_a_key_unwraps_as_what_the_caller_says() {
    let mut unit = Fixture::new(1).ready();
    let kek = generate(&mut unit, WRAPPING, false);
    let key = import(&mut unit, Algorithm::Aes, &[7; 32], KeyUses::SIGN);
    for by in [WrapMechanism::AesKw, WrapMechanism::AesKwp] {
        let wrapped = bytes(&mut unit, Command::WrapKey { by, kek: &kek, key: &key });
        let spec = spec(Algorithm::Aes, 32, KeyUses::VERIFY, false);
        let unwrapped = bytes(&mut unit, Command::UnwrapKey { by, kek: &kek, wrapped: &wrapped, spec });
        let sign = Command::Sign { by: MacMechanism::AesCmac, key: &key, data: b"d" };
        let signature = bytes(&mut unit, sign);
        let by_mac = MacMechanism::AesCmac;
        done(&mut unit, Command::Verify { by: by_mac, key: &unwrapped, data: b"d", signature: &signature });
        let damaged = Command::UnwrapKey { by, kek: &kek, wrapped: &wrapped[..32], spec };
        assert_eq!(refusal(&mut unit, damaged), UnitError::WrappedKeyInvalid);
    }
}

#[test]
fn a_use_that_a_key_does_not_permit_is_refused() {
    let mut unit = Fixture::new(1).ready();
    let kek = generate(&mut unit, WRAPPING, false);
    let some = generate(&mut unit, CIPHER, true);
    let wrapped = bytes(&mut unit, Command::WrapKey { by: WrapMechanism::AesKw, kek: &kek, key: &some });
    type Use = fn(key: &'static [u8], some: &'static [u8], wrapped: &'static [u8]) -> Command<'static>;
    let uses: [(KeyUses, Use); 6] = [
        (KeyUses::ENCRYPT, |key, _, _| Command::Encrypt { key, aad: b"", plaintext: b"" }),
        (KeyUses::DECRYPT, |key, _, _| Command::Decrypt { key, iv: [0; 12], aad: b"", ciphertext: &[0; 16] }),
        (KeyUses::SIGN, |key, _, _| Command::Sign { by: MacMechanism::AesCmac, key, data: b"" }),
        (KeyUses::VERIFY, |key, _, _| Command::Verify {
            by: MacMechanism::AesCmac,
            key,
            data: b"",
            signature: &[0; 16],
        }),
        (KeyUses::WRAP, |kek, key, _| Command::WrapKey { by: WrapMechanism::AesKw, kek, key }),
        (KeyUses::UNWRAP, |kek, _, wrapped| Command::UnwrapKey {
            by: WrapMechanism::AesKw,
            kek,
            wrapped,
            spec: spec(Algorithm::Aes, 32, CIPHER, true),
        }),
    ];
    let families = UseFamily::ALL.map(UseFamily::uses);
    let (some, wrapped): (&'static [u8], &'static [u8]) = (some.leak(), wrapped.leak());
    for (needed, command) in uses {
        for family in families {
            let others = KeyUses::from_bits(family.bits() & !needed.bits()).unwrap();
            let without: &'static [u8] = generate(&mut unit, others, true).leak();
            let refused = refusal(&mut unit, command(without, some, wrapped));
            assert_eq!(refused, UnitError::KeyFunctionNotPermitted, "{needed:?} by {others:?}");
        }
        let with: &'static [u8] = generate(&mut unit, needed, true).leak();
        let answer = execute(&mut unit, command(with, some, wrapped)).map_err(|r| r.unit_error().unwrap());
        assert_ne!(answer.err(), Some(UnitError::KeyFunctionNotPermitted), "{needed:?}");
    }
    let kept = generate(&mut unit, CIPHER, false);
    let wrap = Command::WrapKey { by: WrapMechanism::AesKw, kek: &kek, key: &kept };
    assert_eq!(refusal(&mut unit, wrap), UnitError::KeyUnextractable);
}

#[test]
fn a_mechanism_that_does_not_go_with_the_key_is_refused() {
    let mut unit = Fixture::new(1).ready();
    let secret =
        bytes(&mut unit, Command::GenerateKey { spec: spec(Algorithm::GenericSecret, 32, MAC, true) });
    let sign = Command::Sign { by: MacMechanism::AesCmac, key: &secret, data: b"" };
    assert_eq!(refusal(&mut unit, sign), UnitError::MechanismInvalid);
    let aes = generate(&mut unit, MAC, true);
    let sign = Command::Sign { by: MacMechanism::HmacSha256, key: &aes, data: b"" };
    assert_eq!(refusal(&mut unit, sign), UnitError::MechanismInvalid);
}

#[test]
fn sizes_out_of_range_are_refused() {
    let mut unit = Fixture::new(1).ready();
    for (algorithm, key_len) in [(Algorithm::Aes, 0), (Algorithm::Aes, 33), (Algorithm::GenericSecret, 65)] {
        let spec = spec(algorithm, key_len, MAC, true);
        assert_eq!(refusal(&mut unit, Command::GenerateKey { spec }), UnitError::KeySizeRange);
    }
    let short = Command::ImportKey { spec: spec(Algorithm::Aes, 32, MAC, true), value: &[1; 31] };
    assert_eq!(refusal(&mut unit, short), UnitError::KeySizeRange);
    let len = u16::try_from(MAX_RANDOM_LEN).unwrap();
    assert_eq!(bytes(&mut unit, Command::GenerateRandom { len }).len(), MAX_RANDOM_LEN);
    assert_eq!(refusal(&mut unit, Command::GenerateRandom { len: len + 1 }), UnitError::DataLenRange);
    let key = generate(&mut unit, CIPHER, false);
    let (most, too_much) = (vec![0; MAX_DATA_LEN], vec![0; MAX_DATA_LEN + 1]);
    let encrypt = Command::Encrypt { key: &key, aad: b"", plaintext: &too_much };
    assert_eq!(refusal(&mut unit, encrypt), UnitError::DataLenRange);
    let encrypt = Command::Encrypt { key: &key, aad: &too_much, plaintext: b"" };
    assert_eq!(refusal(&mut unit, encrypt), UnitError::DataLenRange);
    let encrypt = Command::Encrypt { key: &key, aad: b"", plaintext: &most };
    let Ok(Answer::Ciphertext { iv, ciphertext }) = execute(&mut unit, encrypt) else { panic!() };
    let decrypt = Command::Decrypt { key: &key, iv, aad: b"", ciphertext: &ciphertext };
    assert_eq!(bytes(&mut unit, decrypt), most);
}

#[test]
fn an_output_without_room_is_refused_and_zeroed() {
    let mut unit = Fixture::new(1).ready();
    let spec = spec(Algorithm::Aes, 32, CIPHER, true);
    let full = bytes(&mut unit, Command::GenerateKey { spec }).len();
    for len in 0..full {
        let mut out = vec![0xee; len];
        let refused = unit.execute(&Envelope::plain(Command::GenerateKey { spec }), &mut out).unwrap_err();
        assert_eq!(refused.unit_error(), Some(UnitError::ResponseTooLong), "{len}");
        assert!(out.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn every_command_over_keys_has_its_control_point() {
    let mut unit = Fixture::new(1).ready();
    let (spec, by, mac) =
        (spec(Algorithm::Aes, 32, CIPHER, true), WrapMechanism::AesKw, MacMechanism::AesCmac);
    let [key, kek, mac_key] = [CIPHER, WRAPPING, MAC].map(|uses| generate(&mut unit, uses, true));
    let wrapped = bytes(&mut unit, Command::WrapKey { by, kek: &kek, key: &key });
    let encrypt = Command::Encrypt { key: &key, aad: b"", plaintext: b"" };
    let Ok(Answer::Ciphertext { iv, ciphertext }) = execute(&mut unit, encrypt) else { panic!() };
    let signature = bytes(&mut unit, Command::Sign { by: mac, key: &mac_key, data: b"" });
    let gated = [
        (Command::GenerateKey { spec }, ControlPoint::KeyGenSymm),
        (Command::ImportKey { spec, value: &[1; 32] }, ControlPoint::KeyGenSymm),
        (Command::WrapKey { by, kek: &kek, key: &key }, ControlPoint::WrapSymm),
        (Command::UnwrapKey { by, kek: &kek, wrapped: &wrapped, spec }, ControlPoint::UnwrapSymm),
        (encrypt, ControlPoint::EncryptSymm),
        (Command::Decrypt { key: &key, iv, aad: b"", ciphertext: &ciphertext }, ControlPoint::DecryptSymm),
        (Command::Sign { by: mac, key: &mac_key, data: b"" }, ControlPoint::SignSymm),
        (
            Command::Verify { by: mac, key: &mac_key, data: b"", signature: &signature },
            ControlPoint::SigVerifySymm,
        ),
    ];
    for point in ControlPoint::ALL {
        run(&mut unit, AdminCommand::DeleteControlPoints, &point.alone().to_bytes()).unwrap();
        if matches!(point, ControlPoint::AddCpbs | ControlPoint::DeleteCpbs) {
            zeroize(&mut unit);
            secure(&mut unit, 1, attributes(1, 1, Permissions::first()));
            bring_into_service(&mut unit, &PARTS);
            continue;
        }
        for (command, its_own) in gated {
            let refused = execute(&mut unit, command).err().map(|refusal| refusal.unit_error().unwrap());
            assert_eq!(
                refused,
                (its_own == *point).then_some(UnitError::MechanismInvalid),
                "{command:?}, {point:?}"
            );
        }
        bytes(&mut unit, Command::GenerateRandom { len: 1 });
        run(&mut unit, AdminCommand::AddControlPoints, &point.alone().to_bytes()).unwrap();
    }
}

#[test]
fn zeroize_begins_a_new_life_and_keeps_identity_and_counter() {
    let fixture = Fixture::new(1);
    let mut unit = fixture.rotating();
    let before = status(&mut unit);
    let key = generate(&mut unit, CIPHER, false);
    zeroize(&mut unit);
    let after = status(&mut unit);
    assert_eq!(after.unit, before.unit);
    assert_eq!(after.domain_instance, before.domain_instance + 1);
    assert_eq!(after.transaction_counter, before.transaction_counter + 1);
    assert!(after.current.is_none() && matches!(after.new, NewRegister::Empty));
    assert_eq!((fixture.device.live(), fixture.device.persisted()), (0, 0));
    let encrypt = Command::Encrypt { key: &key, aad: b"", plaintext: b"" };
    assert_eq!(refusal(&mut unit, encrypt), UnitError::WkNotInitialized);
    // The same parts restore the same master key, so that every blob is valid again.
    secure(&mut unit, 1, attributes(1, 1, Permissions::first()));
    bring_into_service(&mut unit, &PARTS);
    assert!(execute(&mut unit, encrypt).is_ok());
}

#[test]
fn every_boot_draws_another_nonce() {
    let fixture = Fixture::new(1);
    assert_ne!(status(&mut fixture.start()).boot_nonce, status(&mut fixture.start()).boot_nonce);
}

#[test]
fn rotation_serves_with_current_until_activation_and_with_new_afterwards() {
    let mut unit = Fixture::new(1).ready();
    let key = generate(&mut unit, CIPHER, false);
    let reencipher = Command::Reencipher { blob: &key };
    assert_eq!(refusal(&mut unit, reencipher), UnitError::NewMissing);
    let pattern = load(&mut unit, &OTHER_PARTS);
    assert_eq!(refusal(&mut unit, reencipher), UnitError::NewNotCommitted);
    commit(&mut unit, pattern);
    let moved = bytes(&mut unit, reencipher);
    let encrypt = |key| Command::Encrypt { key, aad: b"", plaintext: b"kept" };
    let Ok(Answer::Ciphertext { iv, ciphertext }) = execute(&mut unit, encrypt(&key)) else { panic!() };
    assert_eq!(refusal(&mut unit, encrypt(&moved)), UnitError::WkidMismatch);
    assert_eq!(refusal(&mut unit, Command::Reencipher { blob: &moved }), UnitError::WkidMismatch);
    activate(&mut unit, pattern);
    assert_eq!(refusal(&mut unit, encrypt(&key)), UnitError::WkidMismatch);
    let decrypt = Command::Decrypt { key: &moved, iv, aad: b"", ciphertext: &ciphertext };
    assert_eq!(bytes(&mut unit, decrypt), b"kept");
}
