//! Who may call what stands beside the REST API.

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Longest token that is looked at, in bytes.
const MAX_TOKEN_LEN: usize = 8 * 1024;

/// The region's managers by their static tokens. Holds digests, not the tokens themselves.
pub(super) struct Callers(Vec<([u8; 32], String)>);

impl Callers {
    /// These managers: token and name of each.
    pub(super) fn new(managers: impl IntoIterator<Item = (Zeroizing<String>, String)>) -> Self {
        Self(managers.into_iter().map(|(token, iam_id)| (digest(&token), iam_id)).collect())
    }

    /// Who sends these headers; none for nobody we know, whatever the reason. Looks at every manager, so that time says
    /// nothing about which.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Option<&str> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ').filter(|_| value.len() <= MAX_TOKEN_LEN)?;
        let presented = digest(token.trim_matches(' '));
        let mut found = None;
        for (known, iam_id) in &self.0 {
            if bool::from(known.ct_eq(&presented)) {
                found = Some(iam_id.as_str());
            }
        }
        found.filter(|_| scheme.eq_ignore_ascii_case("bearer"))
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::Callers;
    use axum::http::{HeaderMap, header};
    use zeroize::Zeroizing;

    #[test]
    fn nobody_gets_in_without_a_manager_s_token() {
        let manager = |number: u8| (Zeroizing::new(format!("token-{number}")), format!("IBMid-{number}"));
        let callers = Callers::new([manager(1), manager(2)]);
        let caller = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            callers.caller(&headers).map(str::to_owned)
        };
        assert_eq!(caller(&["Bearer token-2"]).as_deref(), Some("IBMid-2"));
        assert_eq!(caller(&["bearer  token-1 "]).as_deref(), Some("IBMid-1"));
        for values in [
            &[][..],
            &["Bearer"],
            &["Bearer "],
            &["token-1"],
            &["Basic token-1"],
            &["Bearer token-3"],
            &["Bearer token-1", "Bearer token-1"],
        ] {
            assert_eq!(caller(values), None, "{values:?}");
        }
    }
}
