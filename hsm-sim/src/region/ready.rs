//! The ready file: addresses and credentials of a running region, for programs.

use super::{CeremonyKind, DataDir, UnitProcess, ZONES};
use crate::files;
use crate::pair::serve::{Announced, announce};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// Written in one piece once the region serves, mode 0600 because of the credentials.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct ReadyFile {
    /// Base of the Key Protect API: `<rest_url>/api/v2/…`.
    pub rest_url: String,
    /// Base of the token service: `<iam_url>/identity/token`.
    pub iam_url: String,
    /// Base of the crypto units' administration: `<tke_url>/v1/tke/<instance_id>/hsms`.
    pub tke_url: String,
    /// Base of the control API: faults, healing, clock, status.
    pub control_url: String,
    /// Bearer token of the control API, a new one at each start.
    #[serde(default)]
    pub control_token: String,
    /// Base of the operator's address: `/livez`, `/readyz`, `/healthz`, `/metrics`.
    #[serde(default)]
    pub operator_url: String,
    /// The service instance.
    pub instance_id: Uuid,
    /// A second instance, separate from the first.
    pub instance_id_2: Uuid,
    /// API key of an application of the first instance. It uses and manages keys, and administers nothing.
    pub api_key: String,
    /// API key of an application of the second instance.
    #[serde(default)]
    pub api_key_2: String,
    /// Static bearer tokens of two managers of the keys of both instances, without the `Bearer ` before them.
    pub tokens: Vec<String>,
    /// API key of the operator, who administers crypto units and instances, and uses no keys.
    #[serde(default)]
    pub operator_api_key: String,
    /// Static bearer token of the operator.
    #[serde(default)]
    pub operator_token: String,
    /// Name of the region.
    pub region: String,
    /// Zones of the region.
    pub zones: Vec<String>,
    /// How the units are brought into service.
    pub ceremony: CeremonyKind,
    /// Certificate of the simulated manufacturer, DER: the root of trust for the modules' certificates.
    pub root_certificate: PathBuf,
    /// Crypto units of the region.
    pub units: Vec<ReadyUnit>,
    /// ID of the serving process, which ends when the region stops.
    pub pid: u32,
    /// Data directory.
    pub data: PathBuf,
    /// Port for the partner and the front, in a region of a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_address: Option<SocketAddr>,
    /// The regions of a pair, home first; none for a region of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<ReadyRegion>,
}

/// A region of a pair.
#[derive(Clone, Serialize, Deserialize)]
pub struct ReadyRegion {
    /// Name of the region.
    pub name: String,
    /// `home` or `standby`.
    pub role: String,
    /// The region's own base of the Key Protect API.
    pub rest_url: String,
    /// Base of the region's control API, through the pair's; its token is the pair's.
    pub control_url: String,
    /// Base of the administration of the region's crypto units.
    pub tke_url: String,
    /// Its own address for health and metrics.
    pub operator_url: String,
    /// Crypto units of the region.
    pub units: Vec<ReadyUnit>,
    /// Zones of the region.
    pub zones: Vec<String>,
    /// Its data directory.
    pub data: PathBuf,
}

impl ReadyFile {
    /// The text printed when the region has started: how to use it, with lines to paste. Unless `shown`, these read
    /// credentials from the ready file in the data directory.
    #[must_use]
    pub fn greeting(&self, shown: bool) -> String {
        let ReadyFile {
            rest_url,
            iam_url,
            control_url,
            operator_url,
            instance_id,
            instance_id_2,
            region,
            ..
        } = self;
        let units: Vec<String> = self.units.iter().map(ReadyUnit::shown).collect();
        let units = units.join(", ");
        let data = self.data.display();
        let clients = self.clients(shown);
        let credentials = self.file();
        let (serves, ceremony) = match self.ceremony {
            CeremonyKind::Development => ("serves", self.development_note(shown)),
            CeremonyKind::Manual => ("is up", self.manual_note(shown)),
        };
        format!(
            r#"region {region} {serves}: zones {}, crypto units {units}
  Key Protect API  {rest_url}
  token service    {iam_url}
  administration   {}/v1/tke/{instance_id}
  control API      {control_url}
  health, metrics  {operator_url}
  instances        {instance_id}, {instance_id_2}
  data             {data}
  credentials      {credentials} (yours alone; applications: api_key, tokens; operator: operator_token)

{ceremony}

{clients}

In another terminal: hsm-sim status --data {data}; hsm-sim fault kill unit 1 --data {data}; hsm-sim help
Ctrl-C stops the region and keeps every key."#,
            ZONES.join(", "),
            self.tke_url,
        )
    }

    fn development_note(&self, shown: bool) -> String {
        format!(
            r#"DEVELOPMENT CEREMONY: the administrators' signature keys and the parts of the master key lie in
{}/ceremony in the clear. Both instances share these units and that master key. Do not keep real keys here.
To inspect the units with an administrator's tools:
{}"#,
            self.data.display(),
            self.tke_exports(shown),
        )
    }

    fn manual_note(&self, shown: bool) -> String {
        format!(
            r#"MANUAL CEREMONY: the region serves keys once you have given its crypto units administrators, thresholds and a
master key, the same for all operational units. Nothing has to be restarted. With an administrator's tools:
{}"#,
            self.tke_exports(shown),
        )
    }

