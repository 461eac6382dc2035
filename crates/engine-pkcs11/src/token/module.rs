//! A vendor's PKCS#11 library, loaded and initialised once per process.

use crate::error::OpenError;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Every module loaded so far, by canonical path. None is ever unloaded, because several libraries crash on that.
static LOADED: Mutex<BTreeMap<PathBuf, LoadedModule>> = Mutex::new(BTreeMap::new());

struct LoadedModule {
    context: Pkcs11,
    in_use: bool,
}

/// Exclusive use of a module. Finalised and released on drop.
pub(super) struct Module {
    path: PathBuf,
    context: Pkcs11,
    /// Whether this crate called `C_Initialize`. Only then does it call `C_Finalize`.
    initialized_here: bool,
}

impl Module {
    /// Loads and initialises the module.
    ///
    /// # Errors
    /// [`OpenError::ModuleFile`], [`OpenError::ModuleLoad`], or [`OpenError::ModuleInUse`].
    pub(super) fn load(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::ModuleLoad { path: path.to_owned(), error };
        let path =
            path.canonicalize().map_err(|source| OpenError::ModuleFile { path: path.to_owned(), source })?;
        let mut loaded = lock_loaded();
        if loaded.get(&path).is_some_and(|module| module.in_use) {
            return Err(OpenError::ModuleInUse { path });
        }
        let context = match loaded.get(&path) {
            Some(module) => module.context.clone(),
            None => Pkcs11::new(&path).map_err(failed)?,
        };
        let initialized_here = initialize(&context).map_err(failed)?;
        loaded.insert(path.clone(), LoadedModule { context: context.clone(), in_use: true });
        Ok(Self { path, context, initialized_here })
    }

    pub(super) const fn context(&self) -> &Pkcs11 {
        &self.context
    }

    /// Whether the module is SoftHSM and this crate may finalise it.
    pub(super) fn is_own_softhsm(&self) -> bool {
        let info = self.context.get_library_info();
        self.initialized_here && info.is_ok_and(|info| info.manufacturer_id().trim() == "SoftHSM")
    }

    /// Finalises the module and initialises it again, if this crate initialised it. All sessions must be closed.
    ///
    /// # Errors
    /// [`OpenError::ModuleLoad`].
    pub(super) fn reinitialize(&self) -> Result<(), OpenError> {
        if !self.initialized_here {
            return Ok(());
        }
        // Fails if the module was finalised elsewhere or lost its state, which is why it is initialised again.
        let _ = self.context.clone().finalize();
        initialize(&self.context)
            .map(|_| ())
            .map_err(|error| OpenError::ModuleLoad { path: self.path.clone(), error })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.initialized_here {
            let _ = self.context.clone().finalize();
        }
        if let Some(module) = lock_loaded().get_mut(&self.path) {
            module.in_use = false;
        }
    }
}

/// Calls `C_Initialize`. Returns false if the module was already initialised.
fn initialize(context: &Pkcs11) -> Result<bool, Error> {
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) => Ok(true),
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn lock_loaded() -> MutexGuard<'static, BTreeMap<PathBuf, LoadedModule>> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}
