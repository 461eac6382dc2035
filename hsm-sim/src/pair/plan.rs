//! Whether `up` starts one region or a pair, and which: `pair.json` of the data directory, and what the command line says.

use super::profile::{Profile, SwitchError, Switches};
use crate::files;
use crate::region::{CeremonyKind, Identity};
use clap::ValueEnum;
use regions::Side;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// The home that a pair has by default.
const DEFAULT_HOME: &str = "us-south";
/// Pairs that the services have offered, home first.
const PAIRS: [(&str, &str); 3] = [("us-south", "us-east"), ("jp-tok", "jp-osa"), ("eu-de", "eu-fr2")];
/// Longest name of a region.
const MAX_NAME_LEN: usize = 32;
/// Names that links and commands have for others.
const RESERVED: [&str; 6] = ["witness", "front", "home", "standby", "all", "localhost"];

/// What a start requests about profiles and pairs; `None` keeps what the data directory has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairWanted {
    /// The profile.
    pub profile: Option<Profile>,
    /// Switches that are set one by one, `name=value`.
    pub set: Vec<String>,
    /// Name of the home.
    pub home: Option<String>,
    /// Name of the standby.
    pub standby: Option<String>,
}

/// What to start.
#[derive(Clone)]
pub enum Plan {
    /// One region.
    One(Switches),
    /// A pair.
    Two(Box<PairPlan>),
}

/// A pair, as it is to be started.
#[derive(Clone)]
pub struct PairPlan {
    /// The profile.
    pub profile: Profile,
    /// What was set beside it.
    pub set: Vec<String>,
    /// The outcome of both.
    pub switches: Switches,
    /// Name of the home.
    pub home: String,
    /// Name of the standby.
    pub standby: String,
    /// Instances and credentials, the same in both regions; `None` for a new pair.
    pub identity: Option<Identity>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A switch, or their combination, is refused.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// Regions are named for a profile with one region.
    #[error(
        "the profile `{0}` has one region: choose kp-2024, kp-2025 or hpcs-2025 for a pair, or leave out --home and \
         --standby"
    )]
    NoStandby(Profile),
    /// The name of a region is invalid.
    #[error(
        "`{0}` cannot be the name of a region: write 1 to {MAX_NAME_LEN} lower-case letters, digits and `-`, none of: \
         {reserved}",
        reserved = RESERVED.join(", ")
    )]
    Name(String),
    /// The standby is the home.
    #[error("{0} cannot stand by for itself: name another region with --standby")]
    SameRegion(String),
    /// The standby of this home is not known.
    #[error("no standby is known for {0}: name one with --standby")]
    UnknownPair(String),
    /// The data directory has another pair.
    #[error("{} holds the pair {home} and {standby}: name another directory with --data", .data.display())]
    OtherPair {
        /// The data directory.
        data: PathBuf,
        /// Its home.
        home: String,
        /// Its standby.
        standby: String,
    },
    /// The data directory has a pair, and one region is requested.
    #[error(
        "{} holds a pair of regions, and the profile `{profile}` has one: name another directory with --data",
        .data.display()
    )]
    HoldsPair {
        /// The data directory.
        data: PathBuf,
        /// The requested profile.
        profile: Profile,
    },
    /// The data directory has one region, and a pair is requested.
    #[error("{} holds a single region, which gets no standby later: name another directory with --data", .0.display())]
    HoldsRegion(PathBuf),
    /// The file cannot be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// OS error.
        source: io::Error,
    },
    /// The file's content is invalid.
    #[error("{} is damaged: restore it from a backup, or name another directory with --data", .0.display())]
    Damaged(PathBuf),
}

/// What `pair.json` holds. Secret as a whole, because of the credentials.
#[derive(Serialize, Deserialize)]
struct Stored {
    profile: String,
    set: Vec<String>,
    home: String,
    standby: String,
    identity: Identity,
}

