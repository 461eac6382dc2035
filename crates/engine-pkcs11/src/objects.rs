//! Key objects on a token: how they are made, which handles name them, and how they outlive the process.

pub(crate) mod call;
pub(crate) mod clear;
pub(crate) mod key_table;
pub(crate) mod persistence;
pub(crate) mod profile;
pub(crate) mod store;
pub(crate) mod template;
