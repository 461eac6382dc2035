//! Errors: of opening a token, of one call to it, and the classes of `CKR_*` codes.

mod call_error;
mod fault;
mod object_refusal;
mod open_error;

pub(crate) use call_error::CallError;
pub(crate) use fault::{Fault, short_text};
pub use object_refusal::{ObjectFault, ObjectRefusal};
pub use open_error::OpenError;
