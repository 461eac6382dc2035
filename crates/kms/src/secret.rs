//! Secrets that pass through the key service in the clear, each kind with a type of its own.

use std::fmt;
use zeroize::Zeroizing;

macro_rules! secret_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(Zeroizing<Vec<u8>>);

        impl $name {
            /// Takes the bytes over without copying them.
            #[must_use]
            pub fn new(bytes: impl Into<Zeroizing<Vec<u8>>>) -> Self {
                Self(bytes.into())
            }

            /// The bytes.
            #[must_use]
            pub fn expose(&self) -> &[u8] {
                &self.0
            }
        }

        /// The name alone.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

secret_bytes! {
    /// Key material of a request, or of a standard key in a response. Zeroized on drop, never printed.
    Payload
}

secret_bytes! {
    /// The plaintext that a root key wraps, usually a data key. Zeroized on drop, never printed.
    Plaintext
}

#[cfg(test)]
mod tests {
    use super::{Payload, Plaintext};

    #[test]
    fn debug_shows_no_byte() {
        assert_eq!(format!("{:?}", Payload::new(vec![0xa5; 4])), "Payload");
        assert_eq!(format!("{:?}", Plaintext::new(vec![0xa5; 4])), "Plaintext");
    }
}
