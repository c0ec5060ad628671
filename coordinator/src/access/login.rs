//! Passwords and sessions.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use slipstream_shared::api::{Login, NewPassword, Session};

use super::{
    Access, AccessError, User,
    directory::{Edit, Kind, Token},
    new_token, token,
    users::{info, shown},
};

/// How long a session lasts unless said, and at most, in seconds.
const USUAL: u64 = 12 * 3600;
const LONGEST: u64 = 30 * 24 * 3600;

/// The most sessions of a user; the oldest ends when there is one more.
const MOST: usize = 50;

impl Access {
    /// Lets somebody in who knows a name and its password. The token of the session is in the answer, also where
    /// it becomes a cookie.
    ///
    /// # Errors
    /// [`AccessError::BadLogin`], whatever is wrong; [`AccessError::TooOften`] after too many of those.
    pub async fn login(&self, login: Login, from: IpAddr) -> Result<Session, AccessError> {
        let seconds = login.seconds.unwrap_or(USUAL);
        if seconds == 0 || seconds > LONGEST {
            return Err(AccessError::Invalid(format!("a session lasts 1 to {LONGEST} s (30 days)")));
        }
        self.lockout.begin(&self.seam, &login.user, from).map_err(AccessError::TooOften)?;
        let kept = self.directory.read(|known| {
            let account = known.account(&login.user).ok().filter(|account| !account.disabled);
            account.and_then(|account| account.password.clone())
        });
        if !self.passwords.verify(kept.as_deref(), &login.password).await? {
            return Err(AccessError::BadLogin);
        }
        self.lockout.succeeded(&login.user, from);
        let (secret, hash) = self.directory.draw();
        let (name, csrf) = (login.user, login.cookie.then(|| csrf(&secret)));
        self.directory
            .change(move |known, now| {
                // The password may have been changed meanwhile.
                let account = known.account(&name).ok().filter(|a| !a.disabled && a.password == kept);
                let account = account.ok_or(AccessError::BadLogin)?;
                let mut sessions: Vec<_> =
                    known.tokens.iter().filter(|(_, t)| t.user == name && t.kind != Kind::Api).collect();
                sessions.sort_by_key(|(_, token)| std::cmp::Reverse(token.created));
                let beyond = sessions.iter().skip(MOST - 1).map(|(hash, _)| Edit::Token(**hash, None));
                let expires = now + seconds * 1000;
                let kind = if csrf.is_some() { Kind::Page } else { Kind::Session };
                let token = Token { name: "session".to_owned(), kind, expires: Some(expires), ..new_token(&name, now) };
                let session = Session {
                    user: info(known, account),
                    token: Some(secret),
                    csrf,
                    expires: Some(shown(expires)),
                    scope: token.scope.clone(),
                };
                let edits = beyond.chain([Edit::Token(hash, Some(token))]).collect();
                Ok((edits, session))
            })
            .await
    }

    /// What the token of a request is: whose, until when.
    ///
    /// # Errors
    /// It has ended meanwhile.
    pub fn session(&self, user: &User) -> Result<Session, AccessError> {
        self.directory.read(|known| {
            let token = user.token.and_then(|hash| known.tokens.get(&hash));
            let expires = token.and_then(|token| token.expires).map(shown);
            let user_info = info(known, known.account(&user.name)?);
            Ok(Session { user: user_info, token: None, csrf: None, expires, scope: user.scope.clone() })
        })
    }

    /// Ends the session of a request. A token that is no session stays: it is revoked by its id.
    ///
    /// # Errors
    /// The store failed.
    pub async fn logout(&self, user: &User) -> Result<(), AccessError> {
        let own = user.token;
        self.directory
            .change(move |known, _| {
                let found = own.filter(|hash| known.tokens.get(hash).is_some_and(|token| token.kind != Kind::Api));
                Ok((found.into_iter().map(|hash| Edit::Token(hash, None)).collect(), ()))
            })
            .await
    }

    /// Gives a user another password, and ends all their sessions but the one of this request.
    ///
    /// # Errors
    /// It does not fit, or the old one is wrong.
    pub async fn set_password(&self, by: &User, name: &str, new: NewPassword, from: IpAddr) -> Result<(), AccessError> {
        let kept = self.directory.read(|known| known.account(name).map(|account| account.password.clone()))?;
        // Who has found an open session is not to take the account over. An administrator may, of others.
        let own = by.name == name;
        if own && kept.is_some() {
            self.lockout.begin(&self.seam, name, from).map_err(AccessError::TooOften)?;
            let old = new.old.unwrap_or_default();
            if !self.passwords.verify(kept.as_deref(), &old).await? {
                return Err(AccessError::BadLogin);
            }
            self.lockout.succeeded(name, from);
        }
        let hash = self.hash(name, &new.new).await?;
        let (name, this) = (name.to_owned(), by.token.filter(|_| own));
        self.directory
            .change(move |known, _| {
                let mut account = known.account(&name)?.clone();
                account.password = Some(hash);
                let mut edits = known.ended(&name, false, this.as_ref());
                edits.push(Edit::Account(account));
                Ok((edits, ()))
            })
            .await
    }
}

/// What a page sends beside its cookie, which other sites can neither read nor make.
#[must_use]
pub fn csrf(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(token::hash(&format!("csrf|{secret}")))
}
