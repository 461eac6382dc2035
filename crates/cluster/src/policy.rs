//! What may be done with a command besides sending it once.

use unit_api::Command;

/// How long a command usually takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Well below a millisecond in software.
    Fast,
    /// Milliseconds.
    Medium,
    /// Seconds: no try time-out but the deadline.
    Slow,
}

/// What may be done with a request besides sending it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long it usually takes.
    pub class: Class,
    /// Whether another unit may be asked once a try has failed or its answer is overdue.
    pub repeat: bool,
    /// Whether a copy may go to another unit while the first is under way.
    pub hedge: bool,
}

impl Policy {
    /// The policy for a command. Units keep nothing, so that a lost answer loses nothing but work: everything but
    /// administration may be repeated.
    #[must_use]
    pub const fn of(command: &Command<'_>) -> Self {
        if command.is_administrative() {
            Self { class: Class::Slow, repeat: false, hedge: false }
        } else {
            Self { class: Class::Fast, repeat: true, hedge: command.may_hedge() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Policy;
    use unit_api::Command;

    #[test]
    fn administration_is_sent_once_and_new_keys_are_not_hedged() {
        let administrative = Policy::of(&Command::Administer { request: &[] });
        assert!(!administrative.repeat && !administrative.hedge);
        let random = Policy::of(&Command::GenerateRandom { len: 8 });
        assert!(random.repeat && !random.hedge);
        assert!(Policy::of(&Command::Reencipher { blob: &[] }).repeat);
    }
}
