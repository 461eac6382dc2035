//! Two threads at one token leave nothing behind.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;
#[path = "common/soak.rs"]
mod soak;

use common::{SoftHsm, on_softhsm};
use soak::{Count, Soak};
use std::sync::atomic::Ordering;

/// Rounds of both threads; `cargo run --release --example soak` goes on for minutes.
const ROUNDS: u64 = 100;

/// What SoftHSM keeps of objects that are destroyed, before the engine has it let go of that, in bytes.
const MOST_GROWTH: u64 = 24 << 20;

#[test]
fn two_threads_leave_no_object_and_lose_no_session() {
    on_softhsm("two_threads_leave_no_object_and_lose_no_session", |softhsm| {
        let (token, events) = softhsm.token();
        let soak = Soak::new();
        std::thread::scope(|threads| {
            for name in ["one", "two"] {
                let (soak, token) = (&soak, &token);
                threads.spawn(move || soak.work(token, name));
            }
            let _stop = soak.stop_on_drop();
            let before = soak.count(&softhsm.module, SoftHsm::LABEL).resident;
            let mut counted = 0;
            while soak.rounds.load(Ordering::Relaxed) < ROUNDS {
                let Count { objects, resident } = soak.count(&softhsm.module, SoftHsm::LABEL);
                // Each engine's device key, its working copy, and the two keys to measure by; fewer while one begins.
                assert!(objects <= 8, "{objects} objects between two rounds");
                assert!(resident.saturating_sub(before) <= MOST_GROWTH, "{resident} bytes, {before} before");
                counted += 1;
                std::thread::yield_now();
            }
            assert!(counted > 1);
        });
        assert_eq!(soak.count(&softhsm.module, SoftHsm::LABEL).objects, 2);
        assert!(events.take().is_empty());
    });
}
