//! Bytes on their way: frames may hold secrets, so that no copy outlives its use.

use zeroize::Zeroize;

/// A queue of bytes: filled at its end, used up from its start.
///
/// What is used up is wiped at once, what is left when dropped, and what stays behind when the queue moves to a larger
/// block before that block is freed. Nothing is said of its content by `Debug`.
pub(crate) struct WipedBuf {
    block: Vec<u8>,
    start: usize,
    end: usize,
}

impl WipedBuf {
    /// An empty queue over a block of `len` bytes.
    pub(crate) fn new(len: usize) -> Self {
        Self { block: vec![0; len], start: 0, end: 0 }
    }

    /// The bytes in the queue.
    pub(crate) fn live(&self) -> &[u8] {
        self.block.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether there are none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// At least `len` bytes to fill, all of the room there is; [`Self::filled`] says how many were.
    pub(crate) fn spare(&mut self, len: usize) -> &mut [u8] {
        if self.block.len() - self.end < len {
            self.make_room(len);
        }
        self.block.get_mut(self.end..).unwrap_or_default()
    }

    /// Adds the first `len` bytes of [`Self::spare`] to the queue.
    pub(crate) fn filled(&mut self, len: usize) {
        self.end = self.block.len().min(self.end.saturating_add(len));
    }

    /// Takes the first `len` bytes off the queue and wipes them.
    pub(crate) fn consume(&mut self, len: usize) {
        let until = self.end.min(self.start.saturating_add(len));
        if let Some(used) = self.block.get_mut(self.start..until) {
            used.zeroize();
        }
        self.start = until;
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    fn make_room(&mut self, len: usize) {
        let live = self.end - self.start;
        if self.block.len() - live < len {
            let mut larger = vec![0; (live + len).next_power_of_two()];
            for (to, from) in larger.iter_mut().zip(self.live()) {
                *to = *from;
            }
            self.block.zeroize();
            self.block = larger;
        } else {
            self.block.copy_within(self.start..self.end, 0);
            if let Some(behind) = self.block.get_mut(live..self.end) {
                behind.zeroize();
            }
        }
        (self.start, self.end) = (0, live);
    }
}

impl Drop for WipedBuf {
    fn drop(&mut self) {
        // Only what is in use can be other than zero.
        self.consume(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::WipedBuf;

    fn put(buf: &mut WipedBuf, bytes: &[u8]) {
        buf.spare(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        buf.filled(bytes.len());
    }

    #[test]
    fn what_goes_in_comes_out_and_leaves_nothing_behind() {
        let mut buf = WipedBuf::new(8);
        put(&mut buf, b"abcdef");
        buf.consume(4);
        put(&mut buf, b"ghij");
        assert_eq!(buf.live(), b"efghij");
        assert_eq!(buf.block.len(), 8);
        put(&mut buf, b"klmnop");
        assert_eq!(buf.live(), b"efghijklmnop");
        assert_eq!(buf.block.len(), 16);
        buf.consume(11);
        assert_eq!(buf.live(), b"p");
        buf.consume(usize::MAX);
        assert!(buf.is_empty());
        assert!(buf.block.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn moving_to_the_front_wipes_what_lay_behind() {
        let mut buf = WipedBuf::new(8);
        put(&mut buf, b"abcdefgh");
        buf.consume(6);
        assert!(buf.spare(6).iter().all(|byte| *byte == 0));
        assert_eq!(buf.live(), b"gh");
    }
}
