//! The command line.

use crate::commands::admins::{AdminAddArgs, AdminRmArgs, ThresholdArgs};
use crate::commands::audit::AuditArgs;
use crate::commands::auto::{AutoInitArgs, RecoverArgs};
use crate::commands::cards::{
    CaArgs, CardAndCaArgs, CardCopyArgs, CardFiles, CardPartArgs, CardSigkeyArgs, PartListArgs,
};
use crate::commands::converge::ConvergeArgs;
use crate::commands::instance_delete::InstanceDeleteArgs;
use crate::commands::keys::{SigkeyAddArgs, SigkeyRmArgs, SigkeySelArgs};
use crate::commands::master_key::{ApproveArgs, ClearCurrentArgs, ClearNewArgs, LoadArgs};
use crate::commands::parts::{MkAddArgs, MkRmArgs};
use crate::commands::proposals::{ProposalFile, ProposalSignArgs, ProposalSubmitArgs, ProposeArgs};
use crate::commands::protocol::{CloseArgs, NoteArgs, PersonArgs, ProtocolArgs, ScriptArgs};
use crate::commands::rotation::{AutoRotateArgs, RotateArgs};
use crate::commands::units::UnitNumbers;
use crate::commands::zeroize::ZeroizeArgs;
use crate::context::TkeOptions;
use crate::signers::SignerArgs;
use clap::{Args, Subcommand};

