//! What a process finds open when it starts: from the process before it, or from the service manager (socket
//! activation, `sd_listen_fds(3)`).

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_setfd};

use super::channel::{Channel, Said, What};
use super::{PROTOCOL, VARIABLE};
use crate::config::Config;
use crate::edge::start::Given;

/// For the process before to close its stores.
const CLOSING: Duration = Duration::from_secs(120);

/// The process before this one.
#[derive(Debug)]
pub struct Predecessor(Channel);

/// What was found open. Empty for a start from nothing.
#[derive(Debug, Default)]
pub struct Inherited {
    pub(in crate::app) edge: Given,
    pub(in crate::app) internal: Option<TcpListener>,
    pub(in crate::app) control: Option<UnixListener>,
    pub(in crate::app) before: Option<Before>,
}

/// What comes from a process that is still there.
#[derive(Debug)]
pub(in crate::app) struct Before {
    pub channel: Channel,
    pub pid: u32,
    pub lock: Option<OwnedFd>,
    pub feed: Option<UnixStream>,
    pub relay: UnixStream,
}

/// A process before this one that may still have something open.
#[derive(Debug)]
pub(in crate::app) struct Ending {
    pub pid: u32,
    channel: Channel,
    over: Arc<AtomicBool>,
}

impl Predecessor {
    /// The process that started this one, if it did so to be replaced.
    ///
    /// # Errors
    /// If something else says so.
    pub fn find() -> io::Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let wrong = || {
            io::Error::other(format!(
                "{VARIABLE} is set, which only keepgate itself does for the process that is to replace it: unset it"
            ))
        };
        let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(|_| wrong())?;
        if Some(peer.pid) != rustix::process::getppid() || peer.uid != rustix::process::geteuid() {
            return Err(wrong());
        }
        // Nothing of it is left where others would look for an input.
        if let Ok(null) = std::fs::File::open("/dev/null") {
            rustix::stdio::dup2_stdin(null)?;
        }
        Ok(Some(Self(Channel::of(stream))))
    }

    /// Tells it that this process cannot serve.
    pub fn refuse(&self, why: &str) {
        let _ = self.0.say(&Said::Refused { why: why.chars().take(8_000).collect() });
    }

    /// Another hold on it.
    ///
    /// # Errors
    /// When the system has no descriptor.
    pub fn share(&self) -> io::Result<Self> {
        self.0.share().map(Self)
    }

    /// Tells it that nothing is wrong so far, and waits until it has closed its stores. Blocking.
    ///
    /// # Errors
    /// When it has changed its mind, or ended.
    pub fn take_over(self) -> io::Result<Inherited> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.0.say(&Said::Hello { protocol: PROTOCOL, version })?;
        let (mut found, mut lock, mut feed, mut relay) = (Inherited::default(), None, None, None);
        loop {
            match self.0.hear(CLOSING)? {
                (Said::Take(what), Some(file)) => match what {
                    What::Https => found.edge.https.push(file.into()),
                    What::Http => found.edge.http.push(file.into()),
                    What::Internal => found.internal = Some(file.into()),
                    What::Control => found.control = Some(file.into()),
                    What::Lock => lock = Some(file),
                    What::Feed => feed = Some(file.into()),
                    What::Relay => relay = Some(file.into()),
                },
                (Said::Go, None) => break,
                (other, _) => return Err(io::Error::other(format!("it said {other:?}"))),
            }
        }
        let (Some(feed), Some(relay)) = (feed, relay) else {
            return Err(io::Error::other("it handed over less than is needed"));
        };
        let pid = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
        found.before = Some(Before { channel: self.0, pid, lock, feed: Some(feed), relay });
        Ok(found)
    }
}

impl Inherited {
    /// The sockets of the service manager, if there are any.
    ///
    /// # Errors
    /// With what is wrong with them.
    pub fn from_service_manager(config: &Config) -> io::Result<Self> {
        let mut sockets = ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<_> = names.split(':').collect();
        let mut found = Self::default();
        for at in 0..sockets.len() {
            let wrong = |error| io::Error::other(format!("socket {at} of the service manager: {error}"));
            let Some(socket) = sockets.take_tcp_listener(at).map_err(wrong)? else { continue };
            // Processes that this one starts are given what they need.
            fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
            let local = socket.local_addr()?;
            let listen = &config.listen;
            match names.get(at).copied() {
                Some("https") => found.edge.https.push(socket),
                Some("http") => found.edge.http.push(socket),
                Some("internal") => found.internal = Some(socket),
                _ if listen.http.contains(&local) => found.edge.http.push(socket),
                _ if listen.internal == Some(local) => found.internal = Some(socket),
                _ => found.edge.https.push(socket),
            }
        }
        Ok(found)
    }
}

impl Ending {
    /// Watches it end.
    pub fn watch(channel: Channel, pid: u32) -> io::Result<Self> {
        let (over, theirs) = (Arc::new(AtomicBool::new(false)), channel.share()?);
        let told = Arc::clone(&over);
        std::thread::Builder::new().name("predecessor".to_owned()).spawn(move || {
            theirs.until_closed();
            told.store(true, Ordering::Release);
            tracing::info!(pid, "the process before this one has ended");
        })?;
        Ok(Self { pid, channel, over })
    }

    /// Tells it that this process serves.
    pub fn tell_ready(&self) {
        // If it has gone there is nobody to be told.
        let _ = self.channel.say(&Said::Ready);
    }

    /// Has it cut what it has.
    pub fn cut(&self) {
        self.channel.close();
    }

    /// For others to see whether it has.
    pub fn over(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.over)
    }

    /// Whether it has.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}
