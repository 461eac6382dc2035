//! Who a region is: what its clients hold in their configuration, the same after every restart.

use super::data::{DataDir, DataError};
use crate::{files, hex};
use serde::{Deserialize, Serialize};
use std::io;
use uuid::Uuid;

/// Instances, credentials and names of a region. Secret as a whole: whoever has it may use every key.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the region, in endpoints and resource names.
    pub region: String,
    /// Account that the instances belong to.
    pub account: String,
    /// The service instance.
    pub instance_id: Uuid,
    /// A second, separate one on the same crypto units.
    pub instance_id_2: Uuid,
    /// API key that the token service takes.
    pub api_key: String,
    /// Static bearer tokens of two managers.
    pub tokens: [String; 2],
    /// Key of the token service's signatures, in hexadecimal.
    pub token_key: String,
    /// Operational crypto units.
    pub units: u16,
}

impl Identity {
    /// The identity kept in `data`, made with this many units if there is none; `units` changes a kept one.
    ///
    /// # Errors
    /// [`DataError`] when it cannot be read, made or changed.
    pub fn open(data: &DataDir, units: Option<u16>) -> Result<Self, DataError> {
        let path = data.region_file();
        let unusable = |source| DataError::Unusable { path: path.clone(), source };
        let kept = match files::read_if_present(&path).map_err(unusable)? {
            Some(content) => {
                let kept: Self =
                    serde_json::from_slice(&content).map_err(|_| DataError::Damaged(path.clone()))?;
                if units.is_none_or(|units| units == kept.units) {
                    return Ok(kept);
                }
                kept
            }
            None => Self::generate().map_err(unusable)?,
        };
        let identity = Self { units: units.unwrap_or(kept.units), ..kept };
        let content = serde_json::to_vec_pretty(&identity).map_err(|e| unusable(e.into()))?;
        files::write_private(&path, &content).map_err(unusable)?;
        Ok(identity)
    }

    fn generate() -> io::Result<Self> {
        Ok(Self {
            region: "us-south".to_owned(),
            account: random_hex(16)?,
            instance_id: random_uuid()?,
            instance_id_2: random_uuid()?,
            api_key: random_hex(22)?,
            tokens: [random_hex(32)?, random_hex(32)?],
            token_key: random_hex(32)?,
            units: 2,
        })
    }
}

fn random_hex(len: usize) -> io::Result<String> {
    let mut bytes = vec![0; len];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(&bytes).to_string())
}

fn random_uuid() -> io::Result<Uuid> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::{DataDir, DataError, Identity};

    #[test]
    fn it_is_made_once_and_only_the_number_of_units_changes() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        let first = Identity::open(&data, None).unwrap();
        let again = Identity::open(&data, Some(3)).unwrap();
        assert_eq!((first.units, again.units), (2, 3));
        assert_eq!((&first.api_key, first.instance_id), (&again.api_key, again.instance_id));
        assert_ne!(first.instance_id, first.instance_id_2);
        std::fs::write(data.region_file(), "{").unwrap();
        assert!(matches!(Identity::open(&data, None), Err(DataError::Damaged(_))));
    }
}
