//! `keepgate user`: accounts and invitations.

use std::process::ExitCode;
use std::time::Duration;

use super::{Console, ask, output, password, transfer};
use crate::app::control::command::{Command, PAGE};
use crate::app::control::reply::Reply;
use crate::app::control::{data, view};
use crate::model::email::Email;
use crate::model::id::InviteId;
use crate::model::random::SystemRng;
use crate::model::role::Role;

/// `user …`
#[derive(Debug, clap::Subcommand)]
pub(super) enum User {
    /// Create an account
    Add {
        /// Its e-mail address
        email: Email,
        /// What its owner is called
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
        /// A role; may be given more than once. `admin` may administer keepgate
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<Role>,
        #[command(flatten)]
        password: password::Source,
    },
    /// List all accounts
    List,
    /// Show one account
    Show {
        /// E-mail address or id
        user: String,
    },
    /// Lock an account; its sessions end at once
    Disable {
        /// E-mail address or id
        user: String,
    },
    /// Unlock an account
    Enable {
        /// E-mail address or id
        user: String,
    },
    /// Replace a password; the account's sessions end at once
    SetPassword {
        /// E-mail address or id
        user: String,
        #[command(flatten)]
        password: password::Source,
    },
    /// Forget failed logins, so that strangers to the account need not wait
    Unthrottle {
        /// E-mail address or id
        user: String,
    },
    /// Replace an account's roles
    Roles {
        /// E-mail address or id
        user: String,
        /// All roles it has from now on
        #[arg(required_unless_present = "none", value_name = "ROLE")]
        roles: Vec<Role>,
        /// It has no role from now on
        #[arg(long, conflicts_with = "roles")]
        none: bool,
    },
    /// Show what applications keep for an account: its documents, or one of them
    Data {
        /// E-mail address or id
        user: String,
        /// A document's key; all are listed if left out
        key: Option<String>,
    },
    /// Delete an account and its data, for good; on a terminal it asks first
    Delete {
        /// E-mail address or id
        user: String,
        /// Ask nothing
        #[arg(long)]
        yes: bool,
    },
    /// List an account's sessions
    Sessions {
        /// E-mail address or id
        user: String,
    },
    /// Write all accounts as JSON, one object a line
    Export(transfer::Export),
    /// Create accounts from a file of JSON, one object a line; all are checked first
    Import(transfer::Import),
    /// Make an invitation to register
    Invite {
        /// The only e-mail address it can be used with; any if left out
        email: Option<Email>,
        /// A role of the account made with it; may be given more than once
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<Role>,
        /// How long it is good, such as 7d [default: accounts.invite_ttl]
        #[arg(long, value_name = "TIME", value_parser = super::life)]
        ttl: Option<Duration>,
    },
    /// List open invitations
    Invites,
    /// Withdraw an invitation
    Uninvite {
        /// Its id
        invite: InviteId,
    },
}

impl User {
    pub(super) async fn run(self, console: &mut Console) -> anyhow::Result<ExitCode> {
        let command = match self {
            Self::Add { email, name, roles, password } => {
                let secret = password.read(&SystemRng)?;
                let roles = roles.into_iter().collect();
                let add = Command::UserAdd { email, name, roles, password: secret.clone() };
                let code = console.run(add).await?;
                password.show(&secret, console.json)?;
                return Ok(code);
            }
            Self::SetPassword { user, password } => {
                let secret = password.read(&SystemRng)?;
                let code = console.run(Command::UserSetPassword { user, password: secret.clone() }).await?;
                password.show(&secret, console.json)?;
                return Ok(code);
            }
            Self::List => return list(console).await,
            Self::Export(export) => return export.run(console).await,
            Self::Import(import) => return import.run(console).await,
            Self::Sessions { user } => Command::SessionList { user },
            Self::Show { user } => Command::UserShow { user },
            Self::Disable { user } => Command::UserDisable { user },
            Self::Enable { user } => Command::UserEnable { user },
            Self::Unthrottle { user } => Command::UserUnthrottle { user },
            Self::Roles { user, roles, none: _ } => {
                Command::UserRoles { user, roles: roles.into_iter().collect() }
            }
            Self::Data { user, key: None } => return documents(console, user).await,
            Self::Data { user, key: Some(key) } => Command::UserDocument { user, key },
            Self::Delete { user, yes } => {
                if !yes && ask::can_ask() {
                    let question =
                        format!("Delete {} and all that is kept for it, for good?", output::plain(&user));
                    ask::confirm(&question, "nothing was deleted")?;
                }
                Command::UserDelete { user }
            }
            Self::Invite { email, roles, ttl } => Command::InviteCreate {
                email,
                roles: roles.into_iter().collect(),
                ttl_seconds: ttl.map(|ttl| ttl.as_secs()),
            },
            Self::Invites => Command::InviteList,
            Self::Uninvite { invite } => Command::InviteRevoke { invite },
        };
        console.run(command).await
    }
}

/// All pages as one list.
async fn list(console: &mut Console) -> anyhow::Result<ExitCode> {
    let ask = |last: Option<&view::User>| {
        let after = last.map(|user| user.id.parse()).transpose()?;
        Ok(Command::UserList { after, limit: PAGE })
    };
    let of = |reply| match reply {
        Reply::Users(page) => Ok(page),
        other => Err(output::unexpected(&other)),
    };
    let all = console.pages(ask, of).await?;
    console.show(&Reply::Users(all))
}

/// All pages as one list.
async fn documents(console: &mut Console, user: String) -> anyhow::Result<ExitCode> {
    let ask = |last: Option<&data::Document>| {
        let after = last.map(|document| document.key.clone());
        Ok(Command::UserDocuments { user: user.clone(), after, limit: PAGE })
    };
    let of = |reply| match reply {
        Reply::Documents(page) => Ok(page),
        other => Err(output::unexpected(&other)),
    };
    let all = console.pages(ask, of).await?;
    console.show(&Reply::Documents(all))
}
