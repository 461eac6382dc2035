//! A key's blobs during a master-key rotation, and the commands made of them.

use unit_api::{Command, Variant, Variants};

/// The blobs of one key that some unit can open: one, or one under each master key. Borrowed from the key's record.
#[derive(Clone, Copy)]
pub(crate) struct BlobVariants<'a> {
    pub(crate) first: &'a [u8],
    pub(crate) second: Option<&'a [u8]>,
}

impl<'a> BlobVariants<'a> {
    pub(crate) const fn one(blob: &'a [u8]) -> Self {
        Self { first: blob, second: None }
    }

    /// The command with each of the blobs.
    pub(crate) fn each(self, command: impl Fn(&'a [u8]) -> Command<'a>) -> Variants<'a> {
        let second = self.second.map(|blob| Variant::of(command(blob)));
        Variants { second, ..Variants::of(command(self.first)) }
    }
}
