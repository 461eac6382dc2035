//! Refresh tokens: random, used once, forgotten when the process ends.
//!
//! Each is exchanged for the next one of its family, which began with an API key. One that is presented a second time was
//! stolen, by the one who used it first or by the one who uses it now, so that the whole family ends. A client whose
//! refresh token is not accepted, for example after a restart or by another node, presents its API key again.
//!
//! Source: RFC 9700 §4.14.2 (refresh token rotation).

use super::digest;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use wire::text::encode_secret_hex;
use zeroize::Zeroizing;

/// Lifetime of a refresh token.
const LIFE: Duration = Duration::from_secs(72 * 3600);
/// Refresh tokens that are remembered, used ones included. The oldest is forgotten first.
const MAX_TOKENS: usize = 16 * 1024;

/// Why a refresh token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefreshRefusal {
    /// It was not issued by this process, has expired, or its family has ended.
    Unknown,
    /// It was used before. No token of its family can be used any more.
    Used,
}

/// The refresh tokens that were issued. Only their digests are kept.
#[derive(Default)]
pub(super) struct RefreshTokens(Mutex<Issued>);

#[derive(Default)]
struct Issued {
    next: u64,
    by_digest: HashMap<[u8; 32], Token>,
    /// Digests by the number of the token, the oldest first.
    by_number: BTreeMap<u64, [u8; 32]>,
}

struct Token {
    number: u64,
    family: Family,
    expires: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Valid,
    Used,
    /// Another token of the family was used twice.
    Ended,
}

/// The tokens that began with one exchange of an API key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Family {
    /// Number of its first token.
    first: u64,
    /// Index of the API key.
    pub(super) api_key: usize,
}

impl RefreshTokens {
    /// A token of a new family.
    pub(super) fn begin(&self, api_key: usize, now: u64) -> Result<Zeroizing<String>, getrandom::Error> {
        self.issue(None, api_key, now)
    }

    /// The next token of a family.
    pub(super) fn next(&self, family: Family, now: u64) -> Result<Zeroizing<String>, getrandom::Error> {
        self.issue(Some(family), family.api_key, now)
    }

    fn issue(
        &self,
        family: Option<Family>,
        api_key: usize,
        now: u64,
    ) -> Result<Zeroizing<String>, getrandom::Error> {
        let mut value = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *value)?;
        let token = encode_secret_hex(&*value);
        let mut issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = issued.next;
        issued.next += 1;
        let family = family.unwrap_or(Family { first: number, api_key });
        let expires = now.saturating_add(LIFE.as_secs());
        let digest = digest(token.as_bytes());
        issued.by_digest.insert(digest, Token { number, family, expires, state: State::Valid });
        issued.by_number.insert(number, digest);
        while issued.by_number.len() > MAX_TOKENS {
            if let Some((_, oldest)) = issued.by_number.pop_first() {
                issued.by_digest.remove(&oldest);
            }
        }
        Ok(token)
    }

    /// Uses a token up, and returns its family.
    pub(super) fn take(&self, token: &str, now: u64) -> Result<Family, RefreshRefusal> {
        let mut issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A digest is looked up, so that time tells nothing about the token.
        let found = issued.by_digest.get_mut(&digest(token.as_bytes())).ok_or(RefreshRefusal::Unknown)?;
        if now >= found.expires {
            let number = found.number;
            issued.by_number.remove(&number);
            issued.by_digest.remove(&digest(token.as_bytes()));
            return Err(RefreshRefusal::Unknown);
        }
        let family = found.family;
        match found.state {
            State::Valid => {
                found.state = State::Used;
                Ok(family)
            }
            State::Ended => Err(RefreshRefusal::Unknown),
            State::Used => {
                for other in issued.by_digest.values_mut() {
                    if other.family == family && other.state == State::Valid {
                        other.state = State::Ended;
                    }
                }
                Err(RefreshRefusal::Used)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LIFE, MAX_TOKENS, RefreshRefusal, RefreshTokens};

    #[test]
    fn a_token_is_exchanged_once_and_a_second_use_ends_its_family() {
        let tokens = RefreshTokens::default();
        let (first, other) = (tokens.begin(0, 0).unwrap(), tokens.begin(1, 0).unwrap());
        let family = tokens.take(&first, 1).ok().unwrap();
        let second = tokens.next(family, 1).unwrap();
        assert_eq!(tokens.take(&first, 2).err(), Some(RefreshRefusal::Used));
        assert_eq!(tokens.take(&second, 2).err(), Some(RefreshRefusal::Unknown), "its family has ended");
        assert_eq!(tokens.take(&first, 2).err(), Some(RefreshRefusal::Used));
        // Families do not touch each other.
        assert_eq!(tokens.take(&other, 2).ok().unwrap().api_key, 1);
    }

    #[test]
    fn tokens_expire_and_their_number_is_limited() {
        let tokens = RefreshTokens::default();
        let first = tokens.begin(0, 0).unwrap();
        assert_eq!(tokens.take(&first, LIFE.as_secs()).err(), Some(RefreshRefusal::Unknown));
        let oldest = tokens.begin(0, 0).unwrap();
        for _ in 0..MAX_TOKENS {
            tokens.begin(0, 0).unwrap();
        }
        assert_eq!(tokens.take(&oldest, 1).err(), Some(RefreshRefusal::Unknown));
        assert_eq!(tokens.0.lock().unwrap().by_digest.len(), MAX_TOKENS);
        for other in ["", "a.b.c"] {
            assert_eq!(tokens.take(other, 1).err(), Some(RefreshRefusal::Unknown));
        }
    }
}
