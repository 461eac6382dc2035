//! The probe: which mechanisms a token has, found by running them.
//!
//! Every mechanism that a unit needs is run on a published vector, and requests that must fail are made too. A missing
//! mechanism is replaced where the table has a fallback; a token with a wrong result is refused.

mod cases;
mod protection;
mod vectors;

use self::cases::{
    aes_kw, cmac, counter_kdf, gcm, generates_keys, hmac, key_digest, kwp_unwrap, kwp_wrap, protects_keys,
    random, sha256, single_blocks, xor,
};
use self::protection::{makes_uncopyable_copies, obeys_unwrap_templates, protects_objects, tells_origin};
use crate::error::{CallError, OpenError, short_text};
use crate::objects::{CallContext, KeyTable, Profile, signs_on_p521};
use crate::token::{EngineSession, Token};
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::KeyType;
use engine::EngineError;
use std::fmt;

/// Result of one probe case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The token supports it and returned the published result.
    Supported,
    /// The token does not support it, or not as the standard specifies. Holds what the engine does instead.
    Fallback(&'static str),
    /// The token does not support it, and there is no fallback.
    Missing,
    /// The token returned another result than the published one, or permitted what it has to refuse.
    WrongResult,
}

impl Verdict {
    /// Whether a unit can use a token with this result.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        matches!(self, Self::Supported | Self::Fallback(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Supported => f.write_str("supported"),
            Self::Fallback(fallback) => write!(f, "fallback: {fallback}"),
            Self::Missing => f.write_str("MISSING"),
            Self::WrongResult => f.write_str("WRONG RESULT"),
        }
    }
}

/// One row of the probe's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeRow {
    /// Name of the mechanism or property in its standard.
    pub mechanism: &'static str,
    /// Its PKCS#11 mechanism, function or attributes.
    pub pkcs11: &'static str,
    /// What a unit needs it for.
    pub needed_for: &'static str,
    /// Whether the token lists the mechanism; true for what is not a mechanism.
    pub offered: bool,
    /// Result of the case.
    pub verdict: Verdict,
    /// The token's error, if it refused a mechanism that it lists.
    pub token_error: Option<String>,
}

/// Results of all cases.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    pub(crate) rows: Vec<ProbeRow>,
    pub(crate) profile: Profile,
}

impl Probe {
    /// Runs all cases, on session objects that are destroyed again.
    ///
    /// # Errors
    /// [`OpenError::Token`] or [`OpenError::TokenUnavailable`] if the token is lost.
    pub(crate) fn run(token: &Token, session: &EngineSession) -> Result<Self, OpenError> {
        let offered = token.mechanisms().map_err(OpenError::Token)?;
        let keys = KeyTable::default();
        let generation = token.ensure_session(session).map_err(|_| OpenError::TokenUnavailable)?;
        let rows = token.with_session(session, generation, |session| {
            let call = CallContext::new(session, &keys, &Profile::MINIMAL, "");
            CASES.iter().map(|case| case.run(&call, &offered)).collect::<Vec<_>>()
        });
        let rows = rows.ok_or(OpenError::TokenUnavailable)?;
        let has = |name| {
            rows.iter().any(|row: &ProbeRow| row.mechanism == name && row.verdict == Verdict::Supported)
        };
        let profile = Profile {
            derives_on_token: has(COUNTER_KDF),
            xors_on_token: has(XOR),
            has_kwp: has(KWP_UNWRAP),
            signs_on_p521: has(ECDSA),
            min_hmac_key_len: if has(SHORT_HMAC) { 1 } else { 32 },
            protects_objects: has(PERMANENCE),
            copies_uncopyable: has(UNCOPYABLE_COPIES),
            has_unwrap_template: has(UNWRAP_TEMPLATE),
            tells_origin: has(ORIGIN),
        };
        Ok(Self { rows, profile })
    }

    /// Checks that a unit can use the token.
    ///
    /// # Errors
    /// [`OpenError::MechanismMissing`] or [`OpenError::WrongResult`] for the first case that failed.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        for row in &self.rows {
            match row.verdict {
                Verdict::Missing => return Err(OpenError::MechanismMissing { mechanism: row.mechanism }),
                Verdict::WrongResult => return Err(OpenError::WrongResult { mechanism: row.mechanism }),
                Verdict::Supported | Verdict::Fallback(_) => {}
            }
        }
        Ok(())
    }
}

