//! Fuzz targets: request bodies, from the content type to the answer. What is taken is one object of the
//! members that the endpoint knows, each once, of the right type; what is refused is refused within
//! bounds and without sending a value back. And the device cookie among all that a browser sends.

#![expect(clippy::indexing_slicing, reason = "a JSON value that lacks a member is null")]

use std::cell::RefCell;

use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn;
use axum::routing::post;
use futures_util::FutureExt as _;
use http::header::{CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tower_service::Service as _;

use super::body::{Json, Shape};
use super::device_cookie;
use super::error::finish;
use super::{password, refresh};
use crate::auth::accounts::Registration;
use crate::auth::sessions::Login;
use crate::auth::throttle::DeviceCookie;
use crate::auth::throttle::device::{Device, DeviceKeys};
use crate::fuzzing::input::Input;
use crate::fuzzing::jwks::members;
use crate::model::id::AccountId;
use crate::model::master_key::{MasterKey, Purpose};
use crate::model::random::SeededRng;
use crate::model::time::Timestamp;

/// The endpoints with bodies: where, and which members they know; whether each must be there.
const ENDPOINTS: [(&str, &[(&str, bool)]); 4] = [
    ("/login", &[("email", true), ("password", true), ("device", false)]),
    ("/register", &[("email", true), ("password", true), ("name", false), ("invite", false)]),
    ("/refresh", &[("refresh_token", true)]),
    ("/password", &[("current_password", true), ("new_password", true)]),
];

/// Longest answer, bytes: 16 faults of a name and a sentence each.
const LONGEST_ANSWER: usize = 8 * 1024;

thread_local! {
    static ROUTER: RefCell<Router> = RefCell::new(router());
}

fn router() -> Router {
    Router::new()
        .route("/login", post(taken::<Login>))
        .route("/register", post(taken::<Registration>))
        .route("/refresh", post(taken::<refresh::Presented>))
        .route("/password", post(taken::<password::PasswordChange>))
        .layer(from_fn(finish))
}

async fn taken<T: Shape>(Json(_): Json<T>) -> &'static str {
    "taken"
}

/// `body.rs` over an endpoint, a content type and a body.
pub fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let which = input.byte();
    let Some((path, known)) = ENDPOINTS.iter().cycle().nth(usize::from(which % 4)) else { return };
    let Ok(content_type) = HeaderValue::from_bytes(input.line().unwrap_or_default()) else { return };
    let body = input.rest();
    let request = Request::post(*path).header(CONTENT_TYPE, &content_type).body(Body::from(body.to_vec()));
    let Ok(request) = request else { return };
    let (status, answer) = ask(request);
    let good = content_type.to_str().is_ok_and(is_json) && is_good(body, known);
    assert_eq!(status == StatusCode::OK, good, "{status} for {:?}", String::from_utf8_lossy(body));
    if !good {
        refused(status, &answer, body);
    }
}

/// JSON, and in no other charset than UTF-8.
fn is_json(content_type: &str) -> bool {
    let lower = content_type.to_ascii_lowercase();
    let mut parts = lower.split(';').map(str::trim);
    let media_type = parts.next() == Some("application/json");
    media_type
        && parts
            .filter_map(|part| part.split_once('='))
            .all(|(name, value)| name.trim() != "charset" || value.trim().trim_matches('"') == "utf-8")
}

fn ask(request: Request<Body>) -> (StatusCode, Vec<u8>) {
    // Nothing here waits for anything.
    let answer = ROUTER.with_borrow_mut(|router| router.call(request).now_or_never());
    let response: Response<Body> = match answer {
        Some(Ok(response)) => response,
        _ => panic!("the router waits"),
    };
    let (parts, body) = response.into_parts();
    let bytes = body.collect().now_or_never().and_then(Result::ok).map(|body| body.to_bytes().to_vec());
    (parts.status, bytes.unwrap_or_default())
}

