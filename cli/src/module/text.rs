//! What is done with module files as texts: put into their one form, compared.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use slipstream_shared::module::{
    Problem,
    diff::{self, Change},
    fmt::{self, NotFormatted},
};

use crate::{
    context::Context,
    exit::{Exit, fail},
    output::Tone,
    source,
};

/// Puts module files into one form: keys in order, comments kept
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  slipstream module fmt *.yaml\n  slipstream module fmt --check *.yaml")]
pub(crate) struct Fmt {
    /// The files; `-` is standard input, formatted to standard output
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Only says which files are not in that form, and fails if any is not
    #[arg(long)]
    check: bool,
}

/// Shows what differs between two module files, or versions of the catalogue
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  slipstream module diff apps/lamp@3 apps/lamp@4\n  \
                        slipstream module diff apps/lamp lamp.yaml --text")]
pub(crate) struct Diff {
    /// The older: a file, or path@version
    before: String,
    /// The newer
    after: String,
    /// Line by line, as `diff -u` does
    #[arg(long)]
    text: bool,
}

pub(crate) fn fmt(context: &Context, command: &Fmt) -> anyhow::Result<Exit> {
    let mut wrong = 0;
    for file in &command.files {
        if let Err(error) = fmt_one(context, file, command.check) {
            wrong += 1;
            context.screen.error(&format!("{error:#}"));
        }
    }
    match wrong {
        0 => Ok(Exit::Done),
        _ => Err(fail(Exit::Usage, format!("{wrong} of {} files are not in that form", command.files.len()))),
    }
}

fn fmt_one(context: &Context, file: &Path, check: bool) -> anyhow::Result<()> {
    let stream = file == Path::new("-");
    let name = file.display();
    let text = if stream { crate::args::from_file(file) } else { source::text(file) }?;
    let formatted = fmt::format(&text).map_err(|error| match error {
        NotFormatted::Unreadable(problems) => {
            fail(Exit::Usage, source::places(file, problems.iter().map(Problem::to_string)))
        }
        other => fail(Exit::Usage, format!("{name} stays as it is: {other}")),
    })?;
    if stream && !check {
        context.screen.raw(formatted.as_bytes())?;
    } else if formatted != text {
        if check {
            let place = formatted.lines().zip(text.lines()).take_while(|(a, b)| a == b).count() + 1;
            return Err(fail(Exit::Usage, format!("{name}:{place}: is not as `slipstream module fmt` writes it")));
        }
        replace(file, &formatted).with_context(|| format!("cannot write {name}"))?;
        context.screen.message(&format!("{name} is in order now"));
    }
    Ok(())
}

/// Writes a file as a whole or not at all.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    // What a link leads to is meant, not the link.
    let file = fs::canonicalize(file)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let new = tempfile::NamedTempFile::new_in(folder)?;
    fs::write(new.path(), text)?;
    fs::set_permissions(new.path(), fs::metadata(&file)?.permissions())?;
    new.persist(&file)?;
    Ok(())
}

pub(crate) async fn diff(context: &Context, command: &Diff) -> anyhow::Result<Exit> {
    let before = text_of(context, &command.before).await?;
    let after = text_of(context, &command.after).await?;
    if command.text {
        let lines = diff::lines(&before, &after, (&command.before, &command.after));
        context.screen.raw(lines.as_bytes())?;
        return Ok(Exit::Done);
    }
    let changes = diff::changes(&before, &after).map_err(|problems| {
        fail(Exit::Usage, format!("cannot compare: {}", problems.first().map(ToString::to_string).unwrap_or_default()))
    })?;
    if context.screen.is_json() {
        context.screen.json(&changes)?;
    } else if changes.is_empty() {
        context.screen.message("Both say the same");
    } else {
        for change in &changes {
            context.screen.raw(shown(context, change).as_bytes())?;
        }
    }
    Ok(Exit::Done)
}

/// The text of a file that is there, else of a module of the catalogue.
pub(super) async fn text_of(context: &Context, name: &str) -> anyhow::Result<String> {
    let file = Path::new(name);
    if file.is_file() {
        return Ok(source::read(file)?.text);
    }
    Ok(context.client()?.module(name).await?.source.unwrap_or_default())
}

fn shown(context: &Context, change: &Change) -> String {
    let paint = context.screen.out;
    let (before, after) = (change.before.as_deref(), change.after.as_deref());
    let path = paint.tone(Tone::Strong, &change.path);
    let many = |text: Option<&str>| text.is_some_and(|text| text.contains('\n'));
    if many(before) || many(after) {
        // The two lines of a header say nothing here.
        let lines = diff::lines(before.unwrap_or_default(), after.unwrap_or_default(), ("", ""));
        let lines = lines.lines().skip(2).map(|line| match line.as_bytes().first() {
            Some(b'-') => format!("  {}\n", paint.tone(Tone::Bad, line)),
            Some(b'+') => format!("  {}\n", paint.tone(Tone::Good, line)),
            _ => format!("  {line}\n"),
        });
        return format!("{path}:\n{}", lines.collect::<String>());
    }
    match (before, after) {
        (Some(before), Some(after)) => {
            format!("{path}: {} -> {}\n", paint.tone(Tone::Bad, before), paint.tone(Tone::Good, after))
        }
        (Some(before), None) => format!("{} {path}: {before}\n", paint.tone(Tone::Bad, "-")),
        (None, after) => format!("{} {path}: {}\n", paint.tone(Tone::Good, "+"), after.unwrap_or_default()),
    }
}
