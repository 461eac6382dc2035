//! The built `hsm-sim up` in a process of its own, and a plain HTTP client.

pub(crate) mod blobs;
pub(crate) mod control;
pub(crate) mod known;
pub(crate) mod load;
pub(crate) mod skip;
pub(crate) mod softhsm;
pub(crate) mod tap;
pub(crate) mod tke;
pub(crate) mod tool;
mod wait;

pub(crate) use wait::{PATIENCE, until, wait_for};

use bytes::Bytes;
use hsm_sim::region::ReadyFile;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The built program.
pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_hsm-sim"))
}

/// A running region. Drop kills the process.
pub(crate) struct Region {
    pub(crate) process: Child,
    pub(crate) ready: ReadyFile,
    pub(crate) data: PathBuf,
    /// File with its output.
    pub(crate) log: PathBuf,
}

impl Region {
    /// Starts a region on `data` and waits until it serves.
    pub(crate) fn up(data: &Path, extra: &[&str]) -> Self {
        // Output of every start on this data directory.
        let log = data.with_extension("log");
        let printed = || std::fs::OpenOptions::new().append(true).create(true).open(&log).unwrap();
        Self::up_printing_to(printed(), printed(), data, extra)
    }

    /// As [`Region::up`], in a process with the limits that these options of `ulimit` set.
    pub(crate) fn up_limited(ulimit: &str, data: &Path, extra: &[&str]) -> Self {
        let log = data.with_extension("log");
        let printed = || std::fs::OpenOptions::new().append(true).create(true).open(&log).unwrap();
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit {ulimit} && exec \"$0\" \"$@\"")]);
        limited.arg(env!("CARGO_BIN_EXE_hsm-sim"));
        Self::start(limited, printed(), printed(), data, extra)
    }

    /// As [`Region::up`], with these as standard output and standard error.
    pub(crate) fn up_printing_to(
        stdout: impl Into<Stdio>,
        stderr: impl Into<Stdio>,
        data: &Path,
        extra: &[&str],
    ) -> Self {
        Self::start(program(), stdout, stderr, data, extra)
    }

    fn start(
        mut program: Command,
        stdout: impl Into<Stdio>,
        stderr: impl Into<Stdio>,
        data: &Path,
        extra: &[&str],
    ) -> Self {
        let ready_file = data.with_extension("ready.json");
        let _ = std::fs::remove_file(&ready_file);
        let log = data.with_extension("log");
        // Most tests of manual ceremonies inject faults.
        let is_manual = extra.contains(&"manual");
        let chosen = extra.iter().any(|argument| argument.starts_with("--faults"));
        let faults: &[&str] = if is_manual && !chosen { &["--faults"] } else { &[] };
        let any_port: &[&str] = if extra.contains(&"--port") { &[] } else { &["--port", "0"] };
        let mut process = program
            .arg("up")
            .args(any_port)
            .args(faults)
            .arg("--data")
            .arg(data)
            .arg("--ready-file")
            .arg(&ready_file)
            .args(extra)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        wait_for("the ready file", || {
            if let Some(status) = process.try_wait().unwrap() {
                panic!(
                    "hsm-sim up ended with {status}: {}",
                    std::fs::read_to_string(&log).unwrap_or_default()
                );
            }
            ready_file.exists()
        });
        let ready = serde_json::from_slice(&std::fs::read(&ready_file).unwrap()).unwrap();
        Self { process, ready, data: data.to_owned(), log }
    }

    /// Kills the program with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub(crate) fn interrupt(&mut self) -> std::process::ExitStatus {
        signal(self.process.id(), rustix::process::Signal::INT);
        self.process.wait().unwrap()
    }

    /// A client of the control API.
    pub(crate) fn control(&self) -> hsm_sim::control::ControlClient {
        hsm_sim::control::ControlClient::at(&self.ready.control_url, &self.ready.control_token).unwrap()
    }

    /// A client of the Key Protect API as the first manager.
    pub(crate) fn rest(&self) -> Rest {
        Rest::to(&self.ready)
    }

    /// A client of the crypto units' administration, as the operator.
    pub(crate) fn tke(&self) -> tke::Tke {
        let root = std::fs::read(&self.ready.root_certificate).unwrap();
        tke::Tke {
            http: Client::builder(TokioExecutor::new()).build_http(),
            base: format!("{}/v1/tke/{}", self.ready.tke_url, self.ready.instance_id),
            token: self.ready.operator_token.clone(),
            trust: ::tke::trust::ModuleTrust::new(tke_crypto::root_certificate_key(&root).unwrap()),
            instance: unit_api::admin::InstanceId(*self.ready.instance_id.as_bytes()),
        }
    }
}

