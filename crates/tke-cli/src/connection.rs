//! Which service, which instance, which caller: from options, the environment, or a service found on this machine.

use crate::context::Context;
use crate::error::TkeError;
use clap::ValueEnum;
use engine::EngineClass;
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use tke::private_file;
use tke::trust::ModuleTrust;
use tke_crypto::{MAX_REVOCATION_LIST_LEN, PublicKey, RevocationList};
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
/// Environment variable with the path of the manufacturer's revocation list.
const REVOCATIONS_VARIABLE: &str = "TKE_REVOCATIONS";
/// Environment variable with the lowest class of a module's engine that is accepted.
const CLASS_VARIABLE: &str = "TKE_REQUIRE_CLASS";
/// The newest revocation list that the folder was used with.
const PINNED_REVOCATIONS: &str = "module-revocations.der";
/// The manufacturer's root certificate as it was when the folder was first used.
const PINNED_ROOT: &str = "module-root.der";
/// What the caller is told where no revocation list is known.
const WITHOUT_REVOCATIONS: &str = "warning: no revocation list of the modules' manufacturer is known, so that a crypto unit whose \
     certificate was revoked, for example because its key was stolen, passes for a genuine one. Get the list from the \
     manufacturer and give it once with --module-revocations FILE; this folder keeps it";
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
    /// File with the manufacturer's revocation list (DER), if it is known.
    pub module_revocations: Option<PathBuf>,
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
                module_revocations: std::env::var_os(REVOCATIONS_VARIABLE).map(PathBuf::from),
            }
        }
        None => context.discover.discover().map_err(TkeError::Discovery)?,
    };
    connection.instance = options.instance.unwrap_or(connection.instance);
    if options.module_root.is_some() {
        connection.module_root.clone_from(&options.module_root);
    }
    if options.module_revocations.is_some() {
        connection.module_revocations.clone_from(&options.module_revocations);
    }
    Ok(connection)
}

fn address(context: &Context<'_>) -> Option<String> {
    let from_environment = || std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty());
    let url = context.options.url.clone();
    url.or_else(|| from_environment().filter(|_| !context.discover.is_requested()))
}

/// What the caller believes modules by: the manufacturer's root and revocation list, and the required class.
pub(crate) fn module_trust(context: &Context<'_>, connection: &Connection) -> Result<ModuleTrust, TkeError> {
    let root = manufacturer_root(context, connection.module_root.as_deref())?;
    let mut trust = ModuleTrust::new(root);
    if let Some(list) = revocation_list(context, trust.root(), connection.module_revocations.as_deref())? {
        let list = RevocationList::verify(&list, trust.root())
            .map_err(|source| TkeError::RevocationsInvalid { path: PINNED_REVOCATIONS.into(), source })?;
        trust = trust.with_revocations(&list);
    } else {
        context.console.note(WITHOUT_REVOCATIONS);
    }
    let class = match (context.options.require_class, std::env::var(CLASS_VARIABLE)) {
        (None, Ok(name)) if !name.is_empty() => {
            Some(RequiredClass::from_str(&name, false).map_err(|_| TkeError::Unknown {
                what: "class of engines in TKE_REQUIRE_CLASS",
                given: name,
                hint: "it is `software`, `token-derived` or `token`",
            })?)
        }
        (class, _) => class,
    };
    Ok(class.map_or(trust.clone(), |class| trust.requiring(class.into())))
}

/// Reads the manufacturer's revocation list and pins it: the folder accepts no earlier one afterwards.
fn revocation_list(
    context: &Context<'_>,
    root: &PublicKey,
    given: Option<&Path>,
) -> Result<Option<Vec<u8>>, TkeError> {
    let verified = |path: &Path, der: &[u8]| {
        RevocationList::verify(der, root)
            .map(|list| list.number)
            .map_err(|source| TkeError::RevocationsInvalid { path: path.to_owned(), source })
    };
    let pinned_path = context.path().join(PINNED_REVOCATIONS);
    let pinned = private_file::read_if_present(&pinned_path, MAX_REVOCATION_LIST_LEN)
        .map_err(TkeError::file(&pinned_path))?;
    let pinned_number = pinned.as_deref().map(|der| verified(&pinned_path, der)).transpose()?;
    let Some(path) = given else { return Ok(pinned) };
    let der = private_file::read(path, MAX_REVOCATION_LIST_LEN).map_err(TkeError::file(path))?;
    let number = verified(path, &der)?;
    match pinned_number {
        Some(pinned) if number < pinned => {
            Err(TkeError::OlderRevocations { path: path.to_owned(), number, pinned })
        }
        Some(pinned) if number == pinned => Ok(Some(der)),
        _ => {
            private_file::replace(&pinned_path, &der).map_err(TkeError::file(&pinned_path))?;
            Ok(Some(der))
        }
    }
}

