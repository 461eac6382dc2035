//! Sealing and opening key blobs.

use crate::blob::{UncheckedBlob, parse_authenticated};
use crate::key_scope::KeyScope;
use crate::master_key::{BlobMacKey, MasterKey};
use engine::{CMAC_LEN, Engine, EngineError, KeyHandle, KeySpec, KeyUses, declassify};
use subtle::ConstantTimeEq;
use unit_api::{BLOB_HEADER_LEN, BlobHeader, KeyAttributes, Refusal, UnitError, UseFamily};

/// The purpose of opening a blob. The key in the engine permits this purpose only, whatever else its blob permits.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// One use of the key, which the blob must permit.
    Use(KeyUses),
    /// Wrapping the key under another key of the caller: the key must be extractable.
    Extract,
    /// Sealing the key under another master key: permitted for every key.
    Reencipher,
}

/// An opened blob. The key is destroyed with its scope.
pub(crate) struct OpenedBlob {
    pub(crate) key: KeyHandle,
    pub(crate) attributes: KeyAttributes,
}

/// Verifies the MAC of a blob's bytes `authenticated`, in the engine and in constant time.
///
/// # Errors
/// [`UnitError::BlobError`] for a wrong MAC; the engine's error when the device fails.
pub(crate) fn check_blob_mac<E: Engine + ?Sized>(
    engine: &mut E,
    key: BlobMacKey,
    authenticated: &[u8],
    mac: &[u8],
) -> Result<(), Refusal> {
    key.verify(engine, authenticated, mac).map_err(refused_as_blob)
}

/// Opens a blob under `master`.
///
/// Checks WKID, MAC, attributes and wrapped key in this order, so that nothing is used before it is authenticated.
pub(crate) fn open<E: Engine>(
    scope: &mut KeyScope<'_, E>,
    master: &MasterKey,
    blob: &[u8],
    purpose: Purpose,
) -> Result<OpenedBlob, Refusal> {
    let unchecked = UncheckedBlob::parse(blob)?;
    // Both are public, but the register's WKID was computed from the key, so that the comparison is declassified.
    if !declassify(unchecked.wkid().ct_eq(&master.pattern.wkid())) {
        return Err(UnitError::WkidMismatch.into());
    }
    check_blob_mac(scope.engine(), master.mac, unchecked.authenticated(), unchecked.mac())?;
    let (header, wrapped) = parse_authenticated(unchecked.authenticated())?;
    let spec = engine_spec(&header.attributes.spec, purpose)?;
    let key = master.wrap.unwrap(scope.engine(), header.wrap, wrapped, &spec);
    let key = scope.keep(key.map_err(refused_as_blob)?)?;
    Ok(OpenedBlob { key, attributes: header.attributes })
}

fn engine_spec(spec: &KeySpec, purpose: Purpose) -> Result<KeySpec, UnitError> {
    match purpose {
        Purpose::Use(uses) if !spec.uses.permits(uses) => Err(UnitError::KeyFunctionNotPermitted),
        Purpose::Use(uses) => {
            check_mixed_uses(spec, uses)?;
            Ok(KeySpec { uses, extractable: false, ..*spec })
        }
        Purpose::Extract if !spec.extractable => Err(UnitError::KeyUnextractable),
        Purpose::Extract | Purpose::Reencipher => Ok(to_seal(spec)),
    }
}

/// Checks the one use `uses` of a key whose blob may be older than the table of [`UseFamily`].
///
/// A key with uses of several families still undoes what it has protected, so that nothing is lost. It protects nothing more,
/// so that nothing is wrapped that it could decrypt.
fn check_mixed_uses(spec: &KeySpec, uses: KeyUses) -> Result<(), UnitError> {
    match uses {
        KeyUses::DECRYPT | KeyUses::VERIFY | KeyUses::UNWRAP => Ok(()),
        _ => UseFamily::of(spec).map(|_| ()),
    }
}

/// Specification in the engine of a key that will be wrapped into a blob: extractable, without any other use.
pub(crate) const fn to_seal(spec: &KeySpec) -> KeySpec {
    KeySpec { uses: KeyUses::NONE, extractable: true, ..*spec }
}

/// Writes the blob of `key` under `master` to the start of `out` and returns its length.
pub(crate) fn seal<E: Engine + ?Sized>(
    engine: &mut E,
    master: &MasterKey,
    key: KeyHandle,
    attributes: KeyAttributes,
    out: &mut [u8],
) -> Result<usize, Refusal> {
    let header = BlobHeader::new(master.pattern.wkid(), attributes);
    let authenticated_len = BLOB_HEADER_LEN + header.wrapped_len();
    let (authenticated, rest) =
        out.split_at_mut_checked(authenticated_len).ok_or(UnitError::ResponseTooLong)?;
    let mac = rest.first_chunk_mut::<CMAC_LEN>().ok_or(UnitError::ResponseTooLong)?;
    let (head, wrapped) = authenticated.split_first_chunk_mut().ok_or(UnitError::ResponseTooLong)?;
    *head = header.encode();
    let written = master.wrap.wrap(engine, header.wrap, key, wrapped)?;
    if written != wrapped.len() {
        return Err(EngineError::DeviceError.into());
    }
    master.mac.sign(engine, authenticated, mac)?;
    Ok(authenticated_len + CMAC_LEN)
}

fn refused_as_blob(error: EngineError) -> Refusal {
    match error {
        EngineError::SignatureInvalid | EngineError::WrappedKeyInvalid => UnitError::BlobError.into(),
        device => device.into(),
    }
}
