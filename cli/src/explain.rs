//! `slipstream explain`: what a key of a module file is.

use std::fmt::Write as _;

use clap::Args;
use slipstream_shared::module::explain::{self, Explanation};

use crate::{
    context::Context,
    exit::{Exit, fail},
    output::{Paint, Tone},
};

/// Explains keys of module files
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  slipstream explain application\n  slipstream explain node.ready\n  \
                        slipstream explain nodes.web.count")]
pub(crate) struct Command {
    /// A key and those above it, or a key alone; without one, the kinds of modules
    path: Option<String>,
}

pub(crate) fn run(context: &Context, command: &Command) -> anyhow::Result<Exit> {
    let found = match &command.path {
        Some(path) => explain::explain(path).map_err(|message| fail(Exit::NotFound, message))?,
        None => explain::ROOTS.iter().filter_map(|(name, _)| explain::explain(name).ok()).flatten().collect(),
    };
    if context.screen.is_json() {
        context.screen.json(&found)?;
        return Ok(Exit::Done);
    }
    let paint = context.screen.out;
    let texts: Vec<String> = match command.path {
        Some(_) => found.iter().map(|one| shown(one, paint)).collect(),
        None => found.iter().map(|one| format!("{}: {}\n", paint.tone(Tone::Strong, &one.path), one.help)).collect(),
    };
    let between = if command.path.is_some() { "\n" } else { "" };
    context.screen.raw(texts.join(between).as_bytes())?;
    Ok(Exit::Done)
}

fn shown(one: &Explanation, paint: Paint) -> String {
    let mut text = format!("{}: {}\n\n  {}\n", paint.tone(Tone::Strong, &one.path), one.kind, one.help);
    for (label, value) in [("without it", one.default), ("example", &one.example), ("in SlipStream", one.was)] {
        if !value.is_empty() {
            let _ = writeln!(text, "  {label}: {value}");
        }
    }
    if !one.one_of.is_empty() {
        let _ = writeln!(text, "  one of: {}", one.one_of.join(", "));
    }
    if !one.keys.is_empty() {
        text.push('\n');
        let width = one.keys.iter().map(|line| line.key.len()).max().unwrap_or_default();
        for line in &one.keys {
            let must = if line.required { " (required)" } else { "" };
            let key = paint.tone(Tone::Strong, line.key);
            let space = " ".repeat(width - line.key.len());
            let _ = writeln!(
                text,
                "  {key}{space}  {}{must}\n  {:width$}  {}",
                line.help,
                "",
                paint.tone(Tone::Dim, &line.kind)
            );
        }
    }
    text
}
