//! Queries, which are unsigned and answer with public state.

use crate::domain::Domain;
use crate::state::State;
use unit_api::admin::{
    AdminCommand, AdministratorEntries, AdministratorEntry, DomainInfo, MAX_ADMINISTRATORS, MAX_NONCE_LEN,
};
use unit_api::{Condition, NewRegister, UnitError, VerificationPattern};

/// The unit's public values, for queries.
pub(crate) struct QueryContext<'a> {
    pub(crate) state: &'a State,
    pub(crate) boot_nonce: [u8; 16],
    pub(crate) condition: Condition,
    /// Certificate of the module's attestation key, DER.
    pub(crate) certificate: &'a [u8],
}

/// Whether a unit in its error state answers the query: identity, audit records and condition are shown.
pub(crate) const fn is_answered_in_error(command: AdminCommand) -> bool {
    matches!(
        command,
        AdminCommand::QueryDomain | AdminCommand::QueryDeviceCertificate | AdminCommand::QueryAudit
    )
}

/// Writes the answer to the start of `output` and returns its length. The caller answers queries for the importer key.
pub(crate) fn answer(
    context: &QueryContext<'_>,
    command: AdminCommand,
    input: &[u8],
    output: &mut [u8],
) -> Result<usize, UnitError> {
    let State { identity, domain, audit, .. } = context.state;
    if !input.is_empty() && !matches!(command, AdminCommand::QueryAudit | AdminCommand::QueryDomain) {
        return Err(UnitError::RequestMalformed);
    }
    match command {
        AdminCommand::QueryAdministrators => copy(administrator_bytes(domain), output),
        AdminCommand::QueryDeviceCertificate => copy(context.certificate.iter().copied(), output),
        AdminCommand::QueryControlPoints => copy(domain.control_points.to_bytes(), output),
        AdminCommand::QueryCurrent => {
            let (state, pattern) = domain.registers.current().map_or((0, NO_PATTERN), |key| (1, key.pattern));
            copy([state].into_iter().chain(*pattern.as_bytes()), output)
        }
        AdminCommand::QueryNew => {
            let (state, pattern) = match domain.registers.shown_new() {
                NewRegister::Empty => (0, NO_PATTERN),
                NewRegister::FullUncommitted(pattern) => (1, pattern),
                NewRegister::FullCommitted(pattern) => (2, pattern),
            };
            copy([state].into_iter().chain(*pattern.as_bytes()), output)
        }
        AdminCommand::QueryAttributes => copy(domain.attributes.to_bytes(), output),
        AdminCommand::QueryKeyOrigins => {
            let key = domain.registers.new_key().or(domain.registers.current());
            let patterns = key.into_iter().flat_map(|key| key.origins.iter());
            copy(patterns.flat_map(|pattern| pattern.as_bytes()).copied(), output)
        }
        AdminCommand::QueryAudit => {
            let first = match input {
                [] => 0,
                number => {
                    number.try_into().map(u64::from_be_bytes).map_err(|_| UnitError::RequestMalformed)?
                }
            };
            audit.write_chain(first, output).map(<[u8]>::len)
        }
        AdminCommand::QueryDomain => {
            if input.len() > MAX_NONCE_LEN {
                return Err(UnitError::RequestMalformed);
            }
            let mut entries = [0; MAX_ADMINISTRATORS * AdministratorEntry::LEN];
            let len = copy(administrator_bytes(domain), &mut entries)?;
            let info = DomainInfo {
                current: domain.registers.current().map(|key| key.pattern),
                new: domain.registers.shown_new(),
                attributes: domain.attributes,
                control_points: domain.control_points,
                instance: identity.instance,
                boot_nonce: context.boot_nonce,
                condition: context.condition,
                administrators: u8::try_from(domain.administrators.count()).unwrap_or(u8::MAX),
                audit_records: audit.records(),
                audit_head: audit.head(),
                administrators_digest: AdministratorEntries::digest(entries.get(..len).unwrap_or_default()),
                nonce: input,
            };
            info.encode(output).map(<[u8]>::len).map_err(|_| UnitError::ResponseTooLong)
        }
        _ => Err(UnitError::CommandUnknown),
    }
}

/// The list of administrators, as it is shown.
fn administrator_bytes(domain: &Domain) -> impl Iterator<Item = u8> {
    domain.administrators.iter().flat_map(|administrator| administrator.entry.to_bytes())
}

/// Shown as the pattern of an empty register.
const NO_PATTERN: VerificationPattern = VerificationPattern::from_bytes([0; 32]);

fn copy(bytes: impl IntoIterator<Item = u8>, output: &mut [u8]) -> Result<usize, UnitError> {
    let mut places = output.iter_mut();
    let mut len = 0;
    for byte in bytes {
        *places.next().ok_or(UnitError::ResponseTooLong)? = byte;
        len += 1;
    }
    Ok(len)
}
