//! Cryptography of trusted key entry, for units and for their customers.
//!
//! Administrators and modules sign with ECDSA over P-521 and SHA-512 ([`SigningKey`], [`PublicKey`]) and publish their
//! keys in X.509 certificates ([`AdministratorCertificate`], [`ModuleCertificate`]). A [`Ski`] identifies a key. Parts
//! of a master key are sealed for a unit's importer key, each in a [`SealedKeyPart`]. RSA signatures of administrators that
//! were installed before P-521 are verified; RSA has no other use here ([`RsaPublicKey`]).
//!
//! ```
//! use tke_crypto::{
//!     AdministratorCertificate, AdministratorName, CERTIFICATE_BUFFER_LEN, SEALED_PART_MAX_LEN, SigningKey, open_key_part,
//!     seal_key_part,
//! };
//! use getrandom::SysRng;
//!
//! // The customer makes a key and a certificate.
//! let key = SigningKey::generate(&mut SysRng)?;
//! let mut buffer = [0; CERTIFICATE_BUFFER_LEN];
//! let name = AdministratorName::try_from("Alice")?;
//! let der = tke_crypto::write_administrator_certificate(&key, &name, &mut buffer)?;
//!
//! // The unit verifies the certificate, and later the owner's signatures.
//! let alice = AdministratorCertificate::parse(der)?;
//! alice.key.verify(b"a command", &key.sign(b"a command"))?;
//!
//! // The customer seals a key part for the unit's importer key.
//! let importer = SigningKey::generate(&mut SysRng)?;
//! let mut buffer = [0; SEALED_PART_MAX_LEN];
//! let sealed = seal_key_part(&importer.public(), &[7; 32], &mut SysRng, &mut buffer)?;
//! assert_eq!(*open_key_part(&importer, sealed)?, [7; 32]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What it deliberately does not do: generate randomness (callers pass a `rand_core` generator), allocate, store keys, decide
//! permissions, read a clock (callers check a certificate's validity), or build certificate chains longer than a root
//! and the certificates that it signed.
//!
//! Invariants:
//! - Input is read as strict DER. No input makes a reader panic or read past its end.
//! - A [`PublicKey`] is a point of the curve, never the point at infinity.
//! - A [`SigningKey`] is zeroized on drop and never printed; time and memory accesses do not depend on it.

#![no_std]

#[cfg(test)]
extern crate std;

mod administrator_key;
mod agreement;
mod certificate;
mod error;
mod identifier;
mod name;
mod public_key;
mod reader;
mod rsa;
mod sealed_part;
mod signature;
mod signing_key;
mod ski;
mod writer;
mod x963;

pub use administrator_key::AdministratorKey;
pub use certificate::administrator::{
    AdministratorCertificate, administrator_tbs, assemble_certificate, write_administrator_certificate,
};
pub use certificate::module::{
    IssueError, ModuleCertificate, ModuleDescription, ModuleSubject, issue_module_certificate,
    root_certificate_key, write_root_certificate,
};
pub use certificate::revocation::{
    MAX_REVOCATION_LIST_LEN, Revocation, RevocationList, RevocationListInvalid, revocation_list_len,
    write_revocation_list,
};
pub use certificate::serial::CertificateSerial;
pub use certificate::time::Validity;
pub use certificate::{CERTIFICATE_BUFFER_LEN, CertificateInvalid, MAX_CERTIFICATE_LEN};
pub use error::{BufferTooSmall, KeyInvalid, RandomFailed, SignatureInvalid};
pub use name::{AdministratorName, Name, NameInvalid, RootName};
pub use public_key::{POINT_LEN, PublicKey};
pub use rsa::{MODULUS_LEN, RsaPublicKey};
pub use sealed_part::{
    SEALED_PART_MAX_LEN, SealError, SealedKeyPart, SealedPartInvalid, open_key_part, seal_key_part,
    sealed_for,
};
pub use signature::{MAX_SIGNATURE_LEN, RAW_SIGNATURE_LEN, Signature};
pub use signing_key::{SCALAR_LEN, SigningKey};
pub use ski::Ski;
