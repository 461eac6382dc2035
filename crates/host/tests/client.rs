//! One connection to one unit.

use crate::common::FakeUnit;
use host::{LinkError, UnitClient};
use std::sync::Arc;
use std::time::Duration;
use unit_api::{Command, Envelope, Response};

const SOON: Duration = Duration::from_secs(5);

fn random(len: u16) -> Envelope<'static> {
    Envelope::plain(Command::GenerateRandom { len })
}

#[tokio::test]
async fn calls_overlap_and_each_gets_its_own_answer() {
    let folder = tempfile::tempdir().unwrap();
    let unit = FakeUnit::started(folder.path(), 1, 1);
    let client = Arc::new(UnitClient::connect(&unit.path).await.unwrap());
    let calls: Vec<_> = (0..600_u16)
        .map(|len| {
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                let frame = client.call(&random(len), SOON).await.unwrap();
                matches!(frame.response(), Ok(Response::Random(bytes)) if bytes.len() == usize::from(len))
            })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap());
    }
}

#[tokio::test]
async fn a_lost_connection_fails_its_calls_and_all_later_ones() {
    let folder = tempfile::tempdir().unwrap();
    let unit = FakeUnit::started(folder.path(), 1, 1);
    let client = UnitClient::connect(&unit.path).await.unwrap();
    client.call(&random(1), SOON).await.unwrap();
    unit.change(|b| b.paused = true);
    let envelope = random(1);
    let call = client.call(&envelope, SOON);
    let (answer, ()) = tokio::join!(call, async { unit.kill() });
    assert!(matches!(answer, Err(LinkError::Lost { .. })), "{answer:?}");
    let answer = client.call(&envelope, SOON).await;
    assert!(matches!(answer, Err(LinkError::Lost { .. })), "{answer:?}");
    assert!(matches!(UnitClient::connect(&unit.path).await, Err(LinkError::Connect { .. })));
}

#[tokio::test]
async fn a_unit_that_says_nothing_is_waited_for_until_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let unit = FakeUnit::started(folder.path(), 1, 1);
    let client = UnitClient::connect(&unit.path).await.unwrap();
    unit.change(|b| b.paused = true);
    let answer = client.call(&random(1), Duration::from_millis(20)).await;
    assert!(matches!(answer, Err(LinkError::DeadlineExceeded(_))), "{answer:?}");
    unit.change(|b| b.paused = false);
    // The late answer is dropped; the next call gets its own.
    let frame = client.call(&random(3), SOON).await.unwrap();
    assert!(matches!(frame.response(), Ok(Response::Random([9, 9, 9]))));
}

#[tokio::test]
async fn broken_frames_end_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let unit = FakeUnit::started(folder.path(), 1, 1);
    for (garbage, expected) in [
        (vec![0xff; 8], "TooLong"),
        (vec![0, 0, 0, 2, 0xff, 0xff], "Malformed"),
        (vec![0, 0, 0, 9, 1, 2], "CutShort"),
        (vec![0, 0], "CutShort"),
        (vec![], "Closed"),
        (vec![0, 0, 0, 4, 0, 1, 0xb1, 0x04], "Refused"),
    ] {
        unit.change(|b| b.garbage = Some(garbage));
        let client = UnitClient::connect(&unit.path).await.unwrap();
        let answer = client.call(&random(1), SOON).await;
        let Err(LinkError::Lost { source }) = answer else { panic!("{expected}: {answer:?}") };
        assert!(format!("{source:?}").contains(expected), "{expected}: {source:?}");
    }
}

#[tokio::test]
async fn a_command_longer_than_a_frame_is_refused_here() {
    let folder = tempfile::tempdir().unwrap();
    let unit = FakeUnit::started(folder.path(), 1, 1);
    let client = UnitClient::connect(&unit.path).await.unwrap();
    let long = vec![0; 70_000];
    let command = Command::Encrypt { key: &[], aad: &[], plaintext: &long };
    let answer = client.call(&Envelope::plain(command), SOON).await;
    assert!(matches!(answer, Err(LinkError::RequestTooLong)), "{answer:?}");
    client.call(&random(1), SOON).await.unwrap();
}
