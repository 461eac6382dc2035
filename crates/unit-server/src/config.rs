//! What a unit is opened with.

use crate::engine::EngineChoice;
use crate::manufacturer::Manufacturer;
use engine_pkcs11::Pin;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use unit_api::admin::InstanceId;

/// Asks a person for the PIN of a token. The argument is the question.
pub type PinPrompt = Arc<dyn Fn(&str) -> io::Result<Pin> + Send + Sync>;

/// Code that runs before each command, with the unit held.
pub(crate) type CommandHook = Arc<dyn Fn() + Send + Sync>;

/// What a unit is opened with: its folder, and what it is made with if the folder holds no unit yet.
#[derive(Clone)]
#[non_exhaustive]
pub struct UnitConfig {
    /// Folder of the unit's state. Created if it does not exist.
    pub folder: PathBuf,
    /// Issues the certificate of the unit's module. Called only when the unit is made.
    pub manufacturer: Arc<dyn Manufacturer>,
    /// Serial number of the module of a unit that is made, 8 visible ASCII characters.
    pub serial: String,
    /// Index of the domain in its module. `None`: 0 for a unit that is made, any for one that exists.
    pub domain_index: Option<u32>,
    /// Service instance that the unit belongs to. `None`: a random one for a unit that is made, any for one that exists.
    pub instance: Option<InstanceId>,
    /// Where the unit's keys are. `None`: in software for a unit that is made, the kept choice for one that exists.
    pub engine: Option<EngineChoice>,
    /// Asks for a PIN where the token's URI says `pin-source=prompt`. `None`: such a token is refused.
    pub pin_prompt: Option<PinPrompt>,
    pub(crate) before_command: Option<CommandHook>,
}

impl UnitConfig {
    /// A unit in `folder`. One that has to be made has serial number `SOFT0000` and its keys in software.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, manufacturer: Arc<dyn Manufacturer>) -> Self {
        Self {
            folder: folder.into(),
            manufacturer,
            serial: "SOFT0000".to_owned(),
            domain_index: None,
            instance: None,
            engine: None,
            pin_prompt: None,
            before_command: None,
        }
    }

    /// Sets the serial number of the module of a unit that is made.
    #[must_use]
    pub fn with_serial(self, serial: impl Into<String>) -> Self {
        Self { serial: serial.into(), ..self }
    }

    /// Sets the index of the domain in its module.
    #[must_use]
    pub fn with_domain_index(self, domain_index: u32) -> Self {
        Self { domain_index: Some(domain_index), ..self }
    }

    /// Sets the service instance that the unit belongs to.
    #[must_use]
    pub fn with_instance(self, instance: InstanceId) -> Self {
        Self { instance: Some(instance), ..self }
    }

    /// Sets where the unit's keys are.
    #[must_use]
    pub fn with_engine(self, engine: EngineChoice) -> Self {
        Self { engine: Some(engine), ..self }
    }

    /// Sets how a person is asked for a token's PIN.
    #[must_use]
    pub fn with_pin_prompt(self, prompt: PinPrompt) -> Self {
        Self { pin_prompt: Some(prompt), ..self }
    }

    /// Runs `hook` before each command of a host, with the unit held: while it runs, no other command does. A simulator
    /// makes a unit slow with it.
    #[must_use]
    pub fn before_each_command(self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self { before_command: Some(Arc::new(hook)), ..self }
    }
}

impl fmt::Debug for UnitConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnitConfig")
            .field("folder", &self.folder)
            .field("serial", &self.serial)
            .field("domain_index", &self.domain_index)
            .field("instance", &self.instance)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}
