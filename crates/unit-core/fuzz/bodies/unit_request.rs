//! Arbitrary requests to a unit in one of its states. A request without valid signatures changes nothing; a signed one
//! increments the transaction counter once.

use crate::administration::{Signed, good_input, installed, request, ruled_by};
use crate::fixture::{Answer, Bytes, Disk, Fixture, Lasting, body};
use engine::{Algorithm, KeySpec, KeyUses, MacMechanism, WrapMechanism};
use std::cell::OnceCell;
use unit_api::admin::{
    AdminCommand, AdminRefusal, AdminResponse, AdminResponseBlock, Attributes, SignaturesNeeded,
};
use unit_api::{Command, UnitError};

/// Maximum number of requests for one input; signatures are slow.
const STEPS: usize = 6;

thread_local! {
    /// A new unit, one with one administrator, one with three of whom two have to sign.
    static SCENES: [OnceCell<Disk>; 3] = const { [OnceCell::new(), OnceCell::new(), OnceCell::new()] };
}

fn scene(n: u8) -> Fixture {
    let n = n % 3;
    let administrators = if n == 2 { 3 } else { n };
    let disk = SCENES.with(|all| all[usize::from(n)].get_or_init(|| ruled_by(administrators)).copy());
    Fixture::start(disk)
}

/// Panics if the unit panics, if a reply is malformed, or if an unsigned request changed the unit.
pub(crate) fn check(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut fixture = scene(bytes.byte());
    let first = fixture.lasting();
    for _ in 0..STEPS {
        if bytes.0.is_empty() {
            break;
        }
        match bytes.byte() % 4 {
            0 => anything(&mut fixture, bytes.slice()),
            1 => data_command(&mut fixture, &mut bytes),
            2 => administration(&mut fixture, &mut bytes),
            _ => anything(&mut fixture, &body(Command::Administer { request: bytes.slice() })),
        }
    }
    let last = fixture.lasting();
    if last != first {
        assert_eq!(
            Fixture::start(fixture.disk.copy()).lasting(),
            last,
            "a confirmed change was lost by a power failure"
        );
    }
}

/// Checks the effect of an unsigned request: only a unit in imprint mode may change, by one step.
fn changes_nothing(fixture: &mut Fixture, before: &Lasting, answer: &Result<Answer, unit_api::Refusal>) {
    let after = fixture.lasting();
    if before.thresholds[0] != 0 || !matches!(answer, Ok(Answer::Administered(_))) {
        assert_eq!(&after, before, "an unsigned request changed the unit");
    }
    let counted = after.transaction_counter - before.transaction_counter;
    assert!(counted <= 1 && (counted == 1 || &after == before), "a change without a count: {after:?}");
}

/// Sends arbitrary bytes as the body of a request.
fn anything(fixture: &mut Fixture, body: &[u8]) {
    let before = fixture.lasting();
    let (number, answer) = fixture.handle(body);
    if number == 0 {
        let refusal = answer.as_ref().err().and_then(|refusal| refusal.unit_error());
        assert_eq!(refusal, Some(UnitError::FrameMalformed), "a reply to no request");
        assert_eq!(fixture.lasting(), before);
    }
    if let Ok(Answer::Administered(response)) = &answer {
        read(fixture, response);
    }
    changes_nothing(fixture, &before, &answer);
}

