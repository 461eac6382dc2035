//! The decoders of the files beside a store, for fuzzing: each function gives any bytes to one of them. Not part of the API.

use std::sync::Arc;

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::options::Random;
use super::pin::Pinned;
use super::secrets::SecretFile;
use crate::{SecretId, SecretOwner};

/// A pin: refused, or read as what it is written as.
///
/// # Panics
/// If the decoder is wrong.
pub fn keystore_pin(data: &[u8]) {
    let Some(pinned) = std::str::from_utf8(data).ok().and_then(Pinned::parse) else { return };
    let again = pinned.to_string();
    assert_eq!(Pinned::parse(&again), Some(pinned));
}

/// Shares one storage between files that are opened one after the other.
#[derive(Clone, Debug)]
struct Shared(Arc<InMemoryBackend>);

impl StorageBackend for Shared {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}

/// A file of secrets: refused, or usable; what is drawn from it is there after it is opened again, and what is erased is not.
///
/// # Panics
/// If the decoder is wrong.
pub fn keystore_secrets(data: &[u8]) {
    let random: Random = Arc::new(|bytes| {
        bytes.fill(0x5a);
        Ok(())
    });
    let storage = Shared(Arc::new(InMemoryBackend::new()));
    if storage.set_len(data.len() as u64).and_then(|()| storage.write(0, data)).is_err() {
        return;
    }
    let Ok(file) = SecretFile::open(storage.clone(), None, &random) else { return };
    for n in [0, 1, 1 << 32, 1 << 32 | 1, 2 << 32 | 1, u64::MAX] {
        let _ = file.get(SecretId(n));
    }
    for byte in [0, 7, 0xff] {
        for id in file.of_owner(SecretOwner([byte; 16]), byte == 7).unwrap_or_default() {
            let _ = file.get(id);
        }
    }
    let owner = SecretOwner([7; 16]);
    let (kept, erased) = (file.draw(owner, &random), file.draw(owner, &random));
    let (Ok((kept, _)), Ok((erased, _))) = (kept, erased) else { return };
    assert!(file.erase([erased]).is_ok());
    let id = file.id();
    drop(file);
    let file = SecretFile::open(storage, Some(id), &random).expect("a file that was written opens again");
    assert!(matches!(file.get(kept), Ok(Some(_))));
    assert!(matches!(file.get(erased), Ok(None)));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// With `HSM_SIM_BLESS` the seeds are written first.
    #[test]
    fn the_corpora_are_read_as_they_were() {
        let header = [&b"hsm-sim secrets\0"[..], &1_u32.to_be_bytes(), &[9; 16], &[0; 20]].concat();
        let check = super::super::secrets::check_of(&header).to_be_bytes();
        let secrets = [&header[..], &check, &[0; 64]].concat();
        let pin = "hsm-sim keystore pin 1\nidentity 000102030405060708090a0b0c0d0e0f\ncreated yes\nrevision 7\nmark a 1 2\nend\n";
        type Target<'a> = (&'a str, fn(&[u8]), &'a [u8]);
        let targets: [Target<'_>; 2] = [
            ("keystore_pin", super::keystore_pin, pin.as_bytes()),
            ("keystore_secrets", super::keystore_secrets, &secrets),
        ];
        for (target, body, seed) in targets {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpora").join(target);
            if std::env::var_os("HSM_SIM_BLESS").is_some() {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join("seed"), seed).unwrap();
            }
            assert_eq!(std::fs::read(folder.join("seed")).unwrap(), seed);
            for file in std::fs::read_dir(folder).unwrap() {
                body(&std::fs::read(file.unwrap().path()).unwrap());
            }
            // Every cut, and every changed byte.
            for at in 0..seed.len() {
                body(&seed[..at]);
                for bits in [1, 0x80, 0xff] {
                    let mut changed = seed.to_vec();
                    changed[at] ^= bits;
                    body(&changed);
                }
            }
        }
    }
}
