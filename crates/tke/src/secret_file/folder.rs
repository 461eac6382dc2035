//! The folder of signature key files and key part files.

use super::SecretFileError;
use crate::private_file;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of secret files, of mode 0700 if it is created here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

impl Folder {
    /// Environment variable with the path of the folder.
    pub const VARIABLE: &str = "CLOUDTKEFILES";

    /// Opens a folder, and creates it if it does not exist.
    ///
    /// # Errors
    /// [`SecretFileError::Disk`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, SecretFileError> {
        let path = path.into();
        private_file::private_dir(&path).map_err(SecretFileError::disk(&path))?;
        Ok(Self(path))
    }

    /// Opens the folder that [`Self::VARIABLE`] names; `None` if it is not set or empty.
    ///
    /// # Errors
    /// [`SecretFileError::Disk`].
    pub fn from_environment() -> Result<Option<Self>, SecretFileError> {
        match std::env::var_os(Self::VARIABLE) {
            Some(path) if !path.is_empty() => Self::open(PathBuf::from(path)).map(Some),
            _ => Ok(None),
        }
    }

    /// Path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The files with an extension, by name. Files that are being written have another one.
    pub(crate) fn files(&self, extension: &str) -> Result<Vec<PathBuf>, SecretFileError> {
        let read = || {
            let mut files = Vec::new();
            for entry in fs::read_dir(&self.0)? {
                let path = entry?.path();
                if path.extension().is_some_and(|e| e == extension) {
                    files.push(path);
                }
            }
            files.sort();
            Ok(files)
        };
        read().map_err(SecretFileError::disk(&self.0))
    }

    /// Path of a file in the folder.
    pub(crate) fn file(&self, stem: &str, extension: &str) -> PathBuf {
        self.0.join(format!("{stem}.{extension}"))
    }
}
