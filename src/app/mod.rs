//! The wiring of the house.

pub mod control;
