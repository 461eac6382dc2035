//! The pin of a store: what is known of it outside of its file.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::open::write_beside;
use super::record::Header;
use crate::{Revision, StoreIdentity};

/// First line of the file.
const TITLE: &str = "hsm-sim keystore pin 2";
/// Of earlier versions, whose marks have no second number.
const EARLIER_TITLE: &str = "hsm-sim keystore pin 1";

/// Which deviations from its pin a store may have when it is opened. Each is refused by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The file is missing: a new store is created.
    pub missing: bool,
    /// The file is older than the pin, or the pin is damaged: changes that the pin knows of are lost.
    pub older: bool,
    /// The file is another store than the pinned one.
    pub other: bool,
}

impl Accepted {
    /// Accepts a missing file, and creates a new store.
    #[must_use]
    pub const fn missing(self, missing: bool) -> Self {
        Self { missing, ..self }
    }

    /// Accepts a file that is older than its pin.
    #[must_use]
    pub const fn older(self, older: bool) -> Self {
        Self { older, ..self }
    }

    /// Accepts another store than the pinned one.
    #[must_use]
    pub const fn other(self, other: bool) -> Self {
        Self { other, ..self }
    }
}

/// A mark of the pin's user: three numbers, compared in their order. It only rises. One of an earlier version has 0 as the
/// second.
pub type PinMark = (u64, u64, u64);

/// The pin of a store: identity, last revision and marks of its user, in a file beside the store or elsewhere.
///
/// The pin follows the store and is never ahead of it: it is written a second after a change, and when the store is
/// closed. An adversary who can write the file of the store, but not the pin, can undo the changes of that second at
/// most, if the process was killed during it.
pub struct StorePin {
    path: PathBuf,
    state: Mutex<Pinned>,
}

/// What the pin's file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pinned {
    /// `None` before a store exists.
    pub(super) identity: Option<StoreIdentity>,
    /// The identity that the store is about to get.
    pub(super) next: Option<StoreIdentity>,
    /// Whether the store's file was created.
    pub(super) created: bool,
    pub(super) revision: Revision,
    pub(super) marks: BTreeMap<String, PinMark>,
}

/// How a store differs from its pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deviation {
    Missing,
    Older,
    Other,
}

impl Pinned {
    /// Compares a store with the pin; `None`: the file is missing.
    pub(super) fn compare(&self, found: Option<&Header>) -> Result<(), Deviation> {
        match (self.identity, found) {
            (_, None) if self.created => Err(Deviation::Missing),
            (None, Some(_)) | (_, None) => Ok(()),
            (Some(identity), Some(found)) if identity == found.identity => {
                if found.revision < self.revision {
                    Err(Deviation::Older)
                } else {
                    Ok(())
                }
            }
            // A crash came between the store's change of identity and the pin's.
            (Some(_), Some(found)) if self.next == Some(found.identity) => Ok(()),
            (Some(_), Some(_)) => Err(Deviation::Other),
        }
    }

    /// Follows a store that was opened.
    pub(super) fn set_to(&mut self, header: &Header) {
        self.identity = Some(header.identity);
        self.next = None;
        self.created = true;
        self.revision = header.revision;
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        fn number<T: FromStr>(text: &str) -> Option<T> {
            text.parse().ok()
        }
        let identity = |text: &str| {
            let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten()?;
            Some(StoreIdentity(number.to_be_bytes()))
        };
        let mut lines = text.lines();
        let is_earlier = match lines.next()? {
            TITLE => false,
            EARLIER_TITLE => true,
            _ => return None,
        };
        let (mut pinned, mut created) = (Self::default(), None);
        let mut is_whole = false;
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                _ if is_whole => return None,
                ["identity", text] => pinned.identity = Some(identity(text)?),
                ["next", text] => pinned.next = Some(identity(text)?),
                ["created", "yes"] => created = Some(true),
                ["created", "no"] => created = Some(false),
                ["revision", text] => pinned.revision = Revision(number(text)?),
                ["mark", name, first, third] if is_earlier => {
                    pinned.marks.insert((*name).to_owned(), (number(first)?, 0, number(third)?));
                }
                ["mark", name, first, second, third] if !is_earlier => {
                    let mark = (number(first)?, number(second)?, number(third)?);
                    pinned.marks.insert((*name).to_owned(), mark);
                }
                ["end"] => is_whole = true,
                _ => return None,
            }
        }
        pinned.created = created.filter(|_| is_whole)?;
        Some(pinned)
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TITLE}")?;
        if let Some(identity) = self.identity {
            writeln!(f, "identity {identity}")?;
        }
        if let Some(next) = self.next {
            writeln!(f, "next {next}")?;
        }
        writeln!(f, "created {}", if self.created { "yes" } else { "no" })?;
        writeln!(f, "revision {}", self.revision.0)?;
        for (name, (first, second, third)) in &self.marks {
            writeln!(f, "mark {name} {first} {second} {third}")?;
        }
        f.write_str("end\n")
    }
}

impl StorePin {
    /// Writes the pin of a store that does not exist yet, unless there is a pin. A store whose folder has such a pin may be
    /// created; without a pin, [`RedbOptions::must_exist`](crate::RedbOptions::must_exist) refuses a missing file.
    ///
    /// # Errors
    /// The operating system's.
    pub fn begin(path: &Path) -> io::Result<()> {
        if path.try_exists()? {
            return Ok(());
        }
        write_beside(path, Pinned::default().to_string().as_bytes())
    }

    /// Reads a pin; `None` if there is no file, and an inner `None` if it is damaged.
    pub(super) fn read(path: &Path) -> io::Result<Option<Option<Pinned>>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(std::str::from_utf8(&bytes).ok().and_then(Pinned::parse))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub(super) fn new(path: &Path, pinned: Pinned) -> Self {
        Self { path: path.into(), state: Mutex::new(pinned) }
    }

