//! A signature key of a signing service.

use super::{NamedKey, SigningService, SigningServiceError};
use crate::holder::{Carrier, SignatureKey, SigningFuture};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use der::asn1::UintRef;
use der::{Decode, Reader, SliceReader};
use serde::{Deserialize, Serialize};
use tke_crypto::{AdministratorName, POINT_LEN, PublicKey};

const HASH_ALGORITHM: &str = "sha2-512";
const COORDINATE_LEN: usize = (POINT_LEN - 1) / 2;

/// A signature key of a signing service, with the public key that the service returned.
#[derive(Debug)]
pub struct SigningServiceKey {
    service: SigningService,
    key: NamedKey,
    name: AdministratorName,
    public: PublicKey,
}

#[derive(Deserialize)]
struct PublicKeyResponse {
    publickey: String,
}

#[derive(Serialize)]
struct SignRequest<'a> {
    hash_algorithm: &'a str,
    input: String,
}

#[derive(Deserialize)]
struct SignResponse {
    signature: String,
}

impl SigningServiceKey {
    /// Fetches the public key of that name. `name` is the administrator's name in certificate and logs.
    ///
    /// # Errors
    /// [`SigningServiceError`].
    pub async fn fetch(
        service: &SigningService,
        key: NamedKey,
        name: AdministratorName,
    ) -> Result<Self, SigningServiceError> {
        let response: PublicKeyResponse = service.call("keys", &key, None).await?;
        let der = BASE64
            .decode(response.publickey)
            .map_err(|_| SigningServiceError::Malformed("the public key is not in base64"))?;
        let public = public_key(&der)?;
        Ok(Self { service: service.clone(), key, name, public })
    }

    async fn sign_remotely(&self, bytes: &[u8]) -> Result<Vec<u8>, SigningServiceError> {
        let body = SignRequest { hash_algorithm: HASH_ALGORITHM, input: BASE64.encode(bytes) };
        let body = serde_json::to_vec(&body)
            .map_err(|_| SigningServiceError::Malformed("the request cannot be written"))?;
        let response: SignResponse = self.service.call("sign", &self.key, Some(body)).await?;
        let signature = BASE64
            .decode(response.signature)
            .map_err(|_| SigningServiceError::Malformed("the signature is not in base64"))?;
        self.public.verify(bytes, &signature).map_err(|_| SigningServiceError::SignatureInvalid)?;
        Ok(signature)
    }
}

impl SignatureKey for SigningServiceKey {
    fn name(&self) -> &AdministratorName {
        &self.name
    }

    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn carrier(&self) -> Carrier {
        Carrier::Service { url: self.service.url().to_owned(), key: self.key.key.to_string() }
    }

    fn sign<'a>(&'a self, bytes: &'a [u8]) -> SigningFuture<'a> {
        Box::pin(async { Ok(self.sign_remotely(bytes).await?) })
    }
}

/// `SEQUENCE { X INTEGER, Y INTEGER }` in DER, of a point on P-521.
pub(super) fn public_key(der: &[u8]) -> Result<PublicKey, SigningServiceError> {
    let (x, y) =
        coordinates(der).map_err(|_| SigningServiceError::Malformed("the public key is not DER{X, Y}"))?;
    let mut point = [0; POINT_LEN];
    let (prefix, coordinates) = point.split_at_mut(1);
    let (to_x, to_y) = coordinates.split_at_mut(COORDINATE_LEN);
    prefix.fill(4);
    for (to, from) in [(to_x, x), (to_y, y)] {
        let start = to.len().checked_sub(from.len()).ok_or(SigningServiceError::WrongCurve)?;
        to.get_mut(start..).unwrap_or_default().copy_from_slice(from);
    }
    PublicKey::from_point(&point).map_err(|_| SigningServiceError::WrongCurve)
}

fn coordinates(der: &[u8]) -> der::Result<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(der)?;
    let pair = reader.sequence(|r| {
        Ok::<_, der::Error>((UintRef::decode(r)?.as_bytes(), UintRef::decode(r)?.as_bytes()))
    })?;
    reader.finish()?;
    Ok(pair)
}

#[cfg(test)]
mod tests {
    use super::public_key;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn prop_nothing_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = public_key(&bytes);
        }
    }
}
