//! SoftHSMv2 tokens for development and tests: finding the library, and creating a token in a folder of its own.
//!
//! SoftHSM reads the configuration file that the environment variable [`CONF_VARIABLE`] names, or the machine's. A [`Home`]
//! is a folder with such a file and one token, separate from the user's own tokens. A process that uses it must be started
//! with the variable set to [`Home::conf`].

use crate::token::{Pin, PinError, PinSource, TokenUri, UriError};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::session::UserType;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Environment variable with the path of SoftHSM's configuration file.
pub const CONF_VARIABLE: &str = "SOFTHSM2_CONF";

/// How to install SoftHSM, for error messages.
pub const INSTALL_HINT: &str = "install it with `apt-get install softhsm2` (Debian, Ubuntu), `dnf install softhsm` (Fedora), \
     `apk add softhsm` (Alpine), `pacman -S softhsm` (Arch) or `brew install softhsm` (macOS)";

/// Paths at which distributions install the library.
const MODULES: &[&str] = &[
    // Debian and Ubuntu, Alpine, Arch.
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    // Fedora, CentOS, RHEL, openSUSE.
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/libsofthsm2.so",
    // Built from source.
    "/usr/local/lib/softhsm/libsofthsm2.so",
    // Homebrew on Apple silicon and on Linux; on Intel Macs, the path is the one of a build from source.
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    "/home/linuxbrew/.linuxbrew/lib/softhsm/libsofthsm2.so",
];

/// Path of the machine's SoftHSM library, if it is installed.
#[must_use]
pub fn find_module() -> Option<PathBuf> {
    MODULES.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// Random bytes of a generated PIN, written as twice as many hexadecimal digits.
const PIN_BYTES: usize = 16;
/// Longest path of a folder; SoftHSM reads at most 1023 bytes of a line of its configuration.
const MAX_PATH_LEN: usize = 900;

/// A folder with one SoftHSM token.
///
/// ```text
/// softhsm2.conf   SoftHSM's configuration
/// pin, so-pin     random, mode 0600
/// tokens/         the complete token; the folder appears by a rename
/// tokens.new/     the token while it is being created
/// ```
#[derive(Debug)]
pub struct Home {
    folder: PathBuf,
}

/// Why a [`Home`] could not be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The folder or a file in it could not be read or written.
    #[error("the SoftHSM folder {} could not be read or written", .folder.display())]
    Folder {
        /// Path of the folder.
        folder: PathBuf,
        /// OS error.
        source: io::Error,
    },
    /// SoftHSM cannot read the path from its configuration.
    #[error(
        "SoftHSM cannot use a token in {}: its configuration does not support paths with `#` or line breaks, or longer \
         than {MAX_PATH_LEN} bytes",
        .0.display()
    )]
    Path(PathBuf),
    /// A file or folder of an existing token is missing. Holds its path.
    #[error("the SoftHSM token is incomplete: {} is missing", .0.display())]
    Missing(PathBuf),
    /// The PIN file could not be read.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// This process was started with another configuration. Holds the path of the one it needs.
    #[error("this process was not started with {CONF_VARIABLE}={}", .0.display())]
    NotConfigured(PathBuf),
    /// SoftHSM returned an error.
    #[error("SoftHSM ({}) failed to {operation}", .module.display())]
    SoftHsm {
        /// Path of the library.
        module: PathBuf,
        /// The operation that failed.
        operation: &'static str,
        /// SoftHSM's error.
        source: cryptoki::error::Error,
    },
    /// SoftHSM has no free slot. Holds the path of the library.
    #[error("SoftHSM ({}) has no slot for a new token", .0.display())]
    NoSlot(PathBuf),
    /// The label is empty or too long for a token.
    #[error("invalid token label")]
    Label(#[from] UriError),
}

impl Home {
    /// Opens the home in `folder` or creates it, for a unit without keys on its token.
    ///
    /// # Errors
    /// [`HomeError`]. A home that was created in part is completed by the next call. [`HomeError::Missing`] if there is a
    /// token without its PIN.
    pub fn create_or_open(folder: &Path) -> Result<Self, HomeError> {
        let home = Self::at(folder, |folder| DirBuilder::new().recursive(true).mode(0o700).create(folder))?;
        let has_token = home.tokens().is_dir();
        for path in [home.pin_file(), home.so_pin_file()] {
            if path.exists() {
                continue;
            }
            if has_token {
                return Err(HomeError::Missing(path));
            }
            home.io(random_pin().and_then(|pin| write_private(&path, pin.as_bytes())))?;
        }
        home.write_conf(&home.tokens())?;
        Ok(home)
    }

