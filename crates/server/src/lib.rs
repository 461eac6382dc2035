//! The front ends: one module per public protocol, which parses, authenticates, calls the key service and answers.
//!
//! | module | protocol |
//! |---|---|
//! | [`rest`] | Key Protect's REST API |
//! | [`iam`] | the token service that its clients call first |
//! | [`tke`] | administration of crypto units by customers' tools |
//! | [`health`] | liveness and readiness, for operators |
//!
//! [`serve`](serve()) accepts connections, on every port with the same limits. [`observe`] logs and measures requests. [`to_completion`] carries requests out
//! to their end. [`KeyService`] is the key service that the front ends call.
//!
//! What it deliberately does not have: rules of keys and states (they are the key service's, so that every front end
//! follows them), crypto units and keystores (`node` connects them), a configuration file.
//!
//! Invariants:
//! - no request under `/api/v2` or `/v1/tke` is processed before its caller is authenticated, by one check for all;
//! - every answer under `/api/v2`, refusals included, has Key Protect's envelope and media type;
//! - a request under `/v1/tke` is carried out to its end, and recorded, even if its caller goes away;
//! - key material stays in buffers that are zeroized, in requests and in answers.

mod access;
mod answer;
pub mod auth;
mod body;
mod completion;
mod descriptors;
pub mod health;
pub mod iam;
pub mod observe;
pub mod rest;
mod serve;
mod service;
pub mod tke;

pub use completion::to_completion;
pub use descriptors::{Port, raise_descriptor_limit};
pub use serve::{ServeLimits, mark_authenticated, serve};
pub use service::{KeyService, ServiceSource, ServiceUnits};
