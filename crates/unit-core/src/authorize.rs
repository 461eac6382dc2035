//! Who may ask for what.

use crate::state::State;
use unit_api::{Command, Envelope, Refusal, UnitError};

/// A command that the unit has found itself bound to carry out. Only [`authorize`] makes one.
pub(crate) struct AuthorizedCommand<'a> {
    command: Command<'a>,
}

impl<'a> AuthorizedCommand<'a> {
    pub(crate) const fn command(&self) -> Command<'a> {
        self.command
    }
}

/// Holds an envelope against what the unit is and has done.
///
/// No administrator is installed, so that no signature can be right and none is asked for. A target that is given
/// is this unit's, in this life of its domain; a counter that is given is the unit's plus one.
pub(crate) fn authorize<'a>(
    state: &State,
    envelope: &Envelope<'a>,
) -> Result<AuthorizedCommand<'a>, Refusal> {
    if !envelope.signatures.is_empty() {
        return Err(UnitError::SignaturesNotAccepted.into());
    }
    if envelope.target.is_some_and(|target| target != state.target()) {
        return Err(UnitError::TargetMismatch.into());
    }
    let counter = envelope.transaction_counter;
    if counter != 0 && Some(counter) != state.transaction_counter.checked_add(1) {
        return Err(UnitError::TransactionCounter.into());
    }
    Ok(AuthorizedCommand { command: envelope.command })
}

#[cfg(test)]
mod tests {
    use super::authorize;
    use crate::env::Identity;
    use crate::state::State;
    use unit_api::{Command, Envelope, Target, UnitError, UnitId};

    fn state() -> State {
        let identity = Identity { unit: UnitId([1; 16]), domain_index: 3 };
        State { transaction_counter: 7, ..State::first(identity) }
    }

    fn refusal(envelope: &Envelope<'_>) -> Option<UnitError> {
        authorize(&state(), envelope).err().map(|refusal| refusal.unit_error().unwrap())
    }

    #[test]
    fn plain_commands_pass() {
        assert_eq!(refusal(&Envelope::plain(Command::ClearNew)), None);
    }

    #[test]
    fn the_counter_is_the_next_or_none() {
        for counter in 0..20 {
            let envelope = Envelope { transaction_counter: counter, ..Envelope::plain(Command::ClearNew) };
            let expected =
                if counter == 0 || counter == 8 { None } else { Some(UnitError::TransactionCounter) };
            assert_eq!(refusal(&envelope), expected, "{counter}");
        }
    }

    #[test]
    fn each_field_of_the_target_counts() {
        let right = state().target();
        let targets = [
            (right, None),
            (Target { unit: UnitId([2; 16]), ..right }, Some(UnitError::TargetMismatch)),
            (Target { domain_index: 4, ..right }, Some(UnitError::TargetMismatch)),
            (Target { domain_instance: 0, ..right }, Some(UnitError::TargetMismatch)),
        ];
        for (target, expected) in targets {
            let envelope = Envelope { target: Some(target), ..Envelope::plain(Command::ClearNew) };
            assert_eq!(refusal(&envelope), expected, "{target:?}");
        }
    }

    #[test]
    fn a_signature_is_by_nobody() {
        let envelope = Envelope { signatures: &[0], ..Envelope::plain(Command::Status) };
        assert_eq!(refusal(&envelope), Some(UnitError::SignaturesNotAccepted));
    }
}
