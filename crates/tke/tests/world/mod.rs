//! Crypto units in this process, whole and genuine, with every byte that goes to and fro written down.

use engine::{Engine, KeyPart};
use engine_soft::{
    DEFAULT_KEYS, DeviceSecret, SoftEngine, StateKeyRecord, StateKeyStore, StateKeyStoreFailed,
    VolatileStateKeys,
};
use getrandom::SysRng;
use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tke::ceremony::{CeremonyEvent, CeremonyLog};
use tke::holder::{Carrier, SignatureKey, SigningFuture};
use tke::operation::Administrator;
use tke::part::{KeyPartHolder, PartId, PartLabel, SealedPart, SealingFuture};
use tke::quorum::Quorum;
use tke::trust::ModuleTrust;
use tke::unit::PortError;
use tke::{AdminUnit, UnitDescriptor, UnitKind, UnitPort};
use tke_crypto::{
    AdministratorName, CERTIFICATE_BUFFER_LEN, ModuleDescription, ModuleSubject, PublicKey, RootName,
    SCALAR_LEN, SEALED_PART_MAX_LEN, SigningKey, Validity, issue_module_certificate, seal_key_part,
    write_administrator_certificate,
};
use unit_api::admin::InstanceId;
use unit_api::{Command, Envelope, MAX_FRAME_LEN, Response, UnitId, VerificationPattern};
use unit_core::{Clock, Env, Module, Slot, Storage, StorageFailed, Unit, UnitIdentity};

pub(crate) const INSTANCE: InstanceId = InstanceId([0x1d; 16]);

pub(crate) fn fixed_key(byte: u8) -> SigningKey {
    let mut scalar = [byte; SCALAR_LEN];
    scalar[0] = 0;
    SigningKey::from_scalar(&scalar).unwrap()
}

pub(crate) fn root() -> SigningKey {
    fixed_key(0x71)
}

/// Believes every module of the world's root.
pub(crate) fn trust() -> ModuleTrust {
    ModuleTrust::new(root().public())
}

pub(crate) struct WorldEnv;

impl Env for WorldEnv {
    type Engine = SoftEngine<SysRng, DEFAULT_KEYS, Disk>;
    type Storage = Disk;
    type Module = WorldModule;
    type Clock = NoClock;
}

pub(crate) struct NoClock;

impl Clock for NoClock {
    fn now_ms(&mut self) -> u64 {
        0
    }
}

/// Two slots that outlive the unit.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<[Vec<u8>; 2]>>, Arc<Mutex<VolatileStateKeys>>);

impl StateKeyStore for Disk {
    fn read(&mut self, place: usize, record: &mut StateKeyRecord) -> Result<(), StateKeyStoreFailed> {
        self.1.lock().unwrap().read(place, record)
    }

    fn write(&mut self, place: usize, record: &StateKeyRecord) -> Result<(), StateKeyStoreFailed> {
        self.1.lock().unwrap().write(place, record)
    }
}

impl Disk {
    pub(crate) fn content(&self) -> Vec<u8> {
        self.0.lock().unwrap().concat()
    }
}

impl Storage for Disk {
    fn read(&mut self, slot: Slot, content: &mut [u8]) -> Result<usize, StorageFailed> {
        let slots = self.0.lock().unwrap();
        let stored = &slots[usize::from(slot == Slot::B)];
        let len = stored.len().min(content.len());
        content[..len].copy_from_slice(&stored[..len]);
        Ok(len)
    }

    fn write(&mut self, slot: Slot, content: &[u8]) -> Result<(), StorageFailed> {
        self.0.lock().unwrap()[usize::from(slot == Slot::B)] = content.to_vec();
        Ok(())
    }
}

pub(crate) struct WorldModule {
    certificate: Vec<u8>,
    root: PublicKey,
}

impl Module for WorldModule {
    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn root(&self) -> &PublicKey {
        &self.root
    }
}

/// What a wire does to a message.
pub(crate) type Tampering = Arc<dyn Fn(&mut Vec<u8>) + Send + Sync>;

