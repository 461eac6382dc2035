//! What this process runs.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::sync::OnceLock;

/// SHA-256 over the program that this process runs: the firmware of its units.
///
/// The program computes it over itself. Of a unit in software it shows which version a customer deals with. It is no
/// protection against those who can replace the program.
///
/// # Errors
/// The operating system's, if the program's file cannot be read.
pub fn digest() -> io::Result<[u8; 32]> {
    static DIGEST: OnceLock<[u8; 32]> = OnceLock::new();
    if let Some(digest) = DIGEST.get() {
        return Ok(*digest);
    }
    let mut hash = Sha256::new();
    // The file that was started, also when another version has replaced it meanwhile.
    let mut program = File::open("/proc/self/exe")?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match program.read(&mut buffer)? {
            0 => break,
            len => hash.update(buffer.get(..len).unwrap_or_default()),
        }
    }
    Ok(*DIGEST.get_or_init(|| hash.finalize().into()))
}
