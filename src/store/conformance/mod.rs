//! One suite for every backend: what a namespace must answer after which changes, whoever stores it.
//!
//! [`cases`] are the rules one by one; they run through the facade against every backend and must
//! pass, and against backends broken on purpose ([`faults`]) and must fail. [`histories`] compare the embedded backend
//! with memory over random histories, crashes and replays.

mod bed;
mod cases;
mod crashes;
mod faults;
mod histories;
mod log_cases;
pub(crate) mod sample;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bed::Bed;

/// The names of the cases that fail on beds made by `make`.
fn failures(make: impl Fn() -> Bed) -> Vec<&'static str> {
    let fails = |case: fn(&mut Bed)| catch_unwind(AssertUnwindSafe(|| case(&mut make()))).is_err();
    cases::CASES.iter().filter(|(_, case)| fails(*case)).map(|(name, _)| *name).collect()
}

#[test]
fn the_memory_backend_conforms() {
    assert_eq!(failures(Bed::in_memory), [""; 0]);
}

#[test]
fn the_embedded_backend_conforms() {
    assert_eq!(failures(Bed::embedded), [""; 0]);
}

#[test]
fn the_embedded_backend_conforms_while_its_tokens_engine_lags_behind() {
    assert_eq!(failures(Bed::lagging), [""; 0]);
}

#[test]
fn a_backend_broken_on_purpose_is_caught_by_the_case_about_it() {
    for fault in faults::ALL {
        let failed = failures(|| fault.bed());
        assert!(failed.contains(&fault.caught_by), "{}: only {failed:?} failed", fault.name);
    }
}
