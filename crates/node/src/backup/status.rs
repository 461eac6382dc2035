//! What is known of a node's backups, and what operators are told.

use super::folder::{self, BackupFile};
use super::make::{self, MakeError, TestReport};
use super::{BackupSettings, OVERDUE};
use jiff::Timestamp;
use kms::backup::BackupHeader;
use kms::{Clock, InstanceId, Units};
use server::KeyService;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex as AsyncMutex;
use tracing::{info, warn};
use wire::text::error_chain;

/// The backups of a node's instances.
pub(crate) struct Backups {
    pub(super) settings: BackupSettings,
    clock: Arc<dyn Clock>,
    states: Mutex<BTreeMap<InstanceId, State>>,
    /// One backup at a time.
    making: AsyncMutex<()>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// When the node first had to have a backup of the instance.
    since: Option<Timestamp>,
    /// The newest one that was tested.
    newest: Option<BackupHeader>,
    /// Why the last attempt has failed.
    failure: Option<String>,
    made: u64,
    failed: u64,
}

/// What metrics say about the backups of an instance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackupFigures {
    pub(crate) instance: InstanceId,
    /// Age of the newest backup, or time since one was first due; in seconds.
    pub(crate) age_seconds: f64,
    pub(crate) made: u64,
    pub(crate) failed: u64,
}

impl Backups {
    pub(crate) fn new(settings: BackupSettings, clock: Arc<dyn Clock>) -> Self {
        Self { settings, clock, states: Mutex::default(), making: AsyncMutex::default() }
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<InstanceId, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Makes a backup of an instance and tests it.
    pub(crate) async fn make<U: Units>(
        &self,
        kms: &KeyService,
        units: U,
        instance: InstanceId,
    ) -> Result<BackupFile, MakeError> {
        let _one_at_a_time = self.making.lock().await;
        let outcome = make::make(&self.settings, kms, units, instance, self.now()).await;
        let mut states = self.states();
        let state = states.entry(instance).or_default();
        match &outcome {
            Ok(file) => {
                state.newest = file.header.as_ref().ok().cloned();
                (state.failure, state.made) = (None, state.made + 1);
                info!(%instance, file = %file.path.display(), bytes = file.len, "a backup was made and tested");
            }
            Err(error) => {
                let problem = error_chain(error);
                state.failed += 1;
                if state.failure.as_ref() != Some(&problem) {
                    warn!(%instance, error = %problem, "a backup was not made; the earlier ones are kept");
                    state.failure = Some(problem);
                }
            }
        }
        outcome
    }

    /// Tests a backup again.
    pub(crate) async fn test<U: Units>(&self, name: &str, units: U) -> Result<TestReport, MakeError> {
        let path = self.find(name).ok_or_else(|| MakeError::NoSuchBackup(name.to_owned()))?;
        let _one_at_a_time = self.making.lock().await;
        make::test(&path, units, self.now()).await
    }

    /// Whether a backup of an instance has to be made: the newest one is a day old, or under another master key.
    pub(crate) fn is_due(&self, instance: InstanceId, pattern: unit_api::VerificationPattern) -> bool {
        let now = self.now();
        let known = self.states().get(&instance).map(|state| (state.since, state.newest.clone()));
        let newest = match known {
            Some((Some(_), newest)) => newest,
            _ => {
                // After a start.
                let newest = self.newest_tested(instance);
                let mut states = self.states();
                let state = states.entry(instance).or_default();
                (state.since, state.newest) = (Some(now), newest.clone());
                newest
            }
        };
        newest
            .is_none_or(|newest| !newest.is_under(pattern) || age(newest.made_at, now) >= self.settings.every)
    }

    fn newest_tested(&self, instance: InstanceId) -> Option<BackupHeader> {
        let paths = folder::list(&self.settings.folder, instance).unwrap_or_default();
        let files = paths.iter().rev().map(|path| BackupFile::read(path));
        files.filter(|file| file.tested.is_some()).find_map(|file| file.header.ok())
    }

    /// All backups of these instances, oldest first.
    pub(crate) fn list(&self, instances: &[InstanceId]) -> Vec<BackupFile> {
        let BackupSettings { folder, others, .. } = &self.settings;
        let mut files = Vec::new();
        for folder in std::iter::once(folder).chain(others) {
            for instance in instances {
                // A folder that cannot be read has none to list; making one says what is wrong.
                let paths = folder::list(folder, *instance).unwrap_or_default();
                files.extend(paths.iter().map(|path| BackupFile::read(path)));
            }
        }
        files.sort_by_key(BackupFile::name);
        files
    }

    /// The backup of this name.
    fn find(&self, name: &str) -> Option<PathBuf> {
        let instances: Vec<InstanceId> = self.states().keys().copied().collect();
        self.list(&instances).into_iter().find(|file| file.name() == name).map(|file| file.path)
    }

    /// Notes the instances that are to have backups.
    pub(crate) fn expect(&self, instances: &[InstanceId]) {
        let mut states = self.states();
        for instance in instances {
            states.entry(*instance).or_default();
        }
    }

    /// What an operator has to know or to do about backups.
    pub(crate) fn check(&self) -> Result<(), String> {
        let now = self.now();
        for (instance, state) in &*self.states() {
            if let Some(failure) = &state.failure {
                return Err(format!("the last backup of instance {instance} has failed: {failure}"));
            }
            let from = state.newest.as_ref().map(|newest| newest.made_at).or(state.since);
            if let Some(from) = from.filter(|from| age(*from, now) >= OVERDUE) {
                let hours = age(from, now).as_secs() / 3600;
                return Err(format!("instance {instance} has had no backup for {hours} hours"));
            }
        }
        Ok(())
    }

    pub(crate) fn figures(&self) -> Vec<BackupFigures> {
        let now = self.now();
        let figures = |(instance, state): (&InstanceId, &State)| BackupFigures {
            instance: *instance,
            age_seconds: state
                .newest
                .as_ref()
                .map(|newest| newest.made_at)
                .or(state.since)
                .map_or(f64::NAN, |from| age(from, now).as_secs_f64()),
            made: state.made,
            failed: state.failed,
        };
        self.states().iter().map(figures).collect()
    }
}

fn age(from: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(from)).unwrap_or_default()
}
