//! Identity and secret of a unit, and the certificate of its module.

use crate::manufacturer::{Manufacturer, ManufacturerError, ModuleIdentity, ModuleRequest};
use crate::{files, firmware};
use engine::{ATTESTATION_SIGNATURE_LEN, Engine};
use sha2::{Digest, Sha256};
use std::io;
use std::path::Path;
use tke_crypto::{ModuleCertificate, ModuleDescription, POINT_LEN, PublicKey, SCALAR_LEN, Signature};
use unit_api::UnitId;
use unit_api::admin::InstanceId;
use zeroize::Zeroizing;

/// Length of the device secret, in bytes.
const SECRET_LEN: usize = 32;
/// Length of a serial number, in characters.
const SERIAL_LEN: usize = 8;
/// Length of the checksum, in bytes.
const CHECK_LEN: usize = 32;
/// Name of the file.
const FILE: &str = "device";
/// Start of the file. Version 1 had no magic number: it was the 16 bytes of the identity and the 32 of the secret.
const MAGIC: &[u8; 10] = b"hsm-dev\0\0\x03";
/// Start of version 2, which held the module's private key.
const SECOND_MAGIC: &[u8; 10] = b"hsm-dev\0\0\x02";

/// A unit's identity and its secret, made once and kept in the unit's folder in the file `device`, mode 0600.
///
/// A hardware module keeps them inside. Here they are a file: who can read it and the state of a unit with its keys in
/// software can read the master key, and sign as the module. The certificate is issued when the engine shows its attestation
/// key for the first time. Layout:
///
/// | bytes | content |
/// |---|---|
/// | 10 | `hsm-dev`, zero, format version 3 in two bytes |
/// | 16 | module: serial number and instance |
/// | 32 | device secret |
/// | 4 | index of the domain, big-endian |
/// | 16 | service instance |
/// | 133 | public key of the manufacturer's root, or zeros before the certificate is issued |
/// | n | the module's certificate, DER, or nothing |
/// | 32 | SHA-256 over all before it |
pub struct Device {
    /// Serial number and instance of the module.
    pub id: UnitId,
    /// Index of the domain in its module.
    pub domain_index: u32,
    /// The service instance that the unit was assigned to.
    pub instance: InstanceId,
    /// What an engine in software derives its own keys from.
    pub secret: Zeroizing<[u8; SECRET_LEN]>,
    certified: Certified,
}

