//! Names of administrators and roots in certificates.

use core::fmt;
use heapless::String;

/// The name of an administrator.
pub type AdministratorName = Name<30>;

/// The name of a root (X.509's bound on a common name, RFC 5280 A.1).
pub type RootName = Name<64>;

/// A name of 1 to `MAX` printable ASCII characters that neither begins nor ends with a space.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<const MAX: usize>(String<MAX, u8>);

/// A name that is empty, too long, not printable ASCII, or has a space at an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameInvalid;

impl fmt::Display for NameInvalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name is printable ASCII, not empty, not too long, without spaces at its ends")
    }
}

impl core::error::Error for NameInvalid {}

impl<const MAX: usize> Name<MAX> {
    /// Longest name, in characters.
    pub const MAX_LEN: usize = MAX;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, padded with spaces to `MAX` bytes, as certificates have it.
    pub(crate) fn padded(&self) -> [u8; MAX] {
        let mut padded = [b' '; MAX];
        for (to, from) in padded.iter_mut().zip(self.0.bytes()) {
            *to = from;
        }
        padded
    }
}

impl<const MAX: usize> TryFrom<&[u8]> for Name<MAX> {
    type Error = NameInvalid;

    fn try_from(name: &[u8]) -> Result<Self, NameInvalid> {
        let printable = name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        let ends_well = ![None, Some(&b' ')].contains(&name.first()) && name.last() != Some(&b' ');
        let name = str::from_utf8(name).ok().filter(|_| printable && ends_well).ok_or(NameInvalid)?;
        String::try_from(name).map(Self).map_err(|_| NameInvalid)
    }
}

impl<const MAX: usize> TryFrom<&str> for Name<MAX> {
    type Error = NameInvalid;

    fn try_from(name: &str) -> Result<Self, NameInvalid> {
        Self::try_from(name.as_bytes())
    }
}

impl<const MAX: usize> fmt::Display for Name<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<const MAX: usize> fmt::Debug for Name<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{AdministratorName, NameInvalid};
    use std::string::ToString;

    #[test]
    fn names_are_kept_and_padded() {
        for name in ["a", "Alice B. (card #3)", "123456789012345678901234567890"] {
            let kept = AdministratorName::try_from(name).unwrap();
            assert_eq!((kept.as_str(), kept.to_string().as_str()), (name, name));
            assert_eq!(kept.padded().trim_ascii_end(), name.as_bytes());
        }
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["", " ", " a", "a ", "Zoë", "a\nb", "a\u{7f}", "1234567890123456789012345678901"] {
            assert_eq!(AdministratorName::try_from(name), Err(NameInvalid), "{name:?}");
        }
    }
}
