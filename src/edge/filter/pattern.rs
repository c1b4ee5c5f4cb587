//! Patterns: `*` stands for anything, `%2A` for a star, every other byte for itself, letters in either case.
//!
//! That is all there is, so that matching is linear whatever is matched: the pieces between the stars are searched
//! for one after the other, each from where the one before ended, and never again. Regular expressions would say
//! more, and cost an engine that is linear only in the product of both lengths.

use memchr::memmem::Finder;

/// A pattern, compiled.
#[derive(Debug)]
pub struct Pattern {
    /// What it begins with, before the first star.
    head: Box<[u8]>,
    /// Between stars.
    middle: Vec<Finder<'static>>,
    /// What it ends with, after the last star; `None` without a star: the head is all.
    tail: Option<Box<[u8]>>,
}

impl Pattern {
    /// Compiles a text. Every text is a pattern.
    pub fn new(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let Some((head, rest)) = text.split_once('*') else {
            return Self { head: itself(&text).into(), middle: Vec::new(), tail: None };
        };
        let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
        let pieces = middle.split('*').filter(|piece| !piece.is_empty());
        let middle = pieces.map(|piece| Finder::new(&itself(piece)).into_owned()).collect();
        Self { head: itself(head).into(), middle, tail: Some(itself(tail).into()) }
    }

    /// Whether it matches all of `text`, which is in lower case.
    pub fn matches(&self, text: &[u8]) -> bool {
        let Some(tail) = &self.tail else { return *self.head == *text };
        let Some(rest) = text.strip_prefix(&*self.head) else { return false };
        let Some(mut rest) = rest.strip_suffix(&**tail) else { return false };
        for piece in &self.middle {
            let after = piece.find(rest).and_then(|at| rest.get(at + piece.needle().len()..));
            match after {
                Some(after) => rest = after,
                None => return false,
            }
        }
        true
    }
}

/// What a piece between stars stands for.
fn itself(piece: &str) -> Vec<u8> {
    piece.replace("%2a", "*").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_is_anything_and_the_rest_is_itself() {
        for (pattern, yes, no) in [
            ("/admin", &["/admin"][..], &["/admin/", "/adm", "x/admin", ""][..]),
            ("/admin/*", &["/admin/", "/admin/x/y"], &["/admin", "/adminx"]),
            ("*.php", &["/x.php", ".php"], &["/x.php5", "/x.ph"]),
            ("*", &["", "/", "x"], &[]),
            ("**", &["", "x"], &[]),
            ("a*b*c", &["abc", "axxbyyc", "abbcc"], &["ab", "acb", "abcd"]),
            ("ab*ba", &["abba", "abxba"], &["aba", "ab"]),
            ("*union*select*", &["x union all select y", "unionselect"], &["select union"]),
            ("/%2A", &["/*"], &["/", "/x", "/%2a"]),
            ("%2a*%2a*%2A", &["***", "*a*b*"], &["**", "*ab*", "a*b*c"]),
            ("%*2a%252a", &["%2a%252a", "%x2a%252a"], &["*%252a", "*%25*"]),
            ("/A?[a].+", &["/a?[a].+"], &["/ab[a].+", "/a?a.+"]),
        ] {
            let compiled = Pattern::new(pattern);
            for text in yes {
                assert!(compiled.matches(text.as_bytes()), "{pattern} {text}");
            }
            for text in no {
                assert!(!compiled.matches(text.as_bytes()), "{pattern} {text}");
            }
        }
    }

    /// The meaning, written plainly and slowly.
    fn meant(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, _) => text.is_empty(),
            (Some((b'*', rest)), None) => meant(rest, text),
            (Some((b'*', rest)), Some((_, after))) => meant(rest, text) || meant(pattern, after),
            (Some((byte, rest)), Some((same, after))) => byte == same && meant(rest, after),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn matching_is_what_it_is_meant_to_be(pattern in "[ab*]{0,8}", text in "[ab]{0,12}") {
            let compiled = Pattern::new(&pattern);
            prop_assert_eq!(compiled.matches(text.as_bytes()), meant(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn no_text_makes_it_panic(pattern in "\\PC{0,40}", text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Pattern::new(&pattern).matches(&text);
        }
    }
}