/// Runs the probe and returns its table: everything that a unit needs from a token, and whether this one supports it.
///
/// # Errors
/// [`OpenError::SessionsExhausted`], [`OpenError::Token`] or [`OpenError::TokenUnavailable`].
pub fn probe(token: &Token) -> Result<Vec<ProbeRow>, OpenError> {
    let session = token.open_engine_session()?;
    Probe::run(token, &session).map(|probe| probe.rows)
}

const COUNTER_KDF: &str = "SP 800-108 counter, AES-CMAC";
const XOR: &str = "XOR of key parts";
const KWP_UNWRAP: &str = "AES-KWP unwrap";
const ECDSA: &str = "ECDSA on P-521";
const SHORT_HMAC: &str = "HMAC-SHA-256, short keys";
const PERMANENCE: &str = "protection from change and copying";
const UNCOPYABLE_COPIES: &str = "uncopyable copies";
const UNWRAP_TEMPLATE: &str = "unwrapping with given attributes";
const ORIGIN: &str = "origin of keys";

/// What a holder of the token's PIN can do without the unit, one phrase each: what no token prevents, and what this one does
/// not prevent.
///
/// `rows` are those of the token's probe.
#[must_use]
pub fn pin_holder_rights(rows: &[ProbeRow]) -> Vec<&'static str> {
    let holds =
        |name| rows.iter().any(|row| row.mechanism == name && matches!(row.verdict, Verdict::Supported));
    let mut rights = vec![
        "destroy the unit's keys",
        "sign as the unit's module",
        "with a copy of the unit's state: use the keys derived from the master key, and so read every customer key",
        "with the right to write the unit's state: replace it",
        "read the master key of a recovery unit",
    ];
    for (name, right) in [
        (PERMANENCE, "change and copy the unit's keys"),
        (UNCOPYABLE_COPIES, "store copies of the master key, which permit nothing"),
        (ORIGIN, "plant a key whose value it knows as the one that seals the unit's state"),
    ] {
        if !holds(name) {
            rights.push(right);
        }
    }
    rights
}

