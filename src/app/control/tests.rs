//! Both ends of the socket together, with an executor that only remembers.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::client::{LONG, QUICK, SendError, send, send_within};
use super::command::{Command, Password, Takes};
use super::reply::{Code, Failure, Reply};
use super::server::{BindError, TURN, bind, serve};
use super::*;
use crate::config::passwords::LONGEST_QUEUE_TIMEOUT;

#[derive(Default)]
struct Scribe {
    seen: Mutex<Vec<(String, Actor)>>,
    /// Resolves when the command may finish.
    gate: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Executor for Scribe {
    fn execute(&self, command: Command, actor: Actor) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>> {
        Box::pin(async move {
            let gate = self.gate.lock().unwrap().take();
            if let Some(gate) = gate {
                let _ = gate.await;
            }
            self.seen.lock().unwrap().push((format!("{command:?}"), actor));
            match command {
                // A CA that hangs.
                Command::CertificateRenew { .. } => std::future::pending().await,
                Command::UserShow { user } => {
                    Err(Failure::new(Code::NotFound, format!("no account {user}")).remedy("see user list"))
                }
                _ => Ok(Reply::Done),
            }
        })
    }
}

struct Daemon {
    dir: tempfile::TempDir,
    scribe: Arc<Scribe>,
    stop: oneshot::Sender<()>,
    done: tokio::task::JoinHandle<()>,
}

impl Daemon {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = bind(dir.path()).unwrap();
        let scribe = Arc::new(Scribe::default());
        let (stop, stopped) = oneshot::channel();
        let executor: Arc<dyn Executor> = scribe.clone();
        let done = tokio::spawn(serve(socket, executor, async {
            let _ = stopped.await;
        }));
        Self { dir, scribe, stop, done }
    }

    fn socket(&self) -> PathBuf {
        socket_path(self.dir.path())
    }

    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        // A refusal may come before everything was written.
        let _ = stream.write_all(bytes).await;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }
}

#[tokio::test]
async fn a_command_is_executed_as_the_peer_and_answered() {
    let daemon = Daemon::start();
    let password = Password("correct horse battery".into());
    let command = Command::UserSetPassword { user: "ada@example.com".into(), password };
    assert_eq!(send(&daemon.socket(), &command).await.unwrap(), Reply::Done);
    let seen = daemon.scribe.seen.lock().unwrap().pop().unwrap();
    assert_eq!(seen.1, Actor::Console(rustix::process::getuid().as_raw()));
    assert!(!seen.0.contains("horse"), "Debug hides the password: {}", seen.0);
    let error = send(&daemon.socket(), &Command::UserShow { user: "x".into() }).await.unwrap_err();
    let SendError::Failed(failure) = error else { panic!("{error}") };
    assert_eq!((failure.code, failure.remedy.as_str()), (Code::NotFound, "see user list"));
}

#[tokio::test]
async fn the_socket_is_for_its_owner_alone_and_gone_after_the_end() {
    let daemon = Daemon::start();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&daemon.socket()), 0o600);
    assert_eq!(mode(&daemon.dir.path().join("run")), 0o700);
    daemon.stop.send(()).unwrap();
    daemon.done.await.unwrap();
    assert!(!daemon.dir.path().join("run/control.sock").exists());
}

#[tokio::test]
async fn a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = socket_path(dir.path());
    assert!(matches!(send(&path, &Command::Status).await, Err(SendError::NotRunning(_))), "never started");
    std::fs::create_dir(dir.path().join("run")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    assert!(matches!(send(&path, &Command::Status).await, Err(SendError::NotRunning(_))), "died");
    let _living = bind(dir.path()).unwrap();
    assert!(matches!(bind(dir.path()), Err(BindError::InUse(_))));
}

