//! The recorded plan: how the units of an instance should be set up. It is stored before units are changed, so that an
//! interrupted command can be completed.

use crate::error::TkeError;
use crate::store;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tke::Administrator;
use tke::admin_policy::AdminPolicy;
use tke::compare::permissions_of;
use tke::converge::{MasterKeyGoal, UnitGoal};
use tke::{Snapshot, UnitKind};
use tke_crypto::Ski;
use unit_api::VerificationPattern;
use unit_api::admin::{ControlPoints, Permissions};
use uuid::Uuid;
use wire::text::{decode_hex, encode_hex};

/// Plans of all instances that this folder was used with.
#[derive(Debug)]
pub(crate) struct Plans {
    path: PathBuf,
    plans: BTreeMap<Uuid, Plan>,
}

/// How the units of one instance should be set up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// Command that is running or was interrupted.
    #[serde(default)]
    pub(crate) under_way: Option<String>,
    /// Administrators of every unit. Thresholds of 0 mean that they are not decided yet.
    #[serde(default)]
    pub(crate) administrators: Vec<PlannedAdministrator>,
    #[serde(default)]
    pub(crate) signature_threshold: u32,
    #[serde(default)]
    pub(crate) revocation_threshold: u32,
    /// Activation, clearing the current register and zeroization need the signature threshold.
    #[serde(default)]
    pub(crate) quorum_destructive: bool,
    /// Recovery units may export the master key to another instance.
    #[serde(default)]
    pub(crate) export_foreign: bool,
    /// Control points: bitmap, in hexadecimal.
    #[serde(default)]
    pub(crate) control_points: Option<String>,
    /// Verification pattern of the master key, in hexadecimal.
    #[serde(default)]
    pub(crate) master_key: Option<String>,
    /// Verification pattern of the last load, calculated from its parts, in hexadecimal.
    #[serde(default)]
    pub(crate) loaded: Option<String>,
}

/// An administrator with its certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlannedAdministrator {
    pub(crate) name: String,
    pub(crate) ski: String,
    /// DER in base64; `None` if the administrator was not added from this folder.
    pub(crate) certificate: Option<String>,
}

impl Plans {
    pub(crate) fn load(folder: &Path) -> Result<Self, TkeError> {
        let path = folder.join("plan.json");
        let plans = store::load(&path)?;
        Ok(Self { path, plans })
    }

    pub(crate) fn of(&self, instance: Uuid) -> Plan {
        self.plans.get(&instance).cloned().unwrap_or_default()
    }

    /// Stores a plan, durably.
    pub(crate) fn record(&mut self, instance: Uuid, plan: &Plan) -> Result<(), TkeError> {
        self.plans.insert(instance, plan.clone());
        store::save(&self.path, &self.plans)
    }
}

impl PlannedAdministrator {
    pub(crate) fn of(administrator: &Administrator) -> Self {
        Self {
            name: administrator.name.clone(),
            ski: administrator.ski.to_string(),
            certificate: Some(BASE64_STANDARD.encode(&administrator.certificate)),
        }
    }

    fn administrator(&self) -> Option<Administrator> {
        let ski = Ski(*decode_hex(&self.ski)?);
        let certificate = self.certificate.as_ref().and_then(|text| BASE64_STANDARD.decode(text).ok());
        Some(Administrator { name: self.name.clone(), ski, certificate: certificate.unwrap_or_default() })
    }
}

impl Plan {
    /// Whether administrators and thresholds are decided.
    pub(crate) const fn is_decided(&self) -> bool {
        self.signature_threshold > 0 && self.revocation_threshold > 0
    }

    /// Adds an administrator, or replaces its entry.
    pub(crate) fn add(&mut self, administrator: &Administrator) {
        let planned = PlannedAdministrator::of(administrator);
        self.administrators.retain(|other| other.ski != planned.ski);
        self.administrators.push(planned);
    }

    pub(crate) fn remove(&mut self, ski: &Ski) {
        let ski = ski.to_string();
        self.administrators.retain(|other| other.ski != ski);
    }

    /// Removes administrators that are installed on none of these units, and adds those that are installed and missing here.
    /// Known certificates are kept.
    pub(crate) fn align(&mut self, units: &[&Snapshot]) {
        let installed = |ski: &str| {
            let mut entries = units.iter().flat_map(|unit| &unit.administrators);
            entries.any(|entry| Ski(entry.ski).to_string() == ski)
        };
        self.administrators.retain(|planned| installed(&planned.ski));
        for entry in units.iter().flat_map(|unit| &unit.administrators) {
            let ski = Ski(entry.ski).to_string();
            if !self.administrators.iter().any(|planned| planned.ski == ski) {
                let name = entry.name().unwrap_or_default().to_owned();
                self.administrators.push(PlannedAdministrator { name, ski, certificate: None });
            }
        }
    }

