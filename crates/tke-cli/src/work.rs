//! One command on several units: which are done, which failed, which are left.
//!
//! A command is sent unit by unit, so that it can stop after any of them. Nothing is rolled back.

use crate::commands::protocol;
use crate::console::{Console, Progress, ProgressKind};
use crate::context::Context;
use crate::error::TkeError;
use crate::report::{Columns, Report};
use serde_json::{Value, json};
use tke::UnitDescriptor;
use tke::ceremony::{Ceremony, CeremonyError};
use tke::protocol::CeremonyRecord;
use tke::quorum::Quorum;
use uuid::Uuid;
use wire::text::error_chain;

/// A command that runs on several units, signed by a quorum and recorded.
pub(crate) struct UnitWork {
    quorum: Quorum,
    record: CeremonyRecord,
    log: WorkLog,
}

/// Result on each unit, and what is left.
pub(crate) struct WorkLog {
    results: Vec<UnitResult>,
    left: Vec<UnitDescriptor>,
    progress: UnitProgress,
    stopped: bool,
    alarmed: bool,
}

struct UnitResult {
    listed: UnitDescriptor,
    result: Result<Effect, String>,
}

/// Effect of a command on one unit.
pub(crate) enum Effect {
    /// The unit was changed, in this way.
    Changed(String),
    /// The unit was left as it was, for this reason.
    Unchanged(String),
}

impl Effect {
    pub(crate) fn changed(what: impl Into<String>) -> Self {
        Self::Changed(what.into())
    }

    pub(crate) fn unchanged(why: impl Into<String>) -> Self {
        Self::Unchanged(why.into())
    }

    fn text(&self) -> &str {
        match self {
            Self::Changed(text) | Self::Unchanged(text) => text,
        }
    }
}

impl UnitWork {
    /// Begins a command on these units, in this order.
    pub(crate) fn begin(
        context: &Context<'_>,
        instance: Uuid,
        command: &'static str,
        quorum: Quorum,
        units: Vec<UnitDescriptor>,
    ) -> Result<Self, TkeError> {
        let record = protocol::open(context, instance, command)?;
        let progress = UnitProgress::new(context.console, command, units.len());
        let log = WorkLog { results: Vec::new(), left: units, progress, stopped: false, alarmed: false };
        Ok(Self { quorum, record, log })
    }

    /// Executes commands on units: the quorum signs them, the ceremony record takes them down.
    pub(crate) fn ceremony(&mut self) -> Ceremony<'_> {
        Ceremony { quorum: &self.quorum, record: &mut self.record }
    }

    /// The ceremony together with the log, for a caller that needs both at a time.
    pub(crate) fn split(&mut self) -> (Ceremony<'_>, &mut WorkLog) {
        (Ceremony { quorum: &self.quorum, record: &mut self.record }, &mut self.log)
    }

    /// Begins work on a unit. False if the command stopped for all units.
    pub(crate) fn begin_unit(&mut self, listed: &UnitDescriptor) -> bool {
        self.log.begin_unit(listed)
    }

    /// Logs the result on a unit.
    pub(crate) fn end_unit(&mut self, listed: &UnitDescriptor, result: Result<Effect, TkeError>) {
        self.log.end_unit(listed, result);
    }

    /// Whether the command succeeded on every unit.
    pub(crate) fn is_complete(&self) -> bool {
        self.log.is_complete()
    }

    /// Ends the work without a report, and gives the signature keys back for more work.
    pub(crate) fn into_quorum(self) -> Quorum {
        self.quorum
    }

    /// The result of the command, unit by unit. `next` is shown if it is complete.
    pub(crate) fn report(self, next: &str) -> Report {
        self.log.report(next)
    }
}

impl WorkLog {
    pub(crate) fn begin_unit(&mut self, listed: &UnitDescriptor) -> bool {
        if !self.stopped {
            self.progress.begin_unit(listed);
        }
        !self.stopped
    }

    pub(crate) fn end_unit(&mut self, listed: &UnitDescriptor, result: Result<Effect, TkeError>) {
        self.left.retain(|left| left.number != listed.number);
        if let Err(TkeError::Ceremony(error)) = &result {
            self.stopped |= CeremonyError::stops_ceremony(error);
            self.alarmed |= CeremonyError::is_alarm(error);
        }
        if result.as_ref().is_err_and(|error| error.unrecorded_alarm().is_some()) {
            (self.stopped, self.alarmed) = (true, true);
        }
        let result = result.map_err(|error| error_chain(&error));
        self.results.push(UnitResult { listed: listed.clone(), result });
        self.progress.end_unit();
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.left.is_empty() && self.results.iter().all(|unit| unit.result.is_ok())
    }

    fn report(mut self, next: &str) -> Report {
        self.progress.display = None;
        let complete = self.is_complete();
        let mut columns = Columns::new(["CRYPTO UNIT NUM", "TYPE", "LOCATION", "RESULT"]);
        let mut units = Vec::new();
        let mut row = |listed: &UnitDescriptor, state: &str, text: &str| {
            columns.row([
                listed.number.to_string(),
                listed.kind.to_string(),
                listed.location.to_string(),
                if state == "failed" { format!("FAILED: {text}") } else { text.to_owned() },
            ]);
            units.push(json!({
                "number": listed.number, "type": listed.kind.name(), "location": listed.location.to_string(),
                "result": state, "message": text,
            }));
        };
        for UnitResult { listed, result } in &self.results {
            match result {
                Ok(effect @ Effect::Changed(_)) => row(listed, "done", effect.text()),
                Ok(effect @ Effect::Unchanged(_)) => row(listed, "unchanged", effect.text()),
                Err(error) => row(listed, "failed", error),
            }
        }
        for listed in &self.left {
            row(listed, "not tried", "not tried");
        }
        let mut text = columns.text();
        if complete {
            if !next.is_empty() {
                text += &format!("\n{next}\n");
            }
        } else if self.alarmed {
            text += "\nThe ceremony is stopped by an alarm, which is in its record. Repeat nothing before the reason is known.\n";
        } else {
            text += "\nNot every crypto unit is done. What is done stays done: run the same command again, or `converge`, \
                     to complete it.\n";
        }
        Report::new(text, json!({ "crypto_units": units, "complete": complete })).good_if(complete)
    }
}

/// Adds a field to the JSON of a report.
pub(crate) fn with_field(mut report: Report, name: &str, value: impl Into<Value>) -> Report {
    if let Value::Object(json) = &mut report.json {
        json.insert(name.to_owned(), value.into());
    }
    report
}

/// Progress over units; not shown for a single one.
struct UnitProgress {
    display: Option<Box<dyn Progress>>,
    done: u64,
    total: u64,
}

impl UnitProgress {
    fn new(console: &dyn Console, command: &'static str, total: usize) -> Self {
        let display = (total > 1).then(|| console.progress(command, ProgressKind::Steps));
        Self { display, done: 0, total: u64::try_from(total).unwrap_or(u64::MAX) }
    }

    fn begin_unit(&mut self, listed: &UnitDescriptor) {
        if let Some(display) = &mut self.display {
            let message = format!("crypto unit {} {}", listed.number, listed.location);
            display.update(self.done, self.total, &message);
        }
    }

    fn end_unit(&mut self) {
        self.done = self.done.saturating_add(1);
    }
}
