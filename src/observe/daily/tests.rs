//! One log and its bounds; two processes that write to it.

use super::*;
use crate::model::time::{ManualClock, Timestamp};

const BOUNDS: Bounds = Bounds { days: 3, bytes: 8 * 100 };

/// 2026-11-18, 11:06.
fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_millis(1_795_000_000_000)))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn bytes(folder: &Path) -> u64 {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn each_day_has_a_file_and_old_days_go_but_not_what_is_anothers() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    fs::write(folder.path().join("keepgate.notes.log"), "mine").unwrap();
    fs::write(folder.path().join("other.2026-01-01.log"), "mine").unwrap();
    let mut files = DailyFiles::open(folder.path(), BOUNDS, clock.clone()).unwrap();
    for _ in 0..5 {
        files.write_all(b"a line\n").unwrap();
        clock.advance(Duration::from_secs(24 * 3600));
    }
    assert_eq!(
        names(folder.path()),
        [
            "keepgate.2026-11-20.log",
            "keepgate.2026-11-21.log",
            "keepgate.2026-11-22.log",
            "keepgate.notes.log",
            "other.2026-01-01.log"
        ]
    );
}

#[test]
fn all_files_together_stay_below_the_bound_and_the_newest_lines_stay() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let mut files = DailyFiles::open(folder.path(), BOUNDS, clock.clone()).unwrap();
    for number in 0..1_000 {
        files.write_all(format!("line {number:04}\n").as_bytes()).unwrap();
        assert!(bytes(folder.path()) <= BOUNDS.bytes, "after line {number}");
        if number % 300 == 0 {
            clock.advance(Duration::from_secs(24 * 3600));
        }
        if number % 37 == 0 {
            files = DailyFiles::open(folder.path(), BOUNDS, clock.clone()).unwrap();
        }
    }
    assert!(bytes(folder.path()) > BOUNDS.bytes / 2, "{:?}", names(folder.path()));
    let newest = files.current.as_ref().unwrap().0.name();
    assert!(fs::read_to_string(folder.path().join(newest)).unwrap().ends_with("line 0999\n"));
}

#[test]
fn while_the_disk_is_short_the_log_grows_no_further_and_keeps_its_newest_lines() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let bounds = Bounds { days: 3, bytes: 4 * LEAST };
    let mut files = DailyFiles::open(folder.path(), bounds, clock).unwrap();
    let line = [b'x'; 64 * 1024];
    let fill = |files: &mut DailyFiles, bytes: u64, most: u64| {
        for _ in 0..bytes / line.len() as u64 {
            files.write_all(&line).unwrap();
            assert!(self::bytes(folder.path()) <= most);
        }
    };
    fill(&mut files, LEAST / 2, LEAST);
    files.short().store(true, Ordering::Relaxed);
    fill(&mut files, 3 * LEAST, LEAST);
    files.short().store(false, Ordering::Relaxed);
    fill(&mut files, 2 * LEAST, bounds.bytes);
    let there = bytes(folder.path());
    assert!(there >= 2 * LEAST, "it grows again: {there}");
    files.short().store(true, Ordering::Relaxed);
    fill(&mut files, 3 * LEAST, there);
    files.write_all(b"newest\n").unwrap();
    let newest = files.current.as_ref().unwrap().0.name();
    assert!(fs::read_to_string(folder.path().join(newest)).unwrap().ends_with("newest\n"));
}

#[test]
fn what_is_there_already_is_cut_down_and_a_file_too_large_is_not_added_to() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    for (name, length) in [
        ("keepgate.2026-11-16.log", 5_000),
        ("keepgate.2026-11-17.log", 600),
        ("keepgate.2026-11-18.log", 99),
    ] {
        fs::write(folder.path().join(name), vec![b'x'; length]).unwrap();
    }
    let mut files = DailyFiles::open(folder.path(), BOUNDS, clock).unwrap();
    files.write_all(b"a line\n").unwrap();
    assert_eq!(
        names(folder.path()),
        ["keepgate.2026-11-17.log", "keepgate.2026-11-18.2.log", "keepgate.2026-11-18.log"]
    );
}

#[test]
fn a_clock_that_was_set_back_goes_on_with_the_newest_file() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let mut files = DailyFiles::open(folder.path(), BOUNDS, clock.clone()).unwrap();
    files.write_all(b"one\n").unwrap();
    clock.set(Timestamp::from_millis(1_794_000_000_000));
    files.write_all(b"two\n").unwrap();
    DailyFiles::open(folder.path(), BOUNDS, clock).unwrap().write_all(b"three\n").unwrap();
    assert_eq!(names(folder.path()), ["keepgate.2026-11-18.log"]);
}

#[test]
fn two_that_write_and_prune_the_same_files_lose_no_line_and_stay_below_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = [(); 2].map(|()| DailyFiles::open(folder.path(), BOUNDS, clock()).unwrap());
    both.iter().for_each(|files| files.shared().store(true, Ordering::Relaxed));
    for number in 0..400 {
        let files = &mut both[usize::from(number % 3 == 0)];
        files.write_all(format!("line {number:04}\n").as_bytes()).unwrap();
        assert!(bytes(folder.path()) <= BOUNDS.bytes, "after line {number}");
        let newest = files.parts().unwrap().last().unwrap().0.name();
        let text = fs::read_to_string(folder.path().join(newest)).unwrap();
        assert!(text.ends_with(&format!("line {number:04}\n")), "in the newest file");
    }
    let writing = both.map(|mut files| {
        std::thread::spawn(move || (0..1_000).for_each(|_| files.write_all(b"a line of mine\n").unwrap()))
    });
    writing.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(bytes(folder.path()) <= BOUNDS.bytes);
    // Who writes is alone again, and follows nobody.
    let mut left = DailyFiles::open(folder.path(), BOUNDS, clock()).unwrap();
    left.write_all(b"last\n").unwrap();
    assert!(bytes(folder.path()) <= BOUNDS.bytes);
}

#[test]
fn a_folder_that_is_gone_fails_the_line_and_comes_back() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let log = folder.path().join("log");
    let mut files = DailyFiles::open(&log, BOUNDS, clock.clone()).unwrap();
    fs::remove_dir_all(&log).unwrap();
    clock.advance(Duration::from_secs(24 * 3600));
    files.write_all(b"lost\n").unwrap_err();
    fs::create_dir(&log).unwrap();
    files.write_all(b"kept\n").unwrap();
    assert_eq!(names(&log), ["keepgate.2026-11-19.log"]);
}
