//! What must never happen. A violation is a text that begins with the number of the invariant in `ARCHITECTURE.md`.

use std::collections::BTreeMap;
use std::time::Duration;
use unit_api::Wkid;

/// A request from the caller's side.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) deadline: u64,
    pub(crate) ended: Option<u64>,
    pub(crate) sends: u32,
}

#[derive(Default)]
pub(crate) struct Checkers {
    pub(crate) requests: BTreeMap<u64, Seen>,
    /// Units that have shown that they lack the master key, and have not shown the contrary since.
    pub(crate) known_bad: [bool; 3],
    /// Units that were drained or removed, and not resumed or added since.
    pub(crate) out: [bool; 3],
    /// The master key that each unit has proved last.
    pub(crate) proved: [Option<Wkid>; 3],
}

impl Checkers {
    /// A unit has used this master key, or has not. That it has not matters as long as it is the one it has proved: else
    /// it was asked before it went on to another.
    pub(crate) fn refused(&mut self, unit: usize, wkid: Wkid, held: bool) {
        self.known_bad[unit] |= !held && self.proved[unit].is_none_or(|proved| proved == wkid);
    }

    pub(crate) fn leaves(&mut self, unit: usize) {
        self.out[unit] = true;
    }

    /// It has to prove its master key again before it gets work.
    pub(crate) fn returns(&mut self, unit: usize) {
        self.out[unit] = false;
        self.known_bad[unit] = true;
        self.proved[unit] = None;
    }

    /// I8: a unit that is fenced, drained, removed or not yet proved receives no work.
    pub(crate) fn sent(&mut self, request: u64, unit: usize) -> Result<(), String> {
        self.requests.get_mut(&request).unwrap().sends += 1;
        if self.known_bad[unit] {
            return Err(format!("I8: unit {unit} got request {request}"));
        }
        if self.out[unit] {
            return Err(format!("I8: unit {unit} was taken out and got request {request}"));
        }
        Ok(())
    }

    /// One end for every request; I9: not later than its deadline and 100 ms; none of them a failure.
    pub(crate) fn ended(&mut self, now: u64, request: u64, failure: Option<String>) -> Result<(), String> {
        let seen = self.requests.get_mut(&request).unwrap();
        if seen.ended.replace(now).is_some() {
            return Err(format!("one end: request {request} ended twice"));
        }
        overdue(request, seen, now)?;
        failure.map_or(Ok(()), |failure| Err(format!("no request fails: {request} did: {failure}")))
    }

    /// I9 for those that have not ended; I18: retries and hedges are 25 % of the requests at most. A run is shorter
    /// than the ten seconds that I18 looks at.
    pub(crate) fn at_end(&self, now: u64) -> Result<(), String> {
        for (request, seen) in &self.requests {
            if seen.ended.is_none() {
                overdue(*request, seen, now)?;
                return Err(format!("I9: request {request} never ended"));
            }
        }
        let extra: u32 = self.requests.values().map(|seen| seen.sends.saturating_sub(1)).sum();
        if extra as usize * 4 > self.requests.len() {
            return Err(format!("I18: {extra} extra sends for {} requests", self.requests.len()));
        }
        Ok(())
    }
}

fn overdue(request: u64, seen: &Seen, now: u64) -> Result<(), String> {
    let late = Duration::from_nanos(now.saturating_sub(seen.deadline));
    if late > Duration::from_millis(100) {
        return Err(format!("I9: request {request} ended {late:?} after its deadline"));
    }
    Ok(())
}
