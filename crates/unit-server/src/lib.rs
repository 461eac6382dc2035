//! One crypto unit behind a byte stream.
//!
//! [`UnitServer`] opens a unit from a folder and serves it: over a Unix socket to hosts on the same machine
//! ([`UnitServer::serve_socket`]), or over any byte stream in this process ([`UnitServer::serve_connection`]). The unit
//! itself is [`unit_core::Unit`]; this crate gives it storage, an engine, an identity and a clock.
//!
//! | module | contents |
//! |---|---|
//! | `server` | the unit and its connections' shared state |
//! | `connection` | the frame loop |
//! | `socket` | the Unix socket and its accept loop |
//! | `device`, `manufacturer` | identity and secrets of a unit, and the certificate of its module |
//! | `engine`, `token` | which engine holds the keys, and how it is opened |
//! | `process_protection` | no core dumps, no attaching to the process, memory locked where the system permits it |
//! | `storage`, `state_keys` | state slots, and the secrets that they are sealed under, as files |
//! | [`files`] | files that are whole or absent after a crash |
//!
//! What this crate deliberately does not know: hosts, regions, zones, other units, supervision and faults. It never prompts
//! for a PIN and never restarts the process; both are the program's, through [`UnitConfig::pin_prompt`] and
//! [`UnitServerError::softhsm_conf`].
//!
//! Invariants:
//! - A unit's folder belongs to one process at a time.
//! - One command at a time reaches the unit; a command that panicked makes the unit unusable until it is opened again.
//! - A frame is wiped from memory once it has been carried out or written.
//! - Secrets are in files that only their owner can read.
//!
//! A host in the same process asks a unit for its status over a pair of sockets:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::os::unix::net::UnixStream;
//! use std::sync::Arc;
//! use unit_api::{Command, Envelope, FRAME_HEADER_LEN, Request, Response};
//! use unit_api::{decode_reply, encode_request, split_frame};
//! use unit_server::{RootManufacturer, UnitConfig, UnitServer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let manufacturer = Arc::new(RootManufacturer::generate("example root")?);
//! let config = UnitConfig::new(folder.path(), manufacturer).with_serial("EXAMPLE1");
//! let server = UnitServer::open(&config)?;
//!
//! let (mut host, unit) = UnixStream::pair()?;
//! let serving = std::thread::spawn({
//!     let server = server.clone();
//!     move || server.serve_connection(unit)
//! });
//!
//! let mut frame = [0; 256];
//! let envelope = Envelope::plain(Command::Status);
//! let len = encode_request(&Request { number: 1, deadline_ms: 1_000, envelope }, &mut frame)?;
//! host.write_all(&frame[..len])?;
//! host.shutdown(std::net::Shutdown::Write)?;
//! let mut replies = Vec::new();
//! host.read_to_end(&mut replies)?;
//!
//! let (body, _) = split_frame(&replies)?.ok_or("no reply")?;
//! let Ok(Response::Status(status)) = decode_reply(body)?.result else { panic!("no status") };
//! assert_eq!(status.unit, server.identity().unit);
//! assert!(status.unit.to_string().starts_with("EXAMPLE1-"));
//! serving.join().expect("the connection's thread")?;
//! # Ok(())
//! # }
//! ```

mod config;
mod connection;
mod device;
mod engine;
pub mod files;
pub mod firmware;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod kept_engine;
mod manufacturer;
mod process_protection;
mod server;
mod socket;
mod state_keys;
mod storage;
mod token;

pub use config::{PinPrompt, UnitConfig};
pub use connection::{Connection, Halves};
pub use device::{CertifiedModule, Device, DeviceError, Manufacture};
pub use engine::{EngineChoice, EngineInvalid};
pub use kept_engine::{KeptEngineError, engine_with_keys};
pub use manufacturer::{Manufacturer, ManufacturerError, ModuleIdentity, ModuleRequest, RootManufacturer};
pub use process_protection::{MemoryNotLocked, ProcessProtection, protect_process};
pub use server::{OperatorError, ServeError, UnitServer, UnitServerError};
pub use storage::FileStorage;
pub use token::TokenError;
pub use unit_core::UnitIdentity;
