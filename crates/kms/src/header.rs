//! The instance's header: what fences every write, and the proof of the master key.

use std::time::Duration;

use engine::{Algorithm, KeySpec, KeyUses};
use keystore::{Commit, Cond, Deadline, Freshness, Key, Keystore, OpId, StoreError, Txn, Write};
use serde::{Deserialize, Serialize};
use unit_api::{Command, VerificationPattern, Wkid};

use crate::call::Budget;
use crate::forms::{BlobForms, wkid_of};
use crate::record::{decode, encode};
use crate::seal::{InstanceKeys, InstanceSecret, SECRET_LEN};
use crate::{
    Forms, InstanceId, OpenError, RandomFailed, RecordError, Rng, StoreMeta, Units, UnitsError, ask, layout,
};

/// Associated data of the encrypted instance secret.
pub const SECRET_AAD: &[u8] = b"hsm-sim instance secret v1";
/// What is hashed before the instance secret to commit to it.
pub const COMMITMENT_LABEL: &[u8] = b"hsm-sim instance commitment v1";
/// What the instance secret authenticates to make the canary's value.
pub const CANARY_LABEL: &[u8] = b"hsm-sim canary v1";

/// Without a next master key.
const FORMAT: u8 = 1;
/// With one.
const FORMAT_ROTATING: u8 = 2;
const TAG_LEN: usize = 32;

/// Whether an instance takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Reads and writes.
    ReadWrite = 0,
    /// Reads only: a standby.
    ReadOnly = 1,
    /// Reads only, while the instance is moved or fenced.
    Frozen = 2,
}

/// What shows that a unit holds the instance's master key: it opens this, and nobody else does.
///
/// Nothing in it is secret. The root blob is AES-256 with ENCRYPT and DECRYPT, made by a unit; under it, by AES-GCM
/// with [`SECRET_AAD`], stands the instance secret of 32 random bytes. Whoever checks a unit has it open the secret,
/// compares the commitment, and has it answer a challenge by AES-CMAC under the canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterKeyProof {
    /// Blob of the key that the secret stands under.
    pub root_blob: Vec<u8>,
    /// IV of the encrypted secret.
    pub iv: [u8; engine::AES_GCM_IV_LEN],
    /// The encrypted secret ‖ tag: 48 bytes.
    pub sealed_secret: Vec<u8>,
    /// SHA-256([`COMMITMENT_LABEL`] ‖ secret).
    pub commitment: [u8; 32],
    /// Blob (AES-256, SIGN) of the key HMAC-SHA-256(secret, [`CANARY_LABEL`]), imported by a unit.
    pub canary: Vec<u8>,
}

/// An instance as its store knows it.
#[derive(Clone, Debug)]
pub struct InstanceHeader {
    /// Grows whenever the mode changes or another side takes over the writing.
    pub epoch: u64,
    /// Whether writes are taken.
    pub mode: Mode,
    /// The pattern of the master key in force.
    pub pattern: VerificationPattern,
    /// Its proof.
    pub proof: MasterKeyProof,
    /// The master key that is to follow it, while it is being rotated: every key is then kept under both.
    pub next: Option<NextMasterKey>,
}

/// The master key that an instance goes over to.
#[derive(Clone, Debug)]
pub struct NextMasterKey {
    /// Its pattern.
    pub pattern: VerificationPattern,
    /// Its proof: the same secret and the same keys, under the next master key.
    pub proof: MasterKeyProof,
    /// Units go on to it: from here on there is no way back, and a new key may exist under it alone.
    pub activating: bool,
}

/// Why an instance could not be made or its header not be read.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// The store has it already.
    #[error("the instance {0} exists")]
    Exists(InstanceId),
    /// The store is not one to work with.
    #[error("the store cannot be worked with")]
    Open(#[from] OpenError),
    /// No unit did its part.
    #[error("the crypto units did not serve")]
    Units(#[from] UnitsError),
    /// The deadline passed before anything was changed.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The instance may or may not have been made; reading its header tells.
    #[error("the outcome is not known; the instance's header will tell")]
    OutcomeUnknown(#[source] StoreError),
    /// The header is damaged.
    #[error("the instance's header is not valid")]
    HeaderInvalid(#[source] RecordError),
}

impl InstanceError {
    /// Whether the same call may succeed a little later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Open(error) => error.is_retryable(),
            Self::Units(error) => error.is_retryable(),
            Self::DeadlineExceeded | Self::OutcomeUnknown(_) => true,
            Self::Exists(_) | Self::HeaderInvalid(_) => false,
        }
    }
}

impl From<StoreError> for InstanceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unknown => Self::OutcomeUnknown(error),
            other => Self::Open(other.into()),
        }
    }
}

impl From<RandomFailed> for InstanceError {
    fn from(error: RandomFailed) -> Self {
        Self::Open(error.into())
    }
}

