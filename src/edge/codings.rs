//! Content codings, and which of them a client takes (`Accept-Encoding`, RFC 9110 §12.5.3).

use http::header::{ACCEPT_ENCODING, VARY};
use http::{HeaderMap, HeaderValue};

/// A coding that we can produce, or have on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 7932
    Brotli,
    /// RFC 8878
    Zstd,
    /// RFC 1952
    Gzip,
}

impl Coding {
    /// Its name in `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    fn of(name: &str) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            2 if is("br") => Some(Self::Brotli),
            4 if is("zstd") => Some(Self::Zstd),
            4 if is("gzip") => Some(Self::Gzip),
            6 if is("x-gzip") => Some(Self::Gzip),
            _ => None,
        }
    }
}

/// What a client takes: weights in thousandths. A coding with the weight 0 is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    brotli: u16,
    zstd: u16,
    gzip: u16,
    /// What it said of answers as they are, if it did.
    identity: u16,
}

impl Accepted {
    /// Of a request. Without the header nothing is coded: who can decode says so.
    pub fn of(headers: &HeaderMap) -> Self {
        let (mut said, mut any) = ([None; 4], None);
        for line in headers.get_all(ACCEPT_ENCODING) {
            for member in line.to_str().unwrap_or_default().split(',') {
                let (name, weight) = weighed(member);
                match (Coding::of(name), name) {
                    (Some(Coding::Brotli), _) => said[0] = Some(weight),
                    (Some(Coding::Zstd), _) => said[1] = Some(weight),
                    (Some(Coding::Gzip), _) => said[2] = Some(weight),
                    (None, "*") => any = Some(weight),
                    (None, name) if name.eq_ignore_ascii_case("identity") => said[3] = Some(weight),
                    (None, _) => {}
                }
            }
        }
        let [brotli, zstd, gzip, identity] = said;
        // `*` is for what is not named; for answers as they are it only forbids, and then they are sent all the same.
        let of = |weight: Option<u16>| weight.or(any).unwrap_or_default();
        Self { brotli: of(brotli), zstd: of(zstd), gzip: of(gzip), identity: identity.unwrap_or_default() }
    }

    const fn weight(self, coding: Coding) -> u16 {
        match coding {
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
            Coding::Gzip => self.gzip,
        }
    }

    /// Those it takes, best first; of equals the one that `ours` has first.
    pub fn among(self, mut ours: [Coding; 3]) -> impl Iterator<Item = Coding> {
        ours.sort_by_key(|coding| std::cmp::Reverse(self.weight(*coding)));
        ours.into_iter().filter(move |coding| {
            let weight = self.weight(*coding);
            weight > 0 && weight >= self.identity
        })
    }
}

/// A member of a list with weights, and its weight in thousandths: 1 without one, 0 for one that is none
/// (RFC 9110 §12.4.2).
pub fn weighed(member: &str) -> (&str, u16) {
    let mut parts = member.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let said = parts.find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim()))
    });
    (name, said.unwrap_or(1000))
}

fn thousandths(value: &str) -> u16 {
    let (whole, part) = value.split_once('.').unwrap_or((value, ""));
    let digits = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    match whole {
        "0" if digits => format!("{part:0<3}").parse().unwrap_or_default(),
        "1" if digits && part.bytes().all(|byte| byte == b'0') => 1000,
        _ => 0,
    }
}

/// Says that an answer depends on this header of the request.
pub fn vary(headers: &mut HeaderMap, on: &'static str) {
    let told = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        text.split(',').map(str::trim).any(|name| name == "*" || name.eq_ignore_ascii_case(on))
    };
    if !headers.get_all(VARY).iter().any(told) {
        headers.append(VARY, HeaderValue::from_static(on));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

    #[test]
    fn the_best_coding_is_the_one_the_client_weighs_most_and_then_ours() {
        for (said, taken) in [
            ("", ""),
            ("gzip, deflate, br, zstd", "zstd br gzip"),
            ("gzip;q=1.0, br;q=0.8, zstd;q=0", "gzip br"),
            ("GZIP ; Q=0.5 , Br;q=0.501", "br gzip"),
            ("x-gzip", "gzip"),
            ("*", "zstd br gzip"),
            ("*;q=0", ""),
            ("gzip, *;q=0", "gzip"),
            ("*;q=0.1, gzip;q=0", "zstd br"),
            ("identity", ""),
            ("identity, gzip;q=0.5", ""),
            ("identity;q=0.5, gzip", "gzip"),
            ("identity;q=0, gzip;q=0.001", "gzip"),
            ("gzip;q=2, br;q=-1, zstd;q=abc", ""),
            ("gzip;q=0.1234, br;q=1.001", ""),
            ("deflate, compress", ""),
            (",, ;q=1, gzip", "gzip"),
            ("gzipx, brr", ""),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(said));
            let found: Vec<_> = Accepted::of(&headers).among(OURS).map(Coding::name).collect();
            assert_eq!(found.join(" "), taken, "{said}");
        }
    }

    #[test]
    fn several_lines_are_one_list_and_no_line_is_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(Accepted::of(&headers).among(OURS).count(), 0);
        headers.append(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        headers.append(ACCEPT_ENCODING, HeaderValue::from_static("br"));
        headers.append(ACCEPT_ENCODING, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(Accepted::of(&headers).among(OURS).count(), 2);
    }

    #[test]
    fn vary_names_a_header_once() {
        for (before, after) in [
            (&["Accept-Encoding"][..], "Accept-Encoding"),
            (&["origin, accept-encoding"], "origin, accept-encoding"),
            (&["*"], "*"),
            (&["origin"], "origin|accept-encoding"),
            (&[], "accept-encoding"),
        ] {
            let mut headers = HeaderMap::new();
            for value in before {
                headers.append(VARY, HeaderValue::from_static(value));
            }
            vary(&mut headers, "accept-encoding");
            let all: Vec<_> = headers.get_all(VARY).iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!(all.join("|"), after);
        }
    }
}
