//! API tokens: made, listed, revoked.

use slipstream_shared::api::{MadeToken, NewToken, TokenInfo};

use super::{
    Access, AccessError, User,
    directory::{Edit, Hash, Kind, Token},
    new_token,
    users::shown,
};
use crate::{pki::hex, seam::Millis};

/// The most tokens of a user, sessions included.
const MOST: usize = 200;

/// The longest name of a token, in bytes.
const LONGEST_NAME: usize = 100;

/// The longest life of a token with an end, in seconds: ten years.
const LONGEST: u64 = 10 * 365 * 24 * 3600;

impl Access {
    /// Makes a token. This is the only time it can be seen.
    ///
    /// # Errors
    /// Something does not fit, there are too many, or it is to be somebody else's.
    pub async fn add_token(&self, by: &User, new: NewToken) -> Result<MadeToken, AccessError> {
        let owner = new.user.unwrap_or_else(|| by.name.clone());
        if !by.admin && owner != by.name {
            return Err(AccessError::Denied("only an administrator makes tokens of others".to_owned()));
        }
        let name = new.name.trim().to_owned();
        if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            return Err(AccessError::Invalid(format!("a token has a name of 1 to {LONGEST_NAME} bytes, on one line")));
        }
        if new.seconds.is_some_and(|seconds| seconds == 0 || seconds > LONGEST) {
            return Err(AccessError::Invalid(format!(
                "a token lives 1 to {LONGEST} s (ten years), or until it is revoked"
            )));
        }
        let (secret, hash) = self.directory.draw();
        let (scope, seconds) = (new.scope, new.seconds);
        let info = self
            .directory
            .change(move |known, now| {
                known.account(&owner)?;
                let mut edits = Vec::new();
                let mut count = 0;
                for (hash, token) in known.tokens.iter().filter(|(_, token)| token.user == owner) {
                    if token.is_good(now) { count += 1 } else { edits.push(Edit::Token(*hash, None)) }
                }
                if count >= MOST {
                    let why = format!("`{owner}` has {MOST} tokens and sessions already; revoke some");
                    return Err(AccessError::Invalid(why));
                }
                let expires = seconds.map(|seconds| now + seconds * 1000);
                let token = Token { name, scope, expires, ..new_token(&owner, now) };
                let info = info(&hash, &token);
                edits.push(Edit::Token(hash, Some(token)));
                Ok((edits, info))
            })
            .await?;
        Ok(MadeToken { info, token: secret })
    }

    /// The tokens and sessions of somebody, oldest first.
    ///
    /// # Errors
    /// There is no such user.
    pub fn tokens(&self, user: &str) -> Result<Vec<TokenInfo>, AccessError> {
        let now = self.seam.now();
        self.directory.read(|known| {
            known.account(user)?;
            let own = known.tokens.iter().filter(|(_, token)| token.user == user && token.is_good(now));
            let mut all: Vec<TokenInfo> = own.map(|(hash, token)| info(hash, token)).collect();
            all.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
            Ok(all)
        })
    }

    /// Revokes a token: it is refused from the moment this returns.
    ///
    /// # Errors
    /// There is no such token, or it is somebody else's.
    pub async fn revoke_token(&self, by: &User, id: &str) -> Result<(), AccessError> {
        let (by, id) = (by.clone(), id.to_owned());
        self.directory
            .change(move |known, _| {
                let own = |token: &Token| by.admin || token.user == by.name;
                let found = known.tokens.iter().find(|(hash, token)| token_id(hash) == id && own(token));
                let (hash, _) = found.ok_or(AccessError::NoToken(id.clone()))?;
                Ok((vec![Edit::Token(*hash, None)], ()))
            })
            .await
    }
}

/// Part of its hash: nothing that is of use to anybody.
fn token_id(hash: &Hash) -> String {
    hex(&hash[..8])
}

pub(super) fn info(hash: &Hash, token: &Token) -> TokenInfo {
    TokenInfo {
        id: token_id(hash),
        name: token.name.clone(),
        user: token.user.clone(),
        scope: token.scope.clone(),
        created: shown(token.created),
        expires: token.expires.map(|at: Millis| shown(at)),
        session: token.kind != Kind::Api,
    }
}
