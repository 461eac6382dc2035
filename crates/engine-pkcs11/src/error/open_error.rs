//! Why an engine does not start on a token.

use crate::error::fault::words;
use cryptoki::error::Error;
use std::io;
use std::path::PathBuf;

/// Why a token, or an engine on it, cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The module's file cannot be found.
    #[error("there is no PKCS#11 module at {}", .path.display())]
    ModuleFile {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no module, or the module does not start.
    #[error("the PKCS#11 module {} does not start: {}", .path.display(), words(.said))]
    Module {
        /// Which.
        path: PathBuf,
        /// What it said.
        said: Error,
    },
    /// A process uses one token of a module at a time.
    #[error("this process already uses a token of the module {}", .path.display())]
    ModuleInUse {
        /// Which.
        path: PathBuf,
    },
    /// No initialised token is the one that is meant.
    #[error("the module has no initialised token for {uri}; it has {}", listed(.labels))]
    NotFound {
        /// What was looked for.
        uri: String,
        /// Labels of those that are there.
        labels: Vec<String>,
    },
    /// Several are.
    #[error("several tokens are meant by {uri}: name the serial number too")]
    Ambiguous {
        /// What was looked for.
        uri: String,
    },
    /// Where the token was is another one.
    #[error("the token `{token}` is another than the one that was here")]
    AnotherToken {
        /// Its label.
        token: String,
    },
    /// Nobody has set the user's PIN.
    #[error("the token `{token}` has no user PIN yet: its security officer has to set one")]
    NoUserPin {
        /// Its label.
        token: String,
    },
    /// The PIN is wrong, locked or expired.
    #[error("the token `{token}` refused the PIN ({}); it was tried once, since tokens lock", words(.said))]
    PinRefused {
        /// Its label.
        token: String,
        /// What the token said.
        said: Error,
    },
    /// The token gives no more sessions.
    #[error("the token gives {most} sessions at a time, and all are in use")]
    SessionsExhausted {
        /// How many it gives.
        most: u64,
    },
    /// The token lacks what every unit needs.
    #[error("the token does not offer {mechanism}, which a unit needs")]
    MechanismMissing {
        /// What it lacks.
        mechanism: &'static str,
    },
    /// The token computes something else than the standard says.
    #[error("the token's answer for {mechanism} is wrong; it must not be used")]
    AnswerWrong {
        /// What it computes wrongly.
        mechanism: &'static str,
    },
    /// The token went away while the engine was being opened.
    #[error("the token cannot be reached at present")]
    Away,
    /// The unit's own key is not there.
    #[error("the token does not hold the keys of unit {unit}: it is not this unit's token, or was cleared")]
    KeysMissing {
        /// The unit's name on the token.
        unit: String,
    },
    /// Something under the unit's name is not what the unit made.
    #[error("an object on the token under the name of unit {unit} is not as the unit makes it: {what}")]
    ObjectInvalid {
        /// The unit's name on the token.
        unit: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The token failed on the way.
    #[error("the token failed: {}", words(.0))]
    Session(Error),
}

fn listed(labels: &[String]) -> String {
    if labels.is_empty() {
        return "none".to_owned();
    }
    let quoted: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
    quoted.join(", ")
}
