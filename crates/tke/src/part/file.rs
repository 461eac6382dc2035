//! Key parts in password-protected files.

use super::{KeyPartHolder, PartId, PartInvalid, PartLabel, PartOrigin, Sealing, pattern_of};
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

/// Why a key part file was not made or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartFileError {
    /// The container.
    #[error("key part file")]
    File(#[from] SecretFileError),
    /// What was typed in is no key part.
    #[error("no key part")]
    Invalid(#[from] PartInvalid),
    /// The file opened, but what is in it is no key part.
    #[error("the file holds no key part")]
    NoPart,
}

/// A key part from a file; in this process's memory until it is dropped.
///
/// The file does not show the part's pattern: that of a part that was typed in could be guessed from it.
pub struct KeyPartFile {
    listed: ListedKeyPart,
    part: Box<KeyPart>,
    pattern: VerificationPattern,
}

/// What is known of a key part file without its password. Label and origin are not authenticated until it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKeyPart {
    /// The file.
    pub path: PathBuf,
    /// What the part is called.
    pub label: PartLabel,
    /// Where the part came from.
    pub origin: PartOrigin,
    /// What audit records call the part.
    pub id: PartId,
}

/// The key parts of a folder.
#[derive(Debug)]
pub struct KeyParts {
    /// Those that can be opened with their passwords.
    pub parts: Vec<ListedKeyPart>,
    /// Files that bear the extension and are something else.
    pub unreadable: Vec<(PathBuf, PartFileError)>,
}

impl KeyPartFile {
    /// Draws a part at random and keeps it in a new file of the folder.
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

    /// Keeps the part that 64 hexadecimal digits say in a new file of the folder. The text is the caller's to wipe.
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
        // Named at random: a name made of the part or of its pattern would give something away.
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
        let listed = listed(path, &file).ok_or(PartFileError::NoPart)?;
        let value = value.as_slice().try_into().map_err(|_| PartFileError::NoPart)?;
        let part = super::take(value)?;
        let pattern = pattern_of(&part);
        Ok(Self { listed, part, pattern })
    }

    /// What is known of it without the password.
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

    fn seal_for<'a>(&'a self, importer: &'a PublicKey) -> Sealing<'a> {
        Box::pin(async { Ok(super::seal(importer, &self.part)?) })
    }
}

/// What is known of it without the password.
impl fmt::Debug for KeyPartFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyPartFile").field(&self.listed).finish()
    }
}

/// The key parts of a folder, in the order of their file names.
///
/// # Errors
/// [`PartFileError::File`] if the folder cannot be read; single bad files are in the answer.
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
