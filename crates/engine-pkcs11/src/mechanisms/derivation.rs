//! SP 800-108 in counter mode, inside the token where it can, else from MACs that the token makes.

use crate::error::CallError;
use crate::objects::call::Desk;
use crate::objects::clear::Clear;
use crate::objects::key_table::Objects;
use crate::objects::template::{Role, key_type, template};
use cryptoki::error::Error;
use cryptoki::mechanism::kbkdf::{
    Endianness, KbkdfCounterFormat, KbkdfDkmLengthFormat, KbkdfDkmLengthMethod, KbkdfParams, PrfDataParam,
    PrfDataParamType,
};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectHandle};
use engine::{CMAC_LEN, EngineError, KeySpec};
use std::num::NonZeroUsize;
use zeroize::Zeroizing;

/// Width of counter and length, in bits.
const WIDTH: NonZeroUsize = NonZeroUsize::new(32).unwrap();

/// The objects of a key derived from `base`.
pub(crate) fn derive(
    desk: &Desk<'_>,
    base: ObjectHandle,
    label: &[u8],
    context: &[u8],
    spec: &KeySpec,
) -> Result<Objects, CallError> {
    if !desk.profile.derives_inside || desk.profile.is_short(spec) {
        let value = by_macs(desk, base, label, context, spec.len())?;
        return desk.objects(spec, &value);
    }
    let make = |kind: KeyType, role: &Role, extractable| {
        let mut attributes = template(kind, role, extractable);
        attributes.push(Attribute::ValueLen(u64::from(spec.key_len).into()));
        inside(desk, base, label, context, &attributes).map(|object| desk.keep(object))
    };
    let first = make(key_type(spec.algorithm), &Role::of(spec, desk.profile), spec.extractable)?;
    let blocks = desk.profile.needs_blocks(spec).then(|| Role::blocks(spec, desk.profile));
    let second = blocks.map(|role| make(KeyType::AES, &role, false)).transpose()?;
    Ok(Objects { first, second })
}

/// The derived key's bytes: the MACs of the counter, label, context and length.
fn by_macs(
    desk: &Desk<'_>,
    base: ObjectHandle,
    label: &[u8],
    context: &[u8],
    len: usize,
) -> Result<Clear, CallError> {
    let mut derived = Clear::zero(len);
    let bits = u32::try_from(8 * len).map_err(|_| EngineError::KeySizeRange)?.to_be_bytes();
    for (i, block) in (1u32..).zip(derived.expose_mut().chunks_mut(CMAC_LEN)) {
        let input = [&i.to_be_bytes(), label, &[0], context, &bits].concat();
        let mac = Zeroizing::new(desk.session.sign(&Mechanism::AesCMac, base, &input)?);
        if mac.len() != CMAC_LEN {
            return Err(EngineError::DeviceError.into());
        }
        block.iter_mut().zip(mac.iter()).for_each(|(to, from)| *to = *from);
    }
    Ok(derived)
}

/// The same, as the token's own mechanism.
pub(crate) fn inside(
    desk: &Desk<'_>,
    base: ObjectHandle,
    label: &[u8],
    context: &[u8],
    attributes: &[Attribute],
) -> Result<ObjectHandle, Error> {
    let counter = KbkdfCounterFormat::new(Endianness::Big, WIDTH);
    let bits = KbkdfDkmLengthFormat::new(KbkdfDkmLengthMethod::SumOfKeys, Endianness::Big, WIDTH);
    // In one piece, which is never empty: there are tokens that refuse an empty label, or take one of a zero byte for the
    // separator.
    let fixed = [label, &[0], context].concat();
    let input = [
        PrfDataParam::new(PrfDataParamType::IterationVariable(Some(&counter))),
        PrfDataParam::new(PrfDataParamType::ByteArray(&fixed)),
        PrfDataParam::new(PrfDataParamType::DkmLength(&bits)),
    ];
    let mechanism = Mechanism::KbkdfCounter(KbkdfParams::new(MechanismType::AES_CMAC, &input, None));
    desk.session.derive_key(&mechanism, base, attributes)
}
