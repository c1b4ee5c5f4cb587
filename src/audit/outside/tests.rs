//! Real files and sockets; time is given, so nobody waits for a back-off.

use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;

use super::*;
use crate::audit::head::HeadKey;
use crate::config::audit::{Audit, SyslogTarget};
use crate::model::event::ChainHash;
use crate::model::time::Timestamp;

fn head(count: u64) -> SignedHead {
    HeadKey::from_seed(&[1; 32]).sign(count, ChainHash([9; 32]), Timestamp::from_millis(5))
}

fn counts(path: &Path) -> Vec<u64> {
    Reader::open(path).unwrap().unwrap().map(|entry| entry.unwrap().head.unwrap().count).collect()
}

fn tell_all(config: &Audit, own: &Path, heads: impl IntoIterator<Item = u64>) -> u64 {
    let outside = Outside::start(config, own).unwrap();
    heads.into_iter().for_each(|count| outside.tell(&head(count)));
    let failures = outside.failures();
    drop(outside);
    failures.load(Ordering::Relaxed)
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
    let failures = Arc::default();
    let mut line = Line::new(Box::new(CopyFile { path: path.clone(), own: None }), &failures);
    let start = Instant::now();
    let tries = |line: &mut Line, at: u64| {
        line.flush(start + Duration::from_secs(at));
        line.failures.load(Ordering::Relaxed)
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
    let missing = CopyFile { path: "/nowhere/copy.jsonl".into(), own: None };
    let mut line = Line::new(Box::new(missing), &Arc::default());
    (1..=WAITING as u64 + 5).for_each(|count| line.push(head(count)));
    assert_eq!((line.waiting.len(), line.waiting[0].count), (WAITING, 6));
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
