//! The parts that the tests are run in.

/// A part that can be run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Suite {
    Ring,
    Pkcs11,
    Services,
    Docs,
    E2e,
    E2eTokens,
    NoStd,
    ConstantTime,
    KatRelease,
}

/// Every suite in the order in which they run: its name and what it covers.
pub(super) const SUITES: [(Suite, &str, &str); 9] = [
    (
        Suite::Ring,
        "ring",
        "tests of the no_std crates: engine, key-wrap, engine-soft, tke-crypto, unit-api, unit-core",
    ),
    (Suite::Pkcs11, "pkcs11", "tests of the PKCS#11 engine, on SoftHSM"),
    (Suite::Services, "services", "tests of every other crate, but for the end-to-end tests"),
    (Suite::Docs, "docs", "documentation tests"),
    (Suite::E2e, "e2e", "end-to-end tests of the built program"),
    (Suite::E2eTokens, "e2e-tokens", "some of the end-to-end tests again, every unit on a SoftHSM token"),
    (Suite::NoStd, "no-std", "the proof that a crypto unit needs neither std nor an allocator"),
    (Suite::ConstantTime, "ct", "the constant-time gate"),
    (Suite::KatRelease, "kat-release", "known answers and self-tests again, compiled as for a release"),
];

/// Crates of the suite `ring`.
const RING: [&str; 6] = ["engine", "key-wrap", "engine-soft", "tke-crypto", "unit-api", "unit-core"];

/// Crates with known answers that need neither a token nor a network.
pub(super) const WITH_KNOWN_ANSWERS: [&str; 4] = ["key-wrap", "engine-soft", "tke-crypto", "unit-core"];

/// Name of the end-to-end tests' binary.
pub(super) const E2E: &str = "e2e";

/// End-to-end tests that run a second time with every unit on a SoftHSM token of its own.
pub(super) const ON_TOKENS: [&str; 5] =
    ["crash::", "faults::", "rest_python::", "tke_files::", "tke_recovery::"];

impl Suite {
    pub(super) fn name(self) -> &'static str {
        SUITES.iter().find(|(suite, ..)| *suite == self).map_or("", |(_, name, _)| name)
    }

    fn from_name(wanted: &str) -> Option<Self> {
        SUITES.iter().find(|(_, name, _)| *name == wanted).map(|(suite, ..)| *suite)
    }

    /// The suite that a test binary belongs to, by its package and its own name.
    pub(super) fn of(package: &str, binary: &str) -> Self {
        match package {
            _ if binary == E2E => Self::E2e,
            "engine-pkcs11" => Self::Pkcs11,
            ring if RING.contains(&ring) => Self::Ring,
            _ => Self::Services,
        }
    }

    /// Whether it consists of test binaries that cargo builds.
    pub(super) fn has_binaries(self) -> bool {
        !matches!(self, Self::Docs | Self::NoStd | Self::ConstantTime | Self::KatRelease)
    }
}

/// The suites that `--only SUITE`, given any number of times, selects; all of them without it.
pub(super) fn parse(args: &[&str]) -> Result<Vec<Suite>, String> {
    let mut wanted = Vec::new();
    let mut rest = args;
    while let [option, more @ ..] = rest {
        let (name, after) = match (option.strip_prefix("--only="), more) {
            (Some(name), _) => (name, more),
            (None, [name, after @ ..]) if *option == "--only" => (*name, after),
            _ => return Err(format!("test: unexpected `{option}`; usage: cargo xtask test [--only SUITE]…")),
        };
        wanted.push(Suite::from_name(name).ok_or_else(|| {
            let names: Vec<&str> = SUITES.iter().map(|(_, name, _)| *name).collect();
            format!("test: there is no suite `{name}`; suites: {}", names.join(", "))
        })?);
        rest = after;
    }
    if wanted.is_empty() {
        return Ok(SUITES.map(|(suite, ..)| suite).to_vec());
    }
    wanted.sort();
    wanted.dedup();
    Ok(wanted)
}

/// A line per suite for the usage.
pub(crate) fn listed() -> String {
    SUITES.iter().map(|(_, name, covers)| format!("    {name:<11} {covers}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_can_be_selected_alone() {
        for (suite, name, _) in SUITES {
            assert_eq!(parse(&["--only", name]), Ok(vec![suite]));
            assert_eq!(parse(&[&format!("--only={name}")]), Ok(vec![suite]));
        }
        assert_eq!(parse(&[]).unwrap().len(), SUITES.len());
        assert_eq!(parse(&["--only", "ct", "--only", "ring"]), Ok(vec![Suite::Ring, Suite::ConstantTime]));
    }

    #[test]
    fn an_unknown_suite_or_option_is_refused() {
        assert!(parse(&["--only", "speed"]).unwrap_err().contains("suites: ring, pkcs11"));
        for args in [&["--only"][..], &["--fast"], &["ring"]] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn crates_without_a_suite_of_their_own_are_services() {
        assert_eq!(Suite::of("hsm-sim", "e2e"), Suite::E2e);
        assert_eq!(Suite::of("hsm-sim", "hsm_sim"), Suite::Services);
        assert_eq!(Suite::of("unit-core", "it"), Suite::Ring);
        assert_eq!(Suite::of("a-new-crate", "it"), Suite::Services);
    }
}