/// One unit with its wire. Everything on the wire is kept.
#[derive(Clone)]
pub(crate) struct Wired {
    pub(crate) unit: Arc<Mutex<Unit<WorldEnv>>>,
    pub(crate) disk: Disk,
    pub(crate) wire: Arc<Mutex<Vec<u8>>>,
    pub(crate) tamper: Arc<Mutex<Option<Tampering>>>,
    /// What the wire does to a request on its way to the unit.
    pub(crate) tamper_request: Arc<Mutex<Option<Tampering>>>,
    /// How many more requests are answered before the wire goes dead, if it does.
    pub(crate) life: Arc<Mutex<Option<usize>>>,
}

impl Wired {
    pub(crate) fn new(number: u8, instance: InstanceId) -> Self {
        Self::on(Disk::default(), number, instance)
    }

    /// Another unit with the same identity and the same stored state.
    pub(crate) fn copy(&self, number: u8) -> Self {
        let slots = self.disk.0.lock().unwrap().clone();
        let state_keys = self.disk.1.lock().unwrap().clone();
        Self::on(Disk(Arc::new(Mutex::new(slots)), Arc::new(Mutex::new(state_keys))), number, INSTANCE)
    }

    /// A unit whose stored state is rubbish.
    pub(crate) fn without_state(number: u8) -> Self {
        let rubbish = || b"no state of any unit".to_vec();
        Self::on(Disk(Arc::new(Mutex::new([rubbish(), rubbish()])), Arc::default()), number, INSTANCE)
    }

    fn on(disk: Disk, number: u8, instance: InstanceId) -> Self {
        let unit = id(number);
        let mut out = [0; CERTIFICATE_BUFFER_LEN];
        let name = RootName::try_from("World Root").unwrap();
        let engine =
            SoftEngine::with_state_keys(&DeviceSecret::new([number; 32]), SysRng, disk.clone()).unwrap();
        let module = ModuleSubject {
            module_id: &unit.0,
            key: &PublicKey::from_point(&engine.attestation_key().point).unwrap(),
            description: ModuleDescription { engine_class: 1, firmware: [0xf1; 32] },
            validity: Validity { not_before: 0, not_after: u64::MAX },
        };
        let certificate = issue_module_certificate(&root(), &name, &module, &mut out).unwrap().to_vec();
        let module = WorldModule { certificate, root: root().public() };
        let identity = UnitIdentity { unit, domain_index: 0, instance };
        Self {
            unit: Arc::new(Mutex::new(Unit::start(engine, disk.clone(), module, NoClock, identity))),
            disk,
            wire: Arc::default(),
            tamper: Arc::default(),
            tamper_request: Arc::default(),
            life: Arc::default(),
        }
    }

    /// Whether a command of the data path is carried out.
    pub(crate) fn serves(&self, command: &Command<'_>) -> bool {
        let mut out = vec![0; MAX_FRAME_LEN];
        let mut unit = self.unit.lock().unwrap();
        unit.execute(&Envelope::plain(*command), &mut out).is_ok()
    }
}

impl UnitPort for Wired {
    async fn exchange(&self, request: &[u8]) -> Result<Vec<u8>, PortError> {
        if let Some(life) = self.life.lock().unwrap().as_mut() {
            *life = life.checked_sub(1).ok_or("the wire is dead")?;
        }
        self.wire.lock().unwrap().extend(request);
        let mut request = request.to_vec();
        if let Some(tamper) = &*self.tamper_request.lock().unwrap() {
            tamper(&mut request);
        }
        let mut out = vec![0; MAX_FRAME_LEN];
        let mut unit = self.unit.lock().unwrap();
        let response = unit
            .execute(&Envelope::plain(Command::Administer { request: &request }), &mut out)
            .map_err(|refusal| refusal.to_string())?;
        let Response::Administered(answer) = response else { return Err("no answer".into()) };
        let mut answer = answer.to_vec();
        if let Some(tamper) = &*self.tamper.lock().unwrap() {
            tamper(&mut answer);
        }
        self.wire.lock().unwrap().extend(&answer);
        Ok(answer)
    }
}

fn id(number: u8) -> UnitId {
    UnitId([b'W', b'O', b'R', b'L', b'D', b'0', b'0', b'0' + number, 0, 0, 0, 0, 0, 0, 0, number])
}

pub(crate) fn listed(number: u8, kind: UnitKind) -> UnitDescriptor {
    UnitDescriptor {
        number: number.into(),
        kind,
        location: format!("[world].[az{number}].[01].[00]").parse().unwrap(),
        unit: id(number),
        instance: INSTANCE,
    }
}

