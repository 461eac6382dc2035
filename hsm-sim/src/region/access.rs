//! The instances and the callers of a region, from its identity.

use super::identity::Identity;
use node::{Instance, ServiceKind};
use server::auth::{self, Auth, AuthConfig, SigningKey};
use wire::text::decode_hex;
use zeroize::Zeroizing;

/// The region's two instances.
pub(super) fn instances(identity: &Identity) -> impl Iterator<Item = Instance> {
    [identity.instance_id, identity.instance_id_2].into_iter().map(|id| Instance {
        id: kms::InstanceId(id),
        region: identity.region.clone(),
        account: identity.account.clone(),
        kind: ServiceKind::HyperProtect,
    })
}

/// Two managers with a static token each; the API key is the first one's. `None` if the key of the token service's
/// signatures is damaged.
pub(super) fn authentication(identity: &Identity) -> Option<Auth> {
    let known = |iam_id: String| auth::Identity { iam_id, account: identity.account.clone() };
    let mut config = AuthConfig::new(SigningKey::new(*decode_hex(&identity.token_key)?));
    config.tokens = managers(identity).map(|(token, iam_id)| (token, known(iam_id))).collect();
    let first = managers(identity).next().map(|(_, iam_id)| known(iam_id));
    config.api_keys =
        first.into_iter().map(|first| (Zeroizing::new(identity.api_key.clone()), first)).collect();
    Some(Auth::new(config))
}

fn managers(identity: &Identity) -> impl Iterator<Item = (Zeroizing<String>, String)> {
    (1..)
        .zip(&identity.tokens)
        .map(|(number, token)| (Zeroizing::new(token.clone()), format!("IBMid-DEV000000{number}")))
}