/// What the file says of the module's certificate.
enum Certified {
    /// Nothing yet.
    No,
    /// A certificate of the engine's attestation key.
    Yes(CertifiedModule),
    /// A certificate, DER, of a key that was in the file. It is to be revoked.
    Formerly(Vec<u8>),
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
    /// The engine does not sign, or not with the key that it shows.
    #[error("the unit's engine does not sign with its attestation key")]
    Attestation,
    /// The certificate is for another key than the engine's.
    #[error(
        "the engine's attestation key is not the one that the module's certificate is for: the keys on the token or \
         the file `device` were replaced"
    )]
    OtherAttestationKey,
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
    /// A device in an earlier format keeps its identity and secret; its module gets a new certificate.
    ///
    /// # Errors
    /// [`DeviceError`]; a device that exists is left as it is then.
    pub fn open(folder: &Path, wanted: &Manufacture<'_>) -> Result<Self, DeviceError> {
        let path = folder.join(FILE);
        let kept = files::read_if_present(&path)?.map(Zeroizing::new);
        let device = match kept.as_deref().map(Vec::as_slice) {
            None => Self::make(random_id(wanted.serial)?, random()?, wanted)?,
            Some(content) if content.starts_with(MAGIC) => {
                Self::parse(content).ok_or(DeviceError::Damaged)?
            }
            Some(content) if content.starts_with(SECOND_MAGIC) => {
                parse_second_format(content).ok_or(DeviceError::Damaged)?
            }
            Some(content) => {
                let (id, secret) = parse_first_format(content).ok_or(DeviceError::Damaged)?;
                Self::make(id, secret, wanted)?
            }
        };
        device.check(wanted)?;
        // An earlier format is replaced once there is a certificate.
        if kept.is_none() {
            files::write_private(&path, &device.encode())?;
        }
        Ok(device)
    }

    /// The module's certificate for the engine's attestation key.
    ///
    /// It is issued when the engine is used for the first time, and again when the firmware has changed. The certificate of a
    /// key that an earlier version kept in the file is revoked.
    ///
    /// # Errors
    /// [`DeviceError::Attestation`], [`DeviceError::OtherAttestationKey`], [`DeviceError::Manufacturer`],
    /// [`DeviceError::Io`].
    pub fn certify(
        mut self,
        folder: &Path,
        engine: &mut (dyn Engine + Send),
        manufacturer: &dyn Manufacturer,
    ) -> Result<CertifiedModule, DeviceError> {
        let key = signing_key(engine)?;
        let description = ModuleDescription {
            engine_class: engine.attestation_key().class.number(),
            firmware: firmware::digest()?,
        };
        if let Certified::Yes(module) = &self.certified {
            let shown = module.shown().ok_or(DeviceError::Damaged)?;
            if shown.key != key {
                return Err(DeviceError::OtherAttestationKey);
            }
            if shown.description == Some(description) {
                return Ok(module.clone());
            }
        }
        if let Certified::Formerly(certificate) = &self.certified {
            manufacturer.revoke(certificate)?;
        }
        let issued = manufacturer.issue(&ModuleRequest { module: self.id, key: &key, description });
        let module = match (issued, self.certified) {
            (Ok(ModuleIdentity { certificate, root }), _) => CertifiedModule { certificate, root },
            (Err(error), Certified::Yes(module)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the module's certificate names another firmware, and no new one can be issued"
                );
                return Ok(module);
            }
            (Err(error), _) => return Err(error.into()),
        };
        self.certified = Certified::Yes(module.clone());
        files::replace_private(&folder.join(FILE), &self.encode())?;
        Ok(module)
    }

    fn make(
        id: UnitId,
        secret: Zeroizing<[u8; SECRET_LEN]>,
        wanted: &Manufacture<'_>,
    ) -> Result<Self, DeviceError> {
        let instance = match wanted.instance {
            Some(instance) => instance,
            None => InstanceId(*random()?),
        };
        let domain_index = wanted.domain_index.unwrap_or(0);
        Ok(Self { id, domain_index, instance, secret, certified: Certified::No })
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let index = self.domain_index.to_be_bytes();
        let (root, certificate) = match &self.certified {
            Certified::Yes(module) => (module.root.to_point(), module.certificate.as_slice()),
            Certified::No | Certified::Formerly(_) => ([0; POINT_LEN], &[][..]),
        };
        let parts: [&[u8]; 7] =
            [MAGIC, &self.id.0, self.secret.as_slice(), &index, &self.instance.0, &root, certificate];
        // Room for all of it at once: a vector that grows leaves copies behind.
        let len = parts.iter().map(|part| part.len()).sum::<usize>() + CHECK_LEN;
        let mut content = Zeroizing::new(Vec::with_capacity(len));
        parts.iter().for_each(|part| content.extend_from_slice(part));
        let check = Sha256::digest(&*content);
        content.extend_from_slice(&check);
        content
    }

    fn parse(content: &[u8]) -> Option<Self> {
        let (mut device, rest) = parse_identity(content, MAGIC)?;
        let (root, certificate) = rest.split_first_chunk::<POINT_LEN>()?;
        if certificate.is_empty() {
            return (*root == [0; POINT_LEN]).then_some(device);
        }
        let root = PublicKey::from_point(root).ok()?;
        let module = CertifiedModule { certificate: certificate.to_vec(), root };
        let is_own = module.shown()?.module_id == device.id.0;
        device.certified = Certified::Yes(module);
        is_own.then_some(device)
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

/// The module that a unit is a domain of: what its manufacturer has certified.
#[derive(Clone, Debug)]
pub struct CertifiedModule {
    certificate: Vec<u8>,
    root: PublicKey,
}

impl CertifiedModule {
    /// The certificate's content, if the root has signed it.
    fn shown(&self) -> Option<ModuleCertificate> {
        ModuleCertificate::verify(&self.certificate, &self.root).ok()
    }
}

impl unit_core::Module for CertifiedModule {
    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn root(&self) -> &PublicKey {
        &self.root
    }
}

/// The engine's attestation key, once it has signed with it.
fn signing_key(engine: &mut (dyn Engine + Send)) -> Result<PublicKey, DeviceError> {
    let message = random::<32>()?;
    let mut raw = [0; ATTESTATION_SIGNATURE_LEN];
    engine.attest(message.as_slice(), &mut raw).map_err(|_| DeviceError::Attestation)?;
    let key = PublicKey::from_point(&engine.attestation_key().point);
    let signature = Signature::from_raw(&raw);
    match (key, signature) {
        (Ok(key), Ok(signature)) if key.verify(message.as_slice(), &signature).is_ok() => Ok(key),
        _ => Err(DeviceError::Attestation),
    }
}

/// The fields that the second and the third format begin with, and what follows them.
fn parse_identity<'a>(content: &'a [u8], magic: &[u8]) -> Option<(Device, &'a [u8])> {
    let (content, check) = content.split_last_chunk::<CHECK_LEN>()?;
    if Sha256::digest(content).as_slice() != check {
        return None;
    }
    let (id, rest) = content.strip_prefix(magic)?.split_first_chunk::<16>()?;
    let (secret, rest) = rest.split_first_chunk::<SECRET_LEN>()?;
    let (domain_index, rest) = rest.split_first_chunk::<4>()?;
    let (instance, rest) = rest.split_first_chunk::<16>()?;
    let device = Device {
        id: UnitId(*id),
        domain_index: u32::from_be_bytes(*domain_index),
        instance: InstanceId(*instance),
        secret: Zeroizing::new(*secret),
        certified: Certified::No,
    };
    Some((device, rest))
}

