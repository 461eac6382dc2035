//! A signature key that a signing service keeps.

use super::{NamedKey, ServiceError, SigningService};
use crate::holder::{Carrier, SignatureKey, Signing};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use der::asn1::UintRef;
use der::{Decode, Reader, SliceReader};
use serde::{Deserialize, Serialize};
use tke_crypto::{AdministratorName, POINT_LEN, PublicKey};

const HASH_ALGORITHM: &str = "sha2-512";
const COORDINATE_LEN: usize = (POINT_LEN - 1) / 2;

/// A signature key that a signing service keeps; its public key as the service announced it.
#[derive(Debug)]
pub struct ServiceKey {
    service: SigningService,
    key: NamedKey,
    name: AdministratorName,
    public: PublicKey,
}

#[derive(Deserialize)]
struct PublicKeyAnswer {
    publickey: String,
}

#[derive(Serialize)]
struct SignRequest<'a> {
    hash_algorithm: &'a str,
    input: String,
}

#[derive(Deserialize)]
struct SignAnswer {
    signature: String,
}

impl ServiceKey {
    /// Asks the service for its key of that name. `name` is the administrator's, in certificate and logs.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn fetch(
        service: &SigningService,
        key: NamedKey,
        name: AdministratorName,
    ) -> Result<Self, ServiceError> {
        let answer: PublicKeyAnswer = service.call("keys", &key, None).await?;
        let der = BASE64
            .decode(answer.publickey)
            .map_err(|_| ServiceError::Malformed("the public key is not in base64"))?;
        let public = public_key(&der)?;
        Ok(Self { service: service.clone(), key, name, public })
    }

    async fn sign_remotely(&self, bytes: &[u8]) -> Result<Vec<u8>, ServiceError> {
        let body = SignRequest { hash_algorithm: HASH_ALGORITHM, input: BASE64.encode(bytes) };
        let body = serde_json::to_vec(&body)
            .map_err(|_| ServiceError::Malformed("the request cannot be written"))?;
        let answer: SignAnswer = self.service.call("sign", &self.key, Some(body)).await?;
        let signature = BASE64
            .decode(answer.signature)
            .map_err(|_| ServiceError::Malformed("the signature is not in base64"))?;
        self.public.verify(bytes, &signature).map_err(|_| ServiceError::SignatureInvalid)?;
        Ok(signature)
    }
}

impl SignatureKey for ServiceKey {
    fn name(&self) -> &AdministratorName {
        &self.name
    }

    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn carrier(&self) -> Carrier {
        Carrier::Service { url: self.service.url().to_owned(), key: self.key.key.to_string() }
    }

    fn sign<'a>(&'a self, bytes: &'a [u8]) -> Signing<'a> {
        Box::pin(async { Ok(self.sign_remotely(bytes).await?) })
    }
}

/// `SEQUENCE { X INTEGER, Y INTEGER }` in DER, of a point on P-521.
pub(super) fn public_key(der: &[u8]) -> Result<PublicKey, ServiceError> {
    let (x, y) = coordinates(der).map_err(|_| ServiceError::Malformed("the public key is not DER{X, Y}"))?;
    let mut point = [0; POINT_LEN];
    let (prefix, coordinates) = point.split_at_mut(1);
    let (to_x, to_y) = coordinates.split_at_mut(COORDINATE_LEN);
    prefix.fill(4);
    for (to, from) in [(to_x, x), (to_y, y)] {
        let start = to.len().checked_sub(from.len()).ok_or(ServiceError::WrongCurve)?;
        to.get_mut(start..).unwrap_or_default().copy_from_slice(from);
    }
    PublicKey::from_point(&point).map_err(|_| ServiceError::WrongCurve)
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
