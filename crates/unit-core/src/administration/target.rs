//! Checks that a command is for this unit, this life of its domain, and the next counter value.

use crate::env::UnitIdentity;
use unit_api::admin::{AdminBlock, AdminRequest};
use unit_api::{Target, UnitError};

/// Checks that request and block name this domain of the module. Queries are checked no further.
pub(crate) fn check_domain(
    identity: &UnitIdentity,
    request: &AdminRequest<'_>,
    block: &AdminBlock<'_>,
) -> Result<(), UnitError> {
    let named = [request.domain_index, block.target.domain_index];
    if named == [identity.domain_index; 2] { Ok(()) } else { Err(UnitError::DomainIndexMismatch) }
}

/// Checks that the command is for this module and this life of the domain.
pub(crate) fn check_target(identity: &UnitIdentity, instance: u32, target: &Target) -> Result<(), UnitError> {
    let (serial, module_instance) = identity.unit.0.split_at(8);
    let (named_serial, named_instance) = target.unit.0.split_at(8);
    if named_serial != serial {
        return Err(UnitError::ModuleSerialMismatch);
    }
    if named_instance != module_instance {
        return Err(UnitError::ModuleInstanceMismatch);
    }
    if target.domain_instance != instance {
        return Err(UnitError::DomainInstanceMismatch);
    }
    Ok(())
}

/// Checks that a command names the next counter value, and returns it. A retained command is void as soon as another
/// command was accepted.
pub(crate) fn check_counter(last: u128, named: u128) -> Result<u128, UnitError> {
    last.checked_add(1).filter(|next| *next == named).ok_or(UnitError::TransactionCounter)
}

#[cfg(test)]
mod tests {
    use super::{check_counter, check_target};
    use crate::env::UnitIdentity;
    use unit_api::admin::InstanceId;
    use unit_api::{Target, UnitError, UnitId};

    #[test]
    fn the_counter_is_the_next_and_no_other() {
        for named in 0..20 {
            let expected = if named == 8 { Ok(8) } else { Err(UnitError::TransactionCounter) };
            assert_eq!(check_counter(7, named), expected, "{named}");
        }
        assert_eq!(check_counter(u128::MAX, 0), Err(UnitError::TransactionCounter));
    }

    #[test]
    fn each_field_of_the_target_counts() {
        let unit = UnitId(*b"SERIAL01instance");
        let identity = UnitIdentity { unit, domain_index: 3, instance: InstanceId([9; 16]) };
        let right = Target { unit, domain_index: 3, domain_instance: 5 };
        assert_eq!(check_target(&identity, 5, &right), Ok(()));
        let wrong = [
            (UnitId(*b"SERIAL02instance"), 5, UnitError::ModuleSerialMismatch),
            (UnitId(*b"SERIAL01Instance"), 5, UnitError::ModuleInstanceMismatch),
            (unit, 4, UnitError::DomainInstanceMismatch),
            (unit, 6, UnitError::DomainInstanceMismatch),
        ];
        for (unit, domain_instance, expected) in wrong {
            let target = Target { unit, domain_instance, ..right };
            assert_eq!(check_target(&identity, 5, &target), Err(expected));
        }
    }
}
