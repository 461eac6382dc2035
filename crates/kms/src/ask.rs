//! The commands this service gives to units, each with the one answer it takes.

use engine::{AES_GCM_IV_LEN, KeySpec, KeyUses};
use unit_api::{BlobHeader, Command, Response, UnitError, Wkid};
use zeroize::Zeroizing;

use crate::call::Budget;
use crate::forms::BlobForms;
use crate::{Forms, UnitReply, Units, UnitsError};

/// A key that encrypts and decrypts and never leaves the units.
pub(crate) fn cipher_key(key_len: u16) -> KeySpec {
    KeySpec::aes(key_len, KeyUses::ENCRYPT.with(KeyUses::DECRYPT))
}

/// What a unit made of a plaintext.
pub(crate) struct Encrypted {
    pub(crate) iv: [u8; AES_GCM_IV_LEN],
    /// With the tag at its end.
    pub(crate) ciphertext: Vec<u8>,
}

async fn ask<U: Units>(units: &U, forms: &Forms<'_>, budget: Budget) -> Result<UnitReply, UnitsError> {
    let left = budget.remaining().ok_or(UnitsError::DeadlineExceeded)?;
    units.execute_forms(forms, left).await
}

const fn unexpected(command: Command<'_>, response: &Response<'_>) -> UnitsError {
    UnitsError::Unexpected { command: command.name(), found: response.name() }
}

/// The blob that the command makes, and the master key that it is under.
pub(crate) async fn blob<U: Units>(
    units: &U,
    forms: &Forms<'_>,
    budget: Budget,
) -> Result<(Vec<u8>, Wkid), UnitsError> {
    match ask(units, forms, budget).await?.response()? {
        Response::Blob(blob) => {
            let found = "a blob of another form";
            let wkid = BlobHeader::claimed_wkid(blob)
                .copied()
                .ok_or(UnitsError::Unexpected { command: forms.first.command.name(), found })?;
            Ok((blob.to_vec(), wkid))
        }
        other => Err(unexpected(forms.first.command, &other)),
    }
}

/// The blob that the command makes under this master key.
pub(crate) async fn blob_under<U: Units>(
    units: &U,
    forms: &Forms<'_>,
    wanted: Wkid,
    budget: Budget,
) -> Result<Vec<u8>, UnitsError> {
    let (blob, wkid) = blob(units, forms, budget).await?;
    // A unit with another master key than the one that is wanted: as if it had been asked to open something of ours.
    if wkid == wanted { Ok(blob) } else { Err(UnitsError::Refused(UnitError::WkidMismatch.into())) }
}

pub(crate) async fn random<U: Units>(
    units: &U,
    len: u16,
    budget: Budget,
) -> Result<Zeroizing<Vec<u8>>, UnitsError> {
    let command = Command::GenerateRandom { len };
    match ask(units, &Forms::of(command), budget).await?.response()? {
        Response::Random(bytes) if bytes.len() == usize::from(len) => Ok(Zeroizing::new(bytes.to_vec())),
        other => Err(unexpected(command, &other)),
    }
}

pub(crate) async fn encrypt<U: Units>(
    units: &U,
    key: BlobForms<'_>,
    aad: &[u8],
    plaintext: &[u8],
    budget: Budget,
) -> Result<Encrypted, UnitsError> {
    encrypted(units, &key.each(|key| Command::Encrypt { key, aad, plaintext }), budget).await
}

/// The ciphertext that the command makes.
pub(crate) async fn encrypted<U: Units>(
    units: &U,
    forms: &Forms<'_>,
    budget: Budget,
) -> Result<Encrypted, UnitsError> {
    match ask(units, forms, budget).await?.response()? {
        Response::Ciphertext { iv, ciphertext } => Ok(Encrypted { iv, ciphertext: ciphertext.to_vec() }),
        other => Err(unexpected(forms.first.command, &other)),
    }
}

/// The plaintext; none when this key did not make this ciphertext with this associated data.
pub(crate) async fn decrypt<U: Units>(
    units: &U,
    key: BlobForms<'_>,
    iv: [u8; AES_GCM_IV_LEN],
    aad: &[u8],
    ciphertext: &[u8],
    budget: Budget,
) -> Result<Option<Zeroizing<Vec<u8>>>, UnitsError> {
    plaintext(units, &key.each(|key| Command::Decrypt { key, iv, aad, ciphertext }), budget).await
}

/// The plaintext that the command gives; `None` if the unit reports that key, ciphertext and associated data do not fit.
pub(crate) async fn plaintext<U: Units>(
    units: &U,
    forms: &Forms<'_>,
    budget: Budget,
) -> Result<Option<Zeroizing<Vec<u8>>>, UnitsError> {
    // The port may return a refusal as its own error or inside the reply.
    let reply = ask(units, forms, budget).await;
    match reply.as_ref().map_err(Clone::clone).and_then(UnitReply::response) {
        Ok(Response::Plaintext(plain)) => Ok(Some(Zeroizing::new(plain.to_vec()))),
        Ok(other) => Err(unexpected(forms.first.command, &other)),
        Err(UnitsError::Refused(refusal)) if refusal == UnitError::EncryptedDataInvalid.into() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same key under the units' New master key, which must be this one.
pub(crate) async fn reencipher<U: Units>(
    units: &U,
    blob: &[u8],
    new: Wkid,
    budget: Budget,
) -> Result<Vec<u8>, UnitsError> {
    blob_under(units, &Forms::of(Command::Reencipher { blob }), new, budget).await
}
