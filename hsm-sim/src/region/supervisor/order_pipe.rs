//! Orders to a unit process, and its answers.

use crate::unit::{Order, order_line, parse_answer};
use std::io;
use tokio::io::{AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};

/// Standard input and output of a unit process: one order at a time.
pub(super) struct OrderPipe {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    last: u64,
}

impl OrderPipe {
    /// The pipes of a process that has announced that it serves.
    pub(super) const fn new(orders: ChildStdin, answers: Lines<BufReader<ChildStdout>>) -> Self {
        Self { orders, answers, last: 0 }
    }

    /// Gives an order and waits for its answer: `Err` with the reason if the process did not carry it out.
    ///
    /// # Errors
    /// The operating system's; `UnexpectedEof` when the process has ended.
    pub(super) async fn order(&mut self, order: Order) -> io::Result<Result<(), String>> {
        self.last += 1;
        self.orders.write_all(order_line(self.last, order).as_bytes()).await?;
        loop {
            let line = self.answers.next_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            // The answer to an earlier order, which timed out, may come first.
            match parse_answer(&line) {
                Some((number, answer)) if number == self.last => return Ok(answer),
                _ => {}
            }
        }
    }
}
