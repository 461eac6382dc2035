//! Reading a backup.

use std::fmt;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::time::Duration;

use zeroize::Zeroizing;

use super::head::{FRONT_LEN, Head};
use super::writer::{BodyCipher, LAST};
use super::{BackupError, BackupHeader};
use crate::Units;
use crate::call::TimeBudget;
use crate::replica::{CopyPage, Event, MAX_EVENT_LEN};

/// Reads a backup from a file, or from anywhere else.
///
/// The header is there at once; the body after [`Self::unlock`]. It has one part in memory.
pub struct BackupReader<R> {
    from: R,
    head: Head,
    cipher: Option<BodyCipher>,
    number: u64,
    is_at_end: bool,
}

impl<R: Read> BackupReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`BackupError`]. A header that was forged is found by [`Self::unlock`].
    pub fn open(mut from: R) -> Result<Self, BackupError> {
        let mut front = [0; FRONT_LEN];
        fill(&mut from, &mut front)?;
        let mut bytes = vec![0; Head::len(&front)?];
        let (start, rest) = bytes.split_at_mut(FRONT_LEN);
        start.copy_from_slice(&front);
        fill(&mut from, rest)?;
        let head = Head::decode(&bytes)?;
        Ok(Self { from, head, cipher: None, number: 0, is_at_end: false })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &BackupHeader {
        &self.head.header
    }

    /// What tells this backup from every other one: SHA-256 of its head, which has a random part.
    #[must_use]
    pub const fn id(&self) -> [u8; 32] {
        self.head.checksum
    }

    /// Has a unit open the key of the body. From then on the header is authentic.
    ///
    /// # Errors
    /// [`BackupError::KeyInvalid`] for a header that was changed, [`BackupError::Units`].
    pub async fn unlock<U: Units>(&mut self, units: &U, deadline: Duration) -> Result<(), BackupError> {
        let key = self.head.open_key(units, TimeBudget::new(deadline)).await?;
        self.cipher = Some(BodyCipher::new(&key, &self.head));
        Ok(())
    }

    /// The next part of the body; `None` at its end, where the file has to end too.
    ///
    /// # Errors
    /// [`BackupError`]; the file is of no use then.
    ///
    /// # Panics
    /// Before [`Self::unlock`].
    pub fn next_page(&mut self) -> Result<Option<CopyPage>, BackupError> {
        let cipher = self.cipher.as_ref().expect("the caller has unlocked the backup");
        if self.is_at_end {
            return Ok(None);
        }
        let mut front = [0; 4];
        fill(&mut self.from, &mut front)?;
        let (number, word) = (self.number, u32::from_be_bytes(front));
        let (len, is_last) = ((word & !LAST) as usize, word & LAST != 0);
        if !(engine::AES_GCM_TAG_LEN..=MAX_EVENT_LEN + engine::AES_GCM_TAG_LEN).contains(&len) {
            return Err(BackupError::PartInvalid { part: number });
        }
        let mut part = Zeroizing::new(vec![0; len]);
        fill(&mut self.from, &mut part)?;
        if !cipher.open(number, is_last, &mut part) {
            return Err(BackupError::PartInvalid { part: number });
        }
        let event = Event::decode(&part).map_err(|source| BackupError::Event { part: number, source })?;
        let Event::CopyPage(page) = event else {
            return Err(BackupError::Content { what: "a part is something else than a page of a copy" });
        };
        self.number += 1;
        if is_last {
            self.is_at_end = true;
            let mut surplus = [0; 1];
            match read(&mut self.from, &mut surplus)? {
                0 => {}
                _ => return Err(BackupError::Surplus),
            }
        }
        Ok(Some(page))
    }
}

impl<R: Read + Seek> BackupReader<R> {
    /// Goes back to the beginning of the body.
    ///
    /// # Errors
    /// [`BackupError::Io`]; [`BackupError::HeaderDamaged`] if the header has changed meanwhile.
    pub fn rewind(&mut self) -> Result<(), BackupError> {
        self.from.seek(SeekFrom::Start(0)).map_err(BackupError::Io)?;
        let again = BackupReader::open(&mut self.from)?.head;
        if again.checksum != self.head.checksum {
            return Err(BackupError::HeaderDamaged);
        }
        (self.number, self.is_at_end) = (0, false);
        Ok(())
    }
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> Result<(), BackupError> {
    from.read_exact(buffer).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => BackupError::Truncated,
        _ => BackupError::Io(error),
    })
}

fn read(from: &mut impl Read, buffer: &mut [u8]) -> Result<usize, BackupError> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read.map_err(BackupError::Io),
        }
    }
}

/// The header only.
impl<R> fmt::Debug for BackupReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupReader").field("header", &self.head.header).finish_non_exhaustive()
    }
}

/// Gives any bytes to the decoders of a head and of a body that is authentic.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz(data: &[u8]) {
    use super::head::BodyKey;
    use super::writer::seal_part;
    use std::io::Cursor;

    if let Ok(reader) = BackupReader::open(data) {
        let again = Head::decode(&reader.head.encode()).expect("what was decoded encodes to itself");
        assert_eq!(again.checksum, reader.head.checksum);
    }
    // As a head whose checksum is right.
    let signed = [data, &Head::checksum_of(data)].concat();
    if let Ok(head) = Head::decode(&signed) {
        assert_eq!(head.encode(), signed);
    }
    let head = Head::of_nothing();
    let key = BodyKey::from_slice(&[7; 32]).expect("a key has 32 bytes");
    let mut forged = BackupReader {
        from: data,
        cipher: Some(BodyCipher::new(&key, &head)),
        head: head.clone(),
        number: 0,
        is_at_end: false,
    };
    assert!(forged.next_page().is_err(), "a forged part");
    let cipher = BodyCipher::new(&key, &head);
    let (front, rest) = data.split_at(data.len() / 2);
    let parts = [(front, false), (rest, true)].into_iter().zip(0..);
    let parts = parts
        .map(|((part, is_last), number)| seal_part(&cipher, number, is_last, Zeroizing::new(part.to_vec())));
    let body = parts.collect::<Vec<_>>().concat();
    let mut authentic =
        BackupReader { from: Cursor::new(body), cipher: Some(cipher), head, number: 0, is_at_end: false };
    while let Ok(Some(page)) = authentic.next_page() {
        assert!(page.from <= page.until || page.entries.is_empty());
    }
}

/// A head without its checksum, and a part.
#[cfg(test)]
pub(crate) fn fuzz_seed() -> Vec<u8> {
    let mut head = Head::of_nothing().encode();
    head.truncate(head.len() - 32);
    head
}
