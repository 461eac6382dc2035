//! Signature keys of a command: in files, on cards in reader 1, or of a signing service.

use crate::context::Context;
use crate::error::TkeError;
use crate::instance::VerifiedUnit;
use clap::Args;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tke::Administrator;
use tke::holder::{ListedSignatureKey, SignatureKey, SignatureKeyFile, SignatureKeys, list_signature_keys};
use tke::quorum::Quorum;
use tke::service::{
    SERVICE_KEYS_VARIABLE, SERVICE_URL_VARIABLE, SigningService, SigningServiceKey, parse_keys,
};
use tke_crypto::{
    AdministratorCertificate, AdministratorName, CERTIFICATE_BUFFER_LEN, Ski, administrator_tbs,
    assemble_certificate,
};
use wire::text::error_chain;
use zeroize::Zeroizing;

/// Smallest number of hexadecimal digits by which an identifier can be given.
const MIN_PREFIX: usize = 8;

/// Signature keys that a command may use.
#[derive(Clone, Debug, Default, Args)]
pub struct SignerArgs {
    /// Sign with this signature key file, instead of the selected ones. May be given several times.
    #[arg(long, value_name = "NAME")]
    pub signer: Vec<String>,
    /// Sign with the key on this card (reader 1). May be given several times.
    #[arg(long, value_name = "FILE")]
    pub card: Vec<PathBuf>,
}

/// Number of signatures that a unit needs.
pub(crate) struct Need<'a> {
    pub(crate) unit: &'a VerifiedUnit,
    pub(crate) signatures: usize,
}

/// Address of the signing service, if one is configured. Key files are not used then.
pub(crate) fn signing_service_url() -> Option<String> {
    std::env::var(SERVICE_URL_VARIABLE).ok().filter(|url| !url.is_empty())
}

/// Advice on how to make more keys available.
fn more_keys() -> String {
    signing_service_url().map_or_else(
        || "select more with `sigkey-sel`".to_owned(),
        |url| format!("list more keys of the signing service {url} in {SERVICE_KEYS_VARIABLE}"),
    )
}

