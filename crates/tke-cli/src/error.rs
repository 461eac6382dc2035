//! Errors of commands, with advice on what to do next.

use crate::client::ClientError;
use crate::connection::DiscoverError;
use std::io;
use std::path::{Path, PathBuf};
use tke::admin_policy::NoPath;
use tke::card::{CardError, PartListInvalid};
use tke::ceremony::CeremonyError;
use tke::converge::ConvergeError;
use tke::holder::{HpcsKeyFileError, KeyFileError, SigningError};
use tke::part::{PartFileError, PartSetError};
use tke::precheck::PrecheckReport;
use tke::proposal::ProposalError;
use tke::protocol::{RecordError, RecordTextInvalid, ScriptPlanInvalid};
use tke::rotation::RotationError;
use tke::secret_file::{Folder, SecretFileError};
use tke::service::{SERVICE_KEYS_VARIABLE, SERVICE_URL_VARIABLE};
use tke::unit::{AdminUnitError, PortError};
use tke_crypto::{CertificateInvalid, NameInvalid, RevocationListInvalid};
use unit_api::VerificationPattern;
use uuid::Uuid;

/// Reason why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TkeError {
    /// No service is named, and none was found on this machine.
    #[error(transparent)]
    Discovery(DiscoverError),
    /// An address without a token.
    #[error("a service address needs a bearer token: set the environment variable TKE_TOKEN")]
    NoToken,
    /// An address without an instance.
    #[error("a service address needs the service instance: give --instance or set TKE_INSTANCE")]
    NoInstance,
    /// The service did not answer, or refused.
    #[error(transparent)]
    Service(#[from] ClientError),
    /// The manufacturer's root certificate is not known.
    #[error(
        "the root certificate of the modules' manufacturer is not known: give its file with --module-root. Get it from the \
         manufacturer, not from the service"
    )]
    NoRoot,
    /// The file is not a root certificate.
    #[error("{} is not the root certificate of a manufacturer", path.display())]
    RootInvalid {
        /// Path of the file.
        path: PathBuf,
        /// The reason.
        source: CertificateInvalid,
    },
    /// The root certificate differs from the one that was pinned.
    #[error(
        "the manufacturer's root certificate {} differs from the one that this folder was first used with ({}). Either these \
         are other crypto units (use another folder: --files), or the connection is under attack: find out which",
        given.display(), pinned.display()
    )]
    OtherRoot {
        /// The given certificate.
        given: PathBuf,
        /// The pinned certificate.
        pinned: PathBuf,
    },
    /// The file is not a revocation list of the manufacturer.
    #[error("{} is not a revocation list of the modules' manufacturer", path.display())]
    RevocationsInvalid {
        /// Path of the file.
        path: PathBuf,
        /// The reason.
        source: RevocationListInvalid,
    },
    /// The revocation list is older than one that was used before.
    #[error(
        "the revocation list {} has number {number}, and this folder was used with number {pinned} before: get the newest list \
         from the manufacturer", path.display()
    )]
    OlderRevocations {
        /// Path of the file.
        path: PathBuf,
        /// Number of the list.
        number: u64,
        /// Number of the list that was used before.
        pinned: u64,
    },
    /// The record of the ceremony has an alarm.
    #[error(
        "{} has an alarm: {what}. Nothing more is sent to crypto units in this ceremony before a person has found the reason \
         and recorded it: `protocol-note TEXT --deviation-allowed-by NAME`. Or close the record and begin another ceremony",
        path.display()
    )]
    AlarmOpen {
        /// Path of the record.
        path: PathBuf,
        /// The alarm.
        what: String,
    },
    /// An alarm could not be written into the record of the ceremony.
    #[error("ALARM, which could not be recorded: stop the ceremony")]
    AlarmNotRecorded(#[source] PortError),
    /// Error of the file system.
    #[error("{} cannot be read or written", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The content of a file of the folder is not valid.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// The reason.
        problem: &'static str,
    },
    /// A password-protected file could not be read or written.
    #[error(transparent)]
    SecretFile(#[from] SecretFileError),
    /// A signature key file could not be read or written.
    #[error("signature key `{name}`")]
    Key {
        /// Name of the key.
        name: String,
        /// The reason.
        source: KeyFileError,
    },
    /// A signature key file of HPCS could not be imported.
    #[error("{} cannot be imported", path.display())]
    Import {
        /// Path of the file.
        path: PathBuf,
        /// The reason.
        source: HpcsKeyFileError,
    },
    /// A key part file could not be read or written.
    #[error("key part `{label}`")]
    Part {
        /// Path of the file.
        label: String,
        /// The reason.
        source: PartFileError,
    },
    /// The key parts do not combine to a master key.
    #[error("these key parts do not combine to a master key")]
    Parts(#[from] PartSetError),
    /// A part list is not valid.
    #[error("part list {}", path.display())]
    PartList {
        /// Path of the file.
        path: PathBuf,
        /// The reason.
        source: PartListInvalid,
    },
    /// An operation of a card failed.
    #[error("card {}", path.display())]
    Card {
        /// Path of the file.
        path: PathBuf,
        /// The reason.
        source: CardError,
    },
    /// The signing service failed, or the list of its keys is not valid.
    #[error("signing service")]
    SigningService(#[from] tke::service::SigningServiceError),
    /// A key of the signing service could not be fetched.
    #[error("key `{key}` of the signing service {url}")]
    SigningServiceKey {
        /// Name of the key.
        key: String,
        /// Address of the service.
        url: String,
        /// The reason.
        source: tke::service::SigningServiceError,
    },
    /// The list of the signing service's keys is missing.
    #[error(
        "{SERVICE_URL_VARIABLE} is set, and the list of the signing service's keys is missing: set the environment variable \
         {SERVICE_KEYS_VARIABLE}, or write it to the file {}, in the form [{{\"key\": \"…\", \"token\": \"…\"}}]",
        path.display()
    )]
    NoServiceKeys {
        /// Path of the file that could have it.
        path: PathBuf,
    },
    /// A name is not valid.
    #[error("`{given}` cannot be used as a name of {what}")]
    Name {
        /// Kind of the named item.
        what: &'static str,
        /// The given text.
        given: String,
        /// The reason.
        source: NameInvalid,
    },
    /// There is nothing with this name.
    #[error("there is no {what} `{given}`: {hint}")]
    Unknown {
        /// Kind of the item.
        what: &'static str,
        /// The given text.
        given: String,
        /// How to get a valid name, for the user.
        hint: &'static str,
    },
    /// There are several items with this name.
    #[error(
        "there are {count} {what}s `{given}`: give the first digits of the identifier instead of the name"
    )]
    Ambiguous {
        /// Kind of the item.
        what: &'static str,
        /// The given text.
        given: String,
        /// Number of items with the name.
        count: usize,
    },
    /// A secret is needed, and there is no terminal.
    #[error(
        "the {what} of `{name}` is needed, and there is no terminal to ask on: give a file with {option}"
    )]
    NoTerminal {
        /// Kind of the secret.
        what: &'static str,
        /// Name of the item that it protects.
        name: String,
        /// Option for a file with it.
        option: &'static str,
    },
    /// The two entries of a new secret differ.
    #[error("the two entries differ; nothing was done")]
    EntriesDiffer,
    /// The command was not confirmed.
    #[error("not confirmed, and nothing was done: give --yes if there is no terminal to ask on")]
    NotConfirmed,
    /// No unit is selected.
    #[error("no crypto unit is selected: select with `cryptounit-add all` or `cryptounit-add N…`")]
    NothingSelected,
    /// No signature key is available.
    #[error(
        "no signature key is selected: select with `sigkey-sel NAME…`, or put a card into the reader with --card"
    )]
    NoSigner,
    /// The state of the units does not allow the command.
    #[error("refused, and nothing was changed:{}", listed(.0))]
    Refused(Vec<String>),
    /// A check before the command failed.
    #[error("refused, and nothing was changed:{}", problems(.0))]
    Precheck(PrecheckReport),
    /// A unit did not answer, or refused.
    #[error(transparent)]
    Unit(#[from] AdminUnitError),
    /// No sequence of operations leads to the wanted administrators and thresholds.
    #[error("crypto unit {unit} cannot be changed as requested")]
    NoPath {
        /// Number of the unit.
        unit: u16,
        /// The reason.
        source: NoPath,
    },
    /// A unit cannot be set up automatically.
    #[error("crypto unit {unit}")]
    ConvergeError {
        /// Number of the unit.
        unit: u16,
        /// The reason.
        source: ConvergeError,
    },
    /// A ceremony stopped.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// A rotation of the master key stopped.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// The certificate of an administrator could not be signed.
    #[error("the administrator's certificate could not be signed")]
    Signing(#[from] SigningError),
    /// The file is not the certificate of an administrator.
    #[error("{} is not the certificate of an administrator", path.display())]
    Certificate {
        /// Path of the file.
        path: PathBuf,
        /// The reason.
        source: CertificateInvalid,
    },
    /// A proposal was refused.
    #[error(transparent)]
    Proposal(#[from] ProposalError),
    /// The verification pattern of the master key is not known.
    #[error(
        "the master key is not named: give its parts (--part, --part-card), a part list that a card signed (--part-list), or \
         its verification pattern (--pattern). The pattern that a crypto unit reports is not used"
    )]
    NoPattern,
    /// There is no recorded plan.
    #[error(
        "there is no plan for instance {0}: `auto-init` or `cryptounit-thrhld-set` records one, or name a unit with --like N"
    )]
    NoPlan(Uuid),
    /// The certificate of an administrator is not known.
    #[error(
        "the certificate of administrator `{name}` ({ski}) is not known: add its key file, card or certificate with \
         `cryptounit-admin-add`"
    )]
    NoCertificate {
        /// Name of the administrator.
        name: String,
        /// Subject key identifier.
        ski: String,
    },
    /// The key parts do not combine to the given pattern.
    #[error("the key parts combine to {calculated}, not to {given}")]
    OtherPattern {
        /// Pattern that was calculated from the parts.
        calculated: VerificationPattern,
        /// Pattern that was given or planned.
        given: VerificationPattern,
    },
    /// The audit records are not consistent.
    #[error("the audit records of crypto unit {unit} are not consistent: {problem}")]
    Audit {
        /// Number of the unit.
        unit: u16,
        /// The reason.
        problem: &'static str,
    },
    /// The record of a ceremony could not be read or written.
    #[error("record {}", path.display())]
    Record {
        /// Path of the file.
        path: PathBuf,
        /// The reason.
        source: RecordError,
    },
    /// A command was executed, but could not be recorded.
    #[error("the command was executed, but could not be recorded")]
    NotRecorded(#[source] PortError),
    /// A text is not accepted in a record.
    #[error("`{given}` cannot be recorded")]
    Text {
        /// The given text.
        given: String,
        /// The reason.
        source: RecordTextInvalid,
    },
    /// The plan of a script is not valid.
    #[error(transparent)]
    Script(#[from] ScriptPlanInvalid),
}

impl TkeError {
    /// The number of the unit that raises an alarm, unless the ceremony has recorded it already.
    pub(crate) const fn unrecorded_alarm(&self) -> Option<u16> {
        match self {
            Self::Unit(error)
            | Self::Rotation(RotationError::Unit(error))
            | Self::Proposal(ProposalError::Unit(error)) => error.alarming_unit(),
            _ => None,
        }
    }

    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }

    pub(crate) fn card(path: &Path) -> impl FnOnce(CardError) -> Self {
        let path = path.to_owned();
        move |source| Self::Card { path, source }
    }

    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused(vec![reason.into()])
    }
}

fn listed(reasons: &[String]) -> String {
    reasons.iter().map(|reason| format!("\n  - {reason}")).collect()
}

fn problems(report: &PrecheckReport) -> String {
    let line = |check: &tke::precheck::Check| {
        check.problem.as_ref().map(|problem| format!("\n  - {}: {problem}", check.what))
    };
    report.problems().filter_map(line).collect()
}

/// Environment variable of the folder, for messages.
pub(crate) const FOLDER_VARIABLE: &str = Folder::VARIABLE;
