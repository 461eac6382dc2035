//! The conformance suite, on every store.

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

mod redb {
    use std::time::Duration;

    use keystore::conformance::Fixture;
    use keystore::conformance::model::MovableClock;
    use keystore::{RedbOptions, RedbStore};

    struct Redb {
        clock: MovableClock,
        dir: tempfile::TempDir,
        opened: std::sync::atomic::AtomicUsize,
    }

    impl Redb {
        async fn at(&self, n: usize) -> RedbStore {
            let path = self.dir.path().join(format!("{n}.redb"));
            RedbStore::open(path, RedbOptions::default().wall_clock(self.clock.wall()).reserve_bytes(0))
                .await
                .unwrap()
        }
    }

    impl Fixture for Redb {
        type Store = RedbStore;

        async fn open(&self) -> RedbStore {
            self.at(self.opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed)).await
        }

        async fn reopen(&self, store: RedbStore) -> Option<RedbStore> {
            store.close().await.unwrap();
            Some(self.at(self.opened.load(std::sync::atomic::Ordering::Relaxed) - 1).await)
        }

        fn advance(&self, time: Duration) {
            self.clock.advance(time);
        }
    }

    fn fixture() -> Redb {
        Redb { clock: MovableClock::default(), dir: tempfile::tempdir().unwrap(), opened: 0.into() }
    }

    keystore::conformance_suite!(fixture);
}
