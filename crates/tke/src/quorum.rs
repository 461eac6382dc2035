//! Signature keys at hand, and how many of them have to sign a command.

use crate::holder::{SignatureKey, SigningFailures, sign_with_all};
use crate::unit::{BlockSignature, Snapshot};
use unit_api::admin::{AdminCommand, Attributes, SignatureAlgorithm};

/// Signature keys, in the order in which they are used.
#[derive(Default)]
pub struct Quorum {
    keys: Vec<Box<dyn SignatureKey>>,
}

/// Reason why a command was not signed.
#[derive(Debug, thiserror::Error)]
pub enum QuorumError {
    /// Too few of the keys belong to administrators of the unit.
    #[error(
        "`{command}` on crypto unit {unit} needs {needed} signatures, and only {able} of the selected signature keys \
         belong to its administrators: select more with `sigkey-sel`, or have others sign a proposal"
    )]
    TooFew {
        /// Number of the unit.
        unit: u16,
        /// Name of the command.
        command: &'static str,
        /// Number of signatures that the unit needs.
        needed: usize,
        /// Number of keys that are installed in the unit.
        able: usize,
    },
    /// A key did not sign; nothing was sent to the unit.
    #[error("a signature is missing, and nothing was sent")]
    Failed(#[from] SigningFailures),
}

impl Quorum {
    /// A quorum of these keys.
    #[must_use]
    pub const fn new(keys: Vec<Box<dyn SignatureKey>>) -> Self {
        Self { keys }
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &dyn SignatureKey> {
        self.keys.iter().map(AsRef::as_ref)
    }

    /// Signs a block with as many keys as the unit needs, in their order.
    ///
    /// # Errors
    /// [`QuorumError`].
    pub async fn sign(
        &self,
        unit: u16,
        snapshot: &Snapshot,
        command: AdminCommand,
        block: &[u8],
        sets: Option<Attributes>,
    ) -> Result<Vec<BlockSignature>, QuorumError> {
        let needed = needed(snapshot, command, sets);
        let installed = |key: &&dyn SignatureKey| snapshot.has_administrator(&key.ski());
        let signers: Vec<&dyn SignatureKey> = self.keys().filter(installed).take(needed).collect();
        if signers.len() < needed {
            return Err(QuorumError::TooFew { unit, command: command.name(), needed, able: signers.len() });
        }
        let made = sign_with_all(&signers, block).await?;
        Ok(made
            .into_iter()
            .map(|(ski, signature)| BlockSignature {
                ski,
                algorithm: SignatureAlgorithm::EcdsaP521Sha512,
                signature,
            })
            .collect())
    }
}

/// Number of signatures that a command needs in the present state of a unit. `sets` are the attributes that the command
/// sets, if it does.
#[must_use]
pub fn needed(unit: &Snapshot, command: AdminCommand, sets: Option<Attributes>) -> usize {
    let attributes = unit.attributes;
    let needed = command.signatures_needed(attributes.imprint(), attributes.permissions);
    usize::try_from(needed.count(&attributes, sets.as_ref())).unwrap_or(usize::MAX)
}
