//! One reading of the request's path, for routing and for forwarding alike.
//!
//! A path is normalised once: percent-encoded unreserved characters are decoded (RFC 3986
//! §6.2.2.2), so `/%61dmin` is `/admin`; what is past ASCII is encoded (RFC 3987 §3.1), so `/é` is
//! `/%C3%A9`. What no honest client sends is refused: dot segments in
//! any dress (`..`, `%2e%2e`, `..;x`), backslashes, NUL, control bytes, broken escapes, and overlong
//! UTF-8 (`%C0%AF`, `%E0%80%AF`), which some decoders take for the byte it stands for. Doubled slashes and `%2F` have honest uses,
//! but an upstream may read them as one slash; path parameters (`;x=1`) have some too, but servlet
//! containers drop them, so that `/admin;x/users` is `/admin/users` there. And `/%40admin` is not `/@admin` by the
//! standard (RFC 3986 §2.2: delimiters mean something as they are), but is to nearly every application, which decodes
//! before it looks. Such a path carries a second, *plain* reading, and the router refuses it when the two readings
//! lead to different routes. What is forwarded is never decoded further: an application may tell the two apart.

use std::borrow::Cow;

/// Why a path is refused. The text goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathRefused {
    /// Not `/…`.
    #[error("the request target must be a path that starts with '/'")]
    NotAbsolute,
    /// `.` or `..` as a segment.
    #[error("the path must not contain '.' or '..' segments, encoded or not")]
    DotSegment,
    /// `\`, `%5C`
    #[error("the path must not contain a backslash, encoded or not")]
    Backslash,
    /// NUL or another control byte, or one that no UTF-8 has.
    #[error("the path must not contain control bytes or invalid UTF-8")]
    Control,
    /// `;x%2Fy`: one segment with a parameter to some, two segments to others, and which of both an
    /// upstream takes cannot be told in one plain reading.
    #[error("the path must not contain an encoded slash after a ';' in the same segment")]
    Parameter,
    /// `%` without two hexadecimal digits.
    #[error("the path contains a '%' that is not followed by two hexadecimal digits")]
    Escape,
}

/// A path that may be routed.
#[derive(Debug, PartialEq, Eq)]
pub struct PathReading<'a> {
    /// What is matched and forwarded.
    pub path: Cow<'a, str>,
    /// How a lenient upstream might read it, where that differs: escapes decoded, parameters cut off, slashes
    /// merged.
    pub plain: Option<String>,
}

/// Reads a path. Borrows unless there is something to decode.
pub fn read_path(path: &str) -> Result<PathReading<'_>, PathRefused> {
    if !path.starts_with('/') {
        return Err(PathRefused::NotAbsolute);
    }
    // Most paths need one look at each byte and nothing else.
    if !needs_care(path.as_bytes()) {
        return Ok(PathReading { path: Cow::Borrowed(path), plain: None });
    }
    let decoded = decode_unreserved(path)?;
    let plain = plain_reading(&decoded);
    if plain.split('/').any(is_dot_segment) || decoded.split('/').any(is_dot_segment) {
        return Err(PathRefused::DotSegment);
    }
    if decoded.split('/').any(has_slash_in_parameter) {
        return Err(PathRefused::Parameter);
    }
    let plain = (plain != decoded).then_some(plain);
    let path = if decoded == path { Cow::Borrowed(path) } else { Cow::Owned(decoded) };
    Ok(PathReading { path, plain })
}

fn needs_care(path: &[u8]) -> bool {
    let mut previous = 0;
    path.iter().any(|byte| {
        let after_slash = previous == b'/' && matches!(byte, b'/' | b'.');
        previous = *byte;
        after_slash || matches!(byte, b'%' | b';' | b'\\' | 0..=0x1f | 0x7f..)
    })
}

fn decode_unreserved(path: &str) -> Result<String, PathRefused> {
    let mut out = String::with_capacity(path.len());
    let mut chars = path.chars();
    let mut before = None;
    while let Some(next) = chars.next() {
        let previous = before.take();
        match next {
            '\\' => return Err(PathRefused::Backslash),
            '\0'..='\x1f' | '\x7f' => return Err(PathRefused::Control),
            '\u{80}'.. => push_encoded(&mut out, next),
            '%' => {
                let high = chars.next().and_then(|digit| digit.to_digit(16)).ok_or(PathRefused::Escape)?;
                let low = chars.next().and_then(|digit| digit.to_digit(16)).ok_or(PathRefused::Escape)?;
                let byte = u8::try_from(high * 16 + low).unwrap_or_default();
                // Longer than need be (RFC 3629 §3). Other broken UTF-8 may be an old application's Latin-1.
                if matches!((previous, byte), (Some(0xe0), 0x80..=0x9f) | (Some(0xf0), 0x80..=0x8f)) {
                    return Err(PathRefused::Control);
                }
                before = Some(byte);
                push_escaped(&mut out, byte)?;
            }
            plain => out.push(plain),
        }
    }
    Ok(out)
}

