//! Pages for people (`[[error_pages]]`) in place of problem details, where a request says that it would rather have
//! HTML. Programs, which take anything or JSON, get what they always get. Status and headers stay the refusal's.
//!
//! A page is read when a plan is made, and held: nothing of the disk is needed to say that something is wrong.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, LAST_MODIFIED, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response};

use super::EdgeError;
use super::body::Outgoing;
use super::codings::weighed;
use crate::config::error_pages::{self, ErrorPage, Statuses};
use crate::model::id::RequestId;

/// What a page may say of its request: both are ours, and hold nothing that a client wrote.
const STATUS: &str = "{{status}}";
const REQUEST: &str = "{{request_id}}";

/// All pages.
#[derive(Debug, Default)]
pub struct Pages {
    statuses: HashMap<u16, Arc<str>>,
    classes: HashMap<u16, Arc<str>>,
}

/// Somebody who would rather have a page.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a Pages);

/// Marks an application's answer whose route has the gate's page put in its place (`intercept`).
#[derive(Clone, Copy, Debug)]
pub struct Intercepted;

impl Pages {
    /// Reads them.
    pub fn read(config: &[ErrorPage]) -> Result<Self, EdgeError> {
        let told = |problems: Vec<crate::config::problem::Problem>| {
            let all: Vec<_> = problems.iter().map(|problem| problem.told("")).collect();
            EdgeError::Pages(all.join("; "))
        };
        let texts = error_pages::read(config).map_err(told)?;
        let mut pages = Self::default();
        for (page, text) in config.iter().zip(texts) {
            let text: Arc<str> = text.into();
            for statuses in &page.statuses {
                match statuses {
                    Statuses::One(status) => pages.statuses.insert(*status, Arc::clone(&text)),
                    Statuses::Class(class) => pages.classes.insert(*class, Arc::clone(&text)),
                };
            }
        }
        Ok(pages)
    }

    fn of(&self, status: u16) -> Option<&Arc<str>> {
        self.statuses.get(&status).or_else(|| self.classes.get(&(status / 100)))
    }

    /// Whether a request with these headers would rather have a page, if there are any.
    pub fn reader(&self, headers: &HeaderMap) -> Option<Reader<'_>> {
        let none = self.statuses.is_empty() && self.classes.is_empty();
        (!none && prefers_html(headers)).then_some(Reader(self))
    }
}

impl Reader<'_> {
    /// Puts the page for its status in place of an answer's body, if there is one.
    pub fn dress(self, response: &mut Response<Outgoing>, request: RequestId) {
        let Some(page) = self.0.of(response.status().as_u16()) else { return };
        let text = page.replace(STATUS, response.status().as_str()).replace(REQUEST, &request.0.to_string());
        *response.body_mut() = Outgoing::full(Bytes::from(text));
        let headers = response.headers_mut();
        for name in [
            ACCEPT_RANGES,
            CONTENT_ENCODING,
            CONTENT_LANGUAGE,
            CONTENT_LENGTH,
            CONTENT_RANGE,
            ETAG,
            LAST_MODIFIED,
        ] {
            headers.remove(name);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// Browsers name `text/html`; who only takes anything (`*/*`) is a program (RFC 9110 §12.5.1).
fn prefers_html(headers: &HeaderMap) -> bool {
    let (mut html, mut json) = (0, 0);
    for line in headers.get_all(ACCEPT) {
        for member in line.to_str().unwrap_or_default().split(',') {
            let (kind, weight) = weighed(member);
            let is = |known: &str| kind.eq_ignore_ascii_case(known);
            if is("text/html") || is("application/xhtml+xml") {
                html = weight.max(html);
            } else if is("application/json") || is("application/problem+json") {
                json = weight.max(json);
            }
        }
    }
    html > 0 && html >= json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_html_gets_a_page_and_programs_what_they_always_get() {
        for (said, html) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("TEXT/HTML;q=0.5", true),
            ("application/xhtml+xml", true),
            ("text/html, application/json", true),
            ("text/html;q=0.5, application/json", false),
            ("application/problem+json, text/html;q=0.9", false),
            ("text/html;q=0", false),
            ("*/*", false),
            ("text/*", false),
            ("application/json", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(said));
            assert_eq!(prefers_html(&headers), html, "{said}");
        }
        assert!(!prefers_html(&HeaderMap::new()));
    }
}
