//! `slipstream module`: definitions of images, components and applications.

mod text;

use std::path::PathBuf;

use clap::Subcommand;
use slipstream_shared::{api::Page, module::schema};

use crate::{
    context::Context,
    exit::{Exit, fail},
    source,
    table::Table,
};

/// Saves, checks and shows modules
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Saves module files as new versions, in the order they depend on each other
    #[command(after_help = "Example:\n  slipstream module put image.yaml web.yaml app.yaml")]
    Put {
        /// The files; scripts they name (`file: deploy.sh`) are taken from beside them
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Says what is wrong with module files, without a coordinator
    #[command(after_help = "Example:\n  slipstream module check *.yaml")]
    Check {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    Fmt(text::Fmt),
    Diff(text::Diff),
    /// Prints the JSON Schema of module files, for editors
    #[command(after_help = "Example:\n  slipstream module schema >module.schema.json")]
    Schema,
    /// Lists modules
    #[command(after_help = "Examples:\n  slipstream module list\n  slipstream module list apps/")]
    List {
        /// Only those whose path begins so
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Prints the file of a module
    #[command(
        after_help = "Examples:\n  slipstream module show apps/lamp\n  slipstream module show apps/lamp@3 >lamp.yaml"
    )]
    Show {
        /// The module: path, or path@version
        module: String,
    },
}

pub(crate) async fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Put { files } => put(context, &files).await,
        Command::Check { files } => check(context, &files),
        Command::Fmt(command) => text::fmt(context, &command),
        Command::Diff(command) => text::diff(context, &command).await,
        Command::Schema => {
            context.screen.json(&schema::schema())?;
            Ok(Exit::Done)
        }
        Command::List { prefix } => list(context, &prefix).await,
        Command::Show { module } => {
            let module = context.client()?.module(&module).await?;
            if context.screen.is_json() {
                context.screen.json(&module)?;
            } else {
                context.screen.raw(module.source.unwrap_or_default().as_bytes())?;
            }
            Ok(Exit::Done)
        }
    }
}

async fn put(context: &Context, files: &[PathBuf]) -> anyhow::Result<Exit> {
    let sources = files.iter().map(|file| source::read(file)).collect::<Result<Vec<_>, _>>()?;
    let client = context.client()?;
    let mut saved = Vec::new();
    for source in source::in_order(sources) {
        let module = source.put(&client).await?;
        if !context.screen.is_json() {
            context.screen.line(&format!("{}@{}", module.path, module.version))?;
        }
        saved.push(module);
    }
    if context.screen.is_json() {
        context.screen.json(&Page { items: saved, next: None })?;
    }
    Ok(Exit::Done)
}

fn check(context: &Context, files: &[PathBuf]) -> anyhow::Result<Exit> {
    let mut wrong = 0;
    for file in files {
        match source::read(file).and_then(|source| source.check()) {
            Ok(()) => context.screen.message(&format!("{} is good", file.display())),
            Err(error) => {
                wrong += 1;
                context.screen.error(&format!("{error:#}"));
            }
        }
    }
    match wrong {
        0 => Ok(Exit::Done),
        _ => Err(fail(Exit::Usage, format!("{wrong} of {} files cannot be used as they are", files.len()))),
    }
}

async fn list(context: &Context, prefix: &str) -> anyhow::Result<Exit> {
    let modules = context.client()?.modules(prefix).await?;
    if context.screen.is_json() {
        context.screen.json(&Page { items: modules, next: None })?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["MODULE", "VERSION", "KIND", "SAVED", "BY", "TITLE"]);
    for module in &modules {
        table.row([
            (&module.path).into(),
            module.version.to_string().into(),
            (&module.kind).into(),
            format!("{:.0}", module.at).into(),
            (&module.author).into(),
            module.title.as_deref().unwrap_or_default().into(),
        ]);
    }
    context.screen.table(&table, "No modules; save one with: slipstream module put FILE")?;
    Ok(Exit::Done)
}