/// Starts a region in a test that must not block its runtime.
pub(crate) fn up(data: &Path, extra: &[&str]) -> Region {
    tokio::task::block_in_place(|| Region::up(data, extra))
}

impl Drop for Region {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Whether a process exists and is not a zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

/// Sends requests unchanged, and returns responses unchanged.
#[derive(Clone)]
pub(crate) struct Rest {
    pub(crate) http: Client<HttpConnector, Full<Bytes>>,
    pub(crate) base: String,
    pub(crate) token: String,
    pub(crate) instance: String,
}

impl Rest {
    /// As the first manager of a region.
    pub(crate) fn to(ready: &ReadyFile) -> Self {
        Self {
            http: Client::builder(TokioExecutor::new()).build_http(),
            base: ready.rest_url.clone(),
            token: ready.tokens.first().unwrap().clone(),
            instance: ready.instance_id.to_string(),
        }
    }

    /// Sends a request below `/api/v2` and returns status and body, or an error if there was no response.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<(u16, serde_json::Value), String> {
        let request = hyper::Request::builder()
            .method(method)
            .uri(format!("{}/api/v2{path}", self.base))
            .header("authorization", format!("Bearer {}", self.token))
            .header("bluemix-instance", &self.instance)
            .header("prefer", "return=representation")
            .body(Full::new(Bytes::from(body.to_owned())))
            .map_err(|e| e.to_string())?;
        let answer = self.http.request(request).await.map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// Creates a root key and returns its ID, if it was acknowledged.
    pub(crate) async fn create(&self, name: &str) -> Result<String, String> {
        let body = format!(
            r#"{{"metadata":{{"collectionType":"application/vnd.ibm.kms.key+json","collectionTotal":1}},
                "resources":[{{"type":"application/vnd.ibm.kms.key+json","name":"{name}","extractable":false}}]}}"#
        );
        match self.send("POST", "/keys", &body).await? {
            (201, answer) => {
                Ok(answer.pointer("/resources/0/id").and_then(|id| id.as_str()).ok_or("no id")?.to_owned())
            }
            (status, answer) => Err(format!("{status} {answer}")),
        }
    }

    /// Waits until the instance serves, creates a root key and returns its ID.
    pub(crate) async fn create_when_ready(&self, name: &str) -> String {
        until("a first key", async || self.create(name).await).await
    }

    /// Wraps, and returns the ciphertext if it was acknowledged.
    pub(crate) async fn wrap(&self, key: &str, plaintext: &str) -> Result<String, String> {
        let body = serde_json::json!({ "plaintext": plaintext }).to_string();
        match self.send("POST", &format!("/keys/{key}/actions/wrap"), &body).await? {
            (200, answer) => {
                Ok(answer.get("ciphertext").and_then(|c| c.as_str()).ok_or("no ciphertext")?.to_owned())
            }
            (status, answer) => Err(format!("{status} {answer}")),
        }
    }

    /// Unwraps, and returns the plaintext.
    pub(crate) async fn unwrap(&self, key: &str, ciphertext: &str) -> Result<String, String> {
        let body = serde_json::json!({ "ciphertext": ciphertext }).to_string();
        match self.send("POST", &format!("/keys/{key}/actions/unwrap"), &body).await? {
            (200, answer) => {
                Ok(answer.get("plaintext").and_then(|p| p.as_str()).ok_or("no plaintext")?.to_owned())
            }
            (status, answer) => Err(format!("{status} {answer}")),
        }
    }
}
