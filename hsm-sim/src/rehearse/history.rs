//! What the clients did and saw, and what was found at the end.

use serde::{Deserialize, Serialize};

/// Kind of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A data key was wrapped.
    Wrap,
    /// A data key was unwrapped.
    Unwrap,
    /// A key was used after its disabling had been acknowledged.
    UseDisabled,
    /// Keys were listed.
    List,
    /// A root key was created.
    Create,
    /// A root key was rotated.
    Rotate,
    /// A root key was disabled.
    Disable,
}

/// What an operation is to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It uses a key.
    Use,
    /// It reads what is stored.
    Read,
    /// It changes what is stored.
    Change,
    /// It has to be refused.
    Forbidden,
}

impl Kind {
    /// What the operation is to the service.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::Wrap | Self::Unwrap => Class::Use,
            Self::List => Class::Read,
            Self::Create | Self::Rotate | Self::Disable => Class::Change,
            Self::UseDisabled => Class::Forbidden,
        }
    }

    /// Name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wrap => "wrap",
            Self::Unwrap => "unwrap",
            Self::UseDisabled => "use-disabled",
            Self::List => "list",
            Self::Create => "create",
            Self::Rotate => "rotate",
            Self::Disable => "disable",
        }
    }
}

impl Class {
    /// Name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Use => "use",
            Self::Read => "read",
            Self::Change => "change",
            Self::Forbidden => "forbidden use",
        }
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// It was acknowledged.
    Done {
        /// Header `hsm-revision` of the answer to a change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<String>,
        /// Identifier of a key that was created.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    /// An unwrap was acknowledged with another data key than the one that had been wrapped.
    Wrong,
    /// The answer has an error status.
    Refused {
        /// HTTP status.
        status: u16,
        /// Code of the reason, or empty.
        code: String,
        /// Whether the answer has the header `Retry-After`.
        retry_after: bool,
    },
    /// There was no answer.
    NoAnswer {
        /// Error of the transport, or the timeout.
        why: String,
    },
}

impl Outcome {
    /// Whether the request was acknowledged.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }

    /// Whether the service did not serve. An answer that says that the request is not possible is no such failure.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        match self {
            Self::Done { .. } => false,
            Self::Wrong | Self::NoAnswer { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
        }
    }

    /// Whether another attempt may succeed.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.is_failure() && !matches!(self, Self::Wrong)
    }

    /// Whether the service states that the request changed nothing: a refusal, or 503 with `Retry-After`.
    #[must_use]
    pub const fn states_no_effect(&self) -> bool {
        match self {
            Self::Done { .. } | Self::Wrong | Self::NoAnswer { .. } => false,
            Self::Refused { status, retry_after, .. } => *status < 500 || (*status == 503 && *retry_after),
        }
    }

    /// In a word or two, for counts.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Done { .. } => "done".to_owned(),
            Self::Wrong => "wrong data key".to_owned(),
            Self::Refused { status, code, .. } if code.is_empty() => status.to_string(),
            Self::Refused { status, code, .. } => format!("{status} {code}"),
            Self::NoAnswer { .. } => "no answer".to_owned(),
        }
    }
}

/// One request. Times are microseconds since the rehearsal began, by a clock that only runs forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Number of the client.
    pub client: u16,
    /// Number of the operation, among those of the client.
    pub operation: u32,
    /// Number of the attempt, from 1.
    pub attempt: u8,
    /// Whether the client made no other attempt after it.
    pub is_last: bool,
    /// Kind of the operation.
    pub kind: Kind,
    /// Region that it was sent to, where clients choose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Identifier of the key; the name, if the key was to be created.
    pub key: String,
    /// When it was sent.
    pub start_us: u64,
    /// When its answer was complete, or the client gave up.
    pub end_us: u64,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A key that was found at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundKey {
    /// Identifier of the key.
    pub id: String,
    /// Name of the key.
    pub name: String,
    /// Whether it is disabled.
    pub is_disabled: bool,
    /// Whether it has more than one version.
    pub is_rotated: bool,
}

/// The last use of a key, at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUse {
    /// Identifier of the key.
    pub key: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Who accepted changes at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriterSample {
    /// When, in microseconds since the rehearsal began.
    pub at_us: u64,
    /// `home`, `standby`, `none`, `both`.
    pub writes: String,
}

