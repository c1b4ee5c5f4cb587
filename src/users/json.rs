//! The body of a document: any one JSON value, kept byte for byte, but only if every reader must
//! understand it alike (I-JSON, RFC 7493): UTF-8, no member twice in an object, no number beyond a
//! double, no half of a surrogate pair. Nesting is bounded, since the readers' stacks are. A NUL is
//! welcome in its escaped form, the only one that JSON has: nothing here takes it for an end.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Arrays and objects inside each other, at most. serde_json itself stops at 128.
pub const DEPTH: usize = 64;
/// Longest part of a member's name that is said back.
const SHOWN: usize = 64;

/// A JSON text that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonText(String);

/// Why bytes are not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// Not JSON, or not UTF-8.
    #[error(
        "not valid JSON, or a number that a double cannot hold (RFC 7493), at line {line}, column {column}"
    )]
    Malformed {
        /// From 1.
        line: usize,
        /// In bytes.
        column: usize,
    },
    /// More than [`DEPTH`] deep.
    #[error("arrays and objects may be nested at most {DEPTH} deep")]
    TooDeep,
    /// A member is there twice: readers differ in which they take.
    #[error("an object has the member {0:?} twice")]
    Duplicate(String),
}

impl JsonText {
    /// Checks bytes.
    ///
    /// # Errors
    /// The first fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonFault> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
            JsonFault::Malformed { line, column }
        })?;
        let fault = RefCell::new(None);
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let checked = Value { depth: 0, fault: &fault }.deserialize(&mut deserializer);
        match checked.and_then(|()| deserializer.end()) {
            Ok(()) => Ok(Self(text.to_owned())),
            Err(error) => Err(fault
                .take()
                .unwrap_or_else(|| JsonFault::Malformed { line: error.line(), column: error.column() })),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One value somewhere inside; what is wrong with it goes into `fault`.
struct Value<'f> {
    depth: usize,
    fault: &'f RefCell<Option<JsonFault>>,
}

impl Value<'_> {
    fn refuse<E: serde::de::Error>(&self, fault: JsonFault) -> E {
        self.fault.replace(Some(fault));
        E::custom("")
    }

    fn below<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth >= DEPTH {
            return Err(self.refuse(JsonFault::TooDeep));
        }
        Ok(Self { depth: self.depth + 1, fault: self.fault })
    }

    const fn again(&self) -> Self {
        Self { depth: self.depth, fault: self.fault }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let below = self.below::<A::Error>()?;
        while list.next_element_seed(below.again())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let below = self.below::<A::Error>()?;
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if names.contains(&name) {
                let shown = name.chars().take(SHOWN).collect();
                return Err(below.refuse(JsonFault::Duplicate(shown)));
            }
            names.insert(name);
            map.next_value_seed(below.again())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nested(depth: usize) -> String {
        "[".repeat(depth) + &"]".repeat(depth)
    }

    #[test]
    fn any_one_value_is_kept_byte_for_byte() {
        for text in [
            "null",
            " true\n",
            "-0.50e+1",
            "18446744073709551616",
            r#""\u0000 \ud83d\ude00""#,
            r#"{"b": [1, {"b": 2}], "a": {}}"#,
            r#"{"": 1, "\u0000": 2}"#,
            &nested(DEPTH),
        ] {
            assert_eq!(JsonText::parse(text.as_bytes()).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_readers_would_take_differently_is_refused() {
        for text in
            ["", " ", "{", "1 2", "\u{feff}1", "nul", "1e400", r#""\ud800""#, r#"{"\udc00":1}"#, "\"\0\""]
        {
            let fault = JsonText::parse(text.as_bytes()).unwrap_err();
            assert!(matches!(fault, JsonFault::Malformed { .. }), "{text:?}: {fault:?}");
        }
        let twice = |text: &str| JsonText::parse(text.as_bytes()).unwrap_err();
        assert_eq!(twice(r#"{"a": 1, "a": 1}"#), JsonFault::Duplicate("a".into()));
        assert_eq!(twice(r#"[{"x": {"a": 1, "\u0061": 2}}]"#), JsonFault::Duplicate("a".into()));
        for deep in [nested(DEPTH + 1), "[".repeat(60_000), r#"{"a":"#.repeat(60_000)] {
            assert_eq!(JsonText::parse(deep.as_bytes()), Err(JsonFault::TooDeep));
        }
    }

    #[test]
    fn a_fault_says_where_it_is() {
        let at = |bytes: &[u8]| JsonText::parse(bytes).unwrap_err();
        assert_eq!(at(b"{\n \"a\": x}"), JsonFault::Malformed { line: 2, column: 7 });
        assert_eq!(at(b"[1,\n\"\xff\"]"), JsonFault::Malformed { line: 2, column: 2 });
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn hostile_bytes_end_in_a_text_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(text) = JsonText::parse(&bytes) {
                prop_assert_eq!(text.as_str().as_bytes(), bytes.as_slice());
            }
        }
    }
}
