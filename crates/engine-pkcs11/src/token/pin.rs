//! A token's PIN, and where it comes from.

use cryptoki::types::AuthPin;
use rustix::fs::{Mode, OFlags};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use zeroize::{Zeroize, Zeroizing};

/// Longest file that a PIN is taken from, in bytes; no token has a PIN as long.
const MAX_FILE_LEN: usize = 1024;

/// What a token is logged in to with. Zeroized on drop, never printed.
pub struct Pin(AuthPin);

impl Pin {
    /// A PIN from text, which is wiped.
    #[must_use]
    pub fn new(mut text: String) -> Self {
        // A copy of the exact length: to shrink the text itself would leave what it was behind.
        let pin = AuthPin::from(Box::<str>::from(text.as_str()));
        text.zeroize();
        Self(pin)
    }

    /// As the token is given it.
    pub(crate) const fn expose(&self) -> &AuthPin {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin")
    }
}

/// Where a PIN is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// The first line of a file that only its owner may read: `file:/path`.
    File(PathBuf),
    /// An environment variable: `env:NAME`.
    Env(String),
    /// Whoever sits at the terminal: `prompt`.
    Prompt,
}

/// A text that is no [`PinSource`]. It is not repeated, for it may be the PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pin-source is file:/absolute/path, env:NAME or prompt")]
pub struct PinSourceInvalid;

/// Why there is no PIN. Names the source, never the content.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The file cannot be read.
    #[error("the PIN cannot be read from {}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a file with a line in it.
    #[error("the PIN is not taken from {}: it is no ordinary file", .0.display())]
    NotAFile(PathBuf),
    /// Others can read it too.
    #[error(
        "the PIN is not taken from {}, which others can read (mode {mode:04o}): chmod 600 it, and change the PIN if \
         they may have",
        .path.display()
    )]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The variable is not set.
    #[error("the PIN is to be in the environment variable {0}, which is not set")]
    NoVariable(String),
    /// Nothing there, or nothing that is a PIN.
    #[error("{0} holds no PIN: one line of text, no longer than a token's PIN can be")]
    NotAPin(String),
    /// Nobody could be asked.
    #[error("the PIN could not be asked for")]
    Prompt(#[source] io::Error),
}

impl PinSource {
    /// A source as it stands in a URI, percent-decoded.
    pub(crate) fn from_bytes(value: Vec<u8>) -> Result<Self, PinSourceInvalid> {
        // Whatever it is, it is not kept.
        let value = Zeroizing::new(value);
        if value.as_slice() == b"prompt" {
            return Ok(Self::Prompt);
        }
        if let Some(name) = value.strip_prefix(b"env:") {
            let name = str::from_utf8(name).map_err(|_| PinSourceInvalid)?;
            let possible = !name.is_empty() && !name.contains(['=', '\0']);
            return possible.then(|| Self::Env(name.to_owned())).ok_or(PinSourceInvalid);
        }
        let path = value.strip_prefix(b"file:").ok_or(PinSourceInvalid)?;
        // RFC 8089 §2: `file:///path` is the same file as `file:/path`; with a host between, it is somebody else's.
        let path = path.strip_prefix(b"//").unwrap_or(path);
        let absolute = path.first() == Some(&b'/') && path.get(1).is_some_and(|next| *next != b'/');
        let path = || PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()));
        absolute.then(|| Self::File(path())).ok_or(PinSourceInvalid)
    }

    /// As it stands in a URI, before percent-encoding.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::File(path) => [b"file:", path.as_os_str().as_bytes()].concat(),
            Self::Env(name) => [b"env:", name.as_bytes()].concat(),
            Self::Prompt => b"prompt".to_vec(),
        }
    }

    /// The PIN. Whoever has to be asked is asked by `prompt`, which is given the question.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn read(&self, prompt: impl FnOnce(&str) -> io::Result<Pin>) -> Result<Pin, PinError> {
        match self {
            Self::File(path) => read_file(path.clone()),
            Self::Env(name) => {
                let value = std::env::var_os(name).ok_or_else(|| PinError::NoVariable(name.clone()))?;
                let content = Zeroizing::new(value.into_vec());
                pin_of(&content).ok_or_else(|| PinError::NotAPin(format!("the environment variable {name}")))
            }
            Self::Prompt => prompt("PIN of the token: ").map_err(PinError::Prompt),
        }
    }
}

