//! Accounts and invitations: what is granted, what is refused, what is left behind; and the races
//! between people who want the same address, invitation or last administrator.

mod administering;
mod registering;
mod transferring;
