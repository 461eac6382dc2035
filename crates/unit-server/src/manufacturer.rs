//! Who certifies the modules of units.

use getrandom::SysRng;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tke_crypto::{
    CERTIFICATE_BUFFER_LEN, ModuleCertificate, ModuleDescription, ModuleSubject, PublicKey, Revocation,
    RevocationList, RevocationListInvalid, RootName, SigningKey, Validity, issue_module_certificate,
    revocation_list_len, root_certificate_key, write_revocation_list, write_root_certificate,
};
use unit_api::UnitId;

const DAY: u64 = 24 * 60 * 60;
/// How long a certificate is valid, in seconds: longer than a module is in service.
const LIFETIME: u64 = 20 * 365 * DAY;
/// How far the clock of a customer's tool may be behind, in seconds.
const CLOCK_TOLERANCE: u64 = DAY;

/// Certifies the attestation keys of modules.
pub trait Manufacturer: Send + Sync {
    /// Issues a certificate for the attestation key of a module.
    ///
    /// # Errors
    /// [`ManufacturerError`] when there is no root key to sign with, or the serial number cannot be certified.
    fn issue(&self, request: &ModuleRequest<'_>) -> Result<ModuleIdentity, ManufacturerError>;

    /// Adds a certificate, DER, to the revocation list, unless it is there or of another root.
    ///
    /// # Errors
    /// [`ManufacturerError`] when there is no root key to sign with, or the list cannot be kept.
    fn revoke(&self, certificate: &[u8]) -> Result<(), ManufacturerError>;
}

/// What a module is certified for.
#[derive(Clone, Copy, Debug)]
pub struct ModuleRequest<'a> {
    /// Serial number and instance of the module.
    pub module: UnitId,
    /// Its attestation key.
    pub key: &'a PublicKey,
    /// Its engine and firmware.
    pub description: ModuleDescription,
}

/// What a manufacturer gives to a module.
#[derive(Clone, Debug)]
pub struct ModuleIdentity {
    /// Certificate of the module's attestation key, DER.
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
    /// The revocation list is damaged, or of another root.
    #[error("the manufacturer's revocation list cannot be continued")]
    RevocationList(#[from] RevocationListInvalid),
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
    /// The newest revocation list, DER.
    revoked: Mutex<Option<Vec<u8>>>,
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
        Ok(Self { name, key: Box::new(key), certificate, revoked: Mutex::default() })
    }

