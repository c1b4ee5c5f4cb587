//! `keepgate blacklist`: addresses that are not let in.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use ipnet::IpNet;

use super::{Console, output};
use crate::app::control::command::{Command, PAGE};
use crate::app::control::reply::Reply;
use crate::app::control::view::Ban;

/// `blacklist …`
#[derive(Debug, clap::Subcommand)]
pub(super) enum Blacklist {
    /// Ban an address or a network; a ban that is there already is replaced
    Add {
        /// Such as 192.0.2.7 or 2001:db8::/32
        #[arg(value_parser = network)]
        network: IpNet,
        /// Why, for whoever finds it later
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
        /// For how long, such as 24h; until removed if left out
        #[arg(long, value_name = "TIME", value_parser = super::life)]
        ttl: Option<Duration>,
        /// Even if it is everybody (0.0.0.0/0 or ::/0), or holds the loopback or a trusted proxy
        #[arg(long)]
        force: bool,
    },
    /// List all bans that hold: those that commands made, those that offenders earned, those of the configuration
    List,
    /// Lift a ban that a command made or an offender earned
    Remove {
        /// Exactly as it is listed
        #[arg(value_parser = network)]
        network: IpNet,
    },
}

impl Blacklist {
    pub(super) async fn run(self, console: &mut Console) -> anyhow::Result<ExitCode> {
        let command = match self {
            Self::Add { network, reason, ttl, force } => {
                let ttl_seconds = ttl.map(|ttl| ttl.as_secs());
                Command::BlacklistAdd { network, reason, ttl_seconds, force }
            }
            Self::List => return list(console).await,
            Self::Remove { network } => Command::BlacklistRemove { network },
        };
        console.run(command).await
    }
}

async fn list(console: &mut Console) -> anyhow::Result<ExitCode> {
    let of = |reply| match reply {
        Reply::Bans(page) => Ok(page),
        other => Err(output::unexpected(&other)),
    };
    let made = console.node.execute(Command::BlacklistList).await?;
    let mut all = of(made)?;
    let after = |last: Option<&Ban>| last.map(|ban| ban.network.parse()).transpose();
    let earned = |last: Option<&Ban>| Ok(Command::BlacklistEarned { after: after(last)?, limit: PAGE });
    all.extend(console.pages(earned, of).await?);
    let configured =
        |last: Option<&Ban>| Ok(Command::BlacklistConfigured { after: after(last)?, limit: PAGE });
    all.extend(console.pages(configured, of).await?);
    console.show(&Reply::Bans(all))
}

/// An address or a network, host bits cleared.
fn network(text: &str) -> Result<IpNet, &'static str> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = text.parse::<IpNet>().ok().or_else(address);
    network
        .map(|network| network.trunc())
        .ok_or("write an address or network such as 192.0.2.7 or 10.0.0.0/8")
}
