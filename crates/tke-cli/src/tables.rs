//! Tables of units, in the form of the HPCS tools.

use crate::instance::{SelectableUnit, VerifiedUnit};
use crate::report::Columns;
use engine::EngineClass;
use serde_json::{Value, json};
use tke::trust::ShownClass;
use tke::{Snapshot, UnitKind};
use tke_crypto::Ski;
use unit_api::admin::ControlPoint;
use unit_api::{Condition, NewRegister, VerificationPattern};
use uuid::Uuid;
use wire::text::encode_hex;

/// Hexadecimal digits of an identifier in tables.
const SKI_DIGITS: usize = 30;
/// Hexadecimal digits of a pattern per line.
const PATTERN_DIGITS: usize = 32;

/// An identifier, shortened.
pub(crate) fn short_ski(ski: &Ski) -> String {
    ski.to_string().chars().take(SKI_DIGITS).collect::<String>() + "..."
}

/// A pattern in two lines of 32 digits.
pub(crate) fn two_lines(pattern: &str) -> String {
    let (first, second) = pattern.split_at_checked(PATTERN_DIGITS).unwrap_or((pattern, ""));
    format!("{first}\n{second}")
}

/// The number of a unit, with a mark if it is a recovery unit.
fn number(unit: &VerifiedUnit) -> String {
    let mark = if unit.listed().kind == UnitKind::Recovery { " *" } else { "" };
    format!("{}{mark}", unit.number())
}

/// Legend of marks in the table, if there are any.
pub(crate) fn footnote(units: &[VerifiedUnit]) -> &'static str {
    let any = units.iter().any(|unit| unit.listed().kind == UnitKind::Recovery);
    if any { "* recovery crypto unit\n" } else { "" }
}

fn titled(title: &str, instance: Uuid, columns: &Columns) -> String {
    format!("{title}\nSERVICE INSTANCE: {instance}\n{}", columns.text())
}

/// Crypto units of an instance, one row each, with whether they are selected.
pub(crate) fn listing(instance: Uuid, units: &[SelectableUnit]) -> String {
    let mut columns = Columns::new(["CRYPTO UNIT NUM", "SELECTED", "TYPE", "LOCATION"]);
    for unit in units {
        let listed = &unit.listed;
        columns.row([
            listed.number.to_string(),
            unit.selected.to_string(),
            listed.kind.to_string(),
            listed.location.to_string(),
        ]);
    }
    format!("SERVICE INSTANCE: {instance}\n{}", columns.text())
}

/// Signature and revocation threshold, one row for each crypto unit.
pub(crate) fn thresholds(instance: Uuid, units: &[VerifiedUnit]) -> String {
    let mut columns = Columns::new(["CRYPTO UNIT NUM", "SIGNATURE THRESHOLD", "REVOCATION THRESHOLD"]);
    for unit in units {
        let attributes = unit.snapshot.attributes;
        columns.row([
            number(unit),
            attributes.signature_threshold.to_string(),
            attributes.revocation_threshold.to_string(),
        ]);
    }
    let mut text = titled("SIGNATURE THRESHOLDS", instance, &columns);
    if units.iter().any(|unit| unit.snapshot.attributes.imprint()) {
        text += "A threshold of 0 means imprint mode: the crypto unit is not protected yet.\n";
    }
    if units.iter().any(|unit| is_single(&unit.snapshot)) {
        text += "WARNING: with a threshold of 1, one administrator alone can execute every command.\n";
    }
    text
}

fn is_single(unit: &Snapshot) -> bool {
    unit.attributes.signature_threshold == 1 || unit.attributes.revocation_threshold == 1
}

/// Administrators, one row each, grouped by crypto unit.
pub(crate) fn administrators(instance: Uuid, units: &[VerifiedUnit]) -> String {
    let mut columns = Columns::new(["CRYPTO UNIT NUM", "ADMIN NAME", "SUBJECT KEY IDENTIFIER"]);
    for unit in units {
        if unit.snapshot.administrators.is_empty() {
            columns.row([number(unit), "(none)".to_owned(), String::new()]);
        }
        for (place, entry) in unit.snapshot.administrators.iter().enumerate() {
            let number = if place == 0 { number(unit) } else { String::new() };
            let name = entry.name().unwrap_or("(not text)").to_owned();
            columns.row([number, name, short_ski(&Ski(entry.ski))]);
        }
    }
    titled("CRYPTO UNIT ADMINISTRATORS", instance, &columns)
}

/// New registers.
pub(crate) fn new_registers(instance: Uuid, units: &[VerifiedUnit]) -> String {
    let rows = units.iter().map(|unit| match unit.snapshot.new {
        NewRegister::Empty => (number(unit), "Empty", None),
        NewRegister::FullUncommitted(pattern) => (number(unit), "Full Uncommitted", Some(pattern)),
        NewRegister::FullCommitted(pattern) => (number(unit), "Full Committed", Some(pattern)),
    });
    register("NEW MASTER KEY REGISTER", instance, rows)
}

/// Current registers.
pub(crate) fn current_registers(instance: Uuid, units: &[VerifiedUnit]) -> String {
    let rows = units.iter().map(|unit| match unit.snapshot.current {
        None => (number(unit), "Empty", None),
        Some(pattern) => (number(unit), "Valid", Some(pattern)),
    });
    register("CURRENT MASTER KEY REGISTER", instance, rows)
}

