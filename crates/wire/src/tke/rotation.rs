//! `/v1/tke/{instance}/rotation`: a rotation of the master key, as far as the service takes part in it.
//!
//! Loading, committing and activating the new master key is the administrators' work, by administrative requests.

use super::Pattern;
use super::words::words;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Body of `POST …/rotation`. Every action can be repeated, and is answered with the status after it.
///
/// `exclude` holds numbers of units that are given up: they have to be loaded again before they can serve.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase", deny_unknown_fields)]
pub enum RotationAction {
    /// Begin the rotation, once every unit has the new master key committed.
    Begin {
        /// Units that are given up.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        exclude: Vec<u16>,
        /// The new master key.
        pattern: Pattern,
    },
    /// Continue with keys that are not re-enciphered or cleaned up yet, after an interruption.
    Reencipher {},
    /// Announce that units will be activated. From here the rotation cannot be cancelled.
    Activate {
        /// Units that are given up.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        exclude: Vec<u16>,
    },
    /// Make the new master key the instance's, once every unit has it in its current register.
    Finish {
        /// Units that are given up.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        exclude: Vec<u16>,
    },
    /// Cancel the rotation and keep the old master key.
    Cancel {},
}

/// Body of every response of `…/rotation`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RotationStatus {
    /// Identifier of the rotation. `None` while none is under way; then `phase`, `old` and `new` are `None` too.
    pub id: Option<Uuid>,
    /// Phase that the rotation is in.
    pub phase: Option<RotationPhase>,
    /// Master key that the rotation began with.
    pub old: Option<Pattern>,
    /// Master key that the rotation leads to.
    pub new: Option<Pattern>,
    /// Key versions that the present phase has processed, in all instances.
    pub done: u64,
    /// Key versions that existed when the rotation began.
    pub total: u64,
    /// Whether the rotation can be cancelled.
    pub cancellable: bool,
    /// The step to take next.
    pub next: RotationStep,
    /// `next` as a sentence for people, with the units concerned.
    pub advice: String,
    /// Sentences for steps that may be taken in addition or instead. No other step is safe.
    pub also: Vec<String>,
}

words! {
    /// Phase of a rotation.
    RotationPhase: "rotation phase" {
        /// Keys are being enciphered under the new master key, in addition to the old one.
        ReEnciphering = "re-enciphering",
        /// Every key is enciphered under both master keys.
        ReEnciphered = "re-enciphered",
        /// Units are being activated. The rotation cannot be cancelled any more.
        Activating = "activating",
        /// The new master key is the instance's; key forms under the old one are being removed.
        Finishing = "finishing",
        /// No key form under the old master key is left.
        Done = "done",
        /// The old master key stays; key forms under the new one are being removed.
        Cancelling = "cancelling",
    }
}

impl RotationPhase {
    /// Whether the service works through the keys in this phase, and a client waits for it.
    #[must_use]
    pub const fn processes_keys(self) -> bool {
        match self {
            Self::ReEnciphering | Self::Finishing | Self::Cancelling => true,
            Self::ReEnciphered | Self::Activating | Self::Done => false,
        }
    }
}

words! {
    /// One step of a rotation. Each can be repeated after an interruption.
    RotationStep: "rotation step" {
        /// No rotation is under way, and the units are as they should be.
        Nothing = "nothing",
        /// Make unreachable units answer, or exclude them.
        Reach = "reach",
        /// Load the new master key into units that lack it.
        Load = "load",
        /// Commit the new master key on units where it is loaded.
        Commit = "commit",
        /// Clear the new master-key register of units.
        ClearNew = "clear-new",
        /// Send [`RotationAction::Begin`].
        Begin = "begin",
        /// Send [`RotationAction::Reencipher`].
        Reencipher = "reencipher",
        /// Send [`RotationAction::Activate`].
        BeginActivation = "begin-activation",
        /// Activate the new master key on units that have it committed.
        Activate = "activate",
        /// Send [`RotationAction::Finish`].
        Finish = "finish",
        /// Send [`RotationAction::Reencipher`]: key forms under the old master key are left.
        RemoveOldForms = "remove-old-forms",
        /// Send [`RotationAction::Cancel`].
        Cancel = "cancel",
        /// Send [`RotationAction::Reencipher`]: key forms under the cancelled master key are left.
        RemoveNewForms = "remove-new-forms",
        /// Load the instance's master key into units that hold another one.
        Reload = "reload",
        /// Load the old master key into a unit again: none can re-encipher the keys that are left.
        RestoreOld = "restore-old",
        /// The stored data contradict each other; restore the keystore.
        Contradiction = "contradiction",
    }
}
