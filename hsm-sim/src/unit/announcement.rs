//! The first line that a unit process writes to its standard output: that it serves, or why it does not.

use std::fmt;
use std::str::FromStr;
use unit_api::UnitId;
use wire::text::{decode_hex, encode_hex};

/// State of a supervised unit after its start.
///
/// | line | meaning |
/// |---|---|
/// | `ready MODULE DOMAIN ENGINE…` | it serves; ENGINE describes its engine for people |
/// | `away MODULE DOMAIN REASON…` | its token is not available now; the process ends and can be started again later |
/// | `stuck MODULE DOMAIN REASON…` | its token refuses it; the process ends, and an operator has to act before it can start |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Module of the unit.
    pub unit: UnitId,
    /// Index of its domain in the module.
    pub domain_index: u32,
    /// Whether it serves.
    pub state: Announced,
}

/// Whether a unit process serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announced {
    /// It serves. Description of its engine.
    Ready(String),
    /// It cannot serve until its token is back. The reason.
    Away(String),
    /// It cannot serve until an operator has acted. The reason.
    Stuck(String),
}

impl fmt::Display for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.state {
            Announced::Ready(engine) => ("ready", engine),
            Announced::Away(reason) => ("away", reason),
            Announced::Stuck(reason) => ("stuck", reason),
        };
        let text = text.replace(char::is_control, " ");
        write!(f, "{word} {} {} {text}", encode_hex(&self.unit.0), self.domain_index)
    }
}

/// A line that is not an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnouncementInvalid;

impl FromStr for Announcement {
    type Err = AnnouncementInvalid;

    fn from_str(line: &str) -> Result<Self, AnnouncementInvalid> {
        let mut words = line.trim_end_matches('\n').splitn(4, ' ');
        let mut word = || words.next().ok_or(AnnouncementInvalid);
        let (kind, unit, domain, text) = (word()?, word()?, word()?, word()?.to_owned());
        let state = match kind {
            "ready" => Announced::Ready(text),
            "away" => Announced::Away(text),
            "stuck" => Announced::Stuck(text),
            _ => return Err(AnnouncementInvalid),
        };
        let unit = UnitId(*decode_hex(unit).ok_or(AnnouncementInvalid)?);
        Ok(Self { unit, domain_index: domain.parse().map_err(|_| AnnouncementInvalid)?, state })
    }
}

#[cfg(test)]
mod tests {
    use super::{Announced, Announcement};
    use unit_api::UnitId;

    #[test]
    fn announcements_parse_what_they_display() {
        for state in [
            Announced::Ready("software".to_owned()),
            Announced::Ready(String::new()),
            Announced::Away("the token is not there: CKR_TOKEN_NOT_PRESENT".to_owned()),
            Announced::Stuck("the PIN was refused".to_owned()),
        ] {
            let announcement = Announcement { unit: UnitId([7; 16]), domain_index: 3, state };
            assert_eq!(announcement.to_string().parse(), Ok(announcement));
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
