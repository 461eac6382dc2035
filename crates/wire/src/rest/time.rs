//! Times as clients write and read them.

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::fmt;

/// A time that is written in whole seconds: `2020-08-12T23:38:09Z`.
///
/// Source: RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

impl Time {
    /// Reads RFC 3339, fractions and offsets included.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // The reader takes more than RFC 3339 (named zones, a date without seconds); the shape is checked first.
        let shaped = text.len() >= "2020-08-12T23:38:09Z".len()
            && text.len() <= "2020-08-12T23:38:09.123456789+00:00".len()
            && matches!(text.as_bytes().get(10), Some(b'T' | b't'))
            && !text.contains('[');
        if !shaped {
            return None;
        }
        text.parse().ok().map(Self)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounding down, so that nothing is ever said to have happened later than it did.
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
        ] {
            assert!(Time::parse(text).is_none(), "{text}");
        }
    }
}
