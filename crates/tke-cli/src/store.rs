//! JSON files in the folder, of mode 0600.

use crate::error::TkeError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use tke::private_file;

/// Longest file that is read, in bytes.
const MAX_LEN: usize = 16 * 1024 * 1024;

/// Reads a file; the default value if there is none.
pub(crate) fn load<T: DeserializeOwned + Default>(path: &Path) -> Result<T, TkeError> {
    match private_file::read_if_present(path, MAX_LEN).map_err(TkeError::file(path))? {
        None => Ok(T::default()),
        Some(content) => serde_json::from_slice(&content)
            .map_err(|_| TkeError::Damaged { path: path.to_owned(), problem: "its content is not valid" }),
    }
}

/// Replaces a file, durably.
pub(crate) fn save(path: &Path, content: &impl Serialize) -> Result<(), TkeError> {
    let text = serde_json::to_vec_pretty(content)
        .map_err(|_| TkeError::Damaged { path: path.to_owned(), problem: "it cannot be written as JSON" })?;
    private_file::replace(path, &text).map_err(TkeError::file(path))
}
