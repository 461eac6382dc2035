//! Byte strings and buffers that are zeroized: key material of requests and responses.

use std::fmt;
use std::io;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Key material or plaintext of a caller: zeroized on drop, never printed, serialized as base64 only.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes ownership of the bytes.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes, still zeroized on drop, for a port with a type of its own.
    #[must_use]
    pub fn into_zeroizing(mut self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(std::mem::take(&mut self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crate::base64::encode(&self.0))
    }
}

/// A growing buffer that leaves no copy behind: the old allocation is zeroized when it grows.
#[derive(Default)]
pub struct SecretBuf(Zeroizing<Vec<u8>>);

impl SecretBuf {
    /// An empty buffer with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    /// Serializes a response to JSON.
    ///
    /// # Errors
    /// If the value cannot be represented in JSON; none of this crate is such a value.
    pub fn json<T: serde::Serialize>(answer: &T) -> Result<Self, serde_json::Error> {
        let mut buf = Self::with_capacity(2048);
        serde_json::to_writer(&mut buf, answer)?;
        Ok(buf)
    }

    /// Appends `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        let needed = self.0.len().saturating_add(bytes.len());
        if needed > self.0.capacity() {
            let mut larger =
                Zeroizing::new(Vec::with_capacity(needed.max(self.0.capacity().saturating_mul(2))));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    /// The content.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for SecretBuf {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl io::Write for SecretBuf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Secret, SecretBuf};

    #[test]
    fn debug_shows_no_byte() {
        assert_eq!(format!("{:?}", Secret::new(vec![0xa5; 4])), "Secret");
    }

    #[test]
    fn grows_past_its_capacity() {
        let mut buf = SecretBuf::with_capacity(2);
        buf.extend(b"ab");
        buf.extend(b"cdefgh");
        assert_eq!(buf.expose(), b"abcdefgh");
    }
}
