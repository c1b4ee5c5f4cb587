//! What the conditions of a request come to for one file (RFC 9110 §13.2.2, in its order), and the range that it
//! asks for (§14). Pure: the file's state and the headers in, a verdict out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{
    ETAG, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderMap, HeaderValue};

/// The tag of a file's state, and when it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Strong: `"…"`.
    pub tag: String,
    /// Seconds since the epoch; `None` where it cannot be told truly.
    pub modified: Option<u64>,
    /// Bytes.
    pub size: u64,
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 200
    Whole,
    /// 206: from this byte, so many (at least one).
    Part(u64, u64),
    /// 304
    NotModified,
    /// 412
    Failed,
    /// 416
    Unsatisfiable,
}

impl State {
    /// What a GET (`get`) or a HEAD with these headers is answered.
    pub fn judge(&self, headers: &HeaderMap, get: bool) -> Verdict {
        if let Some(fresh) = self.precondition(headers) {
            return fresh;
        }
        // §14.2: a range is for GET alone, and looked at last.
        match one(headers, &RANGE) {
            Some(range) if get && self.may_be_partial(headers) => self.range(range),
            _ => Verdict::Whole,
        }
    }

    fn precondition(&self, headers: &HeaderMap) -> Option<Verdict> {
        if headers.contains_key(IF_MATCH) {
            if !self.matches(headers, &IF_MATCH, true) {
                return Some(Verdict::Failed);
            }
        } else if let Some(since) = date(headers, &IF_UNMODIFIED_SINCE)
            && self.modified.is_some_and(|modified| modified > since)
        {
            return Some(Verdict::Failed);
        }
        if headers.contains_key(IF_NONE_MATCH) {
            return self.matches(headers, &IF_NONE_MATCH, false).then_some(Verdict::NotModified);
        }
        let since = date(headers, &IF_MODIFIED_SINCE)?;
        self.modified.is_some_and(|modified| modified <= since).then_some(Verdict::NotModified)
    }

    /// Whether a list of tags has ours, or is `*`. Strongly: no weak tag is ours (§8.8.3.2).
    fn matches(&self, headers: &HeaderMap, name: &HeaderName, strongly: bool) -> bool {
        let ours = |tag: &str| match tag.strip_prefix("W/") {
            Some(_) if strongly => false,
            Some(tag) => tag == self.tag,
            None => tag == self.tag,
        };
        if one(headers, name).is_some_and(|value| value.trim() == "*") {
            return true;
        }
        // Our tags have no comma in them: cut at commas, a foreign one with a comma is still none of ours.
        let lists = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
        lists.flat_map(|list| list.split(',')).map(str::trim).any(ours)
    }

    /// §13.1.5. A date vouches for nothing here (§8.8.2.2): who copies files into place keeps their dates, and who
    /// has a date of ours has a tag as well.
    fn may_be_partial(&self, headers: &HeaderMap) -> bool {
        !headers.contains_key(IF_RANGE) || one(headers, &IF_RANGE).is_some_and(|tag| tag == self.tag)
    }

    /// One range of bytes. Several are answered whole, as is what is no range (§14.2).
    fn range(&self, range: &str) -> Verdict {
        let Some((unit, set)) = range.split_once('=') else { return Verdict::Whole };
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Verdict::Whole;
        }
        let Some((first, last)) = set.trim().split_once('-') else { return Verdict::Whole };
        match (bound(first), bound(last)) {
            (Bound::None, Bound::At(0)) => Verdict::Unsatisfiable,
            (Bound::None, Bound::At(_)) if self.size == 0 => Verdict::Whole,
            (Bound::None, Bound::At(suffix)) => {
                let length = suffix.min(self.size);
                Verdict::Part(self.size - length, length)
            }
            (Bound::At(first), last) => {
                let last = match last {
                    Bound::At(last) if last < first => return Verdict::Whole,
                    Bound::At(last) => last,
                    Bound::None => u64::MAX,
                    Bound::Wrong => return Verdict::Whole,
                };
                if first >= self.size {
                    return Verdict::Unsatisfiable;
                }
                let last = last.min(self.size - 1);
                Verdict::Part(first, last - first + 1)
            }
            _ => Verdict::Whole,
        }
    }

    /// The validators of an answer.
    pub fn tell(&self, headers: &mut HeaderMap) {
        if let Ok(tag) = HeaderValue::try_from(&self.tag) {
            headers.insert(ETAG, tag);
        }
        if let Some(modified) = self.modified {
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(modified));
            if let Ok(date) = HeaderValue::try_from(date) {
                headers.insert(http::header::LAST_MODIFIED, date);
            }
        }
    }
}

enum Bound {
    None,
    At(u64),
    Wrong,
}

/// A number of a range. One too large for any file is as good as the largest.
fn bound(text: &str) -> Bound {
    match text.trim() {
        "" => Bound::None,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Bound::At(digits.parse().unwrap_or(u64::MAX))
        }
        _ => Bound::Wrong,
    }
}

/// A header that stands once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?.to_str().ok()?.trim();
    lines.next().is_none().then_some(line)
}

