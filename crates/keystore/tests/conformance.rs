//! Every store passes the one suite.

mod memory {
    use std::time::Duration;

    use keystore::conformance::Fixture;
    use keystore::conformance::model::MovableClock;
    use keystore::{MemoryStore, StoreIdentity};

    struct Memory(MovableClock);

    impl Fixture for Memory {
        type Store = MemoryStore;

        async fn open(&self) -> MemoryStore {
            MemoryStore::new(StoreIdentity([7; 16]), self.0.wall())
        }

        async fn reopen(&self, _: MemoryStore) -> Option<MemoryStore> {
            None
        }

        fn advance(&self, time: Duration) {
            self.0.advance(time);
        }
    }

    fn fixture() -> Memory {
        Memory(MovableClock::default())
    }

    keystore::conformance_suite!(fixture);
}
