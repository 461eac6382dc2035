//! The program: parses the command line, does it, says what came of it.

use clap::Parser;
use hsm_sim::cli::{
    Cli, CliCommand, ClockCommand, DemoArgs, FaultArgs, FaultCommand, ReachArgs, UnitArgs, UpArgs,
    with_causes,
};
use hsm_sim::control::{ControlClient, FaultKind, FaultRequest, Status, Target, clock_table, status_table};
use hsm_sim::region::{Region, UpOptions};
use hsm_sim::unit::UnitOptions;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;
use unit_api::admin::InstanceId;

type Outcome = Result<ExitCode, Box<dyn Error>>;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        // A unit is threads and a lock, no runtime.
        CliCommand::Unit(args) => unit(args),
        command => {
            tokio::runtime::Runtime::new().map_err(Into::into).and_then(|rt| rt.block_on(run(command)))
        }
    };
    outcome.unwrap_or_else(|failure| {
        eprintln!("hsm-sim: {}", with_causes(failure.as_ref()));
        ExitCode::FAILURE
    })
}

async fn run(command: CliCommand) -> Outcome {
    match command {
        CliCommand::Up(args) => up(args).await,
        CliCommand::Demo(args) => demo(&args).await,
        CliCommand::Tke(args) => Ok(hsm_sim::tke::run(&args).await?),
        CliCommand::Status(reach) => {
            let status = ControlClient::reach(&reach)?.status().await?;
            show_status(&reach, &status)
        }
        CliCommand::Fault { fault } => set_fault(fault).await,
        CliCommand::Heal { target, reach } => {
            let status = ControlClient::reach(&reach)?.heal(&Target::try_from(&target)?).await?;
            show_status(&reach, &status)
        }
        CliCommand::Clock { clock } => {
            let (reach, clock) = match clock {
                ClockCommand::Show(reach) => {
                    let clock = ControlClient::reach(&reach)?.clock().await?;
                    (reach, clock)
                }
                ClockCommand::Advance { by, reach } => {
                    if by.subsec_millis() > 0 {
                        return Err("the clock moves in whole seconds".into());
                    }
                    let clock = ControlClient::reach(&reach)?.advance(by.as_secs()).await?;
                    (reach, clock)
                }
            };
            let text = if reach.json { serde_json::to_string_pretty(&clock)? } else { clock_table(&clock) };
            println!("{text}");
            Ok(ExitCode::SUCCESS)
        }
        CliCommand::Token { token } => Ok(hsm_sim::token::run(&token)?),
        CliCommand::Unit(args) => unit(args),
    }
}

fn unit(args: UnitArgs) -> Outcome {
    hsm_sim::unit::run(&UnitOptions {
        state: args.state,
        socket: args.socket,
        factory: args.factory,
        serial: args.serial,
        domain_index: args.domain,
        instance: args.instance.map(|instance| InstanceId(instance.into_bytes())),
        // Not by the parser of the command line, which repeats what it refuses: that may be a PIN.
        engine: args.engine.map(|engine| engine.parse()).transpose()?,
        supervised: args.supervised,
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn up(args: UpArgs) -> Outcome {
    let mut stopped = std::pin::pin!(stop_signal()?);
    let starting = Region::start(UpOptions {
        wanted: args.wanted()?,
        rotation: args.rotation.into(),
        data: args.data,
        port: args.port,
        ready_file: args.ready_file,
        program: None,
    });
    let region = tokio::select! {
        region = starting => region?,
        // Units end with the process that started them.
        () = &mut stopped => return Ok(ExitCode::SUCCESS),
    };
    println!("{}", region.ready().greeting());
    stopped.await;
    eprintln!("hsm-sim: stopping; every key is kept");
    region.stop().await;
    Ok(ExitCode::SUCCESS)
}

async fn demo(args: &DemoArgs) -> Outcome {
    let stopped = stop_signal()?;
    let report = tokio::select! {
        report = hsm_sim::demo::run(args) => report?,
        // Units end with the process that started them, and a temporary directory with the future that made it.
        () = stopped => return Err("stopped before there was a result".into()),
    };
    let text = if args.json { serde_json::to_string_pretty(&report)? } else { report.table() };
    println!("{text}");
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ends with Ctrl-C or SIGTERM.
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
    show_status(&reach, &status)
}

fn show_status(reach: &ReachArgs, status: &Status) -> Outcome {
    let text = if reach.json { serde_json::to_string_pretty(status)? } else { status_table(status) };
    println!("{text}");
    Ok(ExitCode::SUCCESS)
}
