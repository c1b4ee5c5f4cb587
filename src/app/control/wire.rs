//! One line of JSON each way. A request names its protocol, so that a command line and a daemon of
//! different versions misunderstand each other in plain words; a line is bounded before it is read.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::command::Command;
use super::reply::{Failure, Reply};

/// Raised when the other side could misunderstand a command or reply.
pub(super) const PROTOCOL: u32 = 1;
/// Longest request line, bytes.
pub(super) const LONGEST_REQUEST: u64 = 1024 * 1024;
/// Longest reply line, bytes: [`super::command::PAGE`] entries of the largest kind fit many times.
pub(super) const LONGEST_REPLY: u64 = 16 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request<C = Command> {
    pub(super) protocol: u32,
    pub(super) command: C,
}

/// Any request, read only for its protocol.
#[derive(Deserialize)]
pub(super) struct Hello {
    pub(super) protocol: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Done(Reply),
    Failed(Failure),
}

/// Reads one line of at most `longest` bytes, without its newline. The buffer is wiped when dropped:
/// it may hold a password.
pub(super) async fn read_line(
    from: &mut (impl AsyncBufRead + Unpin),
    longest: u64,
) -> io::Result<Zeroizing<Vec<u8>>> {
    // Longer than any command with a password, so that none is copied by growing.
    let mut line = Zeroizing::new(Vec::with_capacity(8 * 1024));
    from.take(longest + 1).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => Ok(line),
        None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed before a line came")),
        Some(_) if line.len() as u64 >= longest => {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("a line is longer than {longest} bytes")))
        }
        Some(_) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed within a line")),
    }
}

pub(super) async fn write_line(
    to: &mut (impl AsyncWrite + Unpin),
    value: &(impl Serialize + Sync),
) -> io::Result<()> {
    let mut line = Zeroizing::new(Vec::with_capacity(8 * 1024));
    serde_json::to_writer(&mut *line, value)?;
    line.push(b'\n');
    to.write_all(&line).await?;
    to.flush().await
}

/// Parses a line. The error says where, never what: serde's own message may quote a password.
pub(super) fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| format!("not as expected at byte {}", error.column()))
}
