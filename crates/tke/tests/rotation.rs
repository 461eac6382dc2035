//! The rotation driver against whole units and a service in memory.

use crate::world::{Memory, Wired, administrators, combined, listed, meet, parts, pattern_of, quorum, trust};
use std::sync::Mutex;
use std::time::Duration;
use tke::admin_policy::AdminPolicy;
use tke::ceremony::{Ceremony, CeremonyError, KeySource};
use tke::compare::permissions_of;
use tke::converge::{MasterKeyGoal, UnitGoal};
use tke::part::KeyPartHolder;
use tke::rotation::{Rotation, RotationError, RotationObserver, RotationService, UnitChange};
use tke::unit::{PortError, VerifiedUnit};
use tke::{AdminUnit, UnitDescriptor, UnitKind};
use unit_api::{NewRegister, VerificationPattern};
use wire::tke::{Pattern, RotationAction, RotationPhase, RotationStatus, RotationStep};

/// A service that has some keys to re-encipher, and looks at the units for its advice as the real one does.
struct Service {
    state: Mutex<State>,
    units: Vec<AdminUnit<Wired>>,
}

struct State {
    keystore: VerificationPattern,
    journal: Option<Journal>,
    excluded: Vec<u16>,
    actions: Vec<String>,
    /// Advice that is given instead of the one that the units ask for.
    scripted: Option<RotationStep>,
}

struct Journal {
    phase: RotationPhase,
    new: VerificationPattern,
    /// Questions that are answered before the keys of this phase are processed.
    keys_left: u64,
}

const KEYS: u64 = 8;

impl Service {
    async fn over(units: &[(AdminUnit<Wired>, Wired)], keystore: VerificationPattern) -> Self {
        let mut own = Vec::new();
        for (unit, wired) in units {
            let listed = unit.listed().clone();
            own.push(AdminUnit::authenticate(listed, wired.clone(), &trust()).await.unwrap());
        }
        let state =
            State { keystore, journal: None, excluded: Vec::new(), actions: Vec::new(), scripted: None };
        Self { state: Mutex::new(state), units: own }
    }

    fn actions(&self) -> Vec<String> {
        self.state.lock().unwrap().actions.clone()
    }

    fn advise(&self, step: RotationStep) {
        self.state.lock().unwrap().scripted = Some(step);
    }

    fn keystore(&self) -> VerificationPattern {
        self.state.lock().unwrap().keystore
    }

    /// Registers of every unit that is not excluded; `None` for a unit that does not answer.
    async fn registers(&self, excluded: &[u16]) -> Vec<Option<(Option<VerificationPattern>, NewRegister)>> {
        let mut registers = Vec::new();
        for unit in self.units.iter().filter(|unit| !excluded.contains(&unit.listed().number)) {
            registers.push(unit.snapshot().await.ok().map(|unit| (unit.current, unit.new)));
        }
        registers
    }
}

