//! One token: its module, its login, its sessions, and what is done when any of them is lost.

pub(crate) mod event;
pub(crate) mod listing;
pub(crate) mod module;
pub(crate) mod pin;
pub(crate) mod uri;

use crate::error::OpenError;
use crate::error::fault::{Fault, words};
use crate::token::event::{Report, TokenEvent};
use crate::token::module::Module;
use crate::token::pin::Pin;
use crate::token::uri::{TokenSeen, TokenUri};
use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Limit, Slot, TokenInfo};
use engine::EngineError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

/// How old the knowledge may be that the token is there. Some modules go on computing with what they have in memory when
/// their token is long gone; a unit must not.
const PRESENCE_IS_GOOD_FOR: Duration = Duration::from_millis(500);
/// Pause after the first failed try to reach a token again; each that fails doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Session objects after which SoftHSM is finalised and initialised again: it keeps some 400 bytes of each that was
/// destroyed until then (`SessionObjectStore::allObjects` in its 2.6.1).
const HOARD: u64 = 50_000;

/// How long an engine waits for others to come to rest before it goes on, in polls.
const REST_POLLS: u32 = 20;
const REST_POLL: Duration = Duration::from_millis(1);

/// A token that a process is logged in to. Engines share it, each with a session of its own.
///
/// A process uses one token of a module at a time. One session, the keeper, holds the login and is never worked with: a
/// token logs out when its last session ends. The module is told that the process is gone when this is dropped.
pub struct Token {
    uri: TokenUri,
    pin: Pin,
    report: Report,
    module: Module,
    process: u32,
    link: RwLock<Link>,
    health: Mutex<Health>,
    /// Objects made since the module was initialised, where that is a matter of memory.
    hoard: Option<AtomicU64>,
    /// For one call at a time, where a module needs that: SoftHSM 2.6.1 answers `GENERAL_ERROR` where one thread looks for
    /// private objects while another makes one. It is no slower for it.
    alone: Option<Mutex<()>>,
}

/// The connection as it stands. Whoever works holds it for reading, whoever mends it for writing.
struct Link {
    slot: Slot,
    /// The token's own serial number: another token in its place is not this one.
    serial: String,
    keeper: Mutex<Option<Session>>,
    seats: Mutex<Vec<Weak<Chair>>>,
}

/// What is known of the connection, and what was said of it.
struct Health {
    seen: Instant,
    down: bool,
    said: bool,
    pin_refused: bool,
    next_try: Instant,
    pause: Duration,
    generation: u64,
}

/// The session of one engine.
#[derive(Clone)]
pub(crate) struct Seat(Arc<Chair>);

struct Chair {
    place: Mutex<Place>,
    /// Whether everything that the engine holds can be found again in another session.
    at_rest: AtomicBool,
}

struct Place {
    session: Option<Session>,
    /// Which session this is: objects of another are gone with it.
    generation: u64,
}

impl Token {
    /// Loads the module, finds the token, logs in.
    ///
    /// # Errors
    /// [`OpenError`], by what has to be done about it. A refused PIN was tried once.
    pub fn open(uri: &TokenUri, pin: Pin, report: Report) -> Result<Arc<Self>, OpenError> {
        let module = Module::take(uri.module_path())?;
        let (slot, info) = find(module.context(), uri)?;
        if !info.user_pin_initialized() {
            return Err(OpenError::NoUserPin { token: info.label().to_owned() });
        }
        let keeper = module.context().open_rw_session(slot).map_err(OpenError::Session)?;
        log_in(&keeper, &pin).map_err(|error| match Fault::of(&error) {
            Fault::Pin => OpenError::PinRefused { token: info.label().to_owned(), said: error },
            _ => OpenError::Session(error),
        })?;
        let now = Instant::now();
        let is_softhsm = module.is_softhsm();
        Ok(Arc::new(Self {
            uri: uri.clone(),
            pin,
            report,
            module,
            process: std::process::id(),
            link: RwLock::new(Link {
                slot,
                serial: info.serial_number().to_owned(),
                keeper: Mutex::new(Some(keeper)),
                seats: Mutex::new(Vec::new()),
            }),
            health: Mutex::new(Health {
                seen: now,
                down: false,
                said: false,
                pin_refused: false,
                next_try: now,
                pause: FIRST_PAUSE,
                generation: 1,
            }),
            hoard: is_softhsm.then(AtomicU64::default),
            alone: is_softhsm.then(Mutex::default),
        }))
    }

    /// A session for one more engine.
    pub(crate) fn seat(&self) -> Result<Seat, OpenError> {
        let link = self.read();
        let mut seats = lock(&link.seats);
        seats.retain(|seat| seat.strong_count() > 0);
        let info = self.module.context().get_token_info(link.slot).map_err(OpenError::Session)?;
        if let Limit::Max(most) = info.max_rw_session_count()
            && most <= seats.len() as u64 + 1
        {
            return Err(OpenError::SessionsExhausted { most });
        }
        let session = self.module.context().open_rw_session(link.slot).map_err(OpenError::Session)?;
        let generation = self.next_generation();
        let place = Mutex::new(Place { session: Some(session), generation });
        let chair = Arc::new(Chair { place, at_rest: AtomicBool::new(false) });
        seats.push(Arc::downgrade(&chair));
        Ok(Seat(chair))
    }

