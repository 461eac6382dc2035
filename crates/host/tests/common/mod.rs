//! A unit as a host sees it: real frames over a real Unix socket, toy blobs, and faults on demand.
//!
//! A toy blob is 32 zero bytes, the WKID of its master key, and the key in the clear.

mod load;

pub(crate) use load::Load;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use cmac::{Cmac, Mac};
use hmac::Hmac;
use host::{Endpoint, MasterKeyProof};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use unit_api::{
    Command, Condition, FRAME_HEADER_LEN, MAX_FRAME_LEN, NewRegister, Refusal, Reply, Request, Response,
    UnitError, UnitId, UnitStatus, VerificationPattern, decode_request, encode_reply, split_frame,
};

/// A master key as far as toys need one: its pattern.
pub(crate) fn pattern(seed: u8) -> VerificationPattern {
    VerificationPattern::from_digest(Sha256::digest([1, seed]).into())
}

pub(crate) fn blob(master: VerificationPattern, key: [u8; 32]) -> Vec<u8> {
    [&[0; 32][..], &master.wkid(), &key].concat()
}

/// What the keystore's header holds for an instance whose master key is `pattern(seed)`.
pub(crate) fn proof(seed: u8) -> MasterKeyProof {
    let (master, root_key, iv, secret) = (pattern(seed), [0x40 + seed; 32], [7; 12], [0x80 + seed; 32]);
    let mut sealed = secret.to_vec();
    let tag = Aes256Gcm::new(&root_key.into())
        .encrypt_inout_detached(&Nonce::from(iv), b"hsm-sim instance secret v1", sealed.as_mut_slice().into())
        .unwrap();
    sealed.extend_from_slice(&tag);
    let commitment = Sha256::new().chain_update(b"hsm-sim instance commitment v1").chain_update(secret);
    let mut canary = <Hmac<Sha256> as KeyInit>::new_from_slice(&secret).unwrap();
    canary.update(b"hsm-sim canary v1");
    MasterKeyProof {
        pattern: master,
        root_blob: blob(master, root_key),
        iv,
        sealed_secret: sealed.try_into().unwrap(),
        commitment: commitment.finalize().into(),
        canary_blob: blob(master, canary.finalize().into_bytes().into()),
    }
}

/// How a unit behaves from now on.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour {
    pub(crate) unit: UnitId,
    /// The master key it says it has.
    pub(crate) reported: Option<VerificationPattern>,
    /// The master key it has.
    pub(crate) held: Option<VerificationPattern>,
    pub(crate) condition: Condition,
    pub(crate) transaction_counter: u128,
    /// Takes no notice of anything.
    pub(crate) paused: bool,
    /// Before each answer.
    pub(crate) delay: Duration,
    /// Answers the next requests of customers with this instead of a frame, then hangs up.
    pub(crate) garbage: Option<Vec<u8>>,
    /// Changes the answers to commands of this name.
    pub(crate) forge: Option<&'static str>,
    /// Refuses customers' requests with this.
    pub(crate) refuse: Option<UnitError>,
}

pub(crate) struct FakeUnit {
    pub(crate) path: PathBuf,
    behaviour: watch::Sender<Behaviour>,
    running: Mutex<Option<AbortHandle>>,
    pub(crate) served: Arc<std::sync::atomic::AtomicU64>,
}

impl FakeUnit {
    /// A unit that holds `pattern(seed)`, not started yet.
    pub(crate) fn new(folder: &Path, number: u16, seed: u8) -> Self {
        let mut unit = *b"FAKE0000\0\0\0\0\0\0\0\x01";
        unit[7] = b'0' + u8::try_from(number).unwrap();
        let behaviour = Behaviour {
            unit: UnitId(unit),
            reported: Some(pattern(seed)),
            held: Some(pattern(seed)),
            condition: Condition::Operational,
            transaction_counter: 5,
            paused: false,
            delay: Duration::ZERO,
            garbage: None,
            forge: None,
            refuse: None,
        };
        Self {
            path: folder.join(format!("unit-{number}.sock")),
            behaviour: watch::Sender::new(behaviour),
            running: Mutex::new(None),
            served: Arc::default(),
        }
    }

    pub(crate) fn started(folder: &Path, number: u16, seed: u8) -> Self {
        let unit = Self::new(folder, number, seed);
        unit.start();
        unit
    }

