//! The identity of a region: instances, credentials and names in the configuration of its clients. It survives restarts.

use super::ceremony::CeremonyKind;
use super::data::{DataDir, DataError};
use super::engines::Engines;
use super::place::UnitCounts;
use crate::files;
use serde::{Deserialize, Serialize};
use std::io;
use uuid::Uuid;
use wire::text::encode_secret_hex;

/// Instances, credentials and names of a region. Secret as a whole: its holder can use every key.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the region, in endpoints and resource names.
    pub region: String,
    /// Account that the instances belong to.
    pub account: String,
    /// The service instance.
    pub instance_id: Uuid,
    /// A second, separate instance on the same crypto units.
    pub instance_id_2: Uuid,
    /// API key that the token service accepts.
    pub api_key: String,
    /// Static bearer tokens of two managers.
    pub tokens: [String; 2],
    /// Key that the token service signs with, in hexadecimal.
    pub token_key: String,
    /// Number of operational crypto units.
    pub units: u16,
    /// Number of recovery units.
    #[serde(default)]
    pub recovery_units: u16,
    /// Number of failover units.
    #[serde(default)]
    pub failover_units: u16,
    /// Ceremony that sets the units up.
    #[serde(default)]
    pub ceremony: CeremonyKind,
    /// Engines that hold the units' keys.
    #[serde(default)]
    pub engines: Engines,
}

/// Settings that a start requests; `None` keeps the setting of the region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Number of operational crypto units.
    pub units: Option<u16>,
    /// Number of recovery units.
    pub recovery_units: Option<u16>,
    /// Number of failover units.
    pub failover_units: Option<u16>,
    /// Ceremony that sets the units up.
    pub ceremony: Option<CeremonyKind>,
    /// Engines of the zones that `--engine` names.
    pub engines: Engines,
}

impl Identity {
    /// Opens the identity stored in `data`, or generates and stores one. `wanted` sets the numbers of units and the engines.
    ///
    /// # Errors
    /// [`DataError`] if it cannot be read or stored, or if `wanted` conflicts with it; nothing was changed.
    pub fn open(data: &DataDir, wanted: &Wanted) -> Result<Self, DataError> {
        let path = data.region_file();
        let unusable = |source| DataError::Unusable { path: path.clone(), source };
        let kept: Option<Self> = match files::read_if_present(&path).map_err(unusable)? {
            Some(content) => {
                Some(serde_json::from_slice(&content).map_err(|_| DataError::Damaged(path.clone()))?)
            }
            None => None,
        };
        let mut identity = match &kept {
            Some(kept) => kept.clone().with(wanted),
            None => Self::generate(wanted.ceremony.unwrap_or_default()).map_err(unusable)?.with(wanted),
        };
        if let Some(kept) = &kept
            && kept.ceremony != identity.ceremony
        {
            return Err(DataError::OtherCeremony { kept: kept.ceremony, wanted: identity.ceremony });
        }
        let UnitCounts { operational, failover, .. } = identity.unit_counts();
        if failover > operational {
            return Err(DataError::TooManyFailoverUnits { failover, operational });
        }
        identity.engines = identity.engines.with(&wanted.engines, data)?;
        let stays =
            |kept: Self| kept.unit_counts() == identity.unit_counts() && kept.engines == identity.engines;
        if !kept.is_some_and(stays) {
            let content = serde_json::to_vec_pretty(&identity).map_err(|e| unusable(e.into()))?;
            files::write_private(&path, &content).map_err(unusable)?;
        }
        Ok(identity)
    }

    /// Number of units of each kind.
    #[must_use]
    pub const fn unit_counts(&self) -> UnitCounts {
        UnitCounts { operational: self.units, recovery: self.recovery_units, failover: self.failover_units }
    }

    fn with(self, wanted: &Wanted) -> Self {
        Self {
            units: wanted.units.unwrap_or(self.units),
            recovery_units: wanted.recovery_units.unwrap_or(self.recovery_units),
            failover_units: wanted.failover_units.unwrap_or(self.failover_units),
            ceremony: wanted.ceremony.unwrap_or(self.ceremony),
            ..self
        }
    }

    fn generate(ceremony: CeremonyKind) -> io::Result<Self> {
        Ok(Self {
            region: "us-south".to_owned(),
            account: random_hex(16)?,
            instance_id: random_uuid()?,
            instance_id_2: random_uuid()?,
            api_key: random_hex(22)?,
            tokens: [random_hex(32)?, random_hex(32)?],
            token_key: random_hex(32)?,
            units: 2,
            recovery_units: ceremony.recovery_units(),
            failover_units: 0,
            ceremony,
            engines: Engines::default(),
        })
    }
}

fn random_hex(len: usize) -> io::Result<String> {
    let mut bytes = vec![0; len];
    getrandom::fill(&mut bytes)?;
    Ok(encode_secret_hex(&bytes).to_string())
}

fn random_uuid() -> io::Result<Uuid> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::{DataDir, DataError, Identity, Wanted};
    use crate::region::CeremonyKind;

    fn units(units: u16) -> Wanted {
        Wanted { units: Some(units), ..Wanted::default() }
    }

    #[test]
    fn an_identity_is_generated_once_and_only_its_unit_counts_change() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        let first = Identity::open(&data, &Wanted::default()).unwrap();
        let again = Identity::open(&data, &units(3)).unwrap();
        assert_eq!((first.units, again.units), (2, 3));
        assert_eq!(Identity::open(&data, &Wanted::default()).unwrap().units, 3);
        assert_eq!((&first.api_key, first.instance_id), (&again.api_key, again.instance_id));
        assert_ne!(first.instance_id, first.instance_id_2);
        std::fs::write(data.region_file(), "{").unwrap();
        assert!(matches!(Identity::open(&data, &Wanted::default()), Err(DataError::Damaged(_))));
    }

    #[test]
    fn the_ceremony_is_fixed_at_the_first_start() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        let manual = Wanted { ceremony: Some(CeremonyKind::Manual), ..Wanted::default() };
        assert_eq!(Identity::open(&data, &manual).unwrap().recovery_units, 2);
        let development = Wanted { ceremony: Some(CeremonyKind::Development), ..Wanted::default() };
        assert!(matches!(Identity::open(&data, &development), Err(DataError::OtherCeremony { .. })));
        assert_eq!(Identity::open(&data, &Wanted::default()).unwrap().ceremony, CeremonyKind::Manual);
    }

    #[test]
    fn there_are_no_more_failover_units_than_operational_ones() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        let three = Wanted { failover_units: Some(3), ..Wanted::default() };
        assert!(matches!(Identity::open(&data, &three), Err(DataError::TooManyFailoverUnits { .. })));
        assert!(!data.region_file().exists(), "a refused start left a file behind");
        let both = Wanted { units: Some(3), ..three };
        assert_eq!(Identity::open(&data, &both).unwrap().failover_units, 3);
        assert!(Identity::open(&data, &units(2)).is_err());
    }

    #[test]
    fn an_identity_without_a_ceremony_is_of_a_development_region() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        Identity::open(&data, &Wanted::default()).unwrap();
        let mut kept: serde_json::Value =
            serde_json::from_slice(&std::fs::read(data.region_file()).unwrap()).unwrap();
        for field in ["recovery_units", "failover_units", "ceremony"] {
            assert!(kept.as_object_mut().unwrap().remove(field).is_some(), "{field}");
        }
        std::fs::write(data.region_file(), kept.to_string()).unwrap();
        let identity = Identity::open(&data, &Wanted::default()).unwrap();
        assert_eq!((identity.ceremony, identity.recovery_units), (CeremonyKind::Development, 0));
    }
}
