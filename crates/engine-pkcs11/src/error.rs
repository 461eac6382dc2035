//! Errors of this crate: for callers, for the engine's own calls, and the classes of `CKR_*` codes.

mod call_error;
pub(crate) mod fault;
mod open_error;

pub(crate) use call_error::CallError;
pub use open_error::OpenError;
