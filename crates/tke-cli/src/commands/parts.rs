//! Key parts: `mks`, `mk-add`, `mk-rm`, and the parts that commands use.

use crate::commands::cards::trusted_list;
use crate::context::Context;
use crate::error::TkeError;
use crate::plan;
use crate::report::{Columns, Report};
use crate::secrets::{confirm, part_value};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use tke::card::{CardPart, PartList};
use tke::part::{KeyPartFile, KeyPartHolder, KeyPartSet, KeyParts, ListedKeyPart, PartLabel, list_key_parts};
use unit_api::VerificationPattern;
use wire::text::error_chain;

/// Smallest number of hexadecimal digits by which an identifier can be given.
const MIN_PREFIX: usize = 8;

/// Options of `mk-add`.
#[derive(Clone, Debug, Args)]
pub struct MkAddArgs {
    /// Label of the part, 1 to 30 characters.
    pub label: String,
    /// Generate a random part.
    #[arg(long, conflicts_with = "value_file")]
    pub random: bool,
    /// Read the value (64 hexadecimal digits) from a file, instead of asking for it.
    #[arg(long, value_name = "FILE")]
    pub value_file: Option<PathBuf>,
}

/// Options of `mk-rm`.
#[derive(Clone, Debug, Args)]
pub struct MkRmArgs {
    /// Label of the part, or the first digits of its identifier.
    pub label: String,
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
}

/// The parts of a master key.
#[derive(Clone, Debug, Default, Args)]
pub struct PartArgs {
    /// Label of a key part file. A master key has two or three parts; may be given several times.
    #[arg(long, value_name = "LABEL")]
    pub part: Vec<String>,
    /// A key part on a card (reader 2).
    #[arg(long, value_name = "FILE#LABEL")]
    pub part_card: Vec<String>,
}

impl PartArgs {
    pub(crate) const fn is_empty(&self) -> bool {
        self.part.is_empty() && self.part_card.is_empty()
    }

    /// Opens the parts and calculates the pattern of the master key.
    pub(crate) fn open(
        &self,
        context: &Context<'_>,
        list: Option<&PartList>,
    ) -> Result<KeyPartSet, TkeError> {
        let mut cards = Vec::new();
        for given in &self.part_card {
            cards.push(card_part(context, given)?);
        }
        let mut files = Vec::new();
        for label in &self.part {
            let listed = find(context, label)?;
            let password = context.secrets.password(listed.label.as_str())?;
            let opened = KeyPartFile::open(&listed.path, &password);
            files.push(opened.map_err(|source| TkeError::Part { label: listed.label.to_string(), source })?);
        }
        match (list, cards.is_empty(), files.is_empty()) {
            (None, true, _) => Ok(KeyPartSet::of_files(files)?),
            (None, false, true) => Ok(KeyPartSet::of_cards(cards)?),
            (None, false, false) => Err(TkeError::refused(
                "some parts are in files and some on cards, and only a card can combine parts on cards. Copy the files to \
                 a card (`card-part --import`)",
            )),
            (Some(list), _, _) => {
                let cards = cards.into_iter().map(|part| Box::new(part) as Box<dyn KeyPartHolder>);
                let files = files.into_iter().map(|part| Box::new(part) as Box<dyn KeyPartHolder>);
                Ok(KeyPartSet::of_list(cards.chain(files).collect(), list)?)
            }
        }
    }
}

/// The verification pattern of a master key, from any source but a unit.
#[derive(Clone, Debug, Default, Args)]
pub struct PatternArgs {
    /// Parts of the master key.
    #[command(flatten)]
    pub parts: PartArgs,
    /// A part list that a card signed.
    #[arg(long, value_name = "FILE")]
    pub part_list: Option<PathBuf>,
    /// Verification pattern of the master key: 64 hexadecimal digits.
    #[arg(long, value_name = "HEX", value_parser = parse_pattern)]
    pub pattern: Option<VerificationPattern>,
}

impl PatternArgs {
    /// The pattern of the parts, of the list, or as given; `remembered` is the one of the last load from this folder.
    pub(crate) fn pattern(
        &self,
        context: &Context<'_>,
        remembered: Option<VerificationPattern>,
    ) -> Result<VerificationPattern, TkeError> {
        let list = self.part_list.as_deref().map(|path| trusted_list(context, path)).transpose()?;
        let mut found = list.as_ref().map(PartList::combined);
        if !self.parts.is_empty() {
            found = Some(self.parts.open(context, list.as_ref())?.combined_pattern());
        }
        match (found, self.pattern) {
            (Some(calculated), Some(given)) if !calculated.is_of_same_key(&given) => {
                Err(TkeError::OtherPattern { calculated, given })
            }
            (Some(pattern), _) | (None, Some(pattern)) => Ok(pattern),
            (None, None) => remembered.ok_or(TkeError::NoPattern),
        }
    }
}

fn parse_pattern(text: &str) -> Result<VerificationPattern, String> {
    plan::pattern(text).ok_or_else(|| "a verification pattern has 64 hexadecimal digits".to_owned())
}

