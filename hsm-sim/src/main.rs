//! The program: parses the command line, runs the command, prints its result.

use clap::Parser;
use hsm_sim::cli::{
    Cli, CliCommand, ClockCommand, DemoArgs, FaultArgs, FaultCommand, OneUnitArgs, ReachArgs, ServeUnitArgs,
    Switch, UnitCommand, UpArgs,
};
use hsm_sim::control::{
    ClockStatus, ControlClient, FaultKind, FaultRequest, Status, Target, clock_table, status_table,
};
use hsm_sim::output::{self, OutputError};
use hsm_sim::region::{Region, UpOptions};
use hsm_sim::unit::UnitOptions;
use hsm_sim::{demo, logging, tke, token, unit};
use serde::Serialize;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;
use unit_api::admin::InstanceId;

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
        CliCommand::Up(args) => up(args).await,
        CliCommand::Demo(args) => run_demo(&args).await,
        CliCommand::Tke(args) => Ok(tke::run(&args).await?),
        CliCommand::Status(reach) => {
            let status = ControlClient::reach(&reach)?.status().await?;
            print_status(&reach, &status)
        }
        CliCommand::Fault { fault } => set_fault(fault).await,
        CliCommand::Heal { target, reach } => {
            let status = ControlClient::reach(&reach)?.heal(&Target::try_from(&target)?).await?;
            print_status(&reach, &status)
        }
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

async fn run_unit(command: UnitCommand) -> Outcome {
    let (reach, status) = match command {
        UnitCommand::Serve(args) => return serve_unit(args),
        UnitCommand::Add { zone, reach } => {
            let added = ControlClient::reach(&reach)?.add_unit(zone).await?;
            return print(&reach, &added, |added| {
                format!("unit {} was added\n{}", added.unit, status_table(&added.status))
            });
        }
        UnitCommand::Drain(OneUnitArgs { number, reach }) => {
            let drained = ControlClient::reach(&reach)?.drain_unit(number).await?;
            (reach, drained)
        }
        UnitCommand::Resume(OneUnitArgs { number, reach }) => {
            let resumed = ControlClient::reach(&reach)?.resume_unit(number).await?;
            (reach, resumed)
        }
        UnitCommand::Remove { lost, unit: OneUnitArgs { number, reach } } => {
            let left = ControlClient::reach(&reach)?.remove_unit(number, lost).await?;
            (reach, left)
        }
    };
    print_status(&reach, &status)
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
    let mut stopped = std::pin::pin!(stop_signal()?);
    let show_credentials = args.show_credentials;
    let starting = Region::start(UpOptions {
        wanted: args.wanted()?,
        rotation: args.rotation.into(),
        accepted: args.accepted(),
        data: args.data,
        port: args.port,
        faults: args.faults.map(|switch| switch == Switch::On),
        hosts: args.hosts,
        ready_file: args.ready_file,
        program: None,
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
    };
    let slow_by_ms = slow_by.map(|by: Duration| u64::try_from(by.as_millis()).unwrap_or(u64::MAX));
    let request = FaultRequest { fault: kind, target: Target::try_from(&target)?, slow_by_ms };
    let status = ControlClient::reach(&reach)?.fault(&request).await?;
    print_status(&reach, &status)
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
