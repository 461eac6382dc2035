//! Decryption of key blobs with a known master key, by the documented format and an independent AES key wrap, without the
//! unit's code.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes_kw::{KwAes256, KwpAes256};
use sha2::{Digest, Sha256};

/// Bytes of a blob before the wrapped key.
const HEADER_LEN: usize = 80;
const MAC_LEN: usize = 16;

/// The keys that are derived from a master key.
pub(crate) struct Master {
    pub(crate) key: [u8; 32],
    /// Its identifier in blobs: the first half of its verification pattern.
    wkid: [u8; 16],
    pub(crate) wrap: [u8; 32],
    pub(crate) mac: [u8; 32],
}

impl Master {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        let digest = Sha256::new().chain_update([1]).chain_update(key).finalize();
        let wkid = *digest.first_chunk().unwrap();
        let derived = |label| derive(&key, label, &wkid);
        Self { key, wkid, wrap: derived(b"hsm-sim blob wrap v1"), mac: derived(b"hsm-sim blob mac v1") }
    }

    pub(crate) fn has_sealed(&self, blob: &[u8]) -> bool {
        blob[32..48] == self.wkid
    }

    /// Decrypts the key in a blob.
    pub(crate) fn open(&self, blob: &[u8]) -> Vec<u8> {
        let (authenticated, mac) = blob.split_at(blob.len() - MAC_LEN);
        assert_eq!(cmac(&self.mac, authenticated), mac, "a blob's MAC");
        let wrapped = &authenticated[HEADER_LEN..];
        let mut key = vec![0; wrapped.len()];
        match blob[70] {
            1 => KwAes256::new(&self.wrap.into()).unwrap_key(wrapped, &mut key).unwrap().to_vec(),
            2 => KwpAes256::new(&self.wrap.into()).unwrap_key(wrapped, &mut key).unwrap().to_vec(),
            other => unreachable!("wrapped by {other}"),
        }
    }
}

/// KDF in counter mode with AES-CMAC, for 256 bits (SP 800-108r1 §4.1).
fn derive(base: &[u8; 32], label: &[u8], context: &[u8]) -> [u8; 32] {
    let block = |i: u8| cmac(base, &[&[0, 0, 0, i], label, &[0], context, &256u32.to_be_bytes()].concat());
    [block(1), block(2)].concat().try_into().unwrap()
}

/// AES-CMAC (SP 800-38B §6.2).
fn cmac(key: &[u8; 32], message: &[u8]) -> [u8; 16] {
    let cipher = Aes256::new(&(*key).into());
    let encrypt = |block: u128| {
        let mut block = block.to_be_bytes().into();
        cipher.encrypt_block(&mut block);
        u128::from_be_bytes(block.into())
    };
    let double = |block: u128| (block << 1) ^ if block >> 127 == 1 { 0x87 } else { 0 };
    let first = double(encrypt(0));
    let whole = !message.is_empty() && message.len().is_multiple_of(16);
    let (mut padded, subkey) = (message.to_vec(), if whole { first } else { double(first) });
    if !whole {
        padded.push(0x80);
        padded.resize(padded.len().next_multiple_of(16), 0);
    }
    let blocks: Vec<u128> =
        padded.chunks(16).map(|block| u128::from_be_bytes(block.try_into().unwrap())).collect();
    let (last, before) = blocks.split_last().unwrap();
    let chained = before.iter().fold(0, |chained, block| encrypt(chained ^ block));
    encrypt(chained ^ last ^ subkey).to_be_bytes()
}