pub(crate) async fn meet(number: u8, kind: UnitKind) -> (AdminUnit<Wired>, Wired) {
    let wired = Wired::new(number, INSTANCE);
    let unit = AdminUnit::authenticate(listed(number, kind), wired.clone(), &trust()).await.unwrap();
    (unit, wired)
}

/// A signature key in memory.
pub(crate) struct MemoryKey {
    name: AdministratorName,
    key: SigningKey,
    public: PublicKey,
}

impl MemoryKey {
    pub(crate) fn new(name: &str, byte: u8) -> Self {
        let key = fixed_key(byte);
        let public = key.public();
        Self { name: AdministratorName::try_from(name).unwrap(), key, public }
    }

    pub(crate) fn administrator(&self) -> Administrator {
        let mut out = [0; CERTIFICATE_BUFFER_LEN];
        let certificate = write_administrator_certificate(&self.key, &self.name, &mut out).unwrap().to_vec();
        Administrator { name: self.name.as_str().to_owned(), ski: self.public.ski(), certificate }
    }
}

impl SignatureKey for MemoryKey {
    fn name(&self) -> &AdministratorName {
        &self.name
    }

    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn carrier(&self) -> Carrier {
        Carrier::File(PathBuf::from(self.name.as_str()))
    }

    fn sign<'a>(&'a self, bytes: &'a [u8]) -> SigningFuture<'a> {
        Box::pin(async { Ok(self.key.sign(bytes).to_vec()) })
    }
}

/// The first `n` of the world's administrators.
pub(crate) fn administrators(n: u8) -> Vec<MemoryKey> {
    (1..=n).map(|byte| MemoryKey::new(&format!("Administrator {byte}"), byte)).collect()
}

pub(crate) fn quorum(n: u8) -> Quorum {
    Quorum::new(administrators(n).into_iter().map(|key| Box::new(key) as Box<dyn SignatureKey>).collect())
}

/// A key part in memory.
pub(crate) struct MemoryPart {
    label: PartLabel,
    part: KeyPart,
}

impl MemoryPart {
    pub(crate) fn new(label: &str, part: [u8; 32]) -> Self {
        Self { label: PartLabel::try_from(label).unwrap(), part: KeyPart::new(part) }
    }
}

impl KeyPartHolder for MemoryPart {
    fn label(&self) -> &PartLabel {
        &self.label
    }

    fn pattern(&self) -> VerificationPattern {
        pattern_of(self.part.expose())
    }

    fn id(&self) -> PartId {
        PartId([0xbd; 32])
    }

    fn carrier(&self) -> Carrier {
        Carrier::File(PathBuf::from(self.label.as_str()))
    }

    fn seal_for<'a>(&'a self, importer: &'a PublicKey) -> SealingFuture<'a> {
        Box::pin(async {
            let mut out = [0; SEALED_PART_MAX_LEN];
            Ok(SealedPart(seal_key_part(importer, self.part.expose(), &mut SysRng, &mut out)?.to_vec()))
        })
    }
}

pub(crate) const PART_A: [u8; 32] = *b"part A of a master key, secret A";
pub(crate) const PART_B: [u8; 32] = *b"PART-b OF-a MASTER-key, SECRET b";

pub(crate) fn parts() -> [MemoryPart; 2] {
    [MemoryPart::new("part A", PART_A), MemoryPart::new("part B", PART_B)]
}

pub(crate) fn combined() -> [u8; 32] {
    std::array::from_fn(|i| PART_A[i] ^ PART_B[i])
}

pub(crate) fn pattern_of(key: &[u8; 32]) -> VerificationPattern {
    use sha2::{Digest, Sha256};
    VerificationPattern::from_digest(Sha256::new().chain_update([1]).chain_update(key).finalize().into())
}

/// Keeps every event, and every alarm.
#[derive(Default)]
pub(crate) struct Memory(pub(crate) RefCell<Vec<CeremonyEvent>>, pub(crate) RefCell<Vec<(u16, String)>>);

impl CeremonyLog for Memory {
    fn record(&mut self, event: &CeremonyEvent) -> Result<(), PortError> {
        self.0.borrow_mut().push(event.clone());
        Ok(())
    }

    fn record_alarm(&mut self, unit: u16, what: &str) -> Result<(), PortError> {
        self.1.borrow_mut().push((unit, what.to_owned()));
        Ok(())
    }
}
