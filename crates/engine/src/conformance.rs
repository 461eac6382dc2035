//! The suite of laws that every engine passes (feature `conformance`).
//!
//! ```text
//! for law in engine::conformance::LAWS {
//!     println!("{}", law.name); // the last name printed is the broken law
//!     law.check(&mut my_engine());
//! }
//! engine::conformance::restart(&mut my_engine(), &mut my_engine_again(), &mut another_engine());
//! ```
//!
//! A broken law panics, which is for tests only. Each law leaves the engine as it was, except for keys that it cannot
//! remove. An engine must refuse every mechanism that it does not list. A listed mechanism must give the results of its
//! standard's published examples, and must refuse keys that are not permitted to use it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a broken law panics")]

mod attestation;
mod data;
mod keys;
mod macs;
mod master_keys;
mod persistence;
mod state_keys;
mod support;
mod vectors;
mod wrapping;

use crate::Engine;

pub use persistence::restart;

/// One law.
pub struct Law {
    /// The law as an identifier, unique in the suite.
    pub name: &'static str,
    check: fn(&mut dyn Engine),
}

impl Law {
    /// Checks the law on this engine.
    ///
    /// # Panics
    /// When the law is broken.
    pub fn check(&self, engine: &mut dyn Engine) {
        (self.check)(engine);
    }
}

/// Checks every law on this engine.
///
/// # Panics
/// At the first broken law.
pub fn run(engine: &mut dyn Engine) {
    for law in LAWS {
        law.check(engine);
    }
}

macro_rules! laws {
    ($($module:ident::$law:ident),* $(,)?) => {
        /// Every law that concerns one engine; [`restart`] concerns several.
        pub const LAWS: &[Law] = &[
            $(Law { name: concat!(stringify!($module), "::", stringify!($law)), check: $module::$law }),*
        ];
    };
}

laws![
    attestation::a_signature_verifies_under_the_attestation_key,
    attestation::the_attestation_key_stays,
    keys::mechanisms_are_listed_once,
    keys::unlisted_mechanisms_are_refused,
    keys::random_bytes_differ,
    keys::every_listed_size_is_made_and_no_other,
    keys::generated_keys_differ,
    keys::imported_values_have_the_stated_length,
    keys::a_use_that_is_not_permitted_is_refused,
    keys::a_mechanism_takes_its_own_kind_of_key,
    keys::a_destroyed_key_is_gone,
    keys::a_full_engine_refuses_and_recovers,
    keys::refusals_leave_no_key_behind,
    keys::the_device_key_stays_and_encrypts_only,
    master_keys::parts_combine_to_the_published_patterns,
    master_keys::one_to_three_parts_combine_and_no_more,
    master_keys::an_exported_master_key_combines_to_the_same_key,
    master_keys::an_unextractable_master_key_is_not_exported,
    master_keys::no_other_key_is_exported_as_a_part,
    master_keys::a_master_key_only_derives,
    master_keys::derivation_gives_the_published_keys,
    master_keys::derived_keys_differ_by_label_context_and_length,
    master_keys::digests_of_keys_need_derive,
    wrapping::kw_gives_the_published_values,
    wrapping::kwp_gives_the_published_values,
    wrapping::every_length_unwraps_to_the_same_key,
    wrapping::a_tampered_wrapped_key_is_refused,
    wrapping::another_length_or_mechanism_is_refused,
    wrapping::an_unextractable_key_leaves_under_derived_keys_only,
    wrapping::a_short_buffer_is_refused_and_zeroed,
    data::gcm_gives_the_published_values,
    data::gcm_takes_every_length,
    data::a_tampered_ciphertext_is_refused,
    data::a_short_buffer_is_refused_and_zeroed,
    macs::cmac_gives_the_published_values,
    macs::hmac_gives_the_published_values,
    macs::sha256_gives_the_published_values,
    macs::a_wrong_mac_is_refused,
    macs::a_short_buffer_is_refused_and_zeroed,
    persistence::a_persisted_key_is_recalled_unchanged,
    persistence::a_damaged_reference_is_refused,
    persistence::keys_of_unnamed_references_are_forgotten,
    persistence::a_short_buffer_is_refused_and_zeroed,
    state_keys::a_state_key_seals_until_it_is_destroyed,
    state_keys::a_state_key_stays_and_encrypts_only,
    state_keys::a_renewed_device_key_opens_nothing_of_before,
];
