//! Accounts: registration, administration, and the races between administrators.
