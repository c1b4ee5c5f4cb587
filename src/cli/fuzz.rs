//! Fuzz target: the lines of an import. Each account comes of one line and is said once; what is at fault is
//! said within bounds, so that no terminal obeys it and no hash is shown.

#![expect(clippy::indexing_slicing, reason = "a JSON value that lacks a member gives null")]

use serde_json::Value;

use super::line::{BadLines, read};

/// Most lines, here.
const MOST: usize = 8;
/// Longest thing said of a fault, bytes.
const LONGEST: usize = 512;

/// `line.rs` over a file.
pub fn target(bytes: &[u8]) {
    let Ok(found) = read(bytes, MOST) else { panic!("memory is always readable") };
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    for (number, user) in &found.users {
        let line = number.checked_sub(1).and_then(|index| lines.get(index)).copied().unwrap_or_default();
        let Ok(value) = serde_json::from_slice::<Value>(line) else { panic!("line {number} is no JSON") };
        let email = value["email"].as_str().and_then(|text| text.parse().ok());
        assert_eq!(email.as_ref(), Some(&user.email), "line {number}");
        let twin = found.users.iter().find(|(other, twin)| other < number && twin.email == user.email);
        let said = found.bad.iter().any(|bad| bad.line == *number && bad.field == "email");
        assert!(twin.is_none() || said, "line {number}: an address stands twice");
    }
    assert!(found.users.len() <= MOST && found.bad.iter().all(|bad| bad.line <= MOST + 1));
    for bad in &found.bad {
        assert!(bad.detail.len() <= LONGEST, "{} bytes: {:.100}", bad.detail.len(), bad.detail);
    }
    let report = BadLines { file: "f".to_owned(), bad: found.bad, created: 0 }.to_string();
    assert!(!report.contains(|c: char| c.is_control() && c != '\n'), "a terminal would obey {report:?}");
    for line in lines {
        let value = serde_json::from_slice::<Value>(line).unwrap_or_default();
        let hash = value["password_hash"].as_str().filter(|hash| hash.len() >= 16 && hash.starts_with('$'));
        let elsewhere = hash.is_some_and(|hash| String::from_utf8_lossy(line).matches(hash).count() > 1);
        assert!(elsewhere || hash.is_none_or(|hash| !report.contains(hash)), "a hash is shown: {report}");
    }
}
