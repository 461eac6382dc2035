//! Why a stored object is not used.

use std::fmt;

/// A stored object under a unit's label that the unit did not create, or that was changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRefusal {
    /// Role of the object, as in its label: `master key`, for example.
    pub role: &'static str,
    /// What is wrong.
    pub fault: ObjectFault,
}

/// What is wrong with a stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectFault {
    /// The attribute of this name is missing, unreadable, or has another value than the unit gives it.
    Attribute(String),
    /// Several objects have the same label and identifier. Holds their number.
    Several(usize),
}

impl fmt::Display for ObjectRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, fault } = self;
        match fault {
            ObjectFault::Attribute(name) => write!(f, "the {role} has another {name} than the unit gives it"),
            ObjectFault::Several(count) => {
                write!(f, "{count} objects have the label and identifier of the {role}")
            }
        }
    }
}
