//! Events of a token: reported to the embedder and logged, once each, when they happen.

use crate::error::ObjectRefusal;
use std::fmt;
use tracing::Span;

/// A change in what an engine can do with its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenEvent {
    /// The token became unusable: removed, replaced, or its module failed. Holds the reason. Calls return
    /// [`EngineError::DeviceRemoved`](engine::EngineError::DeviceRemoved) until [`TokenEvent::TokenBack`].
    TokenLost(String),
    /// The token can be used again; the module was initialised again and the engines' sessions are open.
    TokenBack,
    /// A session ended or was logged out, and a new one was opened. Session keys of the old one are gone.
    SessionRenewed,
    /// A key that the unit had stored is missing from the token or was replaced. Calls return
    /// [`EngineError::DeviceError`](engine::EngineError::DeviceError) from now on.
    StoredKeyLost,
    /// A stored object is not the one that the unit created, and is not used. Who has the token's PIN may have planted it.
    ObjectRefused(ObjectRefusal),
    /// The keys derived from a master key are objects that an earlier version has stored: who has the token's PIN can use
    /// them until the master key is loaded again or rotated.
    EarlierDerivedKeys,
    /// The token refused the PIN at a later login; holds the token's error. The PIN is not tried again.
    PinRefused(String),
    /// The token refused a call that its probe had shown to work; holds the token's error. Reported once per engine.
    UnexpectedError(String),
    /// This many stored objects of the unit, left behind by an interrupted change, were destroyed.
    OrphansDestroyed(usize),
}

impl TokenEvent {
    /// Logs the event in a span, with the label of its token.
    pub(super) fn log(&self, span: &Span, token: &str) {
        match self {
            Self::TokenLost(reason) => tracing::warn!(parent: span, token, reason, "token lost"),
            Self::TokenBack => tracing::info!(parent: span, token, "token back"),
            Self::SessionRenewed => tracing::warn!(parent: span, token, "session lost and opened again"),
            Self::StoredKeyLost => tracing::error!(parent: span, token, "stored key lost"),
            Self::ObjectRefused(refusal) => {
                tracing::error!(parent: span, token, refusal = refusal.to_string(), "stored object refused")
            }
            Self::EarlierDerivedKeys => {
                tracing::warn!(parent: span, token, "derived keys of an earlier version can be used with the PIN")
            }
            Self::PinRefused(error) => {
                tracing::error!(parent: span, token, error, "PIN refused; it is not tried again")
            }
            Self::UnexpectedError(error) => {
                tracing::error!(parent: span, token, error, "token refused a probed mechanism")
            }
            Self::OrphansDestroyed(count) => {
                tracing::info!(parent: span, token, count, "orphaned objects destroyed")
            }
        }
    }
}

impl fmt::Display for TokenEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TokenLost(reason) => write!(f, "the token is lost: {reason}"),
            Self::TokenBack => f.write_str("the token and its keys are available again"),
            Self::SessionRenewed => f.write_str("a session with the token was lost and opened again"),
            Self::StoredKeyLost => {
                f.write_str("a key stored on the token is missing or was replaced; load the master key again")
            }
            Self::ObjectRefused(refusal) => write!(
                f,
                "an object on the token is not the unit's own: {refusal}; who has the token's PIN may have planted it"
            ),
            Self::EarlierDerivedKeys => f.write_str(
                "an earlier version has stored the keys derived from the master key as objects that who has the token's PIN \
                 can use; load the master key again, or rotate it",
            ),
            Self::PinRefused(error) => write!(
                f,
                "the token refused the PIN ({error}); it is not tried again, because tokens lock after a few \
                 failures: correct the PIN and restart"
            ),
            Self::UnexpectedError(error) => {
                write!(f, "the token refused a call that its probe had shown to work: {error}")
            }
            Self::OrphansDestroyed(count) => {
                write!(f, "{count} objects left on the token by an interrupted change were destroyed")
            }
        }
    }
}

/// Called for every [`TokenEvent`], by the thread whose call caused it. Must not call the token or an engine on it.
pub type EventHandler = Box<dyn Fn(&TokenEvent) + Send + Sync>;
