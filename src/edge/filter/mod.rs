//! Requests that are not let in by what they look like, before they are routed.
//!
//! A filter looks at what the guard made of a request: the one reading of its path, and those that lenient
//! applications might have, the query as it is and decoded once, and headers. It stops what is known to be of no use; it is no
//! replacement for an application that checks what it is sent. Bodies are not looked at.
//!
//! No filters cost nothing: there is no value of this type then.

mod catch;
pub mod measures;
pub mod pattern;
pub mod scanners;

use std::borrow::Cow;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, Method};

use self::measures::{Tallies, Tally};
use self::pattern::Pattern;
use self::scanners::Scanners;
use super::guard::{Admitted, target};
use crate::config::filter::{self as config, Action, Bans, SCANNERS};

/// All filters.
#[derive(Debug)]
pub struct Filters {
    filters: Vec<Filter>,
    scanners: Option<(Scanners, Arc<Tally>)>,
    /// Whether any of them looks at queries, which then are decoded.
    by_query: bool,
    /// What becomes of offenders.
    bans: Bans,
}

#[derive(Debug)]
struct Filter {
    tally: Arc<Tally>,
    action: Action,
    methods: Vec<Method>,
    paths: Vec<Pattern>,
    query: Vec<Pattern>,
    headers: Vec<(HeaderName, Want)>,
    content_types: Vec<Pattern>,
}

#[derive(Debug)]
enum Want {
    Present,
    Absent,
    Like(Pattern),
}

/// A request that a filter stops.
#[derive(Clone, Debug)]
pub struct Caught {
    /// Which.
    pub filter: Arc<Tally>,
    /// How.
    pub action: Action,
}

/// A request as filters look at it: in lower case, made once.
struct Seen<'a> {
    method: &'a Method,
    path: Cow<'a, str>,
    /// As applications might read the path that decode it, drop parameters or merge slashes, where that differs.
    others: Vec<String>,
    query: Option<Query<'a>>,
    headers: &'a HeaderMap,
}

struct Query<'a> {
    written: Cow<'a, str>,
    decoded: Option<Vec<u8>>,
}

impl Filters {
    /// As configured; none if nothing is.
    pub fn new(filters: &[config::Filter], bans: &Bans, tallies: &Tallies) -> Option<Self> {
        let scanners = Scanners::new(&bans.scanners).map(|scanners| (scanners, tallies.of(SCANNERS)));
        let something = !filters.is_empty() || scanners.is_some();
        let by_query = filters.iter().any(|filter| !filter.query.is_empty());
        let filters = filters.iter().map(|filter| Filter::new(filter, tallies.of(&filter.name))).collect();
        something.then(|| Self { filters, scanners, by_query, bans: bans.clone() })
    }

    /// The first filter that stops a request. Those that only log have done so.
    pub fn judge(&self, admitted: &Admitted) -> Option<Caught> {
        let seen = Seen::of(admitted, self.by_query);
        for filter in self.filters.iter().filter(|filter| filter.matches(&seen)) {
            filter.tally.up();
            if filter.action != Action::Log {
                return Some(Caught { filter: Arc::clone(&filter.tally), action: filter.action });
            }
            let client = admitted.client().address;
            let (filter, path) = (&**filter.tally.name(), admitted.path());
            tracing::info!(filter, path, %client, request = %admitted.id().0, "a filter matched");
        }
        let (scanners, tally) = self.scanners.as_ref()?;
        seen.paths().any(|path| scanners.ask(path)).then(|| {
            tally.up();
            Caught { filter: Arc::clone(tally), action: Action::Ban }
        })
    }
}

impl Filter {
    fn new(config: &config::Filter, tally: Arc<Tally>) -> Self {
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
        let want = |(name, want): &(HeaderName, config::Want)| {
            let want = match want {
                config::Want::Present => Want::Present,
                config::Want::Absent => Want::Absent,
                config::Want::Like(text) => Want::Like(Pattern::new(text)),
            };
            (name.clone(), want)
        };
        Self {
            tally,
            action: config.action,
            methods: config.methods.iter().filter_map(|name| name.parse().ok()).collect(),
            paths: patterns(&config.paths),
            query: patterns(&config.query),
            headers: config.headers.iter().map(want).collect(),
            content_types: patterns(&config.content_types),
        }
    }

