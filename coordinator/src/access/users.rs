//! Users: making them, changing them, their keys for ssh.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use slipstream_shared::{
    api::{ChangeUser, NewUser, SshKeyInfo, UserInfo},
    ssh_key,
};

use super::{
    Access, AccessError, FIRST, User,
    directory::{Account, Edit, Known},
    password, token,
};
use crate::{pki::hex, run::view::timestamp, seam::Millis};

/// The longest name of a user or group.
const LONGEST_NAME: usize = 32;

/// The longest full name or address of mail, in bytes.
const LONGEST_WORDS: usize = 256;

/// A user as they are when they are made, with what only files may say.
#[derive(Default)]
pub struct First {
    /// What is asked for.
    pub user: NewUser,
    /// A hash made elsewhere, instead of a password.
    pub hash: Option<String>,
    /// Lines of an `authorized_keys` file.
    pub ssh_keys: Vec<String>,
}

impl Access {
    /// Makes a user.
    ///
    /// # Errors
    /// The name is or was somebody's, or something does not fit.
    pub async fn add_user(&self, first: First) -> Result<UserInfo, AccessError> {
        let First { user, hash, ssh_keys } = first;
        check_name(&user.name)?;
        ssh_key::check_all(&ssh_keys).map_err(|why| AccessError::Invalid(why.to_string()))?;
        let password = match (&user.password, hash) {
            (Some(password), None) => Some(self.hash(&user.name, password).await?),
            (None, Some(hash)) => {
                password::check(&hash).map_err(|why| AccessError::Invalid(format!("the password hash: {why}")))?;
                Some(hash.trim().to_owned())
            }
            (None, None) => None,
            (Some(_), Some(_)) => return Err(AccessError::Invalid("give a password or its hash, not both".to_owned())),
        };
        let (full_name, email) = (words("full_name", user.full_name)?, words("email", user.email)?);
        self.directory
            .change(move |known, created| {
                if known.accounts.contains_key(&user.name) {
                    return Err(AccessError::Taken(user.name));
                }
                let (name, admin) = (user.name, user.admin);
                let account =
                    Account { name, full_name, email, admin, password, ssh_keys, created, ..Account::default() };
                let info = info(known, &account);
                Ok((vec![Edit::Account(account)], info))
            })
            .await
    }

    /// Whether the name is or was somebody's.
    #[must_use]
    pub fn was_user(&self, name: &str) -> bool {
        self.directory.read(|known| known.accounts.contains_key(name))
    }

    /// A user, to whom may know of them: themselves, and administrators.
    ///
    /// # Errors
    /// There is no such user.
    pub fn show_user(&self, name: &str) -> Result<UserInfo, AccessError> {
        self.directory.read(|known| Ok(info(known, known.account(name)?)))
    }

    /// The users that somebody may know of, by name.
    #[must_use]
    pub fn users(&self, asker: &User) -> Vec<UserInfo> {
        self.directory.read(|known| {
            let seen = known.accounts.values().filter(|a| !a.deleted && (asker.admin || a.name == asker.name));
            seen.map(|account| info(known, account)).collect()
        })
    }

    /// Changes what is given.
    ///
    /// # Errors
    /// There is no such user, or something does not fit.
    pub async fn change_user(&self, by: &User, name: &str, change: ChangeUser) -> Result<UserInfo, AccessError> {
        if !by.admin && (change.admin.is_some() || change.disabled.is_some()) {
            return Err(AccessError::Denied("only an administrator says who is one, and who is disabled".to_owned()));
        }
        if name == FIRST && (change.admin == Some(false) || change.disabled == Some(true)) {
            return Err(AccessError::Denied(format!(
                "`{FIRST}` is whoever can read the coordinator's data folder, and stays an administrator"
            )));
        }
        let given = |field, value: Option<String>| value.map(|value| words(field, Some(value))).transpose();
        let (full_name, email) = (given("full_name", change.full_name)?, given("email", change.email)?);
        self.edit_account(name, move |account| {
            account.full_name = full_name.unwrap_or(account.full_name.take());
            account.email = email.unwrap_or(account.email.take());
            account.admin = change.admin.unwrap_or(account.admin);
            account.disabled = change.disabled.unwrap_or(account.disabled);
            Ok(())
        })
        .await
    }

