//! Request bodies: one JSON object, flat but for a profile's claims, read strictly and bounded.
//!
//! Not axum's `Json`: that says one thing at a time, in serde's words, and takes the last of two
//! members of the same name (what another parser in front checked may have been the first). Here
//! every fault of a body is said at once and names its field, and text goes straight into types
//! that wipe it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::error::Failure;
use crate::model::problem::FieldProblem;

/// Longest body, bytes. The largest honest one (a profile) has well under 10 KiB.
const LIMIT: usize = 64 * 1024;
/// The media type of JSON.
pub(in crate::api) const JSON: &str = "application/json";
/// The media type of a merge patch (RFC 7396).
pub(in crate::api) const MERGE_PATCH: &str = "application/merge-patch+json";
/// Faults listed; a body may hold thousands.
const FAULTS: usize = 16;
/// Longest part of a client's member name that is sent back.
const SHOWN: usize = 64;

/// What a body can be read as: takes every field it knows, also after a fault, so that all faults
/// are found.
pub(in crate::api) trait Shape: Sized {
    /// `None` if a field is at fault, which `fields` has noted.
    fn read(fields: &mut Fields) -> Option<Self>;
}

/// A request body of that shape.
pub(in crate::api) struct Json<T>(pub T);

impl<S: Sync, T: Shape> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        want(request.headers(), &[JSON])?;
        let bytes = read(request.into_body(), LIMIT).await?;
        parse(&bytes).map(Self)
    }
}

/// A merge patch of that shape; plain JSON is taken for one, too.
pub(in crate::api) struct MergePatch<T>(pub T);

impl<S: Sync, T: Shape> FromRequest<S> for MergePatch<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        // RFC 5789 §3.1: a refusal says what would do.
        let accepted = HeaderValue::from_static(MERGE_PATCH);
        want(request.headers(), &[MERGE_PATCH, JSON])
            .map_err(|failure| failure.header(HeaderName::from_static("accept-patch"), accepted))?;
        let bytes = read(request.into_body(), LIMIT).await?;
        parse(&bytes).map(Self)
    }
}

/// Checks that there is one content type and it is one of these, in UTF-8 (RFC 8259 §8.1: JSON has no
/// other; §11: no other parameter means anything), and that the body is not coded: nothing here undoes
/// that. Browsers cannot send these types across origins without asking first.
pub(in crate::api) fn want(headers: &HeaderMap, types: &[&str]) -> Result<(), Failure> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let only = values.next().filter(|_| values.next().is_none());
    let media_type = only.and_then(|only| only.to_str().ok()).and_then(|value| value.split(';').next());
    let wanted = |text: &str| types.iter().any(|known| text.trim().eq_ignore_ascii_case(known));
    if !media_type.is_some_and(wanted) {
        let first = types.first().copied().unwrap_or_default();
        return Err(unsupported(format!("send 'Content-Type: {first}'")));
    }
    let parameters = only.and_then(|only| only.to_str().ok()).unwrap_or_default().split(';').skip(1);
    if parameters.filter_map(charset).any(|charset| !charset.eq_ignore_ascii_case("utf-8")) {
        return Err(unsupported(
            "send the body in UTF-8, and 'Content-Type' with charset=utf-8 or without".into(),
        ));
    }
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let detail = "send the body as it is, without 'Content-Encoding'".into();
        // RFC 9110 §15.5.16: what would do.
        return Err(unsupported(detail).header(ACCEPT_ENCODING, HeaderValue::from_static("identity")));
    }
    Ok(())
}

/// The value of a `charset` parameter.
fn charset(parameter: &str) -> Option<&str> {
    let (name, value) = parameter.split_once('=')?;
    name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
}

/// 415: the body is of another kind than is read here.
fn unsupported(detail: String) -> Failure {
    Failure::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        "Unsupported media type",
        detail,
    )
}

/// Reads a body of at most `limit` bytes.
pub(in crate::api) async fn read(body: Body, limit: usize) -> Result<bytes::Bytes, Failure> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::body_too_large(limit)),
        Err(_) => Err(malformed("the body ended before it was complete")),
    }
}

/// 400: the body is not JSON.
pub(in crate::api) fn malformed(detail: impl Into<String>) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "malformed-json", "Malformed JSON", detail)
}

fn parse<T: Shape>(bytes: &[u8]) -> Result<T, Failure> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    // serde_json's own words are not sent: for some errors they quote the input.
    let mut fields = Fields::deserialize(&mut deserializer)
        .and_then(|fields| deserializer.end().map(|()| fields))
        .map_err(|error| match error.classify() {
            serde_json::error::Category::Data => malformed("the body must be one JSON object"),
            _ => malformed(format!("not JSON at line {}, column {}", error.line(), error.column())),
        })?;
    let shape = T::read(&mut fields);
    let faults = fields.finish();
    match shape {
        Some(shape) if faults.is_empty() => Ok(shape),
        _ => Err(Failure::fields(faults)),
    }
}

/// A member's value, as far as it matters here.
enum Member {
    Text(SecretString),
    Null,
    Object(Fields),
    Other(&'static str),
}

/// What a merge patch says of one member (RFC 7396).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) enum Patched<T> {
    /// Nothing: it stays.
    Kept,
    /// It goes.
    Removed,
    /// It becomes this.
    Set(T),
}

