//! Transfers between cards of a zone.

use super::content::Content;
use super::{CardCertificate, CardError, Serial, ZoneId};
use crate::secret_file::random;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use std::fmt;
use zeroize::Zeroizing;

const WORDS: &[u8] = b"hsm-sim card transfer 1\0";
const NONCE_LEN: usize = 12;

/// What the receiving card may do with the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Purpose {
    /// Store the key part.
    KeepPart = 1,
    /// Calculate the pattern of a master key with the key part, without storing it.
    CombinePart = 2,
    /// Store the signature key.
    KeepSignatureKey = 3,
}

/// A signature key or a key part, encrypted for the receiving card and signed by the sending one.
///
/// The secret is encrypted under AES-256-GCM with a random key, which is sealed for the receiving card like a key part for
/// a unit.
#[derive(Clone)]
pub struct Transfer {
    from: CardCertificate,
    to: Serial,
    purpose: Purpose,
    sealed_key: Vec<u8>,
    nonce: [u8; NONCE_LEN],
    ciphertext: Vec<u8>,
    tag: [u8; 16],
    signature: Vec<u8>,
}

impl Transfer {
    /// Encrypts a secret for a card of the same zone.
    pub(super) fn send(
        from: &Content,
        to: &CardCertificate,
        purpose: Purpose,
        secret: &[u8],
    ) -> Result<Self, CardError> {
        check_zone(from, to)?;
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(random()?);
        let mut buffer = [0; tke_crypto::SEALED_PART_MAX_LEN];
        let sealed_key = tke_crypto::seal_key_part(&to.transport, &key, &mut getrandom::SysRng, &mut buffer)
            .map_err(|_| CardError::System)?;
        let mut transfer = Self {
            from: from.certificate.clone(),
            to: to.serial,
            purpose,
            sealed_key: sealed_key.to_vec(),
            nonce: random()?,
            ciphertext: Vec::new(),
            tag: [0; 16],
            signature: Vec::new(),
        };
        let mut sealed = Zeroizing::new(secret.to_vec());
        let tag = Aes256Gcm::new((&*key).into())
            .encrypt_inout_detached(&Nonce::from(transfer.nonce), &[], sealed.as_mut_slice().into())
            .map_err(|_| CardError::System)?;
        transfer.tag = tag.into();
        transfer.ciphertext.extend_from_slice(&sealed);
        transfer.signature = from.identity.sign(&transfer.statement()).to_vec();
        Ok(transfer)
    }

    /// Decrypts the secret, if the sender is of the same zone and the transfer is for this card and this purpose.
    pub(super) fn receive(&self, to: &Content, purpose: Purpose) -> Result<Zeroizing<Vec<u8>>, CardError> {
        check_zone(to, &self.from)?;
        let signed = self.from.identity.verify(&self.statement(), &self.signature).is_ok();
        if !signed || self.to != to.certificate.serial || self.purpose != purpose {
            return Err(CardError::TransferInvalid);
        }
        let key = tke_crypto::open_key_part(&to.transport, &self.sealed_key)
            .map_err(|_| CardError::TransferInvalid)?;
        let mut secret = Zeroizing::new(self.ciphertext.clone());
        Aes256Gcm::new((&*key).into())
            .decrypt_inout_detached(
                &Nonce::from(self.nonce),
                &[],
                secret.as_mut_slice().into(),
                &Tag::from(self.tag),
            )
            .map_err(|_| CardError::TransferInvalid)?;
        Ok(secret)
    }

    /// Serial number of the sending card.
    #[must_use]
    pub const fn from(&self) -> Serial {
        self.from.serial
    }

    /// Serial number of the receiving card.
    #[must_use]
    pub const fn to(&self) -> Serial {
        self.to
    }

    /// The signed statement: all fields. Of the fields before the last, only the sealed key has a variable length.
    fn statement(&self) -> Vec<u8> {
        let sealed_len = u32::try_from(self.sealed_key.len()).unwrap_or(u32::MAX);
        let pieces: [&[u8]; 9] = [
            WORDS,
            &self.from.serial.0,
            &self.to.0,
            &[self.purpose as u8],
            &sealed_len.to_be_bytes(),
            &self.sealed_key,
            &self.nonce,
            &self.tag,
            &self.ciphertext,
        ];
        pieces.concat()
    }
}

/// Purpose, sender and receiver.
impl fmt::Debug for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transfer({:?} from {} to {})", self.purpose, self.from.serial, self.to)
    }
}

fn check_zone(card: &Content, other: &CardCertificate) -> Result<(), CardError> {
    if other.is_of(&card.zone_key) {
        Ok(())
    } else {
        Err(CardError::OtherZone { zone: ZoneId::of(&card.zone_key) })
    }
}
