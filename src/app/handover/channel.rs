//! The channel between a process and the one that it starts: a pair of sockets, on which messages and open files
//! go. Blocking, with patience; nobody but these two has an end of it.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// Longest message.
const LONGEST: usize = 64 * 1024;
/// For the rest of a message whose first byte has come.
const REST: Duration = Duration::from_secs(30);

/// What is said.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::app) enum Said {
    /// The next process has found nothing wrong so far. With this comes a handle of it.
    Hello {
        /// [`super::PROTOCOL`]
        protocol: u32,
        /// Of its binary.
        version: String,
        /// Its number.
        #[serde(default)]
        pid: u32,
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
    /// The process before takes it for granted and goes back no more.
    Yours,
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
    /// The process itself.
    Process,
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

    /// Says something that an open file goes with.
    pub fn say_with(&self, said: &Said, file: impl AsFd) -> io::Result<()> {
        self.send(said, Some(file.as_fd()))
    }

    /// Gives an open file.
    pub fn give(&self, what: What, file: impl AsFd) -> io::Result<()> {
        self.send(&Said::Take(what), Some(file.as_fd()))
    }

    fn send(&self, said: &Said, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let text = serde_json::to_vec(said)?;
        let mut message = u32::try_from(text.len()).map_err(io::Error::other)?.to_le_bytes().to_vec();
        message.extend(text);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        let files: Vec<_> = file.into_iter().collect();
        if !files.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(&files)) {
            return Err(io::Error::other("no room for a descriptor"));
        }
        let whole = [IoSlice::new(&message)];
        let sent = retry_on_intr(|| sendmsg(&self.0, &whole, &mut beside, SendFlags::NOSIGNAL))?;
        // A message is smaller than the socket's room: hardly ever is anything left.
        (&self.0).write_all(message.get(sent..).unwrap_or_default())
    }

    /// Waits for something to be said, and for the file that comes with it; for ever with `None`. What has begun to
    /// be said is heard to its end.
    ///
    /// # Errors
    /// `UnexpectedEof` if the other process has ended, `WouldBlock` if it said nothing for so long.
    pub fn hear(&self, patience: impl Into<Option<Duration>>) -> io::Result<(Said, Option<OwnedFd>)> {
        self.0.set_read_timeout(patience.into())?;
        let mut size = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let read =
            retry_on_intr(|| recvmsg(&self.0, &mut [IoSliceMut::new(&mut size)], &mut beside, flags))?.bytes;
        let mut file = None;
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                file = files.last();
            }
        }
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.set_read_timeout(Some(REST))?;
        let text = self.rest(read, size).map_err(|error| match error.kind() {
            // Nobody is to take that for silence.
            io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "a message without its end"),
            _ => error,
        })?;
        Ok((serde_json::from_slice(&text)?, file))
    }

    fn rest(&self, read: usize, mut size: [u8; 4]) -> io::Result<Vec<u8>> {
        if let Some(rest) = size.get_mut(read..) {
            (&self.0).read_exact(rest)?;
        }
        let size = usize::try_from(u32::from_le_bytes(size)).unwrap_or(usize::MAX);
        if size > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message too long"));
        }
        let mut text = vec![0; size];
        (&self.0).read_exact(&mut text)?;
        Ok(text)
    }

    /// Waits until the other end is closed, and nothing else.
    pub fn until_closed(&self) {
        let _ = self.0.set_read_timeout(None);
        let mut waste = [0; 64];
        loop {
            match (&self.0).read(&mut waste) {
                Ok(read) if read > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return,
            }
        }
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
        here.say(&Said::Hello { protocol: 7, version: "1".into(), pid: 1 }).unwrap();
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
    fn a_message_that_comes_in_pieces_is_whole_however_impatient_the_listener() {
        let (here, there) = Channel::pair().unwrap();
        let text = serde_json::to_vec(&Said::Refused { why: "why".repeat(1000) }).unwrap();
        let mut message = u32::try_from(text.len()).unwrap().to_le_bytes().to_vec();
        message.extend(text);
        let speaking = std::thread::spawn(move || {
            for piece in [&message[..2], &message[2..9], &message[9..]] {
                (&there).write_all(piece).unwrap();
                // Slowly: that is what this is about.
                std::thread::sleep(Duration::from_millis(100));
            }
            there
        });
        let said = loop {
            match here.hear(Duration::from_millis(1)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                said => break said,
            }
        };
        assert!(matches!(said.unwrap(), (Said::Refused { why }, None) if why.len() == 3000));
        drop(speaking.join().unwrap());
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
