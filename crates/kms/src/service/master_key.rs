//! The steps of a rotation of the master key. Each step is durable and can be repeated.

use keystore::{Cond, Entry, Key as StoreKey, Keystore, MAX_PAGE_ENTRIES, Revision, Txn, Write};
use tracing::info;
use unit_api::{VerificationPattern, Wkid};

use super::freshness::IndexView;
use super::{CommitOutcome, Kms, MAX_ATTEMPTS, OpenInstance, invalid};
use crate::call::TimeBudget;
use crate::header::reencipher_proof;
use crate::join::join_all;
use crate::record::BlobRecord;
use crate::rotation::{Journal, JournalState, Position, RotationId, RotationPhase, Step, resume};
use crate::seal::{Handover, InstanceKeys};
use crate::{
    Call, InstanceHeader, KmsError, NextMasterKey, RecordError, RotationError, RotationStatus, UnitState,
    Units, UnitsError, ask, layout,
};

/// Key versions that one transaction changes; with header and journal they are within the limit of the store.
const BATCH: usize = 64;
/// Attempts to re-encipher a blob, since another unit may accept what one refuses.
const TRIES: usize = 3;

/// An instance and its journal at one revision.
pub(super) struct Rotating {
    pub(super) instance: std::sync::Arc<OpenInstance>,
    pub(super) header_at: Revision,
    pub(super) at: Revision,
    pub(super) journal: Option<(Journal, Revision)>,
}

/// The next batch of a phase.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) conds: Vec<Cond>,
    pub(super) writes: Vec<Write>,
    /// Key versions that were read.
    pub(super) seen: u64,
    /// Start of the next batch; `None` at the end.
    pub(super) next: Option<StoreKey>,
    /// The buckets that list what is written.
    pub(super) index: IndexView,
}

impl<S: Keystore, U: Units> Kms<S, U> {
    /// The current rotation of the instance's master key, or else the last one.
    ///
    /// # Errors
    /// [`KmsError`].
    pub async fn rotation(&self, call: &Call<'_>) -> Result<Option<RotationStatus>, KmsError> {
        let rotating = self.rotating(call, TimeBudget::new(call.deadline)).await?;
        Ok(rotating.journal.map(|(journal, _)| journal.status()))
    }

    /// The position of the instance, for [`resume`].
    ///
    /// # Errors
    /// [`KmsError`].
    pub async fn rotation_position(&self, call: &Call<'_>) -> Result<Position, KmsError> {
        Ok(self.rotating(call, TimeBudget::new(call.deadline)).await?.position())
    }

    /// A new id for a rotation.
    ///
    /// # Errors
    /// [`RandomFailed`](crate::RandomFailed).
    pub fn rotation_id(&self) -> Result<RotationId, crate::RandomFailed> {
        self.random_op().map(|op| RotationId(op.0))
    }

    /// Begins a rotation to the master key that is committed in the units' New registers: the instance's proof gets its second
    /// form, and so does every key that is made from then on.
    ///
    /// A creation that began before is either stored by then, and will be re-enciphered, or is refused by the store and
    /// repeated in both forms.
    ///
    /// # Errors
    /// [`RotationError`]; [`UnitsError::Refused`] with the unit's reason when New is not committed. A repeat succeeds.
    pub async fn begin_rotation(
        &self,
        call: &Call<'_>,
        id: RotationId,
        new: VerificationPattern,
    ) -> Result<RotationStatus, RotationError> {
        let budget = TimeBudget::new(call.deadline);
        for _ in 0..MAX_ATTEMPTS {
            let now = self.rotating(call, budget).await?;
            if let Some((journal, _)) = now.journal.as_ref().filter(|(j, _)| j.phase != RotationPhase::Done) {
                let same = journal.new.is_of_same_key(&new) && journal.phase != RotationPhase::Cancelling;
                let status = journal.status();
                return if same {
                    Ok(status)
                } else {
                    Err(RotationError::UnderWay { under_way: Box::new(status) })
                };
            }
            let header = &now.instance.header;
            if header.pattern().is_of_same_key(&new) {
                return Err(RotationError::SameMasterKey { pattern: new });
            }
            now.instance.check_writable()?;
            let proof = reencipher_proof(&self.units, &header.proof, new, budget).await?;
            let total = self.count_blobs(call, now.at, budget).await?;
            let at = self.now().into();
            let (old, phase) = (header.pattern(), RotationPhase::ReEnciphering);
            let journal = Journal {
                id,
                old,
                new,
                phase,
                position: None,
                done: 0,
                total,
                started_at: at,
                changed_at: at,
            };
            let next = Some(NextMasterKey { proof, activating: false });
            let header = InstanceHeader { next, ..header.successor() };
            if let Some(status) =
                self.turn(call, budget, &now, (&header, &now.instance.keys), &journal).await?
            {
                return Ok(status);
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS }.into())
    }

