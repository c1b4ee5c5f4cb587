//! Sessions as their callers meet them: one command after the other here, races in `races`, random
//! histories against a reference model in `model`.

mod logins;
mod model;
mod races;
mod refreshes;
