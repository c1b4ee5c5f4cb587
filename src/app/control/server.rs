//! The daemon's side of the control socket: `data_dir/run/control.sock`, 0600 in a folder of 0700.
//!
//! Only root and the daemon's own user are served, by the credentials the kernel gives for the peer
//! (`SO_PEERCRED`), whatever became of the file modes. One command a connection; commands, bytes and
//! time are bounded, so that a stuck client costs a place and no more, and a stuck CA no turn of those
//! commands that need none. A command that was begun is finished even if its client is gone: its effect
//! would be unknown otherwise.

use std::fs::{self, DirBuilder, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::command::{Command, Takes};
use super::reply::{Code, Failure};
use super::wire::{self, Answer, Hello, LONGEST_REQUEST, PROTOCOL, Request};
use super::{Executor, Outcome, socket_path};
use crate::model::caller::Actor;

/// Connections at once. More are told so: a peer that is not served should not wait without a word.
const PLACES: u32 = 128;
/// Commands at once. Whoever has not sent one yet takes no place from those who have.
const COMMANDS: usize = 16;
/// Beside them, commands at once that wait for a CA: one that hangs must not keep out what ends access. They
/// wait for each other, so more would only wait longer.
const AT_A_CA: usize = 4;
/// For a command to arrive.
const ARRIVAL: Duration = Duration::from_secs(5);
/// For a command that arrived to be begun.
pub(super) const TURN: Duration = Duration::from_secs(10);
/// For an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// For a peer that is turned away to take the words; the door waits for it.
const FAREWELL: Duration = Duration::from_millis(100);
/// For open commands to finish at shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// The socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A daemon answers on it.
    #[error("{0} is answered by another keepgate: stop it, or choose another data folder")]
    InUse(PathBuf),
    /// The system refused.
    #[error("the control socket {path} cannot be opened: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why. `InvalidInput` is a path longer than a socket's address can be (107 bytes).
        source: io::Error,
    },
}

/// The open socket; its file is removed when dropped, unless it is only shared.
#[derive(Debug)]
pub struct Socket {
    listener: std::os::unix::net::UnixListener,
    path: Option<PathBuf>,
}

impl Socket {
    /// The socket as the process before left it. Its file is that process's, until it is claimed.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn inherit(listener: std::os::unix::net::UnixListener, data_dir: &Path) -> Result<Self, BindError> {
        let refused = |source| BindError::Io { path: socket_path(data_dir), source };
        listener.set_nonblocking(true).map_err(refused)?;
        Ok(Self { listener, path: None })
    }

    /// Takes its file over: who had it before leaves it.
    pub fn claim(&mut self, data_dir: &Path) {
        self.path = Some(socket_path(data_dir));
    }

    /// Another hold on the same socket, which leaves its file alone.
    ///
    /// # Errors
    /// When the system has no descriptor.
    pub fn share(&self) -> io::Result<Self> {
        Ok(Self { listener: self.listener.try_clone()?, path: None })
    }

    /// The same, for another process.
    ///
    /// # Errors
    /// When the system has no descriptor.
    pub fn listener(&self) -> io::Result<std::os::unix::net::UnixListener> {
        self.listener.try_clone()
    }

    /// Leaves its file to who has the socket now.
    pub fn leave(&mut self) {
        self.path = None;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // If it fails the file stays behind; the next daemon finds nobody there and replaces it.
            let _ = fs::remove_file(path);
        }
    }
}

