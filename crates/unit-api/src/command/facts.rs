//! The facts about each command, in matches without a wildcard: a new command does not compile without them.

use crate::admin::ControlPoint;
use crate::{BlobHeader, Command, Wkid};

macro_rules! command_kinds {
    ($($name:ident)+) => {
        /// A command without its arguments, in the order of the numbers on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum CommandKind { $(#[doc = concat!("[`Command::", stringify!($name), "`].")] $name,)+ }

        impl CommandKind {
            /// Every kind, in the order of the numbers on the wire.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The command's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }
        }

        impl Command<'_> {
            /// The command without its arguments.
            #[must_use]
            pub const fn kind(&self) -> CommandKind {
                match self { $(Self::$name { .. } => CommandKind::$name,)+ }
            }
        }
    };
}

command_kinds! {
    Status
    GenerateRandom
    GenerateKey
    ImportKey
    WrapKey
    UnwrapKey
    Encrypt
    Decrypt
    Sign
    Verify
    Reencipher
    Administer
}

/// How often a host may send a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repetition {
    /// Once, to the one unit that it is for: what has been carried out must not be carried out twice.
    Never,
    /// Again to another unit, once a copy has failed or its answer is overdue. The caller keeps the result, so that a
    /// superfluous copy leaves only a second key without a holder.
    Retry,
    /// As [`Self::Retry`], and to a second unit while the first copy is still under way.
    Hedge,
}

/// How long a command usually takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Well below a millisecond in software.
    Fast,
    /// Takes milliseconds.
    Medium,
    /// Seconds: an answer is overdue at the deadline alone.
    Slow,
}

impl CommandKind {
    /// The control point that must be on, together with a valid Current master key; `None` for commands that
    /// administrators cannot switch off.
    #[must_use]
    pub const fn control_point(self) -> Option<ControlPoint> {
        match self {
            Self::GenerateKey | Self::ImportKey => Some(ControlPoint::KeyGenSymm),
            Self::WrapKey => Some(ControlPoint::WrapSymm),
            Self::UnwrapKey => Some(ControlPoint::UnwrapSymm),
            Self::Encrypt => Some(ControlPoint::EncryptSymm),
            Self::Decrypt => Some(ControlPoint::DecryptSymm),
            Self::Sign => Some(ControlPoint::SignSymm),
            Self::Verify => Some(ControlPoint::SigVerifySymm),
            Self::Status | Self::GenerateRandom | Self::Reencipher | Self::Administer => None,
        }
    }

    /// Whether a unit in its error state handles the command.
    #[must_use]
    pub const fn is_handled_in_error_state(self) -> bool {
        match self {
            // Which administrative commands are carried out then is decided by what is inside.
            Self::Status | Self::Administer => true,
            Self::GenerateRandom
            | Self::GenerateKey
            | Self::ImportKey
            | Self::WrapKey
            | Self::UnwrapKey
            | Self::Encrypt
            | Self::Decrypt
            | Self::Sign
            | Self::Verify
            | Self::Reencipher => false,
        }
    }

    /// How often a host may send the command.
    #[must_use]
    pub const fn repetition(self) -> Repetition {
        match self {
            Self::Administer => Repetition::Never,
            Self::GenerateRandom | Self::GenerateKey | Self::ImportKey | Self::Reencipher => {
                Repetition::Retry
            }
            Self::Status
            | Self::WrapKey
            | Self::UnwrapKey
            | Self::Encrypt
            | Self::Decrypt
            | Self::Sign
            | Self::Verify => Repetition::Hedge,
        }
    }

    /// How long the command usually takes.
    #[must_use]
    pub const fn pace(self) -> Pace {
        match self {
            Self::Status
            | Self::GenerateRandom
            | Self::GenerateKey
            | Self::ImportKey
            | Self::WrapKey
            | Self::UnwrapKey
            | Self::Encrypt
            | Self::Decrypt
            | Self::Sign
            | Self::Verify
            | Self::Reencipher => Pace::Fast,
            Self::Administer => Pace::Slow,
        }
    }
}

