//! The customer's tool: `hsm-sim tke <command>`, by the names that customers of HPCS know.
//!
//! It reaches crypto units only through the service's HTTP endpoints, believes only what their modules have signed, and
//! holds signature keys and key parts in a folder that is the customer's alone.
//!
//! | module | has |
//! |---|---|
//! | `context`, `instance`, `http` | the folder and its secrets; an instance and its units; the way to them |
//! | `signers`, `parts`, `readers`, `secrets` | who signs, what is loaded, which cards are in, who is asked for a password |
//! | `selection`, `plan`, `store` | what the tool remembers: which units and keys, what the units should be |
//! | `work`, `report`, `tables` | one thing done on unit after unit; what a command says |
//! | the others | a family of commands each |
//!
//! Nothing is done to a unit before every check has passed on all of them, nothing that was done is rolled back, and what
//! is left over is said.

mod admins;
mod audit;
mod auto;
mod cards;
mod compare;
mod context;
mod control_points;
mod converge;
mod error;
mod http;
mod instance;
mod keys;
mod master_key;
mod parts;
mod plan;
mod proposals;
mod protocol;
mod readers;
mod removal;
mod report;
mod rotation;
mod secrets;
mod selection;
mod signers;
mod store;
mod tables;
mod units;
mod work;
mod zeroize;

pub use context::TkeOptions;
pub use error::TkeError;
pub use http::ServiceError;

use admins::{AdminAddArgs, AdminRmArgs, ThresholdArgs};
use audit::AuditArgs;
use auto::{AutoInitArgs, RecoverArgs};
use cards::{CaArgs, CardAndCaArgs, CardCopyArgs, CardFiles, CardPartArgs, CardSigkeyArgs, PartListArgs};
use clap::{Args, Subcommand};
use context::Context;
use converge::ConvergeArgs;
use keys::{SigkeyAddArgs, SigkeyRmArgs, SigkeySelArgs};
use master_key::{ApproveArgs, ClearCurrentArgs, ClearNewArgs, LoadArgs};
use parts::{MkAddArgs, MkRmArgs};
use proposals::{ProposalFile, ProposalSignArgs, ProposalSubmitArgs, ProposeArgs};
use protocol::{CloseArgs, NoteArgs, PersonArgs, ProtocolArgs, ScriptArgs};
use removal::InstanceDeleteArgs;
use report::Report;
use rotation::{AutoRotateArgs, RotateArgs};
use serde_json::json;
use signers::SignerArgs;
use std::process::ExitCode;
use unit_api::admin::ControlPoint;
use units::UnitNumbers;
use zeroize::ZeroizeArgs;

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

