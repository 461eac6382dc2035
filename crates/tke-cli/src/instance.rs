//! A service instance and its crypto units, as the service lists them and as their modules prove.

use crate::client::{ClientError, HttpUnitPort, ServiceClient};
use crate::connection;
use crate::context::Context;
use crate::error::TkeError;
use crate::seen::SeenUnits;
use std::collections::BTreeSet;
use std::path::PathBuf;
use tke::compare::{ComparedUnit, Comparison};
use tke::trust::ModuleTrust;
use tke::{AdminUnitError, Location, UnitDescriptor, UnitKind};
use unit_api::admin::InstanceId;
use unit_api::{UnitId, VerificationPattern};
use uuid::Uuid;
use wire::tke::{KeystoreStatus, ListedUnit, Pattern, RotationStatus};

/// A unit of the instance, verified over HTTP.
pub(crate) type VerifiedUnit = tke::VerifiedUnit<HttpUnitPort>;

/// An instance of a service.
pub(crate) struct Instance {
    client: ServiceClient,
    trust: ModuleTrust,
    seen: PathBuf,
    pub(crate) units: Vec<SelectableUnit>,
}

/// A unit in the service's list, and whether it is selected for commands.
#[derive(Clone, Debug)]
pub(crate) struct SelectableUnit {
    pub(crate) listed: UnitDescriptor,
    pub(crate) hsm_id: Uuid,
    pub(crate) selected: bool,
}

/// Units that a command works on.
pub(crate) struct UnitGroup {
    /// Units that answered and proved to be the listed ones, by number.
    pub(crate) verified: Vec<VerifiedUnit>,
    /// Units that did not, by number.
    pub(crate) unavailable: Vec<(UnitDescriptor, AdminUnitError)>,
}

impl UnitGroup {
    /// Stops a command that changes units if one of them raises an alarm, whichever it is.
    pub(crate) fn without_alarm(mut self) -> Result<Self, TkeError> {
        match self.unavailable.iter().position(|(_, fault)| fault.is_alarm()) {
            Some(at) => Err(self.unavailable.swap_remove(at).1.into()),
            None => Ok(self),
        }
    }

    /// All units, or an alarm, or the error of the first that is unavailable.
    pub(crate) fn all(self) -> Result<Vec<VerifiedUnit>, TkeError> {
        let this = self.without_alarm()?;
        match this.unavailable.into_iter().next() {
            None => Ok(this.verified),
            Some((_, fault)) => Err(fault.into()),
        }
    }

    pub(crate) fn comparison(&self) -> Comparison {
        comparison(&self.verified)
    }
}

/// Compares units.
pub(crate) fn comparison(units: &[VerifiedUnit]) -> Comparison {
    let compared =
        |unit: &VerifiedUnit| ComparedUnit { listed: unit.listed().clone(), snapshot: unit.snapshot.clone() };
    Comparison::of(units.iter().map(compared).collect())
}

impl Instance {
    /// Connects to the instance that the command line names, and lists its units.
    pub(crate) async fn open(context: &Context<'_>) -> Result<Self, TkeError> {
        let connection = connection::connection(context)?;
        let client = ServiceClient::new(&connection.url, connection.instance, &connection.token)?;
        let trust = connection::module_trust(context, &connection)?;
        Self::list(context, client, trust).await
    }

    /// Another instance of the same service.
    pub(crate) async fn sibling(&self, context: &Context<'_>, id: Uuid) -> Result<Self, TkeError> {
        Self::list(context, self.client.for_instance(id), self.trust.clone()).await
    }

    async fn list(
        context: &Context<'_>,
        client: ServiceClient,
        trust: ModuleTrust,
    ) -> Result<Self, TkeError> {
        let list = client.units().await?;
        let selection = context.selection()?;
        let kinds = [
            (UnitKind::Operational, list.hsms),
            (UnitKind::Recovery, list.source_hsms),
            (UnitKind::Failover, list.failover_hsms),
        ];
        let all = kinds.into_iter().flat_map(|(kind, units)| units.into_iter().map(move |unit| (kind, unit)));
        let all: Vec<_> = all.collect();
        let mut units = Vec::new();
        for (number, (kind, unit)) in numbers(all.iter().map(|(_, unit)| unit.number)).zip(&all) {
            let listed = listed(client.instance(), number, *kind, unit)?;
            let selected = selection.has_unit(client.instance(), unit.hsm_id);
            units.push(SelectableUnit { listed, hsm_id: unit.hsm_id, selected });
        }
        units.sort_by_key(|unit: &SelectableUnit| unit.listed.number);
        Ok(Self { client, trust, seen: context.path().to_owned(), units })
    }

    pub(crate) const fn id(&self) -> Uuid {
        self.client.instance()
    }

    /// The service, for a rotation.
    pub(crate) const fn client(&self) -> &ServiceClient {
        &self.client
    }

    /// The unit of that number.
    pub(crate) fn unit(&self, number: u16) -> Result<&SelectableUnit, TkeError> {
        self.units.iter().find(|unit| unit.listed.number == number).ok_or_else(|| TkeError::Unknown {
            what: "crypto unit",
            given: number.to_string(),
            hint: "`cryptounits` lists them",
        })
    }

    /// Verifies the selected units.
    pub(crate) async fn selected(&self) -> Result<UnitGroup, TkeError> {
        if !self.units.iter().any(|unit| unit.selected) {
            return Err(TkeError::NothingSelected);
        }
        self.verify_where(|unit| unit.selected).await
    }

