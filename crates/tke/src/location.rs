//! Location of a crypto unit.

use std::fmt;
use std::str::FromStr;

/// `[region].[zone].[module].[domain]`, module and domain in at least two decimal digits: `[us-east].[az2].[03].[22]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// Name of the region.
    pub region: String,
    /// Name of the zone, with suffixes by which the operator distinguishes racks.
    pub zone: String,
    /// Index of the module.
    pub module: u32,
    /// Index of the domain in its module.
    pub domain: u32,
}

/// Text that is not a location.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a location: write [region].[zone].[module].[domain], such as [us-east].[az2].[03].[22]"
)]
pub struct LocationInvalid(pub String);

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, zone, module, domain } = self;
        write!(f, "[{region}].[{zone}].[{module:02}].[{domain:02}]")
    }
}

impl FromStr for Location {
    type Err = LocationInvalid;

    fn from_str(text: &str) -> Result<Self, LocationInvalid> {
        let parse = || {
            let inner = text.strip_prefix('[')?.strip_suffix(']')?;
            let fields: Vec<&str> = inner.split("].[").collect();
            let &[region, zone, module, domain] = fields.as_slice() else { return None };
            let name = |name: &str| {
                let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '[' | ']');
                (!name.is_empty() && name.chars().all(fits)).then(|| name.to_owned())
            };
            let index = |digits: &str| {
                let number: u32 = digits.parse().ok()?;
                // One representation for each number.
                (format!("{number:02}") == digits).then_some(number)
            };
            Some(Self {
                region: name(region)?,
                zone: name(zone)?,
                module: index(module)?,
                domain: index(domain)?,
            })
        };
        parse().ok_or_else(|| LocationInvalid(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::Location;
    use proptest::prelude::*;

    #[test]
    fn published_locations_parse() {
        for text in ["[us-east].[AZ2-CSSTAG2].[03].[22]", "[eu-de].[AZ2-fra2-qz1-sr3-rk007-a04].[06].[03]"] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in
            ["", "[a].[b].[1].[02]", "[a].[b].[01]", "[a].[].[01].[02]", "a.b.01.02", "[a].[b].[01].[+2]"]
        {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn prop_locations_read_as_they_are_written(
            region in "[a-z0-9-]{1,12}", zone in "[A-Za-z0-9-]{1,20}", module in any::<u32>(), domain in any::<u32>(),
        ) {
            let location = Location { region, zone, module, domain };
            prop_assert_eq!(location.to_string().parse::<Location>(), Ok(location));
        }
    }
}
