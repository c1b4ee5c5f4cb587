//! Accounts from elsewhere: whole records with their ids, times and password hashes, in batches. Each
//! batch is created whole or not at all, and every record that cannot be is named, so that whoever
//! imports mends a file once.
//!
//! A hash from elsewhere is a promise to compute with it at each login: one that asks for absurd memory
//! or time is refused here, not found at the door.

use std::collections::{BTreeSet, HashSet};

use crate::audit::draft::Draft;
use crate::auth::error::{AuthError, FieldError};
use crate::model::account::{self, Account, AccountStatus, PasswordHash};
use crate::model::caller::{Actor, Origin};
use crate::model::change::AuthChange;
use crate::model::email::Email;
use crate::model::event::{Intent, Outcome};
use crate::model::id::AccountId;
use crate::model::role::Role;
use crate::model::time::Timestamp;
use crate::store::bundle::Bundle;

use super::Accounts;

/// Most records in one batch: its bundle is one record of the journal.
pub const BATCH: usize = 500;

/// An account as another system, or this one, has kept it.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Its id there; a new one if `None`.
    pub id: Option<AccountId>,
    /// Its address.
    pub email: Email,
    /// As the owner wishes to be called; may be empty.
    pub name: String,
    /// What it may do.
    pub roles: BTreeSet<Role>,
    /// Whether it may be used.
    pub status: AccountStatus,
    /// When it was created; now if `None`.
    pub created_at: Option<Timestamp>,
    /// Its password's hash. Without one nobody can log in until an administrator sets a password.
    pub password: Option<PasswordHash>,
    /// When that was set; when it was created if `None`.
    pub password_set_at: Option<Timestamp>,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Look only: say what would come of it.
    pub check: bool,
    /// Leave out records whose account is there already, instead of refusing the batch.
    pub skip_existing: bool,
}

/// Why one record cannot be an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Which of the batch, from 0.
    pub index: usize,
    /// The field at fault, and what to do.
    pub fault: FieldError,
}

/// What a batch came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// Accounts created, or that would be.
    pub created: usize,
    /// Records left out because their account is there already.
    pub skipped: usize,
    /// What cannot be; if there is any, nothing was created.
    pub misfits: Vec<Misfit>,
}

impl Accounts {
    /// Creates the accounts of a batch, all or none.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] for too large a batch; otherwise failures of the node. Records that cannot
    /// be are no error but the answer.
    pub async fn import(
        &self,
        batch: &[Incoming],
        manner: Manner,
        actor: Actor,
        origin: &Origin,
    ) -> Result<Import, AuthError> {
        if batch.len() > BATCH {
            return Err(AuthError::field("users", "too_many", format!("send at most {BATCH} at once")));
        }
        // Read once, off this thread; what is erased while the batch is decided is heard of.
        let ids = batch.iter().filter_map(|incoming| incoming.id).collect();
        let erased = self.commands.trail.erased_of(ids).await?;
        if manner.check {
            return Ok(self.plan(&mut Bundle::new(), batch, manner, &erased)?.0);
        }
        self.commands
            .settle(|bundle| {
                let (import, new) = self.plan(bundle, batch, manner, &erased)?;
                let draft = |outcome| {
                    Draft::new(Intent::AccountCreate, outcome).by(actor.clone()).at(origin).reason("import")
                };
                if !import.misfits.is_empty() {
                    self.commands.trail.attach(bundle, draft(Outcome::Denied));
                }
                for account in new {
                    let draft = draft(Outcome::Granted).target(account.id);
                    self.commands.auth.stage(bundle, AuthChange::AccountCreated(account));
                    self.commands.trail.attach(bundle, draft);
                }
                Ok(Ok(import))
            })
            .await
    }

    /// What would come of a batch, and the accounts to create: none if anything does not fit.
    fn plan(
        &self,
        bundle: &mut Bundle,
        batch: &[Incoming],
        manner: Manner,
        erased: &HashSet<AccountId>,
    ) -> Result<(Import, Vec<Account>), AuthError> {
        let (mut import, mut new) = (Import::default(), Vec::new());
        let (mut emails, mut ids) = (HashSet::new(), HashSet::new());
        for (index, incoming) in batch.iter().enumerate() {
            let mut faults = self.faults_of(incoming);
            if !emails.insert(&incoming.email) {
                faults.push(FieldError::new("email", "repeated", "another record has this address"));
            }
            if incoming.id.is_some_and(|id| !ids.insert(id)) {
                faults.push(FieldError::new("id", "repeated", "another record has this id"));
            }
            let standing = self.standing(bundle, incoming, erased)?;
            let is_new = matches!(standing, Standing::New);
            match standing {
                Standing::New => {}
                Standing::There if manner.skip_existing => import.skipped += 1,
                Standing::There => {
                    let detail = "an account with this address is there already: leave the record out, \
                                  or skip those that exist";
                    faults.push(FieldError::new("email", "taken", detail));
                }
                Standing::Clash(fault) => faults.push(fault),
            }
            if is_new && faults.is_empty() {
                import.created += 1;
                new.push(self.account_of(incoming));
            }
            import.misfits.extend(faults.into_iter().map(|fault| Misfit { index, fault }));
        }
        if !import.misfits.is_empty() {
            (import.created, import.skipped) = (0, 0);
            new.clear();
        }
        Ok((import, new))
    }

