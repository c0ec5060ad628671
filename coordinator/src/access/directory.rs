//! All users, groups and tokens, in memory and in the store.
//!
//! They are few and asked for with every request, so they are kept in memory: a revoked token is refused from the
//! moment its revocation is answered. The store is written first. One coordinator owns them; several would have
//! to tell each other.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use slipstream_shared::api::Scope;

use super::{AccessError, User, token};
use crate::{
    seam::{Millis, Seam},
    store::{Backend, Batch, layout},
};

/// Entries read from the store at once.
const PAGE: usize = 500;

/// What is kept of a user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) full_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<String>,
    #[serde(default)]
    pub(super) admin: bool,
    #[serde(default)]
    pub(super) disabled: bool,
    /// Nobody has that name any more, and nobody will: modules, runs and events still carry it.
    #[serde(default)]
    pub(super) deleted: bool,
    /// A hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ssh_keys: Vec<String>,
    pub(super) created: Millis,
}

/// What is kept of a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) name: String,
    #[serde(default)]
    pub(super) members: BTreeSet<String>,
    #[serde(default)]
    pub(super) managers: BTreeSet<String>,
    /// Nobody belongs to it, and the name is not given again: what was shared with it would be theirs.
    #[serde(default)]
    pub(super) deleted: bool,
    pub(super) created: Millis,
}

impl Group {
    pub(super) fn has(&self, user: &str) -> bool {
        self.members.contains(user) || self.managers.contains(user)
    }
}

/// What a token is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// For programs, until it is revoked or its time is over.
    #[default]
    Api,
    /// What a program got for a password.
    Session,
    /// What a browser keeps as a cookie; good in no other way.
    Page,
}

/// What is kept of a token. Records of the first version have only `user`, `admin` and `created`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Token {
    pub(super) user: String,
    /// Only in records of the first version: what their user may do then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) admin: bool,
    pub(super) created: Millis,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(default)]
    pub(super) kind: Kind,
    #[serde(default)]
    pub(super) scope: Scope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<Millis>,
}

impl Token {
    pub(super) fn is_good(&self, now: Millis) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// SHA-256 of a token's secret.
pub(super) type Hash = [u8; 32];

/// The state.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) accounts: BTreeMap<String, Account>,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) tokens: HashMap<Hash, Token>,
}

/// A change of it.
pub(super) enum Edit {
    Account(Account),
    Group(Group),
    Token(Hash, Option<Token>),
}

impl Known {
    /// The user, if there is one of that name.
    pub(super) fn account(&self, name: &str) -> Result<&Account, AccessError> {
        let found = self.accounts.get(name).filter(|account| !account.deleted);
        found.ok_or_else(|| AccessError::NoUser(name.to_owned()))
    }

    pub(super) fn group(&self, name: &str) -> Result<&Group, AccessError> {
        let found = self.groups.get(name).filter(|group| !group.deleted);
        found.ok_or_else(|| AccessError::NoGroup(name.to_owned()))
    }

    /// The groups a user belongs to.
    pub(super) fn groups_of(&self, name: &str) -> BTreeSet<String> {
        let of = self.groups.values().filter(|group| !group.deleted && group.has(name));
        of.map(|group| group.name.clone()).collect()
    }

    /// Who shows this token, if it is good for that.
    pub(super) fn user(&self, hash: &Hash, page: bool, now: Millis) -> Option<User> {
        let token = self.tokens.get(hash).filter(|token| token.is_good(now) && (token.kind == Kind::Page) == page)?;
        let account = self.account(&token.user).ok().filter(|account| !account.disabled)?;
        Some(User {
            name: account.name.clone(),
            admin: account.admin,
            groups: self.groups_of(&account.name),
            scope: token.scope.clone(),
            token: Some(*hash),
        })
    }

    /// Ends what lets a user in: sessions, and with `all` the other tokens as well. `but` stays.
    pub(super) fn ended(&self, user: &str, all: bool, but: Option<&Hash>) -> Vec<Edit> {
        let ends =
            |hash: &Hash, token: &Token| token.user == user && but != Some(hash) && (all || token.kind != Kind::Api);
        let ended = self.tokens.iter().filter(|(hash, token)| ends(hash, token));
        ended.map(|(hash, _)| Edit::Token(*hash, None)).collect()
    }

    fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::Account(account) => drop(self.accounts.insert(account.name.clone(), account)),
            Edit::Group(group) => drop(self.groups.insert(group.name.clone(), group)),
            Edit::Token(hash, Some(token)) => drop(self.tokens.insert(hash, token)),
            Edit::Token(hash, None) => drop(self.tokens.remove(&hash)),
        }
    }
}

/// The state with its store.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    store: Arc<dyn Backend>,
    seam: Seam,
    known: Arc<RwLock<Known>>,
    /// One change after the other, each from its decision until it is durable.
    changing: Arc<tokio::sync::Mutex<()>>,
}

impl Directory {
    /// Reads the store.
    pub(super) async fn open(store: Arc<dyn Backend>, seam: Seam) -> Result<Self, AccessError> {
        let mut known = Known::default();
        for (_, account) in scan::<Account>(&*store, layout::USERS).await? {
            known.accounts.insert(account.name.clone(), account);
        }
        for (_, group) in scan::<Group>(&*store, layout::GROUPS).await? {
            known.groups.insert(group.name.clone(), group);
        }
        for (key, token) in scan::<Token>(&*store, layout::TOKENS).await? {
            known.tokens.insert(layout::parse_token(&key).ok_or(AccessError::Damaged("token"))?, token);
        }
        let directory = Directory { store, seam, known: Arc::new(RwLock::new(known)), changing: Arc::default() };
        directory.mend().await?;
        Ok(directory)
    }

    /// Makes users of those whom only tokens of the first version know, and forgets tokens whose time is over.
    async fn mend(&self) -> Result<(), AccessError> {
        self.change(|known, now| {
            let mut edits = Vec::new();
            for (hash, token) in &known.tokens {
                if !token.is_good(now) {
                    edits.push(Edit::Token(*hash, None));
                } else if !known.accounts.contains_key(&token.user) {
                    let (name, admin) = (token.user.clone(), token.admin);
                    edits.push(Edit::Account(Account { name, admin, created: token.created, ..Account::default() }));
                }
            }
            Ok((edits, ()))
        })
        .await
    }

    /// Looks at the state.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state: durable when this returns, and whole even if the caller goes away meanwhile.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&Known, Millis) -> Result<(Vec<Edit>, T), AccessError> + Send,
    ) -> Result<T, AccessError> {
        let alone = Arc::clone(&self.changing).lock_owned().await;
        let (edits, answer) = self.read(|known| decide(known, self.seam.now()))?;
        if edits.is_empty() {
            return Ok(answer);
        }
        let writes = edits.iter().map(write).collect::<Result<Vec<_>, _>>()?;
        let (store, known) = (Arc::clone(&self.store), Arc::clone(&self.known));
        let written = self.seam.spawn(async move {
            let _alone = alone;
            store.append(Batch { expect: Vec::new(), writes }).await?;
            let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
            edits.into_iter().for_each(|edit| known.apply(edit));
            Ok::<(), AccessError>(())
        });
        written.await.map_err(|_| AccessError::Busy)??;
        Ok(answer)
    }

    /// A new token, and what is kept of it.
    pub(super) fn draw(&self) -> (String, Hash) {
        let secret = token::api_token(&self.seam);
        let hash = token::hash(&secret);
        (secret, hash)
    }
}

type Write = (Vec<u8>, Option<Vec<u8>>);

fn write(edit: &Edit) -> Result<Write, AccessError> {
    let json = |value: serde_json::Result<Vec<u8>>| value.map_err(|_| AccessError::Damaged("user"));
    Ok(match edit {
        Edit::Account(account) => (layout::user(&account.name), Some(json(serde_json::to_vec(account))?)),
        Edit::Group(group) => (layout::group(&group.name), Some(json(serde_json::to_vec(group))?)),
        Edit::Token(hash, token) => {
            let value = token.as_ref().map(|token| json(serde_json::to_vec(token))).transpose()?;
            (layout::token(hash), value)
        }
    })
}

async fn scan<T: DeserializeOwned>(store: &dyn Backend, prefix: &[u8]) -> Result<Vec<(Vec<u8>, T)>, AccessError> {
    let what = std::str::from_utf8(prefix).unwrap_or_default().trim_end_matches('/');
    let mut all = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = store.scan(prefix, after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(all) };
        after = Some(last.clone());
        for (key, value) in page {
            let value = serde_json::from_slice(&value).map_err(|_| {
                AccessError::Damaged(match what {
                    "user" => "user",
                    "group" => "group",
                    _ => "token",
                })
            })?;
            all.push((key, value));
        }
    }
}
