//! JSON objects as a token may contain them: UTF-8, one object and nothing after it, no member
//! named twice. RFC 8259 leaves a repeated name to the parser's taste; where two parsers differ
//! one of them can be fooled, so a repeated name is refused (RFC 7515 §4, RFC 7519 §4).

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// An object read strictly: its members' names and, as `T`, what is understood of it.
pub(crate) struct Object<T> {
    pub names: HashSet<String>,
    pub fields: T,
}

/// Reads one object; `None` if it is anything else.
pub(crate) fn object<T: DeserializeOwned>(bytes: &[u8]) -> Option<Object<T>> {
    // serde_json skips over members it was not asked for without looking at their encoding.
    let text = std::str::from_utf8(bytes).ok()?;
    let mut names = serde_json::Deserializer::from_str(text);
    let names = names.deserialize_map(Names).ok()?;
    let fields = serde_json::from_str(text).ok()?;
    Some(Object { names, fields })
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = HashSet<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object without repeated members")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut names = HashSet::new();
        while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
            if !names.insert(name) {
                return Err(M::Error::custom("a member is repeated"));
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &[u8]) -> Option<usize> {
        object::<serde_json::Value>(text).map(|object| object.names.len())
    }

    #[test]
    fn an_object_is_read_with_the_names_of_its_members() {
        assert_eq!(names(br#"{"a":1,"b":{"a":2}}"#), Some(2));
    }

    #[test]
    fn a_repeated_member_is_refused_however_it_is_spelt() {
        assert_eq!(names(br#"{"a":1,"a":1}"#), None);
        assert_eq!(names(br#"{"a":1,"\u0061":1}"#), None);
    }

    #[test]
    fn what_is_not_exactly_one_object_is_refused() {
        for text in [&b"[]"[..], b"", b"null", b"{} {}", b"{}x", b"{", b"\"a\"", b"\xef\xbb\xbf{}"] {
            assert_eq!(names(text), None, "{text:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused_even_where_nobody_looks() {
        assert_eq!(names(b"{\"ignored\":\"\xff\"}"), None);
    }
}
