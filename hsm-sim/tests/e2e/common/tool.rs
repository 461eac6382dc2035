//! Runs the built `hsm-sim tke` as a script does, with every secret in a file.

use super::{Region, program};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Password of all keys and parts, unless a test sets another.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// Weak key derivation for files of the tests. A release has no such option.
pub(crate) const FAST_KDF: &[&str] = if cfg!(debug_assertions) { &["--danger-fast-kdf"] } else { &[] };

/// A workstation: a folder with keys and parts, and the region that it administers.
pub(crate) struct Tool {
    pub(crate) folder: tempfile::TempDir,
    data: PathBuf,
}

impl Tool {
    pub(crate) fn on(region: &Region) -> Self {
        Self::at(&region.data)
    }

    /// A workstation for this region.
    pub(crate) fn at(data: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tool = Self { folder, data: data.to_owned() };
        tool.write("password", PASSWORD);
        tool
    }

    /// Writes a file of the workstation that does not belong to the tool.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// A command with its arguments and environment.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = program();
        command.arg("tke").args(line.split_whitespace());
        command.arg("--data").arg(&self.data).arg("--files").arg(self.files()).args(FAST_KDF);
        command.arg("--password-file").arg(self.folder.path().join("password"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        for variable in
            ["TKE_URL", "TKE_INSTANCE", "TKE_ROOT", "TKE_SIGNSERV_URL", "SIGNSERVKEYS", "CLOUDTKEFILES"]
        {
            command.env_remove(variable);
        }
        command
    }

    pub(crate) fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs a command that must succeed, and returns its output.
    pub(crate) fn text(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "`{line}` failed: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must succeed, and returns its JSON output.
    pub(crate) fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.text(&format!("{line} --json"))).unwrap()
    }

    /// Runs a command that must fail, and returns its output, which must contain `why`.
    pub(crate) fn refused(&self, line: &str, why: &str) -> String {
        let output = self.run(line);
        let said = said(&output);
        assert!(!output.status.success(), "`{line}` should have been refused: {said}");
        assert!(said.contains(why), "`{line}` was refused, but not with `{why}`: {said}");
        assert!(!said.contains(PASSWORD), "a password was printed");
        said
    }
}

/// All output of a command.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Every file below a folder, with its content.
pub(crate) fn contents(folder: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            found.push(std::fs::read(path).unwrap());
        }
    }
    found
}
