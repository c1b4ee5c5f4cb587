//! A person with an account: registers, logs in, and remembers their tokens.

use serde_json::{Value, json};

use super::client::{Answer, Client};

/// A password that the policy takes.
pub const PASSWORD: &str = "correct horse battery staple";

/// Somebody with a session.
#[derive(Clone, Debug)]
pub struct Person {
    pub email: String,
    pub id: String,
    pub access: String,
    pub refresh: String,
    pub session: String,
}

impl Person {
    /// Registers and logs in.
    pub async fn join(client: &Client, email: &str) -> Self {
        let account = client
            .post("/auth/v1/register", json!({"email": email, "password": PASSWORD, "name": "Ada"}))
            .send()
            .await
            .expect(201)
            .json();
        let id = account["account"]["id"].as_str().expect("an id").to_owned();
        let grant = login(client, email).await.expect(200).json();
        let mut person = Self {
            email: email.to_owned(),
            id,
            access: String::new(),
            refresh: String::new(),
            session: String::new(),
        };
        person.take(&grant);
        person
    }

    /// Remembers the tokens of a grant.
    pub fn take(&mut self, grant: &Value) {
        let text = |key: &str| grant[key].as_str().unwrap_or_else(|| panic!("{key} in {grant}")).to_owned();
        self.access = text("access_token");
        self.refresh = text("refresh_token");
        self.session = text("session_id");
    }
}

/// Logs in with the usual password.
pub async fn login(client: &Client, email: &str) -> Answer {
    client
        .post("/auth/v1/login", json!({"email": email, "password": PASSWORD, "device": "test"}))
        .send()
        .await
}

/// Exchanges a refresh token.
pub async fn refresh(client: &Client, token: &str) -> Answer {
    client.post("/auth/v1/refresh", json!({"refresh_token": token})).send().await
}
