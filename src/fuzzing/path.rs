//! Paths: one reading, no way up, and reading what was read changes nothing.

use http::uri::PathAndQuery;

use crate::edge::guard::target::read_path;

/// `edge/guard/target.rs` over any text.
pub fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(reading) = read_path(text) else { return };
    let Ok(again) = read_path(&reading.path) else { panic!("{:?} is not read twice", reading.path) };
    assert_eq!(again, reading, "reading twice is not reading once");
    assert!(reading.path.starts_with('/'));
    assert!(!climbs(&reading.path), "{:?} climbs", reading.path);
    if let Some(plain) = &reading.plain {
        assert!(!climbs(plain), "{plain:?} climbs");
        assert_ne!(*plain, *reading.path);
        for left in ["//", ";", "%2F", "%2f", "%3B", "%3b", "\\"] {
            assert!(!plain.contains(left), "{plain:?} is not plain");
        }
        let Ok(plainer) = read_path(plain) else { panic!("the plain reading {plain:?} is refused") };
        assert_eq!(plainer.plain, None, "{plain:?}");
        assert_eq!(plainer.path, plain.as_str());
    }
    // What was taken for a target it takes again after the rewriting.
    if PathAndQuery::try_from(text).is_ok_and(|target| target.path() == text) {
        let Ok(target) = PathAndQuery::try_from(reading.path.as_ref()) else { panic!("{:?}", reading.path) };
        assert_eq!(target.path(), reading.path, "the path is another one on the way out");
    }
}

/// Whether a lenient reader sees a dot segment or a control byte: decodes everything, takes
/// backslashes for slashes and cuts parameters. Written without the parser under test on purpose.
fn climbs(path: &str) -> bool {
    let decoded = decode_all(path);
    decoded.iter().any(|byte| *byte < 0x20 || *byte == 0x7f)
        || decoded.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| {
            let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
            matches!(name, b"." | b"..")
        })
}

fn decode_all(path: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), path.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *byte == b'%');
        let value = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value {
            Some(value) => {
                out.push(value);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    out
}
