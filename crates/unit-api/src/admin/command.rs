//! Which administrative commands there are, and who has to sign them.

use super::{Attributes, Permissions};

macro_rules! admin_commands {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)+) => {
        /// A command to a unit's administration, by EP11's numbers. The input of each is what its line says.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        #[non_exhaustive]
        pub enum AdminCommand { $($(#[$doc])* $name = $number,)+ }

        impl AdminCommand {
            /// Every command, for tables and tests.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The command's name, for messages and protocols.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

admin_commands! {
    /// Installs an administrator. Input: certificate.
    AddAdministrator = 2, "add administrator";
    /// Removes an administrator. Input: subject key identifier (32).
    RemoveAdministrator = 4, "remove administrator";
    /// Puts one administrator in another's place. Input: subject key identifier of the old (32), certificate of the new.
    ReplaceAdministrator = 6, "replace administrator";
    /// Sets thresholds, permissions and mode; leaves imprint mode when the thresholds are set for the first time. Input:
    /// attribute list with IDs 1–4 in order.
    SetAttributes = 8, "set attributes";
    /// Makes a fresh key pair to which key parts are encrypted. Input: type (4), 3 for P-521. Output: [`super::ImporterKey`].
    GenerateImporterKey = 9, "generate importer key";
    /// Draws a random master key, into Current when both registers are empty, else into an empty New. No input. Output:
    /// verification pattern (32).
    GenerateMasterKey = 10, "generate master key";
    /// Seals Current for an importer key. Input: [`super::ExportTarget`]. Output: sealed key part.
    ExportCurrent = 11, "export current master key";
    /// Loads New from sealed key parts. Input: one request of this same command and counter for each part, one after the
    /// other, each with signatures of its own and a [`super::KeyPartInput`] as its input. Output: verification pattern (32).
    ImportKeyParts = 12, "import master-key parts";
    /// Approves New. Input: verification pattern (32).
    CommitNew = 13, "commit new master key";
    /// Makes New Current. Input: verification pattern (32).
    ActivateNew = 14, "activate new master key";
    /// Empties the domain of all secrets and administrators, back to imprint mode. No input.
    Zeroize = 16, "zeroize";
    /// Replaces the control points. Input: bitmap (16).
    SetControlPoints = 17, "set control points";
    /// Switches control points on. Input: bitmap (16).
    AddControlPoints = 18, "add control points";
    /// Switches control points off. Input: bitmap (16).
    DeleteControlPoints = 19, "delete control points";
    /// Empties Current. No input.
    ClearCurrent = 27, "clear current master key";
    /// Empties New. No input.
    ClearNew = 28, "clear new master key";
    /// Seals New for an importer key. As [`Self::ExportCurrent`].
    ExportNew = 38, "export new master key";
    /// Who the administrators are. Output: [`super::AdministratorEntries`].
    QueryAdministrators = 0x1_0002, "query administrators";
    /// The module's certificate (DER), which its root issued.
    QueryDeviceCertificate = 0x1_0003, "query device certificate";
    /// The importer key, as when it was made; no output when there is none.
    QueryImporterKey = 0x1_0004, "query importer key";
    /// The control points (16).
    QueryControlPoints = 0x1_0006, "query control points";
    /// Current: state (1) and verification pattern (32).
    QueryCurrent = 0x1_0007, "query current master key";
    /// New: state (1) and verification pattern (32).
    QueryNew = 0x1_0008, "query new master key";
    /// The attribute list.
    QueryAttributes = 0x1_000a, "query attributes";
    /// Verification patterns of the parts that New, else Current, was combined from (32 each); none if it was not.
    QueryKeyOrigins = 0x1_000c, "query master-key origins";
    /// The audit chain. Input: first sequence number wanted (8), or nothing. Output: [`super::AuditChain`].
    QueryAudit = 0x1_0010, "query audit records";
    /// All of the domain at once. Input: a nonce of the asker's, at most [`super::MAX_NONCE_LEN`] bytes. Output:
    /// [`super::DomainInfo`].
    QueryDomain = 0x1_0100, "query domain";
}

/// Whose signatures a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignaturesNeeded {
    /// No signature.
    None,
    /// Any one administrator's.
    One,
    /// As many as the signature threshold.
    SignatureThreshold,
    /// As many as the revocation threshold.
    RevocationThreshold,
    /// As many as the higher threshold.
    HigherThreshold,
    /// As many as the signature threshold; as the higher threshold if the command lowers the revocation threshold.
    ChangeOfThresholds,
    /// As many as the signature threshold that the command sets.
    NewSignatureThreshold,
    /// Any one administrator's on every part; the request round the parts needs none.
    OneOnEachPart,
}

impl SignaturesNeeded {
    /// The number of signatures for a unit with the attributes `now`. `sets` are the attributes that the command sets, if it
    /// does and they are known.
    #[must_use]
    pub fn count(self, now: &Attributes, sets: Option<&Attributes>) -> u32 {
        let higher = now.signature_threshold.max(now.revocation_threshold);
        match self {
            Self::None => 0,
            Self::One | Self::OneOnEachPart => 1,
            Self::SignatureThreshold => now.signature_threshold,
            Self::RevocationThreshold => now.revocation_threshold,
            Self::HigherThreshold => higher,
            Self::ChangeOfThresholds => match sets {
                Some(sets) if sets.revocation_threshold < now.revocation_threshold => higher,
                _ => now.signature_threshold,
            },
            Self::NewSignatureThreshold => sets.map_or(0, |sets| sets.signature_threshold),
        }
    }
}

impl AdminCommand {
    /// The command's number, as it is signed.
    #[must_use]
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// The command with this number, if there is one.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|command| command.id() == id)
    }

    /// Whether the command changes nothing. Queries need no signature and are not counted.
    #[must_use]
    pub const fn is_query(self) -> bool {
        self.id() > 0x1_0000
    }

    /// Whether the command is about master keys or control points, which imprint mode refuses.
    #[must_use]
    pub const fn needs_secured_unit(self) -> bool {
        !self.is_query()
            && !matches!(
                self,
                Self::AddAdministrator
                    | Self::RemoveAdministrator
                    | Self::ReplaceAdministrator
                    | Self::SetAttributes
                    | Self::Zeroize
            )
    }

    /// Who has to sign the command, by whether the unit is in imprint mode and what its permissions are.
    ///
    /// In imprint mode only leaving it is signed; what imprint mode refuses needs no signature to be refused.
    ///
    /// In a secured unit an administrator leaves the list, and the revocation threshold is lowered, with as many signatures
    /// as that threshold only; zeroizing, which ends everything, is the exception.
    #[must_use]
    pub const fn signatures_needed(self, imprint: bool, permissions: Permissions) -> SignaturesNeeded {
        use SignaturesNeeded::{None, One, OneOnEachPart, RevocationThreshold, SignatureThreshold};
        if self.is_query() {
            return None;
        }
        if imprint {
            return match self {
                Self::SetAttributes => SignaturesNeeded::NewSignatureThreshold,
                _ => None,
            };
        }
        let destructive = permissions.contains(Permissions::QUORUM_DESTRUCTIVE);
        match self {
            Self::RemoveAdministrator => RevocationThreshold,
            Self::ReplaceAdministrator => SignaturesNeeded::HigherThreshold,
            Self::SetAttributes => SignaturesNeeded::ChangeOfThresholds,
            Self::GenerateImporterKey | Self::GenerateMasterKey | Self::ClearNew => One,
            Self::ImportKeyParts => OneOnEachPart,
            Self::ActivateNew | Self::ClearCurrent => {
                if destructive {
                    SignatureThreshold
                } else {
                    One
                }
            }
            Self::Zeroize => {
                if destructive || !permissions.contains(Permissions::ZERO_1SIGN) {
                    SignatureThreshold
                } else {
                    One
                }
            }
            Self::SetControlPoints | Self::AddControlPoints | Self::DeleteControlPoints => {
                if permissions.contains(Permissions::CP_1SIGN) { One } else { SignatureThreshold }
            }
            _ => SignatureThreshold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AdminCommand, SignaturesNeeded};
    use crate::admin::{Attributes, Permissions};

    #[test]
    fn numbers_lead_back_to_their_command() {
        for command in AdminCommand::ALL {
            assert_eq!(AdminCommand::from_id(command.id()), Some(*command));
        }
        assert_eq!(AdminCommand::from_id(0), None);
    }

    #[test]
    fn the_counts_are_those_of_the_documentation() {
        use SignaturesNeeded::{
            ChangeOfThresholds, HigherThreshold, None, One, OneOnEachPart, RevocationThreshold,
            SignatureThreshold,
        };
        let expected = [
            (AdminCommand::AddAdministrator, SignatureThreshold),
            (AdminCommand::RemoveAdministrator, RevocationThreshold),
            (AdminCommand::ReplaceAdministrator, HigherThreshold),
            (AdminCommand::SetAttributes, ChangeOfThresholds),
            (AdminCommand::GenerateImporterKey, One),
            (AdminCommand::GenerateMasterKey, One),
            (AdminCommand::ExportCurrent, SignatureThreshold),
            (AdminCommand::ExportNew, SignatureThreshold),
            (AdminCommand::ImportKeyParts, OneOnEachPart),
            (AdminCommand::CommitNew, SignatureThreshold),
            (AdminCommand::ActivateNew, One),
            (AdminCommand::ClearNew, One),
            (AdminCommand::ClearCurrent, One),
            (AdminCommand::SetControlPoints, SignatureThreshold),
            (AdminCommand::AddControlPoints, SignatureThreshold),
            (AdminCommand::DeleteControlPoints, SignatureThreshold),
            (AdminCommand::Zeroize, One),
        ];
        let preset = Permissions::operational();
        for (command, needed) in expected {
            assert_eq!(command.signatures_needed(false, preset), needed, "{command:?}");
            let imprint = command.signatures_needed(true, preset);
            if command == AdminCommand::SetAttributes {
                assert_eq!(imprint, SignaturesNeeded::NewSignatureThreshold);
            } else {
                assert_eq!(imprint, None, "{command:?}");
            }
        }
        let commands = AdminCommand::ALL.iter().filter(|command| !command.is_query());
        assert_eq!(commands.count(), expected.len());
    }

    #[test]
    fn lowering_the_revocation_threshold_needs_that_many() {
        let attributes = |signature_threshold, revocation_threshold| Attributes {
            signature_threshold,
            revocation_threshold,
            permissions: Permissions::operational(),
            mode: crate::admin::MODE_LEFT_IMPRINT,
        };
        let count = |now: Attributes, sets: Option<Attributes>| {
            SignaturesNeeded::ChangeOfThresholds.count(&now, sets.as_ref())
        };
        for (now, sets, expected) in [
            (attributes(2, 4), attributes(2, 4), 2),
            (attributes(2, 4), attributes(1, 4), 2),
            (attributes(2, 4), attributes(2, 5), 2),
            (attributes(2, 4), attributes(2, 3), 4),
            (attributes(4, 2), attributes(4, 1), 4),
            (attributes(3, 3), attributes(3, 1), 3),
        ] {
            assert_eq!(count(now, Some(sets)), expected, "{now:?} to {sets:?}");
        }
        assert_eq!(count(attributes(2, 4), None), 2);
        assert_eq!(SignaturesNeeded::HigherThreshold.count(&attributes(2, 4), None), 4);
        assert_eq!(SignaturesNeeded::HigherThreshold.count(&attributes(4, 2), None), 4);
    }

    #[test]
    fn permissions_move_the_counts() {
        use AdminCommand::{ActivateNew, AddControlPoints, ClearCurrent, Zeroize};
        use SignaturesNeeded::{One, SignatureThreshold};
        let plain = Permissions::operational();
        let quorum = plain.with(Permissions::QUORUM_DESTRUCTIVE);
        for command in [ActivateNew, ClearCurrent, Zeroize] {
            assert_eq!(command.signatures_needed(false, quorum), SignatureThreshold);
        }
        let no_zero = plain.without(Permissions::ZERO_1SIGN);
        assert_eq!(Zeroize.signatures_needed(false, no_zero), SignatureThreshold);
        let one = plain.with(Permissions::CP_1SIGN);
        assert_eq!(AddControlPoints.signatures_needed(false, one), One);
    }
}
