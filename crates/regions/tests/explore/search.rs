//! Breadth-first search over everything that can happen in a [`World`].

use super::world::{Choices, Course, Scenario, Step, World};
use regions::{Means, Side};
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

/// Which states come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Those that are fewest steps away, so that the first violation is one with the shortest way to it.
    Breadth,
    /// Those that were found last, which takes the least memory.
    Depth,
}

/// What was searched.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Report {
    pub(super) states: usize,
    pub(super) transitions: u64,
    /// Most steps of a run.
    pub(super) depth: u32,
    /// States from which the pair was healed, to see that it writes again.
    pub(super) healed: usize,
    pub(super) promotions: u64,
    pub(super) returns: u64,
    pub(super) fenced: u64,
}

/// Something that must never happen, and the shortest way to it.
#[derive(Clone, Debug)]
pub(super) struct Violation {
    pub(super) what: String,
    pub(super) trace: String,
}

/// A step of a run that leads from one state to another.
#[derive(Clone, Copy)]
struct Edge {
    from: u32,
    step: Step,
    choices: Choices,
}

/// Visits once every state that the scenario permits.
///
/// States are told apart by 64 bits of a hash: of 10 million states, two collide with a probability of 3 in a million, and
/// what follows from one of the two is then not seen.
pub(super) fn search(scenario: &Scenario, order: Order) -> Result<Report, Violation> {
    let start = World::start(scenario);
    let mut visited = Visited::new();
    let mut edges: Vec<Edge> = Vec::new();
    let mut report = Report { states: 1, ..Report::default() };
    visited.insert(hash(&start));
    // The start has the number 0, the state that an edge leads to its place and one.
    let mut waiting = VecDeque::from([(0_u32, 0_u32, start)]);
    loop {
        let next = match order {
            Order::Breadth => waiting.pop_front(),
            Order::Depth => waiting.pop_back(),
        };
        let Some((from, depth, world)) = next else { return Ok(report) };
        for step in world.steps(scenario) {
            let mut choices = Some(Choices::default());
            while let Some(chosen) = choices {
                let mut after = world.clone();
                let mut course = Course::new(scenario, chosen);
                let outcome = after.apply(&mut course, step);
                let edge = Edge { from, step, choices: course.choices };
                report.transitions += 1;
                if let Err(what) = outcome {
                    return Err(Violation { what, trace: trace(scenario, &edges, edge) });
                }
                choices = course.choices.next();
                if !visited.insert(hash(&after)) {
                    continue;
                }
                report.states += 1;
                report.depth = report.depth.max(depth + 1);
                report.count(&course);
                edges.push(edge);
                if report.states.is_multiple_of(scenario.heal_each) {
                    report.healed += 1;
                    if let Err(what) = after.clone().heal(&mut course) {
                        return Err(Violation { what, trace: trace(scenario, &edges, edge) });
                    }
                }
                waiting.push_back((u32::try_from(edges.len()).unwrap(), depth + 1, after));
            }
        }
    }
}

impl Report {
    fn count(&mut self, course: &Course<'_>) {
        for (side, means) in &course.taken {
            match side {
                Side::Home => self.returns += 1,
                Side::Standby => self.promotions += 1,
            }
            self.fenced += u64::from(*means == Means::Fence);
        }
    }
}

/// The run that ends with an edge, a line for each step.
fn trace(scenario: &Scenario, edges: &[Edge], last: Edge) -> String {
    let mut run = vec![last];
    while let Some(at) = run.last().unwrap().from.checked_sub(1) {
        run.push(edges[at as usize]);
    }
    let mut world = World::start(scenario);
    let mut lines = Vec::new();
    let mut course = Course::new(scenario, Choices::default());
    let mut outcome = Ok(());
    for edge in run.iter().rev() {
        lines.push(format!("  {}", world.describe(edge.step)));
        course.choices = edge.choices.again();
        course.log = Some(Vec::new());
        outcome = world.apply(&mut course, edge.step);
        lines.extend(course.log.take().into_iter().flatten().map(|line| format!("      {line}")));
        lines.extend(outcome.clone().err().map(|what| format!("  => {what}")));
    }
    if outcome.is_ok() {
        lines.push("  all faults end".to_owned());
        course.log = Some(Vec::new());
        let outcome = world.heal(&mut course);
        lines.extend(course.log.take().into_iter().flatten().take(40).map(|line| format!("      {line}")));
        lines.extend(outcome.err().map(|what| format!("  => {what}")));
    }
    lines.join("\n")
}

/// A hash that tells states apart.
pub(super) fn hash(value: &impl Hash) -> u64 {
    let mut hasher = Folded(0x243f_6a88_85a3_08d3);
    value.hash(&mut hasher);
    hasher.finish()
}

/// Multiplies and folds, word by word; the standard hasher of this quality is several times slower.
struct Folded(u64);

impl Folded {
    fn word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xa076_1d64_78bd_642f;
        #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
        let folded = (product as u64) ^ ((product >> 64) as u64);
        self.0 = folded.rotate_left(23);
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.word(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.word(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.word(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.word(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A set of hashes: a table with open addressing, half full at most.
struct Visited {
    /// 0 is an empty place.
    table: Vec<u64>,
    len: usize,
}

impl Visited {
    fn new() -> Self {
        Self { table: vec![0; 1 << 16], len: 0 }
    }

    /// Whether the hash was not there before.
    fn insert(&mut self, hash: u64) -> bool {
        if self.len * 2 >= self.table.len() {
            let larger = vec![0; self.table.len() * 2];
            for old in std::mem::replace(&mut self.table, larger) {
                if old != 0 {
                    self.place(old);
                }
            }
        }
        let new = self.place(hash.max(1));
        self.len += usize::from(new);
        new
    }

    fn place(&mut self, hash: u64) -> bool {
        let mask = self.table.len() - 1;
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        let mut at = hash as usize & mask;
        loop {
            match self.table[at] {
                0 => {
                    self.table[at] = hash;
                    return true;
                }
                found if found == hash => return false,
                _ => at = (at + 1) & mask,
            }
        }
    }
}
