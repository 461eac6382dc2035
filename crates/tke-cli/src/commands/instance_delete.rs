//! Deletion of the instance: `instance-delete`.

use crate::client::{Removal, ServiceClient};
use crate::connection::connection;
use crate::context::Context;
use crate::error::TkeError;
use crate::report::Report;
use crate::secrets::confirm;
use clap::Args;
use serde_json::json;
use uuid::Uuid;
use wire::tke::{RemovalOptions, RemovalRefusal, RemovalResponse};

/// Options of `instance-delete`.
#[derive(Clone, Debug, Args)]
pub struct InstanceDeleteArgs {
    /// Delete the instance although keys are left. Once the crypto units are zeroized, these keys can never be used again.
    #[arg(long)]
    pub destroy_keys: bool,
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
}

/// `instance-delete`: deletes the instance, once its keys are deleted and its crypto units zeroized.
pub(crate) async fn delete(context: &Context<'_>, args: &InstanceDeleteArgs) -> Result<Report, TkeError> {
    let connection = connection(context)?;
    let client = ServiceClient::new(&connection.url, connection.instance, &connection.token)?;
    let id = client.instance();
    let keys = if args.destroy_keys { " with all keys that are left" } else { "" };
    confirm(
        context.console,
        args.yes,
        &format!("Delete instance {id}{keys}? Everything that the keystore has of it is removed."),
    )?;
    match client.remove(RemovalOptions { destroy_keys: args.destroy_keys }).await? {
        Removal::Done(RemovalResponse { entries, next, .. }) => {
            let text = format!(
                "Instance {id} is deleted: {entries} entries of the keystore are removed.\nNext: {next}."
            );
            Ok(Report::new(text, json!({ "instance": id, "deleted": true, "entries": entries })))
        }
        Removal::Refused(refusal) => Ok(refused(id, &refusal)),
    }
}

/// The reasons of the refusal, and the steps that remove them, in order.
fn refused(id: Uuid, refusal: &RemovalRefusal) -> Report {
    let mut steps = Vec::new();
    if refusal.unreadable {
        steps.push(
            "give `--destroy-keys`: no crypto unit can tell any more which keys are deleted".to_owned(),
        );
    } else if refusal.keys != 0 {
        let keys = refusal.keys;
        steps.push(format!(
            "delete the keys ({keys} are left): DELETE /api/v2/keys/KEY, or give `--destroy-keys`"
        ));
    }
    if !refusal.units.is_empty() {
        let numbers: Vec<String> = refusal.units.iter().map(|keyed| keyed.unit.to_string()).collect();
        steps.push(format!("zeroize: `cryptounit-add {}`, then `cryptounit-zeroize`", numbers.join(" ")));
    }
    steps.push("run `instance-delete` again".to_owned());
    let listed: Vec<String> = (1..).zip(&steps).map(|(n, step): (u16, _)| format!("{n}. {step}")).collect();
    let text = format!("Instance {id} is not deleted: {}.\n{}", refusal.error, listed.join("\n"));
    Report::new(text, json!({ "instance": id, "deleted": false, "in_the_way": refusal, "steps": steps }))
        .good_if(false)
}
