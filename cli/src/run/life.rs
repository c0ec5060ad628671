//! `slipstream run why`, `lease` and `abandon`.

use std::time::Duration;

use jiff::Timestamp;
use slipstream_shared::{
    api::{LeaseRequest, RunDetail},
    client::Client,
};

use super::show;
use crate::{
    context::Context,
    exit::Exit,
    output::one_line,
    table::{Cell, Table},
};

/// When a lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Now,
    At(Timestamp),
}

/// Reads `--end`.
pub(crate) fn end(text: &str) -> Result<End, String> {
    match text {
        "now" => Ok(End::Now),
        text => text.parse().map(End::At).map_err(|_| {
            format!("`{text}` is no time: write it as 2030-01-31T18:00:00Z, or `now`; for a span leave --end out")
        }),
    }
}

/// The request that the arguments mean.
pub(super) fn request(within: Option<Duration>, end: Option<End>, never: bool) -> LeaseRequest {
    let (seconds, end) = match end {
        Some(End::Now) => (Some(0), None),
        Some(End::At(at)) => (None, Some(at)),
        None => (within.map(|within| within.as_secs()), None),
    };
    LeaseRequest { seconds, end, never }
}

pub(super) async fn why(context: &Context, client: &Client, run: &str) -> anyhow::Result<Exit> {
    let why = client.why(run).await?;
    let screen = &context.screen;
    if screen.is_json() {
        screen.json(&why)?;
        return Ok(Exit::Done);
    }
    screen.line(&one_line(&why.summary))?;
    if why.instances.is_empty() {
        return Ok(Exit::Done);
    }
    let now = Timestamp::now();
    let mut table = Table::new(&["INSTANCE", "LACKS", "FOR", "LEFT", "WHAT", "WAITS FOR"]);
    for one in &why.instances {
        let left = one.until.map(|until| show::age(now, until)).unwrap_or_default();
        table.row([
            Cell::from(one.instance.to_string()),
            one.milestone.to_string().into(),
            show::age(one.since, now).into(),
            left.into(),
            one_line(&one.what).into(),
            one.waits_for.join(", ").into(),
        ]);
    }
    screen.line("")?;
    screen.table(&table, "")?;
    Ok(Exit::Done)
}

pub(super) async fn lease(
    context: &Context,
    client: &Client,
    run: &str,
    request: &LeaseRequest,
) -> anyhow::Result<Exit> {
    let detail = client.set_lease(run, request).await?;
    let screen = &context.screen;
    if screen.is_json() {
        screen.json(&detail)?;
    } else {
        let short = detail.summary.id.short();
        screen.message(&match detail.lease_end {
            Some(_) if request.seconds == Some(0) => format!("Run {short} is ending."),
            Some(end) => format!("Run {short} lives until {end:.0}."),
            None => format!("Run {short} lives until it is terminated."),
        });
    }
    Ok(Exit::Done)
}

pub(super) async fn abandon(context: &Context, client: &Client, run: &str, yes: bool) -> anyhow::Result<Exit> {
    let screen = &context.screen;
    if !yes {
        let detail = client.run(run).await?;
        screen.error(&format!(
            "Nothing is done: run {} is {}, and nobody would look after what is left of it. If you want that: slipstream \
             run abandon {} --yes",
            detail.summary.id.short(),
            detail.summary.state,
            detail.summary.id.short(),
        ));
        return Ok(Exit::Usage);
    }
    let detail = client.abandon(run).await?;
    if screen.is_json() {
        screen.json(&detail)?;
    } else {
        left_behind(context, &detail)?;
    }
    Ok(Exit::Done)
}

fn left_behind(context: &Context, detail: &RunDetail) -> anyhow::Result<()> {
    let screen = &context.screen;
    screen.message(&format!("Run {} is {}.", detail.summary.id.short(), detail.summary.state));
    screen.table(&show::left(detail), "It leaves nothing.")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_after_a_span_at_a_time_now_or_never() {
        let none = LeaseRequest::default();
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(request(hour, None, false), LeaseRequest { seconds: Some(3600), ..none.clone() });
        assert_eq!(request(None, end("now").ok(), false), LeaseRequest { seconds: Some(0), ..none.clone() });
        let time = "2030-01-31T18:00:00Z";
        let at = LeaseRequest { end: Some(time.parse().expect("valid")), ..none.clone() };
        assert_eq!(request(None, end(time).ok(), false), at);
        assert_eq!(request(None, None, true), LeaseRequest { never: true, ..none });
        let said = end("8h").expect_err("no time");
        assert!(said.starts_with("`8h` is no time: write it as"), "{said}");
    }
}
