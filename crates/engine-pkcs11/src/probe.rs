//! What a token can do, found out by having it do it.
//!
//! Every mechanism that a unit needs is run on a published example, and what should be refused is offered to it. A token
//! that lacks a mechanism may be helped out where the table says so; one that answers wrongly may not.

mod trials;
mod vectors;

use self::trials::{
    cmac, counter_kdf, gcm, generates, hmac, keeps_keys, key_wrap, padded_unwrap, padded_wrap, pattern,
    random, sha256, single_blocks, xor,
};
use crate::error::CallError;
use crate::error::OpenError;
use crate::error::fault::words;
use crate::objects::call::Desk;
use crate::objects::key_table::Keys;
use crate::objects::profile::Profile;
use crate::token::{Seat, Token};
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::KeyType;
use engine::EngineError;
use std::fmt;

/// How a token did at one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is there, and gave the published answer.
    Right,
    /// It is not there, or not in this way; what is done instead.
    FallsBack(&'static str),
    /// It is not there, and nothing can be done instead.
    Missing,
    /// It gave another answer than the published one.
    Wrong,
}

impl Verdict {
    /// Whether a unit gets by with that.
    #[must_use]
    pub const fn is_enough(&self) -> bool {
        matches!(self, Self::Right | Self::FallsBack(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Right => f.write_str("right"),
            Self::FallsBack(instead) => write!(f, "falls back: {instead}"),
            Self::Missing => f.write_str("missing"),
            Self::Wrong => f.write_str("WRONG"),
        }
    }
}

/// One line of the probe's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeRow {
    /// The mechanism, by its standard's name.
    pub mechanism: &'static str,
    /// The same by PKCS#11's.
    pub pkcs11: &'static str,
    /// What a unit needs it for.
    pub needed_for: &'static str,
    /// Whether the token lists it.
    pub offered: bool,
    /// How it did.
    pub verdict: Verdict,
    /// What it said, where it refused what it lists.
    pub said: Option<String>,
}

/// What was found out.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    pub(crate) rows: Vec<ProbeRow>,
    pub(crate) profile: Profile,
}

impl Probe {
    /// Tries everything, in session objects that are gone afterwards.
    pub(crate) fn run(token: &Token, seat: &Seat) -> Result<Self, OpenError> {
        let offered = token.mechanisms().map_err(OpenError::Session)?;
        let (keys, profile) = (Keys::default(), CAUTIOUS);
        let generation = token.ready(seat).map_err(|_| OpenError::Away)?;
        let trials = token.work(seat, generation, |session| {
            let desk = Desk::new(session, &keys, &profile, "");
            TRIALS.iter().map(|trial| trial.run(&desk, &offered)).collect::<Vec<_>>()
        });
        let rows = trials.ok_or(OpenError::Away)?;
        let right =
            |name| rows.iter().any(|row: &ProbeRow| row.mechanism == name && row.verdict == Verdict::Right);
        let profile = Profile {
            derives_inside: right(COUNTER_KDF),
            xors_inside: right(XOR),
            unwraps_padded: right(KWP_UNWRAP),
            wraps_padded: right(KWP_WRAP),
            min_hmac_len: if right(SHORT_HMAC) { 1 } else { 32 },
        };
        Ok(Self { rows, profile })
    }

    /// Refuses a token that no unit can use.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        for row in &self.rows {
            match row.verdict {
                Verdict::Missing => return Err(OpenError::MechanismMissing { mechanism: row.mechanism }),
                Verdict::Wrong => return Err(OpenError::AnswerWrong { mechanism: row.mechanism }),
                Verdict::Right | Verdict::FallsBack(_) => {}
            }
        }
        Ok(())
    }
}

/// The table of what a unit needs and a token offers; for people who have to choose one.
///
/// # Errors
/// [`OpenError`] when the token cannot be asked.
pub fn probe(token: &Token) -> Result<Vec<ProbeRow>, OpenError> {
    let seat = token.seat()?;
    Probe::run(token, &seat).map(|probe| probe.rows)
}

/// What is taken for granted of a token that nothing is known of.
const CAUTIOUS: Profile = Profile {
    derives_inside: false,
    xors_inside: false,
    unwraps_padded: false,
    wraps_padded: false,
    min_hmac_len: 32,
};

