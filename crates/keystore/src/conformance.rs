//! One suite of cases that every store passes.
//!
//! [`conformance_suite!`](crate::conformance_suite) turns it into tests, one for each case, given a function that
//! makes a [`Fixture`]. The cases fail by panicking.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a case fails by panicking")]
#![expect(missing_docs, reason = "a case is its name")]
#![expect(clippy::missing_panics_doc, reason = "a case fails by panicking")]

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{
    Batch, Bytes, Commit, Cond, Deadline, Entry, Freshness, Key, Keystore, LeaseId, OpId, Page, Revision,
    Snapshot, StoreError, Txn, WatchEvent, WatchStream, Write,
};

pub mod conditions;
pub mod leases;
pub mod limits;
pub mod model;
pub mod reads;
pub mod replay;
pub mod restart;
pub mod scans;
pub mod watches;
pub mod writes;

/// Where a store under test comes from.
pub trait Fixture: Send + Sync + 'static {
    /// The store under test.
    type Store: Keystore;

    /// An empty store.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;

    /// The same data under a new handle, the old one closed in good order; none if data end with the handle.
    fn reopen(&self, store: Self::Store) -> impl Future<Output = Option<Self::Store>> + Send;

    /// Lets `time` pass for whatever ages by the wall clock.
    fn advance(&self, time: Duration);
}

/// Makes a test of every case: `conformance_suite!(make_fixture)`, where `fn make_fixture() -> impl Fixture`.
#[macro_export]
macro_rules! conformance_suite {
    ($fixture:ident) => {
        $crate::conformance_suite! { $fixture;
            conditions:
                absent_holds_where_nothing_is, absent_refused_where_something_is, present_holds_where_something_is,
                present_refused_where_nothing_is, unchanged_holds_at_its_revision, unchanged_refused_after_a_write,
                unchanged_refused_after_deletion, unchanged_refused_when_made_again, first_that_fails_is_named,
                all_have_to_hold, refused_leaves_no_trace, one_contender_of_many_wins;
            writes:
                put_is_read_back, put_over_keeps_created, delete_removes, delete_of_nothing_tells_nothing,
                made_again_is_new, empty_value_is_a_value, one_transaction_has_one_revision, revisions_only_grow,
                empty_transaction_takes_a_revision, contended_counter_loses_nothing, dropped_commit_is_whole_or_nothing;
            limits:
                keys_per_transaction, transaction_len, value_len, key_len, key_twice, keys_per_read, page_entries,
                lease_ttl, too_large_leaves_no_trace;
            reads:
                answers_in_the_order_asked, keys_of_one_read_are_of_one_revision, acknowledged_is_seen,
                at_least_shows_own_commit, at_least_never_goes_back, unheard_revision_is_another_identity;
            scans:
                range_is_half_open, empty_and_inverted_ranges, pages_join_to_the_whole,
                pages_are_of_one_revision_under_writes, past_state_is_whole, page_stops_at_its_bytes,
                compacted_is_said, unheard_revision_is_another_identity;
            watches:
                from_the_past, from_the_present, whole_transactions, only_the_range, values_as_of_then,
                progress_while_idle, progress_past_other_ranges, compacted_at_the_beginning, compacted_on_the_way,
                unheard_revision_is_another_identity, under_load_none_lost_none_twice, dropped_next_loses_nothing;
            leases:
                keys_vanish_with_their_lease, never_early, renewal_keeps, everything_goes_at_once,
                put_without_lease_stays, put_moves_to_the_new_lease, delete_takes_off_the_lease, revoked_at_once,
                ended_is_gone;
            replay:
                repeated_is_told, repeated_though_conditions_changed, refused_may_be_tried_again,
                concurrent_with_itself, remembered_for_a_day, history_is_trimmed_not_the_record;
            restart:
                keeps_everything, keeps_history, keeps_operations, leases_get_their_whole_time, revisions_go_on;
            model:
                random_steps_agree;
        }
    };
    ($fixture:ident; $($module:ident: $($case:ident),+;)+) => {
        $(mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::$module::$case(&super::$fixture()).await;
            })+
        })+
    };
}

/// Long enough for any store that works.
const D: Deadline = Deadline(Duration::from_secs(20));
const NOW: Freshness = Freshness::Linearizable;

fn key(name: &str) -> Key {
    Key::from(name.as_bytes())
}

fn bytes(value: &str) -> Bytes {
    value.as_bytes().into()
}

fn all() -> Range<Key> {
    Key::with_prefix(b"")
}

/// An operation id that no other call in this process gets.
fn op() -> OpId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    OpId(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes())
}

fn put(name: &str, value: &str) -> Write {
    Write::Put { key: key(name), value: bytes(value), lease: None }
}

fn put_on(lease: LeaseId, name: &str) -> Write {
    Write::Put { key: key(name), value: bytes("leased"), lease: Some(lease) }
}

fn delete(name: &str) -> Write {
    Write::Delete(key(name))
}

fn txn(conds: impl Into<Vec<Cond>>, writes: impl Into<Vec<Write>>) -> Txn {
    Txn { op: op(), conds: conds.into(), writes: writes.into() }
}

/// Commits what has to be applied, for the first time.
async fn apply(
    store: &impl Keystore,
    conds: impl Into<Vec<Cond>>,
    writes: impl Into<Vec<Write>>,
) -> Revision {
    match store.commit(txn(conds, writes), D).await {
        Ok(Commit::Applied { at, replayed: false }) => at,
        other => panic!("not applied: {other:?}"),
    }
}

/// Commits what has to be refused.
async fn refuse(store: &impl Keystore, conds: impl Into<Vec<Cond>>) -> (usize, Option<Entry>) {
    match store.commit(txn(conds, [put("refused", "x")]), D).await {
        Ok(Commit::Refused { index, now, .. }) => (index, now),
        other => panic!("not refused: {other:?}"),
    }
}

async fn read(store: &impl Keystore, name: &str) -> Option<Entry> {
    let snapshot: Snapshot = store.get(&[key(name)], NOW, D).await.unwrap();
    snapshot.entries.into_iter().next().unwrap()
}

async fn current(store: &impl Keystore) -> Revision {
    store.get(&[], NOW, D).await.unwrap().at
}

async fn page(store: &impl Keystore, range: Range<Key>, limit: usize, at: Option<Revision>) -> Page {
    store.scan(range, limit, at, NOW, D).await.unwrap()
}

fn names(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|e| String::from_utf8_lossy(&e.key.0).into_owned()).collect()
}

/// The next transaction of a watch, however many signs of life come before it.
async fn next_batch(watch: &mut impl WatchStream) -> Result<Batch, StoreError> {
    loop {
        let event =
            tokio::time::timeout(D.0, watch.next()).await.unwrap_or_else(|_| panic!("the watch is silent"));
        if let WatchEvent::Batch(batch) = event? {
            return Ok(batch);
        }
    }
}
