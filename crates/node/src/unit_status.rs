//! The status that crypto units report, and what follows from it for the instances.

use crate::ports::UnitEntry;
use host::{Endpoint, UnitClient};
use server::tke::UnitLifecycle;
use std::time::Duration;
use unit_api::{Command, Condition, Envelope, Response, UnitStatus, VerificationPattern};
use wire::text::error_chain;

/// A unit, and the status it reports or why there is none.
#[derive(Clone, Debug)]
pub struct QueriedUnit {
    /// The unit.
    pub unit: UnitEntry,
    /// Its status; else a message for people.
    pub status: Result<UnitStatus, String>,
}

/// Asks units for their status, all at the same time, for at most `patience`.
pub async fn query_units(units: impl IntoIterator<Item = UnitEntry>, patience: Duration) -> Vec<QueriedUnit> {
    let asked: Vec<_> = units
        .into_iter()
        .map(|unit| {
            let (endpoint, out_of_service) = (unit.endpoint.clone(), unit.out_of_service.clone());
            let asked = async move {
                match out_of_service {
                    Some(why) => Err(why),
                    None => query(endpoint, patience).await,
                }
            };
            (unit, tokio::spawn(asked))
        })
        .collect();
    let mut queried = Vec::new();
    for (unit, asked) in asked {
        let status = asked.await.unwrap_or_else(|e| Err(e.to_string()));
        queried.push(QueriedUnit { unit, status });
    }
    queried
}

/// Asks a unit for its status; an error is a message for people.
pub(crate) async fn query(endpoint: Endpoint, patience: Duration) -> Result<UnitStatus, String> {
    let asked = async {
        let unit = UnitClient::connect(endpoint).await?;
        unit.call(&Envelope::plain(Command::Status), patience).await
    };
    let reply = match tokio::time::timeout(patience, asked).await {
        Ok(reply) => reply.map_err(|e| error_chain(&e))?,
        Err(_) => return Err("it does not answer".to_owned()),
    };
    match reply.response() {
        Ok(Response::Status(status)) => Ok(status),
        Ok(_) => Err("it answered with something else than its status".to_owned()),
        Err(refusal) => Err(refusal.to_string()),
    }
}

/// How far a unit is set up, where `serves` says whether the host gives it work.
#[must_use]
pub fn lifecycle(status: &Result<UnitStatus, String>, serves: bool) -> UnitLifecycle {
    let Ok(status) = status else { return UnitLifecycle::Unreachable };
    match (status.condition, status.current) {
        (Condition::Error(_), _) => UnitLifecycle::Error,
        (Condition::Operational, Some(_)) if serves => UnitLifecycle::KmsInitialized,
        (Condition::Operational, Some(_)) => UnitLifecycle::Initialized,
        (Condition::Operational, None) if status.administrators == 0 => UnitLifecycle::Reserved,
        (Condition::Operational, None) => UnitLifecycle::Claimed,
    }
}

/// Whether a unit is in imprint mode. Its signature threshold is 0 then.
#[must_use]
pub const fn is_imprint(status: &UnitStatus) -> bool {
    status.signature_threshold == 0
}

/// The master key that an instance is created under, and the position in `units` of a unit that holds it.
///
/// With `required`, one unit that holds this master key is enough. Without, every unit has to have left imprint mode and
/// all have to hold the same master key: an instance created while they differ would exclude some of them for good.
///
/// # Errors
/// What has to be done first, unit by unit.
pub(crate) fn common_master_key(
    units: &[QueriedUnit],
    required: Option<VerificationPattern>,
) -> Result<(VerificationPattern, usize), String> {
    if units.is_empty() {
        return Err("there is no operational crypto unit".to_owned());
    }
    let mut lacking = Vec::new();
    let mut held: Vec<(usize, u16, VerificationPattern)> = Vec::new();
    for (at, queried) in units.iter().enumerate() {
        match master_key(&queried.status) {
            Ok(pattern) => held.push((at, queried.unit.number, pattern)),
            Err(why) => lacking.push(format!("unit {} {why}", queried.unit.number)),
        }
    }
    if let Some(required) = required {
        if let Some((at, ..)) = held.iter().find(|(_, _, pattern)| pattern.is_of_same_key(&required)) {
            return Ok((required, *at));
        }
        let others = held.iter().map(|(_, unit, other)| format!("unit {unit} holds another ({other})"));
        lacking.extend(others);
        return Err(format!("no crypto unit holds master key {required}: {}", lacking.join("; ")));
    }
    let Some(&(at, _, first)) = held.first().filter(|_| lacking.is_empty()) else {
        return Err(format!("the crypto units are not ready: {}", lacking.join("; ")));
    };
    if held.iter().all(|(_, _, pattern)| pattern.is_of_same_key(&first)) {
        return Ok((first, at));
    }
    let held: Vec<String> = held.iter().map(|(_, unit, pattern)| format!("unit {unit} {pattern}")).collect();
    Err(format!("the crypto units hold different master keys: {}", held.join("; ")))
}

