//! The customer of a simulated region: two administrators whose signature keys lie in a temporary folder, and their tool,
//! `tke` of this program in a process of its own.

use super::simulator::SimulatorError;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;
use wire::text::encode_secret_hex;
use zeroize::Zeroizing;

/// Names of the administrators.
const ADMINISTRATORS: [&str; 2] = ["rehearsal-1", "rehearsal-2"];

/// The customer of a region whose units they have set up.
pub(super) struct Customer {
    /// Signature keys and their password.
    folder: tempfile::TempDir,
    /// Data directory of the region.
    data: PathBuf,
    /// File with what the tool says.
    log: PathBuf,
}

impl Customer {
    /// Sets the units of a region up: administrators, thresholds, a master key from a recovery unit.
    pub(super) async fn set_up(data: &Path, log: &Path) -> Result<Self, SimulatorError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| SimulatorError::File { path, source }
        };
        let folder = crate::files::private_tempdir()
            .prefix("hsm-sim-customer-")
            .tempdir()
            .map_err(file(&std::env::temp_dir()))?;
        let customer = Self { folder, data: data.to_owned(), log: log.to_owned() };
        let mut password = Zeroizing::new([0; 16]);
        let random = getrandom::fill(password.as_mut_slice()).map_err(io::Error::other);
        let path = customer.password();
        random.map_err(file(&path))?;
        let password = encode_secret_hex(password.as_slice());
        crate::files::write_private(&path, password.as_bytes()).map_err(file(&path))?;
        let [one, other] = ADMINISTRATORS;
        customer.run(&["auto-init", "--new-administrator", one, "--new-administrator", other]).await?;
        customer.run(&["sigkey-sel", one, other]).await?;
        Ok(customer)
    }

    /// Rotates the master key; returns once every key is under the new one alone.
    pub(super) async fn rotate(&self) -> Result<(), SimulatorError> {
        self.run(&["auto-mk-rotate"]).await
    }

    async fn run(&self, arguments: &[&str]) -> Result<(), SimulatorError> {
        let file = |source| SimulatorError::File { path: self.log.clone(), source };
        let printed = OpenOptions::new().append(true).create(true).open(&self.log).map_err(file)?;
        let errors = printed.try_clone().map_err(file)?;
        let program = std::env::current_exe().map_err(SimulatorError::Start)?;
        let mut command = Command::new(program);
        command.arg("tke").args(arguments).arg("--data").arg(&self.data);
        command.arg("--files").arg(self.folder.path().join("files"));
        command.arg("--password-file").arg(self.password());
        for variable in ["TKE_URL", "TKE_INSTANCE", "TKE_ROOT", "TKE_SIGNSERV_URL", "CLOUDTKEFILES"] {
            command.env_remove(variable);
        }
        command.stdin(Stdio::null()).stdout(printed).stderr(errors).kill_on_drop(true);
        let status = command.status().await.map_err(SimulatorError::Start)?;
        if status.success() {
            return Ok(());
        }
        let command = arguments.first().map(|name| (*name).to_owned()).unwrap_or_default();
        Err(SimulatorError::Tool { command, status, said: super::simulator::last_lines(&self.log) })
    }

    fn password(&self) -> PathBuf {
        self.folder.path().join("password")
    }
}