    /// Processes the next [batch](RotationPhase::has_batches) of the present phase; `None` when a cancelled rotation is
    /// completely removed.
    ///
    /// # Errors
    /// [`RotationError`]; [`RotationError::NotUnderWay`].
    pub async fn rotation_step(&self, call: &Call<'_>) -> Result<Option<RotationStatus>, RotationError> {
        let budget = TimeBudget::new(call.deadline);
        for _ in 0..MAX_ATTEMPTS {
            let now = self.rotating(call, budget).await?;
            let (journal, journal_at) = now.journal.as_ref().ok_or(RotationError::NotUnderWay)?;
            if !journal.phase.has_batches() {
                return Ok(Some(journal.status()));
            }
            now.instance.check_writable()?;
            let batch = if journal.phase == RotationPhase::Finishing {
                self.renewal_batch(call, budget, &now, journal).await?
            } else {
                Some(self.batch(call, budget, &now, journal).await?)
            };
            let Some(batch) = batch else { continue };
            let (journal, journal_at) = (journal.clone(), *journal_at);
            match self.commit_batch(call, budget, &now, (journal, journal_at), batch).await? {
                Some(written) => return Ok(written),
                None => continue,
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS }.into())
    }

    /// Processes all batches of the present phase and reports the progress after each. Each batch has the call's whole
    /// deadline. Returns the rotation; `None` when a cancelled rotation is completely removed.
    ///
    /// # Errors
    /// [`RotationError`]; completed batches are kept, and the next call continues after them.
    pub async fn run_rotation(
        &self,
        call: &Call<'_>,
        mut progress: impl FnMut(&RotationStatus) + Send,
    ) -> Result<Option<RotationStatus>, RotationError> {
        loop {
            match self.rotation_step(call).await? {
                Some(status) if status.phase.has_batches() => progress(&status),
                end => {
                    if let Some(status) = &end {
                        progress(status);
                    }
                    return Ok(end);
                }
            }
        }
    }

    /// Records that units will be activated. From then on the rotation can only be finished, and a key may be made under the
    /// new master key alone when no unit with the old one is left.
    ///
    /// # Errors
    /// [`RotationError::WrongPhase`] before every key has both forms, [`RotationError::Incomplete`] if a key has lost its
    /// second form.
    pub async fn begin_activation(&self, call: &Call<'_>) -> Result<RotationStatus, RotationError> {
        const DOING: &str = "beginning the activation";
        let budget = TimeBudget::new(call.deadline);
        for _ in 0..MAX_ATTEMPTS {
            let now = self.rotating(call, budget).await?;
            let (journal, _) = now.journal.as_ref().ok_or(RotationError::NotUnderWay)?;
            match journal.phase {
                RotationPhase::Activating => return Ok(journal.status()),
                RotationPhase::ReEnciphered => {}
                phase => return Err(wrong_phase(DOING, phase)),
            }
            now.instance.check_writable()?;
            let missing =
                self.missing_under(call, budget, (&now.instance, now.at), journal.new.wkid()).await?;
            if missing > 0 {
                return Err(RotationError::Incomplete { missing });
            }
            let header = &now.instance.header;
            let next = header.next.clone().map(|next| NextMasterKey { activating: true, ..next });
            let header = InstanceHeader { next, ..header.successor() };
            let at = self.now().into();
            let journal = journal.clone().in_phase(RotationPhase::Activating, 0, at);
            if let Some(status) =
                self.turn(call, budget, &now, (&header, &now.instance.keys), &journal).await?
            {
                return Ok(status);
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS }.into())
    }