/// The step that the service advises. Excluded units do not count, and are known from the last action.
fn next_step(
    state: &State,
    registers: &[Option<(Option<VerificationPattern>, NewRegister)>],
) -> RotationStep {
    let reachable: Vec<_> = registers.iter().flatten().collect();
    let all_reachable = reachable.len() == registers.len();
    let committed = |new: &VerificationPattern| {
        let of_key = |register: &NewRegister| matches!(register, NewRegister::FullCommitted(p) if p.is_of_same_key(new));
        reachable.iter().filter(|(_, register)| of_key(register)).count()
    };
    let moved = |new: &VerificationPattern| {
        reachable.iter().filter(|(current, _)| current.is_some_and(|p| p.is_of_same_key(new))).count()
    };
    let Some(Journal { phase, new, .. }) = &state.journal else {
        let loaded = reachable.iter().find_map(|(_, register)| match register {
            NewRegister::FullCommitted(pattern) => Some(*pattern),
            _ => None,
        });
        return match loaded {
            None => RotationStep::Nothing,
            Some(_) if !all_reachable => RotationStep::Reach,
            Some(new) if committed(&new) == reachable.len() => RotationStep::Begin,
            Some(_) => RotationStep::Load,
        };
    };
    let lacking = reachable.len() - committed(new) - moved(new);
    match phase {
        RotationPhase::ReEnciphering => RotationStep::Reencipher,
        RotationPhase::ReEnciphered if lacking > 0 => RotationStep::Load,
        RotationPhase::ReEnciphered if !all_reachable => RotationStep::Reach,
        RotationPhase::ReEnciphered => RotationStep::BeginActivation,
        RotationPhase::Activating if committed(new) > 0 => RotationStep::Activate,
        RotationPhase::Activating if lacking > 0 => RotationStep::Load,
        RotationPhase::Activating if !all_reachable => RotationStep::Reach,
        RotationPhase::Activating => RotationStep::Finish,
        RotationPhase::Finishing => RotationStep::RemoveOldForms,
        RotationPhase::Cancelling => RotationStep::RemoveNewForms,
        RotationPhase::Done => RotationStep::Nothing,
    }
}

impl RotationService for Service {
    async fn status(&self) -> Result<RotationStatus, PortError> {
        // The real service learns of excluded units with an action, and forgets them with the answer.
        let registers = self.registers(&[]).await;
        let mut state = self.state.lock().unwrap();
        let mut over = false;
        if let Some(journal) = &mut state.journal
            && journal.phase.processes_keys()
        {
            journal.keys_left = journal.keys_left.saturating_sub(1);
            match (journal.keys_left, journal.phase) {
                (0, RotationPhase::ReEnciphering) => journal.phase = RotationPhase::ReEnciphered,
                (0, _) => over = true,
                _ => {}
            }
        }
        if over {
            state.journal = None;
        }
        let next = state.scripted.unwrap_or_else(|| next_step(&state, &registers));
        let wire = |pattern: VerificationPattern| Pattern::new(*pattern.as_bytes());
        let journal = state.journal.as_ref();
        Ok(RotationStatus {
            id: journal.map(|_| uuid::Uuid::nil()),
            phase: journal.map(|journal| journal.phase),
            old: journal.map(|_| wire(state.keystore)),
            new: journal.map(|journal| wire(journal.new)),
            done: journal.map_or(0, |journal| KEYS - journal.keys_left),
            total: journal.map_or(0, |_| KEYS),
            cancellable: false,
            next,
            advice: format!("advice: {next}"),
            also: Vec::new(),
        })
    }

    async fn act(&self, action: &RotationAction) -> Result<RotationStatus, PortError> {
        let exclude = match action {
            RotationAction::Begin { exclude, .. }
            | RotationAction::Activate { exclude }
            | RotationAction::Finish { exclude } => exclude.clone(),
            RotationAction::Reencipher {} | RotationAction::Cancel {} => Vec::new(),
        };
        let registers = self.registers(&exclude).await;
        {
            let mut state = self.state.lock().unwrap();
            state
                .actions
                .push(serde_json::to_value(action)?["action"].as_str().unwrap_or_default().to_owned());
            state.excluded = exclude;
            let next = next_step(&state, &registers);
            match (action, next) {
                (RotationAction::Begin { pattern, .. }, RotationStep::Begin) => {
                    let new = VerificationPattern::from_bytes(*pattern.as_bytes());
                    state.journal =
                        Some(Journal { phase: RotationPhase::ReEnciphering, new, keys_left: KEYS });
                }
                (RotationAction::Activate { .. }, RotationStep::BeginActivation) => {
                    state.journal.as_mut().unwrap().phase = RotationPhase::Activating;
                }
                (RotationAction::Finish { .. }, RotationStep::Finish) => {
                    let journal = state.journal.as_mut().unwrap();
                    (journal.phase, journal.keys_left) = (RotationPhase::Finishing, KEYS);
                    state.keystore = state.journal.as_ref().unwrap().new;
                }
                (RotationAction::Cancel {}, _) if state.journal.is_some() => {
                    let journal = state.journal.as_mut().unwrap();
                    (journal.phase, journal.keys_left) = (RotationPhase::Cancelling, KEYS);
                }
                (RotationAction::Reencipher {}, _) => {}
                (action, next) => return Err(format!("{action:?} while {next} comes next").into()),
            }
        }
        self.status().await
    }
}

