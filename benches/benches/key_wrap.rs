//! Compares a wrap of 32 bytes with the 24 AES blocks that it consists of.
//!
//! Each input depends on the previous output, so that the latency of one wrap is measured. The lower limit is 24
//! sequential blocks of the `aes` crate within one closure of its back end, without a call for each block. The wrap of
//! the `aes-kw` crate is measured, too.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use aes::Aes256;
use aes::cipher::{
    Array, BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16,
};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

const KEK: [u8; 32] = [0x0f; 32];
const BLOCKS: usize = 24;

/// A block that is encrypted repeatedly.
struct Chain<'a>(&'a mut Array<u8, U16>);

impl BlockSizeUser for Chain<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Chain<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let mut block = *self.0;
        for _ in 0..BLOCKS {
            backend.encrypt_block((&mut block).into());
        }
        *self.0 = block;
    }
}

impl BlockCipherDecClosure for Chain<'_> {
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, backend: &B) {
        let mut block = *self.0;
        for _ in 0..BLOCKS {
            backend.decrypt_block((&mut block).into());
        }
        *self.0 = block;
    }
}

fn wrap(c: &mut Criterion) {
    let kek = Aes256::new(&KEK.into());
    let mut group = c.benchmark_group("wrap 32 bytes");
    group.bench_function("limit: 24 chained blocks", |b| {
        let mut block = [1; 16].into();
        b.iter(|| {
            kek.encrypt_with_backend(Chain(black_box(&mut block)));
        });
    });
    group.bench_function("AES-KW", |b| {
        let (mut key, mut wrapped) = ([1; 32], [0; 40]);
        b.iter(|| {
            key_wrap::kw::wrap(&kek, black_box(&key), &mut wrapped).unwrap();
            key.copy_from_slice(&wrapped[8..]);
        });
    });
    group.bench_function("AES-KWP", |b| {
        let (mut key, mut wrapped) = ([1; 32], [0; 40]);
        b.iter(|| {
            key_wrap::kwp::wrap(&kek, black_box(&key), &mut wrapped).unwrap();
            key.copy_from_slice(&wrapped[8..]);
        });
    });
    group.bench_function("peer: aes-kw, KW", |b| {
        let kek = aes_kw::KwAes256::new(&KEK.into());
        let (mut key, mut wrapped) = ([1; 32], [0; 40]);
        b.iter(|| {
            kek.wrap_key(black_box(&key), &mut wrapped).unwrap();
            key.copy_from_slice(&wrapped[8..]);
        });
    });
    group.bench_function("peer: aes-kw, KWP", |b| {
        let kek = aes_kw::KwpAes256::new(&KEK.into());
        let (mut key, mut wrapped) = ([1; 32], [0; 40]);
        b.iter(|| {
            kek.wrap_key(black_box(&key), &mut wrapped).unwrap();
            key.copy_from_slice(&wrapped[8..]);
        });
    });
    group.finish();
}

fn unwrap(c: &mut Criterion) {
    let kek = Aes256::new(&KEK.into());
    let mut wrapped = [0; 40];
    let mut padded = [0; 40];
    key_wrap::kw::wrap(&kek, &[1; 32], &mut wrapped).unwrap();
    key_wrap::kwp::wrap(&kek, &[1; 32], &mut padded).unwrap();
    let mut group = c.benchmark_group("unwrap 32 bytes");
    group.bench_function("limit: 24 chained blocks", |b| {
        let mut block = [1; 16].into();
        b.iter(|| {
            kek.decrypt_with_backend(Chain(black_box(&mut block)));
        });
    });
    // The unwrapped key is always the same. Adding its difference to the expected key, zero, makes the next input depend
    // on it.
    group.bench_function("AES-KW", |b| {
        let mut buffer = wrapped;
        b.iter(|| {
            key_wrap::kw::unwrap_in_place(&kek, black_box(&mut buffer)).unwrap();
            let zero = buffer[0] ^ 1;
            buffer = wrapped.map(|byte| byte ^ zero);
        });
    });
    group.bench_function("AES-KWP", |b| {
        let mut buffer = padded;
        b.iter(|| {
            key_wrap::kwp::unwrap_in_place(&kek, black_box(&mut buffer)).unwrap();
            let zero = buffer[0] ^ 1;
            buffer = padded.map(|byte| byte ^ zero);
        });
    });
    group.bench_function("peer: aes-kw, KW", |b| {
        let kek = aes_kw::KwAes256::new(&KEK.into());
        let (mut input, mut key) = (wrapped, [0; 40]);
        b.iter(|| {
            kek.unwrap_key(black_box(&input), &mut key).unwrap();
            let zero = key[0] ^ 1;
            input = wrapped.map(|byte| byte ^ zero);
        });
    });
    group.bench_function("peer: aes-kw, KWP", |b| {
        let kek = aes_kw::KwpAes256::new(&KEK.into());
        let (mut input, mut key) = (padded, [0; 40]);
        b.iter(|| {
            kek.unwrap_key(black_box(&input), &mut key).unwrap();
            let zero = key[0] ^ 1;
            input = padded.map(|byte| byte ^ zero);
        });
    });
    group.finish();
}

criterion_group!(benches, wrap, unwrap);
criterion_main!(benches);
