//! The certificates of a pair: an authority for development, and one certificate for each region, the witness and the front.

use crate::files;
use node::region::{RegionTls, RegionTlsError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// The authority's certificate.
const AUTHORITY: &str = "authority.pem";

/// The files of one certificate, PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFiles {
    /// Certificate of the authority that has certified all of the pair.
    pub authority: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// A file cannot be read or written.
    #[error("{} cannot be used", .path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// OS error.
        source: io::Error,
    },
    /// TLS refuses what a file holds.
    #[error("the certificates in {} cannot be used: remove the folder, and new ones are made", .folder.display())]
    Refused {
        /// The folder.
        folder: PathBuf,
        /// The reason.
        source: RegionTlsError,
    },
}

/// The certificates for `names` in `folder`, made if there are none yet. The authority's private key is not kept, so
/// that no other certificate can be made.
///
/// # Errors
/// [`CertificatesError::File`].
pub fn open(folder: &Path, names: &[&str]) -> Result<Vec<CertificateFiles>, CertificatesError> {
    let failed = |source| CertificatesError::File { path: folder.to_owned(), source };
    if !folder.try_exists().map_err(failed)? {
        files::create_whole_dir(folder, |folder| make(folder, names)).map_err(failed)?;
    }
    Ok(names.iter().map(|name| CertificateFiles::of(folder, name)).collect())
}

fn make(folder: &Path, names: &[&str]) -> io::Result<()> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named("hsm-sim development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)?;
    files::write_private(&folder.join(AUTHORITY), authority.pem().as_bytes())?;
    for name in names {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::new(vec![(*name).to_owned()]).map_err(io::Error::other)?;
        params.distinguished_name = named(name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &authority).map_err(io::Error::other)?;
        let paths = CertificateFiles::of(folder, name);
        files::write_private(&paths.certificate, certificate.pem().as_bytes())?;
        files::write_private(&paths.key, zeroize::Zeroizing::new(key.serialize_pem()).as_bytes())?;
    }
    Ok(())
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

impl CertificateFiles {
    fn of(folder: &Path, name: &str) -> Self {
        let file = |end: &str| folder.join(format!("{name}{end}"));
        Self { authority: folder.join(AUTHORITY), certificate: file(".pem"), key: file("-key.pem") }
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`CertificatesError`].
    pub fn read(&self) -> Result<RegionTls, CertificatesError> {
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path).map(zeroize::Zeroizing::new);
            text.map_err(|source| CertificatesError::File { path: path.clone(), source })
        };
        let folder = self.authority.parent().unwrap_or(Path::new("")).to_owned();
        RegionTls::from_pem(&read(&self.authority)?, &read(&self.certificate)?, &read(&self.key)?)
            .map_err(|source| CertificatesError::Refused { folder, source })
    }
}

#[cfg(test)]
mod tests {
    use super::{CertificatesError, open};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn certificates_are_made_once_and_readable_by_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tls");
        let made = open(&path, &["us-south", "witness"]).unwrap();
        let key = std::fs::read(&made[0].key).unwrap();
        let again = open(&path, &["us-south", "witness"]).unwrap();
        assert_eq!((&made, std::fs::read(&made[0].key).unwrap()), (&again, key));
        for certificate in &made {
            certificate.read().unwrap();
        }
        let entries: Vec<_> = std::fs::read_dir(&path).unwrap().map(Result::unwrap).collect();
        // The authority's certificate, and two files for each name: its private key is kept nowhere.
        assert_eq!(entries.len(), 5);
        for entry in entries {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
        }
        std::fs::write(&made[0].certificate, std::fs::read(&made[1].certificate).unwrap()).unwrap();
        assert!(matches!(made[0].read(), Err(CertificatesError::Refused { .. })));
        std::fs::remove_file(&made[1].key).unwrap();
        assert!(matches!(made[1].read(), Err(CertificatesError::File { .. })));
    }
}
