//! What an engine tells whoever runs it: once each, when it happens.

use std::fmt;

/// Something that happened to a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenEvent {
    /// The token cannot be used; why, in the module's words.
    Lost(String),
    /// It can be used again.
    Returned,
    /// A session ended, or was logged out, and another took its place.
    SessionRenewed,
    /// The token is there, and a key that the unit had stored on it is not, or is another. The unit goes on with none.
    KeyLost,
    /// The PIN was refused. It is not tried again.
    PinRefused(String),
    /// The token refused what it offers, or answered what no token should; what it said.
    Unexpected(String),
    /// Objects of this unit that nothing refers to were destroyed; how many.
    OrphansDestroyed(usize),
}

impl fmt::Display for TokenEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(why) => write!(f, "the token cannot be used until it returns: {why}"),
            Self::Returned => f.write_str("the token is back, and so are its keys"),
            Self::SessionRenewed => f.write_str("a session with the token was lost and opened again"),
            Self::KeyLost => f.write_str(
                "a key that was stored on the token is gone, or another is in its place; load the master key again",
            ),
            Self::PinRefused(why) => {
                write!(
                    f,
                    "the token refused the PIN ({why}); it is not tried again, since tokens lock: correct \
                     the PIN and start anew"
                )
            }
            Self::Unexpected(what) => write!(f, "the token refused what its probe had shown to work: {what}"),
            Self::OrphansDestroyed(count) => {
                write!(f, "{count} objects on the token that an interrupted change had left were destroyed")
            }
        }
    }
}

/// Where events go.
pub type Report = Box<dyn Fn(&TokenEvent) + Send + Sync>;
