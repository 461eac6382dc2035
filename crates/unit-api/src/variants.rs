//! One command, prepared for units under either of two master keys while the master key is being rotated.

use crate::{Command, Wkid};

/// A command as one or two [`Variant`]s: with its blobs under one master key, and with the same blobs under another.
///
/// Outside of a master-key rotation there is one variant. During a rotation some units hold the current master key and
/// some the next; the unit that serves the command decides which variant it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Variants<'a> {
    /// The first, often the only variant.
    pub first: Variant<'a>,
    /// The same command for units with the other master key.
    pub second: Option<Variant<'a>>,
    /// Whether units for the first variant are preferred as long as there is one.
    pub prefer_first: bool,
}

/// A command, and the master key of the units that can execute it.
#[derive(Clone, Copy, Debug)]
pub struct Variant<'a> {
    /// The command.
    pub command: Command<'a>,
    /// Master key that the unit must hold; `None`: any unit will do.
    pub master_key: Option<Wkid>,
}

/// The master keys of a command's variants, without the command: all that routing needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VariantKeys {
    /// Master key of the first variant; `None`: it is for any unit, and the only one.
    pub first: Option<Wkid>,
    /// Master key of the second variant, if there is one.
    pub second: Option<Wkid>,
    /// Whether units for the first variant are preferred as long as there is one.
    pub prefer_first: bool,
}

impl<'a> Variant<'a> {
    /// For units with the master key that the command's blobs are under; for any unit if it has no blobs.
    #[must_use]
    pub fn of(command: Command<'a>) -> Self {
        Self { command, master_key: command.wkid() }
    }

    /// Whether a unit with this master key can execute it.
    #[must_use]
    pub fn is_for(&self, master_key: Option<Wkid>) -> bool {
        self.master_key.is_none() || self.master_key == master_key
    }
}

impl<'a> Variants<'a> {
    /// One variant: for units with the master key that the command's blobs are under.
    #[must_use]
    pub fn of(command: Command<'a>) -> Self {
        Self { first: Variant::of(command), second: None, prefer_first: false }
    }

    /// One variant, for units with this master key: for a command whose response is a blob under it.
    #[must_use]
    pub const fn under(master_key: Wkid, command: Command<'a>) -> Self {
        let first = Variant { command, master_key: Some(master_key) };
        Self { first, second: None, prefer_first: false }
    }

    /// Adds a second variant: for units with the master key that this command's blobs are under.
    #[must_use]
    pub fn or(self, command: Command<'a>) -> Self {
        Self { second: Some(Variant::of(command)), ..self }
    }

    /// Adds the first variant's command for units with another master key, used when no unit for the first is left.
    #[must_use]
    pub const fn else_under(self, master_key: Wkid) -> Self {
        let second = Some(Variant { command: self.first.command, master_key: Some(master_key) });
        Self { second, prefer_first: true, ..self }
    }

    /// Each variant, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = &Variant<'a>> {
        core::iter::once(&self.first).chain(&self.second)
    }

    /// The master keys of the variants.
    #[must_use]
    pub fn keys(&self) -> VariantKeys {
        let second = self.second.and_then(|variant| variant.master_key);
        VariantKeys { first: self.first.master_key, second, prefer_first: self.prefer_first }
    }
}

impl VariantKeys {
    /// One variant, for any unit.
    pub const ANY: Self = Self { first: None, second: None, prefer_first: false };

    /// One variant, for units with this master key.
    #[must_use]
    pub const fn under(master_key: Wkid) -> Self {
        Self { first: Some(master_key), second: None, prefer_first: false }
    }
}

#[cfg(test)]
mod tests {
    use super::{VariantKeys, Variants};
    use crate::Command;

    #[test]
    fn a_variant_is_for_the_master_key_of_its_blobs_or_the_one_named() {
        let blob = |wkid: u8| [[0; 16], [0; 16], [wkid; 16], [0; 16]].concat();
        let (five, six) = (blob(5), blob(6));
        assert_eq!(Variants::of(Command::Reencipher { blob: &five }).keys(), VariantKeys::under([5; 16]));
        assert_eq!(Variants::of(Command::Status).keys(), VariantKeys::ANY);
        let two = Variants::under([1; 16], Command::Status).or(Command::Reencipher { blob: &six });
        let keys = VariantKeys { first: Some([1; 16]), second: Some([6; 16]), prefer_first: false };
        assert_eq!(two.keys(), keys);
        let preferred = Variants::under([1; 16], Command::Status).else_under([2; 16]).keys();
        assert_eq!(
            preferred,
            VariantKeys { second: Some([2; 16]), prefer_first: true, ..VariantKeys::under([1; 16]) }
        );
    }

    #[test]
    fn any_unit_will_do_only_where_no_master_key_is_named() {
        let (any, one) =
            (Variants::of(Command::Status).first, Variants::under([1; 16], Command::Status).first);
        assert!(any.is_for(None) && any.is_for(Some([2; 16])));
        assert!(one.is_for(Some([1; 16])) && !one.is_for(Some([2; 16])) && !one.is_for(None));
    }
}