    /// Verifies the selected units, or all if none is selected: for commands that change nothing.
    pub(crate) async fn selected_or_all(&self) -> Result<UnitGroup, TkeError> {
        let any = self.units.iter().any(|unit| unit.selected);
        self.verify_where(|unit| unit.selected || !any).await
    }

    /// Verifies all units.
    pub(crate) async fn verify_all(&self) -> Result<UnitGroup, TkeError> {
        self.verify_where(|_| true).await
    }

    /// Verifies the units that `is_wanted`, all at the same time.
    pub(crate) async fn verify_where(
        &self,
        is_wanted: impl Fn(&SelectableUnit) -> bool,
    ) -> Result<UnitGroup, TkeError> {
        // Before the units are asked: what another command sees meanwhile is newer than what they answer here.
        let mut seen = SeenUnits::load(&self.seen)?;
        let mut tasks = tokio::task::JoinSet::new();
        for unit in self.units.iter().filter(|unit| is_wanted(unit)) {
            let (listed, port, trust) =
                (unit.listed.clone(), self.client.unit_port(unit.hsm_id), self.trust.clone());
            tasks.spawn(async move {
                let verified = VerifiedUnit::verify(listed.clone(), port, &trust).await;
                verified.map_err(|fault| (listed, fault))
            });
        }
        let mut group = UnitGroup { verified: Vec::new(), unavailable: Vec::new() };
        let mut verified = Vec::new();
        for result in tasks.join_all().await {
            match result {
                Ok(unit) => verified.push(unit),
                Err(unavailable) => group.unavailable.push(unavailable),
            }
        }
        for unit in verified {
            match seen.check(&unit) {
                Ok(()) => group.verified.push(unit),
                Err(error) => group.unavailable.push((unit.listed().clone(), error)),
            }
        }
        seen.save()?;
        group.verified.sort_by_key(VerifiedUnit::number);
        group.unavailable.sort_by_key(|(listed, _)| listed.number);
        Ok(group)
    }

    /// Verifies one unit, whatever was seen of it before.
    pub(crate) async fn verify_without_memory(&self, number: u16) -> Result<VerifiedUnit, TkeError> {
        let unit = self.unit(number)?;
        let port = self.client.unit_port(unit.hsm_id);
        Ok(VerifiedUnit::verify(unit.listed.clone(), port, &self.trust).await?)
    }

    /// Verifies one unit.
    pub(crate) async fn verify(&self, number: u16) -> Result<VerifiedUnit, TkeError> {
        let unit = self.verify_without_memory(number).await?;
        let mut seen = SeenUnits::load(&self.seen)?;
        seen.check(&unit)?;
        seen.save()?;
        Ok(unit)
    }

    pub(crate) async fn keystore(&self) -> Result<KeystoreStatus, TkeError> {
        Ok(self.client.keystore().await?)
    }

    /// The master key that the keystore's keys are under; `None` while there are none.
    pub(crate) async fn keystore_pattern(&self) -> Result<Option<VerificationPattern>, TkeError> {
        Ok(self.keystore().await?.pattern.map(pattern_of))
    }

    /// Status of a rotation of the master key.
    pub(crate) async fn rotation(&self) -> Result<RotationStatus, TkeError> {
        Ok(self.client.rotation().await?)
    }
}

pub(crate) fn pattern_of(pattern: Pattern) -> VerificationPattern {
    VerificationPattern::from_bytes(*pattern.as_bytes())
}

/// The numbers of listed units: those that the service gives, or positions from 1 if it does not give each unit its own.
fn numbers(given: impl Iterator<Item = Option<u16>>) -> impl Iterator<Item = u16> {
    let given: Vec<Option<u16>> = given.collect();
    let unique: BTreeSet<u16> = given.iter().flatten().copied().filter(|number| *number > 0).collect();
    let use_given = unique.len() == given.len();
    (1..=u16::MAX).zip(given).map(move |(position, number)| number.filter(|_| use_given).unwrap_or(position))
}

fn listed(
    instance: Uuid,
    number: u16,
    kind: UnitKind,
    unit: &ListedUnit,
) -> Result<UnitDescriptor, ClientError> {
    let location: Location = unit
        .location
        .parse()
        .map_err(|_| ClientError::InvalidResponse("a crypto unit's location is invalid"))?;
    if location.domain != unit.domain {
        return Err(ClientError::InvalidResponse("a crypto unit is listed with two domains"));
    }
    let (unit, instance) = (UnitId(*unit.module_id.as_bytes()), InstanceId(instance.into_bytes()));
    Ok(UnitDescriptor { number, kind, location, unit, instance })
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn units_keep_the_numbers_of_the_service() {
        let numbered = |given: &[Option<u16>]| numbers(given.iter().copied()).collect::<Vec<_>>();
        assert_eq!(numbered(&[Some(1), Some(5), Some(3)]), [1, 5, 3]);
        // An earlier service, and one whose numbers are no use.
        assert_eq!(numbered(&[None, None, None]), [1, 2, 3]);
        assert_eq!(numbered(&[Some(4), None, Some(2)]), [1, 2, 3]);
        assert_eq!(numbered(&[Some(7), Some(7), Some(2)]), [1, 2, 3]);
        assert_eq!(numbered(&[Some(0), Some(1), Some(2)]), [1, 2, 3]);
    }
}
