//! `cryptounit-compare`: the selected units side by side, and every difference.

use crate::commands::units::with_unavailable;
use crate::context::Context;
use crate::error::TkeError;
use crate::instance::{Instance, UnitGroup};
use crate::report::Report;
use crate::tables;
use serde_json::{Value, json};
use std::fmt::Write;
use tke::compare::{Aspect, Comparison};

/// `cryptounit-compare`: compares the crypto units; fails if they differ.
pub(crate) async fn show(context: &Context<'_>) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let units = instance.selected_or_all().await?;
    Ok(report(&instance, &units))
}

/// The comparison, in the documented order of tables.
pub(crate) fn report(instance: &Instance, units: &UnitGroup) -> Report {
    let comparison = units.comparison();
    let (id, unit) = (instance.id(), units.verified.as_slice());
    let mut text = String::new();
    let mut table = |table: String, what: &str, aspects: &[Aspect]| {
        let _ = writeln!(text, "{table}\n==> {}\n", verdict_on(&comparison, what, aspects));
    };
    table(
        tables::thresholds(id, unit),
        "thresholds",
        &[Aspect::SignatureThreshold, Aspect::RevocationThreshold],
    );
    table(tables::administrators(id, unit), "administrators", &[Aspect::Administrators]);
    table(tables::new_registers(id, unit), "new master key register", &[Aspect::NewRegister]);
    table(tables::current_registers(id, unit), "current master key register", &[Aspect::CurrentRegister]);
    table(tables::control_points(id, unit), "control points", &[Aspect::ControlPoints]);
    text += tables::footnote(unit);
    text += &differences(&comparison);
    let alike = comparison.alike() && units.unavailable.is_empty();
    let verdict = if units.unavailable.is_empty() {
        comparison.verdict()
    } else {
        format!("WARNING: {} crypto units did not answer and are not compared.", units.unavailable.len())
    };
    let mut report = with_unavailable(text, id, units).good_if(alike);
    let _ = writeln!(report.text, "\n{verdict}");
    if !comparison.alike() {
        report.text +=
            "`converge` sets them up as in the recorded plan, `converge --like N` as crypto unit N.\n";
    }
    if let Value::Object(json) = &mut report.json {
        json.insert("alike".to_owned(), json!(alike));
        json.insert("verdict".to_owned(), json!(verdict));
        json.insert("differences".to_owned(), differences_json(&comparison));
    }
    report
}

fn verdict_on(comparison: &Comparison, what: &str, aspects: &[Aspect]) -> String {
    let differ = comparison.differences.iter().any(|difference| aspects.contains(&difference.aspect));
    if differ {
        format!("WARNING: the crypto units differ in their {what}.")
    } else {
        format!("The crypto units have the same {what}.")
    }
}

/// Every difference: each value with its units.
fn differences(comparison: &Comparison) -> String {
    let mut text = String::new();
    for difference in &comparison.differences {
        let _ = writeln!(text, "\nDIFFERENCE in {}:", difference.aspect);
        for (value, units) in &difference.values {
            let units: Vec<String> = units.iter().map(u16::to_string).collect();
            let value = if value.is_empty() { "(none)" } else { value };
            let _ = writeln!(text, "  crypto units {}: {value}", units.join(", "));
        }
    }
    text
}

fn differences_json(comparison: &Comparison) -> Value {
    let one = |difference: &tke::compare::Difference| {
        let values: Vec<Value> = difference
            .values
            .iter()
            .map(|(value, units)| json!({ "value": value, "crypto_units": units }))
            .collect();
        json!({ "aspect": difference.aspect.name(), "values": values })
    };
    comparison.differences.iter().map(one).collect()
}
