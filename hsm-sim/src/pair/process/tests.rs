use super::{Announcements, Process, ProcessError, ProcessState};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;

/// A shell script as a process of a pair.
struct Script {
    text: &'static str,
    starts: AtomicUsize,
    lines: watch::Sender<Vec<String>>,
}

impl Announcements for Script {
    fn arguments(&self) -> io::Result<Vec<OsString>> {
        self.starts.fetch_add(1, Ordering::SeqCst);
        Ok(vec!["-c".into(), self.text.into()])
    }

    fn announced(&self, line: &str) -> bool {
        self.lines.send_modify(|lines| lines.push(line.to_owned()));
        line == "ready"
    }

    fn ended(&self) {}
}

fn run(text: &'static str) -> (Process, Arc<Script>) {
    let script =
        Arc::new(Script { text, starts: AtomicUsize::new(0), lines: watch::Sender::new(Vec::new()) });
    (Process::spawn("script", PathBuf::from("/bin/sh"), Arc::clone(&script) as _), script)
}

async fn until(process: &Process, holds: impl Fn(&ProcessState) -> bool) {
    process.state.subscribe().wait_for(|state| holds(state)).await.unwrap();
}

/// Serves until its input ends.
const SERVES: &str = "echo starting; echo ready; echo changed; read end; exit 0";

#[tokio::test]
async fn a_process_serves_once_it_says_so_and_ends_with_its_input() {
    let (process, script) = run(SERVES);
    process.until_serving().await.unwrap();
    let mut lines = script.lines.subscribe();
    let lines = lines.wait_for(|lines| lines.len() == 3).await.unwrap().clone();
    assert_eq!(lines, ["starting", "ready", "changed"]);
    process.stop().await;
    assert_eq!(script.starts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_process_that_dies_is_started_again() {
    let (process, script) = run(SERVES);
    process.until_serving().await.unwrap();
    process.kill().unwrap();
    until(&process, |state| state.restarts == 1 && state.serves).await;
    assert_eq!(script.starts.load(Ordering::SeqCst), 2);
    process.stop().await;
}

#[tokio::test]
async fn a_lost_process_stays_away_until_it_is_healed() {
    let (process, script) = run(SERVES);
    process.until_serving().await.unwrap();
    process.lose().await.unwrap();
    let state = process.state();
    assert_eq!((state.pid, state.serves, state.restarts), (None, false, 0));
    assert!(matches!(process.until_serving().await, Err(ProcessError::NotStarted(_))));
    process.heal().await.unwrap();
    assert!(process.state().pid.is_some());
    assert_eq!(script.starts.load(Ordering::SeqCst), 2);
    // Also while it is lost, it can be stopped.
    process.lose().await.unwrap();
    process.stop().await;
}

#[tokio::test]
async fn a_process_that_ends_before_it_serves_is_reported() {
    let (process, _) = run("echo starting; exit 3");
    assert!(matches!(process.until_serving().await, Err(ProcessError::NotStarted(_))));
    process.stop().await;
}
