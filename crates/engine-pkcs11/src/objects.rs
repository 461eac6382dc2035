//! Key objects on a token: how they are created, which handles name them, and how they outlive the process.

mod attestation_key;
mod call_context;
pub(crate) mod clear_key;
pub(crate) mod derived_keys;
mod device_key;
mod key_digest;
mod key_table;
pub(crate) mod persistence;
mod profile;
pub(crate) mod reference;
mod role;
mod state_keys;
pub(crate) mod stored_objects;
mod template;
pub(crate) mod unwrap_template;

pub(crate) use attestation_key::{TokenAttestationKey, sign_on_token, signs_on_p521};
pub(crate) use call_context::{CallContext, padded_len};
pub(crate) use clear_key::ClearKey;
pub use device_key::DeviceKeyMode;
pub(crate) use device_key::{DEVICE_KEY_SPEC, ensure_device_key, find_device_key, renew_device_key};
pub(crate) use key_digest::digest_key;
pub(crate) use key_table::{KeyEntry, KeyObjects, KeyOrigin, KeyTable};
pub(crate) use profile::Profile;
pub(crate) use state_keys::{create_state_key, destroy_state_keys_but, find_state_key};
pub(crate) use template::{ObjectUsage, key_type, template, with_attribute};
