//! The beginning of a path, taken off or another put in its place.
//!
//! It is cut on the reading that the route was found by, at the border of a segment; so what is left begins with a
//! slash, or is nothing. What would begin with two, as `/app//evil` does after `/app`, is refused: a path that begins
//! so is a host to some readers (RFC 3986 §4.2), and the check looked at another path.

use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};

use crate::config::route::Shape;
use crate::edge::respond::Refused;

/// What becomes of a path's beginning.
#[derive(Debug)]
pub struct Prefix {
    strip: String,
    put: String,
    told: Option<HeaderValue>,
}

impl Prefix {
    /// As configured; none if the path stays.
    pub fn new(Shape { strip_prefix, upstream_path, .. }: &Shape) -> Option<Self> {
        if strip_prefix.is_none() && upstream_path.is_none() {
            return None;
        }
        let told = strip_prefix.as_ref().and_then(|prefix| HeaderValue::try_from(prefix).ok());
        let (strip, put) = (strip_prefix.clone(), upstream_path.clone());
        Some(Self { strip: strip.unwrap_or_default(), put: put.unwrap_or_default(), told })
    }

    /// The target that goes on in place of this one.
    pub fn target(&self, uri: &Uri) -> Result<Uri, Refused> {
        let rest = beyond(uri.path(), &self.strip)?;
        let path = format!("{}{rest}", self.put);
        let path = if path.is_empty() { "/" } else { &path };
        let target = match uri.query() {
            Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
            None => PathAndQuery::try_from(path),
        };
        target.map(Uri::from).map_err(|_| Refused::internal())
    }

    /// `X-Forwarded-Prefix`: what was taken off, so that the application can write links that lead back.
    pub const fn told(&self) -> Option<&HeaderValue> {
        self.told.as_ref()
    }
}

/// What follows `prefix` in a path that was routed by it: nothing, or what begins with one slash.
pub fn beyond<'p>(path: &'p str, prefix: &str) -> Result<&'p str, Refused> {
    let prefix = if prefix == "/" { "" } else { prefix };
    // The router has matched it there; if ever it had not, nothing would be forwarded that was not checked.
    let rest = path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let rest = rest.ok_or_else(Refused::internal)?;
    if rest.starts_with("//") || rest.starts_with("/%2F") {
        return Err(Refused::bad_request("the path has an empty segment right after the route's own path"));
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::guard::target::read_path;
    use proptest::prelude::*;

    fn prefix(strip: Option<&str>, put: Option<&str>) -> Prefix {
        let (strip_prefix, upstream_path) = (strip.map(str::to_owned), put.map(str::to_owned));
        Prefix::new(&Shape { strip_prefix, upstream_path, ..Shape::default() }).unwrap()
    }

    #[test]
    fn what_is_left_begins_with_one_slash() {
        for (strip, put, from, to) in [
            (Some("/app"), None, "/app", "/"),
            (Some("/app"), None, "/app/", "/"),
            (Some("/app"), None, "/app/x?y=/app", "/x?y=/app"),
            (Some("/app"), None, "/app?y", "/?y"),
            (Some("/app"), Some("/v2"), "/app", "/v2"),
            (Some("/app"), Some("/v2"), "/app/x", "/v2/x"),
            (Some("/app"), Some("/v2"), "/app/app/x", "/v2/app/x"),
            (None, Some("/v2"), "/app/x", "/v2/app/x"),
            (Some("/app"), None, "/app/x//y", "/x//y"),
            (Some("/app"), None, "/app/x%2Fy;z", "/x%2Fy;z"),
        ] {
            let told = prefix(strip, put).target(&from.parse().unwrap()).unwrap();
            assert_eq!(told.to_string(), to, "{strip:?} {put:?} {from}");
            assert_eq!(told.authority(), None);
        }
    }

    #[test]
    fn what_could_be_read_as_a_host_or_was_not_matched_goes_nowhere() {
        let app = prefix(Some("/app"), None);
        for from in ["/app//evil.example", "/app/%2Fevil.example/x", "/app///", "/apple", "/App/x", "/"] {
            assert!(app.target(&from.parse().unwrap()).is_err(), "{from}");
        }
        assert!(
            prefix(None, Some("/v2"))
                .target(&"//evil.example".parse::<PathAndQuery>().unwrap().into())
                .is_err()
        );
    }

    proptest! {
        /// What goes on needs no second reading: it is what the check would make of it.
        #[test]
        fn a_path_that_was_checked_is_still_one_when_it_is_cut(text in "/app[a-c./%23Bef;]{0,24}") {
            if let Ok(reading) = read_path(&text)
                && let Ok(uri) = reading.path.parse::<Uri>()
                && let Ok(cut) = prefix(Some("/app"), Some("/v2")).target(&uri)
            {
                let again = read_path(cut.path()).unwrap();
                prop_assert_eq!(again.path.as_ref(), cut.path());
                prop_assert_eq!(cut.path(), format!("/v2{}", &reading.path["/app".len()..]));
            }
        }
    }
}
