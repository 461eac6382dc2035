//! A service instance and its units, as the service lists them and as their modules prove.

use super::context::Context;
use super::error::TkeError;
use super::http::{Hsm, HttpPort, Keystore, Service, ServiceError};
use super::plan;
use super::rotation::Standing;
use crate::control::ControlError;
use crate::files;
use crate::region::{DataDir, ReadyFile};
use std::fs;
use std::path::{Path, PathBuf};
use tke::compare::{Compared, Comparison};
use tke::{AdminUnit, Listed, Location, Snapshot, UnitFault, UnitKind};
use tke_crypto::PublicKey;
use unit_api::{UnitId, VerificationPattern};
use uuid::Uuid;

/// The bearer token, where an address is given in place of a data directory.
const TOKEN_VARIABLE: &str = "TKE_TOKEN";
/// Address, instance and manufacturer's root, where no option names them.
const URL_VARIABLE: &str = "TKE_URL";
const INSTANCE_VARIABLE: &str = "TKE_INSTANCE";
const ROOT_VARIABLE: &str = "TKE_ROOT";
/// The manufacturer's root as it was when the folder was first used.
const PINNED_ROOT: &str = "module-root.der";

/// An instance.
pub(super) struct Instance {
    service: Service,
    root: PublicKey,
    pub(super) units: Vec<ListedUnit>,
}

/// A unit in the listing.
#[derive(Clone, Debug)]
pub(super) struct ListedUnit {
    pub(super) listed: Listed,
    pub(super) hsm_id: String,
    pub(super) selected: bool,
}

/// A unit that answered, and proved to be the one that is listed.
pub(super) struct Met {
    pub(super) unit: AdminUnit<HttpPort>,
    pub(super) snapshot: Snapshot,
}

/// Units that a command is about.
pub(super) struct Addressed {
    pub(super) met: Vec<Met>,
    pub(super) absent: Vec<(Listed, UnitFault)>,
}

impl Met {
    pub(super) const fn listed(&self) -> &Listed {
        self.unit.listed()
    }

    pub(super) fn number(&self) -> u16 {
        self.unit.listed().number
    }
}

impl Addressed {
    /// All of them, or the first that is not there.
    pub(super) fn all(self) -> Result<Vec<Met>, TkeError> {
        match self.absent.into_iter().next() {
            None => Ok(self.met),
            Some((_, fault)) => Err(fault.into()),
        }
    }

    pub(super) fn comparison(&self) -> Comparison {
        comparison(&self.met)
    }
}

/// Units side by side.
pub(super) fn comparison(met: &[Met]) -> Comparison {
    let compared = |met: &Met| Compared { listed: met.listed().clone(), snapshot: met.snapshot.clone() };
    Comparison::of(met.iter().map(compared).collect())
}

impl Instance {
    /// Finds the instance that the command line names, and lists its units.
    pub(super) async fn reach(context: &Context<'_>) -> Result<Self, TkeError> {
        let service = service(context)?;
        let root = manufacturer_root(context)?;
        Self::list(context, service, root).await
    }

    /// Another instance of the same service.
    pub(super) async fn sibling(&self, context: &Context<'_>, id: Uuid) -> Result<Self, TkeError> {
        Self::list(context, self.service.for_instance(id), self.root.clone()).await
    }

    async fn list(context: &Context<'_>, service: Service, root: PublicKey) -> Result<Self, TkeError> {
        let hsms = service.hsms().await?;
        let selection = context.selection()?;
        let kinds = [
            (UnitKind::Operational, hsms.hsms),
            (UnitKind::Recovery, hsms.source_hsms),
            (UnitKind::Failover, hsms.failover_hsms),
        ];
        let all = kinds.into_iter().flat_map(|(kind, hsms)| hsms.into_iter().map(move |hsm| (kind, hsm)));
        let mut units = Vec::new();
        for (number, (kind, hsm)) in (1..=u16::MAX).zip(all) {
            let listed = listed(number, kind, &hsm)?;
            let selected = selection.has_unit(service.instance(), &hsm.hsm_id);
            units.push(ListedUnit { listed, hsm_id: hsm.hsm_id, selected });
        }
        Ok(Self { service, root, units })
    }