    fn tke_exports(&self, shown: bool) -> String {
        format!(
            "  export TKE_URL={} TKE_INSTANCE={}\n  export TKE_TOKEN={} TKE_ROOT={}",
            self.tke_url,
            self.instance_id,
            self.for_shell(shown, &self.operator_token, ".operator_token"),
            self.root_certificate.display(),
        )
    }

    fn clients(&self, shown: bool) -> String {
        let ReadyFile { rest_url, iam_url, instance_id, .. } = self;
        let api_key = if shown { self.api_key.clone() } else { "<api_key>".to_owned() };
        let api_key_for_shell = self.for_shell(shown, &self.api_key, ".api_key");
        let token = self.tokens.first().map_or("", String::as_str);
        let token = self.for_shell(shown, token, ".tokens[0]");
        format!(
            r#"IBM's Python client (pip install keyprotect), from the environment:
  export IBM_KEY_PROTECT_API_URL={rest_url} IBM_KEY_PROTECT_API_AUTH_TYPE=iam
  export IBM_KEY_PROTECT_API_APIKEY={api_key_for_shell} IBM_KEY_PROTECT_API_AUTH_URL={iam_url}

IBM's Go client (github.com/IBM/keyprotect-go-client):
  kp.New(kp.ClientConfig{{BaseURL: "{rest_url}", TokenURL: "{iam_url}/oidc/token",
    APIKey: "{api_key}", InstanceID: "{instance_id}"}}, kp.DefaultTransport())

IBM's Node client (@ibm-cloud/ibm-key-protect):
  new KeyProtectV2({{authenticator: new IamAuthenticator({{apikey: '{api_key}',
    url: '{iam_url}'}}), serviceUrl: '{rest_url}'}})

curl:
  curl -H "Authorization: Bearer {token}" -H 'Bluemix-Instance: {instance_id}' {rest_url}/api/v2/keys"#
        )
    }

    /// A credential in a command line: itself, or a command that reads it from the ready file.
    fn for_shell(&self, shown: bool, credential: &str, query: &str) -> String {
        if shown { credential.to_owned() } else { format!("$(jq -r '{query}' '{}')", self.file()) }
    }

    /// The ready file in the data directory.
    fn file(&self) -> String {
        DataDir::ready_file(&self.data).display().to_string()
    }
}

/// A crypto unit of the region.
#[derive(Clone, Serialize, Deserialize)]
pub struct ReadyUnit {
    /// Number, from 1.
    pub unit: u16,
    /// `OPERATIONAL`, `RECOVERY` or `FAILOVER`.
    pub kind: String,
    /// Location, as `[region].[zone].[module].[domain]`.
    pub location: String,
    /// Zone, as faults name it.
    pub zone: String,
    /// Unix socket that it listens on.
    pub socket: PathBuf,
}

impl ReadyUnit {
    fn shown(&self) -> String {
        let Self { unit, kind, zone, .. } = self;
        match kind.as_str() {
            "OPERATIONAL" => format!("{unit} in {zone}"),
            other => format!("{unit} ({}) in {zone}", other.to_lowercase()),
        }
    }
}

impl From<UnitProcess> for ReadyUnit {
    fn from(process: UnitProcess) -> Self {
        Self {
            unit: process.unit,
            kind: process.place.kind.name().to_owned(),
            location: process.place.location.to_string(),
            zone: process.place.zone,
            socket: process.socket,
        }
    }
}

/// The ready file of a running region, in every place where it was written.
pub(crate) struct ReadyFiles(Mutex<Written>);

struct Written {
    content: ReadyFile,
    paths: Vec<PathBuf>,
}

impl ReadyFiles {
    /// The content, not written yet.
    pub(crate) const fn new(content: ReadyFile) -> Self {
        Self(Mutex::new(Written { content, paths: Vec::new() }))
    }

    /// Its content.
    pub(crate) fn content(&self) -> ReadyFile {
        self.written().content.clone()
    }

    /// Writes the file to one more path.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn write_to(&self, path: PathBuf) -> io::Result<()> {
        let mut written = self.written();
        files::write_private(&path, &serde_json::to_vec_pretty(&written.content)?)?;
        written.paths.push(path);
        Ok(())
    }

    /// Replaces the units, in every file.
    ///
    /// # Errors
    /// The operating system's; the other files have the new units.
    pub(super) fn set_units(&self, units: impl IntoIterator<Item = UnitProcess>) -> io::Result<()> {
        let mut content = self.content();
        content.units = units.into_iter().map(ReadyUnit::from).collect();
        self.replace(content)
    }

    /// Replaces the content, in every file. A region of a pair tells it to its pair, too.
    ///
    /// # Errors
    /// The operating system's; the other files have the new content.
    pub(crate) fn replace(&self, content: ReadyFile) -> io::Result<()> {
        let mut written = self.written();
        let told = match content.peer_address {
            Some(_) => announce(&Announced::Region(Box::new(content.clone()))),
            None => Ok(()),
        };
        written.content = content;
        let content = serde_json::to_vec_pretty(&written.content)?;
        let mut outcome = told;
        for path in &written.paths {
            outcome = outcome.and(files::write_private(path, &content));
        }
        outcome
    }

    /// Removes the files for good: the region stops.
    pub(crate) fn remove(&self) {
        for path in std::mem::take(&mut self.written().paths) {
            let _ = std::fs::remove_file(path);
        }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