    /// Makes the new master key the instance's, with a new instance secret, when every unit that is not excluded shows it.
    /// [`Self::run_rotation`] then removes the forms under the old one and seals all records again.
    ///
    /// # Errors
    /// [`RotationError::UnitsBehind`] with the next step.
    pub async fn finish_rotation(
        &self,
        call: &Call<'_>,
        units: &[UnitState],
    ) -> Result<RotationStatus, RotationError> {
        const DOING: &str = "finishing";
        let budget = TimeBudget::new(call.deadline);
        for _ in 0..MAX_ATTEMPTS {
            let now = self.rotating(call, budget).await?;
            let (journal, _) = now.journal.as_ref().ok_or(RotationError::NotUnderWay)?;
            match journal.phase {
                RotationPhase::Finishing | RotationPhase::Done => return Ok(journal.status()),
                RotationPhase::Activating => {}
                phase => return Err(wrong_phase(DOING, phase)),
            }
            now.instance.check_writable()?;
            let advice = resume(&now.position(), units);
            if !matches!(advice.next, Step::Finish) {
                return Err(RotationError::UnitsBehind { advice: Box::new(advice) });
            }
            let header = &now.instance.header;
            let next = header.next.clone().ok_or_else(|| damaged(call))?;
            let (keys, proof, handover) =
                self.renew_secret(call, &now.instance, next.proof.pattern, budget).await?;
            let handover = Some(handover);
            let header = InstanceHeader { proof, next: None, handover, ..header.successor() };
            let total = self.count_blobs(call, now.at, budget).await?;
            let journal = journal.clone().in_phase(RotationPhase::Finishing, total, self.now().into());
            if let Some(status) = self.turn(call, budget, &now, (&header, &keys), &journal).await? {
                return Ok(status);
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS }.into())
    }

    /// Cancels a rotation before its first activation. [`Self::run_rotation`] then removes the forms under the new master key,
    /// and the units' New registers can be cleared.
    ///
    /// # Errors
    /// [`RotationError::WrongPhase`] from phase `activating` on.
    pub async fn cancel_rotation(&self, call: &Call<'_>) -> Result<RotationStatus, RotationError> {
        let budget = TimeBudget::new(call.deadline);
        for _ in 0..MAX_ATTEMPTS {
            let now = self.rotating(call, budget).await?;
            let (journal, _) = now.journal.as_ref().ok_or(RotationError::NotUnderWay)?;
            match journal.phase {
                RotationPhase::Cancelling => return Ok(journal.status()),
                phase if phase.is_cancellable() => {}
                phase => return Err(wrong_phase("cancelling", phase)),
            }
            now.instance.check_writable()?;
            let header = InstanceHeader { next: None, ..now.instance.header.successor() };
            let total = self.count_blobs(call, now.at, budget).await?;
            let journal = journal.clone().in_phase(RotationPhase::Cancelling, total, self.now().into());
            if let Some(status) =
                self.turn(call, budget, &now, (&header, &now.instance.keys), &journal).await?
            {
                return Ok(status);
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS }.into())
    }

    /// Re-enciphers a key blob that its owner keeps: the same key under the next master key, usable after its activation. Units
    /// do this while their New register is committed, whether or not a rotation has begun here.
    ///
    /// # Errors
    /// [`KmsError::Units`] with the unit's own reason.
    pub async fn reencipher_external(&self, call: &Call<'_>, blob: &[u8]) -> Result<Vec<u8>, KmsError> {
        let command = unit_api::Command::Reencipher { blob };
        let (blob, _) =
            ask::blob(&self.units, &unit_api::Variants::of(command), TimeBudget::new(call.deadline)).await?;
        Ok(blob)
    }