/// Everything that was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Requests, in the order in which they ended.
    pub attempts: Vec<Attempt>,
    /// Keys found at the end; `None` if the rehearsal did not come that far.
    pub found: Option<Vec<FoundKey>>,
    /// The last use of each key that can be used.
    pub last_uses: Vec<LastUse>,
    /// Who accepted changes.
    pub writers: Vec<WriterSample>,
}

/// A line of the history's file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "entry")]
enum Line {
    Request(Attempt),
    Found(FoundKey),
    Complete { keys: u64 },
    LastUse(LastUse),
    Writer(WriterSample),
}

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the history is damaged")]
pub struct HistoryDamaged {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub source: serde_json::Error,
}

impl History {
    /// The history as lines of JSON.
    ///
    /// # Errors
    /// Never, in practice: every field has a form in JSON.
    pub fn to_lines(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = Vec::new();
        let mut add = |line: &Line| {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
            Ok::<_, serde_json::Error>(())
        };
        for attempt in &self.attempts {
            add(&Line::Request(attempt.clone()))?;
        }
        for writer in &self.writers {
            add(&Line::Writer(writer.clone()))?;
        }
        if let Some(found) = &self.found {
            for key in found {
                add(&Line::Found(key.clone()))?;
            }
            add(&Line::Complete { keys: found.len() as u64 })?;
        }
        for last in &self.last_uses {
            add(&Line::LastUse(last.clone()))?;
        }
        Ok(text)
    }

    /// Reads what [`History::to_lines`] has written.
    ///
    /// # Errors
    /// [`HistoryDamaged`].
    pub fn from_lines(text: &[u8]) -> Result<Self, HistoryDamaged> {
        let mut history = Self::default();
        let mut found = Vec::new();
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let line =
                serde_json::from_slice(line).map_err(|source| HistoryDamaged { line: number + 1, source })?;
            match line {
                Line::Request(attempt) => history.attempts.push(attempt),
                Line::Found(key) => found.push(key),
                Line::Complete { .. } => history.found = Some(std::mem::take(&mut found)),
                Line::LastUse(last) => history.last_uses.push(last),
                Line::Writer(writer) => history.writers.push(writer),
            }
        }
        Ok(history)
    }
}

#[cfg(test)]
mod tests {
    use super::{Attempt, FoundKey, History, Kind, LastUse, Outcome, WriterSample};

    #[test]
    fn a_history_reads_as_it_was_written() {
        let outcome = Outcome::Done { revision: Some("00-7".to_owned()), id: Some("k".to_owned()) };
        let attempt = |outcome| Attempt {
            client: 1,
            operation: 2,
            attempt: 1,
            is_last: true,
            kind: Kind::Create,
            region: None,
            key: "k".to_owned(),
            start_us: 1,
            end_us: 2,
            outcome,
        };
        let refused = Outcome::Refused { status: 503, code: "X".to_owned(), retry_after: true };
        let history = History {
            attempts: vec![attempt(outcome), attempt(refused), attempt(Outcome::Wrong)],
            found: Some(vec![FoundKey {
                id: "k".to_owned(),
                name: "n".to_owned(),
                is_disabled: true,
                is_rotated: false,
            }]),
            last_uses: vec![LastUse {
                key: "k".to_owned(),
                outcome: Outcome::NoAnswer { why: "closed".to_owned() },
            }],
            writers: vec![WriterSample { at_us: 1, writes: "home".to_owned() }],
        };
        assert_eq!(History::from_lines(&history.to_lines().unwrap()).unwrap(), history);
        let without = History { found: None, ..history };
        assert_eq!(History::from_lines(&without.to_lines().unwrap()).unwrap().found, None);
        assert_eq!(History::from_lines(b"\n{\"entry\": 1}").unwrap_err().line, 2);
    }

    #[test]
    fn a_refusal_is_no_failure_and_only_some_state_that_nothing_changed() {
        let refused = |status, retry_after| Outcome::Refused { status, code: String::new(), retry_after };
        assert!(!refused(409, false).is_failure() && refused(409, false).states_no_effect());
        assert!(refused(503, true).is_failure() && refused(503, true).states_no_effect());
        assert!(refused(503, false).is_failure() && !refused(503, false).states_no_effect());
        assert!(refused(500, true).is_retryable() && !refused(500, true).states_no_effect());
        assert!(Outcome::Wrong.is_failure() && !Outcome::Wrong.is_retryable());
    }
}
