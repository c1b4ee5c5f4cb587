//! `If-Match` and `If-None-Match` (RFC 9110 §13.1), read strictly: whoever sends one that cannot be
//! read wants a condition, and must not go without.

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;

use super::error::Failure;
use crate::users::condition::{Condition, Tag, Tags};

/// The request's conditions.
pub(in crate::api) struct Conditions(pub Condition);

impl<S: Sync> FromRequestParts<S> for Conditions {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let only_if = tags(&parts.headers, &IF_MATCH)?;
        let unless = tags(&parts.headers, &IF_NONE_MATCH)?;
        Ok(Self(Condition { only_if, unless }))
    }
}

/// An entity tag as a header has it.
pub(in crate::api) fn quoted(opaque: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::try_from(format!("\"{opaque}\"")).map_err(Failure::internal)
}

/// All lines of a header as one list (§5.3).
fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Failure> {
    let mut all: Option<Tags> = None;
    for value in headers.get_all(name) {
        let read = value.to_str().ok().and_then(list).ok_or_else(|| malformed(name))?;
        all = Some(match (all, read) {
            (None, read) => read,
            (Some(Tags::OneOf(mut before)), Tags::OneOf(read)) => {
                before.extend(read);
                Tags::OneOf(before)
            }
            // `*` stands alone.
            _ => return Err(malformed(name)),
        });
    }
    Ok(all)
}

fn malformed(name: &HeaderName) -> Failure {
    let detail = format!("'{name}' is not a list of entity tags such as \"7-19a\", nor '*'");
    Failure::new(StatusCode::BAD_REQUEST, "malformed-header", "Malformed header", detail)
}

fn list(text: &str) -> Option<Tags> {
    if text.trim() == "*" {
        return Some(Tags::Any);
    }
    let mut tags = Vec::new();
    let mut rest = text.trim_start();
    loop {
        let (tag, after) = tag(rest)?;
        tags.push(tag);
        rest = after.trim_start();
        if rest.is_empty() {
            return Some(Tags::OneOf(tags));
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

/// `[ "W/" ] DQUOTE *etagc DQUOTE` (§8.8.3), and what comes after it. A comma may be inside.
fn tag(text: &str) -> Option<(Tag, &str)> {
    let (weak, text) = text.strip_prefix("W/").map_or((false, text), |rest| (true, rest));
    let (opaque, rest) = text.strip_prefix('"')?.split_once('"')?;
    let etagc = opaque.bytes().all(|byte| byte == 0x21 || (0x23..=0x7e).contains(&byte));
    etagc.then(|| (Tag { weak, opaque: opaque.to_owned() }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<Option<Tags>, Failure> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_MATCH, line.parse().unwrap());
        }
        tags(&headers, &IF_MATCH)
    }

    #[test]
    fn lists_of_tags_are_read_over_lines_and_commas() {
        let tag = |weak, opaque: &str| Tag { weak, opaque: opaque.to_owned() };
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[" * "]).unwrap(), Some(Tags::Any));
        assert_eq!(
            read(&[r#""a,b" ,W/"""#, r#""c""#]).unwrap(),
            Some(Tags::OneOf(vec![tag(false, "a,b"), tag(true, ""), tag(false, "c")]))
        );
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for lines in [
            [""].as_slice(),
            &["a"],
            &["\"a"],
            &["\"a\" \"b\""],
            &["\"a\","],
            &["*, \"a\""],
            &["*", "*"],
            &["\"a\"", "*"],
            &["w/\"a\""],
            &["\"a b\""],
        ] {
            assert!(read(lines).is_err(), "{lines:?}");
        }
    }
}
