//! A unit on the software engine with its environment in memory, deterministic.

use crate::administration::{certificate, device_key, root_public};
use engine_soft::{
    DeviceSecret, SoftEngine, StateKeyRecord, StateKeyStore, StateKeyStoreFailed, VolatileStateKeys,
};
use std::cell::RefCell;
use std::rc::Rc;
use tke_crypto::{PublicKey, RandomFailed};
use unit_api::admin::InstanceId;
use unit_api::{
    Command, Condition, Envelope, FRAME_HEADER_LEN, MAX_FRAME_LEN, NewRegister, Refusal, Request, Response,
    UnitId, UnitStatus, decode_reply, encode_request, split_frame,
};
use unit_core::{Clock, Env, Module, REPLY_BUFFER_LEN, Slot, Storage, StorageFailed, Unit, UnitIdentity};
use unit_testkit::{FixedAttestation, ScriptedRng};

pub(crate) const IDENTITY: UnitIdentity = UnitIdentity {
    unit: UnitId(*b"FUZZ0001\0\0\0\0\0\0\0\x01"),
    domain_index: 3,
    instance: InstanceId([0x1d; 16]),
};

static ZEROS: [u8; MAX_FRAME_LEN] = [0; MAX_FRAME_LEN];

pub(crate) struct FuzzEnv;

impl Env for FuzzEnv {
    type Engine = FixedAttestation<SoftEngine<Noise, 24, Disk>>;
    type Storage = Disk;
    type Module = FuzzModule;
    type Clock = FuzzClock;
}

/// Entropy that does not repeat within a start, and is the same at every start.
type Noise = ScriptedRng<Box<dyn FnMut(&mut [u8]) -> Result<(), RandomFailed>>>;

/// Two slots in memory, and the secrets of the engine's state keys.
#[derive(Clone, Default)]
pub(crate) struct Disk(Rc<RefCell<[Vec<u8>; 2]>>, Rc<RefCell<VolatileStateKeys>>);

impl Disk {
    /// An independent disk with the same content.
    pub(crate) fn copy(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())), Rc::new(RefCell::new(self.1.borrow().clone())))
    }
}

impl StateKeyStore for Disk {
    fn read(&mut self, place: usize, record: &mut StateKeyRecord) -> Result<(), StateKeyStoreFailed> {
        self.1.borrow_mut().read(place, record)
    }

    fn write(&mut self, place: usize, record: &StateKeyRecord) -> Result<(), StateKeyStoreFailed> {
        self.1.borrow_mut().write(place, record)
    }
}

impl Storage for Disk {
    fn read(&mut self, slot: Slot, content: &mut [u8]) -> Result<usize, StorageFailed> {
        let held = &self.0.borrow()[slot as usize];
        let len = held.len().min(content.len());
        content[..len].copy_from_slice(&held[..len]);
        Ok(len)
    }

    fn write(&mut self, slot: Slot, content: &[u8]) -> Result<(), StorageFailed> {
        self.0.borrow_mut()[slot as usize] = content.to_vec();
        Ok(())
    }
}

/// A module. Its engine returns a constant signature: signing takes longer than the rest of a command, and no target
/// verifies it.
pub(crate) struct FuzzModule;

impl Module for FuzzModule {
    fn certificate(&self) -> &[u8] {
        certificate()
    }

    fn root(&self) -> &PublicKey {
        root_public()
    }
}

pub(crate) struct FuzzClock;

impl Clock for FuzzClock {
    fn now_ms(&mut self) -> u64 {
        1_700_000_000_000
    }
}

/// A running unit.
pub(crate) struct Fixture {
    unit: Box<Unit<FuzzEnv>>,
    pub(crate) disk: Disk,
    reply: Vec<u8>,
}

/// A reply with owned bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Bytes(Vec<u8>),
    Ciphertext([u8; 12], Vec<u8>),
    Administered(Vec<u8>),
    Status,
    Done,
}

impl Fixture {
    /// Starts a unit on this disk.
    pub(crate) fn start(disk: Disk) -> Self {
        let mut drawn = 0_u64;
        let noise: Noise = ScriptedRng::new(Box::new(move |bytes: &mut [u8]| {
            drawn += 1;
            for (at, byte) in (0..).zip(bytes.iter_mut()) {
                *byte = (drawn.wrapping_mul(31).wrapping_add(at * 7) % 251) as u8;
            }
            Ok(())
        }));
        let engine = SoftEngine::with_state_keys(&DeviceSecret::new([7; 32]), noise, disk.clone()).unwrap();
        let engine = FixedAttestation::new(engine, device_key());
        let unit = Box::new(Unit::start(engine, disk.clone(), FuzzModule, FuzzClock, IDENTITY));
        let mut fixture = Self { unit, disk, reply: vec![0; REPLY_BUFFER_LEN] };
        assert_eq!(fixture.status().condition, Condition::Operational);
        fixture
    }

