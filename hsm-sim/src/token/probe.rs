//! `hsm-sim token probe`.

use super::args::ProbeArgs;
use super::error::TokenError;
use super::report::Report;
use crate::output;
use engine_pkcs11::softhsm::{self, CONF_VARIABLE, Home};
use engine_pkcs11::{ListedToken, ModuleListing, Pin, PinSource, Token, TokenUri};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Label of the temporary token.
const TEMPORARY: &str = "probe";

pub(super) fn run(args: &ProbeArgs) -> Result<ExitCode, TokenError> {
    let target = match (args.target.as_deref(), &args.module, &args.home) {
        (Some("softhsm" | "pkcs11:softhsm"), _, None) => return probe_temporary_token(),
        (Some("softhsm" | "pkcs11:softhsm"), _, Some(home)) => Target::temporary(home)?,
        (Some(text), ..) => Target::by_uri(text)?,
        (None, Some(module), _) => Target::by_module(args, module)?,
        (None, None, _) => return Err(TokenError::Target),
    };
    // The temporary token has its own PIN file.
    let pin_source = pin_source(args).filter(|_| args.home.is_none());
    let report = target.probe(pin_source)?;
    let text = if args.json {
        serde_json::to_string_pretty(&report).map_err(TokenError::Json)?
    } else {
        report.table()
    };
    Ok(output::finish(&text, report.usable)?)
}

/// Runs this command again in a child process with SoftHSM's configuration, which SoftHSM reads from an environment
/// variable. The token's folder is removed afterwards.
fn probe_temporary_token() -> Result<ExitCode, TokenError> {
    softhsm::find_module().ok_or(TokenError::NoSoftHsm)?;
    let folder = tempfile::tempdir().map_err(TokenError::Folder)?;
    let home = Home::create_or_open(folder.path())?;
    let status = std::env::current_exe().and_then(|program| {
        Command::new(program)
            .args(std::env::args_os().skip(1))
            .arg("--home")
            .arg(folder.path())
            .env(CONF_VARIABLE, home.conf())
            .status()
    });
    let status = status.map_err(TokenError::Restart)?;
    let status = status.code().and_then(|status| u8::try_from(status).ok());
    Ok(status.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn pin_source(args: &ProbeArgs) -> Option<PinSource> {
    let file = args.pin_file.clone().map(PinSource::File);
    file.or_else(|| args.pin_env.clone().map(PinSource::Env))
}

/// The token to probe.
struct Target {
    module: PathBuf,
    /// `None` if the module's only initialised token is meant.
    uri: Option<TokenUri>,
    pin_source: PinSource,
}

impl Target {
    fn by_uri(text: &str) -> Result<Self, TokenError> {
        if !text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("pkcs11:")) {
            return Err(TokenError::Target);
        }
        Ok(Self::of(text.parse()?))
    }

    fn of(uri: TokenUri) -> Self {
        let pin_source = uri.pin_source().cloned().unwrap_or(PinSource::Prompt);
        Self { module: uri.module_path().to_owned(), uri: Some(uri), pin_source }
    }

    fn by_module(args: &ProbeArgs, module: &Path) -> Result<Self, TokenError> {
        let absolute = std::path::absolute(module)
            .map_err(|source| TokenError::Path { path: module.to_owned(), source })?;
        let slot = args.slot.map(|slot| slot.to_string());
        let named = [("token", &args.token), ("serial", &args.serial), ("slot-id", &slot)];
        let uri =
            uri_of(&absolute, named.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))))?;
        Ok(Self { module: absolute, uri, pin_source: PinSource::Prompt })
    }

    fn temporary(folder: &Path) -> Result<Self, TokenError> {
        let module = softhsm::find_module().ok_or(TokenError::NoSoftHsm)?;
        let home = Home::create_or_open(folder)?;
        home.create_token(&module, TEMPORARY)?;
        Ok(Self::of(home.uri(&module, TEMPORARY)?))
    }

    fn probe(self, pin_source: Option<PinSource>) -> Result<Report, TokenError> {
        let listing = engine_pkcs11::list(&self.module)?;
        let library = listing.library.clone();
        let token = self.choose(listing)?;
        if !token.has_user_pin {
            return Err(TokenError::NoUserPin(token.label));
        }
        let uri = match self.uri {
            Some(uri) => uri,
            None => uri_of(&self.module, [("slot-id", token.slot_id.to_string().as_str())])?
                .ok_or(TokenError::Target)?,
        };
        let pin = read_pin(&pin_source.unwrap_or(self.pin_source), &token.label)?;
        // Events are logged; failures are part of the rows or returned.
        let opened = Token::open(&uri, pin, Box::new(|_| {}))?;
        let rows = engine_pkcs11::probe(&opened)?;
        Ok(Report::new(self.module, library, token, &rows))
    }

    /// The only initialised token that matches.
    fn choose(&self, listing: ModuleListing) -> Result<ListedToken, TokenError> {
        let matches = |token: &&ListedToken| {
            token.is_initialized && self.uri.as_ref().is_none_or(|uri| uri.matches(&token.attributes()))
        };
        let chosen: Vec<ListedToken> = listing.tokens.iter().filter(matches).cloned().collect();
        let several = chosen.len() > 1;
        let mut chosen = chosen.into_iter();
        match chosen.next() {
            Some(token) if !several => Ok(token),
            first => {
                let (module, listing) = (self.module.clone(), Box::new(listing));
                Err(match first {
                    Some(_) => TokenError::Several { module, listing },
                    None => TokenError::NotFound { module, named: self.uri.is_some(), listing },
                })
            }
        }
    }
}

/// The URI of the token with these attributes in this module; `None` without attributes.
fn uri_of<'a>(
    module: &Path,
    attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Option<TokenUri>, TokenError> {
    let named: Vec<String> = attributes
        .into_iter()
        .map(|(name, value)| format!("{name}={}", percent_encoded(value.as_bytes())))
        .collect();
    if named.is_empty() {
        return Ok(None);
    }
    let module = percent_encoded(module.as_os_str().as_encoded_bytes());
    Ok(Some(format!("pkcs11:{}?module-path={module}", named.join(";")).parse()?))
}

fn percent_encoded(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

fn read_pin(source: &PinSource, label: &str) -> Result<Pin, TokenError> {
    if *source == PinSource::Prompt && !io::stdin().is_terminal() {
        return Err(TokenError::NoTerminal);
    }
    Ok(source.read(|_| rpassword::prompt_password(format!("PIN of token `{label}`: ")).map(Pin::new))?)
}