impl Command<'_> {
    /// The command's name, for messages and metrics; never its content.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// Whether the command is for one unit alone: it changes who rules that unit, or which master key it holds.
    #[must_use]
    pub const fn is_administrative(&self) -> bool {
        matches!(self.kind().repetition(), Repetition::Never)
    }

    /// The master key that the command's blobs are under, as they claim; `None` for a command without blobs, or with blobs
    /// under different master keys.
    #[must_use]
    pub fn wkid(&self) -> Option<Wkid> {
        let blob = match *self {
            Self::WrapKey { kek, key, .. } => {
                let same = BlobHeader::claimed_wkid(kek) == BlobHeader::claimed_wkid(key);
                Some(kek).filter(|_| same)
            }
            Self::UnwrapKey { kek: blob, .. }
            | Self::Encrypt { key: blob, .. }
            | Self::Decrypt { key: blob, .. }
            | Self::Sign { key: blob, .. }
            | Self::Verify { key: blob, .. }
            | Self::Reencipher { blob } => Some(blob),
            Self::Status
            | Self::GenerateRandom { .. }
            | Self::GenerateKey { .. }
            | Self::ImportKey { .. }
            | Self::Administer { .. } => None,
        };
        BlobHeader::claimed_wkid(blob?).copied()
    }

    /// Bytes of the arguments of variable length.
    pub(crate) const fn payload_len(&self) -> usize {
        match *self {
            Self::Status | Self::GenerateRandom { .. } | Self::GenerateKey { .. } => 0,
            Self::ImportKey { value, .. } => value.len(),
            Self::WrapKey { kek, key, .. } => kek.len() + key.len(),
            Self::UnwrapKey { kek, wrapped, .. } => kek.len() + wrapped.len(),
            Self::Encrypt { key, aad, plaintext } => key.len() + aad.len() + plaintext.len(),
            Self::Decrypt { key, aad, ciphertext, .. } => key.len() + aad.len() + ciphertext.len(),
            Self::Sign { key, data, .. } => key.len() + data.len(),
            Self::Verify { key, data, signature, .. } => key.len() + data.len() + signature.len(),
            Self::Reencipher { blob } => blob.len(),
            Self::Administer { request } => request.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CommandKind as K, Repetition};
    use crate::Command;
    use crate::admin::ControlPoint as P;
    use engine::{MacMechanism, WrapMechanism};
    use std::vec::Vec;

    /// A command that is missing here has a control point that was never reviewed.
    #[test]
    fn every_command_has_its_control_point() {
        let expected = [
            (K::Status, None),
            (K::GenerateRandom, None),
            (K::GenerateKey, Some(P::KeyGenSymm)),
            (K::ImportKey, Some(P::KeyGenSymm)),
            (K::WrapKey, Some(P::WrapSymm)),
            (K::UnwrapKey, Some(P::UnwrapSymm)),
            (K::Encrypt, Some(P::EncryptSymm)),
            (K::Decrypt, Some(P::DecryptSymm)),
            (K::Sign, Some(P::SignSymm)),
            (K::Verify, Some(P::SigVerifySymm)),
            (K::Reencipher, None),
            (K::Administer, None),
        ];
        let found: Vec<_> = K::ALL.iter().map(|kind| (*kind, kind.control_point())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn administration_is_never_repeated_and_new_keys_are_not_hedged() {
        for kind in K::ALL {
            let administrative = matches!(kind, K::Administer);
            assert_eq!(kind.repetition() == Repetition::Never, administrative, "{kind:?}");
        }
        for kind in [K::GenerateRandom, K::GenerateKey, K::ImportKey, K::Reencipher] {
            assert_eq!(kind.repetition(), Repetition::Retry, "{kind:?}");
        }
        assert!(Command::Administer { request: &[] }.is_administrative());
    }

    #[test]
    fn a_command_is_under_the_master_key_of_its_blobs() {
        let blob = |wkid: u8| [[0; 16], [0; 16], [wkid; 16], [0; 16]].concat();
        let (five, six) = (blob(5), blob(6));
        let by = MacMechanism::AesCmac;
        assert_eq!(Command::Sign { by, key: &five, data: &[] }.wkid(), Some([5; 16]));
        assert_eq!(Command::Sign { by, key: &five[..47], data: &[] }.wkid(), None);
        let by = WrapMechanism::AesKw;
        assert_eq!(Command::WrapKey { by, kek: &five, key: &five }.wkid(), Some([5; 16]));
        assert_eq!(Command::WrapKey { by, kek: &five, key: &six }.wkid(), None);
        assert_eq!(Command::WrapKey { by, kek: &[], key: &[] }.wkid(), None);
        assert_eq!(Command::Status.wkid(), None);
    }
}
