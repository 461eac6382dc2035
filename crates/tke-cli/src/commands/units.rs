//! List and selection of units: `cryptounits`, `cryptounit-add`, `cryptounit-rm`; and single aspects of the selected ones.

use crate::context::Context;
use crate::error::TkeError;
use crate::instance::{Instance, UnitGroup, VerifiedUnit};
use crate::report::Report;
use crate::seen::SeenUnits;
use crate::tables;
use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;
use wire::text::error_chain;

/// Options of `cryptounit-add` and `cryptounit-rm`.
#[derive(Clone, Debug, Args)]
pub struct UnitNumbers {
    /// Numbers of crypto units as `cryptounits` shows them, or `all`.
    #[arg(required = true)]
    pub numbers: Vec<String>,
}

/// `cryptounits`: lists the crypto units of the instance.
pub(crate) async fn show(context: &Context<'_>) -> Result<Report, TkeError> {
    Ok(listing(&Instance::open(context).await?))
}

fn listing(instance: &Instance) -> Report {
    let units: Vec<Value> = instance
        .units
        .iter()
        .map(|unit| {
            json!({
                "number": unit.listed.number,
                "selected": unit.selected,
                "type": unit.listed.kind.name(),
                "location": unit.listed.location.to_string(),
                "hsm_id": unit.hsm_id,
                "module": unit.listed.unit.to_string(),
            })
        })
        .collect();
    let mut text = tables::listing(instance.id(), &instance.units);
    if !instance.units.iter().any(|unit| unit.selected) {
        text += "\nNo crypto unit is selected: select with `cryptounit-add all` or `cryptounit-add N…`.\n";
    }
    Report::new(text, json!({ "instance": instance.id(), "crypto_units": units }))
}

/// `cryptounit-add` and `cryptounit-rm`.
pub(crate) async fn select(
    context: &Context<'_>,
    args: &UnitNumbers,
    selected: bool,
) -> Result<Report, TkeError> {
    let mut instance = Instance::open(context).await?;
    let mut numbers = Vec::new();
    for given in &args.numbers {
        if given == "all" {
            numbers.extend(instance.units.iter().map(|unit| unit.listed.number));
            continue;
        }
        let unknown = || TkeError::Unknown {
            what: "crypto unit",
            given: given.clone(),
            hint: "`cryptounits` lists them",
        };
        numbers.push(instance.unit(given.parse().map_err(|_| unknown())?)?.listed.number);
    }
    let mut selection = context.selection()?;
    let id = instance.id();
    for unit in instance.units.iter_mut().filter(|unit| numbers.contains(&unit.listed.number)) {
        selection.set_unit(id, unit.hsm_id, selected);
        unit.selected = selected;
    }
    selection.save()?;
    Ok(listing(&instance))
}

/// `cryptounit-accept`: forgets what was seen of units, after their owner has found out why they went back.
pub(crate) async fn accept(context: &Context<'_>, args: &UnitNumbers) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let mut seen = SeenUnits::load(context.path())?;
    let mut accepted = Vec::new();
    for given in &args.numbers {
        let unit = instance.unit(given.parse().unwrap_or(0))?;
        let unit = instance.verify_without_memory(unit.listed.number).await?;
        seen.forget(&unit.snapshot.target)?;
        accepted.push(unit.number());
    }
    let numbers: Vec<String> = accepted.iter().map(u16::to_string).collect();
    let text = format!("Accepted in their present state: crypto units {}.", numbers.join(", "));
    Ok(Report::new(text, json!({ "accepted": accepted })))
}

/// Shows one aspect of the selected units, or of all if none is selected.
pub(crate) async fn show_table(
    context: &Context<'_>,
    table: impl Fn(Uuid, &[VerifiedUnit]) -> String,
) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let units = instance.selected_or_all().await?;
    let text = format!("{}{}", table(instance.id(), &units.verified), tables::footnote(&units.verified));
    Ok(with_unavailable(text, instance.id(), &units))
}

/// Adds the units that are unavailable to a report.
pub(crate) fn with_unavailable(text: String, instance: Uuid, units: &UnitGroup) -> Report {
    let (warnings, absent) = absent(units);
    let known: Vec<Value> = units.verified.iter().map(tables::unit_json).collect();
    let json = json!({ "instance": instance, "crypto_units": known, "absent": absent });
    Report::new(text + &warnings, json).good_if(units.unavailable.is_empty())
}

/// The units that are unavailable: warnings for people, and JSON.
pub(crate) fn absent(units: &UnitGroup) -> (String, Vec<Value>) {
    let absent: Vec<Value> = units
        .unavailable
        .iter()
        .map(|(listed, fault)| {
            json!({
                "number": listed.number,
                "type": listed.kind.name(),
                "location": listed.location.to_string(),
                "error": error_chain(fault),
            })
        })
        .collect();
    let faults = units.unavailable.iter().map(|(_, fault)| error_chain(fault));
    (faults.map(|fault| format!("\nWARNING: {fault}\n")).collect(), absent)
}
