//! The steps of a rotation of the master key. Each is durable before the next, and can be repeated.

use keystore::{Cond, Entry, Freshness, Key as StoreKey, Keystore, Revision, Txn, Write};
use unit_api::{VerificationPattern, Wkid};

use super::{Attempt, Instance, Kms, MAX_ATTEMPTS, invalid};
use crate::call::Budget;
use crate::header::reencipher_proof;
use crate::join::join_all;
use crate::record::BlobRecord;
use crate::rotation::{Journal, JournalState, Position, RotationId, RotationPhase, Step, resume};
use crate::{
    Call, InstanceHeader, KmsError, NextMasterKey, RecordError, RotationError, RotationStatus, UnitState,
    Units, UnitsError, ask, layout,
};

/// Key versions that get or lose a form in one transaction: with header and journal they are within the store's limit.
const BATCH: usize = 64;
/// How often a unit is asked to re-encipher a blob, if another may do what it refuses.
const TRIES: usize = 3;

/// An instance and its journal at one revision.
struct Rotating {
    instance: std::sync::Arc<Instance>,
    header_at: Revision,
    journal: Option<(Journal, Revision)>,
}

/// The next piece of a phase: what to write, and how far it leads.
struct Batch {
    conds: Vec<Cond>,
    writes: Vec<Write>,
    /// Key versions looked at.
    seen: u64,
    /// Where to go on; none at the end.
    next: Option<StoreKey>,
}

impl<S: Keystore, U: Units> Kms<S, U> {
    /// The rotation of the instance's master key that is under way, or was the last.
    ///
    /// # Errors
    /// [`KmsError`].
    pub async fn rotation(&self, call: &Call<'_>) -> Result<Option<RotationStatus>, KmsError> {
        let rotating = self.rotating(call, Budget::new(call.deadline)).await?;
        Ok(rotating.journal.map(|(journal, _)| journal.status()))
    }

    /// Where the instance stands, for [`resume`].
    ///
    /// # Errors
    /// [`KmsError`].
    pub async fn rotation_position(&self, call: &Call<'_>) -> Result<Position, KmsError> {
        Ok(self.rotating(call, Budget::new(call.deadline)).await?.position())
    }

    /// An id for a rotation, which nobody has used.
    ///
    /// # Errors
    /// [`RandomFailed`](crate::RandomFailed).
    pub fn rotation_id(&self) -> Result<RotationId, crate::RandomFailed> {
        self.random_op().map(|op| RotationId(op.0))
    }

