//! The certificates of `[tls.acme]`: for each list of names the one that was issued for it. Until it is,
//! each of the names keeps the certificate that it had as part of another list, which an operator may have
//! changed with the site in full traffic; only names without any are answered for by a self-signed one.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::book::{Book, Origin, Served};
use super::{Certificates, TlsError, kept};
use crate::edge::local_ca;

/// Certificates of other lists, those of the same CA and those that live longest first.
pub(super) type Former = OnceCell<Vec<(Served, Arc<CertifiedKey>)>>;

impl Certificates {
    /// The certificate that was issued for these names, or those that stand in for it.
    pub(super) fn enter_issued(
        &self,
        book: &mut Book,
        (names, directory): (&[String], &str),
        former: &Former,
    ) -> Result<(), TlsError> {
        let found = self.issued.certificate(names).map_err(|error| error.to_string());
        let entered = found.and_then(|kept| {
            let entering = kept.map(|kept| self.enter(book, kept, Origin::Acme));
            entering.transpose().map_err(|error| error.to_string())
        });
        match entered {
            Ok(Some(())) => return Ok(()),
            Ok(None) => {}
            Err(reason) => tracing::error!(?names, reason, "a certificate that was issued cannot be used"),
        }
        let mut open = names.to_vec();
        for (served, key) in former.get_or_init(|| self.former(directory)) {
            let (has, left) = open.into_iter().partition(|name| served.names.contains(name));
            open = left;
            let has: Vec<String> = has;
            if !has.is_empty() {
                book.add(Served { names: has, ..served.clone() }, Arc::clone(key));
            }
        }
        if open.is_empty() { Ok(()) } else { self.enter_stand_in(book, names, open) }
    }

    /// Whatever was issued and has not run out; last what is from another CA, which may be one for tests.
    fn former(&self, directory: &str) -> Vec<(Served, Arc<CertifiedKey>)> {
        let now = self.clock.now();
        let every = self.issued.every_certificate().into_iter();
        let usable = every.filter_map(|kept| self.usable(kept, Origin::Former).ok());
        let mut former: Vec<_> = usable.filter(|(served, _)| served.life.until > now).collect();
        former.sort_by_key(|(served, _)| (served.directory != directory, Reverse(served.life.until)));
        former
    }

    /// A self-signed certificate for a list, served for those of its names that have no other.
    fn enter_stand_in(&self, book: &mut Book, names: &[String], open: Vec<String>) -> Result<(), TlsError> {
        let mut stand_ins = self.stand_ins.lock();
        let stand_in = match stand_ins.entry(names.to_vec()) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(place) => {
                tracing::warn!(names = ?open, "there is no certificate yet: a self-signed one is served");
                place.insert(local_ca::self_signed(names, self.clock.now(), &*self.rng)?)
            }
        };
        let stand_in = kept(stand_in.chain.clone(), stand_in.key.clone_key());
        let (served, key) = self.usable(stand_in, Origin::SelfSigned)?;
        book.add(Served { names: open, ..served }, key);
        Ok(())
    }
}