impl Plan {
    /// What to start on `data`.
    ///
    /// # Errors
    /// [`PlanError`]; nothing was changed.
    pub fn of(data: &Path, wanted: &PairWanted) -> Result<Self, PlanError> {
        let stored = stored(data)?;
        let profile = wanted.profile.or(stored.as_ref().map(|(profile, _)| *profile)).unwrap_or_default();
        let set = match &stored {
            Some((_, stored)) if wanted.profile.is_none() && wanted.set.is_empty() => stored.set.clone(),
            _ => wanted.set.clone(),
        };
        let mut switches = profile.switches();
        for switch in &set {
            switches.set(switch)?;
        }
        let named = wanted.home.is_some() || wanted.standby.is_some();
        if !switches.has_standby(named || stored.is_some())? {
            return match (stored, named) {
                (Some(_), _) => Err(PlanError::HoldsPair { data: data.to_owned(), profile }),
                (None, true) => Err(PlanError::NoStandby(profile)),
                (None, false) => Ok(Self::One(switches)),
            };
        }
        if stored.is_none() && data.join("region.json").exists() {
            return Err(PlanError::HoldsRegion(data.to_owned()));
        }
        let (home, standby) = match &stored {
            Some((_, Stored { home, standby, .. })) => {
                let differs =
                    |wanted: &Option<String>, kept| wanted.as_ref().is_some_and(|name| name != kept);
                if differs(&wanted.home, home) || differs(&wanted.standby, standby) {
                    let (home, standby) = (home.clone(), standby.clone());
                    return Err(PlanError::OtherPair { data: data.to_owned(), home, standby });
                }
                (home.clone(), standby.clone())
            }
            None => names(wanted)?,
        };
        let identity = stored.map(|(_, stored)| stored.identity);
        Ok(Self::Two(Box::new(PairPlan { profile, set, switches, home, standby, identity })))
    }
}

impl PairPlan {
    /// The identity of the pair, made for a new one. Stored with the rest of the plan.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(&mut self, data: &Path, ceremony: Option<CeremonyKind>) -> io::Result<Identity> {
        let mut identity = match self.identity.clone() {
            Some(identity) => identity,
            None => Identity::generate(ceremony.unwrap_or_default())?,
        };
        identity.region.clone_from(&self.home);
        identity.complete()?;
        let stored = Stored {
            profile: self.profile.name().to_owned(),
            set: self.set.clone(),
            home: self.home.clone(),
            standby: self.standby.clone(),
            identity: identity.clone(),
        };
        files::write_private(&file(data), &serde_json::to_vec_pretty(&stored)?)?;
        self.identity = Some(identity.clone());
        Ok(identity)
    }

    /// The region of a side.
    #[must_use]
    pub fn name(&self, side: Side) -> &str {
        match side {
            Side::Home => &self.home,
            Side::Standby => &self.standby,
        }
    }

    /// The side of a region.
    #[must_use]
    pub fn side(&self, name: &str) -> Option<Side> {
        [Side::Home, Side::Standby].into_iter().find(|side| self.name(*side) == name)
    }
}

fn file(data: &Path) -> PathBuf {
    data.join("pair.json")
}

fn stored(data: &Path) -> Result<Option<(Profile, Stored)>, PlanError> {
    let path = file(data);
    let content = match files::read_if_present(&path) {
        Ok(Some(content)) => content,
        Ok(None) => return Ok(None),
        // What is wrong with the directory is said when it is opened.
        Err(source) if source.kind() == io::ErrorKind::NotADirectory => return Ok(None),
        Err(source) => return Err(PlanError::Unreadable { path, source }),
    };
    let parsed = serde_json::from_slice::<Stored>(&content).ok();
    let parsed = parsed.and_then(|stored| Some((Profile::from_str(&stored.profile, false).ok()?, stored)));
    parsed.map(Some).ok_or(PlanError::Damaged(path))
}

