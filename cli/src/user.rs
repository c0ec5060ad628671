//! `slipstream user`: who may use the coordinator.

use std::path::PathBuf;

use clap::Subcommand;
use slipstream_shared::api::{ChangeUser, NewPassword, NewUser, Page, UserInfo};

use crate::{context::Context, exit::Exit, password, table::Table};

/// Makes, changes and lists users
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes a user; for administrators
    #[command(after_help = "Examples:\n  slipstream user add ann --full-name 'Ann Other' --email ann@example.org\n  \
        slipstream user add ci --no-password")]
    Add {
        /// Name to log in with; it is not given again
        name: String,
        /// Name of the person
        #[arg(long, value_name = "TEXT")]
        full_name: Option<String>,
        /// Where they can be written to
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        /// May do everything
        #[arg(long)]
        admin: bool,
        /// Takes the password from this file, or `-`
        #[arg(long, value_name = "FILE", conflicts_with = "no_password")]
        password_file: Option<PathBuf>,
        /// They use tokens that you make for them: slipstream token add
        #[arg(long)]
        no_password: bool,
    },
    /// Gives a user another password, your own unless you name somebody; their other sessions end
    #[command(after_help = "Examples:\n  slipstream user passwd\n  slipstream user passwd ann --password-file new.txt")]
    Passwd {
        /// The user
        name: Option<String>,
        /// Takes the new password from this file, or `-`
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Takes the old password from this file, or `-`
        #[arg(long, value_name = "FILE")]
        old_password_file: Option<PathBuf>,
    },
    /// Lists users; who is no administrator sees themselves
    #[command(after_help = "Example:\n  slipstream user list")]
    List,
    /// Changes what is given of a user
    #[command(after_help = "Example:\n  slipstream user change ann --email ann@example.net --admin true")]
    Change {
        /// The user
        name: String,
        /// Name of the person; empty takes it away
        #[arg(long, value_name = "TEXT")]
        full_name: Option<String>,
        /// Where they can be written to; empty takes it away
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        /// Whether they may do everything
        #[arg(long, value_name = "true|false")]
        admin: Option<bool>,
    },
    /// Keeps a user out: no login, no token of theirs is accepted, until they are enabled
    #[command(after_help = "Example:\n  slipstream user disable ann")]
    Disable {
        /// The user
        name: String,
    },
    /// Lets a user in again who was disabled
    #[command(after_help = "Example:\n  slipstream user enable ann")]
    Enable {
        /// The user
        name: String,
    },
    /// Deletes a user with their tokens; their modules and runs stay, and the name is not given again
    #[command(after_help = "Example:\n  slipstream user delete ann")]
    Delete {
        /// The user
        name: String,
    },
}

pub(crate) async fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let client = context.client()?;
    let disabled = |disabled| ChangeUser { disabled: Some(disabled), ..ChangeUser::default() };
    let (user, done) = match command {
        Command::List => return list(context, client.users().await?),
        Command::Add { name, full_name, email, admin, password_file, no_password } => {
            let prompt = format!("Password of {name}: ");
            let password = match no_password {
                true => None,
                false => Some(password::read_new(password_file.as_deref(), &prompt)?),
            };
            (client.add_user(&NewUser { name, full_name, email, admin, password }).await?, "is a user now")
        }
        Command::Passwd { name, password_file, old_password_file } => {
            let me = client.session().await?.user;
            let user = name.filter(|name| *name != me.name);
            let old = match (&user, me.password) {
                (None, true) => Some(password::read(old_password_file.as_deref(), "Old password: ")?),
                _ => None,
            };
            let new = password::read_new(password_file.as_deref(), "New password: ")?;
            let name = user.unwrap_or(me.name);
            client.set_password(&name, &NewPassword { old, new }).await?;
            context.screen.message(&format!("{name} has a new password; other sessions have ended."));
            return Ok(Exit::Done);
        }
        Command::Change { name, full_name, email, admin } => {
            let change = ChangeUser { full_name, email, admin, disabled: None };
            (client.change_user(&name, &change).await?, "is changed")
        }
        Command::Disable { name } => (client.change_user(&name, &disabled(true)).await?, "is kept out from now on"),
        Command::Enable { name } => (client.change_user(&name, &disabled(false)).await?, "is let in again"),
        Command::Delete { name } => {
            client.delete_user(&name).await?;
            context.screen.message(&format!("{name} is deleted."));
            return Ok(Exit::Done);
        }
    };
    if context.screen.is_json() {
        context.screen.json(&user)?;
    } else {
        context.screen.message(&format!("{} {done}.", user.name));
    }
    Ok(Exit::Done)
}

fn list(context: &Context, users: Vec<UserInfo>) -> anyhow::Result<Exit> {
    if context.screen.is_json() {
        context.screen.json(&Page { items: users, next: None })?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["USER", "NAME", "EMAIL", "GROUPS", "KEYS", "MAY"]);
    for user in &users {
        let may = match (user.disabled, user.admin, user.password) {
            (true, ..) => "nothing: disabled",
            (_, true, _) => "everything",
            (_, _, true) => "",
            (_, _, false) => "no login: no password",
        };
        table.row([
            (&user.name).into(),
            user.full_name.as_deref().unwrap_or_default().into(),
            user.email.as_deref().unwrap_or_default().into(),
            user.groups.join(" ").into(),
            if user.ssh_keys.is_empty() { String::new() } else { user.ssh_keys.len().to_string() }.into(),
            may.into(),
        ]);
    }
    context.screen.table(&table, "No users.")?;
    Ok(Exit::Done)
}
