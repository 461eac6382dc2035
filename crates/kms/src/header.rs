//! The instance's header, on which every write depends, and the proof of the master key.

use std::time::Duration;

use keystore::{Commit, Cond, Deadline, Freshness, Key, Keystore, OpId, StoreError, Txn, Write};
use rand_core::TryCryptoRng;
use serde::{Deserialize, Serialize};
use tracing::info;
use unit_api::proof::{self, INSTANCE_SECRET_LEN, InstanceSecret};
use unit_api::{BlobHeader, Variant, Variants, VerificationPattern, Wkid};
use zeroize::Zeroizing;

use crate::call::TimeBudget;
use crate::record::{decode, encode};
use crate::rng::random_array;
use crate::seal::{Handover, InstanceKeys};
use crate::variants::BlobVariants;
use crate::{
    InstanceId, InstanceMark, OpenError, RandomFailed, RecordError, StoreMeta, Units, UnitsError, ask, layout,
};

/// The proof of a master key, as an instance's header holds it.
pub type MasterKeyProof = unit_api::MasterKeyProof<Vec<u8>>;

/// Of an instance without an index, without a next master key.
const FORMAT: u8 = 1;
/// Of an instance without an index, with a next master key.
const FORMAT_ROTATING: u8 = 2;
/// Of an instance with an index.
const FORMAT_INDEXED: u8 = 3;
/// Of an instance with an index whose secret is not its first.
const FORMAT_RENEWED: u8 = 4;
const TAG_LEN: usize = 32;

/// Whether an instance accepts writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Reads and writes.
    ReadWrite = 0,
    /// Reads only: a standby.
    ReadOnly = 1,
    /// Reads only, while the instance is being moved or is fenced.
    Frozen = 2,
}

/// The header of an instance.
#[derive(Clone, Debug)]
pub struct InstanceHeader {
    /// Incremented when the mode changes or another side takes over writing.
    pub epoch: u64,
    /// Whether writes are accepted.
    pub mode: Mode,
    /// Verification pattern and proof of the current master key.
    pub proof: MasterKeyProof,
    /// The next master key during a rotation, while every key is kept under both master keys.
    pub next: Option<NextMasterKey>,
    /// Which header of the instance this is; `None` as long as the instance has no index.
    pub(crate) generation: Option<Generation>,
    /// What the instance secret has taken over from the one before it.
    pub(crate) handover: Option<Handover>,
}

/// Which header of an instance it is. Each later header has a greater generation, also if the instance is removed and
/// created again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Generation {
    /// Creation of the instance, or of its index, in microseconds since 1970.
    pub(crate) born: u64,
    /// Number of the header since then, from 1.
    pub(crate) number: u64,
}

impl Generation {
    /// The first one, of an instance that is created now.
    pub(crate) fn first() -> Self {
        Self::first_after(None)
    }

    /// As [`Self::first`], and later than any state of an instance of this id that was seen, also if the system's clock was
    /// set back since.
    pub(crate) fn first_after(mark: Option<InstanceMark>) -> Self {
        // The system's clock, because the service's clock may have been set back since an instance of this id was removed.
        let born = u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or_default();
        let seen = mark.map_or(0, |mark| mark.born.saturating_add(1));
        Self { born: born.max(seen), number: 1 }
    }

    pub(crate) const fn next(self) -> Self {
        Self { born: self.born, number: self.number.saturating_add(1) }
    }
}

/// The master key that a rotation leads to.
#[derive(Clone, Debug)]
pub struct NextMasterKey {
    /// Verification pattern and proof of the next master key; the same secret and the same keys.
    pub proof: MasterKeyProof,
    /// Whether units are being activated: the rotation can no longer be cancelled, and a new key may exist under the next
    /// master key alone.
    pub activating: bool,
}

