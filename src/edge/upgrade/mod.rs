//! Upgrades (RFC 9110 §7.8): what a client offers to switch to, and what an upstream may answer to it.
//!
//! Hop-by-hop on both sides: `Upgrade` and `Connection` towards the upstream and back are written here
//! from what was read, never copied, and only what the route allows (`upgrade`). Only a request without a body can switch, so that nobody has to ask
//! where the old protocol ends; any other is forwarded without its `Upgrade`, which a server may ignore.
//! `h2c` never comes this far (the framing refuses it), and HTTP/2's own CONNECT (RFC 8441) is not
//! offered: clients then open a WebSocket over HTTP/1.1.
//!
//! Invariant: no byte of the client's that follows its request reaches the upstream before the upstream's 101 to
//! that very request; see [`http1::connection`](super::http1::connection) for the bytes in between and
//! [`tunnel`] for those after it.

pub mod tunnel;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue};

/// Most protocols in one offer; a client means one.
const MOST: usize = 8;

/// The protocols a client offers, as they are said to the upstream.
#[derive(Debug, PartialEq, Eq)]
pub struct Offer(HeaderValue);

impl Offer {
    /// What a request's headers offer; `None` where there is nothing that can be passed on: `Connection`
    /// does not name `upgrade`, or the names are not protocols.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        if !names_upgrade(headers) {
            return None;
        }
        let offered: Vec<&[u8]> = list(headers.get_all(UPGRADE)).collect();
        if offered.is_empty() || offered.len() > MOST || !offered.iter().all(|name| is_protocol(name)) {
            return None;
        }
        HeaderValue::from_bytes(&offered.join(&b", "[..])).ok().map(Self)
    }

    /// What is left of it where only these protocols are allowed; `None` if nothing is.
    pub fn within(self, allowed: &[String]) -> Option<Self> {
        let is_allowed = |name: &&[u8]| allowed.iter().any(|one| name.eq_ignore_ascii_case(one.as_bytes()));
        let offered = self.0.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let left: Vec<&[u8]> = offered.filter(is_allowed).collect();
        HeaderValue::from_bytes(&left.join(&b", "[..])).ok().filter(|_| !left.is_empty()).map(Self)
    }

    /// As it is said to the upstream.
    pub const fn value(&self) -> &HeaderValue {
        &self.0
    }

    /// What an upstream's 101 chose; `None` if that is not one protocol that was offered.
    pub fn chosen(&self, headers: &HeaderMap) -> Option<Chosen> {
        let mut said = list(headers.get_all(UPGRADE));
        let (chosen, None) = (said.next()?, said.next()) else { return None };
        let mut offered = self.0.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let is_offered = names_upgrade(headers) && offered.any(|name| name.eq_ignore_ascii_case(chosen));
        HeaderValue::from_bytes(chosen).ok().filter(|_| is_offered).map(Chosen)
    }
}

/// The protocol that was offered and accepted.
#[derive(Debug)]
pub struct Chosen(HeaderValue);

impl Chosen {
    /// Says it in a response's headers, after what the upstream said there is gone.
    pub fn write(self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.0);
    }
}

fn names_upgrade(headers: &HeaderMap) -> bool {
    list(headers.get_all(CONNECTION)).any(|name| name.eq_ignore_ascii_case(b"upgrade"))
}

/// The members of a header that is a list, over all its lines.
fn list<'a>(lines: http::header::GetAll<'a, HeaderValue>) -> impl Iterator<Item = &'a [u8]> {
    let members = |line: &'a HeaderValue| line.as_bytes().split(|byte| *byte == b',');
    lines.into_iter().flat_map(members).map(<[u8]>::trim_ascii).filter(|name| !name.is_empty())
}

/// `protocol = token ["/" token]`
fn is_protocol(name: &[u8]) -> bool {
    let is_token = |part: &[u8]| {
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        !part.is_empty() && part.iter().all(token)
    };
    let parts = name.split(|byte| *byte == b'/').collect::<Vec<_>>();
    parts.len() <= 2 && parts.into_iter().all(is_token) && !name.eq_ignore_ascii_case(b"h2c")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderName;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            map
        })
    }

    fn offer(pairs: &[(&'static str, &'static str)]) -> Option<String> {
        Offer::of(&map(pairs)).map(|offer| offer.0.to_str().unwrap().to_owned())
    }

    #[test]
    fn an_offer_is_what_connection_and_upgrade_say_together() {
        let keep = ("connection", "keep-alive, Upgrade");
        assert_eq!(offer(&[keep, ("upgrade", "websocket")]).unwrap(), "websocket");
        assert_eq!(offer(&[keep, ("upgrade", " a/1 ,, b"), ("upgrade", "c")]).unwrap(), "a/1, b, c");
        assert_eq!(offer(&[("upgrade", "websocket")]), None);
        assert_eq!(offer(&[("connection", "keep-alive"), ("upgrade", "websocket")]), None);
        assert_eq!(offer(&[keep]), None);
        for bad in ["", "a b", "a/", "/1", "a/1/2", "a;b", "H2C", "x, h2c", "a,b,c,d,e,f,g,h,i"] {
            assert_eq!(offer(&[keep, ("upgrade", bad)]), None, "{bad}");
        }
    }

    #[test]
    fn an_answer_must_choose_one_that_was_offered() {
        let up = ("connection", "Upgrade");
        let offer = Offer::of(&map(&[up, ("upgrade", "websocket, a/1")])).unwrap();
        let chosen =
            |pairs: &[(&'static str, &'static str)]| offer.chosen(&map(pairs)).map(|chosen| chosen.0);
        assert_eq!(chosen(&[up, ("upgrade", "WebSocket")]).unwrap(), "WebSocket");
        assert_eq!(chosen(&[up, ("upgrade", "a/1")]).unwrap(), "a/1");
        assert_eq!(chosen(&[("upgrade", "websocket")]), None);
        for bad in ["", "a", "b", "websocket, a/1"] {
            assert_eq!(chosen(&[up, ("upgrade", bad)]), None, "{bad}");
        }
    }
}