/// Sends a valid data command, possibly altered.
fn data_command(fixture: &mut Fixture, bytes: &mut Bytes<'_>) {
    let before = fixture.lasting();
    let which = bytes.byte() % 11;
    let key = |algorithm, key_len, uses| KeySpec { algorithm, key_len, uses, extractable: true };
    let uses = match which {
        4 | 5 => KeyUses::WRAP.with(KeyUses::UNWRAP),
        8 | 9 => KeyUses::SIGN.with(KeyUses::VERIFY),
        _ => KeyUses::ENCRYPT.with(KeyUses::DECRYPT),
    };
    let (aes, secret) = (key(Algorithm::Aes, 32, uses), key(Algorithm::GenericSecret, 20, KeyUses::SIGN));
    let made = fixture.execute(Command::ImportKey { spec: aes, value: &[0x5c; 32] });
    let blob = match made {
        Ok(Answer::Bytes(blob)) => blob,
        // Only a unit without a master key makes none.
        _ => {
            assert_eq!(before.current, None);
            vec![0; 136]
        }
    };
    let blob = &blob[..];
    let (by, wrap) = (MacMechanism::AesCmac, WrapMechanism::AesKw);
    let command = match which {
        0 => Command::Status,
        1 => Command::GenerateRandom { len: 300 },
        2 => Command::GenerateKey { spec: secret },
        3 => Command::ImportKey { spec: secret, value: &[3; 20] },
        4 => Command::WrapKey { by: wrap, kek: blob, key: blob },
        5 => Command::UnwrapKey { by: wrap, kek: blob, wrapped: &[4; 40], spec: aes },
        6 => Command::Encrypt { key: blob, aad: b"aad", plaintext: b"plaintext" },
        7 => Command::Decrypt { key: blob, iv: [5; 12], aad: b"aad", ciphertext: &[6; 25] },
        8 => Command::Sign { by, key: blob, data: b"data" },
        9 => Command::Verify { by, key: blob, data: b"data", signature: &[7; 16] },
        _ => Command::Reencipher { blob },
    };
    let mut body = body(command);
    bytes.alter(&mut body);
    anything(fixture, &body);
}

/// Sends an administrative command: with valid or arbitrary input, any signatures, possibly altered.
fn administration(fixture: &mut Fixture, bytes: &mut Bytes<'_>) {
    let before = fixture.lasting();
    let administrators = installed(fixture);
    let number = bytes.byte();
    let listed = AdminCommand::ALL.get(usize::from(number));
    let id = listed.map_or(u32::from(number), |command| command.id());
    let command = AdminCommand::from_id(id);
    let flags = bytes.byte();
    let signed = Signed::ALL[usize::from(flags & 0x0f) % Signed::ALL.len()];
    let in_parts = command == Some(AdminCommand::ImportKeyParts);
    let mut input = match command {
        Some(command) if flags & 0x10 == 0 => good_input(fixture, command, signed),
        _ => bytes.slice().to_vec(),
    };
    if flags & 0x20 != 0 {
        bytes.alter(&mut input);
    }
    let around = if in_parts { Signed::Unsigned } else { signed };
    let sent = request(&before, id, &input, around);
    let mut altered = sent.clone();
    if flags & 0x40 != 0 {
        bytes.alter(&mut altered);
    }
    let answer = fixture.execute(Command::Administer { request: &altered });
    let Ok(Answer::Administered(response)) = &answer else { panic!("{answer:?}") };
    let returned = read(fixture, response);
    let after = fixture.lasting();
    let counted = after.transaction_counter - before.transaction_counter;
    let context = format!("{command:?} {signed:?} {returned:?}: {before:?} {after:?}");
    let query = command.is_some_and(AdminCommand::is_query);
    assert!(counted <= 1 && (counted == 1 || after == before), "a change without a count: {context}");
    if before.thresholds[0] == 0 {
        // In imprint mode most commands need no signature, so that altered ones may be valid.
        return;
    }
    if altered != sent {
        // The signed block or a signature was altered. The request around key parts, and a query, have no signature.
        assert!(in_parts || counted == 0, "an altered request was counted: {context}");
    } else if counted == 1 {
        let signers = signed.count(&administrators);
        assert!(!query && signers >= needed(command, &before), "too few have signed: {context}");
    } else if !query && command.is_some() {
        assert!(returned != Some(Ok(())), "carried out without a count: {context}");
    }
    if counted == 1 && returned != Some(Ok(())) {
        let same = Lasting { transaction_counter: before.transaction_counter, ..after.clone() };
        assert_eq!(same, before, "refused, and more changed than the counter: {context}");
    }
}

