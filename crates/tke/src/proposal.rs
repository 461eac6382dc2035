//! A command that several people sign at different times, passed between them as a file.
//!
//! Administrators sign the block, byte for byte. Its description is generated from these bytes each time it is shown, never
//! read from the file. The block contains the unit's transaction counter: once the unit has executed another command, the
//! proposal is void.

use crate::holder::{SignatureKey, SigningError};
use crate::quorum::needed;
use crate::unit::{
    AdminUnit, AdminUnitError, BlockSignature, Snapshot, UnitPort, VerifiedResponse, encode_block,
};
use crate::{AdminOperation, Location, UnitDescriptor};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tke_crypto::{PublicKey, Ski};
use unit_api::Target;
use unit_api::admin::{AdminBlock, SignatureAlgorithm};
use wire::text::{decode_hex_vec, encode_hex, escape_line};

/// Version of the file format.
const FORMAT: u32 = 1;
/// Default time in which signatures may be collected.
pub const DEFAULT_LIFETIME: SignedDuration = SignedDuration::from_hours(24);

/// A proposed command to one unit, with the signatures collected so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    format: u32,
    /// Number of the unit in the proposer's listing.
    unit: u16,
    location: String,
    created: Timestamp,
    expires: Timestamp,
    /// Number of signatures that the unit needed when the proposal was made.
    needed: usize,
    /// The block that is signed, in hexadecimal.
    block: String,
    signatures: Vec<Signed>,
}

/// One signature of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// Name of the administrator.
    pub name: String,
    /// Subject key identifier, in hexadecimal.
    pub ski: String,
    /// Time of the signature, by the signer's clock.
    pub at: Timestamp,
    /// Public key: a point on P-521, in hexadecimal.
    point: String,
    /// ECDSA signature, DER, in hexadecimal.
    signature: String,
}

/// Reason why a proposal is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProposalError {
    /// Not a proposal, or of another format version.
    #[error("the file is not a proposal that this program understands")]
    Malformed(#[source] Option<serde_json::Error>),
    /// The time for signatures has passed.
    #[error("the proposal expired at {0}: make a new one")]
    Expired(Timestamp),
    /// The administrator has signed already.
    #[error("`{0}` has signed the proposal already")]
    SignedAlready(String),
    /// The key did not sign.
    #[error("the signature key did not sign")]
    Signing(#[from] SigningError),
    /// A signature in the file is not valid for its block.
    #[error("the signature of `{0}` is not valid for this proposal")]
    SignatureWrong(String),
    /// There are fewer signatures than the unit needs.
    #[error("the proposal has {have} of {needed} signatures: have other administrators sign it")]
    TooFew {
        /// Number of signatures in the file.
        have: usize,
        /// Number of signatures that the unit needs.
        needed: usize,
    },
    /// The proposal is for another unit.
    #[error("the proposal is for crypto unit {proposed}, not for {given}")]
    OtherUnit {
        /// Location of the unit that the proposal is for.
        proposed: String,
        /// Location of the unit that it was submitted to.
        given: String,
    },
    /// The unit has executed another command since.
    #[error(
        "the proposal is void: since it was made, the crypto unit has executed another command (counter {now}, \
         proposal for {proposed}). Make a new one"
    )]
    Void {
        /// Transaction counter in the proposal.
        proposed: u128,
        /// Transaction counter that the unit accepts next.
        now: u128,
    },
    /// The unit refused the command, or did not answer.
    #[error(transparent)]
    Unit(#[from] AdminUnitError),
}

impl Proposal {
    /// Proposes an operation on a unit in its present state.
    #[must_use]
    pub fn new(
        listed: &UnitDescriptor,
        unit: &Snapshot,
        operation: &AdminOperation,
        now: Timestamp,
        lifetime: SignedDuration,
    ) -> Self {
        let block = block_for(unit, operation);
        Self {
            format: FORMAT,
            unit: listed.number,
            location: listed.location.to_string(),
            created: now,
            expires: now.checked_add(lifetime).unwrap_or(Timestamp::MAX),
            needed: needed(unit, operation.command(), operation.sets()),
            block: encode_hex(&block),
            signatures: Vec::new(),
        }
    }

    /// Decodes a file and verifies its signatures.
    ///
    /// # Errors
    /// [`ProposalError::Malformed`], also for a block that is not an [`AdminOperation`];
    /// [`ProposalError::SignatureWrong`].
    pub fn from_json(text: &str) -> Result<Self, ProposalError> {
        let proposal: Self = serde_json::from_str(text).map_err(|e| ProposalError::Malformed(Some(e)))?;
        let understood = proposal.format == FORMAT && proposal.location.parse::<Location>().is_ok();
        if !understood || proposal.operation().is_none() {
            return Err(ProposalError::Malformed(None));
        }
        proposal.checked_signatures()?;
        Ok(proposal)
    }

    /// Encodes the file.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Number of the unit in the proposer's listing.
    #[must_use]
    pub const fn unit(&self) -> u16 {
        self.unit
    }

    /// The proposed operation, decoded from the signed bytes.
    #[must_use]
    pub fn operation(&self) -> Option<AdminOperation> {
        let bytes = self.block_bytes();
        AdminOperation::from_block(&AdminBlock::decode(&bytes).ok()?)
    }

