//! The tables of cases (`cases/*.toml`): what is sent, what must become of it, and who says so.

use serde::Deserialize;

use super::recorder::bytes;

/// Cases about one matter.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub name: String,
    /// What the edge does about it, for docs/http.md.
    pub says: String,
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// One case of a table. Characters stand for the bytes of their numbers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    /// The section of an RFC, the CVE or GHSA, or the rule of the house.
    pub source: String,
    /// Lines of a head, each to be ended with CR LF, and a last empty one.
    #[serde(default)]
    lines: Vec<String>,
    /// What follows the head.
    #[serde(default)]
    body: String,
    /// The bytes as they are, in place of `lines`.
    #[serde(default)]
    send: String,
    /// What becomes of each request in turn, see [`Want`]. For answers: of the one answer.
    pub want: Vec<String>,
    /// HTTP/2: the fields of the head.
    #[serde(default)]
    pub fields: Vec<(String, String)>,
    /// HTTP/2: the fields after the body.
    #[serde(default)]
    pub trailers: Vec<(String, String)>,
    /// Answers: the method that asks; GET by default.
    #[serde(default)]
    pub method: String,
    /// Answers: the upstream closes after it.
    #[serde(default)]
    pub close: bool,
}

/// What becomes of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// `400 close`: that status, and the connection ends. Nothing of it arrives.
    Refused(u16),
    /// `400 close, broken off`: the same, but it had begun to arrive, and never comes to its end.
    BrokenOff(u16),
    /// `401`: that status, of the gate; the connection goes on.
    Answered(u16),
    /// `401 perhaps close`: as the gate likes, but nothing after it may be read as a request that was not one.
    Either(u16),
    /// `POST /x body`: that and nothing else arrives, once.
    Forwarded(String),
    /// `reset`: HTTP/2 ends the stream, or the connection.
    Reset,
    /// `POST /x body, or 400 close`: either is safe, as long as it is wholly one of both.
    Perhaps(String, u16),
    /// `GET /x (closes)`: the same, and after its answer the connection ends.
    Last(String),
}

impl Case {
    /// The bytes to send.
    pub fn bytes(&self) -> Vec<u8> {
        if self.lines.is_empty() {
            return bytes(&self.send);
        }
        bytes(&format!("{}\r\n\r\n{}", self.lines.join("\r\n"), self.body))
    }

    pub fn body(&self) -> Vec<u8> {
        bytes(&self.body)
    }

    pub fn want(&self) -> Vec<Want> {
        self.want.iter().map(|text| Want::of(text)).collect()
    }
}

impl Want {
    /// Which of two it is, by the answer.
    pub fn settle(&self, answer: &[u8]) -> Self {
        match self {
            Self::Perhaps(_, status) if answer.starts_with(b"HTTP/1.1 400 ") => Self::Refused(*status),
            Self::Perhaps(told, _) => Self::Forwarded(told.clone()),
            other => other.clone(),
        }
    }

    fn of(text: &str) -> Self {
        let (status, rest) = text.split_once(' ').unwrap_or((text, ""));
        match (status.parse(), rest) {
            (Ok(status), "close") => Self::Refused(status),
            (Ok(status), "close, broken off") => Self::BrokenOff(status),
            (Ok(status), "perhaps close") => Self::Either(status),
            (Ok(status), "") => Self::Answered(status),
            (Err(_), _) if let Some((told, _)) = text.split_once(", or 400 close") => {
                Self::Perhaps(told.to_owned(), 400)
            }
            (Err(_), "") if text == "reset" => Self::Reset,
            (Err(_), rest) if rest.ends_with(" (closes)") => Self::Last(text.replace(" (closes)", "")),
            (Err(_), rest) if rest.starts_with('/') => Self::Forwarded(text.to_owned()),
            _ => panic!("{text:?} is no verdict"),
        }
    }
}

/// A table.
pub fn read(text: &str) -> Vec<Group> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Table {
        group: Vec<Group>,
    }
    toml::from_str::<Table>(text).expect("a table of cases").group
}

/// The requests over HTTP/1.
pub fn requests() -> Vec<Group> {
    let tables = [
        include_str!("cases/framing.toml"),
        include_str!("cases/heads.toml"),
        include_str!("cases/targets.toml"),
    ];
    tables.iter().flat_map(|text| read(text)).collect()
}

/// The requests over HTTP/2.
pub fn http2() -> Vec<Group> {
    read(include_str!("cases/http2.toml"))
}

/// What upstreams answer.
pub fn answers() -> Vec<Group> {
    read(include_str!("cases/answers.toml"))
}