/// Splits `FILE#LABEL` into the card file and the label of the key part.
pub(crate) fn card_place(given: &str) -> Result<(PathBuf, PartLabel), TkeError> {
    let (path, label) = given.rsplit_once('#').ok_or_else(|| TkeError::Unknown {
        what: "part on a card",
        given: given.to_owned(),
        hint: "write FILE#LABEL",
    })?;
    Ok((path.into(), label_of(label)?))
}

fn card_part(context: &Context<'_>, given: &str) -> Result<CardPart, TkeError> {
    let (path, label) = card_place(given)?;
    let card = context.readers.ep11(&path, &context.secrets)?;
    card.part(&label).map_err(TkeError::card(&path))
}

/// Checks the label of a part.
pub(crate) fn label_of(given: &str) -> Result<PartLabel, TkeError> {
    PartLabel::try_from(given).map_err(|source| TkeError::Name {
        what: "a key part (1 to 30 characters)",
        given: given.to_owned(),
        source,
    })
}

fn list(context: &Context<'_>) -> Result<Vec<ListedKeyPart>, TkeError> {
    let failed = |source| TkeError::Part { label: context.path().display().to_string(), source };
    let KeyParts { parts, unreadable } = list_key_parts(&context.folder).map_err(failed)?;
    for (path, error) in unreadable {
        context.console.note(&format!("{} is skipped: {}", path.display(), error_chain(&error)));
    }
    Ok(parts)
}

/// The part with this label, or with an identifier that begins with these digits.
pub(crate) fn find(context: &Context<'_>, given: &str) -> Result<ListedKeyPart, TkeError> {
    let prefix = given.to_ascii_lowercase();
    let fits = |part: &ListedKeyPart| {
        part.label.as_str() == given
            || (prefix.len() >= MIN_PREFIX && part.id.to_string().starts_with(&prefix))
    };
    let mut found: Vec<_> = list(context)?.into_iter().filter(fits).collect();
    match (found.pop(), found.len()) {
        (Some(part), 0) => Ok(part),
        (Some(_), more) => {
            Err(TkeError::Ambiguous { what: "key part", given: given.to_owned(), count: more + 1 })
        }
        (None, _) => Err(TkeError::Unknown {
            what: "key part",
            given: given.to_owned(),
            hint: "`mks` lists them, `mk-add` adds one",
        }),
    }
}

/// `mks`: lists the key part files.
pub(crate) fn show(context: &Context<'_>) -> Result<Report, TkeError> {
    let mut columns = Columns::new(["KEYNUM", "DESCRIPTION", "ORIGIN", "IDENTIFIER", "FILE"]);
    let mut parts = Vec::new();
    for (number, part) in (1..).zip(list(context)?) {
        let id = part.id.to_string();
        columns.row([
            number.to_string(),
            part.label.to_string(),
            part.origin.name().to_owned(),
            id.chars().take(30).collect::<String>() + "...",
            part.path.display().to_string(),
        ]);
        parts.push(json!({
            "number": number, "label": part.label.as_str(), "origin": part.origin.name(), "id": id, "file": part.path,
        }));
    }
    let text = if parts.is_empty() {
        format!(
            "No key part files in {}. Generate one with `mk-add LABEL --random`.",
            context.path().display()
        )
    } else {
        columns.text()
    };
    Ok(Report::new(text, json!({ "key_parts": parts })))
}

/// `mk-add`: generates or enters a key part in a new file.
pub(crate) fn add(context: &Context<'_>, args: &MkAddArgs) -> Result<Report, TkeError> {
    let label = label_of(&args.label)?;
    let part_error = |source| TkeError::Part { label: args.label.clone(), source };
    let made = if args.random {
        let password = context.secrets.new_password(&args.label)?;
        KeyPartFile::generate(&context.folder, label.clone(), &password, context.cost())
    } else {
        let value = part_value(context.console, args.value_file.as_deref(), &args.label)?;
        let password = context.secrets.new_password(&args.label)?;
        KeyPartFile::enter(&context.folder, label.clone(), &value, &password, context.cost())
    };
    let part = made.map_err(part_error)?;
    let path = &part.listed().path;
    let pattern = part.pattern().to_string();
    let text = format!(
        "Key part `{label}` is in {}.\nVerification pattern, for its custodian:\n{}\nMake a backup of the file: without it, \
         the master key is lost.",
        path.display(),
        crate::tables::two_lines(&pattern)
    );
    let id = part.id().to_string();
    Ok(Report::new(text, json!({ "label": label.as_str(), "id": id, "file": path, "pattern": pattern })))
}

/// `mk-rm`: deletes a key part file.
pub(crate) fn remove(context: &Context<'_>, args: &MkRmArgs) -> Result<Report, TkeError> {
    let part = find(context, &args.label)?;
    let question =
        format!("Delete key part `{}`? Without it, its master key can never be loaded again.", part.label);
    confirm(context.console, args.yes, &question)?;
    std::fs::remove_file(&part.path).map_err(TkeError::file(&part.path))?;
    let text = format!("Key part `{}` is deleted.", part.label);
    Ok(Report::new(text, json!({ "label": part.label.as_str(), "id": part.id.to_string() })))
}
