//! What an application is told of where a request came from: the `X-Forwarded` family, `Forwarded` (RFC 7239), `Via`
//! (RFC 9110 §7.6.3). The guard has deleted what nobody may claim; here ours is written, and `Via` shows a request
//! that has been here before.
//!
//! `Forwarded` says what the `X-Forwarded` family says, in its own spelling: an element for each hop that is known,
//! the client's first, with the scheme and host that it used. Only addresses: a hop that a proxy hides (`unknown`,
//! `_name`) ends the chain that is believed. No `by`: the gate's own addresses are nobody's business.

use std::fmt::Write as _;

use http::header::{HeaderName, VIA};
use http::{HeaderMap, HeaderValue, Version};

use super::guard::Client;
use super::guard::host::Host;
use super::http1::encode::write_line;
use crate::config::forwarding as config;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// A request that has passed so many gates of our name goes round in circles. More than one, because gates may
/// stand behind one another and have been given no names.
const ROUNDS: usize = 5;

/// Which headers are written, and how.
#[derive(Clone, Debug)]
pub struct Forwarding {
    x_forwarded: bool,
    forwarded: bool,
    via: Option<Via>,
}

/// Our entry in `Via`, by the version that the request came in.
#[derive(Clone, Debug)]
struct Via {
    name: String,
    http10: HeaderValue,
    http11: HeaderValue,
    http2: HeaderValue,
}

impl Via {
    fn new(name: &str) -> Option<Self> {
        let entry = |version: &str| HeaderValue::try_from(format!("{version} {name}")).ok();
        let [http10, http11, http2] = [entry("1.0")?, entry("1.1")?, entry("2.0")?];
        Some(Self { name: name.to_owned(), http10, http11, http2 })
    }

    const fn entry(&self, version: Version) -> &HeaderValue {
        match version {
            Version::HTTP_10 => &self.http10,
            Version::HTTP_2 => &self.http2,
            _ => &self.http11,
        }
    }
}

impl Forwarding {
    /// As configured.
    pub fn new(config: &config::Forwarding) -> Self {
        let writes = |told| config.headers.contains(&told);
        Self {
            x_forwarded: writes(config::Told::XForwarded),
            forwarded: writes(config::Told::Forwarded),
            via: writes(config::Told::Via).then(|| Via::new(&config.via_name)).flatten(),
        }
    }

    /// Whether the `X-Forwarded` family is written.
    pub const fn writes_x_forwarded(&self) -> bool {
        self.x_forwarded
    }

    /// Whether a request has come by here again and again.
    pub fn goes_round(&self, headers: &HeaderMap) -> bool {
        let Some(via) = &self.via else { return false };
        let ours = |entry: &&[u8]| {
            let mut words = entry.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            words.nth(1).is_some_and(|name| name.eq_ignore_ascii_case(via.name.as_bytes()))
        };
        let lines = headers.get_all(VIA).iter();
        let entries = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        entries.filter(ours).count() >= ROUNDS
    }

    /// What is told of a request. `host`: as the client sent it; `version`: in which it came.
    pub fn tell(&self, headers: &HeaderMap, client: &Client, host: &HeaderValue, version: Version) -> Whence {
        // Left over only from a trusted proxy, which knows what the client really used. If it passes on what
        // clients make up beside that, nobody can tell which is which.
        let scheme = |value: &HeaderValue| matches!(value.as_bytes(), b"http" | b"https");
        let proto = the_one(headers, &FORWARDED_PROTO, scheme);
        let named = the_one(headers, &FORWARDED_HOST, |value| Host::parse(value.clone()).is_ok());
        let forwarded =
            || forwarded(proto.map_or("https", as_text), named.map_or(as_text(host), as_text), client);
        Whence {
            x_forwarded: self.x_forwarded.then(|| (client.forwarded_for.clone(), client.real_ip.clone())),
            keeps_proto: proto.is_some(),
            keeps_host: named.is_some(),
            forwarded: self.forwarded.then(forwarded).flatten(),
            via: self.via.as_ref().map(|via| via.entry(version).clone()),
        }
    }
}

/// What one request's application is told.
#[derive(Debug)]
pub struct Whence {
    /// The chain of addresses, and the client's own.
    x_forwarded: Option<(HeaderValue, HeaderValue)>,
    keeps_proto: bool,
    keeps_host: bool,
    forwarded: Option<HeaderValue>,
    via: Option<HeaderValue>,
}

impl Whence {
    /// Writes its lines, after those of the client's that it does not replace.
    pub fn write(&self, host: &[u8], out: &mut Vec<u8>) {
        if let Some((chain, real_ip)) = &self.x_forwarded {
            write_line(out, b"x-forwarded-for", chain.as_bytes());
            write_line(out, b"x-real-ip", real_ip.as_bytes());
            if !self.keeps_proto {
                out.extend_from_slice(b"x-forwarded-proto: https\r\n");
            }
            if !self.keeps_host {
                write_line(out, b"x-forwarded-host", host);
            }
        }
        if let Some(told) = &self.forwarded {
            write_line(out, b"forwarded", told.as_bytes());
        }
        if let Some(entry) = &self.via {
            write_line(out, b"via", entry.as_bytes());
        }
    }

