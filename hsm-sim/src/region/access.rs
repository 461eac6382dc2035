//! The instances and the callers of a region, from its identity.

use super::identity::{Credentials, Identity};
use node::{Instance, ServiceKind};
use server::auth::{self, Auth, AuthConfig, Grants, SigningKey};
use wire::text::decode_hex;
use zeroize::Zeroizing;

/// The region's two instances.
pub(super) fn instances(identity: &Identity) -> impl Iterator<Item = Instance> {
    [identity.instance_id, identity.instance_id_2].into_iter().map(|id| Instance {
        id: kms::InstanceId(id),
        region: identity.instance_region.as_ref().unwrap_or(&identity.region).clone(),
        account: identity.account.clone(),
        kind: ServiceKind::HyperProtect,
    })
}

/// The callers of the region; `None` if the key of the token service's signatures is damaged.
///
/// | credential | of | may |
/// |---|---|---|
/// | `api_key`, `api_key_2` | an application each | use and manage the keys of one instance |
/// | two static tokens | two managers | use and manage the keys of both instances |
/// | `operator_api_key`, `operator_token` | the operator | administer crypto units and instances, use no keys |
pub(super) fn authentication(identity: &Identity) -> Option<Auth> {
    let [one, two] = [identity.instance_id, identity.instance_id_2].map(kms::InstanceId);
    let entry = |secret: &str, iam_id: &str, grants: Grants| {
        let (iam_id, account) = (iam_id.to_owned(), identity.account.clone());
        (Zeroizing::new(secret.to_owned()), auth::Identity { iam_id, account, grants })
    };
    let of_both = || Grants::application([one, two]);
    let Credentials { api_key_2, operator_api_key, operator_token } = &identity.credentials;
    let [first, second] = &identity.tokens;
    let mut config = AuthConfig::new(SigningKey::new(*decode_hex(&identity.token_key)?));
    config.tokens = vec![
        entry(first, "IBMid-DEV0000001", of_both()),
        entry(second, "IBMid-DEV0000002", of_both()),
        entry(operator_token, "iam-ServiceId-OPERATOR", Grants::operator()),
    ];
    config.api_keys = vec![
        entry(&identity.api_key, "IBMid-DEV0000001", Grants::application([one])),
        entry(api_key_2, "iam-ServiceId-DEV0000002", Grants::application([two])),
        entry(operator_api_key, "iam-ServiceId-OPERATOR", Grants::operator()),
    ];
    Some(Auth::new(config))
}
