//! What keeps the memory of a process with secrets from other processes and from the disk.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use std::io;

/// Switches core dumps off and keeps other processes of the same user from attaching to this one and from reading its
/// memory. Call it once, before there are secrets; a program that is started by this one has to call it again.
///
/// It does not keep memory from being swapped out: encrypt swap, or have none. Sources: prctl(2), `PR_SET_DUMPABLE`;
/// getrlimit(2), `RLIMIT_CORE`.
///
/// # Errors
/// The operating system's; what could be set is set.
pub fn protect_process() -> io::Result<()> {
    let not_dumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let no_core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    not_dumpable.and(no_core).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::protect_process;
    use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

    #[test]
    fn attack_a_process_with_secrets_leaves_no_core_and_is_not_attached_to() {
        protect_process().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let core = getrlimit(Resource::Core);
        assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
    }
}
