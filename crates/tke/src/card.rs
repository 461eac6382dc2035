//! Smart cards, in software: files that behave as the cards of a ceremony do.
//!
//! | card | PINs | blocked after | holds |
//! |---|---|---|---|
//! | CA card ([`CaCard`]) | two, of two owners | 5 wrong tries, for ever | the keys of a zone |
//! | EP11 card ([`Ep11Card`]) | one | 3 wrong tries, until a CA card of its zone unblocks it | one signature key, 85 key parts |
//!
//! Keys and parts are made in a card and used in it. They go to another card of the same zone, sealed for it, and parts
//! go to a unit, sealed for its importer key; nowhere else, and never in the clear.
//!
//! **A software card is a simulation.** A real card guards its secrets and counts its tries in hardware. Here both are
//! in a file: whoever copies it can try all million PINs on copies, at the cost of one Argon2id each, and whoever has an
//! old copy has the tries that were left then. It is for rehearsal, tests and scripts. For a production key, keep parts
//! in files under long passwords, or on real cards.
//!
//! Within one file the rules are kept: a try is counted, durably, before the PIN is looked at, so that killing the
//! process gains nothing; one process at a time has a card inserted.

mod ca;
mod certificate;
mod content;
mod ep11;
mod error;
mod handle;
mod part_list;
mod pin;
mod store;
mod transfer;

pub use ca::{CaCard, CaPins, CaSession, CountedCaCard};
pub use certificate::{CardCertificate, Serial, ZoneId};
pub use ep11::{CardContent, CountedEp11Card, Ep11Card, Ep11Session, HeldPart, MAX_PARTS_PER_CARD};
pub use error::{CardError, Full};
pub use handle::{CardPart, CardSignatureKey};
pub use part_list::{ListedPart, PartList, PartListInvalid};
pub use pin::Pin;
pub use transfer::Transfer;
