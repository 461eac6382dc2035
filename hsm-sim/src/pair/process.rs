//! A process of a pair: started, kept running, lost by command, healed, ended.

use rustix::process::{Pid, Signal, kill_process};
use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

/// How long a process may take from its start to its announcement.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a process may take to end before it is killed: requests under way end first, then units.
const END_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause before a process that ended by itself is started again: the first one, doubled each time up to the second.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Uptime after which the restart pause is reset.
const STEADY_UPTIME: Duration = Duration::from_secs(30);

/// What is told about the processes of a pair.
pub trait Announcements: Send + Sync + 'static {
    /// The command that starts a process, made for each start.
    ///
    /// # Errors
    /// The operating system's: the start fails.
    fn arguments(&self) -> io::Result<Vec<OsString>>;

    /// The process has written a line: at first that it serves, later that something about it has changed. `false` if the
    /// line is none of these.
    fn announced(&self, line: &str) -> bool;

    /// The process has ended.
    fn ended(&self);
}

/// A process, as its supervisor sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessState {
    /// Process ID while it runs.
    pub pid: Option<u32>,
    /// Whether it has announced that it serves.
    pub serves: bool,
    /// Whether a command has ended it, so that it is not started again.
    pub is_lost: bool,
    /// Number of restarts after it had ended by itself.
    pub restarts: u32,
    /// Number of starts that failed.
    failed_starts: u64,
    is_ending: bool,
    has_ended: bool,
}

/// Why a process does not run.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It did not start; the log says why.
    #[error("{0} did not start; its message is in the log above")]
    NotStarted(String),
    /// It could not be signalled.
    #[error("{name} could not be ended")]
    Signal {
        /// Name of the process.
        name: String,
        /// OS error.
        source: io::Error,
    },
}

/// A process that is kept running. [`Process::stop`] ends it; it also ends when this process does.
pub struct Process {
    name: String,
    state: watch::Sender<ProcessState>,
    keeper: JoinHandle<()>,
}