/// Carries a command out and prints what came of it.
///
/// # Errors
/// [`TkeError`]. Work that was done on some units only is no error: it is printed, and the exit status says so.
pub async fn run(args: &TkeArgs) -> Result<ExitCode, TkeError> {
    let json = args.options.json;
    match carry_out(args).await {
        Ok(report) => {
            if json {
                println!("{:#}", report.json);
            } else {
                println!("{}", report.text.trim_end());
            }
            Ok(if report.good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) if json => {
            println!("{:#}", json!({ "error": crate::cli::with_causes(&error) }));
            Err(error)
        }
        Err(error) => Err(error),
    }
}

async fn carry_out(args: &TkeArgs) -> Result<Report, TkeError> {
    let context = &Context::open(&args.options)?;
    match &args.command {
        TkeCommand::Cryptounits => units::show(context).await,
        TkeCommand::CryptounitAdd(args) => units::select(context, args, true).await,
        TkeCommand::CryptounitRm(args) => units::select(context, args, false).await,
        TkeCommand::CryptounitCompare => compare::show(context).await,
        TkeCommand::CryptounitAdmins => units::look(context, tables::administrators).await,
        TkeCommand::CryptounitAdminAdd(args) => admins::add(context, args).await,
        TkeCommand::CryptounitAdminRm(args) => admins::remove(context, args).await,
        TkeCommand::CryptounitThrhlds => units::look(context, tables::thresholds).await,
        TkeCommand::CryptounitThrhldSet(args) => admins::set_thresholds(context, args).await,
        TkeCommand::CryptounitMk => units::look(context, tables::registers).await,
        TkeCommand::CryptounitMkLoad(args) => master_key::load(context, args).await,
        TkeCommand::CryptounitMkCommit(args) => master_key::commit(context, args).await,
        TkeCommand::CryptounitMkSetimm(args) => master_key::activate(context, args).await,
        TkeCommand::CryptounitMkClrnew(args) => master_key::clear_new(context, args).await,
        TkeCommand::CryptounitMkClrcur(args) => master_key::clear_current(context, args).await,
        TkeCommand::CryptounitCp => units::look(context, tables::control_points).await,
        TkeCommand::CryptounitMkRotate(args) => rotation::rotate(context, args).await,
        TkeCommand::AutoMkRotate(args) => rotation::automatic(context, args).await,
        TkeCommand::Rotation => rotation::show(context).await,
        TkeCommand::RotationCancel(args) => rotation::cancel(context, args).await,
        TkeCommand::CryptounitCpBtc(signers) => {
            control_points::switch_on(context, "cryptounit-cp-btc", ControlPoint::Btc, signers).await
        }
        TkeCommand::CryptounitCpEddsa(signers) => {
            control_points::switch_on(context, "cryptounit-cp-eddsa", ControlPoint::AlgEc25519, signers).await
        }
        TkeCommand::CryptounitCpSigOther(signers) => {
            control_points::switch_on(context, "cryptounit-cp-sig-other", ControlPoint::EcdsaOther, signers)
                .await
        }
        TkeCommand::CryptounitZeroize(args) => zeroize::zeroize(context, args).await,
        TkeCommand::InstanceDelete(args) => removal::delete(context, args).await,
        TkeCommand::Sigkeys => keys::show(context),
        TkeCommand::SigkeyAdd(args) => keys::add(context, args),
        TkeCommand::SigkeyRm(args) => keys::remove(context, args),
        TkeCommand::SigkeySel(args) => keys::select(context, args),
        TkeCommand::Mks => parts::show(context),
        TkeCommand::MkAdd(args) => parts::add(context, args),
        TkeCommand::MkRm(args) => parts::remove(context, args),
        TkeCommand::Cards(args) => cards::show(context, args),
        TkeCommand::CardCaInit(args) => cards::init_ca(context, args),
        TkeCommand::CardEnroll(args) => cards::enroll(context, args),
        TkeCommand::CardSigkey(args) => cards::sigkey(context, args),
        TkeCommand::CardPart(args) => cards::part(context, args),
        TkeCommand::CardCopy(args) => cards::copy(context, args),
        TkeCommand::CardUnblock(args) => cards::unblock(context, args),
        TkeCommand::CardPartList(args) => cards::part_list(context, args),
        TkeCommand::AutoInit(args) => auto::init(context, args).await,
        TkeCommand::AutoMkRecover(args) => auto::recover(context, args).await,
        TkeCommand::Converge(args) => converge::all(context, args).await,
        TkeCommand::Resume(args) => converge::resume(context, args).await,
        TkeCommand::FailoverEnable(args) => converge::failover(context, args).await,
        TkeCommand::Propose(args) => proposals::propose(context, args).await,
        TkeCommand::ProposalShow(args) => proposals::show(args),
        TkeCommand::ProposalSign(args) => proposals::sign(context, args).await,
        TkeCommand::ProposalSubmit(args) => proposals::submit(context, args).await,
        TkeCommand::Audit(args) => audit::show(context, args).await,
        TkeCommand::Protocol(args) => protocol::show(context, args),
        TkeCommand::ProtocolPerson(args) => protocol::person(context, args),
        TkeCommand::ProtocolNote(args) => protocol::note(context, args),
        TkeCommand::ProtocolClose(args) => protocol::close(context, args).await,
        TkeCommand::Script(args) => protocol::script(context, args).await,
    }
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
