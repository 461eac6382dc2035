//! The state of an instance in one word.

use server::tke::InstanceState;

/// The state of an instance.
///
/// | state | units that serve | instance |
/// |---|---|---|
/// | `unkeyed` | any | none |
/// | `locked` | none | exists |
/// | `rotating` | at least one | exists, and its master key is being rotated |
/// | `degraded` | at least one | exists |
/// | `ready` | every operational unit | exists |
pub(crate) const fn instance_state(
    serving: usize,
    units: usize,
    has_instance: bool,
    rotating: bool,
) -> InstanceState {
    match (serving, has_instance) {
        (_, false) => InstanceState::Unkeyed,
        (0, true) => InstanceState::Locked,
        _ if rotating => InstanceState::Rotating,
        (serving, _) if serving == units => InstanceState::Ready,
        _ => InstanceState::Degraded,
    }
}

#[cfg(test)]
mod tests {
    use super::{InstanceState, instance_state};

    #[test]
    fn every_combination_has_its_state() {
        assert_eq!(instance_state(0, 0, false, false), InstanceState::Unkeyed);
        assert_eq!(instance_state(2, 2, false, false), InstanceState::Unkeyed);
        assert_eq!(instance_state(0, 2, true, true), InstanceState::Locked);
        assert_eq!(instance_state(2, 2, true, true), InstanceState::Rotating);
        assert_eq!(instance_state(1, 2, true, false), InstanceState::Degraded);
        assert_eq!(instance_state(2, 2, true, false), InstanceState::Ready);
    }
}
