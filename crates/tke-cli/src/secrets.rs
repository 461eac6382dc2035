//! Passwords and PINs: entered without echo, or read from files. Never from the command line, never printed.

use crate::console::Console;
use crate::error::TkeError;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use tke::card::{CaPins, Pin};
use tke::secret_file::{Password, same_entry};
use zeroize::Zeroizing;

/// Bytes that are read of a secret file.
const MAX_LEN: u64 = 4096;

/// Sources of passwords and PINs.
pub(crate) struct Secrets<'a> {
    console: &'a dyn Console,
    passwords: Sources,
    pins: Sources,
}

/// Files with secrets: by name, and one for all other names.
#[derive(Debug, Default)]
struct Sources {
    named: BTreeMap<String, PathBuf>,
    other: Option<PathBuf>,
}

/// Parses `NAME=PATH` or `PATH`.
pub(crate) fn parse_source(text: &str) -> Result<(Option<String>, PathBuf), String> {
    match text.split_once('=') {
        Some(("", _) | (_, "")) => Err("write NAME=PATH or PATH".to_owned()),
        Some((name, path)) => Ok((Some(name.to_owned()), path.into())),
        None => Ok((None, text.into())),
    }
}

impl Sources {
    fn new(given: &[(Option<String>, PathBuf)]) -> Self {
        let mut sources = Self::default();
        for (name, path) in given {
            match name {
                Some(name) => drop(sources.named.insert(name.clone(), path.clone())),
                None => sources.other = Some(path.clone()),
            }
        }
        sources
    }

    fn of<'a>(&'a self, names: &[&str]) -> Option<&'a Path> {
        let named = names.iter().find_map(|name| self.named.get(*name));
        named.or(self.other.as_ref()).map(PathBuf::as_path)
    }
}

impl<'a> Secrets<'a> {
    pub(crate) fn new(
        console: &'a dyn Console,
        passwords: &[(Option<String>, PathBuf)],
        pins: &[(Option<String>, PathBuf)],
    ) -> Self {
        Self { console, passwords: Sources::new(passwords), pins: Sources::new(pins) }
    }

    /// The password of an existing file.
    pub(crate) fn password(&self, name: &str) -> Result<Password, TkeError> {
        let text = match self.passwords.of(&[name]) {
            Some(path) => first_lines::<1>(path)?.into_iter().next().unwrap_or_default(),
            None => ask(self.console, "password", name, "--password-file")?,
        };
        Ok(take(text))
    }

    /// The password of a new file, entered twice.
    pub(crate) fn new_password(&self, name: &str) -> Result<Password, TkeError> {
        let text = match self.passwords.of(&[name]) {
            Some(path) => first_lines::<1>(path)?.into_iter().next().unwrap_or_default(),
            None => ask_twice(self.console, "password", name, "--password-file")?,
        };
        Ok(take(text))
    }

    /// The PIN of an existing card.
    pub(crate) fn pin(&self, card: &Path) -> Result<Pin, TkeError> {
        self.one_pin(card, ask)
    }

    /// A new PIN, entered twice.
    pub(crate) fn new_pin(&self, card: &Path) -> Result<Pin, TkeError> {
        self.one_pin(card, ask_twice)
    }

    fn one_pin(&self, card: &Path, ask: Ask) -> Result<Pin, TkeError> {
        let (full, stem) = card_names(card);
        let text = match self.pins.of(&[&full, &stem]) {
            Some(path) => first_lines::<1>(path)?.into_iter().next().unwrap_or_default(),
            None => ask(self.console, "PIN", &full, "--pin-file")?,
        };
        Pin::parse(&text).map_err(TkeError::card(card))
    }

    /// Both PINs of a CA card; in a file, one on each of the first two lines.
    pub(crate) fn ca_pins(&self, card: &Path) -> Result<CaPins, TkeError> {
        self.two_pins(card, ask)
    }

    /// Both PINs of a new CA card, each entered twice by its owner.
    pub(crate) fn new_ca_pins(&self, card: &Path) -> Result<CaPins, TkeError> {
        self.two_pins(card, ask_twice)
    }

    fn two_pins(&self, card: &Path, ask: Ask) -> Result<CaPins, TkeError> {
        let (full, stem) = card_names(card);
        let parse = |text: &str| Pin::parse(text).map_err(TkeError::card(card));
        if let Some(path) = self.pins.of(&[&full, &stem]) {
            let [first, second] = first_lines::<2>(path)?;
            return Ok(CaPins { first: parse(&first)?, second: parse(&second)? });
        }
        let first = ask(self.console, "first owner's PIN", &full, "--pin-file")?;
        let second = ask(self.console, "second owner's PIN", &full, "--pin-file")?;
        Ok(CaPins { first: parse(&first)?, second: parse(&second)? })
    }
}

