//! Lines that a thread gathers while it works and hands to the log's queue before it rests.
//!
//! Handed over one by one, each line is an allocation, and wakes the log's thread in the middle of the request
//! that wrote it: where processors are short the request then stands back for the line, and behind whoever
//! else is owed a turn (in a storm of logins, a hash). A thread of the edge gathers, and hands over when it
//! has nothing else to do; every other thread's lines go on at once. (A log's thread that rests, so that
//! lines gather in the queue, spares the wake-ups too, but by then the lines have left the processor's
//! caches: it cost 2 µs a request.)
//!
//! Warnings and what is worse go on at once, with what was gathered before them: the next thing may be the end.
//!
//! Invariant: what is gathered is less than [`ENOUGH`] and a line, and is handed over when [`Gathering`] ends.

use std::cell::RefCell;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{Level, Metadata};
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes after which lines are not kept back any longer. What waits for a stuck disk is at most this, and a
/// line, for each place of the queue.
const ENOUGH: usize = 2048;

thread_local! {
    static OWN: RefCell<Option<Own>> = const { RefCell::new(None) };
}

/// What a thread has gathered, and for whom: known with the first line, and the same for all of a process.
struct Own {
    lines: Vec<u8>,
    to: Option<Queue>,
}

impl Own {
    fn add(&mut self, line: &[u8], to: &Queue, urgent: bool) {
        self.lines.extend_from_slice(line);
        if self.to.is_none() {
            self.to = Some(to.clone());
        }
        if urgent || self.lines.len() >= ENOUGH {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        if let Some(to) = &mut self.to
            && !self.lines.is_empty()
        {
            to.send(&self.lines);
            self.lines.clear();
        }
    }
}

/// While it lives, its thread gathers.
#[must_use = "dropped, it hands over what was gathered, and nothing more is"]
#[derive(Debug)]
pub struct Gathering(PhantomData<*const ()>);

/// This thread gathers from now on. It has to call [`hand_over`] before it waits for anything, and now and then
/// when it never waits.
pub fn gather() -> Gathering {
    hand_over();
    OWN.set(Some(Own { lines: Vec::with_capacity(2 * ENOUGH), to: None }));
    Gathering(PhantomData)
}

/// Hands over what this thread has gathered.
pub fn hand_over() {
    OWN.with_borrow_mut(|own| own.as_mut().map(Own::hand_over));
}

impl Drop for Gathering {
    fn drop(&mut self) {
        hand_over();
        OWN.set(None);
    }
}

/// The log's queue, as the lines' formatter writes to it.
#[derive(Clone)]
pub(super) struct Queue {
    to: NonBlocking,
    /// Lines lost beside those that the queue counts.
    lost: Arc<AtomicU64>,
}

impl Queue {
    pub(super) const fn new(to: NonBlocking, lost: Arc<AtomicU64>) -> Self {
        Self { to, lost }
    }

    /// The queue counts one for whatever it has no place for. It counts for all threads: where some send at
    /// once while it is full, more may be counted as lost than were, never less.
    fn send(&mut self, lines: &[u8]) {
        let dropped = self.to.error_counter();
        let before = dropped.dropped_lines();
        // It never fails: what has no place is dropped.
        let _ = self.to.write_all(lines);
        if dropped.dropped_lines() > before {
            self.lost.fetch_add(super::lost::lines(lines).saturating_sub(1), Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { queue: self, urgent: true }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line<'a> {
        Line { queue: self, urgent: *meta.level() <= Level::WARN }
    }
}

/// Takes one line, whole.
pub(super) struct Line<'a> {
    queue: &'a Queue,
    urgent: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A line that is written while another is handed over (by what counts allocations, say), or while
        // the thread ends.
        let alone = || self.queue.clone().send(line);
        let gathered = OWN.try_with(|own| match own.try_borrow_mut() {
            Ok(mut own) => own.as_mut().map(|own| own.add(line, self.queue, self.urgent)),
            Err(_) => None,
        });
        if !matches!(gathered, Ok(Some(()))) {
            alone();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};

    use super::*;

    /// Tells what is written to it.
    struct Told(Sender<String>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn queue() -> (Queue, Receiver<String>, WorkerGuard) {
        let (tell, told) = channel();
        let (to, guard) = NonBlockingBuilder::default().finish(Told(tell));
        (Queue::new(to, Arc::default()), told, guard)
    }

    fn log(queue: &Queue, line: &str) {
        Line { queue, urgent: false }.write_all(line.as_bytes()).unwrap();
    }

    fn next(told: &Receiver<String>) -> String {
        told.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    #[test]
    fn a_thread_that_gathers_hands_over_before_it_rests_and_at_its_end_and_others_at_once() {
        let (queue, told, _guard) = queue();
        log(&queue, "alone\n");
        assert_eq!(next(&told), "alone\n");
        let gathering = gather();
        log(&queue, "one\n");
        log(&queue, "two\n");
        std::thread::scope(|scope| scope.spawn(|| log(&queue, "of another\n")).join().unwrap());
        assert_eq!(next(&told), "of another\n");
        hand_over();
        hand_over();
        assert_eq!(next(&told), "one\ntwo\n");
        log(&queue, "three\n");
        drop(gathering);
        log(&queue, "four\n");
        assert_eq!([next(&told), next(&told)], ["three\n", "four\n"]);
    }

    #[test]
    fn a_warning_goes_on_at_once_after_what_came_before_it() {
        let (queue, told, _guard) = queue();
        let _gathering = gather();
        let lines = tracing_subscriber::fmt().with_writer(queue).without_time().with_ansi(false).finish();
        tracing::subscriber::with_default(lines, || {
            tracing::info!("first");
            tracing::warn!("second");
            let seen = next(&told);
            assert!(seen.contains("first") && seen.ends_with("second\n"), "{seen}");
        });
    }

    #[test]
    fn no_more_is_kept_back_than_enough() {
        let (queue, told, _guard) = queue();
        let _gathering = gather();
        let line = format!("{}\n", "x".repeat(99));
        for _ in 0..ENOUGH / 100 + 1 {
            log(&queue, &line);
        }
        assert!(next(&told).len() < ENOUGH + line.len());
    }

    #[test]
    fn lines_that_found_no_place_together_are_counted_one_by_one() {
        let (entered, inside) = channel();
        let (leave, left) = channel::<()>();
        struct Stuck(Sender<()>, Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.send(());
                let _ = self.1.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (to, guard) = NonBlockingBuilder::default().buffered_lines_limit(1).finish(Stuck(entered, left));
        let queue = Queue::new(to.clone(), Arc::default());
        log(&queue, "in hand\n");
        inside.recv_timeout(Duration::from_secs(60)).unwrap();
        log(&queue, "in its place\n");
        let gathering = gather();
        (0..3).for_each(|_| log(&queue, "no place\n"));
        drop(gathering);
        let lost = to.error_counter().dropped_lines() as u64 + queue.lost.load(Ordering::Relaxed);
        assert_eq!(lost, 3);
        drop(leave);
        drop(guard);
    }
}