/// Keeps what an embedder would store, and the results on units.
#[derive(Default)]
struct Observer {
    generations: usize,
    generated: Option<VerificationPattern>,
    results: Vec<(u16, Option<UnitChange>)>,
    phases: Vec<RotationPhase>,
}

impl RotationObserver for Observer {
    fn key_generation_begins(&mut self) -> Result<(), PortError> {
        self.generations += 1;
        self.generated = None;
        Ok(())
    }

    fn key_generated(&mut self, pattern: VerificationPattern) -> Result<(), PortError> {
        self.generated = Some(pattern);
        Ok(())
    }

    fn unit_begins(&mut self, _: &UnitDescriptor) {}

    fn unit_ended(&mut self, unit: &UnitDescriptor, result: Result<UnitChange, CeremonyError>) {
        self.results.push((unit.number, result.ok()));
    }

    fn keys_processed(&mut self, status: &RotationStatus) {
        self.phases.extend(status.phase);
    }
}

/// An instance of initialized units: two operational ones and a recovery unit.
async fn instance() -> Vec<(AdminUnit<Wired>, Wired)> {
    let (quorum, key_parts) = (quorum(2), parts());
    let holders: Vec<&dyn KeyPartHolder> = key_parts.iter().map(|part| part as &dyn KeyPartHolder).collect();
    let mut record = Memory::default();
    let mut units = Vec::new();
    for (number, kind) in [(1, UnitKind::Operational), (2, UnitKind::Operational), (3, UnitKind::Recovery)] {
        let (unit, wired) = meet(number, kind).await;
        let policy = AdminPolicy {
            administrators: administrators(2).iter().map(|key| key.administrator()).collect(),
            signature_threshold: 2,
            revocation_threshold: 2,
            permissions: permissions_of(kind),
        };
        let master_key = MasterKeyGoal::Current(pattern_of(&combined()));
        let goal = UnitGoal { policy, control_points: None, master_key };
        let mut ceremony = Ceremony { quorum: &quorum, record: &mut record };
        ceremony.converge(&unit, &goal, &KeySource::Parts(&holders)).await.unwrap();
        units.push((unit, wired));
    }
    units
}

/// The same units again, as they are now.
async fn copy(units: &[(AdminUnit<Wired>, Wired)]) -> Vec<(AdminUnit<Wired>, Wired)> {
    let mut copies = Vec::new();
    for (unit, wired) in units {
        let wired = wired.copy(u8::try_from(unit.listed().number).unwrap());
        let unit = AdminUnit::authenticate(unit.listed().clone(), wired.clone(), &trust()).await.unwrap();
        copies.push((unit, wired));
    }
    copies
}

async fn verified(units: &[(AdminUnit<Wired>, Wired)]) -> Vec<VerifiedUnit<Wired>> {
    let mut verified = Vec::new();
    for (unit, wired) in units {
        let number = u8::try_from(unit.listed().number).unwrap();
        let listed = listed(number, unit.listed().kind);
        verified.push(VerifiedUnit::verify(listed, wired.clone(), &trust()).await.unwrap());
    }
    verified
}

async fn currents(units: &[(AdminUnit<Wired>, Wired)]) -> Vec<VerificationPattern> {
    let mut currents = Vec::new();
    for (unit, _) in units {
        currents.push(unit.snapshot().await.unwrap().current.unwrap());
    }
    currents
}

