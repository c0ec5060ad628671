//! Modules of SlipStream by SixSq: XML in, XML out.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use slipstream_shared::module::original::{self, Imported};

use crate::{
    context::Context,
    exit::{Exit, fail},
    output::Tone,
    source,
};

/// Imports modules that SlipStream (by SixSq) has exported as XML
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  slipstream module import web.xml\n  slipstream module import exported/ --to converted/"
)]
pub(crate) struct Import {
    /// The documents; of a folder, all `.xml` files in it and below
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Writes module files into this folder instead of saving them in the catalogue
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

/// Exports a module as XML of SlipStream (by SixSq)
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  slipstream module export apps/lamp >lamp.xml\n  slipstream module export lamp.yaml >lamp.xml"
)]
pub(crate) struct Export {
    /// A file, or path@version
    module: String,
}

pub(crate) async fn import(context: &Context, command: &Import) -> anyhow::Result<Exit> {
    let mut documents = Vec::new();
    for file in &command.files {
        below(file, &mut documents)?;
    }
    // Everything is read before anything is saved.
    let mut all: Vec<(PathBuf, Imported)> = Vec::new();
    for file in documents {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let found = original::import(&text).map_err(|e| fail(Exit::Usage, format!("{}: {e}", file.display())))?;
        all.extend(found.into_iter().map(|module| (file.clone(), module)));
    }
    for (file, module) in &all {
        for left in &module.left {
            let about = context.screen.err.tone(Tone::Warn, "left out:");
            context.screen.message(&format!("{}: {} {about} {left}", file.display(), module.path));
        }
    }
    match &command.to {
        Some(folder) => write(context, folder, &all)?,
        None => save(context, &all).await?,
    }
    Ok(Exit::Done)
}

/// The `.xml` files of a folder and below, or the file itself; in their order.
fn below(path: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !path.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    let cannot = || format!("cannot read the folder {}", path.display());
    let mut entries = fs::read_dir(path).with_context(cannot)?.collect::<Result<Vec<_>, _>>().with_context(cannot)?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        // A link could lead around in a circle.
        let kind = entry.file_type().with_context(cannot)?;
        if kind.is_dir() || kind.is_file() && entry.path().extension().is_some_and(|e| e == "xml") {
            below(&entry.path(), found)?;
        }
    }
    Ok(())
}

fn write(context: &Context, folder: &Path, all: &[(PathBuf, Imported)]) -> anyhow::Result<()> {
    for (_, module) in all {
        let file = folder.join(format!("{}.yaml", module.path));
        let parent = file.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
        fs::write(&file, &module.text).with_context(|| format!("cannot write {}", file.display()))?;
        context.screen.line(&file.display().to_string())?;
    }
    Ok(())
}

async fn save(context: &Context, all: &[(PathBuf, Imported)]) -> anyhow::Result<()> {
    let client = context.client()?;
    let sources = all.iter().map(|(file, module)| source::of(file, module.text.clone()));
    for source in source::in_order(sources.collect::<Result<Vec<_>, _>>()?) {
        let comment =
            all.iter().find(|(_, module)| module.path == source.name).map(|(_, module)| module.comment.as_str());
        let comment = comment.filter(|comment| !comment.is_empty()).unwrap_or("imported");
        let module = source.put(&client, comment, None).await?;
        context.screen.line(&format!("{}@{}", module.path, module.version))?;
    }
    Ok(())
}

pub(crate) async fn export(context: &Context, command: &Export) -> anyhow::Result<Exit> {
    let text = super::text::text_of(context, &command.module).await?;
    let (document, left) = original::export(&text).map_err(|problems| {
        let all = problems.iter().map(ToString::to_string);
        fail(Exit::Usage, source::places(Path::new(&command.module), all))
    })?;
    for left in left {
        let about = context.screen.err.tone(Tone::Warn, "left out:");
        context.screen.message(&format!("{}: {about} {left}", command.module));
    }
    context.screen.raw(document.as_bytes())?;
    Ok(Exit::Done)
}