type Ask = fn(&dyn Console, &'static str, &str, &'static str) -> Result<Zeroizing<String>, TkeError>;

fn card_names(card: &Path) -> (String, String) {
    let stem = card.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    (card.display().to_string(), stem)
}

/// The value of a key part: 64 hexadecimal digits, from a file or entered twice.
pub(crate) fn part_value(
    console: &dyn Console,
    file: Option<&Path>,
    label: &str,
) -> Result<Zeroizing<String>, TkeError> {
    match file {
        Some(path) => Ok(first_lines::<1>(path)?.into_iter().next().unwrap_or_default()),
        None => ask_twice(console, "value (64 hexadecimal digits)", label, "--value-file"),
    }
}

/// Asks for confirmation. Without a terminal, `--yes` is needed.
pub(crate) fn confirm(console: &dyn Console, yes: bool, question: &str) -> Result<(), TkeError> {
    if yes || console.confirm(question) == Some(true) { Ok(()) } else { Err(TkeError::NotConfirmed) }
}

fn ask(
    console: &dyn Console,
    what: &'static str,
    name: &str,
    option: &'static str,
) -> Result<Zeroizing<String>, TkeError> {
    prompt(console, &format!("{what} of {name}: "), what, name, option)
}

fn ask_twice(
    console: &dyn Console,
    what: &'static str,
    name: &str,
    option: &'static str,
) -> Result<Zeroizing<String>, TkeError> {
    let first = prompt(console, &format!("new {what} of {name}: "), what, name, option)?;
    let second = prompt(console, &format!("new {what} of {name}, again: "), what, name, option)?;
    if same_entry(&first, &second) { Ok(first) } else { Err(TkeError::EntriesDiffer) }
}

fn prompt(
    console: &dyn Console,
    prompt: &str,
    what: &'static str,
    name: &str,
    option: &'static str,
) -> Result<Zeroizing<String>, TkeError> {
    console.secret(prompt).ok_or_else(|| TkeError::NoTerminal { what, name: name.to_owned(), option })
}

/// The first lines of a file; missing lines are empty.
fn first_lines<const N: usize>(path: &Path) -> Result<[Zeroizing<String>; N], TkeError> {
    // Allocated once: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(MAX_LEN).unwrap_or(0) + 1));
    let read = File::open(path).and_then(|file| file.take(MAX_LEN).read_to_string(&mut text));
    read.map_err(TkeError::file(path))?;
    let mut lines = text.lines();
    Ok(std::array::from_fn(|_| Zeroizing::new(lines.next().unwrap_or_default().to_owned())))
}

fn take(mut text: Zeroizing<String>) -> Password {
    Password::new(std::mem::take(&mut *text))
}

#[cfg(test)]
mod tests {
    use super::{Secrets, parse_source};
    use crate::console::{Console, Progress, ProgressKind};
    use std::path::Path;
    use zeroize::Zeroizing;

    /// A console without a terminal.
    struct NoTerminal;

    impl Console for NoTerminal {
        fn result(&self, _: &str) {}

        fn note(&self, _: &str) {}

        fn confirm(&self, _: &str) -> Option<bool> {
            None
        }

        fn secret(&self, _: &str) -> Option<Zeroizing<String>> {
            None
        }

        fn progress(&self, _: &str, _: ProgressKind) -> Box<dyn Progress> {
            unreachable!("secrets show no progress")
        }
    }

    #[test]
    fn a_named_file_takes_precedence() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        std::fs::write(&one, "111111\n222222\n").unwrap();
        std::fs::write(&other, "33333\n").unwrap();
        let pins = [(Some("a".to_owned()), one), (None, other)];
        let secrets = Secrets::new(&NoTerminal, &[], &pins);
        assert!(secrets.pin(Path::new("cards/a.card")).is_ok());
        assert!(secrets.ca_pins(Path::new("a.card")).is_ok());
        assert!(secrets.pin(Path::new("b.card")).is_err(), "five digits are not a PIN");
    }

    #[test]
    fn sources_are_paths_with_or_without_a_name() {
        assert_eq!(parse_source("a=b"), Ok((Some("a".to_owned()), "b".into())));
        assert_eq!(parse_source("/x/y"), Ok((None, "/x/y".into())));
        assert!(parse_source("=b").is_err() && parse_source("a=").is_err());
    }
}
