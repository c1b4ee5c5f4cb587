//! `refresh`: exchanges a refresh token. What a presented token means is `family`'s decision; this
//! file makes the decision durable, or finds that it was overtaken and has it made again.
//!
//! Text that is no token of ours by its form is bad input and is refused without a trace. Whatever
//! has the form is a claim to a session; refusing it is audited like granting it, but folded: a
//! forgery costs nothing but a checksum, and a token of a session that has ended can be shown for ever.

use crate::audit::draft::Draft;
use crate::auth::commands::{Unwritten, Verdict};
use crate::auth::error::{AuthError, RefreshRefusal};
use crate::model::account::{Account, AccountStatus};
use crate::model::caller::{Actor, Origin};
use crate::model::change::TokenChange;
use crate::model::event::{Intent, Outcome};
use crate::model::id::SessionId;
use crate::model::revocation::RevocationCause;
use crate::model::session::Session;
use crate::store::bundle::Bundle;

use super::Sessions;
use super::family::{ClientPrint, Decision, Family, Presentation, StolenToken};
use super::grant::{Grant, Granted};
use super::token::{Genuine, Presented};

impl Sessions {
    /// Exchanges a refresh token for a new access token and its successor (RFC 6749 §6, with the
    /// rotation and reuse detection of RFC 9700 §4.14.2).
    ///
    /// Presented again by the same client within the grace window, an exchanged token gives the
    /// *same* successor; in any other way it ends the session.
    ///
    /// # Errors
    /// [`AuthError::InvalidRefreshToken`] for a token that is not live; otherwise only failures of
    /// the node (`Overloaded`, `ReadOnly`, `Closing`, `Store`, `Internal`), after which the same
    /// token may be presented again.
    pub async fn refresh(&self, token: &str, origin: &Origin) -> Result<Grant, AuthError> {
        let presented = Presented::parse(token).map_err(|_| refused(RefreshRefusal::Malformed))?;
        let Some(token) = self.granting.refresh.recognise(&presented) else {
            let draft = denied(RefreshRefusal::Forged).at(origin);
            return self.commands.deny(draft, refused(RefreshRefusal::Forged)).await;
        };
        let client = ClientPrint::of(origin);
        let (granted, receipt) = self
            .commands
            .decide_or_fold(|bundle| self.decide_refresh(bundle, &token, client, origin))
            .await?;
        self.granting.make(granted, receipt.seq, &*self.commands.rng)
    }

    fn decide_refresh(
        &self,
        bundle: &mut Bundle,
        token: &Genuine,
        client: ClientPrint,
        origin: &Origin,
    ) -> Result<Verdict<Granted>, Unwritten> {
        let commands = &self.commands;
        let now = commands.now();
        let denied = |refusal: RefreshRefusal| denied(refusal).target(token.session).at(origin);
        let Some(record) = commands.tokens.read_session(bundle, token.session)? else {
            let refusal = RefreshRefusal::Unknown;
            return Err(Unwritten::refused(denied(refusal), refused(refusal)));
        };
        let owner = record.account;
        let refuse =
            |refusal: RefreshRefusal| Err(Unwritten::refused(denied(refusal).about(owner), refused(refusal)));
        let account = commands.auth.read_account(bundle, record.account)?;
        let presentation = Presentation { generation: token.generation, hash: token.hash(), client, now };
        match Family::of(record).present(&presentation, self.lives.grace) {
            Decision::Expired => refuse(RefreshRefusal::Expired),
            Decision::Unknown => refuse(RefreshRefusal::Unknown),
            Decision::Reuse(stolen) => Ok(self.end_family(bundle, &stolen, &presentation, origin)),
            Decision::Rotate(active) => {
                let Some(account) = usable(account) else {
                    return refuse(RefreshRefusal::Account);
                };
                let next = self.granting.refresh.successor(token, &active.record().salt);
                let record = active.exchange(next.hash(), &presentation, origin.address, &self.lives);
                commands.tokens.stage(bundle, TokenChange::SessionRotated(record.clone()));
                commands.trail.attach(bundle, granted(&record).at(origin));
                Ok(Ok(Granted { record, roles: account.roles, token: next, now }))
            }
            Decision::Replay(replayed) => {
                let Some(account) = usable(account) else {
                    return refuse(RefreshRefusal::Account);
                };
                let next = self.granting.refresh.successor(token, &replayed.record().salt);
                let Some(record) = replayed.confirm(next.hash()) else {
                    return refuse(RefreshRefusal::Unknown);
                };
                commands.trail.attach(bundle, granted(&record).reason("replay").at(origin));
                Ok(Ok(Granted { record, roles: account.roles, token: next, now }))
            }
        }
    }

    /// One bundle: the session ends, its access tokens are revoked, the log says why.
    fn end_family(
        &self,
        bundle: &mut Bundle,
        stolen: &StolenToken,
        by: &Presentation,
        origin: &Origin,
    ) -> Verdict<Granted> {
        let record = stolen.record();
        self.commands.end_and_revoke(bundle, record, RevocationCause::RefreshTokenReused, by.now);
        // The owner's token proves whose family it is, not who holds it: the address says that.
        let draft = Draft::new(Intent::RefreshReuse, Outcome::Denied)
            .by(Actor::Account(record.account))
            .target(record.id)
            .reason(stolen.word())
            .at(origin);
        self.commands.refuse(bundle, draft, refused(RefreshRefusal::Reused))
    }
}

/// The account, if it may be used.
fn usable(account: Option<Account>) -> Option<Account> {
    account.filter(|account| account.status == AccountStatus::Active)
}

const fn refused(refusal: RefreshRefusal) -> AuthError {
    AuthError::InvalidRefreshToken(refusal)
}

fn denied(refusal: RefreshRefusal) -> Draft {
    Draft::new(Intent::Refresh, Outcome::Denied).reason(refusal.word())
}

fn granted(record: &Session) -> Draft {
    let session: SessionId = record.id;
    Draft::new(Intent::Refresh, Outcome::Granted).by(Actor::Account(record.account)).target(session)
}
