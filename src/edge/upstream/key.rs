//! What a request is told apart by: a number that is the same for the same client, account or header,
//! on every thread and every node.

use std::net::IpAddr;

use http::HeaderMap;
use uuid::Uuid;

use super::balance::mix;
use crate::config::upstream::{Balance, HashBy};

/// Who asks, as far as it matters for where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The client's address.
    pub address: IpAddr,
    /// The account, if it is known.
    pub account: Option<Uuid>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
}

impl Asker<'_> {
    /// The key that a group goes by.
    pub fn key(&self, balance: &Balance) -> u64 {
        match balance {
            Balance::Hash(HashBy::Address) => self.by_address(),
            Balance::Hash(HashBy::User) => self.steady(),
            Balance::Hash(HashBy::Header(name)) => {
                self.headers.get(name).map_or_else(|| self.by_address(), |value| hash(value.as_bytes()))
            }
            _ => 0,
        }
    }

    /// The account, or else the address: what stays with a person longest.
    pub fn steady(&self) -> u64 {
        self.account.map_or_else(|| self.by_address(), |account| hash(account.as_bytes()))
    }

    fn by_address(&self) -> u64 {
        match self.address {
            IpAddr::V4(address) => hash(&address.octets()),
            // The rest of an address changes from day to day.
            IpAddr::V6(address) => hash(address.octets().get(..8).unwrap_or_default()),
        }
    }
}

/// FNV-1a, spread over all bits. Whoever wants to meet one server can send one value: nothing is kept
/// secret by it.
pub fn hash(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_key_is_what_the_group_says_or_else_the_address() {
        let name = HeaderName::from_static("x-tenant");
        let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("blue"))]);
        let bare = HeaderMap::new();
        let asker = |address: &str, account: Option<u128>, headers| Asker {
            address: address.parse().unwrap(),
            account: account.map(Uuid::from_u128),
            headers,
        };
        let (one, two) = (asker("192.0.2.1", Some(1), &headers), asker("192.0.2.2", Some(1), &headers));
        let stranger = Asker { account: None, headers: &bare, ..one };
        let by = |by| Balance::Hash(by);
        assert_ne!(one.key(&by(HashBy::Address)), two.key(&by(HashBy::Address)));
        assert_eq!(one.key(&by(HashBy::User)), two.key(&by(HashBy::User)));
        assert_eq!(one.key(&by(HashBy::Header(name.clone()))), two.key(&by(HashBy::Header(name.clone()))));
        for balance in [by(HashBy::User), by(HashBy::Header(name))] {
            assert_eq!(stranger.key(&balance), stranger.key(&by(HashBy::Address)));
        }
        let near = asker("2001:db8::1", None, &bare).key(&by(HashBy::Address));
        assert_eq!(near, asker("2001:db8::2", None, &bare).key(&by(HashBy::Address)));
        assert_ne!(near, asker("2001:db8:0:1::1", None, &bare).key(&by(HashBy::Address)));
    }
}
