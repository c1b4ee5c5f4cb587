//! What a gate prints, as it comes: read so that nothing blocks it, kept for the end of a test, and
//! waited for by who needs to know that something has happened.

use std::io::{BufReader, Lines};
use std::process::ChildStdout;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a line is waited for before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

struct Said {
    text: Mutex<String>,
    more: Condvar,
}

/// A running gate's standard output.
pub struct Log {
    said: Arc<Said>,
    reader: JoinHandle<()>,
}

impl Log {
    /// Reads these lines to their end, after those that were read already.
    pub fn follow(read: Vec<String>, lines: Lines<BufReader<ChildStdout>>) -> Self {
        let text = read.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect::<String>();
        let said = Arc::new(Said { text: text.into(), more: Condvar::new() });
        let to = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut text = to.text.lock().unwrap_or_else(PoisonError::into_inner);
                text.extend([line.as_str(), "\n"]);
                to.more.notify_all();
            }
        });
        Self { said, reader }
    }

    /// Waits until it has said `words`.
    pub fn until(&self, words: &str) {
        let text = self.said.text.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.said.more.wait_timeout_while(text, PATIENCE, |text| !text.contains(words));
        let (text, end) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!end.timed_out(), "the gate never said {words:?}:\n{text}");
    }

    /// Everything, once the gate has ended.
    pub fn finish(self) -> String {
        self.reader.join().expect("the reader does not panic");
        std::mem::take(&mut self.said.text.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