impl InstanceHeader {
    /// Makes an instance: units make its proof, the store takes its header. Once, at its birth.
    ///
    /// `pattern` is the pattern of the master key that the units hold, as the ceremony worked it out.
    ///
    /// # Errors
    /// [`InstanceError::Exists`] when there is one already, which stays as it is.
    pub async fn create<S: Keystore, U: Units>(
        store: &S,
        units: &U,
        rng: &dyn Rng,
        instance: InstanceId,
        pattern: VerificationPattern,
        deadline: Duration,
    ) -> Result<Self, InstanceError> {
        let budget = Budget::new(deadline);
        if Self::read(store, rng, instance, deadline).await?.is_some() {
            return Err(InstanceError::Exists(instance));
        }
        let (secret, proof) = prove(units, pattern.wkid(), budget).await?;
        let header = Self { epoch: 1, mode: Mode::ReadWrite, pattern, proof, next: None };
        let place = layout::header(instance);
        let value = header.encode(&place, &secret.keys());
        let mut op = [0; 16];
        rng.fill(&mut op)?;
        let txn = Txn {
            op: OpId(op),
            conds: vec![Cond::Absent(place.clone())],
            writes: vec![Write::Put { key: place, value: value.into(), lease: None }],
        };
        let left = budget.remaining().ok_or(InstanceError::DeadlineExceeded)?;
        match store.commit(txn, Deadline(left)).await? {
            Commit::Applied { .. } => Ok(header),
            Commit::Refused { .. } => Err(InstanceError::Exists(instance)),
        }
    }

    /// The key of the store that the header of `instance` stands under, to be watched.
    #[must_use]
    pub fn key(instance: InstanceId) -> Key {
        layout::header(instance)
    }

    /// The header of an instance, if there is one, read without any unit.
    ///
    /// Its tag is checked once a unit has opened the secret; until then a proof that units accept vouches for it.
    ///
    /// # Errors
    /// [`InstanceError::Open`] for a store that is not ours, [`InstanceError::HeaderInvalid`] for a damaged header.
    pub async fn read<S: Keystore>(
        store: &S,
        rng: &dyn Rng,
        instance: InstanceId,
        deadline: Duration,
    ) -> Result<Option<Self>, InstanceError> {
        let budget = Budget::new(deadline);
        StoreMeta::read_or_begin(store, rng, deadline).await?;
        let left = budget.remaining().ok_or(InstanceError::DeadlineExceeded)?;
        let place = layout::header(instance);
        let found = store.get(&[place], Freshness::Linearizable, Deadline(left)).await?;
        match found.entries.into_iter().flatten().next() {
            None => Ok(None),
            Some(entry) => match Self::decode(&entry.value) {
                Ok((header, _, _)) => Ok(Some(header)),
                Err(why) => Err(InstanceError::HeaderInvalid(why)),
            },
        }
    }

    /// Format number ‖ body ‖ HMAC-SHA-256 over place and both.
    pub(crate) fn encode(&self, place: &Key, keys: &InstanceKeys) -> Vec<u8> {
        let stored = Stored {
            epoch: self.epoch,
            mode: self.mode as u8,
            pattern: *self.pattern.as_bytes(),
            root_blob: self.proof.root_blob.clone(),
            iv: self.proof.iv,
            sealed_secret: self.proof.sealed_secret.clone(),
            commitment: self.proof.commitment,
            canary: self.proof.canary.clone(),
        };
        let mut value = match &self.next {
            None => [&[FORMAT][..], &encode(&stored)].concat(),
            Some(next) => {
                let next = StoredNext {
                    pattern: *next.pattern.as_bytes(),
                    root_blob: next.proof.root_blob.clone(),
                    canary: next.proof.canary.clone(),
                    activating: next.activating,
                };
                [&[FORMAT_ROTATING][..], &encode(&(stored, next))].concat()
            }
        };
        let tag = keys.header_tag(place, &value);
        value.extend_from_slice(&tag);
        value
    }

    /// A header, the bytes its tag is over, and the tag, which is the caller's to check.
    pub(crate) fn decode(value: &[u8]) -> Result<(Self, &[u8], &[u8; TAG_LEN]), RecordError> {
        let (body, tag) = value.split_last_chunk::<TAG_LEN>().ok_or(RecordError::Malformed)?;
        let (&format, fields) = body.split_first().ok_or(RecordError::Malformed)?;
        let (stored, next): (Stored, Option<StoredNext>) = match format {
            FORMAT => (decode(fields)?, None),
            FORMAT_ROTATING => decode(fields).map(|(stored, next)| (stored, Some(next)))?,
            found => return Err(RecordError::Format { found, expected: FORMAT_ROTATING }),
        };
        let mut header = Self {
            epoch: stored.epoch,
            mode: Mode::from_number(stored.mode).ok_or(RecordError::Malformed)?,
            pattern: VerificationPattern::from_bytes(stored.pattern),
            proof: MasterKeyProof {
                root_blob: stored.root_blob,
                iv: stored.iv,
                sealed_secret: stored.sealed_secret,
                commitment: stored.commitment,
                canary: stored.canary,
            },
            next: None,
        };
        header.next = next.map(|next| NextMasterKey {
            pattern: VerificationPattern::from_bytes(next.pattern),
            proof: header.proof.moved(next.root_blob, next.canary),
            activating: next.activating,
        });
        Ok((header, body, tag))
    }

