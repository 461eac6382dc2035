//! Bearer tokens and API keys: what is compared with what is known, and the token service's signatures.
//!
//! What callers present is secret, and so are the tokens and keys that are known, and the signing key. Whether a credential is
//! known is declassified.

use crate::engine_soft::TAMPERINGS;
use crate::harness::{Case, public_bytes, secret, secret_bytes, set_up};
use ::server::auth::{Auth, AuthConfig, Grants, Identity, SharedToken, SigningKey};
use axum::http::{Extensions, HeaderMap, HeaderValue};
use std::hint::black_box;
use zeroize::Zeroizing;

const TOKEN: &str = "c0ffee00c0ffee00c0ffee00c0ffee00";

fn secret_text(characters: &str) -> String {
    set_up(|| String::from_utf8(secret_bytes(characters.as_bytes())).unwrap())
}

/// A credential with a change, all of it secret.
fn changed(text: &str, at: Option<bool>) -> String {
    let mut bytes = text.as_bytes().to_vec();
    if let Some(last) = at {
        bytes[if last { text.len() - 1 } else { 0 }] ^= 1;
    }
    secret_text(&String::from_utf8(bytes).unwrap())
}

fn header(token: &str) -> Vec<u8> {
    [b"Bearer ", token.as_bytes()].concat()
}

/// Two callers with a token and an API key each.
fn auth() -> Auth {
    let identity = |iam_id: &str| Identity {
        iam_id: iam_id.into(),
        account: "account".into(),
        grants: Grants::application([]),
    };
    let credentials = || {
        let one = (Zeroizing::new(secret_text("another")), identity("IBMid-1"));
        vec![one, (Zeroizing::new(secret_text(TOKEN)), identity("IBMid-2"))]
    };
    let mut config = AuthConfig::new(SigningKey::new(secret([7; 32])));
    (config.tokens, config.api_keys) = (credentials(), credentials());
    Auth::new(config)
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::silent("server_known_credentials", || {
            black_box(auth());
        }),
        Case::silent("server_grant", || {
            let auth = set_up(auth);
            black_box(auth.tokens_for_key(&secret_text(TOKEN)).unwrap());
        }),
    ];
    for (name, at) in TAMPERINGS {
        // Whether the ends are spaces.
        cases.push(Case::with_verdicts(format!("server_shared_token_{name}"), 2, move || {
            let known = set_up(|| SharedToken::new(&secret_text(TOKEN)));
            let headers = set_up(|| {
                let value = HeaderValue::from_bytes(&header(&changed(TOKEN, at))).unwrap();
                HeaderMap::from_iter([(axum::http::header::AUTHORIZATION, value)])
            });
            assert_eq!(known.is_in(&headers, &Extensions::new()), at.is_none());
        }));
    }
    // The caller knows what it has presented; only what is known here is secret.
    cases.push(Case::silent("server_static_token", || {
        let auth = set_up(auth);
        assert!(auth.caller(&header(TOKEN)).is_some());
    }));
    // Whether the tag is right, which the crate hmac makes public itself.
    for (name, at) in TAMPERINGS {
        cases.push(Case::with_verdicts(format!("server_issued_token_{name}"), 1, move || {
            let auth = set_up(auth);
            let token = set_up(|| {
                let (token, _) = auth.tokens_for_key(&secret_text(TOKEN)).unwrap();
                let mut token = public_bytes(token.as_bytes());
                if let Some(last) = at {
                    // The tag has 43 characters; the last one has unused bits, which are another refusal.
                    let place = token.len() - if last { 2 } else { 43 };
                    token[place] = if token[place] == b'A' { b'B' } else { b'A' };
                }
                String::from_utf8(token).unwrap()
            });
            assert_eq!(auth.caller(&header(&token)).is_some(), at.is_none());
        }));
    }
    cases
}
