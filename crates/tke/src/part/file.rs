//! Key parts in password-protected files.

use super::{KeyPartHolder, PartId, PartInvalid, PartLabel, PartOrigin, SealingFuture, pattern_of};
use crate::holder::Carrier;
use crate::secret_file::{Folder, KdfCost, Password, PublicFields, SecretFile, SecretFileError, random};
use engine::KeyPart;
use std::fmt;
use std::path::{Path, PathBuf};
use tke_crypto::PublicKey;
use unit_api::VerificationPattern;

const PURPOSE: &str = "key part";
const EXTENSION: &str = "mkpart";
const LABEL: &str = "label";
const ORIGIN: &str = "origin";

/// Reason why a key part file was not created or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartFileError {
    /// The encrypted container could not be written, read or opened.
    #[error("key part file")]
    File(#[from] SecretFileError),
    /// The entered value is not a key part.
    #[error("the value is not a key part")]
    Invalid(#[from] PartInvalid),
    /// The content of the file is not a key part.
    #[error("the content of the file is not a key part")]
    NoPart,
}

/// A key part from a file, in the memory of this process until it is dropped.
///
/// The file does not show the verification pattern: an entered part with little entropy could be guessed from it.
pub struct KeyPartFile {
    listed: ListedKeyPart,
    part: Box<KeyPart>,
    pattern: VerificationPattern,
}

/// Public fields of a key part file. Label and origin are authenticated only when the file is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKeyPart {
    /// The file.
    pub path: PathBuf,
    /// Label of the part.
    pub label: PartLabel,
    /// Origin of the part.
    pub origin: PartOrigin,
    /// Identifier of the part in records.
    pub id: PartId,
}

/// The key parts of a folder.
#[derive(Debug)]
pub struct KeyParts {
    /// Files that can be opened with their passwords.
    pub parts: Vec<ListedKeyPart>,
    /// Files with the extension that are not key parts, each with its error.
    pub unreadable: Vec<(PathBuf, PartFileError)>,
}

impl KeyPartFile {
    /// Generates a random part and writes it to a new file of the folder.
    ///
    /// # Errors
    /// [`PartFileError::File`]; no file is left then.
    pub fn generate(
        folder: &Folder,
        label: PartLabel,
        password: &Password,
        cost: KdfCost,
    ) -> Result<Self, PartFileError> {
        Self::keep(folder, label, PartOrigin::Random, super::generate()?, password, cost)
    }

    /// Writes a part that is given as 64 hexadecimal digits to a new file of the folder. The caller zeroizes the text.
    ///
    /// # Errors
    /// [`PartFileError::Invalid`], [`PartFileError::File`]; no file is left then.
    pub fn enter(
        folder: &Folder,
        label: PartLabel,
        hexadecimal: &str,
        password: &Password,
        cost: KdfCost,
    ) -> Result<Self, PartFileError> {
        let part = super::from_hex(hexadecimal)?;
        Self::keep(folder, label, PartOrigin::Entered, part, password, cost)
    }

    fn keep(
        folder: &Folder,
        label: PartLabel,
        origin: PartOrigin,
        part: Box<KeyPart>,
        password: &Password,
        cost: KdfCost,
    ) -> Result<Self, PartFileError> {
        let fields = PublicFields::from([
            (LABEL.to_owned(), label.to_string()),
            (ORIGIN.to_owned(), origin.name().to_owned()),
        ]);
        let file = SecretFile::seal(PURPOSE, fields, password, cost, part.expose())?;
        // A random name: one that is derived from the part or its pattern would reveal something.
        let path = folder.file(&wire::text::encode_hex(&random::<8>()?), EXTENSION);
        file.write_new(&path)?;
        let pattern = pattern_of(&part);
        Ok(Self { listed: ListedKeyPart { path, label, origin, id: PartId(file.digest()) }, part, pattern })
    }

    /// Opens a key part file.
    ///
    /// # Errors
    /// [`PartFileError`].
    pub fn open(path: &Path, password: &Password) -> Result<Self, PartFileError> {
        let file = SecretFile::read(path)?;
        let value = file.open(PURPOSE, password)?;
        file.warn_if_weak(path);
        let listed = listed(path, &file).ok_or(PartFileError::NoPart)?;
        let value = value.as_slice().try_into().map_err(|_| PartFileError::NoPart)?;
        let part = super::take(value)?;
        let pattern = pattern_of(&part);
        Ok(Self { listed, part, pattern })
    }

    /// Public fields of the file.
    #[must_use]
    pub const fn listed(&self) -> &ListedKeyPart {
        &self.listed
    }

    pub(crate) const fn expose(&self) -> &KeyPart {
        &self.part
    }
}

impl KeyPartHolder for KeyPartFile {
    fn label(&self) -> &PartLabel {
        &self.listed.label
    }

    fn pattern(&self) -> VerificationPattern {
        self.pattern
    }

    fn id(&self) -> PartId {
        self.listed.id
    }

    fn carrier(&self) -> Carrier {
        Carrier::File(self.listed.path.clone())
    }

    fn seal_for<'a>(&'a self, importer: &'a PublicKey) -> SealingFuture<'a> {
        Box::pin(async { Ok(super::seal(importer, &self.part)?) })
    }
}

/// Public fields of the file.
impl fmt::Debug for KeyPartFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyPartFile").field(&self.listed).finish()
    }
}

/// The key parts of a folder, in the order of their file names.
///
/// # Errors
/// [`PartFileError::File`] if the folder cannot be read; unreadable files are in the result.
pub fn list_key_parts(folder: &Folder) -> Result<KeyParts, PartFileError> {
    let mut found = KeyParts { parts: Vec::new(), unreadable: Vec::new() };
    for path in folder.files(EXTENSION)? {
        match SecretFile::read(&path) {
            Ok(file) => match listed(&path, &file) {
                Some(part) => found.parts.push(part),
                None => found.unreadable.push((path, PartFileError::NoPart)),
            },
            Err(error) => found.unreadable.push((path, error.into())),
        }
    }
    Ok(found)
}

fn listed(path: &Path, file: &SecretFile) -> Option<ListedKeyPart> {
    if file.purpose() != PURPOSE {
        return None;
    }
    let label = PartLabel::try_from(file.public().get(LABEL)?.as_str()).ok()?;
    let origin = PartOrigin::from_name(file.public().get(ORIGIN)?)?;
    Some(ListedKeyPart { path: path.to_owned(), label, origin, id: PartId(file.digest()) })
}