/// A query, or a whole target, with what is past ASCII encoded, as in a path; `None` where there is none of it.
pub fn encode_past_ascii(text: &str) -> Option<String> {
    let mut out = String::new();
    for next in text.chars().filter(|_| !text.is_ascii()) {
        push_encoded(&mut out, next);
    }
    (!out.is_empty()).then_some(out)
}

fn push_encoded(out: &mut String, character: char) {
    let mut buffer = [0; 4];
    for byte in character.encode_utf8(&mut buffer).bytes() {
        if byte.is_ascii() { out.push(char::from(byte)) } else { push_escape(out, byte) }
    }
}

fn push_escape(out: &mut String, byte: u8) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or('0');
    out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
}

fn push_escaped(out: &mut String, byte: u8) -> Result<(), PathRefused> {
    match byte {
        b'\\' => return Err(PathRefused::Backslash),
        0..=0x1f | 0x7f | 0xc0 | 0xc1 | 0xf5..=0xff => return Err(PathRefused::Control),
        b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
        _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
        _ => push_escape(out, byte),
    }
    Ok(())
}

/// The most lenient reading of a path that was read.
fn plain_reading(path: &str) -> String {
    merged(&unparametered(&characters(path, true)))
}

/// Other readings that an application may have of a path that was read, and of which the plain one is the last: for
/// whoever looks for patterns, which may have parameters and doubled slashes in them.
pub fn other_readings(path: &str) -> [String; 8] {
    let (kept, decoded) = (characters(path, false), characters(path, true));
    let cut = unparametered(&decoded);
    let (whole, plain) = (merged(&decoded), merged(&cut));
    // Who keeps `%2F` may merge and cut all the same.
    let kept_cut = unparametered(&kept);
    let (kept_whole, kept_plain) = (merged(&kept), merged(&kept_cut));
    [kept, kept_whole, kept_cut, kept_plain, decoded, whole, cut, plain]
}

/// Whether the escape of a byte stands for the byte, to a reader that decodes. Not `%25`, or what is escaped twice
/// would be decoded twice; nor what no target holds as it is, whose escape is its one spelling: a blank, `?`, `#`,
/// and what is past ASCII.
pub const fn is_spelt_two_ways(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'%' | b'?' | b'#')
}

/// With the characters in place of their escapes, the slash's only if `slashes`. The path's escapes are in upper case
/// and whole.
fn characters(path: &str, slashes: bool) -> String {
    let mut pieces = path.split('%');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    out.reserve(path.len());
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2).unwrap_or((piece, ""));
        match u8::from_str_radix(digits, 16) {
            Ok(byte) if is_spelt_two_ways(byte) && (slashes || byte != b'/') => out.push(char::from(byte)),
            _ => out.extend(["%", digits]),
        }
        out.push_str(rest);
    }
    out
}

/// Without any segment's parameters.
fn unparametered(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for (at, segment) in path.split('/').enumerate() {
        if at > 0 {
            out.push('/');
        }
        out.push_str(without_parameters(segment));
    }
    out
}

/// With one slash for several.
fn merged(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for next in path.chars() {
        if next != '/' || !out.ends_with('/') {
            out.push(next);
        }
    }
    out
}

fn without_parameters(segment: &str) -> &str {
    let name = segment.split_once(';').map_or(segment, |(name, _)| name);
    name.split_once("%3B").map_or(name, |(name, _)| name)
}

/// `..;x` too: servlet containers cut a segment at the semicolon before they resolve it.
fn is_dot_segment(segment: &str) -> bool {
    matches!(without_parameters(segment), "." | "..")
}

