//! The customer's commands, with the names of the HPCS tools: `cryptounit-add`, `cryptounit-mk-load`, `auto-init`, …
//!
//! The commands reach crypto units only through the service's HTTP endpoints, accept only responses that a unit's module has
//! signed, and keep signature keys and key parts in a folder of the customer. They know the service by its protocol
//! ([`wire::tke`]) alone: a program that embeds them implements the ports [`Console`] and [`Discover`].
//!
//! | module | content |
//! |---|---|
//! | `args`, `commands` | the command line; a family of commands in each module |
//! | `console`, `connection` | ports: where commands print and ask; which service they work on |
//! | `context`, `instance`, `client` | folder and secrets; an instance and its units; the HTTP client |
//! | `signers`, `readers`, `secrets` | signature keys, inserted cards, passwords and PINs |
//! | `selection`, `plan`, `store` | files of the folder: selected units and keys, and the recorded plan |
//! | `work`, `report`, `tables` | one command on several units; output |
//!
//! Invariants:
//! - No unit is changed before every check has passed on all units.
//! - Nothing is rolled back; the result names the units that are done and those that are left.
//! - A secret is never printed, logged, or taken from the command line.

mod args;
mod client;
mod commands;
mod connection;
mod console;
mod context;
mod duration;
mod error;
mod instance;
mod plan;
mod readers;
mod report;
mod secrets;
mod seen;
mod selection;
mod signers;
mod store;
mod tables;
mod work;

pub use args::{TkeArgs, TkeCommand};
pub use client::ClientError;
pub use connection::{Connection, Discover, DiscoverError};
pub use console::{Console, Progress, ProgressKind};
pub use context::TkeOptions;
pub use duration::parse_duration;
pub use error::TkeError;

use commands::{
    admins, audit, auto, cards, compare, control_points, converge, instance_delete, keys, master_key, parts,
    proposals, protocol, rotation, units, zeroize,
};
use context::Context;
use report::Report;
use serde_json::json;
use std::process::ExitCode;
use unit_api::admin::ControlPoint;
use wire::text::error_chain;

/// Runs a command and prints its result.
///
/// # Errors
/// [`TkeError`]. A command that succeeded on some units only is not an error: the result is printed, and the exit status is
/// a failure.
pub async fn run(
    args: &TkeArgs,
    console: &dyn Console,
    discover: &dyn Discover,
) -> Result<ExitCode, TkeError> {
    let json = args.options.json;
    match execute(args, console, discover).await {
        Ok(report) => {
            if json {
                console.result(&format!("{:#}", report.json));
            } else {
                console.result(report.text.trim_end());
            }
            Ok(if report.good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) if json => {
            console.result(&format!("{:#}", json!({ "error": error_chain(&error) })));
            Err(error)
        }
        Err(error) => Err(error),
    }
}

async fn execute(args: &TkeArgs, console: &dyn Console, discover: &dyn Discover) -> Result<Report, TkeError> {
    let context = &Context::open(&args.options, console, discover)?;
    let result = command(args, context).await;
    if let Err(error) = &result
        && let Some(unit) = error.unrecorded_alarm()
    {
        protocol::alarm(context, unit, &error_chain(error))?;
    }
    result
}

async fn command(args: &TkeArgs, context: &Context<'_>) -> Result<Report, TkeError> {
    match &args.command {
        TkeCommand::Cryptounits => units::show(context).await,
        TkeCommand::CryptounitAdd(args) => units::select(context, args, true).await,
        TkeCommand::CryptounitRm(args) => units::select(context, args, false).await,
        TkeCommand::CryptounitCompare => compare::show(context).await,
        TkeCommand::CryptounitAdmins => units::show_table(context, tables::administrators).await,
        TkeCommand::CryptounitAdminAdd(args) => admins::add(context, args).await,
        TkeCommand::CryptounitAdminRm(args) => admins::remove(context, args).await,
        TkeCommand::CryptounitModules => units::show_table(context, tables::modules).await,
        TkeCommand::CryptounitAccept(args) => units::accept(context, args).await,
        TkeCommand::CryptounitThrhlds => units::show_table(context, tables::thresholds).await,
        TkeCommand::CryptounitThrhldSet(args) => admins::set_thresholds(context, args).await,
        TkeCommand::CryptounitMk => units::show_table(context, tables::registers).await,
        TkeCommand::CryptounitMkLoad(args) => master_key::load(context, args).await,
        TkeCommand::CryptounitMkCommit(args) => master_key::commit(context, args).await,
        TkeCommand::CryptounitMkSetimm(args) => master_key::activate(context, args).await,
        TkeCommand::CryptounitMkClrnew(args) => master_key::clear_new(context, args).await,
        TkeCommand::CryptounitMkClrcur(args) => master_key::clear_current(context, args).await,
        TkeCommand::CryptounitCp => units::show_table(context, tables::control_points).await,
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
        TkeCommand::InstanceDelete(args) => instance_delete::delete(context, args).await,
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

/// Runs the examples of the README as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
