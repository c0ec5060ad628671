//! Users, groups, tokens and sessions.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::RunId;

/// A user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UserInfo {
    /// The name to log in with; events carry it, so it is never given again.
    pub name: String,
    /// The name of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_name: Option<String>,
    /// Where they can be written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// May do everything.
    pub admin: bool,
    /// May not log in, and no token of theirs is accepted.
    pub disabled: bool,
    /// True if they can log in with a password.
    pub password: bool,
    /// The groups they belong to.
    pub groups: Vec<String>,
    /// Public keys that let them in to machines of the runs they launch.
    pub ssh_keys: Vec<SshKeyInfo>,
    /// Since when.
    #[schemars(with = "String")]
    pub created: Timestamp,
}

/// A public key for ssh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SshKeyInfo {
    /// Made of the key: the same key has the same id.
    pub id: String,
    /// The line of an `authorized_keys` file.
    pub key: String,
}

/// Adds a public key for ssh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSshKey {
    /// The line of an `authorized_keys` file, without options.
    pub key: String,
}

/// Makes a user.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The name to log in with: lower-case letters, digits, `.`, `_` and `-`, at most 32, the first one a letter.
    pub name: String,
    /// The name of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_name: Option<String>,
    /// Where they can be written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// May do everything.
    #[serde(default)]
    pub admin: bool,
    /// The password, 8 to 1024 bytes; without one they use tokens that an administrator makes for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// Changes what is given of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeUser {
    /// The name of the person; empty takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_name: Option<String>,
    /// Where they can be written to; empty takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// May do everything; only administrators may say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<bool>,
    /// May not log in, and no token of theirs is accepted; only administrators may say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// Gives a user another password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The one they have, where there is one and it is their own; administrators need none of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The new one, 8 to 1024 bytes.
    pub new: String,
}

/// Begins a session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The name of the user.
    pub user: String,
    /// Their password.
    pub password: String,
    /// For a page: the session is a cookie that scripts cannot read, and requests that change something carry
    /// `csrf` as the header `X-CSRF-Token`. Otherwise the answer has a bearer token.
    #[serde(default)]
    pub cookie: bool,
    /// How long it lasts, in seconds, at most 30 days; 12 hours unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

macro_rules! no_secrets {
    ($($name:ident shows $field:ident)*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).field(stringify!($field), &self.$field).finish_non_exhaustive()
            }
        }
    )*};
}

// Debug output ends up in logs.
no_secrets! {
    NewUser shows name
    Login shows user
    Session shows user
    MadeToken shows info
}

impl std::fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewPassword(<secret>)")
    }
}

/// A session, or the token that a request was made with.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Who.
    pub user: UserInfo,
    /// The bearer token, once, when a session for a program begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What pages send as `X-CSRF-Token`, where the session is a cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csrf: Option<String>,
    /// When it ends; absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub expires: Option<Timestamp>,
    /// What it allows.
    pub scope: Scope,
}

/// What a token allows of what its user may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Allows {
    /// To look.
    Read,
    /// To look, to launch runs, and to do everything with runs but to share them.
    Launch,
    /// All of it.
    #[default]
    Everything,
}

/// What a token is good for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// What it allows of what its user may do.
    #[serde(default)]
    pub allows: Allows,
    /// Only with this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub run: Option<RunId>,
    /// Only with this module, those below it, and their runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

impl Scope {
    /// True for a token that may do all that its user may.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Scope::default()
    }
}

/// Makes an API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for, to know it by.
    pub name: String,
    /// Whose it is: for administrators, who may make tokens of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What it is good for.
    #[serde(default)]
    pub scope: Scope,
    /// How long, in seconds; absent: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// An API token, without its secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenInfo {
    /// By which it is revoked.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// Whose it is.
    pub user: String,
    /// What it is good for.
    pub scope: Scope,
    /// Since when.
    #[schemars(with = "String")]
    pub created: Timestamp,
    /// Until when; absent: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub expires: Option<Timestamp>,
    /// True for a session, which ends when its user gets another password.
    pub session: bool,
}

/// A token that was just made. Its secret is shown this once.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MadeToken {
    /// What lists show.
    #[serde(flatten)]
    pub info: TokenInfo,
    /// The secret: goes behind `Authorization: Bearer`.
    pub token: String,
}

/// A group of users.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GroupInfo {
    /// Its name, never given again.
    pub name: String,
    /// Who belongs to it.
    pub members: Vec<String>,
    /// Who may say who belongs to it; they belong to it as well.
    pub managers: Vec<String>,
    /// Since when.
    #[schemars(with = "String")]
    pub created: Timestamp,
}

/// Makes a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGroup {
    /// Its name: lower-case letters, digits, `.`, `_` and `-`, at most 32, the first one a letter.
    pub name: String,
    /// Who belongs to it.
    #[serde(default)]
    pub members: Vec<String>,
    /// Who may say who belongs to it.
    #[serde(default)]
    pub managers: Vec<String>,
}

/// Changes who belongs to a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeGroup {
    /// Become members; a manager who is named becomes no more than that.
    #[serde(default)]
    pub members: Vec<String>,
    /// Become managers.
    #[serde(default)]
    pub managers: Vec<String>,
    /// Belong to it no more.
    #[serde(default)]
    pub remove: Vec<String>,
}