fn has_slash_in_parameter(segment: &str) -> bool {
    let parameters = segment.get(without_parameters(segment).len()..).unwrap_or_default();
    parameters.contains("%2F")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> Result<String, PathRefused> {
        read_path(text).map(|reading| reading.path.into_owned())
    }

    #[test]
    fn an_ordinary_path_is_borrowed_and_has_one_reading() {
        let reading = read_path("/app/users/42/photo.jpg").unwrap();
        assert_eq!(reading, PathReading { path: Cow::Borrowed("/app/users/42/photo.jpg"), plain: None });
        assert!(matches!(reading.path, Cow::Borrowed(_)));
    }

    #[test]
    fn encoded_unreserved_characters_are_decoded_once() {
        assert_eq!(path("/%61dm%69n").unwrap(), "/admin");
        assert_eq!(path("/a%2561").unwrap(), "/a%2561");
        assert_eq!(path("/caf%c3%a9").unwrap(), "/caf%C3%A9");
        assert_eq!(path("/.well-known/x").unwrap(), "/.well-known/x");
        assert_eq!(path("/a/...").unwrap(), "/a/...");
    }

    #[test]
    fn what_is_past_ascii_is_encoded() {
        assert_eq!(path("/caf\u{e9}/\u{1f600}").unwrap(), "/caf%C3%A9/%F0%9F%98%80");
        assert_eq!(path("/\u{ff0f}..").unwrap(), "/%EF%BC%8F..");
        assert_eq!(encode_past_ascii("a=\u{e9}&b=%c3").as_deref(), Some("a=%C3%A9&b=%c3"));
        assert_eq!(encode_past_ascii("a=b"), None);
    }

    #[test]
    fn dot_segments_are_refused_in_every_dress() {
        for bad in [
            "/a/../b",
            "/..",
            "/a/./b",
            "/a/%2e%2e/b",
            "/a/%2E./b",
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a/..%3b/b",
            "/a/..%2fb",
            "/a%2f..%2fb",
            "/a/.",
            "//../a",
        ] {
            assert_eq!(path(bad), Err(PathRefused::DotSegment), "{bad}");
        }
    }

    #[test]
    fn backslashes_control_bytes_and_broken_escapes_are_refused() {
        assert_eq!(path("/a\\b"), Err(PathRefused::Backslash));
        assert_eq!(path("/a%5cb"), Err(PathRefused::Backslash));
        assert_eq!(path("/a%00b"), Err(PathRefused::Control));
        assert_eq!(path("/a%0d%0ab"), Err(PathRefused::Control));
        for overlong in ["/a%c0%afb", "/a%e0%80%afb", "/a%F0%80%80%aeb", "/%f0%8f%bf%bf"] {
            assert_eq!(path(overlong), Err(PathRefused::Control), "{overlong}");
        }
        for good in ["/%E0%A0%80", "/%F0%90%80%80", "/%E9t%E9", "/%E0x%80"] {
            assert_eq!(path(good).unwrap(), good);
        }
        for bad in ["/a%", "/a%2", "/a%zz", "/a%+1"] {
            assert_eq!(path(bad), Err(PathRefused::Escape), "{bad}");
        }
        assert_eq!(path("*"), Err(PathRefused::NotAbsolute));
    }

    #[test]
    fn encoded_and_doubled_slashes_give_a_second_reading() {
        let reading = read_path("//admin%2fx").unwrap();
        assert_eq!(reading.path, "//admin%2Fx");
        assert_eq!(reading.plain.as_deref(), Some("/admin/x"));
    }

    #[test]
    fn path_parameters_give_a_second_reading_without_them() {
        for (path, plain) in [
            ("/admin;x/users", "/admin/users"),
            ("/admin%3bx/users;jsessionid=1", "/admin/users"),
            ("/;x/admin", "/admin"),
            ("/a%2Fadmin;x", "/a/admin"),
        ] {
            assert_eq!(read_path(path).unwrap().plain.as_deref(), Some(plain), "{path}");
        }
        assert_eq!(path("/a;x%2fy/b"), Err(PathRefused::Parameter));
        assert_eq!(path("/a%3b%2Fy"), Err(PathRefused::Parameter));
    }

    #[test]
    fn a_delimiter_and_its_escape_are_one_in_the_plain_reading_and_stay_as_they_are_in_the_other() {
        for byte in b"!$&'()*+,:=@\"<>[]^`{|}" {
            let (raw, escaped) = (format!("/a{}b", char::from(*byte)), format!("/a%{byte:02X}b"));
            let reading = read_path(&escaped).unwrap();
            assert_eq!(reading.path, escaped);
            assert_eq!(reading.plain.as_deref(), Some(&*raw));
            assert_eq!(read_path(&raw).unwrap(), PathReading { path: Cow::Borrowed(&*raw), plain: None });
        }
        for (path, plain) in [
            ("/%40a%2Fb;x//%3Ac", Some("/@a/b/:c")),
            ("/a%2540", None),
            ("/a%20b%3Fc%23d%25", None),
            ("/caf%C3%A9", None),
            ("/%40%2540", Some("/@%2540")),
        ] {
            assert_eq!(read_path(path).unwrap().plain.as_deref(), plain, "{path}");
        }
    }

    #[test]
    fn between_the_two_readings_are_those_of_applications_that_forgive_less() {
        let readings = other_readings("/%40a;x%3By//b%2Fc");
        let kept = ["/@a;x;y//b%2Fc", "/@a;x;y/b%2Fc", "/@a//b%2Fc", "/@a/b%2Fc"];
        assert_eq!(readings[..4], kept);
        assert_eq!(readings[4..], ["/@a;x;y//b/c", "/@a;x;y/b/c", "/@a//b/c", "/@a/b/c"]);
        for path in ["//api/projects/a%2Fb", "/api;x/projects/a%2Fb"] {
            assert!(other_readings(path).iter().any(|reading| reading == "/api/projects/a%2Fb"), "{path}");
        }
    }

    proptest! {
        #[test]
        fn reading_twice_is_reading_once(text in "/[a-c./%0234ABef;@\\\\]{0,24}") {
            if let Ok(first) = read_path(&text) {
                let once = first.path.into_owned();
                let again = read_path(&once).unwrap();
                prop_assert_eq!(again.path.as_ref(), once.as_str());
                prop_assert_eq!(again.plain, first.plain);
            }
        }
    }
}