    async fn rotating(&self, call: &Call<'_>, budget: TimeBudget) -> Result<Rotating, KmsError> {
        let place = layout::journal(call.instance);
        let view = self.view(call, budget, std::slice::from_ref(&place)).await?;
        let journal = match view.entries.into_iter().flatten().next() {
            None => None,
            Some(entry) => {
                let journal = Journal::decode(&entry.value, &place, &view.instance.keys);
                Some((journal.map_err(|why| invalid(&place, why))?, entry.modified))
            }
        };
        let journal_of = journal.as_ref().map(|(journal, _)| journal);
        if !view.instance.header.fits(journal_of) {
            return Err(invalid(&place, RecordError::Older));
        }
        Ok(Rotating { instance: view.instance, header_at: view.header_at, at: view.at, journal })
    }

    /// Writes header and journal together if both are unchanged; `None` if they are not.
    async fn turn(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        now: &Rotating,
        (header, keys): (&InstanceHeader, &InstanceKeys),
        journal: &Journal,
    ) -> Result<Option<RotationStatus>, RotationError> {
        let (header_place, place) = (layout::header(call.instance), layout::journal(call.instance));
        let unchanged = match &now.journal {
            Some((_, at)) => Cond::Unchanged(place.clone(), *at),
            None => Cond::Absent(place.clone()),
        };
        let value = journal.encode(&place, keys).into();
        let mut writes = vec![Write::Put { key: place, value, lease: None }];
        let value = header.encode(&header_place, keys).into();
        writes.push(Write::Put { key: header_place.clone(), value, lease: None });
        let conds = vec![Cond::Unchanged(header_place, now.header_at), unchanged];
        let txn = Txn { op: self.random_op().map_err(KmsError::from)?, conds, writes };
        Ok(match self.commit_header(call, budget, header, txn).await? {
            CommitOutcome::Applied(_) | CommitOutcome::Replayed(_) => {
                log_phase(call, Some(journal.phase));
                Some(journal.status())
            }
            CommitOutcome::Lost => None,
        })
    }

    /// Prepares the next batch of the phase without writing it.
    async fn batch(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        now: &Rotating,
        journal: &Journal,
    ) -> Result<Batch, RotationError> {
        let mut range = layout::blobs(call.instance);
        if let Some(position) = &journal.position {
            range.start = position.clone();
        }
        let instance = &*now.instance;
        let page = self.scan(range, BATCH, now.at, budget).await?;
        let changed = join_all(page.entries.iter().map(|entry| async move {
            let opened = self.open_any_blob(budget, instance, entry).await?;
            // Otherwise the key was purged meanwhile.
            let Some((mut record, own)) = opened else { return Ok(None) };
            let changed = if journal.phase == RotationPhase::ReEnciphering {
                self.add_form(instance, entry, &mut record, journal, budget).await?
            } else {
                drop_forms(&mut record, instance.header.pattern().wkid())
            };
            Ok::<_, KmsError>(changed.then_some((entry, record, own)))
        }))
        .await;
        let mut batch = Batch { seen: page.entries.len() as u64, next: page.next, ..Batch::default() };
        for changed in changed {
            if let Some((entry, record, own)) = changed? {
                batch.conds.push(Cond::Unchanged(entry.key.clone(), entry.modified));
                batch.writes.push(self.put_blob(&own, entry.key.clone(), &record)?);
            }
        }
        Ok(batch)
    }

