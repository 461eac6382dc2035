//! SoftHSMv2 as it is needed for a unit of one's own: where its library is, and a token apart from all others.
//!
//! SoftHSM finds its tokens by a configuration file that the environment variable [`CONF_VARIABLE`] names, else by the
//! machine's own. A [`Home`] is a folder with such a file and one token, so that nothing else of the user's is touched:
//! whoever uses it has to be a process that was started with the variable set to [`Home::conf`].

use crate::token::pin::{Pin, PinError, PinSource};
use crate::token::uri::{TokenUri, UriError};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::session::UserType;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The environment variable by which SoftHSM finds its configuration.
pub const CONF_VARIABLE: &str = "SOFTHSM2_CONF";

/// What to tell people whose machine has no SoftHSM.
pub const INSTALL: &str = "install it with `apt-get install softhsm2` (Debian, Ubuntu), `dnf install softhsm` (Fedora), \
     `apk add softhsm` (Alpine), `pacman -S softhsm` (Arch) or `brew install softhsm` (macOS)";

/// Where distributions put the library.
const MODULES: &[&str] = &[
    // Debian and Ubuntu, Alpine, Arch.
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    // Fedora and its kin, openSUSE.
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/libsofthsm2.so",
    // Built from source.
    "/usr/local/lib/softhsm/libsofthsm2.so",
    // Homebrew on Apple's processors and on Linux; on Intel's it is as from source.
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    "/home/linuxbrew/.linuxbrew/lib/softhsm/libsofthsm2.so",
];

/// The machine's SoftHSM, if it has one.
#[must_use]
pub fn find_module() -> Option<PathBuf> {
    MODULES.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// Bytes of a PIN that is made, before they are written as twice as many digits.
const PIN_BYTES: usize = 16;
/// SoftHSM reads lines of its configuration up to 1023 bytes.
const MAX_PATH_LEN: usize = 900;

/// A folder with one SoftHSM token.
///
/// ```text
/// softhsm2.conf   SoftHSM's configuration
/// pin, so-pin     random, mode 0600
/// tokens/         the token: there as a whole, or not at all
/// tokens.new/     the token while it is being made
/// ```
#[derive(Debug)]
pub struct Home {
    folder: PathBuf,
}

/// Why a [`Home`] cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The folder or a file in it.
    #[error("the SoftHSM token's folder {} cannot be used", .folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// SoftHSM would read another path.
    #[error(
        "SoftHSM cannot keep a token in {}: its configuration has no way to write a path with `#` or a line's end in it, \
         or one longer than {MAX_PATH_LEN} bytes",
        .0.display()
    )]
    Path(PathBuf),
    /// What belongs to the token is not there.
    #[error("the SoftHSM token is not where it was: {} is not there", .0.display())]
    Gone(PathBuf),
    /// The PIN.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The process uses another configuration.
    #[error("this process was not started with {CONF_VARIABLE}={}", .0.display())]
    OtherConf(PathBuf),
    /// SoftHSM itself.
    #[error("SoftHSM ({}) did not {what}", .module.display())]
    SoftHsm {
        /// The library.
        module: PathBuf,
        /// What it was asked.
        what: &'static str,
        /// What it said.
        source: cryptoki::error::Error,
    },
    /// SoftHSM offers nothing to make a token in.
    #[error("SoftHSM ({}) has no slot for a new token", .0.display())]
    NoSlot(PathBuf),
    /// The token's name cannot be one.
    #[error("the token cannot have this name")]
    Name(#[from] UriError),
}

impl Home {
    /// The home in `folder`, made if need be, for a unit that has nothing on its token yet.
    ///
    /// # Errors
    /// [`HomeError`]; what was made is finished the next time.
    pub fn create_or_open(folder: &Path) -> Result<Self, HomeError> {
        let home = Self::at(folder, |folder| DirBuilder::new().recursive(true).mode(0o700).create(folder))?;
        let has_token = home.tokens().is_dir();
        for path in [home.pin_file(), home.so_pin_file()] {
            if path.exists() {
                continue;
            }
            if has_token {
                return Err(HomeError::Gone(path));
            }
            home.io(random_pin().and_then(|pin| write_private(&path, pin.as_bytes())))?;
        }
        home.write_conf(&home.tokens())?;
        Ok(home)
    }