const COUNTER_KDF: &str = "SP 800-108 counter, AES-CMAC";
const XOR: &str = "XOR of key parts";
const KWP_UNWRAP: &str = "AES-KWP unwrap";
const KWP_WRAP: &str = "AES-KWP wrap, any length";
const SHORT_HMAC: &str = "HMAC-SHA-256, short keys";

/// One thing to try.
struct Trial {
    mechanism: &'static str,
    pkcs11: &'static str,
    needed_for: &'static str,
    /// Its number, if having it listed is a condition.
    number: Option<MechanismType>,
    /// What is done where it is missing; None if nothing can be.
    instead: Option<&'static str>,
    /// Whether a wrong answer is as good as none, because what is done instead does not ask for it.
    wrong_is_missing: bool,
    /// Whether the answer was right.
    run: fn(&Desk<'_>) -> Result<bool, CallError>,
}

impl Trial {
    fn run(&self, desk: &Desk<'_>, offered: &[MechanismType]) -> ProbeRow {
        let offered = self.number.is_none_or(|number| offered.contains(&number));
        let mut said = None;
        let answered = offered.then(|| {
            let mut answer = None;
            // Everything that it made goes, however it ended.
            let _ = desk.run(|desk| -> Result<(), CallError> {
                answer = Some((self.run)(desk));
                Err(EngineError::DeviceError.into())
            });
            answer
        });
        let instead = self.instead.map_or(Verdict::Missing, Verdict::FallsBack);
        let verdict = match answered.flatten() {
            Some(Ok(true)) => Verdict::Right,
            Some(Ok(false)) if !self.wrong_is_missing => Verdict::Wrong,
            Some(Err(CallError::Token(error))) => {
                said = Some(words(&error));
                instead
            }
            Some(Ok(false) | Err(CallError::Refused(_))) | None => instead,
        };
        ProbeRow {
            mechanism: self.mechanism,
            pkcs11: self.pkcs11,
            needed_for: self.needed_for,
            offered,
            verdict,
            said,
        }
    }
}

const TRIALS: &[Trial] = &[
    Trial {
        mechanism: "random bits",
        pkcs11: "C_GenerateRandom",
        needed_for: "keys, initialisation vectors",
        number: None,
        instead: None,
        wrong_is_missing: false,
        run: random,
    },
    Trial {
        mechanism: "AES key generation",
        pkcs11: "CKM_AES_KEY_GEN",
        needed_for: "master keys, data keys",
        number: Some(MechanismType::AES_KEY_GEN),
        instead: None,
        wrong_is_missing: false,
        run: |desk| generates(desk, KeyType::AES, &Ck::AesKeyGen),
    },
    Trial {
        mechanism: "generic secret generation",
        pkcs11: "CKM_GENERIC_SECRET_KEY_GEN",
        needed_for: "HMAC keys",
        number: Some(MechanismType::GENERIC_SECRET_KEY_GEN),
        instead: None,
        wrong_is_missing: false,
        run: |desk| generates(desk, KeyType::GENERIC_SECRET, &Ck::GenericSecretKeyGen),
    },
    Trial {
        mechanism: "sensitive, not extractable",
        pkcs11: "CKA_SENSITIVE, CKA_EXTRACTABLE",
        needed_for: "every key",
        number: None,
        instead: None,
        wrong_is_missing: false,
        run: keeps_keys,
    },
    Trial {
        mechanism: "AES-KW",
        pkcs11: "CKM_AES_KEY_WRAP",
        needed_for: "key blobs",
        number: Some(MechanismType::AES_KEY_WRAP),
        instead: None,
        wrong_is_missing: false,
        run: key_wrap,
    },
    Trial {
        mechanism: KWP_UNWRAP,
        pkcs11: "CKM_AES_KEY_WRAP_PAD (0x210A)",
        needed_for: "blobs of secrets of other lengths",
        number: Some(MechanismType::AES_KEY_WRAP_PAD),
        instead: Some("block by block, the key in the unit's memory for the call"),
        wrong_is_missing: true,
        run: padded_unwrap,
    },
    Trial {
        mechanism: KWP_WRAP,
        pkcs11: "CKM_AES_KEY_WRAP_PAD (0x210A)",
        needed_for: "blobs of secrets of other lengths",
        number: Some(MechanismType::AES_KEY_WRAP_PAD),
        instead: Some("block by block, the key in the unit's memory for the call"),
        wrong_is_missing: true,
        run: padded_wrap,
    },
    Trial {
        mechanism: "AES, single blocks",
        pkcs11: "CKM_AES_ECB",
        needed_for: "AES-KWP where the token has it not",
        number: Some(MechanismType::AES_ECB),
        instead: None,
        wrong_is_missing: false,
        run: single_blocks,
    },
    Trial {
        mechanism: "AES-GCM",
        pkcs11: "CKM_AES_GCM",
        needed_for: "data, the unit's state",
        number: Some(MechanismType::AES_GCM),
        instead: None,
        wrong_is_missing: false,
        run: gcm,
    },
    Trial {
        mechanism: "AES-CMAC",
        pkcs11: "CKM_AES_CMAC",
        needed_for: "key blobs, derivation",
        number: Some(MechanismType::AES_CMAC),
        instead: None,
        wrong_is_missing: false,
        run: cmac,
    },
    Trial {
        mechanism: "SHA-256",
        pkcs11: "CKM_SHA256",
        needed_for: "the unit's state",
        number: Some(MechanismType::SHA256),
        instead: None,
        wrong_is_missing: false,
        run: sha256,
    },
    Trial {
        mechanism: "SHA-256 of a key",
        pkcs11: "C_DigestKey",
        needed_for: "verification patterns",
        number: Some(MechanismType::SHA256),
        instead: None,
        wrong_is_missing: false,
        run: pattern,
    },
    Trial {
        mechanism: "HMAC-SHA-256",
        pkcs11: "CKM_SHA256_HMAC",
        needed_for: "MACs of data",
        number: Some(MechanismType::SHA256_HMAC),
        instead: None,
        wrong_is_missing: false,
        run: |desk| hmac(desk, 32),
    },
    Trial {
        mechanism: SHORT_HMAC,
        pkcs11: "CKM_SHA256_HMAC",
        needed_for: "HMAC keys below 32 bytes",
        number: Some(MechanismType::SHA256_HMAC),
        instead: Some("zeros behind the key, which are the same key to HMAC"),
        wrong_is_missing: false,
        run: |desk| hmac(desk, 20),
    },
    Trial {
        mechanism: COUNTER_KDF,
        pkcs11: "CKM_SP800_108_COUNTER_KDF",
        needed_for: "blob keys",
        number: Some(MechanismType::SP800_108_COUNTER_KDF),
        instead: Some("MACs of the token; the derived keys are in the unit's memory once"),
        wrong_is_missing: true,
        run: counter_kdf,
    },
    Trial {
        mechanism: XOR,
        pkcs11: "CKM_XOR_BASE_AND_DATA",
        needed_for: "loading a master key",
        number: Some(MechanismType::XOR_BASE_AND_DATA),
        instead: Some("in the unit's memory, once"),
        wrong_is_missing: true,
        run: xor,
    },
];

#[cfg(test)]
mod tests {
    use super::{CAUTIOUS, Probe, TRIALS, Verdict};
    use crate::error::OpenError;
    use std::collections::BTreeSet;

