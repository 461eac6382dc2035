//! The paper of a ceremony: script and record.

use crate::WEAK;
use jiff::Timestamp;
use proptest::prelude::*;
use std::io::Write;
use std::path::PathBuf;
use tke::holder::SignatureKeyFile;
use tke::protocol::{
    CeremonyRecord, CommandEntry, EntryKind, Hex32, KeyMethod, PartEntry, Participant, ParticipantRole,
    RecordError, RecordText, ScriptPlan, ScriptPlanInvalid, VerifiedRecord,
};
use tke::secret_file::{Folder, Password};

fn text(text: &str) -> RecordText {
    RecordText::new(text).unwrap()
}

fn plan(method: KeyMethod) -> ScriptPlan {
    ScriptPlan {
        title: text("First master key"),
        instance: text("crn:v1:hs-crypto"),
        method,
        administrators: 3,
        custodians: if method == KeyMethod::RecoveryUnits { 0 } else { 2 },
        witnesses: 2,
        signature_threshold: 2,
        revocation_threshold: 2,
        backups: 1,
        units: vec![text("[us-east].[az1].[03].[22]"), text("[us-east].[az2].[03].[22]")],
    }
}

fn new_record(path: &std::path::Path) -> CeremonyRecord {
    let steps = plan(KeyMethod::KeyPartFiles).step_texts().unwrap();
    let clock = || "2026-03-01T10:05:00Z".parse::<Timestamp>().unwrap();
    CeremonyRecord::create_with_clock(path, text("First master key"), text("inst | 1"), steps, clock).unwrap()
}

fn note(words: &str) -> EntryKind {
    EntryKind::Note { text: text(words) }
}

fn whole_ceremony(record: &mut CeremonyRecord) {
    let people = [
        ("Ada", ParticipantRole::Administrator),
        ("Cyd", ParticipantRole::Custodian),
        ("Wim", ParticipantRole::Witness),
    ];
    for (name, role) in people {
        let ski = (role == ParticipantRole::Administrator).then_some(Hex32([0xad; 32]));
        record.append(EntryKind::Present(Participant { name: text(name), role, ski })).unwrap();
    }
    let part = PartEntry {
        label: text("part 1"),
        custodian: text("Cyd"),
        carrier: text("card 0102"),
        id: Hex32([0x1d; 32]),
        pattern: Some(Hex32([0x77; 32])),
    };
    record.append(EntryKind::Part(part)).unwrap();
    record.append(EntryKind::MasterKey { pattern: Hex32([0x88; 32]) }).unwrap();
    let command = CommandEntry {
        unit: 1,
        location: text("[us-east].[az1].[03].[22]"),
        command: text("commit the new register"),
        transaction_counter: u128::MAX.to_string(),
        block_hash: Hex32([1; 32]),
        signers: vec![(text("Ada"), text("adad"))],
        pattern: Some(Hex32([0x88; 32])),
        parts: vec![],
        refused: None,
    };
    record.append(EntryKind::Command(command)).unwrap();
    record.append(EntryKind::StepDone { step: 1, by: text("Ada") }).unwrap();
    record.append(EntryKind::StepSkipped { step: 2, reason: text("only two people") }).unwrap();
    record.append(EntryKind::Deviation { what: text("late"), allowed_by: text("Wim") }).unwrap();
    record.append(EntryKind::Closed { outcome: text("all units alike") }).unwrap();
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ceremony.jsonl");
    (dir, path)
}

#[test]
fn a_ceremony_becomes_a_document() {
    let (_dir, path) = file();
    let mut record = new_record(&path);
    whole_ceremony(&mut record);
    let read = VerifiedRecord::read(&path).unwrap();
    assert_eq!(read.head(), record.head());
    assert!(read.is_closed() && !read.is_torn());
    let document = read.to_markdown();
    for words in [
        "# First master key",
        "inst \\| 1",
        "2026-03-01T10:05:00Z",
        &record.head().to_string(),
        &"ad".repeat(32),
        &"77".repeat(32),
        &u128::MAX.to_string(),
        "commit the new register",
        "skipped | only two people",
        "**deviation**, allowed by Wim: late",
        "| witness | Wim | | |",
        "\\[us-east\\].\\[az1\\].\\[03\\].\\[22\\]",
    ] {
        assert!(document.contains(words), "{words}\n{document}");
    }
    let json: serde_json::Value = serde_json::from_str(&read.to_json()).unwrap();
    assert_eq!(json["entries"].as_array().unwrap().len(), read.entries().len());
    assert_eq!(json["closed"], true);
}

