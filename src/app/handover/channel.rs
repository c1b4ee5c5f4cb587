//! The channel between a process and the one that it starts: a pair of sockets, on which messages and open files
//! go. Blocking, with patience; nobody but these two has an end of it.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// Longest message.
const LONGEST: usize = 64 * 1024;

/// What is said.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::app) enum Said {
    /// The next process has found nothing wrong so far.
    Hello {
        /// [`super::PROTOCOL`]
        protocol: u32,
        /// Of its binary.
        version: String,
    },
    /// It cannot serve.
    Refused {
        /// Why, as a person is told.
        why: String,
    },
    /// With this comes an open file.
    Take(What),
    /// The stores are closed.
    Go,
    /// The next process serves.
    Ready,
}

/// An open file that is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::app) enum What {
    /// A listening socket for HTTPS.
    Https,
    /// One for plain HTTP.
    Http,
    /// The internal listener.
    Internal,
    /// The control socket.
    Control,
    /// The stores' lock.
    Lock,
    /// See [`super::feed`].
    Feed,
    /// See [`super::relay`].
    Relay,
}

/// One end.
#[derive(Debug)]
pub(in crate::app) struct Channel(UnixStream);

impl Channel {
    /// Both ends.
    pub fn pair() -> io::Result<(Self, UnixStream)> {
        let (here, there) = UnixStream::pair()?;
        Ok((Self(here), there))
    }

    /// The end that a process was started with.
    pub fn of(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// Says something.
    pub fn say(&self, said: &Said) -> io::Result<()> {
        self.send(said, None)
    }

    /// Gives an open file.
    pub fn give(&self, what: What, file: impl AsFd) -> io::Result<()> {
        self.send(&Said::Take(what), Some(file.as_fd()))
    }

    fn send(&self, said: &Said, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let text = serde_json::to_vec(said)?;
        let size = u32::try_from(text.len()).map_err(io::Error::other)?.to_le_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        let files: Vec<_> = file.into_iter().collect();
        if !files.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(&files)) {
            return Err(io::Error::other("no room for a descriptor"));
        }
        let mut sent = sendmsg(&self.0, &[IoSlice::new(&size)], &mut beside, SendFlags::NOSIGNAL)?;
        while let Some(rest @ [_, ..]) = size.get(sent..) {
            sent += (&self.0).write(rest)?;
        }
        (&self.0).write_all(&text)
    }

    /// Waits for something to be said, and for the file that comes with it.
    ///
    /// # Errors
    /// `UnexpectedEof` if the other process has ended, `WouldBlock` if it said nothing for so long.
    pub fn hear(&self, patience: Duration) -> io::Result<(Said, Option<OwnedFd>)> {
        self.0.set_read_timeout(Some(patience))?;
        let mut size = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let read = recvmsg(&self.0, &mut [IoSliceMut::new(&mut size)], &mut beside, flags)?.bytes;
        let mut file = None;
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                file = files.last();
            }
        }
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(rest) = size.get_mut(read..) {
            (&self.0).read_exact(rest)?;
        }
        let size = usize::try_from(u32::from_le_bytes(size)).unwrap_or(usize::MAX);
        if size > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message too long"));
        }
        let mut text = vec![0; size];
        (&self.0).read_exact(&mut text)?;
        Ok((serde_json::from_slice(&text)?, file))
    }

    /// Waits until the other end is closed, and nothing else.
    pub fn until_closed(&self) {
        let _ = self.0.set_read_timeout(None);
        let mut waste = [0; 64];
        while (&self.0).read(&mut waste).is_ok_and(|read| read > 0) {}
    }

    /// Another hold on the same end.
    pub fn share(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Says nothing more: the other end is told so, and can still be waited for.
    pub fn close(&self) {
        let _ = self.0.shutdown(std::net::Shutdown::Write);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn an_open_socket_comes_out_as_it_went_in() {
        let (here, there) = Channel::pair().unwrap();
        let there = Channel::of(there);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        here.say(&Said::Hello { protocol: 7, version: "1".into() }).unwrap();
        here.give(What::Https, &listener).unwrap();
        here.say(&Said::Go).unwrap();
        let (said, file) = there.hear(SOON).unwrap();
        assert!(matches!(said, Said::Hello { protocol: 7, .. }) && file.is_none());
        let (said, file) = there.hear(SOON).unwrap();
        assert!(matches!(said, Said::Take(What::Https)));
        let taken = TcpListener::from(file.unwrap());
        assert_eq!(taken.local_addr().unwrap(), listener.local_addr().unwrap());
        assert!(matches!(there.hear(SOON).unwrap(), (Said::Go, None)));
        drop(here);
        assert_eq!(there.hear(SOON).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_no_message_is_an_error_and_takes_no_memory() {
        for bytes in [&[0xff; 8][..], b"\x04\0\0\0nope", b"\x09\0\0\0{\"who\":1}"] {
            let (here, mut there) = Channel::pair().unwrap();
            there.write_all(bytes).unwrap();
            assert_eq!(here.hear(SOON).unwrap_err().kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
    }
}
