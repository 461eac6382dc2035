//! Signature keys and key parts in the clear, as files of a folder.

use crate::files;
use crate::region::DataError;
use engine::{KEY_PART_LEN, KeyPart};
use getrandom::SysRng;
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tke::holder::{Carrier, SignatureKey, SigningFuture};
use tke::part::{KeyPartHolder, PartError, PartId, PartLabel, SealedPart, SealingFuture};
use tke_crypto::{AdministratorName, PublicKey, SCALAR_LEN, SEALED_PART_MAX_LEN, SigningKey, seal_key_part};
use unit_api::VerificationPattern;
use wire::text::{decode_hex, encode_secret_hex};
use zeroize::Zeroizing;

/// Number of administrators of a development region, and of parts of its master key.
const COUNT: usize = 2;
/// Content of the README beside the keys.
const NOTE: &str = "\
These files are the signature keys of this region's administrators and the parts of its master key, in the clear, made
by a development ceremony. Anyone who can read them controls every unit and every key of the region. They are here so that
`hsm-sim heal` can set up a zeroized unit again. Never use keys of such a region in production.
";

/// Opens the signature keys and key parts in `folder`, or generates them.
///
/// They are durable before a unit receives them: a master key without its parts could not be loaded into another unit.
/// A folder of an early version has key parts only; signature keys are added.
pub(super) fn open(folder: &Path) -> Result<(Vec<ClearSignatureKey>, Vec<ClearKeyPart>), DataError> {
    let unusable = |source| DataError::Unusable { path: folder.to_owned(), source };
    if !folder.try_exists().map_err(unusable)? {
        files::create_whole_dir(folder, make).map_err(unusable)?;
    }
    let missing = |number| !signature_key_file(folder, number).exists();
    // The first one is written last: if it is missing, the set is incomplete and is generated again.
    if missing(1) {
        make_signature_keys(folder).map_err(unusable)?;
    }
    let keys = (1..=COUNT).map(|number| ClearSignatureKey::read(folder, number)).collect::<Result<_, _>>()?;
    let parts = (1..=COUNT).map(|number| ClearKeyPart::read(folder, number)).collect::<Result<_, _>>()?;
    Ok((keys, parts))
}

fn make(folder: &Path) -> io::Result<()> {
    for number in 1..=COUNT {
        let mut part = Zeroizing::new([0; KEY_PART_LEN]);
        getrandom::fill(part.as_mut_slice())?;
        files::write_private(&key_part_file(folder, number), encode_secret_hex(part.as_slice()).as_bytes())?;
    }
    make_signature_keys(folder)
}

fn make_signature_keys(folder: &Path) -> io::Result<()> {
    files::write_private(&folder.join("README"), NOTE.as_bytes())?;
    for number in (1..=COUNT).rev() {
        let key = SigningKey::generate(&mut SysRng).map_err(|e| io::Error::other(e.to_string()))?;
        let scalar = encode_secret_hex(key.expose_scalar().as_slice());
        files::write_private(&signature_key_file(folder, number), scalar.as_bytes())?;
    }
    Ok(())
}

fn key_part_file(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("key-part-{number}.hex"))
}

fn signature_key_file(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("signature-key-{number}.hex"))
}

fn read<const N: usize>(path: &Path) -> Result<Zeroizing<[u8; N]>, DataError> {
    let unusable = |source| DataError::Unusable { path: path.to_owned(), source };
    let text = Zeroizing::new(fs::read(path).map_err(unusable)?);
    let text = std::str::from_utf8(&text).ok();
    text.and_then(|text| decode_hex(text.trim())).ok_or_else(|| DataError::Damaged(path.to_owned()))
}

/// An administrator's signature key in a file, 132 hexadecimal digits.
pub(super) struct ClearSignatureKey {
    name: AdministratorName,
    key: Box<SigningKey>,
    public: PublicKey,
    path: PathBuf,
}

impl ClearSignatureKey {
    fn read(folder: &Path, number: usize) -> Result<Self, DataError> {
        let path = signature_key_file(folder, number);
        let damaged = || DataError::Damaged(path.clone());
        let key = SigningKey::from_scalar(&*read::<SCALAR_LEN>(&path)?).map_err(|_| damaged())?;
        let name = AdministratorName::try_from(format!("development {number}").as_str());
        let public = key.public();
        Ok(Self { name: name.map_err(|_| damaged())?, key: Box::new(key), public, path })
    }