    /// The root with this private key and this certificate, DER.
    ///
    /// # Errors
    /// [`ManufacturerError::WrongCertificate`]; [`ManufacturerError::Certificate`] for a name that no root can have.
    pub fn from_parts(name: &str, key: SigningKey, certificate: Vec<u8>) -> Result<Self, ManufacturerError> {
        if root_certificate_key(&certificate).ok() != Some(key.public()) {
            return Err(ManufacturerError::WrongCertificate);
        }
        let name = root_name(name)?;
        Ok(Self { name, key: Box::new(key), certificate, revoked: Mutex::default() })
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

impl RootManufacturer {
    /// The newest revocation list, DER; `None` while nothing is revoked.
    #[must_use]
    pub fn revocation_list(&self) -> Option<Vec<u8>> {
        self.revoked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A list that names no certificate: customers who have it will notice when an older one is put in its place.
    ///
    /// # Errors
    /// [`ManufacturerError::Certificate`] if it cannot be written.
    pub fn empty_revocation_list(&self) -> Result<Vec<u8>, ManufacturerError> {
        self.sign_list(1, now(), &[])
    }

    /// The list after `list` that names this certificate too; `None` if `list` names it, or the root did not issue it.
    ///
    /// # Errors
    /// [`ManufacturerError::RevocationList`] if `list` is not one that this root has signed.
    pub fn next_revocation_list(
        &self,
        list: Option<&[u8]>,
        certificate: &[u8],
    ) -> Result<Option<Vec<u8>>, ManufacturerError> {
        let Ok(shown) = ModuleCertificate::verify(certificate, &self.root()) else { return Ok(None) };
        let list = list.map(|list| RevocationList::verify(list, &self.root())).transpose()?;
        let mut revoked: Vec<_> = list.iter().flat_map(RevocationList::revocations).collect();
        if revoked.iter().any(|revocation| revocation.serial == shown.serial) {
            return Ok(None);
        }
        let at = now();
        revoked.push(Revocation { serial: shown.serial, at });
        let number = list.map_or(1, |list| list.number.saturating_add(1));
        self.sign_list(number, at, &revoked).map(Some)
    }

    fn sign_list(&self, number: u64, at: u64, revoked: &[Revocation]) -> Result<Vec<u8>, ManufacturerError> {
        let mut buffer = vec![0; revocation_list_len(revoked.len())];
        let list = write_revocation_list(&self.key, &self.name, number, at, revoked, &mut buffer)
            .map_err(|e| ManufacturerError::Certificate(e.to_string()))?;
        Ok(list.to_vec())
    }
}

impl Manufacturer for RootManufacturer {
    fn issue(&self, request: &ModuleRequest<'_>) -> Result<ModuleIdentity, ManufacturerError> {
        let now = now();
        let subject = ModuleSubject {
            module_id: &request.module.0,
            key: request.key,
            description: request.description,
            validity: Validity {
                not_before: now.saturating_sub(CLOCK_TOLERANCE),
                not_after: now.saturating_add(LIFETIME),
            },
        };
        let mut buffer = [0; CERTIFICATE_BUFFER_LEN];
        let certificate = issue_module_certificate(&self.key, &self.name, &subject, &mut buffer)
            .map_err(|e| ManufacturerError::Certificate(e.to_string()))?
            .to_vec();
        Ok(ModuleIdentity { certificate, root: self.root() })
    }

    fn revoke(&self, certificate: &[u8]) -> Result<(), ManufacturerError> {
        let mut revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(next) = self.next_revocation_list(revoked.as_deref(), certificate)? {
            *revoked = Some(next);
        }
        Ok(())
    }
}

/// Seconds since 1970-01-01 UTC.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
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
    use super::{Manufacturer, ManufacturerError, ModuleRequest, RootManufacturer, generate_key};
    use tke_crypto::{ModuleCertificate, ModuleDescription, RevocationList};
    use unit_api::UnitId;

    #[test]
    fn a_root_certifies_its_own_modules_only() {
        let root = RootManufacturer::generate("test root").unwrap();
        let other = RootManufacturer::generate("test root").unwrap();
        let id = UnitId(*b"SIM00001\x01\x02\x03\x04\x05\x06\x07\x08");
        let key = generate_key().unwrap();
        let description = ModuleDescription { engine_class: 3, firmware: [5; 32] };
        let request = ModuleRequest { module: id, key: &key.public(), description };
        let issued = root.issue(&request).unwrap();
        let shown = ModuleCertificate::verify(&issued.certificate, &root.root()).unwrap();
        assert_eq!((shown.module_id, shown.key), (id.0, key.public()));
        assert_eq!(shown.description, Some(description));
        assert!(shown.validity.contains(super::now()) && !shown.validity.contains(0));
        assert!(ModuleCertificate::verify(&issued.certificate, &other.root()).is_err());
        let unnamed = ModuleRequest { module: UnitId([0; 16]), ..request };
        assert!(matches!(root.issue(&unnamed), Err(ManufacturerError::Certificate(_))));
    }

    #[test]
    fn a_revocation_list_grows_and_names_own_certificates_only() {
        let root = RootManufacturer::generate("test root").unwrap();
        let other = RootManufacturer::generate("test root").unwrap();
        let certificates = [1, 2, 3].map(|number| {
            let key = generate_key().unwrap();
            let module = UnitId([b'0' + number; 16]);
            let description = ModuleDescription { engine_class: 1, firmware: [0; 32] };
            root.issue(&ModuleRequest { module, key: &key.public(), description }).unwrap().certificate
        });
        let [first, second, third] = &certificates;
        assert_eq!(root.revocation_list(), None);
        other.revoke(first).unwrap();
        assert_eq!(other.revocation_list(), None);
        for certificate in [first, second, first] {
            root.revoke(certificate).unwrap();
        }
        let list = root.revocation_list().unwrap();
        assert!(RevocationList::verify(&list, &other.root()).is_err());
        let list = RevocationList::verify(&list, &root.root()).unwrap();
        assert_eq!((list.number, list.revocations().count()), (2, 2));
        let revoked =
            |der: &[u8]| list.revokes(&ModuleCertificate::verify(der, &root.root()).unwrap().serial);
        assert!(revoked(first) && revoked(second) && !revoked(third));
    }

    #[test]
    fn a_certificate_of_another_key_is_refused() {
        let root = RootManufacturer::generate("test root").unwrap();
        let key = generate_key().unwrap();
        let parts = RootManufacturer::from_parts("test root", key, root.certificate().to_vec());
        assert!(matches!(parts, Err(ManufacturerError::WrongCertificate)));
    }
}
