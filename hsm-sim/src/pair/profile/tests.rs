use super::{NAMES, Profile, SwitchError, Switches};
use clap::ValueEnum;
use regions::{ConfigError, Failback, Fence, WriteEnable};
use std::time::Duration;

fn with(profile: Profile, sets: &[&str]) -> Switches {
    let mut switches = profile.switches();
    for set in sets {
        switches.set(set).unwrap();
    }
    switches
}

fn refused(set: &str) -> String {
    Switches::default().set(set).unwrap_err().to_string()
}

#[test]
fn every_profile_can_be_used_as_it_is() {
    for profile in Profile::value_variants() {
        let switches = profile.switches();
        let has_standby = switches.has_standby(false).unwrap();
        assert_eq!(has_standby, matches!(profile, Profile::Kp2024 | Profile::Kp2025), "{profile}");
        // No profile reaches what weakens safety.
        assert_ne!(switches.pair.fence, Fence::None, "{profile}");
        if switches.pair.write_enable != WriteEnable::Operator {
            assert_eq!(switches.pair.fence, Fence::Witness, "{profile}");
        }
        assert_eq!(profile.to_possible_value().unwrap().get_name(), profile.name());
    }
    assert!(Profile::Hpcs2025.switches().has_standby(true).unwrap());
    assert!(!Profile::Hpcs2019.switches().has_standby(true).unwrap());
}

#[test]
fn every_switch_can_be_set() {
    for set in [
        "residency=replicated",
        "dr.mode=standby",
        "fence=none",
        "standby.write_enable=operator-or-timer",
        "standby.write_after=2h",
        "standby.initial_mode=read-write",
        "standby.lost_after=3s",
        "standby.failback=operator",
        "standby.freeze=5s",
        "standby.lease=6s",
        "standby.poll=200ms",
        "standby.confirm_loss=none",
        "endpoint.private_failover=automatic",
        "replication.acknowledge=standby",
        "rotation.service=strict",
        "slo.rto=1h",
        "slo.rpo=5m",
    ] {
        let mut switches = Switches::default();
        switches.set(set).unwrap();
        assert_ne!(switches, Switches { ..Switches::default() }, "{set} changed nothing");
        assert!(NAMES.contains(&set.split('=').next().unwrap()), "{set}");
    }
    for name in NAMES {
        assert!(refused(&format!("{name}=sometimes")).contains(name));
    }
    let later = with(Profile::Kp2025, &["standby.failback=2m"]);
    assert_eq!(later.pair.failback, Failback::AfterReady(Duration::from_secs(120)));
}

#[test]
fn a_standby_that_writes_at_once_needs_a_fence() {
    let two = ["residency=replicated", "dr.mode=standby"];
    let switches = with(Profile::Default, &[&two[..], &["standby.initial_mode=read-write"]].concat());
    assert_eq!(switches.has_standby(false), Err(SwitchError::Pair(ConfigError::TimerWithoutWitness)));
    let switches =
        with(Profile::Default, &[&two[..], &["standby.initial_mode=read-write", "fence=witness"]].concat());
    assert_eq!((switches.has_standby(false), switches.pair.write_after), (Ok(true), Duration::ZERO));
}

#[test]
fn refused_combinations_say_why() {
    let why = |profile, sets: &[&str]| with(profile, sets).has_standby(false).unwrap_err().to_string();
    assert!(why(Profile::Kp2025, &["fence=operator"]).contains("without a witness"));
    assert!(why(Profile::Default, &["dr.mode=standby"]).contains("residency=replicated"));
    assert!(why(Profile::Kp2024, &["standby.lease=1s"]).contains("lease"));
    assert!(refused("standby.write_after=soon").contains("6h"));
    assert!(refused("fence=moat").contains("witness"));
    assert!(refused("backup.target=none").contains("standby.write_after"));
    assert!(refused("fence").contains("NAME=VALUE"));
    // An operator may promote without a witness.
    let sets = ["fence=operator", "standby.write_enable=operator"];
    assert_eq!(with(Profile::Kp2025, &sets).has_standby(false), Ok(true));
}
