//! Logs: to standard error, as text or JSON.
//!
//! | variable | values | default |
//! |---|---|---|
//! | `HSM_SIM_LOG` | a level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or levels by target: `warn,host=debug` | `info` |
//! | `HSM_SIM_LOG_FORMAT` | `text`, `json` (one object on each line) | `text` |
//!
//! Unit processes inherit the variables and standard error; what they log bears the unit's number. A service goes on when
//! the reader of its log has gone.

use crate::output::LogSink;
use std::env::{self, VarError};
use std::io::Write;
use tracing::Subscriber;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, fmt};

/// Variable that sets the levels.
const LEVELS: &str = "HSM_SIM_LOG";
/// Variable that sets the format of lines.
const FORMAT: &str = "HSM_SIM_LOG_FORMAT";

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The levels are invalid.
    #[error(
        "{LEVELS} is not valid: write a level such as `info`, or levels by target such as `warn,host=debug`"
    )]
    Levels(#[source] ParseError),
    /// The format is unknown.
    #[error("{FORMAT} is `{0}`: write `text` or `json`")]
    Format(String),
    /// The variable of this name is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    /// Logging is set up already.
    #[error("logging is set up already")]
    Twice(#[from] TryInitError),
}

/// Sets up logging for this process, as the environment variables request. Call it once.
///
/// # Errors
/// [`LoggingError`].
pub fn init() -> Result<(), LoggingError> {
    let levels = variable(LEVELS)?.unwrap_or_else(|| "info".to_owned());
    let levels: Targets = levels.parse().map_err(LoggingError::Levels)?;
    let format = variable(FORMAT)?;
    let layer = layer(format.as_deref().unwrap_or("text"), || LogSink)?;
    tracing_subscriber::registry().with(layer.with_filter(levels)).try_init()?;
    Ok(())
}

fn variable(name: &'static str) -> Result<Option<String>, LoggingError> {
    match env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(LoggingError::NotUtf8(name)),
    }
}

fn layer<S, W, O>(format: &str, writer: W) -> Result<Box<dyn Layer<S> + Send + Sync>, LoggingError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn() -> O + Send + Sync + 'static,
    O: Write,
{
    let layer = fmt::layer().with_writer(writer).with_ansi(false);
    match format {
        "text" => Ok(layer.boxed()),
        "json" => Ok(layer.json().flatten_event(true).with_current_span(false).boxed()),
        other => Err(LoggingError::Format(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::{LoggingError, layer};
    use std::error::Error;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::layer::{Layer, SubscriberExt};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The log of two events in the span of a unit.
    fn logged(format: &str, levels: &str) -> String {
        let written = Written::default();
        let writer = written.clone();
        let levels: Targets = levels.parse().unwrap();
        let layer = layer(format, move || writer.clone()).unwrap().with_filter(levels);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let _span = tracing::info_span!("unit", number = 2).entered();
            let cause = io::Error::other("no route");
            tracing::warn!(error = &cause as &dyn Error, zone = "az1", "the unit is not reached");
            tracing::debug!("a detail");
        });
        let written = written.0.lock().unwrap().clone();
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn text_has_level_span_message_and_fields() {
        let text = logged("text", "info");
        assert_eq!(text.lines().count(), 1, "{text}");
        for part in ["WARN", "unit{number=2}", "the unit is not reached", "error=no route", "zone=\"az1\""] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1b}'), "an escape sequence: {text}");
    }

    #[test]
    fn json_is_one_object_on_each_line() {
        let text = logged("json", "debug");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["message"], "the unit is not reached");
        assert_eq!((&lines[0]["level"], &lines[0]["zone"]), (&"WARN".into(), &"az1".into()));
        assert_eq!(lines[0]["spans"][0]["number"], 2);
    }

    #[test]
    fn levels_are_by_target() {
        assert_eq!(logged("text", "off,hsm_sim::logging=debug").lines().count(), 2);
        assert_eq!(logged("text", "debug,hsm_sim=error"), "");
    }

    #[test]
    fn an_unknown_format_is_refused() {
        let refused = layer::<tracing_subscriber::Registry, _, _>("xml", io::sink).err();
        assert!(matches!(refused, Some(LoggingError::Format(form)) if form == "xml"));
    }
}
