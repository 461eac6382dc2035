//! Administration: from the bytes of a request to a signed response.
//!
//! | step | here | knows |
//! |---|---|---|
//! | check the addressed unit | [`target`] | the unit's identity, life and counter |
//! | verify signatures | [`verify`] | administrators' keys |
//! | parse the input | [`parsed_command`] | the form of each command's input |
//! | decide | [`decision`], [`attributes`] | the domain; pure; the table of rules is there |
//! | transport key parts and master keys | [`transport`] | the importer key, the master keys |
//! | answer queries | [`query`] | public state |
//! | write and sign the response | [`response`] | the module |
//!
//! Verification and decision are separate: the decision receives the number of valid signatures and never a signature, so
//! that tests can walk through every state and every command without a key.

pub(crate) mod attributes;
pub(crate) mod decision;
pub(crate) mod parsed_command;
pub(crate) mod query;
pub(crate) mod response;
pub(crate) mod target;
pub(crate) mod transport;
pub(crate) mod verify;