fn master_key(status: &Result<UnitStatus, String>) -> Result<VerificationPattern, String> {
    let status = status.as_ref().map_err(|why| format!("cannot be asked ({why})"))?;
    match (status.condition, is_imprint(status), status.current) {
        (Condition::Error(code), ..) => Err(format!("is in its error state (0x{code:04x})")),
        (_, true, _) => Err("is in imprint mode".to_owned()),
        (_, false, None) => Err("has no current master key".to_owned()),
        (_, false, Some(pattern)) => Ok(pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::{QueriedUnit, common_master_key, lifecycle};
    use crate::ports::UnitEntry;
    use std::path::Path;
    use unit_api::{Condition, NewRegister, UnitId, UnitStatus, VerificationPattern};

    const A: VerificationPattern = VerificationPattern::from_bytes([0xa; 32]);
    const B: VerificationPattern = VerificationPattern::from_bytes([0xb; 32]);

    fn reports(threshold: u8, current: Option<VerificationPattern>) -> Result<UnitStatus, String> {
        Ok(UnitStatus {
            unit: UnitId([1; 16]),
            domain_index: 0,
            domain_instance: 1,
            boot_nonce: [0; 16],
            condition: Condition::Operational,
            current,
            new: NewRegister::Empty,
            transaction_counter: 0,
            administrators: threshold,
            signature_threshold: threshold,
            revocation_threshold: threshold,
            audit_records: 0,
            audit_head: [0; 32],
        })
    }

    fn silent() -> Result<UnitStatus, String> {
        Err("gone".to_owned())
    }

    fn broken() -> Result<UnitStatus, String> {
        reports(2, Some(A)).map(|status| UnitStatus { condition: Condition::Error(0x242), ..status })
    }

    fn queried(reported: Vec<Result<UnitStatus, String>>) -> Vec<QueriedUnit> {
        let unit = |number| UnitEntry::new(number, "az1", Path::new("unused"), UnitId([1; 16]));
        (1..).zip(reported).map(|(number, status)| QueriedUnit { unit: unit(number), status }).collect()
    }

    #[test]
    fn an_instance_is_created_only_when_all_units_agree() {
        let ready = || reports(2, Some(A));
        let (pattern, at) = common_master_key(&queried(vec![ready(), ready()]), None).unwrap();
        assert!(pattern.is_of_same_key(&A) && at == 0);
        for (second, why) in [
            (reports(0, None), "unit 2 is in imprint mode"),
            (reports(1, None), "unit 2 has no current master key"),
            (silent(), "unit 2 cannot be asked (gone)"),
            (broken(), "unit 2 is in its error state (0x0242)"),
            (reports(2, Some(B)), "different master keys"),
        ] {
            let refused = common_master_key(&queried(vec![ready(), second]), None).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        assert_eq!(common_master_key(&[], None).unwrap_err(), "there is no operational crypto unit");
    }

    #[test]
    fn an_existing_instance_needs_one_unit_with_its_master_key() {
        let units = queried(vec![silent(), reports(2, Some(B)), reports(2, Some(A))]);
        assert_eq!(common_master_key(&units, Some(A)).unwrap().1, 2);
        let units = queried(vec![reports(0, None), reports(2, Some(B))]);
        let refused = common_master_key(&units, Some(A)).unwrap_err();
        assert!(
            refused.contains("unit 1 is in imprint mode") && refused.contains("unit 2 holds another"),
            "{refused}"
        );
    }

    #[test]
    fn every_lifecycle_has_a_word() {
        let staffed = reports(0, None).map(|status| UnitStatus { administrators: 2, ..status });
        for (status, serves, name) in [
            (silent(), false, "unreachable"),
            (broken(), false, "error"),
            (reports(0, None), false, "reserved"),
            (staffed, false, "claimed"),
            (reports(2, None), false, "claimed"),
            (reports(2, Some(A)), false, "initialized"),
            (reports(2, Some(A)), true, "kms-initialized"),
        ] {
            assert_eq!(lifecycle(&status, serves).as_str(), name);
        }
    }
}
