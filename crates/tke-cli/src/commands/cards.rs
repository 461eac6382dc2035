//! Software smart cards: `cards` and `card-…`.

use crate::commands::parts::{card_place, find as find_part, label_of};
use crate::context::Context;
use crate::error::TkeError;
use crate::readers::ca;
use crate::report::{Columns, Report};
use crate::secrets::part_value;
use crate::signers::{administrator_name, find as find_key, open as open_key};
use crate::store;
use crate::tables::two_lines;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tke::card::{CaCard, CardError, Ep11Card, Ep11Session, HeldPart, PartList, PartListInvalid, ZoneId};
use tke::holder::SignatureKey;
use tke::part::{KeyPartFile, PartLabel, PartSetError};

/// File of the identifiers of trusted zones.
const ZONES: &str = "card-zones.json";

/// Options of `card-ca-init`.
#[derive(Clone, Debug, Args)]
pub struct CaArgs {
    /// File of the new CA card.
    pub file: PathBuf,
    /// Make it a copy of this CA card, of the same zone.
    #[arg(long, value_name = "FILE")]
    pub backup_of: Option<PathBuf>,
}

/// An EP11 card and a CA card of its zone.
#[derive(Clone, Debug, Args)]
pub struct CardAndCaArgs {
    /// File of the EP11 card.
    pub file: PathBuf,
    /// The CA card.
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
}

/// Options of `card-sigkey`.
#[derive(Clone, Debug, Args)]
pub struct CardSigkeyArgs {
    /// The card.
    pub file: PathBuf,
    /// The administrator's name, 1 to 30 characters.
    #[arg(required_unless_present = "import")]
    pub name: Option<String>,
    /// Copy the key of a signature key file to the card, instead of generating one inside.
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    pub import: Option<String>,
}

/// Options of `card-part`.
#[derive(Clone, Debug, Args)]
pub struct CardPartArgs {
    /// The card.
    pub file: PathBuf,
    /// Label of the part, 1 to 30 characters. It is generated inside the card unless an option gives its value.
    #[arg(required_unless_present = "import")]
    pub label: Option<String>,
    /// Read the value (64 hexadecimal digits) from a file.
    #[arg(long, value_name = "FILE", conflicts_with = "enter")]
    pub value_file: Option<PathBuf>,
    /// Ask for the value (64 hexadecimal digits).
    #[arg(long)]
    pub enter: bool,
    /// Copy the part of a key part file to the card.
    #[arg(long, value_name = "LABEL", conflicts_with_all = ["label", "value_file", "enter"])]
    pub import: Option<String>,
}

/// Options of `card-copy`.
#[derive(Clone, Debug, Args)]
pub struct CardCopyArgs {
    /// The card to copy from.
    pub from: PathBuf,
    /// The card to copy to, of the same zone.
    pub to: PathBuf,
}

/// Options of `cards`.
#[derive(Clone, Debug, Args)]
pub struct CardFiles {
    /// Files of cards.
    #[arg(required = true)]
    pub cards: Vec<PathBuf>,
    /// Show signature keys and key parts, which needs the PINs.
    #[arg(long)]
    pub contents: bool,
}

