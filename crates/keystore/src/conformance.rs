//! The conformance suite, which every store has to pass.
//!
//! [`conformance_suite!`](crate::conformance_suite) generates a test for each case, given a function that returns a
//! [`Fixture`]. A case that fails panics.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a case fails by panicking")]
#![expect(missing_docs, reason = "the name of a case says what it checks")]
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
pub mod secrets;
pub mod watches;
pub mod writes;

/// Creates the stores under test.
pub trait Fixture: Send + Sync + 'static {
    /// The store under test.
    type Store: Keystore;

    /// Creates an empty store.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;

    /// Closes the store cleanly and opens it again; `None` if its data ends with it.
    fn reopen(&self, store: Self::Store) -> impl Future<Output = Option<Self::Store>> + Send;

    /// Advances the wall clock.
    fn advance(&self, time: Duration);
}

/// Generates a test for every case: `conformance_suite!(make_fixture)`, where `fn make_fixture() -> impl Fixture`.
#[macro_export]
macro_rules! conformance_suite {
    ($fixture:ident) => {
        $crate::conformance_suite! { $fixture;
            conditions:
                absent_holds_for_a_missing_key, absent_is_refused_for_an_existing_key, present_holds_for_an_existing_key,
                present_is_refused_for_a_missing_key, unchanged_holds_at_its_revision, unchanged_is_refused_after_a_write,
                unchanged_is_refused_after_deletion, unchanged_is_refused_after_re_creation, the_first_failed_condition_is_reported,
                all_conditions_have_to_hold, a_refused_transaction_changes_nothing, one_of_many_concurrent_creations_is_applied;
            writes:
                a_put_is_read_back, an_update_keeps_the_created_revision, delete_removes_the_key, deleting_a_missing_key_is_not_watched,
                a_re_created_key_has_a_new_created_revision, an_empty_value_is_stored, all_writes_of_a_transaction_have_one_revision, revisions_only_increase,
                an_empty_transaction_takes_a_revision, a_contended_counter_loses_no_increment, a_dropped_commit_is_applied_as_a_whole_or_not;
            limits:
                keys_per_transaction, transaction_len, value_len, key_len, duplicate_key, keys_per_read, page_entries,
                lease_ttl, a_transaction_that_is_too_large_changes_nothing;
            reads:
                entries_are_in_the_order_of_the_request, keys_of_one_read_have_one_revision, an_acknowledged_commit_is_visible,
                at_least_includes_the_own_commit, at_least_never_returns_an_older_state, a_future_revision_means_another_identity;
            scans:
                a_range_is_half_open, empty_and_inverted_ranges, pages_together_are_the_whole_range,
                pages_have_one_revision_during_writes, a_past_state_is_complete, a_page_is_limited_in_bytes,
                compacted_history_is_reported, a_future_revision_means_another_identity;
            watches:
                a_watch_starts_in_the_past, a_watch_starts_now, transactions_are_complete, only_the_range_is_watched, values_are_those_of_the_transaction,
                progress_without_changes, progress_past_changes_of_other_ranges, compacted_at_the_start, compacted_while_watching,
                a_future_revision_means_another_identity, every_transaction_once_under_load, a_dropped_next_loses_no_event;
            leases:
                keys_are_deleted_with_their_lease, a_lease_never_ends_early, renewal_extends_a_lease, all_keys_of_a_lease_are_deleted_at_once,
                a_put_without_lease_detaches_the_key, a_put_attaches_the_key_to_the_new_lease, a_delete_detaches_the_key, a_revoked_lease_ends_at_once,
                an_ended_lease_is_gone;
            replay:
                a_repeated_commit_returns_the_first_outcome, a_repeated_commit_ignores_changed_conditions, a_refused_commit_may_be_repeated,
                concurrent_repeats_are_applied_once, operations_are_remembered_for_a_day, operations_are_remembered_longer_than_history;
            secrets:
                a_secret_is_read_back_until_it_is_erased, secrets_and_their_identifiers_are_never_the_same,
                the_secrets_of_an_owner_are_erased_together, a_released_secret_may_be_drawn_again, secrets_survive_and_are_inherited,
                an_adopted_secret_has_its_identifier, drawn_and_adopted_identifiers_never_meet, a_slot_in_use_is_refused_or_replaced,
                an_identifier_out_of_range_is_refused, a_secret_that_was_never_there_can_be_erased;
            restart:
                entries_survive, history_survives, operations_survive, leases_get_their_full_ttl_again, revisions_continue;
            model:
                random_steps_agree_with_the_model;
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

/// Longer than any working store needs.
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

/// An operation identifier that is unique in this process.
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

/// Commits a transaction that has to be applied, and not as a replay.
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

/// Commits a transaction that has to be refused. Returns the index of the failed condition and the current entry.
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

/// The next transaction of a watch, after any number of progress events.
async fn next_batch(watch: &mut impl WatchStream) -> Result<Batch, StoreError> {
    loop {
        let event = tokio::time::timeout(D.0, watch.next())
            .await
            .unwrap_or_else(|_| panic!("the watch delivers no event"));
        if let WatchEvent::Batch(batch) = event? {
            return Ok(batch);
        }
    }
}
