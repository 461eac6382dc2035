//! File descriptors: how many the process may have, and how many connections each of its ports may take of them.
//!
//! Every connection is a descriptor, and so is what keeps a region running: the sockets and pipes of its crypto units, the
//! keystore, the logs. A part of the process's limit is therefore never given to connections, so that a client that opens
//! as many as it can cannot keep a unit from being started again.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;

/// A port of a serving process, by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// APIs of applications and of customers' tools.
    Api,
    /// Control of a simulated region.
    Control,
    /// Health and metrics.
    Operator,
}

/// Raises the process's soft limit of descriptors to the hard one. Programs call it once, before they serve.
///
/// # Errors
/// The operating system's; the limit is as it was.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).map_err(Into::into)
}

impl Port {
    /// Connections that the port may have open, by the process's limit of descriptors at this moment.
    pub(crate) fn connections(self) -> usize {
        // No limit is as good as a large one.
        self.share_of(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    /// Connections that the port may have open in a process with at most `limit` descriptors.
    fn share_of(self, limit: u64) -> usize {
        let for_connections = limit.saturating_sub((limit / 4).clamp(64, 512));
        let (share, most) = match self {
            Self::Api => (for_connections / 8 * 5, 1024),
            Self::Control | Self::Operator => (for_connections / 8, 64),
        };
        usize::try_from(share.clamp(8, most)).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Port;

    #[test]
    fn ports_leave_a_quarter_of_the_descriptors() {
        let shares = |limit| [Port::Api, Port::Control, Port::Operator].map(|port| port.share_of(limit));
        assert_eq!(shares(256), [120, 24, 24]);
        assert_eq!(shares(1024), [480, 64, 64]);
        assert_eq!(shares(u64::MAX), [1024, 64, 64]);
        for limit in [128, 256, 512, 1024, 4096, 1 << 20] {
            let taken: usize = shares(limit).iter().sum();
            assert!(taken <= usize::try_from(limit / 4 * 3).unwrap(), "{taken} of {limit}");
        }
    }
}
