//! Modules of the catalogue: listed, searched, published, deleted, copied, moved.

use clap::Args;
use slipstream_shared::{
    api::{ModuleAction, ModuleInfo, Page},
    module::{ModuleRef, Version},
};

use crate::{
    context::Context,
    exit::{Exit, fail},
    table::Table,
};

/// Lists modules
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  slipstream module list\n  slipstream module list apps/\n  \
                        slipstream module list --folder apps\n  slipstream module list --search 'lamp debian' --tag web")]
pub(crate) struct List {
    /// Only those whose path begins so
    #[arg(default_value = "")]
    prefix: String,
    /// Only those found by all of these words, in path, title, description and tags
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,
    /// Only those with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only what is directly in this folder, with the folders in it; `/` is the root
    #[arg(long, conflicts_with_all = ["prefix", "search", "tag", "deleted"])]
    folder: Option<String>,
    /// Those that were deleted or moved
    #[arg(long)]
    deleted: bool,
}

pub(crate) async fn list(context: &Context, command: &List) -> anyhow::Result<Exit> {
    let mut conditions = Vec::new();
    if let Some(folder) = &command.folder {
        conditions.push(("folder", folder.trim_matches('/')));
    } else {
        conditions.push(("prefix", command.prefix.as_str()));
        conditions.extend(command.search.as_deref().map(|words| ("search", words)));
        conditions.extend(command.tag.as_deref().map(|tag| ("tag", tag)));
        conditions.extend(command.deleted.then_some(("gone", "true")));
    }
    let modules = context.client()?.modules(&conditions).await?;
    let searched = command.search.is_some() || command.tag.is_some();
    let none = if searched || command.deleted || !command.prefix.is_empty() {
        "No such modules"
    } else {
        "No modules; save one with: slipstream module put FILE"
    };
    show(context, modules, none, |module| match &module.gone {
        Some(gone) => match &gone.to {
            Some(to) => format!("moved to {to} by {}", gone.by),
            None => format!("deleted by {}", gone.by),
        },
        None => module.title.clone().unwrap_or_default(),
    })
}

pub(crate) async fn versions(context: &Context, path: &str) -> anyhow::Result<Exit> {
    let versions = context.client()?.module_versions(path).await?;
    show(context, versions, "No versions", |module| module.comment.clone())
}

/// A table of modules or versions; the last column is what `about` says of each.
fn show(
    context: &Context,
    modules: Vec<ModuleInfo>,
    none: &str,
    about: impl Fn(&ModuleInfo) -> String,
) -> anyhow::Result<Exit> {
    if context.screen.is_json() {
        context.screen.json(&Page { items: modules, next: None })?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["MODULE", "VERSION", "KIND", "SAVED", "BY", ""]);
    for module in &modules {
        let published = if module.published == Some(module.version) { " (published)" } else { "" };
        // A folder that nobody has described has no version.
        let described = module.version > 0;
        table.row([
            (&module.path).into(),
            if described { format!("{}{published}", module.version) } else { "-".to_owned() }.into(),
            (&module.kind).into(),
            if described { format!("{:.0}", module.at) } else { "-".to_owned() }.into(),
            (&module.author).into(),
            crate::output::one_line(&about(module)).into(),
        ]);
    }
    context.screen.table(&table, none)?;
    Ok(Exit::Done)
}

pub(crate) async fn act(context: &Context, path: &str, action: &ModuleAction) -> anyhow::Result<Exit> {
    let module = context.client()?.change_module(path, action).await?;
    if context.screen.is_json() {
        context.screen.json(&ModuleInfo { source: None, ..module })?;
    } else {
        let published = module.published.map(|version| format!(" (published: {version})")).unwrap_or_default();
        context.screen.line(&format!("{}@{}{published}", module.path, module.version))?;
    }
    Ok(Exit::Done)
}

/// `path` or `path@3`, taken apart.
pub(crate) fn numbered(text: &str) -> anyhow::Result<(String, Option<u32>)> {
    let reference: ModuleRef = text.parse().map_err(|e| fail(Exit::Usage, format!("{e}")))?;
    match reference.version {
        Version::Newest => Ok((reference.path, None)),
        Version::Number(version) => Ok((reference.path, Some(version))),
        Version::Published => Err(fail(Exit::Usage, format!("`{text}`: say the version by its number"))),
    }
}
