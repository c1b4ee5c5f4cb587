//! Which headers speak of an answer's body: when it is coded on the way, and when another one is put in its place.
//! What they say of the resource or of the answer itself stays.

use http::HeaderMap;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, LAST_MODIFIED,
};

/// Digests of the bytes as they are sent, or as they would be without a range (RFC 9530, RFC 3230, RFC 2616 §14.15).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// What else describes a representation or is how it is validated (RFC 9110 §8.3 to §8.8), how it may be taken in
/// parts (§14), what it is to be saved as (RFC 6266), and a digest of it before any coding.
const METADATA: [HeaderName; 11] = [
    CONTENT_TYPE,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    ETAG,
    LAST_MODIFIED,
    ACCEPT_RANGES,
    CONTENT_RANGE,
    CONTENT_DISPOSITION,
    HeaderName::from_static("unencoded-digest"),
];

/// The body is coded differently from here on: what its bytes came to does not hold. Trailers say it too.
pub fn drop_digests(fields: &mut HeaderMap) {
    for name in &DIGESTS {
        fields.remove(name);
    }
}

/// Another body is put in its place: nothing that was said of it holds.
pub fn drop_metadata(headers: &mut HeaderMap) {
    drop_digests(headers);
    for name in &METADATA {
        headers.remove(name);
    }
}
