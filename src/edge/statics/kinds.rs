//! What kind of thing a file is, by its extension, and which kinds are worth compressing. A table of our own: what
//! a site is made of. What is not in it is `application/octet-stream`, which no browser runs.

/// Extension (in lower case), type.
const KINDS: &[(&str, &str)] = &[
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("xhtml", "application/xhtml+xml"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("webmanifest", "application/manifest+json"),
    ("jsonld", "application/ld+json"),
    ("xml", "application/xml"),
    ("rss", "application/rss+xml"),
    ("atom", "application/atom+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("log", "text/plain; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("ics", "text/calendar; charset=utf-8"),
    ("vtt", "text/vtt; charset=utf-8"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("wasm", "application/wasm"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("apng", "image/apng"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("ico", "image/vnd.microsoft.icon"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("ttf", "font/ttf"),
    ("otf", "font/otf"),
    ("mp3", "audio/mpeg"),
    ("m4a", "audio/mp4"),
    ("ogg", "audio/ogg"),
    ("opus", "audio/ogg"),
    ("flac", "audio/flac"),
    ("wav", "audio/wav"),
    ("mp4", "video/mp4"),
    ("m4v", "video/mp4"),
    ("webm", "video/webm"),
    ("ogv", "video/ogg"),
    ("pdf", "application/pdf"),
    ("epub", "application/epub+zip"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("zst", "application/zstd"),
    ("xz", "application/x-xz"),
    ("tar", "application/x-tar"),
    ("7z", "application/x-7z-compressed"),
];

/// What is not in the table.
pub const UNKNOWN: &str = "application/octet-stream";

/// The type of a file with this extension.
pub fn of(extension: Option<&str>) -> Option<&'static str> {
    let extension = extension?;
    KINDS.iter().find(|(known, _)| extension.eq_ignore_ascii_case(known)).map(|(_, kind)| *kind)
}

/// Whether a body of this type gets much smaller. Not event streams: one that is idle would keep its encoder.
pub fn is_compressible(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (family, name) = kind.split_once('/').unwrap_or((&kind, ""));
    match family {
        "text" => name != "event-stream",
        "application" => {
            matches!(name, "json" | "javascript" | "x-javascript" | "xml" | "wasm" | "yaml" | "rtf")
                || is_stream(&kind)
                || name.ends_with("+json")
                || name.ends_with("+xml")
        }
        "image" => matches!(name, "svg+xml" | "bmp" | "vnd.microsoft.icon" | "x-icon"),
        "font" => matches!(name, "ttf" | "otf"),
        _ => false,
    }
}

/// Whether a body of this type may have no end for hours where it says no length: events, or records one a line.
pub fn is_stream(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(
        &*kind,
        "text/event-stream"
            | "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonlines"
            | "application/json-lines"
            | "application/json-seq"
            | "application/geo+json-seq"
            | "application/stream+json"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_read_in_any_case_and_unknown_ones_are_none() {
        assert_eq!(of(Some("HTML")), Some("text/html; charset=utf-8"));
        assert_eq!((of(Some("exe")), of(Some("")), of(None)), (None, None, None));
        let texts = KINDS.iter().filter(|(_, kind)| kind.starts_with("text/"));
        assert!(texts.into_iter().all(|(_, kind)| kind.ends_with("; charset=utf-8")));
    }

    #[test]
    fn text_gets_smaller_and_what_is_compressed_does_not() {
        for kind in [
            "text/html; charset=utf-8",
            "TEXT/CSS",
            "application/problem+json",
            "image/svg+xml",
            "application/wasm",
        ] {
            assert!(is_compressible(kind), "{kind}");
        }
        for kind in [
            "text/event-stream",
            "image/png",
            "application/octet-stream",
            "application/grpc",
            "font/woff2",
            "",
            "text",
        ] {
            assert_eq!(is_compressible(kind), kind == "text", "{kind}");
        }
    }
}
