//! Errors with one cause each. They carry no value, because the value may be secret.

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
    /// The bytes are not a key: not on the curve, out of range, or of another length.
    KeyInvalid, "the bytes are not a valid key"
}

failure! {
    /// The signature is malformed or not valid under this key for this message; callers cannot distinguish the two.
    SignatureInvalid, "the signature is not valid under this key"
}

failure! {
    /// The random bit generator failed, or returned values that a working generator does not return.
    RandomFailed, "the random bit generator failed"
}

failure! {
    /// The caller's buffer is too small for the output.
    BufferTooSmall, "the output buffer is too small"
}
