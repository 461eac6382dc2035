//! A command in the forms that it can be sent in while the master key is being rotated.

use unit_api::{Command, Wkid};

/// A command, once or twice: with its blobs under one master key, and with the same blobs under another.
///
/// Which one is sent is decided by the master key of the unit that serves it; whoever stands behind
/// [`Units`](crate::Units) knows it.
#[derive(Clone, Copy, Debug)]
pub struct Forms<'a> {
    /// The first, often the only one.
    pub first: Form<'a>,
    /// The second.
    pub second: Option<Form<'a>>,
    /// Whether a unit for the first form is to be taken as long as there is one.
    pub prefer_first: bool,
}

/// One form of a command.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// What to send.
    pub command: Command<'a>,
    /// The master key that the unit must have; none: the one that the command's blobs are under, any if it has none.
    pub under: Option<Wkid>,
}

impl<'a> Forms<'a> {
    /// The only form.
    #[must_use]
    pub const fn of(command: Command<'a>) -> Self {
        Self { first: Form { command, under: None }, second: None, prefer_first: false }
    }

    /// The only form, for units with this master key.
    #[must_use]
    pub const fn under(wkid: Wkid, command: Command<'a>) -> Self {
        Self { first: Form { command, under: Some(wkid) }, second: None, prefer_first: false }
    }

    /// The same command for units with another master key, when there is no unit for the first.
    #[must_use]
    pub const fn else_under(self, wkid: Wkid) -> Self {
        let second = Some(Form { command: self.first.command, under: Some(wkid) });
        Self { second, prefer_first: true, ..self }
    }
}

/// The forms of one key's blob that some unit can open. Borrowed from its record.
#[derive(Clone, Copy)]
pub(crate) struct BlobForms<'a> {
    pub(crate) first: &'a [u8],
    pub(crate) second: Option<&'a [u8]>,
}

impl<'a> BlobForms<'a> {
    pub(crate) const fn one(blob: &'a [u8]) -> Self {
        Self { first: blob, second: None }
    }

    /// The command in as many forms as there are of the blob.
    pub(crate) fn each(self, command: impl Fn(&'a [u8]) -> Command<'a>) -> Forms<'a> {
        let second = self.second.map(|blob| Form { command: command(blob), under: None });
        Forms { second, ..Forms::of(command(self.first)) }
    }
}
