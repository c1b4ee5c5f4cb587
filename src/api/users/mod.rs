//! `/users/v1/…`: profiles and documents, one's own and, for administrators, everybody's.
//!
//! Nothing of it may be cached by anyone but who asked, and `Cache-Control: no-store` keeps it off
//! their disk too; an application that wants to save a transfer keeps the entity tag itself.

pub(in crate::api) mod accounts;
pub(in crate::api) mod document;
pub(in crate::api) mod documents;
mod error;
pub(in crate::api) mod me;
mod path;
