//! What makes a unit this unit: its identity and its device secret.

use crate::files;
use std::io;
use std::path::Path;
use unit_api::UnitId;
use zeroize::Zeroizing;

/// Length of the device secret, in bytes.
const SECRET_LEN: usize = 32;
/// Length of a serial number, in characters.
const SERIAL_LEN: usize = 8;

/// A unit's identity and its device secret, made once and kept beside its state, mode 0600.
///
/// A card keeps these in hardware. Here they are a file: who can read it and the state can read the master key.
pub struct Device {
    /// Serial number and instance.
    pub id: UnitId,
    /// What the engine derives its own keys from.
    pub secret: Zeroizing<[u8; SECRET_LEN]>,
}

impl Device {
    /// The device in `folder`, made with this serial number if there is none yet.
    ///
    /// # Errors
    /// The system's; "invalid data" for a file that is no device.
    pub fn open(folder: &Path, serial: &str) -> io::Result<Self> {
        let path = folder.join("device");
        match files::read_if_present(&path)? {
            Some(content) => Self::parse(&Zeroizing::new(content))
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the file `device` is damaged")),
            None => {
                let device = Self::generate(serial)?;
                let content = Zeroizing::new([device.id.0.as_slice(), device.secret.as_slice()].concat());
                files::write_private(&path, &content)?;
                Ok(device)
            }
        }
    }

    fn parse(content: &[u8]) -> Option<Self> {
        let (id, secret) = content.split_first_chunk::<16>()?;
        let secret = <[u8; SECRET_LEN]>::try_from(secret).ok()?;
        Some(Self { id: UnitId(*id), secret: Zeroizing::new(secret) })
    }

    fn generate(serial: &str) -> io::Result<Self> {
        let mut id = [b' '; 16];
        getrandom::fill(&mut id)?;
        for (at, byte) in id.iter_mut().take(SERIAL_LEN).enumerate() {
            *byte = serial.as_bytes().get(at).copied().filter(u8::is_ascii_graphic).unwrap_or(b'0');
        }
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        getrandom::fill(secret.as_mut_slice())?;
        Ok(Self { id: UnitId(id), secret })
    }
}

#[cfg(test)]
mod tests {
    use super::Device;

    #[test]
    fn a_device_is_made_once_and_refused_when_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let first = Device::open(folder.path(), "SIM00007").unwrap();
        let again = Device::open(folder.path(), "SIM00008").unwrap();
        assert_eq!(first.id, again.id);
        assert_eq!(first.secret.as_slice(), again.secret.as_slice());
        assert!(first.id.to_string().starts_with("SIM00007-"));
        std::fs::write(folder.path().join("device"), b"short").unwrap();
        assert!(Device::open(folder.path(), "SIM00007").is_err());
    }
}
