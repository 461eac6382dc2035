//! A token that all callers of a port share.

use super::{bearer, digest, is_public};
use crate::access::only;
use crate::mark_authenticated;
use axum::http::header::AUTHORIZATION;
use axum::http::{Extensions, HeaderMap};
use subtle::ConstantTimeEq as _;

/// The token of a port whose callers are not told apart. Only its digest is kept.
pub struct SharedToken {
    digest: [u8; 32],
}

impl SharedToken {
    /// The token with this value.
    #[must_use]
    pub fn new(value: &str) -> Self {
        Self { digest: digest(value.as_bytes()) }
    }

    /// Whether a request has this token as its only bearer token. Compares in constant time.
    #[must_use]
    pub fn is_in(&self, headers: &HeaderMap, extensions: &Extensions) -> bool {
        let token = only(headers, AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let is_same = token.is_some_and(|token| is_public(digest(token).ct_eq(&self.digest)));
        if is_same {
            mark_authenticated(extensions);
        }
        is_same
    }
}

#[cfg(test)]
mod tests {
    use super::SharedToken;
    use axum::http::{Extensions, HeaderMap};

    #[test]
    fn only_the_token_itself_is_accepted() {
        let token = SharedToken::new("the-token");
        let is_in = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("authorization", value.parse().unwrap());
            }
            token.is_in(&headers, &Extensions::new())
        };
        assert!(is_in(&["Bearer the-token"]));
        for bad in [
            &[][..],
            &["Bearer the-toke"],
            &["Bearer the-token2"],
            &["Bearer "],
            &["the-token"],
            &["Basic the-token"],
            &["Bearer the-token", "Bearer the-token"],
        ] {
            assert!(!is_in(bad), "{bad:?}");
        }
    }
}
