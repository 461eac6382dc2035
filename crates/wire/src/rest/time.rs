//! Dates in requests and responses.

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::fmt;

/// Nanoseconds, as Go writes them.
const MAX_FRACTION_DIGITS: usize = 9;

/// A date, written in whole seconds: `2020-08-12T23:38:09Z`.
///
/// Source: RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

impl Time {
    /// Decodes RFC 3339 with fractions and offsets.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // The parser accepts more than RFC 3339 (named zones, commas, offsets with seconds): the form is checked first.
        if is_shaped(text) { text.parse().ok().map(Self) } else { None }
    }
}

/// Whether `text` has the form `date-time` of RFC 3339 §5.6; its numbers may still be out of range.
fn is_shaped(text: &str) -> bool {
    let fits = |text: &[u8], form: &[u8]| {
        let fits = |(byte, form): (&u8, &u8)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte.eq_ignore_ascii_case(form),
        };
        text.len() == form.len() && text.iter().zip(form).all(fits)
    };
    let Some((whole, rest)) = text.as_bytes().split_at_checked(b"0000-00-00T00:00:00".len()) else {
        return false;
    };
    let offset = match rest.strip_prefix(b".") {
        None => rest,
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=MAX_FRACTION_DIGITS).contains(&digits) {
                return false;
            }
            fraction.get(digits..).unwrap_or_default()
        }
    };
    let in_range = || offset.get(1..3) <= Some(b"23") && offset.get(4..6) <= Some(b"59");
    fits(whole, b"0000-00-00T00:00:00")
        && (fits(offset, b"Z") || ((fits(offset, b"+00:00") || fits(offset, b"-00:00")) && in_range()))
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded down, so that no event is reported later than it happened.
        let seconds = self.0.as_nanosecond().div_euclid(1_000_000_000);
        let whole = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        write!(f, "{}", whole.unwrap_or(self.0))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Time;

    #[test]
    fn reads_and_writes_what_clients_do() {
        for (text, written) in [
            ("2020-08-12T23:38:09Z", "2020-08-12T23:38:09Z"),
            ("2020-08-12T23:38:09.999999999Z", "2020-08-12T23:38:09Z"),
            ("2020-08-13T01:38:09+02:00", "2020-08-12T23:38:09Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
            ("2020-08-12t23:38:09z", "2020-08-12T23:38:09Z"),
            ("2020-08-12T18:08:09.123-05:30", "2020-08-12T23:38:09Z"),
        ] {
            assert_eq!(Time::parse(text).unwrap().to_string(), written);
        }
    }

    #[test]
    fn refuses_what_is_not_rfc3339() {
        for text in [
            "",
            "2020-08-12",
            "2020-08-12T23:38:09",
            "2020-08-12 23:38:09Z",
            "2020-13-12T23:38:09Z",
            "2020-08-12T23:38Z[UTC]",
            "2020-08-12T23:38:09,5Z",
            "2020-08-12T23:38:09.Z",
            "2020-08-12T23:38:09+0200",
            "2020-08-12T23:38:09+02",
            "2020-08-12T23:38:09+24:00",
            "2020-08-12T23:38:09+23:60",
            "2020-08-12T23:38:09+02:00:30",
            "2020-08-12T233809.0000Z",
            "2020-08-12T23:38:09 Z",
            "\u{0661}020-08-12T23:38:09Z",
        ] {
            assert!(Time::parse(text).is_none(), "{text}");
        }
    }
}
