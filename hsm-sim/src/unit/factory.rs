//! The simulated manufacturer: whoever issues the certificates by which modules are recognised.

use crate::{files, hex};
use std::fs;
use std::io;
use std::path::Path;
use tke_crypto::{
    CERTIFICATE_BUFFER_LEN, PublicKey, RandomFailed, RootName, SCALAR_LEN, SigningKey,
    issue_module_certificate, root_certificate_key, write_root_certificate,
};
use unit_api::UnitId;
use zeroize::Zeroizing;

/// The private key, in hexadecimal, mode 0600.
const KEY_FILE: &str = "root-key";
/// The certificate, DER: what a customer's tools are given to tell genuine modules by.
const CERTIFICATE_FILE: &str = "root.der";
const ROOT_NAME: &str = "hsm-sim simulated manufacturer";

/// The manufacturer's root. A real one is in a vault of the manufacturer's; here it is a folder, so that modules can be
/// made at any time: who can read it can make modules that pass for genuine.
pub struct Factory {
    key: Box<SigningKey>,
    certificate: Vec<u8>,
}

impl Factory {
    /// The manufacturer in `folder`, made there if there is none yet.
    ///
    /// # Errors
    /// The system's; "invalid data" for files that are no root's.
    pub fn open(folder: &Path) -> io::Result<Self> {
        if !folder.try_exists()? {
            files::create_whole_dir(folder, make)?;
        }
        let text = Zeroizing::new(fs::read_to_string(folder.join(KEY_FILE))?);
        let scalar = hex::decode::<SCALAR_LEN>(text.trim()).ok_or_else(|| damaged(KEY_FILE))?;
        let key = SigningKey::from_scalar(&scalar).map_err(|_| damaged(KEY_FILE))?;
        let certificate = fs::read(folder.join(CERTIFICATE_FILE))?;
        if root_certificate_key(&certificate).ok() != Some(key.public()) {
            return Err(damaged(CERTIFICATE_FILE));
        }
        Ok(Self { key: Box::new(key), certificate })
    }

    /// The root's certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The root's public key.
    #[must_use]
    pub fn root(&self) -> PublicKey {
        self.key.public()
    }

    /// A certificate for a module's device key, DER.
    ///
    /// # Errors
    /// "Invalid input" for a serial number that is not 8 visible characters.
    pub fn issue(&self, module: UnitId, key: &PublicKey) -> io::Result<Vec<u8>> {
        let mut buffer = [0; CERTIFICATE_BUFFER_LEN];
        issue_module_certificate(&self.key, &name()?, &module.0, key, &mut buffer)
            .map(<[u8]>::to_vec)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e.to_string()))
    }
}

/// A fresh private key on P-521.
pub(super) fn generate_key() -> io::Result<SigningKey> {
    SigningKey::generate(&mut |bytes| getrandom::fill(bytes).map_err(|_| RandomFailed))
        .map_err(|e| io::Error::other(e.to_string()))
}

fn make(folder: &Path) -> io::Result<()> {
    let key = generate_key()?;
    let mut buffer = [0; CERTIFICATE_BUFFER_LEN];
    let certificate =
        write_root_certificate(&key, &name()?, &mut buffer).map_err(|e| io::Error::other(e.to_string()))?;
    files::write_private(&folder.join(CERTIFICATE_FILE), certificate)?;
    files::write_private(&folder.join(KEY_FILE), hex::encode(key.expose_scalar().as_slice()).as_bytes())
}

fn name() -> io::Result<RootName> {
    RootName::try_from(ROOT_NAME).map_err(|e| io::Error::other(e.to_string()))
}

fn damaged(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the manufacturer's file `{file}` is damaged"))
}

#[cfg(test)]
mod tests {
    use super::{Factory, generate_key};
    use std::os::unix::fs::PermissionsExt;
    use tke_crypto::ModuleCertificate;
    use unit_api::UnitId;

    #[test]
    fn a_manufacturer_is_made_once_and_vouches_for_its_modules() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("factory");
        let factory = Factory::open(&path).unwrap();
        let again = Factory::open(&path).unwrap();
        assert_eq!(factory.certificate(), again.certificate());
        let id = UnitId(*b"SIM00001\x01\x02\x03\x04\x05\x06\x07\x08");
        let key = generate_key().unwrap();
        let issued = factory.issue(id, &key.public()).unwrap();
        let shown = ModuleCertificate::verify(&issued, &again.root()).unwrap();
        assert_eq!((shown.module_id, shown.key), (id.0, key.public()));
        let other = Factory::open(&folder.path().join("other")).unwrap();
        assert!(ModuleCertificate::verify(&issued, &other.root()).is_err());
        assert!(factory.issue(UnitId([0; 16]), &key.public()).is_err());
        let mode = std::fs::metadata(path.join("root-key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }

    #[test]
    fn a_damaged_manufacturer_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("factory");
        Factory::open(&path).unwrap();
        Factory::open(&folder.path().join("other")).unwrap();
        std::fs::copy(folder.path().join("other/root.der"), path.join("root.der")).unwrap();
        let why = Factory::open(&path).err().unwrap();
        assert!(why.to_string().contains("root.der"), "{why}");
    }
}
