//! Pages for people (`[[error_pages]]`) in place of problem details, where a request says that it would rather have
//! HTML. Programs, which take anything or JSON, get what they always get. Status and headers stay the refusal's, but
//! for those that speak of the body that was ([`representation`](super::representation)).
//!
//! A page is read when a plan is made, and held: nothing of the disk is needed to say that something is wrong.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use memchr::memchr_iter;

use super::EdgeError;
use super::body::Outgoing;
use super::codings::weighed;
use super::representation::drop_metadata;
use crate::config::error_pages::{self, ErrorPage, Statuses};
use crate::model::id::RequestId;

/// What a page may say of its request: both are ours, and hold nothing that a client wrote.
const STATUS: &str = "{{status}}";
const REQUEST: &str = "{{request_id}}";

/// All pages.
#[derive(Debug, Default)]
pub struct Pages {
    statuses: HashMap<u16, Page>,
    classes: HashMap<u16, Page>,
}

/// A page, cut where it says something of its request. Its texts are shared by all who are sent it, however many
/// and however slowly they take it; cloning it copies none of them.
#[derive(Clone, Debug)]
struct Page(Arc<[Part]>);

#[derive(Debug)]
enum Part {
    Text(Bytes),
    Status,
    Request,
}

impl Page {
    fn read(text: String) -> Self {
        let mut rest = Bytes::from(text);
        let mut parts = Vec::new();
        while let Some((at, mark, part)) = first_mark(&rest) {
            parts.push(Part::Text(rest.split_to(at)));
            rest.advance(mark.len());
            parts.push(part);
        }
        parts.push(Part::Text(rest));
        Self(parts.into())
    }

    /// What is sent in answer to one request.
    fn pieces(&self, status: StatusCode, request: RequestId) -> VecDeque<Bytes> {
        let piece = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Status => Bytes::copy_from_slice(status.as_str().as_bytes()),
            Part::Request => Bytes::from(request.0.to_string()),
        };
        self.0.iter().map(piece).collect()
    }
}

/// Where the first of the marks stands, and which it is.
fn first_mark(text: &[u8]) -> Option<(usize, &'static str, Part)> {
    memchr_iter(b'{', text).find_map(|at| {
        let begins = |mark: &str| text.get(at..).is_some_and(|rest| rest.starts_with(mark.as_bytes()));
        let status = begins(STATUS).then_some((at, STATUS, Part::Status));
        status.or_else(|| begins(REQUEST).then_some((at, REQUEST, Part::Request)))
    })
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
            let read = Page::read(text);
            for statuses in &page.statuses {
                match statuses {
                    Statuses::One(status) => pages.statuses.insert(*status, read.clone()),
                    Statuses::Class(class) => pages.classes.insert(*class, read.clone()),
                };
            }
        }
        Ok(pages)
    }

    fn of(&self, status: u16) -> Option<&Page> {
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
        *response.body_mut() = Outgoing::pieces(page.pieces(response.status(), request));
        let headers = response.headers_mut();
        drop_metadata(headers);
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
    fn a_page_is_put_together_without_a_copy_of_its_texts() {
        let id: RequestId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        for (text, sent) in [
            ("plain", vec!["plain"]),
            ("", vec![""]),
            ("a{{status}}b{{request_id}}", vec!["a", "404", "b", "01890a5d-ac96-774b-bcce-b302099a8057", ""]),
            ("{{request_id}}{{status}}", vec!["", "01890a5d-ac96-774b-bcce-b302099a8057", "", "404", ""]),
            // What is no mark of ours is text.
            ("{{{status}}}{{ status }}{{statu", vec!["{", "404", "}{{ status }}{{statu"]),
        ] {
            let page = Page::read(text.to_owned());
            let (one, other) =
                (page.pieces(StatusCode::NOT_FOUND, id), page.pieces(StatusCode::NOT_FOUND, id));
            assert_eq!(one, sent, "{text}");
            let texts =
                page.0.iter().zip(one.iter().zip(&other)).filter(|(part, _)| matches!(part, Part::Text(_)));
            assert!(texts.into_iter().all(|(_, (one, other))| one.as_ptr() == other.as_ptr()), "{text}");
        }
    }

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
