//! The plain HTTP listener: it shows a CA what its open challenges ask for (http-01), sends everything
//! else to HTTPS and serves nothing.
//!
//! 308, so that a method and body survive. The target's host is the request's own, and only if a
//! certificate names it: whoever asks under a foreign name is not sent anywhere.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};

use super::body::Outgoing;
use super::certificates::Certificates;
use super::guard::host::Host;
use super::guard::target::encode_past_ascii;
use super::respond::Refused;

/// Longest target that is redirected, bytes.
const TARGET_BYTES: usize = 8 * 1024;

/// The answer to a plain request; `port` is where HTTPS listens.
pub fn answer<B>(
    request: Request<B>,
    certificates: &Certificates,
    port: u16,
) -> Result<Response<Outgoing>, Refused> {
    let asks = request.method() == Method::GET;
    match certificates.challenges().text(request.uri().path()).filter(|_| asks) {
        Some(text) => Ok(challenge(text)),
        None => to_https(request, certificates, port),
    }
}

/// RFC 8555 §8.3. Whoever asks learns only what the CA is to see.
fn challenge(text: String) -> Response<Outgoing> {
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(Outgoing::full(text.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

fn to_https<B>(
    request: Request<B>,
    certificates: &Certificates,
    port: u16,
) -> Result<Response<Outgoing>, Refused> {
    let (parts, _) = request.into_parts();
    let host = Host::of(&parts).map_err(|error| Refused::bad_request(error.to_string()).closing())?;
    if !certificates.covers(host.name()) {
        return Err(Refused::new(StatusCode::MISDIRECTED_REQUEST, "unknown-host", "Unknown host")
            .detail("this host is not served here"));
    }
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    if !target.starts_with('/') || target.len() > TARGET_BYTES {
        return Err(Refused::bad_request("the request target cannot be redirected").closing());
    }
    // Headers are ASCII; what is encoded already stays as it is.
    let encoded = encode_past_ascii(target);
    let target = encoded.as_deref().unwrap_or(target);
    let location = match port {
        443 => format!("https://{}{target}", host.name()),
        port => format!("https://{}:{port}{target}", host.name()),
    };
    let location = HeaderValue::try_from(location)
        .map_err(|_| Refused::bad_request("the request target is malformed"))?;
    let mut response = Response::new(Outgoing::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::header::HOST;
    use rustls::crypto::aws_lc_rs::default_provider;

    use super::*;
    use crate::config::tls::Tls;
    use crate::model::random::SystemRng;
    use crate::model::time::SystemClock;

    #[test]
    fn what_is_past_ascii_is_encoded_on_the_way_to_https() {
        let folder = tempfile::tempdir().unwrap();
        let by = (Arc::new(SystemClock) as _, Arc::new(SystemRng) as _);
        let certificates =
            Certificates::open(&Tls::default(), folder.path(), Arc::new(default_provider()), by).unwrap();
        let location = |target: &str| {
            let request = Request::get(target).header(HOST, "localhost").body(()).unwrap();
            let response = answer(request, &certificates, 8443).unwrap_or_else(|_| panic!("{target}"));
            response.headers()[LOCATION].to_str().unwrap().to_owned()
        };
        assert_eq!(location("/caf\u{e9}?a=\u{e9}"), "https://localhost:8443/caf%C3%A9?a=%C3%A9");
        assert_eq!(location("/caf%c3%a9?a=%zz"), "https://localhost:8443/caf%c3%a9?a=%zz");
    }
}
