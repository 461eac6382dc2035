//! The program: parses the command line, runs the command, prints its result.

use clap::Parser;
use hsm_sim::cli::{
    BackupCommand, Cli, CliCommand, ClockCommand, DemoArgs, FaultArgs, FaultCommand, HealArgs, HealKind,
    InRegionArgs, OneRegionArgs, OneUnitArgs, ReachArgs, RegionCommand, ServeUnitArgs, Switch, UnitCommand,
    UpArgs, UpgradeCommand,
};
use hsm_sim::control::backup_model::{BackupReport, RestoreRequest};
use hsm_sim::control::pair_model::{PairFault, PairHeal, PairStatus, PromoteRequest};
use hsm_sim::control::{
    ClockStatus, ControlClient, ControlError, FaultKind, FaultRequest, Status, Target, backup_table,
    backup_text, clock_table, endpoints_table, log_table, pair_table, ready_lines, replicated_line,
    report_line, restored_text, status_table, test_line,
};
use hsm_sim::output::{self, OutputError};
use hsm_sim::pair::{Pair, PairOptions, Plan, Profile, Switches, serve};
use hsm_sim::region::{Region, UpOptions, end_upgrade};
use hsm_sim::rehearse::{Rehearsal, RehearseArgs, RehearseCommand, Scenario, Verdict, VerifyArgs, verify};
use hsm_sim::unit::UnitOptions;
use hsm_sim::{demo, logging, tke, token, unit};
use serde::Serialize;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;
use unit_api::admin::InstanceId;

/// Exit status of a rehearsal that proves nothing.
const EXIT_VOID: u8 = 3;
/// Exit status of a rehearsal that was interrupted: 128 + SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

type Outcome = Result<ExitCode, Box<dyn Error>>;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    if let Err(e) = logging::init() {
        return output::fail(&e);
    }
    // Signature keys, key parts, a software unit's master key, plaintexts: every command may have secrets in memory.
    let protection = unit_server::protect_process();
    // Units say nothing that their region has said.
    if starts_service(&command) || protection.not_dumpable.is_err() {
        protection.warn();
    }
    // Connections to a region and its units are descriptors. In one place: units inherit the limit.
    if let Err(error) = server::raise_descriptor_limit() {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let outcome = match command {
        // A unit uses threads, not an async runtime.
        CliCommand::Unit { unit: UnitCommand::Serve(args) } => serve_unit(args),
        command => {
            tokio::runtime::Runtime::new().map_err(Into::into).and_then(|rt| rt.block_on(run(command)))
        }
    };
    outcome.unwrap_or_else(|error| output::fail(&*error))
}

/// Whether a person or a service manager starts this process to serve.
fn starts_service(command: &CliCommand) -> bool {
    match command {
        CliCommand::Up(_) => true,
        CliCommand::Unit { unit: UnitCommand::Serve(args) } => args.supervised_as.is_none(),
        _ => false,
    }
}

async fn run(command: CliCommand) -> Outcome {
    match command {
        CliCommand::Up(args) => up(*args).await,
        CliCommand::Demo(args) => run_demo(&args).await,
        CliCommand::Rehearse { rehearse } => run_rehearse(&rehearse).await,
        CliCommand::Tke(args) => Ok(tke::run(&args).await?),
        CliCommand::Status(reach) => {
            let status = in_region(&reach)?.status().await?;
            print_status(&reach.reach, &status)
        }
        CliCommand::Fault { fault } => set_fault(fault).await,
        CliCommand::Heal(args) => heal(args).await,
        CliCommand::Region { region } => run_region(region).await,
        CliCommand::Backup { backup } => run_backup(backup).await,
        CliCommand::Upgrade { upgrade } => end_of_upgrade(&upgrade),
        CliCommand::Clock { clock } => match clock {
            ClockCommand::Show(reach) => {
                let clock = ControlClient::reach(&reach)?.clock().await?;
                print_clock(&reach, &clock)
            }
            ClockCommand::Advance { by, reach } => {
                if by.subsec_millis() > 0 {
                    return Err("the clock moves in whole seconds".into());
                }
                let clock = ControlClient::reach(&reach)?.advance(by.as_secs()).await?;
                print_clock(&reach, &clock)
            }
        },
        CliCommand::Token { token } => Ok(token::run(&token)?),
        CliCommand::Unit { unit } => run_unit(unit).await,
    }
}

