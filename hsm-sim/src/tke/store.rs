//! What the tool remembers between commands: JSON files in the folder, its owner's alone.

use super::error::TkeError;
use crate::files;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// What is in a file, or the default where there is none.
pub(super) fn load<T: DeserializeOwned + Default>(path: &Path) -> Result<T, TkeError> {
    match files::read_if_present(path).map_err(TkeError::file(path))? {
        None => Ok(T::default()),
        Some(content) => serde_json::from_slice(&content).map_err(|_| TkeError::Damaged {
            path: path.to_owned(),
            problem: "it is not what this tool writes",
        }),
    }
}

/// Replaces a file, durably.
pub(super) fn save(path: &Path, content: &impl Serialize) -> Result<(), TkeError> {
    let text = serde_json::to_vec_pretty(content)
        .map_err(|_| TkeError::Damaged { path: path.to_owned(), problem: "it cannot be written as JSON" })?;
    files::write_private(path, &text).map_err(TkeError::file(path))
}