    /// Whether a client's header of this name does not go on.
    pub fn replaces(&self, name: &str) -> bool {
        match name {
            "x-forwarded-for" | "x-real-ip" => true,
            "x-forwarded-proto" => !self.keeps_proto || self.x_forwarded.is_none(),
            "x-forwarded-host" => !self.keeps_host || self.x_forwarded.is_none(),
            "forwarded" => self.forwarded.is_some(),
            _ => false,
        }
    }
}

/// The line of this name, if there is one alone, and a good one.
fn the_one<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    good: impl Fn(&HeaderValue) -> bool,
) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|line| good(line) && lines.next().is_none())
}

/// What was checked to be ASCII.
fn as_text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

/// The chain as `Forwarded` spells it: `for=203.0.113.9;host="h:8443";proto=https, for="[2001:db8::1]"`.
fn forwarded(proto: &str, host: &str, client: &Client) -> Option<HeaderValue> {
    let mut told = String::new();
    for hop in client.forwarded_for.to_str().ok()?.split(", ") {
        let first = told.is_empty();
        // A colon makes it no token (RFC 7239 §6).
        let (open, close) = if hop.contains(':') { ("\"[", "]\"") } else { ("", "") };
        let separator = if first { "" } else { ", " };
        let _ = write!(told, "{separator}for={open}{hop}{close}");
        if first {
            let quote = if host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) {
                ""
            } else {
                "\""
            };
            let _ = write!(told, ";host={quote}{host}{quote};proto={proto}");
        }
    }
    HeaderValue::try_from(told).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::forwarding::Told;

    fn of(headers: &[Told]) -> Forwarding {
        Forwarding::new(&config::Forwarding { headers: headers.to_vec(), via_name: "gate".to_owned() })
    }

    fn client(chain: &'static str) -> Client {
        let address = chain.split(", ").next().unwrap();
        Client {
            address: address.parse().unwrap(),
            real_ip: HeaderValue::from_static("192.0.2.1"),
            forwarded_for: HeaderValue::from_static(chain),
            free_at: 0,
        }
    }

    fn written(forwarding: &Forwarding, chain: &'static str, host: &'static str) -> Vec<String> {
        let mut out = Vec::new();
        let said = HeaderValue::from_static(host);
        let whence = forwarding.tell(&HeaderMap::new(), &client(chain), &said, Version::HTTP_2);
        whence.write(host.as_bytes(), &mut out);
        let mut lines: Vec<String> = String::from_utf8(out).unwrap().lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn each_family_is_written_if_it_is_asked_for() {
        assert_eq!(written(&of(&[]), "192.0.2.1", "h"), [""; 0]);
        assert_eq!(written(&of(&[Told::Via]), "192.0.2.1", "h"), ["via: 2.0 gate"]);
        assert_eq!(
            written(&of(&[Told::XForwarded]), "192.0.2.1", "h"),
            [
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-host: h",
                "x-forwarded-proto: https",
                "x-real-ip: 192.0.2.1"
            ]
        );
    }

    #[test]
    fn forwarded_quotes_what_is_no_token() {
        for (chain, host, want) in [
            ("192.0.2.1", "app.example", "for=192.0.2.1;host=app.example;proto=https"),
            ("192.0.2.1", "h:8443", "for=192.0.2.1;host=\"h:8443\";proto=https"),
            ("2001:db8::1", "[2001:db8::2]", "for=\"[2001:db8::1]\";host=\"[2001:db8::2]\";proto=https"),
            ("2001:db8::1, 10.0.0.7", "h", "for=\"[2001:db8::1]\";host=h;proto=https, for=10.0.0.7"),
        ] {
            assert_eq!(written(&of(&[Told::Forwarded]), chain, host), [format!("forwarded: {want}")]);
        }
    }

    #[test]
    fn a_request_goes_round_if_it_has_passed_our_name_too_often() {
        let rounds = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            lines.iter().for_each(|line| _ = headers.append(VIA, HeaderValue::from_str(line).unwrap()));
            of(&[Told::Via]).goes_round(&headers)
        };
        let once = "1.1 gate";
        assert!(!rounds(&[once; ROUNDS - 1]));
        assert!(rounds(&[once; ROUNDS]));
        assert!(rounds(&["1.1 gate, HTTP/2.0\tGATE (comment),1.0  gate ,2.0 gate", "1.1 other, 1.1 gate"]));
        assert!(!rounds(&["1.1 gate2, 1.1 agate, gate, gate gate2, 1.1 (gate)", "1.1 gate, 1.1 gate"]));
        let mut headers = HeaderMap::new();
        (0..9).for_each(|_| _ = headers.append(VIA, HeaderValue::from_static(once)));
        assert!(!of(&[Told::Forwarded]).goes_round(&headers), "who does not write it does not go by it");
    }
}
