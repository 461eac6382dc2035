//! Recovery: of a session, of the login, of a token that was removed, and of a module that leaks memory.
//!
//! ```text
//! call fails with            recovery                                  when it fails
//! SessionLost, LoggedOut     new session, login if needed              as TokenLost
//! TokenLost                  module initialised again, token found     retried with growing pauses,
//!                            again, login, a session for each engine   calls return DeviceRemoved meanwhile
//! PinRefused                 none                                      calls return DeviceError for good
//! ```

use super::session::{CurrentSession, SessionSlot};
use super::{Connection, EngineSession, Token, TokenEvent, find_token, lock, log_in, login_error};
use crate::error::{Fault, OpenError, short_text};
use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState};
use cryptoki::slot::Slot;
use engine::EngineError;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How long a check that the token is present stays valid. Some modules keep computing with what they hold in memory
/// after their token was removed; a unit must not.
const PRESENCE_VALID_FOR: Duration = Duration::from_millis(500);
/// Pause after the first failed attempt to reach a lost token; doubled after each further failure.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Created objects after which SoftHSM is finalised and initialised again: until then it keeps some 400 bytes of each
/// destroyed session object (`SessionObjectStore::allObjects` in SoftHSM 2.6.1).
const MAX_LEAKED_OBJECTS: u64 = 50_000;

/// How often, and at which interval, an engine checks whether the other engines are recoverable before it continues
/// without releasing the leaked memory.
const RECOVERABLE_POLLS: u32 = 20;
const RECOVERABLE_POLL_INTERVAL: Duration = Duration::from_millis(1);

/// What is known of the token's presence, and which events were already reported.
pub(super) struct RecoveryState {
    /// When the token was last seen.
    last_seen: Instant,
    /// Whether the connection has to be re-established before the next call.
    lost: bool,
    loss_reported: bool,
    /// Set for good: a refused PIN is never tried again.
    pin_refused: bool,
    /// Earliest time of the next attempt to re-establish the connection.
    next_attempt: Instant,
    backoff: Duration,
    last_generation: u64,
}

impl RecoveryState {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            last_seen: now,
            lost: false,
            loss_reported: false,
            pin_refused: false,
            next_attempt: now,
            backoff: FIRST_BACKOFF,
            last_generation: 1,
        }
    }
}

impl Token {
    /// Ensures that the engine has a session on a token that is present. Returns the session's generation.
    ///
    /// # Errors
    /// [`EngineError::DeviceRemoved`] while the token is lost, [`EngineError::DeviceError`] after its PIN was refused or
    /// in a forked process.
    pub(crate) fn ensure_session(&self, session: &EngineSession) -> Result<u64, EngineError> {
        if self.process_id != std::process::id() {
            return Err(EngineError::DeviceError);
        }
        if self.is_present() {
            self.release_leaked_objects(session);
            let current = lock(&session.0.current);
            if current.session.is_some() {
                return Ok(current.generation);
            }
        }
        self.reconnect()?;
        let current = lock(&session.0.current);
        if current.session.is_some() { Ok(current.generation) } else { Err(EngineError::DeviceRemoved) }
    }

    /// Replaces the engine's session, logging in if needed. Session objects of the old one are gone.
    ///
    /// # Errors
    /// As [`Token::ensure_session`].
    pub(crate) fn renew_session(&self, session: &EngineSession) -> Result<(), EngineError> {
        let renewed = {
            let connection = self.read_connection();
            let mut current = lock(&session.0.current);
            current.session = None;
            self.open_logged_in_session(connection.slot).map(|(session, logged_in)| {
                *current = CurrentSession { session: Some(session), generation: self.next_generation() };
                logged_in
            })
        };
        match renewed {
            Ok(logged_in) => {
                if logged_in {
                    tracing::info!(parent: &self.span, token = self.label, "logged in again");
                }
                self.report(&TokenEvent::SessionRenewed);
                Ok(())
            }
            Err(error) if Fault::of(&error) == Fault::PinRefused => Err(self.set_pin_refused(&error)),
            Err(error) => {
                self.mark_lost(&error);
                self.reconnect()
            }
        }
    }

    /// Marks the token as lost, so that the next call re-establishes the connection.
    pub(crate) fn mark_lost(&self, error: &Error) {
        self.mark_lost_because(|| short_text(error));
    }

    fn mark_lost_because(&self, reason: impl FnOnce() -> String) {
        let mut state = lock(&self.recovery);
        state.lost = true;
        if !std::mem::replace(&mut state.loss_reported, true) {
            drop(state);
            self.report(&TokenEvent::TokenLost(reason()));
        }
    }

    pub(super) fn next_generation(&self) -> u64 {
        let mut state = lock(&self.recovery);
        state.last_generation += 1;
        state.last_generation
    }

    fn is_present(&self) -> bool {
        {
            let state = lock(&self.recovery);
            if state.lost {
                return false;
            }
            if state.last_seen.elapsed() < PRESENCE_VALID_FOR {
                return true;
            }
        }
        let found = {
            let connection = self.read_connection();
            let info = self.module.context().get_token_info(connection.slot);
            info.map(|info| info.serial_number() == connection.serial)
        };
        match found {
            Ok(true) => {
                lock(&self.recovery).last_seen = Instant::now();
                true
            }
            Ok(false) => {
                self.mark_lost_because(|| "another token is in its slot".to_owned());
                false
            }
            Err(error) => {
                self.mark_lost(&error);
                false
            }
        }
    }

