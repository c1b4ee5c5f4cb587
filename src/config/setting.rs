//! One key as it stands: its value and where that came from. For people who ask why; the process
//! itself runs on [`super::Config`]. Never a secret: of those only the source.

use serde_json::Value;

/// One key of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Its path, such as `routes[0].path`.
    pub key: String,
    /// Its value as it was written, or its default; `None` if it has none.
    pub value: Option<Value>,
    /// Who set it.
    pub origin: Origin,
}

/// What there is to know of a key, whatever it is set to.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Its path, with `[]` for each entry of a list and `*` for a name: `upstreams.*.servers`.
    pub key: String,
    /// What it takes, such as `a number from 1 to 1024`.
    pub takes: String,
    /// What it is if nobody sets it; `None` if it has no default.
    pub default: Option<Value>,
    /// What it is for.
    pub comment: String,
}

/// Who set a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: it stands at its default.
    Default,
    /// The file, on this line.
    File(usize),
    /// This environment variable.
    Environment(String),
    /// What `serve --dev` brings along.
    Development,
    /// This argument of the command line.
    Argument(&'static str),
}
