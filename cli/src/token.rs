//! `slipstream token`: API tokens for programs.

use clap::{Subcommand, ValueEnum};
use slipstream_shared::{
    api::{Allows, NewToken, Page, Scope, TokenInfo},
    module::units,
};

use crate::{context::Context, exit::Exit, table::Table};

/// Makes, lists and revokes API tokens
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes a token and prints it, this once
    #[command(after_help = "Examples:\n  slipstream token add laptop\n  \
        slipstream token add pipeline --allows launch --project apps/lamp --for 90d >token")]
    Add {
        /// What it is for, to know it by
        name: String,
        /// What it allows of what its user may do
        #[arg(long, value_enum, default_value_t)]
        allows: What,
        /// Only with this run
        #[arg(long, value_name = "RUN")]
        run: Option<String>,
        /// Only with this module, those below it, and their runs
        #[arg(long, value_name = "PATH")]
        project: Option<String>,
        /// For how long; else until it is revoked
        #[arg(long = "for", value_name = "TIME", value_parser = units::duration)]
        seconds: Option<u64>,
        /// Of somebody else; for administrators
        #[arg(long)]
        user: Option<String>,
    },
    /// Lists your tokens and sessions; their secrets are shown nowhere
    #[command(after_help = "Example:\n  slipstream token list")]
    List {
        /// Of somebody else; for administrators
        #[arg(long)]
        user: Option<String>,
    },
    /// Revokes tokens or ends sessions, at once
    #[command(after_help = "Example:\n  slipstream token revoke 1f0c5b7de8a94b32")]
    Revoke {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// What a token allows.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum What {
    // No doc comments: they would make the --help long.
    Read,
    Launch,
    #[default]
    Everything,
}

pub(crate) async fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let client = context.client()?;
    match command {
        Command::Add { name, allows, run, project, seconds, user } => {
            let allows = match allows {
                What::Read => Allows::Read,
                What::Launch => Allows::Launch,
                What::Everything => Allows::Everything,
            };
            let run = match run {
                Some(run) => Some(client.run(&run).await?.summary.id),
                None => None,
            };
            let scope = Scope { allows, run, project };
            let made = client.add_token(&NewToken { name, user, scope, seconds }).await?;
            if context.screen.is_json() {
                context.screen.json(&made)?;
            } else {
                context.screen.message(&format!("Token {}; it is shown this once:", made.info.id));
                context.screen.line(&made.token)?;
            }
        }
        Command::List { user } => list(context, client.tokens(user.as_deref()).await?)?,
        Command::Revoke { ids } => {
            for id in ids {
                client.revoke_token(&id).await?;
                context.screen.message(&format!("{id} is not good any more."));
            }
        }
    }
    Ok(Exit::Done)
}

fn list(context: &Context, tokens: Vec<TokenInfo>) -> anyhow::Result<()> {
    if context.screen.is_json() {
        context.screen.json(&Page { items: tokens, next: None })?;
        return Ok(());
    }
    let mut table = Table::new(&["TOKEN", "NAME", "ALLOWS", "ONLY", "SINCE", "UNTIL"]);
    for token in &tokens {
        let allows = match token.scope.allows {
            Allows::Read => "read",
            Allows::Launch => "launch",
            Allows::Everything => "everything",
        };
        let run = token.scope.run.as_ref().map(|run| format!("run {}", run.short()));
        let only = run.into_iter().chain(token.scope.project.clone()).collect::<Vec<_>>().join(", ");
        table.row([
            (&token.id).into(),
            (&token.name).into(),
            allows.into(),
            only.into(),
            format!("{:.0}", token.created).into(),
            token.expires.map(|end| format!("{end:.0}")).unwrap_or_default().into(),
        ]);
    }
    context.screen.table(&table, "No tokens.")?;
    Ok(())
}