    fn lock(&self) -> MutexGuard<'_, Pinned> {
        // A thread that panicked has left a state that was true.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the store is older than its pin.
    pub(super) fn is_ahead_of(&self, header: &Header) -> bool {
        let state = self.lock();
        state.identity == Some(header.identity) && state.revision > header.revision
    }

    /// Changes the pin and makes the change durable. A failure leaves the old file, and the change in memory.
    pub(super) fn update(&self, change: impl FnOnce(&mut Pinned)) -> io::Result<()> {
        let mut state = self.lock();
        change(&mut state);
        // Under the lock, so that an older state does not replace a newer one.
        write_beside(&self.path, state.to_string().as_bytes())
    }

    /// Raises the revision and makes everything durable.
    pub(super) fn follow(&self, at: Revision) -> io::Result<()> {
        self.update(|pinned| pinned.revision = pinned.revision.max(at))
    }

    /// The highest mark of this name.
    #[must_use]
    pub fn mark(&self, name: &str) -> Option<PinMark> {
        self.lock().marks.get(name).copied()
    }

    /// Raises a mark, which must be that of a state that the store has made durable. It becomes durable with the pin. The
    /// name must be neither empty nor contain white space.
    pub fn raise_mark(&self, name: &str, mark: PinMark) {
        debug_assert!(!name.is_empty() && !name.contains(char::is_whitespace), "{name:?}");
        let mut state = self.lock();
        match state.marks.get_mut(name) {
            Some(kept) => *kept = (*kept).max(mark),
            None => drop(state.marks.insert(name.to_owned(), mark)),
        }
    }
}

impl fmt::Debug for StorePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorePin").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Deviation, Header, Pinned, Revision, StoreIdentity};

    fn pinned() -> Pinned {
        let marks = [("a".to_owned(), (1, 5, u64::MAX)), ("b".to_owned(), (0, 0, 2))].into();
        let (identity, next) = (Some(StoreIdentity([0xab; 16])), Some(StoreIdentity([1; 16])));
        Pinned { identity, next, created: true, revision: Revision(7), marks }
    }

    /// Existing data directories depend on this text.
    #[test]
    fn wire_a_pin_is_the_documented_text() {
        let text = "hsm-sim keystore pin 2\nidentity abababababababababababababababab\n\
                    next 01010101010101010101010101010101\ncreated yes\nrevision 7\n\
                    mark a 1 5 18446744073709551615\nmark b 0 0 2\nend\n";
        assert_eq!(pinned().to_string(), text);
        assert_eq!(Pinned::parse(text), Some(pinned()));
        let new = "hsm-sim keystore pin 2\ncreated no\nrevision 0\nend\n";
        assert_eq!(Pinned::default().to_string(), new);
        assert_eq!(Pinned::parse(new), Some(Pinned::default()));
    }

    #[test]
    fn wire_a_pin_of_an_earlier_version_is_read() {
        let earlier = "hsm-sim keystore pin 1\nidentity abababababababababababababababab\n\
                       next 01010101010101010101010101010101\ncreated yes\nrevision 7\n\
                       mark a 1 18446744073709551615\nmark b 0 2\nend\n";
        let mut pinned = pinned();
        pinned.marks.insert("a".to_owned(), (1, 0, u64::MAX));
        assert_eq!(Pinned::parse(earlier), Some(pinned));
        assert_eq!(Pinned::parse(&earlier.replace("mark b 0 2", "mark b 0 0 2")), None);
        assert_eq!(Pinned::parse(&earlier.replace("pin 1", "pin 2")), None);
        assert_eq!(Pinned::parse(&earlier.replace("pin 1", "pin 3")), None);
    }

    #[test]
    fn a_text_that_is_cut_or_extended_is_no_pin() {
        let text = pinned().to_string();
        for len in 0..text.len() - 1 {
            assert_eq!(Pinned::parse(&text[..len]), None, "{len}");
        }
        for bad in ["mark c\n", "\n", "x"] {
            assert_eq!(Pinned::parse(&format!("{text}{bad}")), None);
        }
        assert_eq!(Pinned::parse(&text.replace("abab", "+bab")), None);
    }

    #[test]
    fn exhaustive_each_deviation_has_its_name() {
        let header = |identity, revision| Header {
            identity: StoreIdentity([identity; 16]),
            revision: Revision(revision),
            oldest: Revision(0),
        };
        let (identity, next) = (Some(StoreIdentity([1; 16])), Some(StoreIdentity([2; 16])));
        let full = Pinned { identity, next, created: true, revision: Revision(7), ..Pinned::default() };
        let creating = Pinned { created: false, next: None, revision: Revision(0), ..full.clone() };
        for (pinned, found, expected) in [
            (&Pinned::default(), None, Ok(())),
            (&Pinned::default(), Some(header(9, 3)), Ok(())),
            (&creating, None, Ok(())),
            (&creating, Some(header(1, 0)), Ok(())),
            (&creating, Some(header(3, 9)), Err(Deviation::Other)),
            (&full, None, Err(Deviation::Missing)),
            (&full, Some(header(1, 7)), Ok(())),
            (&full, Some(header(1, 8)), Ok(())),
            (&full, Some(header(1, 6)), Err(Deviation::Older)),
            (&full, Some(header(2, 6)), Ok(())),
            (&full, Some(header(3, 7)), Err(Deviation::Other)),
        ] {
            assert_eq!(pinned.compare(found.as_ref()), expected, "{pinned:?} {found:?}");
        }
    }
}