    /// As if the process was started.
    pub(crate) fn start(&self) {
        let _ = std::fs::remove_file(&self.path);
        let listener = UnixListener::bind(&self.path).unwrap();
        let (behaviour, served) = (self.behaviour.subscribe(), Arc::clone(&self.served));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, behaviour.clone(), Arc::clone(&served)));
            }
        });
        *self.running.lock().unwrap() = Some(task.abort_handle());
    }

    /// The unit in this process, each connection served by a task.
    pub(crate) fn in_process(&self) -> Endpoint {
        let (behaviour, served) = (self.behaviour.subscribe(), Arc::clone(&self.served));
        Endpoint::in_process(move |stream| {
            tokio::spawn(serve(stream, behaviour.clone(), Arc::clone(&served)));
        })
    }

    /// The unit in this process, over blocking streams.
    pub(crate) fn blocking(&self) -> Endpoint {
        let (behaviour, served) = (self.behaviour.subscribe(), Arc::clone(&self.served));
        let runtime = tokio::runtime::Handle::current();
        Endpoint::blocking(move |stream| {
            stream.set_nonblocking(true).unwrap();
            let _runtime = runtime.enter();
            let stream = UnixStream::from_std(stream).unwrap();
            tokio::spawn(serve(stream, behaviour.clone(), Arc::clone(&served)));
        })
    }

    /// As if the process was killed: every connection breaks, and the socket is gone.
    pub(crate) fn kill(&self) {
        if let Some(task) = self.running.lock().unwrap().take() {
            task.abort();
        }
        let _ = std::fs::remove_file(&self.path);
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        self.behaviour.send_modify(change);
    }

    pub(crate) fn served(&self) -> u64 {
        self.served.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Drop for FakeUnit {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn serve(
    mut stream: UnixStream,
    mut behaviour: watch::Receiver<Behaviour>,
    served: Arc<std::sync::atomic::AtomicU64>,
) {
    let mut bytes = Vec::new();
    let mut out = vec![0; FRAME_HEADER_LEN + MAX_FRAME_LEN];
    loop {
        let mut used = 0;
        while let Some((body, rest)) = split_frame(&bytes[used..]).unwrap() {
            used = bytes.len() - rest.len();
            let request = decode_request(body).unwrap();
            let Ok(now) = behaviour.wait_for(|b| !b.paused).await.map(|b| b.clone()) else { return };
            if now.delay > Duration::ZERO {
                tokio::time::sleep(now.delay).await;
            }
            let customers = !matches!(request.envelope.command, Command::Status)
                && !matches!(request.envelope.command, Command::Decrypt { aad, .. } if aad.starts_with(b"hsm-sim"))
                && !matches!(request.envelope.command, Command::Sign { data, .. } if data.len() == 16);
            if customers && let Some(garbage) = now.garbage {
                let _ = stream.write_all(&garbage).await;
                return;
            }
            let mut scratch = Vec::new();
            let result = match now.refuse {
                Some(refusal) if customers => Err(refusal.into()),
                _ => execute(&now, &request, &mut scratch),
            };
            let mut forged;
            let result = match result {
                Ok(Response::Plaintext(bytes) | Response::Signature(bytes))
                    if now.forge == Some(request.envelope.command.name()) =>
                {
                    forged = bytes.to_vec();
                    forged[0] ^= 1;
                    Ok(match request.envelope.command {
                        Command::Decrypt { .. } => Response::Plaintext(&forged),
                        _ => Response::Signature(&forged),
                    })
                }
                result => result,
            };
            let len = encode_reply(&Reply { number: request.number, result }, &mut out).unwrap();
            if stream.write_all(&out[..len]).await.is_err() {
                return;
            }
            if customers {
                served.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        bytes.drain(..used);
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(len) => bytes.extend_from_slice(&chunk[..len]),
        }
    }
}

fn execute<'a>(
    unit: &Behaviour,
    request: &Request<'_>,
    scratch: &'a mut Vec<u8>,
) -> Result<Response<'a>, Refusal> {
    let key_in = |blob: &[u8]| -> Result<[u8; 32], Refusal> {
        let held = unit.held.ok_or(UnitError::WkNotInitialized)?;
        if blob.get(32..48) != Some(&held.wkid()) {
            return Err(UnitError::WkidMismatch.into());
        }
        Ok(blob[48..80].try_into().unwrap())
    };
    match request.envelope.command {
        Command::Status => Ok(Response::Status(UnitStatus {
            unit: unit.unit,
            domain_index: 0,
            domain_instance: 1,
            boot_nonce: [0; 16],
            condition: unit.condition,
            current: unit.reported,
            new: NewRegister::Empty,
            transaction_counter: unit.transaction_counter,
            administrators: 0,
            signature_threshold: 0,
            revocation_threshold: 0,
            audit_records: 0,
            audit_head: [0; 32],
        })),
        Command::GenerateRandom { len } => {
            scratch.resize(len.into(), 9);
            Ok(Response::Random(scratch))
        }
        Command::Decrypt { key, iv, aad, ciphertext } => {
            let (sealed, tag) = ciphertext.split_last_chunk::<16>().unwrap();
            scratch.extend_from_slice(sealed);
            Aes256Gcm::new(&key_in(key)?.into())
                .decrypt_inout_detached(
                    &Nonce::from(iv),
                    aad,
                    scratch.as_mut_slice().into(),
                    &Tag::from(*tag),
                )
                .map_err(|_| UnitError::EncryptedDataInvalid)?;
            Ok(Response::Plaintext(scratch))
        }
        Command::Sign { key, data, .. } => {
            let mut mac = <Cmac<aes::Aes256> as KeyInit>::new(&key_in(key)?.into());
            mac.update(data);
            scratch.extend_from_slice(&mac.finalize().into_bytes());
            Ok(Response::Signature(scratch))
        }
        _ => Err(UnitError::MechanismInvalid.into()),
    }
}
