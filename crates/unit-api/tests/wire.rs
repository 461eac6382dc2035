//! Stability of the wire format: old bytes still decode, and messages are encoded to the same bytes.

use engine::{Algorithm, KeySpec, KeyUses, MacMechanism, WrapMechanism};
use proptest::prelude::*;
use unit_api::{
    CodecError, Command, CommandKind, Condition, Envelope, MAX_FRAME_LEN, NewRegister, Refusal, Reply,
    Request, Response, UnitError, UnitId, UnitStatus, VerificationPattern, decode_reply, decode_request,
    encode_reply, encode_request, split_frame,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

const SPEC: KeySpec = KeySpec::aes(32, KeyUses::ENCRYPT.with(KeyUses::DECRYPT));
const PATTERN: VerificationPattern = VerificationPattern::from_bytes([0x5a; 32]);

/// Every command, in the order of their numbers.
const COMMANDS: [Command<'static>; 12] = [
    Command::Status,
    Command::GenerateRandom { len: 300 },
    Command::GenerateKey { spec: SPEC },
    Command::ImportKey { spec: SPEC, value: &[1, 2, 3] },
    Command::WrapKey { by: WrapMechanism::AesKw, kek: &[4, 5], key: &[6] },
    Command::UnwrapKey { by: WrapMechanism::AesKwp, kek: &[4, 5], wrapped: &[7, 8], spec: SPEC },
    Command::Encrypt { key: &[9], aad: &[10, 11], plaintext: &[12] },
    Command::Decrypt { key: &[9], iv: [13; 12], aad: &[10, 11], ciphertext: &[14] },
    Command::Sign { by: MacMechanism::AesCmac, key: &[9], data: &[15] },
    Command::Verify { by: MacMechanism::HmacSha256, key: &[9], data: &[15], signature: &[16, 17] },
    Command::Reencipher { blob: &[18] },
    Command::Administer { request: &[19, 20] },
];

const STATUS: UnitStatus = UnitStatus {
    unit: UnitId(*b"SIM00001\x01\x02\x03\x04\x05\x06\x07\x08"),
    domain_index: 3,
    domain_instance: 4,
    boot_nonce: [5; 16],
    condition: Condition::Operational,
    current: Some(PATTERN),
    new: NewRegister::FullCommitted(PATTERN),
    transaction_counter: 1 << 100,
    administrators: 2,
    signature_threshold: 2,
    revocation_threshold: 1,
    audit_records: 6,
    audit_head: [7; 32],
};

/// Every response, in the order of their numbers, then a refusal.
fn responses() -> Vec<Result<Response<'static>, Refusal>> {
    vec![
        Ok(Response::Status(STATUS)),
        Ok(Response::Random(&[1])),
        Ok(Response::Blob(&[2])),
        Ok(Response::Wrapped(&[3])),
        Ok(Response::Ciphertext { iv: [4; 12], ciphertext: &[5] }),
        Ok(Response::Plaintext(&[6])),
        Ok(Response::Signature(&[7])),
        Ok(Response::Administered(&[8])),
        Ok(Response::Done),
        Err(UnitError::WkidMismatch.into()),
    ]
}

/// Every mechanism and key algorithm of a command, and every state of a unit's status.
fn details() -> (Vec<Command<'static>>, Vec<Response<'static>>) {
    let secret = KeySpec {
        algorithm: Algorithm::GenericSecret,
        key_len: 64,
        uses: KeyUses::SIGN.with(KeyUses::VERIFY),
        extractable: true,
    };
    let mut commands = vec![Command::GenerateKey { spec: secret }];
    for by in [WrapMechanism::AesKw, WrapMechanism::AesKwp] {
        commands.push(Command::WrapKey { by, kek: &[1], key: &[2] });
    }
    for by in [MacMechanism::AesCmac, MacMechanism::HmacSha256] {
        commands.push(Command::Sign { by, key: &[1], data: &[2] });
    }
    let statuses = [
        (Condition::Error(0x0243), None, NewRegister::Empty),
        (Condition::Operational, None, NewRegister::FullUncommitted(PATTERN)),
    ];
    let status =
        |(condition, current, new)| Response::Status(UnitStatus { condition, current, new, ..STATUS });
    (commands, statuses.into_iter().map(status).collect())
}

/// The samples, one frame in hexadecimal on each line: requests, replies, then those of [`details`].
fn frames() -> String {
    let mut buffer = [0; 512];
    let mut lines = String::new();
    let (commands, statuses) = details();
    let statuses = statuses.into_iter().map(Ok).collect();
    for (commands, replies) in [(COMMANDS.to_vec(), responses()), (commands, statuses)] {
        for (number, command) in (1..).zip(commands) {
            let envelope = Envelope::plain(command);
            let len = encode_request(&Request { number, deadline_ms: 5000, envelope }, &mut buffer).unwrap();
            lines += &format!("{} {}\n", command.name(), hex(&buffer[..len]));
        }
        for (number, result) in (1..).zip(replies) {
            let len = encode_reply(&Reply { number, result }, &mut buffer).unwrap();
            lines += &format!("reply {}\n", hex(&buffer[..len]));
        }
    }
    lines
}

