//! A region under load while each of its zones in turn is killed and healed.
//!
//! The load is the public API over real HTTP, without retries; the units are real processes, killed with SIGKILL.

mod load;
mod report;
mod rest;
mod script;

pub use report::{PhaseReport, Report};

use crate::cli::DemoArgs;
use crate::region::{Engines, EnginesError, Region, UpError, UpOptions, Wanted};
use kms::RotationProfile;
use load::Load;
use rest::RestClient;

/// Why the demo has no result.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The engines are invalid or unavailable.
    #[error(transparent)]
    Engines(#[from] EnginesError),
    /// The region did not start.
    #[error(transparent)]
    Up(#[from] UpError),
    /// The root key could not be created.
    #[error("the root key could not be created")]
    Create(#[source] rest::RestError),
    /// A fault could not be set or healed.
    #[error("the demo could not run its faults")]
    Script(#[from] script::ScriptError),
    /// The temporary data directory could not be created.
    #[error("a temporary data directory could not be created; name one with --data")]
    Temporary(#[source] std::io::Error),
}

/// Starts a region, runs the demo on it and stops it again.
///
/// # Errors
/// [`DemoError`] if there is no report. Failed requests and lost keys are part of the report.
pub async fn run(args: &DemoArgs) -> Result<Report, DemoError> {
    let wanted = Wanted { units: args.units, engines: Engines::parse(&args.engines)?, ..Wanted::default() };
    let temporary;
    let data = match &args.data {
        Some(data) => data.clone(),
        None => {
            temporary =
                tempfile::Builder::new().prefix("hsm-sim-demo-").tempdir().map_err(DemoError::Temporary)?;
            temporary.path().join("data")
        }
    };
    let region = Region::start(UpOptions {
        data,
        wanted,
        rotation: RotationProfile::Online,
        accepted: keystore::Accepted::default(),
        port: args.port,
        faults: None,
        hosts: Vec::new(),
        backup_dir: None,
        ready_file: args.ready_file.clone(),
        program: None,
        pair: None,
    })
    .await?;
    let outcome = play(args, &region).await;
    region.stop().await;
    outcome
}

async fn play(args: &DemoArgs, region: &Region) -> Result<Report, DemoError> {
    let ready = region.ready();
    let token = ready.tokens.first().cloned().unwrap_or_default();
    let client = RestClient::new(&ready.rest_url, &token, ready.instance_id);
    let root = client.create_root_key("demo").await.map_err(DemoError::Create)?;
    let load = Load::start(client, root, args.keys, !args.json && crate::output::has_terminal());
    script::play(region, &load).await?;
    Ok(load.finish().await)
}
