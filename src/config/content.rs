//! What a route serves and how it goes out: files of a folder (`root`), compression (`compress`), and whether an
//! application's errors get the gate's own pages (`intercept`).

use std::path::PathBuf;

use http::HeaderValue;

/// `root`: a folder whose files a route serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// `root`: what the route's path stands for.
    pub root: PathBuf,
    /// `index`: the file that answers for a folder.
    pub index: String,
    /// `fallback`: the file, beneath the root, that answers for what is not there.
    pub fallback: Option<String>,
    /// `cache_control`: of every file.
    pub cache_control: Option<HeaderValue>,
}

/// `compress`: whether answers are compressed for clients that take it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    /// Never. The default.
    #[default]
    Off,
    /// Where nothing says that somebody in particular asks: compressed together, a secret and what an attacker
    /// put into the request tell of each other by their length (BREACH).
    On,
    /// Also then.
    Always,
}

/// How a route's answers go out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// `compress`
    pub compress: Compress,
    /// `intercept`: 5xx of the application give way to `[[error_pages]]`.
    pub intercept: bool,
}