    /// The unit and the transaction counter, decoded from the signed bytes.
    #[must_use]
    pub fn target(&self) -> Option<(Target, u128)> {
        let bytes = self.block_bytes();
        let block = AdminBlock::decode(&bytes).ok()?;
        Some((block.target, block.transaction_counter))
    }

    /// SHA-256 of the signed bytes, for comparison over another channel.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        encode_hex(&Sha256::digest(self.block_bytes()))
    }

    /// The signatures collected so far.
    #[must_use]
    pub fn signed(&self) -> &[Signed] {
        &self.signatures
    }

    /// A description for signers, generated from the signed bytes. What is not signed is marked as the proposer's.
    #[must_use]
    pub fn describe(&self) -> String {
        let operation = self.operation().map_or_else(|| "(not understood)".to_owned(), |o| o.to_string());
        let (unit, life, counter) = self.target().map_or_else(
            || (String::new(), 0, 0),
            |(target, counter)| (target.unit.to_string(), target.domain_instance, counter),
        );
        let mut text = format!(
            "proposal:   {}\ncrypto unit: module {unit}, life {life} (the proposer's unit {} in {})\n\
             counter:    {counter}\nexpires:    {}\nfingerprint: {}\nsignatures: {} of {}\n",
            escape_line(&operation),
            self.unit,
            escape_line(&self.location),
            self.expires,
            self.fingerprint(),
            self.signatures.len(),
            self.needed
        );
        for signed in &self.signatures {
            let (name, ski) = (escape_line(&signed.name), escape_line(&signed.ski));
            text += &format!("            {name} ({ski}) at {}\n", signed.at);
        }
        text
    }

    /// Adds a signature.
    ///
    /// # Errors
    /// [`ProposalError`]; the proposal is unchanged then.
    pub async fn sign(&mut self, key: &dyn SignatureKey, now: Timestamp) -> Result<(), ProposalError> {
        self.check_time(now)?;
        let (ski, name) = (key.ski().to_string(), key.name().as_str().to_owned());
        if self.signatures.iter().any(|signed| signed.ski == ski) {
            return Err(ProposalError::SignedAlready(name));
        }
        let signature = encode_hex(&key.sign(&self.block_bytes()).await?);
        let point = encode_hex(&key.public_key().to_point());
        self.signatures.push(Signed { name, ski, at: now, point, signature });
        Ok(())
    }

    /// Submits the proposal with its signatures.
    ///
    /// # Errors
    /// [`ProposalError`]; nothing was sent unless it is [`ProposalError::Unit`].
    pub async fn submit<P: UnitPort>(
        &self,
        unit: &AdminUnit<P>,
        now: Timestamp,
    ) -> Result<VerifiedResponse, ProposalError> {
        self.check_time(now)?;
        let snapshot = unit.snapshot().await?;
        let (target, counter) = self.target().ok_or(ProposalError::Malformed(None))?;
        if target.unit != snapshot.target.unit || target.domain_index != snapshot.target.domain_index {
            let given = unit.listed().location.to_string();
            return Err(ProposalError::OtherUnit { proposed: self.location.clone(), given });
        }
        let next = snapshot.transaction_counter.saturating_add(1);
        if counter != next || target != snapshot.target {
            return Err(ProposalError::Void { proposed: counter, now: next });
        }
        let operation = self.operation().ok_or(ProposalError::Malformed(None))?;
        let needed = needed(&snapshot, operation.command(), operation.sets());
        if self.signatures.len() < needed {
            return Err(ProposalError::TooFew { have: self.signatures.len(), needed });
        }
        Ok(unit.submit(&self.block_bytes(), &self.checked_signatures()?).await?)
    }

    fn check_time(&self, now: Timestamp) -> Result<(), ProposalError> {
        if now > self.expires { Err(ProposalError::Expired(self.expires)) } else { Ok(()) }
    }

    fn block_bytes(&self) -> Vec<u8> {
        decode_hex_vec(&self.block).map(|block| block.to_vec()).unwrap_or_default()
    }

    /// The signatures, each verified under the key that its identifier names.
    fn checked_signatures(&self) -> Result<Vec<BlockSignature>, ProposalError> {
        let block = self.block_bytes();
        let check = |signed: &Signed| {
            let key = PublicKey::from_point(&decode_hex_vec(&signed.point)?).ok()?;
            let signature = decode_hex_vec(&signed.signature)?.to_vec();
            key.verify(&block, &signature).ok()?;
            let ski: Ski = key.ski();
            (ski.to_string() == signed.ski).then_some(BlockSignature {
                ski,
                algorithm: SignatureAlgorithm::EcdsaP521Sha512,
                signature,
            })
        };
        self.signatures
            .iter()
            .map(|signed| {
                check(signed)
                    .ok_or_else(|| ProposalError::SignatureWrong(escape_line(&signed.name).into_owned()))
            })
            .collect()
    }
}

/// The block of an operation on a unit in its present state.
pub(crate) fn block_for(unit: &Snapshot, operation: &AdminOperation) -> Vec<u8> {
    encode_block(&AdminBlock {
        command: operation.command().id(),
        target: unit.target,
        transaction_counter: unit.transaction_counter.saturating_add(1),
        input: &operation.input(),
    })
}
