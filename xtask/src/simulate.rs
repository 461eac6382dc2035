//! Long runs of what decides about pairs of regions: more seeds, larger bounds.

use crate::shell::{self, Outcome, cargo};

/// Seeds without `--seeds`: a few minutes.
const DEFAULT_SEEDS: u64 = 20_000;

/// Runs the simulations with faults on many seeds, compiled as for a release, and lists every seed that fails.
pub(crate) fn run(args: &[&str]) -> Outcome {
    let seeds = parse(args)?;
    shell::run(regions("sim::sim_never").env("SIM_SEEDS", seeds.to_string()))
}

/// Explores every order of events within larger bounds than the tests do; takes gigabytes of memory.
pub(crate) fn explore() -> Outcome {
    shell::run(regions("explore::exhaustive").args(["--test-threads", "1"]).env("EXPLORE", "large"))
}

fn regions(filter: &str) -> std::process::Command {
    cargo(&["test", "--release", "--locked", "-p", "regions", "--test", "it", filter, "--", "--nocapture"])
}

fn parse(args: &[&str]) -> Outcome<u64> {
    match args {
        [] => Ok(DEFAULT_SEEDS),
        ["--seeds", seeds] => seeds.parse().map_err(|_| format!("simulate: `{seeds}` is no number").into()),
        _ => Err("usage: cargo xtask simulate [--seeds N]".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_seeds_can_be_given() {
        assert_eq!(parse(&[]).unwrap(), DEFAULT_SEEDS);
        assert_eq!(parse(&["--seeds", "7"]).unwrap(), 7);
        for args in [&["--seeds"][..], &["--seeds", "many"], &["7"]] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }
}