/// Generates a key and rotates to it, from wherever an earlier call stopped.
async fn rotate(
    service: &Service,
    units: &[VerifiedUnit<Wired>],
    observer: &mut Observer,
) -> Result<Option<VerificationPattern>, RotationError> {
    let quorum = quorum(2);
    let mut record = Memory::default();
    let mut ceremony = Ceremony { quorum: &quorum, record: &mut record };
    let rotation = Rotation::new(service, units).polling_every(Duration::ZERO);
    if service.status().await.map_err(RotationError::Service)?.id.is_none() {
        let generated = observer.generated;
        rotation.distribute(&mut ceremony, observer, generated).await?;
    }
    let loaded = observer.generated;
    rotation.run(&mut ceremony, observer, loaded).await
}

#[tokio::test]
async fn a_rotation_brings_a_generated_key_into_every_unit() {
    let units = instance().await;
    let old = pattern_of(&combined());
    let service = Service::over(&units, old).await;
    let mut observer = Observer::default();
    let new = rotate(&service, &verified(&units).await, &mut observer).await.unwrap().unwrap();
    assert!(!new.is_of_same_key(&old) && service.keystore().is_of_same_key(&new));
    assert!(currents(&units).await.iter().all(|current| current.is_of_same_key(&new)));
    assert_eq!(service.actions(), ["begin", "reencipher", "activate", "finish", "reencipher"]);
    assert_eq!(observer.generations, 1);
    // The recovery unit has the key first and gives it to the others.
    let holds = Some(UnitChange::HoldsNew);
    assert_eq!(observer.results, [(3, holds), (1, holds), (2, holds)]);
    assert!(observer.phases.contains(&RotationPhase::Finishing), "{:?}", observer.phases);

    // A second call finds nothing to do.
    let quorum = quorum(2);
    let mut record = Memory::default();
    let mut ceremony = Ceremony { quorum: &quorum, record: &mut record };
    let verified = verified(&units).await;
    let again = Rotation::new(&service, &verified).run(&mut ceremony, &mut observer, None).await.unwrap();
    assert!(again.is_none() && service.actions().len() == 5);
}

/// The connection to one unit dies after every possible number of exchanges; another call completes the rotation, with the
/// key that was generated first.
#[tokio::test]
async fn an_interrupted_rotation_is_completed_with_the_same_key() {
    let initialized = instance().await;
    for dying in [0, 2] {
        let mut stops = 0;
        loop {
            let units = copy(&initialized).await;
            let service = Service::over(&units, pattern_of(&combined())).await;
            let mut observer = Observer::default();
            let verified_units = verified(&units).await;
            *units[dying].1.life.lock().unwrap() = Some(stops);
            let interrupted = rotate(&service, &verified_units, &mut observer).await;
            *units[dying].1.life.lock().unwrap() = None;
            let first = observer.generated;
            let was_used = service.status().await.unwrap().id.is_some();
            let new = rotate(&service, &verified(&units).await, &mut observer).await.unwrap();
            if interrupted.is_ok() {
                assert!(new.is_some() || observer.generations <= 2);
                break;
            }
            let new = new.unwrap();
            assert!(currents(&units).await.iter().all(|current| current.is_of_same_key(&new)), "{stops}");
            if was_used {
                assert!(first.unwrap().is_of_same_key(&new), "a second key after {stops} exchanges");
            }
            // Steps of eleven reach every phase, and keep the test short.
            stops += 11;
        }
        assert!(stops > 14, "unit {dying} was interrupted {stops} times only");
    }
}

