//! The cases of the `http_desync_guardian` crate (Apache-2.0), read where cargo keeps its source: files of
//! YAML of one shape, so that a reader of that shape is enough. None of it is copied.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One case, as the crate grades it.
#[derive(Debug, Default)]
pub struct Desync {
    pub name: String,
    /// `Compliant`, `Acceptable`, `Ambiguous` or `Severe`.
    pub tier: String,
    pub reason: String,
    pub method: String,
    uri: String,
    version: String,
    headers: Vec<(String, String)>,
}

impl Desync {
    /// The request, with a Host if it has none, and a body if it has one.
    pub fn bytes(&self) -> Vec<u8> {
        let has_host = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        let version = if self.version.is_empty() { String::new() } else { format!(" {}", self.version) };
        let mut text = format!("{} {}{version}\r\n", self.method, self.uri);
        if !has_host {
            text.push_str("Host: h\r\n");
        }
        for (name, value) in &self.headers {
            text.extend([name, ":", value, "\r\n"]);
        }
        text.extend(["\r\n", &if self.is_chunked() { "0\r\n\r\n".to_owned() } else { self.body() }]);
        // Escapes are bytes, and so is what the files have past ASCII: in UTF-8.
        let byte = |c: char| {
            u8::try_from(u32::from(c)).map_or_else(|_| c.to_string().into_bytes(), |byte| vec![byte])
        };
        text.chars().flat_map(byte).collect()
    }

    /// What must arrive if anything does.
    pub fn told(&self) -> String {
        let encode = |c: char| match u8::try_from(u32::from(c)) {
            Ok(byte) => char::from(byte).to_string(),
            Err(_) => c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect(),
        };
        let uri: String = self.uri.chars().map(encode).collect();
        let told =
            format!("{} {uri} {}", self.method, if self.is_chunked() { String::new() } else { self.body() });
        told.trim_end().to_owned()
    }

    fn is_chunked(&self) -> bool {
        self.headers.iter().any(|(name, _)| name.to_ascii_lowercase().contains("transfer-encoding"))
    }

    fn body(&self) -> String {
        let length = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length =
            length.and_then(|(_, value)| value.trim().parse().ok()).filter(|length| *length < 10_000_000);
        "x".repeat(length.unwrap_or(0))
    }
}

/// All cases of all files.
pub fn cases() -> Vec<Desync> {
    let folder = source_of("http_desync_guardian").join("tests");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).expect("its tests").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|ext| ext == "yaml"));
    files.sort();
    files.iter().flat_map(|file| read(&std::fs::read_to_string(file).expect("text"))).collect()
}

/// Where cargo keeps the source of a dependency.
fn source_of(package: &str) -> PathBuf {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["metadata", "--format-version", "1", "--offline", "--filter-platform"]);
    command.arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let found = packages.iter().find(|known| known["name"] == package).expect("a dependency");
    Path::new(found["manifest_path"].as_str().expect("a path")).parent().expect("a folder").to_owned()
}

/// `- name:` begins a case, `headers:` its headers (each begins with `- name:` too, further in), and
/// `expected:` what it is graded.
fn read(text: &str) -> Vec<Desync> {
    let mut cases: Vec<Desync> = Vec::new();
    for line in text.lines() {
        let inner = line.trim_start();
        let Some((key, value)) = inner.split_once(':') else { continue };
        if inner.starts_with('#') {
            continue;
        }
        let value = scalar(value.trim());
        if line.starts_with("- name") {
            cases.push(Desync { name: value, ..Desync::default() });
            continue;
        }
        let case = cases.last_mut().expect("a case has a name first");
        match key {
            "method" => case.method = value,
            "uri" => case.uri = value,
            "version" => case.version = value,
            "- name" => case.headers.push((value, String::new())),
            "value" => case.headers.last_mut().expect("a header").1 = value,
            "reason" => case.reason = value,
            // A header is graded too.
            "tier" if line.starts_with("    ") && !line.starts_with("      ") => case.tier = value,
            _ => {}
        }
    }
    cases
}

/// A value: plain, in single quotes, or in double quotes with escapes. In plain and single quotes YAML has
/// none, but the crate reads `\x01` and its like in all of them.
fn scalar(text: &str) -> String {
    let bare = ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    let mut chars = bare.unwrap_or(text).chars();
    let mut out = String::new();
    while let Some(next) = chars.next() {
        let escaped = if next == '\\' { chars.next() } else { None };
        out.push(match escaped {
            None => next,
            Some('x') => {
                let digits: String = chars.by_ref().take(2).collect();
                char::from(u8::from_str_radix(&digits, 16).expect("two digits"))
            }
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('0') => '\0',
            Some(other) => other,
        });
    }
    out
}
