//! The operation id of a request, by which a repeated request is executed once.

use super::error::Failure;
use axum::http::{HeaderMap, Method, Uri};
use kms::{InstanceId, OpId};
use sha2::{Digest, Sha256};

/// Longest `Idempotency-Key`, in bytes.
const MAX_KEY_LEN: usize = 255;

/// The operation of a request with an `Idempotency-Key`: the same key, instance, caller, method and path are the same
/// operation, whatever is in the body.
///
/// A `Correlation-Id` does not count: clients use one for several calls that belong together.
pub(super) fn of_request(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    instance: InstanceId,
    caller: &str,
) -> Result<Option<OpId>, Failure> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    if key.is_empty() || key.len() > MAX_KEY_LEN {
        return Err(Failure::bad_idempotency_key(MAX_KEY_LEN));
    }
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let mut hash = Sha256::new_with_prefix(b"hsm-sim rest operation v1");
    for part in [
        instance.0.as_bytes().as_slice(),
        caller.as_bytes(),
        method.as_str().as_bytes(),
        path.as_bytes(),
        key.as_bytes(),
    ] {
        // Lengths before contents, so that no two lists of parts read the same.
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut op = [0; 16];
    op.copy_from_slice(digest.first_chunk::<16>().unwrap_or(&[0; 16]));
    Ok(Some(OpId(op)))
}

#[cfg(test)]
mod tests {
    use super::of_request;
    use axum::http::{HeaderMap, Method, Uri};
    use kms::{InstanceId, OpId};
    use uuid::Uuid;

    fn op(method: Method, path: &'static str, caller: &str, key: &'static str) -> Option<OpId> {
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", key.parse().unwrap());
        let instance = InstanceId(Uuid::nil());
        of_request(&method, &Uri::from_static(path), &headers, instance, caller).ok().flatten()
    }

    #[test]
    fn every_part_counts() {
        let one = op(Method::POST, "/a", "me", "k").unwrap();
        assert!(one == op(Method::POST, "/a", "me", "k").unwrap());
        for other in [
            op(Method::DELETE, "/a", "me", "k"),
            op(Method::POST, "/a?x", "me", "k"),
            op(Method::POST, "/a", "you", "k"),
            op(Method::POST, "/a", "me", "l"),
            op(Method::POST, "/am", "e", "k"),
        ] {
            assert!(one != other.unwrap());
        }
        assert!(op(Method::POST, "/a", "me", "").is_none());
    }
}