    /// The home in `folder`, as it was left: whatever is missing is missing, and not made anew.
    ///
    /// # Errors
    /// [`HomeError::Gone`] when something is missing.
    pub fn open(folder: &Path) -> Result<Self, HomeError> {
        if !folder.is_dir() {
            return Err(HomeError::Gone(folder.to_owned()));
        }
        let home = Self::at(folder, |_| Ok(()))?;
        for path in [home.pin_file(), home.tokens()] {
            if !path.exists() {
                return Err(HomeError::Gone(path));
            }
        }
        // The folder may have been moved since.
        home.write_conf(&home.tokens())?;
        Ok(home)
    }

    fn at(folder: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<Self, HomeError> {
        let unusable = |source| HomeError::Folder { folder: folder.to_owned(), source };
        make(folder).map_err(unusable)?;
        let folder = folder.canonicalize().map_err(unusable)?;
        let name = folder.as_os_str().as_bytes();
        if name.len() > MAX_PATH_LEN || name.iter().any(|byte| b"#\r\n".contains(byte)) {
            return Err(HomeError::Path(folder));
        }
        Ok(Self { folder })
    }

    /// The configuration: what [`CONF_VARIABLE`] has to be in a process that uses the token.
    #[must_use]
    pub fn conf(&self) -> PathBuf {
        self.folder.join("softhsm2.conf")
    }

    /// Whether this process is one that uses it.
    #[must_use]
    pub fn is_in_use_here(&self) -> bool {
        std::env::var_os(CONF_VARIABLE).is_some_and(|conf| conf == self.conf().as_os_str())
    }

    /// The token of this name.
    ///
    /// # Errors
    /// [`UriError`] for a name that a token cannot have.
    pub fn uri(&self, module: &Path, label: &str) -> Result<TokenUri, UriError> {
        TokenUri::labelled(label, module, PinSource::File(self.pin_file()))
    }

    /// Makes the token, if there is none yet.
    ///
    /// It is made aside and appears by being renamed: one that was interrupted is begun anew, for nothing was ever kept on
    /// it. To be called before any other use of SoftHSM in the process, which has to be one of [`Home::conf`].
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn make_token(&self, module: &Path, label: &str) -> Result<(), HomeError> {
        if self.tokens().is_dir() {
            return Ok(());
        }
        if !self.is_in_use_here() {
            return Err(HomeError::OtherConf(self.conf()));
        }
        let aside = self.folder.join("tokens.new");
        match fs::remove_dir_all(&aside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return self.io(Err(e)),
            _ => {}
        }
        self.io(DirBuilder::new().mode(0o700).create(&aside))?;
        self.write_conf(&aside)?;
        self.initialise(module, label)?;
        self.io(sync_all(&aside).and_then(|()| fs::rename(&aside, self.tokens())))?;
        self.io(sync_folder(&self.folder))?;
        self.write_conf(&self.tokens())
    }

    fn initialise(&self, module: &Path, label: &str) -> Result<(), HomeError> {
        let failed = |what| move |source| HomeError::SoftHsm { module: module.to_owned(), what, source };
        let (pin, so_pin) = (read_pin(self.pin_file())?, read_pin(self.so_pin_file())?);
        let softhsm = Pkcs11::new(module).map_err(failed("load"))?;
        softhsm.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(failed("start"))?;
        let slots = softhsm.get_slots_with_token().map_err(failed("list its slots"))?;
        // All there is in a folder of no tokens is the slot for the next.
        let slot = slots.first().copied().ok_or_else(|| HomeError::NoSlot(module.to_owned()))?;
        softhsm.init_token(slot, so_pin.expose(), label).map_err(failed("initialise the token"))?;
        let session = softhsm.open_rw_session(slot).map_err(failed("open a session"))?;
        session.login(UserType::So, Some(so_pin.expose())).map_err(failed("take the SO PIN"))?;
        session.init_pin(pin.expose()).map_err(failed("take a PIN"))?;
        session.logout().map_err(failed("log out"))?;
        session.close().map_err(failed("close the session"))?;
        // Loaded it stays: it is used again at once, and libraries like it do not come back well from being unloaded.
        std::mem::forget(softhsm.clone());
        softhsm.finalize().map_err(failed("end"))
    }

    fn write_conf(&self, tokens: &Path) -> Result<(), HomeError> {
        let mut conf = b"# Written by hsm-sim at every start.\ndirectories.tokendir = ".to_vec();
        conf.extend_from_slice(tokens.as_os_str().as_bytes());
        // A child of the process has nothing on the token.
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

    fn io<T>(&self, done: io::Result<T>) -> Result<T, HomeError> {
        done.map_err(|source| HomeError::Folder { folder: self.folder.clone(), source })
    }
}

fn read_pin(path: PathBuf) -> Result<Pin, PinError> {
    PinSource::File(path).read(|_| Err(io::ErrorKind::Unsupported.into()))
}

fn random_pin() -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0_u8; PIN_BYTES]);
    getrandom::fill(bytes.as_mut_slice())?;
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    let mut pin = Zeroizing::new(String::with_capacity(2 * PIN_BYTES));
    pin.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
    Ok(pin)
}

