//! Smart cards in software: files that behave like the cards of a ceremony.
//!
//! | card | PINs | blocked after | content |
//! |---|---|---|---|
//! | CA card ([`CaCard`]) | two, of two owners | 5 wrong tries, permanently | keys of a zone |
//! | EP11 card ([`Ep11Card`]) | one | 3 wrong tries, until a CA card of its zone unblocks it | one signature key, 85 key parts |
//!
//! Keys and parts are generated in a card and used in it. They leave it only sealed for another card of the same zone, and
//! parts also sealed for the importer key of a unit.
//!
//! **A software card is a simulation.** A real card protects its secrets and counts its tries in hardware. Here both are in
//! a file: an attacker who copies it can try all million PINs on copies, at the cost of one Argon2id each, and an old copy
//! has the tries that were left then. Software cards are for rehearsals, tests and scripts. For a production key, keep parts
//! in files with long passwords, or on real cards.
//!
//! Within one file the rules hold: a try is counted, durably, before the PIN is checked, so that an attacker gains nothing
//! by killing the process. Only one process at a time can insert a card.

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

pub use ca::{CaCard, CaPinAttempt, CaPins, CaSession};
pub use certificate::{CardCertificate, Serial, ZoneId};
pub use ep11::{CardContent, Ep11Card, Ep11PinAttempt, Ep11Session, HeldPart, MAX_PARTS_PER_CARD};
pub use error::{CardError, CardFull};
pub use handle::{CardPart, CardSignatureKey};
pub use part_list::{ListedPart, PartList, PartListInvalid};
pub use pin::Pin;
pub use transfer::Transfer;