/// One thing that the probe makes the token do.
struct ProbeCase {
    mechanism: &'static str,
    pkcs11: &'static str,
    needed_for: &'static str,
    /// The mechanism that the token must list for the case to run.
    mechanism_type: Option<MechanismType>,
    /// What the engine does if the token does not support it; `None` if it is required.
    fallback: Option<&'static str>,
    /// Whether the fallback is used after a wrong result too. Only where the engine then never calls the mechanism.
    tolerates_wrong_result: bool,
    /// Returns whether the result was the expected one.
    run: fn(&CallContext<'_>) -> Result<bool, CallError>,
}

impl ProbeCase {
    fn run(&self, call: &CallContext<'_>, offered: &[MechanismType]) -> ProbeRow {
        let offered = self.mechanism_type.is_none_or(|mechanism| offered.contains(&mechanism));
        let mut token_error = None;
        let result = offered.then(|| {
            let mut result = None;
            // Returns an error in any case, so that the objects of the case are destroyed.
            let _ = call.run_or_undo(|call| -> Result<(), CallError> {
                result = Some((self.run)(call));
                Err(EngineError::DeviceError.into())
            });
            result
        });
        let fallback = self.fallback.map_or(Verdict::Missing, Verdict::Fallback);
        let verdict = match result.flatten() {
            Some(Ok(true)) => Verdict::Supported,
            Some(Ok(false)) if !self.tolerates_wrong_result => Verdict::WrongResult,
            Some(Err(CallError::Token(error))) => {
                token_error = Some(short_text(&error));
                fallback
            }
            Some(Ok(false) | Err(CallError::Engine(_) | CallError::Refused(_))) | None => fallback,
        };
        ProbeRow {
            mechanism: self.mechanism,
            pkcs11: self.pkcs11,
            needed_for: self.needed_for,
            offered,
            verdict,
            token_error,
        }
    }
}

const CASES: &[ProbeCase] = &[
    ProbeCase {
        mechanism: "random bits",
        pkcs11: "C_GenerateRandom",
        needed_for: "keys, initialisation vectors",
        mechanism_type: None,
        fallback: None,
        tolerates_wrong_result: false,
        run: random,
    },
    ProbeCase {
        mechanism: "AES key generation",
        pkcs11: "CKM_AES_KEY_GEN",
        needed_for: "master keys, data keys",
        mechanism_type: Some(MechanismType::AES_KEY_GEN),
        fallback: None,
        tolerates_wrong_result: false,
        run: |call| generates_keys(call, KeyType::AES, &Ck::AesKeyGen),
    },
    ProbeCase {
        mechanism: "generic secret generation",
        pkcs11: "CKM_GENERIC_SECRET_KEY_GEN",
        needed_for: "HMAC keys",
        mechanism_type: Some(MechanismType::GENERIC_SECRET_KEY_GEN),
        fallback: None,
        tolerates_wrong_result: false,
        run: |call| generates_keys(call, KeyType::GENERIC_SECRET, &Ck::GenericSecretKeyGen),
    },
    ProbeCase {
        mechanism: "sensitive, not extractable",
        pkcs11: "CKA_SENSITIVE, CKA_EXTRACTABLE",
        needed_for: "every key",
        mechanism_type: None,
        fallback: None,
        tolerates_wrong_result: false,
        run: protects_keys,
    },
    ProbeCase {
        mechanism: "AES-KW",
        pkcs11: "CKM_AES_KEY_WRAP",
        needed_for: "key blobs",
        mechanism_type: Some(MechanismType::AES_KEY_WRAP),
        fallback: None,
        tolerates_wrong_result: false,
        run: aes_kw,
    },
    ProbeCase {
        mechanism: KWP_UNWRAP,
        pkcs11: "CKM_AES_KEY_WRAP_PAD (0x210A)",
        needed_for: "blobs of secrets of any length",
        mechanism_type: Some(MechanismType::AES_KEY_WRAP_PAD),
        fallback: Some("single AES blocks; the key is in the unit's memory during the call"),
        tolerates_wrong_result: true,
        run: kwp_unwrap,
    },
    // For information only: the engine wraps secrets of such lengths by single blocks on every token, because their objects
    // hold appended zeros (see `Profile::is_padded_secret`).
    ProbeCase {
        mechanism: "AES-KWP wrap, any length",
        pkcs11: "CKM_AES_KEY_WRAP_PAD (0x210A)",
        needed_for: "blobs of secrets of any length",
        mechanism_type: Some(MechanismType::AES_KEY_WRAP_PAD),
        fallback: Some("single AES blocks; the key is in the unit's memory during the call"),
        tolerates_wrong_result: true,
        run: kwp_wrap,
    },
    ProbeCase {
        mechanism: "AES, single blocks",
        pkcs11: "CKM_AES_ECB",
        needed_for: "AES-KWP where the token lacks it",
        mechanism_type: Some(MechanismType::AES_ECB),
        fallback: None,
        tolerates_wrong_result: false,
        run: single_blocks,
    },
    ProbeCase {
        mechanism: "AES-GCM",
        pkcs11: "CKM_AES_GCM",
        needed_for: "data, the unit's state",
        mechanism_type: Some(MechanismType::AES_GCM),
        fallback: None,
        tolerates_wrong_result: false,
        run: gcm,
    },
    ProbeCase {
        mechanism: "AES-CMAC",
        pkcs11: "CKM_AES_CMAC",
        needed_for: "key blobs, derivation",
        mechanism_type: Some(MechanismType::AES_CMAC),
        fallback: None,
        tolerates_wrong_result: false,
        run: cmac,
    },
    ProbeCase {
        mechanism: "SHA-256",
        pkcs11: "CKM_SHA256",
        needed_for: "the unit's state",
        mechanism_type: Some(MechanismType::SHA256),
        fallback: None,
        tolerates_wrong_result: false,
        run: sha256,
    },
    ProbeCase {
        mechanism: "SHA-256 of a key",
        pkcs11: "C_DigestKey",
        needed_for: "verification patterns",
        mechanism_type: Some(MechanismType::SHA256),
        fallback: None,
        tolerates_wrong_result: false,
        run: key_digest,
    },
    ProbeCase {
        mechanism: "HMAC-SHA-256",
        pkcs11: "CKM_SHA256_HMAC",
        needed_for: "MACs of data",
        mechanism_type: Some(MechanismType::SHA256_HMAC),
        fallback: None,
        tolerates_wrong_result: false,
        run: |call| hmac(call, 32),
    },
    ProbeCase {
        mechanism: SHORT_HMAC,
        pkcs11: "CKM_SHA256_HMAC",
        needed_for: "HMAC keys below 32 bytes",
        mechanism_type: Some(MechanismType::SHA256_HMAC),
        fallback: Some("zeros appended to the key, which do not change the HMAC"),
        tolerates_wrong_result: false,
        run: |call| hmac(call, 20),
    },
    ProbeCase {
        mechanism: COUNTER_KDF,
        pkcs11: "CKM_SP800_108_COUNTER_KDF",
        needed_for: "blob keys",
        mechanism_type: Some(MechanismType::SP800_108_COUNTER_KDF),
        fallback: Some("built from the token's MACs; derived keys pass through the unit's memory"),
        tolerates_wrong_result: true,
        run: counter_kdf,
    },
    ProbeCase {
        mechanism: XOR,
        pkcs11: "CKM_XOR_BASE_AND_DATA",
        needed_for: "loading a master key",
        mechanism_type: Some(MechanismType::XOR_BASE_AND_DATA),
        fallback: Some("in the unit's memory"),
        tolerates_wrong_result: true,
        run: xor,
    },
    ProbeCase {
        mechanism: PERMANENCE,
        pkcs11: "CKA_MODIFIABLE, CKA_COPYABLE",
        needed_for: "stored keys, against who has the PIN",
        mechanism_type: None,
        fallback: Some("not held: who has the PIN can change and copy them"),
        tolerates_wrong_result: true,
        run: protects_objects,
    },
    ProbeCase {
        mechanism: UNCOPYABLE_COPIES,
        pkcs11: "CKA_COPYABLE in C_CopyObject",
        needed_for: "the master key, against who has the PIN",
        mechanism_type: None,
        fallback: Some("not held: who has the PIN can store copies, which permit nothing"),
        tolerates_wrong_result: true,
        run: makes_uncopyable_copies,
    },
    ProbeCase {
        mechanism: UNWRAP_TEMPLATE,
        pkcs11: "CKA_UNWRAP_TEMPLATE",
        needed_for: "derived keys, against who has the PIN",
        mechanism_type: None,
        fallback: Some("not held: who has the PIN and the unit's state can read the derived keys themselves"),
        tolerates_wrong_result: true,
        run: obeys_unwrap_templates,
    },
    ProbeCase {
        mechanism: ORIGIN,
        pkcs11: "CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE",
        needed_for: "the unit's own keys, against who has the PIN",
        mechanism_type: None,
        fallback: Some("not checked: who has the PIN can plant keys whose value it knows"),
        tolerates_wrong_result: true,
        run: tells_origin,
    },
    ProbeCase {
        mechanism: ECDSA,
        pkcs11: "CKM_ECDSA",
        needed_for: "the module's attestation key",
        mechanism_type: Some(MechanismType::ECDSA),
        fallback: Some("derived from a key in the token; in the unit's memory. Its class is token-derived"),
        tolerates_wrong_result: true,
        run: |call| signs_on_p521(call.session),
    },
];

#[cfg(test)]
mod tests {
    use super::{
        CASES, ORIGIN, PERMANENCE, Probe, ProbeCase, ProbeRow, UNCOPYABLE_COPIES, UNWRAP_TEMPLATE, Verdict,
        pin_holder_rights,
    };
    use crate::error::OpenError;
    use crate::objects::Profile;
    use std::collections::BTreeSet;

