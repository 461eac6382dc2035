//! What the host asks units for itself: who they are, and to show that they hold the master key.

use crate::driver::Driver;
use crate::link::CloseReason;
use crate::proof::{ChallengeCheck, MasterKeyProof};
use cluster::{ProofOutcome, UnitNumber};
use std::sync::Arc;
use unit_api::proof::CHALLENGE_LEN;
use unit_api::{CodecError, Command, Refusal, Response, UnitError, Wkid};

/// What to ask.
#[derive(Clone, Copy)]
pub(crate) enum Errand {
    /// Who are you?
    Status,
    /// With this master key, open the instance's secret, and answer a challenge under the canary.
    Prove(Wkid),
    /// Answer a challenge under the canary.
    Probe(Wkid),
}

/// Asks, and tells the cluster what came of it. If nothing came, the connection's end has told it already.
pub(crate) async fn run(driver: Arc<Driver>, unit: UnitNumber, generation: u64, errand: Errand) {
    let _answered = match errand {
        Errand::Status => ask_status(&driver, unit, generation).await,
        Errand::Prove(wkid) => prove(&driver, unit, generation, wkid).await,
        Errand::Probe(wkid) => probe(&driver, unit, generation, wkid).await,
    };
}

async fn ask_status(driver: &Arc<Driver>, unit: UnitNumber, generation: u64) -> Option<()> {
    let frame = driver.ask(unit, generation, Command::Status).await?;
    match frame.response() {
        Ok(Response::Status(status)) => {
            driver.tell_of(unit, generation, |state, now| state.cluster.handle_status(now, unit, &status));
        }
        Err(refusal) => driver.disconnected(unit, generation, CloseReason::Refused(refusal)),
        Ok(_) => driver.disconnected(unit, generation, CloseReason::Malformed(CodecError::Malformed)),
    }
    Some(())
}

async fn prove(driver: &Arc<Driver>, unit: UnitNumber, generation: u64, wkid: Wkid) -> Option<()> {
    // A master key that is legal no longer has no proof: the errand goes unanswered, and the unit is asked again.
    let (proof, _) = driver.proof_of(wkid)?;
    let frame = driver.ask(unit, generation, proof.open_secret()).await?;
    let key = match frame.response() {
        Ok(Response::Plaintext(opened)) => {
            let check = proof.check_secret(opened).map(|secret| ChallengeCheck::new(secret.canary()));
            check.ok_or(ProofOutcome::Wrong)
        }
        Ok(_) => Err(ProofOutcome::Wrong),
        Err(refusal) => Err(ProofOutcome::Refused(refusal)),
    };
    let outcome = match key {
        Err(outcome) => outcome,
        Ok(key) => {
            let outcome =
                challenge(driver, unit, generation, &proof, |challenge, mac| key.verifies(challenge, mac))
                    .await?;
            if outcome == ProofOutcome::Passed {
                driver.tell(|state, _| state.canaries.entry(proof.commitment).or_insert(key).clone());
            }
            outcome
        }
    };
    driver.tell_of(unit, generation, |state, now| state.cluster.handle_proof(now, unit, outcome));
    Some(())
}

async fn probe(driver: &Arc<Driver>, unit: UnitNumber, generation: u64, wkid: Wkid) -> Option<()> {
    let (proof, key) = driver.proof_of(wkid)?;
    let key = key?;
    let outcome =
        challenge(driver, unit, generation, &proof, |challenge, mac| key.verifies(challenge, mac)).await?;
    // A unit that came too late to a probe is late, not wrong.
    if outcome != ProofOutcome::Refused(Refusal::from(UnitError::DeadlineExceeded)) {
        let passed = outcome == ProofOutcome::Passed;
        driver.tell_of(unit, generation, |state, now| state.cluster.handle_probe(now, unit, passed));
    }
    Some(())
}

async fn challenge(
    driver: &Arc<Driver>,
    unit: UnitNumber,
    generation: u64,
    proof: &MasterKeyProof,
    verifies: impl FnOnce(&[u8; CHALLENGE_LEN], &[u8]) -> bool,
) -> Option<ProofOutcome> {
    let mut fresh = [0; CHALLENGE_LEN];
    // Without entropy there is no proof: the errand goes unanswered, and the unit is asked again later.
    getrandom::fill(&mut fresh).ok()?;
    let frame = driver.ask(unit, generation, proof.answer_challenge(&fresh)).await?;
    Some(match frame.response() {
        Ok(Response::Signature(mac)) if verifies(&fresh, mac) => ProofOutcome::Passed,
        Ok(_) => ProofOutcome::Wrong,
        Err(refusal) => ProofOutcome::Refused(refusal),
    })
}
