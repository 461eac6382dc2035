//! A domain's attributes: thresholds, permissions, mode.

use super::fields::Malformed;
use core::fmt;

/// Mode bit: the domain has left imprint mode.
pub const MODE_LEFT_IMPRINT: u32 = 0x1;

/// What a domain's administrators may do at all, and what of that may still be changed.
///
/// A set bit permits. Bits from `0x1_0000` up are change-control bits: while one is set, the matching permission or
/// threshold may be changed; once cleared it stays cleared until zeroize. `0x4000`, `0x8000` and `0x1000_0000` are this
/// project's own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Permissions(pub u32);

impl Permissions {
    /// The master key may be imported.
    pub const WK_IMPORT: Self = Self(0x1);
    /// The master key may be exported.
    pub const WK_EXPORT: Self = Self(0x2);
    /// A single part of a custodian may be the whole master key. What a genuine unit has exported needs no permission but
    /// [`Self::WK_IMPORT`].
    pub const WK_1PART: Self = Self(0x4);
    /// The master key may be drawn inside.
    pub const WK_RANDOM: Self = Self(0x8);
    /// Thresholds of 1 are allowed.
    pub const ONE_SIGN: Self = Self(0x10);
    /// Control points may be changed with one signature.
    pub const CP_1SIGN: Self = Self(0x20);
    /// The domain may be zeroized with one signature.
    pub const ZERO_1SIGN: Self = Self(0x40);
    /// Signatures of module administrators do not count for this domain, but for zeroize.
    pub const DO_NOT_DISTURB: Self = Self(0x2000);
    /// Activate, clear Current and zeroize need the signature threshold. This project's own.
    pub const QUORUM_DESTRUCTIVE: Self = Self(0x4000);
    /// The master key may be exported to a module of another instance. This project's own.
    pub const EXPORT_FOREIGN: Self = Self(0x8000);
    /// [`Self::WK_IMPORT`] may be changed.
    pub const CHG_WK_IMPORT: Self = Self(0x1_0000);
    /// [`Self::WK_EXPORT`] may be changed.
    pub const CHG_WK_EXPORT: Self = Self(0x2_0000);
    /// [`Self::WK_1PART`] may be changed.
    pub const CHG_WK_1PART: Self = Self(0x4_0000);
    /// [`Self::WK_RANDOM`] may be changed.
    pub const CHG_WK_RANDOM: Self = Self(0x8_0000);
    /// The signature threshold may be changed.
    pub const CHG_SIGN_THR: Self = Self(0x10_0000);
    /// The revocation threshold may be changed.
    pub const CHG_REVOKE_THR: Self = Self(0x20_0000);
    /// [`Self::ONE_SIGN`] may be changed.
    pub const CHG_1SIGN: Self = Self(0x40_0000);
    /// [`Self::CP_1SIGN`] may be changed.
    pub const CHG_CP_1SIGN: Self = Self(0x80_0000);
    /// [`Self::ZERO_1SIGN`] may be changed.
    pub const CHG_ZERO_1SIGN: Self = Self(0x100_0000);
    /// [`Self::QUORUM_DESTRUCTIVE`] and [`Self::EXPORT_FOREIGN`] may be changed. This project's own.
    pub const CHG_OWN: Self = Self(0x1000_0000);
    /// [`Self::DO_NOT_DISTURB`] may be changed.
    pub const CHG_DO_NOT_DISTURB: Self = Self(0x8000_0000);

    /// Every bit with its name and, for a permission, the bit that controls its change.
    pub const TABLE: &'static [(&'static str, Self, Option<Self>)] = &[
        ("WK_IMPORT", Self::WK_IMPORT, Some(Self::CHG_WK_IMPORT)),
        ("WK_EXPORT", Self::WK_EXPORT, Some(Self::CHG_WK_EXPORT)),
        ("WK_1PART", Self::WK_1PART, Some(Self::CHG_WK_1PART)),
        ("WK_RANDOM", Self::WK_RANDOM, Some(Self::CHG_WK_RANDOM)),
        ("1SIGN", Self::ONE_SIGN, Some(Self::CHG_1SIGN)),
        ("CP_1SIGN", Self::CP_1SIGN, Some(Self::CHG_CP_1SIGN)),
        ("ZERO_1SIGN", Self::ZERO_1SIGN, Some(Self::CHG_ZERO_1SIGN)),
        ("DO_NOT_DISTURB", Self::DO_NOT_DISTURB, Some(Self::CHG_DO_NOT_DISTURB)),
        ("QUORUM_DESTRUCTIVE", Self::QUORUM_DESTRUCTIVE, Some(Self::CHG_OWN)),
        ("EXPORT_FOREIGN", Self::EXPORT_FOREIGN, Some(Self::CHG_OWN)),
        ("CHG_WK_IMPORT", Self::CHG_WK_IMPORT, None),
        ("CHG_WK_EXPORT", Self::CHG_WK_EXPORT, None),
        ("CHG_WK_1PART", Self::CHG_WK_1PART, None),
        ("CHG_WK_RANDOM", Self::CHG_WK_RANDOM, None),
        ("CHG_SIGN_THR", Self::CHG_SIGN_THR, None),
        ("CHG_REVOKE_THR", Self::CHG_REVOKE_THR, None),
        ("CHG_1SIGN", Self::CHG_1SIGN, None),
        ("CHG_CP_1SIGN", Self::CHG_CP_1SIGN, None),
        ("CHG_ZERO_1SIGN", Self::CHG_ZERO_1SIGN, None),
        ("CHG_OWN", Self::CHG_OWN, None),
        ("CHG_DO_NOT_DISTURB", Self::CHG_DO_NOT_DISTURB, None),
    ];

    /// Every bit that means something.
    #[must_use]
    pub const fn known() -> Self {
        Self(0xffff_0000 & !0x6e00_0000 | 0xe07f)
    }

    /// Every change-control bit.
    #[must_use]
    pub const fn change_control() -> Self {
        Self(Self::known().0 & 0xffff_0000)
    }

    /// Of a new domain: import, thresholds of 1, and everything may be changed.
    #[must_use]
    pub const fn first() -> Self {
        Self(Self::WK_IMPORT.0 | Self::ONE_SIGN.0 | Self::change_control().0)
    }

    /// Of an operational or a failover unit: the master key comes in and never goes out again, which cannot be changed.
    #[must_use]
    pub const fn operational() -> Self {
        Self::first()
            .with(Self::ZERO_1SIGN)
            .with(Self::DO_NOT_DISTURB)
            .without(Self::CHG_DO_NOT_DISTURB)
            .without(Self::CHG_WK_EXPORT)
    }

    /// Of a recovery unit: the master key may be drawn inside and exported.
    #[must_use]
    pub const fn recovery() -> Self {
        Self::first()
            .with(Self::ZERO_1SIGN)
            .with(Self::DO_NOT_DISTURB)
            .without(Self::CHG_DO_NOT_DISTURB)
            .with(Self::WK_EXPORT)
            .with(Self::WK_RANDOM)
    }

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The permissions of both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This one less the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// The names of the bits that are set.
impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, _, _) in Self::TABLE.iter().filter(|(_, bit, _)| self.contains(*bit)) {
            write!(f, "{separator}{name}")?;
            separator = " ";
        }
        Ok(())
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permissions({self})")
    }
}

