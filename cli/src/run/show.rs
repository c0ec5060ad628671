//! `slipstream run list` and `show`, and what is shown in the end of a run that was watched.

use jiff::Timestamp;
use slipstream_shared::{
    api::{InstanceInfo, RunDetail, RunSummary},
    client::Client,
    plan::Size,
    state::{Milestone, Outcome, RunState},
};

use crate::{
    context::Context,
    exit::Exit,
    output::{Screen, Tone, one_line, seconds},
    progress::Progress,
    table::{Cell, Table},
};

pub(super) async fn list(context: &Context, client: &Client, limit: u32) -> anyhow::Result<Exit> {
    let page = client.runs(None, limit).await?;
    let screen = &context.screen;
    if screen.is_json() {
        screen.json(&page)?;
        return Ok(Exit::Done);
    }
    let now = Timestamp::now();
    let mut table = Table::new(&["RUN", "MODULE", "STATE", "READY", "AGE", "OWNER", "TAGS", "URL"]);
    for run in &page.items {
        table.row([
            run.id.short().into(),
            (&run.module).into(),
            Cell::toned(state(run), tone(run)),
            format!("{}/{}", run.ready, run.instances).into(),
            age(run.created, now).into(),
            (&run.owner).into(),
            run.tags.join(" ").into(),
            run.url.as_deref().unwrap_or_default().into(),
        ]);
    }
    screen.table(&table, "No runs yet; start one with: slipstream run launch MODULE")?;
    if page.next.is_some() {
        screen.message(&format!("There are more; show them with --limit {}", limit.saturating_mul(4)));
    }
    Ok(Exit::Done)
}

pub(super) async fn show(context: &Context, client: &Client, run: &str) -> anyhow::Result<Exit> {
    let run = client.run(run).await?;
    if context.screen.is_json() {
        context.screen.json(&run)?;
    } else {
        heading(&context.screen, &run)?;
        machines(&context.screen, &run)?;
        hardware(&context.screen, &run)?;
        super::scale::below(&context.screen, &run.operations)?;
        outputs(&context.screen, &run)?;
        if !run.left.is_empty() {
            context.screen.line("")?;
            context.screen.table(&left(&run), "")?;
        }
    }
    Ok(Exit::Done)
}

/// What an abandoned run has left behind.
pub(super) fn left(run: &RunDetail) -> Table {
    let mut table = Table::new(&["LEFT BEHIND", "CLOUD", "NAME", "MACHINE"]);
    for one in &run.left {
        let machine = one.machine.as_deref().unwrap_or_default();
        table.row([one.instance.to_string().into(), (&one.cloud).into(), (&one.name).into(), machine.into()]);
    }
    table
}

/// What a run that was watched has come to.
pub(crate) async fn results(
    context: &Context,
    client: &Client,
    run: &str,
    progress: &Progress,
) -> anyhow::Result<RunDetail> {
    let run = client.run(run).await?;
    let screen = &context.screen;
    if screen.is_json() {
        screen.json(&run)?;
        return Ok(run);
    }
    let phases = progress.phases();
    if !phases.is_empty() {
        screen.message("");
        screen.message(&screen.err.tone(Tone::Strong, "Seconds it took"));
        screen.message(phases.render(screen.err).trim_end());
    }
    screen.message("");
    let (title, tone) = match (progress.abort(), progress.ready_after()) {
        (Some(reason), _) => (format!("Failed: {}", one_line(reason)), Tone::Bad),
        (None, Some(after)) => (format!("Ready after {}", seconds(after)), Tone::Good),
        (None, None) => (progress.state().to_string(), Tone::Bad),
    };
    screen.line(&screen.out.tone(tone, &title))?;
    for node in run.nodes.iter().filter(|node| node.display.as_deref().is_some_and(|text| !text.is_empty())) {
        let text = node.display.as_deref().map(one_line).unwrap_or_default();
        pair(screen, &node.instance.to_string(), &screen.out.tone(Tone::Said, &text))?;
    }
    outputs(screen, &run)?;
    Ok(run)
}

fn heading(screen: &Screen, run: &RunDetail) -> anyhow::Result<()> {
    let summary = &run.summary;
    let title = if summary.title == summary.module { "" } else { &summary.title };
    let id = summary.id.to_string();
    pair(screen, "run", &format!("{}  {}", summary.id.short(), screen.out.tone(Tone::Dim, &format!("({id})"))))?;
    pair(screen, "module", one_line(&format!("{}  {title}", summary.module)).trim_end())?;
    pair(
        screen,
        "state",
        &format!("{}, {}", screen.out.tone(tone(summary), &state(summary)), one_line(&summary.health)),
    )?;
    if let Some(reason) = &summary.abort {
        pair(screen, "abort", &screen.out.tone(Tone::Bad, &one_line(reason)))?;
    }
    if let Some(end) = run.lease_end.filter(|_| !summary.state.is_final()) {
        let left = age(Timestamp::now(), end);
        pair(screen, "lease", &format!("until {end:.0}, {left} left; move it with: slipstream run lease"))?;
    }
    let ago = age(summary.created, Timestamp::now());
    pair(screen, "launched", &format!("{:.0} by {}, {ago} ago", summary.created, one_line(&summary.owner)))?;
    if !summary.tags.is_empty() {
        pair(screen, "tags", &one_line(&summary.tags.join(" ")))?;
    }
    for trouble in &run.troubles {
        let now = Timestamp::now();
        let when = run.retrying.as_ref().filter(|retrying| retrying.message == *trouble).map(|retrying| {
            format!(" (since {}, next try in {})", age(retrying.since, now), age(now, retrying.next_try))
        });
        let text = format!("{}{}", one_line(trouble), when.unwrap_or_default());
        pair(screen, "trouble", &screen.out.tone(Tone::Warn, &text))?;
    }
    if let Some(url) = &summary.url {
        pair(screen, "url", &screen.out.tone(Tone::Said, &one_line(url)))?;
    }
    Ok(())
}