    /// Adds the blob under the new master key to a record; returns whether it was missing.
    async fn add_form(
        &self,
        instance: &OpenInstance,
        entry: &Entry,
        record: &mut BlobRecord,
        journal: &Journal,
        budget: TimeBudget,
    ) -> Result<bool, KmsError> {
        if record.under(journal.new.wkid()).is_some() {
            return Ok(false);
        }
        let old = record.under(instance.header.pattern().wkid());
        let old = old.ok_or_else(|| invalid(&entry.key, RecordError::Missing))?;
        let new = self.reencipher(old, journal.new.wkid(), budget).await?;
        // Any other blob is under a master key that is not in use.
        record.blobs = vec![old.to_vec(), new];
        Ok(true)
    }

    /// Re-enciphers a blob by any unit; another unit may still have the New master key that one has lost.
    pub(super) async fn reencipher(
        &self,
        blob: &[u8],
        new: Wkid,
        budget: TimeBudget,
    ) -> Result<Vec<u8>, UnitsError> {
        let mut tries = 1;
        loop {
            match ask::reencipher(&self.units, blob, new, budget).await {
                Err(UnitsError::Refused(_)) if tries < TRIES => tries += 1,
                outcome => return outcome,
            }
        }
    }

    /// Writes a batch and the progress of the phase; `None` when something has changed since it was read.
    async fn commit_batch(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        now: &Rotating,
        (journal, journal_at): (Journal, Revision),
        batch: Batch,
    ) -> Result<Option<Option<RotationStatus>>, RotationError> {
        let Batch { mut conds, mut writes, seen, next, index } = batch;
        let (place, at) = (layout::journal(call.instance), self.now().into());
        let phase = journal.phase;
        let after = match (&next, phase) {
            (Some(_), _) => {
                Some(Journal { position: next, done: journal.done + seen, changed_at: at, ..journal })
            }
            (None, RotationPhase::ReEnciphering) => {
                let total = journal.done + seen;
                let done = journal.in_phase(RotationPhase::ReEnciphered, total, at);
                Some(Journal { done: total, ..done })
            }
            (None, RotationPhase::Finishing) => {
                let total = journal.done + seen;
                let done = journal.in_phase(RotationPhase::Done, total, at);
                Some(Journal { done: total, ..done })
            }
            (None, _) => None,
        };
        let header_place = layout::header(call.instance);
        // At the end of the last phase, nothing is under the previous secret any more.
        let is_done = after.as_ref().is_some_and(|journal| journal.phase == RotationPhase::Done);
        let header =
            now.instance.header.handover.as_ref().filter(|handover| is_done && handover.has_previous());
        let header = header.map(|handover| InstanceHeader {
            handover: Some(handover.without_previous()),
            ..now.instance.header.successor()
        });
        if let Some(header) = &header {
            let value = header.encode(&header_place, &now.instance.keys).into();
            writes.push(Write::Put { key: header_place.clone(), value, lease: None });
        }
        conds.push(Cond::Unchanged(header_place, now.header_at));
        conds.push(Cond::Unchanged(place.clone(), journal_at));
        writes.push(match &after {
            Some(journal) => {
                let value = journal.encode(&place, &now.instance.keys).into();
                Write::Put { key: place, value, lease: None }
            }
            None => Write::Delete(place),
        });
        let txn = Txn { op: self.random_op().map_err(KmsError::from)?, conds, writes };
        let outcome = self.commit_listed(call, budget, (&now.instance, &index), txn).await?;
        if let (CommitOutcome::Applied(_), Some(header)) = (&outcome, &header) {
            self.note_header(call.instance, header);
        }
        Ok(match outcome {
            CommitOutcome::Applied(_) | CommitOutcome::Replayed(_) => {
                let now = after.as_ref().map(|journal| journal.phase);
                if now != Some(phase) {
                    log_phase(call, now);
                }
                Some(after.map(|journal| journal.status()))
            }
            CommitOutcome::Lost => None,
        })
    }

    async fn count_blobs(&self, call: &Call<'_>, at: Revision, budget: TimeBudget) -> Result<u64, KmsError> {
        let mut count = 0;
        let mut range = layout::blobs(call.instance);
        loop {
            let page = self.scan(range.clone(), MAX_PAGE_ENTRIES, at, budget).await?;
            count += page.entries.len() as u64;
            match page.next {
                Some(next) => range.start = next,
                None => return Ok(count),
            }
        }
    }

