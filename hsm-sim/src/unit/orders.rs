//! Orders of a region to a unit process: faults, and what only the operator of a module may do.
//!
//! An order is a line with a number on the process's standard input. Its answer is a line with that number on standard
//! output.

use std::io::{self, BufRead, Write};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// An order to a supervised unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Delay every command by this much; zero ends the delay.
    Slow(Duration),
    /// Zeroize at the module's level: the operator's right, without any administrator's signature.
    Zeroize,
    /// Erase everything, as a module does that detects tampering.
    Tamper,
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Slow(by) => write!(f, "slow {}", by.as_micros()),
            Self::Zeroize => f.write_str("zeroize"),
            Self::Tamper => f.write_str("tamper"),
        }
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["slow", micros] => {
                let micros =
                    micros.parse().map_err(|_| format!("`{micros}` is not a number of microseconds"))?;
                Ok(Self::Slow(Duration::from_micros(micros)))
            }
            ["zeroize"] => Ok(Self::Zeroize),
            ["tamper"] => Ok(Self::Tamper),
            _ => Err(format!("`{}` is not an order", line.trim())),
        }
    }
}

/// The line of an order. Its answer has the same number.
#[must_use]
pub fn order_line(number: u64, order: Order) -> String {
    format!("{number} {order}\n")
}

/// The number in the line of an answer, and whether the order was carried out or why not. `None`: not an answer.
#[must_use]
pub fn parse_answer(line: &str) -> Option<(u64, Result<(), String>)> {
    let (number, said) = line.trim_end().split_once(' ')?;
    let ended = match said.split_once(' ') {
        None if said == "done" => Ok(()),
        Some(("failed", why)) => Err(why.to_owned()),
        _ => return None,
    };
    Some((number.parse().ok()?, ended))
}

/// Carries out and answers orders until their source ends.
pub(super) fn follow(
    source: impl BufRead,
    mut answers: impl Write,
    mut carry_out: impl FnMut(Order) -> Result<(), String>,
) -> io::Result<()> {
    for line in source.lines() {
        let line = line?;
        let (number, order) = line.split_once(' ').unwrap_or(("0", line.as_str()));
        let number: u64 = number.parse().unwrap_or(0);
        match order.parse().and_then(&mut carry_out) {
            Ok(()) => writeln!(answers, "{number} done")?,
            Err(why) => {
                tracing::warn!(number, reason = why, "an order was not carried out");
                writeln!(answers, "{number} failed {}", why.replace('\n', " "))?;
            }
        }
        answers.flush()?;
    }
    Ok(())
}

/// How much longer every command takes: the fault `slow`.
#[derive(Default)]
pub(super) struct Slowness {
    by_us: AtomicU64,
}

impl Slowness {
    pub(super) fn set(&self, by: Duration) {
        self.by_us.store(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn wait(&self) {
        let by = Duration::from_micros(self.by_us.load(Ordering::Relaxed));
        if !by.is_zero() {
            std::thread::sleep(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, follow, order_line, parse_answer};
    use std::time::Duration;

    #[test]
    fn orders_parse_what_they_display() {
        for order in [Order::Slow(Duration::from_millis(20)), Order::Zeroize, Order::Tamper] {
            assert_eq!(order.to_string().parse(), Ok(order));
        }
        assert!("slow down".parse::<Order>().is_err());
    }

    #[test]
    fn every_order_is_answered_with_its_number() {
        let (mut done, mut answers) = (Vec::new(), Vec::new());
        let lines =
            format!("{}rubbish\n8 slow x\n{}", order_line(7, Order::Tamper), order_line(9, Order::Zeroize));
        follow(lines.as_bytes(), &mut answers, |order| {
            done.push(order);
            if order == Order::Zeroize { Err("no\nroom".to_owned()) } else { Ok(()) }
        })
        .unwrap();
        assert_eq!(done, [Order::Tamper, Order::Zeroize]);
        let answers: Vec<_> = String::from_utf8(answers).unwrap().lines().map(parse_answer).collect();
        assert_eq!(answers[0], Some((7, Ok(()))));
        assert!(matches!(&answers[1], Some((0, Err(why))) if why.contains("rubbish")));
        assert!(matches!(&answers[2], Some((8, Err(_)))));
        assert_eq!(answers[3], Some((9, Err("no room".to_owned()))));
    }
}
