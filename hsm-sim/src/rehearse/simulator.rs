//! The simulator that is rehearsed on: `up` of this program in a process of its own, or one that runs already.

use crate::control::{ControlClient, ControlError};
use crate::region::{DataDir, ReadyFile};
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long a simulator may take to serve.
const START_PATIENCE: Duration = Duration::from_secs(180);
/// How long a simulator may take to stop before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks for the ready file.
const LOOK: Duration = Duration::from_millis(50);
/// Lines of the log that a message shows.
const LOG_LINES: usize = 3;

/// A running simulator.
pub(super) struct Simulator {
    /// The process, if this program started it.
    child: Option<Child>,
    /// Its data, which are removed with it.
    folder: Option<tempfile::TempDir>,
    /// Addresses and credentials.
    pub(super) ready: ReadyFile,
    /// Its control API.
    pub(super) control: ControlClient,
}

/// Why there is no simulator.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// A folder or file of its cannot be made or read.
    #[error("{} cannot be used for the simulator", .path.display())]
    File {
        /// The folder or file.
        path: PathBuf,
        /// OS error, or why the content is invalid.
        source: io::Error,
    },
    /// The process cannot be started.
    #[error("the simulator's process cannot be started")]
    Start(#[source] io::Error),
    /// The process ended.
    #[error("the simulator ended ({status}): {said}")]
    Ended {
        /// Its exit status.
        status: ExitStatus,
        /// The end of its log.
        said: String,
    },
    /// It does not serve.
    #[error("the simulator did not serve within {} s; its log is {}", START_PATIENCE.as_secs(), .log.display())]
    Slow {
        /// Its log.
        log: PathBuf,
    },
    /// The control API refuses.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A command of the customer's tool failed.
    #[error("`tke {command}` ended ({status}): {said}")]
    Tool {
        /// The command.
        command: String,
        /// Its exit status.
        status: ExitStatus,
        /// The end of its output.
        said: String,
    },
    /// No simulator runs on this data directory.
    #[error("no simulator runs on {}", .0.display())]
    NotRunning(PathBuf),
}

impl Simulator {
    /// Starts `up` with these arguments on a folder of its own. The process ends with this one.
    pub(super) async fn start(arguments: &[String], log: &Path) -> Result<Self, SimulatorError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| SimulatorError::File { path, source }
        };
        let folder = crate::files::private_tempdir()
            .prefix("hsm-sim-rehearsal-")
            .tempdir()
            .map_err(file(&std::env::temp_dir()))?;
        Self::start_in(folder, arguments, log).await
    }

    /// As [`Simulator::start`], on the folder of one that was killed.
    pub(super) async fn start_in(
        folder: tempfile::TempDir,
        arguments: &[String],
        log: &Path,
    ) -> Result<Self, SimulatorError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| SimulatorError::File { path, source }
        };
        let data = folder.path().join("data");
        let ready_file = folder.path().join("ready.json");
        match std::fs::remove_file(&ready_file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(file(&ready_file)(e)),
            Ok(()) | Err(_) => {}
        }
        let printed = OpenOptions::new().append(true).create(true).open(log).map_err(file(log))?;
        let errors = printed.try_clone().map_err(file(log))?;
        let program = std::env::current_exe().map_err(SimulatorError::Start)?;
        let mut child = Command::new(program)
            .args(["up", "--supervised", "--port", "0", "--data"])
            .arg(&data)
            .arg("--ready-file")
            .arg(&ready_file)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(printed)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(SimulatorError::Start)?;
        let deadline = Instant::now() + START_PATIENCE;
        let content = loop {
            if let Some(content) = crate::files::read_if_present(&ready_file).map_err(file(&ready_file))? {
                break content;
            }
            if let Some(status) = child.try_wait().map_err(SimulatorError::Start)? {
                return Err(SimulatorError::Ended { status, said: last_lines(log) });
            }
            if Instant::now() > deadline {
                return Err(SimulatorError::Slow { log: log.to_owned() });
            }
            sleep(LOOK).await;
        };
        let ready: ReadyFile = serde_json::from_slice(&content).map_err(|e| file(&ready_file)(e.into()))?;
        let control = ControlClient::at(&ready.control_url, &ready.control_token)?;
        Ok(Self { child: Some(child), folder: Some(folder), ready, control })
    }

    /// The simulator that runs on a data directory. It goes on when the rehearsal has ended.
    pub(super) fn attach(data: &Path) -> Result<Self, SimulatorError> {
        let path = DataDir::ready_file(data);
        let file = |source| SimulatorError::File { path: path.clone(), source };
        let content = crate::files::read_if_present(&path).map_err(file)?;
        let content = content.ok_or_else(|| SimulatorError::NotRunning(data.to_owned()))?;
        let ready: ReadyFile = serde_json::from_slice(&content).map_err(|e| file(e.into()))?;
        let control = ControlClient::at(&ready.control_url, &ready.control_token)?;
        Ok(Self { child: None, folder: None, ready, control })
    }

    /// Process ID, if this program started it.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref()?.id()
    }

    /// Kills the process (SIGKILL); its own processes end with it. Returns the folder with its data.
    pub(super) async fn kill(mut self) -> Option<tempfile::TempDir> {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().await;
        }
        self.folder.take()
    }

    /// Stops the process, if this program started it.
    pub(super) async fn stop(mut self) {
        if let Some(mut child) = self.child.take() {
            // It stops at the end of its standard input.
            drop(child.stdin.take());
            if timeout(STOP_PATIENCE, child.wait()).await.is_err() {
                // Its own processes end with it.
                let _ = child.kill().await;
            }
        }
    }
}

/// The last lines of a log, in one line.
pub(super) fn last_lines(log: &Path) -> String {
    let content = std::fs::read(log).unwrap_or_default();
    let content = String::from_utf8_lossy(&content);
    let lines: Vec<&str> = content.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
    if last.is_empty() { "it said nothing".to_owned() } else { last.join("; ") }
}
