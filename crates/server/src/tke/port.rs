//! What the endpoints ask of the node behind them.

use kms::rotation::{Advice, RegionError, RegionStatus, Step};
use kms::{InstanceError, InstanceId, KmsError, RemovalError};
use std::error::Error;
use std::io;
use std::sync::Arc;
use unit_api::{Refusal, UnitId, VerificationPattern};
use uuid::Uuid;
use wire::tke::KeptAudit;
pub use wire::tke::{InstanceState, UnitLifecycle};

/// The part of a serving node that customers' tools can reach.
pub trait Administration: Send + Sync + 'static {
    /// The instances that the node serves. The crypto units belong to the first; the others share them.
    fn instances(&self) -> Vec<InstanceId>;

    /// The crypto units, in the order of their numbers, without asking them anything.
    fn units(&self) -> Vec<AdministeredUnit>;

    /// The crypto units, in the order of their numbers, with the state of each at this moment.
    fn lifecycles(&self) -> impl Future<Output = Vec<(AdministeredUnit, UnitLifecycle)>> + Send;

    /// Sends the DER of an administrative request to one unit, returns the DER of its response, and records both in the
    /// audit log.
    ///
    /// # Errors
    /// [`ForwardError`] if there is no response.
    fn forward(&self, request: ForwardedRequest<'_>) -> impl Future<Output = ForwardResult> + Send;

    /// Audit records of a unit that the node has kept, from record `first`; `None` if it keeps none.
    ///
    /// # Errors
    /// The operating system's.
    fn kept_audit(
        &self,
        unit: &AdministeredUnit,
        first: u64,
    ) -> impl Future<Output = io::Result<Option<KeptAudit>>> + Send;

    /// The master key that the keystore is under.
    ///
    /// # Errors
    /// [`InstanceError`] if the keystore cannot be read.
    fn keystore(&self) -> impl Future<Output = Result<KeystoreReport, InstanceError>> + Send;

    /// Carries out an action of a rotation of the master key and returns the status after it.
    ///
    /// # Errors
    /// [`RotationFailure`]; every action can be repeated.
    fn rotation(
        &self,
        action: RotationAction,
    ) -> impl Future<Output = Result<RotationReport, RotationFailure>> + Send;

    /// Removes an instance whose keys are deleted, or are given up with `destroy_keys`, and whose units are zeroized.
    ///
    /// # Errors
    /// [`RemovalFailure`]; an interrupted removal is completed by repeating it.
    fn remove_instance(
        &self,
        caller: &Arc<str>,
        instance: InstanceId,
        destroy_keys: bool,
    ) -> impl Future<Output = Result<RemovalOutcome, RemovalFailure>> + Send;
}

/// Purpose of a crypto unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnitKind {
    /// Serves requests.
    Operational,
    /// Generates master keys and keeps a copy of the instance's.
    Recovery,
    /// Stands by in another region.
    Failover,
}

/// A crypto unit as the operator lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdministeredUnit {
    /// Number in the instance, from 1.
    pub number: u16,
    /// Whether it serves keys, generates master keys or stands by.
    pub kind: UnitKind,
    /// Location, as `[region].[zone].[module].[domain]`.
    pub location: String,
    /// Index of the domain in its module.
    pub domain: u32,
    /// Serial number and instance of the module.
    pub id: UnitId,
}

/// An administrative request on its way to a unit.
#[derive(Clone, Copy, Debug)]
pub struct ForwardedRequest<'a> {
    /// Authenticated sender.
    pub caller: &'a str,
    /// Unit that the request is for.
    pub unit: &'a AdministeredUnit,
    /// Identifier of the addressee in paths.
    pub hsm_id: Uuid,
    /// DER of the request.
    pub der: &'a [u8],
}

/// DER of the unit's response.
pub type ForwardResult = Result<Vec<u8>, ForwardError>;

