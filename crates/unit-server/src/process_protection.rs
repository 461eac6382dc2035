//! What keeps the memory of a process with secrets from other processes and from the disk.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use std::error::Error;
use std::io;

/// What [`protect_process`] achieved.
#[derive(Debug)]
#[must_use = "an operator has to know what is not protected"]
pub struct ProcessProtection {
    /// Whether core dumps are off and other processes of the same user are kept out; else the operating system's error.
    pub not_dumpable: io::Result<()>,
    /// Whether all memory, present and future, stays out of swap; else why not.
    pub memory_locked: Result<(), MemoryNotLocked>,
}

/// Why the memory of a process may be swapped out.
#[derive(Debug, thiserror::Error)]
pub enum MemoryNotLocked {
    /// The process is limited to this number of locked bytes. With all of its memory locked, it could not get more than
    /// that in all.
    #[error(
        "only {} KiB may be locked: allow more (LimitMEMLOCK=infinity, ulimit -l unlimited) or grant CAP_IPC_LOCK",
        .limit / 1024
    )]
    Limit {
        /// The limit in bytes.
        limit: u64,
    },
    /// The operating system's error.
    #[error("the operating system does not lock memory")]
    System(#[source] io::Error),
}

impl ProcessProtection {
    /// Logs what is not protected, one line each. For a process that serves: at level `warn`.
    pub fn warn(&self) {
        if let Err(error) = &self.not_dumpable {
            tracing::warn!(error = error as &dyn Error, "core dumps could not be switched off");
        }
        if let Err(error) = &self.memory_locked {
            tracing::warn!(
                error = error as &dyn Error,
                "secrets in memory may be swapped out: encrypt swap, or have none"
            );
        }
    }
}

/// Switches core dumps off, keeps other processes of the same user from attaching to this one and from reading its
/// memory, and locks its memory, present and future, so that nothing of it is swapped out. Call it once, before there are
/// secrets and threads; a program that is started by this one has to call it again.
///
/// Memory is locked only where no limit applies: under a limit, an allocation of a locked process fails as soon as it has
/// mapped that much, and most of what a process maps never holds a secret. The limit itself is raised to what is
/// permitted, for `lock_in_memory`. Pages are locked when they are first used, so that a process does not grow.
///
/// Sources: prctl(2), `PR_SET_DUMPABLE`; getrlimit(2), `RLIMIT_CORE` and `RLIMIT_MEMLOCK`; mlock(2).
pub fn protect_process() -> ProcessProtection {
    let not_dumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let no_core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    ProcessProtection {
        not_dumpable: not_dumpable.and(no_core).map_err(Into::into),
        memory_locked: lock_all_memory(),
    }
}

fn lock_all_memory() -> Result<(), MemoryNotLocked> {
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    let system = |error: rustix::io::Errno| MemoryNotLocked::System(error.into());
    let maximum = getrlimit(Resource::Memlock).maximum;
    let limit = |current| setrlimit(Resource::Memlock, Rlimit { current, maximum }).map_err(system);
    let Some(most) = maximum else {
        limit(None)?;
        return mlockall(all).map_err(system);
    };
    // Under a limit of zero, a process that may lock at all has CAP_IPC_LOCK: no limit applies to it, now or later.
    limit(Some(0))?;
    let locked = mlockall(all);
    limit(Some(most))?;
    locked.map_err(|error| match error {
        rustix::io::Errno::PERM | rustix::io::Errno::NOMEM => MemoryNotLocked::Limit { limit: most },
        other => system(other),
    })
}

/// Locks the pages of a value that stays where it is until the process ends: what holds the most valuable secrets, for a
/// process whose memory cannot be locked as a whole. Returns whether they are locked.
///
/// The pages are never unlocked: locks do not add up, so that the end of one would expose its neighbours in the page.
pub(crate) fn lock_in_memory<T: ?Sized>(value: &T) -> bool {
    let locked = region::lock(std::ptr::from_ref(value).cast::<u8>(), size_of_val(value));
    locked.map(std::mem::forget).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{MemoryNotLocked, lock_in_memory, protect_process};
    use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};
    use std::fs;

    /// KiB of this process's memory that are locked.
    fn locked_kib() -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    #[test]
    fn attack_a_process_with_secrets_leaves_no_core_is_not_attached_to_and_not_swapped_out() {
        let protection = protect_process();
        protection.not_dumpable.unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let core = getrlimit(Resource::Core);
        assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
        let memory = getrlimit(Resource::Memlock);
        assert_eq!(memory.current, memory.maximum);
        match protection.memory_locked {
            Ok(()) => assert!(locked_kib() > 1024, "{} KiB are locked", locked_kib()),
            Err(error) => {
                assert!(matches!(error, MemoryNotLocked::Limit { limit } if Some(limit) == memory.maximum));
                assert!(lock_in_memory::<[u8]>(Box::leak(Box::new([0_u8; 256]))));
                assert!(locked_kib() > 0);
            }
        }
    }
}