/// The numbers after the last sample are unused, so that every command and response has a sample.
#[test]
fn wire_samples_cover_every_command_and_response() {
    assert_eq!(COMMANDS.map(|command| command.kind()).as_slice(), CommandKind::ALL);
    let next = u8::try_from(COMMANDS.len()).unwrap();
    let longest = [0; 100];
    let request = [&[1, 1, next][..], &longest].concat();
    for len in 3..request.len() {
        assert!(decode_request(&request[..len]).is_err(), "{len}");
    }
    let next = u8::try_from(responses().len() - 1).unwrap();
    let reply = [&[1, 0, next][..], &longest].concat();
    for len in 3..reply.len() {
        assert!(decode_reply(&reply[..len]).is_err(), "{len}");
    }
}

#[test]
fn every_request_fits_the_room_it_is_given() {
    let mut commands = COMMANDS.to_vec();
    commands.extend(details().0);
    for command in commands {
        let (number, deadline_ms) = (u64::MAX, u32::MAX);
        let request = Request { number, deadline_ms, envelope: Envelope::plain(command) };
        assert!(encode_request(&request, &mut vec![0; request.frame_len_hint()]).is_ok(), "{command:?}");
    }
}

/// To append a sample, run with `HSM_SIM_BLESS=1`, and check in the diff that no old line has changed.
#[test]
fn wire_samples_are_what_is_sent_and_still_decode() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/wire/unit-api.txt");
    if std::env::var_os("HSM_SIM_BLESS").is_some() {
        std::fs::write(path, frames()).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap();
    assert_eq!(kept, frames());
    for line in kept.lines() {
        let (name, frame) = line.split_once(' ').unwrap();
        let frame = unhex(frame);
        let (body, rest) = split_frame(&frame).unwrap().unwrap();
        assert!(rest.is_empty());
        match name {
            "reply" => assert!(decode_reply(body).is_ok()),
            _ => assert_eq!(decode_request(body).unwrap().envelope.command.name(), name),
        }
    }
}

#[test]
fn a_length_above_the_limit_is_refused_from_its_four_bytes() {
    assert_eq!(split_frame(&[0xff; 4]), Err(CodecError::TooLong { announced: u32::MAX }));
    let just = u32::try_from(MAX_FRAME_LEN).unwrap();
    assert_eq!(split_frame(&just.to_be_bytes()), Ok(None));
    assert_eq!(split_frame(&(just + 1).to_be_bytes()), Err(CodecError::TooLong { announced: just + 1 }));
}

#[test]
fn bytes_after_a_message_are_refused() {
    let mut frame = [0; 64];
    let request = Request { number: 1, deadline_ms: 1, envelope: Envelope::plain(Command::Status) };
    let len = encode_request(&request, &mut frame).unwrap();
    assert!(decode_request(&frame[4..len]).is_ok());
    assert_eq!(decode_request(&frame[4..=len]).err(), Some(CodecError::Malformed));
}

/// The attribute word of a key has other bits besides uses: an undefined use must not set one of them.
#[test]
fn a_use_that_does_not_exist_does_not_decode() {
    #[derive(serde::Serialize)]
    struct Sent {
        algorithm: Algorithm,
        key_len: u16,
        uses: u32,
        extractable: bool,
    }
    let mut buffer = [0; 16];
    for bits in (0..32).map(|bit| 1 << bit).chain([0, KeyUses::ALL.bits(), u32::MAX]) {
        let sent = Sent { algorithm: Algorithm::Aes, key_len: 32, uses: bits, extractable: false };
        let received: Result<KeySpec, _> =
            postcard::from_bytes(postcard::to_slice(&sent, &mut buffer).unwrap());
        assert_eq!(received.ok().map(|spec| spec.uses), KeyUses::from_bits(bits), "{bits:#x}");
    }
}

#[test]
fn debug_shows_no_content() {
    let command = Command::ImportKey { spec: SPEC, value: &[0xa5; 32] };
    assert_eq!(format!("{command:?}"), "ImportKey");
    assert_eq!(format!("{:?}", Response::Plaintext(&[0xa5; 32])), "Plaintext");
}

proptest! {
    #[test]
    fn prop_no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = split_frame(&bytes);
        let _ = decode_request(&bytes);
        let _ = decode_reply(&bytes);
    }

    #[test]
    fn prop_a_frame_is_split_only_when_whole(body in proptest::collection::vec(any::<u8>(), 0..100), cut in 0usize..104) {
        let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        frame.extend(&body);
        let cut = cut.min(frame.len());
        let split = split_frame(&frame[..cut]).unwrap();
        prop_assert_eq!(split.is_some(), cut == frame.len());
    }
}