    pub(super) const fn id(&self) -> Uuid {
        self.service.instance()
    }

    /// The unit of that number.
    pub(super) fn unit(&self, number: u16) -> Result<&ListedUnit, TkeError> {
        self.units.iter().find(|unit| unit.listed.number == number).ok_or_else(|| TkeError::Unknown {
            what: "crypto unit",
            given: number.to_string(),
            hint: "`cryptounits` lists them",
        })
    }

    /// The selected units, each met.
    pub(super) async fn selected(&self) -> Result<Addressed, TkeError> {
        if !self.units.iter().any(|unit| unit.selected) {
            return Err(TkeError::NothingSelected);
        }
        Ok(self.meet_all(|unit| unit.selected).await)
    }

    /// The selected units, or all where none is: for commands that only look.
    pub(super) async fn looked_at(&self) -> Addressed {
        let any = self.units.iter().any(|unit| unit.selected);
        self.meet_all(|unit| unit.selected || !any).await
    }

    /// Units that are so, each met; all at the same time.
    pub(super) async fn meet_all(&self, so: impl Fn(&ListedUnit) -> bool) -> Addressed {
        let mut tasks = tokio::task::JoinSet::new();
        for unit in self.units.iter().filter(|unit| so(unit)) {
            let meeting = meet(unit.listed.clone(), self.service.port(&unit.hsm_id), self.root.clone());
            let listed = unit.listed.clone();
            tasks.spawn(async move { meeting.await.map_err(|fault| (listed, fault)) });
        }
        let mut addressed = Addressed { met: Vec::new(), absent: Vec::new() };
        for met in tasks.join_all().await {
            match met {
                Ok(met) => addressed.met.push(met),
                Err(absent) => addressed.absent.push(absent),
            }
        }
        addressed.met.sort_by_key(Met::number);
        addressed.absent.sort_by_key(|(listed, _)| listed.number);
        addressed
    }

    /// One unit, met.
    pub(super) async fn meet(&self, number: u16) -> Result<Met, TkeError> {
        let unit = self.unit(number)?;
        Ok(meet(unit.listed.clone(), self.service.port(&unit.hsm_id), self.root.clone()).await?)
    }

    pub(super) async fn keystore(&self) -> Result<Keystore, TkeError> {
        Ok(self.service.keystore().await?)
    }

    /// How far a rotation of the master key is.
    pub(super) async fn rotation(&self) -> Result<Standing, TkeError> {
        Ok(self.service.rotation().await?)
    }

    /// Has the service take a step of a rotation.
    pub(super) async fn rotate(
        &self,
        action: &'static str,
        pattern: Option<VerificationPattern>,
        exclude: &[u16],
    ) -> Result<(), TkeError> {
        Ok(self.service.rotate(action, pattern, exclude).await?)
    }
}

impl Keystore {
    /// The pattern that the keys are under.
    pub(super) fn under(&self) -> Result<Option<VerificationPattern>, TkeError> {
        parse(self.pattern.as_deref())
    }

    /// The pattern that a rotation goes to.
    pub(super) fn going_to(&self) -> Result<Option<VerificationPattern>, TkeError> {
        parse(self.next.as_deref())
    }
}

fn parse(text: Option<&str>) -> Result<Option<VerificationPattern>, TkeError> {
    match text {
        None => Ok(None),
        Some(text) => match plan::pattern(text) {
            Some(pattern) => Ok(Some(pattern)),
            None => Err(ServiceError::Malformed("the keystore's pattern is none").into()),
        },
    }
}

async fn meet(listed: Listed, port: HttpPort, root: PublicKey) -> Result<Met, UnitFault> {
    let unit = AdminUnit::meet(listed, port, &root).await?;
    let snapshot = unit.snapshot().await?;
    Ok(Met { unit, snapshot })
}

