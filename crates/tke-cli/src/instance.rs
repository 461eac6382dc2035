//! A service instance and its units, as the service lists them and as their modules prove.

use crate::client::{Hsm, HttpPort, Keystore, Service, ServiceError};
use crate::commands::rotation::Standing;
use crate::connection::{self, Connection};
use crate::context::Context;
use crate::error::TkeError;
use crate::plan;
use tke::compare::{Compared, Comparison};
use tke::{AdminUnit, Listed, Location, Snapshot, UnitFault, UnitKind};
use tke_crypto::PublicKey;
use unit_api::{UnitId, VerificationPattern};
use uuid::Uuid;
use wire::text::decode_hex;

/// An instance.
pub(crate) struct Instance {
    service: Service,
    root: PublicKey,
    pub(crate) units: Vec<ListedUnit>,
}

/// A unit in the listing.
#[derive(Clone, Debug)]
pub(crate) struct ListedUnit {
    pub(crate) listed: Listed,
    pub(crate) hsm_id: String,
    pub(crate) selected: bool,
}

/// A unit that answered, and proved to be the one that is listed.
pub(crate) struct Met {
    pub(crate) unit: AdminUnit<HttpPort>,
    pub(crate) snapshot: Snapshot,
}

/// Units that a command is about.
pub(crate) struct Addressed {
    pub(crate) met: Vec<Met>,
    pub(crate) absent: Vec<(Listed, UnitFault)>,
}

impl Met {
    pub(crate) const fn listed(&self) -> &Listed {
        self.unit.listed()
    }

    pub(crate) fn number(&self) -> u16 {
        self.unit.listed().number
    }
}

impl Addressed {
    /// All of them, or the first that is not there.
    pub(crate) fn all(self) -> Result<Vec<Met>, TkeError> {
        match self.absent.into_iter().next() {
            None => Ok(self.met),
            Some((_, fault)) => Err(fault.into()),
        }
    }

    pub(crate) fn comparison(&self) -> Comparison {
        comparison(&self.met)
    }
}

/// Units side by side.
pub(crate) fn comparison(met: &[Met]) -> Comparison {
    let compared = |met: &Met| Compared { listed: met.listed().clone(), snapshot: met.snapshot.clone() };
    Comparison::of(met.iter().map(compared).collect())
}

impl Instance {
    /// Finds the instance that the command line names, and lists its units.
    pub(crate) async fn reach(context: &Context<'_>) -> Result<Self, TkeError> {
        let connection = connection::connection(context)?;
        let service = service(&connection)?;
        let root = connection::manufacturer_root(context, connection.module_root.as_deref())?;
        Self::list(context, service, root).await
    }

    /// Another instance of the same service.
    pub(crate) async fn sibling(&self, context: &Context<'_>, id: Uuid) -> Result<Self, TkeError> {
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

    pub(crate) const fn id(&self) -> Uuid {
        self.service.instance()
    }

    /// The unit of that number.
    pub(crate) fn unit(&self, number: u16) -> Result<&ListedUnit, TkeError> {
        self.units.iter().find(|unit| unit.listed.number == number).ok_or_else(|| TkeError::Unknown {
            what: "crypto unit",
            given: number.to_string(),
            hint: "`cryptounits` lists them",
        })
    }

    /// The selected units, each met.
    pub(crate) async fn selected(&self) -> Result<Addressed, TkeError> {
        if !self.units.iter().any(|unit| unit.selected) {
            return Err(TkeError::NothingSelected);
        }
        Ok(self.meet_all(|unit| unit.selected).await)
    }

    /// The selected units, or all where none is: for commands that only look.
    pub(crate) async fn looked_at(&self) -> Addressed {
        let any = self.units.iter().any(|unit| unit.selected);
        self.meet_all(|unit| unit.selected || !any).await
    }

    /// Units that are so, each met; all at the same time.
    pub(crate) async fn meet_all(&self, so: impl Fn(&ListedUnit) -> bool) -> Addressed {
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
    pub(crate) async fn meet(&self, number: u16) -> Result<Met, TkeError> {
        let unit = self.unit(number)?;
        Ok(meet(unit.listed.clone(), self.service.port(&unit.hsm_id), self.root.clone()).await?)
    }

    pub(crate) async fn keystore(&self) -> Result<Keystore, TkeError> {
        Ok(self.service.keystore().await?)
    }

    /// How far a rotation of the master key is.
    pub(crate) async fn rotation(&self) -> Result<Standing, TkeError> {
        Ok(self.service.rotation().await?)
    }

    /// Has the service take a step of a rotation.
    pub(crate) async fn rotate(
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
    pub(crate) fn under(&self) -> Result<Option<VerificationPattern>, TkeError> {
        parse(self.pattern.as_deref())
    }

    /// The pattern that a rotation goes to.
    pub(crate) fn going_to(&self) -> Result<Option<VerificationPattern>, TkeError> {
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
    let module = decode_hex(&hsm.module_id);
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
pub(crate) fn service(connection: &Connection) -> Result<Service, TkeError> {
    Ok(Service::new(&connection.url, connection.instance, &connection.token)?)
}