#[tokio::test]
async fn a_unit_that_does_not_answer_has_to_be_excluded() {
    let units = instance().await;
    let service = Service::over(&units, pattern_of(&combined())).await;
    let all = verified(&units).await;
    let quorum = quorum(2);
    let mut record = Memory::default();
    let mut ceremony = Ceremony { quorum: &quorum, record: &mut record };
    let mut observer = Observer::default();
    let new = Rotation::new(&service, &all).distribute(&mut ceremony, &mut observer, None).await.unwrap();
    *units[1].1.life.lock().unwrap() = Some(0);
    let others: Vec<_> = all.into_iter().filter(|unit| unit.number() != 2).collect();
    let rotation = Rotation::new(&service, &others).polling_every(Duration::ZERO);
    let refused = rotation.run(&mut ceremony, &mut observer, Some(new)).await.unwrap_err();
    assert!(matches!(&refused, RotationError::Decision(advice) if advice == "advice: reach"), "{refused}");
    assert!(service.actions().is_empty());

    let rotation = Rotation::new(&service, &others).polling_every(Duration::ZERO).excluding(&[2]);
    let rotated = rotation.run(&mut ceremony, &mut observer, Some(new)).await.unwrap().unwrap();
    assert!(rotated.is_of_same_key(&new) && service.keystore().is_of_same_key(&new));
    *units[1].1.life.lock().unwrap() = None;
    let currents = currents(&units).await;
    assert!(currents[0].is_of_same_key(&new) && !currents[1].is_of_same_key(&new));
}

#[tokio::test]
async fn steps_that_need_a_decision_are_left_to_an_operator() {
    let units = instance().await;
    let service = Service::over(&units, pattern_of(&combined())).await;
    let verified = verified(&units).await;
    let (quorum, mut observer) = (quorum(2), Observer::default());
    let mut record = Memory::default();
    for step in [
        RotationStep::Reach,
        RotationStep::ClearNew,
        RotationStep::Cancel,
        RotationStep::Reload,
        RotationStep::RestoreOld,
        RotationStep::Contradiction,
        // Without a master key to begin with, and without an old one to load the new one beside.
        RotationStep::Begin,
        RotationStep::Load,
        RotationStep::Commit,
        RotationStep::Activate,
    ] {
        service.advise(step);
        let mut ceremony = Ceremony { quorum: &quorum, record: &mut record };
        let refused =
            Rotation::new(&service, &verified).run(&mut ceremony, &mut observer, None).await.unwrap_err();
        assert!(matches!(refused, RotationError::Decision(_)), "{step}: {refused}");
    }
    assert!(service.actions().is_empty() && record.0.borrow().is_empty());

    // Advice that does not change ends the rotation, too.
    service.advise(RotationStep::Reencipher);
    let mut ceremony = Ceremony { quorum: &quorum, record: &mut record };
    let refused =
        Rotation::new(&service, &verified).run(&mut ceremony, &mut observer, None).await.unwrap_err();
    assert!(matches!(refused, RotationError::NoProgress(RotationStep::Reencipher)), "{refused}");
}

#[tokio::test]
async fn a_cancelled_rotation_leaves_the_old_master_key() {
    let units = instance().await;
    let old = pattern_of(&combined());
    let service = Service::over(&units, old).await;
    let verified = verified(&units).await;
    let (quorum, mut observer) = (quorum(2), Observer::default());
    let mut record = Memory::default();
    let mut ceremony = Ceremony { quorum: &quorum, record: &mut record };
    let rotation = Rotation::new(&service, &verified).polling_every(Duration::ZERO);
    let refused = rotation.cancel(&mut ceremony, &mut observer).await.unwrap_err();
    assert!(matches!(refused, RotationError::NotUnderWay), "{refused}");

    let new = rotation.distribute(&mut ceremony, &mut observer, None).await.unwrap();
    let pattern = Pattern::new(*new.as_bytes());
    service.act(&RotationAction::Begin { exclude: Vec::new(), pattern }).await.unwrap();
    observer.results.clear();
    rotation.cancel(&mut ceremony, &mut observer).await.unwrap();
    assert!(observer.results.iter().all(|(_, result)| *result == Some(UnitChange::Cleared)));
    assert_eq!(observer.results.len(), 3);
    for (unit, _) in &units {
        let unit = unit.snapshot().await.unwrap();
        assert!(matches!(unit.new, NewRegister::Empty));
        assert!(unit.current.unwrap().is_of_same_key(&old));
    }
}