/// The members of a body that no shape has taken yet, and the faults found so far.
pub(in crate::api) struct Fields {
    members: BTreeMap<String, Member>,
    faults: Vec<FieldProblem>,
    /// What a shape has asked for, for the test that compares it with its description.
    #[cfg(test)]
    pub asked: std::collections::BTreeSet<&'static str>,
}

impl Fields {
    fn of(members: BTreeMap<String, Member>) -> Self {
        Self {
            members,
            faults: Vec::new(),
            #[cfg(test)]
            asked: std::collections::BTreeSet::new(),
        }
    }

    fn take(&mut self, name: &'static str) -> Option<Member> {
        #[cfg(test)]
        self.asked.insert(name);
        self.members.remove(name)
    }

    /// A text that must be there.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.secret(name).map(|text| text.expose_secret().to_owned())
    }

    /// A text that may be left out (or be null, which says the same); the outer `None` is a fault.
    pub fn optional_text(&mut self, name: &'static str) -> Option<Option<String>> {
        let text = self.optional_secret(name)?;
        Some(text.map(|text| text.expose_secret().to_owned()))
    }

    /// A secret text that must be there.
    pub fn secret(&mut self, name: &'static str) -> Option<SecretString> {
        match self.take(name) {
            Some(Member::Text(text)) => Some(text),
            Some(Member::Null) => self.fault(name, "type", "expected a string, found null"),
            Some(other) => self.wrong_type(name, &other),
            None => self.fault(name, "required", "this field is required"),
        }
    }

    /// A secret text that may be left out.
    pub fn optional_secret(&mut self, name: &'static str) -> Option<Option<SecretString>> {
        match self.take(name) {
            Some(Member::Text(text)) => Some(Some(text)),
            Some(Member::Null) | None => Some(None),
            Some(other) => self.wrong_type(name, &other),
        }
    }

    /// What a patch says of a text.
    pub fn patched_text(&mut self, name: &'static str) -> Option<Patched<String>> {
        match self.take(name) {
            None => Some(Patched::Kept),
            Some(Member::Null) => Some(Patched::Removed),
            Some(Member::Text(text)) => Some(Patched::Set(text.expose_secret().to_owned())),
            Some(other) => self.wrong_type(name, &other),
        }
    }

    /// What a patch says of an object, whose own members `read` takes. Their faults are named by
    /// JSON Pointers.
    pub fn patched_object<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Patched<T>> {
        let mut inner = match self.take(name) {
            None => return Some(Patched::Kept),
            Some(Member::Null) => return Some(Patched::Removed),
            Some(Member::Object(inner)) => inner,
            Some(other) => {
                let detail = format!("expected an object, found {}", other.word());
                return self.fault(name, "type", &detail);
            }
        };
        let value = read(&mut inner);
        let faults = inner.finish();
        let sound = faults.is_empty();
        for fault in faults {
            // RFC 6901 §3.
            let below = fault.field.replace('~', "~0").replace('/', "~1");
            self.push(FieldProblem { field: format!("/{name}/{below}").into(), ..fault });
        }
        value.filter(|_| sound).map(Patched::Set)
    }

    /// Refuses a member that is the server's to set.
    pub fn read_only(&mut self, name: &'static str) {
        if self.take(name).is_some() {
            self.fault::<()>(name, "read_only", "this field cannot be changed here");
        }
    }

    fn wrong_type<T>(&mut self, name: &str, found: &Member) -> Option<T> {
        self.fault(name, "type", &format!("expected a string, found {}", found.word()))
    }

    fn fault<T>(&mut self, name: &str, code: &'static str, detail: &str) -> Option<T> {
        let shown: String = name.chars().take(SHOWN).collect();
        self.push(FieldProblem::new(shown, code, detail.to_owned()));
        None
    }

    fn push(&mut self, fault: FieldProblem) {
        if self.faults.len() < FAULTS {
            self.faults.push(fault);
        }
    }

    /// All faults, with the members that nobody knew.
    pub fn finish(mut self) -> Vec<FieldProblem> {
        for name in std::mem::take(&mut self.members).into_keys() {
            self.fault::<()>(&name, "unknown", "this field is not known here");
        }
        self.faults
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::of(BTreeMap::new());
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value()?;
            match fields.members.entry(name) {
                Entry::Vacant(place) => {
                    place.insert(value);
                }
                Entry::Occupied(taken) => {
                    let name = taken.key().clone();
                    fields.fault::<()>(&name, "duplicate", "this field is there twice");
                }
            }
        }
        Ok(fields)
    }
}

impl Member {
    /// What it is, for a fault.
    const fn word(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Null => "null",
            Self::Object(_) => "an object",
            Self::Other(word) => word,
        }
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemberVisitor)
    }
}

struct MemberVisitor;

impl<'de> Visitor<'de> for MemberVisitor {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Member, E> {
        Ok(Member::Text(text.into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Member, E> {
        Ok(Member::Text(text.into()))
    }

    fn visit_unit<E>(self) -> Result<Member, E> {
        Ok(Member::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Member, E> {
        Ok(Member::Other("a boolean"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Member, E> {
        Ok(Member::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Member, E> {
        Ok(Member::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Member, E> {
        Ok(Member::Other("a number"))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Member, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Member, A::Error> {
        FieldsVisitor.visit_map(map).map(Member::Object)
    }
}
