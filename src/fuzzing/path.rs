//! Paths: one reading, no way up, reading what was read changes nothing, and the plain reading is what a reader who
//! decodes everything makes of it.

use http::uri::PathAndQuery;

use crate::edge::guard::target::{other_readings, read_path};

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
        for left in ["//", ";", "%2F", "%2f", "%3B", "%3b", "%40", "%3A", "%21", "%2A", "%7B", "\\"] {
            assert!(!plain.contains(left), "{plain:?} is not plain");
        }
        let Ok(plainer) = read_path(plain) else { panic!("the plain reading {plain:?} is refused") };
        assert_eq!(plainer.plain, None, "{plain:?}");
        assert_eq!(plainer.path, plain.as_str());
    }
    let plain = reading.plain.as_deref().unwrap_or(&reading.path);
    assert_eq!(
        decode_all(plain),
        lenient(&decode_all(&reading.path)),
        "{:?} is not as lenient as it gets",
        plain
    );
    assert_eq!(other_readings(&reading.path).last().map(String::as_str), Some(plain));
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

/// A decoded path without parameters and doubled slashes. Likewise.
fn lenient(decoded: &[u8]) -> Vec<u8> {
    let segments = decoded.split(|byte| *byte == b'/').skip(1);
    let mut out = Vec::new();
    for segment in segments {
        out.push(b'/');
        out.extend(segment.iter().take_while(|byte| **byte != b';'));
    }
    out.dedup_by(|one, other| (*one, *other) == (b'/', b'/'));
    out
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