    /// Begins a rotation to the master key that is committed in the units' New registers: the instance's proof gets its
    /// second form, and from then on so does every key that is made.
    ///
    /// Any creation that had begun before is either stored by then, and will be re-enciphered, or is refused by the store
    /// and made anew in both forms.
    ///
    /// # Errors
    /// [`RotationError`]; [`UnitsError::Refused`] with the unit's reason when New is not committed. A repeat finds the
    /// rotation begun and succeeds.
    pub async fn begin_rotation(
        &self,
        call: &Call<'_>,
        id: RotationId,
        new: VerificationPattern,
    ) -> Result<RotationStatus, RotationError> {
        let budget = Budget::new(call.deadline);
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
            let total = self.count_blobs(call, budget).await?;
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
            let header = InstanceHeader { next, ..header.clone() };
            if let Some(status) = self.turn(call, budget, &now, Some(&header), &journal).await? {
                return Ok(status);
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS }.into())
    }

    /// Goes through the next [batch](RotationPhase::has_batches) of the present phase; `None` once a cancelled rotation
    /// has left nothing behind.
    ///
    /// # Errors
    /// [`RotationError`]; [`RotationError::NotUnderWay`].
    pub async fn rotation_step(&self, call: &Call<'_>) -> Result<Option<RotationStatus>, RotationError> {
        let budget = Budget::new(call.deadline);
        for _ in 0..MAX_ATTEMPTS {
            let now = self.rotating(call, budget).await?;
            let (journal, journal_at) = now.journal.as_ref().ok_or(RotationError::NotUnderWay)?;
            if !journal.phase.has_batches() {
                return Ok(Some(journal.status()));
            }
            now.instance.check_writable()?;
            let batch = self.batch(call, budget, &now.instance, journal).await?;
            let (journal, journal_at) = (journal.clone(), *journal_at);
            match self.commit_batch(call, budget, &now, (journal, journal_at), batch).await? {
                Some(written) => return Ok(written),
                None => continue,
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS }.into())
    }

    /// Goes through all batches of the present phase, telling after each how far it has come. Each batch has the call's
    /// whole deadline. Gives what the rotation then is; `None` once a cancelled one has left nothing behind.
    ///
    /// # Errors
    /// [`RotationError`]; what is done stays done, and the next call goes on from there.
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

    /// Says that units are about to be activated. From here on the rotation can only be finished; a key may from now on be
    /// made under the new master key alone, when no unit with the old one is left.
    ///
    /// # Errors
    /// [`RotationError::WrongPhase`] before every key has both forms, [`RotationError::Incomplete`] if one has lost its
    /// second.
    pub async fn begin_activation(&self, call: &Call<'_>) -> Result<RotationStatus, RotationError> {
        const DOING: &str = "beginning the activation";
        let budget = Budget::new(call.deadline);
        for _ in 0..MAX_ATTEMPTS {
            let now = self.rotating(call, budget).await?;
            let (journal, _) = now.journal.as_ref().ok_or(RotationError::NotUnderWay)?;
            match journal.phase {
                RotationPhase::Activating => return Ok(journal.status()),
                RotationPhase::ReEnciphered => {}
                phase => return Err(wrong_phase(DOING, phase)),
            }
            now.instance.check_writable()?;
            let missing = self.missing_under(call, budget, &now.instance, journal.new.wkid()).await?;
            if missing > 0 {
                return Err(RotationError::Incomplete { missing });
            }
            let header = &now.instance.header;
            let next = header.next.clone().map(|next| NextMasterKey { activating: true, ..next });
            let header = InstanceHeader { next, ..header.clone() };
            let at = self.now().into();
            let journal = journal.clone().turned(RotationPhase::Activating, 0, at);
            if let Some(status) = self.turn(call, budget, &now, Some(&header), &journal).await? {
                return Ok(status);
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS }.into())
    }

    /// Makes the new master key the instance's, once every unit that counts shows it. What is under the old one is then
    /// removed by [`Self::run_rotation`].
    ///
    /// # Errors
    /// [`RotationError::UnitsBehind`] with what to do first.
    pub async fn finish_rotation(
        &self,
        call: &Call<'_>,
        units: &[UnitState],
    ) -> Result<RotationStatus, RotationError> {
        const DOING: &str = "finishing";
        let budget = Budget::new(call.deadline);
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
            let header = InstanceHeader { proof: next.proof, next: None, ..header.clone() };
            let total = self.count_blobs(call, budget).await?;
            let journal = journal.clone().turned(RotationPhase::Finishing, total, self.now().into());
            if let Some(status) = self.turn(call, budget, &now, Some(&header), &journal).await? {
                return Ok(status);
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS }.into())
    }

    /// Gives a rotation up before its first activation. What is under the new master key is then removed by
    /// [`Self::run_rotation`], and the units' New registers can be cleared.
    ///
    /// # Errors
    /// [`RotationError::WrongPhase`] from the activation on.
    pub async fn cancel_rotation(&self, call: &Call<'_>) -> Result<RotationStatus, RotationError> {
        let budget = Budget::new(call.deadline);
        for _ in 0..MAX_ATTEMPTS {
            let now = self.rotating(call, budget).await?;
            let (journal, _) = now.journal.as_ref().ok_or(RotationError::NotUnderWay)?;
            match journal.phase {
                RotationPhase::Cancelling => return Ok(journal.status()),
                phase if phase.is_cancellable() => {}
                phase => return Err(wrong_phase("cancelling", phase)),
            }
            now.instance.check_writable()?;
            let header = InstanceHeader { next: None, ..now.instance.header.clone() };
            let total = self.count_blobs(call, budget).await?;
            let journal = journal.clone().turned(RotationPhase::Cancelling, total, self.now().into());
            if let Some(status) = self.turn(call, budget, &now, Some(&header), &journal).await? {
                return Ok(status);
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS }.into())
    }

    /// Has a unit re-encipher a key blob that its owner keeps: the same key under the next master key, good once that is
    /// activated. Units do it while their New register is committed, whether or not a rotation has begun here.
    ///
    /// # Errors
    /// [`KmsError::Units`] with the unit's own reason.
    pub async fn reencipher_external(&self, call: &Call<'_>, blob: &[u8]) -> Result<Vec<u8>, KmsError> {
        let command = unit_api::Command::Reencipher { blob };
        let (blob, _) =
            ask::blob(&self.units, &crate::Forms::of(command), Budget::new(call.deadline)).await?;
        Ok(blob)
    }

    async fn rotating(&self, call: &Call<'_>, budget: Budget) -> Result<Rotating, KmsError> {
        let place = layout::journal(call.instance);
        let view = self.view(call, budget, std::slice::from_ref(&place)).await?;
        let journal = match view.entries.into_iter().flatten().next() {
            None => None,
            Some(entry) => {
                let journal = Journal::decode(&entry.value, &place, &view.instance.keys);
                Some((journal.map_err(|why| invalid(&place, why))?, entry.modified))
            }
        };
        Ok(Rotating { instance: view.instance, header_at: view.header_at, journal })
    }

    /// Writes header and journal together, if both still are as they were read. `None` when they are not.
    async fn turn(
        &self,
        call: &Call<'_>,
        budget: Budget,
        now: &Rotating,
        header: Option<&InstanceHeader>,
        journal: &Journal,
    ) -> Result<Option<RotationStatus>, RotationError> {
        let keys = &now.instance.keys;
        let (header_place, place) = (layout::header(call.instance), layout::journal(call.instance));
        let unchanged = match &now.journal {
            Some((_, at)) => Cond::Unchanged(place.clone(), *at),
            None => Cond::Absent(place.clone()),
        };
        let value = journal.encode(&place, keys).into();
        let mut writes = vec![Write::Put { key: place, value, lease: None }];
        if let Some(header) = header {
            let value = header.encode(&header_place, keys).into();
            writes.push(Write::Put { key: header_place.clone(), value, lease: None });
        }
        let conds = vec![Cond::Unchanged(header_place, now.header_at), unchanged];
        let txn = Txn { op: self.random_op().map_err(KmsError::from)?, conds, writes };
        Ok(match self.try_commit(txn, budget).await? {
            Attempt::Applied | Attempt::Replayed => Some(journal.status()),
            Attempt::Lost => None,
        })
    }

    /// Works out the next batch of the phase, without writing anything.
    async fn batch(
        &self,
        call: &Call<'_>,
        budget: Budget,
        instance: &Instance,
        journal: &Journal,
    ) -> Result<Batch, RotationError> {
        let mut range = layout::blobs(call.instance);
        if let Some(position) = &journal.position {
            range.start = position.clone();
        }
        let fresh = Freshness::Linearizable;
        let deadline = budget.for_store()?;
        let page = self.store.scan(range, BATCH, None, fresh, deadline).await.map_err(KmsError::from)?;
        let changed = join_all(page.entries.iter().map(|entry| async move {
            let mut record = instance.open_blob(entry)?;
            let changed = if journal.phase == RotationPhase::ReEnciphering {
                self.add_form(instance, entry, &mut record, journal, budget).await?
            } else {
                drop_forms(&mut record, instance.header.pattern().wkid())
            };
            Ok::<_, KmsError>(changed.then_some((entry, record)))
        }))
        .await;
        let mut batch =
            Batch { conds: Vec::new(), writes: Vec::new(), seen: page.entries.len() as u64, next: page.next };
        for changed in changed {
            if let Some((entry, record)) = changed? {
                batch.conds.push(Cond::Unchanged(entry.key.clone(), entry.modified));
                batch.writes.push(self.put_blob(instance, entry.key.clone(), &record)?);
            }
        }
        Ok(batch)
    }

    /// Gives a record its blob under the new master key; whether it lacked one.
    async fn add_form(
        &self,
        instance: &Instance,
        entry: &Entry,
        record: &mut BlobRecord,
        journal: &Journal,
        budget: Budget,
    ) -> Result<bool, KmsError> {
        if record.under(journal.new.wkid()).is_some() {
            return Ok(false);
        }
        let old = record.under(instance.header.pattern().wkid());
        let old = old.ok_or_else(|| invalid(&entry.key, RecordError::Missing))?;
        let new = self.reencipher(old, journal.new.wkid(), budget).await?;
        // Whatever else stood there is of a master key that is nobody's.
        record.blobs = vec![old.to_vec(), new];
        Ok(true)
    }

    /// Has some unit re-encipher a blob: one may have lost what another still has in New.
    pub(super) async fn reencipher(
        &self,
        blob: &[u8],
        new: Wkid,
        budget: Budget,
    ) -> Result<Vec<u8>, UnitsError> {
        let mut tries = 1;
        loop {
            match ask::reencipher(&self.units, blob, new, budget).await {
                Err(UnitsError::Refused(_)) if tries < TRIES => tries += 1,
                outcome => return outcome,
            }
        }
    }

    /// Writes a batch, and how far the phase has come with it. `None` when something was changed since it was read.
    async fn commit_batch(
        &self,
        call: &Call<'_>,
        budget: Budget,
        now: &Rotating,
        (journal, journal_at): (Journal, Revision),
        batch: Batch,
    ) -> Result<Option<Option<RotationStatus>>, RotationError> {
        let Batch { mut conds, mut writes, seen, next } = batch;
        let (place, at) = (layout::journal(call.instance), self.now().into());
        let phase = journal.phase;
        let after = match (&next, phase) {
            (Some(_), _) => {
                Some(Journal { position: next, done: journal.done + seen, changed_at: at, ..journal })
            }
            (None, RotationPhase::ReEnciphering) => {
                let total = journal.done + seen;
                let done = journal.turned(RotationPhase::ReEnciphered, total, at);
                Some(Journal { done: total, ..done })
            }
            (None, RotationPhase::Finishing) => {
                let total = journal.done + seen;
                let done = journal.turned(RotationPhase::Done, total, at);
                Some(Journal { done: total, ..done })
            }
            (None, _) => None,
        };
        conds.push(Cond::Unchanged(layout::header(call.instance), now.header_at));
        conds.push(Cond::Unchanged(place.clone(), journal_at));
        writes.push(match &after {
            Some(journal) => {
                let value = journal.encode(&place, &now.instance.keys).into();
                Write::Put { key: place, value, lease: None }
            }
            None => Write::Delete(place),
        });
        let txn = Txn { op: self.random_op().map_err(KmsError::from)?, conds, writes };
        Ok(match self.try_commit(txn, budget).await? {
            Attempt::Applied | Attempt::Replayed => Some(after.map(|journal| journal.status())),
            Attempt::Lost => None,
        })
    }

    async fn count_blobs(&self, call: &Call<'_>, budget: Budget) -> Result<u64, KmsError> {
        let mut count = 0;
        self.each_page(call, budget, |entries| {
            count += entries.len() as u64;
            Ok(())
        })
        .await?;
        Ok(count)
    }

    /// How many key versions lack a blob under this master key.
    async fn missing_under(
        &self,
        call: &Call<'_>,
        budget: Budget,
        instance: &Instance,
        wkid: Wkid,
    ) -> Result<u64, KmsError> {
        let mut missing = 0;
        self.each_page(call, budget, |entries| {
            for entry in entries {
                missing += u64::from(instance.open_blob(entry)?.under(wkid).is_none());
            }
            Ok(())
        })
        .await?;
        Ok(missing)
    }

    async fn each_page(
        &self,
        call: &Call<'_>,
        budget: Budget,
        mut visit: impl FnMut(&[Entry]) -> Result<(), KmsError> + Send,
    ) -> Result<(), KmsError> {
        let mut range = layout::blobs(call.instance);
        let mut at = None;
        loop {
            let (from, limit) = (range.clone(), keystore::MAX_PAGE_ENTRIES);
            let page = self.store.scan(from, limit, at, Freshness::Linearizable, budget.for_store()?).await?;
            visit(&page.entries)?;
            match page.next {
                Some(next) => range.start = next,
                None => return Ok(()),
            }
            at = Some(page.at);
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

/// Leaves of a record's blobs the one under this master key; whether there were others. A record without one is left as
/// it is.
fn drop_forms(record: &mut BlobRecord, kept: Wkid) -> bool {
    match record.under(kept).map(<[u8]>::to_vec) {
        Some(blob) if record.blobs.len() > 1 => {
            record.blobs = vec![blob];
            true
        }
        Some(_) | None => false,
    }
}

/// The journal says that there is a next master key, and the header has none.
fn damaged(call: &Call<'_>) -> KmsError {
    invalid(&layout::header(call.instance), RecordError::Malformed)
}

const fn wrong_phase(doing: &'static str, phase: RotationPhase) -> RotationError {
    let instead = match phase {
        RotationPhase::ReEnciphering => "go on re-enciphering, or cancel",
        RotationPhase::ReEnciphered => "begin the activation, or cancel",
        RotationPhase::Activating => "activate the remaining units, then finish",
        RotationPhase::Finishing => {
            "the new master key is in force; go on removing what is under the old one"
        }
        RotationPhase::Done => "it is over",
        RotationPhase::Cancelling => "go on removing what is under the new master key",
    };
    RotationError::WrongPhase { doing, phase, instead }
}