    /// The probe of a token that supports everything but `mechanism`.
    fn probe(mechanism: &str, verdict: &Verdict) -> Probe {
        let rows = CASES.iter().map(|case: &ProbeCase| ProbeRow {
            mechanism: case.mechanism,
            pkcs11: case.pkcs11,
            needed_for: case.needed_for,
            offered: true,
            verdict: if case.mechanism == mechanism { verdict.clone() } else { Verdict::Supported },
            token_error: None,
        });
        Probe { rows: rows.collect(), profile: Profile::MINIMAL }
    }

    #[test]
    fn a_missing_or_wrong_mechanism_is_refused_by_name() {
        assert!(probe("", &Verdict::Supported).check().is_ok());
        for case in CASES {
            let name = case.mechanism;
            let refused = probe(name, &Verdict::Missing).check();
            assert!(matches!(refused, Err(OpenError::MechanismMissing { mechanism }) if mechanism == name));
            let refused = probe(name, &Verdict::WrongResult).check();
            assert!(matches!(refused, Err(OpenError::WrongResult { mechanism }) if mechanism == name));
            assert!(probe(name, &Verdict::Fallback("in software")).check().is_ok());
        }
    }

    #[test]
    fn what_a_token_does_not_hold_is_a_right_of_who_has_the_pin() {
        let all = pin_holder_rights(&probe("", &Verdict::Supported).rows).len();
        for (name, more) in [(PERMANENCE, 1), (UNCOPYABLE_COPIES, 1), (ORIGIN, 1), (UNWRAP_TEMPLATE, 0)] {
            let rows = probe(name, &Verdict::Fallback("not held")).rows;
            assert_eq!(pin_holder_rights(&rows).len(), all + more, "{name}");
        }
    }

    #[test]
    fn case_names_are_unique() {
        let names: BTreeSet<_> = CASES.iter().map(|case| case.mechanism).collect();
        assert_eq!(names.len(), CASES.len());
    }
}
