//! A whole crypto unit in memory, with one administrator whose key is in this source: for tests and benchmarks.
//!
//! Everything is real except durability, and nothing is secret: never use it with a key that matters.
//!
//! It deliberately has no sockets of its own, files, or ceremonies of several people. Failures panic.

#![expect(clippy::panic, reason = "a test fails by panicking")]

mod administrator;
mod env;
mod fixed_attestation;
mod scripted_rng;

pub use administrator::{generate_master_key, request, secure};
pub use env::{Memory, TestEnv, soft_engine};
pub use fixed_attestation::FixedAttestation;
pub use getrandom::SysRng;
pub use scripted_rng::ScriptedRng;

use engine::{Engine, KeySpec, KeyUses};
use engine_soft::SoftEngine;
use std::io::{self, Read, Write};
use std::sync::Mutex;
use unit_api::admin::{AdminCommand, AdminRefusal, AdminResponse, AdminResponseBlock};
use unit_api::{
    Command, Envelope, FRAME_HEADER_LEN, MAX_FRAME_LEN, Refusal, Reply, Response, Target, UnitStatus,
    VerificationPattern, decode_request, encode_reply,
};
use unit_core::Unit;

/// A unit in this process, and a buffer for its responses.
pub struct TestUnit<E: Engine = SoftEngine<SysRng>> {
    unit: Box<Unit<TestEnv<E>>>,
    out: Vec<u8>,
}

impl TestUnit {
    /// A new unit with this number, in imprint mode.
    ///
    /// # Panics
    /// If the unit does not start.
    #[must_use]
    pub fn imprint(number: u8) -> Self {
        Self::imprint_on(number, soft_engine())
    }

    /// A secured unit without a master key, with one administrator and the permissions of a recovery unit.
    ///
    /// # Panics
    /// If the unit refuses.
    #[must_use]
    pub fn secured(number: u8) -> Self {
        Self::imprint(number).into_secured()
    }

    /// A unit with a random master key in Current.
    ///
    /// # Panics
    /// If the unit refuses.
    #[must_use]
    pub fn ready() -> Self {
        Self::ready_on(soft_engine())
    }
}

impl<E: Engine> TestUnit<E> {
    /// Unit number 1 with a random master key in Current, on this engine.
    ///
    /// # Panics
    /// If the unit refuses.
    #[must_use]
    pub fn ready_on(engine: E) -> Self {
        let mut unit = Self::imprint_on(1, engine).into_secured();
        unit.generate_master_key();
        unit
    }

    fn imprint_on(number: u8, engine: E) -> Self {
        Self { unit: Box::new(env::start(number, engine)), out: vec![0; MAX_FRAME_LEN] }
    }

    fn into_secured(mut self) -> Self {
        let (target, counter) = self.target();
        secure(target, counter, |request| self.exchange(request));
        self
    }

    /// Generates a random master key: in Current when both registers are empty, else in New.
    ///
    /// # Panics
    /// If the unit refuses.
    pub fn generate_master_key(&mut self) -> VerificationPattern {
        let (target, counter) = self.target();
        generate_master_key(target, counter, |request| self.exchange(request))
    }

    /// Loads New from these parts.
    ///
    /// # Panics
    /// If the unit refuses.
    pub fn load(&mut self, parts: &[[u8; 32]]) -> VerificationPattern {
        let type_3 = 3_u32.to_be_bytes();
        let importer = self
            .administer(AdminCommand::GenerateImporterKey, &type_3)
            .expect("the unit makes an importer key");
        let (target, counter) = self.target();
        let input = administrator::import_input(target, counter + 1, &importer, parts);
        let answer =
            self.exchange(&request(target, counter + 1, AdminCommand::ImportKeyParts, &input, false));
        let pattern = output(&answer).expect("the unit takes the parts");
        VerificationPattern::from_bytes(pattern.try_into().expect("a pattern of 32 bytes"))
    }