/// Reason why an instance was not created or its header not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstanceError {
    /// The store has the instance already.
    #[error("the instance {0} exists already")]
    Exists(InstanceId),
    /// The store cannot be opened.
    #[error("the store cannot be opened")]
    Open(#[from] OpenError),
    /// No unit carried out the command.
    #[error("no crypto unit carried out the command")]
    Units(#[from] UnitsError),
    /// The deadline passed before anything was changed.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The instance may or may not have been created; reading its header finds out.
    #[error("the outcome is unknown; read the instance's header to find out")]
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
    /// Creates an instance: units make its proof, and the store takes its header.
    ///
    /// `pattern` is the verification pattern of the master key in the units, from the ceremony.
    ///
    /// # Errors
    /// [`InstanceError::Exists`] when the instance exists already; it is not changed.
    pub async fn create<S: Keystore, U: Units>(
        store: &S,
        units: &U,
        rng: &mut (impl TryCryptoRng + Send),
        instance: InstanceId,
        pattern: VerificationPattern,
        deadline: Duration,
    ) -> Result<Self, InstanceError> {
        Self::create_after(store, units, rng, instance, pattern, deadline, None).await
    }

    /// As [`Self::create`], where `mark` is the high-water mark of an instance of this id that was removed: the new instance is
    /// later, also if the system's clock was set back since.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub async fn create_after<S: Keystore, U: Units>(
        store: &S,
        units: &U,
        rng: &mut (impl TryCryptoRng + Send),
        instance: InstanceId,
        pattern: VerificationPattern,
        deadline: Duration,
        mark: Option<InstanceMark>,
    ) -> Result<Self, InstanceError> {
        let budget = TimeBudget::new(deadline);
        StoreMeta::read_or_begin(store, rng, deadline).await?;
        if Self::read(store, instance, deadline).await?.is_some() {
            return Err(InstanceError::Exists(instance));
        }
        let (keys, proof) = prove(units, pattern, budget).await?;
        let generation = Some(Generation::first_after(mark));
        let header = Self { epoch: 1, mode: Mode::ReadWrite, proof, next: None, generation, handover: None };
        let place = layout::header(instance);
        let value = header.encode(&place, &keys);
        let txn = Txn {
            op: OpId(random_array(rng)?),
            conds: vec![Cond::Absent(place.clone())],
            writes: vec![Write::Put { key: place, value: value.into(), lease: None }],
        };
        let left = budget.remaining().ok_or(InstanceError::DeadlineExceeded)?;
        match store.commit(txn, Deadline(left)).await? {
            Commit::Applied { .. } => {
                info!(%instance, pattern = %header.pattern(), "instance created");
                Ok(header)
            }
            Commit::Refused { .. } => Err(InstanceError::Exists(instance)),
        }
    }

    /// The store's key of the header of `instance`, for a watch.
    #[must_use]
    pub fn key(instance: InstanceId) -> Key {
        layout::header(instance)
    }

    /// Reads the header of an instance, if there is one, without a unit. Changes nothing, not even a new store.
    ///
    /// Its tag is checked after a unit has opened the secret; until then only a proof that units accept authenticates it.
    ///
    /// # Errors
    /// [`InstanceError::Open`] for a store of another program, [`InstanceError::HeaderInvalid`] for a damaged header.
    pub async fn read<S: Keystore>(
        store: &S,
        instance: InstanceId,
        deadline: Duration,
    ) -> Result<Option<Self>, InstanceError> {
        let budget = TimeBudget::new(deadline);
        if StoreMeta::read(store, deadline).await?.is_none() {
            return Ok(None);
        }
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
        let stored = StoredHeader {
            epoch: self.epoch,
            mode: self.mode as u8,
            pattern: *self.proof.pattern.as_bytes(),
            root_blob: self.proof.root_blob.clone(),
            iv: self.proof.iv,
            sealed_secret: self.proof.sealed_secret.to_vec(),
            commitment: self.proof.commitment,
            canary: self.proof.canary_blob.clone(),
        };
        let next = self.next.as_ref().map(|next| StoredNextMasterKey {
            pattern: *next.proof.pattern.as_bytes(),
            root_blob: next.proof.root_blob.clone(),
            canary: next.proof.canary_blob.clone(),
            activating: next.activating,
        });
        let mut value = match (self.generation, next) {
            (Some(generation), next) if self.handover.is_some() => {
                [&[FORMAT_RENEWED][..], &encode(&(stored, generation, next, &self.handover))].concat()
            }
            (Some(generation), next) => {
                [&[FORMAT_INDEXED][..], &encode(&(stored, generation, next))].concat()
            }
            (None, None) => [&[FORMAT][..], &encode(&stored)].concat(),
            (None, Some(next)) => [&[FORMAT_ROTATING][..], &encode(&(stored, next))].concat(),
        };
        let tag = keys.header_tag(place, &value);
        value.extend_from_slice(&tag);
        value
    }

    /// The header, the bytes that its tag covers, and the tag, which the caller checks.
    pub(crate) fn decode(value: &[u8]) -> Result<(Self, &[u8], &[u8; TAG_LEN]), RecordError> {
        let (body, tag) = value.split_last_chunk::<TAG_LEN>().ok_or(RecordError::Malformed)?;
        let (&format, fields) = body.split_first().ok_or(RecordError::Malformed)?;
        type Fields = (StoredHeader, Option<Generation>, Option<StoredNextMasterKey>, Option<Handover>);
        let (stored, generation, next, handover): Fields = match format {
            FORMAT => (decode(fields)?, None, None, None),
            FORMAT_ROTATING => decode(fields).map(|(stored, next)| (stored, None, Some(next), None))?,
            FORMAT_INDEXED => {
                decode(fields).map(|(stored, generation, next)| (stored, Some(generation), next, None))?
            }
            FORMAT_RENEWED => decode(fields)
                .map(|(stored, generation, next, handover)| (stored, Some(generation), next, handover))?,
            found => return Err(RecordError::Format { found, expected: FORMAT_RENEWED }),
        };
        let proof = MasterKeyProof {
            pattern: VerificationPattern::from_bytes(stored.pattern),
            root_blob: stored.root_blob,
            iv: stored.iv,
            sealed_secret: stored.sealed_secret.try_into().map_err(|_| RecordError::Malformed)?,
            commitment: stored.commitment,
            canary_blob: stored.canary,
        };
        let next = next.map(|next| {
            let pattern = VerificationPattern::from_bytes(next.pattern);
            let proof = proof.under(pattern, next.root_blob, next.canary);
            NextMasterKey { proof, activating: next.activating }
        });
        let mode = Mode::from_number(stored.mode).ok_or(RecordError::Malformed)?;
        Ok((Self { epoch: stored.epoch, mode, proof, next, generation, handover }, body, tag))
    }

    /// The header that is written after this one.
    pub(crate) fn successor(&self) -> Self {
        Self { generation: self.generation.map(Generation::next), ..self.clone() }
    }

    /// Verification pattern of the current master key.
    #[must_use]
    pub const fn pattern(&self) -> VerificationPattern {
        self.proof.pattern
    }

    /// The blobs that a unit can open: under the current master key, the next one, or both. A blob under another master key
    /// is returned too, for units to refuse.
    pub(crate) fn serving<'a>(&self, blobs: &'a [Vec<u8>]) -> BlobVariants<'a> {
        let under = |wkid: Wkid| {
            blobs.iter().find(|blob| BlobHeader::claimed_wkid(blob) == Some(&wkid)).map(Vec::as_slice)
        };
        let current = under(self.proof.pattern.wkid());
        let next = self.next.as_ref().and_then(|next| under(next.proof.pattern.wkid()));
        match (current, next) {
            (Some(first), second) => BlobVariants { first, second },
            (None, Some(only)) => BlobVariants::one(only),
            (None, None) => BlobVariants::one(blobs.first().map_or(&[], Vec::as_slice)),
        }
    }

    /// Opens the instance secret by a unit; `None` if it does not match the header's commitment.
    pub(crate) async fn open_secret<U: Units>(
        &self,
        units: &U,
        budget: TimeBudget,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, UnitsError> {
        let second = self.next.as_ref().map(|next| Variant::of(next.proof.open_secret()));
        let variants = Variants { second, ..Variants::of(self.proof.open_secret()) };
        let opened = ask::plaintext(units, &variants, budget).await?;
        Ok(opened.filter(|bytes| self.proof.check_secret(bytes).is_some()))
    }

    /// Opens the instance secret by a unit and derives the instance's keys from it, and those of the previous secret that are
    /// still needed; `None` if the secret does not match the header's commitment.
    pub(crate) async fn open_keys<U: Units>(
        &self,
        units: &U,
        budget: TimeBudget,
    ) -> Result<Option<(InstanceKeys, Option<InstanceKeys>)>, UnitsError> {
        let opened = self.open_secret(units, budget).await?;
        let Some(secret) = opened.as_deref().and_then(|bytes| InstanceSecret::from_slice(bytes)) else {
            return Ok(None);
        };
        let mut keys = InstanceKeys::derived_from(secret);
        Ok(match &self.handover {
            None => Some((keys, None)),
            Some(handover) => keys.take_over(handover).ok().map(|previous| (keys, previous)),
        })
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

/// The header's fields as stored. A new field needs a new format number.
#[derive(Serialize, Deserialize)]
struct StoredHeader {
    epoch: u64,
    mode: u8,
    pattern: [u8; 32],
    root_blob: Vec<u8>,
    iv: [u8; engine::AES_GCM_IV_LEN],
    sealed_secret: Vec<u8>,
    commitment: [u8; 32],
    canary: Vec<u8>,
}

/// The next master key, from format 2 on.
#[derive(Serialize, Deserialize)]
struct StoredNextMasterKey {
    pattern: [u8; 32],
    root_blob: Vec<u8>,
    canary: Vec<u8>,
    activating: bool,
}

/// Makes a new instance secret and the proof of the master key by units; returns the keys derived from the secret, and the
/// proof.
pub(crate) async fn prove<U: Units>(
    units: &U,
    pattern: VerificationPattern,
    budget: TimeBudget,
) -> Result<(InstanceKeys, MasterKeyProof), UnitsError> {
    let drawn = ask::random(units, INSTANCE_SECRET_LEN as u16, budget).await?;
    let secret = InstanceSecret::from_slice(&drawn).expect("a unit gives as many bytes as it is asked for");
    let wkid = pattern.wkid();
    let root_blob = ask::blob_under(units, &Variants::of(proof::generate_root()), wkid, budget).await?;
    let sealed = ask::encrypted(units, &Variants::of(proof::seal_secret(&root_blob, secret)), budget).await?;
    let sealed_secret = sealed.ciphertext.try_into().map_err(|_| UnitsError::Unexpected {
        command: "Encrypt",
        found: "a ciphertext of another length",
    })?;
    let canary = secret.canary();
    let canary_blob =
        ask::blob_under(units, &Variants::of(proof::import_canary(&canary)), wkid, budget).await?;
    let commitment = secret.commitment();
    let proof = MasterKeyProof { pattern, root_blob, iv: sealed.iv, sealed_secret, commitment, canary_blob };
    Ok((InstanceKeys::derived_from(secret), proof))
}

/// Re-enciphers a proof to the New master key of the units, which must have the pattern `new`.
pub(crate) async fn reencipher_proof<U: Units>(
    units: &U,
    proof: &MasterKeyProof,
    new: VerificationPattern,
    budget: TimeBudget,
) -> Result<MasterKeyProof, UnitsError> {
    let root_blob = ask::reencipher(units, &proof.root_blob, new.wkid(), budget).await?;
    let canary_blob = ask::reencipher(units, &proof.canary_blob, new.wkid(), budget).await?;
    Ok(proof.under(new, root_blob, canary_blob))
}
