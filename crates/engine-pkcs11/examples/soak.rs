//! Soak test on SoftHSM, for a number of minutes: `cargo run --release --example soak -- 10`.
//!
//! Counts objects and memory every five seconds. Fails if a session was lost, if objects are left behind, or if memory has
//! grown by more than [`MAX_GROWTH`] since the first ten seconds.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the soak test fails by panicking"
)]
#![expect(clippy::print_stdout, reason = "the soak test prints its measurements")]

#[path = "../tests/common/soak.rs"]
mod soak;

use engine_pkcs11::softhsm::{CONF_VARIABLE, Home, INSTALL_HINT, find_module};
use engine_pkcs11::{Token, TokenEvent};
use soak::Soak;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Memory that SoftHSM may keep of destroyed objects before the engine initialises it again, in bytes.
const MAX_GROWTH: u64 = 24 << 20;
const LABEL: &str = "soak";

fn main() {
    let minutes: f64 = std::env::args().nth(1).map_or(10.0, |argument| argument.parse().unwrap());
    let Some(module) = find_module() else {
        panic!("SoftHSM is not installed: {INSTALL_HINT}");
    };
    let folder = std::env::temp_dir().join(format!("hsm-sim-soak-{}", std::process::id()));
    let home = Home::create_or_open(&folder).unwrap();
    if !home.is_configured() {
        // The process ID does not change, and the folder is named after it.
        let error = Command::new(std::env::current_exe().unwrap())
            .args(std::env::args().skip(1))
            .env(CONF_VARIABLE, home.conf())
            .exec();
        panic!("the program could not be restarted: {error}");
    }
    home.create_token(&module, LABEL).unwrap();
    let uri = home.uri(&module, LABEL).unwrap();
    let pin = uri.pin_source().unwrap().read(|_| unreachable!()).unwrap();
    let events = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&events);
    let on_event = move |event: &TokenEvent| {
        println!("event: {event}");
        count.fetch_add(1, Ordering::Relaxed);
    };
    let token = Token::open(&uri, pin, Box::new(on_event)).unwrap();

    let soak = Soak::new();
    let started = Instant::now();
    let (first, last) = std::thread::scope(|threads| {
        for name in ["one", "two"] {
            let (soak, token) = (&soak, &token);
            threads.spawn(move || soak.work(token, name));
        }
        let _stop = soak.stop_on_drop();
        let mut first = None;
        let mut last = None;
        while started.elapsed().as_secs_f64() < 60.0 * minutes {
            std::thread::sleep(Duration::from_secs(5));
            let count = soak.count(&module, LABEL);
            let rounds = soak.rounds.load(Ordering::Relaxed);
            println!("{:5.0} s  {rounds:8} rounds  {count:?}", started.elapsed().as_secs_f64());
            if started.elapsed() > Duration::from_secs(10) {
                first.get_or_insert(count);
            }
            last = Some(count);
        }
        (first.unwrap(), last.unwrap())
    });
    let at_rest = soak.count(&module, LABEL);
    println!("at rest: {at_rest:?}");
    drop(token);
    std::fs::remove_dir_all(&folder).unwrap();
    let grown = last.resident.saturating_sub(first.resident);
    println!(
        "{} rounds; memory {} KiB after 10 s, {} KiB at the end",
        soak.rounds.load(Ordering::Relaxed),
        first.resident >> 10,
        last.resident >> 10
    );
    assert_eq!(events.load(Ordering::Relaxed), 0, "sessions were lost");
    assert!(grown <= MAX_GROWTH, "memory grew by {grown} bytes");
    // The stored device key of each engine; session objects are gone with the sessions.
    assert_eq!(at_rest.objects, 2, "objects were left behind");
}
