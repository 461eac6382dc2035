//! Agreement with an independent implementation, crate `aes-kw`, for every length and key size.

use crate::common::{Kek, Mode};
use aes_kw::{KwAes128, KwAes192, KwAes256, KwpAes128, KwpAes192, KwpAes256, cipher::KeyInit};

/// Pseudorandom bytes, the same in every run (SplitMix64).
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let words = core::iter::repeat_with(|| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    });
    words.flatten().take(len).collect()
}

fn other_wrap(mode: Mode, kek: &[u8], key: &[u8]) -> Vec<u8> {
    let mut out = vec![0; key.len() + 15];
    macro_rules! wrap {
        ($($name:ident),*) => {{ $( if let Ok(kek) = $name::new_from_slice(kek) {
            return kek.wrap_key(key, &mut out).unwrap().to_vec();
        } )* }};
    }
    match mode {
        Mode::Kw => wrap!(KwAes128, KwAes192, KwAes256),
        Mode::Kwp => wrap!(KwpAes128, KwpAes192, KwpAes256),
    }
    unreachable!("a KEK of {} bytes", kek.len());
}

fn other_unwrap(mode: Mode, kek: &[u8], wrapped: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; wrapped.len()];
    macro_rules! unwrap {
        ($($name:ident),*) => {{ $( if let Ok(kek) = $name::new_from_slice(kek) {
            return kek.unwrap_key(wrapped, &mut out).ok().map(<[u8]>::to_vec);
        } )* }};
    }
    match mode {
        Mode::Kw => unwrap!(KwAes128, KwAes192, KwAes256),
        Mode::Kwp => unwrap!(KwpAes128, KwpAes192, KwpAes256),
    }
    unreachable!("a KEK of {} bytes", kek.len());
}

#[test]
fn diff_aes_kw_every_length() {
    let mut compared = 0;
    for kek_len in [16, 24, 32] {
        for (mode, lens) in [(Mode::Kw, (16..=512).step_by(8)), (Mode::Kwp, (1..=512).step_by(1))] {
            for len in lens {
                let (kek, key) = (bytes(len as u64, kek_len), bytes(!(len as u64), len));
                let wrapped = Kek::new(&kek).wrap(mode, &key).unwrap();
                assert_eq!(wrapped, other_wrap(mode, &kek, &key), "{mode:?}, {len} bytes");
                assert_eq!(other_unwrap(mode, &kek, &wrapped), Some(key));
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 3 * (63 + 512));
}

/// Check values that only a holder of the KEK can make: every length field, prefix and padding near the valid ones.
#[test]
fn diff_kwp_forged_check_values() {
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    let kek = bytes(1, 32);
    let cipher = aes::Aes256::new_from_slice(&kek).unwrap();
    let mut accepted = 0;
    for semiblocks in 1..=5u32 {
        for (len, prefix) in
            (0..=48u32).chain([u32::MAX, 1 << 31]).flat_map(|len| [(len, 0xa659_59a6u32), (len, 0xa659_59a7)])
        {
            for zeros in 0..=8usize {
                let mut s =
                    [&prefix.to_be_bytes()[..], &len.to_be_bytes(), &vec![0x5a; 8 * semiblocks as usize]]
                        .concat();
                let end = s.len();
                s[end - zeros..].fill(0);
                // W of SP 800-38F §6.1, step by step.
                if semiblocks == 1 {
                    let mut block: [u8; 16] = s[..].try_into().unwrap();
                    cipher.encrypt_block((&mut block).into());
                    s.copy_from_slice(&block);
                }
                for t in 1..=if semiblocks == 1 { 0 } else { 6 * semiblocks } {
                    let at = 8 * (1 + ((t - 1) % semiblocks) as usize);
                    let mut block: [u8; 16] = [&s[..8], &s[at..at + 8]].concat().try_into().unwrap();
                    cipher.encrypt_block((&mut block).into());
                    s[at..at + 8].copy_from_slice(&block[8..]);
                    let a = u64::from_be_bytes(block[..8].try_into().unwrap()) ^ u64::from(t);
                    s[..8].copy_from_slice(&a.to_be_bytes());
                }
                let ours = Kek::new(&kek).unwrap(Mode::Kwp, &s).ok();
                assert_eq!(
                    ours,
                    other_unwrap(Mode::Kwp, &kek, &s),
                    "{semiblocks} semiblocks, {len}, {zeros} zeros"
                );
                accepted += usize::from(ours.is_some());
            }
        }
    }
    // For each number of semiblocks and each padding of 0 to 7, as many runs of zeros as cover it.
    assert_eq!(accepted, 5 * (9 + 8 + 7 + 6 + 5 + 4 + 3 + 2));
}
