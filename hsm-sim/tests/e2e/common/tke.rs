//! Administration of crypto units over the service's HTTP endpoints, with verification of the modules' signatures.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use serde_json::{Value, json};
use tke::trust::ModuleTrust;
use tke::unit::PortError;
use tke::{AdminUnit, UnitDescriptor, UnitKind, UnitPort};
use unit_api::UnitId;
use unit_api::admin::InstanceId;

/// A client of the administration endpoints of one instance.
#[derive(Clone)]
pub(crate) struct Tke {
    pub(crate) http: Client<HttpConnector, Full<Bytes>>,
    /// Base URL, `…/v1/tke/<instance>`.
    pub(crate) base: String,
    pub(crate) token: String,
    pub(crate) trust: ModuleTrust,
    pub(crate) instance: InstanceId,
}

/// One unit of the instance.
#[derive(Clone)]
pub(crate) struct HttpPort {
    tke: Tke,
    hsm_id: String,
}

impl Tke {
    /// Sends a request below the base URL and returns status and body.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = hyper::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {}", self.token))
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let answer = self.http.request(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// The units in the order of their numbers, each with its ID in paths.
    pub(crate) async fn list(&self) -> Vec<(UnitDescriptor, String)> {
        let (status, listing) = self.send("GET", "/hsms", "").await;
        assert_eq!(status, 200, "{listing}");
        let kinds = [
            ("hsms", UnitKind::Operational),
            ("source_hsms", UnitKind::Recovery),
            ("failover_hsms", UnitKind::Failover),
        ];
        let units = kinds.iter().flat_map(|(list, kind)| {
            listing[*list].as_array().unwrap().iter().map(move |unit| (*kind, unit.clone()))
        });
        (1..).zip(units).map(|(number, (kind, unit))| self.listed(number, kind, &unit)).collect()
    }

    /// Authenticates unit `number` by its module certificate.
    pub(crate) async fn meet(&self, number: u16) -> AdminUnit<HttpPort> {
        let (listed, hsm_id) = self.list().await.into_iter().find(|(unit, _)| unit.number == number).unwrap();
        AdminUnit::authenticate(listed, HttpPort { tke: self.clone(), hsm_id }, &self.trust).await.unwrap()
    }
}

impl Tke {
    fn listed(&self, number: u16, kind: UnitKind, unit: &Value) -> (UnitDescriptor, String) {
        let field = |name: &str| unit[name].as_str().unwrap().to_owned();
        let id = *wire::text::decode_hex::<16>(&field("module_id")).unwrap();
        assert_eq!(field("serial_number").as_bytes(), &id[..8]);
        let location: tke::Location = field("location").parse().unwrap();
        assert_eq!(unit["domain"], location.domain);
        let instance = self.instance;
        (UnitDescriptor { number, kind, location, unit: UnitId(id), instance }, field("hsm_id"))
    }
}

impl UnitPort for HttpPort {
    async fn exchange(&self, request: &[u8]) -> Result<Vec<u8>, PortError> {
        let body = json!({ "request": BASE64_STANDARD.encode(request) }).to_string();
        let (status, answer) = self.tke.send("POST", &format!("/hsms/{}", self.hsm_id), &body).await;
        if status != 200 {
            return Err(format!("{status} {answer}").into());
        }
        BASE64_STANDARD
            .decode(answer["response"].as_str().ok_or("no response")?)
            .map_err(|e| e.to_string().into())
    }
}