    /// Deletes a user: nobody can log in as them, and their name is not given again. What is theirs stays.
    ///
    /// # Errors
    /// There is no such user, or it is the first administrator.
    pub async fn delete_user(&self, name: &str) -> Result<(), AccessError> {
        if name == FIRST {
            let why = format!("`{FIRST}` is whoever can read the coordinator's data folder, and cannot be deleted");
            return Err(AccessError::Denied(why));
        }
        let name = name.to_owned();
        self.directory
            .change(move |known, _| {
                let account = known.account(&name)?;
                let created = account.created;
                let mut edits = known.ended(&name, true, None);
                for group in known.groups.values().filter(|group| group.has(&name)) {
                    let mut group = group.clone();
                    group.members.remove(&name);
                    group.managers.remove(&name);
                    edits.push(Edit::Group(group));
                }
                edits.push(Edit::Account(Account { name, created, deleted: true, ..Account::default() }));
                Ok((edits, ()))
            })
            .await
    }

    /// Adds a public key for ssh. The same key again changes nothing.
    ///
    /// # Errors
    /// There is no such user, or it is no key, or one too many.
    pub async fn add_ssh_key(&self, name: &str, key: &str) -> Result<UserInfo, AccessError> {
        let key = key.trim().to_owned();
        self.edit_account(name, move |account| {
            let known = account.ssh_keys.iter().any(|other| key_id(other) == key_id(&key));
            account.ssh_keys.extend((!known).then_some(key));
            ssh_key::check_all(&account.ssh_keys).map_err(|why| AccessError::Invalid(why.to_string()))
        })
        .await
    }

    /// Takes a public key for ssh away; one that is not there is a success.
    ///
    /// # Errors
    /// There is no such user.
    pub async fn remove_ssh_key(&self, name: &str, id: &str) -> Result<UserInfo, AccessError> {
        let id = id.to_owned();
        self.edit_account(name, move |account| {
            account.ssh_keys.retain(|key| key_id(key) != id);
            Ok(())
        })
        .await
    }

    /// The public keys of a user.
    #[must_use]
    pub fn ssh_keys(&self, name: &str) -> Vec<String> {
        self.directory.read(|known| known.account(name).map(|account| account.ssh_keys.clone()).unwrap_or_default())
    }

    pub(super) async fn edit_account(
        &self,
        name: &str,
        edit: impl FnOnce(&mut Account) -> Result<(), AccessError> + Send,
    ) -> Result<UserInfo, AccessError> {
        let name = name.to_owned();
        self.directory
            .change(move |known, _| {
                let mut account = known.account(&name)?.clone();
                edit(&mut account)?;
                let info = info(known, &account);
                // Who is disabled does not come back to an open session.
                let mut edits = if account.disabled { known.ended(&name, false, None) } else { Vec::new() };
                edits.push(Edit::Account(account));
                Ok((edits, info))
            })
            .await
    }

    pub(super) async fn hash(&self, name: &str, password: &str) -> Result<String, AccessError> {
        let limits = password::LENGTHS;
        if !limits.contains(&password.len()) {
            let (least, most) = (limits.start(), limits.end());
            return Err(AccessError::Invalid(format!("a password has {least} to {most} bytes")));
        }
        if password == name {
            return Err(AccessError::Invalid("the password is the name: choose another".to_owned()));
        }
        self.passwords.hash(&self.seam, password).await
    }
}

/// The rule for names of users and groups.
pub(super) fn check_name(name: &str) -> Result<(), AccessError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if name.len() <= LONGEST_NAME && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(fits) {
        return Ok(());
    }
    let rule = format!("lower-case letters, digits, `.`, `_` and `-`, at most {LONGEST_NAME}, the first one a letter");
    Err(AccessError::Invalid(format!("`{}` is no name: it has {rule}", name.escape_debug())))
}

/// Free words about somebody; empty is none.
fn words(field: &str, text: Option<String>) -> Result<Option<String>, AccessError> {
    let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    if text.as_ref().is_some_and(|text| text.len() > LONGEST_WORDS || text.chars().any(char::is_control)) {
        let rule = format!("`{field}` has at most {LONGEST_WORDS} bytes, on one line");
        return Err(AccessError::Invalid(rule));
    }
    Ok(text)
}

pub(super) fn info(known: &Known, account: &Account) -> UserInfo {
    let keys = account.ssh_keys.iter().map(|key| SshKeyInfo { id: key_id(key), key: key.clone() });
    UserInfo {
        name: account.name.clone(),
        full_name: account.full_name.clone(),
        email: account.email.clone(),
        admin: account.admin,
        disabled: account.disabled,
        password: account.password.is_some(),
        groups: known.groups_of(&account.name).into_iter().collect(),
        ssh_keys: keys.collect(),
        created: shown(account.created),
    }
}

/// The same for the same key, whatever its comment.
fn key_id(line: &str) -> String {
    let blob = line.split(' ').nth(1).and_then(|key| STANDARD.decode(key).ok()).unwrap_or_default();
    hex(&token::hash_bytes(&blob)[..8])
}

pub(super) fn shown(at: Millis) -> jiff::Timestamp {
    timestamp(at)
}
