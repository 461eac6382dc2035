//! The commands, a file for each family.
//!
//! Every function writes its result to the start of `out` and returns its length; the scope destroys the keys it opens.
//! Nothing here changes the unit.

mod crypt;
mod keys;
mod mac;
mod master_key;

pub(crate) use crypt::{decrypt, encrypt, generate_random};
pub(crate) use keys::{generate_key, import_key, reencipher, unwrap_key, wrap_key};
pub(crate) use mac::{sign, verify};
pub(crate) use master_key::{derive, generate_master_key, load_key_parts};

use unit_api::{MAX_DATA_LEN, UnitError};

fn check_data_len(data: &[u8]) -> Result<(), UnitError> {
    if data.len() <= MAX_DATA_LEN { Ok(()) } else { Err(UnitError::DataLenRange) }
}