#[test]
fn nothing_follows_the_end_and_nothing_precedes_the_beginning() {
    let (_dir, path) = file();
    let mut record = new_record(&path);
    let again = EntryKind::Opened { title: text("x"), instance: text("x"), steps: vec![] };
    assert!(matches!(record.append(again), Err(RecordError::OutOfOrder)));
    assert!(matches!(CeremonyRecord::reopen(&path), Err(RecordError::InUse)));
    record.append(EntryKind::Closed { outcome: text("done") }).unwrap();
    assert!(matches!(record.append(note("late")), Err(RecordError::OutOfOrder)));
    drop(record);
    let mut record = CeremonyRecord::reopen(&path).unwrap();
    assert!(matches!(record.append(note("later")), Err(RecordError::OutOfOrder)));
    let there = CeremonyRecord::create(&path, text("x"), text("x"), vec![]);
    assert!(matches!(there, Err(RecordError::Disk { .. })));
}

#[test]
fn every_change_to_a_record_shows() {
    let (_dir, path) = file();
    let mut record = new_record(&path);
    whole_ceremony(&mut record);
    let original = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = original.lines().collect();
    let parse = |lines: &[&str]| VerifiedRecord::parse((lines.join("\n") + "\n").as_bytes());
    parse(&lines).unwrap();
    for n in 0..lines.len() {
        let mut removed = lines.clone();
        removed.remove(n);
        if n + 1 < lines.len() {
            assert!(matches!(parse(&removed), Err(RecordError::Broken { line }) if line == n + 1), "{n}");
        } else {
            assert!(!parse(&removed).unwrap().is_closed(), "the end that was cut off is missed");
        }
        let mut doubled = lines.clone();
        doubled.insert(n, lines[n]);
        assert!(matches!(parse(&doubled), Err(RecordError::Broken { .. })), "{n}");
        let changed = lines[n].replace("10:05", "10:06");
        let mut all = lines.clone();
        all[n] = &changed;
        assert!(matches!(parse(&all), Err(RecordError::Broken { line }) if line == n + 1), "{n}");
    }
}