    /// The private key, for the certificate.
    pub(super) const fn expose(&self) -> &SigningKey {
        &self.key
    }
}

impl SignatureKey for ClearSignatureKey {
    fn name(&self) -> &AdministratorName {
        &self.name
    }

    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn carrier(&self) -> Carrier {
        Carrier::File(self.path.clone())
    }

    fn sign<'a>(&'a self, bytes: &'a [u8]) -> SigningFuture<'a> {
        Box::pin(async { Ok(self.key.sign(bytes).to_vec()) })
    }
}

/// A key part in a file, 64 hexadecimal digits.
pub(super) struct ClearKeyPart {
    label: PartLabel,
    part: Box<KeyPart>,
    path: PathBuf,
}

impl ClearKeyPart {
    fn read(folder: &Path, number: usize) -> Result<Self, DataError> {
        let path = key_part_file(folder, number);
        let part = Box::new(KeyPart::new(*read(&path)?));
        let label = PartLabel::try_from(format!("development {number}").as_str());
        Ok(Self { label: label.map_err(|_| DataError::Damaged(path.clone()))?, part, path })
    }
}

impl KeyPartHolder for ClearKeyPart {
    fn label(&self) -> &PartLabel {
        &self.label
    }

    fn pattern(&self) -> VerificationPattern {
        pattern_of(self.part.expose())
    }

    /// Hash of the pattern, since there is no encrypted container to hash. The part is random, so that its pattern reveals
    /// nothing about it.
    fn id(&self) -> PartId {
        PartId(Sha256::digest(self.pattern().as_bytes()).into())
    }

    fn carrier(&self) -> Carrier {
        Carrier::File(self.path.clone())
    }

    fn seal_for<'a>(&'a self, importer: &'a PublicKey) -> SealingFuture<'a> {
        Box::pin(async {
            let mut buffer = [0; SEALED_PART_MAX_LEN];
            let sealed = seal_key_part(importer, self.part.expose(), &mut SysRng, &mut buffer);
            sealed.map(|sealed| SealedPart(sealed.to_vec())).map_err(PartError::from)
        })
    }
}

/// Verification pattern of the master key that these parts combine to.
pub(super) fn combined_pattern(parts: &[ClearKeyPart]) -> VerificationPattern {
    let mut key = Zeroizing::new([0; KEY_PART_LEN]);
    for part in parts {
        key.iter_mut().zip(part.part.expose()).for_each(|(k, p)| *k ^= p);
    }
    pattern_of(&key)
}

fn pattern_of(key: &[u8; KEY_PART_LEN]) -> VerificationPattern {
    VerificationPattern::from_digest(Sha256::new().chain_update([1]).chain_update(key).finalize().into())
}

#[cfg(test)]
mod tests {
    use super::{combined_pattern, open};
    use crate::region::DataError;
    use std::os::unix::fs::PermissionsExt;
    use tke::holder::SignatureKey;

    #[test]
    fn the_pattern_is_the_published_one() {
        let folder = tempfile::tempdir().unwrap();
        let first: String = (0..32).map(|i| format!("{i:02x}")).collect();
        std::fs::write(folder.path().join("key-part-1.hex"), first).unwrap();
        std::fs::write(folder.path().join("key-part-2.hex"), "a5".repeat(32)).unwrap();
        // A folder of an early version has parts only, and gets signature keys.
        let (keys, parts) = open(folder.path()).unwrap();
        let pattern = combined_pattern(&parts).to_string();
        assert!(pattern.starts_with("0c7116b0cabdb39ac9ff6073862e2a4f470786265a3ce8723c237eb4"), "{pattern}");
        assert_ne!(keys[0].ski(), keys[1].ski());
    }

    #[test]
    fn generated_keys_are_kept_and_readable_by_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ceremony");
        let (keys, parts) = open(&path).unwrap();
        let (again, same) = open(&path).unwrap();
        assert!(keys.iter().zip(&again).all(|(a, b)| a.ski() == b.ski()));
        assert!(combined_pattern(&parts).is_of_same_key(&combined_pattern(&same)));
        for entry in std::fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
        }
        std::fs::write(path.join("signature-key-2.hex"), "0".repeat(132)).unwrap();
        assert!(matches!(open(&path), Err(DataError::Damaged(_))));
    }
}
