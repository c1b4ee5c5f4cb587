//! The IP blacklist as a command surface. Keeping it in force is the edge's business, which follows
//! the journal; here networks are normalised, so that one network is one entry however it is
//! written, and what would lock everybody out is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use super::commands::Commands;
use super::error::{AuthError, FieldError};
use super::invites::author;
use crate::audit::draft::Draft;
use crate::model::ban::{self, Ban};
use crate::model::caller::{Actor, Origin};
use crate::model::change::TokenChange;
use crate::model::event::{Intent, Outcome};
use crate::model::text;
use crate::model::time::{LONGEST_LIFE, Timestamp};

const LONGEST_REASON: usize = 200;

/// A ban to be.
#[derive(Debug)]
pub struct NewBan {
    /// An address or a CIDR block.
    pub network: String,
    /// Why, in the author's words; at most 200 characters.
    pub reason: String,
    /// When it lapses; `None` stays until lifted.
    pub expires_at: Option<Timestamp>,
    /// Ban a whole address family if that is what `network` says.
    pub force: bool,
}

/// Adds, lists and lifts bans. Cheap to clone.
#[derive(Clone)]
pub struct Bans {
    commands: Arc<Commands>,
}

impl Bans {
    pub(in crate::auth) const fn new(commands: Arc<Commands>) -> Self {
        Self { commands }
    }

    /// Bans a network; one that is banned already gets the new reason and end.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] for `network`, `reason` or `expires_at`; otherwise failures of the node.
    pub async fn add(&self, new: NewBan, actor: Actor, origin: &Origin) -> Result<Ban, AuthError> {
        let commands = &self.commands;
        let now = commands.now();
        let ban = read(new, author(&actor), now)?;
        commands
            .settle(|bundle| {
                commands.tokens.stage(bundle, TokenChange::Banned(ban.clone()));
                let draft = Draft::new(Intent::BlacklistAdd, Outcome::Granted).by(actor.clone());
                commands.trail.attach(bundle, draft.target(ban.network).at(origin));
                Ok(Ok(()))
            })
            .await?;
        Ok(ban)
    }

    /// Lifts a ban: of exactly that network, in any spelling.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] for `network`, [`AuthError::NotFound`]; otherwise failures of the node.
    pub async fn remove(&self, network: &str, actor: Actor, origin: &Origin) -> Result<(), AuthError> {
        let commands = &self.commands;
        let network = parse(network).map_err(|fault| AuthError::Invalid(vec![fault]))?;
        commands
            .settle(|bundle| {
                let draft = |outcome| {
                    Draft::new(Intent::BlacklistRemove, outcome).by(actor.clone()).target(network).at(origin)
                };
                if commands.tokens.read_ban(bundle, network)?.is_none() {
                    let draft = draft(Outcome::Denied).reason("not_found");
                    return Ok(commands.refuse(bundle, draft, AuthError::NotFound));
                }
                commands.tokens.stage(bundle, TokenChange::Unbanned { network });
                commands.trail.attach(bundle, draft(Outcome::Granted));
                Ok(Ok(()))
            })
            .await
    }

    /// The bans that hold now, in order of network.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub fn list(&self) -> Result<Vec<Ban>, AuthError> {
        let now = self.commands.now();
        let mut bans = self.commands.tokens.bans()?;
        bans.retain(|ban| ban.holds_at(now));
        bans.sort_unstable_by_key(|ban| ban.network);
        Ok(bans)
    }
}

fn read(new: NewBan, author: String, now: Timestamp) -> Result<Ban, AuthError> {
    let NewBan { network, reason, expires_at, force } = new;
    let mut faults = Vec::new();
    let network = parse(&network);
    match &network {
        Err(fault) => faults.push(fault.clone()),
        Ok(network) if network.prefix_len() == 0 && !force => {
            let detail =
                format!("{network} is everybody: say so on purpose (--force) or name a smaller network");
            faults.push(FieldError::new("network", "everybody", detail));
        }
        Ok(_) => {}
    }
    if reason.chars().count() > LONGEST_REASON || reason.contains(text::commands) {
        let detail = format!("use at most {LONGEST_REASON} characters, none of them control characters");
        faults.push(FieldError::new("reason", "invalid", detail));
    }
    if expires_at.is_some_and(|end| end <= now) {
        faults.push(FieldError::new("expires_at", "past", "use a time to come"));
    }
    if expires_at.is_some_and(|end| end > now.plus(LONGEST_LIFE)) {
        let detail = "use a time within 3650 days; leave it out for a ban that stays until it is lifted";
        faults.push(FieldError::new("expires_at", "too_far", detail));
    }
    match network {
        Ok(network) if faults.is_empty() => Ok(Ban { network, reason, author, created_at: now, expires_at }),
        _ => Err(AuthError::Invalid(faults)),
    }
}