#[tokio::test]
async fn what_is_not_a_command_is_refused_in_words_and_never_quoted() {
    let daemon = Daemon::start();
    for (line, says) in [
        ("hunter2\n", "not as expected"),
        ("{\"protocol\":1,\"command\":\"hunter2\"}\n", "not as expected"),
        ("{\"protocol\":1,\"command\":{\"user_show\":{\"user\":\"a\",\"hunter2\":1}}}\n", "not as expected"),
        ("{\"protocol\":2,\"command\":{\"dance\":\"hunter2\"}}\n", "restart the daemon"),
    ] {
        let answer = daemon.raw(line.as_bytes()).await;
        assert!(answer.contains(says) && !answer.contains("hunter2"), "{line}: {answer}");
    }
    assert!(daemon.scribe.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_line_without_end_is_cut_off_at_one_mebibyte() {
    let daemon = Daemon::start();
    let answer = daemon.raw(&vec![b'x'; 1024 * 1024 + 1]).await;
    assert!(answer.contains("longer than 1048576 bytes"), "{answer}");
}

#[tokio::test]
async fn a_command_under_way_is_finished_at_shutdown() {
    let daemon = Daemon::start();
    let (open, gate) = oneshot::channel();
    *daemon.scribe.gate.lock().unwrap() = Some(gate);
    let socket = daemon.socket();
    let sending = tokio::spawn(async move { send(&socket, &Command::KeyRotate { force: false }).await });
    // The gate is taken when the command has begun.
    while daemon.scribe.gate.lock().unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    daemon.stop.send(()).unwrap();
    while daemon.dir.path().join("run/control.sock").exists() {
        tokio::task::yield_now().await;
    }
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!daemon.done.is_finished(), "it must wait for the command");
    open.send(()).unwrap();
    assert_eq!(sending.await.unwrap().unwrap(), Reply::Done);
    daemon.done.await.unwrap();
}

/// Connections that send nothing.
async fn idle(daemon: &Daemon, count: usize) -> Vec<UnixStream> {
    let mut idle = Vec::new();
    for _ in 0..count {
        idle.push(UnixStream::connect(daemon.socket()).await.unwrap());
    }
    idle
}

#[tokio::test]
async fn sixty_four_that_say_nothing_keep_no_command_waiting() {
    let daemon = Daemon::start();
    let _idle = idle(&daemon, 64).await;
    let (socket, patience) = (daemon.socket(), Duration::from_secs(4));
    let done = tokio::time::timeout(patience, send(&socket, &Command::Status));
    assert_eq!(done.await.expect("it need not wait until they are dropped").unwrap(), Reply::Done);
}

#[tokio::test]
async fn a_full_house_says_so_and_who_says_nothing_is_dropped() {
    let daemon = Daemon::start();
    let mut idle = idle(&daemon, 128).await;
    let error = send(&daemon.socket(), &Command::Status).await.unwrap_err();
    let SendError::Failed(failure) = error else { panic!("{error}") };
    assert_eq!(failure.code, Code::Unavailable);
    assert!(failure.message.contains("128 places"), "{failure}");
    for stream in &mut idle {
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "it is closed, without an answer");
    }
    assert_eq!(send(&daemon.socket(), &Command::Status).await.unwrap(), Reply::Done);
}

#[tokio::test]
async fn a_daemon_that_never_answers_a_quick_command_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("run")).unwrap();
    let _silent = tokio::net::UnixListener::bind(socket_path(dir.path())).unwrap();
    let patience = Duration::from_secs(1);
    let error = send_within(patience, &socket_path(dir.path()), &Command::Status).await.unwrap_err();
    assert!(error.to_string().contains("nothing came for 1 s"), "{error}");
}

#[tokio::test]
async fn renewals_at_a_ca_that_hangs_keep_no_other_command_waiting() {
    let daemon = Daemon::start();
    let mut renewals = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let socket = daemon.socket();
        let renewal = async move { send(&socket, &Command::CertificateRenew { name: "a".into() }).await };
        renewals.spawn(renewal);
    }
    for _ in 4..20 {
        let refused = tokio::time::timeout(Duration::from_secs(30), renewals.join_next());
        let refused = refused.await.expect("it is told at once").unwrap().unwrap().unwrap_err();
        let SendError::Failed(failure) = refused else { panic!("{refused}") };
        assert_eq!(failure.code, Code::Unavailable);
        assert!(failure.message.contains("4 commands wait for a CA"), "{failure}");
    }
    let session = crate::model::id::SessionId(uuid::Uuid::nil());
    assert_eq!(send(&daemon.socket(), &Command::SessionRevoke { session }).await.unwrap(), Reply::Done);
    assert_eq!(renewals.len(), 4, "they wait on");
}

#[test]
fn what_waits_for_a_ca_or_for_much_data_has_longer_and_a_password_is_hashed_in_time() {
    let renew = Command::CertificateRenew { name: "a".into() };
    let reason = crate::model::certificate::RevocationReason::Unspecified;
    let revoke = Command::CertificateRevoke { name: "a".into(), reason };
    assert_eq!([renew.takes(), revoke.takes()], [Takes::ACa; 2]);
    assert_eq!((Command::Reload.takes(), Command::Status.takes()), (Takes::Long, Takes::Moments));
    assert!(QUICK > LONGEST_QUEUE_TIMEOUT + TURN && LONG > Duration::from_secs(4 * 600));
}
