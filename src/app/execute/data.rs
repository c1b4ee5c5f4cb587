//! Commands about what applications keep for people. Looking is recorded like any administrator's.

use super::super::control::Outcome;
use super::super::control::command::PAGE;
use super::super::control::data::{Document, DocumentBody};
use super::super::control::reply::{Code, Failure, Reply};
use super::super::core::Core;
use super::Who;
use super::refused::unreadable;
use crate::users::administer::Administrator;
use crate::users::error::UsersError;
use crate::users::key::{DocumentKey, InvalidKey};

impl Core {
    pub(super) async fn user_documents(
        &self,
        user: &str,
        after: Option<String>,
        limit: u32,
        who: Who,
    ) -> Outcome {
        let id = self.find(user)?;
        let after = after.as_deref().map(key).transpose()?;
        let by = Administrator::console(who.actor, who.origin);
        let limit = limit.min(PAGE) as usize;
        let page = self.users.documents_of(&by, id, after.as_ref(), limit).await.map_err(refused)?;
        Ok(Reply::Documents(page.iter().map(Into::into).collect()))
    }

    pub(super) async fn user_document(&self, user: &str, name: &str, who: Who) -> Outcome {
        let (id, key) = (self.find(user)?, key(name)?);
        let by = Administrator::console(who.actor, who.origin);
        match self.users.document_of(&by, id, &key).await {
            Ok(found) => {
                let document = Document::from(&(&found).into());
                Ok(Reply::Document(DocumentBody { document, body: found.body }))
            }
            Err(UsersError::NoDocument) => {
                let message = format!("'{user}' has no document '{key}'");
                let remedy = format!("`keepgate user data {user}` shows them all");
                Err(Failure::new(Code::NotFound, message).remedy(remedy))
            }
            Err(error) => Err(refused(error)),
        }
    }
}

fn key(text: &str) -> Result<DocumentKey, Failure> {
    text.parse().map_err(|error: InvalidKey| Failure::new(Code::Invalid, format!("key: {error}")))
}

/// What `users` refused.
fn refused(error: UsersError) -> Failure {
    let code = match &error {
        UsersError::Store(error) => return unreadable(error),
        UsersError::NoDocument | UsersError::NoAccount => Code::NotFound,
        UsersError::Unavailable(_) => Code::Unavailable,
        UsersError::Invalid(_)
        | UsersError::DocumentTooLarge { .. }
        | UsersError::TooManyDocuments { .. }
        | UsersError::TooManyBytes { .. } => Code::Invalid,
        UsersError::SessionEnded | UsersError::NotAdministrator | UsersError::Unmet(_) => Code::Refused,
    };
    Failure::new(code, error.to_string())
}
