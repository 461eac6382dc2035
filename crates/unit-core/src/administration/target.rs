//! Whether a command is for this unit, in this life, now.

use crate::env::Identity;
use unit_api::admin::{AdminBlock, AdminRequest};
use unit_api::{Target, UnitError};

/// Whether request and block name this domain of the module. Of a query no more is asked.
pub(crate) fn check_domain(
    identity: &Identity,
    request: &AdminRequest<'_>,
    block: &AdminBlock<'_>,
) -> Result<(), UnitError> {
    let named = [request.domain_index, block.target.domain_index];
    if named == [identity.domain_index; 2] { Ok(()) } else { Err(UnitError::DomainIndexMismatch) }
}

/// Whether the command is for this module and this life of the domain.
pub(crate) fn check_target(identity: &Identity, instance: u32, target: &Target) -> Result<(), UnitError> {
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

/// The counter after a command that names the one that is next. No other is taken: a command that somebody has kept is
/// void as soon as another one was carried out.
pub(crate) fn check_counter(last: u128, named: u128) -> Result<u128, UnitError> {
    last.checked_add(1).filter(|next| *next == named).ok_or(UnitError::TransactionCounter)
}

#[cfg(test)]
mod tests {
    use super::{check_counter, check_target};
    use crate::env::Identity;
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
        let identity = Identity { unit, domain_index: 3, instance: InstanceId([9; 16]) };
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