    fn matches(&self, seen: &Seen<'_>) -> bool {
        let Self { methods, paths, query, headers, content_types, .. } = self;
        (methods.is_empty() || methods.contains(seen.method))
            && (paths.is_empty() || paths.iter().any(|pattern| seen.has_path(pattern)))
            && (query.is_empty() || query.iter().any(|pattern| seen.has_query(pattern)))
            && headers.iter().all(|(name, want)| want.holds(name, seen.headers))
            && (content_types.is_empty() || content_types.iter().any(|pattern| seen.has_type(pattern)))
    }
}

impl Want {
    fn holds(&self, name: &HeaderName, headers: &HeaderMap) -> bool {
        match self {
            Self::Present => headers.contains_key(name),
            Self::Absent => !headers.contains_key(name),
            Self::Like(pattern) => {
                let mut lines = headers.get_all(name).iter();
                lines.any(|line| pattern.matches(&line.as_bytes().to_ascii_lowercase()))
            }
        }
    }
}

impl<'a> Seen<'a> {
    fn of(admitted: &'a Admitted, by_query: bool) -> Self {
        let query = admitted.uri().query().filter(|_| by_query);
        let mut others = match admitted.plain_path() {
            Some(_) => target::other_readings(admitted.path()).to_vec(),
            None => Vec::new(),
        };
        others.iter_mut().for_each(|path| path.make_ascii_lowercase());
        others.sort_unstable();
        others.dedup();
        Self {
            method: admitted.method(),
            path: lower(admitted.path()),
            others,
            query: query.map(Query::of),
            headers: admitted.headers(),
        }
    }

    fn has_path(&self, pattern: &Pattern) -> bool {
        self.paths().any(|path| pattern.matches(path.as_bytes()))
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.path).chain(self.others.iter().map(String::as_str))
    }

    fn has_query(&self, pattern: &Pattern) -> bool {
        self.query.as_ref().is_some_and(|query| {
            pattern.matches(query.written.as_bytes())
                || query.decoded.as_ref().is_some_and(|decoded| pattern.matches(decoded))
        })
    }

    fn has_type(&self, pattern: &Pattern) -> bool {
        self.headers.get_all(CONTENT_TYPE).iter().any(|line| {
            let kind = line.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
            pattern.matches(&kind.trim_ascii().to_ascii_lowercase())
        })
    }
}

impl<'a> Query<'a> {
    fn of(query: &'a str) -> Self {
        Self { written: lower(query), decoded: decoded(query.as_bytes()) }
    }
}

fn lower(text: &str) -> Cow<'_, str> {
    match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(text.to_ascii_lowercase()),
        false => Cow::Borrowed(text),
    }
}

/// A query as a form's reader decodes it, in lower case, where that differs. What is no escape stays.
fn decoded(query: &[u8]) -> Option<Vec<u8>> {
    if !query.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return None;
    }
    let digit = |at: usize| query.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(query.len());
    let mut at = 0;
    while let Some(byte) = query.get(at) {
        at += 1;
        let byte = match (byte, digit(at), digit(at + 1)) {
            (b'%', Some(high), Some(low)) => {
                at += 2;
                u8::try_from(high * 16 + low).unwrap_or_default()
            }
            (b'+', ..) => b' ',
            (byte, ..) => *byte,
        };
        out.push(byte.to_ascii_lowercase());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_query_is_decoded_once() {
        for (query, want) in [
            ("a=b", None),
            ("q=%3CScript%3e", Some("q=<script>")),
            ("q=a+b%20c", Some("q=a b c")),
            ("q=%253c", Some("q=%3c")),
            ("q=%zz%4", Some("q=%zz%4")),
            ("%", Some("%")),
        ] {
            assert_eq!(decoded(query.as_bytes()).as_deref(), want.map(str::as_bytes), "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_query_makes_the_decoder_panic_or_grow(query in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(out) = decoded(&query) {
                prop_assert!(out.len() <= query.len());
            }
        }
    }
}
