//! The commands, a family in each module.

pub(crate) mod admins;
pub(crate) mod audit;
pub(crate) mod auto;
pub(crate) mod cards;
pub(crate) mod compare;
pub(crate) mod control_points;
pub(crate) mod converge;
pub(crate) mod instance_delete;
pub(crate) mod keys;
pub(crate) mod master_key;
pub(crate) mod parts;
pub(crate) mod proposals;
pub(crate) mod protocol;
pub(crate) mod rotation;
pub(crate) mod units;
pub(crate) mod zeroize;
