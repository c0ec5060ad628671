//! Who may use the coordinator, and for what.
//!
//! `directory` keeps users, groups and tokens; `users`, `groups` and `tokens` change them; `login` lets people in
//! by password (`password`, `lockout`); `permission` says what somebody may do with a module or a run.
//!
//! A token is shown once, when it is made. The store keeps its SHA-256 only, which is enough: a token
//! has 256 random bits, so there is nothing to guess. Passwords are kept as argon2id hashes.

mod directory;
mod groups;
mod lockout;
mod login;
mod password;
pub mod token;
mod tokens;
mod users;

use std::{collections::BTreeSet, io, path::Path, sync::Arc};

use slipstream_shared::api::Scope;

use self::{
    directory::{Account, Directory, Edit, Kind, Token},
    lockout::Lockout,
    password::Passwords,
};
pub use self::{login::csrf, users::First};
use crate::{
    files::{self, SECRET},
    seam::{Millis, Seam},
    store::{Backend, StoreError},
};

/// The administrator that is there from the first start on: whoever can read the data folder.
pub const FIRST: &str = "admin";

/// Somebody who makes a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// The name events carry.
    pub name: String,
    /// May do everything that the scope allows.
    pub admin: bool,
    /// The groups they belong to.
    pub groups: BTreeSet<String>,
    /// What the token of this request is good for.
    pub scope: Scope,
    /// SHA-256 of that token.
    pub token: Option<[u8; 32]>,
}

/// Why somebody was not let in, or users, groups and tokens could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The store does not answer.
    #[error("cannot look up users and tokens")]
    Store(#[from] StoreError),
    /// A record is not readable.
    #[error("the record of a {0} is damaged")]
    Damaged(&'static str),
    /// The administrator's token cannot be kept.
    #[error("cannot access {path}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such user, or the asker may not know of them.
    #[error("there is no user `{0}`")]
    NoUser(String),
    /// There is no such group, or the asker may not know of it.
    #[error("there is no group `{0}`")]
    NoGroup(String),
    /// There is no such token, or it is somebody else's.
    #[error("there is no token `{0}`")]
    NoToken(String),
    /// The name was given before.
    #[error("`{0}` is or was the name of another one; names are not given again, so that nobody gets what was theirs")]
    Taken(String),
    /// What was given does not fit.
    #[error("{0}")]
    Invalid(String),
    /// That is not allowed.
    #[error("{0}")]
    Denied(String),
    /// Name or password is wrong; which of them is not said.
    #[error("the name or the password is wrong")]
    BadLogin,
    /// There were too many wrong passwords.
    #[error("too many wrong passwords; try again in {0} s")]
    TooOften(u64),
    /// More logins than can be checked.
    #[error("too many others are logging in; try again")]
    Busy,
}

/// Users, groups and tokens. A clone is the same.
#[derive(Debug, Clone)]
pub struct Access {
    seam: Seam,
    directory: Directory,
    passwords: Arc<Passwords>,
    lockout: Arc<Lockout>,
}

impl Access {
    /// Those in `store`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open(store: Arc<dyn Backend>, seam: Seam) -> Result<Self, AccessError> {
        let directory = Directory::open(store, seam.clone()).await?;
        let passwords = Arc::new(Passwords::new(&seam));
        Ok(Access { seam, directory, passwords, lockout: Arc::default() })
    }

    /// Whose token it is; none if it is not one.
    #[must_use]
    pub fn user(&self, secret: &str) -> Option<User> {
        self.known_by(secret, false)
    }

    /// The same for the token in the cookie of a page.
    #[must_use]
    pub fn page_user(&self, secret: &str) -> Option<User> {
        self.known_by(secret, true)
    }

    fn known_by(&self, secret: &str, page: bool) -> Option<User> {
        if !secret.starts_with(token::PREFIX) {
            return None;
        }
        // Found by its hash: how long that takes says nothing about tokens that exist.
        self.directory.read(|known| known.user(&token::hash(secret), page, self.seam.now()))
    }

    /// The token in `<data>/admin-token`; made anew if there is none or it is not good any more.
    ///
    /// # Errors
    /// The file or the store cannot be used.
    pub async fn admin(&self, data: &Path) -> Result<String, AccessError> {
        let path = data.join("admin-token");
        let failed = |source| AccessError::Io { path: path.display().to_string(), source };
        if let Some(bytes) = files::read_optional(&path).map_err(failed)? {
            let token = String::from_utf8_lossy(&bytes).trim().to_owned();
            if self.user(&token).is_some() {
                return Ok(token);
            }
        }
        let (secret, hash) = self.directory.draw();
        self.directory
            .change(move |known, now| {
                let token = Token { name: "admin-token in the data folder".to_owned(), ..new_token(FIRST, now) };
                let mut edits = vec![Edit::Token(hash, Some(token))];
                if !known.accounts.contains_key(FIRST) {
                    let name = FIRST.to_owned();
                    edits.push(Edit::Account(Account { name, admin: true, created: now, ..Account::default() }));
                }
                Ok((edits, ()))
            })
            .await?;
        files::write_atomic(&path, format!("{secret}\n").as_bytes(), SECRET).map_err(failed)?;
        Ok(secret)
    }
}

fn new_token(user: &str, now: Millis) -> Token {
    Token {
        user: user.to_owned(),
        admin: false,
        created: now,
        name: String::new(),
        kind: Kind::Api,
        scope: Scope::default(),
        expires: None,
    }
}

#[cfg(test)]
mod tests;
