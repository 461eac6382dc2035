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

/// Options and command of `tke`.
#[derive(Clone, Debug, Args)]
pub struct TkeArgs {
    /// Options of all commands.
    #[command(flatten)]
    pub options: TkeOptions,
    /// What to do.
    #[command(subcommand)]
    pub command: TkeCommand,
}

/// What the tool can do.
#[derive(Clone, Debug, Subcommand)]
pub enum TkeCommand {
    /// List the crypto units of the instance.
    Cryptounits,
    /// Select crypto units for the commands that follow. Changes nothing in the units.
    CryptounitAdd(UnitNumbers),
    /// Deselect crypto units. Changes nothing in the units.
    CryptounitRm(UnitNumbers),
    /// Compare the selected crypto units (all, if none is selected); exit status 1 if they differ.
    CryptounitCompare,
    /// Show the administrators.
    CryptounitAdmins,
    /// Add administrators.
    CryptounitAdminAdd(AdminAddArgs),
    /// Remove an administrator.
    CryptounitAdminRm(AdminRmArgs),
    /// Show the thresholds.
    CryptounitThrhlds,
    /// Set the thresholds. The first time, this leaves imprint mode.
    CryptounitThrhldSet(ThresholdArgs),
    /// Show the master-key registers.
    #[command(visible_alias = "cryptounit-mks")]
    CryptounitMk,
    /// Load a master key from its parts into the new register.
    CryptounitMkLoad(LoadArgs),
    /// Approve the master key in the new register.
    CryptounitMkCommit(ApproveArgs),
    /// Make the committed master key the current one.
    CryptounitMkSetimm(ApproveArgs),
    /// Clear the new register.
    CryptounitMkClrnew(ClearNewArgs),
    /// Clear the current register.
    CryptounitMkClrcur(ClearCurrentArgs),
    /// Rotate to the new master key that is committed on every crypto unit. Run again, it goes on where it stopped.
    CryptounitMkRotate(RotateArgs),
    /// Show the control points.
    CryptounitCp,
    /// Switch BIP32 and SLIP10 on.
    CryptounitCpBtc(SignerArgs),
    /// Switch EdDSA and X25519 on.
    CryptounitCpEddsa(SignerArgs),
    /// Switch other ECDSA signatures on, such as Schnorr.
    CryptounitCpSigOther(SignerArgs),
    /// Erase administrators, thresholds and master keys; back to imprint mode.
    CryptounitZeroize(ZeroizeArgs),
    /// Delete the instance, once its keys are deleted and its crypto units zeroized. Says what is to be done first.
    InstanceDelete(InstanceDeleteArgs),
    /// List the signature key files.
    Sigkeys,
    /// Make a signature key file.
    SigkeyAdd(SigkeyAddArgs),
    /// Delete a signature key file.
    SigkeyRm(SigkeyRmArgs),
    /// Select the signature keys that sign.
    SigkeySel(SigkeySelArgs),
    /// List the key part files.
    Mks,
    /// Make a key part file.
    MkAdd(MkAddArgs),
    /// Delete a key part file.
    MkRm(MkRmArgs),
    /// Show smart cards.
    Cards(CardFiles),
    /// Make a CA card, and with it a zone; or a backup of one.
    CardCaInit(CaArgs),
    /// Make an EP11 card of a CA card's zone.
    CardEnroll(CardAndCaArgs),
    /// Make a signature key on a card.
    CardSigkey(CardSigkeyArgs),
    /// Make a key part on a card.
    CardPart(CardPartArgs),
    /// Copy a card to another of its zone.
    CardCopy(CardCopyArgs),
    /// Unblock an EP11 card and give it a new PIN.
    CardUnblock(CardAndCaArgs),
    /// Have a card work out the verification pattern of a master key whose parts are on cards, and sign it.
    CardPartList(PartListArgs),
    /// Set all crypto units up by the recovery-unit method. Run again, it goes on where it stopped.
    AutoInit(AutoInitArgs),
    /// Rotate to a master key that a recovery crypto unit draws. Run again, it goes on where it stopped.
    AutoMkRotate(AutoRotateArgs),
    /// Show how far a rotation of the master key is, and what comes next.
    Rotation,
    /// Cancel a rotation, as long as no crypto unit was activated.
    RotationCancel(AutoRotateArgs),
    /// Copy the master key of a recovery crypto unit to others.
    #[command(alias = "auto-recover")]
    AutoMkRecover(RecoverArgs),
    /// Bring every crypto unit to the recorded plan, from whatever it is.
    Converge(ConvergeArgs),
    /// Go on with a ceremony that was interrupted.
    Resume(ConvergeArgs),
    /// Set up the failover crypto units as the others.
    FailoverEnable(ConvergeArgs),
    /// Write a command down for others to sign.
    Propose(ProposeArgs),
    /// Show what a proposal proposes, read from the bytes that are signed.
    ProposalShow(ProposalFile),
    /// Sign a proposal.
    ProposalSign(ProposalSignArgs),
    /// Send a proposal with its signatures to its crypto unit.
    ProposalSubmit(ProposalSubmitArgs),
    /// Fetch, verify and show the crypto units' own records of what was asked of them.
    Audit(AuditArgs),
    /// Show the record of the ceremony, verified; as a document for witnesses, or as JSON.
    Protocol(ProtocolArgs),
    /// Write down who is there.
    ProtocolPerson(PersonArgs),
    /// Write a note, a step of the script or a deviation down.
    ProtocolNote(NoteArgs),
    /// End the record; sign it.
    ProtocolClose(CloseArgs),
    /// Print the script of a ceremony, for its participants.
    Script(ScriptArgs),
}

#[cfg(test)]
mod tests {
    use super::{TkeArgs, TkeOptions};
    use clap::{Args, Command};
    use std::collections::BTreeSet;

    /// An argument that bears the name of an option of all commands would take it away from its own.
    #[test]
    fn no_command_takes_a_common_option_away() {
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