    /// Opens an existing home, for a unit with keys on its token. Creates nothing.
    ///
    /// # Errors
    /// [`HomeError::Missing`] if the folder, the token or its PIN is missing; [`HomeError`] otherwise.
    pub fn open(folder: &Path) -> Result<Self, HomeError> {
        if !folder.is_dir() {
            return Err(HomeError::Missing(folder.to_owned()));
        }
        let home = Self::at(folder, |_| Ok(()))?;
        for path in [home.pin_file(), home.tokens()] {
            if !path.exists() {
                return Err(HomeError::Missing(path));
            }
        }
        // The folder may have been moved, and the configuration holds its path.
        home.write_conf(&home.tokens())?;
        Ok(home)
    }

    fn at(folder: &Path, prepare: impl FnOnce(&Path) -> io::Result<()>) -> Result<Self, HomeError> {
        let unusable = |source| HomeError::Folder { folder: folder.to_owned(), source };
        prepare(folder).map_err(unusable)?;
        let folder = folder.canonicalize().map_err(unusable)?;
        let name = folder.as_os_str().as_bytes();
        if name.len() > MAX_PATH_LEN || name.iter().any(|byte| b"#\r\n".contains(byte)) {
            return Err(HomeError::Path(folder));
        }
        Ok(Self { folder })
    }

    /// Path of the configuration file: the value of [`CONF_VARIABLE`] in a process that uses the token.
    #[must_use]
    pub fn conf(&self) -> PathBuf {
        self.folder.join("softhsm2.conf")
    }

    /// Whether this process was started with this home's configuration.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        std::env::var_os(CONF_VARIABLE).is_some_and(|conf| conf == self.conf().as_os_str())
    }

    /// URI of the home's token, with the home's PIN file as PIN source.
    ///
    /// # Errors
    /// [`UriError`] if the label is empty or longer than 32 bytes, or the path of the module is relative.
    pub fn uri(&self, module: &Path, label: &str) -> Result<TokenUri, UriError> {
        TokenUri::with_label(label, module, PinSource::File(self.pin_file()))
    }

    /// Creates the token, if there is none.
    ///
    /// The token is created in a temporary folder, which is then renamed. A token whose creation was interrupted is
    /// discarded, as no key was stored on it. Must be called before any other use of SoftHSM in the process.
    ///
    /// # Errors
    /// [`HomeError::NotConfigured`] if the process was not started with [`Home::conf`]; [`HomeError`] otherwise.
    pub fn create_token(&self, module: &Path, label: &str) -> Result<(), HomeError> {
        if self.tokens().is_dir() {
            return Ok(());
        }
        if !self.is_configured() {
            return Err(HomeError::NotConfigured(self.conf()));
        }
        let new = self.folder.join("tokens.new");
        match fs::remove_dir_all(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return self.io(Err(e)),
            _ => {}
        }
        self.io(DirBuilder::new().mode(0o700).create(&new))?;
        self.write_conf(&new)?;
        self.initialise(module, label)?;
        self.io(sync_all(&new).and_then(|()| fs::rename(&new, self.tokens())))?;
        self.io(sync_folder(&self.folder))?;
        self.write_conf(&self.tokens())
    }

    fn initialise(&self, module: &Path, label: &str) -> Result<(), HomeError> {
        let failed =
            |operation| move |source| HomeError::SoftHsm { module: module.to_owned(), operation, source };
        let (pin, so_pin) = (read_pin(self.pin_file())?, read_pin(self.so_pin_file())?);
        let softhsm = Pkcs11::new(module).map_err(failed("load"))?;
        softhsm
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .map_err(failed("initialise"))?;
        let slots = softhsm.get_slots_with_token().map_err(failed("list its slots"))?;
        // The folder has no token, so the only slot is the one for a new token.
        let slot = slots.first().copied().ok_or_else(|| HomeError::NoSlot(module.to_owned()))?;
        softhsm.init_token(slot, so_pin.expose(), label).map_err(failed("initialise the token"))?;
        let session = softhsm.open_rw_session(slot).map_err(failed("open a session"))?;
        session.login(UserType::So, Some(so_pin.expose())).map_err(failed("log in the security officer"))?;
        session.init_pin(pin.expose()).map_err(failed("set the user PIN"))?;
        session.logout().map_err(failed("log out"))?;
        session.close().map_err(failed("close the session"))?;
        // Keeps the library loaded: it is used again at once, and PKCS#11 libraries may crash when they are unloaded.
        std::mem::forget(softhsm.clone());
        softhsm.finalize().map_err(failed("finalise"))
    }

    fn write_conf(&self, tokens: &Path) -> Result<(), HomeError> {
        let mut conf = b"# Written by hsm-sim at every start.\ndirectories.tokendir = ".to_vec();
        conf.extend_from_slice(tokens.as_os_str().as_bytes());
        // A forked child gets no access to the token.
        conf.extend_from_slice(
            b"\nobjectstore.backend = file\nlog.level = ERROR\nlibrary.reset_on_fork = true\n",
        );
        let path = self.conf();
        if fs::read(&path).is_ok_and(|kept| kept == conf) {
            return Ok(());
        }
        self.io(write_private(&path, &conf))
    }

    fn tokens(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    fn pin_file(&self) -> PathBuf {
        self.folder.join("pin")
    }

    fn so_pin_file(&self) -> PathBuf {
        self.folder.join("so-pin")
    }

    fn io<T>(&self, result: io::Result<T>) -> Result<T, HomeError> {
        result.map_err(|source| HomeError::Folder { folder: self.folder.clone(), source })
    }
}

