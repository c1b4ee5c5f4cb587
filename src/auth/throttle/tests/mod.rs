//! The throttle as a whole: in front of logins, and as a model under whatever comes.

mod logins;
mod model;
