//! A SoftHSM configuration of the test's own, with tokens as a security officer would create them.

pub(crate) use super::skip::softhsm as module;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A configuration, and a folder of tokens.
pub(crate) struct SoftHsm(tempfile::TempDir);

impl SoftHsm {
    pub(crate) fn new() -> Self {
        let softhsm = Self(tempfile::tempdir().unwrap());
        let tokens = softhsm.folder().join("tokens");
        std::fs::create_dir(&tokens).unwrap();
        let conf = format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display());
        std::fs::write(softhsm.conf(), conf).unwrap();
        softhsm
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn conf(&self) -> PathBuf {
        self.folder().join("softhsm2.conf")
    }

    pub(crate) fn add_token(&self, label: &str, pin: &str) {
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label, "--so-pin", pin, "--pin", pin])
            .env("SOFTHSM2_CONF", self.conf())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// Number of objects on all tokens.
    pub(crate) fn objects(&self) -> usize {
        let tokens = std::fs::read_dir(self.folder().join("tokens")).unwrap();
        let files = tokens.flat_map(|token| std::fs::read_dir(token.unwrap().path()).unwrap());
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".object") && name != "token.object").count()
    }
}

/// The folder of a unit's token, and the path that a test moves it to in order to remove it.
pub(crate) fn token_folders(data: &Path, unit: u16) -> (PathBuf, PathBuf) {
    let home = data.join(format!("units/{unit}/softhsm"));
    (home.join("tokens"), home.join("taken"))
}
