//! Runs the fuzz corpora as ordinary tests. `cargo xtask fuzz` searches for more inputs.

use crate::{region_message, secret_text};
use std::path::Path;

/// Runs the body of a target over its corpus, which contains its seeds. With `HSM_SIM_BLESS` the seeds are written first.
fn replay(target: &str, seeds: Vec<(&str, Vec<u8>)>, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpora").join(target);
    for (name, seed) in seeds {
        if std::env::var_os("HSM_SIM_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), &seed).unwrap();
        }
        assert_eq!(std::fs::read(folder.join(name)).unwrap(), seed, "{name} is made in another way today");
        // Every cut, and every changed byte.
        for at in 0..seed.len() {
            let (before, _) = seed.split_at(at);
            body(before);
            for bits in [1, 0x20, 0x80] {
                let mut changed = seed.clone();
                changed.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bits);
                body(&changed);
            }
        }
    }
    for file in std::fs::read_dir(folder).unwrap() {
        body(&std::fs::read(file.unwrap().path()).unwrap());
    }
}

#[test]
fn region_message() {
    replay("region_message", region_message::seeds(), region_message::check);
}

#[test]
fn secret_text() {
    replay("secret_text", secret_text::seeds(), secret_text::check);
}