/// Writes a file of mode 0600 so that a crash at any moment leaves it whole, as it was or as it is to be.
fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes all that is in a folder durable; SoftHSM leaves that to the system.
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
    use super::{CONF_VARIABLE, Home, HomeError, Pkcs11, find_module, read_pin};
    use cryptoki::context::{CInitializeArgs, CInitializeFlags};
    use cryptoki::session::UserType;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_home_is_its_owner_s_alone_and_made_once() {
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
        assert!(!home.is_in_use_here());
    }

    #[test]
    fn what_is_gone_is_not_made_anew_for_a_unit_that_has_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("softhsm");
        assert!(matches!(Home::open(&path), Err(HomeError::Gone(_))));
        assert!(!path.exists());
        Home::create_or_open(&path).unwrap();
        assert!(matches!(Home::open(&path), Err(HomeError::Gone(gone)) if gone.ends_with("tokens")));
        std::fs::create_dir(path.join("tokens")).unwrap();
        Home::open(&path).unwrap();
        std::fs::remove_file(path.join("pin")).unwrap();
        assert!(matches!(Home::open(&path), Err(HomeError::Gone(gone)) if gone.ends_with("pin")));
        assert!(matches!(Home::create_or_open(&path), Err(HomeError::Gone(gone)) if gone.ends_with("pin")));
    }

    #[test]
    fn a_home_that_was_moved_is_found_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (before, after) = (folder.path().join("before"), folder.path().join("after"));
        Home::create_or_open(&before).unwrap();
        std::fs::create_dir(before.join("tokens")).unwrap();
        std::fs::rename(&before, &after).unwrap();
        let conf = std::fs::read_to_string(Home::open(&after).unwrap().conf()).unwrap();
        assert!(conf.contains("/after/tokens\n") && !conf.contains("/before/"), "{conf}");
    }

    #[test]
    fn a_path_that_softhsm_would_read_as_another_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a#b", "a\nb"] {
            let said = Home::create_or_open(&folder.path().join(name)).unwrap_err().to_string();
            assert!(said.contains('#'), "{said}");
        }
    }

    #[test]
    fn no_token_is_made_by_a_process_of_another_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::create_or_open(folder.path()).unwrap();
        let module = find_module().unwrap_or_else(|| "/nowhere.so".into());
        assert!(matches!(home.make_token(&module, "t"), Err(HomeError::OtherConf(_))));
        assert!(!folder.path().join("tokens").exists() && !folder.path().join("tokens.new").exists());
    }

    /// The part of the test below that needs a process of its own; nothing by itself.
    #[test]
    fn in_a_process_of_the_home_s() {
        let Some(conf) = std::env::var_os(CONF_VARIABLE) else { return };
        let folder = Path::new(&conf).parent().unwrap();
        let home = Home::create_or_open(folder).unwrap();
        assert!(home.is_in_use_here());
        let module = find_module().unwrap();
        home.make_token(&module, "SIM00001-0011223344556677").unwrap();
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
    fn a_token_is_made_once_however_often_that_was_interrupted() {
        if find_module().is_none() {
            eprintln!("skipped: a_token_is_made_once_however_often_that_was_interrupted: no SoftHSM here");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("softhsm");
        let conf = Home::create_or_open(&path).unwrap().conf();
        // What an interruption may leave: a token half made, and a configuration that leads to it.
        std::fs::create_dir_all(path.join("tokens.new/0b6a5c9e-half")).unwrap();
        std::fs::write(path.join("tokens.new/0b6a5c9e-half/token.object"), "half").unwrap();
        std::fs::write(&conf, "directories.tokendir = /nowhere\n").unwrap();
        std::fs::remove_file(path.join("so-pin")).unwrap();
        let serial = || {
            let made = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "softhsm::tests::in_a_process_of_the_home_s", "--nocapture"])
                .env(CONF_VARIABLE, &conf)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&made.stdout).into_owned();
            assert!(made.status.success(), "{said}{}", String::from_utf8_lossy(&made.stderr));
            said.split_once("serial ").unwrap().1.split_whitespace().next().unwrap().to_owned()
        };
        let first = serial();
        assert!(!path.join("tokens.new").exists());
        assert_eq!(serial(), first, "the token was made twice");
    }
}