fn end_of_upgrade(command: &UpgradeCommand) -> Outcome {
    let (args, undo) = match command {
        UpgradeCommand::Confirm(args) => (args, false),
        UpgradeCommand::Undo(args) => (args, true),
    };
    end_upgrade(&args.data, undo)?;
    let data = args.data.display();
    let done = if undo {
        format!("{data} is as the earlier version left it")
    } else {
        format!("the copy of the earlier version of {data} was removed")
    };
    Ok(output::finish(&done, true)?)
}

async fn run_unit(command: UnitCommand) -> Outcome {
    let (reach, status) = match command {
        UnitCommand::Serve(args) => return serve_unit(args),
        UnitCommand::Add { zone, reach } => {
            let added = in_region(&reach)?.add_unit(zone).await?;
            return print(&reach.reach, &added, |added| {
                format!("unit {} was added\n{}", added.unit, status_table(&added.status))
            });
        }
        UnitCommand::Drain(OneUnitArgs { number, reach }) => {
            let drained = in_region(&reach)?.drain_unit(number).await?;
            (reach, drained)
        }
        UnitCommand::Resume(OneUnitArgs { number, reach }) => {
            let resumed = in_region(&reach)?.resume_unit(number).await?;
            (reach, resumed)
        }
        UnitCommand::Remove { lost, unit: OneUnitArgs { number, reach } } => {
            let left = in_region(&reach)?.remove_unit(number, lost).await?;
            (reach, left)
        }
    };
    print_status(&reach.reach, &status)
}

async fn run_backup(command: BackupCommand) -> Outcome {
    match command {
        BackupCommand::Now(reach) => {
            let made = in_region(&reach)?.back_up().await?;
            print(&reach.reach, &made, backup_table)
        }
        BackupCommand::List(reach) => {
            let list = in_region(&reach)?.backups().await?;
            print(&reach.reach, &list, backup_table)
        }
        BackupCommand::Show { name, reach } => {
            let backup = named_backup(&in_region(&reach)?, name).await?;
            print(&reach.reach, &backup, backup_text)
        }
        BackupCommand::Verify { name, reach } => {
            let client = in_region(&reach)?;
            let backup = named_backup(&client, name).await?;
            let report = client.verify_backup(&backup.name).await?;
            print(&reach.reach, &report, test_line)
        }
        BackupCommand::Restore { into, from, reach } => {
            // The region reads the file, in a directory of its own.
            let from = from.map(|path| path.canonicalize().map_err(|e| format!("{}: {e}", path.display())));
            let request = RestoreRequest { into: into.clone(), from: from.transpose()? };
            let client = ControlClient::reach(&reach)?;
            let client = match client.pair_endpoints().await {
                Ok(_) => client.in_region(Some(&into)),
                Err(_) => client,
            };
            let report = client.restore(&request).await?;
            print(&reach, &report, restored_text)
        }
    }
}

/// The backup of this name; the newest if none is named.
async fn named_backup(client: &ControlClient, name: Option<String>) -> Result<BackupReport, Box<dyn Error>> {
    let mut backups = client.backups().await?.backups;
    let Some(name) = name else {
        return backups.pop().ok_or_else(|| "no backup was made yet".into());
    };
    let found = backups.into_iter().find(|backup| backup.name == name);
    found.ok_or_else(|| {
        format!("there is no backup `{name}`; `hsm-sim backup list` shows those there are").into()
    })
}

