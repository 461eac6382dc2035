//! Identity and secrets of a unit: its device secret and the key that its module signs with.

use crate::files;
use crate::manufacturer::{Manufacturer, ManufacturerError, ModuleIdentity, generate_key};
use sha2::{Digest, Sha256};
use std::io;
use std::path::Path;
use tke_crypto::{ModuleCertificate, POINT_LEN, PublicKey, SCALAR_LEN, Signature, SigningKey, Ski};
use unit_api::UnitId;
use unit_api::admin::InstanceId;
use zeroize::Zeroizing;

/// Length of the device secret, in bytes.
const SECRET_LEN: usize = 32;
/// Length of a serial number, in characters.
const SERIAL_LEN: usize = 8;
/// Length of the checksum, in bytes.
const CHECK_LEN: usize = 32;
/// Start of the file. Version 1 had no magic number: it was the 16 bytes of the identity and the 32 of the secret.
const MAGIC: &[u8; 10] = b"hsm-dev\0\0\x02";

/// A unit's identity and secrets, made once and kept in the unit's folder in the file `device`, mode 0600.
///
/// A hardware module keeps them inside. Here they are a file: who can read it can sign as the module, and who can read it
/// and the state of a unit with its keys in software can read the master key. Layout:
///
/// | bytes | content |
/// |---|---|
/// | 10 | `hsm-dev`, zero, format version 2 in two bytes |
/// | 16 | module: serial number and instance |
/// | 32 | device secret |
/// | 4 | index of the domain, big-endian |
/// | 16 | service instance |
/// | 66 | private key of the module, on P-521 |
/// | 133 | public key of the manufacturer's root |
/// | n | the module's certificate, DER |
/// | 32 | SHA-256 over all before it |
pub struct Device {
    /// Serial number and instance of the module.
    pub id: UnitId,
    /// Index of the domain in its module.
    pub domain_index: u32,
    /// The service instance that the unit was assigned to.
    pub instance: InstanceId,
    /// What the engine derives its own keys from.
    pub secret: Zeroizing<[u8; SECRET_LEN]>,
    /// What signs answers to administrators.
    pub module: DeviceModule,
}

