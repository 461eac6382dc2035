//! A command in the forms that it can be sent in while the master key is being rotated.

use unit_api::{Command, WKID_LEN, Wkid};

/// Where a key blob says which master key it is under.
const WKID_OFFSET: usize = 32;

/// A command, once or twice: with its blobs under one master key, and with the same blobs under another.
///
/// The unit that serves it decides which is sent. Under which master key a form is, its blobs say; of a command without
/// blobs the caller may say it, for one whose answer is a blob.
#[derive(Clone, Copy, Debug)]
pub struct Forms<'a> {
    pub(crate) first: Form<'a>,
    pub(crate) second: Option<Form<'a>>,
    prefer_first: bool,
}

/// One form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form<'a> {
    pub(crate) command: Command<'a>,
    under: Option<Wkid>,
}

impl<'a> Forms<'a> {
    /// The only form: for units with the master key that its blobs are under.
    #[must_use]
    pub fn of(command: Command<'a>) -> Self {
        Self { first: Form { command, under: wkid_of(&command) }, second: None, prefer_first: false }
    }

    /// The only form, for units with this master key.
    #[must_use]
    pub const fn under(wkid: Wkid, command: Command<'a>) -> Self {
        Self { first: Form { command, under: Some(wkid) }, second: None, prefer_first: false }
    }

    /// Adds the second form: for units with the master key that its blobs are under.
    #[must_use]
    pub fn or(self, command: Command<'a>) -> Self {
        Self { second: Some(Form { command, under: wkid_of(&command) }), ..self }
    }

    /// Adds the second form, for units with this master key.
    #[must_use]
    pub const fn or_under(self, wkid: Wkid, command: Command<'a>) -> Self {
        Self { second: Some(Form { command, under: Some(wkid) }), ..self }
    }

    /// Takes a unit for the first form as long as there is one.
    #[must_use]
    pub const fn first_if_possible(self) -> Self {
        Self { prefer_first: true, ..self }
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = &Command<'a>> {
        std::iter::once(&self.first).chain(&self.second).map(|form| &form.command)
    }

    /// What the cluster is told of them.
    pub(crate) fn keys(&self) -> cluster::Forms {
        let second = self.second.and_then(|form| form.under);
        cluster::Forms { first: self.first.under, second, prefer_first: self.prefer_first }
    }
}

/// The master key that all blobs of a command are under; none where there are no blobs, or they disagree.
fn wkid_of(command: &Command<'_>) -> Option<Wkid> {
    let of = |blob: &[u8]| -> Option<Wkid> {
        blob.get(WKID_OFFSET..WKID_OFFSET + WKID_LEN).and_then(|wkid| wkid.try_into().ok())
    };
    match *command {
        Command::WrapKey { kek, key, .. } => of(kek).filter(|wkid| of(key) == Some(*wkid)),
        Command::UnwrapKey { kek: blob, .. }
        | Command::Encrypt { key: blob, .. }
        | Command::Decrypt { key: blob, .. }
        | Command::Sign { key: blob, .. }
        | Command::Verify { key: blob, .. }
        | Command::Reencipher { blob } => of(blob),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Forms;
    use engine::{MacMechanism, WrapMechanism};
    use unit_api::Command;

    #[test]
    fn a_form_is_under_the_master_key_of_its_blobs() {
        let blob = |wkid: u8| [[0; 16], [0; 16], [wkid; 16], [0; 16]].concat();
        let (five, six) = (blob(5), blob(6));
        let by = MacMechanism::AesCmac;
        let first = |command| Forms::of(command).keys().first;
        assert_eq!(first(Command::Sign { by, key: &five, data: &[] }), Some([5; 16]));
        assert_eq!(first(Command::Sign { by, key: &five[..47], data: &[] }), None);
        let by = WrapMechanism::AesKw;
        assert_eq!(first(Command::WrapKey { by, kek: &five, key: &five }), Some([5; 16]));
        assert_eq!(first(Command::WrapKey { by, kek: &five, key: &six }), None);
        assert_eq!(Forms::of(Command::Status).keys(), cluster::Forms::ANY);
        let two = Forms::under([1; 16], Command::Status).or(Command::Reencipher { blob: &six });
        let keys = cluster::Forms { first: Some([1; 16]), second: Some([6; 16]), prefer_first: false };
        assert_eq!(two.keys(), keys);
    }
}