/// Least number of signatures for the command, whatever the attributes have become; a threshold is at least 1.
fn needed(command: Option<AdminCommand>, before: &Lasting) -> usize {
    let [sign, revoke] = before.thresholds.map(usize::from);
    let Some(command) = command else { return usize::MAX };
    match command.signatures_needed(false, unit_api::admin::Permissions::recovery()) {
        SignaturesNeeded::SignatureThreshold => {
            // The attributes may allow one signature for control points.
            let by_one = matches!(
                command,
                AdminCommand::SetControlPoints
                    | AdminCommand::AddControlPoints
                    | AdminCommand::DeleteControlPoints
            );
            if by_one { 1 } else { sign }
        }
        SignaturesNeeded::RevocationThreshold => revoke,
        SignaturesNeeded::HigherThreshold => sign.max(revoke),
        SignaturesNeeded::ChangeOfThresholds => sign,
        _ => 1,
    }
}

/// Decodes an administrative response and checks that its fields agree with each other and with the unit's status.
fn read(fixture: &mut Fixture, response: &[u8]) -> Option<Result<(), AdminRefusal>> {
    let state = fixture.lasting();
    let response = AdminResponse::decode(response).expect("an administrative response");
    if response.block.is_empty() {
        assert!(
            response.return_code != 0 && response.signature.is_empty(),
            "carried out without a signed answer"
        );
        return None;
    }
    let block = AdminResponseBlock::decode(response.block).expect("a block");
    response.signer().expect("a signature");
    assert_eq!((response.domain_index, response.return_code), (block.target.domain_index, block.return_code));
    assert_eq!(block.transaction_counter, state.transaction_counter);
    assert_eq!(block.target.domain_instance, state.domain_instance);
    let result = block.result();
    if let Err(refusal) = result {
        assert!(refusal.unit_error().is_some(), "a refusal without a known error: {refusal}");
    }
    if block.command == AdminCommand::QueryAttributes.id() && block.return_code == 0 {
        Attributes::from_bytes(block.output).expect("attributes");
    }
    Some(result.map(|_| ()))
}

/// Seeds: each command with valid signatures, and with invalid ones.
#[allow(dead_code, reason = "only the corpus test and the example use the seeds")]
pub(crate) fn seeds() -> Vec<(String, Vec<u8>)> {
    let status = body(Command::Status);
    let len = u16::try_from(status.len()).unwrap().to_le_bytes();
    let raw = ("raw-status".to_owned(), [&[1, 0], &len[..], &status].concat());
    let no_request = ("raw-administer".to_owned(), vec![0, 3, 4, 0, 0x30, 2, 4, 0]);
    let data = (0..11).map(|n| (format!("data-{n:02}"), vec![1, 1, n, 0, 1, n, 1, 2, 0, 1]));
    let commands = (0_u8..).zip(AdminCommand::ALL).flat_map(|(n, command)| {
        let name = command.name().replace(' ', "-");
        let enough = vec![2, 2, n, 2];
        let altered = vec![2, 2, n, 0x42, 1, 90, 0, 1];
        let mut both = vec![(format!("two-{name}"), enough)];
        if !command.is_query() {
            both.push((format!("two-{name}-altered"), altered));
        }
        both
    });
    let signed =
        (0_u8..).zip(Signed::ALL).map(|(n, signed)| (format!("zeroize-{signed:?}"), vec![1, 2, ZEROIZE, n]));
    let import = vec![1, 2, IMPORTER, 1, 2, CLEAR, 1, 2, IMPORT, 1];
    let secure = vec![0, 2, 0, 0, 2, 3, 0x11, 32, 0, 0, 0, 0, 1, 0, 0, 0, 1];
    let unknown = ("unknown".to_owned(), vec![1, 2, 0xf0, 1]);
    let sequences = [("import", import), ("imprint", secure)].map(|(name, bytes)| (name.to_owned(), bytes));
    [raw, no_request, unknown]
        .into_iter()
        .chain(data)
        .chain(commands)
        .chain(signed)
        .chain(sequences)
        .collect()
}

/// Places in [`AdminCommand::ALL`].
const IMPORTER: u8 = 4;
const IMPORT: u8 = 7;
const ZEROIZE: u8 = 10;
const CLEAR: u8 = 15;