async fn run_region(command: RegionCommand) -> Outcome {
    match command {
        RegionCommand::Status(reach) => {
            let status = ControlClient::reach(&reach)?.pair_status().await?;
            print(&reach, &status, pair_table)
        }
        RegionCommand::Ready(reach) => {
            let ready = ControlClient::reach(&reach)?.pair_status().await?.readiness();
            print(&reach, &ready, ready_lines)?;
            Ok(if ready.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        RegionCommand::Promote { home_is_down, accept_divergence, reach } => {
            let request = PromoteRequest { home_is_down, accept_divergence };
            let report = ControlClient::reach(&reach)?.pair_promote(&request).await?;
            print(&reach, &report, report_line)
        }
        RegionCommand::Return(reach) => {
            let report = ControlClient::reach(&reach)?.pair_return().await?;
            print(&reach, &report, report_line)
        }
        RegionCommand::WaitReplicated { revision, timeout, reach } => {
            let report = ControlClient::reach(&reach)?.pair_replicated(&revision, timeout).await?;
            print(&reach, &report, replicated_line)?;
            Ok(if report.replicated { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        RegionCommand::Endpoints(reach) => {
            let endpoints = ControlClient::reach(&reach)?.pair_endpoints().await?;
            print(&reach, &endpoints, endpoints_table)
        }
        RegionCommand::Log(reach) => {
            let log = ControlClient::reach(&reach)?.pair_log().await?;
            print(&reach, &log, log_table)
        }
        RegionCommand::Serve(args) => {
            serve::region(&args.part, stop_signal()?).await?;
            Ok(ExitCode::SUCCESS)
        }
        RegionCommand::Witness(args) => {
            serve::witness(&args.part, stop_signal()?).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn serve_unit(args: ServeUnitArgs) -> Outcome {
    unit::run(&UnitOptions {
        state: args.state,
        socket: args.socket,
        factory: args.factory,
        serial: args.serial,
        domain_index: args.domain,
        instance: args.instance.map(|instance| InstanceId(instance.into_bytes())),
        // Not parsed by clap, which repeats an invalid value: that may hold a PIN.
        engine: args.engine.map(|engine| engine.parse()).transpose()?,
        supervised_as: args.supervised_as,
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn up(args: UpArgs) -> Outcome {
    let profile = args.profile.unwrap_or_default();
    match Plan::of(&args.data, &args.pair())? {
        Plan::One(switches) => up_one(args, profile, &switches).await,
        Plan::Two(plan) => {
            let options = PairOptions {
                plan: *plan,
                wanted: args.wanted()?,
                accepted: args.accepted_list(),
                data: args.data,
                port: args.port,
                faults: args.faults.map(|switch| switch == Switch::On),
                hosts: args.hosts,
                backup_dir: args.backup_dir.map(std::path::absolute).transpose()?,
                ready_file: args.ready_file,
                program: None,
            };
            up_pair(options, args.show_credentials, args.supervised).await
        }
    }
}

async fn up_pair(options: PairOptions, show_credentials: bool, supervised: bool) -> Outcome {
    let mut stopped = std::pin::pin!(stop_of_up(supervised)?);
    warn_of(options.plan.profile);
    let pair = tokio::select! {
        pair = Pair::start(options) => pair?,
        // The processes end with the one that started them.
        () = &mut stopped => return Ok(ExitCode::SUCCESS),
    };
    match output::print(&pair.greeting(show_credentials)) {
        Ok(()) | Err(OutputError::Closed) => stopped.await,
        Err(e) => {
            pair.stop().await;
            return Err(e.into());
        }
    }
    tracing::info!("both regions stop; every key is kept");
    pair.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Tells what a profile promises and this program does not simulate.
fn warn_of(profile: Profile) {
    for what in profile.not_simulated() {
        tracing::warn!(%profile, "not simulated: {what}");
    }
}

async fn up_one(args: UpArgs, profile: Profile, switches: &Switches) -> Outcome {
    warn_of(profile);
    let mut stopped = std::pin::pin!(stop_of_up(args.supervised)?);
    let show_credentials = args.show_credentials;
    let starting = Region::start(UpOptions {
        wanted: args.wanted()?,
        rotation: args.rotation.map_or(switches.rotation, Into::into),
        accepted: args.accepted(),
        data: args.data,
        port: args.port,
        faults: args.faults.map(|switch| switch == Switch::On),
        hosts: args.hosts,
        backup_dir: args.backup_dir.map(std::path::absolute).transpose()?,
        ready_file: args.ready_file,
        program: None,
        pair: None,
    });
    let region = tokio::select! {
        region = starting => region?,
        // Units end with the process that started them.
        () = &mut stopped => return Ok(ExitCode::SUCCESS),
    };
    match output::print(&region.ready().greeting(show_credentials)) {
        // The region serves even if its standard output is closed; the ready file has the same information.
        Ok(()) | Err(OutputError::Closed) => stopped.await,
        Err(e) => {
            region.stop().await;
            return Err(e.into());
        }
    }
    tracing::info!("the region stops; every key is kept");
    region.stop().await;
    Ok(ExitCode::SUCCESS)
}

async fn run_demo(args: &DemoArgs) -> Outcome {
    let stopped = stop_signal()?;
    let report = tokio::select! {
        report = demo::run(args) => report?,
        // Units end with the process that started them, and a temporary directory with the future that made it.
        () = stopped => return Err("the demo was interrupted before it had a result".into()),
    };
    let text = if args.json { serde_json::to_string_pretty(&report)? } else { report.table() };
    Ok(output::finish(&text, report.is_clean())?)
}

async fn run_rehearse(command: &RehearseCommand) -> Outcome {
    match command {
        RehearseCommand::RegionLoss(args) => rehearse(Scenario::RegionLoss, args).await,
        RehearseCommand::Failback(args) => rehearse(Scenario::Failback, args).await,
        RehearseCommand::ZoneLoss(args) => rehearse(Scenario::ZoneLoss, args).await,
        RehearseCommand::Rotation(args) => rehearse(Scenario::Rotation, args).await,
        RehearseCommand::DuplicateKeys(args) => rehearse(Scenario::DuplicateKeys, args).await,
        RehearseCommand::Verify(VerifyArgs { report, key, json }) => {
            let found = verify::verify(report, key.as_deref())?;
            let text = if *json { serde_json::to_string_pretty(&found)? } else { found.text() };
            Ok(output::finish(&text, found.is_genuine)?)
        }
    }
}

async fn rehearse(scenario: Scenario, args: &RehearseArgs) -> Outcome {
    let stopped = stop_signal()?;
    let rehearsal = Rehearsal::new(scenario, args)?;
    let folder = match &args.report {
        Some(folder) if !args.plan_only => folder.clone(),
        _ => {
            let plan = rehearsal.plan();
            let text = if args.json { serde_json::to_string_pretty(plan)? } else { plan.text() };
            return Ok(output::finish(&text, true)?);
        }
    };
    let ended = rehearsal.run(&folder, stopped).await?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&ended.report)?,
        false => format!("{}\nreport: {}", ended.summary(), folder.join("report.html").display()),
    };
    let status = match ended.report.verdict {
        _ if ended.was_interrupted => EXIT_INTERRUPTED,
        Verdict::Pass | Verdict::PassWithExceptions => return Ok(output::finish(&text, true)?),
        Verdict::Fail => return Ok(output::finish(&text, false)?),
        Verdict::Void => EXIT_VOID,
    };
    match output::print(&text) {
        Ok(()) | Err(OutputError::Closed) => Ok(ExitCode::from(status)),
        Err(e) => Err(e.into()),
    }
}

/// Resolves on Ctrl-C or SIGTERM; for a process that another one supervises, also at the end of its standard input.
fn stop_of_up(supervised: bool) -> std::io::Result<impl Future<Output = ()>> {
    let signal = stop_signal()?;
    let ended = supervised.then(serve::end_of_input);
    Ok(async move {
        match ended {
            Some(ended) => tokio::select! {
                () = signal => {}
                _ = ended => {}
            },
            None => signal.await,
        }
    })
}

/// Resolves on Ctrl-C or SIGTERM.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

async fn set_fault(fault: FaultCommand) -> Outcome {
    let (kind, slow_by, FaultArgs { target, reach }) = match fault {
        FaultCommand::Kill(args) => (FaultKind::Kill, None, args),
        FaultCommand::Pause(args) => (FaultKind::Pause, None, args),
        FaultCommand::Slow { by, args } => (FaultKind::Slow, Some(by), args),
        FaultCommand::Zeroize(args) => (FaultKind::Zeroize, None, args),
        FaultCommand::Tamper(args) => (FaultKind::Tamper, None, args),
        FaultCommand::Lose(OneRegionArgs { name, reach, .. }) => {
            return break_pair(&reach, PairFault::Lose { region: name }).await;
        }
        FaultCommand::Isolate(OneRegionArgs { name, reach, .. }) => {
            return break_pair(&reach, PairFault::Isolate { region: name }).await;
        }
        FaultCommand::Cut { link, one_way, reach } => {
            return break_pair(&reach, PairFault::Cut { from: link.from, to: link.to, one_way }).await;
        }
    };
    let slow_by_ms = slow_by.map(|by: Duration| u64::try_from(by.as_millis()).unwrap_or(u64::MAX));
    let request = FaultRequest { fault: kind, target: Target::try_from(&target)?, slow_by_ms };
    let status = in_region(&reach)?.fault(&request).await?;
    print_status(&reach.reach, &status)
}

async fn break_pair(reach: &ReachArgs, fault: PairFault) -> Outcome {
    let status = ControlClient::reach(reach)?.pair_fault(&fault).await?;
    print_pair(reach, &status)
}

async fn heal(args: HealArgs) -> Outcome {
    let HealArgs { kind, names, reach } = args;
    let mut names = names.into_iter();
    let pair_heal = match (kind, names.next(), names.next()) {
        (HealKind::Region, Some(name), None) => PairHeal::Region(name),
        (HealKind::Link, Some(one), Some(other)) => PairHeal::Link(one, other),
        (HealKind::Link, _, None) => return Err("a link has two ends: heal link NAME NAME".into()),
        (HealKind::Unit | HealKind::Zone | HealKind::Region, _, Some(surplus)) => {
            return Err(format!("unexpected argument `{surplus}`").into());
        }
        (kind, name, _) => {
            let status = in_region(&reach)?.heal(&heal_target(kind, name)?).await?;
            return print_status(&reach.reach, &status);
        }
    };
    let status = ControlClient::reach(&reach.reach)?.pair_heal(&pair_heal).await?;
    print_pair(&reach.reach, &status)
}

fn heal_target(kind: HealKind, name: Option<String>) -> Result<Target, String> {
    match (kind, name) {
        (HealKind::Unit, Some(name)) => Target::unit(&name),
        (HealKind::Zone, Some(name)) => Ok(Target::Zone(name)),
        (HealKind::All, None) => Ok(Target::All),
        (HealKind::All, Some(surplus)) => Err(format!("unexpected argument `{surplus}`")),
        (_, None) | (HealKind::Region | HealKind::Link, _) => Err("name what to heal".to_owned()),
    }
}

/// A client of the region that the arguments name.
fn in_region(args: &InRegionArgs) -> Result<ControlClient, ControlError> {
    Ok(ControlClient::reach(&args.reach)?.in_region(args.region.as_deref()))
}

fn print_pair(reach: &ReachArgs, status: &PairStatus) -> Outcome {
    print(reach, status, pair_table)
}

fn print_status(reach: &ReachArgs, status: &Status) -> Outcome {
    print(reach, status, status_table)
}

fn print_clock(reach: &ReachArgs, clock: &ClockStatus) -> Outcome {
    print(reach, clock, clock_table)
}

fn print<T: Serialize>(reach: &ReachArgs, value: &T, table: impl FnOnce(&T) -> String) -> Outcome {
    let text = if reach.json { serde_json::to_string_pretty(value)? } else { table(value) };
    Ok(output::finish(&text, true)?)
}
