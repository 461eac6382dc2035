//! `CKA_UNWRAP_TEMPLATE`: the attributes that every key unwrapped by an object must be given.
//!
//! `cryptoki` has no such attribute. Its value is an array of `CK_ATTRIBUTE`: type, address of the value, length of the
//! value. The addresses are passed to the token's library as numbers; the values stay in place until it has returned.
//!
//! Source: PKCS #11 3.1 §4.8 and §5.18.4.

use cryptoki::object::{Attribute, AttributeType};
use std::ffi::c_ulong;

/// `CKF_ARRAY_ATTRIBUTE | 0x212`.
pub(crate) const TYPE: AttributeType = AttributeType::VendorDefined(0x4000_0212);

/// Length of one attribute in the array, in bytes.
pub(crate) const ITEM_LEN: usize = 2 * size_of::<c_ulong>() + size_of::<usize>();

/// Runs `create` on `attributes` and the template that requires `required` of every unwrapped key.
///
/// The template's bytes have addresses in them, so they are valid for the duration of `create` only.
pub(crate) fn with<T>(
    mut attributes: Vec<Attribute>,
    required: &[Attribute],
    create: impl FnOnce(&[Attribute]) -> T,
) -> T {
    // One row for each attribute. Numbers have the width and alignment of `CK_ULONG`; a Boolean is the first byte of one.
    let values: Vec<(c_ulong, Vec<c_ulong>, usize)> = required.iter().filter_map(value_of).collect();
    let mut template = Vec::with_capacity(values.len() * ITEM_LEN);
    for (kind, value, len) in &values {
        template.extend(kind.to_ne_bytes());
        template.extend(value.as_ptr().expose_provenance().to_ne_bytes());
        template.extend((*len as c_ulong).to_ne_bytes());
    }
    attributes.push(Attribute::VendorDefined((TYPE, template)));
    let created = create(&attributes);
    drop(values);
    created
}

/// Type, value and length of the value in bytes, of the attributes that templates of this crate have.
fn value_of(attribute: &Attribute) -> Option<(c_ulong, Vec<c_ulong>, usize)> {
    let kind = c_ulong::from(attribute.attribute_type());
    let number = |number: c_ulong| Some((kind, vec![number], size_of::<c_ulong>()));
    match attribute {
        Attribute::Class(class) => number((*class).into()),
        Attribute::KeyType(key_type) => number((*key_type).into()),
        Attribute::Token(value)
        | Attribute::Private(value)
        | Attribute::Sensitive(value)
        | Attribute::Extractable(value)
        | Attribute::Encrypt(value)
        | Attribute::Decrypt(value)
        | Attribute::Sign(value)
        | Attribute::Verify(value)
        | Attribute::Wrap(value)
        | Attribute::Unwrap(value)
        | Attribute::Derive(value) => {
            let mut bytes = [0; size_of::<c_ulong>()];
            if let Some(first) = bytes.first_mut() {
                *first = u8::from(*value);
            }
            Some((kind, vec![c_ulong::from_ne_bytes(bytes)], 1))
        }
        Attribute::AllowedMechanisms(mechanisms) => {
            let numbers: Vec<c_ulong> = mechanisms.iter().map(|mechanism| (*mechanism).into()).collect();
            let len = numbers.len() * size_of::<c_ulong>();
            Some((kind, numbers, len))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{ITEM_LEN, TYPE, with};
    use crate::objects::{ObjectUsage, template};
    use cryptoki::object::{Attribute, KeyType};

    #[test]
    fn every_attribute_of_a_key_s_template_is_required() {
        let required = template(KeyType::AES, &ObjectUsage::NONE, false);
        let len = with(Vec::new(), &required, |attributes| match attributes {
            [Attribute::VendorDefined((TYPE, bytes))] => bytes.len(),
            other => panic!("{other:?}"),
        });
        assert_eq!(len, required.len() * ITEM_LEN);
    }
}
