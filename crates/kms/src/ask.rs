//! The unit commands of this service, each with the one response that it accepts.

use engine::{AES_GCM_IV_LEN, KeySpec, KeyUses};
use unit_api::{BlobHeader, Command, Response, UnitError, Variants, Wkid};
use zeroize::Zeroizing;

use crate::call::TimeBudget;
use crate::variants::BlobVariants;
use crate::{UnitReply, Units, UnitsError};

/// A key that encrypts and decrypts and never leaves the units.
pub(crate) fn cipher_key(key_len: u16) -> KeySpec {
    KeySpec::aes(key_len, KeyUses::ENCRYPT.with(KeyUses::DECRYPT))
}

/// A plaintext encrypted by a unit.
pub(crate) struct Encrypted {
    pub(crate) iv: [u8; AES_GCM_IV_LEN],
    /// Ciphertext ‖ tag.
    pub(crate) ciphertext: Vec<u8>,
}

async fn ask<U: Units>(
    units: &U,
    variants: &Variants<'_>,
    budget: TimeBudget,
) -> Result<UnitReply, UnitsError> {
    let left = budget.remaining().ok_or(UnitsError::DeadlineExceeded)?;
    units.execute(variants, left).await
}

const fn unexpected(command: Command<'_>, response: &Response<'_>) -> UnitsError {
    UnitsError::Unexpected { command: command.name(), found: response.name() }
}

/// The blob that the command returns, and the WKID in it.
pub(crate) async fn blob<U: Units>(
    units: &U,
    variants: &Variants<'_>,
    budget: TimeBudget,
) -> Result<(Vec<u8>, Wkid), UnitsError> {
    match ask(units, variants, budget).await?.response()? {
        Response::Blob(blob) => {
            let found = "a blob of another format";
            let wkid = BlobHeader::claimed_wkid(blob)
                .copied()
                .ok_or(UnitsError::Unexpected { command: variants.first.command.name(), found })?;
            Ok((blob.to_vec(), wkid))
        }
        other => Err(unexpected(variants.first.command, &other)),
    }
}

/// The blob that the command returns, which must be under this master key.
pub(crate) async fn blob_under<U: Units>(
    units: &U,
    variants: &Variants<'_>,
    wanted: Wkid,
    budget: TimeBudget,
) -> Result<Vec<u8>, UnitsError> {
    let (blob, wkid) = blob(units, variants, budget).await?;
    // A blob under another master key is treated like the refusal of a blob under the wanted one.
    if wkid == wanted { Ok(blob) } else { Err(UnitsError::Refused(UnitError::WkidMismatch.into())) }
}

pub(crate) async fn random<U: Units>(
    units: &U,
    len: u16,
    budget: TimeBudget,
) -> Result<Zeroizing<Vec<u8>>, UnitsError> {
    let command = Command::GenerateRandom { len };
    match ask(units, &Variants::of(command), budget).await?.response()? {
        Response::Random(bytes) if bytes.len() == usize::from(len) => Ok(Zeroizing::new(bytes.to_vec())),
        other => Err(unexpected(command, &other)),
    }
}

pub(crate) async fn encrypt<U: Units>(
    units: &U,
    key: BlobVariants<'_>,
    aad: &[u8],
    plaintext: &[u8],
    budget: TimeBudget,
) -> Result<Encrypted, UnitsError> {
    encrypted(units, &key.each(|key| Command::Encrypt { key, aad, plaintext }), budget).await
}

/// The ciphertext that the command returns.
pub(crate) async fn encrypted<U: Units>(
    units: &U,
    variants: &Variants<'_>,
    budget: TimeBudget,
) -> Result<Encrypted, UnitsError> {
    match ask(units, variants, budget).await?.response()? {
        Response::Ciphertext { iv, ciphertext } => Ok(Encrypted { iv, ciphertext: ciphertext.to_vec() }),
        other => Err(unexpected(variants.first.command, &other)),
    }
}

/// The plaintext; `None` when the ciphertext was not made with this key and this associated data.
pub(crate) async fn decrypt<U: Units>(
    units: &U,
    key: BlobVariants<'_>,
    iv: [u8; AES_GCM_IV_LEN],
    aad: &[u8],
    ciphertext: &[u8],
    budget: TimeBudget,
) -> Result<Option<Zeroizing<Vec<u8>>>, UnitsError> {
    plaintext(units, &key.each(|key| Command::Decrypt { key, iv, aad, ciphertext }), budget).await
}

/// The plaintext that the command returns; `None` if the unit reports that key, ciphertext and associated data do not fit.
pub(crate) async fn plaintext<U: Units>(
    units: &U,
    variants: &Variants<'_>,
    budget: TimeBudget,
) -> Result<Option<Zeroizing<Vec<u8>>>, UnitsError> {
    // The port may return a refusal as its own error or inside the reply.
    let reply = ask(units, variants, budget).await;
    match reply.as_ref().map_err(Clone::clone).and_then(UnitReply::response) {
        Ok(Response::Plaintext(plain)) => Ok(Some(Zeroizing::new(plain.to_vec()))),
        Ok(other) => Err(unexpected(variants.first.command, &other)),
        Err(UnitsError::Refused(refusal)) if refusal == UnitError::EncryptedDataInvalid.into() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Re-enciphers a blob to the New master key of the units, which must be this one.
pub(crate) async fn reencipher<U: Units>(
    units: &U,
    blob: &[u8],
    new: Wkid,
    budget: TimeBudget,
) -> Result<Vec<u8>, UnitsError> {
    blob_under(units, &Variants::of(Command::Reencipher { blob }), new, budget).await
}
