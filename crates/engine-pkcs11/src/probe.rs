//! What a token can do, found out by having it do it.
//!
//! Every mechanism that a unit needs is run on a published example, and what should be refused is offered to it. A token
//! that lacks a mechanism may be helped out where the table says so; one that answers wrongly may not.

use crate::blocks::unwrap_padded;
use crate::derive;
use crate::desk::{Desk, Stop};
use crate::error::OpenError;
use crate::fault::words;
use crate::key::Keys;
use crate::persist::digest_key;
use crate::profile::Profile;
use crate::template::{Role, template, with};
use crate::token::{Seat, Token};
use cryptoki::error::Error;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::misc::KeyDerivationStringData;
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, KeyType, ObjectHandle};
use engine::EngineError;
use sha2::{Digest, Sha256};
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
    run: fn(&Desk<'_>) -> Result<bool, Stop>,
}

impl Trial {
    fn run(&self, desk: &Desk<'_>, offered: &[MechanismType]) -> ProbeRow {
        let offered = self.number.is_none_or(|number| offered.contains(&number));
        let mut said = None;
        let answered = offered.then(|| {
            let mut answer = None;
            // Everything that it made goes, however it ended.
            let _ = desk.run(|desk| -> Result<(), Stop> {
                answer = Some((self.run)(desk));
                Err(EngineError::DeviceError.into())
            });
            answer
        });
        let instead = self.instead.map_or(Verdict::Missing, Verdict::FallsBack);
        let verdict = match answered.flatten() {
            Some(Ok(true)) => Verdict::Right,
            Some(Ok(false)) if !self.wrong_is_missing => Verdict::Wrong,
            Some(Err(Stop::Token(error))) => {
                said = Some(words(&error));
                instead
            }
            Some(Ok(false) | Err(Stop::Refused(_))) | None => instead,
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

fn random(desk: &Desk<'_>) -> Result<bool, Stop> {
    let (mut a, mut b) = ([0; 32], [0; 32]);
    desk.session.generate_random_slice(&mut a)?;
    desk.session.generate_random_slice(&mut b)?;
    Ok(a != b && a != [0; 32])
}

fn generates(desk: &Desk<'_>, kind: KeyType, by: &Ck<'_>) -> Result<bool, Stop> {
    let make = || {
        let mut attributes =
            template(kind, &Role { allowed: vec![MechanismType::SHA256], ..Role::NONE }, false);
        attributes.push(Attribute::ValueLen(32.into()));
        desk.session.generate_key(by, &attributes).map(|key| desk.keep(key))
    };
    let (a, b) = (make()?, make()?);
    Ok(digest_key(desk.session, &[], a)? != digest_key(desk.session, &[], b)?)
}

fn aes(desk: &Desk<'_>, value: &[u8], role: &Role, extractable: bool) -> Result<ObjectHandle, Stop> {
    desk.create(template(KeyType::AES, role, extractable), value)
}

fn wrapping_role() -> Role {
    let allowed = vec![MechanismType::AES_KEY_WRAP, MechanismType::AES_KEY_WRAP_PAD];
    Role { wrap: true, unwrap: true, allowed, ..Role::NONE }
}

/// The value is not shown, a key that may not leave is not wrapped, and no key does what its role leaves out.
fn keeps_keys(desk: &Desk<'_>) -> Result<bool, Stop> {
    let kept = aes(desk, &COUNTING, &Role::NONE, false)?;
    let kek = aes(desk, &[7; 32], &wrapping_role(), false)?;
    let shown = desk.session.get_attributes(kept, &[AttributeType::Value]);
    let hidden =
        !shown.is_ok_and(|shown| shown.iter().any(|attribute| matches!(attribute, Attribute::Value(_))));
    let stays = desk.session.wrap_key(&Ck::AesKeyWrap, kek, kept).is_err();
    let idle = desk.session.sign(&Ck::AesCMac, kek, b"data").is_err();
    let for_good = desk.session.update_attributes(kept, &[Attribute::Extractable(true)]).is_err()
        && desk.session.update_attributes(kept, &[Attribute::Sensitive(false)]).is_err();
    Ok(hidden && stays && idle && for_good)
}

fn key_wrap(desk: &Desk<'_>) -> Result<bool, Stop> {
    let kek = aes(desk, &COUNTING, &wrapping_role(), false)?;
    let key = aes(desk, &KW_KEY, &Role::NONE, true)?;
    let wrapped = desk.session.wrap_key(&Ck::AesKeyWrap, kek, key)?;
    let mac = Role { sign: true, allowed: vec![MechanismType::AES_CMAC], ..Role::NONE };
    let attributes = template(KeyType::AES, &mac, false);
    let unwrapped = desk.keep(desk.session.unwrap_key(&Ck::AesKeyWrap, kek, &KW_WRAPPED, &attributes)?);
    let expected = aes(desk, &KW_KEY, &mac, false)?;
    let same = desk.session.sign(&Ck::AesCMac, unwrapped, b"data")?
        == desk.session.sign(&Ck::AesCMac, expected, b"data")?;
    let mut tampered = KW_WRAPPED;
    tampered[39] ^= 1;
    let refused = desk.session.unwrap_key(&Ck::AesKeyWrap, kek, &tampered, &attributes).is_err();
    Ok(wrapped == KW_WRAPPED && same && refused)
}

/// A secret of 20 bytes comes out as one of 20, and a tampered one does not.
fn padded_unwrap(desk: &Desk<'_>) -> Result<bool, Stop> {
    let kek = aes(desk, &COUNTING, &wrapping_role(), false)?;
    let attributes = with(template(KeyType::GENERIC_SECRET, &Role::NONE, true), Attribute::Sensitive(false));
    let key = desk.keep(desk.session.unwrap_key(&Ck::AesKeyWrapPad, kek, &KWP_WRAPPED, &attributes)?);
    let size = desk.session.get_attribute_info(key, &[AttributeType::Value])?;
    let mut tampered = KWP_WRAPPED;
    tampered[31] ^= 1;
    let refused = desk.session.unwrap_key(&Ck::AesKeyWrapPad, kek, &tampered, &attributes).is_err();
    // Of 32 bytes, every token wraps what RFC 5649 says.
    let whole = aes(desk, &COUNTING, &Role::NONE, true)?;
    let wrapped = desk.session.wrap_key(&Ck::AesKeyWrapPad, kek, whole)?;
    let cipher_key = aes(desk, &COUNTING, &blocks_role(), false)?;
    let back = unwrap_padded(|block| desk.decrypt_block(cipher_key, block), &wrapped, 32);
    let right = back.is_ok_and(|back| back.expose() == COUNTING);
    Ok(matches!(size.as_slice(), [AttributeInfo::Available(20)]) && refused && right)
}

fn padded_wrap(desk: &Desk<'_>) -> Result<bool, Stop> {
    let kek = aes(desk, &COUNTING, &wrapping_role(), false)?;
    let key = desk.create(template(KeyType::GENERIC_SECRET, &Role::NONE, true), &KWP_KEY)?;
    Ok(desk.session.wrap_key(&Ck::AesKeyWrapPad, kek, key)? == KWP_WRAPPED)
}

fn blocks_role() -> Role {
    Role { encrypt: true, decrypt: true, allowed: vec![MechanismType::AES_ECB], ..Role::NONE }
}

fn single_blocks(desk: &Desk<'_>) -> Result<bool, Stop> {
    let key = aes(desk, &COUNTING, &blocks_role(), false)?;
    let mut block = BLOCK;
    desk.encrypt_block(key, &mut block)?;
    let right = block == BLOCK_ENCRYPTED;
    desk.decrypt_block(key, &mut block)?;
    Ok(right && block == BLOCK)
}

fn gcm(desk: &Desk<'_>) -> Result<bool, Stop> {
    let role = Role { encrypt: true, decrypt: true, allowed: vec![MechanismType::AES_GCM], ..Role::NONE };
    let key = aes(desk, &GCM_KEY, &role, false)?;
    let with = |work: &dyn Fn(&Ck<'_>) -> Result<Vec<u8>, Error>| {
        let mut iv = GCM_IV;
        work(&Ck::AesGcm(GcmParams::new(&mut iv, &GCM_AAD, 128.into())?))
    };
    let encrypted = with(&|by| desk.session.encrypt(by, key, &GCM_PLAINTEXT))?;
    let decrypted = with(&|by| desk.session.decrypt(by, key, &GCM_CIPHERTEXT))?;
    let mut tampered = GCM_CIPHERTEXT;
    tampered[31] ^= 1;
    let refused = with(&|by| desk.session.decrypt(by, key, &tampered)).is_err();
    Ok(encrypted == GCM_CIPHERTEXT && decrypted == GCM_PLAINTEXT && refused)
}

fn mac_role(by: MechanismType) -> Role {
    Role { sign: true, verify: true, allowed: vec![by], ..Role::NONE }
}

/// The MAC is the published one, and a tampered one is refused.
fn macs(desk: &Desk<'_>, by: &Ck<'_>, key: ObjectHandle, data: &[u8], expected: &[u8]) -> Result<bool, Stop> {
    let right = desk.session.sign(by, key, data)? == expected;
    desk.session.verify(by, key, data, expected)?;
    let mut tampered = expected.to_vec();
    tampered.iter_mut().for_each(|byte| *byte ^= 1);
    Ok(right && desk.session.verify(by, key, data, &tampered).is_err())
}

fn cmac(desk: &Desk<'_>) -> Result<bool, Stop> {
    let key = aes(desk, &CMAC_KEY, &mac_role(MechanismType::AES_CMAC), false)?;
    macs(desk, &Ck::AesCMac, key, &CMAC_MESSAGE, &CMAC)
}

/// The key of 20 bytes, with zeros behind it up to this length.
fn hmac(desk: &Desk<'_>, len: usize) -> Result<bool, Stop> {
    let mut value = vec![0x0b; 20];
    value.resize(len, 0);
    let role = mac_role(MechanismType::SHA256_HMAC);
    let key = desk.create(template(KeyType::GENERIC_SECRET, &role, false), &value)?;
    macs(desk, &Ck::Sha256Hmac, key, b"Hi There", &HMAC)
}

fn sha256(desk: &Desk<'_>) -> Result<bool, Stop> {
    Ok(desk.session.digest(&Ck::Sha256, b"abc")? == Sha256::digest(b"abc").as_slice())
}

fn digest_role() -> Role {
    Role { allowed: vec![MechanismType::SHA256], ..Role::NONE }
}

fn pattern(desk: &Desk<'_>) -> Result<bool, Stop> {
    let key = aes(desk, &COUNTING, &digest_role(), false)?;
    Ok(digest_key(desk.session, &[1], key)?.starts_with(&PATTERN))
}

fn counter_kdf(desk: &Desk<'_>) -> Result<bool, Stop> {
    let role = Role { derive: true, allowed: vec![MechanismType::SP800_108_COUNTER_KDF], ..Role::NONE };
    let base = aes(desk, &COUNTING, &role, false)?;
    let mut attributes = template(KeyType::AES, &digest_role(), false);
    attributes.push(Attribute::ValueLen(32.into()));
    let derived = desk.keep(derive::inside(desk, base, b"label", b"context", &attributes)?);
    Ok(digest_key(desk.session, &[], derived)? == <[u8; 32]>::from(Sha256::digest(DERIVED)))
}

fn xor(desk: &Desk<'_>) -> Result<bool, Stop> {
    let role = Role { derive: true, allowed: vec![MechanismType::XOR_BASE_AND_DATA], ..Role::NONE };
    let base = aes(desk, &COUNTING, &role, false)?;
    let mut attributes = template(KeyType::AES, &digest_role(), false);
    attributes.push(Attribute::ValueLen(32.into()));
    let by = Ck::XorBaseAndData(KeyDerivationStringData::new(&[0xa5; 32]));
    let sum = desk.keep(desk.session.derive_key(&by, base, &attributes)?);
    let expected = COUNTING.map(|byte| byte ^ 0xa5);
    Ok(digest_key(desk.session, &[], sum)? == <[u8; 32]>::from(Sha256::digest(expected)))
}

/// RFC 3394 §4.6: the key; the key that wraps it is [`COUNTING`].
const KW_KEY: [u8; 32] = [
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x00,
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
];
/// RFC 3394 §4.6: wrapped.
const KW_WRAPPED: [u8; 40] = [
    0x28, 0xc9, 0xf4, 0x04, 0xc4, 0xb8, 0x10, 0xf4, 0xcb, 0xcc, 0xb3, 0x5c, 0xfb, 0x87, 0xf8, 0x26, 0x3f,
    0x57, 0x86, 0xe2, 0xd8, 0x0e, 0xd3, 0x26, 0xcb, 0xc7, 0xf0, 0xe7, 0x1a, 0x99, 0xf4, 0x3b, 0xfb, 0x98,
    0x8b, 0x9b, 0x7a, 0x02, 0xdd, 0x21,
];
/// RFC 5649 §6: a key of 20 bytes.
const KWP_KEY: [u8; 20] = [
    0xc3, 0x7b, 0x7e, 0x64, 0x92, 0x58, 0x43, 0x40, 0xbe, 0xd1, 0x22, 0x07, 0x80, 0x89, 0x41, 0x15, 0x50,
    0x68, 0xf7, 0x38,
];
/// The same wrapped under [`COUNTING`], by OpenSSL.
const KWP_WRAPPED: [u8; 32] = [
    0x29, 0xb7, 0xfa, 0x19, 0x1c, 0x21, 0x65, 0x68, 0x43, 0x74, 0xee, 0xe9, 0xf7, 0x45, 0x95, 0xe2, 0xa4,
    0x2b, 0xac, 0xe7, 0x5c, 0x42, 0x5b, 0x30, 0x53, 0xef, 0xa2, 0x6f, 0xfe, 0x1b, 0xb3, 0x2f,
];
/// FIPS 197, appendix C.3: the plaintext; the key is [`COUNTING`].
const BLOCK: [u8; 16] =
    [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
/// FIPS 197, appendix C.3: the ciphertext.
const BLOCK_ENCRYPTED: [u8; 16] =
    [0x8e, 0xa2, 0xb7, 0xca, 0x51, 0x67, 0x45, 0xbf, 0xea, 0xfc, 0x49, 0x90, 0x4b, 0x49, 0x60, 0x89];
/// GCM specification (McGrew, Viega), test case 16: the key.
const GCM_KEY: [u8; 32] = [
    0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08, 0xfe,
    0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08,
];
/// Test case 16: the IV.
const GCM_IV: [u8; 12] = [0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88];
/// Test case 16: the additional authenticated data.
const GCM_AAD: [u8; 20] = [
    0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xab,
    0xad, 0xda, 0xd2,
];
/// Test case 16: the plaintext.
const GCM_PLAINTEXT: [u8; 60] = [
    0xd9, 0x31, 0x32, 0x25, 0xf8, 0x84, 0x06, 0xe5, 0xa5, 0x59, 0x09, 0xc5, 0xaf, 0xf5, 0x26, 0x9a, 0x86,
    0xa7, 0xa9, 0x53, 0x15, 0x34, 0xf7, 0xda, 0x2e, 0x4c, 0x30, 0x3d, 0x8a, 0x31, 0x8a, 0x72, 0x1c, 0x3c,
    0x0c, 0x95, 0x95, 0x68, 0x09, 0x53, 0x2f, 0xcf, 0x0e, 0x24, 0x49, 0xa6, 0xb5, 0x25, 0xb1, 0x6a, 0xed,
    0xf5, 0xaa, 0x0d, 0xe6, 0x57, 0xba, 0x63, 0x7b, 0x39,
];
/// Test case 16: ciphertext ‖ tag.
const GCM_CIPHERTEXT: [u8; 76] = [
    0x52, 0x2d, 0xc1, 0xf0, 0x99, 0x56, 0x7d, 0x07, 0xf4, 0x7f, 0x37, 0xa3, 0x2a, 0x84, 0x42, 0x7d, 0x64,
    0x3a, 0x8c, 0xdc, 0xbf, 0xe5, 0xc0, 0xc9, 0x75, 0x98, 0xa2, 0xbd, 0x25, 0x55, 0xd1, 0xaa, 0x8c, 0xb0,
    0x8e, 0x48, 0x59, 0x0d, 0xbb, 0x3d, 0xa7, 0xb0, 0x8b, 0x10, 0x56, 0x82, 0x88, 0x38, 0xc5, 0xf6, 0x1e,
    0x63, 0x93, 0xba, 0x7a, 0x0a, 0xbc, 0xc9, 0xf6, 0x62, 0x76, 0xfc, 0x6e, 0xce, 0x0f, 0x4e, 0x17, 0x68,
    0xcd, 0xdf, 0x88, 0x53, 0xbb, 0x2d, 0x55, 0x1b,
];
/// SP 800-38B, examples with AES-256: the key.
const CMAC_KEY: [u8; 32] = [
    0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe, 0x2b, 0x73, 0xae, 0xf0, 0x85, 0x7d, 0x77, 0x81, 0x1f,
    0x35, 0x2c, 0x07, 0x3b, 0x61, 0x08, 0xd7, 0x2d, 0x98, 0x10, 0xa3, 0x09, 0x14, 0xdf, 0xf4,
];
/// SP 800-38B, examples with AES-256: the message of one block.
const CMAC_MESSAGE: [u8; 16] =
    [0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96, 0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a];
/// SP 800-38B, examples with AES-256: its CMAC.
const CMAC: [u8; 16] =
    [0x28, 0xa7, 0x02, 0x3f, 0x45, 0x2e, 0x8f, 0x82, 0xbd, 0x4b, 0xf2, 0x8d, 0x8c, 0x37, 0xc3, 0x5c];
/// RFC 4231 §4.2: HMAC-SHA-256 of `Hi There`.
const HMAC: [u8; 32] = [
    0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53, 0x5c, 0xa8, 0xaf, 0xce, 0xaf, 0x0b, 0xf1, 0x2b, 0x88,
    0x1d, 0xc2, 0x00, 0xc9, 0x83, 0x3d, 0xa7, 0x26, 0xe9, 0x37, 0x6c, 0x2e, 0x32, 0xcf, 0xf7,
];
/// First 28 bytes of SHA-256 over `01 ‖ 00 01 … 1f`.
const PATTERN: [u8; 28] = [
    0x49, 0x11, 0x76, 0xb0, 0xf4, 0x43, 0xc6, 0x5a, 0x7c, 0x7d, 0x72, 0xdf, 0x47, 0xd6, 0xcb, 0xc0, 0xd0,
    0x4e, 0x11, 0x1f, 0xb5, 0xa6, 0x19, 0xf6, 0x0d, 0x3e, 0x77, 0x67,
];
/// SP 800-108 from [`COUNTING`] by `label` and `context`, by OpenSSL.
const DERIVED: [u8; 32] = [
    0xfc, 0xc8, 0x82, 0x9a, 0x43, 0x3f, 0x70, 0x92, 0x81, 0x54, 0xc6, 0x08, 0xec, 0xe0, 0xcc, 0x4c, 0xcd,
    0x46, 0xfe, 0x44, 0x5e, 0xbb, 0xa0, 0x7c, 0xc1, 0xce, 0x0f, 0x2b, 0x3a, 0x7c, 0xf7, 0xc1,
];
/// The bytes 00, 01, … 1f.
const COUNTING: [u8; 32] = [
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10,
    0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f,
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
