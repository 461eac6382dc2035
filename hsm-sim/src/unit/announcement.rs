//! The first line that a unit process writes on its standard output: that it serves, or why it does not.

use crate::hex;
use std::fmt;
use std::str::FromStr;
use unit_api::UnitId;

/// What a supervised unit says first.
///
/// | line | means |
/// |---|---|
/// | `ready MODULE DOMAIN ENGINE…` | it serves; its engine, for people |
/// | `away MODULE DOMAIN WHY…` | its token is not to be had at present; it ends, and may be started again by and by |
/// | `stuck MODULE DOMAIN WHY…` | its token does not let it in; it ends, and somebody has to see to that first |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Its module.
    pub unit: UnitId,
    /// Index of its domain in the module.
    pub domain_index: u32,
    /// What of it.
    pub state: Announced,
}

/// What becomes of a unit process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announced {
    /// It serves, on this engine.
    Ready(String),
    /// It does not, until its token is back.
    Away(String),
    /// It does not, until somebody has done something.
    Stuck(String),
}

impl fmt::Display for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, said) = match &self.state {
            Announced::Ready(engine) => ("ready", engine),
            Announced::Away(why) => ("away", why),
            Announced::Stuck(why) => ("stuck", why),
        };
        let said = said.replace(char::is_control, " ");
        write!(f, "{word} {} {} {said}", hex::encode(&self.unit.0).as_str(), self.domain_index)
    }
}

/// A line that announces nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnnouncement;

impl FromStr for Announcement {
    type Err = NoAnnouncement;

    fn from_str(line: &str) -> Result<Self, NoAnnouncement> {
        let mut words = line.trim_end_matches('\n').splitn(4, ' ');
        let mut word = || words.next().ok_or(NoAnnouncement);
        let (kind, unit, domain, said) = (word()?, word()?, word()?, word()?.to_owned());
        let state = match kind {
            "ready" => Announced::Ready(said),
            "away" => Announced::Away(said),
            "stuck" => Announced::Stuck(said),
            _ => return Err(NoAnnouncement),
        };
        let unit = UnitId(*hex::decode(unit).ok_or(NoAnnouncement)?);
        Ok(Self { unit, domain_index: domain.parse().map_err(|_| NoAnnouncement)?, state })
    }
}

#[cfg(test)]
mod tests {
    use super::{Announced, Announcement};
    use unit_api::UnitId;

    #[test]
    fn announcements_read_as_they_are_written() {
        for state in [
            Announced::Ready("software".to_owned()),
            Announced::Ready(String::new()),
            Announced::Away("the token is not there: CKR_TOKEN_NOT_PRESENT".to_owned()),
            Announced::Stuck("the PIN was refused".to_owned()),
        ] {
            let said = Announcement { unit: UnitId([7; 16]), domain_index: 3, state };
            assert_eq!(said.to_string().parse(), Ok(said));
        }
        let lines = Announcement {
            unit: UnitId([0; 16]),
            domain_index: 0,
            state: Announced::Away("two\nlines".to_owned()),
        };
        assert_eq!(lines.to_string().lines().count(), 1);
        for bad in ["", "ready", "ready 00 0 x", &format!("steady {} 0 x", "00".repeat(16))] {
            assert!(bad.parse::<Announcement>().is_err(), "{bad}");
        }
    }
}