/// Both registers.
pub(crate) fn registers(instance: Uuid, units: &[VerifiedUnit]) -> String {
    format!("{}\n{}", new_registers(instance, units), current_registers(instance, units))
}

fn register(
    title: &str,
    instance: Uuid,
    rows: impl Iterator<Item = (String, &'static str, Option<VerificationPattern>)>,
) -> String {
    let mut columns = Columns::new(["CRYPTO UNIT NUM", "STATUS", "VERIFICATION PATTERN"]);
    for (number, status, pattern) in rows {
        // An empty register reports a pattern of zeros.
        let pattern = pattern.unwrap_or(VerificationPattern::from_bytes([0; 32])).to_string();
        columns.row([number, status.to_owned(), two_lines(&pattern)]);
    }
    titled(title, instance, &columns)
}

/// Control points.
pub(crate) fn control_points(instance: Uuid, units: &[VerifiedUnit]) -> String {
    let mut columns = Columns::new(["CRYPTO UNIT NUM", "CONTROL POINT", "STATUS"]);
    for unit in units {
        for (place, point) in ControlPoint::ALL.iter().enumerate() {
            let number = if place == 0 { number(unit) } else { String::new() };
            let status = if unit.snapshot.control_points.is_on(*point) { "Set" } else { "Not Set" };
            columns.row([number, point.name().to_owned(), status.to_owned()]);
        }
    }
    titled("CRYPTO UNIT CONTROL POINTS", instance, &columns)
}

/// What the manufacturer has certified of each module.
pub(crate) fn modules(instance: Uuid, units: &[VerifiedUnit]) -> String {
    let mut columns = Columns::new(["CRYPTO UNIT NUM", "MODULE", "CLASS", "FIRMWARE", "CERTIFICATE"]);
    for unit in units {
        let module = unit.unit.module();
        let firmware = module.description.map_or_else(String::new, |shown| encode_hex(&shown.firmware));
        columns.row([
            number(unit),
            unit.snapshot.target.unit.to_string(),
            ShownClass::of(module).to_string(),
            two_lines(&firmware),
            module.serial.to_string(),
        ]);
    }
    let mut text = titled("CRYPTO UNIT MODULES", instance, &columns);
    let is_soft =
        |unit: &VerifiedUnit| ShownClass::of(unit.unit.module()) < ShownClass(Some(EngineClass::Token));
    if units.iter().any(is_soft) {
        text += "Classes below `token`: who operates the machine of the crypto unit can read its keys.\n";
    }
    text
}

/// The state of a unit, for programs.
pub(crate) fn unit_json(unit: &VerifiedUnit) -> Value {
    let (module, listed, unit) = (unit.unit.module(), unit.listed(), &unit.snapshot);
    let administrators: Vec<Value> = unit
        .administrators
        .iter()
        .map(|entry| json!({ "name": entry.name(), "ski": Ski(entry.ski).to_string() }))
        .collect();
    let (status, new) = match unit.new {
        NewRegister::Empty => ("empty", None),
        NewRegister::FullUncommitted(pattern) => ("full uncommitted", Some(pattern)),
        NewRegister::FullCommitted(pattern) => ("full committed", Some(pattern)),
    };
    let points: Vec<&str> = ControlPoint::ALL
        .iter()
        .filter(|point| unit.control_points.is_on(**point))
        .map(|point| point.name())
        .collect();
    json!({
        "number": listed.number,
        "type": listed.kind.name(),
        "location": listed.location.to_string(),
        "module": unit.target.unit.to_string(),
        "engine_class": ShownClass::of(module).name(),
        "firmware": module.description.map(|shown| encode_hex(&shown.firmware)),
        "certificate": {
            "serial": module.serial.to_string(),
            "not_before": module.validity.not_before,
            "not_after": module.validity.not_after,
        },
        "domain": unit.target.domain_index,
        "life": unit.target.domain_instance,
        "transaction_counter": unit.transaction_counter.to_string(),
        "instance": unit.instance.to_string(),
        "condition": match unit.condition {
            Condition::Operational => "operational".to_owned(),
            Condition::Error(code) => format!("error 0x{code:04x}"),
        },
        "imprint_mode": unit.attributes.imprint(),
        "signature_threshold": unit.attributes.signature_threshold,
        "revocation_threshold": unit.attributes.revocation_threshold,
        "permissions": unit.attributes.permissions.to_string(),
        "administrators": administrators,
        "new_register": { "status": status, "verification_pattern": new.map(|pattern| pattern.to_string()) },
        "current_register": {
            "status": if unit.current.is_some() { "valid" } else { "empty" },
            "verification_pattern": unit.current.map(|pattern| pattern.to_string()),
        },
        "control_points": points,
    })
}

#[cfg(test)]
mod tests {
    use super::{short_ski, two_lines};
    use tke_crypto::Ski;

    #[test]
    fn identifiers_and_patterns_look_as_documented() {
        assert_eq!(short_ski(&Ski([0xab; 32])), "abababababababababababababab".to_owned() + "ab...");
        assert_eq!(two_lines(&"0".repeat(64)), format!("{}\n{}", "0".repeat(32), "0".repeat(32)));
    }
}
