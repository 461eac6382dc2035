//! The development ceremony: random key parts, kept in the data directory, loaded into every unit.

use super::data::{DataDir, DataError};
use crate::{files, hex};
use engine::{KEY_PART_LEN, KeyPart};
use host::{LinkError, UnitClient};
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;
use unit_api::{
    Command, Condition, Envelope, NewRegister, Refusal, Response, Target, UnitStatus, VerificationPattern,
};
use zeroize::Zeroizing;

/// Parts of a development master key.
const PARTS: usize = 2;
/// How long a unit may take over one command of the ceremony.
const PATIENCE: Duration = Duration::from_secs(5);
/// What stands beside the parts.
const NOTE: &str = "\
These files are the parts of this region's master key, in the clear, made by a development ceremony.
Whoever has both has every key of the region. They are here so that a zeroized unit can be healed by command.
Never use keys of such a region for anything that matters.
";

/// Why a unit could not be brought into service.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// The key parts cannot be read or made.
    #[error(transparent)]
    Data(#[from] DataError),
    /// There is no such unit.
    #[error(transparent)]
    Unit(#[from] super::SupervisorError),
    /// The unit cannot be reached.
    #[error("the unit did not answer")]
    Link(#[from] LinkError),
    /// The unit refused a step.
    #[error("the unit refused {step}")]
    Refused {
        /// Which.
        step: &'static str,
        /// Why.
        source: Refusal,
    },
    /// The unit answered something that is no answer to the step.
    #[error("the unit gave no answer to {0}")]
    Answer(&'static str),
    /// The unit rules over other keys than ours.
    #[error(
        "the unit holds another master key (pattern {found}), not this region's ({expected}); \
         it is left alone: zeroize it if it may lose that key"
    )]
    OtherMasterKey {
        /// What it holds.
        found: VerificationPattern,
        /// What this region's units hold.
        expected: VerificationPattern,
    },
    /// The unit does not work.
    #[error("the unit is in its error state (0x{0:04x}): only zeroizing it helps")]
    Broken(u16),
}

/// The key parts of a development ceremony.
pub(super) struct KeyParts(Vec<KeyPart>);

impl KeyParts {
    /// The parts kept in `data`, made there if this is the first start.
    ///
    /// They are durable before any unit sees them: a key that units hold and nobody has parts of would be a trap.
    pub(super) fn open(data: &DataDir) -> Result<Self, DataError> {
        let folder = data.ceremony_dir();
        let unusable = |source| DataError::Unusable { path: folder.clone(), source };
        if !folder.try_exists().map_err(unusable)? {
            make(&folder).map_err(unusable)?;
        }
        let part = |number| {
            let path = part_file(&folder, number);
            let text = Zeroizing::new(fs::read_to_string(&path).map_err(unusable)?);
            hex::decode(text.trim()).map(|part| KeyPart::new(*part)).ok_or(DataError::Damaged(path))
        };
        (1..=PARTS).map(part).collect::<Result<_, _>>().map(Self)
    }

    /// The pattern of the master key that the parts make, worked out without any unit.
    pub(super) fn pattern(&self) -> VerificationPattern {
        let mut key = Zeroizing::new([0; KEY_PART_LEN]);
        for part in &self.0 {
            key.iter_mut().zip(part.expose()).for_each(|(k, p)| *k ^= p);
        }
        let digest = Sha256::new().chain_update([1]).chain_update(key.as_slice()).finalize();
        VerificationPattern::from_digest(digest.into())
    }

    fn concatenated(&self) -> Zeroizing<Vec<u8>> {
        let mut all = Zeroizing::new(Vec::with_capacity(self.0.len() * KEY_PART_LEN));
        self.0.iter().for_each(|part| all.extend_from_slice(part.expose()));
        all
    }
}

/// Brings the unit on `socket` to hold the parts' master key in Current, from whatever state it is in.
///
/// A unit that holds another master key is left alone.
pub(super) async fn converge(socket: &Path, parts: &KeyParts) -> Result<(), CeremonyError> {
    let unit = UnitClient::connect(socket).await?;
    let pattern = parts.pattern();
    // Each step moves on by one register state; the longest way is clear, load, commit, activate.
    loop {
        let status = status(&unit).await?;
        if let Condition::Error(code) = status.condition {
            return Err(CeremonyError::Broken(code));
        }
        match (status.current, status.new) {
            (Some(current), _) if current.is_of_same_key(&pattern) => return Ok(()),
            (Some(found), _) => return Err(CeremonyError::OtherMasterKey { found, expected: pattern }),
            (None, NewRegister::Empty) => {
                let parts = parts.concatenated();
                administer(&unit, &status, "the key parts", Command::LoadKeyParts { parts: &parts }).await?;
            }
            (None, NewRegister::FullUncommitted(new)) if new.is_of_same_key(&pattern) => {
                administer(&unit, &status, "the commit", Command::Commit { pattern }).await?;
            }
            (None, NewRegister::FullCommitted(new)) if new.is_of_same_key(&pattern) => {
                administer(&unit, &status, "the activation", Command::Activate { pattern }).await?;
            }
            (None, NewRegister::FullUncommitted(_) | NewRegister::FullCommitted(_)) => {
                administer(&unit, &status, "clearing its new register", Command::ClearNew).await?;
            }
        }
    }
}

/// Empties the unit on `socket` of its master keys.
pub(super) async fn zeroize(socket: &Path) -> Result<(), CeremonyError> {
    let unit = UnitClient::connect(socket).await?;
    let status = status(&unit).await?;
    administer(&unit, &status, "zeroize", Command::Zeroize).await
}

async fn status(unit: &UnitClient) -> Result<UnitStatus, CeremonyError> {
    let step = "the status query";
    let reply = unit.call(&Envelope::plain(Command::Status), PATIENCE).await?;
    match reply.response() {
        Ok(Response::Status(status)) => Ok(status),
        Ok(_) => Err(CeremonyError::Answer(step)),
        Err(source) => Err(CeremonyError::Refused { step, source }),
    }
}

/// Sends one administrative command, bound to this unit, this life of it and its next counter.
async fn administer(
    unit: &UnitClient,
    status: &UnitStatus,
    step: &'static str,
    command: Command<'_>,
) -> Result<(), CeremonyError> {
    let target = Target {
        unit: status.unit,
        domain_index: status.domain_index,
        domain_instance: status.domain_instance,
    };
    let transaction_counter = status.transaction_counter + 1;
    let envelope = Envelope { target: Some(target), transaction_counter, command, signatures: &[] };
    let reply = unit.call(&envelope, PATIENCE).await?;
    match reply.response() {
        Ok(_) => Ok(()),
        Err(source) => Err(CeremonyError::Refused { step, source }),
    }
}

/// Makes all parts or none: they appear together, by the renaming of their folder.
fn make(folder: &Path) -> io::Result<()> {
    let beside = folder.with_extension("new");
    if beside.exists() {
        fs::remove_dir_all(&beside)?;
    }
    files::create_private_dir(&beside)?;
    for number in 1..=PARTS {
        let mut part = Zeroizing::new([0; KEY_PART_LEN]);
        getrandom::fill(part.as_mut_slice())?;
        files::write_private(&part_file(&beside, number), hex::encode(part.as_slice()).as_bytes())?;
    }
    files::write_private(&beside.join("README"), NOTE.as_bytes())?;
    fs::rename(&beside, folder)?;
    files::sync_parent(folder)
}

fn part_file(folder: &Path, number: usize) -> std::path::PathBuf {
    folder.join(format!("key-part-{number}.hex"))
}

#[cfg(test)]
mod tests {
    use super::KeyParts;
    use engine::KeyPart;

    #[test]
    fn the_pattern_is_the_published_one() {
        let first: [u8; 32] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let parts = KeyParts(vec![KeyPart::new(first), KeyPart::new([0xa5; 32])]);
        assert!(
            parts
                .pattern()
                .to_string()
                .starts_with("0c7116b0cabdb39ac9ff6073862e2a4f470786265a3ce8723c237eb4")
        );
    }
}