    /// Rules that the record breaks by itself.
    fn faults_of(&self, incoming: &Incoming) -> Vec<FieldError> {
        let mut faults = Vec::new();
        if let Err(error) = account::name(&incoming.name) {
            faults.push(FieldError::new("name", error.code(), error.to_string()));
        }
        if let Some(hash) = &incoming.password
            && let Err(error) = self.passwords.usable(hash)
        {
            faults.push(FieldError::new("password_hash", "unusable", error.to_string()));
        }
        let now = self.commands.now();
        for (field, at) in
            [("created_at", incoming.created_at), ("password_set_at", incoming.password_set_at)]
        {
            if at.is_some_and(|at| at > now || at < Timestamp::default()) {
                faults.push(FieldError::new(field, "out_of_range", "write a time between 1970 and now"));
            }
        }
        if incoming.id.is_some_and(|id| id.0.is_nil() || id.0.is_max()) {
            faults.push(FieldError::new("id", "invalid", "leave it out, or write the account's own"));
        }
        faults
    }

    fn standing(
        &self,
        bundle: &mut Bundle,
        incoming: &Incoming,
        erased: &HashSet<AccountId>,
    ) -> Result<Standing, AuthError> {
        let auth = &self.commands.auth;
        let holder = auth.read_account_by_email(bundle, &incoming.email)?.map(|account| account.id);
        let Some(id) = incoming.id else {
            return Ok(holder.map_or(Standing::New, |_| Standing::There));
        };
        let fault = |field, detail| Ok(Standing::Clash(FieldError::new(field, "taken", detail)));
        match (holder, auth.read_account(bundle, id)?) {
            (Some(holder), _) if holder == id => Ok(Standing::There),
            (Some(holder), _) => fault(
                "email",
                format!("the account {holder} has this address: leave the id out, or delete that account"),
            ),
            (None, Some(account)) => fault(
                "id",
                format!("the account {} has this id: leave the id out for a new one", account.email),
            ),
            (None, None) if erased.contains(&id) || self.commands.trail.was_just_erased(id) => {
                let detail = "an account of this id was deleted: leave the id out for a new one";
                Ok(Standing::Clash(FieldError::new("id", "deleted", detail)))
            }
            (None, None) => Ok(Standing::New),
        }
    }

    fn account_of(&self, incoming: &Incoming) -> Account {
        let now = self.commands.now();
        let created_at = incoming.created_at.unwrap_or(now);
        Account {
            id: incoming.id.unwrap_or_else(|| AccountId::new(now, &*self.commands.rng)),
            email: incoming.email.clone(),
            name: incoming.name.trim().to_owned(),
            roles: incoming.roles.clone(),
            status: incoming.status,
            password: incoming.password.clone().unwrap_or_else(PasswordHash::none),
            password_set_at: incoming.password_set_at.unwrap_or(created_at),
            created_at,
        }
    }

    /// As [`Accounts::list`], for taking accounts elsewhere: it is on record who took how many, and
    /// whether with their password hashes, before the caller has them.
    ///
    /// # Errors
    /// Failures of the node; also of one that takes no writes, for there would be no record.
    pub async fn export(
        &self,
        after: Option<AccountId>,
        limit: usize,
        hashes: bool,
        actor: Actor,
        origin: &Origin,
    ) -> Result<Vec<Account>, AuthError> {
        let page = self.list(after, limit.min(BATCH))?;
        if !page.is_empty() {
            let reason = if hashes { "with_password_hashes" } else { "" };
            let draft =
                Draft::new(Intent::AccountExport, Outcome::Granted).by(actor).at(origin).reason(reason);
            let count = u32::try_from(page.len()).unwrap_or(u32::MAX);
            self.commands.trail.record(draft.count(count)).await?;
        }
        Ok(page)
    }
}

/// How a record stands to the accounts there are.
enum Standing {
    /// Nobody has its address or its id.
    New,
    /// It is this account already.
    There,
    /// Somebody else has its address or its id.
    Clash(FieldError),
}
