//! Two threads at one token leave nothing behind.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "what tests share, each uses a part of")]

mod common;
#[path = "common/soak.rs"]
mod soak;

use common::{SoftHsm, on_softhsm};
use soak::Soak;
use std::sync::atomic::Ordering;

/// Rounds of both threads; `cargo run --release --example soak` goes on for minutes.
const ROUNDS: u64 = 100;

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
            let mut counted = 0;
            while soak.rounds.load(Ordering::Relaxed) < ROUNDS {
                let objects = soak.count(&softhsm.module, SoftHsm::LABEL).objects;
                // Each engine's device key, its working copy, and the two keys to measure by; fewer while one begins.
                assert!(objects <= 8, "{objects} objects between two rounds");
                counted += 1;
                std::thread::yield_now();
            }
            soak.stop();
            assert!(counted > 1);
        });
        assert_eq!(soak.count(&softhsm.module, SoftHsm::LABEL).objects, 2);
        assert!(events.take().is_empty());
    });
}
