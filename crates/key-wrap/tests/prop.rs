//! Laws of both modes, over random keys and every length class.

use crate::common::{Kek, Mode};
use key_wrap::{LengthInvalid, WrappedKeyInvalid};
use proptest::collection::vec;
use proptest::prelude::*;

fn kek() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 16), vec(any::<u8>(), 24), vec(any::<u8>(), 32)]
}

/// A mode and a key of a length that it wraps.
fn mode_and_key() -> impl Strategy<Value = (Mode, Vec<u8>)> {
    prop_oneof![
        vec(any::<[u8; 8]>(), 2..40).prop_map(|key| (Mode::Kw, key.concat())),
        vec(any::<u8>(), 1..300).prop_map(|key| (Mode::Kwp, key)),
    ]
}

proptest! {
    #[test]
    fn prop_round_trip(kek in kek(), (mode, key) in mode_and_key()) {
        let kek = Kek::new(&kek);
        let wrapped = kek.wrap(mode, &key).unwrap();
        prop_assert_eq!(wrapped.len(), key.len().next_multiple_of(8) + 8);
        prop_assert_eq!(kek.unwrap(mode, &wrapped).unwrap(), key);
    }

    #[test]
    fn prop_every_flipped_bit_is_refused(kek in kek(), (mode, key) in mode_and_key()) {
        let kek = Kek::new(&kek);
        let wrapped = kek.wrap(mode, &key).unwrap();
        for bit in 0..8 * wrapped.len() {
            let mut tampered = wrapped.clone();
            tampered[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(kek.unwrap(mode, &tampered), Err(WrappedKeyInvalid));
        }
    }

    #[test]
    fn prop_another_kek_is_refused(kek in kek(), other in kek(), (mode, key) in mode_and_key()) {
        prop_assume!(kek != other);
        let wrapped = Kek::new(&kek).wrap(mode, &key).unwrap();
        prop_assert_eq!(Kek::new(&other).unwrap(mode, &wrapped), Err(WrappedKeyInvalid));
    }

    #[test]
    fn prop_anything_is_refused(kek in kek(), wrapped in vec(any::<u8>(), 0..200)) {
        let kek = Kek::new(&kek);
        prop_assert_eq!(kek.unwrap(Mode::Kw, &wrapped), Err(WrappedKeyInvalid));
        prop_assert_eq!(kek.unwrap(Mode::Kwp, &wrapped), Err(WrappedKeyInvalid));
    }

    #[test]
    fn prop_one_mode_refuses_the_other(kek in kek(), (mode, key) in mode_and_key()) {
        let kek = Kek::new(&kek);
        let wrapped = kek.wrap(mode, &key).unwrap();
        let other = if mode == Mode::Kw { Mode::Kwp } else { Mode::Kw };
        prop_assert_eq!(kek.unwrap(other, &wrapped), Err(WrappedKeyInvalid));
    }
}

#[test]
fn exhaustive_lengths() {
    let kek = Kek::new(&[7; 32]);
    for len in 0..=600 {
        let (kw, kwp) = (kek.wrap(Mode::Kw, &vec![9; len]), kek.wrap(Mode::Kwp, &vec![9; len]));
        assert_eq!(kw.is_ok(), len >= 16 && len % 8 == 0, "{len} bytes");
        assert_eq!(kwp.is_ok(), len >= 1, "{len} bytes");
    }
}

#[test]
fn the_longest_key_is_the_documented_one() {
    let kek = Kek::new(&[7; 32]);
    for (mode, first_too_long) in [(Mode::Kw, 65_544), (Mode::Kwp, 65_537)] {
        let longest = vec![9; key_wrap::MAX_KEY_LEN];
        let wrapped = kek.wrap(mode, &longest).unwrap();
        assert_eq!(kek.unwrap(mode, &wrapped).unwrap(), longest);
        assert_eq!(kek.wrap(mode, &vec![9; first_too_long]), Err(LengthInvalid));
        assert_eq!(kek.unwrap(mode, &vec![9; 65_552]), Err(WrappedKeyInvalid));
    }
}

#[test]
fn a_buffer_too_small_is_refused_and_zeroed() {
    use aes::cipher::KeyInit;
    let kek = aes::Aes256::new(&[7; 32].into());
    for len in 0..40 {
        let mut wrapped = vec![0xee; len];
        assert_eq!(key_wrap::kw::wrap(&kek, &[9; 32], &mut wrapped), Err(LengthInvalid));
        assert_eq!(wrapped, vec![0; len]);
        let mut wrapped = vec![0xee; len];
        assert_eq!(key_wrap::kwp::wrap(&kek, &[9; 29], &mut wrapped), Err(LengthInvalid));
        assert_eq!(wrapped, vec![0; len]);
    }
}
