//! From a request's path to a name beneath the root. What is never served has no name: it is not looked for.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// The one folder with a dot that is there for everybody (RFC 8615).
const WELL_KNOWN: &[u8] = b".well-known";
/// Longest name, bytes: the system takes no longer one.
const LONGEST: usize = 4095;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Beneath the root, without a slash at either end; empty for the root itself.
    pub name: OsString,
    /// Asked for as a folder: with a slash behind.
    pub folder: bool,
}

impl Wanted {
    /// Of an admitted path that the route at `prefix` matches. `None` for what is never served: names that begin
    /// with a dot, and segments that are empty or hold what no name has.
    pub fn read(path: &str, prefix: &str) -> Option<Self> {
        let rest = path.strip_prefix(prefix.trim_end_matches('/'))?;
        let Some(rest) = rest.strip_prefix('/') else {
            return rest.is_empty().then(|| Self { name: OsString::new(), folder: false });
        };
        let (rest, folder) = match rest.strip_suffix('/') {
            Some(rest) => (rest, true),
            None => (rest, rest.is_empty()),
        };
        let mut name = Vec::with_capacity(rest.len());
        // The root itself has no segments; "//" has one that is empty.
        let segments = (!rest.is_empty() || path.ends_with("//")).then(|| rest.split('/'));
        for segment in segments.into_iter().flatten() {
            if !name.is_empty() {
                name.push(b'/');
            }
            let start = name.len();
            decode(segment, &mut name)?;
            let segment = name.get(start..)?;
            let hidden = segment.starts_with(b".") && segment != WELL_KNOWN;
            if segment.is_empty() || hidden || segment.iter().any(|byte| matches!(byte, 0 | b'/')) {
                return None;
            }
        }
        (name.len() <= LONGEST).then(|| Self { name: OsString::from_vec(name), folder })
    }

    /// The file of this name in the folder that is asked for.
    pub fn within(&self, index: &str) -> OsString {
        join(&self.name, index)
    }
}

fn join(folder: &OsStr, name: &str) -> OsString {
    let mut joined = folder.to_owned();
    if !joined.is_empty() {
        joined.push("/");
    }
    joined.push(name);
    joined
}

/// `x.br` beside `x`.
pub fn sibling(name: &OsStr, extension: &str) -> OsString {
    let mut sibling = name.to_owned();
    sibling.push(".");
    sibling.push(extension);
    sibling
}

/// The extension of a name, if it has one.
pub fn extension(name: &OsStr) -> Option<&str> {
    let bytes = name.as_bytes();
    let last = bytes.rsplit(|byte| *byte == b'/').next()?;
    let dot = last.iter().rposition(|byte| *byte == b'.')?;
    std::str::from_utf8(last.get(dot + 1..)?).ok()
}

fn decode(segment: &str, into: &mut Vec<u8>) -> Option<()> {
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        into.push(match byte {
            b'%' => digit(bytes.next()?)? * 16 + digit(bytes.next()?)?,
            byte => byte,
        });
    }
    Some(())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str, prefix: &str) -> Option<(String, bool)> {
        let Wanted { name, folder } = Wanted::read(path, prefix)?;
        Some((String::from_utf8_lossy(name.as_bytes()).into_owned(), folder))
    }

    #[test]
    fn the_routes_path_stands_for_the_root() {
        for (path, prefix, name, folder) in [
            ("/", "/", "", true),
            ("/a.txt", "/", "a.txt", false),
            ("/a/", "/", "a", true),
            ("/docs", "/docs", "", false),
            ("/docs/", "/docs", "", true),
            ("/docs/a/b%20c", "/docs", "a/b c", false),
            ("/%C3%A9", "/", "é", false),
            ("/.well-known/security.txt", "/", ".well-known/security.txt", false),
            ("/a;b", "/", "a;b", false),
        ] {
            assert_eq!(read(path, prefix), Some((name.to_owned(), folder)), "{path}");
        }
    }

    #[test]
    fn what_is_never_served_has_no_name() {
        for path in [
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/.env",
            "/.git/config",
            "/a/.b",
            "/%2Eenv",
            "/..",
            "/../a",
            "/%2e%2e/a",
            "/a%2F..%2Fb",
            "/a%2fb",
            "/%00",
            "/a%00.txt",
            "/.well-known/.x",
            "/.well-knownx",
            "/a/..",
            "/%2",
            "/%zz",
            "/...",
        ] {
            assert_eq!(read(path, "/"), None, "{path}");
        }
        assert_eq!(read(&format!("/{}", "a".repeat(5000)), "/"), None);
        assert_eq!(read("/docsx", "/docs"), None);
    }

    #[test]
    fn extensions_are_of_the_last_name() {
        for (name, found) in [("a.b/c", None), ("a/b.tar.gz", Some("gz")), ("x", None), ("a.", Some(""))] {
            assert_eq!(extension(OsStr::new(name)), found, "{name}");
        }
    }
}
