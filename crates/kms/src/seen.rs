//! What this process has seen of an instance. A later read must not return an older state.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keystore::{Bytes, Key};

use crate::header::Generation;
use crate::index::Bucket;
use crate::seal::InstanceKeys;
use crate::{InstanceHeader, InstanceMark, RecordError};

/// The newest header and buckets that were seen of one instance.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Of the newest header; none before the first one.
    header: Option<Generation>,
    /// Epoch of that header.
    epoch: u64,
    buckets: BTreeMap<u16, SeenBucket>,
    /// Sum of the sequences of the buckets.
    sequences: u64,
    /// Whether all buckets were read, and compared with the high-water mark.
    is_verified: bool,
}

#[derive(Debug)]
struct SeenBucket {
    /// As stored, to recognise a bucket that was decoded before.
    value: Bytes,
    bucket: Arc<Bucket>,
}

/// The newest state that was seen before a read began: what a read must not fall behind.
#[derive(Debug, Default)]
pub(crate) struct Before {
    header: Option<Generation>,
    sequences: BTreeMap<u16, u64>,
    pub(crate) mark: Option<InstanceMark>,
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked has left a state that was seen.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a read of these buckets that begins now must not fall behind.
    pub(crate) fn before(
        &self,
        buckets: impl IntoIterator<Item = u16>,
        mark: Option<InstanceMark>,
    ) -> Before {
        let state = self.lock();
        let known = |bucket: u16| Some((bucket, state.buckets.get(&bucket)?.bucket.sequence));
        let sequences = buckets.into_iter().filter_map(known).collect();
        Before { header: state.header, sequences, mark }
    }

    pub(crate) fn is_verified(&self) -> bool {
        self.lock().is_verified
    }

    pub(crate) fn set_verified(&self) {
        self.lock().is_verified = true;
    }

    /// Checks a header that was read, or that was written, and remembers it.
    ///
    /// # Errors
    /// [`RecordError::Older`] for one that is older than before the read.
    pub(crate) fn header(&self, header: &InstanceHeader, before: &Before) -> Result<(), RecordError> {
        if header.generation < before.header {
            return Err(RecordError::Older);
        }
        self.note_header(header);
        Ok(())
    }

    /// Remembers a header that the store has.
    pub(crate) fn note_header(&self, header: &InstanceHeader) {
        let (mut state, found) = (self.lock(), header.generation);
        if found.map(|header| header.born) > state.header.map(|header| header.born) {
            *state = State { header: found, epoch: header.epoch, ..State::default() };
        } else if found > state.header {
            (state.header, state.epoch) = (found, header.epoch);
        }
    }

    /// Decodes a bucket that was read, by the keys of the instance secret or of the previous one, checks that it is not older than before the read, and remembers it.
    ///
    /// # Errors
    /// [`RecordError`].
    pub(crate) fn bucket(
        &self,
        number: u16,
        (place, value): (&Key, Option<&Bytes>),
        keys: (&InstanceKeys, Option<&InstanceKeys>),
        (header, before): (Generation, &Before),
    ) -> Result<Arc<Bucket>, RecordError> {
        let least = match before.header {
            Some(seen) if seen.born == header.born => before.sequences.get(&number).copied().unwrap_or(0),
            Some(_) | None => 0,
        };
        let Some(value) = value else {
            return if least == 0 { Ok(Arc::default()) } else { Err(RecordError::Older) };
        };
        let known = self
            .lock()
            .buckets
            .get(&number)
            .filter(|known| known.value == *value)
            .map(|known| Arc::clone(&known.bucket));
        let bucket = match known {
            Some(known) => known,
            None => {
                let decoded = Bucket::decode(value, place, keys.0);
                let previous = keys.1.filter(|_| matches!(decoded, Err(RecordError::Forged)));
                Arc::new(previous.map_or(decoded, |keys| Bucket::decode(value, place, keys))?)
            }
        };
        if bucket.sequence < least {
            return Err(RecordError::Older);
        }
        self.note_bucket(header, number, value, &bucket);
        Ok(bucket)
    }

    /// Remembers a bucket that the store has, unless a newer one was seen.
    pub(crate) fn note_bucket(&self, header: Generation, number: u16, value: &Bytes, bucket: &Arc<Bucket>) {
        let mut state = self.lock();
        if state.header.is_none_or(|seen| seen.born != header.born) {
            return;
        }
        let earlier = state.buckets.get(&number).map_or(0, |known| known.bucket.sequence);
        if bucket.sequence > earlier {
            state.sequences = state.sequences.saturating_add(bucket.sequence - earlier);
            let seen = SeenBucket { value: Arc::clone(value), bucket: Arc::clone(bucket) };
            state.buckets.insert(number, seen);
        }
    }

    /// How far the instance has come, as far as it was seen. `None` before all buckets were read.
    pub(crate) fn mark(&self) -> Option<InstanceMark> {
        let state = self.lock();
        let header = state.header.filter(|_| state.is_verified)?;
        Some(state.mark_of(header))
    }

    /// As [`Self::mark`], while the buckets are being read.
    pub(crate) fn unverified_mark(&self) -> InstanceMark {
        let state = self.lock();
        state.mark_of(state.header.unwrap_or_default())
    }
}

impl State {
    const fn mark_of(&self, header: Generation) -> InstanceMark {
        let changes = header.number.saturating_add(self.sequences);
        InstanceMark { born: header.born, epoch: self.epoch, changes }
    }
}
