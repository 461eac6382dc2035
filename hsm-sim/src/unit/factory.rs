//! The simulated manufacturer: it certifies the modules of units. Its root key is in a folder.

use fs4::FileExt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use tke_crypto::{PublicKey, SCALAR_LEN, SigningKey};
use unit_server::{Manufacturer, ManufacturerError, ModuleIdentity, ModuleRequest, RootManufacturer, files};
use wire::text::{decode_hex, encode_secret_hex};
use zeroize::Zeroizing;

/// The private key, in hexadecimal, mode 0600.
const KEY_FILE: &str = "root-key";
/// The certificate, DER: customers' tools recognise genuine modules by it.
const CERTIFICATE_FILE: &str = "root.der";
/// The revocation list, DER.
pub(crate) const REVOCATION_FILE: &str = "revoked.der";
/// Held while the list grows: the units of a region are processes of their own.
const LOCK_FILE: &str = "lock";
const ROOT_NAME: &str = "hsm-sim simulated manufacturer";

/// The manufacturer's root. A real one keeps its key in a vault; here it is in a folder, so that modules can be made at any
/// time. Who can read the folder can make modules that pass for genuine.
pub struct Factory {
    folder: PathBuf,
    root: RootManufacturer,
}

impl Factory {
    /// The manufacturer in `folder`, made if there is none yet.
    ///
    /// # Errors
    /// The operating system's; [`InvalidData`](io::ErrorKind::InvalidData) for a damaged file.
    pub fn open(folder: &Path) -> io::Result<Self> {
        if !folder.try_exists()? {
            files::create_whole_dir(folder, make)?;
        }
        let text = Zeroizing::new(fs::read_to_string(folder.join(KEY_FILE))?);
        let scalar = decode_hex::<SCALAR_LEN>(text.trim()).ok_or_else(|| damaged(KEY_FILE))?;
        let key = SigningKey::from_scalar(&scalar).map_err(|_| damaged(KEY_FILE))?;
        let certificate = fs::read(folder.join(CERTIFICATE_FILE))?;
        let root = RootManufacturer::from_parts(ROOT_NAME, key, certificate);
        let root = root.map_err(|_| damaged(CERTIFICATE_FILE))?;
        let factory = Self { folder: folder.to_owned(), root };
        // Of an earlier version, which made the list with the first revocation.
        if !folder.join(REVOCATION_FILE).try_exists()? {
            factory
                .change_list(|list| match list {
                    Some(_) => Ok(None),
                    None => factory.root.empty_revocation_list().map(Some),
                })
                .map_err(io::Error::other)?;
        }
        Ok(factory)
    }

    /// Replaces the revocation list by what `next` makes of it; `None` leaves it.
    fn change_list(
        &self,
        next: impl FnOnce(Option<&[u8]>) -> Result<Option<Vec<u8>>, ManufacturerError>,
    ) -> Result<(), ManufacturerError> {
        let lock = File::create(self.folder.join(LOCK_FILE))?;
        FileExt::lock(&lock)?;
        let path = self.folder.join(REVOCATION_FILE);
        let list = files::read_if_present(&path)?;
        if let Some(next) = next(list.as_deref())? {
            files::write_private(&path, &next)?;
        }
        Ok(())
    }

    /// The root's certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        self.root.certificate()
    }

    /// The root's public key.
    #[must_use]
    pub fn root(&self) -> PublicKey {
        self.root.root()
    }
}

impl Manufacturer for Factory {
    fn issue(&self, request: &ModuleRequest<'_>) -> Result<ModuleIdentity, ManufacturerError> {
        self.root.issue(request)
    }

    fn revoke(&self, certificate: &[u8]) -> Result<(), ManufacturerError> {
        self.change_list(|list| self.root.next_revocation_list(list, certificate))
    }
}

/// The manufacturer in a folder, opened or made when it is needed.
pub struct FactoryFolder(pub PathBuf);

impl Manufacturer for FactoryFolder {
    fn issue(&self, request: &ModuleRequest<'_>) -> Result<ModuleIdentity, ManufacturerError> {
        Factory::open(&self.0)?.issue(request)
    }

    fn revoke(&self, certificate: &[u8]) -> Result<(), ManufacturerError> {
        Factory::open(&self.0)?.revoke(certificate)
    }
}

fn make(folder: &Path) -> io::Result<()> {
    let root = RootManufacturer::generate(ROOT_NAME).map_err(io::Error::other)?;
    files::write_private(&folder.join(CERTIFICATE_FILE), root.certificate())?;
    let scalar = encode_secret_hex(root.expose_key().expose_scalar().as_slice());
    files::write_private(&folder.join(KEY_FILE), scalar.as_bytes())
}

fn damaged(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the manufacturer's file `{file}` is damaged"))
}

#[cfg(test)]
mod tests {
    use super::Factory;
    use std::os::unix::fs::PermissionsExt;
    use tke_crypto::{ModuleCertificate, ModuleDescription, RevocationList, SigningKey};
    use unit_api::UnitId;
    use unit_server::{Manufacturer, ModuleRequest};

    #[test]
    fn a_manufacturer_is_made_once_and_certifies_modules() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("factory");
        let factory = Factory::open(&path).unwrap();
        let again = Factory::open(&path).unwrap();
        assert_eq!(factory.certificate(), again.certificate());
        let id = UnitId(*b"SIM00001\x01\x02\x03\x04\x05\x06\x07\x08");
        let key = test_key();
        let description = ModuleDescription { engine_class: 1, firmware: [0; 32] };
        let request = ModuleRequest { module: id, key: &key.public(), description };
        let issued = factory.issue(&request).unwrap();
        // Revoking twice, and a certificate of another manufacturer, changes nothing.
        let other = Factory::open(&folder.path().join("other")).unwrap().issue(&request).unwrap();
        for certificate in [&issued.certificate, &issued.certificate, &other.certificate] {
            again.revoke(certificate).unwrap();
        }
        let list = std::fs::read(path.join("revoked.der")).unwrap();
        let list = RevocationList::verify(&list, &again.root()).unwrap();
        assert_eq!((list.number, list.revocations().count()), (2, 1), "the first list is empty");
        assert_eq!(issued.root, again.root());
        let shown = ModuleCertificate::verify(&issued.certificate, &again.root()).unwrap();
        assert_eq!((shown.module_id, shown.key), (id.0, key.public()));
        let mode = std::fs::metadata(path.join("root-key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }

    fn test_key() -> SigningKey {
        let mut scalar = [7; 66];
        scalar[0] = 0;
        SigningKey::from_scalar(&scalar).unwrap()
    }

    #[test]
    fn a_damaged_manufacturer_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("factory");
        Factory::open(&path).unwrap();
        Factory::open(&folder.path().join("other")).unwrap();
        std::fs::copy(folder.path().join("other/root.der"), path.join("root.der")).unwrap();
        let error = Factory::open(&path).err().unwrap();
        assert!(error.to_string().contains("root.der"), "{error}");
    }
}
