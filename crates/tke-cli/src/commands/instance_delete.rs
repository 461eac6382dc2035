//! Deleting the instance: `instance-delete`.

use crate::client::{Deletion, InTheWay};
use crate::connection::connection;
use crate::context::Context;
use crate::error::TkeError;
use crate::instance;
use crate::report::Report;
use crate::secrets::confirm;
use clap::Args;
use serde_json::json;
use uuid::Uuid;

/// Options of `instance-delete`.
#[derive(Clone, Debug, Args)]
pub struct InstanceDeleteArgs {
    /// Give up keys that are left. Once the crypto units are zeroized, nothing opens them any more.
    #[arg(long)]
    pub destroy_keys: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}

/// `instance-delete`.
pub(crate) async fn delete(context: &Context<'_>, args: &InstanceDeleteArgs) -> Result<Report, TkeError> {
    let service = instance::service(&connection(context)?)?;
    let id = service.instance();
    let keys = if args.destroy_keys { " with all keys that are left" } else { "" };
    confirm(
        context.console,
        args.yes,
        &format!("Delete instance {id}{keys}? Everything that the keystore has of it is removed."),
    )?;
    match service.delete(args.destroy_keys).await? {
        Deletion::Done { entries, next } => {
            let text = format!(
                "Instance {id} is deleted: {entries} entries of the keystore are removed.\nNext: {next}."
            );
            Ok(Report::new(text, json!({ "instance": id, "deleted": true, "entries": entries })))
        }
        Deletion::Refused(why) => Ok(refused(id, &why)),
    }
}

/// What stands in the way, and what to do about it, in order.
fn refused(id: Uuid, why: &InTheWay) -> Report {
    let mut steps = Vec::new();
    if why.unreadable {
        steps.push(
            "give `--destroy-keys`: no crypto unit can tell any more which keys are deleted".to_owned(),
        );
    } else if why.keys != 0 {
        let keys = why.keys;
        steps.push(format!(
            "delete the keys ({keys} are left): DELETE /api/v2/keys/KEY, or give `--destroy-keys`"
        ));
    }
    if !why.units.is_empty() {
        let numbers: Vec<String> = why.units.iter().map(|keyed| keyed.unit.to_string()).collect();
        steps.push(format!("zeroize: `cryptounit-add {}`, then `cryptounit-zeroize`", numbers.join(" ")));
    }
    steps.push("run `instance-delete` again".to_owned());
    let listed: Vec<String> = (1..).zip(&steps).map(|(n, step): (u16, _)| format!("{n}. {step}")).collect();
    let text = format!("Instance {id} is not deleted: {}.\n{}", why.error, listed.join("\n"));
    Report::new(text, json!({ "instance": id, "deleted": false, "in_the_way": why, "steps": steps }))
        .good_if(false)
}
