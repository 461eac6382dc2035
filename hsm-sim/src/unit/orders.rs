//! What a region tells a unit process beside the link: faults, and the end.

use std::io::BufRead;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One line on a supervised unit's standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Take this much longer over every command; zero to be as fast as before.
    Slow(Duration),
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Slow(by) => write!(f, "slow {}", by.as_micros()),
        }
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["slow", micros] => {
                let micros =
                    micros.parse().map_err(|_| format!("`{micros}` is no number of microseconds"))?;
                Ok(Self::Slow(Duration::from_micros(micros)))
            }
            _ => Err(format!("`{}` is no order", line.trim())),
        }
    }
}

/// What orders have set, shared with every connection.
#[derive(Default)]
pub(super) struct Conduct {
    slow_by_us: AtomicU64,
}

impl Conduct {
    /// How much longer a command has to take.
    pub(super) fn slow_by(&self) -> Duration {
        Duration::from_micros(self.slow_by_us.load(Ordering::Relaxed))
    }

    /// Carries out orders until their source ends.
    pub(super) fn follow(&self, source: impl BufRead) {
        for line in source.lines() {
            let Ok(line) = line else { return };
            match line.parse() {
                Ok(Order::Slow(by)) => {
                    let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
                    self.slow_by_us.store(micros, Ordering::Relaxed);
                }
                Err(problem) => eprintln!("hsm-sim unit: {problem}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Conduct, Order};
    use std::time::Duration;

    #[test]
    fn orders_read_as_they_are_written() {
        let order = Order::Slow(Duration::from_millis(20));
        assert_eq!(order.to_string().parse(), Ok(order));
        assert!("slow down".parse::<Order>().is_err());
    }

    #[test]
    fn rubbish_changes_nothing() {
        let conduct = Conduct::default();
        conduct.follow(&b"slow 7\nrubbish\nslow x\n"[..]);
        assert_eq!(conduct.slow_by(), Duration::from_micros(7));
    }
}
