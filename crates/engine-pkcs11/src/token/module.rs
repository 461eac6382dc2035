//! The shared library of a vendor, loaded and initialised once a process.

use crate::error::OpenError;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Every module that was ever loaded, and whether somebody has it. None is unloaded: several do not survive that.
static LOADED: Mutex<BTreeMap<PathBuf, Loaded>> = Mutex::new(BTreeMap::new());

struct Loaded {
    context: Pkcs11,
    taken: bool,
}

/// A module in use. Given back, and finalised, when it is dropped.
pub(crate) struct Module {
    path: PathBuf,
    context: Pkcs11,
    /// Whether it was this crate that initialised it: what somebody else began, he ends.
    ours: bool,
}

impl Module {
    /// Loads and initialises the module.
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        let unusable = |said| OpenError::Module { path: path.to_owned(), said };
        let path =
            path.canonicalize().map_err(|source| OpenError::ModuleFile { path: path.to_owned(), source })?;
        let mut loaded = loaded();
        if loaded.get(&path).is_some_and(|module| module.taken) {
            return Err(OpenError::ModuleInUse { path });
        }
        let context = match loaded.get(&path) {
            Some(module) => module.context.clone(),
            None => Pkcs11::new(&path).map_err(unusable)?,
        };
        let ours = initialize(&context).map_err(unusable)?;
        loaded.insert(path.clone(), Loaded { context: context.clone(), taken: true });
        Ok(Self { path, context, ours })
    }

    pub(crate) const fn context(&self) -> &Pkcs11 {
        &self.context
    }

    /// Whether it is SoftHSM, and ours: it keeps memory of objects that are destroyed until it is finalised.
    pub(crate) fn is_softhsm(&self) -> bool {
        let info = self.context.get_library_info();
        self.ours && info.is_ok_and(|info| info.manufacturer_id().trim() == "SoftHSM")
    }

    /// Finalises and initialises it, if it is ours to do so. No session may be open.
    pub(crate) fn begin_anew(&self) -> Result<(), OpenError> {
        if !self.ours {
            return Ok(());
        }
        // One that was never initialised, or died, has nothing to finalise.
        let _ = self.context.clone().finalize();
        initialize(&self.context)
            .map(|_| ())
            .map_err(|said| OpenError::Module { path: self.path.clone(), said })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.ours {
            let _ = self.context.clone().finalize();
        }
        if let Some(module) = loaded().get_mut(&self.path) {
            module.taken = false;
        }
    }
}

/// Whether it was not initialised before.
fn initialize(context: &Pkcs11) -> Result<bool, Error> {
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) => Ok(true),
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn loaded() -> MutexGuard<'static, BTreeMap<PathBuf, Loaded>> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}
