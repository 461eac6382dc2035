//! One token: its module, its login, the sessions of the engines on it, and the recovery from a lost session or token.

mod event;
mod listing;
mod module;
mod pin;
mod recovery;
mod session;
mod uri;

pub use event::{EventHandler, TokenEvent};
pub use listing::{ListedToken, ModuleListing, list};
#[cfg(feature = "constant-time")]
pub(crate) use pin::parse_pin;
pub use pin::{Pin, PinError, PinSource, PinSourceInvalid};
pub(crate) use session::EngineSession;
pub use uri::{TokenAttributes, TokenUri, UriError};

use crate::error::{Fault, OpenError};
use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Limit, Slot, TokenInfo};
use module::Module;
use recovery::RecoveryState;
use session::SessionSlot;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};
use tracing::Span;

/// A token that this process is logged in to. Engines share it, each with a session of its own.
///
/// A process uses one token of a module at a time. One additional session holds the login and does no work, because a
/// token logs out when its last session is closed. Dropping the token logs out and finalises the module.
pub struct Token {
    uri: TokenUri,
    label: String,
    pin: Pin,
    on_event: EventHandler,
    /// The span that was current when the token was opened; events are logged in it.
    span: Span,
    module: Module,
    /// Process that logged in. A forked child inherits the login and possibly locked mutexes, and must not use them.
    process_id: u32,
    /// Read-locked by calls to the token, write-locked while the connection is re-established.
    connection: RwLock<Connection>,
    recovery: Mutex<RecoveryState>,
    /// Objects created since the module was initialised, for a module that leaks memory per destroyed object.
    leaked_objects: Option<AtomicU64>,
    /// Serialises calls where the module needs it: SoftHSM 2.6.1 returns `CKR_GENERAL_ERROR` when one thread searches for
    /// private objects while another creates one. It runs no faster without the lock.
    call_lock: Option<Mutex<()>>,
}

/// The token's slot and the sessions opened on it.
struct Connection {
    slot: Slot,
    /// Serial number; a token with another one must not be used in this one's place.
    serial: String,
    /// The session that holds the login.
    login_session: Mutex<Option<Session>>,
    engine_sessions: Mutex<Vec<Weak<SessionSlot>>>,
}

impl Token {
    /// Loads the module, finds the token that matches `uri` and logs in.
    ///
    /// `on_event` is called for every later [`TokenEvent`]. Each is also logged, in the span that is current now.
    ///
    /// # Errors
    /// [`OpenError`]. After [`OpenError::PinRefused`], the PIN was tried once and counts as one failed attempt.
    pub fn open(uri: &TokenUri, pin: Pin, on_event: EventHandler) -> Result<Arc<Self>, OpenError> {
        let module = Module::load(uri.module_path())?;
        let (slot, info) = find_token(module.context(), uri)?;
        let label = info.label().trim_end().to_owned();
        if !info.user_pin_initialized() {
            return Err(OpenError::NoUserPin { token: label });
        }
        let login_session = module.context().open_rw_session(slot).map_err(OpenError::Token)?;
        log_in(&login_session, &pin).map_err(|error| login_error(error, &label))?;
        let is_softhsm = module.is_own_softhsm();
        Ok(Arc::new(Self {
            uri: uri.clone(),
            label,
            pin,
            on_event,
            span: Span::current(),
            module,
            process_id: std::process::id(),
            connection: RwLock::new(Connection {
                slot,
                serial: info.serial_number().to_owned(),
                login_session: Mutex::new(Some(login_session)),
                engine_sessions: Mutex::new(Vec::new()),
            }),
            recovery: Mutex::new(RecoveryState::new()),
            leaked_objects: is_softhsm.then(AtomicU64::default),
            call_lock: is_softhsm.then(Mutex::default),
        }))
    }

