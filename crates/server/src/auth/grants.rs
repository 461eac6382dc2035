//! What callers may do: roles, and the instances that they are for.
//!
//! | | reader | reader-plus | writer | manager | key-purge | operator |
//! |---|---|---|---|---|---|---|
//! | list, count, metadata, versions, wrap, unwrap, rewrap | x | x | x | x | | |
//! | read a key with its material | | x | x | x | | |
//! | create, import, rotate | | | x | x | | |
//! | delete, restore, enable, disable | | | | x | | |
//! | purge | | | | | x | |
//! | administer crypto units, rotate the master key, remove an instance | | | | | | x |
//!
//! A caller with several roles may do what any of them permits. No role of applications is one of operators, and the
//! reverse: who administers units uses no keys, and who uses keys administers nothing.
//!
//! Source: IBM Key Protect, "Roles and permissions", except for the operator, which is this service's own.

use kms::InstanceId;

/// A role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Role {
    /// Uses root keys.
    Reader,
    /// Uses root keys and reads standard keys.
    ReaderPlus,
    /// Also makes and rotates keys.
    Writer,
    /// Also deletes, restores and disables keys.
    Manager,
    /// Purges deleted keys, and nothing else.
    KeyPurge,
    /// Administers crypto units and instances; uses no keys.
    Operator,
}

/// What a request does, as far as roles go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Uses a root key, or reads what is known about keys.
    Use,
    /// Reads a key with its material.
    ReadMaterial,
    /// Makes a key or a version of one.
    Write,
    /// Changes the state of a key.
    Manage,
    /// Purges a key.
    Purge,
    /// Administers crypto units, the master key or an instance.
    Administer,
}

/// The API that a token is for: its audience (RFC 7519 §4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Creation and use of keys.
    Keys,
    /// Crypto units and instances.
    Administration,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] =
        [Self::Reader, Self::ReaderPlus, Self::Writer, Self::Manager, Self::KeyPurge, Self::Operator];
    /// The roles of an application that has an instance to itself.
    pub const APPLICATION: [Self; 2] = [Self::Manager, Self::KeyPurge];

    /// Its name in tokens.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::ReaderPlus => "reader-plus",
            Self::Writer => "writer",
            Self::Manager => "manager",
            Self::KeyPurge => "key-purge",
            Self::Operator => "operator",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    const fn permits(self, action: Action) -> bool {
        match action {
            Action::Use => matches!(self, Self::Reader | Self::ReaderPlus | Self::Writer | Self::Manager),
            Action::ReadMaterial => matches!(self, Self::ReaderPlus | Self::Writer | Self::Manager),
            Action::Write => matches!(self, Self::Writer | Self::Manager),
            Action::Manage => matches!(self, Self::Manager),
            Action::Purge => matches!(self, Self::KeyPurge),
            Action::Administer => matches!(self, Self::Operator),
        }
    }

    const fn audience(self) -> Audience {
        match self {
            Self::Operator => Audience::Administration,
            Self::Reader | Self::ReaderPlus | Self::Writer | Self::Manager | Self::KeyPurge => Audience::Keys,
        }
    }
}

impl Action {
    /// The API that has requests of this kind.
    pub(crate) const fn audience(self) -> Audience {
        match self {
            Self::Administer => Audience::Administration,
            Self::Use | Self::ReadMaterial | Self::Write | Self::Manage | Self::Purge => Audience::Keys,
        }
    }
}

impl Audience {
    /// Its name in tokens.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Keys => "kms",
            Self::Administration => "tke",
        }
    }
}

/// The roles of a caller, and the instances that it has them on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    /// Roles on each of the instances.
    pub roles: Vec<Role>,
    /// Instances; `None` for all of the service.
    pub instances: Option<Vec<InstanceId>>,
}

impl Grants {
    /// Those of an application: everything that can be done with the keys of these instances.
    #[must_use]
    pub fn application(instances: impl IntoIterator<Item = InstanceId>) -> Self {
        Self { roles: Role::APPLICATION.to_vec(), instances: Some(instances.into_iter().collect()) }
    }

    /// Those of an operator: administration of all crypto units and instances, and no use of keys.
    #[must_use]
    pub fn operator() -> Self {
        Self { roles: vec![Role::Operator], instances: None }
    }

    pub(crate) fn permit(&self, action: Action) -> bool {
        self.roles.iter().any(|role| role.permits(action))
    }

    pub(crate) fn include(&self, instance: InstanceId) -> bool {
        self.instances.as_ref().is_none_or(|instances| instances.contains(&instance))
    }

    /// Names of the roles, for a token.
    pub(super) fn role_names(&self) -> Vec<String> {
        self.roles.iter().map(|role| role.name().to_owned()).collect()
    }

    /// Names of the audiences, for a token.
    pub(super) fn audience_names(&self) -> Vec<String> {
        let mut names: Vec<&str> = self.roles.iter().map(|role| role.audience().name()).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(str::to_owned).collect()
    }

    /// The grants in a token; `None` for a role that is unknown.
    pub(super) fn of_token(roles: &[String], instances: Option<&[uuid::Uuid]>) -> Option<Self> {
        let roles = roles.iter().map(|name| Role::from_name(name)).collect::<Option<_>>()?;
        let instances = instances.map(|instances| instances.iter().copied().map(InstanceId).collect());
        Some(Self { roles, instances })
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, Audience, Grants, Role};
    use kms::InstanceId;
    use uuid::Uuid;

    const ACTIONS: [Action; 6] =
        [Action::Use, Action::ReadMaterial, Action::Write, Action::Manage, Action::Purge, Action::Administer];

    #[test]
    fn exhaustive_roles_permit_what_the_table_says() {
        for (role, permitted) in Role::ALL.into_iter().zip([
            &ACTIONS[..1],
            &ACTIONS[..2],
            &ACTIONS[..3],
            &ACTIONS[..4],
            &[Action::Purge],
            &[Action::Administer],
        ]) {
            for action in ACTIONS {
                assert_eq!(role.permits(action), permitted.contains(&action), "{role:?} {action:?}");
                // A token for one API never has a role of the other.
                assert!(!role.permits(action) || role.audience() == action.audience(), "{role:?} {action:?}");
            }
            assert_eq!(Role::from_name(role.name()), Some(role));
        }
    }

    #[test]
    fn grants_survive_a_token_and_unknown_roles_do_not() {
        let one = InstanceId(Uuid::from_u128(1));
        for grants in [Grants::application([one]), Grants::operator()] {
            let instances =
                grants.instances.as_ref().map(|all| all.iter().map(|id| id.0).collect::<Vec<_>>());
            let read = Grants::of_token(&grants.role_names(), instances.as_deref());
            assert_eq!(read, Some(grants));
        }
        assert_eq!(Grants::of_token(&["root".to_owned()], None), None);
        assert_eq!(Grants::application([one]).audience_names(), [Audience::Keys.name()]);
        assert!(Grants::application([one]).include(one));
        assert!(!Grants::application([one]).include(InstanceId(Uuid::from_u128(2))));
        assert!(!Grants::application([]).include(one));
        assert!(Grants::operator().include(one));
    }
}
