//! Who is sent to a route's second group: whoever sends a certain header or cookie, and so many percent
//! of the clients. Each client stays on its side, whichever node or thread it meets: the side is told
//! by its account, or else its address.

use http::header::COOKIE;

use super::balance::mix;
use super::key::Asker;
use crate::config::route::Canary as Config;

/// Sides are told apart by other bits than servers are, so that the canary's clients are not those of
/// one server.
const SALT: u64 = 0x6b65_6570_6761_7465;

/// Another group, and for whom.
#[derive(Debug)]
pub struct Canary {
    group: usize,
    config: Config,
}

impl Canary {
    /// To the group at this place.
    pub fn new(config: &Config, group: usize) -> Self {
        Self { group, config: config.clone() }
    }

    /// Its place, for whoever is sent there.
    pub fn group(&self, asker: &Asker<'_>) -> Option<usize> {
        let Config { percent, header, cookie, .. } = &self.config;
        let headers = asker.headers;
        let asks =
            header.as_ref().is_some_and(|(name, value)| headers.get_all(name).iter().any(|v| v == value));
        let has = |pair: &String| {
            let lines = headers.get_all(COOKIE).iter();
            let mut cookies = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
            cookies.any(|cookie| cookie.trim_ascii() == pair.as_bytes())
        };
        let drawn = || mix(asker.steady() ^ SALT) % 100 < u64::from(*percent);
        (asks || cookie.as_ref().is_some_and(has) || drawn()).then_some(self.group)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use uuid::Uuid;

    use super::*;

    fn canary(percent: u32) -> Canary {
        let header = Some((HeaderName::from_static("x-canary"), HeaderValue::from_static("yes")));
        let cookie = Some("canary=yes".to_owned());
        Canary::new(&Config { upstream: "new".to_owned(), percent, header, cookie }, 1)
    }

    fn sent(canary: &Canary, pairs: &[(&'static str, &'static str)]) -> bool {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let headers = HeaderMap::from_iter(pairs);
        let address = "192.0.2.1".parse().unwrap();
        canary.group(&Asker { address, account: None, headers: &headers }).is_some()
    }

    #[test]
    fn a_header_or_a_cookie_is_asked_for_exactly() {
        let none = canary(0);
        assert!(sent(&none, &[("x-canary", "yes")]));
        assert!(sent(&none, &[("cookie", "a=b; canary=yes;c=d")]));
        assert!(!sent(&none, &[("x-canary", "no"), ("cookie", "canary=yes2; xcanary=yes")]));
        assert!(!sent(&none, &[]));
        assert!(sent(&canary(100), &[]));
    }

    #[test]
    fn so_many_percent_of_the_clients_are_sent_and_each_stays_on_its_side() {
        let (five, ten, headers) = (canary(5), canary(10), HeaderMap::new());
        let asker = |account: u128| Asker {
            address: "192.0.2.1".parse().unwrap(),
            account: Some(Uuid::from_u128(account)),
            headers: &headers,
        };
        let of = |canary: &Canary| {
            (0..20_000).filter(|at| canary.group(&asker(*at)).is_some()).collect::<Vec<_>>()
        };
        let (some, more) = (of(&five), of(&ten));
        assert!((850..1150).contains(&some.len()), "{}", some.len());
        assert!((1800..2200).contains(&more.len()), "{}", more.len());
        assert!(some.iter().all(|at| more.contains(at)), "more percent send nobody back");
    }
}
