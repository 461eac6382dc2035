//! What a module has, before anybody logs in.

use crate::error::OpenError;
use crate::token::module::Module;
use crate::token::uri::TokenSeen;
use cryptoki::types::Version;
use std::path::Path;

/// A module and its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleListing {
    /// What it says of itself: who made it, what it is, its version.
    pub library: String,
    /// Every token that is plugged in, those that nobody has initialised among them.
    pub tokens: Vec<ListedToken>,
    /// Slots whose token does not say what it is, or not in PKCS #11's words; and what came of asking.
    pub unreadable: Vec<(u64, String)>,
}

/// A token as its module shows it, blanks at the end cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedToken {
    /// Number of its slot.
    pub slot_id: u64,
    /// What the slot is.
    pub slot_description: String,
    /// Label.
    pub label: String,
    /// Who makes it.
    pub manufacturer: String,
    /// What it is.
    pub model: String,
    /// Versions of the hardware and of its firmware.
    pub versions: (String, String),
    /// Which it is.
    pub serial: String,
    /// Whether it was ever initialised.
    pub is_initialized: bool,
    /// Whether a unit could log in.
    pub has_user_pin: bool,
}

impl ListedToken {
    /// What a [`TokenUri`](crate::TokenUri) is matched against.
    #[must_use]
    pub fn seen(&self) -> TokenSeen<'_> {
        TokenSeen {
            label: &self.label,
            manufacturer: &self.manufacturer,
            model: &self.model,
            serial: &self.serial,
            slot_id: self.slot_id,
            slot_description: &self.slot_description,
        }
    }
}

/// Loads a module and asks it for its tokens. It is finalised again before this returns.
///
/// # Errors
/// [`OpenError::ModuleFile`], [`OpenError::Module`] or [`OpenError::ModuleInUse`]; [`OpenError::Session`] if it does not
/// say what it has.
pub fn list(module: &Path) -> Result<ModuleListing, OpenError> {
    let module = Module::take(module)?;
    let context = module.context();
    let library = context.get_library_info().map_or_else(
        |_| "a module that does not say what it is".to_owned(),
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
    for slot in context.get_slots_with_token().map_err(OpenError::Session)? {
        let seen = context.get_slot_info(slot).and_then(|place| Ok((place, context.get_token_info(slot)?)));
        let (place, info) = match seen {
            Ok(seen) => seen,
            Err(error) => {
                unreadable.push((slot.id(), error.to_string()));
                continue;
            }
        };
        tokens.push(ListedToken {
            slot_id: slot.id(),
            slot_description: unpadded(place.slot_description()),
            label: unpadded(info.label()),
            manufacturer: unpadded(info.manufacturer_id()),
            model: unpadded(info.model()),
            versions: (version(info.hardware_version()), version(info.firmware_version())),
            serial: unpadded(info.serial_number()),
            is_initialized: info.token_initialized(),
            has_user_pin: info.user_pin_initialized(),
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
