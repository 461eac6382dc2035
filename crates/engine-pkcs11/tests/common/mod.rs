//! Tests on SoftHSM, each in a process and with a token of its own.
//!
//! SoftHSM finds its tokens by an environment variable, and one process has one connection to it: so a test runs itself
//! once more, with the variable set to a home that it has just made in a temporary folder. Nobody's own configuration is
//! ever read.

#![allow(dead_code, reason = "what tests share, each uses a part of")]

use engine_pkcs11::softhsm::{self, CONF_VARIABLE, Home};
use engine_pkcs11::{Pin, Report, Token, TokenEvent, TokenUri};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Tells the inner process its folder.
const FOLDER: &str = "HSM_SIM_TEST_SOFTHSM";
/// Names another token for the tests of [`on_token`].
const TOKEN: &str = "HSM_SIM_TEST_TOKEN";
/// Where skipped tests are noted, if somebody counts them.
const SKIPPED: &str = "HSM_SIM_SKIPPED";

/// A SoftHSM that is this test's alone.
pub(crate) struct SoftHsm {
    pub(crate) home: Home,
    pub(crate) folder: PathBuf,
    pub(crate) module: PathBuf,
}

impl SoftHsm {
    pub(crate) const LABEL: &'static str = "engine";

    pub(crate) fn uri(&self) -> TokenUri {
        self.home.uri(&self.module, Self::LABEL).unwrap()
    }

    pub(crate) fn pin(&self) -> Pin {
        let source = self.uri().pin_source().unwrap().clone();
        source.read(|_| panic!("nobody is asked for a PIN")).unwrap()
    }

    /// The token, and what is reported of it.
    pub(crate) fn token(&self) -> (Arc<Token>, Events) {
        let events = Events::default();
        (Token::open(&self.uri(), self.pin(), events.report()).unwrap(), events)
    }

    /// Takes the token away.
    pub(crate) fn take_away(&self) {
        std::fs::rename(self.folder.join("tokens"), self.folder.join("taken")).unwrap();
        std::fs::create_dir(self.folder.join("tokens")).unwrap();
    }

    /// Brings it back.
    pub(crate) fn bring_back(&self) {
        std::fs::remove_dir(self.folder.join("tokens")).unwrap();
        std::fs::rename(self.folder.join("taken"), self.folder.join("tokens")).unwrap();
    }
}

/// What a token's owner was told.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<TokenEvent>>>);

impl Events {
    pub(crate) fn report(&self) -> Report {
        let events = Arc::clone(&self.0);
        Box::new(move |event| events.lock().unwrap().push(event.clone()))
    }

    pub(crate) fn take(&self) -> Vec<TokenEvent> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Runs `body` with a token: SoftHSM's, or the one that the environment names for those who have another, which has to be
/// nobody's that has a unit. Such tests run one at a time: one process uses one token of a module at a time.
///
/// ```text
/// HSM_SIM_TEST_TOKEN='pkcs11:token=t?module-path=/m.so&pin-source=file:/pin' \
///     cargo test -p engine-pkcs11 --test conformance --test kat -- --test-threads=1
/// ```
pub(crate) fn on_token(name: &str, body: impl FnOnce(&Arc<Token>)) {
    let Ok(uri) = std::env::var(TOKEN) else {
        return on_softhsm(name, |softhsm| body(&softhsm.token().0));
    };
    let uri: TokenUri = uri.parse().unwrap();
    let pin = uri.pin_source().unwrap().read(|_| panic!("nobody is asked for a PIN")).unwrap();
    body(&Token::open(&uri, pin, Box::new(|event| println!("{event}"))).unwrap());
}

/// Runs `body` in a process with a SoftHSM of its own; `name` is the test's.
pub(crate) fn on_softhsm(name: &str, body: impl FnOnce(&SoftHsm)) {
    let Some(module) = softhsm::find_module() else {
        skip(name, "SoftHSM is not installed");
        return;
    };
    if let Some(folder) = std::env::var_os(FOLDER) {
        let folder = PathBuf::from(folder);
        let home = Home::create_or_open(&folder).unwrap();
        assert!(home.is_in_use_here(), "{CONF_VARIABLE} is not this test's");
        home.make_token(&module, SoftHsm::LABEL).unwrap();
        body(&SoftHsm { home, folder, module });
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path: &Path = folder.path();
    let home = Home::create_or_open(path).unwrap();
    let inner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(FOLDER, path)
        .env(CONF_VARIABLE, home.conf())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&inner.stdout), String::from_utf8_lossy(&inner.stderr));
    assert!(inner.status.success() && out.contains("1 passed"), "{name}: {}\n{out}\n{err}", inner.status);
    print!("{out}");
}

fn skip(name: &str, why: &str) {
    let line = format!("skipped: {name}: {why}");
    println!("{line}");
    if let Some(path) = std::env::var_os(SKIPPED) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}
