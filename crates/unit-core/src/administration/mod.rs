//! Administration: from the bytes of a request to a signed answer.
//!
//! | step | here | knows |
//! |---|---|---|
//! | what the request is for | [`target`] | the unit's identity, life and counter |
//! | whose signatures are right | [`verify`] | administrators' keys |
//! | what it asks | [`order`] | the form of each command's input |
//! | whether it may, and what comes of it | [`decision`], [`attributes`] | the domain; pure, and the table stands there |
//! | the engine's part in it | [`transport`] | the importer key, the master keys |
//! | questions | [`query`] | all that is public |
//! | the answer | [`reply`] | the module |
//!
//! What is verified and what is decided are kept apart: the decision is told how many administrators have signed and
//! never sees a signature, so that every state and every command can be walked through without a key.

pub(crate) mod attributes;
pub(crate) mod decision;
pub(crate) mod order;
pub(crate) mod query;
pub(crate) mod reply;
pub(crate) mod target;
pub(crate) mod transport;
pub(crate) mod verify;
