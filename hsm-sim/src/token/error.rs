//! Why nothing could be found out about a token.

use engine_pkcs11::softhsm::{self, HomeError};
use engine_pkcs11::{ListedToken, ModuleListing, OpenError, PinError, UriError};
use std::io;
use std::path::PathBuf;

/// Why a token was not probed. A PIN is tried once at most.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Neither a preset nor a URI.
    #[error(
        "a token is `softhsm`, or a PKCS#11 URI such as \
         `pkcs11:token=core?module-path=/usr/lib/hsm.so&pin-source=file:/etc/hsm/pin`, or is named by --module"
    )]
    Target,
    /// No token's URI, or no token's name.
    #[error("the token is not named rightly")]
    Uri(#[from] UriError),
    /// The library's path leads nowhere from here.
    #[error("the module's path {} cannot be made absolute", .path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The preset, on a machine without it.
    #[error("there is no SoftHSM on this machine: {install}", install = softhsm::INSTALL)]
    NoSoftHsm,
    /// No place for a token to throw away.
    #[error("there is no folder for a token to throw away")]
    Folder(#[source] io::Error),
    /// The token to throw away.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The process that SoftHSM's configuration is for.
    #[error("the program cannot be started again with SoftHSM's configuration")]
    Restart(#[source] io::Error),
    /// The token is not there.
    #[error(
        "the module {} has no initialised token{}; {}",
        .module.display(),
        if *.named { " that is the one named" } else { "" },
        listed(.listing)
    )]
    NotFound {
        /// The module.
        module: PathBuf,
        /// Whether any would not have done.
        named: bool,
        /// What it has.
        listing: Box<ModuleListing>,
    },
    /// More than one token fits.
    #[error(
        "several tokens of the module {} fit: name one by --token, --serial or --slot; {}",
        .module.display(),
        listed(.listing)
    )]
    Several {
        /// The module.
        module: PathBuf,
        /// What it has.
        listing: Box<ModuleListing>,
    },
    /// The token has no PIN to log in by.
    #[error("the token `{0}` has no user PIN yet: its security officer has to set one")]
    NoUserPin(String),
    /// No way to the PIN.
    #[error("the token's PIN is needed: give --pin-file or --pin-env, or run this on a terminal to be asked")]
    NobodyToAsk,
    /// The PIN.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The token cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The report.
    #[error("the report cannot be written as JSON")]
    Json(#[source] serde_json::Error),
}

fn listed(listing: &ModuleListing) -> String {
    let readable = listing.tokens.iter().map(line);
    let unreadable = listing.unreadable.iter();
    let unreadable = unreadable.map(|(slot, why)| format!("slot {slot}: a token that cannot be read: {why}"));
    let lines: Vec<String> = readable.chain(unreadable).map(|line| format!("\n  {line}")).collect();
    if lines.is_empty() {
        return format!("it has no token at all ({})", listing.library);
    }
    format!("it has ({}):{}", listing.library, lines.concat())
}

fn line(token: &ListedToken) -> String {
    let ListedToken { slot_id, slot_description, label, model, serial, .. } = token;
    if !token.is_initialized {
        return format!("slot {slot_id}: a token that is not initialised ({model}, {slot_description})");
    }
    let pin = if token.has_user_pin { "" } else { ", no user PIN set" };
    format!("slot {slot_id}: token `{label}`, serial `{serial}`, {model}{pin}")
}

#[cfg(test)]
mod tests {
    use super::TokenError;
    use engine_pkcs11::ModuleListing;

    #[test]
    fn a_token_that_cannot_be_read_is_named_all_the_same() {
        let said = |unreadable| {
            let listing = ModuleListing { library: "Acme 1.0".to_owned(), tokens: Vec::new(), unreadable };
            let listing = Box::new(listing);
            TokenError::NotFound { module: "/m.so".into(), named: false, listing }.to_string()
        };
        assert!(said(Vec::new()).ends_with("it has no token at all (Acme 1.0)"));
        let said = said(vec![(3, "no time".to_owned())]);
        assert!(said.ends_with("\n  slot 3: a token that cannot be read: no time"), "{said}");
    }
}
