//! Laws of the data commands, and of arbitrary frames.

use crate::common::administrators::Ask;
use crate::common::{
    self, Answer, CIPHER, Fixture, MAC, TestEnv, WRAPPING, bytes, done, execute, generate, import, spec,
    status,
};
use engine::{Algorithm, KeyUses, MacMechanism, WrapMechanism};
use proptest::prelude::*;
use std::cell::RefCell;
use unit_api::admin::AdminCommand;
use unit_api::{
    Command, Envelope, FRAME_HEADER_LEN, MAX_FRAME_LEN, Refusal, Request, Response, UnitError, decode_reply,
    encode_request, split_frame,
};
use unit_core::{REPLY_BUFFER_LEN, Unit};

thread_local! {
    /// One unit for all cases: data commands do not change its state, which another property checks.
    static UNIT: RefCell<Unit<TestEnv>> = RefCell::new(Fixture::quick(1).ready());
}

fn with_unit<T>(work: impl FnOnce(&mut Unit<TestEnv>) -> T) -> T {
    UNIT.with_borrow_mut(work)
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

fn secrets() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 1..=64)
}

proptest! {
    #[test]
    fn prop_decrypt_undoes_encrypt(aad in data(), plaintext in data(), key_len in prop::sample::select(vec![16, 24, 32])) {
        with_unit(|unit| {
            let key = bytes(unit, Command::GenerateKey { spec: spec(Algorithm::Aes, key_len, CIPHER, false) });
            let encrypt = Command::Encrypt { key: &key, aad: &aad, plaintext: &plaintext };
            let Ok(Answer::Ciphertext { iv, ciphertext }) = execute(unit, encrypt) else { panic!() };
            assert_eq!(ciphertext.len(), plaintext.len() + 16);
            let decrypt = Command::Decrypt { key: &key, iv, aad: &aad, ciphertext: &ciphertext };
            assert_eq!(bytes(unit, decrypt), plaintext);
        });
    }

    #[test]
    fn prop_verify_accepts_what_sign_made_and_nothing_else(value in secrets(), data in data(), bit in any::<usize>()) {
        with_unit(|unit| {
            let by = MacMechanism::HmacSha256;
            let key = import(unit, Algorithm::GenericSecret, &value, MAC);
            let mut signature = bytes(unit, Command::Sign { by, key: &key, data: &data });
            done(unit, Command::Verify { by, key: &key, data: &data, signature: &signature });
            let bit = bit % (signature.len() * 8);
            signature[bit / 8] ^= 1 << (bit % 8);
            let wrong = Command::Verify { by, key: &key, data: &data, signature: &signature };
            assert_eq!(common::refusal(unit, wrong), UnitError::SignatureInvalid);
        });
    }

    #[test]
    fn prop_unwrap_undoes_wrap(value in secrets()) {
        with_unit(|unit| {
            let kek = generate(unit, WRAPPING, false);
            let key = import(unit, Algorithm::GenericSecret, &value, KeyUses::SIGN);
            let by = WrapMechanism::AesKwp;
            let wrapped = bytes(unit, Command::WrapKey { by, kek: &kek, key: &key });
            let key_len = u16::try_from(value.len()).unwrap();
            let spec = spec(Algorithm::GenericSecret, key_len, KeyUses::SIGN, true);
            let again = bytes(unit, Command::UnwrapKey { by, kek: &kek, wrapped: &wrapped, spec });
            let sign = |key| Command::Sign { by: MacMechanism::HmacSha256, key, data: b"data" };
            assert_eq!(bytes(unit, sign(&key)), bytes(unit, sign(&again)));
        });
    }

    #[test]
    fn prop_random_bytes_are_no_request_and_no_harm(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut reply = vec![0xee; REPLY_BUFFER_LEN];
        with_unit(|unit| drop(answered(unit, &body, 0, &mut reply)));
    }

    #[test]
    fn prop_damaged_requests_are_no_harm(at in any::<prop::sample::Index>(), value in any::<u8>(), which in 0..6_usize) {
        with_unit(|unit| {
            let [key, kek, mac_key] = [CIPHER, WRAPPING, MAC].map(|uses| generate(unit, uses, true));
            let clear = Ask::of(unit, AdminCommand::ClearNew, b"").signed_by(&[0]);
            let commands = [
                Command::Encrypt { key: &key, aad: b"a", plaintext: b"plaintext" },
                Command::WrapKey { by: WrapMechanism::AesKw, kek: &kek, key: &key },
                Command::Sign { by: MacMechanism::AesCmac, key: &mac_key, data: b"data" },
                Command::ImportKey { spec: spec(Algorithm::Aes, 32, CIPHER, true), value: &[1; 32] },
                Command::Reencipher { blob: &key },
                Command::Administer { request: &clear },
            ];
            let mut body = request(7, 1000, commands[which]);
            let at = at.index(body.len());
            body[at] = value;
            let mut reply = vec![0xee; REPLY_BUFFER_LEN];
            drop(answered(unit, &body, 0, &mut reply));
        });
        // A damaged command may be another valid command; its effect is undone.
        UNIT.with_borrow_mut(|unit| {
            if status(unit).current.is_none() {
                *unit = Fixture::quick(1).ready();
            }
        });
    }
}

/// A request's frame body.
fn request(number: u64, deadline_ms: u32, command: Command<'_>) -> Vec<u8> {
    let mut frame = vec![0; MAX_FRAME_LEN];
    let request = Request { number, deadline_ms, envelope: Envelope::plain(command) };
    let len = encode_request(&request, &mut frame).unwrap();
    frame[FRAME_HEADER_LEN..len].to_vec()
}

