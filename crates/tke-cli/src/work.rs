//! One thing done on unit after unit: who has done it, who has not, and what is left.
//!
//! A command is for one unit, so that what is to happen on all of them can stop after any. Nothing is rolled back.

use crate::commands::protocol;
use crate::console::{Console, Progress, ProgressKind};
use crate::context::Context;
use crate::error::TkeError;
use crate::report::{Columns, Report};
use serde_json::{Value, json};
use tke::Listed;
use tke::ceremony::{Ceremony, CeremonyError};
use tke::protocol::CeremonyRecord;
use tke::quorum::Quorum;
use uuid::Uuid;
use wire::text::error_chain;

/// Work on several units.
pub(crate) struct Work {
    quorum: Quorum,
    record: CeremonyRecord,
    outcomes: Vec<Outcome>,
    left: Vec<Listed>,
    progress: UnitProgress,
    stopped: bool,
}

/// What came of it on one unit.
struct Outcome {
    listed: Listed,
    result: Result<Done, String>,
}

/// What was done on one unit.
pub(crate) enum Done {
    /// This.
    Changed(String),
    /// Nothing, for this reason.
    AsItWas(String),
}

impl Done {
    pub(crate) fn changed(what: impl Into<String>) -> Self {
        Self::Changed(what.into())
    }

    pub(crate) fn as_it_was(why: impl Into<String>) -> Self {
        Self::AsItWas(why.into())
    }

    fn text(&self) -> &str {
        match self {
            Self::Changed(text) | Self::AsItWas(text) => text,
        }
    }
}

impl Work {
    /// Begins work on these units, in this order.
    pub(crate) fn begin(
        context: &Context<'_>,
        instance: Uuid,
        command: &'static str,
        quorum: Quorum,
        units: Vec<Listed>,
    ) -> Result<Self, TkeError> {
        let record = protocol::open(context, instance, command)?;
        let progress = UnitProgress::new(context.console, command, units.len());
        Ok(Self { quorum, record, outcomes: Vec::new(), left: units, progress, stopped: false })
    }

    /// What carries commands out, signed by the quorum and written down.
    pub(crate) fn ceremony(&mut self) -> Ceremony<'_> {
        Ceremony { quorum: &self.quorum, record: &mut self.record }
    }

    /// Whether to go on with this unit: no longer, once a failure is not of one unit alone.
    pub(crate) fn goes_on(&mut self, listed: &Listed) -> bool {
        if !self.stopped {
            self.progress.at(listed);
        }
        !self.stopped
    }

    /// Notes what came of it on a unit.
    pub(crate) fn note(&mut self, listed: &Listed, result: Result<Done, TkeError>) {
        self.left.retain(|left| left.number != listed.number);
        // Who does not sign here does not sign elsewhere, and what is not written down must not go on.
        if let Err(TkeError::Ceremony(CeremonyError::Quorum(_) | CeremonyError::Record(_))) = &result {
            self.stopped = true;
        }
        let result = result.map_err(|error| error_chain(&error));
        self.outcomes.push(Outcome { listed: listed.clone(), result });
        self.progress.one_more();
    }

    /// Whether every unit is done.
    pub(crate) fn complete(&self) -> bool {
        self.left.is_empty() && self.outcomes.iter().all(|outcome| outcome.result.is_ok())
    }

    /// What came of it, unit by unit.
    pub(crate) fn report(mut self, next: &str) -> Report {
        self.progress.display = None;
        let complete = self.complete();
        let mut columns = Columns::new(["CRYPTO UNIT NUM", "TYPE", "LOCATION", "RESULT"]);
        let mut units = Vec::new();
        let mut row = |listed: &Listed, state: &str, text: &str| {
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
        for Outcome { listed, result } in &self.outcomes {
            match result {
                Ok(done @ Done::Changed(_)) => row(listed, "done", done.text()),
                Ok(done @ Done::AsItWas(_)) => row(listed, "unchanged", done.text()),
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
        } else {
            text += "\nNot every crypto unit is done. What is done stays done: the same command again, or `converge`, \
                     completes it.\n";
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

/// How far the work is.
struct UnitProgress {
    display: Option<Box<dyn Progress>>,
    done: u64,
    all: u64,
}

impl UnitProgress {
    fn new(console: &dyn Console, command: &'static str, all: usize) -> Self {
        let display = (all > 1).then(|| console.progress(command, ProgressKind::Steps));
        Self { display, done: 0, all: u64::try_from(all).unwrap_or(u64::MAX) }
    }

    fn at(&mut self, listed: &Listed) {
        if let Some(display) = &mut self.display {
            let message = format!("crypto unit {} {}", listed.number, listed.location);
            display.update(self.done, self.all, &message);
        }
    }

    fn one_more(&mut self) {
        self.done = self.done.saturating_add(1);
    }
}