    /// The probe of a token that does everything but this as it should.
    fn probe(mechanism: &str, verdict: &Verdict) -> Probe {
        let rows = TRIALS.iter().map(|trial| super::ProbeRow {
            mechanism: trial.mechanism,
            pkcs11: trial.pkcs11,
            needed_for: trial.needed_for,
            offered: true,
            verdict: if trial.mechanism == mechanism { verdict.clone() } else { Verdict::Right },
            said: None,
        });
        Probe { rows: rows.collect(), profile: CAUTIOUS }
    }

    #[test]
    fn a_token_that_lacks_something_or_computes_wrongly_is_refused_by_its_name() {
        assert!(probe("", &Verdict::Right).check().is_ok());
        for trial in TRIALS {
            let name = trial.mechanism;
            let refused = probe(name, &Verdict::Missing).check();
            assert!(matches!(refused, Err(OpenError::MechanismMissing { mechanism }) if mechanism == name));
            let refused = probe(name, &Verdict::Wrong).check();
            assert!(matches!(refused, Err(OpenError::AnswerWrong { mechanism }) if mechanism == name));
            assert!(probe(name, &Verdict::FallsBack("otherwise")).check().is_ok());
        }
    }

    #[test]
    fn rows_are_told_apart_by_name() {
        let names: BTreeSet<_> = TRIALS.iter().map(|trial| trial.mechanism).collect();
        assert_eq!(names.len(), TRIALS.len());
    }
}
