//! A timeline whose entries are chained by hashes: none can be changed, removed or inserted without changing the last hash.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wire::text::encode_hex;

/// Begins the text that the first hash is over.
const CHAIN_LABEL: &[u8] = b"hsm-sim rehearsal timeline 1\0";

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, by real time, RFC 3339 in UTC.
    pub at: String,
    /// When, in milliseconds since the rehearsal began; negative for what happened before.
    pub at_ms: i64,
    /// Who reports it: `rehearsal`, `load`, `pair`, or the name of a region.
    pub source: String,
    /// Kind of event, one word.
    pub event: String,
    /// The event in words.
    pub text: String,
}

/// An event and the hash over it and everything before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainedEvent {
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// SHA-256 over the hash before it and the event, in hexadecimal.
    pub hash: String,
}

/// The end of a chain, to which events are added.
#[derive(Clone, Debug)]
pub struct Chain {
    head: [u8; 32],
}

/// Why a timeline is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {0} of the timeline does not fit the entries before it: it, or one before it, was changed")]
pub struct ChainBroken(
    /// Number of the entry, from 1.
    pub usize,
);

impl Chain {
    /// The chain of a report: it begins with the report's identifier and the plan, which holds the objective.
    #[must_use]
    pub fn begin(report_id: &str, plan: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(CHAIN_LABEL);
        hash.update(report_id.as_bytes());
        hash.update([0]);
        hash.update(plan);
        Self { head: hash.finalize().into() }
    }

    /// Adds an event.
    ///
    /// # Errors
    /// Never, in practice: every field has a form in JSON.
    pub fn add(&mut self, event: Event) -> serde_json::Result<ChainedEvent> {
        self.head = self.next(&event)?;
        Ok(ChainedEvent { event, hash: self.head() })
    }

    /// The last hash, in hexadecimal.
    #[must_use]
    pub fn head(&self) -> String {
        encode_hex(&self.head)
    }

    /// Checks a timeline from its beginning, in the order in which it was recorded; returns the last hash.
    ///
    /// # Errors
    /// [`ChainBroken`] names the first entry that does not fit.
    pub fn verify(mut self, events: &[ChainedEvent]) -> Result<String, ChainBroken> {
        for (at, chained) in events.iter().enumerate() {
            let broken = || ChainBroken(at + 1);
            self.head = self.next(&chained.event).map_err(|_| broken())?;
            if self.head() != chained.hash {
                return Err(broken());
            }
        }
        Ok(self.head())
    }

    fn next(&self, event: &Event) -> serde_json::Result<[u8; 32]> {
        let mut hash = Sha256::new();
        hash.update(self.head);
        hash.update(canonical(event)?);
        Ok(hash.finalize().into())
    }
}

/// A value as bytes that are the same wherever it is written: JSON with sorted keys and without spaces.
///
/// # Errors
/// Those of its serialization.
pub fn canonical<T: Serialize>(value: &T) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&serde_json::to_value(value)?)
}

/// A time as timelines show it: milliseconds, so that all have one length.
#[must_use]
pub fn shown(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use super::{Chain, ChainBroken, ChainedEvent, Event};

    fn event(text: &str) -> Event {
        Event {
            at: "2026-01-01T00:00:00.000Z".to_owned(),
            at_ms: 0,
            source: "pair".to_owned(),
            event: "lost".to_owned(),
            text: text.to_owned(),
        }
    }

    fn timeline() -> (Vec<ChainedEvent>, String) {
        let mut chain = Chain::begin("id", b"plan");
        let events = ["one", "two", "three"].map(|text| chain.add(event(text)).unwrap());
        (events.to_vec(), chain.head())
    }

    fn verify(events: &[ChainedEvent]) -> Result<String, ChainBroken> {
        Chain::begin("id", b"plan").verify(events)
    }

    #[test]
    fn a_timeline_verifies_as_it_was_recorded() {
        let (events, head) = timeline();
        assert_eq!(verify(&events), Ok(head));
    }

    #[test]
    fn attack_every_change_of_a_timeline_shows() {
        let (events, head) = timeline();
        let mut changed = events.clone();
        changed[1].event.text = "other".to_owned();
        assert_eq!(verify(&changed), Err(ChainBroken(2)));
        let mut removed = events.clone();
        removed.remove(0);
        assert_eq!(verify(&removed), Err(ChainBroken(1)));
        let mut swapped = events.clone();
        swapped.swap(1, 2);
        assert_eq!(verify(&swapped), Err(ChainBroken(2)));
        // The end is missing: the last hash is another one.
        assert_ne!(verify(&events[..2]), Ok(head));
        // Another plan, such as another objective.
        assert_eq!(Chain::begin("id", b"another").verify(&events), Err(ChainBroken(1)));
    }
}
