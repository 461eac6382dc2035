//! An instance's state in one word.

use super::service::Service;

/// | state | units that serve | keystore |
/// |---|---|---|
/// | `unkeyed` | any | empty |
/// | `locked` | none | not empty |
/// | `rotating` | some, and the master key is being rotated | |
/// | `degraded` | some | |
/// | `ready` | every operational one | |
pub(super) fn of(service: &Service, has_instance: bool) -> &'static str {
    let units = service.host().map(host::Host::units).unwrap_or_default();
    let rotating = service.host().is_some_and(|host| host.next_pattern().is_some());
    in_one_word(units.iter().filter(|unit| unit.in_use).count(), units.len(), has_instance, rotating)
}

const fn in_one_word(serving: usize, units: usize, has_instance: bool, rotating: bool) -> &'static str {
    match (serving, has_instance) {
        (_, false) => "unkeyed",
        (0, true) => "locked",
        _ if rotating => "rotating",
        (serving, _) if serving == units => "ready",
        _ => "degraded",
    }
}

#[cfg(test)]
mod tests {
    use super::in_one_word;

    #[test]
    fn every_state_has_its_word() {
        assert_eq!(in_one_word(0, 0, false, false), "unkeyed");
        assert_eq!(in_one_word(2, 2, false, false), "unkeyed");
        assert_eq!(in_one_word(0, 2, true, true), "locked");
        assert_eq!(in_one_word(2, 2, true, true), "rotating");
        assert_eq!(in_one_word(1, 2, true, false), "degraded");
        assert_eq!(in_one_word(2, 2, true, false), "ready");
    }
}
