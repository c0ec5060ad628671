//! `slipstream ssh-key`: public keys that are let in to the machines of one's runs.

use std::path::PathBuf;

use clap::Subcommand;
use slipstream_shared::api::{SshKeyInfo, UserInfo};

use crate::{args::from_file, context::Context, exit::Exit, table::Table};

/// Adds and lists public keys that are let in to the machines of the runs you launch
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Adds the public keys of a file, for runs that are launched from now on
    #[command(after_help = "Example:\n  slipstream ssh-key add ~/.ssh/id_ed25519.pub")]
    Add {
        /// The file, or `-`: a public key in each line
        file: PathBuf,
    },
    /// Lists your public keys
    #[command(after_help = "Example:\n  slipstream ssh-key list")]
    List,
    /// Takes a public key away; machines that run already keep it
    #[command(after_help = "Example:\n  slipstream ssh-key remove 1f0c5b7de8a94b32")]
    Remove {
        /// Its id
        id: String,
    },
}

pub(crate) async fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let client = context.client()?;
    let mut user: UserInfo = client.session().await?.user;
    match command {
        Command::List => {}
        Command::Add { file } => {
            let text = from_file(&file)?;
            for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
                user = client.add_ssh_key(&user.name, line).await?;
            }
        }
        Command::Remove { id } => user = client.remove_ssh_key(&user.name, &id).await?,
    }
    show(context, &user.ssh_keys)
}

fn show(context: &Context, keys: &[SshKeyInfo]) -> anyhow::Result<Exit> {
    if context.screen.is_json() {
        context.screen.json(&keys)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["KEY", "TYPE", "COMMENT"]);
    for key in keys {
        let mut words = key.key.splitn(3, ' ');
        let (kind, comment) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        table.row([(&key.id).into(), kind.into(), comment.into()]);
    }
    context.screen.table(&table, "No keys; add one with: slipstream ssh-key add FILE")?;
    Ok(Exit::Done)
}
