//! The decoder of the file `device`, for fuzzing. Not part of the API.

/// The file, with its checksum or without it, in any of its formats.
///
/// # Panics
/// If the decoder is wrong.
pub fn unit_device(data: &[u8]) {
    crate::device::check_reader(data);
}

#[cfg(test)]
mod tests {
    use super::unit_device;
    use std::path::Path;

    /// With `HSM_SIM_BLESS` the seeds are written first.
    #[test]
    fn the_corpus_is_read_as_it_was() {
        let identity = [&b"SIM00001"[..], &[1; 8], &[2; 32], &[0, 0, 0, 9], &[3; 16]].concat();
        let seeds = [
            ("new", [&b"hsm-dev\0\0\x03"[..], &identity, &[0; 133]].concat()),
            ("second", [&b"hsm-dev\0\0\x02"[..], &identity, &[4; 66 + 133], b"certificate"].concat()),
            ("first", identity[..48].to_vec()),
        ];
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpora/unit_device");
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
                unit_device(&seed[..at]);
                for bits in [1, 0x80] {
                    let mut changed = seed.clone();
                    changed[at] ^= bits;
                    unit_device(&changed);
                }
            }
        }
        for file in std::fs::read_dir(folder).unwrap() {
            unit_device(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }
}