    /// Number of key versions without a blob under this master key.
    async fn missing_under(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        (instance, at): (&OpenInstance, Revision),
        wkid: Wkid,
    ) -> Result<u64, KmsError> {
        let mut missing = 0;
        let mut range = layout::blobs(call.instance);
        loop {
            let page = self.scan(range.clone(), MAX_PAGE_ENTRIES, at, budget).await?;
            for entry in &page.entries {
                let opened = self.open_any_blob(budget, instance, entry).await?;
                missing += u64::from(opened.is_some_and(|(blob, _)| blob.under(wkid).is_none()));
            }
            match page.next {
                Some(next) => range.start = next,
                None => break,
            }
        }
        Ok(missing)
    }
}

impl InstanceHeader {
    /// Whether header and journal are of the same step of the same rotation. They are written together, so that either of
    /// them is older if they are not.
    fn fits(&self, journal: Option<&Journal>) -> bool {
        let current = self.pattern();
        let has_previous = self.handover.as_ref().is_some_and(Handover::has_previous);
        match (journal, &self.next) {
            (None, next) => next.is_none() && !has_previous,
            (Some(journal), Some(next)) => {
                let phase = if next.activating {
                    journal.phase == RotationPhase::Activating
                } else {
                    matches!(journal.phase, RotationPhase::ReEnciphering | RotationPhase::ReEnciphered)
                };
                phase
                    && current.is_of_same_key(&journal.old)
                    && next.proof.pattern.is_of_same_key(&journal.new)
            }
            (Some(journal), None) => match journal.phase {
                RotationPhase::Finishing => current.is_of_same_key(&journal.new),
                RotationPhase::Done => current.is_of_same_key(&journal.new) && !has_previous,
                RotationPhase::Cancelling => current.is_of_same_key(&journal.old),
                RotationPhase::ReEnciphering | RotationPhase::ReEnciphered | RotationPhase::Activating => {
                    false
                }
            },
        }
    }
}

impl Rotating {
    fn position(&self) -> Position {
        let journal = self.journal.as_ref().map(|(journal, _)| JournalState {
            phase: journal.phase,
            old: journal.old,
            new: journal.new,
            cancellable: journal.phase.is_cancellable(),
        });
        Position { header: self.instance.header.pattern(), journal }
    }
}

/// Keeps only the blob under this master key; returns whether there were others. A record without such a blob is unchanged.
pub(super) fn drop_forms(record: &mut BlobRecord, kept: Wkid) -> bool {
    match record.under(kept).map(<[u8]>::to_vec) {
        Some(blob) if record.blobs.len() > 1 => {
            record.blobs = vec![blob];
            true
        }
        Some(_) | None => false,
    }
}

/// The journal has a next master key and the header has none.
fn damaged(call: &Call<'_>) -> KmsError {
    invalid(&layout::header(call.instance), RecordError::Malformed)
}

const fn wrong_phase(doing: &'static str, phase: RotationPhase) -> RotationError {
    let instead = match phase {
        RotationPhase::ReEnciphering => "continue re-enciphering, or cancel",
        RotationPhase::ReEnciphered => "begin the activation, or cancel",
        RotationPhase::Activating => "activate the remaining units, then finish",
        RotationPhase::Finishing => {
            "the new master key is in use; continue removing the forms under the old one"
        }
        RotationPhase::Done => "the rotation has finished",
        RotationPhase::Cancelling => "continue removing the forms under the new master key",
    };
    RotationError::WrongPhase { doing, phase, instead }
}

/// One line for each phase that an instance's rotation enters; `None` when a cancelled one is completely removed.
fn log_phase(call: &Call<'_>, phase: Option<RotationPhase>) {
    let phase = phase.map_or("cancelled", RotationPhase::name);
    info!(instance = %call.instance, phase, "rotation of the master key");
}