    /// Re-establishes the connection of a lost token. One caller tries, the others wait for its result.
    fn reconnect(&self) -> Result<(), EngineError> {
        let mut connection = self.connection.write().unwrap_or_else(PoisonError::into_inner);
        {
            let mut state = lock(&self.recovery);
            if state.pin_refused {
                return Err(EngineError::DeviceError);
            }
            if !state.lost {
                return Ok(());
            }
            if Instant::now() < state.next_attempt {
                return Err(EngineError::DeviceRemoved);
            }
            state.next_attempt = Instant::now() + state.backoff;
            state.backoff = (state.backoff * 2).min(MAX_BACKOFF);
        }
        match self.reinitialize(&mut connection) {
            Ok(()) => {
                tracing::info!(parent: &self.span, token = self.label, "PKCS#11 module initialized and logged in again");
                let mut state = lock(&self.recovery);
                state.lost = false;
                state.last_seen = Instant::now();
                state.backoff = FIRST_BACKOFF;
                if std::mem::replace(&mut state.loss_reported, false) {
                    drop(state);
                    self.report(&TokenEvent::TokenBack);
                }
                Ok(())
            }
            Err(OpenError::PinRefused { error, .. }) => Err(self.set_pin_refused(&error)),
            Err(error) => {
                tracing::debug!(parent: &self.span, token = self.label, %error, "token still lost");
                Err(EngineError::DeviceRemoved)
            }
        }
    }

    /// Finalises the module, initialises it again and re-establishes every session: some modules find a token that was
    /// removed only after that.
    fn reinitialize(&self, connection: &mut Connection) -> Result<(), OpenError> {
        if let Some(leaked) = &self.leaked_objects {
            leaked.store(0, Ordering::Relaxed);
        }
        // Sessions are closed before their handles may denote other sessions.
        *lock(&connection.login_session) = None;
        let sessions: Vec<_> = lock(&connection.engine_sessions).iter().filter_map(Weak::upgrade).collect();
        for session in &sessions {
            lock(&session.current).session = None;
        }
        self.module.reinitialize()?;
        let (slot, info) = find_token(self.module.context(), &self.uri)?;
        if info.serial_number() != connection.serial {
            return Err(OpenError::TokenReplaced { token: info.label().trim_end().to_owned() });
        }
        connection.slot = slot;
        let (login_session, _) =
            self.open_logged_in_session(slot).map_err(|error| login_error(error, &self.label))?;
        *lock(&connection.login_session) = Some(login_session);
        for session in &sessions {
            self.open_session_in(session, slot)?;
        }
        Ok(())
    }

    fn open_session_in(&self, session_slot: &SessionSlot, slot: Slot) -> Result<(), OpenError> {
        let session = self.module.context().open_rw_session(slot).map_err(OpenError::Token)?;
        *lock(&session_slot.current) =
            CurrentSession { session: Some(session), generation: self.next_generation() };
        Ok(())
    }

    /// Opens a session and logs in if the login was lost. Returns whether it logged in.
    fn open_logged_in_session(&self, slot: Slot) -> Result<(Session, bool), Error> {
        let session = self.module.context().open_rw_session(slot)?;
        if session.get_session_info()?.session_state() == SessionState::RwUser {
            return Ok((session, false));
        }
        if lock(&self.recovery).pin_refused {
            return Err(Error::Pkcs11(RvError::PinIncorrect, Function::Login));
        }
        log_in(&session, &self.pin)?;
        Ok((session, true))
    }

    fn set_pin_refused(&self, error: &Error) -> EngineError {
        let mut state = lock(&self.recovery);
        if !std::mem::replace(&mut state.pin_refused, true) {
            drop(state);
            self.report(&TokenEvent::PinRefused(short_text(error)));
        }
        EngineError::DeviceError
    }

    /// Initialises a leaking module again, once every engine is recoverable. An engine that gets here between two
    /// commands of its unit waits a few milliseconds for the other engines to finish theirs.
    fn release_leaked_objects(&self, session: &EngineSession) {
        let is_due = || {
            let leaked = self.leaked_objects.as_ref();
            leaked.is_some_and(|leaked| leaked.load(Ordering::Relaxed) >= MAX_LEAKED_OBJECTS)
        };
        for _ in 0..RECOVERABLE_POLLS {
            if !is_due() || !session.0.is_recoverable() {
                return;
            }
            let mut connection = self.connection.write().unwrap_or_else(PoisonError::into_inner);
            let sessions: Vec<Arc<SessionSlot>> =
                lock(&connection.engine_sessions).iter().filter_map(Weak::upgrade).collect();
            if sessions.iter().all(|session| session.is_recoverable()) && is_due() {
                match self.reinitialize(&mut connection) {
                    Ok(()) => tracing::debug!(
                        parent: &self.span,
                        token = self.label,
                        "PKCS#11 module initialized again to release leaked memory"
                    ),
                    Err(error) => {
                        drop(connection);
                        self.mark_lost_because(|| error.to_string());
                    }
                }
                return;
            }
            drop(connection);
            std::thread::sleep(RECOVERABLE_POLL_INTERVAL);
        }
    }
}
