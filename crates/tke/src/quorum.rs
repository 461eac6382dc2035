//! Those who can sign, and who of them has to.

use crate::holder::{SignatureKey, SomeFailed, sign_with_all};
use crate::unit::{BlockSignature, Snapshot};
use unit_api::admin::{AdminCommand, Attributes, SignatureAlgorithm, SignaturesNeeded};

/// Signature keys at hand, in the order in which they are asked.
#[derive(Default)]
pub struct Quorum {
    keys: Vec<Box<dyn SignatureKey>>,
}

/// Why a command cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum QuorumError {
    /// Fewer of the keys at hand are installed than have to sign.
    #[error(
        "`{command}` on crypto unit {unit} needs {needed} signatures, and only {able} of the selected signature keys \
         are its administrators': select more with `sigkey-sel`, or have others sign a proposal"
    )]
    TooFew {
        /// Number of the unit.
        unit: u16,
        /// What is to be signed.
        command: &'static str,
        /// How many have to.
        needed: usize,
        /// How many can.
        able: usize,
    },
    /// Somebody did not sign; nothing was sent.
    #[error("not everybody signed, and nothing was sent")]
    Failed(#[from] SomeFailed),
}

impl Quorum {
    /// These keys.
    #[must_use]
    pub const fn new(keys: Vec<Box<dyn SignatureKey>>) -> Self {
        Self { keys }
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &dyn SignatureKey> {
        self.keys.iter().map(AsRef::as_ref)
    }

    /// Has as many sign a block as have to, those first who were named first.
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

/// How many administrators have to sign a command to a unit as it is now; `sets` is what the command sets, if it does.
#[must_use]
pub fn needed(unit: &Snapshot, command: AdminCommand, sets: Option<Attributes>) -> usize {
    let attributes = unit.attributes;
    let count = match command.signatures_needed(attributes.imprint(), attributes.permissions) {
        SignaturesNeeded::None => 0,
        SignaturesNeeded::One | SignaturesNeeded::OneOnEachPart => 1,
        SignaturesNeeded::SignatureThreshold => attributes.signature_threshold,
        SignaturesNeeded::RevocationThreshold => attributes.revocation_threshold,
        SignaturesNeeded::NewSignatureThreshold => sets.map_or(0, |to| to.signature_threshold),
    };
    usize::try_from(count).unwrap_or(usize::MAX)
}
