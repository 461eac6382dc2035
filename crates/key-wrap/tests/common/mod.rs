//! An AES key of any size behind one pair of calls per mode, for the tests of this crate.

use aes::cipher::KeyInit;
use aes::{Aes128, Aes192, Aes256};
use key_wrap::{LengthInvalid, WrappedKeyInvalid, kw, kwp};

/// The modes under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Kw,
    Kwp,
}

/// An AES key of one of the three sizes.
pub(crate) enum Kek {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

macro_rules! with_cipher {
    ($kek:expr, $cipher:ident => $call:expr) => {
        match $kek {
            Kek::Aes128($cipher) => $call,
            Kek::Aes192($cipher) => $call,
            Kek::Aes256($cipher) => $call,
        }
    };
}

impl Kek {
    pub(crate) fn new(value: &[u8]) -> Self {
        match value.len() {
            16 => Self::Aes128(Aes128::new_from_slice(value).unwrap()),
            24 => Self::Aes192(Aes192::new_from_slice(value).unwrap()),
            _ => Self::Aes256(Aes256::new_from_slice(value).unwrap()),
        }
    }

    /// The wrapped key, or the refusal, whose buffer must be zero.
    pub(crate) fn wrap(&self, mode: Mode, key: &[u8]) -> Result<Vec<u8>, LengthInvalid> {
        let mut wrapped = vec![0xee; key.len() + 15];
        let result = with_cipher!(self, cipher => match mode {
            Mode::Kw => kw::wrap(cipher, key, &mut wrapped),
            Mode::Kwp => kwp::wrap(cipher, key, &mut wrapped),
        });
        match result {
            Ok(len) => wrapped.truncate(len),
            Err(_) => assert!(wrapped.iter().all(|byte| *byte == 0), "a refusal left {wrapped:02x?}"),
        }
        result.map(|_| wrapped)
    }

    /// The key, or the refusal, whose buffer must be zero.
    pub(crate) fn unwrap(&self, mode: Mode, wrapped: &[u8]) -> Result<Vec<u8>, WrappedKeyInvalid> {
        let mut buffer = wrapped.to_vec();
        let result = with_cipher!(self, cipher => match mode {
            Mode::Kw => kw::unwrap_in_place(cipher, &mut buffer),
            Mode::Kwp => kwp::unwrap_in_place(cipher, &mut buffer),
        });
        let rest = buffer.split_off(result.unwrap_or(0));
        assert!(rest.iter().all(|byte| *byte == 0), "{result:?} left {rest:02x?}");
        result.map(|_| buffer)
    }
}