fn listed(number: u16, kind: UnitKind, hsm: &Hsm) -> Result<Listed, ServiceError> {
    let location: Location =
        hsm.location.parse().map_err(|_| ServiceError::Malformed("a crypto unit's location is none"))?;
    let module = crate::hex::decode(&hsm.module_id);
    let module = *module.ok_or(ServiceError::Malformed("a module's identifier is none"))?;
    if location.domain != hsm.domain {
        return Err(ServiceError::Malformed("a crypto unit is listed with two domains"));
    }
    let fits =
        !hsm.hsm_id.is_empty() && hsm.hsm_id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !fits || hsm.hsm_id.starts_with('.') {
        return Err(ServiceError::Malformed("a crypto unit's identifier cannot stand in a path"));
    }
    Ok(Listed { number, kind, location, unit: UnitId(module) })
}

/// The service and the instance that the command line names.
pub(super) fn service(context: &Context<'_>) -> Result<Service, TkeError> {
    let options = context.options;
    if let Some(url) = address(context) {
        let named = || std::env::var(INSTANCE_VARIABLE).ok()?.parse().ok();
        let instance = options.instance.or_else(named).ok_or(TkeError::NoInstance)?;
        let token = std::env::var(TOKEN_VARIABLE).map_err(|_| TkeError::NoToken)?;
        return Ok(Service::new(&url, instance, &token)?);
    }
    let path = DataDir::ready_file(context.data());
    let content = files::read_if_present(&path)
        .map_err(TkeError::file(&path))?
        .ok_or_else(|| ControlError::NotRunning(context.data().to_owned()))?;
    let ready: ReadyFile = serde_json::from_slice(&content)
        .map_err(|_| TkeError::Damaged { path, problem: "it is not what a region writes" })?;
    let token = ready.tokens.first().map_or("", String::as_str);
    Ok(Service::new(&ready.tke_url, options.instance.unwrap_or(ready.instance_id), token)?)
}

/// The address, if one is given or in the environment; an option for the data directory goes before the environment.
fn address(context: &Context<'_>) -> Option<String> {
    let options = context.options;
    let from_environment = || std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty());
    options.url.clone().or_else(|| from_environment().filter(|_| options.data.is_none()))
}

/// The manufacturer's root, from the manufacturer's hands and never from the service; the same at every use.
fn manufacturer_root(context: &Context<'_>) -> Result<PublicKey, TkeError> {
    let pinned_path = context.path().join(PINNED_ROOT);
    let pinned = files::read_if_present(&pinned_path).map_err(TkeError::file(&pinned_path))?;
    let named = std::env::var_os(ROOT_VARIABLE).map(PathBuf::from);
    let given = match (&context.options.module_root, address(context)) {
        (Some(path), _) => Some((path.clone(), fs::read(path).map_err(TkeError::file(path))?)),
        (None, None) => beside_the_region(context.data())?,
        (None, Some(_)) => match named {
            Some(path) => Some((path.clone(), fs::read(&path).map_err(TkeError::file(&path))?)),
            None => None,
        },
    };
    let (path, der) = match (given, pinned) {
        (Some((given, der)), Some(pinned)) if der != pinned => {
            return Err(TkeError::OtherRoot { given, pinned: pinned_path });
        }
        (_, Some(pinned)) => (pinned_path, pinned),
        (Some((given, der)), None) => {
            check_root(&given, &der)?;
            files::write_private(&pinned_path, &der).map_err(TkeError::file(&pinned_path))?;
            eprintln!(
                "hsm-sim: trusting the manufacturer's root certificate {} from now on",
                given.display()
            );
            (given, der)
        }
        (None, None) => return Err(TkeError::NoRoot),
    };
    check_root(&path, &der)
}

fn check_root(path: &Path, der: &[u8]) -> Result<PublicKey, TkeError> {
    tke_crypto::root_certificate_key(der)
        .map_err(|source| TkeError::RootInvalid { path: path.to_owned(), source })
}

fn beside_the_region(data: &Path) -> Result<Option<(PathBuf, Vec<u8>)>, TkeError> {
    let path = data.join("factory/root.der");
    let content = files::read_if_present(&path).map_err(TkeError::file(&path))?;
    Ok(content.map(|der| (path, der)))
}
