//! Three crypto units, a key service with its HTTP API, and a route of the program's own, in one process.
//!
//! The units are test units: whole, but with keys in their source. A deployment takes `unit-server` or sockets instead.
#![expect(clippy::print_stdout, reason = "the example shows its result")]

use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::{Router, routing::get};
use host::Endpoint;
use node::{Instance, Node, ServiceKind, StaticDirectory, StoreConfig, UnitEntry};
use server::auth::{Auth, AuthConfig, Grants, Identity, SigningKey};
use std::error::Error;
use std::sync::{Arc, Mutex};
use tower::ServiceExt as _;
use unit_api::admin::AdminCommand;
use unit_testkit::TestUnit;

const TOKEN: &str = "token-of-alice";
const KEY: &str = r#"{
    "metadata": { "collectionType": "application/vnd.ibm.kms.key+json", "collectionTotal": 1 },
    "resources": [{ "type": "application/vnd.ibm.kms.key+json", "name": "root", "extractable": false }]
}"#;

/// A unit in `az<number>` that holds the master key of two key parts.
fn unit(number: u8) -> Result<UnitEntry, Box<dyn Error>> {
    let mut unit = TestUnit::secured(number);
    let pattern = unit.load(&[[0x11; 32], [0x22; 32]]);
    for command in [AdminCommand::CommitNew, AdminCommand::ActivateNew] {
        unit.administer(command, pattern.as_bytes()).map_err(|refusal| format!("{refusal:?}"))?;
    }
    let (id, unit) = (unit.status().unit, Mutex::new(unit));
    let endpoint = Endpoint::blocking(move |stream| {
        // An error ends this connection; the host makes another one.
        let _ = TestUnit::serve(&unit, stream);
    });
    Ok(UnitEntry::new(number.into(), format!("az{number}"), endpoint, id))
}

/// The program's routes and the key service's.
async fn router() -> Result<(Node, Router), Box<dyn Error>> {
    let units = [unit(1)?, unit(2)?, unit(3)?];
    let id = kms::InstanceId(uuid::Uuid::from_u128(1));
    let (region, account) = ("us-south".to_owned(), "account".to_owned());
    let instance = Instance { id, region, account: account.clone(), kind: ServiceKind::HyperProtect };
    let alice = Identity { iam_id: "IBMid-alice".to_owned(), account, grants: Grants::application([id]) };
    let mut auth = AuthConfig::new(SigningKey::random()?);
    auth.tokens = vec![(TOKEN.to_owned().into(), alice)];
    let store = StoreConfig::Memory.open().await?;
    let node = Node::builder(store, StaticDirectory::new(units), Arc::new(kms::SystemClock));
    let node = node.instance(instance).auth(Auth::new(auth)).start().await?;
    let router = Router::new().route("/hello", get(|| async { "hello" })).merge(node.router());
    Ok((node, router))
}

/// Asks the program's own route, and creates a key.
pub(crate) async fn run() -> Result<[String; 2], Box<dyn Error>> {
    let (node, router) = router().await?;
    let hello = Request::get("/hello").body(Body::empty())?;
    let create = Request::post("/api/v2/keys")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("bluemix-instance", uuid::Uuid::from_u128(1).to_string())
        .body(Body::from(KEY))?;
    let mut answers = [String::new(), String::new()];
    for (request, answer) in [hello, create].into_iter().zip(&mut answers) {
        let body = router.clone().oneshot(request).await?.into_body();
        *answer = String::from_utf8(to_bytes(body, 1 << 20).await?.to_vec())?;
    }
    node.shutdown().await;
    Ok(answers)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", run().await?.join("\n"));
    Ok(())
}