/// What a device is made with, and what is required of one that exists.
#[derive(Clone, Debug, Default)]
pub struct Manufacture<'a> {
    /// Serial number, 8 characters. A device that exists keeps its own.
    pub serial: &'a str,
    /// Index of the domain in its module. `None`: 0 for a new device, any for one that exists.
    pub domain_index: Option<u32>,
    /// Service instance. `None`: a random one for a new device, any for one that exists.
    pub instance: Option<InstanceId>,
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The file could not be read or written.
    #[error("the file `device` cannot be read or written")]
    Io(#[from] io::Error),
    /// The file is not one that this program wrote.
    #[error("the file `device` is damaged")]
    Damaged,
    /// No random bytes for the identity or the device secret.
    #[error("the system's source of random bytes failed")]
    Random(#[from] getrandom::Error),
    /// The module could not be certified.
    #[error("the unit's module cannot be certified")]
    Manufacturer(#[from] ManufacturerError),
    /// The unit is another domain of its module than required.
    #[error("the unit there is domain {0} of its module")]
    OtherDomain(u32),
    /// The unit belongs to another service instance than required.
    #[error("the unit there belongs to service instance {0}")]
    OtherInstance(InstanceId),
}

impl Device {
    /// The device in `folder`, made if there is none yet.
    ///
    /// A device in the first format keeps its identity and secret and gets a module key.
    ///
    /// # Errors
    /// [`DeviceError`]; a device that exists is left as it is then.
    pub fn open(
        folder: &Path,
        manufacturer: &dyn Manufacturer,
        wanted: &Manufacture<'_>,
    ) -> Result<Self, DeviceError> {
        let path = folder.join("device");
        let kept = files::read_if_present(&path)?.map(Zeroizing::new);
        let device = match kept.as_deref().map(Vec::as_slice) {
            None => Self::make(&path, random_id(wanted.serial)?, random()?, manufacturer, wanted)?,
            Some(content) if content.starts_with(MAGIC) => {
                Self::parse(content).ok_or(DeviceError::Damaged)?
            }
            Some(content) => {
                let (id, secret) = parse_first_format(content).ok_or(DeviceError::Damaged)?;
                Self::make(&path, id, secret, manufacturer, wanted)?
            }
        };
        device.check(wanted)?;
        Ok(device)
    }

    fn make(
        path: &Path,
        id: UnitId,
        secret: Zeroizing<[u8; SECRET_LEN]>,
        manufacturer: &dyn Manufacturer,
        wanted: &Manufacture<'_>,
    ) -> Result<Self, DeviceError> {
        let key = generate_key()?;
        let ModuleIdentity { certificate, root } = manufacturer.issue(id, &key.public())?;
        let module = DeviceModule::new(key, certificate, root);
        let instance = match wanted.instance {
            Some(instance) => instance,
            None => InstanceId(*random()?),
        };
        let device = Self { id, domain_index: wanted.domain_index.unwrap_or(0), instance, secret, module };
        files::write_private(path, &device.encode())?;
        Ok(device)
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let (index, scalar) = (self.domain_index.to_be_bytes(), self.module.key.expose_scalar());
        let root = self.module.root.to_point();
        let parts: [&[u8]; 8] = [
            MAGIC,
            &self.id.0,
            self.secret.as_slice(),
            &index,
            &self.instance.0,
            scalar.as_slice(),
            &root,
            &self.module.certificate,
        ];
        // Room for all of it at once: a vector that grows leaves copies behind.
        let len = parts.iter().map(|part| part.len()).sum::<usize>() + CHECK_LEN;
        let mut content = Zeroizing::new(Vec::with_capacity(len));
        parts.iter().for_each(|part| content.extend_from_slice(part));
        let check = Sha256::digest(&*content);
        content.extend_from_slice(&check);
        content
    }

    fn parse(content: &[u8]) -> Option<Self> {
        let (content, check) = content.split_last_chunk::<CHECK_LEN>()?;
        if Sha256::digest(content).as_slice() != check {
            return None;
        }
        let (id, rest) = content.strip_prefix(MAGIC)?.split_first_chunk::<16>()?;
        let (secret, rest) = rest.split_first_chunk::<SECRET_LEN>()?;
        let (domain_index, rest) = rest.split_first_chunk::<4>()?;
        let (instance, rest) = rest.split_first_chunk::<16>()?;
        let (scalar, rest) = rest.split_first_chunk::<SCALAR_LEN>()?;
        let (root, certificate) = rest.split_first_chunk::<POINT_LEN>()?;
        let key = SigningKey::from_scalar(scalar).ok()?;
        let root = PublicKey::from_point(root).ok()?;
        let shown = ModuleCertificate::verify(certificate, &root).ok()?;
        (shown.module_id == *id && shown.key == key.public()).then(|| Self {
            id: UnitId(*id),
            domain_index: u32::from_be_bytes(*domain_index),
            instance: InstanceId(*instance),
            secret: Zeroizing::new(*secret),
            module: DeviceModule::new(key, certificate.to_vec(), root),
        })
    }

    fn check(&self, wanted: &Manufacture<'_>) -> Result<(), DeviceError> {
        if wanted.domain_index.is_some_and(|index| index != self.domain_index) {
            return Err(DeviceError::OtherDomain(self.domain_index));
        }
        if wanted.instance.is_some_and(|instance| instance != self.instance) {
            return Err(DeviceError::OtherInstance(self.instance));
        }
        Ok(())
    }
}

/// The module that a unit is a domain of: its device key and certificate. The key never moves on the heap.
pub struct DeviceModule {
    key: Box<SigningKey>,
    ski: Ski,
    certificate: Vec<u8>,
    root: PublicKey,
}

impl DeviceModule {
    fn new(key: SigningKey, certificate: Vec<u8>, root: PublicKey) -> Self {
        let ski = key.public().ski();
        Self { key: Box::new(key), ski, certificate, root }
    }
}

impl unit_core::Module for DeviceModule {
    fn sign(&self, message: &[u8]) -> Signature {
        self.key.sign(message)
    }

    fn ski(&self) -> Ski {
        self.ski
    }

    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn root(&self) -> &PublicKey {
        &self.root
    }
}

fn parse_first_format(content: &[u8]) -> Option<(UnitId, Zeroizing<[u8; SECRET_LEN]>)> {
    let (id, secret) = content.split_first_chunk::<16>()?;
    let secret = <[u8; SECRET_LEN]>::try_from(secret).ok()?;
    Some((UnitId(*id), Zeroizing::new(secret)))
}

/// A module identity: the serial number in 8 characters, padded with `0`, and 8 random bytes.
fn random_id(serial: &str) -> Result<UnitId, getrandom::Error> {
    let mut id = *random::<16>()?;
    for (at, byte) in id.iter_mut().take(SERIAL_LEN).enumerate() {
        *byte = serial.as_bytes().get(at).copied().filter(u8::is_ascii_graphic).unwrap_or(b'0');
    }
    Ok(UnitId(id))
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, getrandom::Error> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Device, DeviceError, Manufacture};
    use crate::manufacturer::RootManufacturer;
    use std::path::Path;
    use tke_crypto::ModuleCertificate;
    use unit_api::admin::InstanceId;
    use unit_core::Module;

    const WANTED: Manufacture<'static> =
        Manufacture { serial: "SIM00007", domain_index: Some(3), instance: Some(InstanceId([7; 16])) };

    fn open(folder: &Path, wanted: &Manufacture<'_>) -> Result<Device, DeviceError> {
        let root = RootManufacturer::generate("test root").unwrap();
        Device::open(folder, &root, wanted)
    }

    #[test]
    fn a_device_is_made_once_and_refused_when_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path(), &WANTED).unwrap();
        let again = open(folder.path(), &Manufacture { serial: "SIM00008", ..WANTED }).unwrap();
        assert_eq!(
            (first.id, first.domain_index, first.instance),
            (again.id, again.domain_index, again.instance)
        );
        assert_eq!(first.secret.as_slice(), again.secret.as_slice());
        assert_eq!(first.module.certificate(), again.module.certificate());
        assert!(first.id.to_string().starts_with("SIM00007-"));
        let shown = ModuleCertificate::verify(first.module.certificate(), first.module.root()).unwrap();
        assert_eq!(shown.module_id, first.id.0);
        shown.key.verify(b"answer", &again.module.sign(b"answer")).unwrap();

        let file = folder.path().join("device");
        let good = std::fs::read(&file).unwrap();
        for at in [0, 10, 40, 60, 70, 80, 150, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&file, &bad).unwrap();
            assert!(open(folder.path(), &Manufacture::default()).is_err(), "byte {at}");
        }
        std::fs::write(&file, b"short").unwrap();
        assert!(open(folder.path(), &WANTED).is_err());
    }

    #[test]
    fn a_device_in_the_first_format_keeps_its_identity() {
        let folder = tempfile::tempdir().unwrap();
        let old: Vec<u8> = b"SIM00001".iter().copied().chain(8..48).collect();
        std::fs::write(folder.path().join("device"), &old).unwrap();
        let device = open(folder.path(), &WANTED).unwrap();
        assert_eq!(device.id.0, old[..16]);
        assert_eq!(device.secret.as_slice(), &old[16..]);
        let again = open(folder.path(), &WANTED).unwrap();
        assert_eq!(again.module.certificate(), device.module.certificate());
    }

    #[test]
    fn a_device_of_another_domain_or_instance_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), &WANTED).unwrap();
        for (other, why) in [
            (Manufacture { domain_index: Some(4), ..WANTED }, "domain 3"),
            (Manufacture { instance: Some(InstanceId([8; 16])), ..WANTED }, "07070707-"),
        ] {
            let said = open(folder.path(), &other).err().unwrap().to_string();
            assert!(said.contains(why), "{said}");
        }
        open(folder.path(), &Manufacture::default()).unwrap();
    }
}
