//! Times in certificates and revocation lists.

use crate::BufferTooSmall;
use crate::writer::{Tag, Writer};
use core::time::Duration;
use der::asn1::{GeneralizedTime, UtcTime};
use der::{DateTime, Decode, SliceReader};

/// Period in which a certificate is valid, both ends included, in seconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before: u64,
    /// Last second.
    pub not_after: u64,
}

impl Validity {
    /// From 2000 to 2100: of certificates whose period is never checked.
    pub(super) const CENTURY: Self = Self { not_before: 946_684_800, not_after: 4_133_980_799 };

    /// Whether `now`, in seconds since 1970-01-01 UTC, is in the period.
    #[must_use]
    pub const fn contains(&self, now: u64) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// First second of the year 2050, from which `UTCTime` is not allowed.
const YEAR_2050: u64 = 2_524_608_000;
/// Last second of the year 9999. Later times are written as this one, which means "no end" (RFC 5280 §4.1.2.5).
const LAST: u64 = 253_402_300_799;

/// Writes a `Time` (RFC 5280 §4.1.2.5): `UTCTime` before 2050.
pub(super) fn write(w: &mut Writer<'_>, seconds: u64) -> Result<(), BufferTooSmall> {
    let time = DateTime::from_unix_duration(Duration::from_secs(seconds.min(LAST)));
    let time = time.map_err(|_| BufferTooSmall)?;
    let mut digits = *b"00000000000000Z";
    let fields = [
        time.year() / 100,
        time.year() % 100,
        time.month().into(),
        time.day().into(),
        time.hour().into(),
        time.minutes().into(),
        time.seconds().into(),
    ];
    for (pair, field) in digits.as_chunks_mut::<2>().0.iter_mut().zip(fields) {
        // Both digits are below 10.
        *pair = [b'0' + (field / 10 % 10) as u8, b'0' + (field % 10) as u8];
    }
    match digits.split_first_chunk::<2>() {
        Some((_, short)) if seconds < YEAR_2050 => w.primitive(Tag::UTC_TIME, short),
        _ => w.primitive(Tag::GENERALIZED_TIME, &digits),
    }
}

/// Reads a `Time` as seconds since 1970-01-01 UTC.
pub(super) fn read(r: &mut SliceReader<'_>) -> der::Result<u64> {
    let time = match der::Tag::peek(r)? {
        der::Tag::UtcTime => UtcTime::decode(r)?.to_unix_duration(),
        _ => GeneralizedTime::decode(r)?.to_unix_duration(),
    };
    Ok(time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::{LAST, Validity, YEAR_2050, read, write};
    use crate::reader::whole;
    use crate::writer::Writer;

    #[test]
    fn a_time_is_read_back_in_both_forms() {
        let Validity { not_before, not_after } = Validity::CENTURY;
        for (seconds, form) in [
            (0, 0x17),
            (not_before, 0x17),
            (951_825_599, 0x17), // 2000-02-29 11:59:59
            (YEAR_2050 - 1, 0x17),
            (YEAR_2050, 0x18),
            (not_after, 0x18),
            (LAST, 0x18),
            (u64::MAX, 0x18),
        ] {
            let mut out = [0; 17];
            let mut writer = Writer::new(&mut out);
            write(&mut writer, seconds).unwrap();
            let der = writer.finish();
            assert_eq!(der.first(), Some(&form), "{seconds}");
            assert_eq!(whole(der, read).unwrap(), seconds.min(LAST));
        }
    }
}
