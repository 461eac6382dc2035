//! Errors of `hsm-sim token probe`.

use crate::output::OutputError;
use engine_pkcs11::softhsm::{self, HomeError};
use engine_pkcs11::{ListedToken, ModuleListing, OpenError, PinError, UriError};
use std::io;
use std::path::PathBuf;

/// Why a token could not be probed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Standard output cannot be written.
    #[error("the report cannot be printed")]
    Output(#[from] OutputError),
    /// The argument is neither `softhsm` nor a PKCS#11 URI.
    #[error(
        "name the token by a PKCS#11 URI such as \
         `pkcs11:token=core?module-path=/usr/lib/hsm.so&pin-source=file:/etc/hsm/pin`, by --module, or use `softhsm`"
    )]
    Target,
    /// The URI, or one made from the options, is invalid.
    #[error("invalid token URI")]
    Uri(#[from] UriError),
    /// The path given by `--module` could not be made absolute.
    #[error("the path {} of the module could not be made absolute", .path.display())]
    Path {
        /// Path of the module, as given.
        path: PathBuf,
        /// OS error.
        source: io::Error,
    },
    /// SoftHSM was requested and is not installed.
    #[error("SoftHSM is not installed: {install}", install = softhsm::INSTALL_HINT)]
    NoSoftHsm,
    /// No temporary folder could be created.
    #[error("the folder for a temporary token could not be created")]
    Folder(#[source] io::Error),
    /// The temporary token could not be created.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The child process with SoftHSM's configuration could not be started.
    #[error("the program could not be started again with SoftHSM's configuration")]
    Restart(#[source] io::Error),
    /// No initialised token matches.
    #[error(
        "the module {} has no {}initialised token; {}",
        .module.display(),
        if *.named { "matching " } else { "" },
        listed(.listing)
    )]
    NotFound {
        /// Path of the module.
        module: PathBuf,
        /// Whether the arguments name a token; if not, any initialised token matches.
        named: bool,
        /// The tokens of the module.
        listing: Box<ModuleListing>,
    },
    /// More than one token matches.
    #[error(
        "several tokens of the module {} match; name one by --token, --serial or --slot; {}",
        .module.display(),
        listed(.listing)
    )]
    Several {
        /// Path of the module.
        module: PathBuf,
        /// The tokens of the module.
        listing: Box<ModuleListing>,
    },
    /// The user PIN was never set. Holds the token's label.
    #[error("the token `{0}` has no user PIN; its security officer has to set one")]
    NoUserPin(String),
    /// No PIN source is given, and standard input is not a terminal.
    #[error("the token's PIN is needed: use --pin-file or --pin-env, or run the command on a terminal")]
    NoTerminal,
    /// The PIN could not be read.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The token could not be opened or probed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The report could not be encoded.
    #[error("the report could not be encoded as JSON")]
    Json(#[source] serde_json::Error),
}

fn listed(listing: &ModuleListing) -> String {
    let readable = listing.tokens.iter().map(line);
    let unreadable = listing.unreadable.iter();
    let unreadable = unreadable.map(|(slot, error)| format!("slot {slot}: unreadable token: {error}"));
    let lines: Vec<String> = readable.chain(unreadable).map(|line| format!("\n  {line}")).collect();
    if lines.is_empty() {
        return format!("it has no tokens ({})", listing.library);
    }
    format!("it has ({}):{}", listing.library, lines.concat())
}

fn line(token: &ListedToken) -> String {
    let ListedToken { slot_id, slot_description, label, model, serial, .. } = token;
    if !token.is_initialized {
        return format!("slot {slot_id}: token not initialised ({model}, {slot_description})");
    }
    let pin = if token.has_user_pin { "" } else { ", no user PIN set" };
    format!("slot {slot_id}: token `{label}`, serial `{serial}`, {model}{pin}")
}

#[cfg(test)]
mod tests {
    use super::TokenError;
    use engine_pkcs11::ModuleListing;

    #[test]
    fn an_unreadable_token_is_listed() {
        let message = |unreadable| {
            let listing = ModuleListing { library: "Acme 1.0".to_owned(), tokens: Vec::new(), unreadable };
            let listing = Box::new(listing);
            TokenError::NotFound { module: "/m.so".into(), named: false, listing }.to_string()
        };
        assert!(message(Vec::new()).ends_with("it has no tokens (Acme 1.0)"));
        let message = message(vec![(3, "invalid time".to_owned())]);
        assert!(message.ends_with("\n  slot 3: unreadable token: invalid time"), "{message}");
    }
}
