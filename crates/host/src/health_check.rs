//! The host's own exchanges with units: status, and proof that they hold the master key.

use crate::driver::Driver;
use crate::link::CloseReason;
use crate::proof::{ChallengeCheck, MasterKeyProof};
use cluster::{ProofOutcome, UnitNumber};
use std::sync::Arc;
use unit_api::proof::CHALLENGE_LEN;
use unit_api::{CodecError, Command, Refusal, Response, UnitError, Wkid};

/// A check of one unit.
#[derive(Clone, Copy)]
pub(crate) enum HealthCheck {
    /// Ask for the status.
    Status,
    /// With this master key, have the unit open the instance secret and answer a challenge under the canary.
    Prove(Wkid),
    /// Have the unit answer a challenge under the canary.
    Probe(Wkid),
}

/// Runs the check and reports the result to the cluster. The end of the connection is reported elsewhere.
pub(crate) async fn run(driver: Arc<Driver>, unit: UnitNumber, generation: u64, check: HealthCheck) {
    let _answered = match check {
        HealthCheck::Status => ask_status(&driver, unit, generation).await,
        HealthCheck::Prove(wkid) => prove(&driver, unit, generation, wkid).await,
        HealthCheck::Probe(wkid) => probe(&driver, unit, generation, wkid).await,
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
    // A master key that is legal no longer has no proof: the check has no result, and the unit is asked again.
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
    // Without entropy there is no proof: the check has no result, and the unit is asked again later.
    getrandom::fill(&mut fresh).ok()?;
    let frame = driver.ask(unit, generation, proof.answer_challenge(&fresh)).await?;
    Some(match frame.response() {
        Ok(Response::Signature(mac)) if verifies(&fresh, mac) => ProofOutcome::Passed,
        Ok(_) => ProofOutcome::Wrong,
        Err(refusal) => ProofOutcome::Refused(refusal),
    })
}
