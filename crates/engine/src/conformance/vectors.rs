//! Published examples; where none is published, values computed by an independent implementation.

/// Bytes from hexadecimal digits.
pub(super) const fn hex<const N: usize>(digits: &str) -> [u8; N] {
    const fn value(digit: u8) -> u8 {
        match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => panic!("a digit is 0 to 9 or a to f"),
        }
    }
    let digits = digits.as_bytes();
    assert!(digits.len() == 2 * N);
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = value(digits[2 * at]) << 4 | value(digits[2 * at + 1]);
        at += 1;
    }
    bytes
}

/// The bytes 00, 01, … 1f, which several standards use as a key.
pub(super) const COUNTING: [u8; 32] = hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");

/// KEK, key, wrapped key.
pub(super) type WrapVector = (&'static [u8], &'static [u8], &'static [u8]);

/// RFC 3394 §4.1, §4.2, §4.3, §4.6.
pub(super) const KW: [WrapVector; 4] = [
    (
        COUNTING.split_at(16).0,
        &hex::<16>("00112233445566778899aabbccddeeff"),
        &hex::<24>("1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5"),
    ),
    (
        COUNTING.split_at(24).0,
        &hex::<16>("00112233445566778899aabbccddeeff"),
        &hex::<24>("96778b25ae6ca435f92b5b97c050aed2468ab8a17ad84e5d"),
    ),
    (
        &COUNTING,
        &hex::<16>("00112233445566778899aabbccddeeff"),
        &hex::<24>("64e8c3f9ce0f5ba263e9777905818a2a93c8191e7d6e8ae7"),
    ),
    (
        &COUNTING,
        &hex::<32>("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f"),
        &hex::<40>("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"),
    ),
];

const RFC_5649_KEK: [u8; 24] = hex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8");

/// RFC 5649 §6; the last, with a KEK of 256 bits, computed by OpenSSL.
pub(super) const KWP: [WrapVector; 3] = [
    (
        &RFC_5649_KEK,
        &hex::<20>("c37b7e6492584340bed12207808941155068f738"),
        &hex::<32>("138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a"),
    ),
    (&RFC_5649_KEK, &hex::<7>("466f7250617369"), &hex::<16>("afbeb0f07dfbf5419200f2ccb50bb24f")),
    (
        &COUNTING,
        &hex::<20>("c37b7e6492584340bed12207808941155068f738"),
        &hex::<32>("29b7fa191c2165684374eee9f74595e2a42bace75c425b3053efa26ffe1bb32f"),
    ),
];

const GCM_KEY: [u8; 32] = hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");

/// IV, associated data and plaintext of [`GCM`].
pub(super) const GCM_IV: [u8; 12] = hex("cafebabefacedbaddecaf888");
pub(super) const GCM_AAD: [u8; 20] = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
pub(super) const GCM_PLAINTEXT: [u8; 60] = hex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
);

/// Key, ciphertext ‖ tag: test cases 4 and 16 of McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B.
pub(super) const GCM: [(&[u8], [u8; 76]); 2] = [
    (
        GCM_KEY.split_at(16).0,
        hex(
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47",
        ),
    ),
    (
        &GCM_KEY,
        hex(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
        ),
    ),
];

const CMAC_MESSAGE: [u8; 40] =
    hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411");
const CMAC_KEY_128: [u8; 16] = hex("2b7e151628aed2a6abf7158809cf4f3c");
const CMAC_KEY_256: [u8; 32] = hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");

/// Key, message, MAC: RFC 4493 §4, and SP 800-38B's example for AES-256.
pub(super) const CMAC: [(&[u8], &[u8], [u8; 16]); 4] = [
    (&CMAC_KEY_128, &[], hex("bb1d6929e95937287fa37d129b756746")),
    (&CMAC_KEY_128, CMAC_MESSAGE.split_at(16).0, hex("070a16b46b4d4144f79bdd9dd04a287c")),
    (&CMAC_KEY_128, &CMAC_MESSAGE, hex("dfa66747de9ae63030ca32611497c827")),
    (&CMAC_KEY_256, &CMAC_MESSAGE, hex("aaf3d8f1de5640c232f5b169b9c911e6")),
];

/// Key, message, MAC: RFC 4231 §4.2 and §4.3.
pub(super) const HMAC: [(&[u8], &[u8], [u8; 32]); 2] = [
    (&[0x0b; 20], b"Hi There", hex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    ),
];

/// Message, digest: FIPS 180-4's example and the empty message.
pub(super) const SHA256: [(&[u8], [u8; 32]); 2] = [
    (b"abc", hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")),
    (&[], hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")),
];

/// Base, derived key, for the label `label` and the context `context`.
///
/// The Validation Program's vectors for SP 800-108 have no label, separator, context or length, so these are computed:
/// `openssl kdf -keylen N -mac CMAC -kdfopt cipher:AES-256-CBC -kdfopt hexkey:0001…1f -kdfopt salt:label
/// -kdfopt info:context KBKDF` with OpenSSL 3.0.
pub(super) const KDF: [(&[u8], &[u8]); 4] = [
    (&COUNTING, &hex::<16>("a8b59b87cedf1b2b63fe1bb11763f654")),
    (&COUNTING, &hex::<32>("fcc8829a433f70928154c608ece0cc4ccd46fe445ebba07cc1ce0f2b3a7cf7c1")),
    (
        &COUNTING,
        &hex::<64>(
            "e20989e2311388de64181817162bde1796779c055ea02c8c735041a9035afb344f46211ffd7f7c8eee4440723b658a9c39d7c7866816bff49390bd86b9380994",
        ),
    ),
    (COUNTING.split_at(16).0, &hex::<24>("889129c9f2371d458759c2f96aa35cfa0ab229c0fde9db47")),
];

/// First 28 bytes of SHA-256 over `01 ‖ key`, for the key that is [`COUNTING`].
pub(super) const PATTERN_OF_ONE: [u8; 28] = hex("491176b0f443c65a7c7d72df47d6cbc0d04e111fb5a619f60d3e7767");

/// The same for the exclusive or of that key and 32 bytes `a5`.
pub(super) const PATTERN_OF_TWO: [u8; 28] = hex("0c7116b0cabdb39ac9ff6073862e2a4f470786265a3ce8723c237eb4");

/// The same for the exclusive or of that key and the bytes `e0` to `ff`.
pub(super) const PATTERN_OF_THREE: [u8; 28] = hex("947d5b800a42f1596c6b39093bb9e21ed61bc86294c1469157395fe0");
