//! A command that several people sign at different times, carried between them as a file.
//!
//! What is signed is the block, byte for byte. The words beside it are worked out from those bytes each time they are
//! shown; nothing that a file says about itself is believed. The unit's transaction counter is in the block: once
//! anything else has been done to the unit, the proposal is void.

use crate::holder::{SignatureKey, SigningError};
use crate::quorum::needed;
use crate::unit::{AdminUnit, Answer, BlockSignature, Snapshot, UnitFault, UnitPort, encode_block};
use crate::{Listed, Location, Order};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tke_crypto::{PublicKey, Ski};
use unit_api::Target;
use unit_api::admin::{AdminBlock, SignatureAlgorithm};
use wire::text::{decode_hex_vec, encode_hex};

/// The form of the file.
const FORMAT: u32 = 1;
/// How long signatures may be collected where nobody says.
pub const DEFAULT_LIFETIME: SignedDuration = SignedDuration::from_hours(24);

/// A proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    format: u32,
    /// Number of the unit in the proposer's listing.
    unit: u16,
    location: String,
    created: Timestamp,
    expires: Timestamp,
    /// Signatures that the unit asked for when the proposal was made.
    needed: usize,
    /// The block, in hexadecimal.
    block: String,
    signatures: Vec<Signed>,
}

/// One signature of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The administrator's name, for people.
    pub name: String,
    /// Of the public key, in hexadecimal.
    pub ski: String,
    /// When, by the signer's clock.
    pub at: Timestamp,
    /// P-521 point of the signer, in hexadecimal.
    point: String,
    /// ECDSA signature, DER, in hexadecimal.
    signature: String,
}

/// Why a proposal is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProposalError {
    /// The file is none, or of another format.
    #[error("the file is no proposal that this program understands")]
    Malformed(#[source] Option<serde_json::Error>),
    /// Its time is over.
    #[error("the proposal expired at {0}: make a new one")]
    Expired(Timestamp),
    /// The same administrator signed before.
    #[error("`{0}` has signed the proposal already")]
    SignedAlready(String),
    /// The key did not sign.
    #[error("the signature key did not sign")]
    Signing(#[from] SigningError),
    /// A signature in the file does not belong to its block.
    #[error("the signature of `{0}` does not belong to this proposal")]
    SignatureWrong(String),
    /// Too few have signed.
    #[error("{have} of {needed} signatures are there: have others sign")]
    TooFew {
        /// How many there are.
        have: usize,
        /// How many it takes.
        needed: usize,
    },
    /// The proposal is for another unit.
    #[error("the proposal is for crypto unit {proposed}, not for {given}")]
    OtherUnit {
        /// Where it is for.
        proposed: String,
        /// Where it was brought.
        given: String,
    },
    /// The unit has moved on.
    #[error(
        "the proposal is void: since it was made, the crypto unit has been given another command (counter {now}, \
         proposal for {proposed}). Make a new one"
    )]
    Void {
        /// The counter that the proposal was made for.
        proposed: u128,
        /// The unit's counter plus one.
        now: u128,
    },
    /// The unit did not take it.
    #[error(transparent)]
    Unit(#[from] UnitFault),
}

impl Proposal {
    /// Proposes an order for a unit as it is now.
    #[must_use]
    pub fn new(
        listed: &Listed,
        unit: &Snapshot,
        order: &Order,
        now: Timestamp,
        lifetime: SignedDuration,
    ) -> Self {
        let block = block_for(unit, order);
        Self {
            format: FORMAT,
            unit: listed.number,
            location: listed.location.to_string(),
            created: now,
            expires: now.checked_add(lifetime).unwrap_or(Timestamp::MAX),
            needed: needed(unit, order.command(), order.sets()),
            block: encode_hex(&block),
            signatures: Vec::new(),
        }
    }

    /// The proposal in a file.
    ///
    /// # Errors
    /// [`ProposalError::Malformed`], also for a block that no unit would understand;
    /// [`ProposalError::SignatureWrong`].
    pub fn from_json(text: &str) -> Result<Self, ProposalError> {
        let proposal: Self = serde_json::from_str(text).map_err(|e| ProposalError::Malformed(Some(e)))?;
        let understood = proposal.format == FORMAT && proposal.location.parse::<Location>().is_ok();
        if !understood || proposal.order().is_none() {
            return Err(ProposalError::Malformed(None));
        }
        proposal.checked_signatures()?;
        Ok(proposal)
    }

    /// The file.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Number of the unit in the proposer's listing.
    #[must_use]
    pub const fn unit(&self) -> u16 {
        self.unit
    }

    /// What is proposed, read from the bytes that are signed.
    #[must_use]
    pub fn order(&self) -> Option<Order> {
        let bytes = self.block_bytes();
        Order::from_block(&AdminBlock::decode(&bytes).ok()?)
    }

    /// For whom, read from the bytes that are signed.
    #[must_use]
    pub fn target(&self) -> Option<(Target, u128)> {
        let bytes = self.block_bytes();
        let block = AdminBlock::decode(&bytes).ok()?;
        Some((block.target, block.transaction_counter))
    }

    /// SHA-256 of the bytes that are signed, to be read out on the telephone.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        encode_hex(&Sha256::digest(self.block_bytes()))
    }

    /// Who has signed.
    #[must_use]
    pub fn signed(&self) -> &[Signed] {
        &self.signatures
    }

    /// What a signer has to know, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        let order = self.order().map_or_else(|| "nothing that is understood".to_owned(), |o| o.to_string());
        let (unit, life, counter) = self.target().map_or_else(
            || (String::new(), 0, 0),
            |(target, counter)| (target.unit.to_string(), target.domain_instance, counter),
        );
        let mut text = format!(
            "proposal:   {order}\ncrypto unit: {} {} (module {unit}, life {life})\ncounter:    {counter}\n\
             expires:    {}\nfingerprint: {}\nsignatures: {} of {}\n",
            self.unit,
            self.location,
            self.expires,
            self.fingerprint(),
            self.signatures.len(),
            self.needed
        );
        for signed in &self.signatures {
            text += &format!("            {} ({}) at {}\n", signed.name, signed.ski, signed.at);
        }
        text
    }

    /// Adds a signature.
    ///
    /// # Errors
    /// [`ProposalError`]; the proposal is as it was then.
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

    /// Submits the proposal with all its signatures.
    ///
    /// # Errors
    /// [`ProposalError`]; nothing was sent unless it is [`ProposalError::Unit`].
    pub async fn submit<P: UnitPort>(
        &self,
        unit: &AdminUnit<P>,
        now: Timestamp,
    ) -> Result<Answer, ProposalError> {
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
        let order = self.order().ok_or(ProposalError::Malformed(None))?;
        let needed = needed(&snapshot, order.command(), order.sets());
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

    /// The signatures, each verified by the key whose identifier it bears.
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
            .map(|signed| check(signed).ok_or_else(|| ProposalError::SignatureWrong(signed.name.clone())))
            .collect()
    }
}

/// The block of an order to a unit as it is now.
pub(crate) fn block_for(unit: &Snapshot, order: &Order) -> Vec<u8> {
    encode_block(&AdminBlock {
        command: order.command().id(),
        target: unit.target,
        transaction_counter: unit.transaction_counter.saturating_add(1),
        input: &order.input(),
    })
}
