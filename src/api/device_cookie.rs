//! The cookie by which a browser is known to an account: read from a login, set by its answer.
//!
//! `__Host-` binds it to this host over TLS (RFC 6265bis §4.1.3.2): neither a neighbouring subdomain
//! nor plain HTTP can plant another in its place. `SameSite=Strict`, since no other site has a login
//! here to make.

use axum::extract::FromRequestParts;
use http::header::{COOKIE, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use super::error::Failure;
use crate::auth::throttle::DeviceCookie;

const NAME: &str = "__Host-keepgate-device";
/// Cookies of our name that are looked at; a browser sends one.
const MOST: usize = 4;

/// What the request has under our cookie's name.
pub(in crate::api) struct DeviceCookies(pub Vec<SecretString>);

impl<S: Sync> FromRequestParts<S> for DeviceCookies {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self(read(&parts.headers)))
    }
}

pub(in crate::api) fn read(headers: &HeaderMap) -> Vec<SecretString> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == NAME).take(MOST).map(|(_, value)| value.into()).collect()
}

/// `Set-Cookie` for the device.
pub(in crate::api) fn set(cookie: &DeviceCookie) -> Result<(HeaderName, HeaderValue), Failure> {
    let DeviceCookie { value, max_age } = cookie;
    let line = format!(
        "{NAME}={}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Strict",
        value.expose_secret(),
        max_age.as_secs()
    );
    let mut line = HeaderValue::try_from(line).map_err(Failure::internal)?;
    line.set_sensitive(true);
    Ok((SET_COOKIE, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_found_among_others_and_no_more_than_a_few_are_looked_at() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; __Host-keepgate-device=one;b"));
        headers.append(COOKIE, HeaderValue::from_static("x__Host-keepgate-device=no"));
        headers.append(COOKIE, HeaderValue::from_bytes(b"\xff=1").unwrap());
        let found: Vec<_> = read(&headers).iter().map(|it| it.expose_secret().to_owned()).collect();
        assert_eq!(found, ["one"]);
        for _ in 0..100 {
            headers.append(COOKIE, HeaderValue::from_static("__Host-keepgate-device=more"));
        }
        assert_eq!(read(&headers).len(), MOST);
    }
}