/// Why a forwarded request has no response.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The unit is not in the directory any more. Nothing was sent.
    #[error("the crypto unit was removed from the instance")]
    Removed,
    /// There is no connection to the unit. Nothing was sent.
    #[error("the crypto unit is unreachable")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// The request does not fit a frame. Nothing was sent.
    #[error("the request is too long for a frame of {} bytes", unit_api::MAX_FRAME_LEN)]
    TooLong,
    /// The unit refused the frame without executing the request.
    #[error("the crypto unit refused the frame")]
    Refused(#[source] Refusal),
    /// The request was sent and no response came in time.
    #[error("the crypto unit did not respond in time")]
    DeadlineExceeded(#[source] Box<dyn Error + Send + Sync>),
    /// The request was sent and the connection ended before the response.
    #[error("the connection to the crypto unit was lost")]
    Lost(#[source] Box<dyn Error + Send + Sync>),
    /// The unit responded to an administrative request with another kind of response.
    #[error("the crypto unit sent a response of the wrong kind")]
    UnexpectedResponse,
}

impl ForwardError {
    /// Whether the unit may have executed the request.
    #[must_use]
    pub const fn may_have_executed(&self) -> bool {
        match self {
            Self::Removed | Self::Unreachable(_) | Self::TooLong | Self::Refused(_) => false,
            Self::DeadlineExceeded(_) | Self::Lost(_) | Self::UnexpectedResponse => true,
        }
    }
}

/// The keystore as tools need to know it before they change a unit's master key.
#[derive(Clone, Copy, Debug)]
pub struct KeystoreReport {
    /// Master key of every key; `None` while the keystore has no instance.
    pub pattern: Option<VerificationPattern>,
    /// Master key that a rotation under way leads to.
    pub next: Option<VerificationPattern>,
    /// Number of keys in all instances, including destroyed keys that are not purged; `None` while no unit can open
    /// their records.
    pub keys: Option<usize>,
    /// State of the instance.
    pub state: InstanceState,
}

/// An action of a rotation of the master key. `exclude` holds the numbers of units that are given up.
#[derive(Clone, Debug)]
pub enum RotationAction {
    /// None: only the status is wanted.
    Show,
    /// Begin, once every unit has the new master key committed.
    Begin {
        /// The new master key.
        new: VerificationPattern,
        /// Units that are given up.
        exclude: Vec<u16>,
    },
    /// Continue with keys that are not processed yet.
    Continue,
    /// Announce that units will be activated.
    BeginActivation {
        /// Units that are given up.
        exclude: Vec<u16>,
    },
    /// Make the new master key the instance's.
    Finish {
        /// Units that are given up.
        exclude: Vec<u16>,
    },
    /// Cancel and keep the old master key.
    Cancel,
}

/// A rotation of the master key, and what to do next.
#[derive(Clone, Debug)]
pub struct RotationReport {
    /// Status of every instance.
    pub status: RegionStatus,
    /// Next step.
    pub advice: Advice,
}

/// Why an action of a rotation was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum RotationFailure {
    /// There is no instance yet.
    #[error("no instance is open yet: {0}")]
    NotOpen(String),
    /// Another step comes first.
    #[error("not now: {}", .0)]
    NotNow(Box<Step>),
    /// The key service refused or failed.
    #[error("the rotation did not go on")]
    Region(#[from] RegionError),
    /// The step was recorded, but the host still works with the old master-key proofs.
    #[error("the step was recorded, but the host could not refresh the units' master-key proofs; retry")]
    Proofs(#[source] InstanceError),
}

/// Result of a removal.
#[derive(Clone, Debug)]
pub enum RemovalOutcome {
    /// The instance is gone.
    Removed {
        /// Keystore entries that were deleted; 0 if the instance did not exist.
        entries: usize,
    },
    /// Nothing was removed.
    Refused(RemovalObstacles),
}

/// Everything that prevents the removal of an instance.
#[derive(Clone, Debug, Default)]
pub struct RemovalObstacles {
    /// Units that are not known to be zeroized, each with the reason, which has no subject.
    pub units: Vec<(u16, String)>,
    /// Keys that are left.
    pub keys: usize,
    /// No unit can open the key records: `keys` counts deleted keys too.
    pub unreadable: bool,
}

/// Why a removal failed.
#[derive(Debug, thiserror::Error)]
pub enum RemovalFailure {
    /// The keystore failed, or the instance changed meanwhile.
    #[error(transparent)]
    Removal(#[from] RemovalError),
    /// The keys could not be counted.
    #[error(transparent)]
    Count(#[from] KmsError),
}
