//! Who may use the API: tokens, and the user each of them stands for.
//!
//! A token is shown once, when it is made. The store keeps its SHA-256 only, which is enough: a token
//! has 256 random bits, so there is nothing to guess.

pub mod token;

use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize};

use crate::{
    files::{self, SECRET},
    seam::{Millis, Seam},
    store::{Backend, Batch, StoreError, layout},
};

/// Somebody who has shown a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name events carry.
    pub name: String,
    /// May do everything.
    pub admin: bool,
}

/// Why tokens cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The store does not answer.
    #[error("cannot look up API tokens")]
    Store(#[from] StoreError),
    /// The record of a token is not readable.
    #[error("the record of an API token is damaged")]
    Damaged(#[source] serde_json::Error),
    /// The administrator's token cannot be kept.
    #[error("cannot access {path}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct Entry {
    user: String,
    admin: bool,
    created: Millis,
}

/// The API tokens. Clones share what they know.
#[derive(Debug, Clone)]
pub struct Tokens {
    store: Arc<dyn Backend>,
    seam: Seam,
    /// Users by the hash of their token, of those who have come before: the store is asked once. It would let a
    /// reader wait for the commit that is under way, and every request comes by here. Nothing takes a token away yet;
    /// what will has to take it from here as well.
    known: Arc<RwLock<HashMap<[u8; 32], User>>>,
}

impl Tokens {
    /// Those in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Backend>, seam: Seam) -> Self {
        Tokens { store, seam, known: Arc::default() }
    }

    /// Makes a token of a user. This is the only time it can be seen.
    ///
    /// # Errors
    /// The store does not take it.
    pub async fn create(&self, user: &str, admin: bool) -> Result<String, AccessError> {
        let token = token::api_token(&self.seam);
        let entry = Entry { user: user.to_owned(), admin, created: self.seam.now() };
        let value = serde_json::to_vec(&entry).map_err(AccessError::Damaged)?;
        let writes = vec![(layout::token(&token::hash(&token)), Some(value))];
        self.store.append(Batch { expect: Vec::new(), writes }).await?;
        Ok(token)
    }

    /// Whose token it is; none if it is not one.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn user(&self, token: &str) -> Result<Option<User>, AccessError> {
        if !token.starts_with(token::PREFIX) {
            return Ok(None);
        }
        // Found by its hash: how long that takes says nothing about tokens that exist.
        let hash = token::hash(token);
        if let Some(user) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&hash) {
            return Ok(Some(user.clone()));
        }
        let Some(value) = self.store.get(&layout::token(&hash)).await? else { return Ok(None) };
        let entry: Entry = serde_json::from_slice(&value).map_err(AccessError::Damaged)?;
        let user = User { name: entry.user, admin: entry.admin };
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(hash, user.clone());
        Ok(Some(user))
    }

    /// The token in `<data>/admin-token`; made anew if there is none or the store does not know it.
    ///
    /// # Errors
    /// The file or the store cannot be used.
    pub async fn admin(&self, data: &Path) -> Result<String, AccessError> {
        let path = data.join("admin-token");
        let failed = |source| AccessError::Io { path: path.display().to_string(), source };
        if let Some(bytes) = files::read_optional(&path).map_err(failed)? {
            let token = String::from_utf8_lossy(&bytes).trim().to_owned();
            if self.user(&token).await?.is_some() {
                return Ok(token);
            }
        }
        let token = self.create("admin", true).await?;
        files::write_atomic(&path, format!("{token}\n").as_bytes(), SECRET).map_err(failed)?;
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryBackend;

    #[tokio::test]
    async fn a_token_opens_the_door_and_only_its_hash_is_kept() {
        let store = Arc::new(MemoryBackend::new());
        let tokens = Tokens::new(Arc::clone(&store) as Arc<dyn Backend>, Seam::real());
        let token = tokens.create("ann", false).await.expect("made");
        let ann = User { name: "ann".to_owned(), admin: false };
        assert_eq!(tokens.user(&token).await.expect("answers"), Some(ann));
        for wrong in ["", "slip_", &token[..token.len() - 1], &token.to_uppercase()] {
            assert_eq!(tokens.user(wrong).await.expect("answers"), None, "{wrong}");
        }
        let kept = store.scan(layout::TOKENS, None, 10).await.expect("answers");
        assert_eq!(kept.len(), 1);
        let kept = format!(
            "{:?}",
            kept.iter().map(|(k, v)| (String::from_utf8_lossy(k), String::from_utf8_lossy(v))).collect::<Vec<_>>()
        );
        assert!(!kept.contains(token.trim_start_matches(token::PREFIX)));
    }

    #[tokio::test]
    async fn the_administrators_token_survives_a_restart_but_not_the_loss_of_the_store() {
        let data = tempfile::tempdir().expect("a folder");
        let tokens = Tokens::new(Arc::new(MemoryBackend::new()), Seam::real());
        let first = tokens.admin(data.path()).await.expect("made");
        assert_eq!(tokens.admin(data.path()).await.expect("kept"), first);
        let anew = Tokens::new(Arc::new(MemoryBackend::new()), Seam::real());
        let second = anew.admin(data.path()).await.expect("made");
        assert_ne!(first, second);
        assert!(anew.user(&second).await.expect("answers").is_some_and(|user| user.admin));
    }
}
