//! What units say of themselves, asked at once, and what follows for the instance.

use super::supervisor::UnitProcess;
use crate::cli::with_causes;
use host::UnitClient;
use std::path::Path;
use std::time::Duration;
use unit_api::{Command, Condition, Envelope, Response, UnitStatus, VerificationPattern};

/// A unit that takes longer is not asked any further: whoever looks wants to see now.
const PATIENCE: Duration = Duration::from_secs(1);

/// A unit, and what it says of itself or why it says nothing.
pub(super) struct Look {
    pub(super) process: UnitProcess,
    pub(super) status: Result<UnitStatus, String>,
}

/// Asks units, all at the same time.
pub(super) async fn look_at(units: impl IntoIterator<Item = UnitProcess>) -> Vec<Look> {
    let asked: Vec<_> = units
        .into_iter()
        .map(|process| {
            let (socket, down) = (process.socket.clone(), process.down.clone());
            let asked = async move {
                match down {
                    Some(why) => Err(why),
                    None => ask(&socket).await,
                }
            };
            (process, tokio::spawn(asked))
        })
        .collect();
    let mut looks = Vec::new();
    for (process, asked) in asked {
        let status = asked.await.unwrap_or_else(|e| Err(e.to_string()));
        looks.push(Look { process, status });
    }
    looks
}

async fn ask(socket: &Path) -> Result<UnitStatus, String> {
    let asked = async {
        let unit = UnitClient::connect(socket).await?;
        unit.call(&Envelope::plain(Command::Status), PATIENCE).await
    };
    let reply = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(reply) => reply.map_err(|e| with_causes(&e))?,
        Err(_) => return Err("it does not answer".to_owned()),
    };
    match reply.response() {
        Ok(Response::Status(status)) => Ok(status),
        Ok(_) => Err("it gives no proper answer".to_owned()),
        Err(refusal) => Err(refusal.to_string()),
    }
}

/// Where a unit stands between being assigned and serving, in the words of the service that has names for it.
///
/// | state | means |
/// |---|---|
/// | `reserved` | in imprint mode, nobody rules it |
/// | `claimed` | administrators are installed; no master key yet |
/// | `initialized` | holds a master key |
/// | `kms-initialized` | and serves with it |
/// | `error` | answers only queries and zeroize |
/// | `unreachable` | does not answer |
pub(super) fn lifecycle(status: &Result<UnitStatus, String>, serves: bool) -> &'static str {
    let Ok(status) = status else { return "unreachable" };
    match (status.condition, status.current) {
        (Condition::Error(_), _) => "error",
        (Condition::Operational, Some(_)) if serves => "kms-initialized",
        (Condition::Operational, Some(_)) => "initialized",
        (Condition::Operational, None) if status.administrators == 0 => "reserved",
        (Condition::Operational, None) => "claimed",
    }
}

/// Whether a unit is in imprint mode: threshold 0 means that.
pub(super) const fn is_imprint(status: &UnitStatus) -> bool {
    status.signature_threshold == 0
}

/// The master key that an instance begins under, and the position of a unit that holds it.
///
/// Where `required` is given, one unit that holds it is enough. Where nothing is settled yet, every unit has to be
/// secured and hold the same: an instance that begins while its units differ would shut some of them out for ever.
///
/// # Errors
/// What is to be done first, unit by unit.
pub(super) fn common_master_key(
    units: &[Look],
    required: Option<VerificationPattern>,
) -> Result<(VerificationPattern, usize), String> {
    let mut lacking = Vec::new();
    let mut held: Vec<(usize, u16, VerificationPattern)> = Vec::new();
    for (at, look) in units.iter().enumerate() {
        match master_key(&look.status) {
            Ok(pattern) => held.push((at, look.process.unit, pattern)),
            Err(why) => lacking.push(format!("unit {} {why}", look.process.unit)),
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
    use super::{Look, UnitProcess, common_master_key, lifecycle};
    use crate::region::place::{UnitCounts, places};
    use unit_api::{Condition, NewRegister, UnitId, UnitStatus, VerificationPattern};

    const A: VerificationPattern = VerificationPattern::from_bytes([0xa; 32]);
    const B: VerificationPattern = VerificationPattern::from_bytes([0xb; 32]);

    fn says(threshold: u8, current: Option<VerificationPattern>) -> Result<UnitStatus, String> {
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
        })
    }

    fn silent() -> Result<UnitStatus, String> {
        Err("gone".to_owned())
    }

    fn broken() -> Result<UnitStatus, String> {
        says(2, Some(A)).map(|status| UnitStatus { condition: Condition::Error(0x242), ..status })
    }

    fn looks(said: Vec<Result<UnitStatus, String>>) -> Vec<Look> {
        let places = places("r", UnitCounts { operational: 3, recovery: 0, failover: 0 });
        let process = |place: crate::region::Place| UnitProcess {
            unit: place.number,
            place,
            id: UnitId([1; 16]),
            socket: "unused".into(),
            pid: None,
            engine: "software".to_owned(),
            down: None,
            fault: None,
            restarts: 0,
        };
        places.into_iter().zip(said).map(|(place, status)| Look { process: process(place), status }).collect()
    }

    #[test]
    fn an_instance_begins_only_when_all_units_agree() {
        let ready = || says(2, Some(A));
        let (pattern, at) = common_master_key(&looks(vec![ready(), ready()]), None).unwrap();
        assert!(pattern.is_of_same_key(&A) && at == 0);
        for (second, why) in [
            (says(0, None), "unit 2 is in imprint mode"),
            (says(1, None), "unit 2 has no current master key"),
            (silent(), "unit 2 cannot be asked (gone)"),
            (broken(), "unit 2 is in its error state (0x0242)"),
            (says(2, Some(B)), "different master keys"),
        ] {
            let said = common_master_key(&looks(vec![ready(), second]), None).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        assert!(common_master_key(&[], None).is_err());
    }

    #[test]
    fn an_instance_that_has_begun_needs_one_unit_with_its_key() {
        let units = looks(vec![silent(), says(2, Some(B)), says(2, Some(A))]);
        assert_eq!(common_master_key(&units, Some(A)).unwrap().1, 2);
        let units = looks(vec![says(0, None), says(2, Some(B))]);
        let said = common_master_key(&units, Some(A)).unwrap_err();
        assert!(
            said.contains("unit 1 is in imprint mode") && said.contains("unit 2 holds another"),
            "{said}"
        );
    }

    #[test]
    fn a_unit_s_life_has_names() {
        let staffed = says(0, None).map(|status| UnitStatus { administrators: 2, ..status });
        for (status, serves, name) in [
            (silent(), false, "unreachable"),
            (broken(), false, "error"),
            (says(0, None), false, "reserved"),
            (staffed, false, "claimed"),
            (says(2, None), false, "claimed"),
            (says(2, Some(A)), false, "initialized"),
            (says(2, Some(A)), true, "kms-initialized"),
        ] {
            assert_eq!(lifecycle(&status, serves), name);
        }
    }
}