/// Options of `card-part-list`.
#[derive(Clone, Debug, Args)]
pub struct PartListArgs {
    /// A part of the master key, on a card. Two or three.
    #[arg(long, value_name = "FILE#LABEL", required = true)]
    pub part_card: Vec<String>,
    /// File for the signed list.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// `card-ca-init`: creates a CA card with a new zone, or copies one.
pub(crate) fn init_ca(context: &Context<'_>, args: &CaArgs) -> Result<Report, TkeError> {
    let (path, cost) = (&args.file, context.cost());
    let zone = match &args.backup_of {
        None => {
            let pins = context.secrets.new_ca_pins(path)?;
            CaCard::found_zone(path, &pins, cost).map_err(TkeError::card(path))?
        }
        Some(original) => {
            let session = ca(original, &context.secrets)?;
            let pins = context.secrets.new_ca_pins(path)?;
            session.back_up(path, &pins, cost).map_err(TkeError::card(path))?;
            session.zone()
        }
    };
    trust_zone(context, zone)?;
    let text = format!(
        "CA card {} of zone {zone} is created.\nIts two PINs belong to two owners. Five wrong tries block it permanently: make \
         a copy (`card-ca-init --backup-of`).\n{SIMULATED}",
        path.display()
    );
    Ok(Report::new(text, json!({ "file": path, "zone": zone.to_string() })))
}

const SIMULATED: &str = "A software card is a simulation for rehearsals: an attacker who copies its file can try every PIN on copies.";

/// `card-enroll`: creates an EP11 card in the zone of a CA card.
pub(crate) fn enroll(context: &Context<'_>, args: &CardAndCaArgs) -> Result<Report, TkeError> {
    let zone = ca(&args.ca, &context.secrets)?;
    let pin = context.secrets.new_pin(&args.file)?;
    let made = Ep11Card::enrol(&args.file, &zone, &pin, context.cost());
    let serial = made.map_err(TkeError::card(&args.file))?;
    trust_zone(context, zone.zone())?;
    let text = format!("EP11 card {} ({serial}) is enrolled in zone {}.", args.file.display(), zone.zone());
    Ok(Report::new(
        text,
        json!({ "file": args.file, "serial": serial.to_string(), "zone": zone.zone().to_string() }),
    ))
}

/// `card-unblock`: unblocks an EP11 card and sets a new PIN.
pub(crate) fn unblock(context: &Context<'_>, args: &CardAndCaArgs) -> Result<Report, TkeError> {
    let zone = ca(&args.ca, &context.secrets)?;
    let pin = context.secrets.new_pin(&args.file)?;
    zone.unblock(&args.file, &pin, context.cost()).map_err(TkeError::card(&args.file))?;
    let text =
        format!("Card {} is unblocked and has a new PIN. Its content is unchanged.", args.file.display());
    Ok(Report::new(text, json!({ "file": args.file })))
}

/// `card-sigkey`: generates a signature key on a card, or imports one.
pub(crate) fn sigkey(context: &Context<'_>, args: &CardSigkeyArgs) -> Result<Report, TkeError> {
    let path = &args.file;
    let card = context.readers.ep11(path, &context.secrets)?;
    let made = match (&args.import, &args.name) {
        (Some(name), _) => card.import_signature_key(&open_key(context, &find_key(context, name)?)?),
        (None, name) => card.generate_signature_key(administrator_name(name.as_deref().unwrap_or_default())?),
    };
    let key = made.map_err(TkeError::card(path))?;
    let (name, ski) = (key.name().to_string(), key.ski().to_string());
    let text = format!("Card {} has signature key `{name}` ({ski}).", path.display());
    Ok(Report::new(text, json!({ "file": path, "name": name, "ski": ski })))
}

/// `card-part`: generates a key part on a card, or enters or imports one.
pub(crate) fn part(context: &Context<'_>, args: &CardPartArgs) -> Result<Report, TkeError> {
    let path = &args.file;
    let card = context.readers.ep11(path, &context.secrets)?;
    let label = args.label.as_deref().unwrap_or_default();
    let made = if let Some(label) = &args.import {
        let listed = find_part(context, label)?;
        let password = context.secrets.password(listed.label.as_str())?;
        let file = KeyPartFile::open(&listed.path, &password)
            .map_err(|source| TkeError::Part { label: label.clone(), source })?;
        card.import_part(&file)
    } else if args.enter || args.value_file.is_some() {
        let value = part_value(context.console, args.value_file.as_deref(), label)?;
        card.enter_part(label_of(label)?, &value)
    } else {
        card.generate_part(label_of(label)?)
    };
    let held = made.map_err(TkeError::card(path))?;
    let pattern = held.pattern.to_string();
    let text = format!(
        "Card {} has key part `{}`.\nVerification pattern, for its custodian:\n{}\nCopy the card (`card-copy`): without the \
         part, the master key is lost.",
        path.display(),
        held.label,
        two_lines(&pattern)
    );
    Ok(Report::new(
        text,
        json!({ "file": path, "label": held.label.as_str(), "id": held.id.to_string(), "pattern": pattern }),
    ))
}

/// `card-copy`: copies the content of a card to another card of its zone.
pub(crate) fn copy(context: &Context<'_>, args: &CardCopyArgs) -> Result<Report, TkeError> {
    let from = context.readers.ep11(&args.from, &context.secrets)?;
    let to = context.readers.ep11(&args.to, &context.secrets)?;
    from.copy_to(&to).map_err(TkeError::card(&args.to))?;
    let text = format!("Card {} has the content of {}.", args.to.display(), args.from.display());
    Ok(Report::new(text, json!({ "from": args.from, "to": args.to })))
}

/// `cards`: shows smart cards.
pub(crate) fn show(context: &Context<'_>, args: &CardFiles) -> Result<Report, TkeError> {
    let mut columns = Columns::new(["CARD", "KIND", "SERIAL", "TRIES LEFT", "SIGNATURE KEY", "KEY PARTS"]);
    let mut cards = Vec::new();
    for path in &args.cards {
        let card = card_json(context, path, args.contents)?;
        let text = |name: &str| match card.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => {
                let labels = parts.iter().filter_map(|part| part.get("label")?.as_str());
                labels.collect::<Vec<_>>().join(", ")
            }
            Some(Value::Object(key)) => {
                key.get("name").and_then(Value::as_str).unwrap_or_default().to_owned()
            }
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        columns.row([
            path.display().to_string(),
            text("kind"),
            text("serial"),
            text("tries_left"),
            text("signature_key"),
            text("parts"),
        ]);
        cards.push(card);
    }
    Ok(Report::new(columns.text(), json!({ "cards": cards })))
}

fn card_json(context: &Context<'_>, path: &Path, contents: bool) -> Result<Value, TkeError> {
    match Ep11Card::insert(path) {
        Ok(card) => {
            let (serial, tries) = (card.serial().to_string(), card.tries_left());
            // Ejected here, so that the reader can insert it.
            drop(card);
            let held =
                if contents { Some(context.readers.ep11(path, &context.secrets)?.list()) } else { None };
            let part = |part: &HeldPart| {
                json!({
                    "label": part.label.as_str(), "origin": part.origin.name(),
                    "id": part.id.to_string(), "pattern": part.pattern.to_string(),
                })
            };
            let parts = held.as_ref().map(|held| held.parts.iter().map(part).collect::<Vec<_>>());
            let key = held.as_ref().and_then(|held| held.signature_key.as_ref());
            let key = key.map(|(name, ski)| json!({ "name": name.as_str(), "ski": ski.to_string() }));
            Ok(json!({
                "file": path, "kind": "EP11", "serial": serial, "tries_left": tries,
                "parts": parts, "signature_key": key,
            }))
        }
        Err(CardError::InvalidFormat(_)) => {
            let card = CaCard::insert(path).map_err(TkeError::card(path))?;
            Ok(json!({ "file": path, "kind": "CA", "tries_left": card.tries_left() }))
        }
        Err(error) => Err(TkeError::card(path)(error)),
    }
}

/// `card-part-list`: calculates the verification pattern of a master key from parts on cards; a card signs the result.
pub(crate) fn part_list(context: &Context<'_>, args: &PartListArgs) -> Result<Report, TkeError> {
    let mut places = Vec::new();
    for given in &args.part_card {
        let (path, label) = card_place(given)?;
        places.push((context.readers.ep11(&path, &context.secrets)?, path, label));
    }
    let list = combine(&places)?;
    for (card, _, _) in &places {
        trust_zone(context, card.zone())?;
    }
    std::fs::write(&args.out, list.to_json()).map_err(TkeError::file(&args.out))?;
    let combined = list.combined().to_string();
    let mut text = format!(
        "The parts combine to the master key with verification pattern\n{}\nCard {} has calculated it and signed the list, \
         {}.\n",
        two_lines(&combined),
        list.by(),
        args.out.display()
    );
    let mut listed = Vec::new();
    for part in list.parts() {
        text += &format!("  `{}` on card {}: {}\n", part.label, part.card, part.pattern);
        listed.push(json!({
            "label": part.label.as_str(), "card": part.card.to_string(), "pattern": part.pattern.to_string(),
        }));
    }
    Ok(Report::new(text, json!({ "file": args.out, "combined": combined, "parts": listed })))
}

/// The card of the last part calculates the pattern. Parts on other cards are sent to it encrypted; it does not store them.
fn combine(places: &[(Ep11Session, PathBuf, PartLabel)]) -> Result<PartList, TkeError> {
    let (last, path, _) = places.last().ok_or(PartSetError::Number(0))?;
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for (card, path, label) in places {
        if card.serial() == last.serial() {
            own.push(label.clone());
        } else {
            let sent = card.send_part_for_combining(label, &last.certificate());
            others.push(sent.map_err(TkeError::card(path))?);
        }
    }
    last.combine(&own, &others).map_err(TkeError::card(path))
}

/// Reads a part list that a card of a trusted zone signed.
pub(crate) fn trusted_list(context: &Context<'_>, path: &Path) -> Result<PartList, TkeError> {
    let content = std::fs::read(path).map_err(TkeError::file(path))?;
    let mut problem = PartListInvalid::OtherZone;
    for zone in zones(context)? {
        match PartList::parse(&content, ZoneId(zone)) {
            Ok(list) => return Ok(list),
            Err(PartListInvalid::OtherZone) => {}
            Err(error) => problem = error,
        }
    }
    Err(TkeError::PartList { path: path.to_owned(), source: problem })
}

fn zones(context: &Context<'_>) -> Result<BTreeSet<[u8; 16]>, TkeError> {
    store::load(&context.path().join(ZONES))
}

/// Trusts a zone whose PINs were entered here.
fn trust_zone(context: &Context<'_>, zone: ZoneId) -> Result<(), TkeError> {
    let mut known = zones(context)?;
    if known.insert(zone.0) {
        store::save(&context.path().join(ZONES), &known)?;
    }
    Ok(())
}