/// Attributes 1 to 4 of a domain. As bytes: ID (4) ‖ value (4) for each in order, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Signatures that most commands need; 0 in imprint mode, then 1 to 8.
    pub signature_threshold: u32,
    /// Signatures that removing an administrator needs; 0 in imprint mode, then 1 to 8.
    pub revocation_threshold: u32,
    /// What is permitted.
    pub permissions: Permissions,
    /// [`MODE_LEFT_IMPRINT`] and nothing else.
    pub mode: u32,
}

impl Attributes {
    /// Length of an attribute list, in bytes.
    pub const LEN: usize = 32;

    /// Of a new domain, in imprint mode.
    #[must_use]
    pub const fn first() -> Self {
        Self { signature_threshold: 0, revocation_threshold: 0, permissions: Permissions::first(), mode: 0 }
    }

    /// Whether the domain is in imprint mode.
    #[must_use]
    pub const fn imprint(&self) -> bool {
        self.mode & MODE_LEFT_IMPRINT == 0
    }

    /// The attribute list.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let values = [self.signature_threshold, self.revocation_threshold, self.permissions.0, self.mode];
        let words = (1_u32..).zip(values).flat_map(|(id, value)| [id, value]);
        let mut bytes = [0; Self::LEN];
        for (to, from) in bytes.iter_mut().zip(words.flat_map(u32::to_be_bytes)) {
            *to = from;
        }
        bytes
    }

    /// The attributes in a list of IDs 1 to 4, each once and in order.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let (words, rest) = bytes.as_chunks::<4>();
        let &[one, sign, two, revoke, three, permissions, four, mode] = words else { return Err(Malformed) };
        if !rest.is_empty() || [one, two, three, four].map(u32::from_be_bytes) != [1, 2, 3, 4] {
            return Err(Malformed);
        }
        Ok(Self {
            signature_threshold: u32::from_be_bytes(sign),
            revocation_threshold: u32::from_be_bytes(revoke),
            permissions: Permissions(u32::from_be_bytes(permissions)),
            mode: u32::from_be_bytes(mode),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Attributes, Permissions};

    #[test]
    fn the_table_names_every_known_bit_once() {
        let mut seen = 0;
        for (name, bit, _) in Permissions::TABLE {
            assert_eq!(bit.0.count_ones(), 1, "{name}");
            assert_eq!(seen & bit.0, 0, "{name}");
            seen |= bit.0;
        }
        assert_eq!(seen, Permissions::known().0);
    }

    #[test]
    fn presets_are_those_of_the_documentation() {
        let (operational, recovery) = (Permissions::operational(), Permissions::recovery());
        assert!(!operational.contains(Permissions::WK_EXPORT) && recovery.contains(Permissions::WK_EXPORT));
        assert!(!operational.contains(Permissions::WK_RANDOM) && recovery.contains(Permissions::WK_RANDOM));
        assert!(!operational.contains(Permissions::CHG_WK_EXPORT));
        assert!(!recovery.contains(Permissions::CHG_DO_NOT_DISTURB));
        for preset in [operational, recovery] {
            assert!(preset.contains(Permissions::CHG_WK_1PART) && !preset.contains(Permissions::WK_1PART));
        }
    }

    #[test]
    fn lists_read_as_they_were_written() {
        let attributes = Attributes {
            signature_threshold: 2,
            revocation_threshold: 3,
            permissions: Permissions::recovery(),
            mode: 1,
        };
        let mut bytes = attributes.to_bytes();
        assert_eq!(Attributes::from_bytes(&bytes), Ok(attributes));
        assert!(Attributes::from_bytes(&bytes[..31]).is_err());
        bytes[3] = 2;
        assert!(Attributes::from_bytes(&bytes).is_err());
    }
}