/// The second format: the module's private key and the root's public key precede the certificate.
fn parse_second_format(content: &[u8]) -> Option<Device> {
    let (mut device, rest) = parse_identity(content, SECOND_MAGIC)?;
    device.certified = Certified::Formerly(rest.get(SCALAR_LEN + POINT_LEN..)?.to_vec());
    Some(device)
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

/// Panics if a reader of the file `device` is wrong.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn check_reader(content: &[u8]) {
    // A checksum is no secret: who can write the file can write it, too.
    let checked = [content, &Sha256::digest(content)].concat();
    for content in [content, &checked] {
        if let Some(device) = Device::parse(content) {
            assert_eq!(*device.encode(), content, "a device has two forms");
        }
        if let Some(device) = parse_second_format(content) {
            let again = device.encode();
            let read = Device::parse(&again);
            assert!(read.is_some_and(|read| read.id == device.id && read.secret == device.secret));
        }
        if let Some((id, secret)) = parse_first_format(content) {
            assert_eq!([&id.0[..], &secret[..]].concat(), content);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CHECK_LEN, Device, DeviceError, Manufacture, SECOND_MAGIC};
    use crate::manufacturer::RootManufacturer;
    use engine_soft::{DeviceSecret, SoftEngine};
    use getrandom::SysRng;
    use sha2::{Digest, Sha256};
    use std::path::Path;
    use tke_crypto::{ModuleCertificate, RevocationList};
    use unit_api::admin::InstanceId;
    use unit_core::Module;

    const WANTED: Manufacture<'static> =
        Manufacture { serial: "SIM00007", domain_index: Some(3), instance: Some(InstanceId([7; 16])) };

    fn engine(device: &Device) -> SoftEngine<SysRng> {
        SoftEngine::new(&DeviceSecret::new(*device.secret), SysRng).unwrap()
    }

    fn certify(folder: &Path, root: &RootManufacturer) -> Result<ModuleCertificate, DeviceError> {
        let device = Device::open(folder, &WANTED)?;
        let mut engine = engine(&device);
        let module = device.certify(folder, &mut engine, root)?;
        Ok(ModuleCertificate::verify(module.certificate(), module.root()).unwrap())
    }

    #[test]
    fn a_device_is_made_once_and_refused_when_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let root = RootManufacturer::generate("test root").unwrap();
        let first = Device::open(folder.path(), &WANTED).unwrap();
        let again = Device::open(folder.path(), &Manufacture { serial: "SIM00008", ..WANTED }).unwrap();
        assert_eq!(
            (first.id, first.domain_index, first.instance),
            (again.id, again.domain_index, again.instance)
        );
        assert_eq!(first.secret.as_slice(), again.secret.as_slice());
        assert!(first.id.to_string().starts_with("SIM00007-"));
        let shown = certify(folder.path(), &root).unwrap();
        assert_eq!(shown.module_id, first.id.0);
        assert_eq!(shown.description.unwrap().engine_class, 1);
        assert_eq!(certify(folder.path(), &root).unwrap(), shown);

        let file = folder.path().join("device");
        let good = std::fs::read(&file).unwrap();
        for at in [0, 10, 40, 60, 70, 80, 150, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&file, &bad).unwrap();
            assert!(Device::open(folder.path(), &Manufacture::default()).is_err(), "byte {at}");
        }
        std::fs::write(&file, b"short").unwrap();
        assert!(Device::open(folder.path(), &WANTED).is_err());
    }

    #[test]
    fn a_device_in_the_first_format_keeps_its_identity() {
        let folder = tempfile::tempdir().unwrap();
        let root = RootManufacturer::generate("test root").unwrap();
        let old: Vec<u8> = b"SIM00001".iter().copied().chain(8..48).collect();
        std::fs::write(folder.path().join("device"), &old).unwrap();
        let shown = certify(folder.path(), &root).unwrap();
        assert_eq!(shown.module_id, old[..16]);
        let device = Device::open(folder.path(), &WANTED).unwrap();
        assert_eq!(device.secret.as_slice(), &old[16..]);
        assert_eq!(certify(folder.path(), &root).unwrap(), shown);
    }

    /// A file of the second format, with a certificate of the key in it.
    fn second_format(root: &RootManufacturer) -> (Vec<u8>, ModuleCertificate) {
        use crate::manufacturer::{Manufacturer, ModuleRequest, generate_key};
        let (key, id) = (generate_key().unwrap(), *b"SIM00001instance");
        let description = tke_crypto::ModuleDescription { engine_class: 1, firmware: [1; 32] };
        let request = ModuleRequest { module: unit_api::UnitId(id), key: &key.public(), description };
        let issued = root.issue(&request).unwrap();
        let mut file = [
            SECOND_MAGIC.as_slice(),
            &id,
            &[9; 32],
            &3_u32.to_be_bytes(),
            &[7; 16],
            key.expose_scalar().as_slice(),
            &issued.root.to_point(),
            &issued.certificate,
        ]
        .concat();
        let check: [u8; CHECK_LEN] = Sha256::digest(&file).into();
        file.extend(check);
        (file, ModuleCertificate::verify(&issued.certificate, &issued.root).unwrap())
    }

    /// Earlier versions kept the module's private key in the file: who has read it must gain nothing from it any more.
    #[test]
    fn attack_a_module_key_read_from_an_earlier_file_is_no_longer_believed() {
        let folder = tempfile::tempdir().unwrap();
        let root = RootManufacturer::generate("test root").unwrap();
        let (old, stolen) = second_format(&root);
        let path = folder.path().join("device");
        std::fs::write(&path, &old).unwrap();
        let shown = certify(folder.path(), &root).unwrap();
        assert_eq!(shown.module_id, stolen.module_id);
        assert_ne!(shown.key, stolen.key);
        let list = root.revocation_list().unwrap();
        let list = RevocationList::verify(&list, &root.root()).unwrap();
        assert!(list.revokes(&stolen.serial) && !list.revokes(&shown.serial));
        // The scalar was at this place.
        let now = std::fs::read(&path).unwrap();
        let scalar = &old[78..144];
        assert!(!now.windows(scalar.len()).any(|window| window == scalar));
        let device = Device::open(folder.path(), &WANTED).unwrap();
        assert_eq!((device.id.0, *device.secret), (stolen.module_id, [9; 32]));
    }

    #[test]
    fn attack_a_module_with_another_attestation_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = RootManufacturer::generate("test root").unwrap();
        certify(folder.path(), &root).unwrap();
        let device = Device::open(folder.path(), &WANTED).unwrap();
        let mut other = SoftEngine::<SysRng>::new(&DeviceSecret::new([5; 32]), SysRng).unwrap();
        let refused = device.certify(folder.path(), &mut other, &root);
        assert!(matches!(refused, Err(DeviceError::OtherAttestationKey)));
    }

    #[test]
    fn a_device_of_another_domain_or_instance_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Device::open(folder.path(), &WANTED).unwrap();
        for (other, why) in [
            (Manufacture { domain_index: Some(4), ..WANTED }, "domain 3"),
            (Manufacture { instance: Some(InstanceId([8; 16])), ..WANTED }, "07070707-"),
        ] {
            let said = Device::open(folder.path(), &other).err().unwrap().to_string();
            assert!(said.contains(why), "{said}");
        }
        Device::open(folder.path(), &Manufacture::default()).unwrap();
    }
}