    /// The token's description of itself.
    pub(crate) fn info(&self) -> Result<TokenInfo, Error> {
        self.module.context().get_token_info(self.read().slot)
    }

    /// The mechanisms that the token lists.
    pub(crate) fn mechanisms(&self) -> Result<Vec<cryptoki::mechanism::MechanismType>, Error> {
        self.module.context().get_mechanism_list(self.read().slot)
    }

    /// Tells whoever runs the engine.
    pub(crate) fn report(&self, event: &TokenEvent) {
        (self.report)(event);
    }

    /// Makes sure that the seat has a session with a token that is there, and says which.
    ///
    /// # Errors
    /// [`EngineError::DeviceRemoved`] while there is none, [`EngineError::DeviceError`] where none can come any more.
    pub(crate) fn ready(&self, seat: &Seat) -> Result<u64, EngineError> {
        if self.process != std::process::id() {
            // A copy of the process that logged in: it has the login, and locks that nobody will ever open.
            return Err(EngineError::DeviceError);
        }
        if self.is_present() {
            self.clear_hoard(seat);
            let place = lock(&seat.0.place);
            if place.session.is_some() {
                return Ok(place.generation);
            }
        }
        self.reconnect()?;
        let place = lock(&seat.0.place);
        if place.session.is_some() { Ok(place.generation) } else { Err(EngineError::DeviceRemoved) }
    }

    /// Notes objects that were made.
    pub(crate) fn count_objects(&self, made: u64) {
        if let Some(hoard) = &self.hoard {
            hoard.fetch_add(made, Ordering::Relaxed);
        }
    }

    /// Begins anew with a module that hoards, once no engine holds what would be lost by it. An engine that comes to this
    /// between two commands waits a little for the others to end theirs.
    fn clear_hoard(&self, seat: &Seat) {
        let is_full = || self.hoard.as_ref().is_some_and(|hoard| hoard.load(Ordering::Relaxed) >= HOARD);
        for _ in 0..REST_POLLS {
            if !is_full() || !seat.0.at_rest.load(Ordering::Relaxed) {
                return;
            }
            let mut link = self.link.write().unwrap_or_else(PoisonError::into_inner);
            let seats: Vec<_> = lock(&link.seats).iter().filter_map(Weak::upgrade).collect();
            if seats.iter().all(|seat| seat.at_rest.load(Ordering::Relaxed)) && is_full() {
                if let Err(error) = self.begin_anew(&mut link) {
                    drop(link);
                    self.lose_because(|| error.to_string());
                }
                return;
            }
            drop(link);
            std::thread::sleep(REST_POLL);
        }
    }

    /// Works with the seat's session; `None` if it has none, or another than the one that is meant: the numbers of objects
    /// mean other objects in it.
    pub(crate) fn work<T>(
        &self,
        seat: &Seat,
        generation: u64,
        work: impl FnOnce(&Session) -> T,
    ) -> Option<T> {
        // Nobody mends the connection while this is held.
        let _link = self.read();
        let place = lock(&seat.0.place);
        let _alone = self.alone.as_ref().map(lock);
        place.session.as_ref().filter(|_| place.generation == generation).map(work)
    }

    /// Gives the seat a new session, and logs in again if that is needed. What was in the old one is gone.
    ///
    /// # Errors
    /// As [`Token::ready`].
    pub(crate) fn renew(&self, seat: &Seat) -> Result<(), EngineError> {
        let renewed = {
            let link = self.read();
            let mut place = lock(&seat.0.place);
            place.session = None;
            match self.open_session(link.slot) {
                Ok(session) => {
                    *place = Place { session: Some(session), generation: self.next_generation() };
                    Ok(())
                }
                Err(error) => Err(error),
            }
        };
        match renewed {
            Ok(()) => {
                self.report(&TokenEvent::SessionRenewed);
                Ok(())
            }
            Err(error) if Fault::of(&error) == Fault::Pin => Err(self.refuse_pin(&error)),
            Err(error) => {
                self.lose(&error);
                self.reconnect()
            }
        }
    }

    /// Notes that the token does not do what it should, so that the next who needs it reaches out for it anew.
    pub(crate) fn lose(&self, error: &Error) {
        self.lose_because(|| words(error));
    }

    fn lose_because(&self, why: impl FnOnce() -> String) {
        let mut health = lock(&self.health);
        health.down = true;
        if !std::mem::replace(&mut health.said, true) {
            drop(health);
            self.report(&TokenEvent::Lost(why()));
        }
    }

    /// An open session that is logged in.
    fn open_session(&self, slot: Slot) -> Result<Session, Error> {
        let session = self.module.context().open_rw_session(slot)?;
        if session.get_session_info()?.session_state() != SessionState::RwUser {
            if lock(&self.health).pin_refused {
                return Err(Error::Pkcs11(RvError::PinIncorrect, cryptoki::context::Function::Login));
            }
            log_in(&session, &self.pin)?;
        }
        Ok(session)
    }

