//! Signatures of several administrators over one command: all of them, or none.

use super::{SignatureKey, SigningError};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use tke_crypto::{AdministratorName, Ski};
use wire::text::error_chain;

/// Some keys did not sign. No signature is returned, so that no command is sent with too few.
#[derive(Debug)]
pub struct SigningFailures {
    /// Keys that signed.
    pub signed: Vec<(AdministratorName, Ski)>,
    /// Keys that did not, each with its error.
    pub failed: Vec<(AdministratorName, Ski, SigningError)>,
}

impl fmt::Display for SigningFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.signed.len().saturating_add(self.failed.len());
        write!(f, "{} of {all} keys did not sign:", self.failed.len())?;
        for (place, (name, _, error)) in self.failed.iter().enumerate() {
            write!(f, "{} {name} ({})", if place == 0 { "" } else { "," }, error_chain(error))?;
        }
        Ok(())
    }
}

impl std::error::Error for SigningFailures {}

/// Signs `bytes` with every key at the same time. The signatures are in the order of the keys.
///
/// Waits for all keys even if one has failed, so that the error names every failure.
///
/// # Errors
/// [`SigningFailures`] unless every key signed.
pub async fn sign_with_all(
    keys: &[&dyn SignatureKey],
    bytes: &[u8],
) -> Result<Vec<(Ski, Vec<u8>)>, SigningFailures> {
    let mut pending: Vec<_> = keys.iter().map(|key| (key.sign(bytes), None)).collect();
    poll_fn(|context| {
        let mut ready = Poll::Ready(());
        for (signing, answer) in pending.iter_mut().filter(|(_, answer)| answer.is_none()) {
            match Pin::new(signing).poll(context) {
                Poll::Ready(it) => *answer = Some(it),
                Poll::Pending => ready = Poll::Pending,
            }
        }
        ready
    })
    .await;

    let (mut signatures, mut signed, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (key, (_, answer)) in keys.iter().zip(pending) {
        match answer {
            Some(Ok(signature)) => {
                signed.push((key.name().clone(), key.ski()));
                signatures.push((key.ski(), signature));
            }
            Some(Err(error)) => failed.push((key.name().clone(), key.ski(), error)),
            // The loop above ends when every key has answered.
            None => {}
        }
    }
    if failed.is_empty() { Ok(signatures) } else { Err(SigningFailures { signed, failed }) }
}
