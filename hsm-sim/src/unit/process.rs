//! The process of one unit.

use super::announcement::{Announced, Announcement};
use super::factory::FactoryFolder;
use super::orders::{Order, Slowness, follow};
use crate::output;
use engine_pkcs11::{Pin, softhsm};
use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use unit_api::admin::InstanceId;
use unit_server::{EngineChoice, UnitConfig, UnitIdentity, UnitServer, UnitServerError};
use wire::text::error_chain;

/// What a unit process is started with.
#[derive(Clone, Debug)]
pub struct UnitOptions {
    /// Folder of the unit's state.
    pub state: PathBuf,
    /// Socket to listen on.
    pub socket: PathBuf,
    /// Folder of the simulated manufacturer. `None`: `factory` in the folder of the state.
    pub factory: Option<PathBuf>,
    /// Serial number of the module of a unit that is made, 8 characters.
    pub serial: String,
    /// Index of the domain in its module. `None`: 0 for a unit that is made.
    pub domain_index: Option<u32>,
    /// Service instance that the unit belongs to. `None`: a random one for a unit that is made.
    pub instance: Option<InstanceId>,
    /// Where the unit's keys are. `None`: in software for a unit that is made.
    pub engine: Option<EngineChoice>,
    /// Number of the unit in its region. `Some`: standard input gives orders, and its end ends the unit.
    pub supervised_as: Option<u16>,
}

/// Exit status of a unit that cannot reach its keys and has announced why: `EX_TEMPFAIL`.
const EXIT_TEMPFAIL: i32 = 75;

/// Runs a unit until its supervisor closes standard input or a signal ends the process. Writes an [`Announcement`] to
/// standard output once the unit serves.
///
/// # Errors
/// [`UnitServerError`] when the unit does not start.
pub fn run(options: &UnitOptions) -> Result<(), UnitServerError> {
    let _span = match options.supervised_as {
        Some(number) => tracing::info_span!("unit", number),
        None => tracing::info_span!("unit"),
    }
    .entered();
    let slowness = Arc::new(Slowness::default());
    let server = UnitServer::open(&config(options, &slowness)).inspect_err(|error| {
        let Some(conf) = error.softhsm_conf() else { return };
        let failed = restart_with(conf);
        tracing::error!(
            error = &failed as &dyn Error,
            "the program cannot be started with SoftHSM's configuration"
        );
    });
    let server = server.inspect_err(|error| {
        if let Some(announcement) = announcement(error).filter(|_| options.supervised_as.is_some()) {
            announce(&announcement);
            // The supervisor reports the reason once; this process would report it at every attempt.
            std::process::exit(EXIT_TEMPFAIL);
        }
    })?;
    let listener = server.listen(&options.socket)?;
    let UnitIdentity { unit, domain_index, .. } = server.identity();
    announce(&Announcement { unit, domain_index, state: Announced::Ready(server.engine().to_owned()) });
    if options.supervised_as.is_some() {
        end_with_parent();
        let (server, span) = (server.clone(), tracing::Span::current());
        std::thread::spawn(move || {
            let _span = span.entered();
            let carry_out = |order| carry_out(&server, &slowness, order);
            let _ = follow(io::stdin().lock(), output::answers(), carry_out);
            server.stop_with(|| std::process::exit(0))
        });
    }
    server.serve_socket(&listener);
    Ok(())
}

fn config(options: &UnitOptions, slowness: &Arc<Slowness>) -> UnitConfig {
    let factory = options.factory.clone().unwrap_or_else(|| options.state.join("factory"));
    let slowness = Arc::clone(slowness);
    let mut config = UnitConfig::new(&options.state, Arc::new(FactoryFolder(factory)))
        .with_serial(&options.serial)
        .before_each_command(move || slowness.wait());
    config.domain_index = options.domain_index;
    config.instance = options.instance;
    config.engine.clone_from(&options.engine);
    if options.supervised_as.is_none() && io::stdin().is_terminal() {
        config =
            config.with_pin_prompt(Arc::new(|question| rpassword::prompt_password(question).map(Pin::new)));
    }
    config
}

/// The announcement of a unit that exists and cannot reach its keys; `None` for every other failure.
fn announcement(error: &UnitServerError) -> Option<Announcement> {
    let UnitServerError::Token { unit, domain_index, has_keys: true, source } = error else { return None };
    let reason = error_chain(source);
    let state = if source.is_retryable() { Announced::Away(reason) } else { Announced::Stuck(reason) };
    Some(Announcement { unit: *unit, domain_index: *domain_index, state })
}

fn announce(announcement: &Announcement) {
    let mut out = output::answers();
    // A unit serves hosts whether or not its announcement is read.
    let _ = writeln!(out, "{announcement}").and_then(|()| out.flush());
}

fn carry_out(server: &UnitServer, slowness: &Slowness, order: Order) -> Result<(), String> {
    match order {
        Order::Slow(by) => {
            slowness.set(by);
            Ok(())
        }
        Order::Zeroize => server.zeroize_module().map_err(|e| error_chain(&e)),
        Order::Tamper => server.tamper().map_err(|e| error_chain(&e)),
    }
}

/// Replaces this process by one with SoftHSM's configuration in its environment, which a process cannot change for itself.
/// Returns only if that fails.
fn restart_with(conf: &Path) -> io::Error {
    match std::env::current_exe() {
        Ok(program) => {
            Command::new(program).args(std::env::args_os().skip(1)).env(softhsm::CONF_VARIABLE, conf).exec()
        }
        Err(e) => e,
    }
}

/// Has the system end this process with its parent, even while it is stopped and cannot read its input.
#[cfg(target_os = "linux")]
fn end_with_parent() {
    if let Err(e) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)) {
        tracing::warn!(error = &e as &dyn Error, "the unit may outlive its region");
    }
}

#[cfg(not(target_os = "linux"))]
const fn end_with_parent() {}
