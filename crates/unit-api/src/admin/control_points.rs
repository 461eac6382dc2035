//! Control points: switches for families of algorithms and ways of handling keys.

use super::fields::{self, Malformed};
use core::fmt;

/// Length of the bitmap, in bytes.
pub const CONTROL_POINTS_LEN: usize = 16;

macro_rules! control_points {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)+) => {
        /// A control point that means something here, by EP11's numbers; bit 0 is the highest bit of the first byte.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum ControlPoint { $($(#[$doc])* $name = $number,)+ }

        impl ControlPoint {
            /// Every control point.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its name in EP11.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

control_points! {
    /// Control points may be switched on.
    AddCpbs = 0, "ADD_CPBS";
    /// Control points may be switched off.
    DeleteCpbs = 1, "DELETE_CPBS";
    /// MACs may be made.
    SignSymm = 3, "SIGN_SYMM";
    /// MACs may be verified.
    SigVerifySymm = 4, "SIGVERIFY_SYMM";
    /// Symmetric keys may encrypt.
    EncryptSymm = 5, "ENCRYPT_SYMM";
    /// Symmetric keys may decrypt.
    DecryptSymm = 7, "DECRYPT_SYMM";
    /// Keys may be wrapped by symmetric keys.
    WrapSymm = 9, "WRAP_SYMM";
    /// Keys may be unwrapped by symmetric keys.
    UnwrapSymm = 11, "UNWRAP_SYMM";
    /// Symmetric keys may be generated and imported.
    KeyGenSymm = 13, "KEYGEN_SYMM";
    /// Ed25519 and X25519.
    AlgEc25519 = 55, "ALG_EC_25519";
    /// Post-quantum algorithms.
    AlgPqc = 65, "ALG_PQC";
    /// BIP32 and SLIP10.
    Btc = 66, "BTC";
    /// ECDSA variants, such as Schnorr.
    EcdsaOther = 67, "ECDSA_OTHER";
}

/// The control points of a domain, as a bitmap of 128.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ControlPoints(u128);

impl ControlPoints {
    /// No control point is set.
    pub const NONE: Self = Self(0);

    /// Of a new domain: all but the algorithms that came later, which administrators switch on.
    #[must_use]
    pub fn first() -> Self {
        Self::known()
            .without(ControlPoint::AlgEc25519.alone())
            .without(ControlPoint::AlgPqc.alone())
            .without(ControlPoint::Btc.alone())
            .without(ControlPoint::EcdsaOther.alone())
    }

    /// Every control point that means something.
    #[must_use]
    pub fn known() -> Self {
        ControlPoint::ALL.iter().fold(Self::NONE, |all, point| all.with(point.alone()))
    }

    /// Whether it is on.
    #[must_use]
    pub const fn is_on(self, point: ControlPoint) -> bool {
        self.contains(point.alone())
    }

    /// Whether all of the other are on.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The control points of both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This one less the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The bitmap.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; CONTROL_POINTS_LEN] {
        self.0.to_be_bytes()
    }

    /// From a bitmap of 16 bytes.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        Ok(Self(u128::from_be_bytes(fields::array(bytes)?)))
    }
}

impl ControlPoint {
    /// Only this one.
    #[must_use]
    pub const fn alone(self) -> ControlPoints {
        ControlPoints(1 << (127 - self as u8))
    }
}

/// The names of those that are on.
impl fmt::Display for ControlPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for point in ControlPoint::ALL.iter().filter(|point| self.is_on(**point)) {
            write!(f, "{separator}{}", point.name())?;
            separator = " ";
        }
        Ok(())
    }
}

impl fmt::Debug for ControlPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ControlPoints({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::{ControlPoint, ControlPoints};

    #[test]
    fn bit_0_is_the_highest_of_the_first_byte() {
        assert_eq!(ControlPoint::AddCpbs.alone().to_bytes()[0], 0x80);
        assert_eq!(ControlPoint::AlgEc25519.alone().to_bytes()[6], 0x01);
        assert_eq!(ControlPoint::Btc.alone().to_bytes()[8], 0x20);
    }

    #[test]
    fn what_came_later_is_off_at_first() {
        let first = ControlPoints::first();
        assert!(!first.is_on(ControlPoint::Btc) && first.is_on(ControlPoint::WrapSymm));
        assert_eq!(ControlPoints::from_bytes(&first.to_bytes()), Ok(first));
    }
}
