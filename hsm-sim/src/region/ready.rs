//! What a program needs to know of a running region, as a file.

use super::ZONES;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use uuid::Uuid;

/// Written whole when the region serves, mode 0600: it has credentials in it.
#[derive(Clone, Serialize, Deserialize)]
pub struct ReadyFile {
    /// Base of the Key Protect API: `<rest_url>/api/v2/…`.
    pub rest_url: String,
    /// Base of the token service: `<iam_url>/identity/token`.
    pub iam_url: String,
    /// Base of the control API: faults, healing, clock, status.
    pub control_url: String,
    /// The service instance.
    pub instance_id: Uuid,
    /// A second, separate one.
    pub instance_id_2: Uuid,
    /// API key that the token service takes.
    pub api_key: String,
    /// Static bearer tokens of two managers, what goes behind `Bearer `.
    pub tokens: Vec<String>,
    /// Name of the region.
    pub region: String,
    /// Its zones.
    pub zones: Vec<String>,
    /// Its crypto units.
    pub units: Vec<ReadyUnit>,
    /// Process that serves; its end is the region's.
    pub pid: u32,
    /// Where the region's data is.
    pub data: PathBuf,
}

impl ReadyFile {
    /// What a person needs to use the region, ready to paste.
    #[must_use]
    pub fn greeting(&self) -> String {
        let ReadyFile {
            rest_url,
            iam_url,
            control_url,
            instance_id,
            instance_id_2,
            api_key,
            region,
            data,
            ..
        } = self;
        let units: Vec<String> = self.units.iter().map(|u| format!("{} in {}", u.unit, u.zone)).collect();
        let units = units.join(", ");
        let data = data.display();
        format!(
            r#"region {region} serves: zones {}, crypto units {units}
  Key Protect API  {rest_url}
  token service    {iam_url}
  control API      {control_url}
  instances        {instance_id}, {instance_id_2}
  data             {data}

DEVELOPMENT CEREMONY: the parts of the master key lie in {data}/ceremony in the clear.
Both instances share these units and that master key. Do not keep real keys here.

IBM's Python client (pip install keyprotect), from the environment:
  export IBM_KEY_PROTECT_API_URL={rest_url} IBM_KEY_PROTECT_API_AUTH_TYPE=iam
  export IBM_KEY_PROTECT_API_APIKEY={api_key} IBM_KEY_PROTECT_API_AUTH_URL={iam_url}

IBM's Go client (github.com/IBM/keyprotect-go-client):
  kp.New(kp.ClientConfig{{BaseURL: "{rest_url}", TokenURL: "{iam_url}/oidc/token",
    APIKey: "{api_key}", InstanceID: "{instance_id}"}}, kp.DefaultTransport())

IBM's Node client (@ibm-cloud/ibm-key-protect):
  new KeyProtectV2({{authenticator: new IamAuthenticator({{apikey: '{api_key}',
    url: '{iam_url}'}}), serviceUrl: '{rest_url}'}})

curl:
  curl -H 'Authorization: Bearer {}' -H 'Bluemix-Instance: {instance_id}' {rest_url}/api/v2/keys

In another terminal: hsm-sim status --data {data}; hsm-sim fault kill unit 1 --data {data}; hsm-sim help
Ctrl-C stops the region and keeps every key."#,
            ZONES.join(", "),
            self.tokens.first().map_or("", String::as_str),
        )
    }
}

/// Where a crypto unit is.
#[derive(Clone, Serialize, Deserialize)]
pub struct ReadyUnit {
    /// Number, from 1.
    pub unit: u16,
    /// Zone.
    pub zone: String,
    /// Socket it listens on.
    pub socket: PathBuf,
}
