//! A process that is killed at any time loses no acknowledged commit.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use keystore::{
    Commit, Deadline, Freshness, Key, Keystore, OpId, RedbOptions, RedbStore, StoreOpenError, Txn, Write,
};

const D: Deadline = Deadline(Duration::from_secs(60));
/// Environment variable of the child process, with the round and the path of its store.
const CHILD: &str = "KEYSTORE_KILL_TEST_STORE";
const WRITERS: u64 = 6;

fn name(round: u64, writer: u64, i: u64) -> String {
    format!("{round}/{writer}/{i:08}")
}

fn txn(round: u64, writer: u64, i: u64) -> Txn {
    let put = |name: String| Write::Put {
        key: Key::from(name.as_bytes()),
        value: vec![7; 900].into(),
        lease: None,
    };
    let name = name(round, writer, i);
    let op = OpId((u128::from(round) << 96 | u128::from(writer) << 64 | u128::from(i + 1)).to_be_bytes());
    Txn { op, conds: Vec::new(), writes: vec![put(format!("{name}/a")), put(format!("{name}/b"))] }
}

/// The child process: commits in a loop and prints a line after each acknowledgement. Does nothing otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(job) = std::env::var(CHILD) else { return };
    let (round, path) = job.split_once(':').unwrap();
    let round: u64 = round.parse().unwrap();
    let store = Arc::new(RedbStore::open(path, RedbOptions::default().reserve_bytes(0)).await.unwrap());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for i in 0.. {
                    let done = store.commit(txn(round, writer, i), D).await;
                    assert!(matches!(done, Ok(Commit::Applied { replayed: false, .. })), "{done:?}");
                    // Written in one call, so that a kill cannot leave a part that parses as a line.
                    std::io::stdout().write_all(format!("done {writer} {i}\n").as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

fn acknowledged(line: &str) -> Option<(u64, u64)> {
    let (writer, i) = line.strip_prefix("done ")?.split_once(' ')?;
    Some((writer.parse().ok()?, i.parse().ok()?))
}

/// Kills a child after `enough` acknowledgements. Returns its process ID and everything it acknowledged.
fn kill_while_writing(path: &Path, round: u64, enough: usize) -> (u32, Vec<(u64, u64)>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{round}:{}", path.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut done: Vec<_> =
        lines.by_ref().map_while(Result::ok).filter_map(|l| acknowledged(&l)).take(enough).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    done.extend(lines.map_while(Result::ok).filter_map(|line| acknowledged(&line)));
    (child.id(), done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_no_acknowledged_commit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mut identity = None;
    for round in 0..6 {
        let (_, done) = kill_while_writing(&path, round, 20 + 35 * round as usize);
        let store = RedbStore::open(&path, RedbOptions::default().reserve_bytes(0)).await.unwrap();
        assert_eq!(*identity.get_or_insert(store.identity()), store.identity());
        for (writer, i) in &done {
            let name = name(round, *writer, *i);
            let keys = ["a", "b"].map(|half| Key::from(format!("{name}/{half}").as_bytes()));
            let found = store.get(&keys, Freshness::Linearizable, D).await.unwrap();
            assert_eq!(
                found.entries.iter().flatten().count(),
                2,
                "round {round}: {name} acknowledged and lost"
            );
        }
        // The next transaction is applied as a whole or not at all, and a retry returns which.
        for writer in 0..WRITERS {
            let last = done.iter().filter(|(w, _)| *w == writer).map(|(_, i)| *i).max();
            let next = last.map_or(0, |last| last + 1);
            let name = name(round, writer, next);
            let keys = ["a", "b"].map(|half| Key::from(format!("{name}/{half}").as_bytes()));
            let there =
                store.get(&keys, Freshness::Linearizable, D).await.unwrap().entries.iter().flatten().count();
            assert_ne!(there, 1, "round {round}: {name} is applied in part");
            let again = store.commit(txn(round, writer, next), D).await;
            assert!(
                matches!(again, Ok(Commit::Applied { replayed, .. }) if replayed == (there == 2)),
                "{again:?}"
            );
        }
        if round % 2 == 0 {
            store.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_second_process_is_refused_with_the_process_id() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("0:{}", path.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().map_while(Result::ok).any(|line| acknowledged(&line).is_some()));
    let refused = RedbStore::open(&path, RedbOptions::default()).await;
    child.kill().unwrap();
    child.wait().unwrap();
    match refused {
        Err(StoreOpenError::InUse { process_id, .. }) => assert_eq!(process_id, Some(child.id())),
        other => panic!("{other:?}"),
    }
    RedbStore::open(&path, RedbOptions::default()).await.unwrap();
}