    /// Of a key's blobs, those that some unit can open. One that is under no legal master key is left to units to refuse.
    pub(crate) fn serving<'a>(&self, blobs: &'a [Vec<u8>]) -> BlobForms<'a> {
        let under = |wkid: Wkid| blobs.iter().find(|blob| wkid_of(blob) == Some(wkid)).map(Vec::as_slice);
        let current = under(self.pattern.wkid());
        let next = self.next.as_ref().and_then(|next| under(next.pattern.wkid()));
        match (current, next) {
            (Some(first), second) => BlobForms { first, second },
            (None, Some(only)) => BlobForms::one(only),
            (None, None) => BlobForms::one(blobs.first().map_or(&[], Vec::as_slice)),
        }
    }

    /// Has a unit open the instance secret.
    pub(crate) async fn open_secret<U: Units>(
        &self,
        units: &U,
        budget: Budget,
    ) -> Result<Option<InstanceSecret>, UnitsError> {
        let MasterKeyProof { root_blob, iv, sealed_secret, commitment, .. } = &self.proof;
        let second = self.next.as_ref().map(|next| next.proof.root_blob.as_slice());
        let root = BlobForms { first: root_blob, second };
        let opened = ask::decrypt(units, root, *iv, SECRET_AAD, sealed_secret, budget).await?;
        Ok(opened
            .and_then(|bytes| InstanceSecret::from_slice(&bytes))
            .filter(|secret| secret.matches(commitment)))
    }
}

impl Mode {
    const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::ReadWrite),
            1 => Some(Self::ReadOnly),
            2 => Some(Self::Frozen),
            _ => None,
        }
    }
}

/// The header's fields as stored. Appended to only together with a new format number.
#[derive(Serialize, Deserialize)]
struct Stored {
    epoch: u64,
    mode: u8,
    pattern: [u8; 32],
    root_blob: Vec<u8>,
    iv: [u8; engine::AES_GCM_IV_LEN],
    sealed_secret: Vec<u8>,
    commitment: [u8; 32],
    canary: Vec<u8>,
}

/// What format 2 has beyond format 1.
#[derive(Serialize, Deserialize)]
struct StoredNext {
    pattern: [u8; 32],
    root_blob: Vec<u8>,
    canary: Vec<u8>,
    activating: bool,
}

/// A new instance secret, and its proof, by units alone.
async fn prove<U: Units>(
    units: &U,
    wkid: Wkid,
    budget: Budget,
) -> Result<(InstanceSecret, MasterKeyProof), UnitsError> {
    let drawn = ask::random(units, SECRET_LEN as u16, budget).await?;
    let secret = InstanceSecret::from_slice(&drawn).expect("a unit gives as many bytes as it is asked for");
    let generate = Forms::of(Command::GenerateKey { spec: ask::cipher_key(32) });
    let root_blob = ask::blob_under(units, &generate, wkid, budget).await?;
    let sealed = ask::encrypt(units, BlobForms::one(&root_blob), SECRET_AAD, secret.expose(), budget).await?;
    let spec = KeySpec { algorithm: Algorithm::Aes, key_len: 32, uses: KeyUses::SIGN, extractable: false };
    let canary = secret.canary();
    let import = Forms::of(Command::ImportKey { spec, value: canary.expose() });
    let canary = ask::blob_under(units, &import, wkid, budget).await?;
    let commitment = secret.commitment();
    let proof =
        MasterKeyProof { root_blob, iv: sealed.iv, sealed_secret: sealed.ciphertext, commitment, canary };
    Ok((secret, proof))
}

impl MasterKeyProof {
    /// The same secret and keys, their blobs under another master key.
    fn moved(&self, root_blob: Vec<u8>, canary: Vec<u8>) -> Self {
        Self { root_blob, canary, ..self.clone() }
    }

    /// This proof under the units' New master key, which must be this one.
    pub(crate) async fn reencipher<U: Units>(
        &self,
        units: &U,
        new: Wkid,
        budget: Budget,
    ) -> Result<Self, UnitsError> {
        let root_blob = ask::reencipher(units, &self.root_blob, new, budget).await?;
        let canary = ask::reencipher(units, &self.canary, new, budget).await?;
        Ok(self.moved(root_blob, canary))
    }
}