impl fmt::Display for PinSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Prompt => f.write_str("prompt"),
        }
    }
}

fn read_file(path: PathBuf) -> Result<Pin, PinError> {
    let failed = |source| PinError::File { path: path.clone(), source };
    // A pipe would have us wait for whoever writes to it.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
    let file = File::from(file);
    // Of the file that is open, whatever becomes of its name.
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(PinError::NotAFile(path));
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PinError::Exposed { path, mode });
    }
    // Room for all of it at once: a vector that grows leaves copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_FILE_LEN + 1));
    file.take(MAX_FILE_LEN as u64 + 1).read_to_end(&mut content).map_err(failed)?;
    let line = first_line(&content).filter(|_| content.len() <= MAX_FILE_LEN);
    line.and_then(pin_of).ok_or_else(|| PinError::NotAPin(path.display().to_string()))
}

fn first_line(content: &[u8]) -> Option<&[u8]> {
    let line = content.split(|byte| *byte == b'\n').next()?;
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

fn pin_of(content: &[u8]) -> Option<Pin> {
    let text = str::from_utf8(content).ok()?;
    (!text.is_empty() && text.len() <= MAX_FILE_LEN).then(|| Pin::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{Pin, PinError, PinSource, first_line};
    use std::fs::Permissions;
    use std::io;
    use std::os::unix::fs::PermissionsExt;

    fn never(_: &str) -> io::Result<Pin> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[test]
    fn a_pin_is_never_printed() {
        assert_eq!(format!("{:?}", Pin::new("1234".to_owned())), "Pin");
    }

    #[test]
    fn the_first_line_counts_without_its_end() {
        for (content, line) in [
            ("1234", "1234"),
            ("1234\n", "1234"),
            ("1234\r\n", "1234"),
            ("12 34 \nfor the token in the vault\n", "12 34 "),
            ("\n1234", ""),
            ("", ""),
        ] {
            assert_eq!(first_line(content.as_bytes()), Some(line.as_bytes()), "{content:?}");
        }
    }

    #[test]
    fn a_file_is_its_owner_s_alone_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        let source = PinSource::File(path.clone());
        assert!(matches!(source.read(never), Err(PinError::File { .. })));
        std::fs::write(&path, "5e6f7a8b\n").unwrap();
        for (mode, taken) in
            [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false), (0o601, false)]
        {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let said = source.read(never).map_err(|e| e.to_string());
            assert_eq!(said.is_ok(), taken, "{mode:o}: {said:?}");
            if let Err(said) = said {
                assert!(said.contains("chmod 600") && said.contains(&format!("{mode:04o}")), "{said}");
                assert!(!said.contains("5e6f7a8b"), "{said}");
            }
        }
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for content in [&b""[..], b"\n1234", &[b'1'; 2000], b"\xff\xfe12"] {
            std::fs::write(&path, content).unwrap();
            let said = source.read(never);
            assert!(matches!(said, Err(PinError::NotAPin(_))), "{said:?}");
        }
        let folder = PinSource::File(folder.path().to_owned());
        assert!(matches!(folder.read(never), Err(PinError::NotAFile(_))));
    }

    #[test]
    fn a_pipe_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        assert!(matches!(PinSource::File(path).read(never), Err(PinError::NotAFile(_))));
    }

    #[test]
    fn a_variable_is_named_when_it_is_not_there() {
        let said = PinSource::Env("HSM_SIM_NO_SUCH_PIN".to_owned()).read(never).unwrap_err();
        assert!(said.to_string().contains("HSM_SIM_NO_SUCH_PIN"), "{said}");
        // Some variable that is set, whatever it is.
        assert!(PinSource::Env("PATH".to_owned()).read(never).is_ok());
    }

    #[test]
    fn whoever_has_to_be_asked_is_asked() {
        let mut asked = String::new();
        let prompt = |question: &str| {
            question.clone_into(&mut asked);
            Ok(Pin::new("1234".to_owned()))
        };
        PinSource::Prompt.read(prompt).unwrap();
        assert!(asked.starts_with("PIN"), "{asked}");
        assert!(matches!(PinSource::Prompt.read(never), Err(PinError::Prompt(_))));
    }
}