impl Process {
    /// Begins to start a process, and to keep it running.
    #[must_use]
    pub fn spawn(name: &str, program: PathBuf, announcements: Arc<dyn Announcements>) -> Self {
        let state = watch::Sender::new(ProcessState::default());
        let keeper = Keeper { name: name.to_owned(), program, announcements, state: state.clone() };
        let ended = state.clone();
        let keeper = tokio::spawn(async move {
            keeper.run().await;
            ended.send_modify(|state| state.has_ended = true);
        });
        Self { name: name.to_owned(), state, keeper }
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> ProcessState {
        *self.state.borrow()
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// [`ProcessError::NotStarted`] after one failed start; others follow.
    pub async fn until_serving(&self) -> Result<(), ProcessError> {
        let failed_before = self.state().failed_starts;
        self.until_serving_since(failed_before).await
    }

    async fn until_serving_since(&self, failed_before: u64) -> Result<(), ProcessError> {
        let settled = |state: &ProcessState| {
            state.serves || state.is_lost || state.is_ending || state.failed_starts > failed_before
        };
        let mut state = self.state.subscribe();
        let serves = state.wait_for(settled).await.is_ok_and(|state| state.serves);
        if serves { Ok(()) } else { Err(ProcessError::NotStarted(self.name.clone())) }
    }

    /// Kills it with SIGKILL, and does not start it again. Returns once it is gone.
    ///
    /// # Errors
    /// [`ProcessError::Signal`].
    pub async fn lose(&self) -> Result<(), ProcessError> {
        self.state.send_modify(|state| state.is_lost = true);
        self.kill()?;
        let _ = self.state.subscribe().wait_for(|state| state.pid.is_none()).await;
        Ok(())
    }

    /// Starts it again if it was lost, and returns once it serves.
    ///
    /// # Errors
    /// [`ProcessError::NotStarted`].
    pub async fn heal(&self) -> Result<(), ProcessError> {
        let failed_before = self.state().failed_starts;
        self.state.send_modify(|state| state.is_lost = false);
        self.until_serving_since(failed_before).await
    }

    /// Ends it for good: the end of its standard input is its end. Returns once it is gone.
    pub async fn stop(&self) {
        self.state.send_modify(|state| state.is_ending = true);
        let mut state = self.state.subscribe();
        if timeout(END_TIMEOUT, state.wait_for(|state| state.has_ended)).await.is_err() {
            warn!(process = self.name, "a process did not end in time; it is killed");
            let _ = self.kill();
            let _ = state.wait_for(|state| state.has_ended).await;
        }
    }

    fn kill(&self) -> Result<(), ProcessError> {
        let pid = self.state().pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { return Ok(()) };
        match kill_process(pid, Signal::KILL) {
            // `SRCH`: it ended by itself a moment ago.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(e) => Err(ProcessError::Signal { name: self.name.clone(), source: e.into() }),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process is killed with the keeper that owns it.
        self.keeper.abort();
    }
}

/// The task that keeps a process running.
struct Keeper {
    name: String,
    program: PathBuf,
    announcements: Arc<dyn Announcements>,
    state: watch::Sender<ProcessState>,
}

impl Keeper {
    async fn run(self) {
        let mut pause = RESTART_PAUSE.0;
        loop {
            let may_start = |state: &ProcessState| state.is_ending || !state.is_lost;
            let Ok(state) = self.state.subscribe().wait_for(may_start).await.map(|state| *state) else {
                return;
            };
            if state.is_ending {
                return;
            }
            let begun = Instant::now();
            let outcome = self.run_once().await;
            self.announcements.ended();
            self.state.send_modify(|state| {
                state.pid = None;
                state.serves = false;
                state.failed_starts += u64::from(outcome.is_err());
            });
            let ProcessState { is_lost, is_ending, .. } = *self.state.borrow();
            if is_lost || is_ending {
                info!(process = self.name, "process ended");
                continue;
            }
            match outcome {
                Ok(status) => {
                    warn!(process = self.name, status, "process died by itself; it is started again");
                    self.state.send_modify(|state| state.restarts += 1);
                }
                Err(e) => {
                    error!(
                        process = self.name,
                        error = &e as &dyn Error,
                        "process not started; trying again"
                    );
                }
            }
            pause = if begun.elapsed() > STEADY_UPTIME { RESTART_PAUSE.0 } else { pause };
            let mut changes = self.state.subscribe();
            tokio::select! {
                () = sleep(pause) => {}
                _ = changes.wait_for(|state| state.is_ending) => {}
            }
            pause = (pause * 2).min(RESTART_PAUSE.1);
        }
    }

    /// Runs the process until it ends; returns its status. An error means that it never served.
    async fn run_once(&self) -> io::Result<String> {
        let mut child = Command::new(&self.program)
            .args(self.announcements.arguments()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A process group of its own: Ctrl-C reaches this process alone, which ends the others in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let mut input = child.stdin.take();
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut lines = BufReader::new(output).lines();
        let pid = child.id();
        self.state.send_modify(|state| state.pid = pid);
        // A command may have come before the process ID was known.
        if self.state.borrow().is_lost {
            child.start_kill()?;
        }
        let mut serves = false;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let line = tokio::select! {
                line = lines.next_line() => line?,
                () = self.ending(), if input.is_some() => {
                    input = None;
                    continue;
                }
                () = tokio::time::sleep_until(deadline), if !serves => {
                    child.start_kill()?;
                    return Err(io::ErrorKind::TimedOut.into());
                }
            };
            let Some(line) = line else { break };
            if self.announcements.announced(&line) && !serves {
                serves = true;
                self.state.send_modify(|state| state.serves = true);
                info!(process = self.name, pid, "process serves");
            }
        }
        let status = self.end_of(&mut child, input).await?;
        if serves {
            Ok(status)
        } else {
            Err(io::Error::other(format!("it ended before it served: {status}")))
        }
    }

    /// Waits for the end of a process that has closed its output.
    async fn end_of(&self, child: &mut Child, mut input: Option<ChildStdin>) -> io::Result<String> {
        loop {
            tokio::select! {
                status = child.wait() => return Ok(status?.to_string()),
                () = self.ending(), if input.is_some() => input = None,
            }
        }
    }

    async fn ending(&self) {
        let _ = self.state.subscribe().wait_for(|state| state.is_ending).await;
    }
}

#[cfg(test)]
mod tests;
