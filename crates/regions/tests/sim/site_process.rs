//! A site with its store and clocks: what carries out its actions.

use regions::{
    Action, Copy, Epoch, Facts, HandoverId, Instant, Now, PairConfig, Side, Site, SiteRecord, StoreMark,
    WallTime,
};
use std::collections::VecDeque;

/// Writes that can surely be copied while writing stands still.
const FREEZE_WRITES: usize = 100;

/// A write, by its number.
pub(super) type WriteId = u64;

/// A region: what survives a crash, and what does not.
pub(super) struct SiteProcess {
    pub(super) side: Side,
    /// Real milliseconds times this, per thousand, is what the site's clock shows.
    pub(super) rate: u64,
    pub(super) saved: SiteRecord,
    /// The record before the last save, for a disk that loses it.
    pub(super) saved_before: SiteRecord,
    /// The writes that the store has, in order.
    pub(super) log: Vec<WriteId>,
    /// Whether the store is a whole state, not a copy that is under way.
    pub(super) complete: bool,
    pub(super) running: Option<Running>,
}

pub(super) struct Running {
    pub(super) site: Site,
    pub(super) started: u64,
    pub(super) queue: VecDeque<Action>,
    /// The epoch under which the store accepts writes.
    pub(super) open_for: Option<Epoch>,
    /// Whether it follows, and whether it gives up what its partner does not have.
    pub(super) following: Option<bool>,
    pub(super) catching_up: Option<(HandoverId, StoreMark)>,
    pub(super) freezing: Option<HandoverId>,
    /// Writes under way: number, epoch, when they are committed.
    pub(super) writing: Vec<(WriteId, Epoch, u64)>,
    pub(super) units_ready: bool,
}

impl SiteProcess {
    pub(super) fn new(side: Side, rate: u64) -> Self {
        let saved = SiteRecord::NEW;
        Self {
            side,
            rate,
            saved,
            saved_before: saved,
            log: Vec::new(),
            complete: side == Side::Home,
            running: None,
        }
    }

    /// The moment by this site's clocks.
    pub(super) fn now(&self, real: u64) -> Now {
        let started = self.running.as_ref().map_or(real, |running| running.started);
        let wall = i64::try_from(real).unwrap();
        Now {
            instant: Instant::from_millis((real - started) * self.rate / 1000),
            wall: WallTime::from_millis(wall),
        }
    }

    pub(super) fn start(&mut self, real: u64, config: &PairConfig, boot: u64) {
        let site = Site::new(
            config.clone(),
            self.side,
            self.saved,
            boot,
            Now {
                instant: Instant::from_millis(0),
                wall: WallTime::from_millis(i64::try_from(real).unwrap()),
            },
        );
        self.running = Some(Running {
            site,
            started: real,
            queue: VecDeque::new(),
            open_for: None,
            following: None,
            catching_up: None,
            freezing: None,
            writing: Vec::new(),
            units_ready: true,
        });
    }

    pub(super) fn mark(&self, upto: usize) -> StoreMark {
        let mut digest = [0; 32];
        let hash = self.log[..upto]
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, id| (hash ^ *id).wrapping_mul(0x0100_0000_01b3));
        digest[..8].copy_from_slice(&hash.to_be_bytes());
        StoreMark { revision: upto as u64, digest }
    }

    /// Whether a write may begin now.
    pub(super) fn may_write(&self, real: u64) -> Option<Epoch> {
        let instant = self.now(real).instant;
        self.running.as_ref()?.site.may_write(instant).ok()
    }

    /// `source` is what the partner's store has, as far as it can be told.
    pub(super) fn tell_facts(&mut self, real: u64, source: Option<&[WriteId]>) {
        let now = self.now(real);
        let common =
            source.map(|source| self.log.iter().zip(source).take_while(|(own, other)| own == other).count());
        let copy = match (self.complete, source, common) {
            (false, ..) => Copy::Incomplete,
            (true, Some(source), Some(common)) if common == self.log.len() => {
                if source.len() > common + FREEZE_WRITES { Copy::Behind } else { Copy::Complete }
            }
            // A store that has what the partner has not.
            (true, Some(source), Some(common)) if common < source.len() => Copy::Diverged,
            (true, ..) => Copy::Complete,
        };
        if let Some(running) = &mut self.running {
            running.site.handle_facts(now, Facts { units_ready: running.units_ready, copy });
        }
    }
}
