//! Two engines on one token, used by two threads, leave no objects and no memory behind.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;
#[path = "common/soak.rs"]
mod soak;

use common::{SoftHsm, on_softhsm};
use soak::{Count, Soak};
use std::sync::atomic::Ordering;

/// Rounds of both threads together; `cargo run --release --example soak` runs for minutes.
const ROUNDS: u64 = 100;

/// Memory that SoftHSM may keep of destroyed objects before the engine initialises it again, in bytes.
const MAX_GROWTH: u64 = 24 << 20;

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
            let mut counts = 0;
            while soak.rounds.load(Ordering::Relaxed) < ROUNDS {
                let Count { objects, resident } = soak.count(&softhsm.module, SoftHsm::LABEL);
                // For each engine: its device key, the two halves of its attestation key, and two liveness keys.
                assert!(objects <= 10, "{objects} objects between two rounds");
                assert!(resident.saturating_sub(before) <= MAX_GROWTH, "{resident} bytes, {before} before");
                counts += 1;
                std::thread::yield_now();
            }
            assert!(counts > 1);
        });
        // The device keys and the attestation keys.
        assert_eq!(soak.count(&softhsm.module, SoftHsm::LABEL).objects, 6);
        assert!(events.take().is_empty());
    });
}