/// What must be taken, read without the parser under test.
fn is_good(body: &[u8], known: &[(&str, bool)]) -> bool {
    let Some(members) = std::str::from_utf8(body).ok().and_then(members) else { return false };
    let once = |name: &str| members.iter().filter(|(other, _)| other == name).count() == 1;
    let typed = |(name, value): &(String, Value)| {
        known.iter().any(|(known, must)| known == name && (value.is_string() || (!must && value.is_null())))
    };
    members.iter().all(|member| typed(member) && once(&member.0))
        && known.iter().all(|(name, must)| !must || once(name))
        && body.len() <= 64 * 1024
}

fn refused(status: StatusCode, answer: &[u8], body: &[u8]) {
    assert!([400, 413, 415, 422].contains(&status.as_u16()), "{status}");
    assert!(answer.len() <= LONGEST_ANSWER, "{} bytes of answer", answer.len());
    let Ok(problem) = serde_json::from_slice::<Value>(answer) else { panic!("{answer:?}") };
    assert_eq!(problem["status"].as_u64(), Some(u64::from(status.as_u16())), "{problem}");
    let faults = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(
        faults.len() <= 16 && (status != StatusCode::UNPROCESSABLE_ENTITY || !faults.is_empty()),
        "{problem}"
    );
    // A password in a body that is refused for something else stays here. Names are sent back.
    let members = std::str::from_utf8(body).ok().and_then(members).unwrap_or_default();
    let names: String = members.iter().map(|(name, _)| name.as_str()).collect();
    let said = problem.to_string();
    for secret in members.iter().filter_map(|(_, value)| value.as_str()).filter(|text| text.len() >= 24) {
        assert!(names.contains(secret) || !said.contains(secret), "{problem} has {secret:?}");
    }
}

/// Our cookie's name, as browsers know it.
const COOKIE_NAME: &str = "__Host-keepgate-device";

thread_local! {
    static DEVICES: DeviceKeys =
        DeviceKeys::new(&MasterKey::generate(&SeededRng::new(1)).derive(Purpose::KnownDevices));
}

/// The one cookie that was issued, and to whom.
fn issued(keys: &DeviceKeys) -> (AccountId, Device, SecretString) {
    let account = AccountId(uuid::Uuid::from_bytes([1; 16]));
    let device = Device { id: [7; 16], issued_at: Timestamp::from_millis(1_790_000_000_123) };
    (account, device, keys.write(account, &device))
}

/// `device_cookie.rs`, then `auth/throttle/device.rs`, over lines of `Cookie`.
pub fn cookie(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (mut headers, mut want) = (HeaderMap::new(), Vec::new());
    while let Some(line) = input.line() {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        let pairs = value.to_str().unwrap_or_default().split(';').filter_map(|pair| pair.split_once('='));
        let ours = pairs.filter(|(name, _)| name.trim_start() == COOKIE_NAME);
        want.extend(ours.map(|(_, value)| value.trim_end().to_owned()));
        headers.append(COOKIE, value);
    }
    let found: Vec<String> =
        device_cookie::read(&headers).iter().map(|value| value.expose_secret().to_owned()).collect();
    assert!(
        found.len() <= 4 && want.starts_with(&found) && (found == want || found.len() == 4),
        "{headers:?}"
    );
    DEVICES.with(|keys| found.iter().for_each(|value| known(keys, value)));
}

fn known(keys: &DeviceKeys, value: &str) {
    let (account, device, text) = issued(keys);
    let expected = (value == text.expose_secret()).then_some(device);
    assert_eq!(keys.read(account, value), expected, "{value:?}: one cookie was issued");
    assert_eq!(keys.read(AccountId(uuid::Uuid::nil()), value), None, "it speaks for another account");
    if expected.is_some() {
        let max_age = std::time::Duration::from_secs(1);
        let Ok((_, line)) = device_cookie::set(&DeviceCookie { value: text, max_age }) else {
            panic!("{value}")
        };
        assert!(line.to_str().is_ok_and(|line| line.starts_with(&format!("{COOKIE_NAME}={value};"))));
    }
}

/// For the corpus.
#[cfg(test)]
pub(crate) fn cookie_seeds() -> Vec<Vec<u8>> {
    DEVICES.with(|keys| {
        let (_, _, text) = issued(keys);
        vec![format!("a=1; {COOKIE_NAME}={}; b", text.expose_secret()).into_bytes()]
    })
}
