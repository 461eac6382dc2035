//! Signature key files: `sigkeys`, `sigkey-add`, `sigkey-rm`, `sigkey-sel`.

use crate::context::Context;
use crate::error::TkeError;
use crate::report::{Columns, Report};
use crate::secrets::confirm;
use crate::signers::{administrator_name, find, list, selected, signing_service_url};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use tke::holder::{CreatedSignatureKey, HpcsKeyFile, ListedSignatureKey, SignatureKey, SignatureKeyFile};
use tke::service::SERVICE_URL_VARIABLE;

/// Options of `sigkey-add`.
#[derive(Clone, Debug, Args)]
pub struct SigkeyAddArgs {
    /// Name of the administrator, 1 to 30 characters. It appears in certificates and logs.
    pub name: String,
    /// Import the key of an HPCS signature key file, instead of generating one.
    #[arg(long, value_name = "FILE")]
    pub import: Option<PathBuf>,
}

/// Options of `sigkey-rm`.
#[derive(Clone, Debug, Args)]
pub struct SigkeyRmArgs {
    /// Name of the key, or the first digits of its identifier.
    pub name: String,
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
}

/// Options of `sigkey-sel`.
#[derive(Clone, Debug, Args)]
pub struct SigkeySelArgs {
    /// Names of the keys that sign from now on, in this order; `none` for none.
    #[arg(required = true)]
    pub names: Vec<String>,
}

/// `sigkeys`: lists the signature key files.
pub(crate) fn show(context: &Context<'_>) -> Result<Report, TkeError> {
    let selection = context.selection()?;
    let mut columns = Columns::new(["KEYNUM", "DESCRIPTION", "SUBJECT KEY IDENTIFIER", "SIGNS", "FILE"]);
    let mut keys = Vec::new();
    for (number, key) in (1..).zip(list(context)?) {
        let place = selection.place_of_key(&key.ski);
        columns.row([
            number.to_string(),
            key.name.to_string(),
            short_ski(&key),
            place.map_or_else(String::new, |place| format!("selected ({place})")),
            key.path.display().to_string(),
        ]);
        keys.push(json!({
            "number": number, "name": key.name.as_str(), "ski": key.ski.to_string(), "selected": place.is_some(),
            "order": place, "file": key.path,
        }));
    }
    let text = if keys.is_empty() && signing_service_url().is_some() {
        format!("No signature key files in {}.", context.path().display())
    } else if keys.is_empty() {
        format!(
            "No signature key files in {}. Generate one with `sigkey-add NAME`.",
            context.path().display()
        )
    } else {
        columns.text()
    };
    Ok(Report::new(text, json!({ "signature_keys": keys, "signing_service": signing_service_url() }))
        .after(&unused_while_service()))
}

/// `sigkey-add`: generates a signature key in a new file, or imports one.
pub(crate) fn add(context: &Context<'_>, args: &SigkeyAddArgs) -> Result<Report, TkeError> {
    if let Some(report) = in_service() {
        return Ok(report);
    }
    let name = administrator_name(&args.name)?;
    let key_error = |source| TkeError::Key { name: args.name.clone(), source };
    let made = match &args.import {
        None => {
            let password = context.secrets.new_password(&args.name)?;
            SignatureKeyFile::create(&context.folder, name.clone(), &password, context.cost())
        }
        Some(path) => {
            let import = |source| TkeError::Import { path: path.clone(), source };
            let old = HpcsKeyFile::read(path).map_err(import)?;
            let old_password = context.secrets.password(&path.display().to_string())?;
            let password = context.secrets.new_password(&args.name)?;
            SignatureKeyFile::import(
                &context.folder,
                &old,
                &old_password,
                name.clone(),
                &password,
                context.cost(),
            )
        }
    };
    let CreatedSignatureKey { key, warning } = made.map_err(key_error)?;
    let ski = key.ski().to_string();
    let mut text = format!("Signature key `{name}` ({ski}) is in {}.", key.path().display());
    if let Some(warning) = &warning {
        text += &format!("\nWARNING: {warning}. Crypto units distinguish them by key; do not confuse them.");
    }
    text += "\nMake a backup of the file: without it and its password, this administrator cannot sign. \
             Select it with `sigkey-sel`.";
    Ok(Report::new(
        text,
        json!({ "name": name.as_str(), "ski": ski, "file": key.path(), "same_name": warning.is_some() }),
    ))
}

/// `sigkey-rm`: deletes a signature key file.
pub(crate) fn remove(context: &Context<'_>, args: &SigkeyRmArgs) -> Result<Report, TkeError> {
    if let Some(report) = in_service() {
        return Ok(report);
    }
    let key = find(context, &args.name)?;
    let ski = key.ski.to_string();
    let question = format!(
        "Delete signature key `{}` ({ski})? Crypto units of which it is an administrator still need its signatures.",
        key.name
    );
    confirm(context.console, args.yes, &question)?;
    std::fs::remove_file(&key.path).map_err(TkeError::file(&key.path))?;
    let mut selection = context.selection()?;
    selection.drop_key(&key.ski);
    selection.save()?;
    let text = format!("Signature key `{}` ({ski}) is deleted.", key.name);
    Ok(Report::new(text, json!({ "name": key.name.as_str(), "ski": ski })))
}

/// `sigkey-sel`: selects the signature keys that sign.
pub(crate) fn select(context: &Context<'_>, args: &SigkeySelArgs) -> Result<Report, TkeError> {
    if let Some(report) = in_service() {
        return Ok(report);
    }
    let none = matches!(args.names.as_slice(), [only] if only == "none");
    let names: &[String] = if none { &[] } else { &args.names };
    let mut keys = Vec::new();
    for name in names {
        keys.push(find(context, name)?.ski);
    }
    let mut selection = context.selection()?;
    selection.set_keys(&keys);
    selection.save()?;
    let chosen: Vec<_> = selected(context)?;
    let text = if chosen.is_empty() {
        "No signature key is selected.".to_owned()
    } else {
        let names: Vec<String> = chosen.iter().map(|key| format!("`{}`", key.name)).collect();
        format!("These sign, in this operation: {}.", names.join(", "))
    };
    let names: Vec<_> = chosen.iter().map(|key| key.name.as_str()).collect();
    Ok(Report::new(text, json!({ "selected": names })))
}

fn short_ski(key: &ListedSignatureKey) -> String {
    crate::tables::short_ski(&key.ski)
}

fn unused_while_service() -> String {
    signing_service_url().map_or_else(String::new, |url| {
        format!("{SERVICE_URL_VARIABLE} is set: the signing service {url} signs, not key files.")
    })
}

/// While a signing service is configured, commands on key files do nothing.
fn in_service() -> Option<Report> {
    signing_service_url().map(|url| {
        let text = format!("Nothing was done. {}", unused_while_service());
        Report::new(text, json!({ "signing_service": url, "done": false }))
    })
}