/// Sends a body and checks that the reply is one complete frame, with no bytes after it.
fn answered(
    unit: &mut Unit<TestEnv>,
    body: &[u8],
    waited_ms: u32,
    reply: &mut [u8],
) -> (u64, Result<Vec<u8>, Refusal>) {
    let half = reply.len() / 2;
    reply[half..].fill(0);
    let len = unit.handle_request(body, waited_ms, reply);
    let (found, rest) = split_frame(&reply[..len]).unwrap().unwrap();
    assert!(rest.is_empty());
    assert!(reply[half.max(len)..].iter().all(|byte| *byte == 0), "the working space was left as it was");
    let decoded = decode_reply(found).unwrap();
    let content = decoded.result.map(|response| match response {
        Response::Random(bytes) | Response::Blob(bytes) | Response::Plaintext(bytes) => bytes.to_vec(),
        _ => Vec::new(),
    });
    (decoded.number, content)
}

fn refused(answer: &(u64, Result<Vec<u8>, Refusal>)) -> (u64, Option<UnitError>) {
    (answer.0, answer.1.as_ref().err().and_then(|refusal| refusal.unit_error()))
}

#[test]
fn a_request_is_answered_under_its_number() {
    let mut unit = Fixture::new(1).ready();
    let mut reply = vec![0; REPLY_BUFFER_LEN];
    let (number, content) =
        answered(&mut unit, &request(42, 10, Command::GenerateRandom { len: 99 }), 9, &mut reply);
    assert_eq!((number, content.unwrap().len()), (42, 99));
}

#[test]
fn a_late_request_is_refused_and_changes_nothing() {
    let mut unit = Fixture::new(1).ready();
    let mut reply = vec![0; REPLY_BUFFER_LEN];
    for (deadline_ms, waited_ms) in [(0, 0), (5, 5), (5, 6), (0, u32::MAX)] {
        let zeroize = Ask::of(&mut unit, AdminCommand::Zeroize, b"").signed_by(&[0]);
        let late = request(1, deadline_ms, Command::Administer { request: &zeroize });
        let answer = answered(&mut unit, &late, waited_ms, &mut reply);
        assert_eq!(refused(&answer), (1, Some(UnitError::DeadlineExceeded)));
    }
    assert!(status(&mut unit).current.is_some());
}

#[test]
fn what_is_no_request_is_answered_under_number_0() {
    let mut unit = Fixture::new(1).ready();
    let mut reply = vec![0; REPLY_BUFFER_LEN];
    let status = request(1, 10, Command::Status);
    let malformed = [
        vec![],
        vec![0xff; 40],
        status[..status.len() - 1].to_vec(),
        [&status[..], &[0]].concat(),
        request(0, 10, Command::Status),
    ];
    for body in malformed {
        assert_eq!(refused(&answered(&mut unit, &body, 0, &mut reply)), (0, Some(UnitError::FrameMalformed)));
    }
    let long = vec![0; MAX_FRAME_LEN + 1];
    assert_eq!(refused(&answered(&mut unit, &long, 0, &mut reply)), (0, Some(UnitError::FrameTooLong)));
}

#[test]
fn an_imported_key_cannot_be_made_to_claim_that_it_was_made_inside() {
    let mut unit = Fixture::new(1).ready();
    let mut reply = vec![0; REPLY_BUFFER_LEN];
    let spec = spec(Algorithm::Aes, 32, KeyUses::SIGN, false);
    let body = request(1, 10, Command::ImportKey { spec, value: &[7; 32] });
    let honest = answered(&mut unit, &body, 0, &mut reply).1.unwrap();
    assert_eq!(honest[52..56], KeyUses::SIGN.bits().to_be_bytes());
    // SIGN as postcard writes it, and SIGN with the bits that mean LOCAL, NEVER_EXTRACTABLE and EXTRACTABLE in a blob.
    let at = body.windows(2).position(|bytes| bytes == [0x80, 0x02]).unwrap();
    for forged_bit in [0x20, 0x02, 0x01] {
        let mut forged = body.clone();
        forged[at] |= forged_bit;
        let answer = answered(&mut unit, &forged, 0, &mut reply);
        assert_eq!(refused(&answer), (0, Some(UnitError::FrameMalformed)), "{forged_bit:#x}");
    }
}

#[test]
fn a_reply_without_room_is_refused_as_such() {
    let mut unit = Fixture::new(1).ready();
    let body = request(3, 10, Command::GenerateRandom { len: 1000 });
    for len in [512, 513, 1000, 1999, 2000] {
        let mut reply = vec![0; len];
        let answer = answered(&mut unit, &body, 0, &mut reply);
        assert_eq!(refused(&answer), (3, Some(UnitError::ResponseTooLong)), "{len}");
    }
    for len in [0, 1, 511] {
        let mut reply = vec![0; len];
        let zeroize = Ask::of(&mut unit, AdminCommand::Zeroize, b"").signed_by(&[0]);
        let body = request(3, 10, Command::Administer { request: &zeroize });
        assert_eq!(unit.handle_request(&body, 0, &mut reply), 0);
        assert!(status(&mut unit).current.is_some());
    }
}

#[test]
fn the_longest_answers_fit_a_frame() {
    let mut unit = Fixture::new(1).ready();
    let key = generate(&mut unit, CIPHER, false);
    let plaintext = vec![0x5a; unit_api::MAX_DATA_LEN];
    let encrypt = Command::Encrypt { key: &key, aad: b"", plaintext: &plaintext };
    let Ok(Answer::Ciphertext { iv, ciphertext }) = execute(&mut unit, encrypt) else { panic!() };
    let mut reply = vec![0; REPLY_BUFFER_LEN];
    let body = request(1, 10, Command::Decrypt { key: &key, iv, aad: b"", ciphertext: &ciphertext });
    assert_eq!(answered(&mut unit, &body, 0, &mut reply), (1, Ok(plaintext)));
}
