//! No secret is where anybody could look: in a slot, in an answer, in what a refused command leaves.

use crate::common::administrators::{Ask, export_target, import_sealed, importer_of, seal, send_raw};
use crate::common::{Fixture, TestEnv, activate, commit, run, status};
use unit_api::admin::{AdminCommand, AdminResponse, AdminResponseBlock};
use unit_core::{Slot, Unit};

const PART_A: [u8; 32] = *b"part A of a key for one test....";
const PART_B: [u8; 32] = *b"the other part, B, of that key..";

/// Everything that a unit has shown, and what its disk holds.
struct Seen(Vec<Vec<u8>>);

impl Seen {
    fn look_at_disk(&mut self, fixture: &Fixture) {
        self.0.extend(Slot::ALL.map(|slot| fixture.disk.content(slot)));
    }

    fn send(
        &mut self,
        fixture: &Fixture,
        unit: &mut Unit<TestEnv>,
        command: AdminCommand,
        input: &[u8],
    ) -> Vec<u8> {
        let request = Ask::of(unit, command, input).signed_by(&[0]);
        let response = send_raw(unit, &request);
        let block = AdminResponse::decode(&response).unwrap().block;
        let output = AdminResponseBlock::decode(block).unwrap().output.to_vec();
        self.0.push(response);
        self.look_at_disk(fixture);
        output
    }

    /// Whether any 8 bytes of a secret are to be seen anywhere.
    fn shows(&self, secret: &[u8]) -> bool {
        let hidden: std::collections::HashSet<_> = secret.windows(8).collect();
        self.0.iter().any(|content| content.windows(8).any(|bytes| hidden.contains(bytes)))
    }
}

#[test]
fn no_part_and_no_master_key_is_in_any_slot_or_answer() {
    let fixture = Fixture::quick(1);
    let mut unit = fixture.in_service();
    let mut seen = Seen(Vec::new());
    let shown = seen.send(&fixture, &mut unit, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3]);
    let importer = importer_of(&shown);
    let sealed: Vec<_> = [PART_A, PART_B].iter().map(|part| seal(&importer, part)).collect();
    // One damaged, so that the others are opened and the import is refused.
    let mut spoilt = sealed.clone();
    *spoilt[1].last_mut().unwrap() ^= 1;
    import_sealed(&mut unit, &spoilt, &[0]).unwrap_err();
    seen.look_at_disk(&fixture);
    let pattern = import_sealed(&mut unit, &sealed, &[0]).unwrap();
    seen.look_at_disk(&fixture);
    let target = export_target(&Fixture::new(7));
    seen.send(&fixture, &mut unit, AdminCommand::ExportNew, &target);
    commit(&mut unit, pattern);
    activate(&mut unit, pattern);
    seen.send(&fixture, &mut unit, AdminCommand::ExportCurrent, &target);
    for query in AdminCommand::ALL.iter().filter(|command| command.is_query()) {
        seen.send(&fixture, &mut unit, *query, b"");
    }
    run(&mut unit, AdminCommand::Zeroize, b"").unwrap();
    seen.look_at_disk(&fixture);
    let combined: Vec<u8> = PART_A.iter().zip(PART_B).map(|(a, b)| a ^ b).collect();
    for (name, secret) in [("part A", &PART_A[..]), ("part B", &PART_B), ("the master key", &combined)] {
        assert!(!seen.shows(secret), "{name} can be seen");
    }
    // The search finds what is there.
    assert!(seen.shows(pattern.as_bytes()) && seen.shows(&importer.to_point()[1..]));
}

/// An importer key is drawn from the engine and put nowhere: what was sealed for it is lost with the power.
#[test]
fn no_importer_key_outlives_the_power() {
    let fixture = Fixture::quick(1);
    let mut unit = fixture.in_service();
    let shown = run(&mut unit, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3]).unwrap();
    let sealed = [seal(&importer_of(&shown), &PART_A)];
    drop(unit);
    let mut unit = fixture.start();
    let refused = import_sealed(&mut unit, &sealed, &[0]).unwrap_err();
    assert_eq!(refused, unit_api::UnitError::ImporterMissing);
    // Two keys drawn one after the other are two keys.
    let again = run(&mut unit, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3]).unwrap();
    assert_ne!(shown, again);
    assert!(status(&mut unit).current.is_none());
}
