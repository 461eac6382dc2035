//! An earlier state of a unit, put back while the region is down.

use crate::common::control::{all_serve, status_once, unit};
use crate::common::load::PLAINTEXT;
use crate::common::{up, wait_for};
use hsm_sim::region::DevelopmentCeremony;
use std::fs;
use tke::AdminOperation;
use tke::ceremony::Ceremony;
use unit_api::admin::ControlPoints;

/// Who has the unit's disk takes a copy of its slots and puts it back later, while the whole region is down. The unit cannot
/// know; the region does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_old_slot_files_put_back_while_the_region_is_down_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut region = up(&data, &[]);
    let (rest, control) = (region.rest(), region.control());
    let key = rest.create("kept").await.unwrap();
    let ciphertext = rest.wrap(&key, PLAINTEXT).await.unwrap();
    status_once(&control, all_serve).await;

    let slots = ["slot-a", "slot-b"].map(|name| data.join("units/1").join(name));
    let old = slots.clone().map(|slot| fs::read(slot).unwrap());
    let seen = || fs::read_to_string(data.join("units-seen.json")).unwrap_or_default();
    let before = seen();
    let ours = DevelopmentCeremony::open(&data.join("ceremony")).unwrap();
    let first = region.tke().meet(1).await;
    let mut record = ();
    let mut ceremony = Ceremony { quorum: ours.quorum(), record: &mut record };
    // It changes no master key: the slots of before can still be opened.
    let same = AdminOperation::SetControlPoints(ControlPoints::first());
    ceremony.execute(&first, &same).await.unwrap();
    wait_for("the region to see the command", || seen() != before);

    assert!(tokio::task::block_in_place(|| region.interrupt()).success());
    for (slot, content) in slots.iter().zip(&old) {
        fs::write(slot, content).unwrap();
    }
    let region = up(&data, &[]);
    let status = status_once(&region.control(), |status| !unit(status, 1).reason.is_empty()).await;
    assert!(unit(&status, 1).reason.contains("an old state"), "{status:#?}");
    assert!(!unit(&status, 1).serves());
    // The other unit goes on.
    assert_eq!(region.rest().unwrap(&key, &ciphertext).await.as_deref(), Ok(PLAINTEXT));
}