    /// Opens a session for one more engine.
    ///
    /// # Errors
    /// [`OpenError::SessionsExhausted`] or [`OpenError::Token`].
    pub(crate) fn open_engine_session(&self) -> Result<EngineSession, OpenError> {
        let connection = self.read_connection();
        let mut sessions = lock(&connection.engine_sessions);
        sessions.retain(|session| session.strong_count() > 0);
        let info = self.module.context().get_token_info(connection.slot).map_err(OpenError::Token)?;
        // One session is the one that holds the login.
        if let Limit::Max(max) = info.max_rw_session_count()
            && max <= sessions.len() as u64 + 1
        {
            return Err(OpenError::SessionsExhausted { max });
        }
        let session = self.module.context().open_rw_session(connection.slot).map_err(OpenError::Token)?;
        let slot = Arc::new(SessionSlot::new(session, self.next_generation()));
        sessions.push(Arc::downgrade(&slot));
        Ok(EngineSession(slot))
    }

    /// The token's `CK_TOKEN_INFO`.
    pub(crate) fn info(&self) -> Result<TokenInfo, Error> {
        self.module.context().get_token_info(self.read_connection().slot)
    }

    /// The mechanisms that the token lists.
    pub(crate) fn mechanisms(&self) -> Result<Vec<MechanismType>, Error> {
        self.module.context().get_mechanism_list(self.read_connection().slot)
    }

    /// Logs the event and passes it to the event handler.
    pub(crate) fn report(&self, event: &TokenEvent) {
        event.log(&self.span, &self.label);
        (self.on_event)(event);
    }

    /// Counts objects that were created, for a module that leaks memory per object.
    pub(crate) fn count_objects(&self, created: u64) {
        if let Some(leaked) = &self.leaked_objects {
            leaked.fetch_add(created, Ordering::Relaxed);
        }
    }

    /// Runs `work` in the engine's session. Returns `None` if the session is closed or is not the one of this
    /// `generation`: object handles of one session may denote other objects in another.
    pub(crate) fn with_session<T>(
        &self,
        session: &EngineSession,
        generation: u64,
        work: impl FnOnce(&Session) -> T,
    ) -> Option<T> {
        // Held so that the connection is not re-established meanwhile.
        let _connection = self.read_connection();
        let current = lock(&session.0.current);
        let _call = self.call_lock.as_ref().map(lock);
        current.session.as_ref().filter(|_| current.generation == generation).map(work)
    }

    fn read_connection(&self) -> RwLockReadGuard<'_, Connection> {
        self.connection.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        // Engines hold an `Arc` of the token, so no engine session is left. The login session must be closed before the
        // module is finalised.
        *lock(&self.read_connection().login_session) = None;
    }
}

/// Locks a mutex, even after a panic elsewhere: every update of the guarded values is a single assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn log_in(session: &Session, pin: &Pin) -> Result<(), Error> {
    match session.login(UserType::User, Some(pin.expose())) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn login_error(error: Error, label: &str) -> OpenError {
    match Fault::of(&error) {
        Fault::PinRefused => OpenError::PinRefused { token: label.to_owned(), error },
        _ => OpenError::Token(error),
    }
}

/// The one initialised token that matches the URI.
fn find_token(context: &Pkcs11, uri: &TokenUri) -> Result<(Slot, TokenInfo), OpenError> {
    let mut found = None;
    let mut labels = Vec::new();
    for slot in context.get_slots_with_token().map_err(OpenError::Token)? {
        // A token may be removed between the two calls, or be unreadable; neither can be the one to use.
        let (Ok(slot_info), Ok(info)) = (context.get_slot_info(slot), context.get_token_info(slot)) else {
            continue;
        };
        if !info.token_initialized() {
            continue;
        }
        labels.push(info.label().trim_end().to_owned());
        let attributes = TokenAttributes {
            label: info.label(),
            manufacturer: info.manufacturer_id(),
            model: info.model(),
            serial: info.serial_number(),
            slot_id: slot.id(),
            slot_description: slot_info.slot_description(),
        };
        if uri.matches(&attributes) && found.replace((slot, info)).is_some() {
            return Err(OpenError::Ambiguous { uri: uri.to_string() });
        }
    }
    found.ok_or(OpenError::NotFound { uri: uri.to_string(), labels })
}