/// What of this node's own surroundings a ban of `network` would keep out: the loopback, by which the machine's
/// own checks and tools come, or one of the `proxies` that stand before the gate.
pub fn own(network: IpNet, proxies: &[IpNet]) -> Option<String> {
    let overlap = |other: &IpNet| network.contains(other) || other.contains(&network);
    let loopback = [
        IpNet::new_assert(Ipv4Addr::LOCALHOST.into(), 8).trunc(),
        IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)),
    ];
    if let Some(held) = loopback.iter().find(|held| overlap(held)) {
        return Some(format!("{network} holds the loopback ({held})"));
    }
    let held = proxies.iter().find(|held| overlap(held))?;
    Some(format!(
        "{network} holds a trusted proxy ({held} of listen.trusted_proxies), and all who come by it"
    ))
}

fn parse(text: &str) -> Result<IpNet, FieldError> {
    ban::network(text).ok_or_else(|| {
        let detail = "use an address like 192.0.2.7 or a network like 192.0.2.0/24 or 2001:db8::/32";
        FieldError::new("network", "invalid", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(network: &str) -> NewBan {
        NewBan { network: network.to_owned(), reason: "scans".to_owned(), expires_at: None, force: false }
    }

    fn codes(new: NewBan) -> Vec<&'static str> {
        match read(new, "system".to_owned(), Timestamp::from_millis(1000)) {
            Err(AuthError::Invalid(faults)) => faults.into_iter().map(|fault| fault.code).collect(),
            Ok(_) => vec![],
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn one_network_is_one_entry_however_it_is_written() {
        for (text, normal) in [
            ("192.0.2.7", "192.0.2.7/32"),
            (" 192.0.2.7/24 ", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
            ("2001:DB8::1", "2001:db8::1/128"),
            ("2001:db8::1/32", "2001:db8::/32"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), normal, "{text}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "localhost", "192.0.2", "192.0.2.0/33", "192.0.2.7:80", "fe80::1%eth0", "1.2.3.4/"] {
            assert_eq!(codes(new(text)), ["invalid"], "{text}");
        }
    }

    #[test]
    fn everybody_is_banned_only_on_purpose() {
        for text in ["0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"] {
            assert_eq!(codes(new(text)), ["everybody"], "{text}");
            assert!(codes(NewBan { force: true, ..new(text) }).is_empty());
        }
    }

    #[test]
    fn a_ban_ends_within_ten_years_or_by_hand() {
        let until = |end| codes(NewBan { expires_at: Some(end), ..new("192.0.2.7") });
        let last = Timestamp::from_millis(1000).plus(LONGEST_LIFE);
        assert!(until(last).is_empty());
        assert_eq!(until(last.plus(std::time::Duration::from_millis(1))), ["too_far"]);
        assert_eq!(until(Timestamp::MAX), ["too_far"]);
    }

    #[test]
    fn what_is_the_nodes_own_is_known_from_inside_and_from_around() {
        let proxies: [IpNet; 1] = ["192.0.2.0/28".parse().unwrap()];
        let held = |text: &str| own(parse(text).unwrap(), &proxies);
        for text in ["127.0.0.1", "127.9.0.0/16", "::1", "::ffff:127.0.0.1", "64.0.0.0/2", "::/8"] {
            assert!(held(text).is_some_and(|told| told.contains("loopback")), "{text}");
        }
        for text in ["192.0.2.3", "192.0.2.0/24", "192.0.2.0/30"] {
            assert!(held(text).is_some_and(|told| told.contains("192.0.2.0/28")), "{text}");
        }
        for text in ["192.0.2.16/28", "128.0.0.0/3", "2001:db8::/32", "::2"] {
            assert_eq!(held(text), None, "{text}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let bad = NewBan {
            network: "x".into(),
            reason: "a\nb".into(),
            expires_at: Some(Timestamp::from_millis(1000)),
            force: false,
        };
        assert_eq!(codes(bad), ["invalid", "invalid", "past"]);
    }
}
