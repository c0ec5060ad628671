//! `slipstream share` and `slipstream run share`: who may do what with modules and runs.

use clap::Args;
use slipstream_shared::{
    api::{ShareRequest, SharingInfo},
    sharing::{Grants, Rights},
};

use crate::{args::assignment, context::Context, exit::Exit, table::Table};

/// Shows or changes who may do what with a module: read, launch, edit, delete, manage, all, nothing
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  slipstream share apps/lamp\n  \
    slipstream share apps/lamp --group devs=read,launch --everyone read\n  \
    slipstream share apps/lamp --runs --group ops=all     runs that are launched from now on\n  \
    slipstream share apps/lamp --group devs=nothing")]
pub(crate) struct Command {
    /// The module; what is saved below a project begins with what the project has
    path: String,
    #[command(flatten)]
    grants: Granted,
    /// Says it of runs that are launched from the module, instead of the module
    #[arg(long)]
    runs: bool,
    /// Gives the module to another owner; for administrators
    #[arg(long, value_name = "USER", conflicts_with = "runs")]
    owner: Option<String>,
}

/// What is granted to others than the owner.
#[derive(Debug, Args)]
pub(crate) struct Granted {
    /// Lets the members of a group do that; `nothing` takes it back. May be repeated
    #[arg(long = "group", value_name = "GROUP=RIGHTS", value_parser = group)]
    groups: Vec<(String, Rights)>,
    /// Lets everyone do that who has an account
    #[arg(long, value_name = "RIGHTS")]
    everyone: Option<Rights>,
}

fn group(text: &str) -> Result<(String, Rights), String> {
    let (group, rights) = assignment(text)?;
    Ok((group, rights.parse()?))
}

impl Granted {
    fn request(self) -> ShareRequest {
        ShareRequest { groups: self.groups.into_iter().collect(), everyone: self.everyone, ..ShareRequest::default() }
    }
}

pub(crate) async fn of_module(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let client = context.client()?;
    let change = ShareRequest { owner: command.owner, of_runs: command.runs, ..command.grants.request() };
    let nothing = ShareRequest { of_runs: command.runs, ..ShareRequest::default() };
    let sharing = match change == nothing {
        true => client.module_sharing(&command.path).await?,
        false => client.share_module(&command.path, &change).await?,
    };
    show(context, &sharing)
}

pub(crate) async fn of_run(context: &Context, run: &str, granted: Granted) -> anyhow::Result<Exit> {
    let client = context.client()?;
    let change = granted.request();
    let sharing = match change == ShareRequest::default() {
        true => client.run_sharing(run).await?,
        false => client.share_run(run, &change).await?,
    };
    show(context, &sharing)
}

fn show(context: &Context, sharing: &SharingInfo) -> anyhow::Result<Exit> {
    if context.screen.is_json() {
        context.screen.json(sharing)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["WHO", "MAY", "OF ITS RUNS"]);
    let of_runs = |rights: Option<&Rights>| match (&sharing.runs, rights) {
        (Some(_), Some(rights)) => rights.to_string(),
        (Some(_), None) => "nothing".to_owned(),
        (None, _) => String::new(),
    };
    let none = Grants::default();
    let runs = sharing.runs.as_ref().unwrap_or(&none);
    table.row([format!("owner {}", sharing.owner).into(), Rights::ALL.to_string().into(), "".into()]);
    let mut groups: Vec<&String> = sharing.grants.groups.keys().chain(runs.groups.keys()).collect();
    groups.sort();
    groups.dedup();
    for group in groups {
        let rights = sharing.grants.groups.get(group).copied().unwrap_or_default();
        table.row([format!("group {group}").into(), rights.to_string().into(), of_runs(runs.groups.get(group)).into()]);
    }
    table.row(["everyone".into(), sharing.grants.everyone.to_string().into(), of_runs(Some(&runs.everyone)).into()]);
    context.screen.table(&table, "")?;
    Ok(Exit::Done)
}