/// The names of a new pair.
fn names(wanted: &PairWanted) -> Result<(String, String), PlanError> {
    let home = wanted.home.as_deref().unwrap_or(DEFAULT_HOME);
    let known = PAIRS.iter().find(|(known, _)| *known == home).map(|(_, standby)| *standby);
    let standby = wanted.standby.as_deref().or(known);
    let standby = standby.ok_or_else(|| PlanError::UnknownPair(home.to_owned()))?;
    for name in [home, standby] {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_valid = (1..=MAX_NAME_LEN).contains(&name.len())
            && name.chars().all(allowed)
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && !name.ends_with('-')
            && !RESERVED.contains(&name);
        if !is_valid {
            return Err(PlanError::Name(name.to_owned()));
        }
    }
    if home == standby {
        return Err(PlanError::SameRegion(home.to_owned()));
    }
    Ok((home.to_owned(), standby.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{PairPlan, PairWanted, Plan, PlanError};
    use crate::pair::profile::{Profile, SwitchError};
    use std::path::Path;

    fn wanted(profile: Profile, home: Option<&str>, standby: Option<&str>) -> PairWanted {
        let name = |name: Option<&str>| name.map(str::to_owned);
        PairWanted { profile: Some(profile), set: Vec::new(), home: name(home), standby: name(standby) }
    }

    fn pair(data: &Path, wanted: &PairWanted) -> Box<PairPlan> {
        match Plan::of(data, wanted).unwrap() {
            Plan::Two(plan) => plan,
            Plan::One(_) => panic!("one region"),
        }
    }

    #[test]
    fn the_documents_pairs_are_known_by_their_home() {
        let folder = tempfile::tempdir().unwrap();
        let names = |home| {
            let plan = pair(folder.path(), &wanted(Profile::Kp2025, home, None));
            (plan.home, plan.standby)
        };
        let named = |home: &str, standby: &str| (home.to_owned(), standby.to_owned());
        assert_eq!(names(None), named("us-south", "us-east"));
        assert_eq!(names(Some("jp-tok")), named("jp-tok", "jp-osa"));
        assert_eq!(names(Some("eu-de")), named("eu-de", "eu-fr2"));
        let plan = pair(folder.path(), &wanted(Profile::Kp2024, Some("a"), Some("b-2")));
        assert_eq!((plan.home.as_str(), plan.standby.as_str()), ("a", "b-2"));
    }

    #[test]
    fn invalid_names_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused =
            |home, standby| Plan::of(folder.path(), &wanted(Profile::Kp2025, home, standby)).err().unwrap();
        assert!(matches!(refused(Some("mars"), None), PlanError::UnknownPair(_)));
        assert!(matches!(refused(Some("us-east"), Some("us-east")), PlanError::SameRegion(_)));
        for name in ["", "../x", "witness", "US", "a b", "1", "x-", &"x".repeat(33)] {
            assert!(matches!(refused(None, Some(name)), PlanError::Name(_)), "{name}");
        }
    }

    #[test]
    fn profiles_without_a_standby_have_one_region() {
        let folder = tempfile::tempdir().unwrap();
        let plan = |wanted| Plan::of(folder.path(), &wanted);
        assert!(matches!(plan(PairWanted::default()), Ok(Plan::One(_))));
        assert!(matches!(plan(wanted(Profile::Hpcs2025, None, None)), Ok(Plan::One(_))));
        assert!(matches!(plan(wanted(Profile::Hpcs2025, None, Some("us-east"))), Ok(Plan::Two(_))));
        let refused = plan(wanted(Profile::Kp2019, None, Some("us-east")));
        assert!(matches!(refused, Err(PlanError::NoStandby(Profile::Kp2019))));
    }

    #[test]
    fn a_pair_stays_the_pair_that_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let first = PairWanted {
            set: vec!["standby.write_after=2h".to_owned()],
            ..wanted(Profile::Kp2025, None, None)
        };
        let made = pair(folder.path(), &first).open(folder.path(), None).unwrap();
        // Without a profile, everything is as before.
        let mut again = pair(folder.path(), &PairWanted::default());
        assert_eq!((again.profile, &again.set), (Profile::Kp2025, &first.set));
        assert_eq!(again.switches.pair.write_after.as_secs(), 7200);
        assert_eq!(again.open(folder.path(), None).unwrap().instance_id, made.instance_id);
        // Another profile replaces the switches, and no name changes.
        let other = pair(folder.path(), &wanted(Profile::Kp2024, None, None));
        assert!(other.set.is_empty());
        let of = |wanted| Plan::of(folder.path(), &wanted);
        let file = folder.path().join("pair.json");
        assert!(matches!(Plan::of(&file, &PairWanted::default()), Ok(Plan::One(_))), "no directory");
        assert!(matches!(of(wanted(Profile::Kp2025, Some("eu-de"), None)), Err(PlanError::OtherPair { .. })));
        assert!(matches!(of(wanted(Profile::Kp2019, None, None)), Err(PlanError::HoldsPair { .. })));
        std::fs::write(folder.path().join("pair.json"), "{}").unwrap();
        assert!(matches!(of(PairWanted::default()), Err(PlanError::Damaged(_))));
    }

    #[test]
    fn a_single_region_does_not_become_a_pair() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("region.json"), "{}").unwrap();
        let refused = Plan::of(folder.path(), &wanted(Profile::Kp2025, None, None));
        assert!(matches!(refused, Err(PlanError::HoldsRegion(_))));
        let set =
            PairWanted { set: vec!["fence=operator".to_owned()], ..wanted(Profile::Kp2025, None, None) };
        assert!(matches!(Plan::of(folder.path(), &set), Err(PlanError::Switch(SwitchError::Pair(_)))));
    }
}
