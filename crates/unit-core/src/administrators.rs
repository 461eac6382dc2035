//! A unit's administrators.

use heapless::Vec;
use tke_crypto::{AdministratorCertificate, AdministratorKey};
use unit_api::UnitError;
use unit_api::admin::{
    ADMINISTRATOR_NAME_LEN, AdministratorEntry, MAX_ADMINISTRATORS, SKI_LEN, SignatureAlgorithm, SignerInfo,
};

const KEY_LEN: usize = AdministratorKey::ENCODED_LEN;

/// One administrator: the public key in its fixed encoding, its identifier, the name from the certificate.
#[derive(Clone, Copy)]
pub(crate) struct Administrator {
    key: [u8; KEY_LEN],
    pub(crate) entry: AdministratorEntry,
}

impl Administrator {
    /// Length of an administrator's bytes.
    pub(crate) const LEN: usize = KEY_LEN + AdministratorEntry::LEN;

    /// The administrator whom a certificate names.
    pub(crate) fn from_certificate(der: &[u8]) -> Result<Self, UnitError> {
        let certificate = AdministratorCertificate::parse(der).map_err(|_| UnitError::CertificateInvalid)?;
        let mut name = [b' '; ADMINISTRATOR_NAME_LEN];
        for (to, from) in name.iter_mut().zip(certificate.name.as_str().bytes()) {
            *to = from;
        }
        let entry = AdministratorEntry { ski: certificate.ski.0, name };
        Ok(Self { key: certificate.key.to_bytes(), entry })
    }

    /// Verifies a signature of this administrator over `message`.
    ///
    /// # Errors
    /// [`UnitError::SignatureMalformed`] if it claims an algorithm that does not match the key;
    /// [`UnitError::SignatureWrong`].
    pub(crate) fn verify(&self, message: &[u8], signer: &SignerInfo<'_>) -> Result<(), UnitError> {
        let key = AdministratorKey::from_bytes(&self.key).map_err(|_| UnitError::StateInvalid)?;
        let fits = matches!(
            (&key, signer.algorithm),
            (AdministratorKey::P521(_), SignatureAlgorithm::EcdsaP521Sha512)
                | (AdministratorKey::Rsa2048(_), SignatureAlgorithm::Rsa2048X931Sha256)
        );
        if !fits {
            return Err(UnitError::SignatureMalformed);
        }
        key.verify(message, signer.signature).map_err(|_| UnitError::SignatureWrong)
    }

    /// Key, identifier, name.
    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        for (to, from) in bytes.iter_mut().zip(self.key.into_iter().chain(self.entry.to_bytes())) {
            *to = from;
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let (key, rest) = bytes.split_first_chunk::<KEY_LEN>()?;
        let (ski, name) = rest.split_first_chunk::<SKI_LEN>()?;
        let entry = AdministratorEntry { ski: *ski, name: *name.first_chunk()? };
        Some(Self { key: *key, entry })
    }

    /// An administrator without a usable key.
    #[cfg(test)]
    pub(crate) const fn for_test(n: u8) -> Self {
        Self {
            key: [n; KEY_LEN],
            entry: AdministratorEntry { ski: [n; SKI_LEN], name: [b'a'; ADMINISTRATOR_NAME_LEN] },
        }
    }
}

/// At most eight administrators, in the order of their installation, no identifier twice.
#[derive(Clone)]
pub(crate) struct Administrators {
    list: Vec<Administrator, MAX_ADMINISTRATORS, u8>,
}

impl Administrators {
    /// No administrator.
    pub(crate) const fn none() -> Self {
        Self { list: Vec::new() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Administrator> {
        self.list.iter()
    }

    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn find(&self, ski: &[u8; SKI_LEN]) -> Option<&Administrator> {
        self.iter().find(|administrator| administrator.entry.ski == *ski)
    }

    /// These administrators and a new one at the end.
    pub(crate) fn with(&self, new: Administrator) -> Result<Self, UnitError> {
        if self.find(&new.entry.ski).is_some() {
            return Err(UnitError::AdministratorInstalled);
        }
        let mut more = self.clone();
        more.list.push(new).map_err(|_| UnitError::AdministratorsFull)?;
        Ok(more)
    }

    /// These administrators without one of them.
    pub(crate) fn without(&self, ski: &[u8; SKI_LEN]) -> Result<Self, UnitError> {
        let mut fewer = self.clone();
        fewer.list.retain(|administrator| administrator.entry.ski != *ski);
        if fewer.count() < self.count() { Ok(fewer) } else { Err(UnitError::AdministratorNotInstalled) }
    }

    /// These administrators with one replaced by another.
    pub(crate) fn replacing(&self, old: &[u8; SKI_LEN], new: Administrator) -> Result<Self, UnitError> {
        if self.find(old).is_none() {
            return Err(UnitError::AdministratorNotInstalled);
        }
        if self.find(&new.entry.ski).is_some() {
            return Err(UnitError::AdministratorInstalled);
        }
        let mut others = self.clone();
        for place in others.list.iter_mut().filter(|place| place.entry.ski == *old) {
            *place = new;
        }
        Ok(others)
    }
}
