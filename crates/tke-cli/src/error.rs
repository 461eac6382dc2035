//! Why a command did not do what was asked, and what to do next.

use crate::client::ClientError;
use crate::connection::DiscoverError;
use std::io;
use std::path::{Path, PathBuf};
use tke::card::{CardError, PartListInvalid};
use tke::ceremony::CeremonyError;
use tke::converge::Stuck;
use tke::holder::{HpcsKeyFileError, KeyFileError, SigningError};
use tke::part::{PartFileError, PartsRefused};
use tke::plan::NoWay;
use tke::precheck::Report;
use tke::proposal::ProposalError;
use tke::protocol::{PlanInvalid, RecordError, TextInvalid};
use tke::rotation::RotationError;
use tke::secret_file::{Folder, SecretFileError};
use tke::service::{SERVICE_KEYS_VARIABLE, SERVICE_URL_VARIABLE};
use tke::unit::{PortError, UnitFault};
use tke_crypto::{CertificateInvalid, NameInvalid};
use unit_api::VerificationPattern;
use uuid::Uuid;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TkeError {
    /// No service is named, and none was found on this machine.
    #[error(transparent)]
    Discovery(DiscoverError),
    /// An address without a token.
    #[error("--url needs a bearer token in the environment: set TKE_TOKEN")]
    NoToken,
    /// An address without an instance.
    #[error("--url needs the service instance: name it with --instance")]
    NoInstance,
    /// The service did not answer, or refused.
    #[error(transparent)]
    Service(#[from] ClientError),
    /// The manufacturer's root certificate is not known yet.
    #[error(
        "the manufacturer's root certificate is not known here: name its file with --module-root. Get it from the \
         manufacturer, not from the service"
    )]
    NoRoot,
    /// The manufacturer's root certificate is none.
    #[error("{} is no root certificate of a manufacturer", path.display())]
    RootInvalid {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        source: CertificateInvalid,
    },
    /// Another root than the one that was used before.
    #[error(
        "the manufacturer's root certificate {} is not the one that this folder was first used with ({}). Either these \
         are other crypto units (use another folder: --files), or somebody is in between: find out which",
        given.display(), pinned.display()
    )]
    OtherRoot {
        /// What was given now.
        given: PathBuf,
        /// What was pinned.
        pinned: PathBuf,
    },
    /// A file of the folder, or one that the command line names.
    #[error("{} cannot be read or written", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that this program wrote, and that reads otherwise now.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// A container.
    #[error(transparent)]
    SecretFile(#[from] SecretFileError),
    /// A signature key file.
    #[error("signature key `{name}`")]
    Key {
        /// Whose.
        name: String,
        /// Why.
        source: KeyFileError,
    },
    /// A signature key file of another make.
    #[error("{} cannot be imported", path.display())]
    Import {
        /// Which.
        path: PathBuf,
        /// Why.
        source: HpcsKeyFileError,
    },
    /// A key part file.
    #[error("key part `{label}`")]
    Part {
        /// Which.
        label: String,
        /// Why.
        source: PartFileError,
    },
    /// Parts that make no master key.
    #[error("these key parts make no master key")]
    Parts(#[from] PartsRefused),
    /// A part list that is not believed.
    #[error("part list {}", path.display())]
    PartList {
        /// Which.
        path: PathBuf,
        /// Why.
        source: PartListInvalid,
    },
    /// A card.
    #[error("card {}", path.display())]
    Card {
        /// Which.
        path: PathBuf,
        /// Why.
        source: CardError,
    },
    /// A signing service, or the list of its keys.
    #[error("signing service")]
    SigningService(#[from] tke::service::ServiceError),
    /// A key of a signing service.
    #[error("key `{key}` of the signing service {url}")]
    ServiceKey {
        /// What the service calls it.
        key: String,
        /// Where the service is.
        url: String,
        /// Why.
        source: tke::service::ServiceError,
    },
    /// A signing service without keys.
    #[error(
        "{SERVICE_URL_VARIABLE} is set, and the list of the signing service's keys is missing: put it into the \
         environment as {SERVICE_KEYS_VARIABLE} or into the file {}, in the form [{{\"key\": \"…\", \"token\": \"…\"}}]",
        path.display()
    )]
    NoServiceKeys {
        /// Where it could be.
        path: PathBuf,
    },
    /// A name that is none.
    #[error("`{given}` cannot be used as a name of {what}")]
    Name {
        /// Of what.
        what: &'static str,
        /// What was given.
        given: String,
        /// Why.
        source: NameInvalid,
    },
    /// Nothing of that name.
    #[error("there is no {what} `{given}`: {hint}")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// What was given.
        given: String,
        /// Where to look.
        hint: &'static str,
    },
    /// More than one of that name.
    #[error("`{given}` names {count} of the {what}s here: give more of the identifier instead of the name")]
    Ambiguous {
        /// What was looked for.
        what: &'static str,
        /// What was given.
        given: String,
        /// How many.
        count: usize,
    },
    /// A secret is needed and there is nobody to ask.
    #[error("the {what} of `{name}` is needed and there is no terminal to ask on: name a file with {option}")]
    NoTerminal {
        /// Which secret.
        what: &'static str,
        /// Of what.
        name: String,
        /// How to give it.
        option: &'static str,
    },
    /// The secret was typed in twice, differently.
    #[error("the two entries differ; nothing was done")]
    EntriesDiffer,
    /// Nobody said yes.
    #[error("not confirmed, and nothing was done: give --yes if there is no terminal to ask on")]
    NotConfirmed,
    /// No unit is selected.
    #[error("no crypto unit is selected: select with `cryptounit-add all` or `cryptounit-add N…`")]
    NothingSelected,
    /// No signature key can sign.
    #[error(
        "no signature key is selected: select with `sigkey-sel NAME…`, or put a card into the reader with --card"
    )]
    NoSigner,
    /// The units are not as they must be for this.
    #[error("refused, and nothing was changed:{}", listed(.0))]
    Refused(Vec<String>),
    /// A check before the beginning failed.
    #[error("refused, and nothing was changed:{}", problems(.0))]
    Precheck(Report),
    /// A unit.
    #[error(transparent)]
    Unit(#[from] UnitFault),
    /// There is no way to what is wanted.
    #[error("crypto unit {unit} cannot be brought there")]
    NoWay {
        /// Which unit.
        unit: u16,
        /// Why.
        source: NoWay,
    },
    /// A unit should be looked at first.
    #[error("crypto unit {unit}")]
    Stuck {
        /// Which unit.
        unit: u16,
        /// Why.
        source: Stuck,
    },
    /// A ceremony.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// A rotation of the master key.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// A certificate could not be made.
    #[error("the administrator's certificate could not be signed")]
    Signing(#[from] SigningError),
    /// A certificate that was brought along is none.
    #[error("{} is no administrator's certificate", path.display())]
    Certificate {
        /// Which.
        path: PathBuf,
        /// Why.
        source: CertificateInvalid,
    },
    /// A proposal.
    #[error(transparent)]
    Proposal(#[from] ProposalError),
    /// The pattern to commit is not known.
    #[error(
        "which master key? Name its parts (--part, --part-card), the part list that the custodians' cards signed \
         (--part-list), or its verification pattern (--pattern). What a crypto unit says of itself is never taken"
    )]
    NoPattern,
    /// What the plan lacks.
    #[error(
        "there is no plan to go on with for instance {0}: `auto-init` or `cryptounit-thrhld-set` records one, or name a unit with --like N"
    )]
    NoPlan(Uuid),
    /// An administrator's certificate is nowhere.
    #[error(
        "the certificate of administrator `{name}` ({ski}) is not here: add the key file or card it belongs to, or its \
         certificate, with `cryptounit-admin-add`"
    )]
    NoCertificate {
        /// Whose.
        name: String,
        /// Of which key.
        ski: String,
    },
    /// Two patterns that should be one.
    #[error("the key parts combine to {worked_out}, not to {given}")]
    OtherPattern {
        /// What the parts make.
        worked_out: VerificationPattern,
        /// What was named.
        given: VerificationPattern,
    },
    /// The audit records do not fit together.
    #[error("the audit records of crypto unit {unit} do not fit together: {problem}")]
    Audit {
        /// Which unit.
        unit: u16,
        /// What is wrong.
        problem: &'static str,
    },
    /// The record of a ceremony.
    #[error("the record {}", path.display())]
    Record {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: RecordError,
    },
    /// The record of a command.
    #[error("the command was carried out, but could not be written down")]
    NotRecorded(#[source] PortError),
    /// Text that a record does not take.
    #[error("`{given}` cannot be written down")]
    Text {
        /// What was given.
        given: String,
        /// Why.
        source: TextInvalid,
    },
    /// No script for this plan.
    #[error(transparent)]
    Script(#[from] PlanInvalid),
}

impl TkeError {
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

fn problems(report: &Report) -> String {
    let line = |check: &tke::precheck::Check| {
        check.problem.as_ref().map(|problem| format!("\n  - {}: {problem}", check.what))
    };
    report.problems().filter_map(line).collect()
}

/// What the folder of signature keys and key parts is called in messages.
pub(crate) const FOLDER_VARIABLE: &str = Folder::VARIABLE;