    /// Sends a command signed by the administrator, and returns its output.
    ///
    /// # Errors
    /// The unit's refusal.
    ///
    /// # Panics
    /// If the response is malformed.
    pub fn administer(&mut self, command: AdminCommand, input: &[u8]) -> Result<Vec<u8>, AdminRefusal> {
        let (target, counter) = self.target();
        let answer = self.exchange(&request(target, counter + 1, command, input, true));
        output(&answer)
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// The unit's refusal.
    pub fn execute(&mut self, command: Command<'_>) -> Result<Response<'_>, Refusal> {
        self.unit.execute(&Envelope::plain(command), &mut self.out)
    }

    /// Carries out a command that must succeed.
    ///
    /// # Panics
    /// If the unit refuses.
    pub fn run(&mut self, command: Command<'_>) -> Response<'_> {
        let name = command.name();
        self.execute(command).unwrap_or_else(|refusal| panic!("the unit refused {name}: {refusal}"))
    }

    /// Serves one connection, a blocking stream, until the peer closes it.
    ///
    /// # Errors
    /// The stream failed, or the peer sent what is no request.
    ///
    /// # Panics
    /// If a response does not fit a frame, or the unit panicked before.
    pub fn serve(unit: &Mutex<Self>, mut stream: impl Read + Write) -> io::Result<()> {
        let mut frame = vec![0; FRAME_HEADER_LEN + MAX_FRAME_LEN];
        let mut header = [0; FRAME_HEADER_LEN];
        loop {
            match stream.read_exact(&mut header) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                read => read?,
            }
            let len = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
            if len > MAX_FRAME_LEN {
                return Err(io::Error::other("the peer sent a frame that is too long"));
            }
            let mut body = vec![0; len];
            stream.read_exact(&mut body)?;
            let request = decode_request(&body).map_err(|error| io::Error::other(error.to_string()))?;
            let len = {
                let mut unit = unit.lock().expect("no command panicked");
                let result = unit.execute(request.envelope.command);
                let reply = Reply { number: request.number, result };
                encode_reply(&reply, &mut frame).expect("there is room for the answer")
            };
            stream.write_all(frame.get(..len).unwrap_or_default())?;
        }
    }

    /// The body of the frame that replies to a command, whether or not it is refused.
    ///
    /// # Panics
    /// If the reply does not fit a frame.
    pub fn reply_body(&mut self, command: Command<'_>) -> Vec<u8> {
        let mut frame = vec![0; FRAME_HEADER_LEN + MAX_FRAME_LEN];
        let result = self.unit.execute(&Envelope::plain(command), &mut self.out);
        let len =
            encode_reply(&Reply { number: 1, result }, &mut frame).expect("there is room for the answer");
        frame.truncate(len);
        frame.split_off(FRAME_HEADER_LEN)
    }

    /// The blob of a new AES-256 key for encryption and decryption.
    ///
    /// # Panics
    /// If the unit refuses.
    #[must_use]
    pub fn data_key(&mut self) -> Vec<u8> {
        let spec = KeySpec::aes(32, KeyUses::ENCRYPT.with(KeyUses::DECRYPT));
        match self.run(Command::GenerateKey { spec }) {
            Response::Blob(blob) => blob.to_vec(),
            other => panic!("{other:?} is no blob"),
        }
    }

    /// The unit's status.
    ///
    /// # Panics
    /// If the unit refuses.
    #[must_use]
    pub fn status(&mut self) -> UnitStatus {
        match self.run(Command::Status) {
            Response::Status(status) => status,
            other => panic!("{other:?} is no status"),
        }
    }

    /// The target of a command to this unit, and the transaction counter.
    fn target(&mut self) -> (Target, u128) {
        target_of(&self.status())
    }

    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        match self.run(Command::Administer { request }) {
            Response::Administered(answer) => answer.to_vec(),
            other => panic!("{other:?} is no answer"),
        }
    }
}

/// The target of a command to the unit with this status, and its transaction counter.
#[must_use]
pub const fn target_of(status: &UnitStatus) -> (Target, u128) {
    let UnitStatus { unit, domain_index, domain_instance, transaction_counter, .. } = *status;
    (Target { unit, domain_index, domain_instance }, transaction_counter)
}

/// The output of a command, from the unit's response.
fn output(answer: &[u8]) -> Result<Vec<u8>, AdminRefusal> {
    let decoded = AdminResponse::decode(answer).and_then(|answer| AdminResponseBlock::decode(answer.block));
    match decoded {
        Ok(block) => block.result().map(<[u8]>::to_vec),
        Err(malformed) => panic!("the unit's answer: {malformed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::TestUnit;
    use unit_api::NewRegister;
    use unit_api::admin::AdminCommand;

    #[test]
    fn a_unit_is_set_up_and_rotated() {
        let mut unit = TestUnit::ready();
        let old = unit.status().current.unwrap();
        let new = unit.generate_master_key();
        unit.administer(AdminCommand::CommitNew, new.as_bytes()).unwrap();
        assert!(matches!(unit.status().new, NewRegister::FullCommitted(_)));
        unit.administer(AdminCommand::ActivateNew, new.as_bytes()).unwrap();
        let current = unit.status().current.unwrap();
        assert!(current.is_of_same_key(&new) && !current.is_of_same_key(&old));
        unit.load(&[[1; 32], [2; 32]]);
        assert!(matches!(unit.status().new, NewRegister::FullUncommitted(_)));
    }
}