    fn is_present(&self) -> bool {
        {
            let health = lock(&self.health);
            if health.down {
                return false;
            }
            if health.seen.elapsed() < PRESENCE_IS_GOOD_FOR {
                return true;
            }
        }
        let link = self.read();
        match self.module.context().get_token_info(link.slot) {
            Ok(info) if info.serial_number() == link.serial => {
                lock(&self.health).seen = Instant::now();
                true
            }
            Ok(_) => {
                self.lose_because(|| "another token is in its place".to_owned());
                false
            }
            Err(error) => {
                self.lose(&error);
                false
            }
        }
    }

    /// Begins anew with the module: some modules find a token again only then. One caller tries, others wait for it.
    fn reconnect(&self) -> Result<(), EngineError> {
        let mut link = self.link.write().unwrap_or_else(PoisonError::into_inner);
        {
            let mut health = lock(&self.health);
            if health.pin_refused {
                return Err(EngineError::DeviceError);
            }
            if !health.down {
                return Ok(());
            }
            if Instant::now() < health.next_try {
                return Err(EngineError::DeviceRemoved);
            }
            health.next_try = Instant::now() + health.pause;
            health.pause = (health.pause * 2).min(LONGEST_PAUSE);
        }
        match self.begin_anew(&mut link) {
            Ok(()) => {
                let mut health = lock(&self.health);
                health.down = false;
                health.seen = Instant::now();
                health.pause = FIRST_PAUSE;
                if std::mem::replace(&mut health.said, false) {
                    drop(health);
                    self.report(&TokenEvent::Returned);
                }
                Ok(())
            }
            Err(OpenError::PinRefused { said, .. }) => Err(self.refuse_pin(&said)),
            Err(_) => Err(EngineError::DeviceRemoved),
        }
    }

    fn begin_anew(&self, link: &mut Link) -> Result<(), OpenError> {
        if let Some(hoard) = &self.hoard {
            hoard.store(0, Ordering::Relaxed);
        }
        // Sessions are closed before their numbers may mean other sessions.
        *lock(&link.keeper) = None;
        let seats: Vec<_> = lock(&link.seats).iter().filter_map(Weak::upgrade).collect();
        for seat in &seats {
            lock(&seat.place).session = None;
        }
        self.module.begin_anew()?;
        let (slot, info) = find(self.module.context(), &self.uri)?;
        if info.serial_number() != link.serial {
            return Err(OpenError::AnotherToken { token: info.label().to_owned() });
        }
        link.slot = slot;
        let keeper = self.open_session(slot).map_err(|error| match Fault::of(&error) {
            Fault::Pin => OpenError::PinRefused { token: info.label().to_owned(), said: error },
            _ => OpenError::Session(error),
        })?;
        *lock(&link.keeper) = Some(keeper);
        for seat in &seats {
            let session = self.module.context().open_rw_session(slot).map_err(OpenError::Session)?;
            *lock(&seat.place) = Place { session: Some(session), generation: self.next_generation() };
        }
        Ok(())
    }

    fn refuse_pin(&self, error: &Error) -> EngineError {
        let mut health = lock(&self.health);
        if !std::mem::replace(&mut health.pin_refused, true) {
            drop(health);
            self.report(&TokenEvent::PinRefused(words(error)));
        }
        EngineError::DeviceError
    }

    fn next_generation(&self) -> u64 {
        let mut health = lock(&self.health);
        health.generation += 1;
        health.generation
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Link> {
        self.link.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Notes whether a new session would cost the engine anything.
    pub(crate) fn set_at_rest(&self, at_rest: bool) {
        self.0.at_rest.store(at_rest, Ordering::Relaxed);
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        // No engine is left that had a seat. The keeper goes before its module.
        *lock(&self.read().keeper) = None;
    }
}

/// What a panic leaves in these is whole: every change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn log_in(session: &Session, pin: &Pin) -> Result<(), Error> {
    match session.login(UserType::User, Some(pin.expose())) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The one initialised token that the configuration means.
fn find(context: &Pkcs11, uri: &TokenUri) -> Result<(Slot, TokenInfo), OpenError> {
    let mut found = None;
    let mut labels = Vec::new();
    for slot in context.get_slots_with_token().map_err(OpenError::Session)? {
        // A slot that is emptied while it is looked at is an empty one.
        let (Ok(place), Ok(info)) = (context.get_slot_info(slot), context.get_token_info(slot)) else {
            continue;
        };
        if !info.token_initialized() {
            continue;
        }
        labels.push(info.label().trim_end().to_owned());
        let seen = TokenSeen {
            label: info.label(),
            manufacturer: info.manufacturer_id(),
            model: info.model(),
            serial: info.serial_number(),
            slot_id: slot.id(),
            slot_description: place.slot_description(),
        };
        if uri.matches(&seen) && found.replace((slot, info)).is_some() {
            return Err(OpenError::Ambiguous { uri: uri.to_string() });
        }
    }
    found.ok_or(OpenError::NotFound { uri: uri.to_string(), labels })
}
