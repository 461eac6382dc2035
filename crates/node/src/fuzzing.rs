//! The decoders of a node's files and of its partner's messages, for fuzzing. Not part of the API.

use crate::invocation_ledger::check_reader;
use crate::region::check_message;
use crate::unit_audit::check_lines;

/// The ledger of invocations, the kept audit records of a unit, a message of the partner. The first byte selects.
///
/// # Panics
/// If a decoder is wrong.
pub fn node_files(data: &[u8]) {
    match data.split_first() {
        Some((0, ledger)) => check_reader(ledger),
        Some((1, lines)) => check_lines(lines),
        Some((_, message)) => check_message(message),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::node_files;
    use std::path::Path;

    /// With `HSM_SIM_BLESS` the seeds are written first.
    #[test]
    fn the_corpus_is_read_as_it_was() {
        let hash = "0f".repeat(32);
        let lines = format!(
            "{{\"kind\":\"gap\",\"first\":1,\"last\":3,\"hash\":\"{hash}\"}}\n\
             {{\"kind\":\"break\",\"first\":2,\"hash\":\"{hash}\"}}\n{{\"kind\":\"re"
        );
        let frozen = format!(
            "{{\"message\":\"frozen\",\"handover\":{{\"boot\":1,\"number\":2}},\
             \"freeze\":{{\"boot\":3,\"number\":4}},\"revision\":5,\"digest\":\"{hash}\"}}"
        );
        let seeds: [(&str, Vec<u8>); 3] = [
            ("ledger", [&[0][..], &crate::invocation_ledger::sample()].concat()),
            ("audit", [&[1][..], lines.as_bytes()].concat()),
            ("message", [&[2][..], frozen.as_bytes()].concat()),
        ];
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpora/node_files");
        for (name, seed) in seeds {
            if std::env::var_os("HSM_SIM_BLESS").is_some() {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join(name), &seed).unwrap();
            }
            assert_eq!(
                std::fs::read(folder.join(name)).unwrap(),
                seed,
                "{name} is written in another way today"
            );
            // Every cut, and every changed byte.
            for at in 0..seed.len() {
                node_files(&seed[..at]);
                for bits in [1, 0x20, 0x80] {
                    let mut changed = seed.clone();
                    changed[at] ^= bits;
                    node_files(&changed);
                }
            }
        }
        for file in std::fs::read_dir(folder).unwrap() {
            node_files(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }
}