fn read_pin(path: PathBuf) -> Result<Pin, PinError> {
    PinSource::File(path).read(|_| Err(io::ErrorKind::Unsupported.into()))
}

fn random_pin() -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0_u8; PIN_BYTES]);
    getrandom::fill(bytes.as_mut_slice())?;
    Ok(pin_text(bytes.as_slice()))
}

/// The PIN of these random bytes: two hexadecimal digits for each. Time depends on their number alone.
pub(crate) fn pin_text(bytes: &[u8]) -> Zeroizing<String> {
    let mut pin = Zeroizing::new(String::with_capacity(bytes.len().saturating_mul(2)));
    for byte in bytes {
        pin.push(digit(byte >> 4));
        pin.push(digit(byte & 15));
    }
    pin
}

/// The lower-case digit of a value below 16.
const fn digit(value: u8) -> char {
    // All bits from ten on, else none: nine minus a value from ten on is negative.
    let is_letter = ((9 - value as i16) >> 8) as u8;
    let digit = !is_letter & value.wrapping_add(b'0') | is_letter & value.wrapping_add(b'a' - 10);
    // ASCII for the compiler, too, so that a string does not ask how long the character is.
    (digit & 0x7f) as char
}

/// Replaces a file atomically, with mode 0600: after a crash it has either its old or its new content.
fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    // Left by a crash. A file or link that another process puts there meanwhile is not written to.
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Syncs a folder and everything in it to disk; SoftHSM itself does not sync.
fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::{CONF_VARIABLE, Home, HomeError, Pkcs11, find_module, pin_text, read_pin};
    use cryptoki::context::{CInitializeArgs, CInitializeFlags};
    use cryptoki::session::UserType;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_pin_has_the_digits_of_its_bytes() {
        assert_eq!(pin_text(&[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]).as_str(), "0123456789abcdef");
    }

    #[test]
    fn a_home_is_private_and_created_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("softhsm");
        let home = Home::create_or_open(&path).unwrap();
        let pins = || ["pin", "so-pin"].map(|name| std::fs::read_to_string(path.join(name)).unwrap());
        let first = pins();
        assert!(first.iter().all(|pin| pin.len() == 32) && first[0] != first[1]);
        assert_eq!((mode(&path), mode(&path.join("pin")), mode(&path.join("so-pin"))), (0o700, 0o600, 0o600));
        let conf = std::fs::read_to_string(home.conf()).unwrap();
        let tokens = path.canonicalize().unwrap().join("tokens");
        assert!(conf.contains(&format!("directories.tokendir = {}\n", tokens.display())), "{conf}");
        assert!(conf.contains("library.reset_on_fork = true\n"), "{conf}");
        Home::create_or_open(&path).unwrap();
        assert_eq!(first, pins());
        assert!(!home.is_configured());
    }

    #[test]
    fn missing_files_of_a_unit_with_keys_are_not_created_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("softhsm");
        assert!(matches!(Home::open(&path), Err(HomeError::Missing(_))));
        assert!(!path.exists());
        Home::create_or_open(&path).unwrap();
        assert!(matches!(Home::open(&path), Err(HomeError::Missing(missing)) if missing.ends_with("tokens")));
        std::fs::create_dir(path.join("tokens")).unwrap();
        Home::open(&path).unwrap();
        std::fs::remove_file(path.join("pin")).unwrap();
        assert!(matches!(Home::open(&path), Err(HomeError::Missing(missing)) if missing.ends_with("pin")));
        assert!(
            matches!(Home::create_or_open(&path), Err(HomeError::Missing(missing)) if missing.ends_with("pin"))
        );
    }

    #[test]
    fn a_moved_home_gets_a_new_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let (before, after) = (folder.path().join("before"), folder.path().join("after"));
        Home::create_or_open(&before).unwrap();
        std::fs::create_dir(before.join("tokens")).unwrap();
        std::fs::rename(&before, &after).unwrap();
        let conf = std::fs::read_to_string(Home::open(&after).unwrap().conf()).unwrap();
        assert!(conf.contains("/after/tokens\n") && !conf.contains("/before/"), "{conf}");
    }

    #[test]
    fn a_path_that_softhsm_cannot_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a#b", "a\nb"] {
            let message = Home::create_or_open(&folder.path().join(name)).unwrap_err().to_string();
            assert!(message.contains('#'), "{message}");
        }
    }

    #[test]
    fn a_process_with_another_configuration_creates_no_token() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::create_or_open(folder.path()).unwrap();
        let module = find_module().unwrap_or_else(|| "/nowhere.so".into());
        assert!(matches!(home.create_token(&module, "t"), Err(HomeError::NotConfigured(_))));
        assert!(!folder.path().join("tokens").exists() && !folder.path().join("tokens.new").exists());
    }

    /// The part of the test below that runs in a process with the home's configuration. Does nothing otherwise.
    #[test]
    fn create_token_in_child_process() {
        let Some(conf) = std::env::var_os(CONF_VARIABLE) else { return };
        let folder = Path::new(&conf).parent().unwrap();
        let home = Home::create_or_open(folder).unwrap();
        assert!(home.is_configured());
        let module = find_module().unwrap();
        home.create_token(&module, "SIM00001-0011223344556677").unwrap();
        let softhsm = Pkcs11::new(module).unwrap();
        softhsm.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        let slots = softhsm.get_slots_with_initialized_token().unwrap();
        let info = softhsm.get_token_info(slots[0]).unwrap();
        assert_eq!((slots.len(), info.label()), (1, "SIM00001-0011223344556677"));
        let session = softhsm.open_rw_session(slots[0]).unwrap();
        let pin = read_pin(home.pin_file()).unwrap();
        session.login(UserType::User, Some(pin.expose())).unwrap();
        println!("serial {}", info.serial_number());
    }

    #[test]
    fn a_token_is_created_once_even_after_interruptions() {
        if find_module().is_none() {
            eprintln!("skipped: a_token_is_created_once_even_after_interruptions: SoftHSM is not installed");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("softhsm");
        let conf = Home::create_or_open(&path).unwrap().conf();
        // An interruption may leave an incomplete token and a configuration that names another folder.
        std::fs::create_dir_all(path.join("tokens.new/0b6a5c9e-half")).unwrap();
        std::fs::write(path.join("tokens.new/0b6a5c9e-half/token.object"), "half").unwrap();
        std::fs::write(&conf, "directories.tokendir = /nowhere\n").unwrap();
        std::fs::remove_file(path.join("so-pin")).unwrap();
        let serial = || {
            let child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "softhsm::tests::create_token_in_child_process", "--nocapture"])
                .env(CONF_VARIABLE, &conf)
                .output()
                .unwrap();
            let output = String::from_utf8_lossy(&child.stdout).into_owned();
            assert!(child.status.success(), "{output}{}", String::from_utf8_lossy(&child.stderr));
            output.split_once("serial ").unwrap().1.split_whitespace().next().unwrap().to_owned()
        };
        let first = serial();
        assert!(!path.join("tokens.new").exists());
        assert_eq!(serial(), first, "the token was created twice");
    }
}