    /// Sends a frame's body. Checks that the reply is one complete frame without further bytes, and that the working space is
    /// zero.
    pub(crate) fn handle(&mut self, body: &[u8]) -> (u64, Result<Answer, Refusal>) {
        let len = self.unit.handle_request(body, 0, &mut self.reply);
        let (frame, scratch) = self.reply.split_at(FRAME_HEADER_LEN + MAX_FRAME_LEN);
        assert!(scratch == ZEROS, "the working space was left as it was");
        let (found, rest) = split_frame(&frame[..len]).expect("a frame").expect("a whole frame");
        assert!(rest.is_empty(), "something behind the reply");
        let reply = decode_reply(found).expect("a reply");
        let answer = reply.result.map(|response| match response {
            Response::Status(_) => Answer::Status,
            Response::Random(bytes)
            | Response::Blob(bytes)
            | Response::Wrapped(bytes)
            | Response::Plaintext(bytes)
            | Response::Signature(bytes) => Answer::Bytes(bytes.to_vec()),
            Response::Ciphertext { iv, ciphertext } => Answer::Ciphertext(iv, ciphertext.to_vec()),
            Response::Administered(der) => Answer::Administered(der.to_vec()),
            Response::Done => Answer::Done,
            other => panic!("an unexpected response: {other:?}"),
        });
        (reply.number, answer)
    }

    pub(crate) fn execute(&mut self, command: Command<'_>) -> Result<Answer, Refusal> {
        let (number, answer) = self.handle(&body(command));
        assert_eq!(number, NUMBER);
        answer
    }

    pub(crate) fn bytes(&mut self, command: Command<'_>) -> Vec<u8> {
        match self.execute(command) {
            Ok(Answer::Bytes(bytes)) => bytes,
            other => panic!("{command:?}: {other:?}"),
        }
    }

    pub(crate) fn administer(&mut self, request: &[u8]) -> Vec<u8> {
        match self.execute(Command::Administer { request }) {
            Ok(Answer::Administered(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn status(&mut self) -> UnitStatus {
        let mut out = [0; 256];
        match self.unit.execute(&Envelope::plain(Command::Status), &mut out) {
            Ok(Response::Status(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    /// The fields of the status that a restart does not change.
    pub(crate) fn lasting(&mut self) -> Lasting {
        let status = self.status();
        assert_eq!(
            status.condition,
            Condition::Operational,
            "something from outside put the unit out of service"
        );
        Lasting {
            domain_instance: status.domain_instance,
            transaction_counter: status.transaction_counter,
            current: status.current.map(|pattern| *pattern.as_bytes()),
            new: match status.new {
                NewRegister::Empty => None,
                NewRegister::FullUncommitted(pattern) => Some((false, *pattern.as_bytes())),
                NewRegister::FullCommitted(pattern) => Some((true, *pattern.as_bytes())),
            },
            administrators: status.administrators,
            thresholds: [status.signature_threshold, status.revocation_threshold],
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lasting {
    pub(crate) domain_instance: u32,
    pub(crate) transaction_counter: u128,
    pub(crate) current: Option<[u8; 32]>,
    pub(crate) new: Option<(bool, [u8; 32])>,
    pub(crate) administrators: u8,
    pub(crate) thresholds: [u8; 2],
}

/// Number of every request.
pub(crate) const NUMBER: u64 = 77;

/// A command as a frame's body.
pub(crate) fn body(command: Command<'_>) -> Vec<u8> {
    let mut frame = vec![0; FRAME_HEADER_LEN + MAX_FRAME_LEN];
    let request = Request { number: NUMBER, deadline_ms: 1000, envelope: Envelope::plain(command) };
    let len = encode_request(&request, &mut frame).unwrap();
    frame.truncate(len);
    frame.drain(..FRAME_HEADER_LEN);
    frame
}

/// Reads the bytes of an input in order; zero after their end.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A slice whose length is given by two bytes, or all remaining bytes.
    pub(crate) fn slice(&mut self) -> &'a [u8] {
        let len = usize::from(u16::from_le_bytes([self.byte(), self.byte()])).min(self.0.len());
        let (slice, rest) = self.0.split_at(len);
        self.0 = rest;
        slice
    }

    /// Alters `bytes`. The input gives the number of changes, and the position and value of each; a position after the end
    /// appends the value.
    pub(crate) fn alter(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.byte() % 8 {
            let at = usize::from(u16::from_le_bytes([self.byte(), self.byte()]));
            let by = self.byte();
            match bytes.get_mut(at) {
                Some(_) if by == 0 => bytes.truncate(at),
                Some(byte) => *byte ^= by,
                None => bytes.push(by),
            }
        }
    }
}
