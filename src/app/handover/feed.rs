//! What ends access in one process ends it in the other: the next process's journal, followed by the views of
//! the one that is ending.
//!
//! Told on the committer's thread, before anybody is answered, and the answer waits until it is in force there
//! too: an acknowledged revocation lets nothing pass in either process. A process that does not say so within
//! [`PATIENCE`] is killed, and nobody is answered until it is: it might have been stopped, and go on later with what
//! it believed then, before it could find out. While this one is not ready yet nobody can have been answered by it,
//! and it may still come to nothing: then the other is left alive, and killed when this one is ready
//! ([`Process::lose`]). One whose feed is closed, or says what it does not understand, cuts what it has and ends.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::super::views::{Views, concerns};
use super::process::Process;
use crate::model::change::{Change, codec};
use crate::model::id::Seq;
use crate::model::time::Timestamp;
use crate::store::bundle::Committed;
use crate::store::commit::Follower;

/// For the process that is ending to have taken something in. Commits wait as long, once.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest message: more changes than a bundle has room for.
const LONGEST: u32 = 64 * 1024 * 1024;
/// Says that something is in force.
const DONE: u8 = b'.';

/// Tells the process at the other end.
pub(in crate::app) fn follower(stream: UnixStream, before: Arc<Process>) -> Follower {
    within(PATIENCE, stream, before)
}

fn within(patience: Duration, stream: UnixStream, before: Arc<Process>) -> Follower {
    let mut to = Some(stream);
    Box::new(move |committed| {
        let Some(stream) = &to else { return };
        let Some(message) = encode(committed) else { return };
        if let Err(error) = tell(patience, stream, &message) {
            before.lose(&error);
            to = None;
        }
    })
}

