//! Tests on SoftHSM, each in a process and with a token of its own.
//!
//! SoftHSM finds its tokens by an environment variable, and a process can use one configuration only. So each test runs
//! itself again in a child process, with the variable set to a home in a temporary folder. The user's own configuration is
//! never read.

#![allow(dead_code, reason = "each test uses a part of it")]
#![expect(
    clippy::print_stdout,
    reason = "a test prints why it is skipped and what its child process printed"
)]

use engine_pkcs11::softhsm::{self, CONF_VARIABLE, Home};
use engine_pkcs11::{EventHandler, Pin, Token, TokenEvent, TokenUri};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Environment variable with the folder of the child process.
const FOLDER: &str = "HSM_SIM_TEST_SOFTHSM";
/// Environment variable with the URI of another token for [`on_token`].
const TOKEN: &str = "HSM_SIM_TEST_TOKEN";
/// Environment variable with the path of a file to which the names of skipped tests are appended.
const SKIPPED: &str = "HSM_SIM_SKIPPED";

/// The test's own SoftHSM configuration and token.
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
        source.read(|_| panic!("the test has no terminal")).unwrap()
    }

    /// Opens the token. Returns it with the events reported since.
    pub(crate) fn token(&self) -> (Arc<Token>, Events) {
        let events = Events::default();
        (Token::open(&self.uri(), self.pin(), events.handler()).unwrap(), events)
    }

    /// Removes the token from its slot.
    pub(crate) fn remove_token(&self) {
        std::fs::rename(self.folder.join("tokens"), self.folder.join("removed")).unwrap();
        std::fs::create_dir(self.folder.join("tokens")).unwrap();
    }

    /// Inserts the removed token again.
    pub(crate) fn restore_token(&self) {
        std::fs::remove_dir(self.folder.join("tokens")).unwrap();
        std::fs::rename(self.folder.join("removed"), self.folder.join("tokens")).unwrap();
    }
}

/// The events of a token, in order.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<TokenEvent>>>);

impl Events {
    pub(crate) fn handler(&self) -> EventHandler {
        let events = Arc::clone(&self.0);
        Box::new(move |event| events.lock().unwrap().push(event.clone()))
    }

    pub(crate) fn take(&self) -> Vec<TokenEvent> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Runs `body` with a token: SoftHSM's, or the one that the environment variable names. That token must hold no keys of a
/// unit, and the tests must run one at a time, because a process uses one token of a module at a time.
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
    let pin = uri.pin_source().unwrap().read(|_| panic!("the test has no terminal")).unwrap();
    body(&Token::open(&uri, pin, Box::new(|event| println!("{event}"))).unwrap());
}

/// Runs `body` in a child process with a SoftHSM token of its own. `name` is the name of the calling test.
pub(crate) fn on_softhsm(name: &str, body: impl FnOnce(&SoftHsm)) {
    let Some(module) = softhsm::find_module() else {
        skip(name, "SoftHSM is not installed");
        return;
    };
    if let Some(folder) = std::env::var_os(FOLDER) {
        let folder = PathBuf::from(folder);
        let home = Home::create_or_open(&folder).unwrap();
        assert!(home.is_configured(), "{CONF_VARIABLE} names another configuration");
        home.create_token(&module, SoftHsm::LABEL).unwrap();
        body(&SoftHsm { home, folder, module });
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path: &Path = folder.path();
    let home = Home::create_or_open(path).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(FOLDER, path)
        .env(CONF_VARIABLE, home.conf())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && out.contains("1 passed"), "{name}: {}\n{out}\n{err}", child.status);
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
