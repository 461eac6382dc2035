//! A region of the model: a site, its store, and what carries out its actions.

use regions::{
    Action, Copy, Epoch, Facts, HandoverId, Instant, Now, PairConfig, Side, Site, SiteRecord, StoreMark,
    WallTime,
};

/// A write, by its number.
pub(super) type Write = u8;

/// A region: what survives a crash, and what does not.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Region {
    pub(super) side: Side,
    pub(super) saved: SiteRecord,
    /// The writes that the store has, in order.
    pub(super) log: Vec<Write>,
    /// Whether the store is a whole state, not a copy that is under way.
    pub(super) complete: bool,
    /// Starts so far.
    starts: u8,
    pub(super) process: Option<Process>,
}

/// What a crash ends.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) site: Site,
    started: u64,
    /// The epoch under which the store accepts writes.
    pub(super) open_for: Option<Epoch>,
    /// The epoch under which the store is being made to accept writes.
    pub(super) opening: Option<Epoch>,
    /// Whether it follows, and whether it gives up what its partner does not have.
    pub(super) following: Option<bool>,
    pub(super) catching_up: Option<(HandoverId, StoreMark)>,
    pub(super) freezing: Option<HandoverId>,
    /// Writes under way, with the epoch under which they began.
    pub(super) writing: Vec<(Write, Epoch)>,
}

impl Region {
    pub(super) const fn new(side: Side) -> Self {
        Self { side, saved: SiteRecord::NEW, log: Vec::new(), complete: true, starts: 0, process: None }
    }

    pub(super) fn start(&mut self, now: u64, config: &PairConfig) {
        self.starts += 1;
        let boot = u64::from(self.starts) * 2 + u64::from(self.side == Side::Standby);
        let at = Now { instant: Instant::from_millis(0), wall: wall(now) };
        self.process = Some(Process {
            site: Site::new(config.clone(), self.side, self.saved, boot, at),
            started: now,
            open_for: None,
            opening: None,
            following: None,
            catching_up: None,
            freezing: None,
            writing: Vec::new(),
        });
        self.tell_facts(now, 1);
    }

    /// The moment by this region's clocks, the one of which shows a millisecond for each `pace` of real time.
    pub(super) fn now(&self, now: u64, pace: u64) -> Now {
        let started = self.process.as_ref().map_or(now, |process| process.started);
        Now { instant: Instant::from_millis((now - started) / pace), wall: wall(now) }
    }

    /// Whether something is due by this region's clock.
    pub(super) fn is_due(&self, now: u64, pace: u64) -> bool {
        let at = self.now(now, pace).instant;
        self.process.as_ref().is_some_and(|process| at >= process.site.poll_timeout())
    }

    pub(super) fn may_write(&self, now: u64, pace: u64) -> Option<Epoch> {
        self.process.as_ref()?.site.may_write(self.now(now, pace).instant).ok()
    }

    pub(super) fn tell_facts(&mut self, now: u64, pace: u64) {
        let at = self.now(now, pace);
        let copy = if self.complete { Copy::Complete } else { Copy::Incomplete };
        if let Some(process) = &mut self.process {
            process.site.handle_facts(at, Facts { units_ready: true, copy });
        }
    }

    pub(super) fn mark(&self, upto: usize) -> StoreMark {
        let mut digest = [0; 32];
        for (place, write) in self.log.iter().take(upto).enumerate() {
            digest[place % 32] = *write;
        }
        StoreMark { revision: upto as u64, digest }
    }

    /// Whether the store has the same first writes as another one, up to where the shorter ends or `upto`.
    pub(super) fn agrees_with(&self, log: &[Write], upto: usize) -> bool {
        self.log.iter().zip(log).take(upto).all(|(own, other)| own == other)
    }

    /// Whether the store has every change up to the mark that it is to reach, once that can be told.
    pub(super) fn has_caught_up(&self, source: Option<&[Write]>, lies: bool) -> Option<bool> {
        let (_, mark) = self.process.as_ref()?.catching_up?;
        let upto = usize::try_from(mark.revision).unwrap();
        if lies {
            Some(true)
        } else if self.log.len() >= upto {
            Some(self.mark(upto) == mark)
        } else {
            source.filter(|source| !self.agrees_with(source, upto)).map(|_| false)
        }
    }

    /// Whether [`Self::replicate`] would do anything.
    pub(super) fn can_replicate(&self, source: &[Write]) -> bool {
        let Some(process) = &self.process else { return false };
        if !self.agrees_with(source, usize::MAX) || self.log.len() > source.len() {
            return process.following == Some(true);
        }
        (process.following.is_some() || process.catching_up.is_some())
            && (self.log.len() < source.len() || !self.complete)
    }

    /// Copies one write of the partner, or gives up what the partner does not have.
    pub(super) fn replicate(&mut self, source: &[Write]) {
        let common = self.log.iter().zip(source).take_while(|(own, other)| own == other).count();
        if common < self.log.len() {
            self.log.truncate(common);
            self.complete = common == source.len();
        } else {
            self.log.extend(source.get(common));
            self.complete |= self.log.len() == source.len();
        }
    }
}

impl Process {
    /// Carries out what is neither durable nor sent.
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Follow { replace, .. } => {
                self.stop();
                self.following = Some(replace);
            }
            Action::StopFollowing => self.stop(),
            Action::Freeze(handover) => self.freezing = Some(handover),
            Action::CatchUp { handover, mark } => self.catching_up = Some((handover, mark)),
            Action::TakeOver(epoch) => self.opening = Some(epoch),
            Action::Save(_) | Action::Send(_) | Action::Ask(_) => {}
        }
    }

    fn stop(&mut self) {
        self.following = None;
        self.open_for = None;
        self.opening = None;
        self.writing.clear();
        self.freezing = None;
        self.catching_up = None;
    }
}

const fn wall(now: u64) -> WallTime {
    WallTime::from_millis(now.cast_signed())
}