/// An entry whose own hash is right, but which was written after another past.
#[test]
fn an_entry_of_another_record_shows() {
    let dir = tempfile::tempdir().unwrap();
    let lines = |name: &str, words: &str| {
        let path = dir.path().join(name);
        let mut record = new_record(&path);
        record.append(note(words)).unwrap();
        record.append(note("the same")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (mut one, other) = (lines("one", "this"), lines("other", "that"));
    one[1].clone_from(&other[1]);
    let spliced = VerifiedRecord::parse((one.join("\n") + "\n").as_bytes());
    assert!(matches!(spliced, Err(RecordError::Broken { line: 3 })));
}

/// The machine fails at every byte of the last entry.
#[test]
fn an_unfinished_entry_is_dropped_and_that_is_written_down() {
    let (_dir, path) = file();
    let mut record = new_record(&path);
    record.append(note("whole")).unwrap();
    let whole = std::fs::metadata(&path).unwrap().len();
    record.append(note("torn")).unwrap();
    drop(record);
    let bytes = std::fs::read(&path).unwrap();
    let whole = usize::try_from(whole).unwrap();
    for len in whole..bytes.len() {
        std::fs::File::create(&path).unwrap().write_all(&bytes[..len]).unwrap();
        assert_eq!(VerifiedRecord::read(&path).unwrap().is_torn(), len > whole);
        let mut record = CeremonyRecord::reopen(&path).unwrap();
        record.append(note("after")).unwrap();
        drop(record);
        let read = VerifiedRecord::read(&path).unwrap();
        let dropped = u64::try_from(len - whole).unwrap();
        assert_eq!(read.entries()[2].kind, EntryKind::Reopened { dropped_bytes: dropped });
        assert_eq!(read.entries().len(), 4);
    }
}

#[tokio::test]
async fn administrators_sign_the_record() {
    let (dir, path) = file();
    let folder = Folder::open(dir.path().join("keys")).unwrap();
    let password = Password::new("correct horse".to_owned());
    let name = tke_crypto::AdministratorName::try_from("Ada").unwrap();
    let key = SignatureKeyFile::create(&folder, name, &password, WEAK).unwrap().key;
    let mut record = new_record(&path);
    record.append(EntryKind::Closed { outcome: text("done") }).unwrap();
    record.sign(&key).await.unwrap();
    let read = VerifiedRecord::read(&path).unwrap();
    assert!(read.to_markdown().contains("Ada signed all entries up to hash"));

    // A signature that is moved to another record, chain and all, is found out.
    let EntryKind::Signed { name, public_key, signature } = read.entries()[2].kind.clone() else { return };
    let other = dir.path().join("other.jsonl");
    let mut forged = new_record(&other);
    forged.append(EntryKind::Closed { outcome: text("otherwise") }).unwrap();
    forged.append(EntryKind::Signed { name, public_key, signature }).unwrap();
    assert!(matches!(VerifiedRecord::read(&other), Err(RecordError::SignatureInvalid { line: 3 })));
}

#[test]
fn a_script_has_a_step_for_everything_and_everybody() {
    let cards = plan(KeyMethod::SmartCards);
    assert_eq!(cards.cards_needed(), 12, "(1 + x)(1 + y + z)");
    let script = cards.to_markdown().unwrap();
    for words in [
        "- 12 smart cards",
        "Enrol 10 EP11 cards",
        "Administrator 3 generates",
        "Custodian 2 generates",
        "| witness 2 | | | |",
        "Commit in \\[us-east\\].\\[az2\\].\\[03\\].\\[22\\] with 2 signatures.",
        "Thresholds: 2 signatures",
    ] {
        assert!(script.contains(words), "{words}\n{script}");
    }
    for method in [KeyMethod::SmartCards, KeyMethod::KeyPartFiles, KeyMethod::RecoveryUnits] {
        let steps = plan(method).steps().unwrap();
        let numbers: Vec<_> = steps.iter().map(|step| step.number).collect();
        assert_eq!(numbers, (1..=u32::try_from(steps.len()).unwrap()).collect::<Vec<_>>());
        assert_eq!(plan(method).step_texts().unwrap().len(), steps.len());
    }
    assert!(!plan(KeyMethod::RecoveryUnits).to_markdown().unwrap().contains("key part file"));
}

#[test]
fn a_plan_that_no_unit_would_take_has_no_script() {
    let with = |change: fn(&mut ScriptPlan)| {
        let mut plan = plan(KeyMethod::KeyPartFiles);
        change(&mut plan);
        plan.to_markdown().unwrap_err()
    };
    assert_eq!(with(|p| p.administrators = 0), ScriptPlanInvalid::Administrators);
    assert_eq!(with(|p| p.administrators = 9), ScriptPlanInvalid::Administrators);
    assert_eq!(with(|p| p.signature_threshold = 4), ScriptPlanInvalid::Threshold);
    assert_eq!(with(|p| p.revocation_threshold = 0), ScriptPlanInvalid::Threshold);
    assert_eq!(with(|p| p.custodians = 1), ScriptPlanInvalid::Custodians);
    assert_eq!(with(|p| p.custodians = 4), ScriptPlanInvalid::Custodians);
    assert_eq!(with(|p| p.units.clear()), ScriptPlanInvalid::NoUnit);
    assert_eq!(with(|p| p.method = KeyMethod::RecoveryUnits), ScriptPlanInvalid::Custodians);
}

proptest! {
    #[test]
    fn prop_nothing_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = VerifiedRecord::parse(&bytes);
    }

    #[test]
    fn prop_any_text_comes_back_and_breaks_no_table(words in "\\PC{1,60}") {
        let (_dir, path) = file();
        let mut record = new_record(&path);
        let words = text(&words);
        record.append(EntryKind::StepDone { step: 1, by: words.clone() }).unwrap();
        let read = VerifiedRecord::read(&path).unwrap();
        prop_assert_eq!(&read.entries()[1].kind, &EntryKind::StepDone { step: 1, by: words });
        let document = read.to_markdown();
        let row = document.lines().find(|line| line.starts_with("| 1 |")).unwrap();
        let bars = row.replace("\\\\", "").replace("\\|", "").matches('|').count();
        prop_assert_eq!(bars, 6, "{}", row);
    }
}