fn tell(patience: Duration, mut stream: &UnixStream, message: &[u8]) -> io::Result<()> {
    stream.set_write_timeout(Some(patience))?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(message)?;
    let mut done = [0];
    stream.read_exact(&mut done)?;
    if done == [DONE] { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Length, position, time, and each change as kind, length, bytes. `None` if nothing in it concerns anybody.
fn encode(committed: &Committed) -> Option<Vec<u8>> {
    let mut out = vec![0; 4];
    out.extend_from_slice(&committed.seq.0.to_le_bytes());
    out.extend_from_slice(&committed.time.as_millis().to_le_bytes());
    let empty = out.len();
    for change in committed.changes.iter().filter(|change| concerns(change)) {
        let mut bytes = Vec::new();
        codec::encode(change, &mut bytes);
        out.extend_from_slice(&codec::kind(change).to_le_bytes());
        out.extend_from_slice(&u32::try_from(bytes.len()).ok()?.to_le_bytes());
        out.extend_from_slice(&bytes);
    }
    let size = u32::try_from(out.len() - 4).ok()?;
    out.get_mut(..4)?.copy_from_slice(&size.to_le_bytes());
    (out.len() > empty).then_some(out)
}

fn decode(mut bytes: &[u8]) -> Option<Committed> {
    let seq = Seq(u64::from_le_bytes(part(&mut bytes)?));
    let time = Timestamp::from_millis(i64::from_le_bytes(part(&mut bytes)?));
    let mut changes: Vec<Change> = Vec::new();
    while !bytes.is_empty() {
        let kind = u16::from_le_bytes(part(&mut bytes)?);
        let size = usize::try_from(u32::from_le_bytes(part(&mut bytes)?)).ok()?;
        let (change, rest) = bytes.split_at_checked(size)?;
        changes.push(codec::decode(kind, change).ok()?);
        bytes = rest;
    }
    Some(Committed { seq, time, changes })
}

fn part<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (part, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*part)
}

/// Follows the process at the other end until it ends. Blocking.
pub(in crate::app) fn follow(mut stream: UnixStream, views: &Views) {
    let mut followers = views.verifying();
    loop {
        let committed = match hear(&mut stream) {
            Ok(committed) => committed,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return,
            Err(error) => {
                tracing::error!(%error, "what the next process says is not understood");
                return;
            }
        };
        followers.iter_mut().for_each(|follower| follower(&committed));
        if stream.write_all(&[DONE]).is_err() {
            return;
        }
    }
}

fn hear(stream: &mut UnixStream) -> io::Result<Committed> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = u32::from_le_bytes(size);
    let mut bytes = Vec::new();
    if size <= LONGEST {
        stream.take(u64::from(size)).read_to_end(&mut bytes)?;
    }
    decode(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::super::process::tests::stopped;
    use super::*;
    use crate::model::ban::Ban;
    use crate::model::change::TokenChange;
    use crate::model::time::ManualClock;

    fn ban(network: &str) -> Committed {
        let network: IpNet = network.parse().unwrap();
        let time = Timestamp::from_millis(5_000);
        let ban = Ban { network, reason: "x".into(), created_at: time, author: "x".into(), expires_at: None };
        Committed { seq: Seq(7), time, changes: vec![Change::Token(TokenChange::Banned(ban))] }
    }

    #[test]
    fn what_is_told_is_in_force_at_the_other_end_when_the_teller_goes_on() {
        let (here, there) = UnixStream::pair().unwrap();
        let views = Views::new(Arc::new(ManualClock::at(Timestamp::from_millis(1))));
        let followed = views.clone();
        let following = std::thread::spawn(move || follow(there, &followed));
        let (mut other, process) = stopped();
        let mut tell = follower(here, process);
        tell(&ban("192.0.2.1/32"));
        assert!(views.blacklist.contains("192.0.2.1".parse().unwrap(), Timestamp::from_millis(5_001)));
        assert!(views.clock().now() >= Timestamp::from_millis(5_000), "no clock is behind what happened");
        // Nothing that ends access: not told at all.
        assert_eq!(encode(&Committed { changes: Vec::new(), ..ban("192.0.2.1/32") }), None);
        drop(tell);
        following.join().unwrap();
        assert!(other.try_wait().unwrap().is_none(), "it follows, and goes on");
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn who_is_not_understood_or_gone_is_told_nothing_more() {
        let views = Views::new(Arc::new(ManualClock::at(Timestamp::from_millis(1))));
        for bytes in [&b"\xff\xff\xff\xff"[..], b"\x01\0\0\0x", b"\x14\0\0\0aaaaaaaabbbbbbbbxxyy"] {
            let (mut here, there) = UnixStream::pair().unwrap();
            here.write_all(bytes).unwrap();
            drop(here);
            follow(there, &views);
        }
    }

    #[test]
    fn who_does_not_follow_before_anybody_else_serves_is_left_alive_until_then() {
        let (here, there) = UnixStream::pair().unwrap();
        let (mut child, process) = stopped();
        let mut tell = within(Duration::from_millis(10), here, Arc::clone(&process));
        tell(&ban("192.0.2.1/32"));
        assert!(child.try_wait().unwrap().is_none());
        process.replaced();
        assert!(child.try_wait().unwrap().is_some_and(|status| !status.success()));
        drop(there);
    }

    #[test]
    fn who_does_not_follow_serves_no_more_when_the_teller_goes_on() {
        let (patience, ban) = (Duration::from_millis(10), ban("192.0.2.1/32"));
        // It is stopped, has closed its end, or says something else.
        for answer in [None, Some(&b""[..]), Some(b"?")] {
            let (here, mut there) = UnixStream::pair().unwrap();
            let open = match answer {
                None => Some(there),
                Some(answer) => {
                    there.write_all(answer).unwrap();
                    None
                }
            };
            let (mut child, process) = stopped();
            process.replaced();
            let mut tell = within(patience, here, process);
            tell(&ban);
            assert!(child.try_wait().unwrap().is_some_and(|status| !status.success()), "{answer:?}");
            tell(&ban);
            drop(open);
        }
    }
}
