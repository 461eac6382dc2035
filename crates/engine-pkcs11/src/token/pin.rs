//! A token's PIN and the places it is read from.

use cryptoki::types::AuthPin;
use rustix::fs::{Mode, OFlags};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use zeroize::{Zeroize, Zeroizing};

/// Longest PIN file that is read, in bytes; far longer than any token's PIN.
const MAX_FILE_LEN: usize = 1024;

/// The user PIN of a token. Zeroized on drop, never printed.
pub struct Pin(AuthPin);

impl Pin {
    /// Takes the PIN from `text`, which is zeroized.
    #[must_use]
    pub fn new(mut text: String) -> Self {
        // Copied into an allocation of the exact length: shrinking `text` could leave its bytes behind in the old one.
        let pin = AuthPin::from(Box::<str>::from(text.as_str()));
        text.zeroize();
        Self(pin)
    }

    pub(crate) const fn expose(&self) -> &AuthPin {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin")
    }
}

/// Where a PIN is read from; the value of `pin-source` in a [`TokenUri`](crate::TokenUri).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// `file:/path`: the first line of a file that only its owner can read.
    File(PathBuf),
    /// `env:NAME`: an environment variable.
    Env(String),
    /// `prompt`: the user is asked at the terminal.
    Prompt,
}

/// The value of `pin-source` is not a [`PinSource`]. The message does not repeat it, because it may be the PIN itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid pin-source; supported: file:/absolute/path, env:NAME, prompt")]
pub struct PinSourceInvalid;

/// Why a PIN could not be read. The messages name the source, never its content.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The PIN file could not be opened or read.
    #[error("the PIN file {} could not be read", .path.display())]
    File {
        /// Path of the PIN file.
        path: PathBuf,
        /// OS error from open(2), fstat(2) or read(2).
        source: io::Error,
    },
    /// The path names a folder, pipe or device.
    #[error("the PIN file {} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// The file's permissions let other users read or write it.
    #[error(
        "the PIN file {} is accessible to other users (mode {mode:04o}): run chmod 600 on it, and change the PIN if \
         they may have read it",
        .path.display()
    )]
    Exposed {
        /// Path of the PIN file.
        path: PathBuf,
        /// Permission bits of the file.
        mode: u32,
    },
    /// The environment variable is not set.
    #[error("the environment variable {0} with the PIN is not set")]
    VariableNotSet(String),
    /// The source is empty, is not UTF-8, or is longer than 1024 bytes.
    #[error("{0} does not hold a PIN: expected one line of UTF-8 text of at most {MAX_FILE_LEN} bytes")]
    Invalid(String),
    /// The prompt failed.
    #[error("the user could not be asked for the PIN")]
    Prompt(#[source] io::Error),
}

impl PinSource {
    /// Parses the percent-decoded value of `pin-source`.
    pub(super) fn from_bytes(value: Vec<u8>) -> Result<Self, PinSourceInvalid> {
        // It may be the PIN itself.
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
        // RFC 8089 §2: `file:///path` is the same file as `file:/path`; `file://host/path` is on another machine.
        let path = path.strip_prefix(b"//").unwrap_or(path);
        let absolute = path.first() == Some(&b'/') && path.get(1).is_some_and(|next| *next != b'/');
        let path = || PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()));
        absolute.then(|| Self::File(path())).ok_or(PinSourceInvalid)
    }

    /// The value of `pin-source`, before percent-encoding.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::File(path) => [b"file:", path.as_os_str().as_bytes()].concat(),
            Self::Env(name) => [b"env:", name.as_bytes()].concat(),
            Self::Prompt => b"prompt".to_vec(),
        }
    }

    /// Reads the PIN. `prompt` is called for [`PinSource::Prompt`] only, with the text to show.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn read(&self, prompt: impl FnOnce(&str) -> io::Result<Pin>) -> Result<Pin, PinError> {
        match self {
            Self::File(path) => read_file(path.clone()),
            Self::Env(name) => {
                let value = std::env::var_os(name).ok_or_else(|| PinError::VariableNotSet(name.clone()))?;
                let content = Zeroizing::new(value.into_vec());
                parse_pin(&content)
                    .ok_or_else(|| PinError::Invalid(format!("the environment variable {name}")))
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
    // Without NONBLOCK, opening a pipe would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
    let file = File::from(file);
    // Checked on the open file, because another one may be renamed to the path meanwhile.
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(PinError::NotAFile(path));
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PinError::Exposed { path, mode });
    }
    // Allocated once: a vector that grows leaves copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_FILE_LEN + 1));
    file.take(MAX_FILE_LEN as u64 + 1).read_to_end(&mut content).map_err(failed)?;
    let line = first_line(&content).filter(|_| content.len() <= MAX_FILE_LEN);
    line.and_then(parse_pin).ok_or_else(|| PinError::Invalid(path.display().to_string()))
}

