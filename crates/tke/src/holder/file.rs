//! Signature keys in password-protected files.

use super::{Carrier, HpcsKeyFile, HpcsKeyFileError, SignatureKey, SigningFuture};
use crate::secret_file::{Folder, KdfCost, Password, PublicFields, SecretFile, SecretFileError};
use getrandom::SysRng;
use std::fmt;
use std::path::{Path, PathBuf};
use tke_crypto::{AdministratorName, PublicKey, SCALAR_LEN, SigningKey, Ski};
use zeroize::Zeroizing;

const PURPOSE: &str = "signature key";
const EXTENSION: &str = "sigkey";
const NAME: &str = "name";
const SKI: &str = "ski";

/// Reason why a signature key file was not created or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The encrypted container could not be written, read or opened.
    #[error("signature key file")]
    File(#[from] SecretFileError),
    /// The HPCS file could not be imported.
    #[error("signature key file of HPCS")]
    Hpcs(#[from] HpcsKeyFileError),
    /// The content of the file is not a key with the name and identifier of the file.
    #[error("the content of the file does not match its name and identifier")]
    NoKey,
}

/// A signature key from a file, in the memory of this process until it is dropped.
pub struct SignatureKeyFile {
    path: PathBuf,
    name: AdministratorName,
    public: PublicKey,
    // Boxed: a move of the holder leaves no copy of the key behind.
    key: Box<SigningKey>,
}

/// Other keys have the same name. Units distinguish administrators by keys, people by names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} other signature keys have the name {name}", others.len())]
pub struct SameName {
    /// The common name.
    pub name: AdministratorName,
    /// Identifiers of the other keys.
    pub others: Vec<Ski>,
}

/// A new signature key.
#[derive(Debug)]
pub struct CreatedSignatureKey {
    /// The key, open.
    pub key: SignatureKeyFile,
    /// Set if other keys of the folder have the same name.
    pub warning: Option<SameName>,
}

/// Public fields of a signature key file. They are authenticated only when the file is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSignatureKey {
    /// The file.
    pub path: PathBuf,
    /// Name of the administrator.
    pub name: AdministratorName,
    /// Subject key identifier.
    pub ski: Ski,
}

/// The signature keys of a folder.
#[derive(Debug)]
pub struct SignatureKeys {
    /// Files that can be opened with their passwords.
    pub keys: Vec<ListedSignatureKey>,
    /// Files with the extension that are not signature keys, each with its error.
    pub unreadable: Vec<(PathBuf, KeyFileError)>,
}

impl SignatureKeyFile {
    /// Generates a key and writes it to a new file of the folder, named after its identifier.
    ///
    /// # Errors
    /// [`KeyFileError::File`]; no file is left then.
    pub fn create(
        folder: &Folder,
        name: AdministratorName,
        password: &Password,
        cost: KdfCost,
    ) -> Result<CreatedSignatureKey, KeyFileError> {
        Self::keep(folder, name, Box::new(generate_key()?), password, cost)
    }

    /// Copies the key of an HPCS file to a new file of the folder, with stronger protection.
    ///
    /// # Errors
    /// [`KeyFileError::Hpcs`], [`KeyFileError::File`]; no file is left then.
    pub fn import(
        folder: &Folder,
        from: &HpcsKeyFile,
        from_password: &Password,
        name: AdministratorName,
        password: &Password,
        cost: KdfCost,
    ) -> Result<CreatedSignatureKey, KeyFileError> {
        Self::keep(folder, name, Box::new(from.open(from_password)?), password, cost)
    }

    fn keep(
        folder: &Folder,
        name: AdministratorName,
        key: Box<SigningKey>,
        password: &Password,
        cost: KdfCost,
    ) -> Result<CreatedSignatureKey, KeyFileError> {
        let others = list_signature_keys(folder)?.keys.into_iter().filter(|other| other.name == name);
        let others: Vec<_> = others.map(|other| other.ski).collect();
        let public = key.public();
        let ski = public.ski().to_string();
        let fields = PublicFields::from([(NAME.to_owned(), name.to_string()), (SKI.to_owned(), ski.clone())]);
        let file = SecretFile::seal(PURPOSE, fields, password, cost, key.expose_scalar().as_slice())?;
        let path = folder.file(ski.get(..16).unwrap_or(&ski), EXTENSION);
        file.write_new(&path)?;
        let warning = if others.is_empty() { None } else { Some(SameName { name: name.clone(), others }) };
        Ok(CreatedSignatureKey { key: Self { path, name, public, key }, warning })
    }

    /// Opens a signature key file.
    ///
    /// # Errors
    /// [`KeyFileError::File`], [`KeyFileError::NoKey`].
    pub fn open(path: &Path, password: &Password) -> Result<Self, KeyFileError> {
        let file = SecretFile::read(path)?;
        let scalar = file.open(PURPOSE, password)?;
        file.warn_if_weak(path);
        let listed = listed(path, &file).ok_or(KeyFileError::NoKey)?;
        let scalar: &[u8; SCALAR_LEN] = scalar.as_slice().try_into().map_err(|_| KeyFileError::NoKey)?;
        let key = Box::new(SigningKey::from_scalar(scalar).map_err(|_| KeyFileError::NoKey)?);
        let public = key.public();
        if public.ski() != listed.ski {
            return Err(KeyFileError::NoKey);
        }
        Ok(Self { path: listed.path, name: listed.name, public, key })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn expose_scalar(&self) -> Zeroizing<[u8; SCALAR_LEN]> {
        self.key.expose_scalar()
    }
}

impl SignatureKey for SignatureKeyFile {
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

/// Name, identifier and path.
impl fmt::Debug for SignatureKeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureKeyFile")
            .field("name", &self.name)
            .field("ski", &self.public.ski())
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The signature keys of a folder, in the order of their file names.
///
/// # Errors
/// [`KeyFileError::File`] if the folder cannot be read; unreadable files are in the result.
pub fn list_signature_keys(folder: &Folder) -> Result<SignatureKeys, KeyFileError> {
    let mut found = SignatureKeys { keys: Vec::new(), unreadable: Vec::new() };
    for path in folder.files(EXTENSION)? {
        match SecretFile::read(&path) {
            Ok(file) => match listed(&path, &file) {
                Some(key) => found.keys.push(key),
                None => found.unreadable.push((path, KeyFileError::NoKey)),
            },
            Err(error) => found.unreadable.push((path, error.into())),
        }
    }
    Ok(found)
}

fn listed(path: &Path, file: &SecretFile) -> Option<ListedSignatureKey> {
    if file.purpose() != PURPOSE {
        return None;
    }
    let name = AdministratorName::try_from(file.public().get(NAME)?.as_str()).ok()?;
    let ski = Ski(*wire::text::decode_hex(file.public().get(SKI)?)?);
    Some(ListedSignatureKey { path: path.to_owned(), name, ski })
}

pub(crate) fn generate_key() -> Result<SigningKey, SecretFileError> {
    SigningKey::generate(&mut SysRng).map_err(|_| SecretFileError::System)
}
