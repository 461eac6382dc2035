//! What a customer believes modules by: the manufacturer's root, its revocation list, and the customer's own demands.

use engine::EngineClass;
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};
use tke_crypto::{CertificateSerial, ModuleCertificate, PublicKey, RevocationList};

/// What a module has to show before a ceremony uses it.
#[derive(Clone, Debug)]
pub struct ModuleTrust {
    root: PublicKey,
    revoked: BTreeSet<CertificateSerial>,
    required: Option<EngineClass>,
}

/// Reason why a module is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleRefused {
    /// The manufacturer did not issue the certificate.
    #[error("its certificate is not issued by the manufacturer")]
    NotIssued,
    /// The manufacturer has revoked the certificate.
    #[error("the manufacturer has revoked its certificate ({0})")]
    Revoked(CertificateSerial),
    /// The certificate is not valid at this time.
    #[error(
        "its certificate is not valid today: check the clock of this machine, or have the module certified again"
    )]
    NotValidNow,
    /// The engine's class is below the one that is required.
    #[error("its keys are in an engine of class {found}, and class `{required}` or better is required")]
    ClassTooLow {
        /// Class of the engine.
        found: ShownClass,
        /// Lowest class that is accepted.
        required: EngineClass,
    },
}

impl ModuleRefused {
    /// Whether an attacker may be in the module's place, rather than the module being one that the customer does not want.
    #[must_use]
    pub const fn is_alarm(&self) -> bool {
        match self {
            Self::NotIssued | Self::Revoked(_) => true,
            Self::NotValidNow | Self::ClassTooLow { .. } => false,
        }
    }
}

/// The class of an engine as a certificate shows it. An unknown one is below every known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShownClass(pub Option<EngineClass>);

impl ShownClass {
    /// The class in a certificate.
    #[must_use]
    pub fn of(certificate: &ModuleCertificate) -> Self {
        Self(certificate.description.and_then(|shown| EngineClass::from_number(shown.engine_class)))
    }

    /// The class as people read it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.map_or("unknown", EngineClass::name)
    }
}

impl std::fmt::Display for ShownClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl ModuleTrust {
    /// Believes every module that this root has certified.
    #[must_use]
    pub const fn new(root: PublicKey) -> Self {
        Self { root, revoked: BTreeSet::new(), required: None }
    }

    /// Refuses the modules on this list.
    #[must_use]
    pub fn with_revocations(mut self, list: &RevocationList<'_>) -> Self {
        self.revoked.extend(list.revocations().map(|revocation| revocation.serial));
        self
    }

    /// Refuses modules whose engine is of a lower class.
    #[must_use]
    pub const fn requiring(mut self, class: EngineClass) -> Self {
        self.required = Some(class);
        self
    }

    /// The manufacturer's root.
    #[must_use]
    pub const fn root(&self) -> &PublicKey {
        &self.root
    }

    /// Checks a module's certificate, DER.
    ///
    /// # Errors
    /// [`ModuleRefused`].
    pub fn verify(&self, certificate: &[u8]) -> Result<ModuleCertificate, ModuleRefused> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.verify_at(certificate, now)
    }

    /// As [`ModuleTrust::verify`], at a time in seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// [`ModuleRefused`].
    pub fn verify_at(&self, certificate: &[u8], now: u64) -> Result<ModuleCertificate, ModuleRefused> {
        let shown =
            ModuleCertificate::verify(certificate, &self.root).map_err(|_| ModuleRefused::NotIssued)?;
        if self.revoked.contains(&shown.serial) {
            return Err(ModuleRefused::Revoked(shown.serial));
        }
        if !shown.validity.contains(now) {
            return Err(ModuleRefused::NotValidNow);
        }
        let found = ShownClass::of(&shown);
        match self.required {
            Some(required) if found < ShownClass(Some(required)) => {
                Err(ModuleRefused::ClassTooLow { found, required })
            }
            _ => Ok(shown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ModuleRefused, ModuleTrust, ShownClass};
    use engine::EngineClass;
    use tke_crypto::{
        CERTIFICATE_BUFFER_LEN, CertificateSerial, ModuleDescription, ModuleSubject, Revocation,
        RevocationList, RootName, SCALAR_LEN, SigningKey, Validity, issue_module_certificate,
        revocation_list_len, write_revocation_list,
    };

    fn key(byte: u8) -> SigningKey {
        let mut scalar = [byte; SCALAR_LEN];
        scalar[0] = 0;
        SigningKey::from_scalar(&scalar).unwrap()
    }

    fn certificate(root: &SigningKey, engine_class: u8) -> Vec<u8> {
        let subject = ModuleSubject {
            module_id: b"SIM00001instance",
            key: &key(2).public(),
            description: ModuleDescription { engine_class, firmware: [7; 32] },
            validity: Validity { not_before: 1000, not_after: 2000 },
        };
        let mut out = [0; CERTIFICATE_BUFFER_LEN];
        let name = RootName::try_from("A root").unwrap();
        issue_module_certificate(root, &name, &subject, &mut out).unwrap().to_vec()
    }

    #[test]
    fn a_module_is_refused_outside_its_time() {
        let root = key(1);
        let trust = ModuleTrust::new(root.public());
        let der = certificate(&root, 1);
        for (now, is_valid) in [(0, false), (999, false), (1000, true), (2000, true), (2001, false)] {
            let refused = trust.verify_at(&der, now).err();
            assert_eq!(refused, (!is_valid).then_some(ModuleRefused::NotValidNow), "{now}");
        }
    }

    /// Keys in software must not pass where the customer demands a token, and neither must an unknown class.
    #[test]
    fn attack_a_module_of_a_lower_class_is_refused_where_a_token_is_required() {
        let root = key(1);
        let classes =
            [None, Some(EngineClass::Software), Some(EngineClass::TokenDerived), Some(EngineClass::Token)];
        for (number, shown) in [(0, 0), (1, 1), (2, 2), (3, 3), (77, 0)] {
            let der = certificate(&root, number);
            for (required, class) in classes.iter().enumerate() {
                let trust = ModuleTrust::new(root.public());
                let trust = class.map_or(trust.clone(), |class| trust.requiring(class));
                assert_eq!(trust.verify_at(&der, 1500).is_ok(), shown >= required, "{number} {class:?}");
            }
        }
        assert!(ShownClass(None) < ShownClass(Some(EngineClass::Software)));
    }

    #[test]
    fn attack_a_revoked_module_is_refused() {
        let root = key(1);
        let der = certificate(&root, 3);
        let serial = ModuleTrust::new(root.public()).verify_at(&der, 1500).unwrap().serial;
        let name = RootName::try_from("A root").unwrap();
        for (listed, is_revoked) in [(serial, true), (CertificateSerial([9; 20]), false)] {
            let revoked = [Revocation { serial: listed, at: 1200 }];
            let mut out = vec![0; revocation_list_len(1)];
            let list = write_revocation_list(&root, &name, 1, 1200, &revoked, &mut out).unwrap();
            let list = RevocationList::verify(list, &root.public()).unwrap();
            let trust = ModuleTrust::new(root.public()).with_revocations(&list);
            let refused = trust.verify_at(&der, 1500).err();
            assert_eq!(refused, is_revoked.then_some(ModuleRefused::Revoked(serial)));
        }
    }
}