/// Opens as many keys as the units need, in the order in which they were named or selected. Fails before any password is
/// asked for if there are too few. `coming` are administrators that will be installed before the signatures are needed.
pub(crate) async fn open_quorum(
    context: &Context<'_>,
    args: &SignerArgs,
    needs: &[Need<'_>],
    coming: &[Ski],
) -> Result<Quorum, TkeError> {
    if needs.iter().all(|need| need.signatures == 0) {
        return Ok(Quorum::default());
    }
    let rules =
        |ski: &Ski, need: &Need<'_>| need.unit.snapshot.has_administrator(ski) || coming.contains(ski);
    let mut missing: Vec<usize> = needs.iter().map(|need| need.signatures).collect();
    let mut wanted = |ski: &Ski| {
        let mut useful = false;
        for (missing, need) in missing.iter_mut().zip(needs) {
            if *missing > 0 && rules(ski, need) {
                *missing -= 1;
                useful = true;
            }
        }
        useful
    };
    let mut keys: Vec<Box<dyn SignatureKey>> = Vec::new();
    let mut held = on_cards(context, &args.card)?;
    if args.card.is_empty() && args.signer.is_empty() {
        held.extend(of_service(context).await?);
    }
    keys.extend(held.into_iter().filter(|key| wanted(&key.ski())));
    let files = match (args.signer.as_slice(), signing_service_url()) {
        ([], Some(_)) => Vec::new(),
        ([], None) if args.card.is_empty() => selected(context)?,
        (names, _) => names.iter().map(|name| find(context, name)).collect::<Result<_, _>>()?,
    };
    let files: Vec<_> = files.into_iter().filter(|key| wanted(&key.ski)).collect();
    let short = |(missing, need): (&usize, &Need<'_>)| {
        (*missing > 0).then(|| {
            let (needed, able) = (need.signatures, need.signatures - missing);
            let number = need.unit.number();
            format!(
                "crypto unit {number} needs {needed} signatures; keys of its administrators that are available: {able}. To continue, \
                 {}, insert more cards (--card), or let others sign a proposal (`propose`)",
                more_keys()
            )
        })
    };
    let short: Vec<String> = missing.iter().zip(needs).filter_map(short).collect();
    if !short.is_empty() {
        return Err(if keys.is_empty() && files.is_empty() && signing_service_url().is_none() {
            TkeError::NoSigner
        } else {
            TkeError::Refused(short)
        });
    }
    // Passwords are asked for only now.
    for file in files {
        keys.push(Box::new(open(context, &file)?));
    }
    Ok(Quorum::new(keys))
}

/// The keys that are named or on inserted cards, else the first selected one.
pub(crate) async fn any_keys(
    context: &Context<'_>,
    args: &SignerArgs,
) -> Result<Vec<Box<dyn SignatureKey>>, TkeError> {
    let mut keys = on_cards(context, &args.card)?;
    for name in &args.signer {
        keys.push(Box::new(open(context, &find(context, name)?)?));
    }
    if keys.is_empty() {
        keys.extend(of_service(context).await?.into_iter().take(1));
    }
    if keys.is_empty() {
        let first = selected(context)?.into_iter().next().ok_or(TkeError::NoSigner)?;
        keys.push(Box::new(open(context, &first)?));
    }
    Ok(keys)
}

/// The signature key files of the folder. Notes files that cannot be read.
pub(crate) fn list(context: &Context<'_>) -> Result<Vec<ListedSignatureKey>, TkeError> {
    let key = |source| TkeError::Key { name: context.path().display().to_string(), source };
    let SignatureKeys { keys, unreadable } = list_signature_keys(&context.folder).map_err(key)?;
    for (path, error) in unreadable {
        context.console.note(&format!("{} is skipped: {}", path.display(), error_chain(&error)));
    }
    Ok(keys)
}

/// The key with this name, or with an identifier that begins with these digits.
pub(crate) fn find(context: &Context<'_>, given: &str) -> Result<ListedSignatureKey, TkeError> {
    let prefix = given.to_ascii_lowercase();
    let fits = |key: &ListedSignatureKey| {
        key.name.as_str() == given || (prefix.len() >= MIN_PREFIX && key.ski.to_string().starts_with(&prefix))
    };
    let mut found: Vec<_> = list(context)?.into_iter().filter(fits).collect();
    match (found.pop(), found.len()) {
        (Some(key), 0) => Ok(key),
        (Some(_), more) => {
            Err(TkeError::Ambiguous { what: "signature key", given: given.to_owned(), count: more + 1 })
        }
        (None, _) => Err(TkeError::Unknown {
            what: "signature key",
            given: given.to_owned(),
            hint: match signing_service_url() {
                None => "`sigkeys` lists them, `sigkey-add` adds one",
                Some(_) => "neither SIGNSERVKEYS nor `sigkeys` lists one",
            },
        }),
    }
}

/// The keys that `sigkey-sel` selected, in order.
pub(crate) fn selected(context: &Context<'_>) -> Result<Vec<ListedSignatureKey>, TkeError> {
    let selection = context.selection()?;
    let mut chosen = BTreeMap::new();
    for key in list(context)? {
        if let Some(place) = selection.place_of_key(&key.ski) {
            chosen.insert(place, key);
        }
    }
    Ok(chosen.into_values().collect())
}

pub(crate) fn open(context: &Context<'_>, key: &ListedSignatureKey) -> Result<SignatureKeyFile, TkeError> {
    let password = context.secrets.password(key.name.as_str())?;
    SignatureKeyFile::open(&key.path, &password)
        .map_err(|source| TkeError::Key { name: key.name.to_string(), source })
}

fn on_cards(context: &Context<'_>, cards: &[PathBuf]) -> Result<Vec<Box<dyn SignatureKey>>, TkeError> {
    cards.iter().map(|path| on_card(context, path)).collect()
}

fn on_card(context: &Context<'_>, path: &Path) -> Result<Box<dyn SignatureKey>, TkeError> {
    let card = context.readers.ep11(path, &context.secrets)?;
    Ok(Box::new(card.signature_key().map_err(TkeError::card(path))?))
}

/// The keys of the signing service, if one is configured.
async fn of_service(context: &Context<'_>) -> Result<Vec<Box<dyn SignatureKey>>, TkeError> {
    let Some(url) = signing_service_url() else { return Ok(Vec::new()) };
    let service = SigningService::new(&url, context.service_timeouts())?;
    let list = match std::env::var(SERVICE_KEYS_VARIABLE) {
        Ok(list) => Zeroizing::new(list.into_bytes()),
        Err(_) => {
            let path = context.path().join(SERVICE_KEYS_VARIABLE);
            let list = std::fs::read(&path).map_err(|error| match error.kind() {
                ErrorKind::NotFound => TkeError::NoServiceKeys { path: path.clone() },
                _ => TkeError::file(&path)(error),
            });
            Zeroizing::new(list?)
        }
    };
    let mut keys: Vec<Box<dyn SignatureKey>> = Vec::new();
    for key in parse_keys(&list)? {
        let name = administrator_name(key.key.as_str())?;
        let called = key.key.to_string();
        let fetched = SigningServiceKey::fetch(&service, key, name).await;
        keys.push(Box::new(fetched.map_err(|source| TkeError::SigningServiceKey {
            key: called,
            url: url.clone(),
            source,
        })?));
    }
    Ok(keys)
}

/// Checks the name of an administrator.
pub(crate) fn administrator_name(given: &str) -> Result<AdministratorName, TkeError> {
    AdministratorName::try_from(given).map_err(|source| TkeError::Name {
        what: "an administrator (1 to 30 characters)",
        given: given.to_owned(),
        source,
    })
}

/// The administrator of a key, with a certificate that the key signs itself.
pub(crate) async fn administrator(key: &dyn SignatureKey) -> Result<Administrator, TkeError> {
    let (mut tbs, mut out) = ([0; CERTIFICATE_BUFFER_LEN], [0; CERTIFICATE_BUFFER_LEN]);
    let made = administrator_tbs(key.name(), key.public_key(), &mut tbs);
    // The buffers have the length of the longest certificate.
    let tbs = made.map(<[u8]>::to_vec).unwrap_or_default();
    let signature = key.sign(&tbs).await?;
    let certificate =
        assemble_certificate(&tbs, &signature, &mut out).map(<[u8]>::to_vec).unwrap_or_default();
    read_certificate(Path::new(key.name().as_str()), &certificate)
}

fn read_certificate(path: &Path, der: &[u8]) -> Result<Administrator, TkeError> {
    let read = AdministratorCertificate::parse(der)
        .map_err(|source| TkeError::Certificate { path: path.to_owned(), source })?;
    Ok(Administrator { name: read.name.to_string(), ski: read.ski, certificate: der.to_vec() })
}

/// New administrators: by names of keys, by cards, and by certificates.
pub(crate) async fn administrators(
    context: &Context<'_>,
    names: &[String],
    cards: &[PathBuf],
    certificates: &[PathBuf],
) -> Result<Vec<Administrator>, TkeError> {
    let mut found = Vec::new();
    let of_service = of_service(context).await?;
    for name in names {
        found.push(match of_service.iter().find(|key| key.name().as_str() == name) {
            Some(key) => administrator(key.as_ref()).await?,
            None => administrator(&open(context, &find(context, name)?)?).await?,
        });
    }
    for card in cards {
        found.push(administrator(on_card(context, card)?.as_ref()).await?);
    }
    for path in certificates {
        let der = std::fs::read(path).map_err(TkeError::file(path))?;
        found.push(read_certificate(path, &der)?);
    }
    Ok(found)
}
