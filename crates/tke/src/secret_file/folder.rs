//! Where a customer keeps signature key files and key part files.

use super::SecretFileError;
use crate::private_file;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of secret files, its owner's alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

impl Folder {
    /// The variable of the environment that names the folder.
    pub const VARIABLE: &str = "CLOUDTKEFILES";

    /// Opens a folder, and makes it first if it is not there.
    ///
    /// # Errors
    /// [`SecretFileError::Disk`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, SecretFileError> {
        let path = path.into();
        private_file::private_dir(&path).map_err(SecretFileError::disk(&path))?;
        Ok(Self(path))
    }

    /// Opens the folder that [`Self::VARIABLE`] names; none if it is not set or empty.
    ///
    /// # Errors
    /// [`SecretFileError::Disk`].
    pub fn from_environment() -> Result<Option<Self>, SecretFileError> {
        match std::env::var_os(Self::VARIABLE) {
            Some(path) if !path.is_empty() => Self::open(PathBuf::from(path)).map(Some),
            _ => Ok(None),
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The files of one kind, in the order of their names. What is being written is not among them.
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

    /// The path of a file here.
    pub(crate) fn file(&self, stem: &str, extension: &str) -> PathBuf {
        self.0.join(format!("{stem}.{extension}"))
    }
}
