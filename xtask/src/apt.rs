//! Debian's package manager, which may be busy with something else.

use crate::shell::{Outcome, shown};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// `apt-get`, and how long it may be locked by another process.
pub(crate) struct Apt {
    program: PathBuf,
    /// Arguments before all others.
    leading: Vec<PathBuf>,
    patience: Duration,
    pause: Duration,
}

impl Default for Apt {
    fn default() -> Self {
        Self {
            program: "apt-get".into(),
            leading: Vec::new(),
            patience: Duration::from_secs(600),
            pause: Duration::from_secs(3),
        }
    }
}

impl Apt {
    /// Installs packages, once no other process holds the package manager's locks.
    ///
    /// # Errors
    /// Where apt-get is missing, stays locked, or fails; an index that cannot be updated is none as long as the packages
    /// can be installed from the index as it is.
    pub(crate) fn install(&self, packages: &[&str]) -> Outcome {
        if let Err(error) = self.run(&["update", "-qq"]) {
            eprintln!("tools: {error}; trying with the package index as it is");
        }
        self.run(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat())
    }

    /// Runs apt-get, again as long as it fails because of a lock.
    ///
    /// Its own option covers dpkg's lock, not those of the package index and the download folder.
    fn run(&self, args: &[&str]) -> Outcome {
        let started = Instant::now();
        let timeout = format!("DPkg::Lock::Timeout={}", self.patience.as_secs());
        let mut announced = false;
        loop {
            let mut command = Command::new(&self.program);
            command.args(&self.leading).args(["-o", &timeout]).args(args);
            command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
            if !announced {
                eprintln!("\n$ {}", shown(&command));
            }
            let output =
                command.stdin(Stdio::null()).output().map_err(|e| format!("{}: {e}", shown(&command)))?;
            if output.status.success() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&output.stderr);
            if !is_lock(&said) || started.elapsed() >= self.patience {
                return Err(
                    format!("{} ended with {}: {}", shown(&command), output.status, said.trim()).into()
                );
            }
            if !announced {
                eprintln!(
                    "tools: waiting for another package manager: {}",
                    said.lines().next().unwrap_or_default()
                );
                announced = true;
            }
            thread::sleep(self.pause);
        }
    }
}

/// Whether apt-get's message says that another process holds a lock.
fn is_lock(message: &str) -> bool {
    ["Could not get lock", "Unable to lock", "Unable to acquire the dpkg frontend lock"]
        .iter()
        .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    /// A stand-in that runs `script`; `$calls` is how often it has been called.
    fn apt(folder: &Path, script: &str, patience: Duration) -> Apt {
        let (file, calls) = (folder.join("apt-get"), folder.join("calls"));
        let text = format!("echo \"$@\" >> '{0}'\ncalls=$(wc -l < '{0}')\n{script}\n", calls.display());
        fs::write(&file, text).unwrap();
        Apt { program: "/bin/sh".into(), leading: vec![file], patience, pause: Duration::from_millis(1) }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_lock_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let script = "[ $calls -lt 4 ] && { echo 'E: Could not get lock /var/lib/apt/lists/lock.' >&2; exit 100; }; exit 0";
        apt(folder.path(), script, LONG).install(&["valgrind"]).unwrap();
        let calls = fs::read_to_string(folder.path().join("calls")).unwrap();
        let calls: Vec<&str> = calls.lines().collect();
        assert_eq!(calls.len(), 5, "{calls:?}");
        assert!(calls.iter().all(|call| call.starts_with("-o DPkg::Lock::Timeout=60 ")), "{calls:?}");
        assert!(calls.last().unwrap().ends_with("--no-install-recommends valgrind"), "{calls:?}");
    }

    #[test]
    fn a_lock_that_stays_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let script = "echo 'E: Unable to lock directory /var/cache/apt/archives/' >&2; exit 100";
        let error =
            apt(folder.path(), script, Duration::ZERO).install(&["valgrind"]).unwrap_err().to_string();
        assert!(error.contains("Unable to lock directory"), "{error}");
    }

    #[test]
    fn another_failure_is_not_repeated_and_an_old_index_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let script = "case $3 in update) echo 'E: no network' >&2; exit 100 ;; esac; exit 0";
        apt(folder.path(), script, LONG).install(&["valgrind"]).unwrap();
        let calls = fs::read_to_string(folder.path().join("calls")).unwrap();
        assert_eq!(calls.lines().count(), 2, "{calls}");
        let nothing = Apt { program: "/nowhere/apt-get".into(), ..Apt::default() };
        assert!(nothing.install(&["valgrind"]).is_err());
    }
}
