//! From a command to what carries it out.

use crate::Command;
use engine::{AES_GCM_IV_LEN, KeySpec, MacMechanism, WrapMechanism};

/// Carries commands out: one method for each, named and documented as the command.
#[expect(missing_docs, reason = "each method's command has the documentation")]
pub trait CommandHandler {
    /// What carrying out a command gives.
    type Output;

    fn status(self) -> Self::Output;
    fn generate_random(self, len: u16) -> Self::Output;
    fn generate_key(self, spec: &KeySpec) -> Self::Output;
    fn import_key(self, spec: &KeySpec, value: &[u8]) -> Self::Output;
    fn wrap_key(self, by: WrapMechanism, kek: &[u8], key: &[u8]) -> Self::Output;
    fn unwrap_key(self, by: WrapMechanism, kek: &[u8], wrapped: &[u8], spec: &KeySpec) -> Self::Output;
    fn encrypt(self, key: &[u8], aad: &[u8], plaintext: &[u8]) -> Self::Output;
    fn decrypt(self, key: &[u8], iv: &[u8; AES_GCM_IV_LEN], aad: &[u8], ciphertext: &[u8]) -> Self::Output;
    fn sign(self, by: MacMechanism, key: &[u8], data: &[u8]) -> Self::Output;
    fn verify(self, by: MacMechanism, key: &[u8], data: &[u8], signature: &[u8]) -> Self::Output;
    fn reencipher(self, blob: &[u8]) -> Self::Output;
    fn administer(self, request: &[u8]) -> Self::Output;
}

impl Command<'_> {
    /// Has `handler` carry the command out.
    pub fn dispatch<H: CommandHandler>(&self, handler: H) -> H::Output {
        match *self {
            Self::Status => handler.status(),
            Self::GenerateRandom { len } => handler.generate_random(len),
            Self::GenerateKey { ref spec } => handler.generate_key(spec),
            Self::ImportKey { ref spec, value } => handler.import_key(spec, value),
            Self::WrapKey { by, kek, key } => handler.wrap_key(by, kek, key),
            Self::UnwrapKey { by, kek, wrapped, ref spec } => handler.unwrap_key(by, kek, wrapped, spec),
            Self::Encrypt { key, aad, plaintext } => handler.encrypt(key, aad, plaintext),
            Self::Decrypt { key, ref iv, aad, ciphertext } => handler.decrypt(key, iv, aad, ciphertext),
            Self::Sign { by, key, data } => handler.sign(by, key, data),
            Self::Verify { by, key, data, signature } => handler.verify(by, key, data, signature),
            Self::Reencipher { blob } => handler.reencipher(blob),
            Self::Administer { request } => handler.administer(request),
        }
    }
}
