//! The profile: an account as its owner sees and edits it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Users;
use super::claims::Claim;
use super::condition::Condition;
use super::error::UsersError;
use crate::model::account::{self, Account, AccountStatus};
use crate::model::caller::Caller;
use crate::model::change::UserChange;
use crate::model::email::Email;
use crate::model::id::AccountId;
use crate::model::problem::FieldProblem;
use crate::model::profile::Profile;
use crate::model::role::Role;
use crate::model::time::Timestamp;

/// A person: what may be shown of an account, and its claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Person {
    /// The account's.
    pub id: AccountId,
    /// The account's.
    pub email: Email,
    /// The account's; may be empty.
    pub name: String,
    /// The account's, sorted.
    pub roles: Vec<Role>,
    /// The account's.
    pub status: AccountStatus,
    /// The account's.
    pub created_at: Timestamp,
    /// When name or claims were last changed by their owner, if ever.
    pub updated_at: Option<Timestamp>,
    /// Claims by name.
    pub claims: BTreeMap<String, String>,
}

impl Person {
    pub(in crate::users) fn new(account: Account, profile: Option<Profile>) -> Self {
        let Account { id, email, name, roles, status, created_at, .. } = account;
        let updated_at = profile.as_ref().map(|profile| profile.updated_at);
        let claims = profile.map(|profile| profile.claims).unwrap_or_default();
        let roles = roles.into_iter().collect();
        Self { id, email, name, roles, status, created_at, updated_at, claims }
    }

    /// The entity tag: a hash of everything above, since roles and status change without their owner.
    pub fn tag(&self) -> String {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        blake3::hash(&bytes).to_hex().chars().take(32).collect()
    }
}

/// What to change of a profile; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfilePatch {
    /// Another name; empty for none.
    pub name: Option<String>,
    /// Whether all claims go first.
    pub clear: bool,
    /// Claims by name: another value, or none.
    pub claims: BTreeMap<&'static str, Option<String>>,
}

impl ProfilePatch {
    /// The names of the claims that a profile can have.
    pub fn claim_names() -> impl Iterator<Item = &'static str> {
        Claim::ALL.into_iter().map(Claim::name)
    }

    /// With values as they are kept.
    fn checked(self) -> Result<Self, UsersError> {
        let Self { name, clear, claims } = self;
        let mut faults = Vec::new();
        let mut checked = Self { name: None, clear, claims: BTreeMap::new() };
        match name.as_deref().map(account::name).transpose() {
            Ok(name) => checked.name = name,
            Err(error) => faults.push(FieldProblem::new("name", error.code(), error.to_string())),
        }
        for (claim, value) in claims {
            let field = || format!("/profile/{claim}");
            match (Claim::ALL.into_iter().find(|known| known.name() == claim), value) {
                (None, _) => {
                    faults.push(FieldProblem::new(field(), "unknown", "this field is not known here"))
                }
                (Some(_), None) => {
                    checked.claims.insert(claim, None);
                }
                (Some(known), Some(value)) => match known.check(&value) {
                    Ok(value) => {
                        checked.claims.insert(claim, Some(value));
                    }
                    Err(bad) => faults.push(FieldProblem::new(field(), bad.code, bad.detail)),
                },
            }
        }
        if faults.is_empty() { Ok(checked) } else { Err(UsersError::Invalid(faults)) }
    }

    fn applied(&self, claims: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut claims = if self.clear { BTreeMap::new() } else { claims.clone() };
        for (claim, value) in &self.claims {
            match value {
                Some(value) => claims.insert((*claim).to_owned(), value.clone()),
                None => claims.remove(*claim),
            };
        }
        claims
    }
}

impl Users {
    /// The caller's own profile.
    ///
    /// # Errors
    /// [`UsersError::SessionEnded`], [`UsersError::Store`].
    pub fn me(&self, caller: &Caller) -> Result<Person, UsersError> {
        let account = self.commands.account(caller.account)?.ok_or(UsersError::SessionEnded)?;
        Ok(Person::new(account, self.commands.user.profile(caller.account)?))
    }

    /// Changes the caller's profile, if the condition holds, and gives what it is then. A patch that
    /// changes nothing writes nothing.
    ///
    /// # Errors
    /// [`UsersError::Invalid`] with every fault, [`UsersError::Unmet`], [`UsersError::SessionEnded`];
    /// otherwise failures of the node.
    pub async fn patch_profile(
        &self,
        caller: &Caller,
        patch: ProfilePatch,
        condition: &Condition,
    ) -> Result<Person, UsersError> {
        let patch = patch.checked()?;
        let commands = &*self.commands;
        commands
            .decide(caller.account, |bundle| {
                let account = match commands.owner(bundle, caller.account)? {
                    Ok(account) => account,
                    Err(error) => return Ok(Err(error)),
                };
                let profile = commands.user.read_profile(bundle, caller.account)?;
                let mut person = Person::new(account, profile);
                if let Err(unmet) = condition.holds(Some(&person.tag())) {
                    return Ok(Err(unmet.into()));
                }
                let claims = patch.applied(&person.claims);
                let renamed = patch.name.as_ref().filter(|name| **name != person.name);
                if renamed.is_none() && claims == person.claims {
                    return Ok(Ok(person));
                }
                if let Some(name) = renamed {
                    person.name.clone_from(name);
                    commands.people.rename(bundle, caller.account, name.clone());
                }
                let updated_at = commands.now();
                (person.claims, person.updated_at) = (claims.clone(), Some(updated_at));
                let profile = Profile { account: caller.account, claims, updated_at };
                commands.user.stage(bundle, UserChange::ProfileSet(profile));
                Ok(Ok(person))
            })
            .await
    }
}
