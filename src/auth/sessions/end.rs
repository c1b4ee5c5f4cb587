//! Every way to end a session on purpose. Ending is always: the record goes, its access tokens are
//! revoked and the log says so, in one bundle. Ending what has ended already is success, so that a
//! client whose answer was lost may ask again.

use crate::audit::draft::Draft;
use crate::auth::commands::Unwritten;
use crate::auth::error::AuthError;
use crate::model::caller::{Actor, Caller, Origin};
use crate::model::event::{Intent, Outcome};
use crate::model::id::SessionId;
use crate::model::revocation::{RevocationCause, RevokedSubject};

use super::Sessions;

impl Sessions {
    /// Ends the caller's session.
    ///
    /// # Errors
    /// Only failures of the node.
    pub async fn logout(&self, caller: &Caller, origin: &Origin) -> Result<(), AuthError> {
        let commands = &self.commands;
        commands
            .settle(|bundle| {
                let mut draft = Draft::new(Intent::Logout, Outcome::Granted)
                    .caller(caller)
                    .target(caller.session)
                    .at(origin);
                match commands.tokens.read_session(bundle, caller.session)? {
                    Some(session) => commands.end(bundle, session.id, session.account),
                    None => draft = draft.reason("already_ended"),
                }
                // Without a record too: its revocation may be of a history that a restore took back,
                // and whoever logs out is told that the token in hand is worth nothing.
                let subject = RevokedSubject::Session(caller.session);
                commands.revoke(bundle, subject, RevocationCause::Logout, commands.now());
                commands.trail.attach(bundle, draft);
                Ok(Ok(()))
            })
            .await
    }

    /// Ends every session of the caller's account, this one too.
    ///
    /// # Errors
    /// Only failures of the node.
    pub async fn logout_all(&self, caller: &Caller, origin: &Origin) -> Result<(), AuthError> {
        let commands = &self.commands;
        commands
            .settle(|bundle| {
                commands.end_all(bundle, caller.account, RevocationCause::LogoutAll, commands.now())?;
                let draft = Draft::new(Intent::LogoutAll, Outcome::Granted).caller(caller);
                commands.trail.attach(bundle, draft.target(caller.account).at(origin));
                Ok(Ok(()))
            })
            .await
    }

    /// Ends one of the caller's own sessions.
    ///
    /// # Errors
    /// [`AuthError::NotFound`] if there is none of that id, or it is somebody else's.
    pub async fn revoke(
        &self,
        caller: &Caller,
        session: SessionId,
        origin: &Origin,
    ) -> Result<(), AuthError> {
        self.revoke_if(session, Some(caller), &Actor::Account(caller.account), origin).await
    }

    /// Ends anybody's session, for administrators.
    ///
    /// # Errors
    /// [`AuthError::NotFound`] if there is none of that id.
    pub async fn revoke_any(
        &self,
        session: SessionId,
        actor: Actor,
        origin: &Origin,
    ) -> Result<(), AuthError> {
        self.revoke_if(session, None, &actor, origin).await
    }

    async fn revoke_if(
        &self,
        id: SessionId,
        owner: Option<&Caller>,
        actor: &Actor,
        origin: &Origin,
    ) -> Result<(), AuthError> {
        let commands = &self.commands;
        let cause = owner.map_or(RevocationCause::Administrator, |_| RevocationCause::Logout);
        let done = commands
            .decide_or_fold(|bundle| {
                let found = commands.tokens.read_session(bundle, id)?;
                let draft = |outcome| {
                    Draft::new(Intent::SessionRevoke, outcome).by(actor.clone()).target(id).at(origin)
                };
                match found {
                    Some(session) if owner.is_none_or(|caller| caller.account == session.account) => {
                        commands.end_and_revoke(bundle, &session, cause, commands.now());
                        commands.trail.attach(bundle, draft(Outcome::Granted));
                        Ok(Ok(()))
                    }
                    found => {
                        let reason = if found.is_some() { "not_owner" } else { "not_found" };
                        let draft = draft(Outcome::Denied).reason(reason);
                        Err(Unwritten::refused(draft, AuthError::NotFound))
                    }
                }
            })
            .await;
        done.map(|_| ())
    }
}
