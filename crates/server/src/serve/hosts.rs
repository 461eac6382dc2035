//! The names under which a service is addressed.
//!
//! A web page can make a browser send requests to the loopback interface under the page's own name, by resolving that name
//! to 127.0.0.1 (DNS rebinding); the browser then lets the page read the answers. Such requests have the page's name in
//! their `Host`, so that a service that knows its names can refuse them.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;

/// The names that requests to a port may have in their `Host`.
#[derive(Debug)]
pub(super) struct Hosts {
    /// Whether the port is on the loopback interface, whose names are served.
    is_loopback: bool,
    names: Vec<String>,
}

impl Hosts {
    /// The names of a port with this address: those of the loopback interface if it is there, and `names`. Any name is
    /// served on another interface, unless there are names.
    pub(super) fn new(address: IpAddr, names: &[String]) -> Self {
        Self { is_loopback: address.to_canonical().is_loopback(), names: names.to_vec() }
    }

    fn serves(&self, authority: &Authority) -> bool {
        let host = authority.host().trim_end_matches('.');
        self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
            || (self.is_loopback && is_loopback(host))
            || (!self.is_loopback && self.names.is_empty())
    }

    /// Whether every host that the request names is served here.
    fn check(&self, request: &Request) -> Result<(), StatusCode> {
        let mut headers = request.headers().get_all(HOST).iter();
        let (header, second) = (headers.next(), headers.next());
        // Source: RFC 9112 §3.2. HTTP/1.0 has no such header.
        if second.is_some() || (header.is_none() && request.version() > Version::HTTP_10) {
            return Err(StatusCode::BAD_REQUEST);
        }
        let named = header.map(|host| Authority::try_from(host.as_bytes())).transpose();
        let named = named.map_err(|_| StatusCode::BAD_REQUEST)?;
        let all = named.iter().chain(request.uri().authority());
        for authority in all {
            if !self.serves(authority) {
                return Err(StatusCode::MISDIRECTED_REQUEST);
            }
        }
        Ok(())
    }
}

/// Whether this is a name or an address of the loopback interface.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Middleware that refuses requests for other hosts.
pub(super) async fn check_host(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    let status = match hosts.check(&request) {
        Ok(()) => return next.run(request).await,
        Err(status) => status,
    };
    let why = if status == StatusCode::BAD_REQUEST {
        "send one Host header, with the name or address of this service"
    } else {
        "the Host header names no host of this service: address it as localhost or 127.0.0.1, or add the name to the hosts \
         that it is started with"
    };
    (status, Json(json!({ "error": why }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::Hosts;
    use axum::body::Body;
    use axum::http::{Request, StatusCode, Version};

    fn check(hosts: &Hosts, given: &[&str]) -> Result<(), StatusCode> {
        let mut request = Request::get("/livez");
        for host in given {
            request = request.header("host", *host);
        }
        hosts.check(&request.body(Body::empty()).unwrap())
    }

    #[test]
    fn a_port_on_the_loopback_interface_has_its_names_and_those_it_is_given() {
        let hosts = Hosts::new([127, 0, 0, 1].into(), &["kms.example".to_owned()]);
        for good in [
            "localhost",
            "LOCALHOST:8900",
            "localhost.",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.1.2.3:8900",
            "[::1]:8900",
            "kms.example:443",
            "KMS.example",
        ] {
            assert_eq!(check(&hosts, &[good]), Ok(()), "{good}");
        }
        for foreign in [
            "evil.example",
            "evil.example:8900",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "kms.example.evil",
            "0.0.0.0",
            "[2001:db8::1]:8900",
        ] {
            assert_eq!(check(&hosts, &[foreign]), Err(StatusCode::MISDIRECTED_REQUEST), "{foreign}");
        }
        for bad in [&[][..], &["localhost", "evil.example"], &["localhost", "localhost"], &["a b"], &[""]] {
            assert_eq!(check(&hosts, bad), Err(StatusCode::BAD_REQUEST), "{bad:?}");
        }
    }

    #[test]
    fn a_port_on_another_interface_has_any_name_unless_it_is_given_some() {
        let any = Hosts::new([0, 0, 0, 0].into(), &[]);
        assert_eq!(check(&any, &["kms.example"]), Ok(()));
        let one = Hosts::new([0, 0, 0, 0].into(), &["kms.example".to_owned()]);
        assert_eq!(check(&one, &["kms.example"]), Ok(()));
        assert_eq!(check(&one, &["evil.example"]), Err(StatusCode::MISDIRECTED_REQUEST));
    }

    #[test]
    fn the_target_of_a_request_counts_too() {
        let hosts = Hosts::new([127, 0, 0, 1].into(), &[]);
        let request = |uri: &str, version| {
            let request = Request::get(uri).version(version).body(Body::empty()).unwrap();
            hosts.check(&request)
        };
        assert_eq!(request("http://evil.example/", Version::HTTP_10), Err(StatusCode::MISDIRECTED_REQUEST));
        assert_eq!(request("http://localhost:1/", Version::HTTP_10), Ok(()));
        assert_eq!(request("/", Version::HTTP_10), Ok(()));
    }
}
