//! `slipstream module`: definitions of images, components and applications.

mod catalogue;
mod original;
mod text;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use slipstream_shared::{
    api::{ModuleAction, Page},
    client::Client,
    module::schema,
};

use crate::{
    context::Context,
    exit::{Exit, fail},
    source,
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
        /// Why: shown with the version
        #[arg(short = 'm', long, default_value = "")]
        comment: String,
        /// The version that the change was begun with; refused if somebody has saved another one since
        #[arg(long, value_name = "VERSION")]
        base: Option<u32>,
    },
    /// Says what is wrong with module files
    #[command(after_help = "Examples:\n  slipstream module check *.yaml\n  slipstream module check --server app.yaml")]
    Check {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// On the coordinator as well: the modules they use, the clouds they name, their images there
        #[arg(long)]
        server: bool,
    },
    Fmt(text::Fmt),
    Diff(text::Diff),
    Import(original::Import),
    Export(original::Export),
    /// Prints the JSON Schema of module files, for editors
    #[command(after_help = "Example:\n  slipstream module schema >module.schema.json")]
    Schema,
    List(catalogue::List),
    /// Prints the file of a module
    #[command(
        after_help = "Examples:\n  slipstream module show apps/lamp\n  slipstream module show apps/lamp@3 >lamp.yaml"
    )]
    Show {
        /// The module: path, path@version or path@published
        module: String,
    },
    /// Lists the versions of a module: who, when, why
    #[command(after_help = "Example:\n  slipstream module versions apps/lamp")]
    Versions {
        /// Its path
        path: String,
    },
    /// Makes a version the one that `path@published` means
    #[command(after_help = "Examples:\n  slipstream module publish apps/lamp\n  slipstream module publish apps/lamp@3")]
    Publish {
        /// The module: path for its newest version, or path@version
        module: String,
    },
    /// Publishes no version of a module any more
    #[command(after_help = "Example:\n  slipstream module unpublish apps/lamp")]
    Unpublish {
        /// Its path
        path: String,
    },
    /// Deletes a module; its versions are kept, and it can come back
    #[command(after_help = "Example:\n  slipstream module delete apps/lamp")]
    Delete {
        /// Its path
        path: String,
    },
    /// Brings a deleted module back
    #[command(after_help = "Example:\n  slipstream module undelete apps/lamp")]
    Undelete {
        /// Its path
        path: String,
    },
    /// Saves a version of a module as the first one of another
    #[command(after_help = "Example:\n  slipstream module copy apps/lamp@3 apps/mine")]
    Copy {
        /// The module: path, or path@version
        module: String,
        /// The path of the new one
        to: String,
    },
    /// Gives a module, with all its versions, another path
    #[command(after_help = "Example:\n  slipstream module move apps/lamp archive/lamp")]
    Move {
        /// Its path
        path: String,
        /// Its new path
        to: String,
    },
}

pub(crate) async fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Put { files, comment, base } => put(context, &files, &comment, base).await,
        Command::Check { files, server } => check(context, &files, server).await,
        Command::Fmt(command) => text::fmt(context, &command),
        Command::Diff(command) => text::diff(context, &command).await,
        Command::Import(command) => original::import(context, &command).await,
        Command::Export(command) => original::export(context, &command).await,
        Command::Schema => {
            context.screen.json(&schema::schema())?;
            Ok(Exit::Done)
        }
        Command::List(command) => catalogue::list(context, &command).await,
        Command::Show { module } => {
            let module = context.client()?.module(&module).await?;
            if context.screen.is_json() {
                context.screen.json(&module)?;
            } else {
                context.screen.raw(module.source.unwrap_or_default().as_bytes())?;
            }
            Ok(Exit::Done)
        }
        Command::Versions { path } => catalogue::versions(context, &path).await,
        Command::Publish { module } => {
            let (path, version) = catalogue::numbered(&module)?;
            catalogue::act(context, &path, &ModuleAction::Publish { version }).await
        }
        Command::Unpublish { path } => catalogue::act(context, &path, &ModuleAction::Unpublish {}).await,
        Command::Undelete { path } => catalogue::act(context, &path, &ModuleAction::Undelete {}).await,
        Command::Copy { module, to } => {
            let (path, version) = catalogue::numbered(&module)?;
            catalogue::act(context, &path, &ModuleAction::Copy { to, version }).await
        }
        Command::Move { path, to } => catalogue::act(context, &path, &ModuleAction::Move { to }).await,
        Command::Delete { path } => {
            context.client()?.delete_module(&path).await?;
            context.screen.message(&format!("{path} is deleted; `slipstream module undelete {path}` brings it back"));
            Ok(Exit::Done)
        }
    }
}

async fn put(context: &Context, files: &[PathBuf], comment: &str, base: Option<u32>) -> anyhow::Result<Exit> {
    if base.is_some() && files.len() > 1 {
        return Err(fail(Exit::Usage, "`--base` is the version of one module: give one file"));
    }
    let sources = files.iter().map(|file| source::read(file)).collect::<Result<Vec<_>, _>>()?;
    let client = context.client()?;
    let mut saved = Vec::new();
    for source in source::in_order(sources) {
        let module = source.put(&client, comment, base).await?;
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

async fn check(context: &Context, files: &[PathBuf], server: bool) -> anyhow::Result<Exit> {
    let client = server.then(|| context.client()).transpose()?;
    let mut wrong = 0;
    for file in files {
        match check_one(file, client.as_ref()).await {
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

async fn check_one(file: &Path, client: Option<&Client>) -> anyhow::Result<()> {
    let source = source::read(file)?;
    source.check()?;
    match client {
        Some(client) => source.check_on(client).await,
        None => Ok(()),
    }
}
