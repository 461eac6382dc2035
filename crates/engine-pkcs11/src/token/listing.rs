//! The tokens of a module, listed without logging in.

use super::module::Module;
use super::uri::TokenAttributes;
use crate::error::OpenError;
use cryptoki::types::Version;
use std::path::Path;

/// A module and its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleListing {
    /// Description, version and manufacturer of the library and its PKCS #11 version, in one line.
    pub library: String,
    /// Every token present, including tokens that are not initialised.
    pub tokens: Vec<ListedToken>,
    /// Slots with a token whose `CK_TOKEN_INFO` could not be read or is malformed: slot number and error.
    pub unreadable: Vec<(u64, String)>,
}

/// What a module says of one token (`CK_TOKEN_INFO`, `CK_SLOT_INFO`), without trailing blanks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedToken {
    /// Number of its slot; many modules assign another one after a restart.
    pub slot_id: u64,
    /// Description of its slot.
    pub slot_description: String,
    /// Label, set when the token was initialised.
    pub label: String,
    /// Manufacturer of the token.
    pub manufacturer: String,
    /// Model of the token.
    pub model: String,
    /// Versions of the hardware and of the firmware, each as `major.minor`.
    pub versions: (String, String),
    /// Serial number.
    pub serial: String,
    /// Whether the token is initialised.
    pub is_initialized: bool,
    /// Whether its user PIN is set; without one, no unit can log in.
    pub has_user_pin: bool,
}

impl ListedToken {
    /// The attributes that a [`TokenUri`](crate::TokenUri) is matched against.
    #[must_use]
    pub fn attributes(&self) -> TokenAttributes<'_> {
        TokenAttributes {
            label: &self.label,
            manufacturer: &self.manufacturer,
            model: &self.model,
            serial: &self.serial,
            slot_id: self.slot_id,
            slot_description: &self.slot_description,
        }
    }
}

/// Loads a module and lists its tokens. The module is finalised before this returns.
///
/// # Errors
/// [`OpenError::ModuleFile`], [`OpenError::ModuleLoad`] or [`OpenError::ModuleInUse`]; [`OpenError::Token`] if its slots
/// cannot be listed.
pub fn list(module: &Path) -> Result<ModuleListing, OpenError> {
    let module = Module::load(module)?;
    let context = module.context();
    let library = context.get_library_info().map_or_else(
        |_| "unknown library".to_owned(),
        |info| {
            format!(
                "{} {} by {}, PKCS #11 {}",
                info.library_description().trim(),
                version(info.library_version()),
                info.manufacturer_id().trim(),
                version(info.cryptoki_version())
            )
        },
    );
    let (mut tokens, mut unreadable) = (Vec::new(), Vec::new());
    for slot in context.get_slots_with_token().map_err(OpenError::Token)? {
        let infos = context.get_slot_info(slot).and_then(|info| Ok((info, context.get_token_info(slot)?)));
        let (slot_info, token_info) = match infos {
            Ok(infos) => infos,
            Err(error) => {
                unreadable.push((slot.id(), error.to_string()));
                continue;
            }
        };
        tokens.push(ListedToken {
            slot_id: slot.id(),
            slot_description: unpadded(slot_info.slot_description()),
            label: unpadded(token_info.label()),
            manufacturer: unpadded(token_info.manufacturer_id()),
            model: unpadded(token_info.model()),
            versions: (version(token_info.hardware_version()), version(token_info.firmware_version())),
            serial: unpadded(token_info.serial_number()),
            is_initialized: token_info.token_initialized(),
            has_user_pin: token_info.user_pin_initialized(),
        });
    }
    Ok(ModuleListing { library, tokens, unreadable })
}

fn unpadded(text: &str) -> String {
    text.trim_end_matches([' ', '\0']).to_owned()
}

fn version(version: Version) -> String {
    format!("{}.{}", version.major(), version.minor())
}
