//! The command line's side of the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::command::{Command, Takes};
use super::reply::{Failure, Reply};
use super::server::TURN;
use super::wire::{self, Answer, LONGEST_REPLY, PROTOCOL, Request};
use crate::config::passwords::LONGEST_QUEUE_TIMEOUT;

/// For the daemon to take a command.
const TAKE: Duration = Duration::from_secs(10);
/// For the daemon to answer what takes as long as there is data, or a CA: proving a long audit chain takes
/// minutes, and so does an order behind others.
pub(super) const LONG: Duration = Duration::from_secs(3600);
/// For the daemon to answer anything else: longer than a command waits for its turn and a password to be hashed.
pub(super) const QUICK: Duration = Duration::from_secs(TURN.as_secs() + LONGEST_QUEUE_TIMEOUT.as_secs() + 20);

/// A command was not done, or nobody knows whether it was.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No daemon answers: the stores can be opened directly.
    #[error("no keepgate answers on {0}")]
    NotRunning(PathBuf),
    /// The socket is someone else's.
    #[error("{0} may only be opened by root and by keepgate's own user")]
    Forbidden(PathBuf),
    /// The daemon said no. Nothing was changed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The conversation broke off.
    #[error("the daemon on {path} did not answer ({detail}); whether the command was done is not known")]
    Broken {
        /// Which socket.
        path: PathBuf,
        /// How it broke.
        detail: String,
    },
}

/// Has the daemon on the socket at `path` execute one command.
pub async fn send(path: &Path, command: &Command) -> Result<Reply, SendError> {
    let patience = match command.takes() {
        Takes::Moments => QUICK,
        Takes::Long | Takes::ACa => LONG,
    };
    send_within(patience, path, command).await
}

/// As [`send`], with patience of the caller's.
pub(super) async fn send_within(
    patience: Duration,
    path: &Path,
    command: &Command,
) -> Result<Reply, SendError> {
    let mut stream = UnixStream::connect(path).await.map_err(|error| match error.kind() {
        // `InvalidInput`: longer than a socket's address can be, so no daemon is there either.
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidInput => {
            SendError::NotRunning(path.to_owned())
        }
        io::ErrorKind::PermissionDenied => SendError::Forbidden(path.to_owned()),
        _ => SendError::Broken { path: path.to_owned(), detail: error.to_string() },
    })?;
    match exchange(&mut stream, command, patience).await {
        Ok(Answer::Done(reply)) => Ok(reply),
        Ok(Answer::Failed(failure)) => Err(failure.into()),
        Err(error) => Err(SendError::Broken { path: path.to_owned(), detail: error.to_string() }),
    }
}

async fn exchange(stream: &mut UnixStream, command: &Command, patience: Duration) -> io::Result<Answer> {
    let request = Request { protocol: PROTOCOL, command };
    let sent = timeout(TAKE, wire::write_line(stream, &request)).await?;
    let mut reader = BufReader::new(stream);
    let answer = timeout(patience, wire::read_line(&mut reader, LONGEST_REPLY)).await;
    match answer.map_err(|_| silent(patience))? {
        Ok(line) => wire::parse(&line).map_err(io::Error::other),
        // The daemon may refuse before it has read everything; its answer says more than a broken pipe.
        Err(error) => Err(sent.err().unwrap_or(error)),
    }
}

fn silent(patience: Duration) -> io::Error {
    let waited = patience.as_secs();
    io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {waited} s; see its log"))
}