fn machines(screen: &Screen, run: &RunDetail) -> anyhow::Result<()> {
    let mut table = Table::new(&["INSTANCE", "MILESTONE", "CLOUD", "ADDRESS", "MACHINE", "NOW"]);
    for node in &run.nodes {
        let tone = match node.milestone {
            Milestone::Ready => Tone::Good,
            Milestone::Failed => Tone::Bad,
            Milestone::Gone => Tone::Dim,
            _ => Tone::Warn,
        };
        table.row([
            node.instance.to_string().into(),
            Cell::toned(node.milestone.to_string(), tone),
            (&node.cloud).into(),
            node.address.as_deref().unwrap_or_default().into(),
            node.machine.as_deref().unwrap_or_default().into(),
            now(node),
        ]);
    }
    screen.line("")?;
    screen.table(&table, "No machines.")?;
    Ok(())
}

/// Sizes and disks, where anything was said of them.
fn hardware(screen: &Screen, run: &RunDetail) -> anyhow::Result<()> {
    let said = |node: &&InstanceInfo| node.size != Size::default() || node.wanted_size.is_some();
    if run.nodes.iter().any(|node| said(&node)) {
        let mut table = Table::new(&["INSTANCE", "SIZE", "WANTED"]);
        for node in run.nodes.iter().filter(said) {
            let wanted = node.wanted_size.as_ref().map(ToString::to_string).unwrap_or_default();
            table.row([
                node.instance.to_string().into(),
                node.size.to_string().into(),
                Cell::toned(wanted, Tone::Warn),
            ]);
        }
        screen.line("")?;
        screen.table(&table, "")?;
    }
    if run.nodes.iter().any(|node| !node.disks.is_empty()) {
        screen.line("")?;
        screen.table(&super::disk::table(&run.nodes), "")?;
    }
    Ok(())
}

/// The one thing worth saying of an instance: why it failed, else what it waits for, else what it
/// says itself.
fn now(node: &InstanceInfo) -> Cell {
    if let Some(failure) = &node.failure {
        return Cell::toned(failure, Tone::Bad);
    }
    if let Some(since) = node.silent {
        return Cell::toned(format!("silent since {}", age(since, Timestamp::now())), Tone::Bad);
    }
    if let Some(wait) = node.waiting.first() {
        return Cell::toned(format!("waits for {} since {}", wait.on, age(wait.since, Timestamp::now())), Tone::Warn);
    }
    let running = node.steps.iter().find(|step| step.status == "running").map(|step| format!("runs {}", step.step));
    match (&node.display, running) {
        (Some(text), _) if !text.is_empty() => Cell::toned(text, Tone::Said),
        (_, Some(step)) => step.into(),
        _ => Cell::default(),
    }
}

fn outputs(screen: &Screen, run: &RunDetail) -> anyhow::Result<()> {
    if !run.outputs.is_empty() {
        screen.line("")?;
    }
    for (name, value) in &run.outputs {
        match value {
            Some(value) => pair(screen, &one_line(name), &screen.out.tone(Tone::Strong, &one_line(value)))?,
            None => pair(screen, &one_line(name), &screen.out.tone(Tone::Dim, "(not known yet)"))?,
        }
    }
    Ok(())
}

fn pair(screen: &Screen, name: &str, value: &str) -> anyhow::Result<()> {
    Ok(screen.line(&format!("{name:<12}  {value}"))?)
}

/// The state with what matters beside it.
fn state(run: &RunSummary) -> String {
    match (run.state, run.outcome, &run.abort) {
        (state, _, Some(_)) if state != RunState::Aborted => format!("{state}, aborted"),
        (RunState::Done, Outcome::Failed, _) => "Done, failed".to_owned(),
        (state, ..) => state.to_string(),
    }
}

fn tone(run: &RunSummary) -> Tone {
    match (run.state, run.outcome) {
        _ if run.abort.is_some() => Tone::Bad,
        (_, Outcome::Failed) => Tone::Bad,
        (RunState::Ready, _) => Tone::Good,
        (RunState::Done, _) => Tone::Dim,
        _ => Tone::Warn,
    }
}

pub(super) fn age(since: Timestamp, now: Timestamp) -> String {
    let millis = now.as_millisecond() - since.as_millisecond();
    if millis < 60_000 { format!("{}s", millis.max(0) / 1000) } else { seconds(millis) }
}
