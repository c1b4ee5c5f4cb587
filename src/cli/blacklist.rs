//! `keepgate blacklist`: addresses that are not let in.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use ipnet::IpNet;

use super::Console;
use crate::app::control::command::Command;

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
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        ttl: Option<Duration>,
        /// Even if it is everybody (0.0.0.0/0 or ::/0)
        #[arg(long)]
        force: bool,
    },
    /// List all bans that hold
    List,
    /// Lift a ban
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
            Self::List => Command::BlacklistList,
            Self::Remove { network } => Command::BlacklistRemove { network },
        };
        console.run(command).await
    }
}

/// An address or a network, host bits cleared.
fn network(text: &str) -> Result<IpNet, &'static str> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = text.parse::<IpNet>().ok().or_else(address);
    network
        .map(|network| network.trunc())
        .ok_or("write an address or network such as 192.0.2.7 or 10.0.0.0/8")
}