    /// Copies the plan from a unit.
    pub(crate) fn be_like(&mut self, unit: &Snapshot) {
        let known = std::mem::take(&mut self.administrators);
        self.align(&[unit]);
        for planned in &mut self.administrators {
            let certificate = known.iter().find(|other| other.ski == planned.ski);
            planned.certificate = certificate.and_then(|other| other.certificate.clone());
        }
        let attributes = unit.attributes;
        self.signature_threshold = attributes.signature_threshold;
        self.revocation_threshold = attributes.revocation_threshold;
        self.quorum_destructive = attributes.permissions.contains(Permissions::QUORUM_DESTRUCTIVE);
        self.control_points = Some(points_text(unit.control_points));
        self.master_key = unit.current.map(|pattern| pattern.to_string());
    }

    /// Identifiers of those who are to policy.
    pub(crate) fn skis(&self) -> Vec<Ski> {
        self.administrators.iter().filter_map(PlannedAdministrator::administrator).map(|a| a.ski).collect()
    }

    pub(crate) fn master_key(&self) -> Option<VerificationPattern> {
        self.master_key.as_deref().and_then(pattern)
    }

    pub(crate) fn loaded(&self) -> Option<VerificationPattern> {
        self.loaded.as_deref().and_then(pattern)
    }

    /// The goal for a unit of this kind.
    ///
    /// # Errors
    /// [`TkeError::NoCertificate`] if the unit lacks an administrator whose certificate is not known.
    pub(crate) fn goal(&self, kind: UnitKind, unit: &Snapshot) -> Result<UnitGoal, TkeError> {
        let mut administrators = Vec::new();
        for planned in &self.administrators {
            let missing = || TkeError::NoCertificate { name: planned.name.clone(), ski: planned.ski.clone() };
            let administrator = planned.administrator().ok_or_else(missing)?;
            if administrator.certificate.is_empty() && !unit.has_administrator(&administrator.ski) {
                return Err(missing());
            }
            administrators.push(administrator);
        }
        let control_points = self.control_points.as_deref().and_then(points);
        Ok(UnitGoal {
            policy: AdminPolicy {
                administrators,
                signature_threshold: self.signature_threshold,
                revocation_threshold: self.revocation_threshold,
                permissions: self.permissions(kind),
            },
            control_points,
            master_key: self.master_key().map_or(MasterKeyGoal::AsItIs, MasterKeyGoal::Current),
        })
    }

    fn permissions(&self, kind: UnitKind) -> Permissions {
        let mut permissions = permissions_of(kind);
        if self.quorum_destructive {
            permissions = permissions.with(Permissions::QUORUM_DESTRUCTIVE);
        }
        if self.export_foreign && kind == UnitKind::Recovery {
            permissions = permissions.with(Permissions::EXPORT_FOREIGN);
        }
        permissions
    }
}

/// Decodes a verification pattern from 64 hexadecimal digits.
pub(crate) fn pattern(text: &str) -> Option<VerificationPattern> {
    decode_hex(text).map(|bytes| VerificationPattern::from_bytes(*bytes))
}

/// Control points in hexadecimal.
pub(crate) fn points_text(points: ControlPoints) -> String {
    encode_hex(&points.to_bytes())
}

fn points(text: &str) -> Option<ControlPoints> {
    let bytes = decode_hex::<16>(text)?;
    ControlPoints::from_bytes(bytes.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::{Plan, Plans, points, points_text};
    use unit_api::admin::ControlPoints;
    use uuid::Uuid;

    #[test]
    fn plans_read_as_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut plans = Plans::load(folder.path()).unwrap();
        let plan = Plan { signature_threshold: 2, revocation_threshold: 3, ..Plan::default() };
        plans.record(Uuid::nil(), &plan).unwrap();
        let again = Plans::load(folder.path()).unwrap().of(Uuid::nil());
        assert_eq!((again.signature_threshold, again.revocation_threshold), (2, 3));
        assert!(again.is_decided() && !Plans::load(folder.path()).unwrap().of(Uuid::max()).is_decided());
    }

    #[test]
    fn control_points_read_as_they_are_written() {
        for set in [ControlPoints::NONE, ControlPoints::first(), ControlPoints::known()] {
            assert_eq!(points(&points_text(set)), Some(set));
        }
    }
}
