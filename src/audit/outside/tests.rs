//! Real files and sockets; time is given, so nobody waits for a back-off.

use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;

use std::path::PathBuf;

use super::*;
use crate::audit::head::HeadKey;
use crate::audit::witness::{Reader, Witness};
use crate::config::audit::{Audit, SyslogTarget};
use crate::model::event::ChainHash;
use crate::model::time::Timestamp;

fn head(count: u64) -> SignedHead {
    HeadKey::from_seed(&[1; 32]).sign(count, ChainHash([9; 32]), Timestamp::from_millis(5))
}

fn counts(path: &Path) -> Vec<u64> {
    Reader::open(path)
        .unwrap()
        .unwrap()
        .map(|entry| entry.unwrap().head.map_or(0, |head| head.count))
        .collect()
}

/// As if the log had a hundred records, as [`head`] signs them.
fn hundred() -> Check {
    let key = HeadKey::from_seed(&[1; 32]).public();
    Box::new(move |head| Ok(key.verifies(head) && head.hash == ChainHash([9; 32]) && head.count <= 100))
}

fn tell(config: &Audit, own: &Path, heads: impl IntoIterator<Item = u64>) -> Arc<Counts> {
    let outside = Outside::start(config, own, hundred()).unwrap();
    heads.into_iter().for_each(|count| outside.tell(&head(count)));
    outside.counts()
}

fn tell_all(config: &Audit, own: &Path, heads: impl IntoIterator<Item = u64>) -> u64 {
    tell(config, own, heads).failures()
}

fn copy_at(path: PathBuf) -> Box<CopyFile> {
    Box::new(CopyFile::new(path, "/nowhere/heads.jsonl".into(), hundred(), Arc::default()))
}

#[test]
fn heads_are_appended_to_the_file_and_what_it_missed_is_caught_up_with_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (own, path) = (folder.path().join("own/heads.jsonl"), folder.path().join("copy.jsonl"));
    let config = Audit { witness_file: Some(path.clone()), ..Audit::default() };
    assert_eq!(tell_all(&config, &own, [1, 2]), 0);
    assert_eq!(counts(&path), [1, 2]);
    let (mut witness, _) = Witness::open(&own).unwrap();
    (1..=4).for_each(|count| witness.append(&head(count)).unwrap());
    assert_eq!(tell_all(&config, &own, [5]), 0);
    assert_eq!(counts(&path), [1, 2, 3, 4, 5]);
    assert_eq!(tell_all(&config, &own, [5]), 0);
    assert_eq!(counts(&path), [1, 2, 3, 4, 5], "nothing twice");
}

#[test]
fn a_file_that_cannot_be_written_is_tried_ever_more_rarely_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().join("mount");
    let path = mount.join("copy.jsonl");
    let mut line = Line::new(copy_at(path.clone()), &Arc::default());
    let start = Instant::now();
    let tries = |line: &mut Line, at: u64| {
        line.flush(start + Duration::from_secs(at));
        line.counts.failures()
    };
    line.push(head(1));
    assert_eq!([0, 0, 1, 2, 3, 6, 7].map(|at| tries(&mut line, at)), [1, 1, 2, 2, 3, 3, 4]);
    line.push(head(2));
    assert!(!mount.exists(), "the folder of a mount that is missing is not made");
    std::fs::create_dir(&mount).unwrap();
    assert_eq!(tries(&mut line, 100), 4);
    assert_eq!(counts(&path), [1, 2]);
    assert!(line.failing.is_none() && line.waiting.is_empty());
}

#[test]
fn what_waits_is_bounded_and_the_newest_stay() {
    let mut line = Line::new(copy_at("/nowhere/copy.jsonl".into()), &Arc::default());
    (1..=WAITING as u64 + 5).for_each(|count| line.push(head(count)));
    assert_eq!((line.waiting.len(), line.waiting[0].count), (WAITING, 6));
    assert_eq!(line.counts.failures(), 5, "heads that are let go are counted");
}