/// The first line, without its line ending.
fn first_line(content: &[u8]) -> Option<&[u8]> {
    let line = content.split(|byte| *byte == b'\n').next()?;
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

pub(crate) fn parse_pin(content: &[u8]) -> Option<Pin> {
    let text = str::from_utf8(content).ok()?;
    (!text.is_empty() && text.len() <= MAX_FILE_LEN).then(|| Pin::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{Pin, PinError, PinSource, first_line};
    use std::fs::Permissions;
    use std::io;
    use std::os::unix::fs::PermissionsExt;

    fn fail(_: &str) -> io::Result<Pin> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[test]
    fn a_pin_is_never_printed() {
        assert_eq!(format!("{:?}", Pin::new("1234".to_owned())), "Pin");
    }

    #[test]
    fn the_pin_is_the_first_line_without_its_ending() {
        for (content, line) in [
            ("1234", "1234"),
            ("1234\n", "1234"),
            ("1234\r\n", "1234"),
            ("12 34 \nfor the token\n", "12 34 "),
            ("\n1234", ""),
            ("", ""),
        ] {
            assert_eq!(first_line(content.as_bytes()), Some(line.as_bytes()), "{content:?}");
        }
    }

    #[test]
    fn a_file_accessible_to_other_users_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        let source = PinSource::File(path.clone());
        assert!(matches!(source.read(fail), Err(PinError::File { .. })));
        std::fs::write(&path, "5e6f7a8b\n").unwrap();
        for (mode, accepted) in
            [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false), (0o601, false)]
        {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let result = source.read(fail).map_err(|e| e.to_string());
            assert_eq!(result.is_ok(), accepted, "{mode:o}: {result:?}");
            if let Err(message) = result {
                assert!(
                    message.contains("chmod 600") && message.contains(&format!("{mode:04o}")),
                    "{message}"
                );
                assert!(!message.contains("5e6f7a8b"), "{message}");
            }
        }
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for content in [&b""[..], b"\n1234", &[b'1'; 2000], b"\xff\xfe12"] {
            std::fs::write(&path, content).unwrap();
            let result = source.read(fail);
            assert!(matches!(result, Err(PinError::Invalid(_))), "{result:?}");
        }
        let folder = PinSource::File(folder.path().to_owned());
        assert!(matches!(folder.read(fail), Err(PinError::NotAFile(_))));
    }

    #[test]
    fn a_pipe_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        assert!(matches!(PinSource::File(path).read(fail), Err(PinError::NotAFile(_))));
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = PinSource::Env("HSM_SIM_NO_SUCH_PIN".to_owned()).read(fail).unwrap_err();
        assert!(error.to_string().contains("HSM_SIM_NO_SUCH_PIN"), "{error}");
        // Always set in a test process.
        assert!(PinSource::Env("PATH".to_owned()).read(fail).is_ok());
    }

    #[test]
    fn the_user_is_prompted() {
        let mut asked = String::new();
        let prompt = |question: &str| {
            question.clone_into(&mut asked);
            Ok(Pin::new("1234".to_owned()))
        };
        PinSource::Prompt.read(prompt).unwrap();
        assert!(asked.starts_with("PIN"), "{asked}");
        assert!(matches!(PinSource::Prompt.read(fail), Err(PinError::Prompt(_))));
    }
}
