//! Orders to a unit's process.

use crate::unit::{Order, order_line, parse_answer};
use std::io;
use tokio::io::{AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};

/// The way to a process beside its socket: orders there, answers back, one at a time.
pub(super) struct Wire {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    last: u64,
}

impl Wire {
    /// The way to a process that has just been started.
    pub(super) const fn new(orders: ChildStdin, answers: Lines<BufReader<ChildStdout>>) -> Self {
        Self { orders, answers, last: 0 }
    }

    /// Has the process carry out an order; what it says if it does not.
    pub(super) async fn order(&mut self, order: Order) -> io::Result<Result<(), String>> {
        self.last += 1;
        self.orders.write_all(order_line(self.last, order).as_bytes()).await?;
        loop {
            let line = self.answers.next_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            // An answer that nobody waited for any longer may come first.
            match parse_answer(&line) {
                Some((number, ended)) if number == self.last => return Ok(ended),
                _ => {}
            }
        }
    }
}
