//! Arbitrary bytes as each message between regions, their witness and their front.

use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::region::{
    Applied, Attempt, Hello, Holding, LeaseReply, LeaseRequest, PeerMessage, Position, Probe, ProbeAnswer,
    Purpose, Side, decode, encode,
};

/// Panics if a decoder panics, or a message means something else after it was sent on.
pub(crate) fn check(data: &[u8]) {
    same::<Hello>(data);
    same::<PeerMessage>(data);
    same::<Holding>(data);
    same::<Applied>(data);
    same::<Probe>(data);
    same::<ProbeAnswer>(data);
    same::<LeaseRequest>(data);
    same::<LeaseReply>(data);
}

fn same<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(data: &[u8]) {
    let Ok(message) = decode::<T>(data) else { return };
    let again = encode(&message);
    // Text that JSON writes as escapes takes at most six times its length; names and numbers are written once.
    assert!(again.len() <= data.len().saturating_mul(6) + 64, "{message:?} grew");
    assert_eq!(decode::<T>(&again).expect("what was encoded decodes"), message);
}

/// One message of each kind.
#[allow(dead_code, reason = "who fuzzes starts from files")]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let at = || Position { store: "ab".repeat(16), revision: 300 };
    let attempt = Attempt { boot: u64::MAX, number: 1 };
    let digest = "0f".repeat(32);
    vec![
        ("hello", encode(&Hello::new(Purpose::Replicate { from: Some(at()) }))),
        ("holding", encode(&Holding::Own { taken_over_at: Some(at()) })),
        ("applied", encode(&Applied { at: Some(at()) })),
        ("poll", encode(&PeerMessage::Poll { epoch: 1, ping: 2, boot: 3 })),
        ("frozen", encode(&PeerMessage::Frozen { handover: attempt, freeze: attempt, revision: 9, digest })),
        ("probe", encode(&Probe { partner_unreachable_ms: 5, highest: 6 })),
        ("answer", encode(&ProbeAnswer { epoch: 1, serves: true, partner_lost: false })),
        ("lease", encode(&LeaseRequest { side: Side::Standby, epoch: 1, ping: 2, boot: 3, release: true })),
        ("leased", encode(&LeaseReply { ping: 1, boot: 2, granted: true, epoch: 3 })),
    ]
}