/// A date, in seconds since the epoch; `None` for what is none (§13.1.3: then the header is as good as absent).
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let at: SystemTime = httpdate::parse_http_date(one(headers, name)?).ok()?;
    Some(at.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const MODIFIED: u64 = 784_111_777;
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn judge(size: u64, get: bool, lines: &[(HeaderName, &'static str)]) -> Verdict {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_static(value));
        }
        let state = State { tag: "\"t\"".to_owned(), modified: Some(MODIFIED), size };
        state.judge(&headers, get)
    }

    #[test]
    fn preconditions_hold_in_the_order_of_the_standard() {
        use Verdict::{Failed, NotModified, Whole};
        for (lines, verdict) in [
            (&[][..], Whole),
            (&[(IF_NONE_MATCH, "\"t\"")], NotModified),
            (&[(IF_NONE_MATCH, "W/\"t\"")], NotModified),
            (&[(IF_NONE_MATCH, "\"a\", W/\"b\" ,\"t\"")], NotModified),
            (&[(IF_NONE_MATCH, "\"a\""), (IF_NONE_MATCH, "\"t\"")], NotModified),
            (&[(IF_NONE_MATCH, "*")], NotModified),
            (&[(IF_NONE_MATCH, "\"a,*,b\"")], Whole),
            (&[(IF_NONE_MATCH, "\"other\"")], Whole),
            (&[(IF_NONE_MATCH, "t")], Whole),
            // With a tag the date does not count.
            (&[(IF_NONE_MATCH, "\"other\""), (IF_MODIFIED_SINCE, AFTER)], Whole),
            (&[(IF_NONE_MATCH, "\"t\""), (IF_MODIFIED_SINCE, BEFORE)], NotModified),
            (&[(IF_MODIFIED_SINCE, THEN)], NotModified),
            (&[(IF_MODIFIED_SINCE, AFTER)], NotModified),
            (&[(IF_MODIFIED_SINCE, BEFORE)], Whole),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Whole),
            (&[(IF_MODIFIED_SINCE, "Sunday, 06-Nov-94 08:49:37 GMT")], NotModified),
            (&[(IF_MODIFIED_SINCE, "Sun Nov  6 08:49:37 1994")], NotModified),
            (&[(IF_MATCH, "\"t\"")], Whole),
            (&[(IF_MATCH, "*")], Whole),
            (&[(IF_MATCH, "W/\"t\"")], Failed),
            (&[(IF_MATCH, "\"other\"")], Failed),
            // If-Match before everything; the date beside it does not count.
            (&[(IF_MATCH, "\"other\""), (IF_NONE_MATCH, "\"t\"")], Failed),
            (&[(IF_MATCH, "\"t\""), (IF_UNMODIFIED_SINCE, BEFORE)], Whole),
            (&[(IF_MATCH, "\"t\""), (IF_NONE_MATCH, "\"t\"")], NotModified),
            (&[(IF_UNMODIFIED_SINCE, BEFORE)], Failed),
            (&[(IF_UNMODIFIED_SINCE, THEN)], Whole),
            (&[(IF_UNMODIFIED_SINCE, "never")], Whole),
            // A range does not count before them.
            (&[(IF_NONE_MATCH, "\"t\""), (RANGE, "bytes=0-1")], NotModified),
            (&[(IF_MATCH, "\"x\""), (RANGE, "bytes=0-1")], Failed),
        ] {
            assert_eq!(judge(10, true, lines), verdict, "{lines:?}");
            let partial = lines.iter().any(|(name, _)| name == RANGE);
            assert!(partial || judge(10, false, lines) == verdict, "HEAD {lines:?}");
        }
    }

    #[test]
    fn one_range_is_a_part_and_what_is_none_is_answered_whole() {
        use Verdict::{Part, Unsatisfiable, Whole};
        for (range, verdict) in [
            ("bytes=0-0", Part(0, 1)),
            ("bytes=0-", Part(0, 10)),
            ("bytes=3-5", Part(3, 3)),
            ("bytes=9-9", Part(9, 1)),
            ("bytes=3-999", Part(3, 7)),
            ("bytes=3-99999999999999999999999999", Part(3, 7)),
            ("bytes=-3", Part(7, 3)),
            ("bytes=-999", Part(0, 10)),
            ("BYTES = 3 - 5 ", Part(3, 3)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-20", Unsatisfiable),
            ("bytes=99999999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=5-3", Whole),
            ("bytes=-", Whole),
            ("bytes=", Whole),
            ("bytes", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=0x1-2", Whole),
            ("bytes=1--2", Whole),
            ("bytes=0-1,3-4", Whole),
            ("lines=0-1", Whole),
            ("", Whole),
        ] {
            assert_eq!(judge(10, true, &[(RANGE, range)]), verdict, "{range}");
            assert_eq!(judge(10, false, &[(RANGE, range)]), Whole, "HEAD {range}");
        }
        assert_eq!(judge(10, true, &[(RANGE, "bytes=0-1"), (RANGE, "bytes=0-1")]), Whole);
        assert_eq!(judge(0, true, &[(RANGE, "bytes=0-")]), Unsatisfiable);
        assert_eq!(judge(0, true, &[(RANGE, "bytes=-5")]), Whole);
        assert_eq!(judge(u64::MAX, true, &[(RANGE, "bytes=0-")]), Part(0, u64::MAX));
    }

    #[test]
    fn a_part_is_sent_only_of_what_the_client_has_begun_with() {
        use Verdict::{Part, Whole};
        let ranged = |condition| judge(10, true, &[(RANGE, "bytes=0-1"), (IF_RANGE, condition)]);
        assert_eq!(ranged("\"t\""), Part(0, 2));
        for other in ["W/\"t\"", "\"x\"", THEN, BEFORE, AFTER, "", "*", "\"t\", \"x\""] {
            assert_eq!(ranged(other), Whole, "{other}");
        }
        let twice = [(RANGE, "bytes=0-1"), (IF_RANGE, "\"t\""), (IF_RANGE, "\"t\"")];
        assert_eq!(judge(10, true, &twice), Whole);
    }
}
