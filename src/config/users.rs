//! `[users]`: what applications may keep for each account.

/// Quotas of documents. Past one, the answer is 413.
#[derive(Clone, Debug)]
pub struct Users {
    /// One document, bytes.
    pub document_bytes: usize,
    /// Documents of one account.
    pub documents: u64,
    /// The documents of one account together, bytes.
    pub account_bytes: u64,
}

impl Default for Users {
    fn default() -> Self {
        Self { document_bytes: 64 * 1024, documents: 1000, account_bytes: 8 * 1024 * 1024 }
    }
}