/// Options of all commands, and one command.
#[derive(Clone, Debug, Args)]
pub struct TkeArgs {
    /// Options of all commands.
    #[command(flatten)]
    pub options: TkeOptions,
    /// The command.
    #[command(subcommand)]
    pub command: TkeCommand,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum TkeCommand {
    /// List the crypto units of the instance.
    Cryptounits,
    /// Select crypto units for later commands. The units are not changed.
    CryptounitAdd(UnitNumbers),
    /// Deselect crypto units. The units are not changed.
    CryptounitRm(UnitNumbers),
    /// Compare the selected crypto units, or all if none is selected. Exit status 1 if they differ.
    CryptounitCompare,
    /// Show the modules of the selected crypto units, or of all: class of the engine, firmware, certificate.
    CryptounitModules,
    /// Accept crypto units that are in an earlier state than this folder has seen, once the reason is known.
    CryptounitAccept(UnitNumbers),
    /// Show the administrators.
    CryptounitAdmins,
    /// Add administrators.
    CryptounitAdminAdd(AdminAddArgs),
    /// Remove an administrator.
    CryptounitAdminRm(AdminRmArgs),
    /// Show the thresholds.
    CryptounitThrhlds,
    /// Set the thresholds. The first time, this ends imprint mode.
    CryptounitThrhldSet(ThresholdArgs),
    /// Show the master-key registers.
    #[command(visible_alias = "cryptounit-mks")]
    CryptounitMk,
    /// Load a master key from its parts into the new register.
    CryptounitMkLoad(LoadArgs),
    /// Commit the master key in the new register.
    CryptounitMkCommit(ApproveArgs),
    /// Activate the committed master key: move it to the current register.
    CryptounitMkSetimm(ApproveArgs),
    /// Clear the new register.
    CryptounitMkClrnew(ClearNewArgs),
    /// Clear the current register.
    CryptounitMkClrcur(ClearCurrentArgs),
    /// Rotate to the new master key that is committed on every crypto unit. Run it again after an interruption.
    CryptounitMkRotate(RotateArgs),
    /// Show the control points.
    CryptounitCp,
    /// Allow BIP32 and SLIP10.
    CryptounitCpBtc(SignerArgs),
    /// Allow EdDSA and X25519.
    CryptounitCpEddsa(SignerArgs),
    /// Allow other ECDSA signatures, such as Schnorr.
    CryptounitCpSigOther(SignerArgs),
    /// Erase administrators, thresholds and master keys. The crypto units are in imprint mode then.
    CryptounitZeroize(ZeroizeArgs),
    /// Delete the instance, once its keys are deleted and its crypto units zeroized. Lists what has to be done first.
    InstanceDelete(InstanceDeleteArgs),
    /// List the signature key files.
    Sigkeys,
    /// Generate a signature key in a new file, or import one.
    SigkeyAdd(SigkeyAddArgs),
    /// Delete a signature key file.
    SigkeyRm(SigkeyRmArgs),
    /// Select the signature keys that sign.
    SigkeySel(SigkeySelArgs),
    /// List the key part files.
    Mks,
    /// Generate or enter a key part in a new file.
    MkAdd(MkAddArgs),
    /// Delete a key part file.
    MkRm(MkRmArgs),
    /// Show smart cards.
    Cards(CardFiles),
    /// Create a CA card with a new zone, or copy one.
    CardCaInit(CaArgs),
    /// Create an EP11 card in the zone of a CA card.
    CardEnroll(CardAndCaArgs),
    /// Generate a signature key on a card, or import one.
    CardSigkey(CardSigkeyArgs),
    /// Generate a key part on a card, or enter or import one.
    CardPart(CardPartArgs),
    /// Copy the content of a card to another card of its zone.
    CardCopy(CardCopyArgs),
    /// Unblock an EP11 card and set a new PIN.
    CardUnblock(CardAndCaArgs),
    /// Calculate the verification pattern of a master key from parts on cards. A card signs the result.
    CardPartList(PartListArgs),
    /// Set up all crypto units by the recovery-unit method. Run it again after an interruption.
    AutoInit(AutoInitArgs),
    /// Rotate to a master key that a recovery crypto unit generates. Run it again after an interruption.
    AutoMkRotate(AutoRotateArgs),
    /// Show the progress of a rotation of the master key, and the next step.
    Rotation,
    /// Cancel a rotation. Possible until crypto units are activated.
    RotationCancel(AutoRotateArgs),
    /// Copy the master key of a recovery crypto unit to others.
    #[command(alias = "auto-recover")]
    AutoMkRecover(RecoverArgs),
    /// Set up every crypto unit as in the recorded plan, from any state.
    Converge(ConvergeArgs),
    /// Continue a ceremony that was interrupted.
    Resume(ConvergeArgs),
    /// Set up the failover crypto units like the others.
    FailoverEnable(ConvergeArgs),
    /// Write a command to a file for several administrators to sign.
    Propose(ProposeArgs),
    /// Show a proposal, decoded from the bytes that are signed.
    ProposalShow(ProposalFile),
    /// Sign a proposal.
    ProposalSign(ProposalSignArgs),
    /// Send a proposal with its signatures to its crypto unit.
    ProposalSubmit(ProposalSubmitArgs),
    /// Fetch, verify and show the audit records of crypto units.
    Audit(AuditArgs),
    /// Verify and show the record of a ceremony, as a document for witnesses or as JSON.
    Protocol(ProtocolArgs),
    /// Record a person who is present.
    ProtocolPerson(PersonArgs),
    /// Record a note or a deviation from the script.
    ProtocolNote(NoteArgs),
    /// Close the record and sign it.
    ProtocolClose(CloseArgs),
    /// Print the script of a ceremony for its participants.
    Script(ScriptArgs),
}

#[cfg(test)]
mod tests {
    use super::{TkeArgs, TkeOptions};
    use clap::{Args, Command};
    use std::collections::BTreeSet;

    /// An argument with the name of an option of all commands would hide that option.
    #[test]
    fn no_command_hides_a_common_option() {
        let names = |command: &Command| {
            let ids = command.get_arguments().map(|argument| argument.get_id().to_string());
            ids.collect::<BTreeSet<_>>()
        };
        let common = names(&TkeOptions::augment_args(Command::new("options")));
        let all = TkeArgs::augment_args(Command::new("tke"));
        let mut left: Vec<&Command> = all.get_subcommands().collect();
        let mut seen = 0;
        while let Some(command) = left.pop() {
            let taken: Vec<_> = names(command).intersection(&common).cloned().collect();
            assert!(taken.is_empty(), "{}: {taken:?}", command.get_name());
            left.extend(command.get_subcommands());
            seen += 1;
        }
        assert!(seen > 50, "{seen} commands");
    }
}
