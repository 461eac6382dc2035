//! Which service, which instance, which caller: from options, the environment, or a service found on this machine.

use crate::context::Context;
use crate::error::TkeError;
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use tke::private_file;
use tke_crypto::PublicKey;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Environment variable with the bearer token, for a service that is named by address.
const TOKEN_VARIABLE: &str = "TKE_TOKEN";
/// Environment variable with the address of the service.
const URL_VARIABLE: &str = "TKE_URL";
/// Environment variable with the service instance.
const INSTANCE_VARIABLE: &str = "TKE_INSTANCE";
/// Environment variable with the path of the manufacturer's root certificate.
const ROOT_VARIABLE: &str = "TKE_ROOT";
/// The manufacturer's root certificate as it was when the folder was first used.
const PINNED_ROOT: &str = "module-root.der";
/// Longest root certificate that is read, in bytes.
const MAX_ROOT_LEN: usize = 64 * 1024;

/// A service, an instance of it, and a caller.
pub struct Connection {
    /// Base address of the service: `http://127.0.0.1:8900`.
    pub url: String,
    /// Bearer token of the caller.
    pub token: Zeroizing<String>,
    /// The service instance.
    pub instance: Uuid,
    /// File with the manufacturer's root certificate (DER), if it is known.
    pub module_root: Option<PathBuf>,
}

/// Everything but the token.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("url", &self.url)
            .field("instance", &self.instance)
            .field("module_root", &self.module_root)
            .finish_non_exhaustive()
    }
}

/// Reason why no service was found.
pub type DiscoverError = Box<dyn Error + Send + Sync>;

/// The port that finds a service on this machine, for commands that name none by address.
pub trait Discover: Send + Sync {
    /// Whether the caller asked for a service on this machine. It then takes precedence over `TKE_URL`.
    fn is_requested(&self) -> bool;

    /// Finds the service.
    ///
    /// # Errors
    /// The reason why there is none, with what to do about it.
    fn discover(&self) -> Result<Connection, DiscoverError>;
}

/// Connects as options, environment and discovery say, in this order.
pub(crate) fn connection(context: &Context<'_>) -> Result<Connection, TkeError> {
    let options = context.options;
    let mut connection = match address(context) {
        Some(url) => {
            let from_environment = || std::env::var(INSTANCE_VARIABLE).ok()?.parse().ok();
            Connection {
                url,
                instance: options.instance.or_else(from_environment).ok_or(TkeError::NoInstance)?,
                token: std::env::var(TOKEN_VARIABLE).map(Zeroizing::new).map_err(|_| TkeError::NoToken)?,
                module_root: std::env::var_os(ROOT_VARIABLE).map(PathBuf::from),
            }
        }
        None => context.discover.discover().map_err(TkeError::Discovery)?,
    };
    connection.instance = options.instance.unwrap_or(connection.instance);
    if options.module_root.is_some() {
        connection.module_root.clone_from(&options.module_root);
    }
    Ok(connection)
}

fn address(context: &Context<'_>) -> Option<String> {
    let from_environment = || std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty());
    let url = context.options.url.clone();
    url.or_else(|| from_environment().filter(|_| !context.discover.is_requested()))
}

/// Reads the manufacturer's root certificate and pins it: every later use of the folder needs the same one.
pub(crate) fn manufacturer_root(
    context: &Context<'_>,
    module_root: Option<&Path>,
) -> Result<PublicKey, TkeError> {
    let pinned_path = context.path().join(PINNED_ROOT);
    let pinned =
        private_file::read_if_present(&pinned_path, MAX_ROOT_LEN).map_err(TkeError::file(&pinned_path))?;
    let given = match module_root {
        Some(path) => {
            let der = private_file::read(path, MAX_ROOT_LEN).map_err(TkeError::file(path))?;
            Some((path.to_owned(), der))
        }
        None => None,
    };
    let (path, der) = match (given, pinned) {
        (Some((given, der)), Some(pinned)) if der != pinned => {
            return Err(TkeError::OtherRoot { given, pinned: pinned_path });
        }
        (_, Some(pinned)) => (pinned_path, pinned),
        (Some((given, der)), None) => {
            check_root(&given, &der)?;
            private_file::replace(&pinned_path, &der).map_err(TkeError::file(&pinned_path))?;
            context.console.note(&format!(
                "trusting the manufacturer's root certificate {} from now on",
                given.display()
            ));
            (given, der)
        }
        (None, None) => return Err(TkeError::NoRoot),
    };
    check_root(&path, &der)
}

fn check_root(path: &Path, der: &[u8]) -> Result<PublicKey, TkeError> {
    tke_crypto::root_certificate_key(der)
        .map_err(|source| TkeError::RootInvalid { path: path.to_owned(), source })
}
