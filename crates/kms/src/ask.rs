//! The commands this service gives to units, each with the one answer it takes.

use engine::{AES_GCM_IV_LEN, KeySpec, KeyUses};
use unit_api::{Command, Response, UnitError};
use zeroize::Zeroizing;

use crate::{UnitReply, Units, UnitsError, call::Budget};

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

async fn ask<U: Units>(units: &U, command: Command<'_>, budget: Budget) -> Result<UnitReply, UnitsError> {
    let left = budget.remaining().ok_or(UnitsError::DeadlineExceeded)?;
    units.execute(&command, left).await
}

fn unexpected(command: Command<'_>, response: &Response<'_>) -> UnitsError {
    let found = match response {
        Response::Status(_) => "Status",
        Response::Random(_) => "Random",
        Response::Blob(_) => "Blob",
        Response::Wrapped(_) => "Wrapped",
        Response::Ciphertext { .. } => "Ciphertext",
        Response::Plaintext(_) => "Plaintext",
        Response::Signature(_) => "Signature",
        Response::Loaded(_) => "Loaded",
        Response::Done => "Done",
        _ => "an answer that only a newer unit knows",
    };
    UnitsError::Unexpected { command: command.name(), found }
}

async fn ask_blob<U: Units>(units: &U, command: Command<'_>, budget: Budget) -> Result<Vec<u8>, UnitsError> {
    match ask(units, command, budget).await?.response()? {
        Response::Blob(blob) => Ok(blob.to_vec()),
        other => Err(unexpected(command, &other)),
    }
}

pub(crate) async fn random<U: Units>(
    units: &U,
    len: u16,
    budget: Budget,
) -> Result<Zeroizing<Vec<u8>>, UnitsError> {
    let command = Command::GenerateRandom { len };
    match ask(units, command, budget).await?.response()? {
        Response::Random(bytes) if bytes.len() == usize::from(len) => Ok(Zeroizing::new(bytes.to_vec())),
        other => Err(unexpected(command, &other)),
    }
}

pub(crate) async fn generate<U: Units>(
    units: &U,
    spec: KeySpec,
    budget: Budget,
) -> Result<Vec<u8>, UnitsError> {
    ask_blob(units, Command::GenerateKey { spec }, budget).await
}

pub(crate) async fn import<U: Units>(
    units: &U,
    spec: KeySpec,
    value: &[u8],
    budget: Budget,
) -> Result<Vec<u8>, UnitsError> {
    ask_blob(units, Command::ImportKey { spec, value }, budget).await
}

pub(crate) async fn encrypt<U: Units>(
    units: &U,
    key: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    budget: Budget,
) -> Result<Encrypted, UnitsError> {
    let command = Command::Encrypt { key, aad, plaintext };
    match ask(units, command, budget).await?.response()? {
        Response::Ciphertext { iv, ciphertext } => Ok(Encrypted { iv, ciphertext: ciphertext.to_vec() }),
        other => Err(unexpected(command, &other)),
    }
}

/// The plaintext; none when this key did not make this ciphertext with this associated data.
pub(crate) async fn decrypt<U: Units>(
    units: &U,
    key: &[u8],
    iv: [u8; AES_GCM_IV_LEN],
    aad: &[u8],
    ciphertext: &[u8],
    budget: Budget,
) -> Result<Option<Zeroizing<Vec<u8>>>, UnitsError> {
    let command = Command::Decrypt { key, iv, aad, ciphertext };
    // A host may hand a refusal on as its own error or inside the reply.
    let reply = ask(units, command, budget).await;
    match reply.as_ref().map_err(Clone::clone).and_then(UnitReply::response) {
        Ok(Response::Plaintext(plain)) => Ok(Some(Zeroizing::new(plain.to_vec()))),
        Ok(other) => Err(unexpected(command, &other)),
        Err(UnitsError::Refused(refusal)) if refusal == UnitError::EncryptedDataInvalid.into() => Ok(None),
        Err(error) => Err(error),
    }
}
