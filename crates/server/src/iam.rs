//! The token service, which clients with an API key call first.

use crate::answer;
use crate::auth::{Auth, GrantRefusal, RefreshRefusal};
use crate::body::{BodyFailure, RequestBody};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use std::sync::Arc;
use uuid::Uuid;
use wire::iam::{
    CODE_BAD_APIKEY, CODE_BAD_FORM, CODE_BAD_REFRESH, CODE_FAILURE, IamContext, IamErrorAnswer, TokenAnswer,
    TokenRequest, token_request,
};

/// `POST /identity/token`, and `POST /oidc/token` with the same meaning for older clients.
pub fn router(auth: Arc<Auth>) -> Router {
    Router::new().route("/identity/token", post(token)).route("/oidc/token", post(token)).with_state(auth)
}

async fn token(State(auth): State<Arc<Auth>>, body: Result<RequestBody, BodyFailure>) -> Response {
    let Ok(body) = body else {
        return refuse(CODE_BAD_FORM, "The request body is too long or incomplete.");
    };
    let granted = match token_request(body.expose()) {
        Err(error) => return refuse(error.code(), &error.to_string()),
        Ok(TokenRequest::ApiKey(key)) => auth.grant_for_key(&key),
        Ok(TokenRequest::Refresh(token)) => auth.grant_for_refresh(&token),
    };
    let grant = match granted {
        Ok(grant) => grant,
        Err(refusal) => return refuse_grant(&refusal),
    };
    let answered = TokenAnswer {
        access_token: &grant.access_token,
        refresh_token: &grant.refresh_token,
        token_type: "Bearer",
        expires_in: grant.expires_in,
        expiration: grant.expiration,
        scope: "ibm openid",
    };
    let mut response = answer::json(StatusCode::OK, answer::PLAIN_JSON, &answered);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn refuse_grant(refusal: &GrantRefusal) -> Response {
    match refusal {
        GrantRefusal::UnknownKey => refuse(CODE_BAD_APIKEY, "Provided API key could not be found."),
        GrantRefusal::Refresh(RefreshRefusal::Unknown) => {
            refuse(CODE_BAD_REFRESH, "Provided refresh token is not valid. Request tokens with the API key.")
        }
        GrantRefusal::Refresh(RefreshRefusal::Used) => refuse(
            CODE_BAD_REFRESH,
            "Provided refresh token was used before: each can be used once. Request tokens with the API key.",
        ),
        GrantRefusal::Random => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            answer_error(status, CODE_FAILURE, "The system's source of random bytes failed.")
        }
    }
}

fn refuse(code: &str, message: &str) -> Response {
    answer_error(StatusCode::BAD_REQUEST, code, message)
}

fn answer_error(status: StatusCode, code: &str, message: &str) -> Response {
    let request_id = Uuid::new_v4().to_string();
    let error = IamErrorAnswer { code, message, context: IamContext { request_id: &request_id } };
    answer::json(status, answer::PLAIN_JSON, &error)
}