/// Opens the socket of a data folder. Call it while holding the folder's lock: a file that nobody
/// answers on is taken for a dead daemon's and replaced.
pub fn bind(data_dir: &Path) -> Result<Socket, BindError> {
    let path = socket_path(data_dir);
    let refused = |source| BindError::Io { path: path.clone(), source };
    let run = data_dir.join("run");
    DirBuilder::new().recursive(true).mode(0o700).create(&run).map_err(refused)?;
    fs::set_permissions(&run, Permissions::from_mode(0o700)).map_err(refused)?;
    match std::os::unix::net::UnixStream::connect(&path) {
        Ok(_) => return Err(BindError::InUse(path)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(&path).map_err(refused)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(refused(error)),
    }
    // Nobody can come in before the mode is set: the folder lets only its owner through.
    let listener = std::os::unix::net::UnixListener::bind(&path).map_err(refused)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    Ok(Socket { listener, path: Some(path) })
}

/// Serves commands until `shutdown` resolves, then finishes those under way.
pub async fn serve(socket: Socket, executor: Arc<dyn Executor>, shutdown: impl Future<Output = ()> + Send) {
    let places = Arc::new(Semaphore::new(PLACES as usize));
    let turns = Arc::new(Turns { common: Semaphore::new(COMMANDS), at_a_ca: Semaphore::new(AT_A_CA) });
    let mut shutdown = std::pin::pin!(shutdown);
    let listener = match socket.listener().and_then(UnixListener::from_std) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the control socket cannot be used"),
    };
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match (accepted, Arc::clone(&places).try_acquire_owned()) {
            (Ok((stream, _)), Ok(place)) => {
                let (executor, turns) = (Arc::clone(&executor), Arc::clone(&turns));
                tokio::spawn(async move {
                    if let Err(error) = connection(stream, &*executor, &turns).await {
                        tracing::debug!(%error, "a control connection ended early");
                    }
                    // The place last: whoever waits for it at shutdown then has the house alone.
                    drop(executor);
                    drop(place);
                });
            }
            (Ok((mut stream, _)), Err(_)) => {
                let full = format!("all {PLACES} places of the control socket are taken");
                let _ = timeout(FAREWELL, wire::write_line(&mut stream, &busy(full))).await;
            }
            (Err(error), _) => {
                tracing::warn!(%error, "the control socket could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop((listener, socket));
    let _ = timeout(DRAIN, places.acquire_many(PLACES)).await;
}

/// Who has one has a command under way.
struct Turns {
    common: Semaphore,
    at_a_ca: Semaphore,
}

impl Turns {
    /// A turn for a command, or why there is none.
    async fn take(&self, takes: Takes) -> Result<SemaphorePermit<'_>, String> {
        match takes {
            // Nobody knows how long these would have to wait.
            Takes::ACa => self
                .at_a_ca
                .try_acquire()
                .map_err(|_| format!("{AT_A_CA} commands wait for a CA, which may take minutes")),
            Takes::Moments | Takes::Long => match timeout(TURN, self.common.acquire()).await {
                Ok(Ok(turn)) => Ok(turn),
                // Nobody closes it.
                Ok(Err(_)) | Err(_) => Err(format!("{COMMANDS} commands are under way")),
            },
        }
    }
}

async fn connection(mut stream: UnixStream, executor: &dyn Executor, turns: &Turns) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let answer = match command(&mut stream, peer).await? {
        Ok(command) => match turns.take(command.takes()).await {
            Ok(_turn) => outcome(executor.execute(command, Actor::Console(peer)).await),
            Err(why) => busy(why),
        },
        Err(failure) => Answer::Failed(failure),
    };
    timeout(PATIENCE, wire::write_line(&mut stream, &answer)).await?
}

/// Nothing was begun.
fn busy(why: String) -> Answer {
    Answer::Failed(Failure::new(Code::Unavailable, why).remedy("try again in a few seconds"))
}

fn outcome(outcome: Outcome) -> Answer {
    match outcome {
        Ok(reply) => Answer::Done(reply),
        Err(failure) => Answer::Failed(failure),
    }
}

/// The command on a connection, if this peer may give it and it is one.
async fn command(stream: &mut UnixStream, peer: u32) -> io::Result<Result<Command, Failure>> {
    if !may_command(peer, rustix::process::geteuid().as_raw()) {
        tracing::warn!(uid = peer, "a stranger on the control socket was refused");
        let message = format!("user {peer} may not command this keepgate");
        return Ok(Err(Failure::new(Code::Refused, message).remedy("run it as root or as keepgate's user")));
    }
    let mut reader = BufReader::new(stream);
    let line = match timeout(ARRIVAL, wire::read_line(&mut reader, LONGEST_REQUEST)).await? {
        Ok(line) => line,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Ok(Err(Failure::new(Code::Invalid, error.to_string())));
        }
        Err(error) => return Err(error),
    };
    Ok(understand(&line))
}

/// The command in a line.
pub(super) fn understand(line: &[u8]) -> Result<Command, Failure> {
    let hello: Result<Hello, _> = wire::parse(line);
    if let Ok(Hello { protocol }) = hello
        && protocol != PROTOCOL
    {
        let message = format!("the daemon speaks protocol {PROTOCOL}, the command line {protocol}");
        return Err(Failure::new(Code::Refused, message).remedy("restart the daemon after an upgrade"));
    }
    wire::parse::<Request>(line).map(|request| request.command).map_err(|detail| {
        Failure::new(Code::Invalid, format!("the command is {detail}"))
            .remedy("use the command line of the daemon's version")
    })
}

/// Root could do it without us, and we could do it ourselves; nobody else.
const fn may_command(peer: u32, own: u32) -> bool {
    peer == 0 || peer == own
}

#[cfg(test)]
mod tests {
    use super::may_command;

    #[test]
    fn only_root_and_the_daemons_own_user_may_command() {
        assert!(may_command(0, 990) && may_command(990, 990));
        assert!(!may_command(1000, 990) && !may_command(1000, 0));
    }
}