/// Lowest class of a module's engine that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RequiredClass {
    /// Any engine that the manufacturer describes.
    Software,
    /// Keys in a token, the attestation key perhaps not.
    TokenDerived,
    /// All keys in a token.
    Token,
}

impl From<RequiredClass> for EngineClass {
    fn from(class: RequiredClass) -> Self {
        match class {
            RequiredClass::Software => Self::Software,
            RequiredClass::TokenDerived => Self::TokenDerived,
            RequiredClass::Token => Self::Token,
        }
    }
}

/// Reads the manufacturer's root certificate and pins it: every later use of the folder needs the same one.
fn manufacturer_root(context: &Context<'_>, module_root: Option<&Path>) -> Result<PublicKey, TkeError> {
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

#[cfg(test)]
mod tests {
    use super::{Connection, PINNED_REVOCATIONS, module_trust};
    use crate::console::{Console, Progress, ProgressKind};
    use crate::context::{Context, TkeOptions};
    use crate::{Discover, DiscoverError};
    use clap::Parser;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;
    use tke_crypto::{
        CERTIFICATE_BUFFER_LEN, RootName, SCALAR_LEN, SigningKey, revocation_list_len, write_revocation_list,
        write_root_certificate,
    };
    use uuid::Uuid;
    use zeroize::Zeroizing;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: TkeOptions,
    }

    /// Keeps what a person would read.
    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Console for Notes {
        fn result(&self, _: &str) {}

        fn note(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }

        fn confirm(&self, _: &str) -> Option<bool> {
            None
        }

        fn secret(&self, _: &str) -> Option<Zeroizing<String>> {
            None
        }

        fn progress(&self, _: &str, _: ProgressKind) -> Box<dyn Progress> {
            unreachable!("reading certificates shows no progress")
        }
    }

    struct Nowhere;

    impl Discover for Nowhere {
        fn is_requested(&self) -> bool {
            false
        }

        fn discover(&self) -> Result<Connection, DiscoverError> {
            Err("there is no service".into())
        }
    }

    /// The warnings of a command that gets this revocation list.
    fn warnings(folder: &Path, list: Option<PathBuf>) -> Vec<String> {
        let files = folder.join("files").display().to_string();
        let Command { options } = Command::parse_from(["tke", "--files", &files]);
        let console = Notes::default();
        let context = Context::open(&options, &console, &Nowhere).unwrap();
        let connection = Connection {
            url: "http://127.0.0.1:1".to_owned(),
            token: Zeroizing::new(String::new()),
            instance: Uuid::nil(),
            module_root: Some(folder.join("root.der")),
            module_revocations: list,
        };
        module_trust(&context, &connection).unwrap();
        drop(context);
        let mut notes = console.0.into_inner().unwrap();
        notes.retain(|note| note.starts_with("warning"));
        notes
    }

    #[test]
    fn attack_a_stolen_module_key_is_warned_of_where_no_revocation_list_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let mut scalar = [7; SCALAR_LEN];
        scalar[0] = 0;
        let (key, name) = (SigningKey::from_scalar(&scalar).unwrap(), RootName::try_from("A root").unwrap());
        let mut out = [0; CERTIFICATE_BUFFER_LEN];
        let root = write_root_certificate(&key, &name, &mut out).unwrap();
        std::fs::write(folder.path().join("root.der"), root).unwrap();
        let told = warnings(folder.path(), None);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("--module-revocations") && told[0].contains("stolen"), "{told:?}");
        assert_eq!(warnings(folder.path(), None), told, "once is not enough");

        let list = folder.path().join("revoked.der");
        let mut out = vec![0; revocation_list_len(0)];
        std::fs::write(&list, write_revocation_list(&key, &name, 1, 1200, &[], &mut out).unwrap()).unwrap();
        assert!(warnings(folder.path(), Some(list)).is_empty());
        assert!(folder.path().join("files").join(PINNED_REVOCATIONS).exists());
        assert!(warnings(folder.path(), None).is_empty(), "the folder keeps the list");
    }
}
