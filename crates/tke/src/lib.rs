//! Trusted key entry: signature keys, key parts, ceremonies over all units of an instance.

pub mod secret_file;