/// The head in a syslog message.
fn told(message: &str) -> SignedHead {
    assert!(message.starts_with("<85>1 ") && message.contains(" audit-head - {\"count\":"), "{message}");
    let text = message.split_once(" - ").unwrap().1;
    assert!(!text.contains('\n'));
    super::super::witness::parse(text.as_bytes()).unwrap()
}

#[test]
fn heads_reach_a_datagram_socket_of_either_kind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let unix = UnixDatagram::bind(&path).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut buffer = [0; 2048];
    let targets = [SyslogTarget::Unix(path), SyslogTarget::Udp(udp.local_addr().unwrap())];
    for (target, of) in targets.into_iter().zip(0..) {
        let config = Audit { syslog: Some(target), ..Audit::default() };
        assert_eq!(tell_all(&config, folder.path(), [7]), 0);
        let length = if of == 0 { unix.recv(&mut buffer) } else { udp.recv(&mut buffer) }.unwrap();
        assert_eq!(told(std::str::from_utf8(&buffer[..length]).unwrap()), head(7));
    }
}

#[test]
fn heads_reach_a_stream_with_their_lengths_before_them() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config =
        Audit { syslog: Some(SyslogTarget::Tcp(listener.local_addr().unwrap())), ..Audit::default() };
    assert_eq!(tell_all(&config, Path::new("/nowhere"), [7, 8]), 0);
    let mut text = String::new();
    listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
    let mut rest = text.as_str();
    let mut counts = Vec::new();
    while let Some((length, after)) = rest.split_once(' ') {
        let (message, after) = after.split_at(length.parse().unwrap());
        counts.push(told(message).count);
        rest = after;
    }
    assert_eq!((counts, rest), (vec![7, 8], ""));
}

#[test]
fn a_receiver_that_is_not_there_is_counted_and_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = Audit { syslog: Some(SyslogTarget::Unix(folder.path().join("none"))), ..Audit::default() };
    assert!(tell_all(&config, folder.path(), [1]) >= 1);
}

/// Takes a head, and does not come back before the other end is dropped.
struct Hanging(Receiver<()>, SyncSender<()>);

impl Target for Hanging {
    fn name(&self) -> String {
        "hanging".into()
    }

    fn deliver(&mut self, _: &SignedHead) -> io::Result<()> {
        let _ = self.1.send(());
        let _ = self.0.recv();
        Ok(())
    }
}

#[test]
fn a_receiver_that_hangs_holds_up_neither_the_file_nor_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.jsonl");
    let (hold, held) = sync_channel(0);
    let (taken, hangs) = sync_channel(1);
    let mut outside = Outside::nobody();
    outside.parting = Duration::from_millis(50);
    outside.add(Box::new(Hanging(held, taken))).unwrap();
    let (done, told) = sync_channel(10);
    outside.add(Box::new(Telling(*copy_at(path.clone()), done))).unwrap();
    outside.tell(&head(1));
    hangs.recv().unwrap();
    outside.tell(&head(2));
    (0..2).for_each(|_| told.recv().unwrap());
    assert_eq!(counts(&path), [1, 2], "while the other hangs");
    drop(outside);
    drop(hold);
}

/// Says when it has delivered.
struct Telling(CopyFile, SyncSender<()>);

impl Target for Telling {
    fn name(&self) -> String {
        self.0.name()
    }

    fn deliver(&mut self, head: &SignedHead) -> io::Result<()> {
        self.0.deliver(head)?;
        let _ = self.1.send(());
        Ok(())
    }
}

#[test]
fn a_stream_that_takes_nothing_fails_in_time_and_the_stop_is_not_held_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let error = syslog::write_until(&mut stream, b"x", Instant::now()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "however fast the receiver reads");
    let until = Instant::now() + Duration::from_millis(200);
    let error = syslog::write_until(&mut stream, &vec![b'x'; 64 << 20], until).unwrap_err();
    assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{error}");
}

