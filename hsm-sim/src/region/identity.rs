//! The identity of a region: instances, credentials and names in the configuration of its clients. It survives restarts.

use super::ceremony::CeremonyKind;
use super::engines::Engines;
use super::place::UnitCounts;
use serde::{Deserialize, Serialize};
use std::io;
use uuid::Uuid;
use wire::text::encode_secret_hex;

/// Instances, credentials and names of a region. Secret as a whole: its holder can use every key.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the region, in endpoints and resource names.
    pub region: String,
    /// Name of the region in resource names, if it is another one: the home of a standby.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_region: Option<String>,
    /// Account that the instances belong to.
    pub account: String,
    /// The service instance.
    pub instance_id: Uuid,
    /// A second, separate instance on the same crypto units.
    pub instance_id_2: Uuid,
    /// API key of an application of the first instance.
    pub api_key: String,
    /// Static bearer tokens of two managers of keys.
    pub tokens: [String; 2],
    /// Credentials that regions of earlier versions do not have.
    #[serde(flatten)]
    pub credentials: Credentials,
    /// Key that the token service signs with, in hexadecimal.
    pub token_key: String,
    /// Ceremony that sets the units up.
    #[serde(default)]
    pub ceremony: CeremonyKind,
    /// Engines that hold the units' keys.
    #[serde(default)]
    pub engines: Engines,
}

/// Credentials that are made when a region is opened without them.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Credentials {
    /// API key of an application of the second instance.
    pub api_key_2: String,
    /// API key of the operator, who administers crypto units and instances.
    pub operator_api_key: String,
    /// Static bearer token of the operator.
    pub operator_token: String,
}

/// Settings that a start requests; `None` keeps the setting of the region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// An identity with fresh credentials.
    ///
    /// # Errors
    /// The operating system returned no random bytes.
    pub(crate) fn generate(ceremony: CeremonyKind) -> io::Result<Self> {
        Ok(Self {
            region: "us-south".to_owned(),
            instance_region: None,
            account: random_hex(16)?,
            instance_id: random_uuid()?,
            instance_id_2: random_uuid()?,
            api_key: random_hex(22)?,
            tokens: [random_hex(32)?, random_hex(32)?],
            credentials: Credentials::default(),
            token_key: random_hex(32)?,
            ceremony,
            engines: Engines::default(),
        })
    }

    /// Makes the credentials that are missing. `true` if there were some.
    ///
    /// # Errors
    /// The operating system returned no random bytes.
    pub(crate) fn complete(&mut self) -> io::Result<bool> {
        self.credentials.complete()
    }

    /// The same instances and credentials in another region of their pair: `standby` of `home`.
    pub(crate) fn in_standby(&self, home: &str, standby: &str) -> Self {
        Self { region: standby.to_owned(), instance_region: Some(home.to_owned()), ..self.clone() }
    }

    /// Takes instances, credentials and names over from `shared`. What differs between the regions of a pair stays: the
    /// engines of units.
    pub(super) fn adopt(&mut self, shared: &Self) {
        *self = Self { engines: self.engines.clone(), ceremony: self.ceremony, ..shared.clone() };
    }
}

impl Credentials {
    /// Makes those that are missing. `true` if there were some.
    pub(super) fn complete(&mut self) -> io::Result<bool> {
        let mut made = false;
        let all =
            [(&mut self.api_key_2, 22), (&mut self.operator_api_key, 22), (&mut self.operator_token, 32)];
        for (credential, len) in all {
            if credential.is_empty() {
                *credential = random_hex(len)?;
                made = true;
            }
        }
        Ok(made)
    }
}

/// Random bytes in hexadecimal.
pub(crate) fn random_hex(len: usize) -> io::Result<String> {
    let mut bytes = vec![0; len];
    getrandom::fill(&mut bytes)?;
    Ok(encode_secret_hex(&bytes).to_string())
}

fn random_uuid() -> io::Result<Uuid> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

impl Wanted {
    /// The numbers of units that are requested; those of `kept` where nothing is.
    pub(super) fn counts(&self, kept: UnitCounts) -> UnitCounts {
        UnitCounts {
            operational: self.units.unwrap_or(kept.operational),
            recovery: self.recovery_units.unwrap_or(kept.recovery),
            failover: self.failover_units.unwrap_or(kept.failover),
        }
    }
}
