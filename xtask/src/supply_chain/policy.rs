//! The policy in `deny.toml`, as far as it is checked here.

use crate::shell::Outcome;
use std::fs;
use std::path::Path;
use toml::{Table, Value};

/// What `deny.toml` permits.
#[derive(Debug)]
pub(super) struct Policy {
    /// Platforms whose dependencies count.
    pub(super) targets: Vec<String>,
    /// SPDX identifiers, with an exception where there is one.
    pub(super) licences: Vec<String>,
    /// Packages (`name@version`) that may be there beside another version.
    pub(super) skipped: Vec<String>,
    pub(super) registries: Vec<String>,
    /// Advisories that are known and do not apply.
    pub(super) ignored: Vec<String>,
}

impl Policy {
    pub(super) fn read(path: &Path) -> Outcome<Self> {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::parse(&text).map_err(|e| format!("{}: {e}", path.display()).into())
    }

    pub(super) fn parse(text: &str) -> Outcome<Self> {
        let table: Table = text.parse()?;
        let list = |section: &str, name: &str| -> Outcome<Vec<Value>> {
            let found = table.get(section).and_then(|section| section.get(name)).and_then(Value::as_array);
            found.cloned().ok_or_else(|| format!("[{section}] has no list `{name}`").into())
        };
        let strings = |section, name| -> Outcome<Vec<String>> {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let all = list(section, name)?.iter().map(text).collect::<Option<Vec<_>>>();
            all.ok_or_else(|| format!("[{section}] {name}: expected strings").into())
        };
        // An exception has a reason.
        let exceptions = |section, name, key: &str| -> Outcome<Vec<String>> {
            let text = |value: &Value| {
                value.get("reason")?.as_str().filter(|reason| !reason.is_empty())?;
                value.get(key)?.as_str().map(str::to_owned)
            };
            let all = list(section, name)?.iter().map(text).collect::<Option<Vec<_>>>();
            all.ok_or_else(|| format!("[{section}] {name}: expected tables with `{key}` and `reason`").into())
        };
        Ok(Self {
            targets: strings("graph", "targets")?,
            licences: strings("licenses", "allow")?,
            skipped: exceptions("bans", "skip", "crate")?,
            registries: strings("sources", "allow-registry")?,
            ignored: exceptions("advisories", "ignore", "id")?,
        })
    }
}
