//! A route that sends its clients elsewhere.
//!
//! The host is the configuration's, never the request's. Of the request come at most the path behind the route's own,
//! on the reading that it was routed by, and the query; both as characters of a URL that a header can hold. The rest of
//! the path is put behind a slash and begins with none itself, so that no `//host` can come of it.

use http::header::{CONTENT_LENGTH, LOCATION};
use http::{HeaderValue, Response, StatusCode, Uri};

use super::prefix::beyond;
use crate::config::route::Redirect as Config;
use crate::edge::body::Outgoing;
use crate::edge::respond::Refused;

/// Where to, and how.
#[derive(Debug)]
pub struct Redirect {
    status: StatusCode,
    to: String,
    /// The route's path, if what follows it is kept.
    below: Option<String>,
}

impl Redirect {
    /// As configured for the route of this path.
    pub fn new(config: &Config, path: &str) -> Option<Self> {
        let status = StatusCode::from_u16(config.status).ok()?;
        let below = config.keeps_path.then(|| path.to_owned());
        Some(Self { status, to: config.to.clone(), below })
    }

    /// The answer to a request for this target.
    pub fn answer(&self, uri: &Uri) -> Result<Response<Outgoing>, Refused> {
        let mut location = self.to.clone();
        if let Some(path) = &self.below {
            let rest = beyond(uri.path(), path)?;
            location.push_str(rest.strip_prefix('/').unwrap_or(rest));
        }
        if let Some(query) = uri.query().filter(|_| !self.to.contains('?')) {
            location.push('?');
            location.push_str(query);
        }
        let malformed = |_| Refused::bad_request("the request target is malformed");
        let location = HeaderValue::try_from(location).map_err(malformed)?;
        let mut response = Response::new(Outgoing::empty());
        *response.status_mut() = self.status;
        response.headers_mut().insert(LOCATION, location);
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::uri::PathAndQuery;

    fn location(to: &str, keeps_path: bool, route: &str, asked: &str) -> Option<String> {
        let config = Config { to: to.to_owned(), keeps_path, status: 308 };
        let redirect = Redirect::new(&config, route).unwrap();
        let uri = Uri::from(asked.parse::<PathAndQuery>().unwrap());
        let response = redirect.answer(&uri).ok()?;
        assert_eq!(response.status(), 308);
        Some(response.headers()[LOCATION].to_str().unwrap().to_owned())
    }

    #[test]
    fn path_and_query_go_along_if_they_are_to() {
        for (to, keeps, route, asked, want) in [
            ("https://new.example/", true, "/", "/a/b?x=1&y=%2F", "https://new.example/a/b?x=1&y=%2F"),
            ("https://new.example/v2/", true, "/old", "/old/a", "https://new.example/v2/a"),
            ("https://new.example/v2/", true, "/old", "/old", "https://new.example/v2/"),
            ("/new/", true, "/old", "/old/a;b/%2e?q", "/new/a;b/%2e?q"),
            ("/new", false, "/old", "/old/a?q", "/new?q"),
            ("/new?x=1", false, "/old", "/old/a?q", "/new?x=1"),
            ("https://new.example", false, "/old", "/old", "https://new.example"),
        ] {
            assert_eq!(location(to, keeps, route, asked).as_deref(), Some(want), "{to} {asked}");
        }
    }

    #[test]
    fn no_path_becomes_a_host() {
        for asked in ["/old//evil.example", "/old/%2Fevil.example", "/old///evil.example/", "/older"] {
            assert_eq!(location("/", true, "/old", asked), None, "{asked}");
        }
        assert_eq!(location("/", true, "/", "//evil.example"), None);
        assert_eq!(
            location("/", true, "/old", "/old/https://evil.example").as_deref(),
            Some("/https://evil.example")
        );
    }
}
