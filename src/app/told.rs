//! What lasts is told when it begins and when it is over, not each time that it is looked at: on a disk that is
//! full, a step that fails every second would write to the log what room there is left.

use std::collections::HashMap;
use std::fmt::Display;

use parking_lot::Mutex;

/// What is new between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum News {
    /// It fails now, or for another reason.
    Begins,
    /// It does not any more.
    Ends,
}

/// What is new if it failed, or not, before and now. Another reason is news too: a chain that contradicts its
/// head must not go unsaid because the disk was full before.
pub(in crate::app) fn news(before: Option<&str>, now: Option<&str>) -> Option<News> {
    match (before, now) {
        (Some(_), None) => Some(News::Ends),
        (before, Some(_)) if before != now => Some(News::Begins),
        _ => None,
    }
}

/// What fails at the moment, and with which words. As many entries as there are steps.
#[derive(Debug, Default)]
pub(in crate::app) struct Told(Mutex<HashMap<&'static str, String>>);

impl Told {
    /// Logs what came of a step, where that is new; `failure` says what it could not.
    pub fn tell(&self, failure: &'static str, found: Result<(), impl Display>) {
        let found = found.err().map(|error| error.to_string());
        let mut told = self.0.lock();
        let before = told.remove(failure);
        match (news(before.as_deref(), found.as_deref()), &found) {
            (Some(News::Begins), Some(error)) => {
                tracing::error!(error, "{failure}; said once until it is over");
            }
            (Some(News::Ends), _) => tracing::info!("over: {failure}"),
            _ => {}
        }
        if let Some(error) = found {
            told.insert(failure, error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::logging::testing;

    #[test]
    fn what_lasts_is_told_once_and_so_are_its_end_and_another_error() {
        let told = Told::default();
        let lines = testing::lines(|| {
            for found in [Ok(()), Err("full"), Err("full"), Err("torn"), Err("torn"), Ok(()), Ok(())] {
                told.tell("it could not be done", found);
                told.tell("that is another matter", Ok::<_, &str>(()));
            }
        });
        assert_eq!(lines.len(), 3, "{lines:?}");
        let expected = ["full", "torn", "over: it could not be done"];
        assert!(lines.iter().zip(expected).all(|(line, part)| line.contains(part)), "{lines:?}");
    }
}
