//! A command in the forms that it can be sent in while the master key is being rotated.

use unit_api::{Command, Wkid};

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
        Self { first: Form { command, under: command.wkid() }, second: None, prefer_first: false }
    }

    /// The only form, for units with this master key.
    #[must_use]
    pub const fn under(wkid: Wkid, command: Command<'a>) -> Self {
        Self { first: Form { command, under: Some(wkid) }, second: None, prefer_first: false }
    }

    /// Adds the second form: for units with the master key that its blobs are under.
    #[must_use]
    pub fn or(self, command: Command<'a>) -> Self {
        Self { second: Some(Form { command, under: command.wkid() }), ..self }
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

#[cfg(test)]
mod tests {
    use super::Forms;
    use unit_api::Command;

    #[test]
    fn a_form_is_under_the_master_key_of_its_blobs_or_the_one_named() {
        let blob = |wkid: u8| [[0; 16], [0; 16], [wkid; 16], [0; 16]].concat();
        let (five, six) = (blob(5), blob(6));
        assert_eq!(Forms::of(Command::Reencipher { blob: &five }).keys(), cluster::Forms::under([5; 16]));
        assert_eq!(Forms::of(Command::Status).keys(), cluster::Forms::ANY);
        let two = Forms::under([1; 16], Command::Status).or(Command::Reencipher { blob: &six });
        let keys = cluster::Forms { first: Some([1; 16]), second: Some([6; 16]), prefer_first: false };
        assert_eq!(two.keys(), keys);
    }
}
