//! SP 800-108 in counter mode with AES-CMAC: the token's mechanism if it has it, otherwise built from the token's MACs.

use crate::error::CallError;
use crate::objects::{CallContext, ClearKey, KeyObjects, ObjectUsage, key_type, template};
use cryptoki::error::Error;
use cryptoki::mechanism::kbkdf::{
    Endianness, KbkdfCounterFormat, KbkdfDkmLengthFormat, KbkdfDkmLengthMethod, KbkdfParams, PrfDataParam,
    PrfDataParamType,
};
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectHandle};
use engine::{CMAC_LEN, EngineError, KeySpec};
use std::num::NonZeroUsize;
use zeroize::Zeroizing;

/// Width of the counter and of the length field, in bits.
const FIELD_BITS: NonZeroUsize = NonZeroUsize::new(32).unwrap();

/// Derives a key from `base` and creates its objects. Format of the PRF's input: see [`engine::Engine::derive_key`].
pub(crate) fn derive_key(
    call: &CallContext<'_>,
    base: ObjectHandle,
    label: &[u8],
    context: &[u8],
    spec: &KeySpec,
) -> Result<KeyObjects, CallError> {
    if !call.profile.derives_on_token || call.profile.is_padded_secret(spec) {
        let value = derive_by_macs(call, base, label, context, spec.len())?;
        return call.create_key(spec, &value);
    }
    let derive_object = |key_type: KeyType, usage: &ObjectUsage, extractable| {
        let mut attributes = template(key_type, usage, extractable);
        attributes.push(Attribute::ValueLen(u64::from(spec.key_len).into()));
        derive_on_token(call, base, label, context, &attributes).map(|object| call.track(object))
    };
    let usage = ObjectUsage::of(spec, call.profile);
    let primary = derive_object(key_type(spec.algorithm), &usage, spec.extractable)?;
    let needs_blocks = call.profile.needs_single_blocks(spec);
    let blocks = needs_blocks.then(|| ObjectUsage::single_blocks(spec, call.profile));
    let secondary = blocks.map(|usage| derive_object(KeyType::AES, &usage, false)).transpose()?;
    Ok(KeyObjects { primary, secondary })
}

/// The derived key's bytes, as the token's CMACs over counter, label, context and length.
fn derive_by_macs(
    call: &CallContext<'_>,
    base: ObjectHandle,
    label: &[u8],
    context: &[u8],
    len: usize,
) -> Result<ClearKey, CallError> {
    let mut derived = ClearKey::zero(len);
    let bits = u32::try_from(8 * len).map_err(|_| EngineError::KeySizeRange)?.to_be_bytes();
    for (counter, block) in (1u32..).zip(derived.expose_mut().chunks_mut(CMAC_LEN)) {
        let input = [&counter.to_be_bytes(), label, &[0], context, &bits].concat();
        let mac = Zeroizing::new(call.session.sign(&Ck::AesCMac, base, &input)?);
        if mac.len() != CMAC_LEN {
            return Err(EngineError::DeviceError.into());
        }
        block.iter_mut().zip(mac.iter()).for_each(|(to, from)| *to = *from);
    }
    Ok(derived)
}

/// Derives an object by the token's own mechanism.
pub(crate) fn derive_on_token(
    call: &CallContext<'_>,
    base: ObjectHandle,
    label: &[u8],
    context: &[u8],
    attributes: &[Attribute],
) -> Result<ObjectHandle, Error> {
    let counter = KbkdfCounterFormat::new(Endianness::Big, FIELD_BITS);
    let length = KbkdfDkmLengthFormat::new(KbkdfDkmLengthMethod::SumOfKeys, Endianness::Big, FIELD_BITS);
    // Passed as one byte array, which is never empty: some tokens refuse an empty label, others misread a label of one
    // zero byte as the separator.
    let fixed_input = [label, &[0], context].concat();
    let input = [
        PrfDataParam::new(PrfDataParamType::IterationVariable(Some(&counter))),
        PrfDataParam::new(PrfDataParamType::ByteArray(&fixed_input)),
        PrfDataParam::new(PrfDataParamType::DkmLength(&length)),
    ];
    let mechanism = Ck::KbkdfCounter(KbkdfParams::new(MechanismType::AES_CMAC, &input, None));
    call.session.derive_key(&mechanism, base, attributes)
}
