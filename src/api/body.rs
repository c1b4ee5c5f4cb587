//! Request bodies: one flat JSON object, read strictly and bounded.
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
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::error::Failure;
use crate::model::problem::FieldProblem;

/// Longest body, bytes. The largest honest one (a registration) has well under 2 KiB.
const LIMIT: usize = 64 * 1024;
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
        if !is_json(request.headers()) {
            return Err(Failure::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "Unsupported media type",
                "send 'Content-Type: application/json'",
            ));
        }
        let bytes = read(request.into_body()).await?;
        parse(&bytes).map(Self)
    }
}

/// Whether there is one content type and it is JSON, whatever its parameters (RFC 8259 §11 has none
/// that mean anything). Browsers cannot send it across origins without asking first.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(only), None) = (values.next(), values.next()) else { return false };
    let media_type = only.to_str().ok().and_then(|value| value.split(';').next());
    media_type.is_some_and(|text| text.trim().eq_ignore_ascii_case("application/json"))
}

async fn read(body: Body) -> Result<bytes::Bytes, Failure> {
    match Limited::new(body, LIMIT).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "Request body too large",
            format!("this endpoint takes at most {LIMIT} bytes"),
        )),
        Err(_) => Err(malformed("the body ended before it was complete")),
    }
}

fn malformed(detail: impl Into<String>) -> Failure {
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
    Other(&'static str),
}

/// The members of a body that no shape has taken yet, and the faults found so far.
pub(in crate::api) struct Fields {
    members: BTreeMap<String, Member>,
    faults: Vec<FieldProblem>,
}

impl Fields {
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
        match self.members.remove(name) {
            Some(Member::Text(text)) => Some(text),
            Some(Member::Null) => self.fault(name, "type", "expected a string, found null"),
            Some(Member::Other(found)) => self.wrong_type(name, found),
            None => self.fault(name, "required", "this field is required"),
        }
    }

    /// A secret text that may be left out.
    pub fn optional_secret(&mut self, name: &'static str) -> Option<Option<SecretString>> {
        match self.members.remove(name) {
            Some(Member::Text(text)) => Some(Some(text)),
            Some(Member::Null) | None => Some(None),
            Some(Member::Other(found)) => self.wrong_type(name, found),
        }
    }

    fn wrong_type<T>(&mut self, name: &str, found: &str) -> Option<T> {
        self.fault(name, "type", &format!("expected a string, found {found}"))
    }

    fn fault<T>(&mut self, name: &str, code: &'static str, detail: &str) -> Option<T> {
        if self.faults.len() < FAULTS {
            let shown: String = name.chars().take(SHOWN).collect();
            self.faults.push(FieldProblem::new(shown, code, detail.to_owned()));
        }
        None
    }

    /// All faults, with the members that nobody knew.
    fn finish(mut self) -> Vec<FieldProblem> {
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
        let mut fields = Fields { members: BTreeMap::new(), faults: Vec::new() };
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

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Member, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Member::Other("an object"))
    }
}
