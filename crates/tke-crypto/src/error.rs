//! Failures that have one cause each. None carries a value: what failed may be about a secret.

use core::fmt;

macro_rules! failure {
    ($(#[$doc:meta])* $name:ident, $text:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name;

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($text)
            }
        }

        impl core::error::Error for $name {}
    };
}

failure! {
    /// Bytes that are no key: not on the curve, out of range, or of another length.
    KeyInvalid, "the bytes are not a valid key"
}

failure! {
    /// A signature that is malformed or is not this key's over this message; not told apart.
    SignatureInvalid, "the signature is not valid under this key"
}

failure! {
    /// The generator of random bytes failed, or gave what no working generator gives.
    RandomFailed, "the random bit generator failed"
}

failure! {
    /// The caller's buffer is too small for what was to be written.
    BufferTooSmall, "the output buffer is too small"
}
