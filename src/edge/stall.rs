//! Patience with what stands still: a timer that runs only meanwhile, and one place for why a wait for a body's
//! next bytes is over. What moves is no concern of it, however slow.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::body::BodyError;
use super::watch::Watched;

/// A timer that runs only while a body makes no progress. Most bodies never arm it.
#[derive(Debug)]
pub struct Stall {
    limit: Duration,
    least: u64,
    timer: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Instant>,
    /// Since there were `least` bytes for the last time.
    waited: Duration,
    moved: u64,
}

impl Stall {
    /// Patience of this long for any byte.
    pub const fn new(limit: Duration) -> Self {
        Self::demanding(limit, 1)
    }

    /// Patience of this long, spent in waiting, for at least so many bytes.
    pub const fn demanding(limit: Duration, least: u64) -> Self {
        Self { limit, least, timer: None, waiting_since: None, waited: Duration::ZERO, moved: 0 }
    }

    /// So many bytes moved.
    pub fn progress(&mut self, bytes: u64) {
        self.moved = self.moved.saturating_add(bytes);
        let since = self.waiting_since.take();
        if self.moved >= self.least {
            (self.moved, self.waited) = (0, Duration::ZERO);
        } else if let Some(since) = since {
            self.waited += since.elapsed();
        }
    }

    /// Nothing moves: ready with why it is waited for no longer. What it moves on the strength of may fall away
    /// first: who waits is woken by that, too.
    pub fn poll_over(&mut self, watched: Option<&mut Watched>, cx: &mut Context<'_>) -> Poll<BodyError> {
        if let Some(Poll::Ready(cut)) = watched.map(|watched| watched.poll_cut(cx)) {
            return Poll::Ready(BodyError::Cut(cut));
        }
        self.poll(cx).map(|()| BodyError::Stalled)
    }

    /// Nothing moves: ready once patience has run out.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if self.waiting_since.is_none() {
            let now = Instant::now();
            self.waiting_since = Some(now);
            timer.as_mut().reset((now + limit.saturating_sub(self.waited)).into());
        }
        timer.as_mut().poll(cx)
    }
}