/// What a copy becomes that ends in `end`, after heads 1 to 3 of which only the log's first two reached it,
/// and how often it was said.
fn after_tampering(end: &[u8]) -> (Vec<u8>, Vec<u64>, u64) {
    let folder = tempfile::tempdir().unwrap();
    let (own, path) = (folder.path().join("own/heads.jsonl"), folder.path().join("copy.jsonl"));
    let (mut witness, _) = Witness::open(&own).unwrap();
    (1..=3).for_each(|count| witness.append(&head(count)).unwrap());
    let two = [line(&head(1)).unwrap(), line(&head(2)).unwrap()].concat();
    std::fs::write(&path, [&two[..], end].concat()).unwrap();
    let config = Audit { witness_file: Some(path.clone()), ..Audit::default() };
    let told = tell(&config, &own, [4, 5]);
    assert_eq!(told.failures(), 0);
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.starts_with(&two));
    (bytes[two.len()..].to_vec(), counts(&path), told.contradictions())
}

#[test]
fn an_end_that_the_log_does_not_bear_out_is_said_and_kept_and_stops_no_head() {
    let forged = HeadKey::from_seed(&[2; 32]).sign(50, ChainHash([9; 32]), Timestamp::from_millis(5));
    let key = HeadKey::from_seed(&[1; 32]);
    let other_chain = key.sign(60, ChainHash([8; 32]), Timestamp::from_millis(5));
    let ahead = key.sign(u64::MAX, ChainHash([9; 32]), Timestamp::from_millis(5));
    for head in [forged, other_chain, ahead] {
        let end = line(&head).unwrap();
        let (rest, counts, contradictions) = after_tampering(&end);
        assert!(rest.starts_with(&end), "the evidence stays");
        assert_eq!(counts, [1, 2, head.count, 3, 4, 5]);
        assert_eq!(contradictions, 1);
    }
    let (rest, counts, contradictions) = after_tampering(b"no head\n");
    assert!(rest.starts_with(b"no head\n"));
    assert_eq!((counts, contradictions), (vec![1, 2, 0, 3, 4, 5], 1));
}

#[test]
fn the_beginning_of_our_own_line_is_written_anew_and_any_other_is_kept() {
    let begun = &line(&head(3)).unwrap()[..40];
    let (_, counts, contradictions) = after_tampering(begun);
    assert_eq!((counts, contradictions), (vec![1, 2, 3, 4, 5], 0));
    let (rest, counts, contradictions) = after_tampering(b"half a word");
    assert!(rest.starts_with(b"half a word\n"));
    assert_eq!((counts, contradictions), (vec![1, 2, 0, 3, 4, 5], 1));
}

/// Longer than what is looked at of the end.
#[test]
fn an_end_without_a_line_in_sight_makes_no_head_come_twice() {
    let (rest, told, contradictions) = after_tampering(&[b'x'; 5_000]);
    assert!(rest.starts_with(&[b'x'; 5_000]));
    let genuine: Vec<_> = told.into_iter().filter(|count| *count > 0).collect();
    assert_eq!((genuine, contradictions), (vec![1, 2, 3, 4, 5], 1));
    let (_, told, contradictions) = after_tampering(&[b'\n'; 5_000]);
    let genuine: Vec<_> = told.into_iter().filter(|count| *count > 0).collect();
    assert_eq!((genuine, contradictions), (vec![1, 2, 3, 4, 5], 1));
}

#[test]
fn a_copy_that_somebody_writes_to_while_it_is_fed_is_looked_at_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.jsonl");
    let told = Arc::default();
    let mut copy = CopyFile::new(path.clone(), "/nowhere/heads.jsonl".into(), hundred(), Arc::clone(&told));
    (1..=2).for_each(|count| copy.deliver(&head(count)).unwrap());
    let ahead = HeadKey::from_seed(&[1; 32]).sign(u64::MAX, ChainHash([9; 32]), Timestamp::from_millis(5));
    let written = [std::fs::read(&path).unwrap(), line(&ahead).unwrap()].concat();
    std::fs::write(&path, &written).unwrap();
    copy.deliver(&head(3)).unwrap();
    copy.deliver(&head(4)).unwrap();
    assert_eq!((counts(&path), told.contradictions()), (vec![1, 2, u64::MAX, 3, 4], 1));
}
