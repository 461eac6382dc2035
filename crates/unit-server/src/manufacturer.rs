//! Who certifies the modules of units.

use getrandom::SysRng;
use std::io;
use tke_crypto::{
    CERTIFICATE_BUFFER_LEN, PublicKey, RootName, SigningKey, issue_module_certificate, root_certificate_key,
    write_root_certificate,
};
use unit_api::UnitId;

/// Certifies the device key of a module when a unit is made.
pub trait Manufacturer: Send + Sync {
    /// Issues a certificate for the device key of `module`.
    ///
    /// # Errors
    /// [`ManufacturerError`] when there is no root key to sign with, or the serial number cannot be certified.
    fn issue(&self, module: UnitId, key: &PublicKey) -> Result<ModuleIdentity, ManufacturerError>;
}

/// What a manufacturer gives to a module.
#[derive(Clone, Debug)]
pub struct ModuleIdentity {
    /// Certificate of the module's device key, DER.
    pub certificate: Vec<u8>,
    /// Public key of the root that signed it.
    pub root: PublicKey,
}

/// Why a module could not be certified.
#[derive(Debug, thiserror::Error)]
pub enum ManufacturerError {
    /// The root key could not be read or written.
    #[error("the manufacturer's root key is not available")]
    Root(#[from] io::Error),
    /// The root's certificate is for another key.
    #[error("the root's certificate is not for the root's key")]
    WrongCertificate,
    /// The random number generator failed.
    #[error("no random bytes for the manufacturer's root key")]
    Random,
    /// A name or serial number that no certificate can have.
    #[error("no certificate can be issued: {0}")]
    Certificate(String),
}

/// A manufacturer whose root key is in this process. For development, tests and simulations: who has the key can make
/// modules that pass for genuine.
pub struct RootManufacturer {
    name: RootName,
    key: Box<SigningKey>,
    certificate: Vec<u8>,
}

impl RootManufacturer {
    /// Makes a root with a fresh key on P-521. `name` is its name in certificates.
    ///
    /// # Errors
    /// [`ManufacturerError::Random`]; [`ManufacturerError::Certificate`] for a name that is too long or not printable.
    pub fn generate(name: &str) -> Result<Self, ManufacturerError> {
        let key = generate_key()?;
        let name = root_name(name)?;
        let mut buffer = [0; CERTIFICATE_BUFFER_LEN];
        let certificate = write_root_certificate(&key, &name, &mut buffer)
            .map_err(|e| ManufacturerError::Certificate(e.to_string()))?
            .to_vec();
        Ok(Self { name, key: Box::new(key), certificate })
    }

    /// The root with this private key and this certificate, DER.
    ///
    /// # Errors
    /// [`ManufacturerError::WrongCertificate`]; [`ManufacturerError::Certificate`] for a name that no root can have.
    pub fn from_parts(name: &str, key: SigningKey, certificate: Vec<u8>) -> Result<Self, ManufacturerError> {
        if root_certificate_key(&certificate).ok() != Some(key.public()) {
            return Err(ManufacturerError::WrongCertificate);
        }
        Ok(Self { name: root_name(name)?, key: Box::new(key), certificate })
    }

    /// The root's certificate, DER: what a customer's tools recognise genuine modules by.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The root's public key.
    #[must_use]
    pub fn root(&self) -> PublicKey {
        self.key.public()
    }

    /// The root's private key, to be kept.
    #[must_use]
    pub const fn expose_key(&self) -> &SigningKey {
        &self.key
    }
}

impl Manufacturer for RootManufacturer {
    fn issue(&self, module: UnitId, key: &PublicKey) -> Result<ModuleIdentity, ManufacturerError> {
        let mut buffer = [0; CERTIFICATE_BUFFER_LEN];
        let certificate = issue_module_certificate(&self.key, &self.name, &module.0, key, &mut buffer)
            .map_err(|e| ManufacturerError::Certificate(e.to_string()))?
            .to_vec();
        Ok(ModuleIdentity { certificate, root: self.root() })
    }
}

/// A fresh private key on P-521.
pub(crate) fn generate_key() -> Result<SigningKey, ManufacturerError> {
    SigningKey::generate(&mut SysRng).map_err(|_| ManufacturerError::Random)
}

fn root_name(name: &str) -> Result<RootName, ManufacturerError> {
    RootName::try_from(name).map_err(|e| ManufacturerError::Certificate(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{Manufacturer, ManufacturerError, RootManufacturer, generate_key};
    use tke_crypto::ModuleCertificate;
    use unit_api::UnitId;

    #[test]
    fn a_root_certifies_its_own_modules_only() {
        let root = RootManufacturer::generate("test root").unwrap();
        let other = RootManufacturer::generate("test root").unwrap();
        let id = UnitId(*b"SIM00001\x01\x02\x03\x04\x05\x06\x07\x08");
        let key = generate_key().unwrap();
        let issued = root.issue(id, &key.public()).unwrap();
        let shown = ModuleCertificate::verify(&issued.certificate, &root.root()).unwrap();
        assert_eq!((shown.module_id, shown.key), (id.0, key.public()));
        assert!(ModuleCertificate::verify(&issued.certificate, &other.root()).is_err());
        assert!(matches!(root.issue(UnitId([0; 16]), &key.public()), Err(ManufacturerError::Certificate(_))));
    }

    #[test]
    fn a_certificate_of_another_key_is_refused() {
        let root = RootManufacturer::generate("test root").unwrap();
        let key = generate_key().unwrap();
        let parts = RootManufacturer::from_parts("test root", key, root.certificate().to_vec());
        assert!(matches!(parts, Err(ManufacturerError::WrongCertificate)));
    }
}
