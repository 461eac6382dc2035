//! Calls that are linked into the image and not reached, each with the reason. The list is checked both ways: a call that is
//! not in it fails the gate, and so does an entry without a call.

use super::panics::Unreached;

const fn entry(package: &'static str, place: &'static str, why: &'static str) -> Unreached {
    Unreached { package, place, why }
}

/// Calls to functions that panic. All but the last two are in code of dependencies; those two are of aes-gcm, called from
/// three places, for which the compiler made one call without a line.
pub(super) const UNREACHED: &[Unreached] = &[
    entry(
        "aes",
        "src/backends/fixslice/",
        "rounds and columns are constants, and so are the lengths of what they index",
    ),
    entry(
        "cipher",
        "src/stream/core_api.rs",
        "the tail is the remainder of a division by the number it is compared with",
    ),
    entry(
        "const-oid",
        "src/buffer.rs",
        "the length is that of a constant identifier, or was checked when it was read",
    ),
    entry(
        "crypto-bigint",
        "src/modular/",
        "moduli are odd and not zero by their type, and shifts are below a limb's width",
    ),
    entry(
        "crypto-bigint",
        "src/uint/",
        "buffers, limbs and shifts have the widths of the type; divisors are not zero by theirs",
    ),
    entry("der", "src/", "the copy is into a slice that was taken with the same length"),
    entry("ecdsa", "src/signing.rs", "a digest of SHA-512 is shorter than a field element of P-521"),
    entry("elliptic-curve", "src/public_key.rs", "points that do not decode are refused before"),
    entry("hybrid-array", "src/lib.rs", "the index is the remainder of a division by the array's length"),
    entry("sec1", "src/point.rs", "the tag is that of a point that was encoded or checked just before"),
    entry("sha2", "src/sha512/", "blocks are cut to the length that is indexed"),
    entry("signature", "src/signer.rs", "signing fails only for r or s of zero, once in 2⁵²⁰ times"),
    entry("subtle", "src/lib.rs", "inverses are taken of scalars that are not zero by their type"),
    entry("wnaf", "src/", "digits of a scalar of fixed length in windows of fixed width"),
    entry(
        "engine-soft",
        "<engine_soft::soft_engine::SoftEngine<R,_,S> as engine::Engine>::encrypt",
        "the counter of AES-GCM lasts for 64 GiB, and a frame has less than 100 KiB",
    ),
    entry(
        "engine-soft",
        "<engine_soft::soft_engine::SoftEngine<R,_,S> as engine::Engine>::decrypt",
        "the counter of AES-GCM lasts for 64 GiB, and a frame has less than 100 KiB",
    ),
];

/// Functions that call through a pointer, other than to `memcpy` and its like, and how the names of what they call begin.
pub(super) const THROUGH_POINTERS: &[(&str, &str)] =
    // A unit's self-tests are a list of functions, each of which runs in a scope of its own.
    &[("unit_core::key_scope::KeyScope<E>::run", "unit_core::self_test::")];
