//! Users, groups, tokens and sessions.

use bytes::Bytes;
use http::Method;

use super::{Client, ClientError, escape, json};
use crate::api::{
    ChangeGroup, ChangeUser, GroupInfo, Login, MadeToken, NewGroup, NewPassword, NewSshKey, NewToken, NewUser, Session,
    TokenInfo, UserInfo,
};

impl Client {
    /// Logs in with a password. This client goes on with the token it has.
    ///
    /// # Errors
    /// See [`ClientError`]; so for all methods.
    pub async fn login(&self, login: &Login) -> Result<Session, ClientError> {
        self.call(Method::POST, "/session", json(login), None).await
    }

    /// Who this client's token stands for.
    pub async fn session(&self) -> Result<Session, ClientError> {
        self.get("/session").await
    }

    /// Ends the session of this client's token.
    pub async fn logout(&self) -> Result<(), ClientError> {
        self.done(Method::DELETE, "/session", Bytes::new()).await
    }

    /// The users one may know of.
    pub async fn users(&self) -> Result<Vec<UserInfo>, ClientError> {
        self.all("/users").await
    }

    /// Makes a user.
    pub async fn add_user(&self, user: &NewUser) -> Result<UserInfo, ClientError> {
        self.call(Method::POST, "/users", json(user), None).await
    }

    /// A user.
    pub async fn user(&self, name: &str) -> Result<UserInfo, ClientError> {
        self.get(&user(name, "")).await
    }

    /// Changes what is given of a user.
    pub async fn change_user(&self, name: &str, change: &ChangeUser) -> Result<UserInfo, ClientError> {
        self.call(Method::PATCH, &user(name, ""), json(change), None).await
    }

    /// Deletes a user.
    pub async fn delete_user(&self, name: &str) -> Result<(), ClientError> {
        self.done(Method::DELETE, &user(name, ""), Bytes::new()).await
    }

    /// Gives a user another password.
    pub async fn set_password(&self, name: &str, new: &NewPassword) -> Result<(), ClientError> {
        self.done(Method::PUT, &user(name, "/password"), json(new)).await
    }

    /// Adds a public key for ssh.
    pub async fn add_ssh_key(&self, name: &str, key: &str) -> Result<UserInfo, ClientError> {
        let body = json(&NewSshKey { key: key.to_owned() });
        self.call(Method::POST, &user(name, "/ssh-keys"), body, None).await
    }

    /// Takes a public key for ssh away.
    pub async fn remove_ssh_key(&self, name: &str, id: &str) -> Result<UserInfo, ClientError> {
        self.call(Method::DELETE, &user(name, &format!("/ssh-keys/{}", escape(id))), Bytes::new(), None).await
    }

    /// The groups one may know of.
    pub async fn groups(&self) -> Result<Vec<GroupInfo>, ClientError> {
        self.all("/groups").await
    }

    /// Makes a group.
    pub async fn add_group(&self, group: &NewGroup) -> Result<GroupInfo, ClientError> {
        self.call(Method::POST, "/groups", json(group), None).await
    }

    /// A group.
    pub async fn group(&self, name: &str) -> Result<GroupInfo, ClientError> {
        self.get(&format!("/groups/{}", escape(name))).await
    }

    /// Changes who belongs to a group.
    pub async fn change_group(&self, name: &str, change: &ChangeGroup) -> Result<GroupInfo, ClientError> {
        self.call(Method::PATCH, &format!("/groups/{}", escape(name)), json(change), None).await
    }

    /// Deletes a group.
    pub async fn delete_group(&self, name: &str) -> Result<(), ClientError> {
        self.done(Method::DELETE, &format!("/groups/{}", escape(name)), Bytes::new()).await
    }

    /// The tokens of a user, one's own unless said.
    pub async fn tokens(&self, of: Option<&str>) -> Result<Vec<TokenInfo>, ClientError> {
        let query = of.map(|user| format!("?user={}", escape(user))).unwrap_or_default();
        self.all(&format!("/tokens{query}")).await
    }

    /// Makes a token.
    pub async fn add_token(&self, token: &NewToken) -> Result<MadeToken, ClientError> {
        self.call(Method::POST, "/tokens", json(token), None).await
    }

    /// Revokes a token.
    pub async fn revoke_token(&self, id: &str) -> Result<(), ClientError> {
        self.done(Method::DELETE, &format!("/tokens/{}", escape(id)), Bytes::new()).await
    }
}

fn user(name: &str, rest: &str) -> String {
    format!("/users/{}{rest}", escape(name))
}
