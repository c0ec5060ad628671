//! `slipstream group`: users that share modules and runs.

use clap::Subcommand;
use slipstream_shared::api::{ChangeGroup, GroupInfo, NewGroup, Page};

use crate::{context::Context, exit::Exit, table::Table};

/// Makes, changes and lists groups of users
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes a group; for administrators
    #[command(after_help = "Example:\n  slipstream group add devs --manager ann --member bob --member eve")]
    Add {
        /// Its name; it is not given again
        name: String,
        #[command(flatten)]
        who: Who,
    },
    /// Changes who belongs to a group; for its managers
    #[command(after_help = "Example:\n  slipstream group change devs --member bob --remove eve")]
    Change {
        /// The group
        name: String,
        #[command(flatten)]
        who: Who,
        /// Belongs to it no more; may be repeated
        #[arg(long, value_name = "USER")]
        remove: Vec<String>,
    },
    /// Lists the groups you belong to; administrators see all
    #[command(after_help = "Example:\n  slipstream group list")]
    List,
    /// Deletes a group; for administrators. What was shared with it is shared with nobody then
    #[command(after_help = "Example:\n  slipstream group delete devs")]
    Delete {
        /// The group
        name: String,
    },
}

/// Who belongs to a group.
#[derive(Debug, clap::Args)]
pub(crate) struct Who {
    /// Belongs to it; may be repeated
    #[arg(long, value_name = "USER")]
    member: Vec<String>,
    /// Says who belongs to it; may be repeated
    #[arg(long, value_name = "USER")]
    manager: Vec<String>,
}

pub(crate) async fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let client = context.client()?;
    let groups = match command {
        Command::List => client.groups().await?,
        Command::Add { name, who } => {
            vec![client.add_group(&NewGroup { name, members: who.member, managers: who.manager }).await?]
        }
        Command::Change { name, who, remove } => {
            let change = ChangeGroup { members: who.member, managers: who.manager, remove };
            vec![client.change_group(&name, &change).await?]
        }
        Command::Delete { name } => {
            client.delete_group(&name).await?;
            context.screen.message(&format!("{name} is deleted."));
            return Ok(Exit::Done);
        }
    };
    show(context, groups)
}

fn show(context: &Context, groups: Vec<GroupInfo>) -> anyhow::Result<Exit> {
    if context.screen.is_json() {
        context.screen.json(&Page { items: groups, next: None })?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["GROUP", "MEMBERS", "MANAGERS"]);
    for group in &groups {
        table.row([(&group.name).into(), group.members.join(" ").into(), group.managers.join(" ").into()]);
    }
    context.screen.table(&table, "You belong to no group.")?;
    Ok(Exit::Done)
}
